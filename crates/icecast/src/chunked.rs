//! Chunked transfer coding (RFC 9112 section 7.1), taken apart as it arrives.
//!
//! Contract: the same bytes give the same result however they are split, and anything that two parsers could
//! read in two ways (bare LF, signs, white space around the size) is an error.

use crate::body::{BadChunk, Progress};

/// Longest chunk extension. They carry nothing for us; unbounded ones only cost.
const EXTENSION_MAX: usize = 1024;

/// Longest trailer section, all lines together.
const TRAILER_MAX: usize = 8 * 1024;

/// A decoder in the middle of its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunked {
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// In the size line; `digits` counts what was read of the size.
    Size {
        size: u64,
        digits: u8,
    },
    /// White space between the size and an extension or the line's end.
    SizePadding {
        size: u64,
        length: usize,
    },
    /// In an extension, which is skipped.
    Extension {
        size: u64,
        length: usize,
    },
    /// The CR of the size line was read.
    SizeLf {
        size: u64,
    },
    /// In the chunk's data.
    Data {
        left: u64,
    },
    /// Data complete.
    DataCr,
    DataLf,
    /// In the trailers after the zero chunk. `line` is the length of the current line.
    Trailer {
        line: usize,
        total: usize,
    },
    TrailerLf {
        line: usize,
        total: usize,
    },
    Done,
}

impl Chunked {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Size { size: 0, digits: 0 },
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub(crate) fn push(&mut self, bytes: &[u8], mut audio: impl FnMut(&[u8])) -> Result<Progress, BadChunk> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            if let State::Data { left } = self.state {
                let rest = &bytes[at..];
                let take = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                audio(&rest[..take]);
                at += take;
                let left = left - take as u64;
                self.state = if left == 0 {
                    State::DataCr
                } else {
                    State::Data { left }
                };
            } else {
                self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(if self.is_done() {
            Progress::Done { consumed: at }
        } else {
            Progress::More
        })
    }

