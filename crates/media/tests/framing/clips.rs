//! Short clips made by real encoders.

use std::time::Duration;

use media::{Format, Framer, StreamFacts, TrackTitle};

use super::{Cut, check_splits, cut, read, whole};

fn facts(codec: &'static str, sample_rate: u32, channels: u8, bitrate: Option<u32>) -> StreamFacts {
    StreamFacts {
        codec: Some(codec),
        sample_rate: Some(sample_rate),
        channels: Some(channels),
        bitrate,
    }
}

fn samples(count: u64, rate: u64) -> Duration {
    Duration::from_nanos(count * 1_000_000_000 / rate)
}

/// A stream without header: `skipped` bytes of tag in front, then `frames` frames, then `bad` bytes.
#[track_caller]
fn check_frames(
    file: &str,
    format: Format,
    skipped: usize,
    bad: usize,
    frames: u64,
    frame: u64,
    expected: StreamFacts,
) {
    check_stream(
        &read(&format!("data/{file}")),
        format,
        skipped,
        bad,
        frames,
        frame,
        expected,
    );
}

#[track_caller]
fn check_stream(
    stream: &[u8],
    format: Format,
    skipped: usize,
    bad: usize,
    frames: u64,
    frame: u64,
    expected: StreamFacts,
) {
    let cut = check_splits(format, stream);
    assert_eq!(cut.facts, std::slice::from_ref(&expected));
    let rate = u64::from(expected.sample_rate.expect("a rate"));
    assert_eq!(cut.duration, samples(frames * frame, rate));
    assert!(cut.bytes == stream[skipped..stream.len() - bad]);
    assert_eq!(cut.bad_bytes, bad as u64);
    assert!(cut.headers.is_empty() && cut.titles.is_empty());
    assert!(
        cut.units.iter().all(|unit| unit.1),
        "every frame is a place to start"
    );
}

#[test]
fn layer_three() {
    check_frames(
        "cbr.mp3",
        Format::Mpeg,
        79,
        0,
        60,
        1152,
        facts("MP3", 44_100, 2, Some(64_000)),
    );
    check_frames(
        "mpeg2.mp3",
        Format::Mpeg,
        0,
        0,
        42,
        576,
        facts("MP3", 22_050, 1, Some(56_000)),
    );
    check_frames(
        "mpeg25.mp3",
        Format::Mpeg,
        0,
        0,
        23,
        576,
        facts("MP3", 11_025, 1, Some(32_000)),
    );
}

#[test]
fn variable_bit_rate_and_tags_behind() {
    let expected = facts("MP3", 44_100, 2, Some(64_000));
    check_frames("vbr.mp3", Format::Mpeg, 0, 0, 60, 1152, expected.clone());
    // APE and ID3v1 tags belong to no frame.
    let mut stream = read("data/vbr.mp3");
    stream.extend_from_slice(b"APETAGEX\xD0\x07\0\0\x20\0\0\0\0\0\0\0\0\0\0\x80\0\0\0\0\0\0\0\0");
    stream.extend_from_slice(b"TAG");
    stream.extend_from_slice(&[b' '; 125]);
    check_stream(&stream, Format::Mpeg, 0, 160, 60, 1152, expected);
}

#[test]
fn layer_two() {
    check_frames(
        "layer2.mp2",
        Format::Mpeg,
        0,
        0,
        42,
        1152,
        facts("MP2", 48_000, 2, Some(96_000)),
    );
}

#[test]
fn adts() {
    check_frames(
        "lc.aac",
        Format::Adts,
        0,
        0,
        66,
        1024,
        facts("AAC", 44_100, 2, None),
    );
}

/// Size of the FLAC clip's head: `fLaC` and all blocks.
fn flac_head_len(stream: &[u8]) -> usize {
    let mut at = 4;
    loop {
        let len = u32::from_be_bytes([0, stream[at + 1], stream[at + 2], stream[at + 3]]) as usize;
        let last = stream[at] & 0x80 != 0;
        at += 4 + len;
        if last {
            return at;
        }
    }
}

#[test]
fn flac() {
    let stream = read("data/song.flac");
    let head = flac_head_len(&stream);
    let cut = check_splits(Format::Flac, &stream);
    assert_eq!(cut.headers, [(0, stream[..head].to_vec())]);
    assert_eq!(cut.bytes, stream[head..]);
    assert_eq!(cut.facts, [facts("FLAC", 22_050, 1, None)]);
    let title = TrackTitle {
        artist: Some("Singer".to_owned()),
        title: Some("Song".to_owned()),
    };
    assert_eq!(cut.titles, [title]);
    assert_eq!(cut.duration, samples(17_640, 22_050));
    assert_eq!((cut.units.len(), cut.bad_bytes, cut.resyncs), (16, 0, 0));
    assert!(cut.units.iter().all(|unit| unit.1));
}

