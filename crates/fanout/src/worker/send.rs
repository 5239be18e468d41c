//! Getting bytes out: the flush of a batch to everyone who keeps up, and the pump for everyone else.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use super::{FeedMembers, Worker};
use crate::{
    Leave,
    meter::Tally,
    position::{Jump, Window},
};

/// Bytes composed for one write of a listener that is behind.
const WRITE_UNIT: usize = 64 << 10;

/// Writes in a row to one listener that is behind, before others get their turn.
const WRITES_AT_ONCE: usize = 8;

/// Jumps without a whole write in between, after which a listener is given up.
const JUMPS: u8 = 5;

enum Sent {
    /// Everything due went out.
    Whole,
    /// The socket took no more.
    Blocked,
    /// There is more to send.
    More,
    Gone(Leave),
}

impl Worker {
    /// Sends the news of one feed to all its listeners. False when there was none.
    pub(super) fn flush(&mut self, id: u64, now: Instant) -> bool {
        // Taken out for the time of the flush, so that listeners can be changed while the batch is read.
        let Some(mut members) = self.feeds.remove(&id) else {
            return false;
        };
        members.bell.arm();
        members.gather();
        let news = !members.batch.is_empty();
        let keys = std::mem::take(&mut members.keys);
        let mut gone = Vec::new();
        if news {
            let mut tally = Tally::default();
            let picked_up = Instant::now();
            for &key in &keys {
                match self.flush_listener(key, &members, now, &mut tally) {
                    Sent::Gone(leave) => gone.push((key, leave)),
                    Sent::Whole | Sent::Blocked | Sent::More => {}
                }
            }
            let counters = &members.feed.counters;
            counters.bytes_out.fetch_add(tally.bytes, Ordering::Relaxed);
            self.inbox
                .meter
                .count_flush(&counters.delays, &members.batch, picked_up, tally.live);
            members.edge = members.batch.last().map_or(members.edge, |chunk| chunk.seq + 1);
            members.batch.clear();
        }
        members.keys = keys;
        self.feeds.insert(id, members);
        for (key, leave) in gone {
            self.remove(key, leave);
        }
        news
    }

