//! The body of a stream from a source or an upstream: framing off first, then metadata out.
//!
//! Contract: the metadata interval counts bytes without chunk framing (some servers send both), and audio is passed
//! on as it arrives, never a whole interval later.

use std::num::{NonZeroU32, NonZeroUsize};

use media::icy::{Deinterleaver, Piece};

use crate::{BadChunk, BodyDecoder, Framing, Progress};

/// Takes a stream's body apart into audio and titles.
#[derive(Debug)]
pub struct StreamBody {
    body: BodyDecoder,
    metadata: Option<Deinterleaver>,
}

impl StreamBody {
    /// For a body with this framing and this metadata interval, as the head declares them.
    #[must_use]
    pub fn new(framing: Framing, metaint: Option<NonZeroU32>) -> Self {
        let interval = metaint.and_then(|interval| NonZeroUsize::try_from(interval).ok());
        Self {
            body: BodyDecoder::new(framing),
            metadata: interval.map(Deinterleaver::new),
        }
    }

    /// Takes the next bytes; `sink` gets audio and titles in their order.
    ///
    /// # Errors
    /// [`BadChunk`]: the stream ends here. What was handed out before is good.
    pub fn push(&mut self, bytes: &[u8], mut sink: impl FnMut(Piece<'_>)) -> Result<Progress, BadChunk> {
        let Self { body, metadata } = self;
        body.push(bytes, |unframed| match metadata {
            Some(metadata) => metadata.push(unframed, &mut sink),
            None => sink(Piece::Audio(unframed)),
        })
    }

    /// Whether the connection may end here without cutting the stream short.
    #[must_use]
    pub fn may_end(&self) -> bool {
        self.body.may_end()
    }
}

#[cfg(test)]
mod tests {
    use media::icy;
    use proptest::prelude::*;

    use super::*;

    fn play(framing: Framing, metaint: u32, pieces: &[&[u8]]) -> (Vec<u8>, Vec<(usize, String)>) {
        let mut body = StreamBody::new(framing, NonZeroU32::new(metaint));
        let (mut audio, mut titles) = (Vec::new(), Vec::new());
        for piece in pieces {
            body.push(piece, |piece| match piece {
                Piece::Audio(bytes) => audio.extend_from_slice(bytes),
                Piece::Meta(meta) => titles.push((audio.len(), meta.title.unwrap())),
            })
            .unwrap();
        }
        (audio, titles)
    }

    /// Audio with a title block behind every four bytes.
    fn interleaved() -> Vec<u8> {
        let mut stream = b"abcd".to_vec();
        stream.extend_from_slice(&icy::block("It's; me", None));
        stream.extend_from_slice(b"efgh\0ijkl");
        stream.extend_from_slice(&icy::block("", None));
        stream.extend_from_slice(b"mn");
        stream
    }

    fn chunked(stream: &[u8], size: usize) -> Vec<u8> {
        let mut body = Vec::new();
        for chunk in stream.chunks(size) {
            body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        body
    }

    #[test]
    fn without_an_interval_nothing_is_taken_out() {
        let stream = interleaved();
        assert_eq!(play(Framing::Unframed, 0, &[&stream]), (stream.clone(), vec![]));
    }

    proptest! {
        #[test]
        fn chunks_and_metadata_come_off_however_they_are_cut(size in 1usize..60, step in 1usize..60) {
            let expected = (b"abcdefghijklmn".to_vec(), vec![(4, "It's; me".to_owned()), (12, String::new())]);
            let plain = interleaved();
            let pieces: Vec<&[u8]> = plain.chunks(step).collect();
            prop_assert_eq!(&play(Framing::Unframed, 4, &pieces), &expected);
            let framed = chunked(&plain, size);
            let pieces: Vec<&[u8]> = framed.chunks(step).collect();
            prop_assert_eq!(&play(Framing::Chunked, 4, &pieces), &expected);
        }
    }
}
