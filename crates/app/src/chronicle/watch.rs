//! What is looked at from time to time, because nobody tells of it: relays, audiences, room on the disk.
//!
//! Contract: what is seen goes in, news comes out, and each change is told once.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use config::MountName;
use relay::{Phase, RelayState};
use webhook::Notice;

use crate::context::Context;

/// How often relays are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Looks at relays between two looks at everything else.
const LOOKS: u32 = 12;
/// Less room than this on the disk is told.
const LEAST_ROOM: u64 = 100 << 20;

/// Looks for as long as it is polled.
pub(super) async fn run(context: Arc<Context>) {
    let webhooks = context.api.parts().webhooks.clone();
    let mut watch = Watch::default();
    for look in 1_u32.. {
        tokio::time::sleep(LOOK).await;
        let now = Instant::now();
        let mut news = watch.relays(context.relays.states(), now);
        if look % LOOKS == 0 {
            let live = context.mounts.snapshot(now);
            news.extend(watch.audiences(live.into_iter().map(|mount| (mount.name, mount.listener_peak))));
            let config = context.config.load();
            news.extend(Room::of(&config.data_dir).and_then(|room| watch.disk(&config.data_dir, room)));
        }
        for notice in news {
            webhooks.tell(notice);
        }
    }
}

/// What was seen so far.
#[derive(Default)]
struct Watch {
    /// Relays that are down, since when.
    down: BTreeMap<MountName, Instant>,
    /// Relays that were up at some time.
    known: BTreeSet<MountName>,
    /// The most listeners that were told of each mount.
    peaks: BTreeMap<MountName, u64>,
    is_disk_low: bool,
}

impl Watch {
    /// A relay that was never up is not down: its mount has not begun.
    fn relays(&mut self, states: Vec<(MountName, RelayState)>, now: Instant) -> Vec<Notice> {
        let mut news = Vec::new();
        for (mount, state) in states {
            let is_up = matches!(state.phase, Phase::Connected);
            if is_up {
                self.known.insert(mount.clone());
                if let Some(since) = self.down.remove(&mount) {
                    news.push(Notice::RelayUp {
                        mount: mount.to_string(),
                        upstream: state.url,
                        down: now.saturating_duration_since(since),
                    });
                }
            } else if matches!(state.phase, Phase::Failed | Phase::Reconnecting)
                && self.known.contains(&mount)
                && !self.down.contains_key(&mount)
            {
                self.down.insert(mount.clone(), now);
                news.push(Notice::RelayDown {
                    mount: mount.to_string(),
                    upstream: state.url,
                    error: state.last_error.unwrap_or_default(),
                });
            }
        }
        news
    }

    /// A mount's first audience is no record; what beats it later is.
    fn audiences(&mut self, peaks: impl IntoIterator<Item = (MountName, u64)>) -> Vec<Notice> {
        let mut news = Vec::new();
        for (mount, peak) in peaks {
            let previous = self.peaks.get(&mount).copied();
            if let Some(previous) = previous.filter(|previous| *previous > 0 && peak > *previous) {
                news.push(Notice::ListenerPeak {
                    mount: mount.to_string(),
                    listeners: peak,
                    previous,
                });
            }
            if previous.is_none_or(|previous| peak > previous) {
                self.peaks.insert(mount, peak);
            }
        }
        news
    }

    fn disk(&mut self, folder: &Path, room: Room) -> Option<Notice> {
        let was_low = std::mem::replace(&mut self.is_disk_low, room.free < LEAST_ROOM);
        (self.is_disk_low && !was_low).then(|| Notice::DiskLow {
            path: folder.display().to_string(),
            free_bytes: room.free,
            total_bytes: room.total,
        })
    }
}

/// Bytes on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    free: u64,
    total: u64,
}

impl Room {
    /// Of the disk that a folder is on; nothing where that cannot be told.
    fn of(folder: &Path) -> Option<Self> {
        let disk = rustix::fs::statvfs(folder).ok()?;
        Some(Self {
            free: disk.f_bavail * disk.f_frsize,
            total: disk.f_blocks * disk.f_frsize,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MountName {
        MountName::parse(text).expect("a legal name")
    }

    #[test]
    fn relays_are_told_when_they_go_and_when_they_come_back() {
        let begin = Instant::now();
        let mut watch = Watch::default();
        let mut seen = Vec::new();
        for (second, phase) in [
            (0, Phase::Failed),
            (5, Phase::Connected),
            (10, Phase::Reconnecting),
            (15, Phase::Failed),
            (40, Phase::Connected),
            (45, Phase::Connected),
        ] {
            let state = RelayState {
                url: "http://up.example/x".into(),
                phase,
                active: false,
                last_error: Some("gone".into()),
                last_connected: None,
                reconnects: 0,
                bytes_in: 0,
            };
            let now = begin + Duration::from_secs(second);
            let news = watch.relays(vec![(name("/r"), state)], now);
            seen.extend(news.into_iter().map(|notice| (second, notice)));
        }
        let (mount, upstream) = ("/r".to_owned(), "http://up.example/x".to_owned());
        let down = Notice::RelayDown {
            mount: mount.clone(),
            upstream: upstream.clone(),
            error: "gone".into(),
        };
        let up = Notice::RelayUp {
            mount,
            upstream,
            down: Duration::from_secs(30),
        };
        assert_eq!(seen, [(10, down), (40, up)]);
    }

    #[test]
    fn a_record_is_more_than_was_ever_told() {
        let mut watch = Watch::default();
        let peak = |listeners, previous| {
            Some(Notice::ListenerPeak {
                mount: "/a".into(),
                listeners,
                previous,
            })
        };
        for (seen, expected) in [
            // Nobody, and then the first audience.
            (0, None),
            (3, None),
            (5, peak(5, 3)),
            (5, None),
            // Another source began a count of its own.
            (1, None),
            (5, None),
            (6, peak(6, 5)),
        ] {
            assert_eq!(watch.audiences([(name("/a"), seen)]).pop(), expected, "{seen}");
        }
        assert_eq!(watch.audiences([(name("/b"), 9)]), []);
    }

    #[test]
    fn a_disk_is_told_once_each_time_that_it_is_low() {
        let mut watch = Watch::default();
        let total = 4 * LEAST_ROOM;
        for (free, is_told) in [
            (LEAST_ROOM, false),
            (LEAST_ROOM - 1, true),
            (0, false),
            (total, false),
            (1, true),
        ] {
            let expected = is_told.then(|| Notice::DiskLow {
                path: "/data".into(),
                free_bytes: free,
                total_bytes: total,
            });
            assert_eq!(
                watch.disk(Path::new("/data"), Room { free, total }),
                expected,
                "{free}"
            );
        }
    }

    #[test]
    fn room_is_that_of_the_folders_disk() {
        let room = Room::of(Path::new("/")).expect("there is a disk");
        assert!(room.total > 0 && room.free <= room.total, "{room:?}");
        assert_eq!(Room::of(Path::new("/no/such/folder")), None);
    }
}
