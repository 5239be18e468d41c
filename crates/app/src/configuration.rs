//! The one owner of the configuration: loads it, applies it to everything that runs, and saves changes.
//!
//! Contract: what is in force is always a complete, checked configuration. A file that cannot be read changes
//! nothing; flags lie on top and are never saved.

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use api::Refusal;
use config::{Config, Loaded, Overrides, SaveError, Store};
use observe::Mutex;
use tokio::sync::oneshot;

use crate::{
    context::{Context, Order},
    hot_swap, logging, settings,
    telemetry::{self, Reload},
};

observe::event! {
    /// The operator asked for a reload.
    struct Reloading {}
    = Info "config_reload_begun": "Received SIGHUP, reloading configuration..."

    /// It worked; keys only, values may be secret.
    struct Reloaded<'a> { changed: &'a str }
    = Info "config_reloaded": "Configuration reloaded successfully"

    /// It did not; the old configuration stays.
    struct ReloadFailed<'a> { error: &'a str }
    = Error "config_reload_failed": "Failed to reload config: {error}"

    /// The file was changed by somebody else in the same place.
    struct SaveConflict<'a> { copy: &'a str }
    = Error "config_save_conflict": "Configuration was changed on disk and here; the other version is kept as {copy}"

    /// A change is in force but not in the file.
    struct SaveFailed<'a> { error: &'a str }
    = Error "config_save_failed": "Failed to save config: {error}"

    /// A password stood in the file in plain text.
    struct PasswordHashed<'a> { key: &'a str }
    = Warn "config_password_hashed": "Plain-text password in the configuration was replaced by its hash: {key}"

    /// The log cannot be written where the file says.
    struct LogNotMoved<'a> { error: &'a str }
    = Error "log_not_moved": "The log stays where it was: {error}"

    /// Something in the file is odd.
    pub(crate) struct ConfigWarning<'a> { problem: &'a str }
    = Warn "config_warning": "Configuration: {problem}"

    /// A key that only counts at the start changed.
    struct NeedsRestart<'a> { key: &'a str }
    = Warn "config_needs_restart": "Changed setting needs a restart: {key}"
}

/// Keys that are read at the start only.
const AT_START: &[&str] = &["https_port", "use_https", "auto_https", "data_dir"];

/// The configuration and its file.
#[derive(Debug)]
pub(crate) struct Configuration {
    path: PathBuf,
    overrides: Overrides,
    /// Held while a change is made and saved; requests read the snapshot in the context instead.
    file: Mutex<File>,
}

#[derive(Debug)]
struct File {
    store: Store,
    /// As the file says, without flags.
    config: Config,
}

impl Configuration {
    /// Takes over a loaded file. Gives the configuration in force.
    pub(crate) fn new(loaded: Loaded, overrides: Overrides) -> (Self, Config) {
        let path = loaded.document.path().to_owned();
        let effective = loaded.config.with(&overrides);
        let file = File {
            store: Store::new(loaded.document),
            config: loaded.config,
        };
        (
            Self {
                path,
                overrides,
                file: Mutex::new("configuration.file", file),
            },
            effective,
        )
    }

    /// Reads the file again and applies what changed; gives the keys that did.
    ///
    /// # Errors
    /// Why the file was refused; the old configuration stays.
    pub(crate) fn reload(&self, context: &Arc<Context>) -> Result<Vec<String>, String> {
        observe::emit(Reloading {});
        let mut loaded = match Loaded::read(&self.path) {
            Ok(loaded) => loaded,
            Err(error) => return Err(refuse(error.to_string())),
        };
        let hashed = match hash_plain(&mut loaded.config) {
            Ok(hashed) => hashed,
            Err(error) => return Err(refuse(error)),
        };
        warn_hashed(&hashed);
        for problem in &loaded.warnings {
            observe::emit(ConfigWarning {
                problem: &problem.to_string(),
            });
        }
        let effective = loaded.config.with(&self.overrides);
        {
            let mut file = self.file.lock();
            file.store.replace(loaded.document);
            file.config = loaded.config;
        }
        let changed = context.config.load().changes(&effective);
        for key in changed.iter().filter(|key| AT_START.contains(key)) {
            observe::emit(NeedsRestart { key });
        }
        self.apply(context, effective);
        if !hashed.is_empty() {
            self.save_hashed(context);
        }
        telemetry::count_reload(Reload::Ok);
        observe::emit(Reloaded {
            changed: &changed.join(", "),
        });
        Ok(changed.into_iter().map(ToOwned::to_owned).collect())
    }

    /// Changes the configuration, saves it and puts it in force. Nothing is changed when the change is refused or
    /// cannot be saved. Waits for the disk: not for threads that have sources to read.
    pub(crate) fn change<E: From<SaveError>>(
        &self,
        context: &Arc<Context>,
        change: impl FnOnce(&mut Config) -> Result<(), E>,
    ) -> Result<(), E> {
        let effective = {
            let mut file = self.file.lock();
            let mut config = file.config.clone();
            change(&mut config)?;
            let saved = file.store.save(&config)?;
            if let Some(copy) = saved.conflict {
                observe::emit(SaveConflict {
                    copy: &copy.display().to_string(),
                });
            }
            file.config = config;
            file.config.with(&self.overrides)
        };
        self.apply(context, effective);
        Ok(())
    }

