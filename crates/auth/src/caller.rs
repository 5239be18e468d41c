//! Who a request is from, by token, session or password.
//!
//! Contract: a token that is present decides, right or wrong; a session decides when it is valid; only a password in
//! the request is counted against its address. What an account may is looked up at each request and never remembered.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use config::{Config, MountName, Role, User};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::auth::Auth;
use crate::credentials::Credentials;
use crate::login::Proved;
use crate::matrix::Scope;
use crate::trail::{AdminAccepted, TokenFromNewAddress, quote};

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
    /// The account of this name, as it is now.
    #[must_use]
    pub fn of(config: &Config, name: &str) -> Option<Account> {
        config.users.get(name).map(|user| Account {
            name: name.to_owned(),
            role: user.role,
            mounts: user.mounts.keys().cloned().collect(),
        })
    }

    /// Whether it may do everything.
    pub fn is_superadmin(&self) -> bool {
        self.role == Role::Superadmin
    }

    /// Whether it has access to a mount: its own, and all for a superadmin.
    pub fn has_access(&self, mount: &MountName) -> bool {
        self.is_superadmin() || self.mounts.contains(mount)
    }
}

/// An account and how it proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub account: Account,
    /// How it proved that.
    pub proof: Proof,
    /// What the account looked like then; a change of it ends what was built on it.
    stamp: Option<Stamp>,
}

impl Caller {
    /// A caller for tests and for those who proved themselves elsewhere.
    #[must_use]
    pub fn new(account: Account, proof: Proof) -> Caller {
        Caller {
            account,
            proof,
            stamp: None,
        }
    }

    pub(crate) fn of(config: &Config, name: &str, proof: Proof) -> Option<Caller> {
        Some(Caller {
            account: Account::of(config, name)?,
            proof,
            stamp: config.users.get(name).map(Stamp::of),
        })
    }

    /// Whether nothing at all is kept from it, so that totals of the server may be shown: a superadmin, and not one
    /// whose token is for some mounts only.
    #[must_use]
    pub fn sees_everything(&self) -> bool {
        let limited = matches!(&self.proof, Proof::Token(token) if token.mounts.is_some());
        self.account.is_superadmin() && !limited
    }

    /// Whether a mount is within what it may touch, whatever it wants there.
    #[must_use]
    pub fn has_access(&self, mount: &MountName) -> bool {
        let in_token = match &self.proof {
            Proof::Token(token) => token.mounts.as_ref().is_none_or(|mounts| mounts.contains(mount)),
            _ => true,
        };
        in_token && self.account.has_access(mount)
    }

    /// Its session, if it has one.
    #[must_use]
    pub fn session(&self) -> Option<&SessionRef> {
        match &self.proof {
            Proof::Session(session) => Some(session),
            _ => None,
        }
    }

    /// How it proved itself, in the word of `GET /api/me`.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self.proof {
            Proof::Session(_) => "session",
            Proof::Token(_) => "token",
            Proof::Password => "basic",
        }
    }
}

/// How a caller proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By the cookie of a session.
    Session(SessionRef),
    /// By an API token.
    Token(TokenRef),
    /// By a password in the request.
    Password,
}

/// A session that a request belongs to.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionRef {
    /// Its public name, by which it is listed and ended.
    pub id: String,
    /// What forms must carry to show that they are ours.
    pub csrf: String,
    /// When it ends however much it is used.
    pub expires_at: Timestamp,
    pub(crate) key: [u8; 32],
}

impl fmt::Debug for SessionRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SessionRef")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A token that a request came with.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRef {
    /// Its public name.
    pub id: String,
    /// What it is for; `None` is everything that its owner may.
    pub scopes: Option<BTreeSet<Scope>>,
    /// The mounts that it may touch; `None` is all of its owner's.
    pub mounts: Option<BTreeSet<MountName>>,
    pub(crate) hash: [u8; 32],
}

impl TokenRef {
    /// A token for tests.
    #[must_use]
    pub fn new(id: &str, scopes: Option<BTreeSet<Scope>>, mounts: Option<BTreeSet<MountName>>) -> TokenRef {
        TokenRef {
            id: id.to_owned(),
            scopes,
            mounts,
            hash: [0; 32],
        }
    }

