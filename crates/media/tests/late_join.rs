//! What a listener gets who joins in the middle, falls behind, or stays while the stream changes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests that stop at once when something is not as it should be"
)]

use std::io::Write;
use std::ops::Range;
use std::process::{Command, Stdio};

use media::ogg::Rewriter;
use media::{Format, Framer, Unit};
use proptest::prelude::*;

const OPUS: &[u8] = include_bytes!("data/ogg/opus.ogg");
const VORBIS: &[u8] = include_bytes!("data/ogg/vorbis.ogg");
const FLAC: &[u8] = include_bytes!("data/ogg/flac.ogg");
const SPEEX: &[u8] = include_bytes!("data/ogg/speex.ogg");
const THEORA: &[u8] = include_bytes!("data/ogg/theora.ogv");
const AUDIO: [(&str, &[u8], u64); 4] = [
    ("opus", OPUS, 48_000),
    ("vorbis", VORBIS, 48_000),
    ("flac", FLAC, 16_000),
    ("speex", SPEEX, 16_000),
];

/// Header and frames of a stream as they come from a slow source, page by page.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    Header(Vec<u8>),
    Frames(bool, Vec<u8>),
}

fn parts(format: Format, bytes: &[u8]) -> Vec<Part> {
    let mut framer = Framer::new(format);
    let mut units = Vec::new();
    for piece in bytes.chunks(97) {
        framer.push(piece, &mut units);
    }
    framer.finish(&mut units);
    assert_eq!(framer.bad_bytes(), 0);
    let parts = units.into_iter().filter_map(|unit| match unit {
        Unit::Header(header) => Some(Part::Header(header.bytes.to_vec())),
        Unit::Frames(frames) => Some(Part::Frames(frames.sync, frames.bytes.to_vec())),
        _ => None,
    });
    parts.collect()
}

/// A stream that has left its beginning far behind, as a live one has.
fn aged(bytes: &[u8], granules: u64) -> Vec<u8> {
    let mut aged = bytes.to_vec();
    for page in pages(bytes) {
        if page.granule != 0 && page.granule != u64::MAX {
            let granule = page.granule + granules;
            aged[page.range.start + 6..page.range.start + 14].copy_from_slice(&granule.to_le_bytes());
            let crc = checksum(&aged[page.range.clone()]);
            aged[page.range.start + 22..page.range.start + 26].copy_from_slice(&crc.to_le_bytes());
        }
    }
    aged
}

/// The parts that a listener gets who joins at `start`: the header in force, then everything from there on
/// but what is in `skipped`.
fn heard(parts: &[Part], start: usize, skipped: Range<usize>) -> Vec<&[u8]> {
    let header = parts[..=start].iter().rev().find_map(|part| match part {
        Part::Header(bytes) => Some(bytes.as_slice()),
        Part::Frames(..) => None,
    });
    let first = parts[start..]
        .iter()
        .position(|it| matches!(it, Part::Frames(true, _)))
        .unwrap_or(0);
    let mut heard: Vec<_> = header.into_iter().collect();
    for (index, part) in parts.iter().enumerate().skip(start + first) {
        match part {
            Part::Header(bytes) => heard.push(bytes),
            Part::Frames(_, bytes) if !skipped.contains(&index) => heard.push(bytes),
            Part::Frames(..) => {}
        }
    }
    heard
}

fn rewrite(seed: u32, heard: &[&[u8]]) -> Vec<u8> {
    let mut rewriter = Rewriter::new(seed);
    let mut out = Vec::new();
    for bytes in heard {
        rewriter.rewrite(bytes, &mut out);
    }
    rewriter.end_chain(&mut out);
    assert!(!rewriter.is_open());
    out
}

struct Page {
    range: Range<usize>,
    flags: u8,
    granule: u64,
    serial: u32,
    sequence: u32,
}

/// Ogg's checksum as RFC 3533 defines it, one bit after another.
fn checksum(page: &[u8]) -> u32 {
    page.iter().enumerate().fold(0, |crc, (at, &byte)| {
        let byte = if (22..26).contains(&at) { 0 } else { byte };
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc: u32, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    })
}

fn pages(bytes: &[u8]) -> Vec<Page> {
    let mut pages = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let page = &bytes[at..];
        assert!(page.starts_with(b"OggS\0"), "no page at {at}");
        let segments = usize::from(page[26]);
        let length = 27
            + segments
            + page[27..27 + segments]
                .iter()
                .map(|&it| usize::from(it))
                .sum::<usize>();
        let word = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().unwrap());
        assert_eq!(checksum(&page[..length]), word(22), "checksum at {at}");
        pages.push(Page {
            range: at..at + length,
            flags: page[5],
            granule: u64::from_le_bytes(page[6..14].try_into().unwrap()),
            serial: word(14),
            sequence: word(18),
        });
        at += length;
    }
    pages
}

