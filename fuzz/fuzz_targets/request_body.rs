#![no_main]

use bytes::BytesMut;
use front::framing::{Decoder, Framing, Piece};

/// The body that arrives in pushes of `size`, and whether its framing is broken.
fn decode(framing: Framing, size: usize, input: &[u8]) -> (Vec<u8>, bool) {
    let mut decoder = Decoder::for_source(framing);
    let (mut body, mut buffer) = (Vec::new(), BytesMut::new());
    for push in input.chunks(size) {
        buffer.extend_from_slice(push);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Piece::Data(bytes)) => body.extend_from_slice(&bytes),
                Ok(Piece::More) => break,
                Ok(Piece::End) => return (body, false),
                Err(_) => return (body, true),
            }
        }
    }
    (body, false)
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (size, input) = media_fuzz::pushes(input);
    for framing in [Framing::Chunked, Framing::Length(100), Framing::Absent] {
        let split = decode(framing, size, input);
        assert!(split.0.len() <= input.len());
        assert_eq!(split, decode(framing, input.len().max(1), input));
    }
});
