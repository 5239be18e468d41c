//! Named locks that say how often and where threads waited for them, and who holds what others wait for.
//!
//! Contract: taking a free lock and letting go of it costs four plain stores beyond the lock itself; only those who
//! wait pay for the bookkeeping, and they do so before the lock is theirs.
//!
//! Taking and letting go, best of seven, optimised: mutex 27.9 ns (bare 26.9), write 23.0 (26.3), read 34.9 (29.9). The
//! test `free_locks_cost_little` prints these.

mod holder;
mod tick;

use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::record::place;
use crate::wait::book::{self, Key, Wait};
use crate::wait::{self, Kind};
pub(crate) use holder::{At, Seen};
use holder::{Holder, Place, forget_read, note_read, reads_here, seen_reading};
pub(crate) use tick::turn as turn_clock;

/// A wait this long is remembered in the flight recorder.
const LONG_WAIT: Duration = Duration::from_millis(10);
/// How long a waiter sleeps before it looks who holds the lock by now; doubled each time, up to the most. A waiter that
/// wakes for this goes to the end of the queue, so the first look is late enough for every wait that is in order.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const LAST_LOOK: Duration = Duration::from_secs(1);

crate::event! {
    struct LockWait<'a> {
        lock: &'static str,
        at: String,
        waited: Duration,
        holder: Option<&'a str>,
        held_at: Option<&'a str>,
    }
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
    /// The name of the waiting task or thread.
    pub waiter_name: Option<&'static str>,
    /// What the waiting task works on.
    pub waiter_subject: Option<Arc<str>>,
    /// The kernel's id of the thread that sleeps.
    pub thread: Option<u32>,
    /// The id of the task or thread that holds the lock; 0 if unknown or not registered.
    pub holder: u64,
    /// Who that is, where it took the lock and how long it holds it; at most a second old.
    pub held_by: Option<wait::Holder>,
    /// How long so far.
    pub waiting: Duration,
}

/// A lock that somebody waits for, and who holds it.
#[derive(Clone, Debug)]
pub struct HeldLock {
    /// The name of the lock.
    pub name: &'static str,
    /// Who holds it; unknown if it was let go at this moment.
    pub holder: Option<wait::Holder>,
    /// Who waits for it, the longest wait first.
    pub waiters: Vec<Waiter>,
}

