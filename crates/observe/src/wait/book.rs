//! The book of waits: how often and how long for what at which stack, and who waits now.
//!
//! Contract: bounded, and whoever reads it gives up on a part that stays locked, so that it cannot hang the pages that
//! show why something hangs.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use profile::stack::Stack;

use super::Kind;
use crate::lock::{At, Seen};

/// Stacks that are told apart; waits at others are counted together, by what they wait for.
const MOST: usize = 4_096;
/// A thread keeps to one part, so that those who wait for different things seldom meet in the book.
const PARTS: usize = 16;
/// A reader gives up on the rest after this time.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is told apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    /// `None` for all that did not fit.
    pub(crate) at: Option<At>,
    pub(crate) stack: Stack,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    pub(crate) waited: Duration,
    pub(crate) longest: Duration,
}

impl Tally {
    pub(crate) fn add(&mut self, count: u64, waited: Duration, longest: Duration) {
        self.count += count;
        self.waited += waited;
        self.longest = self.longest.max(longest);
    }
}

/// A wait that goes on.
#[derive(Clone, Copy)]
pub(crate) struct Open {
    pub(crate) key: Key,
    /// The waiting task or thread; 0 if it is not registered.
    pub(crate) waiter: u64,
    /// The kernel's id of the thread where the wait began.
    pub(crate) thread: Option<u32>,
    pub(crate) since: Instant,
    /// Who was seen to hold what is waited for.
    pub(crate) holder: Option<Seen>,
}

#[derive(Default)]
struct Part {
    places: HashMap<Key, usize>,
    tallies: Vec<(Key, Tally)>,
    open: HashMap<u64, (usize, Open)>,
    next: u64,
}

#[allow(
    clippy::disallowed_types,
    reason = "the book of the named locks cannot keep a book on itself"
)]
struct Book {
    parts: [parking_lot::Mutex<Part>; PARTS],
    /// Entries of all parts.
    entries: AtomicUsize,
    most: usize,
}

static BOOK: LazyLock<Book> = LazyLock::new(|| Book::new(MOST));

impl Book {
    fn new(most: usize) -> Book {
        Book {
            parts: Default::default(),
            entries: AtomicUsize::new(0),
            most,
        }
    }

    fn open(&self, open: Open) -> (usize, u64) {
        let part = home();
        let mut book = self.parts[part].lock();
        let place = self.place(&mut book, open.key);
        book.next += 1;
        let number = book.next;
        book.open.insert(number, (place, open));
        (part, number)
    }

    fn place(&self, part: &mut Part, mut key: Key) -> usize {
        if let Some(&place) = part.places.get(&key) {
            return place;
        }
        if self.entries.load(Ordering::Relaxed) < self.most {
            self.entries.fetch_add(1, Ordering::Relaxed);
        } else {
            // As many of these as there are names, each written in the code.
            (key.at, key.stack) = (None, Stack::EMPTY);
        }
        let place = *part.places.entry(key).or_insert(part.tallies.len());
        if place == part.tallies.len() {
            part.tallies.push((key, Tally::default()));
        }
        place
    }

    fn close(&self, part: usize, number: u64, waited: Duration, counted: bool) {
        let mut book = self.parts[part].lock();
        if let Some((place, _)) = book.open.remove(&number)
            && counted
        {
            book.tallies[place].1.add(1, waited, waited);
        }
    }

    /// Copies what `copy` takes from each part; `false` if a part was left out.
    fn read(&self, mut copy: impl FnMut(&Part)) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let mut complete = true;
        for part in &self.parts {
            match part.try_lock_until(deadline) {
                Some(part) => copy(&part),
                None => complete = false,
            }
        }
        complete
    }

    fn waiting(&self) -> (Vec<Open>, bool) {
        let mut all = Vec::new();
        let complete = self.read(|part| all.extend(part.open.values().map(|(_, open)| *open)));
        (all, complete)
    }

    fn entries(&self) -> (HashMap<Key, Tally>, bool) {
        let (mut tallies, mut open) = (Vec::new(), Vec::new());
        let complete = self.read(|part| {
            tallies.extend(part.tallies.iter().filter(|(_, tally)| tally.count > 0));
            // Some of those who wait did not fit and are counted under another key.
            open.extend(
                part.open
                    .values()
                    .map(|(place, open)| (part.tallies[*place].0, open.since)),
            );
        });
        let now = Instant::now();
        let mut entries: HashMap<Key, Tally> = HashMap::new();
        for (key, tally) in tallies {
            entries
                .entry(key)
                .or_default()
                .add(tally.count, tally.waited, tally.longest);
        }
        for (key, since) in open {
            let waited = now.saturating_duration_since(since);
            entries.entry(key).or_default().add(1, waited, waited);
        }
        (entries, complete)
    }
}

