//! People who ask for an account after an outside provider vouched for them.
//!
//! Contract: strangers fill neither the file nor anybody's mailbox: at most 100 requests stand, and 5 new ones come
//! from one address in an hour. A denial holds for 24 hours.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use config::{Config, LinkedIdentity, PendingUser, User};
use jiff::Timestamp;

use crate::accounts::{AccountError, MountGrants, check_user_name, parse_role};
use crate::email::{is_email, is_same_email, linked_user};
use crate::random::{hex, random};
use crate::rule_error::{Kind, RuleError};
use crate::table::Table;
use crate::tokens::seconds;

const MOST: usize = 100;
const PER_ADDRESS: usize = 5;
const HOUR: Duration = Duration::from_secs(60 * 60);
const DENIED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
const ADDRESSES: usize = 16_384;
const MAX_NAME: usize = 128;

/// New requests by address.
#[derive(Debug)]
pub(crate) struct Requests {
    clients: Table<VecDeque<Instant>>,
}

impl Default for Requests {
    fn default() -> Requests {
        Requests {
            clients: Table::new(ADDRESSES),
        }
    }
}

impl Requests {
    pub(crate) fn admit(&mut self, ip: IpAddr, now: Instant) -> bool {
        let times = self.clients.touch(ip);
        times.retain(|at| now.saturating_duration_since(*at) < HOUR);
        if times.len() >= PER_ADDRESS {
            return false;
        }
        times.push_back(now);
        true
    }

    pub(crate) fn sweep(&mut self, now: Instant) {
        let is_old = |times: &VecDeque<Instant>| {
            times
                .back()
                .is_none_or(|at| now.saturating_duration_since(*at) >= HOUR)
        };
        let old: Vec<IpAddr> = self
            .clients
            .iter()
            .filter(|(_, times)| is_old(times))
            .map(|(ip, _)| ip)
            .collect();
        for ip in old {
            self.clients.remove(ip);
        }
    }
}

/// Somebody whom a provider vouches for and nobody here knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessRequest {
    /// Verified by the provider.
    pub email: String,
    /// As the provider says.
    pub name: String,
    /// The provider's id.
    pub provider: String,
    /// The provider's own name of the person; may be empty.
    pub sub: String,
}

/// What a request for an account comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Requested {
    /// It stands, and superadmins are to be told.
    New(PendingUser),
    /// It stood already.
    Refreshed,
    /// It was denied within the last 24 hours.
    Denied,
}

/// Why a request for an account is not taken, or not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PendingError {
    /// It is no mail address.
    #[error("Invalid email address")]
    BadEmail,
    /// Too many requests stand, or came from this address.
    #[error("Too many access requests; try again later")]
    TryLater,
    /// The new account has no name.
    #[error("Username is required")]
    NameRequired,
    /// There is no such request.
    #[error("Pending user not found")]
    NotFound,
    /// The account cannot be made so.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The system gave no random bytes.
    #[error("No random bytes from the system")]
    NoRandom,
}

impl RuleError for PendingError {
    fn kind(&self) -> Kind {
        match self {
            PendingError::BadEmail | PendingError::NameRequired => Kind::Bad,
            PendingError::TryLater => Kind::TooMany,
            PendingError::NotFound => Kind::Missing,
            PendingError::Account(error) => error.kind(),
            PendingError::NoRandom => Kind::Failed,
        }
    }
}

/// The requests that wait for an answer, the oldest first.
pub fn pending_users(config: &Config) -> impl Iterator<Item = &PendingUser> {
    config
        .pending_users
        .iter()
        .filter(|pending| pending.denied_at.is_none())
}

fn denied_lately(pending: &PendingUser, now: Timestamp) -> bool {
    // A time that cannot be read was long ago.
    let at = pending
        .denied_at
        .as_deref()
        .and_then(|at| at.parse::<Timestamp>().ok());
    at.is_some_and(|at| Duration::try_from(now.duration_since(at)).unwrap_or_default() < DENIED_FOR)
}

