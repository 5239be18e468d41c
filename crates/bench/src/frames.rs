//! Test frames: valid MPEG-1 Layer III frames that say when they were written.
//!
//! Contract: a frame is a function of bitrate, number and stamp alone, so a reader rebuilds what it received and
//! compares byte for byte. The audio is silence (all-zero side information); the rest of a frame is ancillary data.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Stamp;

/// Samples in one frame of MPEG-1 Layer III.
const SAMPLES: u64 = 1152;
const SAMPLE_RATE: u64 = 44_100;
/// Header and, for one channel, 17 bytes of side information.
const MAGIC_AT: usize = 4 + 17;
const MAGIC: &[u8; 8] = b"tinybnch";
const STAMP_AT: usize = MAGIC_AT + MAGIC.len();
const NUMBER_AT: usize = STAMP_AT + 16;
const FILLER_AT: usize = NUMBER_AT + 16;

/// A bitrate of MPEG-1 Layer III.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bitrate {
    kbit: u32,
    /// The four bits that stand for it in a frame header.
    index: u8,
}

impl Bitrate {
    /// Kilobits in a second.
    pub(crate) fn kbit(self) -> u32 {
        self.kbit
    }

    /// Bytes in a second.
    pub(crate) fn bytes_per_second(self) -> f64 {
        f64::from(self.kbit) * 125.0
    }

    /// Offset in the stream at which the frame with this number begins, counted from frame 0.
    pub(crate) fn offset(self, number: u64) -> u64 {
        // A frame lasts 1,152 samples; padding bytes appear where the rounded sum needs them.
        (u128::from(number) * u128::from(self.kbit) * u128::from(125 * SAMPLES) / u128::from(SAMPLE_RATE))
            as u64
    }

    fn length(self, number: u64) -> usize {
        (self.offset(number + 1) - self.offset(number)) as usize
    }

    fn unpadded(self) -> usize {
        self.length(0)
    }
}

impl FromStr for Bitrate {
    type Err = String;

    fn from_str(text: &str) -> Result<Bitrate, String> {
        // ISO/IEC 11172-3 section 2.4.2.3, layer III; index 0 is free format.
        let rates = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
        let at = rates.iter().position(|rate| rate.to_string() == text);
        let at = at.ok_or_else(|| format!("not a bitrate of MPEG-1 Layer III; use one of {rates:?}"))?;
        Ok(Bitrate {
            kbit: rates[at],
            index: at as u8 + 1,
        })
    }
}

/// The media time at which a frame with this number begins, in nanoseconds.
pub(crate) fn media_nanos(number: u64) -> u64 {
    (u128::from(number) * u128::from(SAMPLES) * 1_000_000_000 / u128::from(SAMPLE_RATE)) as u64
}

/// Appends the frame with this number to a buffer.
pub(crate) fn write_frame(bitrate: Bitrate, number: u64, stamp: Stamp, out: &mut Vec<u8>) {
    let length = bitrate.length(number);
    let padding = u8::from(length > bitrate.unpadded());
    let start = out.len();
    // MPEG-1, layer III, no CRC; bitrate, 44.1 kHz, padding; one channel, original.
    out.extend_from_slice(&[0xFF, 0xFB, bitrate.index << 4 | padding << 1, 0xC4]);
    out.resize(start + MAGIC_AT, 0);
    out.extend_from_slice(MAGIC);
    // Hexadecimal digits and letters cannot imitate the sync word of a frame.
    push_hex(stamp.0, out);
    push_hex(number, out);
    let phase = (number % 26) as usize;
    out.extend((0..length - FILLER_AT).map(|at| b'a' + ((at + phase) % 26) as u8));
}

fn push_hex(value: u64, out: &mut Vec<u8>) {
    for shift in (0..16).rev() {
        out.push(b"0123456789abcdef"[(value >> (shift * 4) & 15) as usize]);
    }
}

fn parse_hex(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// What an inspector found wrong, and how much it looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Findings {
    /// Frames received whole and equal to what was sent.
    pub(crate) frames: u64,
    /// Places where frames are missing.
    pub(crate) gaps: u64,
    /// Frames missing at those places.
    pub(crate) lost: u64,
    /// Frames that came again or out of order.
    pub(crate) repeated: u64,
    /// Places where the bytes are not what was sent.
    pub(crate) corrupt: u64,
}

impl Findings {
    /// Adds the findings of another inspector.
    pub(crate) fn absorb(&mut self, other: &Findings) {
        self.frames += other.frames;
        self.gaps += other.gaps;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.corrupt += other.corrupt;
    }
}

/// Follows one listener's stream frame by frame.
pub(crate) struct Inspector {
    bitrate: Bitrate,
    pending: Vec<u8>,
    /// The number that should come next; none before the first frame.
    next: Option<u64>,
    /// False while it looks for the beginning of a frame.
    aligned: bool,
    scratch: Vec<u8>,
    findings: Findings,
}

impl Inspector {
    /// An inspector of a stream at the given bitrate that may begin anywhere.
    pub(crate) fn new(bitrate: Bitrate) -> Inspector {
        let (pending, scratch) = (Vec::new(), Vec::new());
        Inspector {
            bitrate,
            pending,
            next: None,
            aligned: false,
            scratch,
            findings: Findings::default(),
        }
    }

