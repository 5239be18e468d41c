//! What the watchdog looks at beyond threads, tasks and locks: sources that are silent and outputs that stand still.
//!
//! Contract: the questions read atomics and answer at once.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use fanout::Fanout;
use mount::Mounts;
use observe::{
    Mutex,
    watchdog::{self, Finding, Limits, Watchdog},
};
use tokio::runtime::Handle;

/// A connected source that sends nothing for this long is worth a line.
const SILENT: Duration = Duration::from_secs(10);

/// Listeners of a mount that has news get some within this time, or something is wrong.
const STANDS_STILL: Duration = Duration::from_secs(10);

observe::event! {
    struct NoWatchdog { error: std::io::Error }
    = Error "watchdog_failed": "The watchdog could not be started: {error}"
}

/// Starts the watchdog. It ends when the value is dropped.
pub(super) fn start(runtime: &Handle, mounts: &Arc<Mounts>, fanout: &Arc<Fanout>) -> Option<Watchdog> {
    watchdog::check("source_silent", {
        let mounts = Arc::clone(mounts);
        move || silent_sources(&mounts)
    });
    watchdog::check("output_stalled", {
        let mounts = Arc::clone(mounts);
        let outputs = Mutex::new("watchdog.outputs", HashMap::new());
        move || stalled_outputs(&mounts, &mut outputs.lock(), Instant::now())
    });
    watchdog::check("delivery_ended", {
        let fanout = Arc::clone(fanout);
        move || {
            let ended = fanout.ended_early();
            let told = |worker: &usize| {
                Finding::new(
                    format!("delivery thread {worker}"),
                    "the thread has ended: its listeners are gone",
                )
                .error()
                .blocking()
            };
            ended.iter().map(told).collect()
        }
    });
    watchdog::start(runtime, Limits::default())
        .map_err(|error| observe::emit(NoWatchdog { error }))
        .ok()
}

fn silent_sources(mounts: &Mounts) -> Vec<Finding> {
    let meters = mounts.meters(Instant::now());
    let silent = meters
        .iter()
        .filter(|mount| mount.is_connected() && mount.silence() > SILENT);
    silent
        .map(|mount| {
            let problem = "the source is connected and sends nothing";
            Finding::new(mount.mount(), problem).lasting(mount.silence())
        })
        .collect()
}

/// What a mount had sent when it last moved.
struct Output {
    written: u64,
    sent: u64,
    /// Since when its ring moves and its listeners get nothing.
    since: Option<Instant>,
}

fn stalled_outputs(mounts: &Mounts, outputs: &mut HashMap<String, Output>, now: Instant) -> Vec<Finding> {
    let meters = mounts.meters(now);
    let mut findings = Vec::new();
    let mut present = HashMap::new();
    for mount in &meters {
        let Some(stream) = mount.stream().filter(|_| mount.listeners() > 0) else {
            continue;
        };
        let (written, sent) = (stream.feed().ring.written(), mount.bytes_out());
        let before = outputs.remove(mount.mount());
        let since = match &before {
            Some(before) if before.sent == sent && before.written != written => before.since.or(Some(now)),
            // A source that pauses says nothing about delivery.
            Some(before) if before.sent == sent => before.since,
            _ => None,
        };
        if let Some(lasting) = since
            .map(|since| now.saturating_duration_since(since))
            .filter(|time| *time > STANDS_STILL)
        {
            findings.push(
                Finding::new(mount.mount(), "frames come in and no listener gets any")
                    .error()
                    .lasting(lasting),
            );
        }
        present.insert(mount.mount().to_owned(), Output { written, sent, since });
    }
    *outputs = present;
    findings
}
