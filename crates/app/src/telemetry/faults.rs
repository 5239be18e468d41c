//! Faults on purpose, so that the ways to find them are known to work.
//!
//! Contract: compiled into debug builds only, and dead there too unless the variable `TINYICE_FAULTS` is set.

use std::{
    hint::black_box,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use diagnostics::{Answer, BadQuery, Query};
use fanout::{Fanout, Leave};
use mount::Mounts;
use observe::{Mutex, task};
use tokio::runtime::Handle;

/// Whether faults may be asked for.
pub(super) fn are_wanted() -> bool {
    std::env::var_os("TINYICE_FAULTS").is_some()
}

static GATE: Mutex<()> = Mutex::new("fault.gate", ());
static LEAKED: Mutex<Vec<Vec<u8>>> = Mutex::new("fault.leaked", Vec::new());
static STOP_FANOUT: OnceLock<()> = OnceLock::new();

/// Plants a fault: `kind=deadlock|fanout|hot|leak|contention|slow|panic`.
pub(super) fn plant(
    runtime: &Handle,
    mounts: &Arc<Mounts>,
    fanout: &Fanout,
    query: &Query,
) -> Result<Answer, BadQuery> {
    query.only(&["kind", "seconds"])?;
    let time = Duration::from_secs(query.number("seconds", 1..=600, 10)?);
    let kind = query.get("kind").unwrap_or_default();
    let planted = match kind {
        "deadlock" => plant_deadlock(runtime, mounts),
        "fanout" => plant_stuck_fanout(fanout),
        "hot" => thread("fault-hot", move || {
            black_box(planted_hot_function(time));
        }),
        "leak" => thread("fault-leak", planted_leak),
        "contention" => plant_contention(time),
        "slow" => {
            let _inside = runtime.enter();
            task::spawn("fault-slow", (), async move { planted_slow_poll(time) }).detach();
            Ok(())
        }
        "panic" => {
            let _inside = runtime.enter();
            task::spawn("fault-panic", (), async { planted_panic() }).detach();
            Ok(())
        }
        _ => {
            return Err(BadQuery::new(
                "kind is deadlock, fanout, hot, leak, contention, slow or panic",
            ));
        }
    };
    Ok(match planted {
        Ok(()) => Answer::text(format!("planted: {kind}\n")),
        Err(error) => Answer::text(format!("not planted: {error}\n")),
    })
}

fn thread(name: &'static str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    observe::thread::spawn(name, run).map(drop)
}

/// A task holds the routing of all mounts and waits for the gate; a thread holds the gate and waits for the routing.
/// Everything else that needs the routing joins them until no worker is left.
fn plant_deadlock(runtime: &Handle, mounts: &Arc<Mounts>) -> std::io::Result<()> {
    let (held, holds) = std::sync::mpsc::channel();
    let (other_mounts, _inside) = (Arc::clone(mounts), runtime.enter());
    thread("fault-deadlock", move || {
        let _gate = GATE.lock();
        let _ = held.send(());
        std::thread::sleep(Duration::from_millis(200));
        planted_deadlock_thread(&other_mounts);
    })?;
    let _ = holds.recv();
    let holder = Arc::clone(mounts);
    task::spawn(
        "fault-holder",
        (),
        async move { planted_deadlock_holder(&holder) },
    )
    .detach();
    for _ in 0..runtime.metrics().num_workers() * 2 {
        let mounts = Arc::clone(mounts);
        task::spawn("fault-victim", (), async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            planted_deadlock_thread(&mounts);
        })
        .detach();
    }
    Ok(())
}

#[inline(never)]
fn planted_deadlock_holder(mounts: &Mounts) {
    mounts.while_routing(|| {
        let gate = GATE.lock();
        black_box(&gate);
    });
    // Something must follow, or the call becomes a jump and the function vanishes from stacks.
    black_box(());
}

#[inline(never)]
fn planted_deadlock_thread(mounts: &Mounts) {
    mounts.while_routing(|| black_box(()));
    black_box(());
}

/// A delivery thread waits for the gate, which nobody opens.
fn plant_stuck_fanout(fanout: &Fanout) -> std::io::Result<()> {
    let (held, holds) = std::sync::mpsc::channel();
    thread("fault-gate", move || {
        let _gate = GATE.lock();
        let _ = held.send(());
        std::thread::sleep(Duration::from_secs(600));
    })?;
    let _ = holds.recv();
    fanout.close(
        |_| {
            // One thread is enough.
            if STOP_FANOUT.set(()).is_ok() {
                planted_stuck_delivery();
            }
            false
        },
        Leave::Kicked,
    );
    Ok(())
}

#[inline(never)]
fn planted_stuck_delivery() {
    let gate = GATE.lock();
    black_box(&gate);
}

#[inline(never)]
fn planted_hot_function(time: Duration) -> u64 {
    let (end, mut sum) = (Instant::now() + time, 1u64);
    while Instant::now() < end {
        for number in 0..100_000u64 {
            sum = black_box(sum.rotate_left(7) ^ number);
        }
    }
    sum
}

/// 64 MiB that nobody will ever use.
#[inline(never)]
fn planted_leak() {
    for _ in 0..1_024 {
        let piece = vec![1; 64 << 10];
        LEAKED.lock().push(piece);
    }
}

fn plant_contention(time: Duration) -> std::io::Result<()> {
    let end = Instant::now() + time;
    for _ in 0..2 {
        thread("fault-contention", move || {
            while Instant::now() < end {
                planted_contention();
            }
        })?;
    }
    Ok(())
}

#[inline(never)]
fn planted_contention() {
    let gate = GATE.lock();
    std::thread::sleep(Duration::from_millis(2));
    drop(gate);
    std::thread::sleep(Duration::from_micros(100));
}

#[inline(never)]
fn planted_slow_poll(time: Duration) {
    std::thread::sleep(time);
}

#[inline(never)]
fn planted_panic() {
    panic!("planted");
}
