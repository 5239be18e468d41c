//! One attempt to prove who one is: refused, counted, written down.
//!
//! Contract: the line in the trail and the count belong together; an exempt client is written down and never counted.

use std::fmt;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Instant;

use config::MountName;
use jiff::Timestamp;

use crate::auth::Auth;
use crate::caller::LockedOutUntil;
use crate::lockout::Failure;
use crate::login::until_text;
use crate::metrics::{Attempted, FAILURES as FAILED};
use crate::password::now;
use crate::trail::{AuthFailed, BruteForceLockout, LockoutStarted, ScanLockout, quote};

/// A lockout that just began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lockout {
    /// Whose.
    pub ip: IpAddr,
    /// `brute_force_auth` or `connection_scanning`.
    pub reason: &'static str,
    /// When it ends.
    pub until: Timestamp,
    /// In words.
    pub details: &'static str,
}

/// Who wants to know of lockouts.
#[derive(Default)]
pub(crate) struct Hook(OnceLock<Box<dyn Fn(Lockout) + Send + Sync>>);

impl Hook {
    pub(crate) fn set(&self, tell: impl Fn(Lockout) + Send + Sync + 'static) {
        let _ = self.0.set(Box::new(tell));
    }

    fn tell(&self, lockout: Lockout) {
        if let Some(tell) = self.0.get() {
            tell(lockout);
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Hook")
    }
}

/// Somebody who tries to prove themselves.
pub(crate) struct Attempt<'a> {
    pub(crate) ip: IpAddr,
    pub(crate) user: &'a str,
    pub(crate) kind: Attempted,
    pub(crate) mount: Option<&'a MountName>,
    pub(crate) proto: Option<&'static str>,
}

impl Attempt<'_> {
    pub(crate) fn write(&self, reason: &str) {
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

impl Auth {
    /// When the client may try again, if it is locked out; the trail says so now and then.
    pub(crate) fn refuse_locked(&self, attempt: &Attempt<'_>) -> Option<LockedOutUntil> {
        let until = self.locked_until(attempt.ip)?;
        let now = now();
        let until = until_text(until, now);
        if self.lockouts_table().lock().is_notable(attempt.ip, now) {
            attempt.write(&until.to_string());
        }
        Some(until)
    }

    /// Counts and writes one failure. An exempt client is written down but not counted.
    pub(crate) fn count(&self, attempt: &Attempt<'_>, reason: &str) -> Option<Failure> {
        attempt.write(reason);
        FAILED.of(attempt.kind).inc();
        let ip = attempt.ip.to_canonical();
        if self.gate().is_whitelisted(ip) {
            return None;
        }
        let now = now();
        let failure = self.lockouts_table().lock().fail(ip, now);
        if let Failure::Locked(until) = failure {
            self.lock_out(Lockout {
                ip,
                reason: "brute_force_auth",
                until: wall_clock(until, now),
                details: "5 failed authentication attempts",
            });
        }
        Some(failure)
    }

    /// Tells everybody of a lockout.
    pub(crate) fn lock_out(&self, lockout: Lockout) {
        let Lockout {
            ip, reason, details, ..
        } = lockout;
        let until = &lockout.until.to_string();
        if reason == "connection_scanning" {
            observe::emit(ScanLockout {
                ip,
                reason,
                until,
                details,
            });
        } else {
            observe::emit(BruteForceLockout {
                ip,
                reason,
                until,
                details,
            });
        }
        observe::emit(LockoutStarted { ip, reason, until });
        self.lockout_hook().tell(lockout);
    }

    /// Tells of each lockout as it begins. It may queue and must not wait; only the first one set is told.
    pub fn on_lockout(&self, tell: impl Fn(Lockout) + Send + Sync + 'static) {
        self.lockout_hook().set(tell);
    }

    /// Counts a failure that somebody else found, such as a passkey that does not fit, with its line in the trail.
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
        self.lockouts_table().lock().succeed(ip, now());
    }
}

/// The wall clock at a moment of the other clock, to the second.
pub(crate) fn wall_clock(at: Instant, now: Instant) -> Timestamp {
    let ahead = at.saturating_duration_since(now);
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second().saturating_add_unsigned(ahead.as_secs())).unwrap_or(now)
}