    /// Whether it is good for things of this kind.
    #[must_use]
    pub fn has_scope(&self, scope: Scope) -> bool {
        let Some(scopes) = &self.scopes else { return true };
        // Who may operate a stream may surely name what it plays.
        scopes.contains(&scope)
            || scopes.contains(&Scope::Admin)
            || scope == Scope::Metadata && scopes.contains(&Scope::StreamsWrite)
    }

    /// Whether it may do all that its owner may.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.has_scope(Scope::Admin) && self.mounts.is_none()
    }
}

impl fmt::Debug for TokenRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TokenRef")
            .field("id", &self.id)
            .field("scopes", &self.scopes)
            .field("mounts", &self.mounts)
            .finish_non_exhaustive()
    }
}

/// Tells whether password or role of an account have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(pub(crate) [u8; 8]);

impl Stamp {
    pub(crate) fn of(user: &User) -> Stamp {
        let digest = Sha256::new()
            .chain_update(user.role.as_str())
            .chain_update([0])
            .chain_update(&user.password)
            .finalize();
        let mut stamp = [0; 8];
        stamp.copy_from_slice(&digest[..8]);
        Stamp(stamp)
    }
}

/// What a request says of its sender.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// Its address, that of the client and not of a proxy.
    pub ip: IpAddr,
    /// The `Authorization` header.
    pub authorization: Option<&'a [u8]>,
    /// The cookie `sid`.
    pub sid: Option<&'a str>,
    /// The `User-Agent` header.
    pub user_agent: &'a str,
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Presented")
            .field("ip", &self.ip)
            .finish_non_exhaustive()
    }
}

/// Who a request is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identified {
    /// Somebody with an account.
    Caller(Caller),
    /// Nobody said who they are (401).
    Anonymous,
    /// What was said is wrong (401).
    Wrong,
    /// Passwords from this address are not looked at (429).
    LockedOut(LockedOutUntil),
    /// Too many checks are waiting (503).
    Busy,
}

/// The end of a lockout; prints what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockedOutUntil {
    until: Timestamp,
    wait: Duration,
}

impl LockedOutUntil {
    pub(crate) fn new(until: Timestamp, wait: Duration) -> LockedOutUntil {
        LockedOutUntil { until, wait }
    }

    /// When it ends.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// How long that is from now.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.wait
    }
}

impl fmt::Display for LockedOutUntil {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = self.until.to_zoned(jiff::tz::TimeZone::system());
        write!(
            out,
            "too many failed attempts. locked out until {}",
            until.strftime("%H:%M:%S")
        )
    }
}

/// An `Authorization` header by its scheme.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Authorization<'a> {
    None,
    Bearer(&'a [u8]),
    /// `None` is malformed.
    Basic(Option<Credentials>),
    /// Nothing that is known here.
    Other,
}

impl<'a> Authorization<'a> {
    /// Scheme names have no letter case (RFC 9110, section 11.1).
    pub(crate) fn read(header: Option<&'a [u8]>) -> Authorization<'a> {
        let Some(header) = header.map(<[u8]>::trim_ascii) else {
            return Authorization::None;
        };
        let end = header
            .iter()
            .position(u8::is_ascii_whitespace)
            .unwrap_or(header.len());
        let (scheme, rest) = header.split_at(end);
        if scheme.eq_ignore_ascii_case(b"bearer") {
            Authorization::Bearer(rest.trim_ascii())
        } else if scheme.eq_ignore_ascii_case(b"basic") {
            Authorization::Basic(Credentials::from_basic(header))
        } else {
            Authorization::Other
        }
    }
}

impl Auth {
    /// Who a request is from. Malformed Basic is wrong and counts against nobody.
    pub async fn identify(&self, presented: &Presented<'_>) -> Identified {
        let authorization = Authorization::read(presented.authorization);
        if let Authorization::Bearer(raw) = authorization {
            return self
                .token_caller(presented.ip, raw)
                .map_or(Identified::Wrong, Identified::Caller);
        }
        if let Some(caller) = presented.sid.and_then(|sid| self.session_caller(sid)) {
            return Identified::Caller(caller);
        }
        match authorization {
            Authorization::Basic(Some(credentials)) => self.password_caller(presented.ip, &credentials).await,
            Authorization::Basic(None) => Identified::Wrong,
            _ => Identified::Anonymous,
        }
    }

