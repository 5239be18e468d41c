//! Each framer on a stream that it understands, in pieces as a socket gives them.
//!
//! A lap is a whole connection: a new framer, the stream's head and its frames. There are enough of them for
//! the head not to matter.

use std::hint::black_box;

use media::Framer;

use super::{Case, Work};
use crate::streams::{self, PIECE, Stream};

pub(super) fn cases() -> Vec<Case> {
    let case = |name, unit, prepare| Case { name, unit, prepare };
    vec![
        case("framer/mpeg", "frame of 417 B", || {
            work(streams::mpeg::layer_three())
        }),
        case("framer/adts", "frame of 300 to 427 B", || {
            work(streams::mpeg::adts())
        }),
        case("framer/ogg-opus", "page of 10 packets", || {
            work(streams::ogg::opus())
        }),
        case("framer/ogg-vorbis", "page of 16 packets", || {
            work(streams::ogg::vorbis())
        }),
        case("framer/flac", "frame of 9 KiB", || work(streams::flac::stream())),
        case("framer/wav", "KiB", || work(streams::wav::stream())),
        case("framer/matroska", "block of 160 B", || {
            work(streams::matroska::audio())
        }),
        case("framer/matroska-video", "block of 160 B to 12 KiB", || {
            work(streams::matroska::video())
        }),
        case("framer/mpegts", "packet", || work(streams::mpegts::stream())),
        case("framer/opaque", "KiB", || work(streams::opaque())),
    ]
}

fn work(stream: Stream) -> Work {
    let bytes = stream.bytes();
    let found = streams::understand(stream.format, &bytes);
    assert_eq!(found.codec, stream.codec, "another codec");
    if let Some(duration) = stream.duration {
        assert_eq!(found.duration, duration, "another playing time");
    }
    let format = stream.format;
    let mut units = Vec::new();
    Work {
        units: stream.parts.len() as u64,
        bytes: bytes.len() as u64,
        lap: Box::new(move || {
            let mut framer = Framer::new(format);
            for piece in bytes.chunks(PIECE) {
                framer.push(black_box(piece), &mut units);
                black_box(&units);
                units.clear();
            }
            framer.finish(&mut units);
            black_box(&units);
            units.clear();
        }),
    }
}
