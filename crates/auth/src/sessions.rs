//! Sessions: who signed in, from where, and until when.
//!
//! Contract: pure but for random bytes; time comes in. Only a hash of what the browser holds is kept. A session ends
//! 7 days after its start and after 24 hours without use; an account has at most 20 and the server 10,000, and those
//! that were longest not used go first. A session knows the name of its account and nothing that may change of it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use config::Config;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::caller::{SessionRef, Stamp};
use crate::random::{hex, random, unhex};

/// How long a session lasts at most; also the age of its cookie.
pub const SESSION_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long a session lasts without use.
pub const SESSION_IDLE: Duration = Duration::from_secs(24 * 60 * 60);
const PER_USER: usize = 20;
const IN_ALL: usize = 10_000;
/// A use is written down once in this time.
const SAVED_EVERY: Duration = Duration::from_secs(60);
const MAX_AGENT: usize = 256;

/// A session as it is kept over restarts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSession {
    /// Hex SHA-256 of what the browser holds; the key to store it under.
    pub key: String,
    /// Whose it is.
    pub user: String,
    /// What forms must carry.
    pub csrf: String,
    /// Tells whether password or role changed since.
    pub stamp: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was used last, about.
    pub last_seen: Timestamp,
    /// Where it began.
    pub ip: IpAddr,
    /// What it began with.
    pub user_agent: String,
}

impl fmt::Debug for StoredSession {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("StoredSession")
            .field("user", &self.user)
            .field("last_seen", &self.last_seen)
            .finish_non_exhaustive()
    }
}

/// What became of a session, for whoever keeps them over restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// It is new, or was used.
    Saved(StoredSession),
    /// The one with this key ended.
    Ended(String),
}

/// A session in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionRow {
    /// Its public name.
    pub id: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was used last.
    pub last_seen: Timestamp,
    /// Where it began.
    pub ip: IpAddr,
    /// What it began with.
    pub user_agent: String,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// A session that just began.
#[derive(Clone, PartialEq, Eq)]
pub struct NewSession {
    /// For the cookie, and for nobody else.
    pub sid: String,
    /// The session as later requests will show it.
    pub session: SessionRef,
}

impl fmt::Debug for NewSession {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("NewSession")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

pub(crate) type Sink = Box<dyn Fn(SessionChange) + Send + Sync>;

type Key = [u8; 32];

/// All sessions.
#[derive(Default)]
pub(crate) struct Sessions {
    open: HashMap<Key, Session>,
    last_logins: BTreeMap<String, Timestamp>,
    sink: Option<Sink>,
    count: Arc<AtomicU64>,
}

#[derive(Clone)]
struct Session {
    user: String,
    stamp: Stamp,
    csrf: String,
    created_at: Timestamp,
    last_seen: Timestamp,
    saved_at: Timestamp,
    ip: IpAddr,
    user_agent: String,
}

impl Session {
    fn is_over(&self, now: Timestamp) -> bool {
        passed(self.created_at, now) >= SESSION_LIFE || passed(self.last_seen, now) >= SESSION_IDLE
    }

    /// Whether its account is the one that it was begun with.
    fn fits(&self, config: &Config) -> bool {
        config
            .users
            .get(&self.user)
            .is_some_and(|user| Stamp::of(user) == self.stamp)
    }

    fn reference(&self, key: &Key) -> SessionRef {
        SessionRef {
            id: id(key),
            csrf: self.csrf.clone(),
            expires_at: self
                .created_at
                .checked_add(SESSION_LIFE)
                .unwrap_or(Timestamp::MAX),
            key: *key,
        }
    }

    fn stored(&self, key: &Key) -> StoredSession {
        StoredSession {
            key: hex(key),
            user: self.user.clone(),
            csrf: self.csrf.clone(),
            stamp: hex(&self.stamp.0),
            created_at: self.created_at,
            last_seen: self.last_seen,
            ip: self.ip,
            user_agent: self.user_agent.clone(),
        }
    }

    fn restored(stored: StoredSession) -> Option<(Key, Session)> {
        let stamp = u64::from_str_radix(&stored.stamp, 16).ok()?;
        let session = Session {
            user: stored.user,
            stamp: Stamp(stamp.to_be_bytes()),
            csrf: stored.csrf,
            created_at: stored.created_at,
            last_seen: stored.last_seen,
            saved_at: stored.last_seen,
            ip: stored.ip,
            user_agent: stored.user_agent,
        };
        (session.csrf.len() == 64).then_some((unhex(&stored.key)?, session))
    }
}

/// The time that went by; none if the clock was set back.
fn passed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

fn key_of(sid: &str) -> Option<Key> {
    // Nothing else was ever handed out, and hashing what a stranger sends should cost little.
    (sid.len() == 64).then(|| Sha256::digest(sid.as_bytes()).into())
}

/// The public name says nothing of what the browser holds.
fn id(key: &Key) -> String {
    hex(&key[..8])
}

impl Sessions {
    /// How many there are, for those who must not wait.
    pub(crate) fn count(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.count)
    }

