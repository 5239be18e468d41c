//! Taking audio and titles apart, as for a relay that asked for titles.

use std::hint::black_box;

use media::icy::{self, Deinterleaver, INTERVAL, Piece};

use super::{Case, Work};
use crate::streams::{PIECE, noise};

/// Every so many blocks there is a text.
const TITLE_EVERY: usize = 4;
const BLOCKS: usize = 16;

pub(super) fn cases() -> Vec<Case> {
    vec![Case {
        name: "icy/deinterleave",
        unit: "KiB",
        prepare: deinterleave,
    }]
}

fn deinterleave() -> Work {
    let audio = noise(1, BLOCKS * INTERVAL);
    let mut stream = Vec::new();
    for (at, part) in audio.chunks(INTERVAL).enumerate() {
        stream.extend_from_slice(part);
        if at % TITLE_EVERY == 0 {
            stream.extend_from_slice(&icy::block(&format!("Somebody - Title {at}"), None));
        } else {
            stream.push(0);
        }
    }
    let interval = icy::parse_interval(&INTERVAL.to_string()).expect("our own interval is usable");
    let (mut found, mut titles) = (Vec::new(), 0);
    Deinterleaver::new(interval).push(&stream, |piece| match piece {
        Piece::Audio(audio) => found.extend_from_slice(audio),
        Piece::Meta(meta) => titles += usize::from(meta.title.is_some()),
    });
    assert!(found == audio, "other audio");
    assert_eq!(titles, BLOCKS / TITLE_EVERY);
    let mut deinterleaver = Deinterleaver::new(interval);
    Work {
        units: stream.len() as u64 / 1024,
        bytes: stream.len() as u64,
        lap: Box::new(move || {
            for piece in stream.chunks(PIECE) {
                deinterleaver.push(black_box(piece), |piece| {
                    black_box(piece);
                });
            }
        }),
    }
}