    /// Takes bytes as they arrive and reports the stamp of each whole frame.
    pub(crate) fn read(&mut self, bytes: &[u8], mut frame: impl FnMut(Stamp)) {
        self.pending.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            match self.look(at) {
                Look::Frame {
                    number,
                    stamp,
                    length,
                } => {
                    self.count(number);
                    frame(stamp);
                    at += length;
                }
                Look::Wrong => {
                    if std::mem::take(&mut self.aligned) {
                        self.findings.corrupt += 1;
                    }
                    at += 1;
                }
                Look::Short => break,
            }
        }
        self.pending.drain(..at);
    }

    /// The findings since the last call.
    pub(crate) fn take(&mut self) -> Findings {
        std::mem::take(&mut self.findings)
    }

    fn look(&mut self, at: usize) -> Look {
        let bytes = &self.pending[at..];
        let sync = [0xFF, 0xFB];
        let visible = bytes.len().min(2);
        if bytes[..visible] != sync[..visible] {
            return Look::Wrong;
        }
        if bytes.len() < FILLER_AT {
            return Look::Short;
        }
        if bytes[MAGIC_AT..STAMP_AT] != *MAGIC {
            return Look::Wrong;
        }
        let stamp = parse_hex(&bytes[STAMP_AT..NUMBER_AT]);
        let number = parse_hex(&bytes[NUMBER_AT..FILLER_AT]);
        // Numbers beyond 2^48 cannot be reached; they would overflow the arithmetic below.
        let (Some(stamp), Some(number @ 0..0x1_0000_0000_0000)) = (stamp, number) else {
            return Look::Wrong;
        };
        let length = self.bitrate.length(number);
        if bytes.len() < length {
            return Look::Short;
        }
        self.scratch.clear();
        write_frame(self.bitrate, number, Stamp(stamp), &mut self.scratch);
        if bytes[..length] != self.scratch {
            return Look::Wrong;
        }
        Look::Frame {
            number,
            stamp: Stamp(stamp),
            length,
        }
    }

    fn count(&mut self, number: u64) {
        self.aligned = true;
        self.findings.frames += 1;
        let expected = self.next.replace(number + 1).unwrap_or(number);
        if number > expected {
            self.findings.gaps += 1;
            self.findings.lost += number - expected;
        } else if number < expected {
            self.findings.repeated += 1;
        }
    }
}

enum Look {
    Frame {
        number: u64,
        stamp: Stamp,
        length: usize,
    },
    Wrong,
    Short,
}

#[cfg(test)]
mod tests {
    use super::{Bitrate, Findings, Inspector, media_nanos, write_frame};
    use crate::clock::Stamp;

    fn stream(bitrate: Bitrate, numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
        let mut out = Vec::new();
        numbers
            .into_iter()
            .for_each(|number| write_frame(bitrate, number, Stamp(number * 10), &mut out));
        out
    }

    fn check(bytes: &[u8], piece: usize, expected: Findings) {
        let mut inspector = Inspector::new("128".parse().unwrap());
        bytes
            .chunks(piece)
            .for_each(|bytes| inspector.read(bytes, |_| ()));
        assert_eq!(inspector.take(), expected, "in pieces of {piece}");
    }

    #[test]
    fn frames_have_the_lengths_of_the_standard() {
        for (kbit, lengths, header) in [
            ("64", [208, 209], 0x50),
            ("128", [417, 418], 0x90),
            ("320", [1044, 1045], 0xE0),
        ] {
            let bitrate: Bitrate = kbit.parse().unwrap();
            for number in 0..200 {
                let frame = stream(bitrate, [number]);
                let padded = frame[2] & 2 != 0;
                assert_eq!(frame.len(), lengths[usize::from(padded)]);
                assert_eq!(
                    (&frame[..2], frame[2] & 0xFD, frame[3]),
                    (&[0xFF, 0xFB][..], header, 0xC4)
                );
            }
            let second = bitrate.offset(44_100) as f64 / (media_nanos(44_100) as f64 / 1e9);
            assert!(
                (second - bitrate.bytes_per_second()).abs() < 1.0,
                "{second} bytes a second"
            );
        }
        assert!("129".parse::<Bitrate>().is_err());
    }

    #[test]
    fn a_stream_is_judged_whatever_the_pieces() {
        let bitrate = "128".parse().unwrap();
        let whole = stream(bitrate, 5..15);
        let missing = stream(bitrate, (0..5).chain(8..10));
        let again = stream(bitrate, [0, 1, 1, 2]);
        let mut damaged = stream(bitrate, 0..5);
        damaged[417 + 200] ^= 1;
        for piece in [1, 7, 416, 10_000] {
            check(
                &whole,
                piece,
                Findings {
                    frames: 10,
                    ..Findings::default()
                },
            );
            // A stream that begins inside a frame is not damaged, it only starts later.
            check(
                &whole[100..],
                piece,
                Findings {
                    frames: 9,
                    ..Findings::default()
                },
            );
            check(
                &missing,
                piece,
                Findings {
                    frames: 7,
                    gaps: 1,
                    lost: 3,
                    ..Findings::default()
                },
            );
            check(
                &again,
                piece,
                Findings {
                    frames: 4,
                    repeated: 1,
                    ..Findings::default()
                },
            );
            check(
                &damaged,
                piece,
                Findings {
                    frames: 4,
                    gaps: 1,
                    lost: 1,
                    corrupt: 1,
                    ..Findings::default()
                },
            );
        }
    }

    #[test]
    fn stamps_come_back() {
        let mut inspector = Inspector::new("320".parse().unwrap());
        let mut stamps = Vec::new();
        inspector.read(&stream("320".parse().unwrap(), 3..6), |stamp| {
            stamps.push(stamp.0)
        });
        assert_eq!(stamps, [30, 40, 50]);
    }
}