#[test]
fn flac_files_one_behind_the_other() {
    let stream = read("data/song.flac");
    let head = flac_head_len(&stream);
    let cut = check_splits(Format::Flac, &[stream.as_slice(), &stream].concat());
    assert_eq!(cut.headers.len(), 1, "the header did not change");
    assert_eq!(cut.titles.len(), 2);
    assert_eq!(cut.bytes, [&stream[head..], &stream[head..]].concat());
    assert_eq!((cut.bad_bytes, cut.resyncs), (0, 0));
}

#[test]
fn flac_heads_are_kept_small_and_valid() {
    let stream = read("data/song.flac");
    let head = flac_head_len(&stream);
    let info = [b"fLaC\x00\x00\x00\x22".as_slice(), &stream[8..42]].concat();
    let picture = [b"\x06\x0F\x42\x40".as_slice(), &vec![7; 1_000_000]].concat();
    let comment_len = u32::from_be_bytes([0, stream[43], stream[44], stream[45]]) as usize;
    let mut comment = stream[42..46 + comment_len].to_vec();
    comment[0] = 4;
    let last_padding = b"\x81\x00\x00\x03\0\0\0";
    let huge_padding = [b"\x81\x0F\x42\x40".as_slice(), &vec![0; 1_000_000]].concat();
    let check = |blocks: &[&[u8]], kept: &[&[u8]]| {
        let input = [&blocks.concat(), &stream[head..]].concat();
        let cut = cut(Format::Flac, input.chunks(1460));
        let header = &cut.headers[0].1;
        assert_eq!(flac_head_len(header), header.len(), "the last block is flagged");
        assert!(header.len() <= 1 << 20);
        let mut plain = header.clone();
        let expected = kept.concat();
        // Apart from the flag the blocks are what the source sent.
        assert_eq!(plain.len(), expected.len());
        for (at, byte) in plain.iter_mut().enumerate() {
            *byte = if *byte ^ expected[at] == 0x80 {
                expected[at]
            } else {
                *byte
            };
        }
        assert_eq!(plain, expected);
        assert_eq!(cut.titles.len(), usize::from(kept.contains(&comment.as_slice())));
        assert_eq!(cut.bytes, stream[head..]);
        assert_eq!(cut.bad_bytes, 0);
    };
    check(&[&info, &comment, last_padding], &[&info, &comment, last_padding]);
    check(
        &[&info, &picture, &comment, last_padding],
        &[&info, &comment, last_padding],
    );
    check(&[&info, &comment, &huge_padding], &[&info, &comment]);
    check(&[&info, &huge_padding], &[&info]);
}

fn check_wav(file: &str, align: usize, expected: StreamFacts, fmt_len: usize) {
    let stream = read(&format!("data/{file}"));
    let data = stream
        .windows(4)
        .position(|it| it == b"data")
        .expect("a data chunk")
        + 8;
    let fmt = stream
        .windows(4)
        .position(|it| it == b"fmt ")
        .expect("a format chunk");
    let cut = check_splits(Format::Wav, &stream);
    let header = [
        b"RIFF\xFF\xFF\xFF\xFFWAVE".as_slice(),
        &stream[fmt..fmt + 8 + fmt_len],
        b"data\xFF\xFF\xFF\xFF",
    ]
    .concat();
    assert_eq!(cut.headers, [(0, header.clone())]);
    assert_eq!(cut.bytes, stream[data..]);
    assert!(
        cut.units
            .iter()
            .all(|unit| unit.1 && unit.0.is_multiple_of(align))
    );
    let rate = u64::from(expected.sample_rate.expect("a rate"));
    assert_eq!(cut.duration, samples((cut.bytes.len() / align) as u64, rate));
    assert_eq!(cut.facts, [expected]);
    assert_eq!((cut.bad_bytes, cut.resyncs), (0, 0));

    // The header that is passed on is a header too, of a stream that never ends.
    let live = [header.as_slice(), &stream[data..], &stream[data..], b"\0"].concat();
    let again = check_splits(Format::Wav, &live);
    assert_eq!(again.headers, cut.headers);
    assert_eq!(again.bytes, [&stream[data..], &stream[data..]].concat());
    assert_eq!(again.bad_bytes, 1, "half a sample at the end");

    // Files one behind the other are one stream.
    let files = check_splits(Format::Wav, &[stream.as_slice(), &stream].concat());
    assert_eq!((files.headers, files.bytes), (again.headers, again.bytes));
}

#[test]
fn wav() {
    check_wav("song.wav", 4, facts("PCM", 44_100, 2, Some(1_411_200)), 16);
    check_wav("extensible.wav", 9, facts("PCM", 48_000, 3, Some(3_456_000)), 40);
}

#[test]
fn wav_with_a_wrong_length_goes_on() {
    let mut stream = read("data/song.wav");
    let data = stream
        .windows(4)
        .position(|it| it == b"data")
        .expect("a data chunk");
    stream[data + 4..data + 8].copy_from_slice(&1000u32.to_le_bytes());
    let cut = check_splits(Format::Wav, &stream);
    assert_eq!(cut.bytes, stream[data + 8..]);
}

