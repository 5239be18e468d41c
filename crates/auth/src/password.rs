//! Passwords against bcrypt hashes, on threads of their own.
//!
//! Contract: a verification costs a quarter of a second of a core and never runs on a caller's thread; so many run
//! and so many wait at one time, the rest is told that the server is busy. How long an answer takes says nothing
//! about which accounts exist.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use hmac::{Hmac, KeyInit as _, Mac as _};
use observe::Mutex;
use observe::wait::{Kind, timed};
use sha2::Sha256;
use tokio::sync::oneshot;

use crate::metrics::{CHECK_DURATION, CHECKS, Checked};

/// bcrypt takes no more into account.
const MAX_PASSWORD: usize = 72;
/// Salt and hash of nobody's password; whatever matches it is refused all the same.
const DUMMY_TAIL: &str = "KIXmzFZ4tXZjw3gO6oYYNuVv8qWcEwzLr0hJmYb3uK5nTqZrPLk2e";

/// How much work may go on.
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    /// Threads that compute.
    pub threads: usize,
    /// Checks that may wait.
    pub queue: usize,
    /// The cost of new hashes and of the comparison for accounts that do not exist.
    pub cost: u32,
}

impl Default for PoolSettings {
    /// Half the cores, one to four; 64 in the queue; cost 12.
    fn default() -> PoolSettings {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        PoolSettings {
            threads: (cores / 2).clamp(1, 4),
            queue: 64,
            cost: 12,
        }
    }
}

/// Too many checks are waiting; try again later (503).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many password checks are waiting")]
pub struct Busy;

/// Why there is no hash; the password must not be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// Choose a shorter password (400).
    #[error("the password has more than 72 bytes")]
    TooLong,
    /// Try again later (503).
    #[error("too many password checks are waiting")]
    Busy,
    /// The system gave no random bytes (500).
    #[error("the password could not be hashed: {0}")]
    Failed(String),
}

/// Verifies and hashes passwords.
#[derive(Debug)]
pub struct PasswordCheck {
    jobs: Sender<Job>,
    cache: Cache,
    settings: PoolSettings,
    dummy: Arc<str>,
}

enum Job {
    Verify {
        hashes: Vec<String>,
        password: Vec<u8>,
        dummy: Arc<str>,
        reply: oneshot::Sender<Option<usize>>,
    },
    Hash {
        password: Vec<u8>,
        cost: u32,
        reply: oneshot::Sender<Result<String, HashError>>,
    },
}

impl PasswordCheck {
    /// Starts the threads; they end when the value is dropped.
    ///
    /// # Errors
    /// The system gave no thread or no random bytes; the server cannot work without either.
    pub fn start(settings: PoolSettings) -> io::Result<PasswordCheck> {
        let (check, jobs) = PasswordCheck::new(settings)?;
        for _ in 0..settings.threads.max(1) {
            let jobs = jobs.clone();
            observe::thread::spawn("passwords", move || {
                step_back();
                work(&jobs);
            })?;
        }
        Ok(check)
    }

