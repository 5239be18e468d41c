//! What is measured of each mount, for whoever exposes it.
//!
//! Contract: reads atomics and published snapshots and takes no lock, so it answers while the mounts themselves
//! are stuck.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use fanout::Delays;
use observe::metrics::Snapshot;

use crate::{Mounts, Stream, health, state::Mount};

/// One mount, with a stream or without.
#[derive(Debug)]
pub struct MountMeter {
    mount: Arc<Mount>,
    stream: Option<Arc<Stream>>,
    name: Arc<String>,
    now: Instant,
}

impl MountMeter {
    /// The mount's name.
    #[must_use]
    pub fn mount(&self) -> &str {
        self.mount.name.as_str()
    }

    /// The station's name, or what it was when there was one. Untrusted text.
    #[must_use]
    pub fn station_name(&self) -> &str {
        &self.name
    }

    /// What is on air.
    #[must_use]
    pub fn stream(&self) -> Option<&Arc<Stream>> {
        self.stream.as_ref()
    }

    /// Whether a source is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.mount.connected.load(Ordering::Relaxed)
    }

    /// Listeners that it feeds.
    #[must_use]
    pub fn listeners(&self) -> u64 {
        self.mount.seating.taken()
    }

    /// Bytes from its sources since the process began.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.mount.bytes_in()
    }

    /// Bytes to its listeners since the process began.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.mount.counters.bytes_out.load(Ordering::Relaxed)
    }

    /// Bytes that its slow listeners missed since the process began.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.mount.counters.dropped.load(Ordering::Relaxed)
    }

    /// How long nothing has come; zero without a stream.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.stream
            .as_ref()
            .map_or(Duration::ZERO, |stream| stream.silence(self.now))
    }

    /// From 0 to 1; 0 without a stream.
    #[must_use]
    pub fn health(&self) -> f64 {
        self.stream.as_ref().map_or(0.0, |stream| {
            let age = self.now.saturating_duration_since(stream.began());
            health::ratio(stream.bytes_in(), self.dropped(), self.silence(), age)
        })
    }

    /// Measured bytes per second from the source; 0 until ten seconds have been seen, and without a source.
    #[must_use]
    pub fn input_rate(&self) -> u64 {
        let measured = self.stream.as_ref().and_then(|stream| stream.measured_kbits());
        measured.filter(|_| self.is_connected()).unwrap_or(0) * 125
    }

    /// Bytes and time in the ring.
    #[must_use]
    pub fn ring(&self) -> (u64, Duration) {
        self.stream
            .as_ref()
            .map_or((0, Duration::ZERO), |stream| stream.feed().ring.occupancy())
    }

    /// Where the time of its frames goes.
    #[must_use]
    pub fn delays(&self) -> &Delays {
        &self.mount.counters.delays
    }

    /// Time between arrivals of frames.
    #[must_use]
    pub fn gaps(&self) -> Snapshot {
        self.mount.intake.gaps.snapshot()
    }

    /// Times that framing was lost and found again.
    #[must_use]
    pub fn resyncs(&self) -> u64 {
        self.mount.intake.resyncs.get()
    }

    /// Bytes that belong to no frame.
    #[must_use]
    pub fn bad_bytes(&self) -> u64 {
        self.mount.intake.bad_bytes.get()
    }
}

impl Mounts {
    /// Every mount that is live, configured or remembered, by name.
    #[must_use]
    pub fn meters(&self, now: Instant) -> Vec<MountMeter> {
        let settings = self.settings();
        let meter = |mount: &Arc<Mount>| {
            let stream = mount.stream.load_full();
            let own = settings
                .mounts
                .get(&mount.name)
                .and_then(|own| own.name_override.as_deref())
                .filter(|name| !name.is_empty());
            let name = match (own, &stream) {
                (Some(own), _) => Some(own.to_owned()),
                (None, Some(stream)) => stream.station().name.clone(),
                (None, None) => None,
            };
            if let Some(name) = name
                && **mount.station_name.load() != name
            {
                mount.station_name.store(Arc::new(name));
            }
            MountMeter {
                mount: Arc::clone(mount),
                stream,
                name: mount.station_name.load_full(),
                now,
            }
        };
        self.listed.load().mounts.iter().map(meter).collect()
    }
}
