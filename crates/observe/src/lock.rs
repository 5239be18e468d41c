//! Named locks that say how often and where threads waited for them.
//!
//! Contract: taking a free lock costs no more than two atomic stores beyond the lock itself; only those who wait
//! pay for the bookkeeping.

use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::record::place;
use crate::task::current_id;

/// A wait this long is remembered in the flight recorder.
const LONG_WAIT: Duration = Duration::from_millis(10);

crate::event! {
    struct LockWait { lock: &'static str, at: String, waited: Duration, holder: u64 }
    = [Recorder] Debug "lock_wait": "A lock was waited for"
}

/// The waits for the locks of one name at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockStats {
    /// The name of the lock.
    pub name: &'static str,
    /// Who waited, as `crate/file.rs:line`.
    pub at: String,
    /// How often a lock was not free at once.
    pub contentions: u64,
    /// The time spent waiting.
    pub waited: Duration,
    /// The longest wait.
    pub longest: Duration,
}

/// Someone who waits for a lock at this moment.
#[derive(Clone, Debug)]
pub struct Waiter {
    /// The name of the lock.
    pub name: &'static str,
    /// Who waits, as `crate/file.rs:line`.
    pub at: String,
    /// The id of the waiting task or thread; 0 if it is not registered.
    pub waiter: u64,
    /// The id of the task or thread that held the lock when the wait began; 0 if unknown (readers are not known).
    pub holder: u64,
    /// How long so far.
    pub waiting: Duration,
}

/// All places that ever waited for a named lock, the longest total wait first.
pub fn locks() -> Vec<LockStats> {
    let mut stats: Vec<_> = BOOK
        .lock()
        .stats
        .iter()
        .map(|((name, at), waits)| waits.stats(name, at))
        .collect();
    stats.sort_by(|a, b| b.waited.cmp(&a.waited).then_with(|| a.at.cmp(&b.at)));
    stats
}

/// Everyone who waits for a named lock now, the longest wait first.
pub fn lock_waiters() -> Vec<Waiter> {
    let now = Instant::now();
    let mut waiters: Vec<_> = BOOK
        .lock()
        .waiting
        .values()
        .map(|waiting| waiting.waiter(now))
        .collect();
    waiters.sort_by_key(|waiter| std::cmp::Reverse(waiter.waiting));
    waiters
}

type At = &'static Location<'static>;

#[derive(Default)]
struct Book {
    stats: HashMap<(&'static str, At), Waits>,
    waiting: HashMap<u64, Waiting>,
    next: u64,
}

#[derive(Default)]
struct Waits {
    contentions: u64,
    waited: Duration,
    longest: Duration,
}

impl Waits {
    fn stats(&self, name: &'static str, at: At) -> LockStats {
        let Waits {
            contentions,
            waited,
            longest,
        } = *self;
        LockStats {
            name,
            at: place(at),
            contentions,
            waited,
            longest,
        }
    }
}

struct Waiting {
    name: &'static str,
    at: At,
    waiter: u64,
    holder: u64,
    since: Instant,
}

impl Waiting {
    fn waiter(&self, now: Instant) -> Waiter {
        Waiter {
            name: self.name,
            at: place(self.at),
            waiter: self.waiter,
            holder: self.holder,
            waiting: now.saturating_duration_since(self.since),
        }
    }
}

/// Who waited and who waits. The lock is taken only by those who wait anyway and by the reports.
#[allow(
    clippy::disallowed_types,
    reason = "the book of the named locks cannot keep a book on itself"
)]
static BOOK: LazyLock<parking_lot::Mutex<Book>> = LazyLock::new(Default::default);

