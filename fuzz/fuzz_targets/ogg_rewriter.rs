#![no_main]

use media::{Format, Unit, ogg::Rewriter};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (size, stream) = media_fuzz::pushes(input);
    let (units, _) = media_fuzz::frame(Format::Ogg, size, stream);
    // A listener joins somewhere, misses a unit now and then, and is sent away properly.
    let join = stream.first().map_or(0, |byte| usize::from(*byte) % 8);
    let mut rewriter = Rewriter::new(7);
    let mut out = Vec::new();
    let mut header = None;
    let mut joined = false;
    for (at, unit) in units.iter().enumerate() {
        match unit {
            Unit::Header(it) => {
                header = Some(&it.bytes);
                if joined {
                    rewriter.rewrite(&it.bytes, &mut out);
                }
            }
            Unit::Frames(frames) if at >= join && at % 5 != 4 => {
                if !joined {
                    joined = true;
                    rewriter.rewrite(header.map_or(&[][..], |it| it), &mut out);
                }
                rewriter.rewrite(&frames.bytes, &mut out);
            }
            _ => {}
        }
    }
    rewriter.end_chain(&mut out);
    assert!(!rewriter.is_open());
    assert!(
        out.len() <= stream.len() * 2 + 4096,
        "{} bytes made of {}",
        out.len(),
        stream.len()
    );
    // What the listener got is whole pages with right checksums.
    let mut pages = out.as_slice();
    while !pages.is_empty() {
        assert!(pages.starts_with(b"OggS\0"), "no page");
        let segments = usize::from(pages[26]);
        let body: usize = pages[27..27 + segments].iter().map(|it| usize::from(*it)).sum();
        let (page, rest) = pages.split_at(27 + segments + body);
        let stated = u32::from_le_bytes([page[22], page[23], page[24], page[25]]);
        let mut blank = page.to_vec();
        blank[22..26].fill(0);
        assert_eq!(stated, checksum(&blank), "a wrong checksum");
        pages = rest;
    }
});

/// The checksum of a page whose checksum field is 0 (RFC 3533 section 6).
fn checksum(page: &[u8]) -> u32 {
    page.iter().fold(0, |mut crc: u32, byte| {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            crc = crc << 1 ^ if crc >> 31 == 1 { 0x04C1_1DB7 } else { 0 };
        }
        crc
    })
}
