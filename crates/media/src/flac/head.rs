//! The stream's head: `fLaC` and the metadata blocks (RFC 9639 section 8).
//!
//! Contract: what is passed on is a valid head of at most 1 MiB: blocks that do not fit are left out, and the
//! last one that is kept carries the last-block flag.

use super::frame::FrameHead;
use crate::{Header, StreamFacts, TrackTitle, buffer::Buffer, ogg::comments};

/// Longest head that is kept.
const MAX_HEAD: usize = 1 << 20;
/// Pictures, padding and the like may fill so much of it: the rest is for the comment that follows them.
const MAX_EXTRAS: usize = 768 << 10;
const STREAMINFO: u8 = 0;
const VORBIS_COMMENT: u8 = 4;
const FORBIDDEN: u8 = 127;
const STREAMINFO_LEN: usize = 34;
const LAST: u8 = 0x80;

/// Whether `bytes` begins with `fLaC` and the head of a STREAMINFO block; None when more bytes must tell.
pub(super) fn marker(bytes: &[u8]) -> Option<bool> {
    const MARKER: [u8; 8] = [b'f', b'L', b'a', b'C', STREAMINFO, 0, 0, STREAMINFO_LEN as u8];
    for (at, expected) in MARKER.into_iter().enumerate() {
        let flag = if at == 4 { LAST } else { 0 };
        if bytes.get(at)? & !flag != expected {
            return Some(false);
        }
    }
    Some(true)
}

/// The part of STREAMINFO that matters here.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StreamInfo {
    max_block: u16,
    max_frame: u32,
    pub(super) sample_rate: u32,
    channels: u8,
    bits: u8,
}

impl StreamInfo {
    fn read(block: &[u8]) -> Option<Self> {
        let &[
            _,
            _,
            block_a,
            block_b,
            _,
            _,
            _,
            frame_a,
            frame_b,
            frame_c,
            a,
            b,
            c,
            d,
        ] = block.first_chunk()?;
        Some(Self {
            max_block: u16::from_be_bytes([block_a, block_b]),
            max_frame: u32::from_be_bytes([0, frame_a, frame_b, frame_c]),
            sample_rate: u32::from_be_bytes([0, a, b, c]) >> 4,
            channels: (c >> 1 & 7) + 1,
            bits: ((c & 1) << 4 | d >> 4) + 1,
        })
    }

    pub(super) fn facts(&self) -> StreamFacts {
        StreamFacts {
            codec: Some("FLAC"),
            sample_rate: Some(self.sample_rate).filter(|rate| *rate > 0),
            channels: Some(self.channels),
            bitrate: None,
        }
    }

    /// Whether a frame header can belong to this stream.
    pub(super) fn allows(&self, head: &FrameHead) -> bool {
        let rate = head
            .sample_rate
            .is_none_or(|rate| self.sample_rate == 0 || rate == self.sample_rate);
        let size = self.max_block == 0 || head.block_size <= u32::from(self.max_block);
        rate && size && head.channels == self.channels && head.bits.is_none_or(|bits| bits == self.bits)
    }

    /// No frame is longer. A stated maximum that is too small to be of use is not insisted on.
    pub(super) fn max_frame_len(&self) -> usize {
        let stated = self.max_frame as usize;
        let verbatim =
            usize::from(self.max_block) * usize::from(self.channels) * (usize::from(self.bits) + 1) / 8;
        let len = if stated > 0 { stated } else { verbatim + 1024 };
        len.clamp(64 << 10, 1 << 20)
    }
}

/// How far the head is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    NeedMore,
    Done,
    /// This is no head.
    Broken,
}

/// Collects the head.
#[derive(Debug)]
pub(super) struct HeadReader {
    bytes: Vec<u8>,
    /// Bytes of the current block that are still to come, and whether they are kept.
    block_left: usize,
    keep: bool,
    /// The current block is the last one.
    last: bool,
    /// Where the last block that is kept begins.
    last_kept: usize,
    comment_at: Option<usize>,
    taken: u64,
}

impl HeadReader {
    /// A reader for a buffer that begins with the [`marker`].
    pub(super) fn new(buffer: &mut Buffer) -> Self {
        buffer.consume(4);
        Self {
            bytes: b"fLaC".to_vec(),
            block_left: 0,
            keep: false,
            last: false,
            last_kept: 4,
            comment_at: None,
            taken: 4,
        }
    }

    /// Takes what the buffer has of the head.
    pub(super) fn read(&mut self, buffer: &mut Buffer) -> Progress {
        loop {
            let rest = buffer.rest();
            if self.block_left > 0 {
                let len = self.block_left.min(rest.len());
                if len == 0 {
                    return Progress::NeedMore;
                }
                if self.keep {
                    self.bytes.extend_from_slice(&rest[..len]);
                }
                self.block_left -= len;
                self.take(len, buffer);
                continue;
            }
            if self.last {
                self.bytes[self.last_kept] |= LAST;
                return Progress::Done;
            }
            let Some(&[kind, a, b, c]) = rest.first_chunk() else {
                return Progress::NeedMore;
            };
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            if !self.begin_block(kind, len) {
                return Progress::Broken;
            }
            self.take(4, buffer);
        }
    }

    /// Decides on the next block. False: there can be none of this kind here.
    fn begin_block(&mut self, kind: u8, len: usize) -> bool {
        self.last = kind & LAST != 0;
        let kind = kind & !LAST;
        let first = self.bytes.len() == 4;
        if kind == FORBIDDEN || first != (kind == STREAMINFO) || (first && len != STREAMINFO_LEN) {
            return false;
        }
        let limit = if kind == VORBIS_COMMENT {
            MAX_HEAD
        } else {
            MAX_EXTRAS
        };
        self.keep = self.bytes.len() + 4 + len <= limit;
        self.block_left = len;
        if self.keep {
            self.last_kept = self.bytes.len();
            self.bytes.push(kind);
            self.bytes.extend_from_slice(&(len as u32).to_be_bytes()[1..]);
            if kind == VORBIS_COMMENT {
                self.comment_at = Some(self.bytes.len());
            }
        }
        true
    }

    fn take(&mut self, len: usize, buffer: &mut Buffer) {
        buffer.consume(len);
        self.taken += len as u64;
    }

    /// Bytes taken from the buffer so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// What STREAMINFO says, once it is here.
    pub(super) fn info(&self) -> StreamInfo {
        self.bytes.get(8..).and_then(StreamInfo::read).unwrap_or_default()
    }

    /// The complete head and the title in it.
    pub(super) fn into_header(self) -> (Header, Option<TrackTitle>) {
        let title = self
            .comment_at
            .and_then(|at| comments::track_title(&self.bytes[at..]));
        (
            Header {
                bytes: self.bytes.into(),
                chains: false,
            },
            title,
        )
    }
}
