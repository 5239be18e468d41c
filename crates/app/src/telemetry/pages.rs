//! The debug pages that know of mounts and listeners.
//!
//! Contract: numbers come from atomics and published snapshots; a delivery thread that does not answer is named on
//! the page instead of being waited for.

use std::{
    fmt::Write as _,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use diagnostics::{Answer, BadQuery, Form, Query};
use fanout::{Fanout, Inspect, Inspection, ListenerView, TcpInfo};
use mount::{MountMeter, Mounts};
use serde_json::{Value, json};

/// How long a delivery thread may take to tell of its listeners.
const PATIENCE: Duration = Duration::from_millis(500);

/// Listeners shown unless another number is asked for.
const SHOWN: usize = 50;

/// Listeners shown at most: each costs its delivery thread a system call.
const MOST: usize = 2_000;

/// Every mount with its ring, every delivery thread, and the listeners that are furthest behind.
pub(super) fn streams(mounts: &Mounts, fanout: &Fanout, query: &Query) -> Result<Answer, BadQuery> {
    query.only(&["format", "mount", "n"])?;
    let form = query.form()?;
    let shown = bounded(query, 10)?;
    let only = query.get("mount").map(str::to_owned);
    let now = Instant::now();
    let mut meters = mounts.meters(now);
    meters.retain(|mount| only.as_deref().is_none_or(|name| name == mount.mount()));
    let slowest = look(fanout, shown, move |presence| {
        only.as_deref()
            .is_none_or(|name| name == presence.fed_by().as_str())
    });
    Ok(match form {
        Form::Json => Answer::json(&json!({
            "mounts": meters.iter().map(mount_json).collect::<Vec<_>>(),
            "workers": workers_json(fanout),
            "slowest_listeners": slowest.listeners.iter().map(listener_json).collect::<Vec<_>>(),
            "silent_workers": slowest.silent,
        })),
        Form::Text => Answer::text(streams_text(&meters, fanout, &slowest)),
    })
}

/// Listeners with what the kernel knows of their connections.
pub(super) fn listeners(mounts: &Mounts, fanout: &Fanout, query: &Query) -> Result<Answer, BadQuery> {
    query.only(&["format", "mount", "ip", "id", "n"])?;
    let form = query.form()?;
    let shown = bounded(query, SHOWN)?;
    let id = query.number("id", 0..=u64::MAX, 0)?;
    let ip = query
        .get("ip")
        .map(str::parse::<IpAddr>)
        .transpose()
        .map_err(|_| BadQuery::new("ip is an address such as 203.0.113.9"))?;
    let mount = query.get("mount").map(str::to_owned);
    let seen = look(fanout, shown, move |presence| {
        mount
            .as_deref()
            .is_none_or(|name| name == presence.fed_by().as_str())
            && ip.is_none_or(|ip| ip == presence.ip)
            && (id == 0 || id == presence.id)
    });
    let all = mounts.totals().listeners;
    Ok(match form {
        Form::Json => Answer::json(&json!({
            "listeners": seen.listeners.iter().map(listener_json).collect::<Vec<_>>(),
            "connected": all,
            "silent_workers": seen.silent,
        })),
        Form::Text => {
            let mut text = format!(
                "{} of {all} listeners, those that are furthest behind first (n=, mount=, ip=, id=, format=json)\n\n",
                seen.listeners.len(),
            );
            write_listeners(&mut text, &seen);
            text.push_str(LEGEND);
            Answer::text(text)
        }
    })
}

/// How many listeners are asked for.
fn bounded(query: &Query, otherwise: usize) -> Result<usize, BadQuery> {
    let number = query.number("n", 0..=MOST as u64, otherwise as u64)?;
    Ok(usize::try_from(number).unwrap_or(MOST))
}

const LEGEND: &str = "
worker   the delivery thread
lag      age of what the listener is sent next; - when it has everything
blocked  since when its socket takes nothing: the kernel's buffer is full
rtt      the connection's round trip and its variation, as the kernel measures it
resent   segments that had to be sent again: the network loses them
unsent   bytes in the kernel that were not sent once: the path or the client is too slow
client   time that sending waited for the client to read: the player is too slow, not the network
rate     what the path delivers
";

fn look(
    fanout: &Fanout,
    most: usize,
    whom: impl Fn(&fanout::Presence) -> bool + Send + Sync + 'static,
) -> Inspection {
    if most == 0 {
        return Inspection::default();
    }
    let inspect = Inspect {
        most,
        whom: Arc::new(whom),
    };
    fanout.inspect(&inspect, PATIENCE)
}

fn streams_text(meters: &[MountMeter], fanout: &Fanout, slowest: &Inspection) -> String {
    let mut text = String::from("MOUNTS\n");
    row(
        &mut text,
        &[
            ("mount", 24),
            ("source", 10),
            ("listeners", 9),
            ("silence", 9),
            ("health", 6),
            ("ring head", 10),
            ("oldest", 10),
            ("ring bytes", 10),
            ("ring time", 9),
            ("kbit/s", 7),
            ("dropped", 10),
        ],
    );
    for mount in meters {
        let ring = mount.stream().map(|stream| &stream.feed().ring);
        let (bytes, time) = mount.ring();
        let cells = [
            (clean(mount.mount()), 24),
            (source_of(mount), 10),
            (mount.listeners().to_string(), 9),
            (seconds(mount.silence()), 9),
            (format!("{:.2}", mount.health()), 6),
            (ring.map_or("-".into(), |ring| ring.head().to_string()), 10),
            (ring.map_or("-".into(), |ring| ring.oldest().to_string()), 10),
            (bytes.to_string(), 10),
            (seconds(time), 9),
            ((mount.input_rate() / 125).to_string(), 7),
            (mount.dropped().to_string(), 10),
        ];
        row(&mut text, &cells);
    }
    text.push_str("\nWHERE TIME GOES (mean per frame)\n");
    row(
        &mut text,
        &[
            ("mount", 24),
            ("ingest", 9),
            ("framing", 9),
            ("ring", 9),
            ("fanout", 9),
        ],
    );
    for mount in meters.iter().filter(|mount| mount.stream().is_some()) {
        let mut cells = vec![(clean(mount.mount()), 24)];
        for (_, histogram) in mount.delays().stages() {
            let snapshot = histogram.snapshot();
            #[allow(clippy::cast_precision_loss, reason = "a mean for a person")]
            let mean = snapshot.sum / (snapshot.count().max(1) as f64);
            cells.push((format!("{:.1} ms", mean * 1_000.0), 9));
        }
        row(&mut text, &cells);
    }
    text.push_str("\nDELIVERY THREADS\n");
    row(
        &mut text,
        &[
            ("worker", 6),
            ("listeners", 9),
            ("behind", 7),
            ("flush every", 11),
            ("rounds", 10),
        ],
    );
    for (worker, meter) in fanout.meters().enumerate() {
        let state = if slowest.silent.contains(&worker) {
            " does not answer: see /debug/pprof/goroutine?debug=2"
        } else {
            ""
        };
        row(
            &mut text,
            &[
                (worker.to_string(), 6),
                (meter.listeners().to_string(), 9),
                (meter.catching_up().to_string(), 7),
                (format!("{:.0} ms", meter.interval.get() * 1_000.0), 11),
                (format!("{}{state}", meter.cycle.snapshot().count()), 10),
            ],
        );
    }
    text.push_str("\nSLOWEST LISTENERS (all of them: /debug/listeners)\n");
    write_listeners(&mut text, slowest);
    text
}

fn write_listeners(text: &mut String, seen: &Inspection) {
    for worker in &seen.silent {
        let _ = writeln!(
            text,
            "delivery thread {worker} did not answer within {} ms",
            PATIENCE.as_millis()
        );
    }
    row(
        text,
        &[
            ("id", 7),
            ("address", 18),
            ("mount", 18),
            ("worker", 6),
            ("age", 9),
            ("sent", 11),
            ("behind", 9),
            ("lag", 8),
            ("blocked", 8),
            ("rtt", 14),
            ("resent", 6),
            ("unsent", 8),
            ("client", 8),
            ("rate", 11),
            ("agent", 0),
        ],
    );
    for view in &seen.listeners {
        let tcp = |of: fn(&TcpInfo) -> String| view.tcp.as_ref().map_or("-".to_owned(), of);
        let cells = [
            (view.presence.id.to_string(), 7),
            (view.presence.ip.to_string(), 18),
            (clean(&view.presence.fed_by()), 18),
            (view.worker.to_string(), 6),
            (seconds(view.presence.since.elapsed()), 9),
            (view.sent.to_string(), 11),
            (view.bytes_behind.to_string(), 9),
            (view.lag.map_or("-".to_owned(), seconds), 8),
            (view.blocked.map_or("-".to_owned(), seconds), 8),
            (
                tcp(|tcp| format!("{}±{}", millis(tcp.round_trip), millis(tcp.variation))),
                14,
            ),
            (tcp(|tcp| tcp.retransmits.to_string()), 6),
            (tcp(|tcp| optional(tcp.unsent)), 8),
            (tcp(|tcp| tcp.client_limited.map_or("-".to_owned(), seconds)), 8),
            (
                tcp(|tcp| {
                    tcp.delivery_rate
                        .map_or("-".to_owned(), |rate| format!("{} kB/s", rate / 1_000))
                }),
                11,
            ),
            (clean(&view.presence.user_agent), 0),
        ];
        row(text, &cells);
    }
}

fn mount_json(mount: &MountMeter) -> Value {
    let ring = mount.stream().map(|stream| &stream.feed().ring);
    let (bytes, time) = mount.ring();
    let delays: serde_json::Map<_, _> = mount
        .delays()
        .stages()
        .into_iter()
        .map(|(stage, histogram)| {
            let snapshot = histogram.snapshot();
            (
                stage.to_owned(),
                json!({ "count": snapshot.count(), "sum_seconds": snapshot.sum }),
            )
        })
        .collect();
    json!({
        "mount": mount.mount(),
        "name": mount.station_name(),
        "source": source_of(mount),
        "listeners": mount.listeners(),
        "silence_seconds": mount.silence().as_secs_f64(),
        "health": mount.health(),
        "bytes_in": mount.bytes_in(),
        "bytes_out": mount.bytes_out(),
        "bytes_dropped": mount.dropped(),
        "input_bytes_per_second": mount.input_rate(),
        "ring": ring.map(|ring| json!({
            "head": ring.head(),
            "oldest": ring.oldest(),
            "written_bytes": ring.written(),
            "bytes": bytes,
            "seconds": time.as_secs_f64(),
        })),
        "delays": delays,
        "resyncs": mount.resyncs(),
        "bad_bytes": mount.bad_bytes(),
    })
}

fn workers_json(fanout: &Fanout) -> Vec<Value> {
    let worker = |(index, meter): (usize, &Arc<fanout::WorkerMeter>)| {
        json!({
            "worker": index,
            "listeners": meter.listeners(),
            "catching_up": meter.catching_up(),
            "flush_interval_seconds": meter.interval.get(),
            "rounds": meter.cycle.snapshot().count(),
        })
    };
    fanout.meters().enumerate().map(worker).collect()
}

fn listener_json(view: &ListenerView) -> Value {
    json!({
        "id": view.presence.id,
        "ip": view.presence.ip.to_string(),
        "user_agent": view.presence.user_agent,
        "mount": view.presence.mount().as_str(),
        "fed_by": view.presence.fed_by().as_str(),
        "worker": view.worker,
        "age_seconds": view.presence.since.elapsed().as_secs_f64(),
        "bytes_sent": view.sent,
        "chunks_behind": view.chunks_behind,
        "bytes_behind": view.bytes_behind,
        "lag_seconds": view.lag.map(|lag| lag.as_secs_f64()),
        "blocked_seconds": view.blocked.map(|blocked| blocked.as_secs_f64()),
        "since_write_seconds": view.since_write.as_secs_f64(),
        "tcp": view.tcp.as_ref().map(|tcp| json!({
            "round_trip_seconds": tcp.round_trip.as_secs_f64(),
            "round_trip_variation_seconds": tcp.variation.as_secs_f64(),
            "retransmits": tcp.retransmits,
            "lost_segments": tcp.lost,
            "segments_in_flight": tcp.in_flight,
            "congestion_window": tcp.window,
            "unsent_bytes": tcp.unsent,
            "delivery_bytes_per_second": tcp.delivery_rate,
            "client_limited_seconds": tcp.client_limited.map(|time| time.as_secs_f64()),
            "since_acknowledged_seconds": tcp.since_acknowledged.as_secs_f64(),
        })),
    })
}

fn source_of(mount: &MountMeter) -> String {
    match (mount.stream(), mount.is_connected()) {
        (None, _) => "none".to_owned(),
        (Some(stream), true) => stream.owner().protocol.as_str().to_owned(),
        (Some(_), false) => "awaited".to_owned(),
    }
}

fn row<T: AsRef<str>>(text: &mut String, cells: &[(T, usize)]) {
    let mut line = String::new();
    for (cell, width) in cells {
        let _ = write!(line, "{:<width$}  ", cell.as_ref());
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// Text from outside, safe on a terminal and of bounded length.
fn clean(text: &str) -> String {
    text.chars()
        .take(120)
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

fn millis(time: Duration) -> String {
    format!("{:.1}ms", time.as_secs_f64() * 1_000.0)
}

fn optional(value: Option<u32>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}
