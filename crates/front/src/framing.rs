//! Where a request's body ends, and taking chunked framing off it.
//!
//! Contract: strict for everybody (RFC 9112 sections 6 and 7): whatever two programs in a row could read
//! differently is an error, never a guess. Bytes in, bytes out; no sockets.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};

use crate::head::HeadError;

/// Longest chunk header or trailer line.
const MAX_LINE: usize = 1024;
/// Most trailer bytes of one body.
const MAX_TRAILERS: usize = 8 << 10;

/// What a request head says about the body behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Nothing: no body, except behind a source, which then sends until it closes.
    Absent,
    /// `Content-Length: 0`.
    Empty,
    /// `Content-Length` above 0.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

impl Framing {
    /// Reads the framing headers.
    ///
    /// # Errors
    /// Both kinds at once, different lengths, a length that is not a number, codings other than `chunked`.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, HeadError> {
        let mut length = None;
        for value in headers.get_all(CONTENT_LENGTH) {
            for part in value.as_bytes().split(|&byte| byte == b',') {
                let number =
                    parse_length(part.trim_ascii()).ok_or(HeadError::Malformed("bad Content-Length"))?;
                if length.is_some_and(|earlier| earlier != number) {
                    return Err(HeadError::Malformed("conflicting Content-Length"));
                }
                length = Some(number);
            }
        }
        let mut chunked = false;
        for value in headers.get_all(TRANSFER_ENCODING) {
            for part in value.as_bytes().split(|&byte| byte == b',') {
                if chunked {
                    return Err(HeadError::Malformed("chunked is not the only transfer coding"));
                }
                if !part.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadError::UnknownCoding);
                }
                chunked = true;
            }
        }
        match (chunked, length) {
            (true, Some(_)) => Err(HeadError::Malformed("both Content-Length and Transfer-Encoding")),
            (true, None) => Ok(Self::Chunked),
            (false, Some(0)) => Ok(Self::Empty),
            (false, Some(length)) => Ok(Self::Length(length)),
            (false, None) => Ok(Self::Absent),
        }
    }

    /// Whether the head says where the body ends: a source's final answer then waits for that end.
    #[must_use]
    pub fn is_framed(self) -> bool {
        matches!(self, Self::Length(_) | Self::Chunked)
    }
}

/// Digits only: `u64::from_str` would also take a sign.
fn parse_length(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The framing of a body is broken; where the next request begins is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadFraming(pub &'static str);

/// What [`Decoder::decode`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of the body, never empty.
    Data(Bytes),
    /// More input is needed.
    More,
    /// The body has ended; what is left of the input belongs to the next request.
    End,
}

/// Takes the framing off a body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    trailers: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Counted(u64),
    UntilClose,
    ChunkHeader,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    End,
    Broken(BadFraming),
}