/// Waits with bookkeeping.
#[cold]
fn wait<G>(name: &'static str, at: At, holder: u64, take: impl FnOnce() -> G) -> G {
    // Only the holder writes its own id, so this is no guess; a panic is caught and told, a deadlock is neither.
    let waiter = current_id();
    assert!(
        holder == 0 || holder != waiter,
        "the lock {name:?} is taken twice by the same task"
    );
    let since = Instant::now();
    let key = {
        let mut book = BOOK.lock();
        book.next += 1;
        let key = book.next;
        book.waiting.insert(
            key,
            Waiting {
                name,
                at,
                waiter: current_id(),
                holder,
                since,
            },
        );
        key
    };
    let guard = take();
    let waited = since.elapsed();
    {
        let mut book = BOOK.lock();
        book.waiting.remove(&key);
        let waits = book.stats.entry((name, at)).or_default();
        waits.contentions += 1;
        waits.waited += waited;
        waits.longest = waits.longest.max(waited);
    }
    if waited >= LONG_WAIT {
        crate::emit(LockWait {
            lock: name,
            at: place(at),
            waited,
            holder,
        });
    }
    guard
}

/// A mutual exclusion lock with a name; it knows no poisoning.
#[allow(clippy::disallowed_types, reason = "this is the named wrapper")]
pub struct Mutex<T: ?Sized> {
    name: &'static str,
    holder: AtomicU64,
    inner: parking_lot::Mutex<T>,
}

#[allow(clippy::disallowed_types, reason = "this is the named wrapper")]
impl<T> Mutex<T> {
    /// A lock around a value. Locks that protect the same kind of thing share a name.
    pub const fn new(name: &'static str, value: T) -> Mutex<T> {
        Mutex {
            name,
            holder: AtomicU64::new(0),
            inner: parking_lot::Mutex::new(value),
        }
    }

    /// The value, without the lock.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the lock, waiting if somebody has it. Never hold it over an await.
    ///
    /// # Panics
    /// A registered task or thread that takes a lock it holds already is ended instead of hanging for ever.
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let guard = match self.inner.try_lock() {
            Some(guard) => guard,
            None => {
                let holder = self.holder.load(Ordering::Relaxed);
                wait(self.name, Location::caller(), holder, || self.inner.lock())
            }
        };
        self.holder.store(current_id(), Ordering::Relaxed);
        MutexGuard {
            holder: &self.holder,
            guard,
        }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let guard = self.inner.try_lock()?;
        self.holder.store(current_id(), Ordering::Relaxed);
        Some(MutexGuard {
            holder: &self.holder,
            guard,
        })
    }

    /// The value, when nobody else can reach it.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Mutex")
            .field("name", &self.name)
            .field("inner", &&self.inner)
            .finish()
    }
}

/// The held [`Mutex`].
#[derive(Debug)]
#[must_use = "the lock is free again as soon as the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    holder: &'a AtomicU64,
    guard: parking_lot::MutexGuard<'a, T>,
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // The lock itself is released after this.
        self.holder.store(0, Ordering::Relaxed);
    }
}

/// A lock with a name for many readers or one writer; it knows no poisoning.
#[allow(clippy::disallowed_types, reason = "this is the named wrapper")]
pub struct RwLock<T: ?Sized> {
    name: &'static str,
    /// The writer; readers are not known.
    holder: AtomicU64,
    inner: parking_lot::RwLock<T>,
}

#[allow(clippy::disallowed_types, reason = "this is the named wrapper")]
impl<T> RwLock<T> {
    /// A lock around a value. Locks that protect the same kind of thing share a name.
    pub const fn new(name: &'static str, value: T) -> RwLock<T> {
        RwLock {
            name,
            holder: AtomicU64::new(0),
            inner: parking_lot::RwLock::new(value),
        }
    }

    /// The value, without the lock.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Takes the lock for reading. Never take it twice in one thread: a writer may wait in between.
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let guard = match self.inner.try_read() {
            Some(guard) => guard,
            None => {
                let holder = self.holder.load(Ordering::Relaxed);
                wait(self.name, Location::caller(), holder, || self.inner.read())
            }
        };
        RwLockReadGuard { guard }
    }

    /// Takes the lock for writing.
    ///
    /// # Panics
    /// Like [`Mutex::lock`], when the same task writes already.
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let guard = match self.inner.try_write() {
            Some(guard) => guard,
            None => {
                let holder = self.holder.load(Ordering::Relaxed);
                wait(self.name, Location::caller(), holder, || self.inner.write())
            }
        };
        self.holder.store(current_id(), Ordering::Relaxed);
        RwLockWriteGuard {
            holder: &self.holder,
            guard,
        }
    }

    /// The value, when nobody else can reach it.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RwLock")
            .field("name", &self.name)
            .field("inner", &&self.inner)
            .finish()
    }
}

