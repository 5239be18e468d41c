//! What is planted in this program is what `go tool pprof` shows first, and what the text forms name.
//!
//! These tests share one process: its heap, its locks and its one CPU profile at a time; so they take turns.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "to fail is what a test is for, and what it skips it says"
)]

mod support;

use std::hint::black_box;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use diagnostics::{Pages, Port};
use support::{get, start, until};

#[global_allocator]
static ALLOCATOR: profile::Allocator = profile::Allocator::new();

#[allow(
    clippy::disallowed_types,
    reason = "the tests' turns must not show up among the waits that they look at"
)]
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

static PORT: LazyLock<(Port, SocketAddr)> = LazyLock::new(|| start(Pages::new("Radio")));

/// Runs one test at a time with the address of the port.
fn in_turn(test: impl FnOnce(SocketAddr)) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    test(PORT.1);
}

/// A file that is removed at the end.
struct File(PathBuf);

impl File {
    /// What the port answers.
    fn fetch(address: SocketAddr, target: &str) -> File {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut reply = get(address, target);
        while reply.status == 503 {
            // Another recording goes on.
            reply = get(address, target);
        }
        assert_eq!(
            reply.status,
            200,
            "{target}: {}",
            String::from_utf8_lossy(&reply.body)
        );
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("profile-{}-{number}", std::process::id()));
        std::fs::write(&path, &reply.body).unwrap();
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A line of `-top`.
#[derive(Debug)]
struct Line {
    flat: String,
    cum: String,
    function: String,
}

/// What `go tool pprof -top` says of a file or an address; `None` without Go, which is a failure only in CI.
fn top(arguments: &[&str]) -> Option<(String, Vec<Line>)> {
    let folder = std::env::temp_dir();
    let output = Command::new("go")
        .args(["tool", "pprof", "-top", "-nodecount=200"])
        .args(arguments)
        .env("PPROF_TMPDIR", &folder)
        .env("PPROF_BINARY_PATH", "/nowhere")
        .env("GOTOOLCHAIN", "local")
        .current_dir(&folder)
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "go is needed: {error}");
            println!("skipped: no go tool pprof here ({error})");
            return None;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    let lines = text
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("flat "));
    let lines = lines.skip(1).filter_map(|line| {
        let mut words = line.split_whitespace();
        let (flat, cum) = (words.next()?, words.nth(2)?);
        words.next()?;
        Some(Line {
            flat: flat.to_owned(),
            cum: cum.to_owned(),
            function: words.collect::<Vec<_>>().join(" "),
        })
    });
    let lines = lines.collect();
    Some((text, lines))
}

/// The first function must be the planted one.
fn assert_first(arguments: &[&str], function: &str) {
    if let Some((text, lines)) = top(arguments) {
        let name = lines.first().map(|line| line.function.as_str());
        let found =
            name.is_some_and(|name| name.strip_suffix(" (inline)").unwrap_or(name).ends_with(function));
        assert!(found, "{function} is not first with {arguments:?}:\n{text}");
    }
}

#[inline(never)]
fn planted_leak() -> Vec<Vec<u8>> {
    let mut leak = Vec::new();
    for _ in 0..1024 {
        leak.push(black_box(vec![1; 64 * 1024]));
    }
    leak
}

#[inline(never)]
fn planted_rush() {
    for _ in 0..16 * 1024 {
        drop(black_box(vec![1_u8; 64 * 1024]));
    }
}

#[test]
fn a_leak_is_first_in_the_heap() {
    in_turn(|address| {
        let before = File::fetch(address, "/debug/pprof/heap");
        let leak = planted_leak();
        let heap = File::fetch(address, "/debug/pprof/heap");
        planted_rush();
        let allocs = File::fetch(address, "/debug/pprof/allocs");
        assert_first(&[heap.path()], "::planted_leak");
        assert_first(&["-sample_index=alloc_space", allocs.path()], "::planted_rush");
        assert_first(
            &["-sample_index=inuse_space", "-base", before.path(), heap.path()],
            "::planted_leak",
        );
        if let Some((text, lines)) = top(&["-unit=MB", heap.path()]) {
            assert!(text.contains("Type: inuse_space"), "{text}");
            // 64 MiB in 128 samples or so: one in a thousand such estimates is off by more than a third.
            let size: f64 = lines[0].flat.trim_end_matches("MB").parse().unwrap();
            assert!((40.0..90.0).contains(&size), "{text}");
        }
        if let Some((text, lines)) = top(&[allocs.path()]) {
            assert!(text.contains("Type: alloc_space"), "{text}");
            assert!(lines[0].function.ends_with("::planted_rush"), "{text}");
        }
        drop(leak);
    });
}

