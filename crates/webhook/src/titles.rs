//! Keeps title changes from flooding hooks.
//!
//! Contract: per mount at most one update in [`EVERY`], the newest of those that came meanwhile, and none that says
//! what the last one said.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::Notice;

/// The shortest time between two updates of a mount.
const EVERY: Duration = Duration::from_secs(1);
/// Mounts that are remembered.
const MOST: usize = 10_000;

#[derive(Debug)]
struct Told {
    last: Notice,
    at: Instant,
    /// Came too soon after the last.
    waiting: Option<Notice>,
}

/// What was last told of each mount.
#[derive(Debug, Default)]
pub(crate) struct Titles(HashMap<String, Told>);

impl Titles {
    /// Takes an update of `mount`; yields it when it is to be told now.
    pub(crate) fn offer(&mut self, mount: &str, update: Notice, now: Instant) -> Option<Notice> {
        if let Some(told) = self.0.get_mut(mount) {
            if told.last == update {
                // Back to what hooks know before they heard of anything else.
                told.waiting = None;
                return None;
            }
            if now < told.at + EVERY {
                told.waiting = Some(update);
                return None;
            }
        } else if self.0.len() >= MOST {
            self.make_room();
        }
        self.0.insert(
            mount.to_owned(),
            Told {
                last: update.clone(),
                at: now,
                waiting: None,
            },
        );
        Some(update)
    }

    /// When the next waiting update is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let waiting = self.0.values().filter(|told| told.waiting.is_some());
        waiting.map(|told| told.at + EVERY).min()
    }

    /// The updates that are to be told at `now`.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Notice> {
        let due = self.0.values_mut().filter(|told| told.at + EVERY <= now);
        due.filter_map(|told| told.release(now)).collect()
    }

    /// The update of `mount` that waits, if any, and nothing is known of the mount any more: the next source's
    /// title is news even if it is the same.
    pub(crate) fn forget(&mut self, mount: &str) -> Option<Notice> {
        self.0.remove(mount)?.waiting
    }

    /// All that wait.
    pub(crate) fn flush(&mut self, now: Instant) -> Vec<Notice> {
        self.0.values_mut().filter_map(|told| told.release(now)).collect()
    }

    fn make_room(&mut self) {
        let oldest = self.0.iter().filter(|(_, told)| told.waiting.is_none());
        let oldest = oldest.min_by_key(|(_, told)| told.at);
        let oldest = oldest.or_else(|| self.0.iter().min_by_key(|(_, told)| told.at));
        if let Some(mount) = oldest.map(|(mount, _)| mount.clone()) {
            self.0.remove(&mount);
        }
    }
}

impl Told {
    fn release(&mut self, now: Instant) -> Option<Notice> {
        let update = self.waiting.take()?;
        self.last = update.clone();
        self.at = now;
        Some(update)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;

    fn update(song: &str) -> Notice {
        let mut notice = Notice::sample(Event::MetadataUpdate);
        if let Notice::MetadataUpdate { song: present, .. } = &mut notice {
            song.clone_into(present);
        }
        notice
    }

    fn song(notice: &Notice) -> &str {
        match notice {
            Notice::MetadataUpdate { song, .. } => song,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn once_per_second_and_the_newest() {
        let mut titles = Titles::default();
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let told = |titles: &mut Titles, mount, title, at| {
            let told = titles.offer(mount, update(title), ms(at));
            told.map(|notice| song(&notice).to_owned())
        };
        assert_eq!(told(&mut titles, "/a", "1", 0).as_deref(), Some("1"));
        assert_eq!(told(&mut titles, "/a", "1", 10), None);
        assert_eq!(titles.next_due(), None);
        assert_eq!(told(&mut titles, "/a", "2", 20), None);
        assert_eq!(told(&mut titles, "/b", "2", 30).as_deref(), Some("2"));
        assert_eq!(told(&mut titles, "/a", "3", 40), None);
        assert_eq!(titles.next_due(), Some(ms(1000)));
        assert_eq!(titles.due(ms(999)), []);
        assert_eq!(titles.due(ms(1000)).iter().map(song).collect::<Vec<_>>(), ["3"]);
        assert_eq!(titles.due(ms(5000)), []);
        assert_eq!(told(&mut titles, "/a", "3", 5000), None);
        assert_eq!(told(&mut titles, "/a", "4", 5000).as_deref(), Some("4"));
        // There and back within the second is no change.
        assert_eq!(told(&mut titles, "/a", "5", 5100), None);
        assert_eq!(told(&mut titles, "/a", "4", 5200), None);
        assert_eq!(titles.next_due(), None);
    }

    #[test]
    fn a_new_source_is_news() {
        let mut titles = Titles::default();
        let now = Instant::now();
        assert!(titles.offer("/a", update("1"), now).is_some());
        assert!(titles.offer("/a", update("2"), now).is_none());
        assert_eq!(titles.forget("/a").as_ref().map(song), Some("2"));
        assert_eq!(titles.forget("/a"), None);
        assert!(titles.offer("/a", update("1"), now).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let mut titles = Titles::default();
        let start = Instant::now();
        for n in 0..MOST + 50 {
            let now = start + Duration::from_millis(n as u64);
            assert!(titles.offer(&format!("/{n}"), update("1"), now).is_some());
        }
        assert_eq!(titles.0.len(), MOST);
        assert!(titles.0.contains_key("/50") && !titles.0.contains_key("/49"));
    }
}
