//! What is exposed of mounts, delivery and configuration, under the names that dashboards know.
//!
//! Contract: the first table of names is that of TinyIce (Go) and never changes. Nothing here takes a lock that the
//! media path takes.

use std::{sync::Arc, time::Instant};

use fanout::Fanout;
use mount::{MountMeter, Totals};
use observe::metrics::{Exposition, Kind, Number, Snapshot};

use crate::context::Context;

observe::label! {
    /// What became of a reload.
    pub(crate) enum Reload { Ok = "ok", Refused = "refused" }
}

observe::metrics! {
    /// Whether the configuration file in force is the newest that was asked for.
    static RELOAD_SUCCESSFUL: Gauge = "tinyice_config_last_reload_successful":
        "1 if the configuration was last read without a problem, 0 if what is in force is older than the file.";
    /// When it was read.
    static RELOAD_TIME: Gauge = "tinyice_config_last_reload_success_timestamp_seconds":
        "When the configuration was last read without a problem, in seconds since 1970.";
    /// Reloads.
    static RELOADS: Counters<Reload> = "tinyice_config_reloads_total" {"result"}:
        "Reloads of the configuration, by what became of them.";
}

/// Lists everything that the program counts.
pub(super) fn register(context: &Context, fanout: &Arc<Fanout>) {
    let mounts = &context.mounts;
    observe::metrics::register(&[&RELOAD_SUCCESSFUL, &RELOAD_TIME, &RELOADS]);
    observe::metrics::register(mount::metrics::ALL);
    observe::metrics::register(otlp::metrics::ALL);
    observe::metrics::register(api::metrics::ALL);
    observe::metrics::register(front::metrics::ALL);
    observe::metrics::register(outbound::metrics::ALL);
    observe::metrics::register(relay::metrics::ALL);
    observe::metrics::register(auth::metrics::ALL);
    observe::metrics::register(signin::metrics::ALL);
    observe::metrics::register(geo::metrics::ALL);
    observe::metrics::register(webhook::metrics::ALL);
    observe::metrics::collect_with(auth::metrics::collector(Arc::downgrade(&context.auth)));
    observe::metrics::collect_with({
        let mounts = Arc::clone(mounts);
        move |out| {
            let meters = mounts.meters(Instant::now());
            expose_totals(&mounts.totals(), out);
            expose_mounts(&meters, out);
            expose_delays(&meters, out);
        }
    });
    observe::metrics::collect_with({
        let fanout = Arc::clone(fanout);
        move |out| expose_delivery(&fanout, out)
    });
}

/// Notes that the configuration has been read anew, or refused.
pub(crate) fn count_reload(result: Reload) {
    RELOADS.of(result).inc();
    note_load(result == Reload::Ok);
}

/// Notes whether what is in force is what the file says.
pub(super) fn note_load(loaded: bool) {
    RELOAD_SUCCESSFUL.set(if loaded { 1.0 } else { 0.0 });
    if loaded {
        RELOAD_TIME.set(jiff::Timestamp::now().as_duration().as_secs_f64());
    }
}

fn expose_totals(sums: &Totals, out: &mut Exposition) {
    let mut total = |name, kind, help, value: u64| out.family(name, kind, help).sample(&[], value);
    total(
        "tinyice_bandwidth_in_bytes_total",
        Kind::Counter,
        "Bytes received from sources, all mounts.",
        sums.bytes_in,
    );
    total(
        "tinyice_bandwidth_out_bytes_total",
        Kind::Counter,
        "Bytes sent to listeners, all mounts.",
        sums.bytes_out,
    );
    total(
        "tinyice_total_dropped_bytes",
        Kind::Counter,
        "Bytes that listeners missed because they fell behind.",
        sums.dropped,
    );
    total(
        "tinyice_listeners_total",
        Kind::Gauge,
        "Listeners connected now.",
        sums.listeners,
    );
    total(
        "tinyice_sources_total",
        Kind::Gauge,
        "Mounts with a live source now.",
        sums.sources,
    );
}

type Value = fn(&MountMeter) -> Number;

/// The series of TinyIce (Go): labelled with mount and station name.
const NAMED: [(&str, Kind, &str, Value); 6] = [
    (
        "tinyice_stream_listeners_current",
        Kind::Gauge,
        "Listeners of the mount.",
        |mount| mount.listeners().into(),
    ),
    (
        "tinyice_stream_bytes_in_total",
        Kind::Counter,
        "Bytes from the mount's sources.",
        |mount| mount.bytes_in().into(),
    ),
    (
        "tinyice_stream_bytes_out_total",
        Kind::Counter,
        "Bytes to the mount's listeners.",
        |mount| mount.bytes_out().into(),
    ),
    (
        "tinyice_stream_bytes_dropped_total",
        Kind::Counter,
        "Bytes that the mount's slow listeners missed.",
        |mount| mount.dropped().into(),
    ),
    (
        "tinyice_stream_health_ratio",
        Kind::Gauge,
        "Health of the mount: 0 is dead, 1 is well.",
        |mount| mount.health().into(),
    ),
    (
        "tinyice_stream_is_transcoded",
        Kind::Gauge,
        "1 for a transcoder's output.",
        |_| 0u64.into(),
    ),
];

