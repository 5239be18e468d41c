//! What every fuzz target checks of a framer.
//!
//! Contract: the first byte of an input chooses the size of the pushes; the rest is the stream.

use media::{Format, Framer, Unit};

/// Bytes that a framer may hold back on top of one frame or element; far below its real limits, because
/// inputs are small.
const SLACK: usize = 4096;

/// The size of the pushes, and the stream.
#[must_use]
pub fn pushes(input: &[u8]) -> (usize, &[u8]) {
    match input {
        [] => (1, input),
        [size, stream @ ..] => (1 + usize::from(*size) * usize::from(*size) / 8, stream),
    }
}

/// Cuts an input into units and checks what holds for every format.
#[must_use]
pub fn frame(format: Format, size: usize, stream: &[u8]) -> (Vec<Unit>, Framer) {
    let mut framer = Framer::new(format);
    let mut units = Vec::new();
    for push in stream.chunks(size) {
        framer.push(push, &mut units);
    }
    framer.finish(&mut units);
    for unit in &units {
        match unit {
            Unit::Frames(frames) => assert!(!frames.bytes.is_empty(), "an empty unit"),
            Unit::Header(header) => assert!(!header.bytes.is_empty(), "an empty header"),
            Unit::Title(title) => assert!(title.artist.is_some() || title.title.is_some(), "an empty title"),
            Unit::Facts(_) => {}
        }
    }
    (units, framer)
}

/// The bytes of all frames.
#[must_use]
pub fn audio(units: &[Unit]) -> Vec<u8> {
    let frames = units.iter().filter_map(|unit| match unit {
        Unit::Frames(frames) => Some(&frames.bytes),
        _ => None,
    });
    frames.flatten().copied().collect()
}

/// Everything but the frames, which pushes of another size may not change.
fn others(units: &[Unit]) -> Vec<&Unit> {
    units
        .iter()
        .filter(|unit| !matches!(unit, Unit::Frames(_)))
        .collect()
}

/// Checks a format whose frames are the source's own bytes: nothing is invented, and the size of the pushes
/// changes nothing.
pub fn check_cut(format: Format, input: &[u8]) {
    let (size, stream) = pushes(input);
    let (units, framer) = frame(format, size, stream);
    let bytes = audio(&units);
    assert!(
        bytes.len() as u64 + framer.bad_bytes() <= stream.len() as u64,
        "more came out than went in"
    );
    let (whole, whole_framer) = frame(format, stream.len().max(1), stream);
    assert_eq!(bytes, audio(&whole), "the frames depend on the pushes");
    assert_eq!(
        others(&units),
        others(&whole),
        "headers, titles or facts depend on the pushes"
    );
    assert_eq!(framer.bad_bytes(), whole_framer.bad_bytes());
    assert_eq!(framer.resyncs(), whole_framer.resyncs());
}

/// Checks a format that rewrites what it frames: the output stays in proportion.
pub fn check_rewritten(format: Format, input: &[u8]) {
    let (size, stream) = pushes(input);
    let (units, _) = frame(format, size, stream);
    let bytes = audio(&units);
    assert!(
        bytes.len() <= stream.len() * 4 + SLACK,
        "{} bytes made of {}",
        bytes.len(),
        stream.len()
    );
}