/// Takes down that somebody asks for an account. `admit` is asked once where that is something new; see
/// [`Auth::admit_access_request`](crate::Auth::admit_access_request).
///
/// # Errors
/// See [`PendingError`]; nothing has changed then.
pub fn request_access(
    config: &mut Config,
    request: &AccessRequest,
    now: Timestamp,
    admit: impl FnOnce() -> bool,
) -> Result<Requested, PendingError> {
    let email = request.email.trim();
    if !is_email(email) {
        return Err(PendingError::BadEmail);
    }
    let name: String = request
        .name
        .trim()
        .chars()
        .filter(|letter| !letter.is_control())
        .take(MAX_NAME)
        .collect();
    let known = config
        .pending_users
        .iter()
        .position(|pending| is_same_email(&pending.email, email));
    if let Some(place) = known {
        let pending = &mut config.pending_users[place];
        if denied_lately(pending, now) {
            return Ok(Requested::Denied);
        }
        if pending.denied_at.is_none() {
            pending.name = name;
            pending.provider.clone_from(&request.provider);
            pending.sub.clone_from(&request.sub);
            pending.requested_at = seconds(now);
            return Ok(Requested::Refreshed);
        }
    }
    let is_over = |pending: &PendingUser| pending.denied_at.is_some() && !denied_lately(pending, now);
    let standing = config
        .pending_users
        .iter()
        .filter(|pending| !is_over(pending))
        .count();
    if standing >= MOST || !admit() {
        return Err(PendingError::TryLater);
    }
    let mut pending = PendingUser::new(uuid().map_err(|_| PendingError::NoRandom)?, email.to_owned());
    pending.name = name;
    pending.provider.clone_from(&request.provider);
    pending.sub.clone_from(&request.sub);
    pending.requested_at = seconds(now);
    config.pending_users.retain(|pending| !is_over(pending));
    config.pending_users.push(pending.clone());
    Ok(Requested::New(pending))
}

/// A random name in the usual form (RFC 9562, version 4).
fn uuid() -> Result<String, getrandom::Error> {
    let mut bytes: [u8; 16] = random()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex(&bytes);
    let parts = [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ];
    Ok(parts.join("-"))
}

/// What somebody who asked is to become.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approval {
    /// Which request.
    pub id: String,
    /// The name of the account.
    pub username: String,
    /// A role by its word; empty is `dj`.
    pub role: String,
    /// Its mounts.
    pub mounts: MountGrants,
}

/// Makes an account without a password for somebody who asked, and returns the request.
///
/// # Errors
/// See [`PendingError`]; nothing has changed then.
pub fn approve_pending(config: &mut Config, approval: Approval) -> Result<PendingUser, PendingError> {
    if approval.username.is_empty() {
        return Err(PendingError::NameRequired);
    }
    check_user_name(&approval.username)?;
    let role = match approval.role.as_str() {
        "" => config::Role::Dj,
        word => parse_role(word)?,
    };
    let place = find(config, &approval.id)?;
    if config.users.contains_key(&approval.username) {
        return Err(AccountError::Taken.into());
    }
    let email = &config.pending_users[place].email;
    if linked_user(config, email).is_some() {
        return Err(AccountError::EmailTaken(email.clone()).into());
    }
    let pending = config.pending_users.remove(place);
    let mut user = User::new(approval.username, String::new(), role);
    user.mounts = approval
        .mounts
        .into_iter()
        .map(|(mount, hash)| (mount, hash.unwrap_or_default()))
        .collect();
    user.linked_emails = vec![pending.email.clone()];
    if !pending.sub.is_empty() {
        user.linked_identities = vec![LinkedIdentity::new(pending.provider.clone(), pending.sub.clone())];
    }
    config.api_tokens.retain(|token| token.username != user.username);
    config.users.insert(user.username.clone(), user);
    Ok(pending)
}

/// Says no to somebody who asked, and returns the request.
///
/// # Errors
/// See [`PendingError`]; nothing has changed then.
pub fn deny_pending(config: &mut Config, id: &str, now: Timestamp) -> Result<PendingUser, PendingError> {
    let place = find(config, id)?;
    let pending = &mut config.pending_users[place];
    pending.denied_at = Some(seconds(now));
    Ok(pending.clone())
}

/// Whether there are requests whose denial is over.
pub fn has_expired_requests(config: &Config, now: Timestamp) -> bool {
    let is_over = |pending: &PendingUser| pending.denied_at.is_some() && !denied_lately(pending, now);
    config.pending_users.iter().any(is_over)
}

/// Takes out the requests whose denial is over; says whether there were any.
pub fn purge_pending(config: &mut Config, now: Timestamp) -> bool {
    let before = config.pending_users.len();
    config
        .pending_users
        .retain(|pending| pending.denied_at.is_none() || denied_lately(pending, now));
    config.pending_users.len() < before
}

