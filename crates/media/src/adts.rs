//! AAC in ADTS frames (ISO 13818-7 section 6.2, ISO 14496-3 section 1.A.2).
//!
//! Contract: a unit holds whole frames, with or without CRC. HE-AAC is signalled inside the payload, so the
//! sample rate told here is that of the core; playing time comes out right either way.

use crate::{
    StreamFacts,
    scan::{FrameHeader, FrameScan},
};

/// Cuts ADTS.
pub(crate) type AdtsFramer = FrameScan<AdtsHeader>;

/// What a frame's fixed and variable header say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdtsHeader {
    mpeg2: bool,
    profile: u8,
    sample_rate: u32,
    /// 0 means that a program config element inside the frame tells.
    channel_config: u8,
    frame_len: u16,
    blocks: u8,
}

const SAMPLE_RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
];

impl FrameHeader for AdtsHeader {
    const LEN: usize = 7;

    fn parse(bytes: &[u8]) -> Option<Self> {
        let &[0xFF, second, third, fourth, fifth, sixth, seventh] = bytes.first_chunk()? else {
            return None;
        };
        // Twelve sync bits, then the layer, which is always 0 here and never in MPEG audio.
        if second & 0xF6 != 0xF0 {
            return None;
        }
        let sample_rate = *SAMPLE_RATES.get(usize::from(third >> 2 & 0x0F))?;
        let frame_len = u16::from(fourth & 3) << 11 | u16::from(fifth) << 3 | u16::from(sixth >> 5);
        let header_len = if second & 1 == 1 { 7 } else { 9 };
        if frame_len <= header_len {
            return None;
        }
        Some(Self {
            mpeg2: second & 8 != 0,
            profile: third >> 6,
            sample_rate,
            channel_config: (third & 1) << 2 | fourth >> 6,
            frame_len,
            blocks: (seventh & 3) + 1,
        })
    }

    fn frame_len(&self) -> usize {
        usize::from(self.frame_len)
    }

    fn samples(&self) -> u32 {
        1024 * u32::from(self.blocks)
    }

    fn facts(&self) -> StreamFacts {
        StreamFacts {
            codec: Some("AAC"),
            sample_rate: Some(self.sample_rate),
            channels: match self.channel_config {
                0 => None,
                7 => Some(8),
                channels => Some(channels),
            },
            bitrate: None,
        }
    }

    fn same_stream(&self, other: &Self) -> bool {
        (self.mpeg2, self.profile, self.sample_rate, self.channel_config)
            == (
                other.mpeg2,
                other.profile,
                other.sample_rate,
                other.channel_config,
            )
    }
}

#[cfg(test)]
mod tests {
    use super::{AdtsHeader, FrameHeader};

    #[test]
    fn headers_tell_length_and_time() {
        let check = |bytes: [u8; 7], expected: Option<(usize, u32, u32, Option<u8>)>| {
            let found = AdtsHeader::parse(&bytes).map(|it| {
                let facts = it.facts();
                (
                    it.frame_len(),
                    it.samples(),
                    facts.sample_rate.unwrap(),
                    facts.channels,
                )
            });
            assert_eq!(found, expected, "{bytes:x?}");
        };
        // LC at 44,100 Hz in stereo, without and with CRC.
        check(
            [0xFF, 0xF1, 0x50, 0x80, 0x2E, 0x7F, 0xFC],
            Some((371, 1024, 44_100, Some(2))),
        );
        check(
            [0xFF, 0xF0, 0x50, 0x80, 0x2E, 0x7F, 0xFC],
            Some((371, 1024, 44_100, Some(2))),
        );
        // MPEG-2, main profile, 7.1 channels, four blocks.
        check(
            [0xFF, 0xF9, 0x0D, 0xC3, 0xFF, 0xE0, 0x03],
            Some((8191, 4096, 48_000, Some(8))),
        );
        check(
            [0xFF, 0xF1, 0x58, 0x00, 0x02, 0x00, 0x00],
            Some((16, 1024, 24_000, None)),
        );
        // A length that leaves no room for anything, with CRC sooner than without.
        check(
            [0xFF, 0xF1, 0x50, 0x80, 0x01, 0x00, 0x00],
            Some((8, 1024, 44_100, Some(2))),
        );
        check([0xFF, 0xF0, 0x50, 0x80, 0x01, 0x00, 0x00], None);
        check([0xFF, 0xF1, 0x50, 0x80, 0x00, 0xE0, 0x00], None);
        // A sample rate that does not exist, and the layer bits of MPEG audio.
        check([0xFF, 0xF1, 0x74, 0x80, 0x2E, 0x7F, 0xFC], None);
        check([0xFF, 0xFB, 0x50, 0x80, 0x2E, 0x7F, 0xFC], None);
    }
}
