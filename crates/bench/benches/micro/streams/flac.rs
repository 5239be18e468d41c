//! Native FLAC (RFC 9639): 4,096 samples a frame, 16 bits, two channels, 44,100 Hz.

use std::time::Duration;

use media::Format;

use super::checksum::crc;
use super::{Stream, noise};

const FRAMES: u32 = 64;

/// Frames of about 9 KiB, which is what music makes of 16 KiB.
pub(crate) fn stream() -> Stream {
    let mut head = b"fLaC".to_vec();
    // STREAMINFO, the last block, 34 bytes: block sizes, frame sizes that are not known.
    head.extend([0x80, 0, 0, 34, 0x10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    // 20 bits of rate, 3 of channels less one, 5 of bits less one, 36 of samples that are not known.
    let rate = 44_100_u64 << 44 | 1 << 41 | 15 << 36;
    head.extend(rate.to_be_bytes());
    head.extend([0; 16]);
    Stream {
        format: Format::Flac,
        head,
        parts: (0..FRAMES).map(frame).collect(),
        codec: Some("FLAC"),
        duration: Some(Duration::from_nanos(
            u64::from(FRAMES) * 4096 * 1_000_000_000 / 44_100,
        )),
    }
}

fn frame(number: u32) -> Vec<u8> {
    // 4,096 samples at 44,100 Hz, left and right, 16 bits, and the number; numbers below 128 have one byte.
    let mut frame = vec![0xFF, 0xF8, 0xC9, 0x18, number as u8];
    frame.push(crc(8, 0x07, 0, &frame) as u8);
    frame.extend(noise(number, 9000 + (number * 97 % 400) as usize));
    frame.extend((crc(16, 0x8005, 0, &frame) as u16).to_be_bytes());
    frame
}
