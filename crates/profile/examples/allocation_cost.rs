//! What heap profiles cost: pairs of runs with and without sampling, and a snapshot while another thread allocates.
//!
//! `cargo run --release -p profile --example allocation_cost`. Each run is a process of its own, since the allocator
//! reads its options once. Times are processor times, so other programs disturb them little.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "prints its figures and is not part of the server"
)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: profile::Allocator = profile::Allocator::new();

const PAIRS: usize = 25;
/// Rounds of a workload in one run; the quickest counts.
const ROUNDS: usize = 40;
const WORKLOADS: [(&str, fn()); 3] = [
    ("one thread allocates and frees 64 bytes", small),
    ("one thread, 16 bytes to 4 KB, 1,000 alive", mixed),
    ("one thread allocates 1 to 2 KB, another frees", handed_over),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("workload") => workload(WORKLOADS[arguments[1].parse::<usize>().unwrap()].1),
        Some("snapshot") => snapshot(),
        _ => {
            compare();
            print!("{}", run("lg_prof_sample:12", &["snapshot"]));
        }
    }
}

fn compare() {
    for (index, (name, _)) in WORKLOADS.iter().enumerate() {
        let time = |options| {
            let nanos = run(options, &["workload", &index.to_string()]);
            nanos.trim().parse::<f64>().unwrap()
        };
        let mut ratios = Vec::new();
        let mut least = [f64::MAX; 2];
        for pair in 0..PAIRS {
            // Who comes first alternates.
            let (without, with) = if pair % 2 == 0 {
                (time("prof:false"), time(""))
            } else {
                let with = time("");
                (time("prof:false"), with)
            };
            ratios.push(with / without);
            least = [least[0].min(without), least[1].min(with)];
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            "{name}: median of {PAIRS} pairs {:+.2} %; quickest {:.3} ms without, {:.3} ms with ({:+.2} %)",
            (ratios[PAIRS / 2] - 1.0) * 100.0,
            least[0] / 1e6,
            least[1] / 1e6,
            (least[1] / least[0] - 1.0) * 100.0,
        );
    }
}

fn run(options: &str, arguments: &[&str]) -> String {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .env("MALLOC_CONF", options)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Prints the processor time of the quickest round.
fn workload(round: fn()) {
    let times = (0..ROUNDS).map(|_| {
        let begun = processor_time();
        round();
        processor_time() - begun
    });
    println!("{}", times.min().unwrap().as_nanos());
}

/// Of the whole process, threads that have ended included.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn small() {
    // Several at a time, so that it is not one address again and again.
    let mut alive: [Option<Box<[u64; 8]>>; 64] = [const { None }; 64];
    for n in 0..500_000 {
        alive[n % 64] = black_box(Some(Box::new([7; 8])));
    }
}

fn mixed() {
    let mut alive: VecDeque<Vec<u8>> = VecDeque::new();
    let mut seed = 1_u32;
    for _ in 0..200_000_u32 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let size = (16 << (seed >> 28 & 7)) + (seed >> 16 & 15);
        alive.push_back(Vec::with_capacity(black_box(size as usize)));
        if alive.len() > 1000 {
            alive.pop_front();
        }
    }
}

fn handed_over() {
    let (send, receive) = std::sync::mpsc::sync_channel::<Vec<Vec<u8>>>(64);
    let consumer = std::thread::spawn(move || receive.iter().for_each(drop));
    for round in 0..1_000_usize {
        let buffers = (0..100).map(|n| vec![1; 1000 + (n * 7 + round) % 1000]);
        send.send(buffers.collect()).unwrap();
    }
    drop(send);
    consumer.join().unwrap();
}

/// Allocates at the end of one of many call paths.
fn by_way(way: u32, steps: u32) -> Vec<u8> {
    match (steps, way & 1) {
        (0, _) => Vec::with_capacity(black_box(4000)),
        (_, 0) => left(way >> 1, steps - 1),
        _ => right(way >> 1, steps - 1),
    }
}

#[inline(never)]
fn left(way: u32, steps: u32) -> Vec<u8> {
    let buffer = by_way(way, steps);
    black_box(0);
    buffer
}

#[inline(never)]
fn right(way: u32, steps: u32) -> Vec<u8> {
    let buffer = by_way(way, steps);
    black_box(1);
    buffer
}

/// A snapshot with 200,000 sampled allocations of 4,096 stacks alive, and how long another thread's allocations took meanwhile.
fn snapshot() {
    let alive: Vec<Vec<u8>> = (0..320_000).map(|n| by_way(n % 4096, 12)).collect();
    static STOP: AtomicBool = AtomicBool::new(false);
    static SNAPSHOT: AtomicBool = AtomicBool::new(false);
    let allocating = std::thread::spawn(|| {
        let mut longest = [Duration::ZERO; 2];
        while !STOP.load(Ordering::Relaxed) {
            let during = SNAPSHOT.load(Ordering::Relaxed);
            let begun = Instant::now();
            black_box(Vec::<u8>::with_capacity(black_box(4000)));
            let took = begun.elapsed();
            let longest = &mut longest[usize::from(during)];
            *longest = took.max(*longest);
        }
        longest
    });
    let (mut times, mut stacks) = (Vec::new(), 0);
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(20));
        SNAPSHOT.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        let profile = profile::heap::snapshot().unwrap();
        times.push(begun.elapsed());
        SNAPSHOT.store(false, Ordering::Relaxed);
        stacks = profile.samples.len();
    }
    STOP.store(true, Ordering::Relaxed);
    let [outside, during] = allocating.join().unwrap();
    times.sort();
    println!(
        "a snapshot with {} allocations of {} stacks alive: {:?}, at most {:?}; longest allocation of another thread {during:?} during and {outside:?} outside",
        alive.len(),
        stacks,
        times[times.len() / 2],
        times[times.len() - 1],
    );
}