    /// Removes bans and requests for access whose time is over.
    pub(crate) fn purge(&self, context: &Arc<Context>) {
        let now = jiff::Timestamp::now();
        let config = context.config.load();
        if !auth::has_expired_bans(&config, now) && !auth::has_expired_requests(&config, now) {
            return;
        }
        let purged = self.change(context, |config| {
            auth::purge_bans(config, now);
            auth::purge_pending(config, now);
            Ok::<(), SaveError>(())
        });
        if let Err(error) = purged {
            observe::emit(SaveFailed {
                error: &error.to_string(),
            });
        }
    }

    /// Saves passwords that stood in the file in plain text and have been hashed.
    pub(crate) fn save_hashed(&self, context: &Arc<Context>) {
        if let Err(error) = self.change(context, |_| Ok::<(), SaveError>(())) {
            observe::emit(SaveFailed {
                error: &error.to_string(),
            });
        }
    }

    fn apply(&self, context: &Arc<Context>, effective: Config) {
        let now = Instant::now();
        let effective = Arc::new(effective);
        let before = context.config.swap(Arc::clone(&effective));
        follow_log(context, &before, &effective);
        context.auth.reload(Arc::clone(&effective));
        context.mounts.apply(settings::of_mounts(&effective), now);
        let gate = context.auth.gate();
        context.mounts.stop_sources_of(|owner| {
            let is_gone = |name: &String| !effective.users.contains_key(name);
            owner.ip.is_some_and(|ip| gate.is_banned(ip)) || owner.account.as_ref().is_some_and(is_gone)
        });
        let gate = context.auth.gate();
        context.mounts.close_addresses(move |ip| gate.is_banned(ip));
        context.reloaded.send_modify(|version| *version += 1);
    }
}

/// Notes that a file was refused.
fn refuse(error: String) -> String {
    observe::emit(ReloadFailed { error: &error });
    telemetry::count_reload(Reload::Refused);
    error
}

/// Why a change was not made.
enum NotChanged {
    Refused(Refusal),
    NotSaved(SaveError),
}

impl From<SaveError> for NotChanged {
    fn from(error: SaveError) -> Self {
        Self::NotSaved(error)
    }
}

fn going_down() -> Refusal {
    Refusal::unavailable("The server is going down")
}

/// Changes that endpoints ask for. The server may be going down, so it only holds on weakly.
pub(crate) struct Administrator(pub(crate) Arc<Configuration>, pub(crate) Weak<Context>);

impl api::Administer for Administrator {
    fn change(&self, change: api::Change<'_>) -> Result<(), Refusal> {
        let context = self.1.upgrade().ok_or_else(going_down)?;
        self.0
            .change(&context, |config| change(config).map_err(NotChanged::Refused))
            .map_err(|error| match error {
                NotChanged::Refused(refusal) => refusal,
                NotChanged::NotSaved(error) => {
                    observe::emit(SaveFailed {
                        error: &error.to_string(),
                    });
                    Refusal::failed(format!("Failed to save config: {error}"))
                }
            })
    }

    fn reload(&self) -> oneshot::Receiver<Result<Vec<String>, String>> {
        let (done, reloaded) = oneshot::channel();
        // Where nobody takes the order any more, the dropped sender tells.
        if let Some(context) = self.1.upgrade() {
            let _ = context.orders.try_send(Order::Reload(done));
        }
        reloaded
    }

    fn hot_swap(&self, drain: Option<Duration>) -> Result<(), String> {
        let context = self.1.upgrade().ok_or("the server is going down")?;
        if let Some(obstacle) = hot_swap::obstacle() {
            return Err(obstacle.to_owned());
        }
        let drain = drain.unwrap_or(hot_swap::DRAIN);
        context
            .orders
            .try_send(Order::Swap(drain))
            .map_err(|_| "a hot swap is under way already".to_owned())
    }
}

/// Writes the log where and how the configuration says now. Where that fails it stays as it was.
fn follow_log(context: &Context, before: &Config, now: &Config) {
    observe::log::set_level(logging::level(now.log.level));
    let moved = before.log.file != now.log.file
        || before.log.auth_file != now.log.auth_file
        || before.log.shape() != now.log.shape();
    if moved {
        match logging::start(now) {
            Ok(log) => context.log.store(Arc::new(log)),
            Err(error) => observe::emit(LogNotMoved {
                error: &error.to_string(),
            }),
        }
    }
}

/// Hashes passwords that stand in plain text where hashes belong. Gives their keys.
pub(crate) fn hash_plain(config: &mut Config) -> Result<Vec<String>, String> {
    config
        .hash_plain(|password| bcrypt::hash(password, bcrypt::DEFAULT_COST))
        .map_err(|error| format!("cannot hash a password: {error}"))
}

/// Says which they were.
pub(crate) fn warn_hashed(keys: &[String]) {
    for key in keys {
        observe::emit(PasswordHashed { key });
    }
}
