//! Frame headers (RFC 9639 section 9.1).

use super::crc::crc8;

/// What a frame header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// Samples per channel.
    pub(super) block_size: u32,
    /// None: as the stream's header says.
    pub(super) sample_rate: Option<u32>,
    pub(super) channels: u8,
    /// None: as the stream's header says.
    pub(super) bits: Option<u8>,
}

/// The outcome of looking for a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Head(FrameHead),
    /// It may be one; its last byte is not here.
    NeedMore,
    No,
}

impl FrameHead {
    /// Looks for a frame header at the start of `bytes`. It has at most 16 bytes.
    pub(super) fn look(bytes: &[u8]) -> Look {
        match Self::read(bytes) {
            Ok(look) => look,
            Err(Short) => Look::NeedMore,
        }
    }

    fn read(bytes: &[u8]) -> Result<Look, Short> {
        // The sync code, a reserved bit that is 0, and the blocking strategy.
        if byte(bytes, 0)? != 0xFF || byte(bytes, 1)? & 0xFE != 0xF8 {
            return Ok(Look::No);
        }
        let (size_code, rate_code) = (byte(bytes, 2)? >> 4, byte(bytes, 2)? & 0x0F);
        let (channel_code, bits_code) = (byte(bytes, 3)? >> 4, byte(bytes, 3)? >> 1 & 7);
        let channels = match channel_code {
            0..=7 => channel_code + 1,
            8..=10 => 2,
            _ => return Ok(Look::No),
        };
        let bits = match bits_code {
            0 => None,
            1 => Some(8),
            2 => Some(12),
            4 => Some(16),
            5 => Some(20),
            6 => Some(24),
            7 => Some(32),
            _ => return Ok(Look::No),
        };
        if size_code == 0 || rate_code == 15 || byte(bytes, 3)? & 1 != 0 {
            return Ok(Look::No);
        }
        // The frame or sample number, coded like UTF-8 but up to 36 bits.
        let number_len = match byte(bytes, 4)?.leading_ones() {
            0 => 1,
            len @ 2..=7 => len as usize,
            _ => return Ok(Look::No),
        };
        for at in 5..4 + number_len {
            if byte(bytes, at)? & 0xC0 != 0x80 {
                return Ok(Look::No);
            }
        }
        let mut at = 4 + number_len;
        let mut number = |len: usize| {
            let value = (at..at + len).try_fold(0u32, |sum, at| Ok(sum << 8 | u32::from(byte(bytes, at)?)));
            at += len;
            value
        };
        let block_size = match size_code {
            1 => 192,
            2..=5 => 144 << size_code,
            6 => number(1)? + 1,
            7 => number(2)? + 1,
            _ => 1 << size_code,
        };
        let sample_rate = match rate_code {
            0 => None,
            12 => Some(number(1)? * 1000),
            13 => Some(number(2)?),
            14 => Some(number(2)? * 10),
            code => Some(RATES[usize::from(code)]),
        };
        if byte(bytes, at)? != crc8(&bytes[..at]) {
            return Ok(Look::No);
        }
        Ok(Look::Head(Self {
            block_size,
            sample_rate,
            channels,
            bits,
        }))
    }
}

const RATES: [u32; 12] = [
    0, 88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000,
];

struct Short;

fn byte(bytes: &[u8], at: usize) -> Result<u8, Short> {
    bytes.get(at).copied().ok_or(Short)
}

#[cfg(test)]
mod tests {
    use super::{FrameHead, Look, crc8};

    fn check(without_crc: &[u8], expected: Option<(u32, Option<u32>, u8, Option<u8>)>) {
        let mut bytes = without_crc.to_vec();
        bytes.push(crc8(without_crc));
        let look = FrameHead::look(&bytes);
        let found = match look {
            Look::Head(head) => Some((head.block_size, head.sample_rate, head.channels, head.bits)),
            Look::NeedMore | Look::No => None,
        };
        assert_eq!(found, expected, "{bytes:x?}");
        if expected.is_some() {
            for len in 0..bytes.len() {
                assert_eq!(
                    FrameHead::look(&bytes[..len]),
                    Look::NeedMore,
                    "{len} bytes of {bytes:x?}"
                );
            }
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            assert_eq!(FrameHead::look(&bytes), Look::No);
        }
    }

    #[test]
    fn headers_are_read() {
        check(
            &[0xFF, 0xF8, 0xC9, 0x18, 0x00],
            Some((4096, Some(44_100), 2, Some(16))),
        );
        check(&[0xFF, 0xF9, 0xC0, 0xA0, 0x00], Some((4096, None, 2, None)));
        // Explicit block size of 16 bits and sample rate in tens of hertz, number of seven bytes.
        check(
            &[
                0xFF, 0xF8, 0x7E, 0x00, 0xFE, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x11, 0xFF, 0x12, 0xC0,
            ],
            Some((0x1200, Some(48_000), 1, None)),
        );
        check(
            &[0xFF, 0xF8, 0x69, 0x08, 0x00, 0x0F],
            Some((16, Some(44_100), 1, Some(16))),
        );
        check(&[0xFF, 0xF8, 0x09, 0x08, 0x00], None);
        check(&[0xFF, 0xF8, 0xCF, 0x08, 0x00], None);
        check(&[0xFF, 0xF8, 0xC9, 0xB8, 0x00], None);
        check(&[0xFF, 0xF8, 0xC9, 0x19, 0x00], None);
        check(&[0xFF, 0xFA, 0xC9, 0x18, 0x00], None);
        check(&[0xFF, 0xF8, 0xC9, 0x18, 0x80], None);
    }
}
