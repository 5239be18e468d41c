//! Synthesised pages and streams for the tests of this module.

use super::crc;
use super::page::{BOS, EOS};

/// A page with whole packets.
pub(super) fn page(flags: u8, granule: u64, serial: u32, sequence: u32, packets: &[&[u8]]) -> Vec<u8> {
    let mut lacing = Vec::new();
    let mut body = Vec::new();
    for packet in packets {
        lacing.extend(std::iter::repeat_n(255, packet.len() / 255));
        lacing.push((packet.len() % 255) as u8);
        body.extend_from_slice(packet);
    }
    let mut bytes = b"OggS\0".to_vec();
    bytes.push(flags);
    bytes.extend(granule.to_le_bytes());
    bytes.extend(serial.to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.push(lacing.len() as u8);
    bytes.extend(lacing);
    bytes.extend(body);
    seal(&mut bytes);
    bytes
}

/// Sets the checksum of a page.
pub(super) fn seal(page: &mut [u8]) {
    let crc = crc::page(page);
    page[22..26].copy_from_slice(&crc.to_le_bytes());
}

/// `OpusHead` with two channels and a pre-skip of 312.
pub(super) const OPUS_HEAD: &[u8] = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0";

/// A packet of 20 ms, as its first byte says.
pub(super) const OPUS_20MS: &[u8] = &[0xfc, 1, 2, 3];

/// A comment block with these fields.
pub(super) fn comments(fields: &[&str]) -> Vec<u8> {
    let mut block = vec![4, 0, 0, 0, b'T', b'e', b's', b't'];
    block.extend((fields.len() as u32).to_le_bytes());
    for field in fields {
        block.extend((field.len() as u32).to_le_bytes());
        block.extend_from_slice(field.as_bytes());
    }
    block
}

/// The two header pages of an Opus stream.
pub(super) fn opus_headers(serial: u32, fields: &[&str]) -> Vec<u8> {
    let tags = [b"OpusTags".to_vec(), comments(fields)].concat();
    [
        page(BOS, 0, serial, 0, &[OPUS_HEAD]),
        page(0, 0, serial, 1, &[&tags]),
    ]
    .concat()
}

/// A data page of an Opus stream with two packets, the `n`th of the stream counting from one.
pub(super) fn opus_page(serial: u32, n: u32, start: u64) -> Vec<u8> {
    page(
        0,
        start + u64::from(n) * 1920,
        serial,
        n + 1,
        &[OPUS_20MS, OPUS_20MS],
    )
}

/// A complete Opus stream of `pages` data pages, the last with the end flag.
pub(super) fn opus_stream(serial: u32, fields: &[&str], pages: u32, start: u64) -> Vec<u8> {
    let mut bytes = opus_headers(serial, fields);
    for n in 1..=pages {
        let mut page = opus_page(serial, n, start);
        if n == pages {
            page[5] |= EOS;
            seal(&mut page);
        }
        bytes.extend(page);
    }
    bytes
}