    fn flush_listener(&mut self, key: usize, members: &FeedMembers, now: Instant, tally: &mut Tally) -> Sent {
        let Some(listener) = self.listeners.get_mut(key) else {
            return Sent::Whole;
        };
        if listener.blocked_since.is_some() {
            return Sent::Blocked;
        }
        let batch = members.bytes();
        let preamble = members.batch.last().and_then(|chunk| chunk.preamble.as_ref());
        if !members.is_plain()
            || !listener
                .position
                .takes_plainly(members.edge, batch.len(), preamble)
        {
            let live = listener.position.seq >= members.edge;
            let sent = self.pump_listener(key, members, now, &mut tally.bytes);
            tally.live += u64::from(live && matches!(sent, Sent::Whole));
            return sent;
        }
        match listener.wire.send(batch) {
            Ok(taken) => {
                listener.position.take_plainly(&members.batch, taken);
                listener.sent += taken as u64;
                listener.last_write = now;
                tally.bytes += taken as u64;
                if taken == batch.len() && !listener.wire.owes() {
                    listener.jumps = 0;
                    tally.live += 1;
                    Sent::Whole
                } else {
                    listener.blocked_since = Some(now);
                    Sent::Blocked
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                listener.blocked_since = Some(now);
                Sent::Blocked
            }
            Err(_) => Sent::Gone(Leave::Client),
        }
    }

    /// Sends one listener everything that it is due, as far as its socket takes it.
    pub(super) fn pump(&mut self, key: usize, now: Instant) {
        let Some(id) = self.listeners.get(key).and_then(|listener| listener.feed) else {
            return;
        };
        let Some(members) = self.feeds.remove(&id) else {
            return;
        };
        let mut bytes_out = 0;
        let sent = self.pump_listener(key, &members, now, &mut bytes_out);
        members
            .feed
            .counters
            .bytes_out
            .fetch_add(bytes_out, Ordering::Relaxed);
        self.feeds.insert(id, members);
        if let Sent::Gone(leave) = sent {
            self.remove(key, leave);
        }
    }

    fn pump_listener(&mut self, key: usize, members: &FeedMembers, now: Instant, out: &mut u64) -> Sent {
        let Some(listener) = self.listeners.get_mut(key) else {
            return Sent::Whole;
        };
        if listener.blocked_since.is_some() {
            return Sent::Blocked;
        }
        match listener.wire.flush() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                listener.blocked_since = Some(now);
                return Sent::Blocked;
            }
            Err(_) => return Sent::Gone(Leave::Client),
        }
        let feed = &members.feed;
        for _ in 0..WRITES_AT_ONCE {
            let Jump { dropped } = listener.position.settle(&feed.ring);
            if let Some(bytes) = dropped {
                feed.counters.dropped.fetch_add(bytes, Ordering::Relaxed);
                feed.counters.slow.fetch_add(1, Ordering::Relaxed);
                listener.jumps += 1;
                if listener.jumps >= JUMPS {
                    return Sent::Gone(Leave::Slow);
                }
            }
            self.scratch.clear();
            self.fetched.clear();
            let mut window = Window {
                ring: &feed.ring,
                batch: &members.batch,
                fetched: &mut self.fetched,
            };
            let before = listener.position.clone();
            listener
                .position
                .compose(&mut window, WRITE_UNIT, &mut self.scratch);
            if self.scratch.is_empty() {
                listener.bursting = false;
                return match listener.closing {
                    Some((leave, _)) => Sent::Gone(leave),
                    None => Sent::Whole,
                };
            }
            let due = self.scratch.len();
            let taken = match listener.wire.send(&self.scratch) {
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(_) => return Sent::Gone(Leave::Client),
            };
            if taken > 0 {
                if listener.sent == 0 {
                    let waited = listener.presence.since.elapsed();
                    self.inbox.meter.first_byte.observe_duration(waited);
                }
                if listener.bursting {
                    self.inbox.meter.burst_bytes.add(taken as u64);
                }
                listener.sent += taken as u64;
                listener.last_write = now;
                *out += taken as u64;
            }
            if taken < due {
                listener.position = before;
                if taken > 0 {
                    listener.position.consume(&mut window, taken, &mut self.scratch);
                }
            }
            if taken < due || listener.wire.owes() {
                listener.blocked_since = Some(now);
                return Sent::Blocked;
            }
            listener.jumps = 0;
        }
        self.unfinished.push(key);
        Sent::More
    }
}

impl FeedMembers {
    /// Collects the chunks from the edge to the head.
    fn gather(&mut self) {
        let ring = &self.feed.ring;
        self.batch.clear();
        if self.edge < ring.oldest() {
            // The whole window passed between two flushes; everybody is behind and is pumped.
            self.edge = ring.oldest();
        }
        let head = ring.head();
        for seq in self.edge..head {
            let Some(chunk) = ring.get(seq) else {
                self.batch.clear();
                self.edge = seq + 1;
                continue;
            };
            self.batch.push(chunk);
        }
        self.joined.clear();
        if self.batch.len() > 1 {
            for chunk in &self.batch {
                self.joined.extend_from_slice(&chunk.bytes);
            }
        }
    }

    /// The batch in one piece.
    fn bytes(&self) -> &[u8] {
        match self.batch.as_slice() {
            [] => &[],
            [one] => &one.bytes,
            _ => &self.joined,
        }
    }

    /// Whether the batch can go out as it is: no header inside, and one header in force for all of it.
    fn is_plain(&self) -> bool {
        let Some(first) = self.batch.first() else {
            return false;
        };
        let same = |chunk: &Arc<ring::Chunk>| match (&chunk.preamble, &first.preamble) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        self.batch.iter().all(|chunk| !chunk.header && same(chunk))
    }
}