impl Decoder {
    /// For the body of an ordinary request: without framing there is none (RFC 9112 section 6.3).
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Absent | Framing::Empty => State::End,
            Framing::Length(length) => State::Counted(length),
            Framing::Chunked => State::ChunkHeader,
        };
        Self { state, trailers: 0 }
    }

    /// For a source that was accepted: without framing, or with a length of 0, everything is audio until it closes.
    #[must_use]
    pub fn for_source(framing: Framing) -> Self {
        match framing {
            Framing::Absent | Framing::Empty => Self {
                state: State::UntilClose,
                trailers: 0,
            },
            framed => Self::new(framed),
        }
    }

    /// Whether nothing of the body is left.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state == State::End
    }

    /// The least number of bytes still to come, as far as it is known.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        match self.state {
            State::Counted(left) | State::ChunkData(left) => left,
            _ => 0,
        }
    }

    /// The number of bytes still to come, where the head told it.
    #[must_use]
    pub fn exact_remaining(&self) -> Option<u64> {
        match self.state {
            State::Counted(left) => Some(left),
            State::End => Some(0),
            _ => None,
        }
    }

    /// Takes the next piece of the body from the front of `input`.
    ///
    /// # Errors
    /// The framing is broken, now and for every later call.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Piece, BadFraming> {
        loop {
            match self.state {
                State::End => return Ok(Piece::End),
                State::Broken(error) => return Err(error),
                State::UntilClose if input.is_empty() => return Ok(Piece::More),
                State::UntilClose => return Ok(Piece::Data(input.split().freeze())),
                State::Counted(left) => {
                    let piece = take(input, left);
                    let left = left - piece.len() as u64;
                    self.state = if left == 0 {
                        State::End
                    } else {
                        State::Counted(left)
                    };
                    return Ok(if piece.is_empty() {
                        Piece::More
                    } else {
                        Piece::Data(piece)
                    });
                }
                State::ChunkData(left) => {
                    let piece = take(input, left);
                    let left = left - piece.len() as u64;
                    self.state = if left == 0 {
                        State::ChunkEnd
                    } else {
                        State::ChunkData(left)
                    };
                    return Ok(if piece.is_empty() {
                        Piece::More
                    } else {
                        Piece::Data(piece)
                    });
                }
                State::ChunkEnd => {
                    if input.first().is_some_and(|&byte| byte != b'\r')
                        || input.get(1).is_some_and(|&byte| byte != b'\n')
                    {
                        return Err(self.fail("chunk is longer than its header says"));
                    }
                    if input.len() < 2 {
                        return Ok(Piece::More);
                    }
                    input.advance(2);
                    self.state = State::ChunkHeader;
                }
                State::ChunkHeader => {
                    let Some(line) = self.line(input)? else {
                        return Ok(Piece::More);
                    };
                    match chunk_size(&line) {
                        Some(0) => self.state = State::Trailers,
                        Some(size) => self.state = State::ChunkData(size),
                        None => return Err(self.fail("bad chunk header")),
                    }
                }
                State::Trailers => {
                    let Some(line) = self.line(input)? else {
                        return Ok(Piece::More);
                    };
                    self.trailers += line.len() + 2;
                    if line.is_empty() {
                        self.state = State::End;
                    } else if self.trailers > MAX_TRAILERS {
                        return Err(self.fail("trailers are too long"));
                    }
                }
            }
        }
    }

    /// A line without its CR LF. A bare LF does not end it: programs disagree about that.
    fn line(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, BadFraming> {
        match memchr::memchr(b'\n', &input[..input.len().min(MAX_LINE)]) {
            Some(end) if end > 0 && memchr::memchr(b'\r', &input[..end]) == Some(end - 1) => {
                let mut line = input.split_to(end + 1);
                line.truncate(end - 1);
                Ok(Some(line))
            }
            Some(_) => Err(self.fail("bad line end in chunk framing")),
            None if input.len() >= MAX_LINE => Err(self.fail("line in chunk framing is too long")),
            None => Ok(None),
        }
    }

    fn fail(&mut self, text: &'static str) -> BadFraming {
        self.state = State::Broken(BadFraming(text));
        BadFraming(text)
    }
}

fn take(input: &mut BytesMut, most: u64) -> Bytes {
    let length = usize::try_from(most).map_or(input.len(), |most| most.min(input.len()));
    input.split_to(length).freeze()
}

