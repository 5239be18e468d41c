//! Streams of frames that each begin with a header which tells their length: MPEG audio and ADTS.
//!
//! Contract: out of step, a frame is believed only when a second header of the same kind follows it; in step,
//! a frame is passed on as soon as its last byte is here.

use std::fmt::Debug;

use crate::{
    StreamFacts, Unit,
    batch::Batch,
    buffer::Buffer,
    id3::{self, Tag},
    playtime::PlayTime,
};

/// A frame's header.
pub(crate) trait FrameHeader: Copy + Debug {
    /// Bytes that [`FrameHeader::parse`] needs.
    const LEN: usize;

    /// Reads the header at the start of `bytes`, at least [`FrameHeader::LEN`] of them; it begins with 0xFF.
    fn parse(bytes: &[u8]) -> Option<Self>;

    /// Length of the whole frame, more than [`FrameHeader::LEN`] or equal.
    fn frame_len(&self) -> usize;

    /// Samples per channel in the frame.
    fn samples(&self) -> u32;

    /// What the header tells of the codec.
    fn facts(&self) -> StreamFacts;

    /// Whether both can be headers of one stream.
    fn same_stream(&self, other: &Self) -> bool;
}

/// Cuts a stream at its frame headers.
#[derive(Debug)]
pub(crate) struct FrameScan<H> {
    buffer: Buffer,
    batch: Batch,
    time: PlayTime,
    /// The frame before, while in step.
    lock: Option<H>,
    /// Nothing was thrown away since the last frame, so a tag may begin here. Elsewhere "ID3" is noise.
    boundary: bool,
    /// Bytes of a tag that are still to come.
    tag_left: usize,
    facts: Option<StreamFacts>,
    bad_bytes: u64,
    resyncs: u64,
}

impl<H: FrameHeader> FrameScan<H> {
    pub(crate) fn new() -> Self {
        Self {
            buffer: Buffer::default(),
            batch: Batch::default(),
            time: PlayTime::default(),
            lock: None,
            boundary: true,
            tag_left: 0,
            facts: None,
            bad_bytes: 0,
            resyncs: 0,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<Unit>) {
        self.buffer.extend(bytes);
        while self.step(false, out) {}
        self.batch.flush(out);
    }

    pub(crate) fn finish(&mut self, out: &mut Vec<Unit>) {
        while self.step(true, out) {}
        self.batch.flush(out);
        self.drop_bytes(self.buffer.len());
    }

    pub(crate) fn bad_bytes(&self) -> u64 {
        self.bad_bytes
    }

    pub(crate) fn resyncs(&self) -> u64 {
        self.resyncs
    }

    /// Goes on by one frame, tag or piece of noise. False: that needs more bytes.
    fn step(&mut self, ended: bool, out: &mut Vec<Unit>) -> bool {
        let rest = self.buffer.rest();
        if self.tag_left > 0 {
            let skipped = self.tag_left.min(rest.len());
            self.tag_left -= skipped;
            self.buffer.consume(skipped);
            return skipped > 0;
        }
        if self.boundary {
            match id3::tag(rest) {
                Tag::Bytes(bytes) => {
                    self.tag_left = bytes;
                    // Another file may follow; its first frame is confirmed like that of a new stream.
                    self.lock = None;
                    return true;
                }
                Tag::NeedMore if !ended => return false,
                _ => {}
            }
        }
        if rest.len() < H::LEN {
            return false;
        }
        let header = H::parse(rest);
        if let Some(lock) = self.lock {
            return match header.filter(|header| header.same_stream(&lock)) {
                Some(header) if rest.len() < header.frame_len() => false,
                Some(header) => {
                    self.accept(header, out);
                    true
                }
                None => {
                    self.lock = None;
                    self.resyncs += 1;
                    true
                }
            };
        }
        let Some(header) = header else {
            let noise = memchr::memchr(0xFF, &rest[1..]).map_or(rest.len(), |at| at + 1);
            self.drop_bytes(noise);
            return true;
        };
        let frame_len = header.frame_len();
        let confirmed = match rest.get(frame_len..frame_len + H::LEN) {
            Some(next) => H::parse(next).is_some_and(|next| next.same_stream(&header)),
            None if !ended => return false,
            // Nothing can confirm the last frame of a stream.
            None => rest.len() >= frame_len,
        };
        if confirmed {
            self.accept(header, out);
        } else {
            self.drop_bytes(1);
        }
        true
    }

    fn accept(&mut self, header: H, out: &mut Vec<Unit>) {
        let facts = header.facts();
        let changed = self.facts.as_ref().is_none_or(|known| {
            (known.codec, known.sample_rate, known.channels)
                != (facts.codec, facts.sample_rate, facts.channels)
        });
        let rate = facts.sample_rate.unwrap_or(0);
        if changed {
            self.batch.flush(out);
            out.push(Unit::Facts(facts.clone()));
            self.facts = Some(facts);
        }
        let duration = self.time.of(header.samples(), rate);
        let frame_len = header.frame_len();
        self.batch
            .add(&self.buffer.rest()[..frame_len], true, duration, out);
        self.buffer.consume(frame_len);
        self.lock = Some(header);
        self.boundary = true;
    }

    fn drop_bytes(&mut self, count: usize) {
        self.buffer.consume(count);
        self.bad_bytes += count as u64;
        self.boundary &= count == 0;
    }
}