    /// The caller as of now, for those who stay, such as feeds: its session or token still stands, and its account has
    /// the rights of today. `None` ends them. It is cheap, and no use that keeps a session alive.
    #[must_use]
    pub fn still_valid(&self, caller: &Caller) -> Option<Caller> {
        let config = self.config();
        let name = caller.account.name.as_str();
        match &caller.proof {
            Proof::Session(session) => self.refresh_session(session),
            Proof::Token(token) => {
                let tokens = self.tokens();
                let found = tokens.by_hash(&token.hash, Timestamp::now())?;
                Caller::of(&config, found.owner, Proof::Token(found.token))
            }
            Proof::Password => {
                let now = Caller::of(&config, name, Proof::Password)?;
                (caller.stamp.is_none() || caller.stamp == now.stamp).then_some(now)
            }
        }
    }

    fn token_caller(&self, ip: IpAddr, raw: &[u8]) -> Option<Caller> {
        let now = Timestamp::now();
        let tokens = self.tokens();
        let found = tokens.find(raw, now)?;
        let caller = Caller::of(&self.config(), found.owner, Proof::Token(found.token))?;
        let Proof::Token(token) = &caller.proof else {
            return None;
        };
        if self.note_token_use(&token.id, ip, now) {
            observe::emit(TokenFromNewAddress {
                user: &quote(&caller.account.name),
                ip: ip.to_canonical(),
                token: &token.id,
            });
        }
        Some(caller)
    }

    async fn password_caller(&self, ip: IpAddr, credentials: &Credentials) -> Identified {
        match self.prove_basic(ip, credentials).await {
            Proved::Caller(caller) => Identified::Caller(caller),
            Proved::Wrong => Identified::Wrong,
            Proved::LockedOut(until) => Identified::LockedOut(until),
            Proved::Busy => Identified::Busy,
        }
    }

    /// Tries a password that came with the request.
    pub(crate) async fn prove_basic(&self, ip: IpAddr, credentials: &Credentials) -> Proved {
        let proved = self
            .prove(ip, &credentials.user, &credentials.password, |known| {
                if known {
                    "invalid password"
                } else {
                    "user not found"
                }
            })
            .await;
        if let Proved::Caller(caller) = &proved {
            observe::emit(AdminAccepted {
                user: &quote(&caller.account.name),
                ip: ip.to_canonical(),
            });
        }
        proved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_told_apart_by_their_scheme() {
        for (header, expected) in [
            ("Bearer ti_x", "bearer ti_x"),
            ("bEARER   ti_x  ", "bearer ti_x"),
            ("Bearer\tti_x", "bearer ti_x"),
            ("Bearer", "bearer "),
            ("Bearers x", "other"),
            ("BASIC YTpi", "basic a"),
            ("Basic YQ", "malformed"),
            ("Basic !!", "malformed"),
            ("Basic", "malformed"),
            ("Digest a=b", "other"),
            ("", "other"),
        ] {
            let seen = match Authorization::read(Some(header.as_bytes())) {
                Authorization::None => "none".into(),
                Authorization::Bearer(raw) => format!("bearer {}", String::from_utf8_lossy(raw)),
                Authorization::Basic(Some(credentials)) => format!("basic {}", credentials.user),
                Authorization::Basic(None) => "malformed".into(),
                Authorization::Other => "other".into(),
            };
            assert_eq!(seen, expected, "{header:?}");
        }
        assert_eq!(Authorization::read(None), Authorization::None);
    }

    #[test]
    fn a_stamp_changes_with_password_and_role() {
        let user = |password: &str, role| Stamp::of(&User::new("ann".into(), password.into(), role));
        let first = user("a", Role::Dj);
        assert_eq!(first, user("a", Role::Dj));
        assert_ne!(first, user("b", Role::Dj));
        assert_ne!(first, user("a", Role::Admin));
    }
}
