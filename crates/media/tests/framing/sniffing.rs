//! A stream is recognised by its bytes, whatever its label says.

use media::{Format, SNIFF_BYTES, Sniff, sniff};

use super::read;

#[track_caller]
fn check(stream: &[u8], expected: Sniff) {
    assert_eq!(sniff(stream), expected);
    check_prefixes(stream);
}

/// Fewer bytes give the same answer or none.
#[track_caller]
pub(super) fn check_prefixes(stream: &[u8]) {
    let expected = sniff(stream);
    for len in 0..stream.len().min(SNIFF_BYTES) {
        let answer = sniff(&stream[..len]);
        assert!(
            answer == Sniff::NeedMore || answer == expected,
            "{len} bytes are {answer:?}, all {expected:?}"
        );
    }
}

#[test]
fn clips_are_recognised() {
    let check = |file: &str, format: Format, content_type: &'static str| {
        check(&read(&format!("data/{file}")), Sniff::Is(format, content_type));
    };
    for file in ["cbr.mp3", "vbr.mp3", "mpeg2.mp3", "mpeg25.mp3", "layer2.mp2"] {
        check(file, Format::Mpeg, "audio/mpeg");
    }
    check("lc.aac", Format::Adts, "audio/aac");
    check("song.flac", Format::Flac, "audio/flac");
    check("song.wav", Format::Wav, "audio/wav");
    check("audio.ts", Format::MpegTs, "video/mp2t");
}

#[test]
fn clips_are_recognised_from_the_middle() {
    for from in [1, 57, 188, 999, 2000] {
        let check = |file: &str, format: Format, content_type: &'static str| {
            check(
                &read(&format!("data/{file}"))[from..],
                Sniff::Is(format, content_type),
            );
        };
        check("vbr.mp3", Format::Mpeg, "audio/mpeg");
        check("layer2.mp2", Format::Mpeg, "audio/mpeg");
        check("lc.aac", Format::Adts, "audio/aac");
        check("audio.ts", Format::MpegTs, "video/mp2t");
    }
}

#[test]
fn tags_are_looked_behind() {
    let tag = |len: u8| {
        [
            b"ID3\x03\0\0\0\0".as_slice(),
            &[len, 0],
            &vec![0; usize::from(len) << 7],
        ]
        .concat()
    };
    check(
        &[tag(4), read("data/lc.aac")].concat(),
        Sniff::Is(Format::Adts, "audio/aac"),
    );
    check(
        &[tag(4), read("data/layer2.mp2")].concat(),
        Sniff::Is(Format::Mpeg, "audio/mpeg"),
    );
    check(
        &[tag(4), read("data/song.flac")].concat(),
        Sniff::Is(Format::Flac, "audio/flac"),
    );
    // A picture's worth: nearly always MP3.
    check(&tag(100), Sniff::Is(Format::Mpeg, "audio/mpeg"));
}

#[test]
fn marks_decide_at_once() {
    check(
        b"OggS\0\x02\0\0\0\0\0\0\0\0",
        Sniff::Is(Format::Ogg, "application/ogg"),
    );
    check(b"fLaC\0\0\0\x22", Sniff::Is(Format::Flac, "audio/flac"));
    check(b"RIFF\0\0\0\0WAVEfmt ", Sniff::Is(Format::Wav, "audio/wav"));
    check(b"RIFF\0\0\0\0WEBP", Sniff::NeedMore);
    check(b"", Sniff::NeedMore);
}

#[test]
fn ebml_tells_its_family_and_whether_there_is_video() {
    let stream = |doc_type: &str, codecs: &[&str]| {
        let mut stream = b"\x1A\x45\xDF\xA3\x9F\x42\x82".to_vec();
        stream.push(0x80 | doc_type.len() as u8);
        stream.extend_from_slice(doc_type.as_bytes());
        stream.extend_from_slice(b"\x18\x53\x80\x67\xFF\x16\x54\xAE\x6B\xA0");
        for codec in codecs {
            stream.extend_from_slice(&[0x86, 0x80 | codec.len() as u8]);
            stream.extend_from_slice(codec.as_bytes());
        }
        stream.extend_from_slice(b"\x1F\x43\xB6\x75\xFF");
        stream
    };
    let check = |doc_type: &str, codecs: &[&str], content_type: &'static str| {
        check(
            &stream(doc_type, codecs),
            Sniff::Is(Format::Matroska, content_type),
        );
    };
    check("webm", &["A_OPUS"], "audio/webm");
    check("webm", &["V_VP8", "A_OPUS"], "video/webm");
    check("matroska", &["A_FLAC"], "audio/x-matroska");
    check("matroska", &["V_MPEG4/ISO/AVC"], "video/x-matroska");
    check("webm", &[], "video/webm");
}

#[test]
fn noise_is_unknown_in_the_end() {
    let noise = |len: usize| (0..len).map(|at| (at * 7 % 64) as u8).collect::<Vec<_>>();
    assert_eq!(sniff(&noise(SNIFF_BYTES - 1)), Sniff::NeedMore);
    assert_eq!(sniff(&noise(SNIFF_BYTES)), Sniff::Unknown);
    assert_eq!(sniff(&noise(SNIFF_BYTES * 2)), Sniff::Unknown);
    assert_eq!(sniff(&[0xFF; SNIFF_BYTES]), Sniff::Unknown);
    assert_eq!(
        sniff(&[0x47; SNIFF_BYTES]),
        Sniff::Is(Format::MpegTs, "video/mp2t")
    );
}