    pub(crate) fn on_change(&mut self, sink: Sink) {
        self.sink = Some(sink);
    }

    /// Takes in what was kept; what is over or belongs to nobody is ended.
    pub(crate) fn restore(&mut self, stored: Vec<StoredSession>, config: &Config, now: Timestamp) {
        for stored in stored {
            let name = stored.key.clone();
            match Session::restored(stored) {
                Some((key, session)) if !session.is_over(now) && session.fits(config) => {
                    self.make_room(&session.user);
                    let last = self
                        .last_logins
                        .entry(session.user.clone())
                        .or_insert(session.created_at);
                    *last = session.created_at.max(*last);
                    self.open.insert(key, session);
                }
                _ => self.tell(|| SessionChange::Ended(name)),
            }
        }
        self.recount();
    }

    /// Begins a session for an account.
    pub(crate) fn start(
        &mut self,
        user: &str,
        stamp: Stamp,
        ip: IpAddr,
        user_agent: &str,
        now: Timestamp,
    ) -> Result<NewSession, getrandom::Error> {
        let sid = hex(&random::<32>()?);
        let csrf = hex(&random::<32>()?);
        let key: Key = Sha256::digest(sid.as_bytes()).into();
        self.make_room(user);
        let session = Session {
            user: user.to_owned(),
            stamp,
            csrf,
            created_at: now,
            last_seen: now,
            saved_at: now,
            ip: ip.to_canonical(),
            user_agent: user_agent
                .chars()
                .filter(|letter| !letter.is_control())
                .take(MAX_AGENT)
                .collect(),
        };
        let reference = session.reference(&key);
        self.tell(|| SessionChange::Saved(session.stored(&key)));
        self.open.insert(key, session);
        self.last_logins.insert(user.to_owned(), now);
        self.recount();
        Ok(NewSession {
            sid,
            session: reference,
        })
    }

    /// The valid session of a cookie and whose it is, noted as used.
    pub(crate) fn touch(
        &mut self,
        sid: &str,
        config: &Config,
        now: Timestamp,
    ) -> Option<(SessionRef, String)> {
        let key = key_of(sid)?;
        if self.open.get(&key)?.is_over(now) {
            self.remove(&key);
            return None;
        }
        let session = self.open.get_mut(&key)?;
        // One that does not fit is not ended here: its owner may be about to keep it.
        if !session.fits(config) {
            return None;
        }
        session.last_seen = now.max(session.last_seen);
        let found = (session.reference(&key), session.user.clone());
        if passed(session.saved_at, now) >= SAVED_EVERY {
            session.saved_at = now;
            let stored = session.stored(&key);
            self.tell(|| SessionChange::Saved(stored));
        }
        Some(found)
    }

    /// The valid session of a cookie; looking at it is no use.
    pub(crate) fn find(&self, sid: &str, config: &Config, now: Timestamp) -> Option<(SessionRef, String)> {
        self.find_key(&key_of(sid)?, config, now)
    }

    pub(crate) fn find_key(
        &self,
        key: &Key,
        config: &Config,
        now: Timestamp,
    ) -> Option<(SessionRef, String)> {
        let session = self.open.get(key)?;
        (!session.is_over(now) && session.fits(config))
            .then(|| (session.reference(key), session.user.clone()))
    }

    /// Ends the session of a cookie and says whose it was.
    pub(crate) fn end(&mut self, sid: &str) -> Option<String> {
        let ended = self.remove(&key_of(sid)?);
        self.recount();
        ended.map(|session| session.user)
    }

    /// Ends one session of an account by its public name.
    pub(crate) fn end_id(&mut self, user: &str, wanted: &str) -> bool {
        let found = self
            .open
            .iter()
            .find(|(key, session)| session.user == user && id(key) == wanted)
            .map(|(key, _)| *key);
        let ended = found.is_some_and(|key| self.remove(&key).is_some());
        self.recount();
        ended
    }