#[test]
fn growth_is_in_the_difference() {
    #[inline(never)]
    fn planted_growth(stop: &AtomicBool) -> Vec<Vec<u8>> {
        let mut grown = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            if grown.len() < 2048 {
                grown.push(black_box(vec![1; 128 * 1024]));
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        grown
    }
    in_turn(|address| {
        let leak = planted_leak();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let growing = observe::thread::spawn("planted-growth", move || planted_growth(&stopped)).unwrap();
        let delta = File::fetch(address, "/debug/pprof/heap?seconds=1");
        stop.store(true, Ordering::Relaxed);
        drop(growing.join().unwrap());
        assert_first(&[delta.path()], "::planted_growth");
        if let Some((text, _)) = top(&[delta.path()]) {
            assert!(!text.contains("planted_leak"), "{text}");
            assert!(text.contains("Duration: 1"), "{text}");
        }
        drop(leak);
    });
}

#[test]
fn the_text_of_the_heap_opens_too() {
    in_turn(|address| {
        let leak = planted_leak();
        let reply = get(address, "/debug/pprof/heap?debug=1");
        let text = reply.text();
        let first = text.lines().next().unwrap();
        assert!(
            first.starts_with("heap profile: ") && first.ends_with(" @ heap/1048576"),
            "{first}"
        );
        for line in text.lines().skip(1) {
            let sample = line.split_once(" @").is_some_and(|(counts, addresses)| {
                let numbers = counts.split([':', ' ', '[', ']']).filter(|word| !word.is_empty());
                numbers.clone().count() == 4
                    && numbers.clone().all(|number| number.parse::<i64>().is_ok())
                    && addresses.split_whitespace().all(is_address)
            });
            assert!(
                sample || line.is_empty() || is_frame(line) || line.starts_with("# "),
                "{line:?}"
            );
        }
        for name in [
            "# runtime.MemStats",
            "# HeapAlloc = ",
            "# NumGC = ",
            "# resident = ",
        ] {
            assert!(text.contains(name), "{name}");
        }
        let culprit = text.lines().find(|line| is_frame(line)).unwrap();
        assert!(culprit.contains("::planted_leak+0x"), "{culprit}");
        // Fetched by the tool itself, which then asks for the names.
        let source = format!("http://{address}/debug/pprof/heap?debug=1");
        assert_first(
            &["-sample_index=inuse_space", "-symbolize=remote", &source],
            "::planted_leak",
        );
        drop(leak);
    });
}

fn is_address(word: &str) -> bool {
    word.strip_prefix("0x")
        .is_some_and(|digits| u64::from_str_radix(digits, 16).is_ok())
}

/// `#\t0x1\tfunction+0x2\tfile:3`
fn is_frame(line: &str) -> bool {
    let columns: Vec<&str> = line.split('\t').collect();
    let [mark, address, function, place] = columns[..] else {
        return false;
    };
    let offset = function
        .rsplit_once('+')
        .is_some_and(|(_, offset)| is_address(offset));
    let line = place
        .rsplit_once(':')
        .is_some_and(|(_, line)| line.parse::<u32>().is_ok());
    mark == "#" && is_address(address) && offset && line
}

#[inline(never)]
fn planted_lock_wait(lock: &observe::Mutex<()>) {
    drop(black_box(lock.lock()));
}

#[inline(never)]
fn planted_disk_wait(release: &std::sync::mpsc::Receiver<()>) {
    observe::wait::blocked(observe::wait::Kind::Disk, "planted.disk", || {
        release.recv().is_err()
    });
    black_box(());
}

/// Whether somebody has waited for this longer than for anything that is not planted.
fn waits_long(name: &str) -> bool {
    let long = Duration::from_millis(100);
    observe::wait::waiting()
        .iter()
        .any(|wait| wait.name == name && wait.waiting > long)
}

/// Makes a thread wait for a lock until `meanwhile` has returned.
fn contend(name: &'static str, meanwhile: impl FnOnce()) {
    let lock = Arc::new(observe::Mutex::new(name, ()));
    let guard = lock.lock();
    let contended = Arc::clone(&lock);
    let waiter = observe::thread::spawn("planted-waiter", move || planted_lock_wait(&contended)).unwrap();
    until("a waiter", || {
        observe::lock_waiters().iter().any(|waiter| waiter.name == name)
    });
    meanwhile();
    until("a long wait", || waits_long(name));
    drop(guard);
    waiter.join().unwrap();
}

#[test]
fn contention_names_lock_and_place() {
    in_turn(|address| {
        let before = File::fetch(address, "/debug/pprof/mutex");
        contend("planted.lock", || {
            let text = get(address, "/debug/pprof/mutex?debug=2").text().to_owned();
            assert!(text.contains("# lock \"planted.lock\" at "), "{text}");
            assert!(text.contains("\n# still waiting: goroutine "), "{text}");
        });
        let mutex = File::fetch(address, "/debug/pprof/mutex");
        assert_first(&["-base", before.path(), mutex.path()], "::planted_lock_wait");
        if let Some((text, lines)) = top(&["-sample_index=contentions", mutex.path()]) {
            let planted = lines
                .iter()
                .find(|line| line.function.ends_with("::planted_lock_wait"));
            assert_eq!(planted.unwrap().cum, "1", "{text}");
        }
        contend("planted.lock", || {});
        let again = File::fetch(address, "/debug/pprof/mutex");
        if let Some((text, lines)) = top(&["-sample_index=contentions", "-base", mutex.path(), again.path()])
        {
            let planted = lines
                .iter()
                .find(|line| line.function.ends_with("::planted_lock_wait"));
            assert_eq!(planted.unwrap().cum, "1", "{text}");
        }
        let before = File::fetch(address, "/debug/pprof/block");
        let (release, wait) = std::sync::mpsc::channel();
        let waiter = observe::thread::spawn("planted-disk", move || planted_disk_wait(&wait)).unwrap();
        until("a blocked thread", || waits_long("planted.disk"));
        let now = get(address, "/debug/pprof/block?debug=1").text().to_owned();
        assert!(
            now.starts_with("--- contention:\ncycles/second=1000000000\n"),
            "{now}"
        );
        assert!(
            now.contains("# disk \"planted.disk\" at ") && now.contains("\n# still waiting: "),
            "{now}"
        );
        drop(release);
        waiter.join().unwrap();
        let block = File::fetch(address, "/debug/pprof/block");
        assert_first(&["-base", before.path(), block.path()], "::planted_disk_wait");
        for line in get(address, "/debug/pprof/mutex?debug=1").text().lines().skip(3) {
            let sample = line.split_once(" @").is_some_and(|(counts, addresses)| {
                counts
                    .split(' ')
                    .filter(|number| number.parse::<u64>().is_ok())
                    .count()
                    == 2
                    && addresses.split_whitespace().all(is_address)
            });
            assert!(
                sample || line.is_empty() || is_frame(line) || line.starts_with("# "),
                "{line:?}"
            );
        }
        // The text form is a profile too.
        let text = File::fetch(address, "/debug/pprof/mutex?debug=1");
        top(&["-symbolize=none", text.path()]);
    });
}

#[test]
fn tasks_and_threads_are_in_the_goroutines() {
    in_turn(|address| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let tasks: Vec<_> = (0..3)
            .map(|_| observe::task::spawn_on(runtime.handle(), "planted-idle", "/live", boxed()))
            .collect();
        until("the tasks have begun", || {
            let idle = observe::task::list()
                .into_iter()
                .filter(|task| task.name == "planted-idle");
            idle.filter(|task| task.polls > 0 && !task.running).count() == 3
        });
        let goroutines = File::fetch(address, "/debug/pprof/goroutine");
        if let Some((text, lines)) = top(&["-sample_index=goroutine", goroutines.path()]) {
            assert!(text.contains("Type: goroutine"), "{text}");
            let root = lines.iter().find(|line| line.function == "task planted-idle");
            assert_eq!(root.unwrap_or_else(|| panic!("{text}")).cum, "3", "{text}");
            if profile::SUPPORTED {
                assert!(text.contains("::planted_await"), "{text}");
            }
        }
        let text = get(address, "/debug/pprof/goroutine?debug=1").text().to_owned();
        assert!(text.starts_with("goroutine profile: total "), "{text}");
        assert!(
            text.contains("\n# labels: {\"task\":\"planted-idle\", \"state\":\"idle\"}\n"),
            "{text}"
        );
        let grouped = File::fetch(address, "/debug/pprof/goroutine?debug=1");
        top(&["-symbolize=none", grouped.path()]);
        let text = get(address, "/debug/pprof/goroutine?debug=2").text().to_owned();
        check_blocks(&text);
        let block = text
            .split("\n\n")
            .find(|block| block.contains("planted-idle /live]:"))
            .unwrap();
        assert!(block.contains("planted_await"), "{block}");
        assert!(
            block.contains("created by observe::task::spawn at tests/profiles_name_the_culprit.rs:"),
            "{block}"
        );
        tasks.iter().for_each(observe::task::TaskHandle::abort);
    });
}

