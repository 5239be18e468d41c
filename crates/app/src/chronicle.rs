//! What happens to mounts and accounts, told to those who keep it and to those outside who want to know.
//!
//! Contract: everything here is called where something happens, the media path included. It puts a value into a bounded
//! queue and returns; whoever cannot keep up loses news, never time.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use auth::{Auth, SessionChange, StoredSession, TokenUse};
use config::{Config, MountName};
use geo::Geo;
use mount::{Happening, Mounts, Witness};
use observe::{Mutex, task};
use store::{AgentKind, Retention, Sample, Settings, Store};
use webhook::{Backlog, Notice, Webhooks};

use crate::context::Context;

mod watch;

observe::event! {
    /// The database could not be read and another one was begun.
    struct DatabaseSetAside<'a> { path: &'a str, reason: &'a str }
    = Error "database_set_aside": "The history database was damaged and is kept as {path}: {reason}"

    /// There will be no history.
    struct NoDatabase<'a> { error: &'a str }
    = Error "no_database": "No history is kept: {error}"
}

/// A lockout lasts this long from its beginning.
const LOCKOUT: Duration = Duration::from_secs(15 * 60);
/// How often listeners are counted for the history.
const SAMPLES: Duration = Duration::from_secs(60);
/// How often the file of places is looked at.
const PLACES: Duration = Duration::from_secs(60);

/// Kinds of records that others keep in the database.
mod kind {
    pub(super) const SESSION: &str = "session";
    pub(super) const TOKEN_USE: &str = "token_use";
    pub(super) const DELIVERY: &str = "webhook_delivery";
}

/// Opens the database beside the other files of the server. Without it the server runs all the same.
pub(crate) fn open(config: &Config) -> Option<Store> {
    let settings = Settings {
        retention: retention(config),
        ..Settings::default()
    };
    match Store::open(&config.data_dir.join("history.db"), settings) {
        Ok((store, opened)) => {
            if let Some(replaced) = &opened.replaced {
                observe::emit(DatabaseSetAside {
                    path: &replaced.moved_to.display().to_string(),
                    reason: &replaced.reason,
                });
            }
            observe::metrics::register(store::metrics::ALL);
            observe::metrics::collect_with(store.collector());
            Some(store)
        }
        Err(error) => {
            observe::emit(NoDatabase {
                error: &error.to_string(),
            });
            None
        }
    }
}

/// How long the configuration wants things kept.
pub(crate) fn retention(config: &Config) -> Retention {
    Retention::from_days(config.audit_retention_days, config.history_retention_days)
}

/// Undelivered news for webhooks, in the database.
pub(crate) struct Undelivered(pub(crate) Option<Store>);

impl Backlog for Undelivered {
    fn save(&self, key: &str, value: Vec<u8>) {
        if let Some(store) = &self.0 {
            store.put(kind::DELIVERY, key, value);
        }
    }

    fn remove(&self, key: &str) {
        if let Some(store) = &self.0 {
            store.delete(kind::DELIVERY, key);
        }
    }
}

/// What was not delivered before the last end.
pub(crate) async fn undelivered(store: Option<&Store>) -> Vec<(String, Vec<u8>)> {
    all(store, kind::DELIVERY).await
}

async fn all(store: Option<&Store>, kind: &'static str) -> Vec<(String, Vec<u8>)> {
    match store {
        // A database that cannot be read has been reported by itself.
        Some(store) => store.all(kind).await.unwrap_or_default(),
        None => Vec::new(),
    }
}

/// Takes note of what happens to mounts.
struct Chronicle {
    store: Option<Store>,
    webhooks: Webhooks,
    /// Since when mounts are on a fallback or silent. Touched when that changes.
    since: Mutex<BTreeMap<(MountName, State), (Instant, String)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    OnFallback,
    Silent,
}

impl Chronicle {
    fn count(&self, kind: AgentKind, agent: &str) {
        if let Some(store) = &self.store {
            store.agent(kind, Some(agent));
        }
    }

    fn begin(&self, mount: &MountName, state: State, detail: String) {
        self.since
            .lock()
            .insert((mount.clone(), state), (Instant::now(), detail));
    }

