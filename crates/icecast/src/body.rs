//! How a body is delimited, and the decoder that takes the framing off.
//!
//! Contract: only audio bytes come out, in order and without loss; once [`Progress::Done`] was said the bytes
//! beyond `consumed` belong to nobody.

use http::{HeaderMap, header};

use crate::chunked::Chunked;

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Everything until the connection closes.
    Unframed,
    /// Chunked transfer coding.
    Chunked,
    /// Exactly this many bytes, more than none.
    Length(u64),
    /// The transport delimits (HTTP/2 DATA frames): the decoder passes bytes on, the stream's end is the end.
    Frames,
}

/// Why a request's body has no unambiguous end. Answer 400 and close: such requests smuggle others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadFraming {
    /// `Content-Length` and `Transfer-Encoding` together.
    #[error("both Content-Length and Transfer-Encoding")]
    Both,
    /// A length that is no number, or two that differ.
    #[error("unusable Content-Length")]
    Length,
    /// A transfer coding other than chunked.
    #[error("unknown Transfer-Encoding")]
    Coding,
}

/// Why chunked framing cannot be followed any further. The body has ended; close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadChunk {
    /// The chunk size is not a plain hexadecimal number.
    #[error("bad chunk size")]
    BadSize,
    /// The chunk size has more than 16 digits.
    #[error("chunk size overflows")]
    SizeOverflow,
    /// A line of the framing does not end in CRLF.
    #[error("bad line end in chunk framing")]
    BadLineEnd,
    /// A chunk extension or the trailers are longer than allowed.
    #[error("chunk extension or trailer too long")]
    LineTooLong,
}

/// How far a body has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The body goes on.
    More,
    /// The body is complete; only this many of the bytes just given belonged to it.
    Done {
        /// Bytes of the last push that were part of the body.
        consumed: usize,
    },
}

/// Takes the framing off a body as it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyDecoder(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Unframed,
    Length { left: u64 },
    Chunked(Chunked),
}

impl Framing {
    /// Reads the framing of a request; an explicit `Content-Length: 0` is unframed for a source, because old
    /// clients send it in front of an endless body.
    ///
    /// # Errors
    /// [`BadFraming`]: answer 400 and close.
    pub fn of_request(headers: &HeaderMap) -> Result<Self, BadFraming> {
        let length = content_length(headers)?;
        match (coding(headers)?, length) {
            (Coding::Chunked, Some(_)) => Err(BadFraming::Both),
            (Coding::Chunked, None) => Ok(Self::Chunked),
            (Coding::Identity, None | Some(0)) => Ok(Self::Unframed),
            (Coding::Identity, Some(length)) => Ok(Self::Length(length)),
        }
    }

    /// Whether the body says itself where it ends.
    #[must_use]
    pub fn is_framed(self) -> bool {
        self != Self::Unframed
    }
}

enum Coding {
    Identity,
    Chunked,
}

fn coding(headers: &HeaderMap) -> Result<Coding, BadFraming> {
    let mut found = Coding::Identity;
    for value in headers.get_all(header::TRANSFER_ENCODING) {
        let value = value.as_bytes().trim_ascii();
        match found {
            Coding::Identity if value.eq_ignore_ascii_case(b"chunked") => found = Coding::Chunked,
            // `identity` is no coding any more (RFC 9112 section 7), yet old clients still say it.
            Coding::Identity if value.eq_ignore_ascii_case(b"identity") => {}
            _ => return Err(BadFraming::Coding),
        }
    }
    Ok(found)
}

/// The declared length. RFC 9112 section 6.3: repeated equal values are one value, different ones an error.
pub(crate) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, BadFraming> {
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for part in value
            .as_bytes()
            .split(|&byte| byte == b',')
            .map(<[u8]>::trim_ascii)
        {
            // `parse` alone would take a sign.
            if part.is_empty() || !part.iter().all(u8::is_ascii_digit) {
                return Err(BadFraming::Length);
            }
            let text = std::str::from_utf8(part).map_err(|_| BadFraming::Length)?;
            let value: u64 = text.parse().map_err(|_| BadFraming::Length)?;
            if length.is_some_and(|known| known != value) {
                return Err(BadFraming::Length);
            }
            length = Some(value);
        }
    }
    Ok(length)
}

