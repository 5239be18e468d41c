//! Stacks of all threads: those of threads that are parked, that run, and that do not answer.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![allow(
    clippy::disallowed_types,
    reason = "these are the locks that threads of other libraries are stuck in"
)]

use profile::threads::{ThreadStack, stacks};
use std::hint::black_box;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);

fn names(stack: &ThreadStack) -> Vec<String> {
    stack
        .frames
        .iter()
        .flat_map(|address| profile::symbols::name(*address))
        .map(|named| named.function.to_string())
        .collect()
}

/// Asks until the thread of this name sleeps, because it may not have come to its wait yet.
fn parked(name: &str) -> ThreadStack {
    let begun = Instant::now();
    loop {
        let found = stacks(LONG).into_iter().find(|stack| stack.name == name);
        if let Some(stack) = found
            && stack.answered
            && (stack.state == 'S' || begun.elapsed() > LONG)
        {
            return stack;
        }
        std::thread::yield_now();
    }
}

/// The planted function must be there although the thread is inside a C library's function, which has no frame
/// pointers, and it must stand between the wait and the start of the thread.
fn check(name: &str, planted: &str, waits: &str) {
    let stack = parked(name);
    let names = names(&stack);
    let at = |part: &str| names.iter().position(|name| name.contains(part));
    assert!(at(planted).is_some_and(|at| at > 0), "{name}: {names:#?}");
    assert!(
        at(waits) < at(planted) && at(waits).is_some(),
        "{name}: {names:#?}"
    );
    let start = names.iter().rposition(|name| name.contains("std::thread"));
    assert!(at(planted) < start, "{name}: {names:#?}");
}

#[inline(never)]
fn planted_lock(lock: &Mutex<()>) {
    drop(black_box(lock.lock()));
}

#[inline(never)]
fn planted_condition(pair: &(Mutex<bool>, Condvar)) {
    let guard = pair.0.lock().unwrap();
    drop(black_box(pair.1.wait_while(guard, |go| !*go)));
}

#[inline(never)]
fn planted_receive(receiver: &Receiver<()>) {
    let _ = black_box(receiver.recv());
}

#[inline(never)]
fn planted_poll(poll: &mut mio::Poll) {
    let mut events = mio::Events::with_capacity(8);
    // Being asked for the stack interrupts this wait.
    while events.is_empty() {
        let _ = black_box(poll.poll(&mut events, None));
    }
}

#[inline(never)]
fn planted_read(mut stream: std::net::TcpStream) {
    let _ = black_box(stream.read(&mut [0; 8]));
}

#[inline(never)]
fn planted_sleep(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(200));
        black_box(());
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .unwrap()
}

