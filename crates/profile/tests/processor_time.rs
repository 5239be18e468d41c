//! CPU profiles: whose time they show, and that taking them harms nobody.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]
#![allow(
    clippy::disallowed_types,
    reason = "the tests' turns are no shared state of the server"
)]

use profile::cpu::{self, Options, Refused};
use profile::{Profile, encode, symbols};
use std::hint::black_box;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The server's own, so that the two kinds of profiling meet.
#[global_allocator]
static ALLOCATOR: profile::Allocator = profile::Allocator::new();

/// There is one recorder per process, and the tests of a file share one.
static TURN: Mutex<()> = Mutex::new(());

/// Plain operators only: with functions of the standard library inlined, those would come first.
#[inline(never)]
fn planted_busy(until: &AtomicBool) -> u64 {
    let mut sum = 1_u64;
    while !until.load(Ordering::Relaxed) {
        let mut left = 10_000_u32;
        while left > 0 {
            // Xorshift: nothing that an optimiser can do at once.
            sum ^= sum << 13;
            sum ^= sum >> 7;
            sum ^= sum << 17;
            left -= 1;
        }
    }
    sum
}

#[inline(never)]
fn planted_caller(until: &AtomicBool) -> u64 {
    black_box(planted_busy(until))
}

/// Records while `work` runs on a thread of the given name until the flag is set.
fn record_while(name: &str, options: Options, work: fn(&AtomicBool) -> u64) -> Profile {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn_scoped(scope, || black_box(work(&stop)))
            .unwrap();
        let profile = cpu::record(options, &|| false).unwrap();
        stop.store(true, Ordering::Relaxed);
        profile
    })
}

fn options(milliseconds: u64, hz: u32) -> Options {
    Options {
        duration: Duration::from_millis(milliseconds),
        hz,
    }
}

#[test]
fn a_busy_thread_is_seen_under_its_name_and_with_its_time() {
    let _turn = TURN.lock();
    let profile = record_while("planted-name", options(1000, 200), planted_caller);
    let mut nanoseconds = 0;
    for sample in &profile.samples {
        assert_eq!(sample.values[1], sample.values[0] * 5_000_000);
        if sample.labels != [("thread", "planted-name".to_owned())] {
            continue;
        }
        let names: Vec<String> = sample
            .stack
            .iter()
            .flat_map(profile::resolve)
            .map(|named| named.function.to_string())
            .collect();
        let at = |part: &str| names.iter().position(|name| name.contains(part));
        if at("planted_busy").is_some() {
            assert!(at("planted_busy") < at("planted_caller"), "{names:?}");
            assert!(names.iter().any(|name| name.contains("std::thread")), "{names:?}");
            nanoseconds += sample.values[1];
        }
    }
    // The machine may be busy with something else, so there is no lower bound that is near a whole second.
    assert!(
        (50_000_000..1_300_000_000).contains(&nanoseconds),
        "{nanoseconds} ns"
    );
    assert_eq!(profile.period.unwrap().1, 5_000_000);
    assert!(
        profile.comments[0].starts_with("sampling took"),
        "{:?}",
        profile.comments
    );
}

#[test]
fn processor_time_is_right_when_signals_come_less_often_than_ticks() {
    let _turn = TURN.lock();
    // At 1000 ticks a second most kernels send one signal for several.
    let before = Instant::now();
    let profile = record_while("planted-fast", options(600, 5000), planted_caller);
    let elapsed = before.elapsed();
    assert_eq!(
        profile.period.unwrap().1,
        1_000_000,
        "5000 is brought down to 1000"
    );
    let own = |sample: &&profile::Sample| sample.labels[0].1 == "planted-fast";
    let nanoseconds: i64 = profile
        .samples
        .iter()
        .filter(own)
        .map(|sample| sample.values[1])
        .sum();
    assert!(nanoseconds > 30_000_000, "{nanoseconds} ns");
    assert!(
        nanoseconds < elapsed.as_nanos() as i64 * 11 / 10,
        "{nanoseconds} ns in {elapsed:?}"
    );
}

#[test]
fn sleeping_threads_cost_nothing_and_are_not_seen() {
    let _turn = TURN.lock();
    let profile = record_while("planted-sleeps", options(300, 100), |until| {
        while !until.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        0
    });
    let ticks: i64 = profile
        .samples
        .iter()
        .filter(|sample| sample.labels[0].1 == "planted-sleeps")
        .map(|sample| sample.values[0])
        .sum();
    assert!(ticks <= 1, "{ticks}");
}

#[test]
fn one_at_a_time() {
    let _turn = TURN.lock();
    let (running, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            cpu::record(options(60_000, 100), &|| {
                running.store(true, Ordering::Release);
                stop.load(Ordering::Acquire)
            })
        });
        while !running.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        assert_eq!(
            cpu::record(options(10, 100), &|| false).unwrap_err(),
            Refused::Busy
        );
        stop.store(true, Ordering::Release);
        assert!(first.join().unwrap().is_ok());
    });
    assert!(
        cpu::record(options(10, 100), &|| false).is_ok(),
        "the next one may"
    );
}

#[test]
fn ends_soon_after_it_is_cancelled() {
    let _turn = TURN.lock();
    let asked = AtomicU64::new(0);
    let begun = Instant::now();
    let profile = cpu::record(options(60_000, 100), &|| {
        asked.fetch_add(1, Ordering::Relaxed) >= 3
    })
    .unwrap();
    // Four questions are 30 ms; a busy machine may need longer to get round to them.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(profile.duration < Duration::from_secs(5));
}