/// The part of the book that this thread writes to.
fn home() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static HOME: usize = NEXT.fetch_add(1, Ordering::Relaxed) % PARTS;
    }
    HOME.try_with(|home| *home).unwrap_or(0)
}

/// A wait that has begun; dropping it ends and counts it.
pub(crate) struct Wait {
    part: usize,
    number: u64,
    key: Key,
    since: Instant,
    open: bool,
}

impl Wait {
    pub(crate) fn begin(key: Key, holder: Option<Seen>) -> Wait {
        let since = Instant::now();
        let (part, number) = BOOK.open(Open {
            key,
            waiter: crate::task::current_id(),
            thread: crate::thread::native(),
            since,
            holder,
        });
        Wait {
            part,
            number,
            key,
            since,
            open: true,
        }
    }

    /// Notes who holds it by now.
    pub(crate) fn set_holder(&self, holder: Option<Seen>) {
        if let Some((_, open)) = BOOK.parts[self.part].lock().open.get_mut(&self.number) {
            open.holder = holder;
        }
    }

    /// Ends it; it counts if it lasted at least as long as given.
    pub(crate) fn end(mut self, least: Duration) -> Duration {
        self.close(least)
    }

    fn close(&mut self, least: Duration) -> Duration {
        let waited = self.since.elapsed();
        self.open = false;
        BOOK.close(self.part, self.number, waited, waited >= least);
        crate::trace::wait(self.key.kind, self.key.name, self.since, waited);
        waited
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.open {
            self.close(Duration::ZERO);
        }
    }
}

/// All entries, with the waits that go on counted as if they ended now; `false` if a part was left out.
pub(crate) fn entries() -> (HashMap<Key, Tally>, bool) {
    BOOK.entries()
}

/// Everyone who waits now.
pub(crate) fn waiting() -> (Vec<Open>, bool) {
    BOOK.waiting()
}

/// The sums by what is waited for, without the waits that go on; and how many wait now.
pub(crate) fn totals() -> HashMap<(Kind, &'static str), (Tally, u64)> {
    let mut totals: HashMap<(Kind, &'static str), (Tally, u64)> = HashMap::new();
    BOOK.read(|part| {
        for (key, tally) in &part.tallies {
            let (total, _) = totals.entry((key.kind, key.name)).or_default();
            total.add(tally.count, tally.waited, tally.longest);
        }
        for (_, open) in part.open.values() {
            totals.entry((open.key.kind, open.key.name)).or_default().1 += 1;
        }
    });
    totals
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::Location;

    fn open(book: &Book, name: &'static str, at: At) -> (usize, u64) {
        book.open(Open {
            key: Key {
                kind: Kind::Lock,
                name,
                at: Some(at),
                stack: Stack::EMPTY,
            },
            waiter: 1,
            thread: None,
            since: Instant::now(),
            holder: None,
        })
    }

    #[test]
    fn what_does_not_fit_is_counted_together_by_name() {
        let book = Book::new(2);
        let places: [At; 4] = std::array::from_fn(|index| {
            // Four calls of the same line are one place, so each is written out.
            match index {
                0 => Location::caller(),
                1 => here(),
                2 => there(),
                _ => elsewhere(),
            }
        });
        for at in places.into_iter().chain(places) {
            let (part, number) = open(&book, "crowded", at);
            book.close(part, number, Duration::from_millis(3), true);
        }
        let (entries, complete) = book.entries();
        assert!(complete);
        let mut counts: Vec<_> = entries
            .iter()
            .map(|(key, tally)| (key.at.is_some(), tally.count, tally.waited.as_millis()))
            .collect();
        counts.sort_unstable();
        assert_eq!(counts, [(false, 4, 12), (true, 2, 6), (true, 2, 6)]);
    }

    fn here() -> At {
        Location::caller()
    }

    fn there() -> At {
        Location::caller()
    }

    fn elsewhere() -> At {
        Location::caller()
    }

    #[test]
    fn an_uncounted_wait_leaves_no_trace() {
        let book = Book::new(2);
        let (part, number) = open(&book, "short", here());
        book.close(part, number, Duration::from_nanos(3), false);
        assert!(book.entries().0.is_empty());
        assert!(book.waiting().0.is_empty());
    }

    #[test]
    fn a_locked_part_is_left_out() {
        let book = Book::new(8);
        let (part, _) = open(&book, "seen", here());
        assert_eq!((book.waiting().0.len(), book.waiting().1), (1, true));
        let _locked = book.parts[part].lock();
        let (waiting, complete) = book.waiting();
        assert_eq!((waiting.len(), complete), (0, false));
        assert!(!book.entries().1);
    }
}