/// The other series of a mount.
const PLAIN: [(&str, Kind, &str, Value); 7] = [
    (
        "tinyice_stream_source_connected",
        Kind::Gauge,
        "1 while a source is connected.",
        |mount| u64::from(mount.is_connected()).into(),
    ),
    (
        "tinyice_stream_silence_seconds",
        Kind::Gauge,
        "Time since the source's last frame; 0 when nothing is on air.",
        |mount| mount.silence().as_secs_f64().into(),
    ),
    (
        "tinyice_stream_input_bytes_per_second",
        Kind::Gauge,
        "Measured rate of the source; 0 without one.",
        |mount| mount.input_rate().into(),
    ),
    (
        "tinyice_stream_resyncs_total",
        Kind::Counter,
        "Times that framing was lost and found again.",
        |mount| mount.resyncs().into(),
    ),
    (
        "tinyice_stream_bad_bytes_total",
        Kind::Counter,
        "Bytes from sources that belong to no frame.",
        |mount| mount.bad_bytes().into(),
    ),
    (
        "tinyice_stream_ring_bytes",
        Kind::Gauge,
        "Bytes in the mount's ring.",
        |mount| mount.ring().0.into(),
    ),
    (
        "tinyice_stream_ring_seconds",
        Kind::Gauge,
        "Time between the oldest and the newest frame in the mount's ring.",
        |mount| mount.ring().1.as_secs_f64().into(),
    ),
];

fn expose_mounts(mounts: &[MountMeter], out: &mut Exposition) {
    for (name, kind, help, value) in NAMED {
        let mut family = out.family(name, kind, help);
        for mount in mounts {
            let labels = [("mount", mount.mount()), ("name", mount.station_name())];
            family.sample(&labels, value(mount));
        }
    }
    for (name, kind, help, value) in PLAIN {
        let mut family = out.family(name, kind, help);
        for mount in mounts {
            family.sample(&[("mount", mount.mount())], value(mount));
        }
    }
}

fn expose_delays(mounts: &[MountMeter], out: &mut Exposition) {
    let mut family = out.family(
        "tinyice_stream_delay_seconds",
        Kind::Histogram,
        "Where time goes between the source's read and the listener's write, by stage.",
    );
    for mount in mounts {
        for (stage, histogram) in mount.delays().stages() {
            family.histogram(
                &[("mount", mount.mount()), ("stage", stage)],
                &histogram.snapshot(),
            );
        }
    }
    drop(family);
    let mut family = out.family(
        "tinyice_stream_frame_gap_seconds",
        Kind::Histogram,
        "Time between arrivals of whole frames from the source.",
    );
    for mount in mounts {
        family.histogram(&[("mount", mount.mount())], &mount.gaps());
    }
}

fn expose_delivery(fanout: &Fanout, out: &mut Exposition) {
    let workers: Vec<_> = fanout
        .meters()
        .enumerate()
        .map(|(index, meter)| (index.to_string(), meter))
        .collect();
    let merged = |of: fn(&fanout::WorkerMeter) -> Snapshot| {
        let mut all = workers.iter().map(|(_, meter)| of(meter));
        let first = all.next();
        all.fold(first, |sum, next| {
            sum.map(|mut sum| {
                sum.merge(&next);
                sum
            })
        })
    };
    if let Some(lag) = merged(|meter| meter.lag.snapshot()) {
        out.family(
            "tinyice_delivery_lag_seconds",
            Kind::Histogram,
            "From the source's read of a frame to the listener's write, for listeners at the live edge.",
        )
        .histogram(&[], &lag);
    }
    if let Some(first_byte) = merged(|meter| meter.first_byte.snapshot()) {
        out.family(
            "tinyice_listener_first_byte_seconds",
            Kind::Histogram,
            "From the acceptance of a listener's request to its first byte.",
        )
        .histogram(&[], &first_byte);
    }
    let catching_up = workers.iter().map(|(_, meter)| meter.catching_up()).sum::<u64>();
    out.family(
        "tinyice_listeners_catching_up",
        Kind::Gauge,
        "Listeners that are behind the live edge.",
    )
    .sample(&[], catching_up);
    let burst = workers
        .iter()
        .map(|(_, meter)| meter.burst_bytes.get())
        .sum::<u64>();
    out.family(
        "tinyice_burst_bytes_total",
        Kind::Counter,
        "Bytes of the past that listeners got when they came.",
    )
    .sample(&[], burst);
    let mut cycle = out.family(
        "tinyice_fanout_cycle_seconds",
        Kind::Histogram,
        "Rounds of a delivery thread that had something to do.",
    );
    for (worker, meter) in &workers {
        cycle.histogram(&[("worker", worker)], &meter.cycle.snapshot());
    }
    drop(cycle);
    let mut listeners = out.family(
        "tinyice_fanout_listeners",
        Kind::Gauge,
        "Listeners of a delivery thread.",
    );
    for (worker, meter) in &workers {
        listeners.sample(&[("worker", worker)], meter.listeners() as u64);
    }
    drop(listeners);
    let mut interval = out.family(
        "tinyice_fanout_flush_interval_seconds",
        Kind::Gauge,
        "Pause between two flushes of a delivery thread.",
    );
    for (worker, meter) in &workers {
        interval.sample(&[("worker", worker)], meter.interval.get());
    }
}
