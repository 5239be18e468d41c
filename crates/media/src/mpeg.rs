//! MPEG-1, MPEG-2 and MPEG-2.5 audio, layers I to III (ISO 11172-3 section 2.4.1.3, ISO 13818-3).
//!
//! Contract: a unit holds whole frames. Free-format frames tell no length and are refused. A Xing, Info or
//! VBRI frame is a frame like any other.

use crate::{
    StreamFacts,
    scan::{FrameHeader, FrameScan},
};

/// Cuts MPEG audio.
pub(crate) type MpegFramer = FrameScan<MpegHeader>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
    TwoAndHalf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    One,
    Two,
    Three,
}

/// The four bytes in front of a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MpegHeader {
    version: Version,
    layer: Layer,
    /// Kilobits per second.
    bitrate: u32,
    sample_rate: u32,
    padded: bool,
    channels: u8,
}

/// Kilobits per second by index; index 0 is free format, 15 is forbidden.
const BITRATES: [[u32; 15]; 5] = [
    [
        0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448,
    ],
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

impl FrameHeader for MpegHeader {
    const LEN: usize = 4;

    fn parse(bytes: &[u8]) -> Option<Self> {
        let &[0xFF, second, third, fourth] = bytes.first_chunk()? else {
            return None;
        };
        if second & 0xE0 != 0xE0 {
            return None;
        }
        let version = match second >> 3 & 3 {
            0 => Version::TwoAndHalf,
            2 => Version::Two,
            3 => Version::One,
            _ => return None,
        };
        let layer = match second >> 1 & 3 {
            1 => Layer::Three,
            2 => Layer::Two,
            3 => Layer::One,
            _ => return None,
        };
        let table = match (version, layer) {
            (Version::One, Layer::One) => 0,
            (Version::One, Layer::Two) => 1,
            (Version::One, Layer::Three) => 2,
            (_, Layer::One) => 3,
            (_, Layer::Two | Layer::Three) => 4,
        };
        let bitrate = *BITRATES[table]
            .get(usize::from(third >> 4))
            .filter(|bitrate| **bitrate > 0)?;
        let rate = *[44_100, 48_000, 32_000].get(usize::from(third >> 2 & 3))?;
        let sample_rate = match version {
            Version::One => rate,
            Version::Two => rate / 2,
            Version::TwoAndHalf => rate / 4,
        };
        let channels = if fourth >> 6 == 3 { 1 } else { 2 };
        Some(Self {
            version,
            layer,
            bitrate,
            sample_rate,
            padded: third & 2 != 0,
            channels,
        })
    }

    fn frame_len(&self) -> usize {
        // Layer I counts in slots of four bytes, the others in bytes.
        let slot = if self.layer == Layer::One { 4 } else { 1 };
        let slots = self.samples() / 8 * self.bitrate * 1000 / self.sample_rate / slot;
        ((slots + u32::from(self.padded)) * slot) as usize
    }

    fn samples(&self) -> u32 {
        match (self.layer, self.version) {
            (Layer::One, _) => 384,
            (Layer::Two, _) | (Layer::Three, Version::One) => 1152,
            (Layer::Three, _) => 576,
        }
    }

    fn facts(&self) -> StreamFacts {
        StreamFacts {
            codec: Some(match self.layer {
                Layer::One => "MP1",
                Layer::Two => "MP2",
                Layer::Three => "MP3",
            }),
            sample_rate: Some(self.sample_rate),
            channels: Some(self.channels),
            bitrate: Some(self.bitrate * 1000),
        }
    }

    fn same_stream(&self, other: &Self) -> bool {
        (self.version, self.layer, self.sample_rate) == (other.version, other.layer, other.sample_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::{FrameHeader, MpegHeader};

    #[test]
    fn headers_tell_length_and_time() {
        let check = |bytes: [u8; 4], expected: Option<(&str, usize, u32, u32, u8)>| {
            let found = MpegHeader::parse(&bytes).map(|it| {
                let facts = it.facts();
                let (codec, rate) = (facts.codec.unwrap(), facts.sample_rate.unwrap());
                (codec, it.frame_len(), it.samples(), rate, facts.channels.unwrap())
            });
            assert_eq!(found, expected, "{bytes:x?}");
        };
        // Versions 1, 2 and 2.5, with and without padding and CRC.
        check([0xFF, 0xFB, 0x90, 0x64], Some(("MP3", 417, 1152, 44_100, 2)));
        check([0xFF, 0xFA, 0x92, 0xC4], Some(("MP3", 418, 1152, 44_100, 1)));
        check([0xFF, 0xFB, 0xE8, 0x00], Some(("MP3", 1440, 1152, 32_000, 2)));
        check([0xFF, 0xF3, 0x84, 0xC0], Some(("MP3", 192, 576, 24_000, 1)));
        check([0xFF, 0xE3, 0x18, 0xC0], Some(("MP3", 72, 576, 8_000, 1)));
        check([0xFF, 0xFD, 0xE4, 0x00], Some(("MP2", 1152, 1152, 48_000, 2)));
        check([0xFF, 0xF5, 0x84, 0x00], Some(("MP2", 384, 1152, 24_000, 2)));
        check([0xFF, 0xFF, 0xC0, 0x00], Some(("MP1", 416, 384, 44_100, 2)));
        check([0xFF, 0xFF, 0xC2, 0x00], Some(("MP1", 420, 384, 44_100, 2)));
        // Free format, forbidden bit rate, sample rate, version and layer.
        check([0xFF, 0xFB, 0x00, 0x64], None);
        check([0xFF, 0xFB, 0xF0, 0x64], None);
        check([0xFF, 0xFB, 0x9C, 0x64], None);
        check([0xFF, 0xEB, 0x90, 0x64], None);
        check([0xFF, 0xF9, 0x90, 0x64], None);
        check([0xFF, 0xDB, 0x90, 0x64], None);
        check([0xFE, 0xFB, 0x90, 0x64], None);
    }
}
