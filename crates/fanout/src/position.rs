//! Where a listener is in a ring, and which bytes come next on its connection.
//!
//! Contract: output is a function of the position and the ring alone. Nothing is composed twice differently:
//! what a socket took is consumed exactly, and a unit (a chunk with what must stand before it) that has been
//! begun is finished before anything else, so jumps and moves happen only between whole frames.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use media::{icy::INTERVAL, ogg::Rewriter};
use ring::{Chunk, Mark, Preamble, Ring};

/// How a connection's bytes differ from the ring's.
#[derive(Debug, Clone)]
pub enum Interleave {
    /// They do not.
    Plain,
    /// A metadata block follows each [`INTERVAL`] bytes of audio, counted over the whole connection.
    Icy {
        /// Audio bytes until the next block.
        left: usize,
        /// Revision of the title last sent, if any was.
        sent: Option<u64>,
    },
    /// Ogg pages get this listener's own serials, sequence and time origin.
    Ogg(Box<Rewriter>),
}

impl Interleave {
    /// In-band titles from the first interval on.
    #[must_use]
    pub fn icy() -> Self {
        Self::Icy {
            left: INTERVAL,
            sent: None,
        }
    }

    /// A listener's own Ogg stream.
    #[must_use]
    pub fn ogg(seed: u32) -> Self {
        Self::Ogg(Box::new(Rewriter::new(seed)))
    }

    /// Appends to `out` what the connection gets for these bytes of the ring, `mark` being the title in force.
    ///
    /// `bytes` are the next of the stream, without gaps or repetitions within a unit: what is counted goes on
    /// from call to call. For [`Interleave::Ogg`] they are whole pages, a header's first.
    pub fn write(&mut self, bytes: &[u8], mark: &Mark, out: &mut Vec<u8>) {
        match self {
            Self::Plain => out.extend_from_slice(bytes),
            Self::Ogg(rewriter) => rewriter.rewrite(bytes, out),
            Self::Icy { left, sent } => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(rest.len().min(*left));
                    out.extend_from_slice(now);
                    rest = later;
                    *left -= now.len();
                    if *left == 0 {
                        *left = INTERVAL;
                        if *sent == Some(mark.revision) {
                            out.push(0);
                        } else {
                            out.extend_from_slice(&mark.block);
                            *sent = Some(mark.revision);
                        }
                    }
                }
            }
        }
    }
}

/// A listener's place.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    /// The next chunk to begin.
    pub(crate) seq: u64,
    /// Ring offset at which that chunk starts; what a jump is measured from.
    offset: u64,
    /// Bytes that go first: the response head, or the rest of a unit that the socket did not take.
    pending: Bytes,
    /// The stream header that this connection's decoder has.
    preamble: Option<Arc<Preamble>>,
    interleave: Interleave,
    /// Chunks are passed over until one can be started at.
    seeks_sync: bool,
    /// Whether any media has been composed for this connection.
    started: bool,
}

/// Bytes that were passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Jump {
    /// The listener fell out of the window and missed this many bytes.
    pub(crate) dropped: Option<u64>,
}

/// Where chunks are looked up: what the present flush already holds, then the ring.
pub(crate) struct Window<'a> {
    pub(crate) ring: &'a Ring,
    /// Consecutive chunks of the present flush.
    pub(crate) batch: &'a [Arc<Chunk>],
    /// Older chunks fetched for one listener, kept so that composing twice gives the same bytes.
    pub(crate) fetched: &'a mut Vec<Arc<Chunk>>,
}

impl Window<'_> {
    fn get(&mut self, seq: u64) -> Option<Arc<Chunk>> {
        for held in [self.batch, self.fetched] {
            let first = held.first().map_or(u64::MAX, |chunk| chunk.seq);
            if let Some(place) = seq.checked_sub(first)
                && let Some(chunk) = held.get(usize::try_from(place).unwrap_or(usize::MAX))
            {
                return Some(Arc::clone(chunk));
            }
        }
        let chunk = self.ring.get(seq)?;
        if self.fetched.last().is_some_and(|last| last.seq + 1 != seq) {
            self.fetched.clear();
        }
        self.fetched.push(Arc::clone(&chunk));
        Some(chunk)
    }
}

