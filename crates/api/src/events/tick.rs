//! One look at all mounts, which every feed is written from.
//!
//! Contract: a tick never changes once it is made, and what it says of a mount was serialised once, for however many
//! feeds that show it.

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use config::{Config, MountName};
use jiff::Timestamp;
use mount::{MountSnapshot, Totals};
use serde::Serialize;

use super::{admin, beside::Sums, places::Places, public};

/// What the process says of itself. Zero where nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Runtime {
    /// Tasks and threads alive.
    pub goroutines: u64,
    /// Bytes of memory in use.
    pub memory: u64,
    /// Bytes in live heap allocations.
    pub heap_alloc: u64,
    /// Bytes of thread stacks.
    pub stack_sys: u64,
    /// Bytes obtained from the system.
    pub sys_ram: u64,
    /// Reclaim passes of the allocator.
    pub num_gc: u64,
}

/// What a tick is made of.
pub(crate) struct Reading {
    pub(crate) now: Instant,
    pub(crate) time: Timestamp,
    /// How long the server has run.
    pub(crate) uptime: Duration,
    /// The live mounts, by name.
    pub(crate) mounts: Vec<MountSnapshot>,
    pub(crate) totals: Totals,
    pub(crate) config: Arc<Config>,
    pub(crate) runtime: Runtime,
    /// Where listeners are, some seconds ago.
    pub(crate) places: Arc<Places>,
    /// Who knows how much went through mounts over days and years; nobody where nothing is kept.
    pub(crate) sums: Option<Arc<Sums>>,
}

/// All mounts at one moment.
pub(crate) struct Tick {
    /// From 1.
    pub(crate) number: u64,
    pub(crate) at: Instant,
    /// Of the bursts that are written from it: its time in milliseconds since 1970, but never less than before.
    pub(crate) id: i64,
    pub(crate) uptime: Duration,
    /// By name.
    pub(crate) entries: Vec<Arc<Entry>>,
    pub(crate) totals: Totals,
    /// Of the whole server.
    pub(crate) rate: Rate,
    pub(crate) config: Arc<Config>,
    pub(crate) runtime: Runtime,
    pub(crate) places: Arc<Places>,
    pub(crate) sums: Option<Arc<Sums>>,
}

/// One mount in a tick.
pub(crate) struct Entry {
    pub(crate) mount: MountSnapshot,
    /// Since the tick before.
    pub(crate) rate: Rate,
    /// Whether there is a picture to its sound.
    pub(crate) has_video: bool,
    /// The tick that first showed the public what it shows now, apart from the uptime.
    pub(crate) changed: u64,
    /// The public `stream` event.
    pub(crate) public: Bytes,
    listed: OnceLock<Bytes>,
    admin: OnceLock<admin::Texts>,
}

impl Entry {
    /// Whether the public is told of it without asking.
    pub(crate) fn is_listed(&self) -> bool {
        self.mount.visible && !self.mount.name.is_internal()
    }

    /// Its part of the public unnamed event.
    pub(crate) fn listed(&self) -> &[u8] {
        self.listed.get_or_init(|| json(&public::Listed::new(self)))
    }

    /// Its texts in the admin feed.
    pub(crate) fn admin(&self) -> &admin::Texts {
        self.admin.get_or_init(|| admin::Texts::new(self))
    }
}

/// Bytes per second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Rate {
    pub(crate) incoming: f64,
    pub(crate) outgoing: f64,
}

impl Rate {
    fn between(earlier: (u64, u64), now: (u64, u64), elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        if seconds <= 0.0 {
            return Self::default();
        }
        #[allow(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let rate = |earlier: u64, now: u64| (now.saturating_sub(earlier) as f64 / seconds).round();
        Self {
            incoming: rate(earlier.0, now.0),
            outgoing: rate(earlier.1, now.1),
        }
    }
}

/// Makes ticks, and compares each with the one before.
#[derive(Default)]
pub(crate) struct Ticker {
    last: Option<Arc<Tick>>,
}

