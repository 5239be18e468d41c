use super::*;
use crate::contentions;

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
    assert!(seen.at.starts_with("lock/tests.rs:"), "{}", seen.at);
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
    assert_eq!(seen.waiter_name, Some("test-contender"));
    let held_by = seen.held_by.unwrap();
    assert_eq!(
        (held_by.name, held_by.reads, held_by.count),
        (Some("test-holder"), false, 1)
    );
    assert!(held_by.at.starts_with("lock/tests.rs:") && held_by.at != seen.at);
    assert_eq!(held_by.thread.is_some(), cfg!(target_os = "linux"));
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

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        match look() {
            Some(found) => return found,
            None => std::thread::yield_now(),
        }
    }
}

#[test]
fn a_writer_that_waits_names_the_readers() {
    static LOCK: RwLock<()> = RwLock::new("test-readers", ());
    turn_clock();
    let (first, at) = (LOCK.read(), line!());
    let (release, wait_release) = std::sync::mpsc::channel::<()>();
    let (held, wait_held) = std::sync::mpsc::channel();
    let reader = crate::thread::spawn("test-reader", move || {
        let _guard = LOCK.read();
        held.send(()).unwrap();
        let _ = wait_release.recv();
    })
    .unwrap();
    wait_held.recv().unwrap();
    let writer = crate::thread::spawn("test-writer", || drop(LOCK.write())).unwrap();
    let seen = wait_for(|| waiter("test-readers"));
    let held_by = seen.held_by.unwrap();
    assert!(
        held_by.reads && held_by.count == 2 && held_by.held.is_some(),
        "{held_by:?}"
    );
    let own = format!("lock/tests.rs:{at}");
    assert!(
        held_by.at == own || held_by.name == Some("test-reader"),
        "{held_by:?}"
    );
    drop(first);
    // The waiter looks again now and then.
    let named = wait_for(|| waiter("test-readers")?.held_by.filter(|holder| holder.count == 1));
    assert_eq!((named.id, named.name), (reader.id(), Some("test-reader")));
    drop(release);
    reader.join().unwrap();
    writer.join().unwrap();
    assert!(LOCK.seen().is_none());
}

#[test]
fn nested_reads_beyond_the_notes_are_held_all_the_same() {
    let locks: [RwLock<u8>; 6] = std::array::from_fn(|number| RwLock::new("test-nested", number as u8));
    let guards: Vec<_> = locks.iter().map(RwLock::read).collect();
    assert!(locks[..4].iter().all(|lock| lock.seen().is_some()));
    assert!(locks[4..].iter().all(|lock| lock.seen().is_none()));
    assert_eq!(guards.iter().map(|guard| **guard).sum::<u8>(), 15);
    drop(guards);
    assert!(locks.iter().all(|lock| lock.seen().is_none()));
    let again = locks[5].read();
    assert!(locks[5].seen().is_some());
    drop(again);
}

#[test]
fn writing_what_the_thread_reads_is_an_error_and_no_deadlock() {
    let thread = crate::thread::spawn("test-upgrade", || {
        let lock = RwLock::new("test-upgrade", ());
        let _reading = lock.read();
        drop(lock.write());
    })
    .unwrap();
    let expected = "the lock \"test-upgrade\" is taken twice by the same task";
    assert_eq!(
        thread.join(),
        Err(crate::task::TaskEnd::Panicked(expected.into()))
    );
}

static FIRST: Mutex<()> = Mutex::new("test-deadlock-first", ());
static SECOND: Mutex<()> = Mutex::new("test-deadlock-second", ());

#[inline(never)]
fn planted_forth(meet: &std::sync::Barrier) {
    let _first = FIRST.lock();
    meet.wait();
    drop(SECOND.lock());
}

#[inline(never)]
fn planted_back(meet: &std::sync::Barrier) {
    let _second = SECOND.lock();
    meet.wait();
    drop(FIRST.lock());
}

#[test]
fn a_deadlock_names_both_locks_both_places_and_both_holders() {
    turn_clock();
    let meet = Arc::new(std::sync::Barrier::new(2));
    let other = Arc::clone(&meet);
    // They end with the process.
    let forth = crate::thread::spawn("test-forth", move || planted_forth(&meet)).unwrap();
    let back = crate::thread::spawn("test-back", move || planted_back(&other)).unwrap();
    let (on_second, on_first) =
        wait_for(|| Some((waiter("test-deadlock-second")?, waiter("test-deadlock-first")?)));
    assert_eq!((on_second.waiter, on_second.holder), (forth.id(), back.id()));
    assert_eq!((on_first.waiter, on_first.holder), (back.id(), forth.id()));
    let held = [&on_second, &on_first].map(|waiter| waiter.held_by.clone().unwrap());
    assert_eq!(
        held.each_ref().map(|holder| holder.name),
        [Some("test-back"), Some("test-forth")]
    );
    assert!(held.iter().all(|holder| holder.held.is_some()));
    let places = [&on_first.at, &on_second.at, &held[0].at, &held[1].at];
    for (index, place) in places.iter().enumerate() {
        assert!(place.starts_with("lock/tests.rs:"), "{place}");
        assert!(!places[..index].contains(place), "{places:?}");
    }
    // The profile has them although the waits will never end.
    for (name, function) in [
        ("test-deadlock-second", "planted_forth"),
        ("test-deadlock-first", "planted_back"),
    ] {
        let found: Vec<_> = contentions()
            .into_iter()
            .filter(|found| found.name == name)
            .collect();
        assert_eq!((found.len(), found[0].count), (1, 1));
        assert!(found[0].waited > Duration::ZERO);
        let frames = found[0].stack.frames();
        let named = frames
            .iter()
            .flat_map(|frame| profile::symbols::name(*frame as u64));
        let names: Vec<_> = named.map(|named| named.function.to_string()).collect();
        assert!(
            frames.is_empty() || names.iter().any(|name| name.contains(function)),
            "{names:?}"
        );
        let (_, count, _, waiting) = lock_totals().into_iter().find(|total| total.0 == name).unwrap();
        assert_eq!((count, waiting), (0, 1));
    }
    let held = held_locks(Duration::ZERO);
    let first = held
        .iter()
        .find(|lock| lock.name == "test-deadlock-first")
        .unwrap();
    assert_eq!(
        (first.holder.as_ref().unwrap().id, first.waiters.len()),
        (forth.id(), 1)
    );
    assert!(held_locks(Duration::from_secs(3600)).is_empty());
}

/// What taking free locks costs: `cargo test -p observe --release -- --ignored --nocapture free_locks`.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_types, reason = "compares with the bare locks")]
fn free_locks_cost_little() {
    const ROUNDS: u32 = 20_000_000;
    fn time(name: &str, run: impl Fn()) {
        let begun = std::time::Instant::now();
        (0..ROUNDS).for_each(|_| run());
        println!(
            "{name}: {:.2} ns",
            begun.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
        );
    }
    let (plain, named) = (parking_lot::Mutex::new(0_u64), Mutex::new("test-cost", 0_u64));
    time("parking_lot mutex", || *plain.lock() += 1);
    time("named mutex", || *named.lock() += 1);
    let (plain, named) = (parking_lot::RwLock::new(0_u64), RwLock::new("test-cost", 0_u64));
    time("parking_lot read", || assert!(*plain.read() < u64::MAX));
    time("named read", || assert!(*named.read() < u64::MAX));
    time("parking_lot write", || *plain.write() += 1);
    time("named write", || *named.write() += 1);
}