    fn new(settings: PoolSettings) -> io::Result<(PasswordCheck, Receiver<Job>)> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let (jobs, work) = bounded(settings.queue);
        let dummy = format!("$2a${:02}${DUMMY_TAIL}", settings.cost).into();
        Ok((
            PasswordCheck {
                jobs,
                cache: Cache::new(key),
                settings,
                dummy,
            },
            work,
        ))
    }

    /// Whether the password matches one of the hashes.
    ///
    /// # Errors
    /// [`Busy`] when too many wait already.
    pub async fn verify(&self, hashes: Vec<String>, password: &[u8]) -> Result<bool, Busy> {
        Ok(self.find(hashes, password).await?.is_some())
    }

    /// Which of the hashes the password matches, in their order. What is no bcrypt hash never matches; without any
    /// hash the answer takes as long as with one.
    ///
    /// # Errors
    /// [`Busy`] when too many wait already.
    pub async fn find(&self, hashes: Vec<String>, password: &[u8]) -> Result<Option<usize>, Busy> {
        if password.len() > MAX_PASSWORD {
            CHECKS.of(Checked::Wrong).inc();
            return Ok(None);
        }
        let known = |hash: &String| self.cache.contains(hash, password, now());
        if let Some(place) = hashes.iter().position(known) {
            CHECKS.of(Checked::Cached).inc();
            return Ok(Some(place));
        }
        let began = now();
        let found = self.compute(hashes, password).await;
        CHECKS
            .of(match found {
                Ok(Some(_)) => Checked::Matched,
                Ok(None) => Checked::Wrong,
                Err(Busy) => Checked::Busy,
            })
            .inc();
        if found.is_ok() {
            CHECK_DURATION.observe_duration(now().saturating_duration_since(began));
        }
        found
    }

    async fn compute(&self, hashes: Vec<String>, password: &[u8]) -> Result<Option<usize>, Busy> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Verify {
            hashes: hashes.clone(),
            password: password.to_vec(),
            dummy: Arc::clone(&self.dummy),
            reply,
        };
        self.jobs.try_send(job).map_err(|_| Busy)?;
        // A worker that panicked has dropped the reply; the client may try again.
        let place = timed(Kind::Semaphore, "auth.password", answer)
            .await
            .map_err(|_| Busy)?;
        if let Some(hash) = place.and_then(|place| hashes.get(place)) {
            self.cache.insert(hash, password, now());
        }
        Ok(place)
    }

    /// Whether this password matched this hash a moment ago.
    pub(crate) fn knows(&self, hash: &str, password: &[u8]) -> bool {
        password.len() <= MAX_PASSWORD && self.cache.contains(hash, password, now())
    }

    /// A hash of a new password, as `$2a$`, which every version of the file's readers knows.
    ///
    /// # Errors
    /// See [`HashError`]; the old password stays.
    pub async fn hash(&self, password: &[u8]) -> Result<String, HashError> {
        if password.len() > MAX_PASSWORD {
            return Err(HashError::TooLong);
        }
        let (reply, answer) = oneshot::channel();
        let job = Job::Hash {
            password: password.to_vec(),
            cost: self.settings.cost,
            reply,
        };
        self.jobs.try_send(job).map_err(|_| HashError::Busy)?;
        timed(Kind::Semaphore, "auth.password", answer)
            .await
            .map_err(|_| HashError::Busy)?
    }

    /// A hash that nothing matches, as costly as a real one: compare against it for accounts that do not exist.
    pub fn dummy(&self) -> String {
        self.dummy.as_ref().to_owned()
    }
}

/// The clock of the runtime, so that tests can turn it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn work(jobs: &Receiver<Job>) {
    for job in jobs {
        // A panic must not cost the pool a thread; the event has told where.
        let _ = observe::task::guard("passwords", (), || run(job));
    }
}

fn run(job: Job) {
    match job {
        Job::Verify {
            hashes,
            password,
            dummy,
            reply,
        } => {
            // Nobody pays for an answer that nobody waits for.
            if !reply.is_closed() {
                let _ = reply.send(find(&hashes, &password, &dummy));
            }
        }
        Job::Hash {
            password,
            cost,
            reply,
        } => {
            let hashed = bcrypt::hash_with_result(&password, cost);
            let text = hashed.map(|parts| parts.format_for_version(bcrypt::Version::TwoA));
            let _ = reply.send(text.map_err(|error| HashError::Failed(error.to_string())));
        }
    }
}

fn find(hashes: &[String], password: &[u8], dummy: &str) -> Option<usize> {
    if !hashes.iter().any(|hash| is_hash(hash)) {
        let _ = bcrypt::verify(password, dummy);
        return None;
    }
    hashes.iter().position(|hash| {
        let matches = is_hash(hash) && bcrypt::verify(password, hash).unwrap_or(false);
        matches && hash != dummy
    })
}