impl Ticker {
    /// The next tick.
    pub(crate) fn tick(&mut self, reading: Reading) -> Arc<Tick> {
        let last = self.last.as_deref();
        let number = last.map_or(1, |last| last.number + 1);
        let elapsed = last.map_or(Duration::ZERO, |last| {
            reading.now.saturating_duration_since(last.at)
        });
        let names: HashSet<&str> = reading.mounts.iter().map(|mount| mount.name.as_str()).collect();
        let with_video: Vec<bool> = reading
            .mounts
            .iter()
            .map(|mount| names.contains(format!("{}/video", mount.name).as_str()))
            .collect();
        let entries = reading
            .mounts
            .into_iter()
            .zip(with_video)
            .map(|(mount, has_video)| {
                let before = last.and_then(|last| last.find(&mount.name));
                Arc::new(entry(mount, has_video, before, number, elapsed))
            })
            .collect();
        let bytes = |totals: &Totals| (totals.bytes_in, totals.bytes_out);
        let tick = Arc::new(Tick {
            number,
            at: reading.now,
            id: reading
                .time
                .as_millisecond()
                .max(last.map_or(0, |last| last.id + 1)),
            uptime: reading.uptime,
            entries,
            rate: last.map_or_else(Rate::default, |last| {
                Rate::between(bytes(&last.totals), bytes(&reading.totals), elapsed)
            }),
            totals: reading.totals,
            config: reading.config,
            runtime: reading.runtime,
            places: reading.places,
            sums: reading.sums,
        });
        self.last = Some(Arc::clone(&tick));
        tick
    }
}

impl Tick {
    pub(crate) fn find(&self, mount: &MountName) -> Option<&Entry> {
        let place = self.entries.binary_search_by(|entry| entry.mount.name.cmp(mount));
        place.ok().map(|place| &*self.entries[place])
    }
}

fn entry(
    mount: MountSnapshot,
    has_video: bool,
    before: Option<&Entry>,
    number: u64,
    elapsed: Duration,
) -> Entry {
    let bytes = |mount: &MountSnapshot| (mount.bytes_in, mount.bytes_out);
    let rate = before.map_or_else(Rate::default, |before| {
        Rate::between(bytes(&before.mount), bytes(&mount), elapsed)
    });
    let text = json(&public::Stream::new(&mount, has_video));
    // The unnamed event says nothing more, except whether there is something to say at all.
    let same = before.filter(|before| before.public == text && before.mount.visible == mount.visible);
    Entry {
        rate,
        has_video,
        changed: same.map_or(number, |before| before.changed),
        public: same.map_or(text, |before| before.public.clone()),
        mount,
        listed: OnceLock::new(),
        admin: OnceLock::new(),
    }
}

/// JSON in one line.
pub(crate) fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value)
        .expect("strings, numbers and lists of them are JSON")
        .into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::events::world::World;

    #[test]
    fn only_what_listeners_see_is_a_change() {
        let world = World::new(&["/a", "/b"]);
        let (_a, _b) = (world.publish("/a"), world.publish("/b"));
        let mut ticker = Ticker::default();
        let mut changed = |at: u64| {
            let tick = ticker.tick(world.read(Duration::from_millis(at)));
            let of = |entry: &Arc<Entry>| (entry.mount.name.to_string(), entry.changed);
            tick.entries.iter().map(of).collect::<BTreeMap<_, _>>()
        };
        let expect = |a, b| BTreeMap::from([("/a".to_owned(), a), ("/b".to_owned(), b)]);
        assert_eq!(changed(0), expect(1, 1));
        // Time passes: the uptime alone is no change.
        assert_eq!(changed(5000), expect(1, 1));
        world.set_title("/a", "another");
        assert_eq!(changed(5500), expect(3, 1));
        world.show(&["/a"]);
        assert_eq!(changed(6000), expect(3, 4));
    }

    #[test]
    fn what_did_not_change_is_the_same_memory() {
        let world = World::new(&["/a"]);
        let _a = world.publish("/a");
        let mut ticker = Ticker::default();
        let first = ticker.tick(world.read(Duration::ZERO));
        let second = ticker.tick(world.read(Duration::from_millis(500)));
        assert_eq!(
            first.entries[0].public.as_ptr(),
            second.entries[0].public.as_ptr()
        );
        assert_eq!(first.number + 1, second.number);
        assert!(first.id < second.id);
    }

    #[test]
    fn rates_are_per_second_and_never_negative() {
        for (earlier, now, milliseconds, expected) in [
            ((0, 0), (1000, 3000), 500, (2000.0, 6000.0)),
            ((5000, 0), (1000, 1), 1000, (0.0, 1.0)),
            ((0, 0), (1000, 1000), 0, (0.0, 0.0)),
        ] {
            let rate = Rate::between(earlier, now, Duration::from_millis(milliseconds));
            assert_eq!((rate.incoming, rate.outgoing), expected);
        }
    }
}
