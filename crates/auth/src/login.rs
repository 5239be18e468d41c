//! Signing in and out.
//!
//! Contract: a wrong login costs the same whether the account exists, has a password or not. Who signs in gets a new
//! session and loses the one that the browser came with.

use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use crate::auth::Auth;
use crate::caller::{Account, Caller, LockedOutUntil, Presented, Proof, SessionRef, Stamp};
use crate::metrics::{Attempted, LOGINS, SignedIn};
use crate::password::{Busy, now};
use crate::sessions::{NewSession, SessionChange, SessionRow, StoredSession};
use crate::trail::{LoginSuccessful, SessionsEnded, SignedOut, quote};

/// Where a browser goes that has nowhere else to go.
const HOME: &str = "/admin";
const MAX_NEXT: usize = 2_048;

/// What a login comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// The password is that of this account; begin a session for it.
    Ok(Account),
    /// Name or password are wrong (401).
    Wrong,
    /// Passwords from this address are not looked at (429).
    LockedOut(LockedOutUntil),
    /// Too many checks are waiting (503).
    Busy,
}

/// How somebody signed in; prints as in the trail and the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignIn<'a> {
    /// By name and password.
    Password,
    /// By a passkey.
    Passkey,
    /// At an outside provider with this id.
    Provider(&'a str),
    /// By doing the first-run setup.
    Setup,
}

impl SignIn<'_> {
    fn label(self) -> SignedIn {
        match self {
            SignIn::Password => SignedIn::Password,
            SignIn::Passkey => SignedIn::Passkey,
            SignIn::Provider(_) => SignedIn::Oidc,
            SignIn::Setup => SignedIn::Setup,
        }
    }
}

impl fmt::Display for SignIn<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignIn::Provider(id) => write!(out, "oidc:{}", quote(id)),
            other => out.write_str(other.label().as_str()),
        }
    }
}

/// Why no session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The account is gone (401).
    #[error("User not found")]
    NoUser,
    /// The system gave no random bytes (500).
    #[error("No random bytes from the system")]
    NoRandom,
}

/// What a password turned out to be.
pub(crate) enum Proved {
    Caller(Caller),
    Wrong,
    LockedOut(LockedOutUntil),
    Busy,
}

impl Auth {
    /// Tries a name and a password, as from the login form.
    pub async fn login(&self, ip: IpAddr, user: &str, password: &[u8]) -> Login {
        match self
            .prove_as(Attempted::Login, ip, user, password, |_| "invalid credentials")
            .await
        {
            Proved::Caller(caller) => Login::Ok(caller.account),
            Proved::Wrong => Login::Wrong,
            Proved::LockedOut(until) => Login::LockedOut(until),
            Proved::Busy => Login::Busy,
        }
    }

    pub(crate) async fn prove(
        &self,
        ip: IpAddr,
        user: &str,
        password: &[u8],
        reason: fn(known: bool) -> &'static str,
    ) -> Proved {
        self.prove_as(Attempted::Admin, ip, user, password, reason).await
    }

    async fn prove_as(
        &self,
        kind: Attempted,
        ip: IpAddr,
        user: &str,
        password: &[u8],
        reason: fn(known: bool) -> &'static str,
    ) -> Proved {
        let attempt = crate::attempt::Attempt {
            ip,
            user: if user.is_empty() { "unknown" } else { user },
            kind,
            mount: None,
            proto: None,
        };
        if let Some(until) = self.refuse_locked(&attempt) {
            return Proved::LockedOut(until);
        }
        let config = self.config();
        let account = config.users.get(user);
        // Without an account or a password the dummy is compared, so that the answer takes the same time.
        let hash = account
            .map(|account| account.password.as_str())
            .filter(|hash| config::is_bcrypt(hash))
            .map_or_else(|| self.passwords().dummy(), str::to_owned);
        self.slow_down(user, &hash, password).await;
        let matches = match self.passwords().verify(vec![hash], password).await {
            Ok(matches) => matches,
            Err(Busy) => return Proved::Busy,
        };
        if let Some(until) = self.refuse_locked(&attempt) {
            return Proved::LockedOut(until);
        }
        let caller = Caller::of(&config, user, Proof::Password).filter(|_| matches);
        let Some(caller) = caller else {
            self.count(&attempt, reason(account.is_some()));
            self.note_failure_of(user);
            return Proved::Wrong;
        };
        self.succeed(ip);
        Proved::Caller(caller)
    }