impl Position {
    /// A new connection: `head` first, then the stream from chunk `seq` on.
    pub(crate) fn new(head: Bytes, ring: &Ring, seq: u64, interleave: Interleave) -> Self {
        let mut position = Self {
            seq: 0,
            offset: 0,
            pending: head,
            preamble: None,
            interleave,
            seeks_sync: true,
            started: false,
        };
        position.go_to(ring, seq);
        position
    }

    /// Goes on elsewhere, once what has been begun is finished.
    pub(crate) fn go_to(&mut self, ring: &Ring, seq: u64) {
        self.seq = seq;
        self.offset = ring.get(seq).map_or_else(|| ring.written(), |chunk| chunk.start);
        self.seeks_sync = true;
    }

    /// Makes the position one that the ring can serve: jumps if it fell out of the window, passes over chunks
    /// that cannot be started at.
    pub(crate) fn settle(&mut self, ring: &Ring) -> Jump {
        let mut jump = Jump::default();
        if self.seq < ring.floor() {
            // A new run began; what was before it is not missed, it must not be heard.
            self.go_to(ring, ring.floor());
        } else if self.seq < ring.oldest() {
            let from = self.offset;
            self.go_to(ring, ring.rejoin());
            jump.dropped = Some(self.offset.saturating_sub(from));
        }
        while self.seeks_sync {
            let Some(chunk) = ring.get(self.seq) else { break };
            if chunk.sync {
                self.seeks_sync = false;
            } else {
                self.seq += 1;
                self.offset = chunk.end();
            }
        }
        jump
    }

    /// Appends what is due, in whole units, until `limit` is passed or the edge is reached. Call
    /// [`Position::settle`] first.
    pub(crate) fn compose(&mut self, window: &mut Window<'_>, limit: usize, out: &mut Vec<u8>) {
        while out.len() < limit && self.compose_unit(window, out) {}
    }

    /// Composes again from an earlier clone of this position up to what the socket took; the rest of the unit
    /// in which it stopped becomes pending.
    pub(crate) fn consume(&mut self, window: &mut Window<'_>, taken: usize, scratch: &mut Vec<u8>) {
        scratch.clear();
        while scratch.len() < taken {
            if !self.compose_unit(window, scratch) {
                return;
            }
        }
        self.pending = Bytes::copy_from_slice(&scratch[taken..]);
    }

    fn compose_unit(&mut self, window: &mut Window<'_>, out: &mut Vec<u8>) -> bool {
        if !self.pending.is_empty() {
            out.extend_from_slice(&self.pending);
            self.pending = Bytes::new();
            return true;
        }
        if self.seeks_sync {
            return false;
        }
        let Some(chunk) = window.get(self.seq) else {
            return false;
        };
        self.seq += 1;
        self.offset = chunk.end();
        let begins = !self.started;
        self.started = true;
        if let Some(preamble) = &chunk.preamble
            && !self
                .preamble
                .as_ref()
                .is_some_and(|known| Arc::ptr_eq(known, preamble))
        {
            self.preamble = Some(Arc::clone(preamble));
            // A header that does not chain would be garbage in the middle of a stream.
            if begins || preamble.chains {
                self.interleave.write(&preamble.bytes, &chunk.mark, out);
            }
        }
        // A header chunk has just been written (or passed over) as the preamble that it is.
        if !chunk.header {
            self.interleave.write(&chunk.bytes, &chunk.mark, out);
        }
        true
    }

    /// Whether a whole batch can be sent to this listener as it is: it stands at `edge`, and nothing has to be
    /// inserted into the next `len` bytes.
    pub(crate) fn takes_plainly(&self, edge: u64, len: usize, preamble: Option<&Arc<Preamble>>) -> bool {
        let unchanged = match (&self.preamble, preamble) {
            (_, None) => true,
            (Some(known), Some(new)) => Arc::ptr_eq(known, new),
            (None, Some(_)) => false,
        };
        let undisturbed = match &self.interleave {
            Interleave::Plain => true,
            Interleave::Icy { left, .. } => *left > len,
            Interleave::Ogg(_) => false,
        };
        self.seq == edge
            && self.started
            && !self.seeks_sync
            && self.pending.is_empty()
            && unchanged
            && undisturbed
    }