/// `$2x$` marks hashes of a broken implementation and is not taken.
fn is_hash(hash: &str) -> bool {
    ["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|version| hash.starts_with(version))
}

/// Gives way to the media threads: a flood of logins must not be heard.
#[cfg(target_os = "linux")]
fn step_back() {
    // On Linux niceness belongs to a thread. When it is refused, the small number of threads is protection enough.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 10);
}

#[cfg(not(target_os = "linux"))]
fn step_back() {}

/// Remembers what matched, so that a script which sends its password with each request pays once.
#[derive(Debug)]
struct Cache {
    key: [u8; 32],
    /// Held for one look-up or one entry.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    until: HashMap<Digest, Instant>,
    /// In the order of entry, which is the order of their end.
    order: VecDeque<Digest>,
}

type Digest = [u8; 32];

impl Cache {
    const MOST: usize = 1_000;
    const LIFE: Duration = Duration::from_secs(5 * 60);

    fn new(key: [u8; 32]) -> Cache {
        Cache {
            key,
            known: Mutex::new("password-cache", Known::default()),
        }
    }

    /// Keyed afresh in each process: a look into the memory finds no quick hash of a password. The stored hash is
    /// part of it, so that a changed password ends its entry.
    fn digest(&self, hash: &str, password: &[u8]) -> Digest {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(&(hash.len() as u64).to_le_bytes());
        mac.update(hash.as_bytes());
        mac.update(password);
        mac.finalize().into_bytes().into()
    }

    fn contains(&self, hash: &str, password: &[u8], now: Instant) -> bool {
        let digest = self.digest(hash, password);
        self.known
            .lock()
            .until
            .get(&digest)
            .is_some_and(|until| now < *until)
    }

    fn insert(&self, hash: &str, password: &[u8], now: Instant) {
        let digest = self.digest(hash, password);
        let mut known = self.known.lock();
        // Two checks of one password may end together; the first entry stands.
        if known.until.get(&digest).is_some_and(|until| now < *until) {
            return;
        }
        if known.until.insert(digest, now + Cache::LIFE).is_some() {
            known.order.retain(|other| *other != digest);
        }
        known.order.push_back(digest);
        while let Some(oldest) = known.order.front().copied() {
            let ended = known.until.get(&oldest).is_none_or(|until| now >= *until);
            if !ended && known.order.len() <= Cache::MOST {
                break;
            }
            known.order.pop_front();
            known.until.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: PoolSettings = PoolSettings {
        threads: 2,
        queue: 64,
        cost: 4,
    };

    fn hash(password: &str) -> String {
        bcrypt::hash_with_result(password, 4)
            .unwrap()
            .format_for_version(bcrypt::Version::TwoA)
    }

    async fn check(hashes: &[&str], password: &str, expected: Option<usize>) {
        let pool = PasswordCheck::start(CHEAP).unwrap();
        let hashes: Vec<_> = hashes.iter().map(|hash| (*hash).to_owned()).collect();
        let found = pool.find(hashes.clone(), password.as_bytes()).await;
        assert_eq!(found, Ok(expected), "{password} against {hashes:?}");
        assert_eq!(
            pool.find(hashes, password.as_bytes()).await,
            found,
            "and again, from the cache"
        );
    }

    #[tokio::test]
    async fn passwords_match_their_hashes_only() {
        let (one, two) = (hash("one"), hash("two"));
        check(&[&one], "one", Some(0)).await;
        check(&[&one], "One", None).await;
        check(&[&one, &two], "two", Some(1)).await;
        check(&["", "plain", &two], "two", Some(2)).await;
        check(&[], "one", None).await;
        check(&[""], "", None).await;
        check(&["plain"], "plain", None).await;
        check(&[&hash("")], "", Some(0)).await;
    }

    #[tokio::test]
    async fn every_version_but_the_broken_one_is_taken() {
        let tail = hash("hackme")[4..].to_owned();
        for (version, expected) in [
            ("$2a$", Some(0)),
            ("$2b$", Some(0)),
            ("$2y$", Some(0)),
            ("$2x$", None),
        ] {
            check(&[&format!("{version}{tail}")], "hackme", expected).await;
        }
        // Made by the C library's crypt.
        check(
            &["$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s."],
            "",
            Some(0),
        )
        .await;
        check(
            &["$2y$04$DCq7YPn5Rq63x1Lad4cll.NxNZaTILc.WIzj94SZ6ieZdrt0Op6YW"],
            "häckme",
            Some(0),
        )
        .await;
    }

    #[tokio::test]
    async fn long_passwords_never_match() {
        let long = "x".repeat(73);
        let cut = hash(&long[..72]);
        check(&[&cut], &long[..72], Some(0)).await;
        check(&[&cut], &long, None).await;
        let pool = PasswordCheck::start(CHEAP).unwrap();
        assert_eq!(pool.hash(long.as_bytes()).await, Err(HashError::TooLong));
        let hash = pool.hash(&long.as_bytes()[..72]).await.unwrap();
        assert!(hash.starts_with("$2a$04$"), "{hash}");
        assert_eq!(pool.verify(vec![hash], &long.as_bytes()[..72]).await, Ok(true));
    }

    #[test]
    fn the_dummy_is_a_hash_that_nothing_matches() {
        let (pool, _) = PasswordCheck::new(PoolSettings::default()).unwrap();
        let parts: bcrypt::HashParts = pool.dummy().parse().unwrap();
        assert_eq!(parts.get_cost(), 12);
        // Even a password that happens to match is refused.
        let lucky = hash("lucky");
        assert_eq!(find(std::slice::from_ref(&lucky), b"lucky", &lucky), None);
    }

    #[tokio::test]
    async fn a_full_queue_is_busy() {
        let (pool, jobs) = PasswordCheck::new(PoolSettings { queue: 1, ..CHEAP }).unwrap();
        let pool = Arc::new(pool);
        let first = Arc::clone(&pool);
        let first = observe::task::spawn("first", (), async move {
            first.verify(vec![hash("one")], b"one").await
        });
        tokio::task::yield_now().await;
        assert_eq!(pool.verify(vec![hash("one")], b"one").await, Err(Busy));
        assert_eq!(pool.hash(b"one").await, Err(HashError::Busy));
        run(jobs.recv().unwrap());
        assert_eq!(first.await, Ok(Ok(true)));
    }

    #[tokio::test]
    async fn a_check_that_nobody_waits_for_is_skipped() {
        let (pool, jobs) = PasswordCheck::new(CHEAP).unwrap();
        let pool = Arc::new(pool);
        let other = Arc::clone(&pool);
        let gone = observe::task::spawn("gone", (), async move {
            other.verify(vec![hash("one")], b"one").await
        });
        tokio::task::yield_now().await;
        gone.abort();
        assert!(gone.await.is_err());
        let job = jobs.recv().unwrap();
        assert!(matches!(&job, Job::Verify { reply, .. } if reply.is_closed()));
        run(job);
    }

    #[tokio::test]
    async fn a_known_password_needs_no_thread() {
        let (pool, jobs) = PasswordCheck::new(CHEAP).unwrap();
        let one = hash("one");
        pool.cache.insert(&one, b"one", now());
        assert_eq!(
            pool.find(vec![hash("two"), one.clone()], b"one").await,
            Ok(Some(1))
        );
        assert!(jobs.is_empty());
        // Another stored hash of the same password is another entry.
        assert!(!pool.cache.contains(&hash("one"), b"one", now()));
        assert!(!pool.cache.contains(&one, b"onf", now()));
    }

    #[test]
    fn the_cache_is_bounded_in_time_and_size() {
        let start = Instant::now();
        let cache = Cache::new([7; 32]);
        cache.insert("h", b"p", start);
        let just_before = start + Cache::LIFE - Duration::from_nanos(1);
        cache.insert("h", b"p", just_before);
        assert!(cache.contains("h", b"p", just_before));
        assert!(
            !cache.contains("h", b"p", start + Cache::LIFE),
            "a use does not make it live longer"
        );
        for number in 0..=Cache::MOST {
            cache.insert("h", &number.to_le_bytes(), just_before);
        }
        assert!(!cache.contains("h", b"p", just_before));
        assert!(cache.contains("h", &1_usize.to_le_bytes(), just_before));
        let sizes = |cache: &Cache| {
            let known = cache.known.lock();
            (known.until.len(), known.order.len())
        };
        assert_eq!(sizes(&cache), (Cache::MOST, Cache::MOST));
        cache.insert("h", b"late", just_before + Cache::LIFE);
        assert_eq!(sizes(&cache), (1, 1));
    }
}