    fn end(&self, mount: &MountName, state: State) -> (Duration, String) {
        let begun = self.since.lock().remove(&(mount.clone(), state));
        begun.map_or_else(Default::default, |(since, detail)| (since.elapsed(), detail))
    }
}

impl Witness for Chronicle {
    fn saw(&self, happening: Happening<'_>) {
        match happening {
            Happening::SourceConnected {
                mount,
                owner,
                station,
            } => {
                self.count(AgentKind::Source, &owner.user_agent);
                self.webhooks.tell(Notice::SourceConnect {
                    mount: mount.to_string(),
                    ip: owner.ip,
                    ua: owner.user_agent.clone(),
                    name: station.name.clone().unwrap_or_default(),
                    protocol: owner.protocol.as_str().to_owned(),
                });
            }
            Happening::SourceDisconnected {
                mount,
                owner,
                station,
                reason,
                connected,
            } => {
                self.webhooks.tell(Notice::SourceDisconnect {
                    mount: mount.to_string(),
                    ip: owner.ip,
                    ua: owner.user_agent.clone(),
                    name: station.name.clone().unwrap_or_default(),
                    reason: reason.to_owned(),
                    lived: connected,
                    protocol: owner.protocol.as_str().to_owned(),
                });
            }
            Happening::TitleChanged {
                mount,
                title,
                station,
            } => {
                if let Some(store) = &self.store {
                    store.song(mount.as_str(), &title.text, jiff::Timestamp::now());
                }
                // Most encoders send one line; whoever is told gets its parts all the same.
                let (artist, name) = match (&title.artist, &title.title) {
                    (None, None) => title.text.split_once(" - ").unwrap_or(("", &title.text)),
                    (artist, name) => (
                        artist.as_deref().unwrap_or_default(),
                        name.as_deref().unwrap_or_default(),
                    ),
                };
                self.webhooks.tell(Notice::MetadataUpdate {
                    mount: mount.to_string(),
                    name: station.name.clone().unwrap_or_default(),
                    description: station.description.clone().unwrap_or_default(),
                    genre: station.genre.clone().unwrap_or_default(),
                    song: title.text.clone(),
                    artist: artist.to_owned(),
                    title: name.to_owned(),
                });
            }
            Happening::ListenerConnected { user_agent, .. } => {
                self.count(AgentKind::Listener, user_agent);
            }
            Happening::FallbackBegun {
                mount,
                fallback,
                listeners,
            } => {
                self.begin(mount, State::OnFallback, fallback.to_string());
                self.webhooks.tell(Notice::FallbackActive {
                    mount: mount.to_string(),
                    fallback: fallback.to_string(),
                    reason: "source gone".to_owned(),
                    listeners,
                });
            }
            Happening::FallbackEnded { mount, listeners } => {
                let (lasted, fallback) = self.end(mount, State::OnFallback);
                self.webhooks.tell(Notice::FallbackEnded {
                    mount: mount.to_string(),
                    fallback,
                    lasted,
                    listeners,
                });
            }
            Happening::Silent { mount, silence } => {
                self.begin(mount, State::Silent, String::new());
                self.webhooks.tell(Notice::StreamSilent {
                    mount: mount.to_string(),
                    name: String::new(),
                    silent: silence,
                });
            }
            Happening::Recovered { mount } => {
                let (silent, _) = self.end(mount, State::Silent);
                self.webhooks.tell(Notice::StreamRecovered {
                    mount: mount.to_string(),
                    name: String::new(),
                    silent,
                });
            }
        }
    }
}