/// All places that ever waited for a named lock, those who still wait included, the longest total wait first.
pub fn locks() -> Vec<LockStats> {
    let mut stats: HashMap<_, book::Tally> = HashMap::new();
    let (entries, _) = book::entries();
    for (key, tally) in entries.iter().filter(|(key, _)| key.kind == Kind::Lock) {
        let sum = stats.entry((key.name, key.at)).or_default();
        sum.add(tally.count, tally.waited, tally.longest);
    }
    let describe = |((name, at), tally): ((&'static str, Option<At>), book::Tally)| LockStats {
        name,
        at: at.map_or_else(|| "(other places)".to_owned(), place),
        contentions: tally.count,
        waited: tally.waited,
        longest: tally.longest,
    };
    let mut stats: Vec<_> = stats.into_iter().map(describe).collect();
    stats.sort_by(|a, b| b.waited.cmp(&a.waited).then_with(|| a.at.cmp(&b.at)));
    stats
}

/// For each lock name that was ever waited for: how often, how long together, and how many wait now.
pub fn lock_totals() -> Vec<(&'static str, u64, Duration, u64)> {
    wait::totals()
        .into_iter()
        .filter(|total| total.kind == Kind::Lock)
        .map(|total| (total.name, total.count, total.waited, total.waiting_now))
        .collect()
}

/// Everyone who waits for a named lock now, the longest wait first.
pub fn lock_waiters() -> Vec<Waiter> {
    wait::waiting()
        .into_iter()
        .filter(|waiting| waiting.kind == Kind::Lock)
        .map(|waiting| Waiter {
            name: waiting.name,
            at: waiting.at,
            waiter: waiting.waiter,
            waiter_name: waiting.waiter_name,
            waiter_subject: waiting.waiter_subject,
            thread: waiting.thread,
            holder: waiting.holder.as_ref().map_or(0, |holder| holder.id),
            held_by: waiting.holder,
            waiting: waiting.waiting,
        })
        .collect()
}

/// The locks that somebody has waited for at least this long. A lock that nobody waits for is not looked at: it does
/// no harm, and knowing of it would make taking a free lock dearer.
pub fn held_locks(least: Duration) -> Vec<HeldLock> {
    let mut held: Vec<HeldLock> = Vec::new();
    for waiter in lock_waiters() {
        let same = |lock: &&mut HeldLock| {
            let place =
                |holder: &Option<wait::Holder>| holder.as_ref().map(|holder| (holder.id, holder.at.clone()));
            lock.name == waiter.name && place(&lock.holder) == place(&waiter.held_by)
        };
        match held.iter_mut().find(same) {
            Some(lock) => lock.waiters.push(waiter),
            None if waiter.waiting >= least => held.push(HeldLock {
                name: waiter.name,
                holder: waiter.held_by.clone(),
                waiters: vec![waiter],
            }),
            None => {}
        }
    }
    held
}

/// Waits with bookkeeping. `take` waits for the lock for the given time; `seen` tells who holds it.
#[cold]
fn wait<G>(
    name: &'static str,
    at: At,
    seen: impl Fn() -> Option<Seen>,
    mut take: impl FnMut(Duration) -> Option<G>,
) -> G {
    if !crate::ENABLED {
        return std::iter::repeat_with(|| take(LAST_LOOK))
            .find_map(|guard| guard)
            .expect("the iterator does not end");
    }
    let mut holder = seen();
    let key = Key {
        kind: Kind::Lock,
        name,
        at: Some(at),
        stack: profile::stack::capture(),
    };
    let wait = Wait::begin(key, holder);
    let mut patience = FIRST_LOOK;
    let guard = loop {
        match take(patience) {
            Some(guard) => break guard,
            None => {
                // The last one seen did it, if it has just let go.
                holder = seen().or(holder);
                wait.set_holder(holder);
                patience = (patience * 2).min(LAST_LOOK);
            }
        }
    };
    let waited = wait.end(Duration::ZERO);
    if waited >= LONG_WAIT {
        let held_by = holder.as_ref().map(wait::holder);
        crate::emit(LockWait {
            lock: name,
            at: place(at),
            waited,
            holder: held_by.as_ref().and_then(|holder| holder.name),
            held_at: held_by.as_ref().map(|holder| &*holder.at),
        });
    }
    guard
}

/// A panic is caught and told; a deadlock is neither.
#[cold]
fn taken_twice(name: &'static str) -> ! {
    panic!("the lock {name:?} is taken twice by the same task")
}

fn refuse_second(name: &'static str, holder: &Holder) {
    // Only the holder writes its own id, so this is no guess.
    let own = |seen: Seen| seen.id != 0 && seen.id == crate::task::current_id();
    if holder.seen().is_some_and(own) {
        taken_twice(name);
    }
}

/// A mutual exclusion lock with a name; it knows no poisoning.
#[allow(clippy::disallowed_types, reason = "this is the named wrapper")]
pub struct Mutex<T: ?Sized> {
    name: &'static str,
    holder: Holder,
    inner: parking_lot::Mutex<T>,
}

#[allow(clippy::disallowed_types, reason = "this is the named wrapper")]
impl<T> Mutex<T> {
    /// A lock around a value. Locks that protect the same kind of thing share a name.
    pub const fn new(name: &'static str, value: T) -> Mutex<T> {
        Mutex {
            name,
            holder: Holder::new(),
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
                refuse_second(self.name, &self.holder);
                let take = |patience| self.inner.try_lock_for(patience);
                wait(self.name, Location::caller(), || self.holder.seen(), take)
            }
        };
        self.holder.take(Location::caller());
        MutexGuard {
            holder: &self.holder,
            guard,
        }
    }

    /// Takes the lock if it is free.
    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let guard = self.inner.try_lock()?;
        self.holder.take(Location::caller());
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
    holder: &'a Holder,
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
        self.holder.release();
    }
}

/// A lock with a name for many readers or one writer; it knows no poisoning.
#[allow(clippy::disallowed_types, reason = "this is the named wrapper")]
pub struct RwLock<T: ?Sized> {
    name: &'static str,
    /// The writer; readers are noted with their threads.
    holder: Holder,
    inner: parking_lot::RwLock<T>,
}

#[allow(clippy::disallowed_types, reason = "this is the named wrapper")]
impl<T> RwLock<T> {
    /// A lock around a value. Locks that protect the same kind of thing share a name.
    pub const fn new(name: &'static str, value: T) -> RwLock<T> {
        RwLock {
            name,
            holder: Holder::new(),
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
                let take = |patience| self.inner.try_read_for(patience);
                wait(self.name, Location::caller(), || self.seen(), take)
            }
        };
        RwLockReadGuard {
            place: note_read(self.address(), Location::caller()),
            guard,
        }
    }

    /// Takes the lock for writing.
    ///
    /// # Panics
    /// Like [`Mutex::lock`], when the same task or thread reads or writes already.
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let guard = match self.inner.try_write() {
            Some(guard) => guard,
            None => {
                refuse_second(self.name, &self.holder);
                if reads_here(self.address()) {
                    taken_twice(self.name);
                }
                let take = |patience| self.inner.try_write_for(patience);
                wait(self.name, Location::caller(), || self.seen(), take)
            }
        };
        self.holder.take(Location::caller());
        RwLockWriteGuard {
            holder: &self.holder,
            guard,
        }
    }

    /// The value, when nobody else can reach it.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }

    fn seen(&self) -> Option<Seen> {
        self.holder.seen().or_else(|| seen_reading(self.address()))
    }

    /// Tells this lock from all others for as long as it is borrowed.
    fn address(&self) -> usize {
        std::ptr::from_ref(&self.holder).addr()
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
    place: Place,
    guard: parking_lot::RwLockReadGuard<'a, T>,
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        forget_read(self.place);
    }
}

/// The [`RwLock`] held for writing.
#[derive(Debug)]
#[must_use = "the lock is free again as soon as the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    holder: &'a Holder,
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
        self.holder.release();
    }
}

#[cfg(test)]
mod tests;
