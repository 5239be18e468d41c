//! The one place that decides who may publish and who may administer.
//!
//! Contract: a locked-out client causes no password work, a request without credentials is no failure, one wrong
//! request is one failure, and an exempt client is never counted. Right or wrong, an answer that comes after the
//! client was locked out is a refusal, so that many attempts at once win nothing.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use config::{Config, MountName, Role};
use observe::Mutex;

use crate::credentials::Credentials;
use crate::gate::Gate;
use crate::locked_out::LockedOut;
use crate::lockout::{FAILURES, Failure, Locked, Lockouts};
use crate::metrics::{Attempted, Counts, FAILURES as FAILED};
use crate::password::{Busy, PasswordCheck, PoolSettings, now};
use crate::scan::Scans;
use crate::source::source_hashes;
use crate::trail::{
    AdminAccepted, AuthFailed, BruteForceLockout, LockoutEnded, LockoutStarted, ScanLockout, SourceAccepted,
    SourceRefused, quote,
};

/// What a source speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP SOURCE or PUT.
    Icecast,
    /// RTMP publish.
    Rtmp,
    /// SRT publish.
    Srt,
    /// A WebRTC offer with a source password.
    WebRtc,
}

impl Protocol {
    /// The field `proto` of the trail; the oldest protocol has none, as its lines always were.
    fn field(self) -> Option<&'static str> {
        match self {
            Protocol::Icecast => None,
            Protocol::Rtmp => Some("rtmp"),
            Protocol::Srt => Some("srt"),
            Protocol::WebRtc => Some("webrtc"),
        }
    }
}

/// Whether a source may publish. Everything but `Ok` is answered with 401, `Busy` with 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceVerdict {
    /// It may.
    Ok,
    /// It sent no credentials; ask for them. Not a failure.
    NoCredentials,
    /// Its address failed too often.
    LockedOut,
    /// The password does not open the mount.
    Wrong,
    /// Too many checks are waiting.
    Busy,
}

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

/// An account that proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// The mounts it owns.
    pub mounts: BTreeSet<MountName>,
}

impl Account {
    /// Whether it may do everything.
    pub fn is_superadmin(&self) -> bool {
        self.role == Role::Superadmin
    }

