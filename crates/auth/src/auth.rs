//! The one place that decides who may publish and who may administer.
//!
//! Contract: a locked-out client causes no password work, a request without credentials is no failure, one wrong
//! request is one failure, and an exempt client is never counted. Right or wrong, an answer that comes after the
//! client was locked out is a refusal, so that many attempts at once win nothing.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use config::{Config, MountName};
use jiff::Timestamp;
use observe::Mutex;

use crate::attempt::{Attempt, Hook, Lockout, wall_clock};
use crate::caller::{Account, Caller};
use crate::credentials::Credentials;
use crate::gate::Gate;
use crate::locked_out::LockedOut;
use crate::lockout::{Locked, Lockouts};
use crate::login::Proved;
use crate::metrics::{Attempted, Counts};
use crate::password::{Busy, PasswordCheck, PoolSettings, now};
use crate::pending::Requests;
use crate::scan::Scans;
use crate::sessions::Sessions;
use crate::slowdown::Slowdown;
use crate::source::source_hashes;
use crate::token_uses::{TokenUse, Uses};
use crate::tokens::{self, TokenRow, TokenTable};
use crate::trail::{AdminAccepted, LockoutEnded, quote};

/// Who a request is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Somebody with an account. What they may do is for the caller to look up there.
    Account(Account),
    /// A source: it knows the password of this mount and may do what its source may, nothing else.
    SourceOf(MountName),
    /// The credentials are wrong (401).
    Wrong,
    /// The address failed too often (429, or 401 where a client knows nothing else).
    LockedOut,
    /// There are none; ask for them (401). Not a failure.
    NoCredentials,
    /// Too many checks are waiting (503).
    Busy,
}

/// Decides.
#[derive(Debug)]
pub struct Auth {
    config: ArcSwap<Config>,
    gate: ArcSwap<Gate>,
    passwords: PasswordCheck,
    /// Held for one look-up or one count.
    lockouts: Mutex<Lockouts>,
    /// Held for one look-up or one count.
    scans: Mutex<Scans>,
    /// How many of either there are, for those who must not wait for the locks.
    locked_out: [LockedOut; 2],
    lockout_hook: Hook,
    /// Held for one look-up or one count.
    slowdown: Mutex<Slowdown>,
    /// Held for one look-up or one change; the sweep and a new session walk through all.
    sessions: Mutex<Sessions>,
    /// How many there are, for those who must not wait for the lock.
    open_sessions: Arc<AtomicU64>,
    tokens: ArcSwap<TokenTable>,
    /// Held for one count.
    token_uses: Mutex<Uses>,
    /// Held for one count.
    access_requests: Mutex<Requests>,
    /// Held while a configuration is taken over, so that no gate of an older one comes after it.
    reloading: Mutex<()>,
}

impl Auth {
    /// Starts the password threads.
    ///
    /// # Errors
    /// The system gave no thread or no random bytes.
    pub fn start(config: Arc<Config>) -> io::Result<Auth> {
        Auth::with_pool(config, PoolSettings::default())
    }

    /// The same with another amount of password work.
    ///
    /// # Errors
    /// The system gave no thread or no random bytes.
    pub fn with_pool(config: Arc<Config>, pool: PoolSettings) -> io::Result<Auth> {
        let (lockouts, scans) = (Lockouts::default(), Scans::default());
        let (sessions, mut uses) = (Sessions::default(), Uses::default());
        uses.keep(&config);
        Ok(Auth {
            locked_out: [lockouts.locked_out(), scans.locked_out()],
            open_sessions: sessions.count(),
            gate: ArcSwap::from_pointee(Gate::new(&config)),
            tokens: ArcSwap::from_pointee(TokenTable::new(&config)),
            config: ArcSwap::new(config),
            passwords: PasswordCheck::start(pool)?,
            lockouts: Mutex::new("lockouts", lockouts),
            scans: Mutex::new("scans", scans),
            lockout_hook: Hook::default(),
            slowdown: Mutex::new("slowdown", Slowdown::default()),
            sessions: Mutex::new("sessions", sessions),
            token_uses: Mutex::new("token-uses", uses),
            access_requests: Mutex::new("access-requests", Requests::default()),
            reloading: Mutex::new("auth-reload", ()),
        })
    }

    /// Takes over a changed configuration; lockouts stay. Sessions of accounts that are gone end, and those of accounts
    /// whose password or role changed are valid no more; see [`Auth::end_of_user`] for keeping one of them.
    pub fn reload(&self, config: Arc<Config>) {
        let _reloading = self.reloading.lock();
        self.gate.store(Arc::new(Gate::new(&config)));
        self.tokens.store(Arc::new(TokenTable::new(&config)));
        self.config.store(Arc::clone(&config));
        self.sessions.lock().keep_users(&config);
        self.token_uses.lock().keep(&config);
    }