impl BodyDecoder {
    /// A decoder for a body with this framing.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Unframed | Framing::Frames => Kind::Unframed,
            Framing::Length(length) => Kind::Length { left: length },
            Framing::Chunked => Kind::Chunked(Chunked::new()),
        })
    }

    /// Takes the next bytes and hands the audio among them to `audio`, in as few pieces as possible.
    ///
    /// # Errors
    /// [`BadChunk`]: the body ends here. What was handed out before is good audio.
    pub fn push(&mut self, bytes: &[u8], mut audio: impl FnMut(&[u8])) -> Result<Progress, BadChunk> {
        match &mut self.0 {
            Kind::Unframed => {
                if !bytes.is_empty() {
                    audio(bytes);
                }
                Ok(Progress::More)
            }
            Kind::Length { left } => {
                let take = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                if take > 0 {
                    audio(&bytes[..take]);
                }
                *left -= take as u64;
                Ok(if *left == 0 {
                    Progress::Done { consumed: take }
                } else {
                    Progress::More
                })
            }
            Kind::Chunked(chunked) => chunked.push(bytes, audio),
        }
    }

    /// Whether the connection may end here without cutting the body short.
    #[must_use]
    pub fn may_end(&self) -> bool {
        match &self.0 {
            Kind::Unframed => true,
            Kind::Length { left } => *left == 0,
            Kind::Chunked(chunked) => chunked.is_done(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::head_lines;

    #[test]
    fn framing_is_read_or_refused() {
        for (head, framing) in [
            ("", Ok(Framing::Unframed)),
            ("Content-Length: 0", Ok(Framing::Unframed)),
            ("Content-Length: 17", Ok(Framing::Length(17))),
            ("Content-Length: 17, 17", Ok(Framing::Length(17))),
            ("Content-Length: 17\nContent-Length: 17", Ok(Framing::Length(17))),
            ("Transfer-Encoding: Chunked", Ok(Framing::Chunked)),
            ("Transfer-Encoding: identity", Ok(Framing::Unframed)),
            (
                "Content-Length: 17\nTransfer-Encoding: chunked",
                Err(BadFraming::Both),
            ),
            (
                "Content-Length: 0\nTransfer-Encoding: chunked",
                Err(BadFraming::Both),
            ),
            ("Content-Length: 17\nContent-Length: 18", Err(BadFraming::Length)),
            ("Content-Length: +17", Err(BadFraming::Length)),
            ("Content-Length: -1", Err(BadFraming::Length)),
            ("Content-Length: 99999999999999999999", Err(BadFraming::Length)),
            ("Content-Length:", Err(BadFraming::Length)),
            ("Transfer-Encoding: gzip, chunked", Err(BadFraming::Coding)),
            (
                "Transfer-Encoding: chunked\nTransfer-Encoding: chunked",
                Err(BadFraming::Coding),
            ),
            ("Transfer-Encoding: xchunked", Err(BadFraming::Coding)),
        ] {
            assert_eq!(
                Framing::of_request(&head_lines::parse(head.as_bytes())),
                framing,
                "{head}"
            );
        }
    }

    fn drain(framing: Framing, pieces: &[&[u8]]) -> (Vec<u8>, Option<usize>, bool) {
        let mut decoder = BodyDecoder::new(framing);
        let (mut audio, mut before) = (Vec::new(), 0);
        for piece in pieces {
            match decoder
                .push(piece, |bytes| audio.extend_from_slice(bytes))
                .unwrap()
            {
                Progress::More => before += piece.len(),
                Progress::Done { consumed } => return (audio, Some(before + consumed), decoder.may_end()),
            }
        }
        (audio, None, decoder.may_end())
    }

    #[test]
    fn unframed_bodies_pass_and_lengths_end() {
        assert_eq!(
            drain(Framing::Unframed, &[b"ab", b"", b"c"]),
            (b"abc".to_vec(), None, true)
        );
        assert_eq!(
            drain(Framing::Length(3), &[b"ab", b"cd"]),
            (b"abc".to_vec(), Some(3), true)
        );
        assert_eq!(drain(Framing::Length(3), &[b"ab"]), (b"ab".to_vec(), None, false));
        assert_eq!(
            drain(Framing::Chunked, &[b"1\r\na"]),
            (b"a".to_vec(), None, false)
        );
    }

    proptest! {
        #[test]
        fn a_length_never_yields_more_than_it_says(
            length in 1u64..64,
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..16), 0..12),
        ) {
            let slices: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let sent = pieces.concat();
            let expected = &sent[..sent.len().min(length as usize)];
            let (audio, done, _) = drain(Framing::Length(length), &slices);
            prop_assert_eq!(audio, expected);
            prop_assert_eq!(done.is_some(), sent.len() as u64 >= length);
        }
    }
}
