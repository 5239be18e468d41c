//! Snapshots of all mounts.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use config::MountName;

use super::Mounts;
use crate::{
    MountSnapshot, Settings, Station, Totals, health,
    state::{Mount, Source},
};

impl Mounts {
    /// All live mounts, by name.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Vec<MountSnapshot> {
        let settings = self.settings();
        let mut all: Vec<_> = self
            .all()
            .iter()
            .filter_map(|mount| Self::snapshot_of(mount, &settings, now))
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// One live mount.
    #[must_use]
    pub fn snapshot_one(&self, name: &MountName, now: Instant) -> Option<MountSnapshot> {
        Self::snapshot_of(&*self.find(name)?, &self.settings(), now)
    }

    fn snapshot_of(mount: &Mount, settings: &Settings, now: Instant) -> Option<MountSnapshot> {
        let stream = mount.stream.load_full()?;
        let (has_source, health) = {
            let state = mount.state.lock();
            (matches!(state.source, Source::Live { .. }), state.health)
        };
        let own = settings.mounts.get(&mount.name);
        let mut station = stream.station();
        if let Some(name) = own
            .and_then(|own| own.name_override.clone())
            .filter(|name| !name.is_empty())
        {
            station = Arc::new(Station {
                name: Some(name),
                ..Station::clone(&station)
            });
        }
        let bytes_in = mount.bytes_in();
        let dropped = mount.counters.dropped.load(Ordering::Relaxed);
        let silence = stream.silence(now);
        let uptime = now.saturating_duration_since(stream.began());
        Some(MountSnapshot {
            name: mount.name.clone(),
            content_type: stream.content_type().to_owned(),
            format: stream.format(),
            station,
            owner: stream.owner(),
            has_source,
            title: stream.title(),
            facts: stream.facts(),
            bitrate: stream.bitrate(),
            began_at: stream.began_at(),
            uptime,
            listeners: mount.seating.taken(),
            listener_peak: mount.seating.peak(),
            listener_connections: mount.seating.total(),
            max_listeners: mount.seating.limit(),
            bytes_in,
            bytes_out: mount.counters.bytes_out.load(Ordering::Relaxed),
            dropped,
            slow_listeners: mount.counters.slow.load(Ordering::Relaxed),
            health,
            health_ratio: health::ratio(stream.bytes_in(), dropped, silence, uptime),
            silence,
            visible: settings.visible.contains(&mount.name),
            hidden: settings.hidden.contains(&mount.name),
            fallback: settings.fallbacks.get(&mount.name).cloned(),
        })
    }

    /// Sums over all mounts, also those that are forgotten. The listeners of a mount count once, whoever feeds them.
    /// Takes no lock, and what counts bytes never gets smaller: mounts and what the forgotten ones had counted are
    /// read as one.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let listed = self.listed.load();
        let mut totals = Totals {
            listeners: self.seating.taken(),
            listener_peak: self.seating.peak(),
            listener_connections: self.seating.total(),
            source_connections: self.source_connections.load(Ordering::Relaxed),
            relay_connections: self.relay_connections.load(Ordering::Relaxed),
            ..listed.forgotten
        };
        for mount in &listed.mounts {
            totals.sources += u64::from(mount.connected.load(Ordering::Relaxed));
            totals.bytes_in += mount.bytes_in();
            totals.bytes_out += mount.counters.bytes_out.load(Ordering::Relaxed);
            totals.dropped += mount.counters.dropped.load(Ordering::Relaxed);
        }
        totals
    }
}