/// Through a pointer, so that it is not inlined and keeps its name.
async fn boxed() {
    let future: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(planted_await());
    future.await;
}

async fn planted_await() {
    tokio::time::sleep(Duration::from_secs(3_600)).await;
}

/// Each block is a header, reasons, frames of two lines and perhaps an origin.
fn check_blocks(text: &str) {
    for block in text.split_terminator("\n\n") {
        let (header, rest) = block.split_once('\n').unwrap_or((block, ""));
        let inside = header
            .strip_prefix("goroutine ")
            .and_then(|header| header.strip_suffix("]:"));
        let (id, state) = inside
            .and_then(|inside| inside.split_once(" ["))
            .unwrap_or_else(|| panic!("{header:?}"));
        assert!(
            id.parse::<u64>().is_ok() && !state.contains(['[', ']']),
            "{header:?}"
        );
        let mut lines = rest.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(place) = lines.next_if(|next| next.starts_with('\t')) {
                assert!(line.ends_with("(...)"), "{line:?}");
                let (place, offset) = place.trim_start().rsplit_once(" +").unwrap();
                assert!(is_address(offset) && place.contains(':'), "{place:?}");
            } else {
                let known = [
                    "created by ",
                    "waiting for ",
                    "holding lock ",
                    "running goroutine ",
                    "in the kernel: ",
                    "and also in:",
                    "(no stack: ",
                ];
                assert!(known.iter().any(|start| line.starts_with(start)), "{line:?}");
            }
        }
    }
}