#[test]
fn wav_trailers_are_not_audio() {
    let file = read("data/song.wav");
    let data = file
        .windows(4)
        .position(|it| it == b"data")
        .expect("a data chunk")
        + 8;
    let stream = [
        file.as_slice(),
        b"LIST\x05\0\0\0INFOx\0",
        &file,
        b"id3 \x04\0\0\0abcd",
    ]
    .concat();
    let cut = check_splits(Format::Wav, &stream);
    assert_eq!(cut.bytes, [&file[data..], &file[data..]].concat());
    assert_eq!((cut.headers.len(), cut.bad_bytes), (1, 0));
}

fn packets(cut: &Cut, pid: u16) -> Vec<&[u8]> {
    let of = |packet: &&[u8]| u16::from_be_bytes([packet[1] & 0x1F, packet[2]]) == pid;
    cut.bytes.chunks(188).filter(of).collect()
}

#[test]
fn transport_stream_with_video() {
    let stream = read("data/video.ts");
    let cut = check_splits(Format::MpegTs, &stream);
    assert_eq!(cut.bytes, stream);
    assert_eq!((cut.bad_bytes, cut.resyncs), (0, 0));
    let (at, header) = &cut.headers[0];
    assert_eq!(cut.headers.len(), 1, "tables that repeat themselves are no news");
    assert_eq!(*header, [packets(&cut, 0)[0], packets(&cut, 0x1000)[0]].concat());
    assert_eq!(
        cut.bytes[*at..at + 188],
        header[188..],
        "the header stands where the tables were complete"
    );
    assert_eq!(cut.facts[0].codec, Some("MPEG2"));

    // Once a random access point was seen, only those of the video count: a picture in four at ten a second.
    let flagged = |packet: &&[u8]| packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x40 != 0;
    let keyframes = packets(&cut, 0x100).into_iter().filter(flagged).count();
    assert_eq!(keyframes, 3);
    let first = cut.units.iter().position(|unit| {
        let packet = &cut.bytes[unit.0..unit.0 + 188];
        packet[1] & 0x1F == 1 && packet[2] == 0 && flagged(&packet)
    });
    let starts = cut.units[first.expect("a keyframe")..]
        .iter()
        .filter(|unit| unit.1)
        .count();
    assert_eq!(starts, keyframes);
}

#[test]
fn transport_stream_with_audio_only() {
    let stream = read("data/audio.ts");
    let cut = check_splits(Format::MpegTs, &stream);
    assert_eq!(cut.bytes, stream);
    assert_eq!(cut.facts[0].codec, Some("AAC"));
    assert!(cut.units.iter().filter(|unit| unit.1).count() > 3);
}

#[test]
fn units_are_a_few_packets_long() {
    for (file, format) in [
        ("cbr.mp3", Format::Mpeg),
        ("lc.aac", Format::Adts),
        ("audio.ts", Format::MpegTs),
    ] {
        let cut = whole(format, &read(&format!("data/{file}")));
        let ends = cut
            .units
            .iter()
            .skip(1)
            .map(|unit| unit.0)
            .chain([cut.bytes.len()]);
        let sizes: Vec<usize> = cut
            .units
            .iter()
            .zip(ends)
            .map(|(unit, end)| end - unit.0)
            .collect();
        assert!(sizes.iter().all(|size| *size <= 4096), "{file}: {sizes:?}");
        assert!(
            format == Format::MpegTs || sizes.len() <= cut.bytes.len() / 3000 + 1,
            "{file}: {sizes:?}"
        );
    }
}

#[test]
fn a_frame_leaves_with_its_last_byte() {
    for (file, format) in [
        ("layer2.mp2", Format::Mpeg),
        ("lc.aac", Format::Adts),
        ("audio.ts", Format::MpegTs),
    ] {
        let stream = read(&format!("data/{file}"));
        let mut frames: Vec<usize> = cut(format, stream.chunks(1))
            .units
            .iter()
            .map(|unit| unit.0)
            .collect();
        frames.push(stream.len());
        let mut framer = Framer::new(format);
        let mut cut = Cut::default();
        for (at, byte) in stream.iter().enumerate() {
            let mut units = Vec::new();
            framer.push(&[*byte], &mut units);
            cut.take(units);
            // The first frames wait for their confirmation.
            if at + 1 > frames[4] {
                let complete = frames.iter().rev().find(|frame| **frame <= at + 1);
                assert_eq!(Some(&cut.bytes.len()), complete, "{file}: after {} bytes", at + 1);
            }
        }
    }
}

#[test]
fn opaque_bytes_pass() {
    let stream = read("data/vbr.mp3");
    let cut = whole(Format::Opaque, &stream);
    assert_eq!(cut.bytes, stream);
    assert!(cut.units.iter().all(|unit| unit.1 && unit.0.is_multiple_of(4096)));
}