    /// Whether it has access to a mount: its own, and all for a superadmin.
    pub fn has_access(&self, mount: &MountName) -> bool {
        self.is_superadmin() || self.mounts.contains(mount)
    }
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
        Ok(Auth {
            locked_out: [lockouts.locked_out(), scans.locked_out()],
            gate: ArcSwap::from_pointee(Gate::new(&config)),
            config: ArcSwap::new(config),
            passwords: PasswordCheck::start(pool)?,
            lockouts: Mutex::new("lockouts", lockouts),
            scans: Mutex::new("scans", scans),
        })
    }

    /// Takes over a changed configuration; lockouts stay.
    pub fn reload(&self, config: Arc<Config>) {
        self.gate.store(Arc::new(Gate::new(&config)));
        self.config.store(config);
    }

    /// Bans, white list and proxies as they are now.
    pub fn gate(&self) -> Arc<Gate> {
        self.gate.load_full()
    }

    /// The password threads, for logins and new passwords.
    pub fn passwords(&self) -> &PasswordCheck {
        &self.passwords
    }

    /// Whether a source may publish on a mount. The caller has looked at bans before.
    pub async fn source(
        &self,
        protocol: Protocol,
        ip: IpAddr,
        mount: &MountName,
        credentials: Option<&Credentials>,
    ) -> SourceVerdict {
        let ip = ip.to_canonical();
        let user = credentials.map_or("", |credentials| credentials.user.as_str());
        let user = match (protocol, user) {
            (Protocol::WebRtc, _) => "webrtc-source",
            (_, "") => "unknown",
            (_, user) => user,
        };
        let attempt = Attempt {
            ip,
            user,
            kind: Attempted::Source,
            mount: Some(mount),
            proto: protocol.field(),
        };
        if self.refuse_locked(&attempt) {
            return SourceVerdict::LockedOut;
        }
        let Some(credentials) = credentials else {
            return SourceVerdict::NoCredentials;
        };
        let hashes = source_hashes(&self.config.load(), mount);
        let matches = match self.passwords.verify(hashes, &credentials.password).await {
            Ok(matches) => matches,
            Err(Busy) => return SourceVerdict::Busy,
        };
        if self.refuse_locked(&attempt) {
            return SourceVerdict::LockedOut;
        }
        if matches {
            self.succeed(ip);
            observe::emit(SourceAccepted {
                mount: &quote(mount.as_str()),
                ip,
                proto: attempt.proto,
            });
            return SourceVerdict::Ok;
        }
        let reason = match protocol {
            Protocol::WebRtc => "invalid source password",
            _ => "source password mismatch",
        };
        let failures = match self.count(&attempt, reason) {
            Some(Failure::Counted(failures)) => failures,
            Some(Failure::Locked(_)) => FAILURES,
            // An exempt client would get such a line for ever; its lines are in the trail.
            Some(Failure::Renewed(_)) | None => 0,
        };
        if failures == 1 || failures == FAILURES {
            observe::emit(SourceRefused {
                mount: mount.as_str(),
                ip,
                failures,
                proto: attempt.proto,
            });
        }
        SourceVerdict::Wrong
    }

    /// Who sends a request that an account or, where a mount is given, its source may send. The password is tried as
    /// the mount's first: encoders send it with each title, and that is no failed login.
    pub async fn admin_or_source(
        &self,
        ip: IpAddr,
        mount: Option<&MountName>,
        credentials: Option<&Credentials>,
    ) -> Verdict {
        let user = credentials
            .map(|credentials| credentials.user.as_str())
            .filter(|user| !user.is_empty());
        let attempt = Attempt {
            ip,
            user: user.unwrap_or("unknown"),
            kind: match mount {
                Some(_) => Attempted::Metadata,
                None => Attempted::Admin,
            },
            mount,
            proto: None,
        };
        if self.refuse_locked(&attempt) {
            return Verdict::LockedOut;
        }
        let Some(credentials) = credentials else {
            return Verdict::NoCredentials;
        };
        let config = self.config.load_full();
        let account = config.users.get(&credentials.user);
        let mut hashes = mount
            .map(|mount| source_hashes(&config, mount))
            .unwrap_or_default();
        let of_source = hashes.len();
        let of_account = account
            .map(|account| account.password.clone())
            .filter(|hash| !hash.is_empty());
        // Without an account the dummy is compared, so that the answer takes the same time.
        hashes.push(of_account.unwrap_or_else(|| self.passwords.dummy()));
        let found = match self.passwords.find(hashes, &credentials.password).await {
            Ok(found) => found,
            Err(Busy) => return Verdict::Busy,
        };
        if self.refuse_locked(&attempt) {
            return Verdict::LockedOut;
        }
        match (found, account, mount) {
            (Some(place), _, Some(mount)) if place < of_source => {
                self.succeed(ip);
                Verdict::SourceOf(mount.clone())
            }
            (Some(place), Some(account), _) if place == of_source => {
                self.succeed(ip);
                observe::emit(AdminAccepted {
                    user: &quote(&credentials.user),
                    ip,
                });
                Verdict::Account(Account {
                    name: credentials.user.clone(),
                    role: account.role,
                    mounts: account.mounts.keys().cloned().collect(),
                })
            }
            _ => {
                let reason = match (account, mount) {
                    (Some(_), _) => "invalid password",
                    (None, Some(_)) => "source password mismatch",
                    (None, None) => "user not found",
                };
                self.count(&attempt, reason);
                Verdict::Wrong
            }
        }
    }

    /// Counts a failure that somebody else found, such as a wrong setup token, with its line in the trail.
    pub fn fail(&self, ip: IpAddr, user: &str, reason: &str) {
        self.count(
            &Attempt {
                ip,
                user,
                kind: Attempted::Other,
                mount: None,
                proto: None,
            },
            reason,
        );
    }

    /// Clears the failures of a client that proved itself in a way not known here.
    pub fn succeed(&self, ip: IpAddr) {
        self.lockouts.lock().succeed(ip, now());
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
        let until = wall_clock(until, now).to_string();
        let details = "25 distinct 404 paths";
        observe::emit(ScanLockout {
            ip,
            reason: "connection_scanning",
            until: &until,
            details,
        });
        observe::emit(LockoutStarted {
            ip,
            reason: "connection_scanning",
            until: &until,
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

    fn locked_until(&self, ip: IpAddr) -> Option<Instant> {
        if self.gate.load().is_whitelisted(ip) {
            return None;
        }
        self.lockouts.lock().locked_until(ip, now())
    }

    /// Whether the client is locked out; the trail says so now and then.
    fn refuse_locked(&self, attempt: &Attempt<'_>) -> bool {
        let Some(until) = self.locked_until(attempt.ip) else {
            return false;
        };
        let now = now();
        if self.lockouts.lock().is_notable(attempt.ip, now) {
            let until = wall_clock(until, now).to_zoned(jiff::tz::TimeZone::system());
            attempt.write(&format!(
                "too many failed attempts. locked out until {}",
                until.strftime("%H:%M:%S")
            ));
        }
        true
    }

    /// Counts and writes one failure. An exempt client is written down but not counted.
    fn count(&self, attempt: &Attempt<'_>, reason: &str) -> Option<Failure> {
        attempt.write(reason);
        FAILED.of(attempt.kind).inc();
        let ip = attempt.ip.to_canonical();
        if self.gate.load().is_whitelisted(ip) {
            return None;
        }
        let now = now();
        let failure = self.lockouts.lock().fail(ip, now);
        if let Failure::Locked(until) = failure {
            let until = wall_clock(until, now).to_string();
            let details = "5 failed authentication attempts";
            observe::emit(BruteForceLockout {
                ip,
                reason: "brute_force_auth",
                until: &until,
                details,
            });
            observe::emit(LockoutStarted {
                ip,
                reason: "brute_force_auth",
                until: &until,
            });
        }
        Some(failure)
    }
}

/// Somebody who tries to prove themselves.
struct Attempt<'a> {
    ip: IpAddr,
    user: &'a str,
    kind: Attempted,
    mount: Option<&'a MountName>,
    proto: Option<&'static str>,
}

impl Attempt<'_> {
    fn write(&self, reason: &str) {
        let mount = self.mount.map(|mount| quote(mount.as_str()));
        observe::emit(AuthFailed {
            user: &quote(self.user),
            ip: self.ip.to_canonical(),
            reason,
            mount: mount.as_deref(),
            proto: self.proto,
        });
    }
}

/// The wall clock at a moment of the other clock, to the second.
fn wall_clock(at: Instant, now: Instant) -> jiff::Timestamp {
    let ahead = at.saturating_duration_since(now);
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second().saturating_add_unsigned(ahead.as_secs())).unwrap_or(now)
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