/// Checks that every logical stream has a beginning, an end, and every page in between.
fn assert_well_formed(bytes: &[u8]) {
    let mut open: Vec<(u32, u32)> = Vec::new();
    let mut used = Vec::new();
    for page in pages(bytes) {
        if page.flags & 2 != 0 {
            assert!(!used.contains(&page.serial), "a serial twice");
            used.push(page.serial);
            open.push((page.serial, 0));
        }
        let stream = open
            .iter()
            .position(|it| it.0 == page.serial)
            .expect("a page of no stream");
        assert_eq!(page.sequence, open[stream].1);
        open[stream].1 += 1;
        if page.flags & 4 != 0 {
            open.remove(stream);
        }
    }
    assert!(open.is_empty(), "a stream without end");
}

fn timed(bytes: &[u8]) -> Vec<u64> {
    pages(bytes)
        .into_iter()
        .map(|it| it.granule)
        .filter(|it| !matches!(it, 0 | &u64::MAX))
        .collect()
}

#[test]
fn a_listener_from_the_beginning_gets_the_granules_as_sent() {
    for (name, file) in AUDIO
        .map(|it| (it.0, it.1))
        .into_iter()
        .chain([("theora", THEORA)])
    {
        let parts = parts(Format::Ogg, file);
        let out = rewrite(1, &heard(&parts, 0, 0..0));
        assert_well_formed(&out);
        assert_eq!(out.len(), file.len(), "{name}");
        assert_eq!(timed(&out), timed(file), "{name}");
    }
}

#[test]
fn a_late_listener_starts_near_zero() {
    for (name, file, rate) in AUDIO {
        let file = aged(file, 7 * 3600 * rate);
        let parts = parts(Format::Ogg, &file);
        for start in 0..parts.len() {
            let heard = heard(&parts, start, 0..0);
            let out = rewrite(start as u32, &heard);
            assert_well_formed(&out);
            let (sent, got) = (timed(&heard.concat()), timed(&out));
            assert!(got[0] <= rate / 2, "{name} at {start} starts at {}", got[0]);
            // Everything is moved alike; the end page that may follow repeats the last position.
            let moved = sent[0] - got[0];
            let expected: Vec<_> = sent.iter().map(|it| it - moved).collect();
            assert_eq!(got[..expected.len()], expected, "{name} at {start}");
        }
    }
}

#[test]
fn the_first_opus_granule_is_the_pre_skip_and_the_page() {
    let file = aged(OPUS, 1 << 40);
    let parts = parts(Format::Ogg, &file);
    let out = rewrite(5, &heard(&parts, 8, 0..0));
    let pre_skip = u64::from(u16::from_le_bytes([OPUS[28 + 10], OPUS[28 + 11]]));
    // The file has ten packets of 20 ms on a page.
    assert_eq!(timed(&out)[0], pre_skip + 9600);
}

#[test]
fn lost_time_stays_visible() {
    let parts = parts(Format::Ogg, VORBIS);
    let skipped = heard(&parts, 0, 6..12);
    let out = rewrite(1, &skipped);
    assert_well_formed(&out);
    assert_eq!(timed(&out), timed(&skipped.concat()));
    assert!(timed(&out).windows(2).any(|it| it[1] - it[0] > 48_000));
}

#[test]
fn a_chain_that_was_not_ended_gets_an_end() {
    let last = pages(OPUS).pop().unwrap().range.start;
    let parts = parts(Format::Ogg, &[&OPUS[..last], VORBIS, VORBIS].concat());
    let out = rewrite(9, &heard(&parts, 6, 0..0));
    assert_well_formed(&out);
    let found = pages(&out);
    assert_eq!(found.iter().filter(|it| it.flags & 2 != 0).count(), 3);
    let end = found.iter().position(|it| it.flags & 4 != 0).unwrap();
    assert_eq!(
        (found[end].range.len(), found[end].granule),
        (27, found[end - 1].granule)
    );
    assert_eq!(found[end + 1].flags & 2, 2);
    // The chains that the listener heard from their beginning are as sent.
    assert_eq!(
        timed(&out[found[end + 1].range.start..]),
        timed(&[VORBIS, VORBIS].concat())
    );
}