#[inline(never)]
fn planted_stuck_wait(lock: &observe::Mutex<()>) {
    drop(black_box(lock.lock()));
}

#[test]
fn a_deadlock_is_named_while_all_workers_are_stuck() {
    in_turn(|address| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let lock = Arc::new(observe::Mutex::new("planted.stuck", ()));
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let holding = Arc::clone(&lock);
        let holder = observe::task::spawn_on(runtime.handle(), "planted-holder", "/live", async move {
            let _guard = holding.lock();
            let _ = wait.recv();
        });
        until("the lock is taken", || lock.try_lock().is_none());
        let waiting = Arc::clone(&lock);
        let waiter = observe::task::spawn_on(runtime.handle(), "planted-stuck", "/other", async move {
            planted_stuck_wait(&waiting);
        });
        until("a waiter", || {
            observe::lock_waiters()
                .iter()
                .any(|waiter| waiter.name == "planted.stuck")
        });
        // Nobody is left to run this one.
        let starved = observe::task::spawn_on(runtime.handle(), "planted-starved", (), async {});
        // Not even the first question, which has to find out where all names are, may take longer.
        profile::symbols::forget();
        let begun = Instant::now();
        let text = get(address, "/debug/pprof/goroutine?debug=2").text().to_owned();
        let took = begun.elapsed();
        println!("answered in {took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        drop(release);
        check_blocks(&text);
        let find = |name: &str| {
            let block = text
                .split("\n\n")
                .find(|block| block.contains(&format!(", {name}")));
            block.unwrap_or_else(|| panic!("{name} is not in {text}"))
        };
        let stuck = find("planted-stuck /other");
        let who = format!("held by goroutine {} \"planted-holder\" /live", holder.id());
        assert!(
            stuck.starts_with(&format!("goroutine {} [waiting, ", waiter.id())),
            "{stuck}"
        );
        assert!(
            stuck.contains("\nwaiting for lock \"planted.stuck\" (") && stuck.contains(&who),
            "{stuck}"
        );
        assert!(
            stuck.contains("taken at tests/profiles_name_the_culprit.rs:"),
            "{stuck}"
        );
        assert!(stuck.contains("planted_stuck_wait(...)\n"), "{stuck}");
        let held = find("planted-holder /live");
        assert!(held.contains("\nholding lock \"planted.stuck\""), "{held}");
        assert!(held.contains("profiles_name_the_culprit"), "{held}");
        // What the runtime has around a task is in the block of the thread.
        assert!(!held.contains("\ntokio::runtime::"), "{held}");
        assert!(find("planted-starved").contains("(no stack: "), "{text}");
        runtime
            .block_on(async { (holder.await, waiter.await, starved.await) })
            .0
            .unwrap();
    });
}