    /// Waits where many failed for this name of late. A password that was right a moment ago goes on at once: scripts
    /// of an operator need not suffer from who guesses.
    pub(crate) async fn slow_down(&self, user: &str, hash: &str, password: &[u8]) {
        if self.passwords().knows(hash, password) {
            return;
        }
        let wait = self.slowdown().lock().wait(user, now());
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
    }

    pub(crate) fn note_failure_of(&self, user: &str) {
        self.slowdown().lock().fail(user, now());
    }

    /// Begins a session for an account that proved itself, ends the one that the browser came with, and forgets the
    /// failures of its address.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn start_session(
        &self,
        user: &str,
        method: SignIn<'_>,
        presented: &Presented<'_>,
    ) -> Result<NewSession, SessionError> {
        let begun = {
            let mut sessions = self.sessions().lock();
            // Looked up with the lock held: an account that goes meanwhile takes its sessions along afterwards.
            let config = self.config();
            let stamp = config
                .users
                .get(user)
                .map(Stamp::of)
                .ok_or(SessionError::NoUser)?;
            if let Some(sid) = presented.sid {
                sessions.end(sid);
            }
            sessions
                .start(user, stamp, presented.ip, presented.user_agent, Timestamp::now())
                .map_err(|_| SessionError::NoRandom)?
        };
        self.succeed(presented.ip);
        LOGINS.of(method.label()).inc();
        observe::emit(LoginSuccessful {
            user: &quote(user),
            ip: presented.ip.to_canonical(),
            method: &method.to_string(),
        });
        Ok(begun)
    }

    /// Ends the session of a cookie and says whose it was; `None` if nobody was signed in.
    pub fn logout(&self, ip: IpAddr, sid: &str) -> Option<String> {
        let user = self.sessions().lock().end(sid)?;
        observe::emit(SignedOut {
            user: &quote(&user),
            ip: ip.to_canonical(),
        });
        Some(user)
    }

    /// The sessions of the caller's account, the last used first.
    #[must_use]
    pub fn sessions_of(&self, caller: &Caller) -> Vec<SessionRow> {
        let current = caller.session().map(|session| &session.key);
        self.sessions()
            .lock()
            .list(&caller.account.name, current, &self.config(), Timestamp::now())
    }

    /// Ends a session of the caller's account; `false` if it has none of this id.
    pub fn revoke_session(&self, caller: &Caller, id: &str) -> bool {
        self.sessions().lock().end_id(&caller.account.name, id)
    }

    /// Ends the sessions of an account, all or all but the one with this id; says how many. After a change of password
    /// or role call it *after* [`Auth::reload`], so that the one that stays is bound to the account as it is now.
    pub fn end_of_user(&self, user: &str, except: Option<&str>) -> usize {
        let stamp = self.config().users.get(user).map(Stamp::of);
        let ended = self.sessions().lock().end_user(user, except, stamp);
        if ended > 0 {
            observe::emit(SessionsEnded {
                user: &quote(user),
                ended,
            });
        }
        ended
    }

    /// When somebody last signed in to an account, as far as is known.
    #[must_use]
    pub fn last_login(&self, user: &str) -> Option<Timestamp> {
        self.sessions().lock().last_login(user)
    }

    /// Takes in the sessions of an earlier process. What is over, or whose account changed, is ended; call
    /// [`Auth::on_session_change`] before, so that those are forgotten.
    pub fn restore_sessions(&self, stored: Vec<StoredSession>) {
        self.sessions()
            .lock()
            .restore(stored, &self.config(), Timestamp::now());
    }

    /// Tells what becomes of sessions, for keeping them over restarts. It is called with the sessions locked, so that
    /// changes come in order: it may queue, and must neither wait nor call back.
    pub fn on_session_change(&self, sink: impl Fn(SessionChange) + Send + Sync + 'static) {
        self.sessions().lock().on_change(Box::new(sink));
    }

    pub(crate) fn session_caller(&self, sid: &str) -> Option<Caller> {
        let config = self.config();
        let (session, user) = self.sessions().lock().touch(sid, &config, Timestamp::now())?;
        Caller::of(&config, &user, Proof::Session(session))
    }

    /// The session of a cookie, without its being used.
    pub(crate) fn session_of(&self, sid: &str) -> Option<(SessionRef, String)> {
        self.sessions().lock().find(sid, &self.config(), Timestamp::now())
    }

    pub(crate) fn refresh_session(&self, session: &SessionRef) -> Option<Caller> {
        let config = self.config();
        let found = self
            .sessions()
            .lock()
            .find_key(&session.key, &config, Timestamp::now());
        let (session, user) = found?;
        Caller::of(&config, &user, Proof::Session(session))
    }

    /// When passwords from this address are looked at again; `None` if they are now.
    #[must_use]
    pub fn locked_out(&self, ip: IpAddr) -> Option<LockedOutUntil> {
        self.locked_until(ip).map(|until| until_text(until, now()))
    }
}