    /// Bans, white list and proxies as they are now.
    pub fn gate(&self) -> Arc<Gate> {
        let gate = self.gate.load_full();
        if gate.is_current() {
            return gate;
        }
        // A ban has run out.
        let _reloading = self.reloading.lock();
        let gate = Arc::new(Gate::new(&self.config.load()));
        self.gate.store(Arc::clone(&gate));
        gate
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    pub(crate) fn lockouts_table(&self) -> &Mutex<Lockouts> {
        &self.lockouts
    }

    pub(crate) fn lockout_hook(&self) -> &Hook {
        &self.lockout_hook
    }

    pub(crate) fn slowdown(&self) -> &Mutex<Slowdown> {
        &self.slowdown
    }

    pub(crate) fn sessions(&self) -> &Mutex<Sessions> {
        &self.sessions
    }

    pub(crate) fn tokens(&self) -> Arc<TokenTable> {
        self.tokens.load_full()
    }

    pub(crate) fn note_token_use(&self, id: &str, ip: IpAddr, at: Timestamp) -> bool {
        self.token_uses.lock().note(id, ip, at)
    }

    /// The tokens that a caller gets to see: its own, and all if it may; in the order of the configuration.
    #[must_use]
    pub fn token_rows(&self, caller: &Caller) -> Vec<TokenRow> {
        let config = self.config();
        let uses = self.token_uses.lock();
        tokens::visible(&config, caller)
            .map(|token| TokenRow::of(token, uses.last(&token.id)))
            .collect()
    }

    /// The tokens used since the last time, for whoever keeps that over restarts; ask about once a minute.
    #[must_use]
    pub fn take_token_uses(&self) -> Vec<TokenUse> {
        self.token_uses.lock().take()
    }

    /// Learns what an earlier process kept; uses of tokens that are gone are left out.
    pub fn restore_token_uses(&self, kept: Vec<TokenUse>) {
        let config = self.config();
        let mut uses = self.token_uses.lock();
        for TokenUse { id, at, ip } in kept {
            uses.learn(&id, at, ip);
        }
        uses.keep(&config);
    }

    /// Whether one more person may ask for an account from this address: 5 in an hour. Asking counts.
    pub fn admit_access_request(&self, ip: IpAddr) -> bool {
        self.access_requests.lock().admit(ip, now())
    }

    /// The password threads, for logins and new passwords.
    pub fn passwords(&self) -> &PasswordCheck {
        &self.passwords
    }

    /// Who sends a request that an account or, where a mount is given, its source may send. The password is tried as
    /// the mount's first: encoders send it with each title, and that is no failed login.
    pub async fn admin_or_source(
        &self,
        ip: IpAddr,
        mount: Option<&MountName>,
        credentials: Option<&Credentials>,
    ) -> Verdict {
        match (mount, credentials) {
            (None, Some(credentials)) => match self.prove_basic(ip, credentials).await {
                Proved::Caller(caller) => Verdict::Account(caller.account),
                Proved::Wrong => Verdict::Wrong,
                Proved::LockedOut(_) => Verdict::LockedOut,
                Proved::Busy => Verdict::Busy,
            },
            (Some(mount), Some(credentials)) => self.source_or_account(ip, mount, credentials).await,
            (_, None) => {
                let attempt = Attempt {
                    ip,
                    user: "unknown",
                    kind: Attempted::Admin,
                    mount,
                    proto: None,
                };
                match self.refuse_locked(&attempt) {
                    Some(_) => Verdict::LockedOut,
                    None => Verdict::NoCredentials,
                }
            }
        }
    }

    async fn source_or_account(&self, ip: IpAddr, mount: &MountName, credentials: &Credentials) -> Verdict {
        let user = credentials.user.as_str();
        let attempt = Attempt {
            ip,
            user: if user.is_empty() { "unknown" } else { user },
            kind: Attempted::Metadata,
            mount: Some(mount),
            proto: None,
        };
        if self.refuse_locked(&attempt).is_some() {
            return Verdict::LockedOut;
        }
        let config = self.config.load_full();
        let account = config.users.get(user);
        let mut hashes = source_hashes(&config, mount);
        let of_source = hashes.len();
        let of_account = account
            .map(|account| account.password.clone())
            .filter(|hash| !hash.is_empty());
        // Without an account the dummy is compared, so that the answer takes the same time.
        let of_account = of_account.unwrap_or_else(|| self.passwords.dummy());
        if account.is_some()
            && !hashes
                .iter()
                .any(|hash| self.passwords.knows(hash, &credentials.password))
        {
            self.slow_down(user, &of_account, &credentials.password).await;
        }
        hashes.push(of_account);
        let found = match self.passwords.find(hashes, &credentials.password).await {
            Ok(found) => found,
            Err(Busy) => return Verdict::Busy,
        };
        if self.refuse_locked(&attempt).is_some() {
            return Verdict::LockedOut;
        }
        match (found, Account::of(&config, user)) {
            (Some(place), _) if place < of_source => {
                self.succeed(ip);
                Verdict::SourceOf(mount.clone())
            }
            (Some(_), Some(account)) => {
                self.succeed(ip);
                observe::emit(AdminAccepted {
                    user: &quote(user),
                    ip,
                });
                Verdict::Account(account)
            }
            (_, Some(_)) => {
                self.count(&attempt, "invalid password");
                self.note_failure_of(user);
                Verdict::Wrong
            }
            // Names of encoders are of no account, and many encoders share one.
            (_, None) => {
                self.count(&attempt, "source password mismatch");
                Verdict::Wrong
            }
        }
    }

    /// Writes into the trail that an account asked for a mount of somebody else. Its password was right, so that it
    /// is no failure.
    pub fn refuse_access(&self, ip: IpAddr, account: &Account, mount: &MountName) {
        let attempt = Attempt {
            ip,
            user: &account.name,
            kind: Attempted::Metadata,
            mount: Some(mount),
            proto: None,
        };
        attempt.write(&format!("no access to mount {}", quote(mount.as_str())));
    }

    /// Whether a client may not try to prove itself now.
    pub fn is_locked(&self, ip: IpAddr) -> bool {
        self.locked_until(ip).is_some()
    }

    /// Whether a client was found scanning and is to get nothing but public playback.
    pub fn is_scanning(&self, ip: IpAddr) -> bool {
        !self.gate.load().is_whitelisted(ip) && self.scans.lock().locked_until(ip, now()).is_some()
    }

    /// Notes that a listener asked for something that is not there. Mounts of the configuration are not counted: they
    /// are only silent. The caller leaves out mounts that were live in the last day.
    pub fn miss(&self, ip: IpAddr, path: &str) {
        if !Scans::counts(path)
            || is_configured(&self.config.load(), path)
            || self.gate.load().is_whitelisted(ip)
        {
            return;
        }
        let (ip, now) = (ip.to_canonical(), now());
        let Some(until) = self.scans.lock().miss(ip, path, now) else {
            return;
        };
        self.lock_out(Lockout {
            ip,
            reason: "connection_scanning",
            until: wall_clock(until, now),
            details: "25 distinct 404 paths",
        });
    }

    /// Clients with failures on record, the most first.
    pub fn lockouts(&self) -> Vec<Locked> {
        self.lockouts.lock().list(now())
    }

    /// Clients with missing paths on record, the most first.
    pub fn scanners(&self) -> Vec<Locked> {
        self.scans.lock().list(now())
    }

    /// What is in force, without waiting for anybody.
    pub fn counts(&self) -> Counts {
        let [lockouts, scanners] = self.locked_out.each_ref().map(LockedOut::count);
        Counts {
            lockouts,
            scanners,
            bans: self.config.load().banned_ips.len() as u64,
            sessions: self.open_sessions.load(Ordering::Relaxed),
        }
    }

    /// Forgets a client's failures; `false` if there were none.
    pub fn clear_lockout(&self, ip: IpAddr) -> bool {
        let cleared = self.lockouts.lock().clear(ip);
        if cleared {
            observe::emit(LockoutEnded {
                ip,
                reason: "brute_force_auth",
                cleared,
            });
        }
        cleared
    }

    /// Forgets a client's missing paths; `false` if there were none.
    pub fn clear_scan(&self, ip: IpAddr) -> bool {
        let cleared = self.scans.lock().clear(ip);
        if cleared {
            observe::emit(LockoutEnded {
                ip,
                reason: "connection_scanning",
                cleared,
            });
        }
        cleared
    }

    /// Removes what has run out; call it about once a minute.
    pub fn sweep(&self) {
        let now = now();
        let failed = self.lockouts.lock().sweep(now);
        let scanned = self.scans.lock().sweep(now);
        self.slowdown.lock().sweep(now);
        self.access_requests.lock().sweep(now);
        self.sessions.lock().sweep(&self.config.load(), Timestamp::now());
        for (ended, reason) in [(failed, "brute_force_auth"), (scanned, "connection_scanning")] {
            for ip in ended {
                observe::emit(LockoutEnded {
                    ip,
                    reason,
                    cleared: false,
                });
            }
        }
    }

    pub(crate) fn locked_until(&self, ip: IpAddr) -> Option<Instant> {
        if self.gate.load().is_whitelisted(ip) {
            return None;
        }
        self.lockouts.lock().locked_until(ip, now())
    }
}

/// Whether the configuration knows a mount of this name.
fn is_configured(config: &Config, path: &str) -> bool {
    config.mounts.contains_key(path)
        || config.advanced_mounts.contains_key(path)
        || config.visible_mounts.contains_key(path)
        || config
            .fallback_mounts
            .iter()
            .any(|(from, to)| from.as_str() == path || to.as_str() == path)
        || config.users.values().any(|user| user.mounts.contains_key(path))
        || config.relays.iter().any(|relay| relay.mount.as_str() == path)
        || config.autodjs.iter().any(|autodj| autodj.mount.as_str() == path)
        || config.transcoders.iter().any(|transcoder| {
            transcoder.input_mount.as_str() == path || transcoder.output_mount.as_str() == path
        })
        || config.variant_groups.iter().any(|(primary, others)| {
            primary.as_str() == path || others.iter().any(|other| other.as_str() == path)
        })
}
