//! Where readers are and where they may start.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crate::{Chunk, Ring};

/// A tail older than this is not replayed: it would be yesterday's news before the live edge.
const STALE: Duration = Duration::from_secs(2);

impl Ring {
    /// Sequence number of the next chunk to come: the live edge.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::SeqCst)
    }

    /// Sequence number of the oldest chunk that may be read.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.oldest.load(Ordering::Acquire).max(self.floor())
    }

    /// Readers before this sequence number belong to an earlier run and jump here.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor.load(Ordering::SeqCst)
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// The chunk with this number, or nothing when it is gone or still to come.
    #[must_use]
    pub fn get(&self, seq: u64) -> Option<Arc<Chunk>> {
        let chunk = self.slot(seq).load_full()?;
        (chunk.seq == seq).then_some(chunk)
    }

    /// The newest chunk.
    #[must_use]
    pub fn newest(&self) -> Option<Arc<Chunk>> {
        self.head().checked_sub(1).and_then(|seq| self.get(seq))
    }

    /// Where a new listener starts: the sync point at or after `burst` bytes before the live edge; the live
    /// edge itself when the tail is stale or nothing can be started at. With a burst of 0 it is the newest
    /// sync point. What came before the newest stream header is another stream and not part of the burst.
    #[must_use]
    pub fn join(&self, burst: u64, now: Instant) -> u64 {
        let head = self.head();
        let Some(newest) = self.newest() else { return head };
        if now.saturating_duration_since(newest.at) > STALE {
            return head;
        }
        if burst == 0 {
            return self.last_sync(head).unwrap_or(head);
        }
        let start = self.seq_at(newest.end().saturating_sub(burst), head);
        let start = start.max(self.newest_header.load(Ordering::SeqCst));
        self.sync_from(start, head).unwrap_or(head)
    }

    /// Where a reader that fell out of the window goes on: the first sync point in the newer half of what is
    /// held. Going on at the very oldest would only be overtaken again by the next chunk.
    #[must_use]
    pub fn rejoin(&self) -> u64 {
        let head = self.head();
        let oldest = self.oldest();
        let Some(first) = self.get(oldest) else {
            return head;
        };
        let middle = first.start + (self.written() - first.start) / 2;
        self.sync_from(self.seq_at(middle, head), head).unwrap_or(head)
    }

    /// The first sync point from `seq` on that is already there.
    #[must_use]
    pub fn sync_from(&self, seq: u64, head: u64) -> Option<u64> {
        (seq.max(self.oldest())..head).find(|&seq| self.get(seq).is_some_and(|chunk| chunk.sync))
    }

    fn last_sync(&self, head: u64) -> Option<u64> {
        (self.oldest()..head)
            .rev()
            .find(|&seq| self.get(seq).is_some_and(|chunk| chunk.sync))
    }

    /// Number of the first chunk that starts at or after this offset (the oldest if it is already gone).
    fn seq_at(&self, offset: u64, head: u64) -> u64 {
        let (mut low, mut high) = (self.oldest(), head);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle) {
                Some(chunk) if chunk.start >= offset => high = middle,
                // A chunk that is gone was older than what is wanted.
                _ => low = middle + 1,
            }
        }
        low
    }

    /// How long ago the newest chunk came, or nothing if none has come yet.
    #[must_use]
    pub fn silence(&self, now: Instant) -> Option<Duration> {
        self.newest().map(|chunk| now.saturating_duration_since(chunk.at))
    }

    /// Bytes and time now held, for diagnostics.
    #[must_use]
    pub fn occupancy(&self) -> (u64, Duration) {
        match (self.get(self.oldest()), self.newest()) {
            (Some(first), Some(last)) => (
                last.end() - first.start,
                last.at.saturating_duration_since(first.at),
            ),
            _ => (0, Duration::ZERO),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use bytes::Bytes;

    use super::*;
    use crate::{Bell, Entry, Limits, Preamble, Rung};

    fn filled(chunks: usize, size: usize, now: Instant) -> (crate::Writer, Arc<Ring>) {
        let (mut writer, ring) = Ring::new(Limits::for_burst(0));
        for n in 0..chunks {
            writer.push(Entry::frames(Bytes::from(vec![n as u8; size]), n % 4 == 0), now);
        }
        (writer, ring)
    }

    #[test]
    fn a_listener_starts_at_the_sync_point_at_or_after_the_burst() {
        let now = Instant::now();
        let (_writer, ring) = filled(100, 1_000, now);
        // 10,000 bytes before the edge is chunk 90; the next sync point is 92.
        assert_eq!(ring.join(10_000, now), 92);
        assert_eq!(ring.join(1 << 40, now), 0);
        assert_eq!(ring.join(0, now), 96);
        assert_eq!(
            ring.join(10_000, now + Duration::from_secs(3)),
            100,
            "a stale tail is not replayed"
        );
    }

    #[test]
    fn the_window_is_bounded_in_bytes_and_chunks() {
        let now = Instant::now();
        let (_writer, ring) = filled(2_000, 1_000, now);
        assert!(ring.occupancy().0 <= Limits::LEAST);
        assert!(ring.occupancy().0 > Limits::LEAST - 2_000);
        assert!(ring.get(0).is_none());
        let (_writer, ring) = filled(50_000, 1, now);
        assert!(ring.head() - ring.oldest() <= 4_096);
    }

    #[test]
    fn one_chunk_bigger_than_the_ring_is_still_delivered() {
        let now = Instant::now();
        let (mut writer, ring) = filled(3, 1_000, now);
        writer.push(Entry::frames(Bytes::from(vec![0; 600_000]), true), now);
        assert_eq!(ring.oldest(), 3);
        assert_eq!(ring.get(3).map(|c| c.len()), Some(600_000));
    }

    #[test]
    fn a_header_is_sent_in_place_and_hangs_on_what_follows() {
        let now = Instant::now();
        let (mut writer, ring) = Ring::new(Limits::for_burst(0));
        writer.push_header(
            Preamble {
                bytes: "head".into(),
                chains: true,
            },
            now,
        );
        writer.push(Entry::frames("a".into(), true), now);
        let header = ring.get(0).expect("just written");
        let frames = ring.get(1).expect("just written");
        assert!(header.header && !frames.header);
        assert_eq!(frames.preamble.as_ref().map(|p| &p.bytes[..]), Some(&b"head"[..]));
        assert!(Arc::ptr_eq(
            header.preamble.as_ref().unwrap(),
            frames.preamble.as_ref().unwrap()
        ));
    }

    #[test]
    fn a_burst_does_not_reach_into_the_stream_before() {
        let now = Instant::now();
        let (mut writer, ring) = Ring::new(Limits::for_burst(0));
        for text in ["one", "two"] {
            writer.push_header(
                Preamble {
                    bytes: text.into(),
                    chains: true,
                },
                now,
            );
            writer.push(Entry::frames("frame".into(), true), now);
        }
        assert_eq!(ring.join(65_536, now), 2);
    }

    #[test]
    fn a_new_run_hides_what_came_before() {
        let now = Instant::now();
        let (mut writer, ring) = filled(10, 100, now);
        writer.begin_run();
        assert_eq!(
            (ring.oldest(), ring.floor(), ring.join(65_536, now)),
            (10, 10, 10)
        );
        writer.push(Entry::frames("new".into(), true), now);
        assert_eq!(ring.join(65_536, now), 10);
    }

    #[test]
    fn an_armed_bell_rings_once() {
        struct Count(AtomicU64);
        impl Rung for Count {
            fn rung(&self, token: u64) {
                self.0.fetch_add(token, Ordering::SeqCst);
            }
        }
        let now = Instant::now();
        let (mut writer, ring) = filled(0, 0, now);
        let count = Arc::new(Count(AtomicU64::new(0)));
        let bell = Bell::new(count.clone(), 7);
        ring.attach(&bell);
        writer.push(Entry::frames("a".into(), true), now);
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        bell.arm();
        writer.push(Entry::frames("b".into(), true), now);
        writer.push(Entry::frames("c".into(), true), now);
        assert_eq!(count.0.load(Ordering::SeqCst), 7);
        bell.arm();
        ring.close();
        assert_eq!(count.0.load(Ordering::SeqCst), 14);
        ring.detach(&bell);
        bell.arm();
        writer.push(Entry::frames("d".into(), true), now);
        assert_eq!(count.0.load(Ordering::SeqCst), 14);
    }

    #[test]
    fn readers_in_other_threads_see_whole_chunks_in_order() {
        let (mut writer, ring) = Ring::new(Limits::for_burst(0));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let ring = Arc::clone(&ring);
                std::thread::spawn(move || {
                    let (mut seq, mut seen, mut jumps) = (0, 0_u64, 0_u64);
                    while seq < 200_000 {
                        match ring.get(seq) {
                            Some(chunk) => {
                                assert_eq!(chunk.bytes, Bytes::copy_from_slice(&seq.to_le_bytes()));
                                seq += 1;
                                seen += 1;
                            }
                            None if seq < ring.oldest() => {
                                seq = ring.rejoin();
                                jumps += 1;
                            }
                            None => std::thread::yield_now(),
                        }
                    }
                    (seen, jumps)
                })
            })
            .collect();
        for n in 0..200_000_u64 {
            writer.push(
                Entry::frames(Bytes::copy_from_slice(&n.to_le_bytes()), true),
                Instant::now(),
            );
        }
        for reader in readers {
            assert!(reader.join().expect("no reader panicked").0 > 0);
        }
    }
}