pub(crate) fn until_text(until: Instant, now: Instant) -> LockedOutUntil {
    LockedOutUntil::new(
        crate::attempt::wall_clock(until, now),
        until.saturating_duration_since(now),
    )
}

/// Where a browser may be sent after signing in: a path of this server, else the dashboard. What looks harmless must
/// still be so for a reader that decodes it, and for browsers that take `\` for `/`.
#[must_use]
pub fn safe_next(next: &str) -> &str {
    let decoded = percent_decode_str(next).decode_utf8_lossy();
    if next.len() <= MAX_NEXT && is_own_path(next) && is_own_path(&decoded) {
        next
    } else {
        HOME
    }
}

fn is_own_path(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next() == Some('/')
        && !matches!(letters.next(), Some('/' | '\\'))
        && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_own_paths_are_gone_to() {
        let long = format!("/{}", "a".repeat(MAX_NEXT));
        for (next, expected) in [
            ("/kiosk", "/kiosk"),
            ("/admin?tab=streams", "/admin?tab=streams"),
            ("/admin#tab-security", "/admin#tab-security"),
            ("/player/Ünï?x=http://a", "/player/Ünï?x=http://a"),
            ("/", "/"),
            ("/a//b", "/a//b"),
            ("//evil.example", HOME),
            ("/\\evil.example", HOME),
            ("\\/evil.example", HOME),
            ("/%2fevil.example", HOME),
            ("/%5Cevil.example", HOME),
            ("%2f/evil.example", HOME),
            ("https://evil.example", HOME),
            ("javascript:alert(1)", HOME),
            ("evil.example", HOME),
            (" /kiosk", HOME),
            ("/\tkiosk", HOME),
            ("/\t/evil.example", HOME),
            ("/a\r\nSet-Cookie: x", HOME),
            ("/a%0d%0aSet-Cookie: x", HOME),
            ("/a%00", HOME),
            ("", HOME),
            (&long, HOME),
        ] {
            assert_eq!(safe_next(next), expected, "{next:.80}");
        }
    }

    #[test]
    fn methods_are_words() {
        for (method, expected) in [
            (SignIn::Password, "password"),
            (SignIn::Passkey, "passkey"),
            (SignIn::Provider("goo'gle"), "oidc:goo\\u0027gle"),
            (SignIn::Setup, "setup"),
        ] {
            assert_eq!(method.to_string(), expected);
        }
    }

    proptest! {
        /// However it is spelled, a browser that resolves the answer against this server stays here.
        #[test]
        fn no_spelling_leads_away(next in "[/\\\\%25fFcC:a-z.?#\t ]{0,12}") {
            let safe = safe_next(&next);
            let decoded = percent_decode_str(safe).decode_utf8_lossy().replace('\\', "/");
            prop_assert!(safe.starts_with('/'));
            prop_assert!(!decoded.starts_with("//"), "{}", decoded);
        }
    }
}