/// `chunk-size [ chunk-ext ]` (RFC 9112 section 7.1); extensions are dropped.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 15 {
        return None;
    }
    let rest = &line[digits..];
    if !rest.is_empty() && rest.trim_ascii_start().first() != Some(&b';') {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn framing(lines: &[(&str, &str)]) -> Result<Framing, HeadError> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                name.parse::<HeaderName>().expect("a name"),
                HeaderValue::from_str(value).expect("a value"),
            );
        }
        Framing::from_headers(&headers)
    }

    #[test]
    fn one_kind_of_framing_is_understood() {
        for (lines, expected) in [
            (&[][..], Framing::Absent),
            (&[("content-length", "0")], Framing::Empty),
            (&[("content-length", "10")], Framing::Length(10)),
            (
                &[("content-length", "10"), ("content-length", "10")],
                Framing::Length(10),
            ),
            (&[("content-length", "7, 7")], Framing::Length(7)),
            (&[("transfer-encoding", "Chunked")], Framing::Chunked),
        ] {
            assert_eq!(framing(lines), Ok(expected), "{lines:?}");
        }
    }

    #[test]
    fn doubtful_framing_is_refused() {
        for lines in [
            &[("content-length", "5"), ("transfer-encoding", "chunked")][..],
            &[("content-length", "5"), ("content-length", "6")],
            &[("content-length", "5, 6")],
            &[("content-length", "+5")],
            &[("content-length", "-1")],
            &[("content-length", "5x")],
            &[("content-length", "0x5")],
            &[("content-length", "")],
            &[("content-length", "99999999999999999999")],
            &[("transfer-encoding", "chunked, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "chunked, gzip")],
        ] {
            assert!(
                matches!(framing(lines), Err(HeadError::Malformed(_))),
                "{lines:?}"
            );
        }
        for value in ["gzip", "gzip, chunked", "identity", "xchunked", ""] {
            assert_eq!(
                framing(&[("transfer-encoding", value)]),
                Err(HeadError::UnknownCoding),
                "{value}"
            );
        }
    }

    /// Decodes what arrives in pieces of `step` bytes; gives the body and what was left over.
    fn decode(
        mut decoder: Decoder,
        wire: &[u8],
        step: usize,
    ) -> Result<(Vec<u8>, Vec<u8>, bool), BadFraming> {
        let mut input = BytesMut::new();
        let mut body = Vec::new();
        let mut pieces = wire.chunks(step);
        loop {
            match decoder.decode(&mut input)? {
                Piece::Data(data) => {
                    assert!(!data.is_empty());
                    body.extend_from_slice(&data);
                }
                Piece::End => {
                    input.extend_from_slice(&pieces.flatten().copied().collect::<Vec<u8>>());
                    return Ok((body, input.to_vec(), true));
                }
                Piece::More => match pieces.next() {
                    Some(piece) => input.extend_from_slice(piece),
                    None => return Ok((body, input.to_vec(), false)),
                },
            }
        }
    }

    #[test]
    fn bodies_lose_their_framing_and_nothing_else() {
        type Case = (Framing, &'static [u8], &'static [u8], &'static [u8]);
        let cases: &[Case] = &[
            (Framing::Absent, b"GET /", b"", b"GET /"),
            (Framing::Empty, b"GET /", b"", b"GET /"),
            (Framing::Length(3), b"abcGET /", b"abc", b"GET /"),
            (Framing::Chunked, b"0\r\n\r\nGET /", b"", b"GET /"),
            (
                Framing::Chunked,
                b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\nGET /",
                b"abcde",
                b"GET /",
            ),
            (
                Framing::Chunked,
                b"00A\r\n0123456789\r\n000\r\nX: y\r\nZ: 1\r\n\r\n",
                b"0123456789",
                b"",
            ),
            (Framing::Chunked, b"1 ;a=\"b\"\r\nx\r\n0\r\n\r\n", b"x", b""),
            (Framing::Chunked, b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", b""),
        ];
        for (framing, wire, body, rest) in cases {
            for step in [1, 2, 3, 7, 1000] {
                let expected = Ok((body.to_vec(), rest.to_vec(), true));
                assert_eq!(
                    decode(Decoder::new(*framing), wire, step),
                    expected,
                    "{}",
                    wire.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn a_source_without_framing_sends_until_it_closes() {
        for framing in [Framing::Absent, Framing::Empty] {
            let decoded = decode(
                Decoder::for_source(framing),
                b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
                4,
            );
            assert_eq!(
                decoded,
                Ok((b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_vec(), Vec::new(), false))
            );
        }
        assert_eq!(
            decode(Decoder::for_source(Framing::Length(2)), b"abc", 1),
            Ok((b"ab".to_vec(), b"c".to_vec(), true))
        );
    }

    #[test]
    fn broken_chunks_are_errors_for_good() {
        let long_line = [b"1;".to_vec(), vec![b'x'; 2000]].concat();
        let long_trailers = [
            b"0\r\n".to_vec(),
            b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(300),
        ]
        .concat();
        for wire in [
            &b"x\r\n"[..],
            b"\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\na",
            b"1\na",
            b"1\r\r\na",
            b"1 \r\na",
            b"1 2\r\na",
            b"5;a\rb\r\n",
            b"3\r\nabcd\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabc\rx",
            b"10000000000000000\r\n",
            b"ffffffffffffffff1\r\n",
            b"0\r\nX: y\n\r\n",
            b"0\r\n\n",
            &long_line,
            &long_trailers,
        ] {
            for step in [1, 5, 10_000] {
                assert!(
                    decode(Decoder::new(Framing::Chunked), wire, step).is_err(),
                    "{}",
                    wire.escape_ascii()
                );
            }
        }
        let mut decoder = Decoder::new(Framing::Chunked);
        assert!(decoder.decode(&mut BytesMut::from("x\r\n")).is_err());
        assert!(decoder.decode(&mut BytesMut::from("0\r\n\r\n")).is_err());
        assert!(!decoder.is_finished());
    }

    proptest! {
        #[test]
        fn any_chunking_and_any_split_gives_the_body(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            step in 1usize..50,
        ) {
            let mut wire = Vec::new();
            for part in &parts {
                wire.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                wire.extend_from_slice(part);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\nrest");
            let decoded = decode(Decoder::new(Framing::Chunked), &wire, step);
            prop_assert_eq!(decoded, Ok((parts.concat(), b"rest".to_vec(), true)));
        }

        #[test]
        fn no_input_makes_the_decoder_panic(wire in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..50) {
            let _ = decode(Decoder::new(Framing::Chunked), &wire, step);
        }
    }
}
