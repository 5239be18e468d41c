//! How a codec's packets and granule positions tell time.
//!
//! Contract: small and `Copy` (every listener carries one per logical stream), and every answer is defined for
//! any bytes: packets that make no sense last no time.

use super::page::{Packet, Page};

/// Samples assumed for the first packet of a Vorbis listener whose block sizes are not known.
const VORBIS_GUESS: u64 = 1024;

/// `mode_bits` of a Vorbis stream whose set-up header was not understood.
const UNKNOWN_MODES: u8 = u8::MAX;

/// What is known of a logical stream's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// RFC 7845: granules count samples at 48 kHz, those skipped at the start included.
    Opus { pre_skip: u16 },
    /// Vorbis I: a packet lasts a quarter of its own block and a quarter of the one before it.
    Vorbis {
        /// Bit n says whether mode n uses the long block.
        long_modes: u64,
        /// Width of the mode number in an audio packet.
        mode_bits: u8,
        /// Logarithms of the two block sizes, the short one in the low half.
        block_sizes: u8,
    },
    /// FLAC frames say how long they are.
    Flac,
    /// Speex packets are all equally long.
    Speex { per_packet: u32 },
    /// Theora granules are the number of the last keyframe and, in the low bits, of the frames since.
    Theora {
        frames: u32,
        per_seconds: u32,
        shift: u8,
    },
    /// Skeleton describes other streams and has no time of its own.
    Still,
    /// Nobody knows.
    Unknown,
}

impl Clock {
    /// The clock of the logical stream whose first packet this is.
    pub(super) fn of(first: &[u8]) -> Self {
        match first {
            [
                b'O',
                b'p',
                b'u',
                b's',
                b'H',
                b'e',
                b'a',
                b'd',
                version,
                _,
                low,
                high,
                ..,
            ] if *version < 16 => Self::Opus {
                pre_skip: u16::from_le_bytes([*low, *high]),
            },
            [1, b'v', b'o', b'r', b'b', b'i', b's', rest @ ..] if rest.len() >= 22 => Self::Vorbis {
                long_modes: 0,
                mode_bits: UNKNOWN_MODES,
                block_sizes: rest[21],
            },
            [0x7f, b'F', b'L', b'A', b'C', rest @ ..] if rest.len() >= 46 => Self::Flac,
            _ if first.starts_with(b"Speex   ") && first.len() >= 72 => {
                let word = |at: usize| {
                    u32::from_le_bytes(first[at..at + 4].try_into().expect("four bytes")).min(0xffff)
                };
                Self::Speex {
                    per_packet: (word(56) * word(64).max(1)).min(48_000),
                }
            }
            [0x80, b't', b'h', b'e', b'o', b'r', b'a', ..] if first.len() >= 42 => {
                let word = |at: usize| u32::from_be_bytes(first[at..at + 4].try_into().expect("four bytes"));
                let shift = (u16::from_be_bytes([first[40], first[41]]) >> 5 & 31) as u8;
                Self::Theora {
                    frames: word(22),
                    per_seconds: word(26),
                    shift,
                }
            }
            _ if first.starts_with(b"fishead\0") => Self::Still,
            _ => Self::Unknown,
        }
    }

    /// Takes what a further header page tells. Only Vorbis has something to tell: its set-up header says
    /// which modes use which block size.
    pub(super) fn learn(&mut self, page: &Page<'_>) {
        let Self::Vorbis {
            long_modes,
            mode_bits,
            ..
        } = self
        else {
            return;
        };
        let Some(packet) = page.packets().last().filter(|it| it.ends) else {
            return;
        };
        if packet.begins && !packet.bytes.starts_with(b"\x05vorbis") {
            return;
        }
        if let Some(modes) = VorbisModes::at_end_of(packet.bytes) {
            *long_modes = modes.long;
            *mode_bits = modes.bits;
        }
    }

    /// How much must be taken off the granule position of the first data page that a listener gets, and off
    /// all that follow, so that the stream begins near zero. Zero when it does already.
    pub(super) fn shift(&self, page: &Page<'_>) -> u64 {
        let sent = page.granule();
        let Some(samples) = self.samples(page) else {
            return 0;
        };
        let (start, tolerance) = match *self {
            Self::Opus { pre_skip } => (samples + u64::from(pre_skip), 0),
            // Granule 0 would look like a header page. What stood before the first packet of the page is not
            // known, so a true beginning may be later by one block.
            Self::Vorbis { block_sizes, .. } => (samples.max(1), 1 << (block_sizes >> 4)),
            _ => (samples, 0),
        };
        if sent <= start + tolerance {
            0
        } else {
            sent - start
        }
    }

