use proptest::prelude::*;

use super::*;
use crate::StreamFacts;

const AUDIO: &[u8] = include_bytes!("../../tests/data/ogg/audio.webm");
const KNOWN: &[u8] = include_bytes!("../../tests/data/ogg/known.webm");
const VIDEO: &[u8] = include_bytes!("../../tests/data/ogg/video.webm");

/// Frames with what they are for a listener.
type Piece = (bool, Duration, Vec<u8>);

fn cut(bytes: &[u8], sizes: &[usize]) -> (Vec<Unit>, MatroskaFramer) {
    let mut framer = MatroskaFramer::new();
    let mut units = Vec::new();
    let mut rest = bytes;
    for &size in sizes.iter().cycle() {
        let (now, later) = rest.split_at(size.min(rest.len()));
        framer.push(now, &mut units);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    framer.finish(&mut units);
    (units, framer)
}

fn frames(units: &[Unit]) -> Vec<Piece> {
    let frames = units.iter().filter_map(|unit| match unit {
        Unit::Frames(frames) => Some((frames.sync, frames.duration, frames.bytes.to_vec())),
        _ => None,
    });
    frames.collect()
}

fn headers(units: &[Unit]) -> Vec<Vec<u8>> {
    let headers = units.iter().filter_map(|unit| match unit {
        Unit::Header(header) => {
            assert!(!header.chains);
            Some(header.bytes.to_vec())
        }
        _ => None,
    });
    headers.collect()
}

fn body(units: &[Unit]) -> Vec<u8> {
    frames(units)
        .into_iter()
        .flat_map(|(_, _, bytes)| bytes)
        .collect()
}

/// The identifiers of the elements in a body, Clusters and their children alike.
fn identifiers(mut bytes: &[u8]) -> Vec<u32> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let Start::Head(head) = ebml::head(bytes) else {
            panic!("no element at {:x?}", &bytes[..4])
        };
        found.push(head.id);
        bytes = &bytes[head.len + head.size.map_or(0, |size| usize::try_from(size).unwrap())..];
    }
    found
}

fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
    let size = (content.len() as u64 | 1 << 56).to_be_bytes();
    [id, &size, content].concat()
}

fn simple_block(track: u8, time: i16, key: bool) -> Vec<u8> {
    let [high, low] = time.to_be_bytes();
    element(&[0xa3], &[0x80 | track, high, low, u8::from(key) << 7, 1, 2, 3])
}

/// EBML header, an unknown-size Segment and its tracks: 1 audio and, if wanted, 2 video.
fn head(video: bool) -> Vec<u8> {
    let track = |number: u8, kind: u8, codec: &[u8]| {
        let fields = [
            element(&[0xd7], &[number]),
            element(&[0x83], &[kind]),
            element(&[0x86], codec),
        ];
        element(&[0xae], &fields.concat())
    };
    let mut tracks = track(1, 2, b"A_OPUS");
    if video {
        tracks.extend(track(2, 1, b"V_VP8"));
    }
    let doc_type = element(&[0x42, 0x82], b"webm");
    [
        element(&[0x1a, 0x45, 0xdf, 0xa3], &doc_type),
        SEGMENT.to_vec(),
        element(
            &[0x15, 0x49, 0xa9, 0x66],
            &element(&[0x2a, 0xd7, 0xb1], &[0x0f, 0x42, 0x40]),
        ),
        element(&[0x16, 0x54, 0xae, 0x6b], &tracks),
    ]
    .concat()
}

fn cluster(time: u16, blocks: &[Vec<u8>]) -> Vec<u8> {
    [
        CLUSTER.to_vec(),
        element(&[0xe7], &time.to_be_bytes()),
        blocks.concat(),
    ]
    .concat()
}