/// The [`RwLock`] held for reading.
#[derive(Debug)]
#[must_use = "the lock is free again as soon as the guard is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    guard: parking_lot::RwLockReadGuard<'a, T>,
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

/// The [`RwLock`] held for writing.
#[derive(Debug)]
#[must_use = "the lock is free again as soon as the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    holder: &'a AtomicU64,
    guard: parking_lot::RwLockWriteGuard<'a, T>,
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.holder.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn waiter(name: &str) -> Option<Waiter> {
        lock_waiters().into_iter().find(|waiter| waiter.name == name)
    }

    /// Runs `contend` in a registered thread while the caller holds the lock, and lets go once it waits.
    fn check(name: &'static str, release: impl FnOnce(), contend: impl FnOnce() + Send + 'static) {
        let thread = crate::thread::spawn("test-contender", contend).unwrap();
        let seen = loop {
            match waiter(name) {
                Some(waiter) => break waiter,
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(seen.waiter, thread.id());
        assert!(seen.at.starts_with("observe/lock.rs:"), "{}", seen.at);
        release();
        thread.join().unwrap();
        assert!(waiter(name).is_none());
        let stats: Vec<_> = locks().into_iter().filter(|stats| stats.name == name).collect();
        assert_eq!(stats.len(), 1);
        assert_eq!(stats[0].contentions, 1);
        assert!(stats[0].waited > Duration::ZERO && stats[0].longest == stats[0].waited);
    }

    #[test]
    fn a_contended_mutex_is_counted() {
        let lock = Arc::new(Mutex::new("test-mutex", 1));
        let other = Arc::clone(&lock);
        let guard = lock.lock();
        check("test-mutex", || drop(guard), move || *other.lock() += 1);
        assert_eq!(*lock.lock(), 2);
    }

    #[test]
    fn a_contended_read_is_counted() {
        let lock = Arc::new(RwLock::new("test-rwlock", 1));
        let other = Arc::clone(&lock);
        let guard = lock.write();
        check(
            "test-rwlock",
            || drop(guard),
            move || assert_eq!(*other.read(), 1),
        );
    }

    #[test]
    fn waiters_name_the_holder() {
        let lock = Arc::new(Mutex::new("test-holder", ()));
        let (held, wait_held) = std::sync::mpsc::channel();
        let (release, wait_release) = std::sync::mpsc::channel::<()>();
        let other = Arc::clone(&lock);
        let holder = crate::thread::spawn("test-holder", move || {
            let _guard = other.lock();
            held.send(()).unwrap();
            let _ = wait_release.recv();
        })
        .unwrap();
        wait_held.recv().unwrap();
        let other = Arc::clone(&lock);
        let contender = crate::thread::spawn("test-contender", move || drop(other.lock())).unwrap();
        let seen = loop {
            match waiter("test-holder") {
                Some(waiter) => break waiter,
                None => std::thread::yield_now(),
            }
        };
        assert_eq!((seen.holder, seen.waiter), (holder.id(), contender.id()));
        drop(release);
        holder.join().unwrap();
        contender.join().unwrap();
    }

    #[test]
    fn taking_a_lock_twice_is_an_error_and_no_deadlock() {
        let thread = crate::thread::spawn("test-twice", || {
            let lock = Mutex::new("test-twice", ());
            let _first = lock.lock();
            drop(lock.lock());
        })
        .unwrap();
        let expected = "the lock \"test-twice\" is taken twice by the same task";
        assert_eq!(
            thread.join(),
            Err(crate::task::TaskEnd::Panicked(expected.into()))
        );
    }

    #[test]
    fn a_free_lock_is_not_listed() {
        let lock = Mutex::new("test-free", 0);
        *lock.lock() += 1;
        assert!(lock.try_lock().is_some());
        assert!(locks().iter().all(|stats| stats.name != "test-free"));
        assert_eq!(lock.into_inner(), 1);
    }
}