    /// Takes one byte of the framing.
    fn step(&mut self, byte: u8) -> Result<(), BadChunk> {
        self.state = match (&self.state, byte) {
            (&State::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                // Sixteen digits are all that fit into 64 bits, leading zeros included.
                if digits == 16 {
                    return Err(BadChunk::SizeOverflow);
                }
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                State::Size {
                    size: size << 4 | digit,
                    digits: digits + 1,
                }
            }
            (&State::Size { digits: 0, .. }, _) => return Err(BadChunk::BadSize),
            (&State::Size { size, .. } | &State::SizePadding { size, .. }, b'\r') => State::SizeLf { size },
            (&State::Size { size, .. } | &State::SizePadding { size, .. }, b';') => {
                State::Extension { size, length: 0 }
            }
            (&State::Size { size, .. }, b' ' | b'\t') => State::SizePadding { size, length: 1 },
            (&State::SizePadding { size, length }, b' ' | b'\t') if length < EXTENSION_MAX => {
                State::SizePadding {
                    size,
                    length: length + 1,
                }
            }
            (State::Size { .. } | State::SizePadding { .. }, _) => return Err(BadChunk::BadSize),
            (&State::Extension { size, .. }, b'\r') => State::SizeLf { size },
            (&State::Extension { .. }, b'\n') => return Err(BadChunk::BadLineEnd),
            (&State::Extension { size, length }, _) => {
                if length == EXTENSION_MAX {
                    return Err(BadChunk::LineTooLong);
                }
                State::Extension {
                    size,
                    length: length + 1,
                }
            }
            (&State::SizeLf { size: 0 }, b'\n') => State::Trailer { line: 0, total: 0 },
            (&State::SizeLf { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { size: 0, digits: 0 },
            (&State::Trailer { line, total }, b'\r') => State::TrailerLf { line, total },
            (&State::Trailer { .. }, b'\n') => return Err(BadChunk::BadLineEnd),
            (&State::Trailer { line, total }, _) => {
                if total == TRAILER_MAX {
                    return Err(BadChunk::LineTooLong);
                }
                State::Trailer {
                    line: line + 1,
                    total: total + 1,
                }
            }
            (State::TrailerLf { line: 0, .. }, b'\n') => State::Done,
            (&State::TrailerLf { total, .. }, b'\n') => State::Trailer { line: 0, total },
            (State::SizeLf { .. } | State::DataCr | State::DataLf | State::TrailerLf { .. }, _) => {
                return Err(BadChunk::BadLineEnd);
            }
            (State::Data { .. } | State::Done, _) => unreachable!("data and the end are not framing bytes"),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> (Vec<u8>, Result<Progress, BadChunk>) {
        let mut decoder = Chunked::new();
        let mut audio = Vec::new();
        let mut before = 0;
        for piece in pieces {
            match decoder.push(piece, |bytes| audio.extend_from_slice(bytes)) {
                Ok(Progress::More) => before += piece.len(),
                Ok(Progress::Done { consumed }) => {
                    return (
                        audio,
                        Ok(Progress::Done {
                            consumed: before + consumed,
                        }),
                    );
                }
                Err(error) => return (audio, Err(error)),
            }
        }
        (audio, Ok(Progress::More))
    }

    /// The body ends where `behind` begins; without a `behind` it is not complete.
    fn check(body: &str, behind: Option<&str>, audio: &str) {
        let result = behind.map_or(Progress::More, |_| Progress::Done { consumed: body.len() });
        let sent = format!("{body}{}", behind.unwrap_or_default());
        assert_eq!(
            decode(&[sent.as_bytes()]),
            (audio.as_bytes().to_vec(), Ok(result)),
            "{sent:?}"
        );
    }

    #[test]
    fn framing_is_removed() {
        check("5\r\nhello\r\n0\r\n\r\n", Some(""), "hello");
        check("5\r\nhello\r\n0\r\n\r\n", Some("GET / HT"), "hello");
        check(
            "A\r\n0123456789\r\n00a;x=\"y\"\r\nabcdefghij\r\n0;e\r\n\r\n",
            Some(""),
            "0123456789abcdefghij",
        );
        check(
            "5 \t;x\r\nhello\r\n0 \r\nExpires: never\r\nA: b\r\n\r\n",
            Some("x"),
            "hello",
        );
        check("2\r\n\r\n\r\n0\r\n\r\n", Some(""), "\r\n");
        check("0\r\n\r\n", Some(""), "");
        check("5\r\nhel", None, "hel");
        check("0\r\n", None, "");
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for (body, error) in [
            ("\r\n", BadChunk::BadSize),
            ("+5\r\nhello\r\n", BadChunk::BadSize),
            ("-1\r\n", BadChunk::BadSize),
            ("0x5\r\nhello\r\n", BadChunk::BadSize),
            (" 5\r\nhello\r\n", BadChunk::BadSize),
            ("5 5\r\nhello\r\n", BadChunk::BadSize),
            ("5\nhello\r\n", BadChunk::BadSize),
            ("g\r\n", BadChunk::BadSize),
            ("5;x\nhello\r\n", BadChunk::BadLineEnd),
            ("5\rhello\r\n", BadChunk::BadLineEnd),
            ("10000000000000000\r\n", BadChunk::SizeOverflow),
            ("00000000000000005\r\n", BadChunk::SizeOverflow),
            ("0\r\nA: b\n\r\n", BadChunk::BadLineEnd),
            ("0\r\n\rX", BadChunk::BadLineEnd),
        ] {
            assert_eq!(decode(&[body.as_bytes()]).1, Err(error), "{body:?}");
        }
        assert_eq!(
            decode(&[b"5\r\nhelloX\r\n"]),
            (b"hello".to_vec(), Err(BadChunk::BadLineEnd))
        );
        assert_eq!(
            decode(&[b"ffffffffffffffff\r\nabc"]),
            (b"abc".to_vec(), Ok(Progress::More))
        );
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let long = format!("5;{}\r\n", "x".repeat(EXTENSION_MAX + 1));
        assert_eq!(decode(&[long.as_bytes()]).1, Err(BadChunk::LineTooLong));
        let padded = format!("5{}\r\n", " ".repeat(EXTENSION_MAX + 1));
        assert!(decode(&[padded.as_bytes()]).1.is_err());
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(TRAILER_MAX));
        assert_eq!(decode(&[trailers.as_bytes()]).1, Err(BadChunk::LineTooLong));
    }

    /// Bytes that look like framing often enough to reach every state.
    fn framing_like() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"\r\n".to_vec()),
            Just(b"5\r\nhello\r\n".to_vec()),
            Just(b"0\r\n".to_vec()),
            Just(b";ext=1".to_vec()),
            Just(b"A: b\r\n".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..6),
            "[0-9a-fA-F]{1,3}".prop_map(String::into_bytes),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_result(
            body in framing_like(),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts {
                pieces.push(&body[start..cut]);
                start = cut;
            }
            pieces.push(&body[start..]);
            prop_assert_eq!(decode(&pieces), decode(&[&body]));
        }

        #[test]
        fn what_is_encoded_comes_back(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..8),
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            let (audio, result) = decode(&[&body]);
            prop_assert_eq!(audio, chunks.concat());
            prop_assert_eq!(result, Ok(Progress::Done { consumed: body.len() }));
        }
    }
}
