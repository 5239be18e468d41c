//! Recognising a stream by its first bytes.

use std::hint::black_box;

use media::{Format, SNIFF_BYTES, Sniff, sniff};

use super::{Case, Work};
use crate::streams::{self, PIECE};

const CALLS: u64 = 256;

pub(super) fn cases() -> Vec<Case> {
    let case = |name, prepare| Case {
        name,
        unit: "stream",
        prepare,
    };
    vec![
        case("sniff/mpeg", || {
            work(&streams::mpeg::layer_three().bytes()[..PIECE], Format::Mpeg)
        }),
        case("sniff/mpeg-tuned-into", || {
            work(
                &streams::mpeg::layer_three().bytes()[200..][..SNIFF_BYTES],
                Format::Mpeg,
            )
        }),
        case("sniff/matroska", || {
            work(&streams::matroska::video().bytes()[..PIECE], Format::Matroska)
        }),
        case("sniff/mpegts", || {
            work(&streams::mpegts::stream().bytes()[..PIECE], Format::MpegTs)
        }),
    ]
}

fn work(first: &[u8], format: Format) -> Work {
    let first = first.to_vec();
    assert!(
        matches!(sniff(&first), Sniff::Is(found, _) if found == format),
        "{format:?} is not recognised"
    );
    Work {
        units: CALLS,
        bytes: 0,
        lap: Box::new(move || {
            for _ in 0..CALLS {
                black_box(sniff(black_box(&first)));
            }
        }),
    }
}
