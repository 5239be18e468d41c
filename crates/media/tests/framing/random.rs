//! Bytes without meaning: nothing panics, nothing is invented, nothing depends on the pushes.

use media::{Format, Framer, Sniff, icy, sniff};
use proptest::prelude::*;

use super::{Cut, cut, whole};

/// The formats whose output is the source's own bytes, headers apart.
const FORMATS: [Format; 6] = [
    Format::Mpeg,
    Format::Adts,
    Format::Flac,
    Format::Wav,
    Format::MpegTs,
    Format::Opaque,
];

/// Noise with a liking for the bytes that formats begin with.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..200),
        1 => Just(b"\xFF\xFB\x90\x64".to_vec()),
        1 => Just(b"\xFF\xF1\x50\x80\x01\x7F\xFC\0\0\0\0".to_vec()),
        1 => Just(b"\xFF\xF8\x69\x08\x00\x0F".to_vec()),
        1 => Just(b"ID3\x04\0\0\0\0\0\x10".to_vec()),
        1 => Just(b"fLaC\x80\0\0\x22\x10\0\x10\0\0\0\0\0\0\0\x0A\xC4\x40\xF0\0\0\0\0".to_vec()),
        1 => Just(b"RIFF\xFF\xFF\xFF\xFFWAVEfmt \x10\0\0\0\x01\0\x02\0\x44\xAC\0\0\x10\xB1\x02\0\x04\0\x10\0".to_vec()),
        1 => Just(b"data\x10\0\0\0".to_vec()),
        1 => (any::<u8>(), 0u8..3).prop_map(|(fill, kind)| {
            let mut packet = vec![fill; 188];
            packet[0] = 0x47;
            packet[1] = 0x40;
            packet[2] = 0;
            packet[3] = 0x10 << kind;
            packet
        }),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_any_pushes(stream in stream(), size in 1usize..300) {
        for format in FORMATS {
            let split = cut(format, stream.chunks(size));
            prop_assert_eq!(&split.content(), &whole(format, &stream).content());
            prop_assert!(split.bytes.len() as u64 + split.bad_bytes <= stream.len() as u64);
        }
    }

    #[test]
    fn icy_streams_keep_their_audio(stream in stream(), interval in 1usize..50, size in 1usize..300) {
        let run = |size: usize| {
            let interval = interval.to_string();
            let mut deinterleaver = icy::Deinterleaver::new(icy::parse_interval(&interval).expect("small"));
            let (mut audio, mut metas) = (Vec::new(), Vec::new());
            for push in stream.chunks(size) {
                deinterleaver.push(push, |piece| match piece {
                    icy::Piece::Audio(bytes) => audio.extend_from_slice(bytes),
                    icy::Piece::Meta(meta) => metas.push(meta),
                });
            }
            (audio, metas)
        };
        let split = run(size);
        prop_assert!(split.0.len() <= stream.len());
        prop_assert_eq!(split, run(usize::MAX));
    }

    #[test]
    fn a_title_comes_back_as_it_was(title in "[^\\p{Cc}]{0,300}", url in proptest::option::of("[^\\p{Cc}']{0,100}")) {
        let block = icy::block(&title, url.as_deref());
        prop_assert_eq!(block.len(), 1 + usize::from(block[0]) * 16);
        let meta = icy::StreamMeta::parse(&block[1..]);
        let shown = title.replace("';", "’;");
        let keeps_markers = !title.contains("StreamUrl='") && !url.as_deref().unwrap_or("").contains("Stream");
        if keeps_markers {
            prop_assert_eq!(meta.title, Some(shown));
            prop_assert_eq!(meta.url, url);
        }
    }

    #[test]
    fn an_answer_stays(stream in stream(), len in 0usize..600) {
        let len = len.min(stream.len());
        let early = sniff(&stream[..len]);
        if early != Sniff::NeedMore {
            prop_assert_eq!(early, sniff(&stream));
        }
    }
}

/// What is held inside must not grow with the stream.
#[test]
fn noise_without_end_is_thrown_away() {
    for format in [
        Format::Mpeg,
        Format::Adts,
        Format::Flac,
        Format::Wav,
        Format::MpegTs,
    ] {
        let mut framer = Framer::new(format);
        let mut cut = Cut::default();
        let mut state = 1u32;
        let mut pushed = 0;
        for _ in 0..300 {
            let push: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .take(5000)
            .collect();
            let mut units = Vec::new();
            framer.push(&push, &mut units);
            cut.take(units);
            pushed += push.len();
            let held = pushed - cut.bytes.len() - framer.bad_bytes() as usize;
            assert!(held <= 64 << 10, "{format:?} holds {held} bytes");
        }
    }
}
