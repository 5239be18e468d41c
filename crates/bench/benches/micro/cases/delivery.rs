//! What delivery makes of the ring's bytes for one listener.
//!
//! Frames are gathered in one buffer as a flush gathers them; the cost of emptying it is part of the case.

use std::hint::black_box;

use bytes::Bytes;
use fanout::Interleave;
use media::{Format, icy};
use ring::Mark;

use super::{Case, Work};
use crate::streams::{self, Stream};

/// Bytes that a flush gathers before they are sent.
const FLUSH: usize = 16 << 10;

/// An MP3 frame of 128 kbit/s at 44,100 Hz.
const FRAME: usize = 417;

const TITLE: &str = "Somebody And The Others - A Title Of Usual Length";

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "interleave/plain",
            unit: "frame of 417 B",
            prepare: || chunks(Interleave::Plain, FRAME, 1),
        },
        Case {
            name: "interleave/icy",
            unit: "frame of 417 B",
            prepare: || chunks(Interleave::icy(), FRAME, 1),
        },
        Case {
            // Among frames a title in 16,000 bytes would not show.
            name: "interleave/icy-new-titles",
            unit: "interval of 16,000 B",
            prepare: || chunks(Interleave::icy(), icy::INTERVAL, 2),
        },
        Case {
            name: "interleave/ogg-opus",
            unit: "page of 10 packets",
            prepare: opus,
        },
    ]
}

/// `titles` that take turns: with two of them and chunks as long as an interval, each block has another one.
fn chunks(interleave: Interleave, len: usize, titles: u64) -> Work {
    const CHUNKS: u64 = 512;
    let chunk = vec![0x55; len];
    let marks: Vec<_> = (0..titles)
        .map(|revision| Mark {
            revision,
            block: icy::block(TITLE, None),
        })
        .collect();

    let audio = CHUNKS as usize * len;
    let blocks = audio / icy::INTERVAL;
    let text = icy::block(TITLE, None).len() - 1;
    let expected = match (&interleave, titles) {
        (Interleave::Plain, _) => audio,
        (_, 1) => audio + blocks + text,
        _ => audio + blocks + blocks * text,
    };
    let (mut trial, mut out) = (interleave.clone(), Vec::new());
    for mark in marks.iter().cycle().take(CHUNKS as usize) {
        trial.write(&chunk, mark, &mut out);
    }
    assert_eq!(out.len(), expected, "not as many titles as there should be");

    let (mut interleave, mut out) = (interleave, Vec::with_capacity(2 * FLUSH));
    Work {
        units: CHUNKS,
        bytes: CHUNKS * len as u64,
        lap: Box::new(move || {
            for mark in marks.iter().cycle().take(CHUNKS as usize) {
                interleave.write(black_box(&chunk), mark, &mut out);
                if out.len() >= FLUSH {
                    black_box(&out);
                    out.clear();
                }
            }
        }),
    }
}

/// A listener who joined in the middle, so positions are shifted as well as serials and numbers.
fn opus() -> Work {
    let Stream { head, parts, .. } = streams::ogg::opus();
    let parts = parts[parts.len() / 2..].to_vec();
    let mark = Mark {
        revision: 0,
        block: Bytes::from_static(&[0]),
    };
    let (mut interleave, mut out) = (Interleave::ogg(7), Vec::with_capacity(2 * FLUSH));
    interleave.write(&head, &mark, &mut out);
    for page in &parts {
        interleave.write(page, &mark, &mut out);
    }
    assert_eq!(out.len(), head.len() + parts.concat().len());
    assert_ne!(out, [head, parts.concat()].concat(), "nothing was rewritten");
    streams::understand(Format::Ogg, &out);
    out.clear();
    Work {
        units: parts.len() as u64,
        bytes: parts.iter().map(|page| page.len() as u64).sum(),
        lap: Box::new(move || {
            for page in &parts {
                interleave.write(black_box(page), &mark, &mut out);
                if out.len() >= FLUSH {
                    black_box(&out);
                    out.clear();
                }
            }
        }),
    }
}