    /// Ends all sessions of an account but one, which goes on with the account as it is now.
    pub(crate) fn end_user(&mut self, user: &str, except: Option<&str>, stamp: Option<Stamp>) -> usize {
        let mut ended = Vec::new();
        for (key, session) in self.open.iter_mut().filter(|(_, session)| session.user == user) {
            match stamp {
                Some(stamp) if except.is_some_and(|kept| id(key) == kept) => session.stamp = stamp,
                _ => ended.push(*key),
            }
        }
        for key in &ended {
            self.remove(key);
        }
        if let Some(kept) = except
            && let Some((key, session)) = self
                .open
                .iter()
                .find(|(key, session)| session.user == user && id(key) == kept)
        {
            let stored = session.stored(key);
            self.tell(|| SessionChange::Saved(stored));
        }
        self.recount();
        ended.len()
    }

    /// Ends the sessions of accounts that are gone.
    pub(crate) fn keep_users(&mut self, config: &Config) {
        self.remove_where(|session| !config.users.contains_key(&session.user));
        self.last_logins.retain(|name, _| config.users.contains_key(name));
    }

    /// Ends what is over or fits its account no more.
    pub(crate) fn sweep(&mut self, config: &Config, now: Timestamp) {
        self.remove_where(|session| session.is_over(now) || !session.fits(config));
    }

    /// The sessions of an account, the last used first.
    pub(crate) fn list(
        &self,
        user: &str,
        current: Option<&Key>,
        config: &Config,
        now: Timestamp,
    ) -> Vec<SessionRow> {
        let mut rows: Vec<_> = self
            .open
            .iter()
            .filter(|(_, session)| session.user == user && !session.is_over(now) && session.fits(config))
            .map(|(key, session)| SessionRow {
                id: id(key),
                created_at: session.created_at,
                last_seen: session.last_seen,
                ip: session.ip,
                user_agent: session.user_agent.clone(),
                current: current == Some(key),
            })
            .collect();
        rows.sort_by(|a, b| b.last_seen.cmp(&a.last_seen).then_with(|| a.id.cmp(&b.id)));
        rows
    }

    pub(crate) fn last_login(&self, user: &str) -> Option<Timestamp> {
        self.last_logins.get(user).copied()
    }

    /// Makes room for one more.
    fn make_room(&mut self, user: &str) {
        let of_user = self.open.values().filter(|session| session.user == user).count();
        if of_user >= PER_USER {
            self.remove_idlest(|session| session.user == user);
        }
        if self.open.len() >= IN_ALL {
            self.remove_idlest(|_| true);
        }
    }

    fn remove_idlest(&mut self, among: impl Fn(&Session) -> bool) {
        let idlest = self
            .open
            .iter()
            .filter(|(_, session)| among(session))
            .min_by_key(|(key, session)| (session.last_seen, **key))
            .map(|(key, _)| *key);
        if let Some(key) = idlest {
            self.remove(&key);
        }
    }

    fn remove_where(&mut self, is_over: impl Fn(&Session) -> bool) {
        let over: Vec<Key> = self
            .open
            .iter()
            .filter(|(_, session)| is_over(session))
            .map(|(key, _)| *key)
            .collect();
        for key in &over {
            self.remove(key);
        }
        self.recount();
    }

    fn remove(&mut self, key: &Key) -> Option<Session> {
        let session = self.open.remove(key)?;
        self.tell(|| SessionChange::Ended(hex(key)));
        self.recount();
        Some(session)
    }

    fn recount(&self) {
        self.count.store(self.open.len() as u64, Ordering::Relaxed);
    }