    /// The socket took `taken` bytes of a batch for which [`Position::takes_plainly`] held. `batch` is not
    /// empty.
    pub(crate) fn take_plainly(&mut self, batch: &[Arc<Chunk>], taken: usize) {
        let mut rest = taken;
        let mut composed = 0;
        for chunk in batch {
            if rest == 0 {
                break;
            }
            self.seq = chunk.seq + 1;
            self.offset = chunk.end();
            composed += chunk.bytes.len();
            if rest < chunk.bytes.len() {
                let mut pending = chunk.bytes.clone();
                pending.advance(rest);
                self.pending = pending;
                break;
            }
            rest -= chunk.bytes.len();
        }
        if let Interleave::Icy { left, .. } = &mut self.interleave {
            *left -= composed;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use media::icy;
    use ring::{Entry, Limits, Writer};

    use super::*;

    fn marked(writer: &mut Writer, revision: u64, title: &str) {
        writer.set_mark(Arc::new(Mark {
            revision,
            block: icy::block(title, None),
        }));
    }

    /// Sends everything due with a socket that takes `step` bytes at a time.
    fn deliver(position: &mut Position, ring: &Ring, step: usize) -> Vec<u8> {
        let (mut got, mut scratch) = (Vec::new(), Vec::new());
        loop {
            position.settle(ring);
            let before = position.clone();
            scratch.clear();
            let mut fetched = Vec::new();
            let mut window = Window {
                ring,
                batch: &[],
                fetched: &mut fetched,
            };
            position.compose(&mut window, 10_000, &mut scratch);
            if scratch.is_empty() {
                return got;
            }
            let taken = scratch.len().min(step);
            got.extend_from_slice(&scratch[..taken]);
            if taken < scratch.len() {
                *position = before;
                position.consume(&mut window, taken, &mut scratch);
            }
        }
    }

    /// Splits an interleaved stream into audio and blocks by counting, as a player does.
    fn player(mut bytes: &[u8]) -> (Vec<u8>, Vec<String>) {
        let (mut audio, mut titles) = (Vec::new(), Vec::new());
        while bytes.len() > INTERVAL {
            audio.extend_from_slice(&bytes[..INTERVAL]);
            let len = usize::from(bytes[INTERVAL]) * 16;
            let text = &bytes[INTERVAL + 1..INTERVAL + 1 + len];
            if len > 0 {
                titles.push(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
            }
            bytes = &bytes[INTERVAL + 1 + len..];
        }
        audio.extend_from_slice(bytes);
        (audio, titles)
    }

    #[test]
    fn titles_stand_where_they_were_set_and_audio_is_intact_however_the_socket_splits() {
        let now = Instant::now();
        let (mut writer, ring) = Ring::new(Limits::for_burst(1 << 20));
        let mut sent = Vec::new();
        for n in 0..400_u32 {
            marked(&mut writer, u64::from(n / 100), &format!("title {}", n / 100));
            let frame: Vec<u8> = (0..417)
                .map(|i| (n.wrapping_mul(31).wrapping_add(i)) as u8)
                .collect();
            sent.extend_from_slice(&frame);
            writer.push(Entry::frames(frame.into(), true), now);
        }
        for step in [1, 7, 4_096, usize::MAX] {
            let mut position = Position::new("HEAD".into(), &ring, 0, Interleave::icy());
            let got = deliver(&mut position, &ring, step);
            let (audio, titles) = player(&got[4..]);
            assert_eq!(audio, sent, "step {step}");
            let expected: Vec<_> = (0..4).map(|n| format!("StreamTitle='title {n}';")).collect();
            assert_eq!(titles, expected, "step {step}");
        }
    }

    #[test]
    fn a_late_joiner_gets_the_header_in_force_first_and_later_headers_in_place() {
        let now = Instant::now();
        let header = |text: &'static str, chains| Preamble {
            bytes: text.into(),
            chains,
        };
        let frames = |text: &'static str| Entry::frames(text.into(), true);
        for (chains, expected) in [(true, "H1.b.H2.c"), (false, "H1.b.c")] {
            let (mut writer, ring) = Ring::new(Limits::for_burst(0));
            writer.push_header(header("H1.", chains), now);
            writer.push(frames("a."), now);
            writer.push(frames("b."), now);
            writer.push_header(header("H2.", chains), now);
            writer.push(frames("c"), now);
            let mut position = Position::new(Bytes::new(), &ring, 2, Interleave::Plain);
            assert_eq!(deliver(&mut position, &ring, 1), expected.as_bytes());
        }
    }

    #[test]
    fn falling_out_of_the_window_drops_exactly_what_was_jumped_over() {
        let now = Instant::now();
        let (mut writer, ring) = Ring::new(Limits::for_burst(0));
        let mut position = Position::new(Bytes::new(), &ring, 0, Interleave::Plain);
        writer.push(Entry::frames(Bytes::from(vec![1; 1_000]), true), now);
        // The socket takes half of the first frame, then nothing for longer than the ring.
        let mut fetched = Vec::new();
        let mut window = Window {
            ring: &ring,
            batch: &[],
            fetched: &mut fetched,
        };
        position.settle(&ring);
        position.consume(&mut window, 500, &mut Vec::new());
        for _ in 0..1_000 {
            writer.push(Entry::frames(Bytes::from(vec![2; 1_000]), true), now);
        }
        let jump = position.settle(&ring);
        let next = ring.get(position.seq).expect("within the window");
        assert_eq!(
            jump.dropped,
            Some(next.start - 1_000),
            "the frame that was begun is not counted"
        );
        let got = deliver(&mut position, &ring, usize::MAX);
        assert_eq!(&got[..500], &[1; 500], "what was begun is finished first");
        assert_eq!(got.len() as u64, 500 + ring.written() - next.start);
    }

    #[test]
    fn the_block_count_goes_on_over_jumps_and_moves() {
        let now = Instant::now();
        let (mut writer, ring) = Ring::new(Limits::for_burst(0));
        marked(&mut writer, 1, "one");
        writer.push(Entry::frames(Bytes::from(vec![1; 10_000]), true), now);
        let mut position = Position::new(Bytes::new(), &ring, 0, Interleave::icy());
        let mut got = deliver(&mut position, &ring, 333);
        let (mut other_writer, other) = Ring::new(Limits::for_burst(0));
        marked(&mut other_writer, 2, "two");
        other_writer.push(Entry::frames(Bytes::from(vec![2; 10_000]), true), now);
        position.go_to(&other, other.join(65_536, now));
        got.extend(deliver(&mut position, &other, 333));
        let (audio, titles) = player(&got);
        assert_eq!(audio.len(), 20_000);
        assert_eq!(titles, ["StreamTitle='two';"]);
    }

    #[test]
    fn nothing_before_a_new_run_is_heard() {
        let now = Instant::now();
        let (mut writer, ring) = Ring::new(Limits::for_burst(0));
        writer.push(Entry::frames("old".into(), true), now);
        let mut position = Position::new(Bytes::new(), &ring, 0, Interleave::Plain);
        writer.begin_run();
        writer.push(Entry::frames("middle".into(), false), now);
        writer.push(Entry::frames("new".into(), true), now);
        assert_eq!(position.settle(&ring), Jump::default());
        assert_eq!(deliver(&mut position, &ring, usize::MAX), b"new");
    }

    #[test]
    fn a_batch_taken_in_part_leaves_the_rest_of_the_frame_pending() {
        let now = Instant::now();
        let (mut writer, ring) = Ring::new(Limits::for_burst(0));
        writer.push(Entry::frames("first.".into(), true), now);
        let mut position = Position::new(Bytes::new(), &ring, 0, Interleave::icy());
        assert_eq!(deliver(&mut position, &ring, usize::MAX), b"first.");
        for text in ["aaaa", "bbbb", "cccc"] {
            writer.push(Entry::frames(text.into(), true), now);
        }
        let batch: Vec<_> = (1..4).filter_map(|seq| ring.get(seq)).collect();
        assert!(position.takes_plainly(1, 12, None));
        position.take_plainly(&batch, 6);
        assert_eq!(deliver(&mut position, &ring, usize::MAX), b"bbcccc");
        let Interleave::Icy { left, .. } = position.interleave else {
            unreachable!("made with titles")
        };
        assert_eq!(left, INTERVAL - 18);
    }
}