    /// Samples of the packets that end on a page which a decoder gets first; nothing when that is unknowable.
    pub(super) fn samples(&self, page: &Page<'_>) -> Option<u64> {
        let ended = page.packets().filter(|it| it.ends);
        match *self {
            Self::Vorbis {
                long_modes,
                mode_bits,
                block_sizes,
            } => {
                if mode_bits == UNKNOWN_MODES {
                    return Some(VORBIS_GUESS);
                }
                let mut before = None;
                let mut samples = 0;
                for packet in ended {
                    // The beginning of a packet that was continued here is on a page that is gone.
                    let (true, Some(&first)) = (packet.begins, packet.bytes.first()) else {
                        continue;
                    };
                    let mode = first >> 1 & ((1 << mode_bits) - 1);
                    let long = long_modes >> mode & 1 == 1;
                    let block = 1u64 << if long { block_sizes >> 4 } else { block_sizes & 15 };
                    samples += before.map_or(0, |before: u64| (before + block) / 4);
                    before = Some(block);
                }
                Some(samples)
            }
            Self::Opus { .. } => Some(sum(ended, 960, opus_samples)),
            Self::Flac => Some(sum(ended, 4096, flac_samples)),
            Self::Speex { per_packet } => Some(ended.count() as u64 * u64::from(per_packet)),
            Self::Theora { .. } | Self::Still | Self::Unknown => None,
        }
    }

    /// A granule position as a count of samples or frames.
    pub(super) fn position(&self, granule: u64) -> u64 {
        match *self {
            Self::Theora { shift, .. } => (granule >> shift).saturating_add(granule & ((1 << shift) - 1)),
            _ => granule,
        }
    }
}

/// Adds up packets. One that began on an earlier page does not show how long it is; it is taken to be as
/// long as the next one.
fn sum<'a>(packets: impl Iterator<Item = Packet<'a>>, default: u64, samples: impl Fn(&[u8]) -> u64) -> u64 {
    let mut total = 0;
    let mut first_unknown = false;
    let mut first_known = None;
    for packet in packets {
        if packet.begins {
            let samples = samples(packet.bytes);
            first_known.get_or_insert(samples);
            total += samples;
        } else {
            first_unknown = true;
        }
    }
    total
        + if first_unknown {
            first_known.unwrap_or(default)
        } else {
            0
        }
}

/// Samples at 48 kHz of an Opus packet (RFC 6716 section 3.1).
fn opus_samples(packet: &[u8]) -> u64 {
    let Some(&toc) = packet.first() else { return 0 };
    let config = toc >> 3;
    let frame = match config {
        0..12 => [480, 960, 1920, 2880][usize::from(config & 3)],
        12..16 => [480, 960][usize::from(config & 1)],
        _ => 120 << (config & 3),
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(packet.get(1).map_or(0, |it| it & 63)),
    };
    // Section 3.2.5: never more than 120 ms.
    (frame * frames).min(5760)
}

/// Samples of a FLAC frame (RFC 9639 section 9.1).
fn flac_samples(frame: &[u8]) -> u64 {
    let [0xff, sync, code, _, rest @ ..] = frame else {
        return 0;
    };
    if sync & 0xfe != 0xf8 {
        return 0;
    }
    // The coded number is as long as its first byte says, like UTF-8.
    let number = rest
        .first()
        .map_or(1, |first| first.leading_ones().max(1) as usize);
    let after = rest.get(number..).unwrap_or_default();
    match code >> 4 {
        1 => 192,
        code @ 2..=5 => 576 << (code - 2),
        6 => after.first().map_or(0, |&size| u64::from(size) + 1),
        7 => after
            .first_chunk()
            .map_or(0, |&size| u64::from(u16::from_be_bytes(size)) + 1),
        code @ 8..=15 => 256 << (code - 8),
        _ => 0,
    }
}

/// The mode list, the last thing in a Vorbis set-up header (Vorbis I section 4.2.4).
struct VorbisModes {
    long: u64,
    bits: u8,
}

