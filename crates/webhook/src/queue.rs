//! What one hook has still to be told.
//!
//! Contract: at most [`MOST`] deliveries, of which the oldest goes first when there are more; those of one mount
//! keep their order, and one that waits to be tried again holds up no other mount.

use std::collections::{HashSet, VecDeque};

use tokio::time::Instant;

use crate::{Event, delivery::Delivery};

/// How many may wait.
pub(crate) const MOST: usize = 1000;

#[derive(Debug)]
struct Entry {
    delivery: Delivery,
    due: Instant,
    /// Whether it is being sent.
    in_flight: bool,
}

impl Entry {
    fn is_now_playing(&self, mount: Option<&str>) -> bool {
        self.delivery.event == Event::NowPlaying && self.delivery.mount() == mount
    }
}

/// What one hook has still to be told, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Queue(VecDeque<Entry>);

/// What to do next.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// Send this now; it is marked as being sent.
    Send(Delivery),
    /// Nothing before that time.
    At(Instant),
    /// Nothing at all.
    Nothing,
}

/// Deliveries that left the queue without being sent.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Left {
    /// There were too many.
    pub(crate) dropped: Vec<Delivery>,
    /// A newer track made them pointless.
    pub(crate) superseded: Vec<Delivery>,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds one that may be sent from `due` on.
    pub(crate) fn push(&mut self, delivery: Delivery, due: Instant) -> Left {
        let mut left = Left::default();
        if delivery.event == Event::NowPlaying {
            // What was tried in vain is not tried again; what was not tried yet is history that a hook may want.
            while let Some(at) = self.0.iter().position(|entry| {
                entry.is_now_playing(delivery.mount()) && entry.delivery.attempts > 0 && !entry.in_flight
            }) {
                left.superseded
                    .extend(self.0.remove(at).map(|entry| entry.delivery));
            }
        }
        self.0.push_back(Entry {
            delivery,
            due,
            in_flight: false,
        });
        while self.0.len() > MOST {
            let Some(oldest) = self.0.iter().position(|entry| !entry.in_flight) else {
                break;
            };
            left.dropped
                .extend(self.0.remove(oldest).map(|entry| entry.delivery));
        }
        left
    }

    /// What to do at `now`; with `only_new` those that were tried before stay.
    pub(crate) fn next(&mut self, now: Instant, only_new: bool) -> Next {
        let mut earliest: Option<Instant> = None;
        let mut mounts = HashSet::new();
        for entry in &mut self.0 {
            let first_of_mount = mounts.insert(entry.delivery.mount());
            let stays = only_new && entry.delivery.attempts > 0;
            if !first_of_mount || entry.in_flight || stays {
                continue;
            }
            if entry.due <= now {
                entry.in_flight = true;
                return Next::Send(entry.delivery.clone());
            }
            earliest = Some(earliest.map_or(entry.due, |earliest| earliest.min(entry.due)));
        }
        earliest.map_or(Next::Nothing, Next::At)
    }

    /// Takes out the one that was sent, or that is given up.
    pub(crate) fn remove(&mut self, id: &str) -> Option<Delivery> {
        let at = self.0.iter().position(|entry| entry.delivery.id == id)?;
        self.0.remove(at).map(|entry| entry.delivery)
    }

    /// Lets the one that was tried wait until `due`; yields it with its attempt counted, unless a newer track is
    /// waiting, which makes it pointless and takes it out.
    pub(crate) fn retry(&mut self, id: &str, due: Instant) -> Retry {
        let Some(at) = self.0.iter().position(|entry| entry.delivery.id == id) else {
            return Retry::Gone;
        };
        let mount = self.0[at].delivery.mount();
        let newer = self
            .0
            .iter()
            .skip(at + 1)
            .any(|entry| entry.is_now_playing(mount));
        if self.0[at].delivery.event == Event::NowPlaying && newer {
            self.0.remove(at);
            return Retry::Superseded;
        }
        let entry = &mut self.0[at];
        entry.delivery.attempts += 1;
        entry.due = due;
        entry.in_flight = false;
        Retry::Waits(entry.delivery.clone())
    }

    /// Lets everything that waits be tried now: the reason to wait may be gone.
    pub(crate) fn hurry(&mut self, now: Instant) {
        for entry in &mut self.0 {
            entry.due = entry.due.min(now);
        }
    }

    /// Takes everything out.
    pub(crate) fn clear(&mut self) -> Vec<Delivery> {
        self.0.drain(..).map(|entry| entry.delivery).collect()
    }
}

