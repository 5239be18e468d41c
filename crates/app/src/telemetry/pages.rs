//! The debug pages that know of mounts and listeners.
//!
//! Contract: numbers come from atomics and published snapshots; a delivery thread that does not answer is named on
//! the page instead of being waited for.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use diagnostics::{Answer, BadQuery, Column, Query, Table, secs, tables};
use fanout::{Fanout, Inspect, Inspection, TcpInfo};
use mount::{MountMeter, Mounts};
use serde_json::{Value, json};

/// How long a delivery thread may take to tell of its listeners.
const PATIENCE: Duration = Duration::from_millis(500);

/// Listeners shown unless another number is asked for.
const SHOWN: usize = 50;

/// Listeners shown at most: each costs its delivery thread a system call.
const MOST: usize = 2_000;

/// Every mount with its ring and delays, every delivery thread, and the listeners that are furthest behind.
pub(super) fn streams(mounts: &Mounts, fanout: &Fanout, query: &Query) -> Result<Answer, BadQuery> {
    query.only(&["format", "mount", "n"])?;
    let shown = bounded(query, 10)?;
    let only = query.get("mount").map(str::to_owned);
    let mut meters = mounts.meters(Instant::now());
    meters.retain(|mount| only.as_deref().is_none_or(|name| name == mount.mount()));
    let slowest = look(fanout, shown, move |presence| {
        only.as_deref()
            .is_none_or(|name| name == presence.fed_by().as_str())
    });
    let all = [
        mount_table(&meters),
        delay_table(&meters),
        thread_table(fanout, &slowest),
        listener_table("slowest_listeners", &slowest),
    ];
    tables(query, &all)
}

/// Listeners with what the kernel knows of their connections.
pub(super) fn listeners(fanout: &Fanout, query: &Query) -> Result<Answer, BadQuery> {
    query.only(&["format", "mount", "ip", "id", "n"])?;
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
    let listeners = listener_table("listeners", &seen).legend(LEGEND);
    tables(query, &[thread_table(fanout, &seen), listeners])
}

/// How many listeners are asked for.
fn bounded(query: &Query, otherwise: usize) -> Result<usize, BadQuery> {
    let number = query.number("n", 1..=MOST as u64, otherwise as u64)?;
    Ok(usize::try_from(number).unwrap_or(MOST))
}

const LEGEND: &str = "\
Those that are furthest behind come first. n=, mount=, ip=, id= choose, format=json is for programs.

thread          the delivery thread
behind          what it is still to be sent
lag             age of what it is sent next; - when it has everything
blocked         since when its socket takes nothing: the kernel's buffer is full
round trip      of the connection, and its variation, as the kernel measures it
resent          segments that had to be sent again: the network loses them
lost            those of them that are not acknowledged yet
in flight       segments under way, and the window how many may be
unsent          bytes in the kernel that were not sent once: the path or the client is too slow
client limited  time that sending waited for the client to read: the player is too slow, not the network
per second      what the path delivers
";

fn look(
    fanout: &Fanout,
    most: usize,
    whom: impl Fn(&fanout::Presence) -> bool + Send + Sync + 'static,
) -> Inspection {
    let inspect = Inspect {
        most,
        whom: Arc::new(whom),
    };
    fanout.inspect(&inspect, PATIENCE)
}

fn mount_table(meters: &[MountMeter]) -> Table {
    let mut table = Table::new(
        "mounts",
        &[
            ("mount", Column::Text),
            ("source", Column::Text),
            ("listeners", Column::Number),
            ("silence_seconds", Column::Seconds),
            ("health", Column::Number),
            ("in_bytes", Column::Bytes),
            ("out_bytes", Column::Bytes),
            ("input_kbit", Column::Number),
            ("ring_head", Column::Number),
            ("ring_oldest", Column::Number),
            ("ring_bytes", Column::Bytes),
            ("ring_time_seconds", Column::Seconds),
            ("dropped_bytes", Column::Bytes),
            ("resyncs", Column::Number),
            ("bad_bytes", Column::Bytes),
            ("name", Column::Text),
        ],
    );
    for mount in meters {
        let ring = mount.stream().map(|stream| &stream.feed().ring);
        let (bytes, time) = mount.ring();
        table.row([
            json!(mount.mount()),
            json!(source_of(mount)),
            json!(mount.listeners()),
            secs(mount.silence()),
            json!((mount.health() * 100.0).round() / 100.0),
            json!(mount.bytes_in()),
            json!(mount.bytes_out()),
            json!(mount.input_rate() / 125),
            json!(ring.map(|ring| ring.head())),
            json!(ring.map(|ring| ring.oldest())),
            json!(bytes),
            secs(time),
            json!(mount.dropped()),
            json!(mount.resyncs()),
            json!(mount.bad_bytes()),
            json!(mount.station_name()),
        ]);
    }
    table
}