#[test]
fn parked_threads_are_seen_where_they_wait() {
    let lock = Arc::new(Mutex::new(()));
    let held = lock.lock().unwrap();
    let mut threads = vec![spawn("t-lock", {
        let lock = lock.clone();
        move || planted_lock(&lock)
    })];
    check("t-lock", "planted_lock", "futex");

    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    threads.push(spawn("t-condition", {
        let pair = pair.clone();
        move || planted_condition(&pair)
    }));
    check("t-condition", "planted_condition", "futex");

    let (sender, receiver): (Sender<()>, _) = channel();
    threads.push(spawn("t-receive", move || planted_receive(&receiver)));
    check("t-receive", "planted_receive", "park");

    let mut poll = mio::Poll::new().unwrap();
    let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
    threads.push(spawn("t-poll", move || planted_poll(&mut poll)));
    check("t-poll", "planted_poll", "epoll_wait");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    threads.push(spawn("t-read", move || planted_read(server)));
    check("t-read", "planted_read", "recv");

    let stop = Arc::new(AtomicBool::new(false));
    threads.push(spawn("t-sleep", {
        let stop = stop.clone();
        move || planted_sleep(&stop)
    }));
    check("t-sleep", "planted_sleep", "nanosleep");

    // All of them were interrupted several times and still wait for what they waited for.
    assert!(threads.iter().all(|thread| !thread.is_finished()));
    drop(held);
    *pair.0.lock().unwrap() = true;
    pair.1.notify_all();
    drop(sender);
    waker.wake().unwrap();
    drop(client);
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[inline(never)]
fn planted_asking() -> Vec<ThreadStack> {
    let stacks = stacks(LONG);
    black_box(());
    stacks
}

#[test]
fn the_asking_thread_is_first_and_shows_who_asked() {
    let stacks = planted_asking();
    assert!(stacks[0].answered);
    assert_eq!(stacks[0].state, 'R');
    let names = names(&stacks[0]);
    assert!(
        names.iter().any(|name| name.ends_with("planted_asking")),
        "{names:?}"
    );
}

#[test]
fn a_running_thread_is_seen_where_it_runs() {
    #[inline(never)]
    fn planted_running(stop: &AtomicBool) -> u64 {
        let mut sum = 1_u64;
        while !stop.load(Ordering::Relaxed) {
            sum = black_box(sum.wrapping_mul(3));
        }
        sum
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("t-running".into())
            .spawn_scoped(scope, || planted_running(&stop))
            .unwrap();
        let begun = Instant::now();
        loop {
            let stack = stacks(LONG).into_iter().find(|stack| stack.name == "t-running");
            let names = stack.as_ref().map(names).unwrap_or_default();
            if names.iter().any(|name| name.contains("planted_running")) {
                break;
            }
            assert!(begun.elapsed() < LONG, "{names:?}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn more_threads_than_slots() {
    const THREADS: usize = 150;
    let lock = Arc::new(Mutex::new(()));
    let held = lock.lock().unwrap();
    let ready = Arc::new(Barrier::new(THREADS + 1));
    let threads: Vec<_> = (0..THREADS)
        .map(|index| {
            let (lock, ready) = (lock.clone(), ready.clone());
            spawn(&format!("t-many-{index}"), move || {
                ready.wait();
                planted_lock(&lock);
            })
        })
        .collect();
    ready.wait();
    let begun = Instant::now();
    loop {
        let stacks: Vec<_> = stacks(LONG)
            .into_iter()
            .filter(|stack| stack.name.starts_with("t-many-"))
            .collect();
        assert_eq!(stacks.len(), THREADS);
        assert!(stacks.iter().all(|stack| stack.answered));
        let seen = stacks
            .iter()
            .filter(|stack| names(stack).iter().any(|name| name.contains("planted_lock")));
        if seen.count() == THREADS {
            break;
        }
        assert!(begun.elapsed() < LONG);
    }
    drop(held);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_thread_that_blocks_the_signal_is_listed_and_does_not_hold_up_the_others() {
    let (ready, stop) = (
        Arc::new(Barrier::new(2)),
        Arc::new((Mutex::new(false), Condvar::new())),
    );
    let thread = spawn("t-deaf", {
        let (ready, stop) = (ready.clone(), stop.clone());
        move || {
            block_all_signals();
            ready.wait();
            planted_condition(&stop);
        }
    });
    ready.wait();
    let begun = Instant::now();
    let stacks = stacks(LONG);
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
    let deaf = stacks.iter().find(|stack| stack.name == "t-deaf").unwrap();
    assert!(!deaf.answered);
    assert!(deaf.frames.is_empty());
    assert!(['S', 'R'].contains(&deaf.state), "{deaf:?}");
    *stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    stop.1.notify_all();
    thread.join().unwrap();
}

#[allow(unsafe_code, reason = "the standard library has no call that blocks signals")]
fn block_all_signals() {
    // SAFETY: the set is plain data that lives across the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

#[test]
fn no_time_means_no_answers_but_a_list() {
    let stacks = stacks(Duration::ZERO);
    assert!(stacks[0].answered, "its own is no question of time");
    assert!(!stacks[0].frames.is_empty());
}
