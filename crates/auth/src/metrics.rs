//! What is counted about passwords, those who do not know them, and those who do.
//!
//! Contract: labels say what somebody tried, never who: no address, no name, no mount.

use std::sync::Weak;

use observe::metrics::{Exposition, Kind, Metric};

use crate::Auth;
use crate::csrf::CsrfRefusal;

/// The metrics of this crate, apart from those of [`collector`].
pub const ALL: &[&dyn Metric] = &[&FAILURES, &CHECKS, &CHECK_DURATION, &LOGINS, &CSRF_REFUSALS];

observe::metrics! {
    /// Wrong credentials.
    pub static FAILURES: Counters<Attempted> = "tinyice_auth_failures_total" {"kind"}:
        "Attempts with wrong credentials, by what was attempted. Requests without credentials and those of locked-out \
         clients are not among them.";
    /// Password checks.
    pub static CHECKS: Counters<Checked> = "tinyice_auth_checks_total" {"result"}:
        "Password checks by result; cached ones cost nothing, busy ones were turned away because too many waited.";
    /// How long answers took that a password thread gave.
    pub static CHECK_DURATION: Histogram = "tinyice_auth_check_seconds":
        "Password checks, from the question to the answer of a password thread, the wait for one included.",
        seconds &[0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
    /// Sessions begun.
    pub static LOGINS: Counters<SignedIn> = "tinyice_auth_logins_total" {"method"}:
        "Sign-ins that began a session, by how somebody proved who they are.";
    /// Changes that a foreign page may have sent.
    pub static CSRF_REFUSALS: Counters<CsrfRefusal> = "tinyice_auth_csrf_refusals_total" {"reason"}:
        "Changes refused because a page of another site may have sent them, by reason.";
}

observe::label! {
    /// What somebody tried to do.
    pub enum Attempted {
        Source = "source",
        Admin = "admin",
        Login = "login",
        Metadata = "metadata",
        Other = "other",
    }

    /// How somebody signed in.
    pub enum SignedIn {
        Password = "password",
        Passkey = "passkey",
        Oidc = "oidc",
        Setup = "setup",
    }

    /// How a password check ended.
    pub enum Checked {
        Cached = "cached",
        Matched = "matched",
        Wrong = "wrong",
        Busy = "busy",
    }
}

/// What is in force at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Clients locked out for failed attempts.
    pub lockouts: u64,
    /// Clients locked out for asking after what is not there.
    pub scanners: u64,
    /// Banned addresses and blocks.
    pub bans: u64,
    /// Open sessions.
    pub sessions: u64,
}

/// Writes the families that depend on the state of an [`Auth`], for `observe::metrics::collect_with`. It takes no lock.
pub fn collector(auth: Weak<Auth>) -> impl Fn(&mut Exposition) + Send + Sync + 'static {
    move |out| {
        let Some(auth) = auth.upgrade() else { return };
        let counts = auth.counts();
        out.family(
            "tinyice_lockouts",
            Kind::Gauge,
            "Clients locked out for failed attempts or for scanning; ended ones are counted for up to a minute more.",
        )
        .sample(&[], counts.lockouts + counts.scanners);
        out.family(
            "tinyice_bans",
            Kind::Gauge,
            "Banned addresses and blocks of addresses.",
        )
        .sample(&[], counts.bans);
        out.family(
            "tinyice_sessions",
            Kind::Gauge,
            "Open sessions of browsers; ended ones are counted for up to a minute more.",
        )
        .sample(&[], counts.sessions);
    }
}