#[test]
fn live_audio() {
    let (units, framer) = cut(AUDIO, &[700]);
    assert_eq!((framer.bad_bytes(), framer.resyncs()), (0, 0));
    let [header] = &headers(&units)[..] else {
        panic!("one header")
    };
    assert_eq!(&header[..4], [0x1a, 0x45, 0xdf, 0xa3]);
    assert!(memchr::memmem::find(header, &SEGMENT).is_some());
    assert!(memchr::memmem::find(header, &[0x16, 0x54, 0xae, 0x6b]).is_some());
    let facts = StreamFacts {
        codec: Some("Opus"),
        sample_rate: Some(48_000),
        channels: Some(1),
        bitrate: None,
    };
    assert_eq!(units[1], Unit::Facts(facts));
    let frames = frames(&units);
    assert!(
        frames
            .iter()
            .all(|(sync, _, bytes)| *sync == bytes.starts_with(&CLUSTER))
    );
    assert!(frames.iter().filter(|it| it.0).count() >= 4);
    let total: Duration = frames.iter().map(|it| it.1).sum();
    assert!((3.9..4.1).contains(&total.as_secs_f64()), "{total:?}");
}

#[test]
fn known_sizes_become_unknown() {
    let (units, framer) = cut(KNOWN, &[1000]);
    assert_eq!((framer.bad_bytes(), framer.resyncs()), (0, 0));
    let header = headers(&units).concat();
    let seek_head = [0x11, 0x4d, 0x9b, 0x74];
    assert!(memchr::memmem::find(KNOWN, &seek_head).is_some());
    assert!(memchr::memmem::find(&header, &seek_head).is_none());
    let found = identifiers(&body(&units));
    assert!(found.iter().all(|id| matches!(
        *id,
        id::CLUSTER | id::TIMESTAMP | id::SIMPLE_BLOCK | id::BLOCK_GROUP
    )));
    // The same audio with and without sizes has the same blocks.
    let blocks = |ids: &[u32]| {
        ids.iter()
            .filter(|it| matches!(**it, id::SIMPLE_BLOCK | id::BLOCK_GROUP))
            .count()
    };
    let (live, _) = cut(AUDIO, &[1000]);
    assert_eq!(blocks(&found), blocks(&identifiers(&body(&live))));
}

#[test]
fn video_starts_at_keyframes() {
    let (units, framer) = cut(VIDEO, &[1500]);
    assert_eq!((framer.bad_bytes(), framer.resyncs()), (0, 0));
    let Unit::Facts(facts) = &units[1] else {
        panic!("facts")
    };
    assert_eq!(
        (facts.codec, facts.sample_rate, facts.channels),
        (Some("VP8"), Some(48_000), Some(1))
    );
    let starts: Vec<_> = frames(&units).into_iter().filter(|it| it.0).collect();
    assert!(starts.len() >= 3, "{}", starts.len());
    for (_, _, bytes) in starts {
        let Start::Head(head) = ebml::head(&bytes[22..]) else {
            panic!("a block")
        };
        let block = ebml::Block::read(head.id, &bytes[22 + head.len..]).unwrap();
        assert!(block.keyframe, "a start that is no keyframe");
    }
}

#[test]
fn a_keyframe_inside_a_cluster_begins_another() {
    let blocks = [
        simple_block(1, 0, true),
        simple_block(2, 7, true),
        simple_block(2, 400, true),
        simple_block(2, 900, false),
        simple_block(2, 1000, true),
    ];
    let stream = [head(true), cluster(5000, &blocks)].concat();
    let (units, _) = cut(&stream, &[stream.len()]);
    let parts = frames(&units);
    let found: Vec<_> = parts.iter().map(|it| it.0).collect();
    // The sound before the first picture, the picture, and the next keyframe that is not too close to it.
    assert_eq!(found, [false, true, true]);
    assert_eq!(parts[1].2[..22], parts[0].2[..22]);
    assert_eq!(parts[2].2[..22], parts[0].2[..22]);
    assert!(parts[2].2[22..].starts_with(&simple_block(2, 1000, true)));
}