/// What became of a delivery that should be tried again.
#[derive(Debug, PartialEq)]
pub(crate) enum Retry {
    Waits(Delivery),
    Superseded,
    /// The hook was disabled or removed meanwhile.
    Gone,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::Notice;

    const SECOND: Duration = Duration::from_secs(1);

    fn delivery(event: Event, mount: &str) -> Delivery {
        let mut delivery = Delivery::new(&Notice::sample(event), Timestamp::UNIX_EPOCH);
        delivery.payload.insert("mount".to_owned(), mount.into());
        delivery
    }

    fn id(next: Next) -> String {
        match next {
            Next::Send(delivery) => delivery.id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn mounts_keep_their_order_and_do_not_wait_for_each_other() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let [a1, a2, b1] = [
            delivery(Event::SourceConnect, "/a"),
            delivery(Event::SourceDisconnect, "/a"),
            delivery(Event::SourceConnect, "/b"),
        ];
        for delivery in [&a1, &a2, &b1] {
            assert_eq!(queue.push(delivery.clone(), now), Left::default());
        }
        assert_eq!(id(queue.next(now, false)), a1.id);
        assert!(matches!(queue.retry(&a1.id, now + SECOND), Retry::Waits(d) if d.attempts == 1));
        assert_eq!(id(queue.next(now, false)), b1.id);
        assert_eq!(queue.remove(&b1.id).unwrap().id, b1.id);
        assert_eq!(queue.next(now, false), Next::At(now + SECOND));
        // A server that ends tries nothing again, and nothing out of order either.
        assert_eq!(queue.next(now + SECOND, true), Next::Nothing);
        assert_eq!(id(queue.next(now + SECOND, false)), a1.id);
        queue.remove(&a1.id);
        assert_eq!(id(queue.next(now, false)), a2.id);
        assert_eq!(queue.remove(&a2.id).unwrap().id, a2.id);
        assert_eq!(queue.next(now, false), Next::Nothing);
    }

    #[test]
    fn tracks_that_are_over_are_not_tried_again() {
        let now = Instant::now();
        // The newer comes while the older waits.
        let mut queue = Queue::default();
        let tracks: Vec<_> = ["/a", "/b", "/a"]
            .map(|mount| delivery(Event::NowPlaying, mount))
            .into();
        queue.push(tracks[0].clone(), now);
        queue.next(now, false);
        queue.retry(&tracks[0].id, now + SECOND);
        assert_eq!(queue.push(tracks[1].clone(), now), Left::default());
        let left = queue.push(tracks[2].clone(), now);
        assert_eq!(left.superseded.len(), 1);
        assert_eq!(left.superseded[0].id, tracks[0].id);
        // The newer comes while the older is being sent.
        let mut queue = Queue::default();
        queue.push(tracks[0].clone(), now);
        queue.next(now, false);
        assert_eq!(queue.push(tracks[2].clone(), now), Left::default());
        assert_eq!(queue.retry(&tracks[0].id, now + SECOND), Retry::Superseded);
        assert_eq!(id(queue.next(now, false)), tracks[2].id);
        assert_eq!(queue.retry("gone", now), Retry::Gone);
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let now = Instant::now();
        let mut queue = Queue::default();
        let first = delivery(Event::SourceConnect, "/a");
        let second = delivery(Event::SourceConnect, "/a");
        queue.push(first.clone(), now);
        queue.push(second.clone(), now);
        queue.next(now, false);
        for _ in 2..MOST {
            assert_eq!(
                queue.push(delivery(Event::SourceConnect, "/a"), now),
                Left::default()
            );
        }
        // The first is being sent.
        let left = queue.push(delivery(Event::SourceConnect, "/a"), now);
        assert_eq!((left.dropped.len(), &left.dropped[0].id), (1, &second.id));
        assert_eq!(queue.len(), MOST);
        assert_eq!(queue.clear().len(), MOST);
    }

    #[test]
    fn a_change_of_the_hook_ends_the_wait() {
        let now = Instant::now();
        let mut queue = Queue::default();
        let only = delivery(Event::SourceConnect, "/a");
        queue.push(only.clone(), now + SECOND);
        assert_eq!(queue.next(now, false), Next::At(now + SECOND));
        queue.hurry(now);
        assert_eq!(id(queue.next(now, false)), only.id);
    }
}