/// Connects what happens with those who want to know, and takes up what was kept before the last end.
pub(crate) async fn connect(mounts: &Mounts, auth: &Arc<Auth>, store: Option<&Store>, webhooks: &Webhooks) {
    mounts.call_witness(Chronicle {
        store: store.cloned(),
        webhooks: webhooks.clone(),
        since: Mutex::new("chronicle.since", BTreeMap::new()),
    });
    auth.on_lockout({
        let webhooks = webhooks.clone();
        move |lockout| {
            webhooks.tell(Notice::SecurityLockout {
                ip: lockout.ip,
                reason: lockout.reason.to_owned(),
                until: lockout.until,
                details: lockout.details.to_owned(),
                duration: LOCKOUT,
            });
        }
    });
    let read = |records: Vec<(String, Vec<u8>)>| records.into_iter().map(|(_, value)| value);
    let sessions = all(store, kind::SESSION).await;
    let sessions = read(sessions).filter_map(|value| serde_json::from_slice::<StoredSession>(&value).ok());
    auth.restore_sessions(sessions.collect());
    let uses = all(store, kind::TOKEN_USE).await;
    let uses = read(uses).filter_map(|value| serde_json::from_slice::<TokenUse>(&value).ok());
    auth.restore_token_uses(uses.collect());
    let Some(store) = store.cloned() else { return };
    auth.on_session_change({
        move |change| match change {
            SessionChange::Saved(session) => {
                if let Ok(value) = serde_json::to_vec(&session) {
                    store.put(kind::SESSION, &session.key, value);
                }
            }
            SessionChange::Ended(key) => store.delete(kind::SESSION, &key),
        }
    });
}

/// Starts what keeps the history while the server runs.
pub(crate) fn keep(context: &Arc<Context>) {
    task::spawn("watch", (), watch::run(Arc::clone(context))).detach();
    let geo = Arc::clone(&context.api.parts().geo);
    task::spawn("places", (), look_for_places(Arc::clone(context), geo)).detach();
    let Some(store) = context.api.parts().store.clone() else {
        return;
    };
    let (mounts, counted) = (Arc::clone(&context.mounts), store.clone());
    task::spawn("listener-history", (), async move {
        let mut ticks = tokio::time::interval(SAMPLES);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            counted.sample(samples(&mounts), jiff::Timestamp::now());
        }
    })
    .detach();
    let auth = Arc::clone(&context.auth);
    task::spawn("token-uses", (), async move {
        loop {
            tokio::time::sleep(Duration::from_secs(60)).await;
            keep_token_uses(&auth, &store);
        }
    })
    .detach();
}

/// Follows the file of places: where it comes, changes and goes.
async fn look_for_places(context: Arc<Context>, geo: Arc<ArcSwapOption<Geo>>) {
    loop {
        let (config, geo) = (context.config.load_full(), Arc::clone(&geo));
        // A file of a hundred megabytes takes its time to be read.
        let _ = tokio::task::spawn_blocking(move || places(&config, &geo)).await;
        tokio::time::sleep(PLACES).await;
    }
}

/// The places of the old installation, which are not of this folder.
const OLD_PLACES: &str = "/var/lib/tinyice/geoip/dbip-city-lite.mmdb";

fn places(config: &Config, geo: &ArcSwapOption<Geo>) {
    if !config.geoip.enabled {
        geo.store(None);
        return;
    }
    let path = match config.geoip.path.as_str() {
        "" => {
            let own = config.data_dir.join("geoip/dbip-city-lite.mmdb");
            if own.exists() { own } else { OLD_PLACES.into() }
        }
        path => path.into(),
    };
    match geo.load_full() {
        // What is wrong with the file is told by itself, once.
        Some(present) if present.path() == path => {
            let _ = present.refresh();
        }
        // Most servers have no such file; the map is then empty.
        _ => geo.store(Geo::open(path).ok().map(Arc::new)),
    }
}

/// Writes down which tokens were used.
pub(crate) fn keep_token_uses(auth: &Auth, store: &Store) {
    for used in auth.take_token_uses() {
        if let Ok(value) = serde_json::to_vec(&used) {
            store.put(kind::TOKEN_USE, &used.id, value);
        }
    }
}

/// Listeners and bytes of every live mount.
fn samples(mounts: &Mounts) -> Vec<Sample> {
    let live = mounts.snapshot(Instant::now());
    live.into_iter()
        .map(|mount| Sample {
            mount: mount.name.to_string(),
            listeners: mount.listeners,
            bytes_in: mount.bytes_in,
            bytes_out: mount.bytes_out,
        })
        .collect()
}
