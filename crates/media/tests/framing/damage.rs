//! Streams that begin in the middle, break off, and have things in them that belong to no frame.

use media::Format;
use proptest::prelude::*;

use super::{check_splits, read, whole};

/// A clip that is cut up, the end of its first whole frame behind the head, and the start of a later frame.
struct Clip {
    format: Format,
    bytes: Vec<u8>,
    /// Starts of frames.
    frames: Vec<usize>,
}

fn clip(file: &str, format: Format, skip: usize) -> Clip {
    let bytes = read(&format!("data/{file}"))[skip..].to_vec();
    let cut = super::cut(format, bytes.chunks(1));
    let head = bytes.len() - cut.bytes.len();
    assert_eq!(cut.bytes, bytes[head..]);
    Clip {
        format,
        frames: cut.units.iter().map(|unit| unit.0 + head).collect(),
        bytes,
    }
}

fn clips() -> Vec<Clip> {
    vec![
        clip("cbr.mp3", Format::Mpeg, 79),
        clip("layer2.mp2", Format::Mpeg, 0),
        clip("lc.aac", Format::Adts, 0),
        clip("song.flac", Format::Flac, 0),
        clip("audio.ts", Format::MpegTs, 0),
    ]
}

/// Noise in which nothing can be mistaken for a frame.
fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 % 64) as u8).collect()
}

#[test]
fn noise_in_front_is_dropped() {
    for Clip { format, bytes, .. } in clips() {
        let clean = whole(format, &bytes);
        let cut = check_splits(format, &[noise(777), bytes].concat());
        assert_eq!(cut.bytes, clean.bytes);
        assert_eq!((cut.bad_bytes, cut.resyncs), (777, 0));
        assert_eq!(
            (cut.duration, cut.facts, cut.headers),
            (clean.duration, clean.facts, clean.headers)
        );
    }
}

#[test]
fn noise_between_frames_is_dropped_and_counted() {
    for Clip {
        format,
        bytes,
        frames,
    } in clips()
    {
        let clean = whole(format, &bytes);
        let at = frames[5];
        let cut = check_splits(format, &[&bytes[..at], &noise(333), &bytes[at..]].concat());
        // The end of a FLAC frame shows only in the next one: that frame is lost.
        let lost = if format == Format::Flac {
            frames[5] - frames[4]
        } else {
            0
        };
        assert_eq!((cut.bad_bytes, cut.resyncs), (333 + lost as u64, 1), "{format:?}");
        assert_eq!(cut.bytes.len(), clean.bytes.len() - lost, "{format:?}");
    }
}

#[test]
fn a_stream_that_begins_in_the_middle_begins_at_the_next_frame() {
    for Clip {
        format,
        bytes,
        frames,
    } in clips()
    {
        if format == Format::Flac {
            // Without its head nothing can be decoded, so nothing is passed on.
            let cut = whole(format, &bytes[frames[2]..]);
            assert_eq!(
                (cut.units.len(), cut.bad_bytes),
                (0, (bytes.len() - frames[2]) as u64)
            );
            continue;
        }
        let cut = check_splits(format, &bytes[frames[2] + 3..]);
        assert_eq!(cut.bytes, bytes[frames[3]..], "{format:?}");
        assert_eq!(
            (cut.bad_bytes, cut.resyncs),
            ((frames[3] - frames[2] - 3) as u64, 0)
        );
    }
}

#[test]
fn lost_bytes_cost_a_frame() {
    for Clip {
        format,
        bytes,
        frames,
    } in clips()
    {
        // Twenty bytes are missing from the fourth frame.
        let hole = frames[4] - 30;
        let cut = check_splits(format, &[&bytes[..hole], &bytes[hole + 20..]].concat());
        assert_eq!(cut.resyncs, 1, "{format:?}");
        assert!(
            cut.bytes.ends_with(&bytes[frames[6]..]),
            "{format:?} is in step again"
        );
    }
}

#[test]
fn half_a_frame_at_the_end_is_dropped() {
    for Clip {
        format,
        bytes,
        frames,
    } in clips()
    {
        let last = frames[frames.len() - 1];
        let cut = check_splits(format, &bytes[..bytes.len() - 5]);
        assert!(bytes[..last].ends_with(&cut.bytes), "{format:?}");
        assert_eq!(cut.bad_bytes, (bytes.len() - 5 - last) as u64, "{format:?}");
    }
}

#[test]
fn one_frame_is_a_stream() {
    for Clip {
        format,
        bytes,
        frames,
    } in clips()
    {
        let start = if format == Format::Flac { 0 } else { frames[2] };
        let end = if format == Format::Flac {
            frames[1]
        } else {
            frames[3]
        };
        let cut = check_splits(format, &bytes[start..end]);
        assert!(
            !cut.bytes.is_empty() && bytes[..end].ends_with(&cut.bytes),
            "{format:?}"
        );
        assert_eq!((cut.units.len(), cut.bad_bytes), (1, 0), "{format:?}");
    }
}

