use proptest::prelude::*;

use super::super::page::{BOS, CONTINUED, EOS, HEAD};
use super::super::testing::{
    OPUS_20MS, OPUS_HEAD, comments, opus_headers, opus_page, opus_stream, page, seal,
};
use super::*;
use crate::{StreamFacts, TrackTitle};

const OPUS: &[u8] = include_bytes!("../../../tests/data/ogg/opus.ogg");
const VORBIS: &[u8] = include_bytes!("../../../tests/data/ogg/vorbis.ogg");
const FLAC: &[u8] = include_bytes!("../../../tests/data/ogg/flac.ogg");
const SPEEX: &[u8] = include_bytes!("../../../tests/data/ogg/speex.ogg");
const THEORA: &[u8] = include_bytes!("../../../tests/data/ogg/theora.ogv");
const ALL: [&[u8]; 5] = [OPUS, VORBIS, FLAC, SPEEX, THEORA];

fn cut(bytes: &[u8], sizes: &[usize]) -> (Vec<Unit>, OggFramer) {
    let mut framer = OggFramer::new();
    let mut units = Vec::new();
    let mut rest = bytes;
    for &size in sizes.iter().cycle() {
        let (now, later) = rest.split_at(size.min(rest.len()));
        framer.push(now, &mut units);
        assert!(framer.buffer.capacity() <= 2 * BUFFER);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    framer.finish(&mut units);
    (units, framer)
}

/// All bytes of the units.
fn bytes(units: &[Unit]) -> Vec<u8> {
    let parts = units.iter().flat_map(|unit| match unit {
        Unit::Header(header) => header.bytes.to_vec(),
        Unit::Frames(frames) => frames.bytes.to_vec(),
        _ => Vec::new(),
    });
    parts.collect()
}

/// Everything but how frames are grouped: a word per header, title, facts and run of frames.
fn shape(units: &[Unit]) -> Vec<String> {
    let mut shape: Vec<String> = Vec::new();
    for unit in units {
        let word = match unit {
            Unit::Frames(_) if shape.last().is_some_and(|it| it == "frames") => continue,
            Unit::Frames(_) => "frames".to_owned(),
            Unit::Header(header) => format!("header of {}", header.bytes.len()),
            other => format!("{other:?}"),
        };
        shape.push(word);
    }
    shape
}

fn titles(units: &[Unit]) -> Vec<TrackTitle> {
    let titles = units.iter().filter_map(|unit| match unit {
        Unit::Title(title) => Some(title.clone()),
        _ => None,
    });
    titles.collect()
}

fn frames(units: &[Unit]) -> Vec<&Frames> {
    let frames = units.iter().filter_map(|unit| match unit {
        Unit::Frames(frames) => Some(frames),
        _ => None,
    });
    frames.collect()
}

fn seconds(units: &[Unit]) -> f64 {
    frames(units)
        .iter()
        .map(|it| it.duration)
        .sum::<Duration>()
        .as_secs_f64()
}

#[test]
fn real_files_pass_unchanged() {
    let facts = |codec, sample_rate, bitrate| StreamFacts {
        codec: Some(codec),
        sample_rate: Some(sample_rate),
        channels: Some(1),
        bitrate,
    };
    let title = |artist: Option<&str>, title: &str| TrackTitle {
        artist: artist.map(str::to_owned),
        title: Some(title.to_owned()),
    };
    let check = |file: &[u8], facts: StreamFacts, title: Option<TrackTitle>, length: f64| {
        let (units, framer) = cut(file, &[1234]);
        let codec = facts.codec;
        assert_eq!((framer.bad_bytes(), framer.resyncs()), (0, 0), "{codec:?}");
        assert!(bytes(&units) == file, "{codec:?}");
        assert!(
            matches!(&units[0], Unit::Header(header) if header.chains),
            "{codec:?}"
        );
        assert_eq!(units[1], Unit::Facts(facts));
        assert_eq!(titles(&units), title.into_iter().collect::<Vec<_>>(), "{codec:?}");
        let found = seconds(&units);
        assert!((found - length).abs() < 0.1, "{codec:?} {found}");
    };
    check(
        OPUS,
        facts("Opus", 48_000, None),
        Some(title(Some("Nina"), "Opus one")),
        4.0,
    );
    check(
        VORBIS,
        facts("Vorbis", 48_000, Some(40_000)),
        Some(title(Some("Bill"), "Vorbis two")),
        4.0,
    );
    check(
        FLAC,
        facts("FLAC", 16_000, None),
        Some(title(None, "Flac three")),
        2.0,
    );
    check(SPEEX, facts("Speex", 16_000, Some(27_800)), None, 2.0);
    check(THEORA, facts("Theora", 48_000, Some(72_000)), None, 3.0);
}

#[test]
fn each_chain_has_its_own_header_and_title() {
    let file = [OPUS, VORBIS, FLAC].concat();
    let (units, framer) = cut(&file, &[file.len()]);
    assert_eq!(framer.bad_bytes(), 0);
    assert!(bytes(&units) == file);
    let found: Vec<_> = titles(&units).into_iter().filter_map(|it| it.title).collect();
    assert_eq!(found, ["Opus one", "Vorbis two", "Flac three"]);
    let order = shape(&units);
    assert_eq!(order.len(), 12);
    for chain in order.chunks(4) {
        assert!(chain[0].starts_with("header") && chain[1].starts_with("Facts"));
        assert!(chain[2].starts_with("Title") && chain[3] == "frames");
    }
}

#[test]
fn video_starts_at_keyframes() {
    let (units, _) = cut(THEORA, &[500]);
    let video = Page::all(THEORA)
        .find(|page| {
            page.packets()
                .next()
                .is_some_and(|it| it.bytes.starts_with(b"\x80theora"))
        })
        .map(|it| it.serial());
    let starts: Vec<_> = frames(&units).into_iter().filter(|it| it.sync).collect();
    assert!(starts.len() >= 2);
    for frames in starts {
        let page = Page::all(&frames.bytes).next().unwrap();
        assert_eq!(Some(page.serial()), video);
        assert_eq!(page.packets().next().unwrap().bytes[0] & 0xc0, 0);
    }
}

#[test]
fn pages_are_grouped_by_push_and_size() {
    let headers = opus_headers(1, &[]);
    let pages: Vec<_> = (1..=200).map(|n| opus_page(1, n, 0)).collect();
    let (units, _) = cut(&[headers.clone(), pages.concat()].concat(), &[1 << 20]);
    let sizes: Vec<_> = frames(&units).iter().map(|it| it.bytes.len()).collect();
    assert!(sizes.iter().all(|&size| size <= GROUP), "{sizes:?}");
    assert_eq!(
        sizes.len(),
        (200 * pages[0].len()).div_ceil(GROUP / pages[0].len() * pages[0].len())
    );

    let mut framer = OggFramer::new();
    let mut units = Vec::new();
    framer.push(&headers, &mut units);
    framer.push(&pages[0], &mut units);
    let expected = Frames {
        bytes: pages[0].clone().into(),
        sync: true,
        duration: Duration::from_millis(40),
    };
    assert_eq!(units.last(), Some(&Unit::Frames(expected)));
}

#[test]
fn a_place_to_start_begins_a_unit() {
    let big = vec![0xfc; 255];
    let mut open = page(0, u64::MAX, 1, 3, &[&big]);
    // Without the terminating lacing value the packet goes on.
    open[26] -= 1;
    open.remove(HEAD + 1);
    seal(&mut open);
    let tail = page(CONTINUED, 3840, 1, 4, &[b"rest", OPUS_20MS]);
    let stream = [
        opus_headers(1, &[]),
        opus_page(1, 1, 0),
        open,
        tail,
        opus_page(1, 4, 0),
    ]
    .concat();
    let (units, _) = cut(&stream, &[1]);
    assert_eq!(
        frames(&units).iter().map(|it| it.sync).collect::<Vec<_>>(),
        [true, true, false, true]
    );

    let continued: Vec<u8> = (1..=4000)
        .flat_map(|n| page(CONTINUED, n * 960, 1, 2, &[&[0xfc; 200]]))
        .collect();
    let (units, _) = cut(&[opus_headers(1, &[]), continued].concat(), &[1 << 20]);
    assert_eq!(
        frames(&units).iter().filter(|it| it.sync).count(),
        1,
        "where there is no better place"
    );
}

#[test]
fn damaged_pages_are_dropped() {
    let mut bad = opus_page(1, 2, 0);
    let last = bad.len() - 1;
    bad[last] ^= 1;
    let stream = [
        opus_headers(1, &[]),
        opus_page(1, 1, 0),
        bad.clone(),
        opus_page(1, 3, 0),
    ]
    .concat();
    let (units, framer) = cut(&stream, &[7]);
    assert_eq!((framer.bad_bytes(), framer.resyncs()), (bad.len() as u64, 1));
    assert_eq!(
        bytes(&units),
        [opus_headers(1, &[]), opus_page(1, 1, 0), opus_page(1, 3, 0)].concat()
    );
    // What the lost page had is lost time, and time goes on behind it.
    assert!((seconds(&units) - 0.12).abs() < 1e-6);
}

#[test]
fn a_capture_pattern_in_payload_is_no_page() {
    let inner = opus_page(9, 1, 0);
    let outer = page(0, 1920, 1, 2, &[&inner, b"OggS\0\0"]);
    let good = [opus_headers(1, &[]), outer.clone(), opus_page(1, 2, 0)].concat();
    let (units, framer) = cut(&good, &[11]);
    assert_eq!(framer.bad_bytes(), 0);
    assert_eq!(bytes(&units), good);

    // Even when the outer page is damaged, the inner one belongs to no stream of the chain.
    let mut bad = outer;
    bad[30] ^= 1;
    let stream = [opus_headers(1, &[]), bad.clone(), opus_page(1, 2, 0)].concat();
    let (units, framer) = cut(&stream, &[11]);
    assert_eq!(framer.bad_bytes(), bad.len() as u64);
    assert_eq!(bytes(&units), [opus_headers(1, &[]), opus_page(1, 2, 0)].concat());
}

#[test]
fn what_does_not_belong_is_dropped() {
    let headers = opus_headers(1, &[]);
    let check = |name: &str, parts: &[&[u8]], kept: &[&[u8]]| {
        let stream = parts.concat();
        let (units, framer) = cut(&stream, &[13]);
        assert_eq!(bytes(&units), kept.concat(), "{name}");
        assert_eq!(
            framer.bad_bytes() as usize,
            stream.len() - kept.concat().len(),
            "{name}"
        );
    };
    let data = opus_page(1, 1, 0);
    check(
        "data before headers",
        &[&data, &headers, &data],
        &[&headers, &data],
    );
    check(
        "another serial",
        &[&headers, &opus_page(2, 1, 0), &data],
        &[&headers, &data],
    );
    check(
        "junk between pages",
        &[b"xO", &headers, b"OggOOgg", &data, b"Ogg"],
        &[&headers, &data],
    );
    check(
        "a page cut off",
        &[&headers, &data, &data[..data.len() - 1]],
        &[&headers, &data],
    );
    let head = page(BOS, 0, 1, 0, &[OPUS_HEAD]);
    check("headers never complete", &[&head, &data, &headers], &[&headers]);
    check(
        "headers begun twice",
        &[&head, &headers, &data],
        &[&headers, &data],
    );
}

#[test]
fn header_groups() {
    let check = |name: &str, headers: &[Vec<u8>], data: Vec<u8>| {
        let stream = [headers.concat(), data].concat();
        let (units, framer) = cut(&stream, &[19]);
        assert_eq!(framer.bad_bytes(), 0, "{name}");
        assert_eq!(bytes(&units), stream, "{name}");
        let Unit::Header(header) = &units[0] else {
            panic!("{name}")
        };
        assert_eq!(header.bytes, headers.concat(), "{name}");
    };
    let opus = opus_headers(1, &[]);
    let (head, tags) = opus.split_at(page(BOS, 0, 1, 0, &[OPUS_HEAD]).len());
    let skeleton = [
        page(BOS, 0, 7, 0, &[&b"fishead\0".repeat(8)]),
        head.to_vec(),
        page(0, 0, 7, 1, &[b"fisbone\0"]),
        tags.to_vec(),
        page(EOS, 0, 7, 2, &[b""]),
    ];
    check("skeleton", &skeleton, opus_page(1, 1, 0));
    check("skeleton without end", &skeleton[..4], opus_page(1, 1, 0));

    let unknown = [page(BOS, 0, 3, 0, &[b"NEWCODEC"]), page(0, 0, 3, 1, &[b"more"])];
    check("unknown codec", &unknown, page(0, 5, 3, 2, &[b"data"]));

    let mut flac = [&b"\x7fFLAC\x01\x00\x00\x00fLaC\0\0\0\x22"[..], &[0; 34]].concat();
    flac[27..31].copy_from_slice(&[0x0a, 0xc4, 0x42, 0xf0]);
    let comment = |kind| [&[kind, 0, 0, 9][..], &comments(&["TITLE=t"])].concat();
    let blocks = [
        page(BOS, 0, 3, 0, &[&flac]),
        page(0, 0, 3, 1, &[&comment(4)]),
        page(0, 0, 3, 2, &[b"\x81\0\0\0"]),
    ];
    let frame = page(0, 4096, 3, 3, &[b"\xff\xf8\xc9\x18\0"]);
    check("FLAC that counts no blocks", &blocks, frame.clone());
    check("FLAC without a last block", &blocks[..2], frame.clone());
    flac[8] = 1;
    check(
        "FLAC that counts",
        &[page(BOS, 0, 3, 0, &[&flac]), blocks[1].clone()],
        frame,
    );
}

#[test]
fn a_lost_header_page_is_noticed() {
    let setup = Page::all(VORBIS)
        .take(2)
        .map(|it| it.bytes().len())
        .sum::<usize>();
    let first = Page::all(VORBIS).next().unwrap().bytes().len();
    let (units, framer) = cut(&[&VORBIS[..first], &VORBIS[setup..], OPUS].concat(), &[512]);
    assert!(bytes(&units) == OPUS);
    assert_eq!(framer.bad_bytes() as usize, VORBIS.len() - setup + first);
}

#[test]
fn headers_are_limited() {
    let head = page(BOS, 0, 1, 0, &[OPUS_HEAD]);
    let mut part = page(
        0,
        u64::MAX,
        1,
        1,
        &[&[b"OpusTags".to_vec(), vec![0; 65_017]].concat()],
    );
    part[26] = 255;
    let length = HEAD + 255 + 255 * 255;
    part.resize(length, 0);
    part[HEAD..HEAD + 255].fill(255);
    seal(&mut part);
    let mut more = part.clone();
    more[5] = CONTINUED;
    seal(&mut more);
    let stream = [head, part, more.repeat(20), opus_stream(5, &["TITLE=t"], 3, 0)].concat();
    let (units, _) = cut(&stream, &[9000]);
    assert_eq!(bytes(&units), opus_stream(5, &["TITLE=t"], 3, 0));

    let heads: Vec<u8> = (0..40)
        .flat_map(|serial| page(BOS, 0, serial, 0, &[OPUS_HEAD]))
        .collect();
    let tags: Vec<u8> = (0..40)
        .flat_map(|serial| {
            page(
                0,
                0,
                serial,
                1,
                &[&[b"OpusTags".to_vec(), comments(&[])].concat()],
            )
        })
        .collect();
    let (units, _) = cut(&[heads, tags].concat(), &[100]);
    let Unit::Header(header) = &units[0] else {
        panic!("a header")
    };
    assert_eq!(Page::all(&header.bytes).count(), 2 * super::super::MAX_STREAMS);
}

#[test]
fn times_that_jump_are_not_playing_time() {
    let first = opus_page(1, 1, 48_000 * 3600);
    let stream = [
        opus_headers(1, &[]),
        first,
        opus_page(1, 2, 48_000 * 3600),
        opus_page(1, 3, 0),
    ]
    .concat();
    let (units, _) = cut(&stream, &[50]);
    let found: Vec<_> = frames(&units).iter().map(|it| it.duration.as_millis()).collect();
    // An hour at the start is where a relay joined; a step back counts nothing.
    assert_eq!(found.iter().sum::<u128>(), 80, "{found:?}");
}

#[test]
fn the_framer_is_as_new_after_the_end() {
    let mut framer = OggFramer::new();
    let mut units = Vec::new();
    framer.push(&OPUS[..5000], &mut units);
    framer.finish(&mut units);
    units.clear();
    framer.push(OPUS, &mut units);
    framer.finish(&mut units);
    assert!(bytes(&units) == OPUS);
}

proptest! {
    #[test]
    fn any_split_gives_the_same_stream(
        order in proptest::collection::vec(0usize..5, 1..3),
        sizes in proptest::collection::vec(1usize..3000, 1..40),
    ) {
        let stream = order.iter().flat_map(|&which| ALL[which]).copied().collect::<Vec<_>>();
        let (split, framer) = cut(&stream, &sizes);
        let (whole, _) = cut(&stream, &[stream.len()]);
        prop_assert_eq!(framer.bad_bytes(), 0);
        prop_assert!(bytes(&split) == stream);
        prop_assert_eq!(shape(&split), shape(&whole));
        prop_assert!((seconds(&split) - seconds(&whole)).abs() < 1e-6);
    }

    #[test]
    fn every_byte_is_sent_or_counted(
        which in 0usize..5,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30),
        sizes in proptest::collection::vec(1usize..3000, 1..10),
    ) {
        let mut stream = [ALL[which], OPUS].concat();
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let (units, framer) = cut(&stream, &sizes);
        let sent = bytes(&units);
        prop_assert_eq!(sent.len() as u64 + framer.bad_bytes(), stream.len() as u64);
        let pages: usize = Page::all(&sent).map(|page| {
            assert!(page.is_intact());
            page.bytes().len()
        }).sum();
        prop_assert_eq!(pages, sent.len());
    }

    #[test]
    fn never_panics(
        pieces in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..60),
                (0u8..8, prop_oneof![Just(0), Just(u64::MAX), any::<u64>()], 0u32..3, any::<usize>(), proptest::collection::vec(any::<u8>(), 0..90))
                    .prop_map(|(flags, granule, serial, magic, body)| {
                        let magics: [&[u8]; 10] = [
                            b"OpusHead\x01", b"OpusTags", b"\x01vorbis", b"\x03vorbis", b"\x05vorbis",
                            b"\x7fFLAC\x01\0", b"Speex   ", b"\x80theora", b"fishead\0", b"",
                        ];
                        page(flags, granule, serial, 0, &[&[magics[magic % 10], &body].concat(), b"x"])
                    }),
            ],
            0..30,
        ),
        sizes in proptest::collection::vec(1usize..500, 1..10),
    ) {
        let stream = pieces.concat();
        let (units, framer) = cut(&stream, &sizes);
        prop_assert_eq!(bytes(&units).len() as u64 + framer.bad_bytes(), stream.len() as u64);
        let mut rewriter = crate::ogg::Rewriter::new(3);
        let mut out = Vec::new();
        rewriter.rewrite(&bytes(&units), &mut out);
        rewriter.rewrite(&stream, &mut out);
        rewriter.end_chain(&mut out);
        prop_assert!(!rewriter.is_open());
    }
}
