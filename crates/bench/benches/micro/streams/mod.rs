//! Streams that are valid as far as framing goes; nobody can listen to them.
//!
//! Contract: the same bytes in every run, and every frame, page and block as large as real ones are.

mod checksum;
pub(crate) mod flac;
pub(crate) mod matroska;
pub(crate) mod mpeg;
pub(crate) mod mpegts;
pub(crate) mod ogg;
pub(crate) mod wav;

use std::time::Duration;

use media::{Format, Framer, Unit};

/// What a socket gives at once: the payload of one packet on the way through most networks.
pub(crate) const PIECE: usize = 1448;

/// A stream to be cut.
pub(crate) struct Stream {
    pub(crate) format: Format,
    /// What stands before the first frame; may be empty.
    pub(crate) head: Vec<u8>,
    /// Frames, pages, blocks or packets: what is counted.
    pub(crate) parts: Vec<Vec<u8>>,
    /// The codec that the framer must find.
    pub(crate) codec: Option<&'static str>,
    /// The playing time that it must find, where the format tells it.
    pub(crate) duration: Option<Duration>,
}

impl Stream {
    /// The stream as sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.head.as_slice(), &self.parts.concat()].concat()
    }
}

/// What a framer found in a stream.
pub(crate) struct Findings {
    pub(crate) codec: Option<&'static str>,
    pub(crate) duration: Duration,
}

/// Cuts a stream and panics unless all of it comes out again.
pub(crate) fn understand(format: Format, bytes: &[u8]) -> Findings {
    let mut framer = Framer::new(format);
    let mut units = Vec::new();
    for piece in bytes.chunks(PIECE) {
        framer.push(piece, &mut units);
    }
    framer.finish(&mut units);
    assert_eq!((framer.bad_bytes(), framer.resyncs()), (0, 0), "{format:?}");
    let (mut came_out, mut findings, mut syncs) = (
        Vec::new(),
        Findings {
            codec: None,
            duration: Duration::ZERO,
        },
        0,
    );
    for unit in &units {
        match unit {
            // A transport stream's header is a copy of packets that are in the stream as well.
            Unit::Header(header) if format != Format::MpegTs => came_out.extend_from_slice(&header.bytes),
            Unit::Header(_) | Unit::Title(_) => {}
            Unit::Frames(frames) => {
                came_out.extend_from_slice(&frames.bytes);
                findings.duration += frames.duration;
                syncs += usize::from(frames.sync);
            }
            Unit::Facts(facts) => findings.codec = facts.codec,
        }
    }
    assert!(syncs > 0, "{format:?}: nowhere to start");
    assert!(came_out == bytes, "{format:?}: other bytes came out");
    findings
}

/// Bytes that compress as badly as audio does (xorshift, George Marsaglia 2003).
pub(crate) fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 11) as u8
        })
        .collect()
}

/// Bytes without any structure, in parts of 1 KiB.
pub(crate) fn opaque() -> Stream {
    Stream {
        format: Format::Opaque,
        head: Vec::new(),
        parts: (0..256).map(|n| noise(n, 1024)).collect(),
        codec: None,
        duration: None,
    }
}