#[test]
fn a_move_to_another_mount_ends_the_chain() {
    let (here, there) = (parts(Format::Ogg, VORBIS), parts(Format::Ogg, OPUS));
    let mut rewriter = Rewriter::new(1);
    let mut out = Vec::new();
    let first = heard(&here, 3, 0..0);
    first[..3]
        .iter()
        .for_each(|bytes| rewriter.rewrite(bytes, &mut out));
    assert!(rewriter.is_open());
    rewriter.end_chain(&mut out);
    assert!(!rewriter.is_open());
    let end = out.len();
    rewriter.rewrite(first[3], &mut out);
    assert_eq!(out.len(), end, "a page after the end");
    let mut copy = rewriter.clone();
    for bytes in heard(&there, 5, 0..0) {
        rewriter.rewrite(bytes, &mut out);
    }
    assert_well_formed(&out);

    let mut other = Vec::new();
    heard(&there, 5, 0..0)
        .iter()
        .for_each(|bytes| copy.rewrite(bytes, &mut other));
    assert_eq!(other, out[end..], "a clone goes on as its original does");
}

#[test]
fn a_listener_in_the_second_chain_gets_its_headers() {
    let parts = parts(Format::Ogg, &[OPUS, VORBIS].concat());
    let second = parts
        .iter()
        .rposition(|it| matches!(it, Part::Header(_)))
        .unwrap();
    let out = rewrite(1, &heard(&parts, second + 4, 0..0));
    assert_well_formed(&out);
    assert!(out[28..].starts_with(b"\x01vorbis"));
}

#[test]
fn multiplexed_streams_stay_in_step() {
    let parts = parts(Format::Ogg, THEORA);
    let start = parts
        .iter()
        .rposition(|it| matches!(it, Part::Frames(true, _)))
        .unwrap();
    let heard = heard(&parts, start, 0..0);
    let out = rewrite(1, &heard);
    assert_well_formed(&out);
    assert_eq!(timed(&out), timed(&heard.concat()));
}

#[test]
fn a_rewriter_is_small() {
    assert!(size_of::<Rewriter>() <= 96, "{}", size_of::<Rewriter>());
}

/// Decodes with ffmpeg, if there is one, and answers what it complains about.
fn complaints(name: &str, stream: &[u8]) -> Option<String> {
    let decoder = Command::new("ffmpeg")
        .args(["-v", "error", "-i", "pipe:0", "-f", "null", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut decoder) = decoder else {
        println!("{name}: not decoded, because ffmpeg is not installed");
        return None;
    };
    // The streams are smaller than what a pipe and the decoder take without an answer.
    let _ = decoder.stdin.take().unwrap().write_all(stream);
    let output = decoder.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(format!(
        "{text}{}",
        if output.status.success() { "" } else { "failed" }
    ))
}

#[test]
fn a_decoder_takes_what_listeners_get() {
    let check = |name: &str, stream: &[u8]| {
        let found = complaints(name, stream).unwrap_or_default();
        assert_eq!(found, "", "{name}");
    };
    for (name, file, rate) in AUDIO {
        let parts = parts(Format::Ogg, &aged(file, 3600 * rate));
        check(name, &rewrite(1, &heard(&parts, 5, 0..0)));
        check(name, &rewrite(1, &heard(&parts, 3, 6..8)));
    }
    let theora = parts(Format::Ogg, THEORA);
    check("theora", &rewrite(1, &heard(&theora, theora.len() / 2, 0..0)));
    let last = pages(OPUS).pop().unwrap().range.start;
    let chained = parts(Format::Ogg, &[&OPUS[..last], OPUS, OPUS].concat());
    check("chained", &rewrite(1, &heard(&chained, 9, 0..0)));
    let webm: [(&str, &[u8]); 3] = [
        ("audio.webm", include_bytes!("data/ogg/audio.webm")),
        ("known.webm", include_bytes!("data/ogg/known.webm")),
        ("video.webm", include_bytes!("data/ogg/video.webm")),
    ];
    for (name, file) in webm {
        let parts = parts(Format::Matroska, file);
        check(name, &heard(&parts, 0, 0..0).concat());
        check(name, &heard(&parts, parts.len() / 2, 0..0).concat());
    }
}

proptest! {
    #[test]
    fn whatever_is_skipped_the_output_is_well_formed(
        order in proptest::collection::vec((0usize..5, 0usize..3), 1..4),
        start in any::<prop::sample::Index>(),
        gap in (any::<prop::sample::Index>(), 0usize..20),
        seed: u32,
    ) {
        let files = [OPUS, VORBIS, FLAC, SPEEX, THEORA];
        // Some chains are cut off before their end.
        let stream: Vec<u8> = order.iter().flat_map(|&(which, cut)| {
            let pages = pages(files[which]);
            let end = pages[pages.len() - 1 - cut].range.end;
            files[which][..end].to_vec()
        }).collect();
        let parts = parts(Format::Ogg, &stream);
        let gap = gap.0.index(parts.len())..gap.0.index(parts.len()) + gap.1;
        assert_well_formed(&rewrite(seed, &heard(&parts, start.index(parts.len()), gap)));
    }
}
