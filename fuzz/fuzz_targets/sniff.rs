#![no_main]

use media::{SNIFF_BYTES, Sniff, sniff};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (size, stream) = media_fuzz::pushes(input);
    let early = sniff(&stream[..size.min(stream.len())]);
    let late = sniff(stream);
    assert!(
        early == Sniff::NeedMore || early == late,
        "{early:?} became {late:?}"
    );
    assert!(
        stream.len() < SNIFF_BYTES || late != Sniff::NeedMore,
        "undecided for ever"
    );
});