/// Where a frame's time goes, by mount and stage.
fn delay_table(meters: &[MountMeter]) -> Table {
    let mut table = Table::new(
        "delays",
        &[
            ("mount", Column::Text),
            ("stage", Column::Text),
            ("frames", Column::Number),
            ("mean_seconds", Column::Seconds),
        ],
    );
    for mount in meters.iter().filter(|mount| mount.stream().is_some()) {
        for (stage, histogram) in mount.delays().stages() {
            let snapshot = histogram.snapshot();
            let frames = snapshot.count();
            #[allow(clippy::cast_precision_loss, reason = "a mean for a person")]
            let mean = Duration::try_from_secs_f64(snapshot.sum / frames as f64);
            // Without frames there is no mean.
            let mean = mean.map_or(Value::Null, secs);
            table.row([json!(mount.mount()), json!(stage), json!(frames), mean]);
        }
    }
    table
}

fn thread_table(fanout: &Fanout, seen: &Inspection) -> Table {
    let mut table = Table::new(
        "delivery_threads",
        &[
            ("thread", Column::Number),
            ("listeners", Column::Number),
            ("catching_up", Column::Number),
            ("flush_seconds", Column::Seconds),
            ("rounds", Column::Number),
            ("state", Column::Text),
        ],
    );
    for (thread, meter) in fanout.meters().enumerate() {
        let state = if seen.silent.contains(&thread) {
            "does not answer: see /debug/pprof/goroutine?debug=2"
        } else {
            "well"
        };
        table.row([
            json!(thread),
            json!(meter.listeners()),
            json!(meter.catching_up()),
            json!(meter.interval.get()),
            json!(meter.cycle.snapshot().count()),
            json!(state),
        ]);
    }
    table
}

fn listener_table(name: &'static str, seen: &Inspection) -> Table {
    let mut table = Table::new(
        name,
        &[
            ("id", Column::Number),
            ("ip", Column::Text),
            ("mount", Column::Text),
            ("fed_by", Column::Text),
            ("thread", Column::Number),
            ("age_seconds", Column::Seconds),
            ("sent_bytes", Column::Bytes),
            ("behind_bytes", Column::Bytes),
            ("lag_seconds", Column::Seconds),
            ("blocked_seconds", Column::Seconds),
            ("since_write_seconds", Column::Seconds),
            ("round_trip_seconds", Column::Seconds),
            ("variation_seconds", Column::Seconds),
            ("resent", Column::Number),
            ("lost", Column::Number),
            ("in_flight", Column::Number),
            ("window", Column::Number),
            ("unsent_bytes", Column::Bytes),
            ("client_limited_seconds", Column::Seconds),
            ("since_acknowledged_seconds", Column::Seconds),
            ("per_second_bytes", Column::Bytes),
            ("user_agent", Column::Text),
        ],
    );
    for view in &seen.listeners {
        let time = |time: Option<Duration>| time.map_or(Value::Null, secs);
        let tcp = view.tcp.as_ref();
        let tcp_time = |of: fn(&TcpInfo) -> Option<Duration>| time(tcp.and_then(of));
        table.row([
            json!(view.presence.id),
            json!(view.presence.ip),
            json!(view.presence.mount().as_str()),
            json!(view.presence.fed_by().as_str()),
            json!(view.worker),
            secs(view.presence.since.elapsed()),
            json!(view.sent),
            json!(view.bytes_behind),
            time(view.lag),
            time(view.blocked),
            secs(view.since_write),
            tcp_time(|tcp| Some(tcp.round_trip)),
            tcp_time(|tcp| Some(tcp.variation)),
            json!(tcp.map(|tcp| tcp.retransmits)),
            json!(tcp.map(|tcp| tcp.lost)),
            json!(tcp.map(|tcp| tcp.in_flight)),
            json!(tcp.map(|tcp| tcp.window)),
            json!(tcp.and_then(|tcp| tcp.unsent)),
            tcp_time(|tcp| tcp.client_limited),
            tcp_time(|tcp| Some(tcp.since_acknowledged)),
            json!(tcp.and_then(|tcp| tcp.delivery_rate)),
            json!(view.presence.user_agent),
        ]);
    }
    table
}

fn source_of(mount: &MountMeter) -> String {
    match (mount.stream(), mount.is_connected()) {
        (None, _) => "none".to_owned(),
        (Some(stream), true) => stream.owner().protocol.as_str().to_owned(),
        (Some(_), false) => "awaited".to_owned(),
    }
}
