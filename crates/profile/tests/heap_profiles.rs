//! The heap profile of a program that uses the allocator, with sampling as it is, off, and as dense as it gets.

#![cfg(target_os = "linux")]

use std::hint::black_box;
use std::process::Command;

use profile::heap::{self, Unavailable};

#[global_allocator]
static ALLOCATOR: profile::Allocator = profile::Allocator::new();

/// Runs one of the ignored tests below in a process of its own, with other options of the allocator.
fn with_options(options: &str, test: &str) {
    let program = std::env::current_exe().expect("a running program has a file");
    let output = Command::new(program)
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env("MALLOC_CONF", options)
        .output()
        .expect("the program starts again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

#[inline(never)]
fn planted(bytes: usize, count: usize) -> Vec<Vec<u8>> {
    let mut planted = Vec::with_capacity(count);
    for _ in 0..count {
        planted.push(black_box(vec![1; bytes]));
    }
    planted
}

/// The bytes alive of the stacks that `planted` is in, and the functions of the one with the most.
fn found(profile: &profile::Profile) -> (i64, Vec<String>) {
    let (mut bytes, mut most, mut names) = (0, 0, Vec::new());
    for sample in &profile.samples {
        let named: Vec<_> = sample.stack.iter().flat_map(profile::resolve).collect();
        let alive = sample.values[heap::INUSE_SPACE];
        if named.iter().any(|named| named.function.ends_with("::planted")) {
            bytes += alive;
            if alive > most {
                let named = named.iter().skip_while(|named| heap::is_shim(named));
                (most, names) = (alive, named.map(|named| named.function.to_string()).collect());
            }
        }
    }
    (bytes, names)
}

#[test]
#[cfg(not(feature = "off"))]
fn what_is_alive_is_found_with_its_stack() {
    let planted = planted(64 * 1024, 1024);
    let profile = heap::snapshot().unwrap();
    let (bytes, names) = found(&profile);
    // 64 MiB in 128 samples or so: one in a thousand such estimates is off by more than a third.
    assert!((40 << 20..90 << 20).contains(&bytes), "{bytes}");
    assert!(names[0].ends_with("::planted"), "{names:?}");
    assert!(
        names.iter().any(|name| name.contains("what_is_alive_is_found")),
        "{names:?}"
    );
    // Down to where the thread began.
    assert!(
        names
            .iter()
            .any(|name| name.contains("std::") && name.contains("thread")),
        "{names:?}"
    );
    assert_eq!(profile.period.unwrap().1, 512 * 1024);
    drop(planted);
}

#[test]
fn figures_fit_together() {
    let planted = vec![1_u8; 16 << 20];
    let stats = heap::stats().unwrap();
    assert!(
        stats.allocated >= 16 << 20 && stats.active >= stats.allocated,
        "{stats:?}"
    );
    assert!(
        stats.resident >= 16 << 20 && stats.mapped >= stats.active && stats.metadata > 0,
        "{stats:?}"
    );
    let passes = heap::purge_passes();
    drop(planted);
    assert!(heap::purge_passes() >= passes);
}

#[test]
fn without_sampling_it_says_so() {
    with_options("prof:false", "off_child");
}

#[test]
#[ignore = "run by another test"]
fn off_child() {
    assert_eq!(heap::snapshot(), Err(Unavailable::Off));
    assert!(heap::stats().is_some());
}

/// Each place from which something may allocate is tried out, those inside the C library with its locks held too.
#[test]
#[cfg(not(feature = "off"))]
fn each_allocation_can_be_sampled() {
    with_options("lg_prof_sample:0", "dense_child");
}

#[test]
#[ignore = "run by another test"]
fn dense_child() {
    let threads: Vec<_> = (0..32)
        .map(|number| {
            std::thread::spawn(move || {
                let planted = planted(1000, 10);
                let stack = profile::stack::capture();
                let address = std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 80));
                drop(black_box((address, stack, std::env::var_os("PATH"))));
                (number % 2 == 0).then_some(planted)
            })
        })
        .collect();
    let mut snapshots = Vec::new();
    for _ in 0..10 {
        snapshots.push(heap::snapshot().unwrap().samples.len());
    }
    let planted: Vec<_> = threads
        .into_iter()
        .filter_map(|thread| thread.join().unwrap())
        .collect();
    let (bytes, names) = found(&heap::snapshot().unwrap());
    // Nothing is estimated here, only rounded up to the allocator's classes: 16 times ten buffers and their list.
    assert!((160_000..180_000).contains(&bytes), "{bytes} {names:?}");
    assert_eq!(planted.len(), 16);
    assert!(snapshots.iter().all(|stacks| *stacks > 0));
}