#[test]
fn audio_clusters_are_divided() {
    let blocks: Vec<_> = (0..50).map(|n| simple_block(1, n * 100, true)).collect();
    let stream = [head(false), cluster(0, &blocks)].concat();
    let (units, _) = cut(&stream, &[stream.len()]);
    let starts = frames(&units).iter().filter(|it| it.0).count();
    assert_eq!(starts, 3);
    let total: Duration = frames(&units).iter().map(|it| it.1).sum();
    assert_eq!(total, Duration::from_millis(4900));
}

#[test]
fn a_video_track_without_pictures_does_not_prevent_a_start() {
    let clusters = (0..10).flat_map(|n| cluster(n * 1000, &[simple_block(1, 0, true)]));
    let stream: Vec<u8> = head(true).into_iter().chain(clusters).collect();
    let (units, _) = cut(&stream, &[64]);
    let syncs: Vec<_> = frames(&units).iter().map(|it| it.0).collect();
    assert_eq!(
        syncs,
        [false, false, false, false, false, true, true, true, true, true]
    );
}

#[test]
fn blocks_leave_as_they_complete() {
    let mut framer = MatroskaFramer::new();
    let mut units = Vec::new();
    framer.push(&head(false), &mut units);
    framer.push(&cluster(0, &[]), &mut units);
    assert_eq!(units.len(), 2, "header and facts");
    framer.push(&simple_block(1, 0, true), &mut units);
    framer.push(&simple_block(1, 20, true), &mut units);
    let frames = frames(&units);
    assert_eq!(frames.iter().map(|it| it.0).collect::<Vec<_>>(), [true, false]);
    assert_eq!(frames[1].2, simple_block(1, 20, true));
    assert_eq!(frames[1].1, Duration::from_millis(20));
}

#[test]
fn a_second_document_has_its_own_header() {
    let twice = [AUDIO, VIDEO].concat();
    let (units, framer) = cut(&twice, &[999]);
    assert_eq!((framer.bad_bytes(), framer.resyncs()), (0, 0));
    let alone = [cut(AUDIO, &[999]).0, cut(VIDEO, &[999]).0].map(|units| headers(&units).concat());
    assert_eq!(headers(&units), alone);
}

#[test]
fn damage_costs_one_cluster() {
    let blocks = [simple_block(1, 0, true), simple_block(1, 20, true)];
    let damaged = [cluster(1000, &blocks[..1]), vec![0; 50], blocks[1].clone()].concat();
    let stream = [head(false), cluster(0, &blocks), damaged, cluster(2000, &blocks)].concat();
    let (units, framer) = cut(&stream, &[33]);
    assert_eq!(framer.resyncs(), 1);
    assert_eq!(framer.bad_bytes(), 50 + blocks[1].len() as u64);
    let ids = identifiers(&body(&units));
    assert_eq!(ids.iter().filter(|it| **it == id::SIMPLE_BLOCK).count(), 5);
    assert_eq!(ids.iter().filter(|it| **it == id::CLUSTER).count(), 3);
}

#[test]
fn payload_that_looks_like_a_header_after_damage_does_not_void_the_real_one() {
    let fake = element(&[0x1a, 0x45, 0xdf, 0xa3], &element(&[0x42, 0x82], b"webm"));
    let stream = [
        head(false),
        cluster(0, &[simple_block(1, 0, true)]),
        vec![0],
        fake,
        vec![0; 9],
    ]
    .concat();
    let stream = [stream, cluster(900, &[simple_block(1, 0, true)])].concat();
    let (units, _) = cut(&stream, &[50]);
    assert_eq!(frames(&units).len(), 2);
    assert_eq!(headers(&units).len(), 1);
}

