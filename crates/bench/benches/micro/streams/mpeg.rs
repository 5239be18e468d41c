//! Frames that each begin with a header: MPEG audio and ADTS.

use std::time::Duration;

use media::Format;

use super::{Stream, noise};

const FRAMES: u32 = 512;

/// MPEG-1 Layer III of 128 kbit/s at 44,100 Hz without padding.
pub(crate) fn layer_three() -> Stream {
    let frame = |n| [vec![0xFF, 0xFB, 0x90, 0x64], noise(n, 413)].concat();
    Stream {
        format: Format::Mpeg,
        head: Vec::new(),
        parts: (0..FRAMES).map(frame).collect(),
        codec: Some("MP3"),
        duration: Some(time(1152)),
    }
}

/// AAC-LC at 44,100 Hz; frames vary as bits are saved for what needs them.
pub(crate) fn adts() -> Stream {
    let frame = |n: u32| {
        let len = 300 + n * 37 % 128;
        let head = [
            0xFF,
            0xF1,
            0x50,
            0x80,
            (len >> 3) as u8,
            (len << 5) as u8 | 0x1F,
            0xFC,
        ];
        [head.to_vec(), noise(n, len as usize - head.len())].concat()
    };
    Stream {
        format: Format::Adts,
        head: Vec::new(),
        parts: (0..FRAMES).map(frame).collect(),
        codec: Some("AAC"),
        duration: Some(time(1024)),
    }
}

fn time(samples: u64) -> Duration {
    Duration::from_nanos(u64::from(FRAMES) * samples * 1_000_000_000 / 44_100)
}