fn find(config: &Config, id: &str) -> Result<usize, PendingError> {
    config
        .pending_users
        .iter()
        .position(|pending| pending.id == id && pending.denied_at.is_none())
        .ok_or(PendingError::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{MountName, Role};

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_786_000_000 + hours * 3_600).unwrap()
    }

    fn request(email: &str) -> AccessRequest {
        AccessRequest {
            email: email.into(),
            name: "Bob\u{7}\n B".into(),
            provider: "google".into(),
            sub: "1234".into(),
        }
    }

    fn ask(config: &mut Config, email: &str, hours: i64, admitted: bool) -> String {
        match request_access(config, &request(email), at(hours), || admitted) {
            Ok(Requested::New(pending)) => format!("new {} {}", pending.email, pending.name),
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn who_asks_is_written_down_once() {
        let mut config = Config::default();
        for (email, hours, admitted, expected) in [
            ("bob", 0, true, "Invalid email address"),
            (
                "bob@example.org",
                0,
                false,
                "Too many access requests; try again later",
            ),
            (" bob@example.org ", 0, true, "new bob@example.org Bob B"),
            ("BOB@example.org", 1, false, "Refreshed"),
        ] {
            assert_eq!(ask(&mut config, email, hours, admitted), expected, "{email}");
        }
        assert_eq!(config.pending_users.len(), 1);
        let pending = config.pending_users[0].clone();
        assert_eq!(pending.requested_at, at(1).to_string());
        assert_eq!(
            (pending.provider.as_str(), pending.sub.as_str()),
            ("google", "1234")
        );
        assert!(
            pending.id.len() == 36 && &pending.id[14..15] == "4",
            "{}",
            pending.id
        );

        deny_pending(&mut config, &pending.id, at(2)).unwrap();
        assert_eq!(pending_users(&config).count(), 0);
        assert_eq!(
            deny_pending(&mut config, &pending.id, at(2)),
            Err(PendingError::NotFound)
        );
        assert_eq!(ask(&mut config, "bob@example.org", 25, true), "Denied");
        assert!(!purge_pending(&mut config, at(25)));
        assert_eq!(
            ask(&mut config, "bob@example.org", 26, true),
            "new bob@example.org Bob B"
        );
        assert_eq!(config.pending_users.len(), 1);
        let id = config.pending_users[0].id.clone();
        deny_pending(&mut config, &id, at(26)).unwrap();
        assert!(purge_pending(&mut config, at(50)) && config.pending_users.is_empty());
    }

    #[test]
    fn a_hundred_may_stand() {
        let mut config = Config::default();
        for number in 0..MOST {
            assert!(ask(&mut config, &format!("{number}@example.org"), 0, true).starts_with("new"));
        }
        assert_eq!(
            ask(&mut config, "late@example.org", 0, true),
            PendingError::TryLater.to_string()
        );
        assert_eq!(ask(&mut config, "7@example.org", 0, true), "Refreshed");
        let id = config.pending_users[0].id.clone();
        deny_pending(&mut config, &id, at(0)).unwrap();
        assert_eq!(
            ask(&mut config, "late@example.org", 1, true),
            PendingError::TryLater.to_string()
        );
        assert!(ask(&mut config, "late@example.org", 24, true).starts_with("new"));
        assert_eq!(config.pending_users.len(), MOST);
    }

    #[test]
    fn an_approved_request_becomes_an_account() {
        let mut config = Config::default();
        config
            .users
            .insert("ann".into(), User::new("ann".into(), String::new(), Role::Admin));
        ask(&mut config, "bob@example.org", 0, true);
        let id = config.pending_users[0].id.clone();
        let approval = |id: &str, username: &str, role: &str| Approval {
            id: id.into(),
            username: username.into(),
            role: role.into(),
            mounts: MountGrants::from([(MountName::parse("/dj").unwrap(), None)]),
        };
        let before = config.clone();
        for (wanted, text, kind) in [
            (approval(&id, "", "dj"), "Username is required", Kind::Bad),
            (approval(&id, "bob", "boss"), "Invalid role", Kind::Bad),
            (
                approval("none", "bob", ""),
                "Pending user not found",
                Kind::Missing,
            ),
            (approval(&id, "ann", ""), "Username already taken", Kind::Conflict),
            (
                approval(&id, "a:b", ""),
                "Username must be 1 to 64 characters, without control characters and \":\"",
                Kind::Bad,
            ),
        ] {
            let error = approve_pending(&mut config, wanted).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.kind()), (text, kind));
            assert_eq!(config, before);
        }
        let done = approve_pending(&mut config, approval(&id, "bob", "")).unwrap();
        assert_eq!(done.email, "bob@example.org");
        let bob = &config.users["bob"];
        assert_eq!((bob.role, bob.password.as_str()), (Role::Dj, ""));
        assert_eq!(bob.linked_emails, ["bob@example.org"]);
        assert_eq!(
            bob.linked_identities,
            [LinkedIdentity::new("google".into(), "1234".into())]
        );
        assert_eq!(bob.mounts.len(), 1);
        assert!(config.pending_users.is_empty());
        // The address is bob's now.
        config.pending_users.push(done);
        let error = approve_pending(&mut config, approval(&id, "bob2", "admin")).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
    }

    #[test]
    fn an_address_asks_five_times_an_hour() {
        let start = Instant::now();
        let ip: IpAddr = [203, 0, 113, 9].into();
        let mut requests = Requests::default();
        for (minute, expected) in [
            (0, true),
            (1, true),
            (2, true),
            (3, true),
            (4, true),
            (5, false),
            (60, true),
            (60, false),
        ] {
            assert_eq!(
                requests.admit(ip, start + Duration::from_secs(60) * minute),
                expected,
                "{minute}"
            );
        }
        requests.sweep(start + 3 * HOUR);
        assert_eq!(requests.clients.iter().count(), 0);
    }
}