#[test]
fn limits() {
    let mut framer = MatroskaFramer::new();
    let mut units = Vec::new();
    framer.push(&head(false)[..head(false).len() - 5], &mut units);
    assert!(units.is_empty());
    framer.finish(&mut units);
    assert!(units.is_empty(), "an incomplete header is of no use");

    // Too large: a header element, a block, and an element to skip.
    let huge = |id: &[u8]| [id, &[0x10, 0x80, 0, 1, 0]].concat();
    let early = head(false);
    let tracks = memchr::memmem::find(&early, &[0x16, 0x54, 0xae, 0x6b]).unwrap();
    let in_header = [&early[..tracks], &huge(&[0x12, 0x54, 0xc3, 0x67])].concat();
    let in_cluster = [head(false), cluster(0, &[]), huge(&[0xa3])].concat();
    let between = [head(false), cluster(0, &[]), huge(&[0x1c, 0x53, 0xbb, 0x6b])].concat();
    for stream in [in_header, in_cluster, between] {
        let mut framer = MatroskaFramer::new();
        framer.push(&stream, &mut units);
        assert_eq!(framer.resyncs(), 1);
        for _ in 0..300 {
            framer.push(&[0x55; 65_536], &mut units);
        }
        assert!(
            framer.buffer.capacity() <= 4 * STEP,
            "{}",
            framer.buffer.capacity()
        );
    }

    // The largest block that is taken is not kept room for.
    let mut framer = MatroskaFramer::new();
    let large = element(&[0xa3], &[&[0x81, 0, 0, 0x80][..], &vec![7; 8_000_000]].concat());
    let mut units = Vec::new();
    framer.push(
        &[head(false), cluster(0, &[]), large.clone()].concat(),
        &mut units,
    );
    framer.push(&simple_block(1, 0, true), &mut units);
    assert!(frames(&units)[0].2.ends_with(&large));
    assert!(framer.buffer.capacity() <= 4 * STEP && framer.group.bytes.capacity() <= 4 * GROUP);
}

proptest! {
    #[test]
    fn any_split_gives_the_same_stream(
        which in 0usize..3,
        sizes in proptest::collection::vec(1usize..3000, 1..40),
    ) {
        let stream = [AUDIO, KNOWN, VIDEO][which];
        let whole = cut(stream, &[stream.len()]);
        let split = cut(stream, &sizes);
        prop_assert_eq!(headers(&split.0), headers(&whole.0));
        prop_assert_eq!(body(&split.0), body(&whole.0));
        let starts = |units: &[Unit]| frames(units).iter().filter(|it| it.0).count();
        prop_assert_eq!(starts(&split.0), starts(&whole.0));
        let total = |units: &[Unit]| frames(units).iter().map(|it| it.1).sum::<Duration>();
        prop_assert_eq!(total(&split.0), total(&whole.0));
    }

    #[test]
    fn damage_never_breaks_the_output(
        which in 0usize..3,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        sizes in proptest::collection::vec(1usize..3000, 1..10),
    ) {
        let mut stream = [AUDIO, KNOWN, VIDEO][which].to_vec();
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let (units, _) = cut(&stream, &sizes);
        identifiers(&body(&units));
        for (sync, _, bytes) in frames(&units) {
            prop_assert!(!sync || bytes.starts_with(&CLUSTER));
        }
    }

    #[test]
    fn never_panics(
        pieces in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                Just(head(true)),
                Just(head(false)),
                any::<u16>().prop_map(|time| cluster(time, &[])),
                (0u8..3, any::<i16>(), any::<bool>()).prop_map(|(track, time, key)| simple_block(track, time, key)),
                any::<u64>().prop_map(|time| element(&[0xe7], &time.to_be_bytes())),
                any::<u64>().prop_map(|scale| element(&[0x15, 0x49, 0xa9, 0x66], &element(&[0x2a, 0xd7, 0xb1], &scale.to_be_bytes()))),
            ],
            0..20,
        ),
        sizes in proptest::collection::vec(1usize..200, 1..10),
    ) {
        cut(&pieces.concat(), &sizes);
    }
}
