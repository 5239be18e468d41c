//! Ogg pages (RFC 3533) of Opus (RFC 7845) and Vorbis.

use std::time::Duration;

use media::Format;

use super::checksum::crc;
use super::{Stream, noise};

const PAGES: u32 = 256;
const SERIAL: u32 = 0x1234_5678;
const BOS: u8 = 2;

/// 64 kbit/s in packets of 20 ms, ten of them on a page.
pub(crate) fn opus() -> Stream {
    const PACKETS: u32 = 10;
    let mut identification = b"OpusHead\x01\x02\x38\x01".to_vec();
    identification.extend(48_000_u32.to_le_bytes());
    identification.extend([0; 3]);
    let tags = [b"OpusTags".to_vec(), comments("ARTIST=Somebody")].concat();
    // The first byte: one frame of 20 ms, CELT, in stereo.
    let packet = |n| [vec![0xFC], noise(n, 159)].concat();
    let data = |n: u32| {
        let packets: Vec<_> = (0..PACKETS).map(|of| packet(n * PACKETS + of)).collect();
        page(0, u64::from(n + 1) * 9600, n + 2, &packets)
    };
    Stream {
        format: Format::Ogg,
        head: [page(BOS, 0, 0, &[identification]), page(0, 0, 1, &[tags])].concat(),
        parts: (0..PAGES).map(data).collect(),
        codec: Some("Opus"),
        duration: Some(Duration::from_millis(u64::from(PAGES * PACKETS) * 20)),
    }
}

/// Headers and pages like those of Vorbis at 112 kbit/s; its set-up header has no codebooks.
pub(crate) fn vorbis() -> Stream {
    const PACKETS: u32 = 16;
    let mut identification = b"\x01vorbis\0\0\0\0\x02".to_vec();
    identification.extend(44_100_u32.to_le_bytes());
    identification.extend([0; 4]);
    identification.extend(112_000_u32.to_le_bytes());
    identification.extend([0, 0, 0, 0, 0xB8, 1]);
    let tags = [b"\x03vorbis".to_vec(), comments("ARTIST=Somebody"), vec![1]].concat();
    let setup = [b"\x05vorbis".to_vec(), noise(1, 3000)].concat();
    let data = |n: u32| {
        let packets: Vec<_> = (0..PACKETS)
            .map(|of| noise(n * PACKETS + of, 250 + (of * 29 % 120) as usize))
            .collect();
        page(0, u64::from((n + 1) * PACKETS) * 1024, n + 2, &packets)
    };
    Stream {
        format: Format::Ogg,
        head: [page(BOS, 0, 0, &[identification]), page(0, 0, 1, &[tags, setup])].concat(),
        parts: (0..PAGES).map(data).collect(),
        codec: Some("Vorbis"),
        duration: None,
    }
}

fn comments(field: &str) -> Vec<u8> {
    let mut block = b"\x04\0\0\0Test\x01\0\0\0".to_vec();
    block.extend((field.len() as u32).to_le_bytes());
    block.extend_from_slice(field.as_bytes());
    block
}

fn page(flags: u8, granule: u64, sequence: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut lacing = Vec::new();
    for packet in packets {
        lacing.extend(std::iter::repeat_n(255, packet.len() / 255));
        lacing.push((packet.len() % 255) as u8);
    }
    let mut page = b"OggS\0".to_vec();
    page.push(flags);
    page.extend(granule.to_le_bytes());
    page.extend(SERIAL.to_le_bytes());
    page.extend(sequence.to_le_bytes());
    page.extend([0; 4]);
    page.push(u8::try_from(lacing.len()).expect("a page has at most 255 segments"));
    page.extend(lacing);
    page.extend(packets.concat());
    let checksum = crc(32, 0x04C1_1DB7, 0, &page);
    page[22..26].copy_from_slice(&checksum.to_le_bytes());
    page
}