#[test]
fn tags_between_files_are_skipped() {
    let tag = [b"ID3\x03\0\0\0\0\x04\0".as_slice(), &[0xFF; 512]].concat();
    for Clip { format, bytes, .. } in clips().into_iter().filter(|clip| clip.format != Format::MpegTs) {
        let clean = whole(format, &bytes);
        let cut = check_splits(format, &[&tag, &*bytes, &tag, &tag, &bytes].concat());
        assert_eq!(
            cut.bytes,
            [clean.bytes.as_slice(), &clean.bytes].concat(),
            "{format:?}"
        );
        assert_eq!((cut.bad_bytes, cut.resyncs), (0, 0), "{format:?}");
    }
}

#[test]
fn another_codec_takes_over() {
    let first = read("data/layer2.mp2");
    let second = read("data/mpeg2.mp3");
    let cut = check_splits(Format::Mpeg, &[first.as_slice(), &second].concat());
    assert_eq!(cut.bytes, [first, second].concat());
    let codecs: Vec<_> = cut.facts.iter().map(|facts| facts.codec).collect();
    assert_eq!(codecs, [Some("MP2"), Some("MP3")]);
    assert_eq!((cut.bad_bytes, cut.resyncs), (0, 1));
}

#[test]
fn free_format_is_refused() {
    // A frame header with bit rate index 0, every 300 bytes.
    let frame = [b"\xFF\xFB\x00\x64".as_slice(), &[0; 296]].concat();
    let cut = check_splits(Format::Mpeg, &frame.repeat(20));
    assert_eq!((cut.units.len(), cut.bad_bytes), (0, 6000));
}

#[test]
fn flac_with_a_damaged_frame_loses_only_that() {
    let Clip {
        format,
        mut bytes,
        frames,
    } = clip("song.flac", Format::Flac, 0);
    let clean = whole(format, &bytes);
    bytes[frames[3] + 40] ^= 0x10;
    let cut = check_splits(format, &bytes);
    assert_eq!(
        cut.bytes,
        [&bytes[frames[0]..frames[3]], &bytes[frames[4]..]].concat()
    );
    assert_eq!((cut.bad_bytes, cut.resyncs), ((frames[4] - frames[3]) as u64, 1));
    assert_eq!(cut.headers, clean.headers);
}

#[test]
fn flac_headers_without_frames_are_dropped_in_time() {
    let Clip {
        format,
        bytes,
        frames,
    } = clip("song.flac", Format::Flac, 0);
    // The first frame's header over and over: each could be a start, none has an end.
    let header = &bytes[frames[0]..frames[0] + 6];
    let mut stream = bytes[..frames[0]].to_vec();
    stream.extend(header.repeat(200_000));
    stream.extend_from_slice(&bytes[frames[0]..]);
    let cut = whole(format, &stream);
    assert!(cut.bytes.ends_with(&bytes[frames[0]..]));
    assert_eq!(
        cut.bytes.len() as u64 + cut.bad_bytes + frames[0] as u64,
        stream.len() as u64
    );
}

#[test]
fn tables_that_change_are_announced() {
    let audio = read("data/audio.ts");
    let video = read("data/video.ts");
    let cut = check_splits(Format::MpegTs, &[audio.as_slice(), &video, &video].concat());
    assert_eq!(cut.headers.len(), 2);
    assert_eq!(cut.facts.len(), 2);
    assert_eq!(cut.bytes.len(), audio.len() + 2 * video.len());
}

#[test]
fn damaged_tables_do_not_count() {
    let mut stream = read("data/video.ts");
    let clean = whole(Format::MpegTs, &stream);
    // Every table after the first ones is damaged.
    let (start, _) = clean.headers[0];
    let mut damaged = 0;
    for packet in stream[start + 188..].chunks_mut(188) {
        if matches!((packet[1] & 0x1F, packet[2]), (0, 0) | (0x10, 0)) {
            packet[15] ^= 0xFF;
            damaged += 1;
        }
    }
    assert!(damaged > 2);
    assert_eq!(whole(Format::MpegTs, &stream).headers, clean.headers);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However noise and cuts fall, what follows them is found again and every byte is accounted for.
    #[test]
    fn the_frames_are_found_again(
        which in 0usize..5,
        from in 0usize..3000,
        noise in prop::collection::vec(any::<u8>(), 0..400),
        sizes in prop::collection::vec(1usize..3000, 1..20),
    ) {
        let Clip { format, bytes, frames } = clips().swap_remove(which);
        let first = if format == Format::Flac { frames[0] } else { 0 };
        // The clip up to somewhere, noise, and the clip again.
        let stream = [&bytes[..first + from], &noise, &bytes[first..]].concat();
        let mut rest = stream.as_slice();
        let mut pushes = Vec::new();
        for size in sizes.iter().cycle() {
            let (push, tail) = rest.split_at((*size).min(rest.len()));
            pushes.push(push);
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        let cut = super::cut(format, pushes);
        prop_assert_eq!(&cut.content(), &whole(format, &stream).content());
        prop_assert!(cut.bytes.ends_with(&bytes[frames[frames.len() / 2]..]));
        prop_assert!(cut.bytes.len() as u64 + cut.bad_bytes <= stream.len() as u64);
    }
}
