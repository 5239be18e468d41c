//! What profiling costs, for the figures in the documentation:
//! `cargo test --release -p profile --test costs -- --ignored --nocapture --test-threads=1`.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use profile::cpu::{self, Options};
use profile::stack::{self, Stack};
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Calls itself `depth` times and then `work`.
#[inline(never)]
fn deep<T>(depth: usize, work: &dyn Fn() -> T) -> T {
    let result = if depth == 0 { work() } else { deep(depth - 1, work) };
    black_box(depth);
    result
}

/// The best of many batches, so that a busy machine gives the same figure.
fn each<T>(times: u32, work: impl Fn() -> T) -> Duration {
    let batch = || {
        let begun = Instant::now();
        for _ in 0..times {
            black_box(work());
        }
        begun.elapsed() / times
    };
    (0..200).map(|_| batch()).min().unwrap_or_default()
}

fn once<T>(work: impl Fn() -> T) -> Duration {
    let begun = Instant::now();
    black_box(work());
    begun.elapsed()
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[ignore = "measures"]
fn cost_of_capture() {
    for depth in [0, 10, 20, 40] {
        let frames = deep(depth, &|| stack::capture().frames().len());
        let time = deep(depth, &|| each(2_000, stack::capture));
        println!("capture of {frames} frames: {time:?}");
    }
    let stack = deep(40, &stack::capture);
    let hasher = std::hash::RandomState::new();
    let hash = each(2_000, || {
        std::hash::BuildHasher::hash_one(&hasher, black_box(stack))
    });
    println!(
        "hash of {} frames: {hash:?}; {} bytes",
        stack.frames().len(),
        size_of::<Stack>()
    );
}

#[test]
#[ignore = "measures"]
fn cost_of_recording() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        for _ in 0..2 {
            scope.spawn(move || {
                deep(20, &|| {
                    while !stop.load(Ordering::Relaxed) {
                        black_box(vec![0_u8; 1000]);
                    }
                });
            });
        }
        for hz in [99, 1000] {
            let before = resident();
            let options = Options {
                duration: Duration::from_secs(5),
                hz,
            };
            let profile = cpu::record(options, &|| false).unwrap();
            let ticks: i64 = profile.samples.iter().map(|sample| sample.values[0]).sum();
            println!(
                "{hz} Hz, 2 busy threads: {ticks} ticks, {} stacks; {:?}",
                profile.samples.len(),
                profile.comments
            );
            let after = resident();
            let begun = Instant::now();
            let encoded = profile::encode::pprof(&profile);
            println!(
                "encoded with names: {} bytes in {:?}; memory {before} kB, recorded {after} kB, encoded {} kB",
                encoded.len(),
                begun.elapsed(),
                resident(),
            );
            let begun = Instant::now();
            black_box(profile::encode::pprof(&profile));
            println!("encoded again: {:?}", begun.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
    });
    profile::symbols::forget();
    println!("after forgetting the names: {} kB", resident());
}

#[test]
#[ignore = "measures"]
fn cost_of_stacks() {
    for threads in [1, 50, 500] {
        let (ready, done) = (Barrier::new(threads + 1), Barrier::new(threads + 1));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    ready.wait();
                    deep(20, &|| done.wait().is_leader());
                });
            }
            ready.wait();
            let stacks = profile::threads::stacks(Duration::from_secs(10));
            let elapsed = (0..20)
                .map(|_| once(|| profile::threads::stacks(Duration::from_secs(10))))
                .min();
            let answered = stacks.iter().filter(|stack| stack.answered).count();
            println!(
                "stacks of {} threads, {answered} answered: {elapsed:?}",
                stacks.len()
            );
            done.wait();
        });
    }
}