#[inline(never)]
fn planted_work(stop: &AtomicBool) -> u64 {
    let mut sum = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        for n in 0..10_000 {
            sum = black_box(sum.wrapping_mul(31).wrapping_add(n));
        }
    }
    sum
}

#[test]
fn work_is_first_in_the_processor_time() {
    if !profile::SUPPORTED {
        println!("skipped: no CPU profiles on this platform");
        return;
    }
    in_turn(|address| {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let worker = observe::thread::spawn("planted-work", move || planted_work(&stopped)).unwrap();
        let first = std::thread::spawn(move || File::fetch(address, "/debug/pprof/profile?seconds=2"));
        // A second profile or a trace meanwhile would measure the first.
        until("a refusal", || {
            get(address, "/debug/pprof/trace?seconds=0.01").status == 503
        });
        let second = get(address, "/debug/pprof/profile?seconds=0.01");
        assert_eq!(second.status, 503);
        assert!(second.text().contains("try again"), "{}", second.text());
        let profile = first.join().unwrap();
        let text = get(address, "/debug/pprof/profile?seconds=0.5&debug=1");
        stop.store(true, Ordering::Relaxed);
        worker.join().unwrap();
        assert_first(&["-noinlines", profile.path()], "::planted_work");
        let text = text.text();
        assert!(
            text.starts_with("--- cpu:\n") && text.contains("::planted_work+0x"),
            "{text}"
        );
    });
}

#[test]
fn a_trace_is_one_for_viewers() {
    in_turn(|address| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let task = observe::task::spawn_on(runtime.handle(), "planted-ticks", (), async {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let reply = get(address, "/debug/pprof/trace?seconds=0.5");
        task.abort();
        assert_eq!(
            reply.header("content-disposition"),
            Some("attachment; filename=\"trace.json\"")
        );
        let trace = reply.json();
        let events = trace["traceEvents"].as_array().unwrap();
        let polls = events
            .iter()
            .filter(|event| event["name"] == "planted-ticks" && event["ph"] == "X");
        assert!(polls.count() > 2, "{trace:#}");
        assert!(
            events.iter().any(|event| event["name"] == "thread_name"),
            "{trace:#}"
        );
    });
}

#[test]
fn headers_are_those_that_tools_expect() {
    in_turn(|address| {
        for name in ["heap", "allocs", "mutex", "block", "goroutine", "threadcreate"] {
            let reply = get(address, &format!("/debug/pprof/{name}"));
            assert_eq!(
                reply.header("content-type"),
                Some("application/octet-stream"),
                "{name}"
            );
            let disposition = format!("attachment; filename=\"{name}\"");
            assert_eq!(reply.header("content-disposition"), Some(disposition.as_str()));
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(reply.body[..2], [0x1f, 0x8b], "{name} is compressed");
            let file = File::fetch(address, &format!("/debug/pprof/{name}"));
            assert!(Path::new(file.path()).exists());
            top(&[file.path()]);
            let text = get(address, &format!("/debug/pprof/{name}?debug=1"));
            assert_eq!(
                text.header("content-type"),
                Some("text/plain; charset=utf-8"),
                "{name}"
            );
        }
        assert_eq!(get(address, "/debug/pprof/nothing").status, 404);
    });
}