#[test]
fn system_calls_of_sampled_threads_go_on() {
    let _turn = TURN.lock();
    // A pipe's reader must get every byte, whatever interrupts it.
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    std::thread::scope(|scope| {
        let total = scope.spawn(move || std::io::copy(&mut reader, &mut std::io::sink()).unwrap());
        let sent = scope.spawn(move || {
            let begun = Instant::now();
            let mut sent = 0_u64;
            while begun.elapsed() < Duration::from_millis(400) {
                std::io::Write::write_all(&mut writer, &[7; 10_000]).unwrap();
                sent += 10_000;
            }
            sent
        });
        cpu::record(options(400, 1000), &|| false).unwrap();
        assert_eq!(sent.join().unwrap(), total.join().unwrap());
    });
}

/// What `go tool pprof` prints about a profile; none where there is no Go, except in CI, where there must be.
fn pprof(profile: &Profile, arguments: &[&str]) -> Option<String> {
    if Command::new("go").arg("version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "CI must have go");
        println!("skipped: there is no go");
        return None;
    }
    // A folder with nothing else in it, and no way to find the program from it.
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("pprof-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("profile.pb.gz");
    std::fs::write(&file, encode::pprof(profile)).unwrap();
    let output = Command::new("go")
        .args(["tool", "pprof"])
        .args(arguments)
        .arg(&file)
        .current_dir(&folder)
        .env("PPROF_BINARY_PATH", &folder)
        .env("PPROF_TMPDIR", &folder)
        .output()
        .unwrap();
    let (out, errors) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "{errors}");
    for complaint in ["could not", "unable", "fail", "warning"] {
        assert!(!errors.to_lowercase().contains(complaint), "{errors}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    Some(out)
}

#[test]
fn go_tool_pprof_shows_the_busy_function_first() {
    let _turn = TURN.lock();
    let profile = record_while("planted-pprof", options(800, 200), planted_caller);
    let Some(top) = pprof(&profile, &["-top"]) else {
        return;
    };
    assert!(top.contains("Type: cpu"), "{top}");
    let table = top.split("flat%").nth(1).unwrap().lines().nth(1).unwrap();
    assert!(table.ends_with("processor_time::planted_busy"), "{top}");

    let traces = pprof(&profile, &["-traces", "-lines"]).unwrap();
    assert!(
        traces.contains("thread:  planted-pprof") || traces.contains("thread:planted-pprof"),
        "{traces}"
    );
    let traces_of = |name: &str| traces.split("-----").filter(|trace| trace.contains(name)).count();
    assert_eq!(traces_of("planted_busy"), traces_of("planted_caller"), "{traces}");
    let (busy, caller) = (traces.find("planted_busy"), traces.find("planted_caller"));
    assert!(busy < caller && busy.is_some(), "{traces}");
    assert!(traces.contains("processor_time.rs:"), "{traces}");

    let raw = pprof(&profile, &["-raw"]).unwrap();
    assert!(raw.contains("cpu/nanoseconds[dflt]"), "{raw}");
    assert!(raw.contains("PeriodType: cpu nanoseconds"), "{raw}");
    assert!(
        raw.contains("Comment: sampling took") || raw.contains("sampling took"),
        "{raw}"
    );
    let build_id = profile::process::build_id().expect("the linker writes one");
    assert!(raw.contains(&build_id), "{raw}");
    assert!(raw.contains("[FN][FL][LN][IN]"), "{raw}");
}

/// The hardest work for a sampler: allocation, and threads that come and go. `STORM` in the environment is for how many
/// seconds, two if it is not set.
#[test]
fn a_storm_of_threads_and_allocations_is_survived() {
    let _turn = TURN.lock();
    let seconds = std::env::var("STORM")
        .ok()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(2);
    let stop = AtomicBool::new(false);
    let (rounds, threads) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for index in 0..20 {
            let (stop, rounds, threads) = (&stop, &rounds, &threads);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let kept: Vec<Vec<u8>> = (1..50).map(|size| vec![index; size * 97]).collect();
                    black_box(&kept);
                    rounds.fetch_add(1, Ordering::Relaxed);
                    if index % 2 == 0 {
                        let kept = std::thread::spawn(move || kept.iter().map(Vec::len).sum::<usize>());
                        threads.fetch_add(u64::from(kept.join().is_ok()), Ordering::Relaxed);
                    }
                }
            });
        }
        let stacks = scope.spawn(|| {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                count += profile::threads::stacks(Duration::from_millis(200)).len();
                std::thread::sleep(Duration::from_millis(20));
            }
            count
        });
        let profile = cpu::record(options(seconds * 1000, 1000), &|| false).unwrap();
        stop.store(true, Ordering::Relaxed);
        assert!(!profile.samples.is_empty());
        assert!(stacks.join().unwrap() > 20);
        let named = profile
            .samples
            .iter()
            .flat_map(|sample| &sample.stack)
            .map(|frame| symbols::resolve(frame).len());
        assert!(named.min() > Some(0));
        assert!(!encode::pprof(&profile).is_empty());
    });
    assert!(rounds.into_inner() > 100);
    assert!(threads.into_inner() > 10);
}