impl VorbisModes {
    /// Reads the list backwards from the framing bit, which spares decoding all the codebooks before it.
    ///
    /// A mode is a block flag, a window type and a transform type of 16 bits each that are always zero, and
    /// a mapping of 8 bits. Before the list stands its length, less one, in 6 bits; the longest list that
    /// agrees with it is the right one, because the length of a shorter one is read inside a mode.
    fn at_end_of(packet: &[u8]) -> Option<Self> {
        const MODE: usize = 41;
        let last = packet.iter().rposition(|&byte| byte != 0)?;
        let framing = last * 8 + 7 - packet[last].leading_zeros() as usize;
        // Bits are packed from the least significant one up.
        let bit = |at: usize| packet[at / 8] >> (at % 8) & 1;
        let bits = |from: usize, to: usize| {
            (from..to)
                .rev()
                .fold(0u32, |sum, at| sum << 1 | u32::from(bit(at)))
        };
        let mut found = None;
        for count in 1..=64usize {
            let Some(start) = framing.checked_sub(count * MODE).filter(|&start| start >= 6) else {
                break;
            };
            if bits(start + 1, start + 33) != 0 || bits(start + 33, start + MODE) > 63 {
                break;
            }
            if bits(start - 6, start) as usize == count - 1 {
                found = Some((start, count));
            }
        }
        let (start, count) = found?;
        let long = (0..count).fold(0, |long, mode| long | u64::from(bit(start + mode * MODE)) << mode);
        Some(Self {
            long,
            bits: (usize::BITS - (count - 1).leading_zeros()) as u8,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::page::Start;
    use super::super::testing::{OPUS_HEAD, page};
    use super::*;

    fn on_page<T>(bytes: &[u8], then: impl FnOnce(&Page<'_>) -> T) -> T {
        let Start::Page(page) = Page::at_start_of(bytes) else {
            panic!("a page")
        };
        then(&page)
    }

    #[test]
    fn opus_packets() {
        for (packet, samples) in [
            (&[][..], 0),
            (&[0x00], 480),
            (&[0x18], 2880),
            (&[0x60], 480),
            (&[0x68], 960),
            (&[0x80], 120),
            (&[0x98], 960),
            (&[0xf9], 1920),
            (&[0xfb, 3], 2880),
            (&[0xfb, 0xc0 | 2], 1920),
            (&[0xfb], 0),
            (&[0x1b, 63], 5760),
        ] {
            assert_eq!(opus_samples(packet), samples, "{packet:x?}");
        }
    }

    #[test]
    fn flac_frames() {
        for (frame, samples) in [
            (&[0xff, 0xf8, 0xc9, 0x18, 0x00, 0xc2][..], 4096),
            (&[0xff, 0xf8, 0x59, 0x18, 0x00], 4608),
            (&[0xff, 0xf9, 0x69, 0x18, 0x05, 0x0f], 16),
            (&[0xff, 0xf9, 0x79, 0x18, 0xc5, 0x80, 0x0f, 0xff], 4096),
            (&[0xff, 0xf9, 0x79, 0x18, 0xc5], 0),
            (&[0xff, 0xf8, 0x09, 0x18, 0x00], 0),
            (&[0x00, 0xf8, 0xc9, 0x18, 0x00], 0),
        ] {
            assert_eq!(flac_samples(frame), samples, "{frame:x?}");
        }
    }

    #[test]
    fn vorbis_modes_of_real_headers() {
        let mut clock = Clock::Unknown;
        for page in Page::all(include_bytes!("../../tests/data/ogg/vorbis.ogg")).take(3) {
            if page.is_bos() {
                clock = Clock::of(page.packets().next().unwrap().bytes);
            } else {
                clock.learn(&page);
            }
        }
        assert_eq!(
            clock,
            Clock::Vorbis {
                long_modes: 0b10,
                mode_bits: 1,
                block_sizes: 0xc9
            }
        );
        // Short, long, long: a quarter of 512 and 4096, then of 4096 twice.
        let bytes = page(0, 9, 1, 1, &[&[0b00], &[0b10], &[0b10]]);
        assert_eq!(on_page(&bytes, |page| clock.samples(page)), Some(1152 + 2048));
    }

    #[test]
    fn only_a_late_start_is_shifted() {
        let clock = Clock::of(OPUS_HEAD);
        for (granule, shift) in [
            (960, 0),
            (500, 0),
            (960 + 312, 0),
            (960 + 313, 1),
            (960_000, 958_728),
        ] {
            let bytes = page(0, granule, 1, 1, &[&[0xfc, 0]]);
            assert_eq!(on_page(&bytes, |page| clock.shift(page)), shift, "{granule}");
        }
    }

    proptest! {
        #[test]
        fn any_packets(
            first in proptest::collection::vec(any::<u8>(), 0..80),
            magic in 0usize..6,
            packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..5),
            granule: u64,
        ) {
            let magic: &[u8] = [&b""[..], b"OpusHead\x01", b"\x01vorbis", b"\x7fFLAC", b"Speex   ", b"\x80theora"][magic];
            let mut clock = Clock::of(&[magic, &first].concat());
            let setup = page(0, 0, 1, 1, &[b"\x05vorbis", &first]);
            on_page(&setup, |page| clock.learn(page));
            let packets: Vec<_> = packets.iter().map(Vec::as_slice).collect();
            let bytes = page(1, granule, 1, 1, &packets);
            let shift = on_page(&bytes, |page| clock.shift(page));
            prop_assert!(shift <= granule);
            prop_assert!(clock.position(granule) <= granule.saturating_add(u64::from(u32::MAX)));
        }
    }
}