    /// Told in order, because an end that is told before an earlier use would be undone by it.
    fn tell(&self, change: impl FnOnce() -> SessionChange) {
        if let Some(sink) = &self.sink {
            sink(change());
        }
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Sessions")
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{Role, User};
    use observe::Mutex;

    const HOUR: i64 = 3_600;
    const DAY: i64 = 24 * HOUR;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_786_000_000 + seconds).unwrap()
    }

    fn ip() -> IpAddr {
        [203, 0, 113, 9].into()
    }

    fn config(names: &[&str]) -> Config {
        let mut config = Config::default();
        for name in names {
            let user = User::new((*name).into(), format!("hash of {name}"), Role::Admin);
            config.users.insert((*name).into(), user);
        }
        config
    }

    fn start(sessions: &mut Sessions, config: &Config, user: &str, seconds: i64) -> NewSession {
        let stamp = Stamp::of(&config.users[user]);
        sessions
            .start(user, stamp, ip(), "Browser/1.0", at(seconds))
            .unwrap()
    }

    /// What the sink was told: `+` saved, `-` ended.
    fn listen(sessions: &mut Sessions) -> Arc<Mutex<String>> {
        let told = Arc::new(Mutex::new("told", String::new()));
        let sink = Arc::clone(&told);
        sessions.on_change(Box::new(move |change| {
            sink.lock().push(match change {
                SessionChange::Saved(_) => '+',
                SessionChange::Ended(_) => '-',
            });
        }));
        told
    }

    #[test]
    fn a_session_ends_by_age_and_by_idleness() {
        let config = config(&["ann"]);
        // A use at each of these hours; the last one is asked about.
        for (uses, valid) in [
            (&[0][..], true),
            (&[23], true),
            (&[24], false),
            (&[23, 46], true),
            (&[23, 47], false),
            (&[20, 40, 60, 80, 100, 120, 140, 160, 167], true),
            (&[20, 40, 60, 80, 100, 120, 140, 160, 168], false),
        ] {
            let mut sessions = Sessions::default();
            let sid = start(&mut sessions, &config, "ann", 0).sid;
            let mut seen = None;
            for hour in uses {
                seen = sessions.touch(&sid, &config, at(hour * HOUR));
            }
            assert_eq!(
                seen.map(|(_, user)| user).as_deref(),
                valid.then_some("ann"),
                "{uses:?}"
            );
            assert_eq!(sessions.open.len(), usize::from(valid), "{uses:?}");
        }
    }

    #[test]
    fn only_a_hash_is_kept_and_only_the_whole_value_opens() {
        let config = config(&["ann"]);
        let mut sessions = Sessions::default();
        let begun = start(&mut sessions, &config, "ann", 0);
        assert!(begun.sid.len() == 64 && begun.session.csrf.len() == 64 && begun.sid != begun.session.csrf);
        assert_eq!(begun.session.expires_at, at(7 * DAY));
        let (key, session) = sessions.open.iter().next().unwrap();
        let stored = session.stored(key);
        assert!(stored.key != begun.sid && !begun.sid.contains(&begun.session.id));
        for text in [
            format!("{begun:?}"),
            format!("{stored:?}"),
            format!("{sessions:?}"),
        ] {
            assert!(
                !text.contains(&begun.sid) && !text.contains(&begun.session.csrf),
                "{text}"
            );
        }
        for wrong in [
            "",
            &begun.sid[1..],
            &begun.sid.to_uppercase(),
            &stored.key,
            &begun.session.id,
        ] {
            assert_eq!(sessions.find(wrong, &config, at(0)), None, "{wrong}");
        }
        let found = sessions.find(&begun.sid, &config, at(0));
        assert_eq!(found, Some((begun.session, "ann".to_owned())));
    }

    #[test]
    fn the_idlest_make_room() {
        let config = config(&["ann", "bob"]);
        let mut sessions = Sessions::default();
        let first: Vec<_> = (0..20)
            .map(|second| start(&mut sessions, &config, "ann", second))
            .collect();
        start(&mut sessions, &config, "bob", 0);
        sessions.touch(&first[0].sid, &config, at(100));
        start(&mut sessions, &config, "ann", 101);
        assert_eq!(sessions.open.len(), 21);
        let stands = |sid: &str| sessions.find(sid, &config, at(101)).is_some();
        assert!(stands(&first[0].sid) && !stands(&first[1].sid) && stands(&first[2].sid));
    }

    #[test]
    fn memory_is_bounded() {
        let names: Vec<String> = (0..600).map(|number| number.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let config = config(&names);
        let mut sessions = Sessions::default();
        for number in 0..IN_ALL + 50 {
            start(&mut sessions, &config, names[number % names.len()], 0);
        }
        assert_eq!(sessions.open.len(), IN_ALL);
        assert_eq!(sessions.count().load(Ordering::Relaxed), IN_ALL as u64);
        let long = "x\n".repeat(5_000);
        let stamp = Stamp::of(&config.users["0"]);
        sessions.start("0", stamp, ip(), &long, at(1)).unwrap();
        let row = &sessions.list("0", None, &config, at(1))[0];
        assert_eq!(row.user_agent, "x".repeat(MAX_AGENT));
    }

    #[test]
    fn an_account_that_changes_ends_its_sessions_but_may_keep_one() {
        let mut config = config(&["ann", "bob"]);
        let mut sessions = Sessions::default();
        let [one, two] = [0, 1].map(|second| start(&mut sessions, &config, "ann", second));
        let other = start(&mut sessions, &config, "bob", 0);
        let valid = |sessions: &Sessions, config: &Config| {
            [&one, &two, &other].map(|begun| sessions.find(&begun.sid, config, at(2)).is_some())
        };
        config.users.get_mut("ann").unwrap().password = "new".into();
        assert_eq!(valid(&sessions, &config), [false, false, true]);
        assert_eq!(sessions.list("ann", None, &config, at(2)), []);
        let stamp = Stamp::of(&config.users["ann"]);
        assert_eq!(sessions.end_user("ann", Some(&two.session.id), Some(stamp)), 1);
        assert_eq!(valid(&sessions, &config), [false, true, true]);
        config.users.get_mut("ann").unwrap().role = Role::Dj;
        assert_eq!(valid(&sessions, &config), [false, false, true]);
        sessions.sweep(&config, at(2));
        assert_eq!(sessions.open.len(), 1);
        // An id of somebody else's session keeps nothing.
        let stamp = Stamp::of(&config.users["bob"]);
        assert_eq!(sessions.end_user("bob", Some(&two.session.id), Some(stamp)), 1);
        assert!(sessions.open.is_empty());
    }

    #[test]
    fn an_account_that_goes_takes_its_sessions_along() {
        let config_with = config(&["ann", "bob"]);
        let mut sessions = Sessions::default();
        let ann = start(&mut sessions, &config_with, "ann", 0);
        let bob = start(&mut sessions, &config_with, "bob", 0);
        assert_eq!(sessions.last_login("ann"), Some(at(0)));
        let without = config(&["bob"]);
        assert_eq!(sessions.touch(&ann.sid, &without, at(1)), None);
        sessions.keep_users(&without);
        // The same account made anew does not revive them.
        assert_eq!(sessions.touch(&ann.sid, &config_with, at(2)), None);
        assert!(sessions.touch(&bob.sid, &config_with, at(2)).is_some());
        assert_eq!(sessions.last_login("ann"), None);
    }

    #[test]
    fn sessions_are_listed_and_ended_by_their_public_names() {
        let config = config(&["ann", "bob"]);
        let mut sessions = Sessions::default();
        let [one, two] = [0, 1].map(|second| start(&mut sessions, &config, "ann", second));
        sessions.touch(&one.sid, &config, at(90));
        let rows = sessions.list("ann", Some(&two.session.key), &config, at(90));
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (row.id.as_str(), row.last_seen, row.current))
            .collect();
        assert_eq!(
            seen,
            [
                (one.session.id.as_str(), at(90), false),
                (&two.session.id, at(1), true)
            ]
        );
        assert_eq!(
            (rows[0].created_at, rows[0].ip, rows[0].user_agent.as_str()),
            (at(0), ip(), "Browser/1.0")
        );
        for (user, id, ended) in [
            ("bob", one.session.id.as_str(), false),
            ("ann", "", false),
            ("ann", &one.session.id, true),
            ("ann", &one.session.id, false),
        ] {
            assert_eq!(sessions.end_id(user, id), ended, "{user} {id}");
        }
        assert_eq!(sessions.end(&two.sid).as_deref(), Some("ann"));
        assert_eq!(sessions.end(&two.sid), None);
    }

    #[test]
    fn sessions_outlive_the_process() {
        let config = config(&["ann", "bob"]);
        let mut sessions = Sessions::default();
        let told = listen(&mut sessions);
        let ann = start(&mut sessions, &config, "ann", 0);
        for (second, expected) in [(59, "+"), (60, "++"), (119, "++"), (120, "+++")] {
            sessions.touch(&ann.sid, &config, at(second));
            assert_eq!(*told.lock(), expected, "at {second}");
        }
        start(&mut sessions, &config, "bob", 0);
        let stored: Vec<_> = sessions
            .open
            .iter()
            .map(|(key, session)| session.stored(key))
            .collect();
        let text = serde_json::to_string(&stored).unwrap();
        let mut stored: Vec<StoredSession> = serde_json::from_str(&text).unwrap();
        let broken = StoredSession {
            key: "x".into(),
            ..stored[0].clone()
        };
        stored.push(broken);

        let mut later = Sessions::default();
        let told = listen(&mut later);
        let mut changed = config.clone();
        changed.users.get_mut("bob").unwrap().password = "new".into();
        later.restore(stored.clone(), &changed, at(200));
        assert_eq!(*told.lock(), "--", "bob's, and what is no session");
        let found = later.find(&ann.sid, &changed, at(200)).unwrap();
        assert_eq!(found, (ann.session.clone(), "ann".to_owned()));
        assert_eq!(later.count().load(Ordering::Relaxed), 1);
        assert_eq!(later.last_login("ann"), Some(at(0)));
        assert_eq!(later.end(&ann.sid).as_deref(), Some("ann"));
        assert_eq!(*told.lock(), "---");

        let mut too_late = Sessions::default();
        too_late.restore(stored, &config, at(120 + DAY));
        assert!(too_late.open.is_empty());
    }
}
