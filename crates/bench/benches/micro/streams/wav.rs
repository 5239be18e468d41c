//! RIFF WAVE: 16 bits, two channels, 44,100 Hz, of a length that the source does not know.

use std::time::Duration;

use media::Format;

use super::{Stream, noise};

const PARTS: u32 = 256;

/// Samples in parts of 1 KiB.
pub(crate) fn stream() -> Stream {
    let mut head = b"RIFF\xFF\xFF\xFF\xFFWAVEfmt \x10\0\0\0\x01\0\x02\0".to_vec();
    head.extend(44_100_u32.to_le_bytes());
    head.extend((44_100_u32 * 4).to_le_bytes());
    head.extend([4, 0, 16, 0]);
    head.extend_from_slice(b"data\xFF\xFF\xFF\xFF");
    Stream {
        format: Format::Wav,
        head,
        parts: (0..PARTS).map(|n| noise(n, 1024)).collect(),
        codec: Some("PCM"),
        duration: Some(Duration::from_nanos(
            u64::from(PARTS) * 256 * 1_000_000_000 / 44_100,
        )),
    }
}
