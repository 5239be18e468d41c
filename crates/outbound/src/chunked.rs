//! Undoes chunked transfer coding (RFC 9112 section 7.1).
//!
//! Contract: strict and bounded. Anything but what the specification allows ends the body with
//! [`BadChunk`]; extensions and trailers are skipped and cannot grow without end.

/// Longest size line, extensions included, and longest trailer section.
const LONGEST_LINE: u16 = 4096;

/// The body does not keep to the coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("broken chunked coding")]
pub(crate) struct BadChunk;

/// What one call did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Bytes taken from the input.
    pub(crate) taken: usize,
    /// Bytes of the body written to the output.
    pub(crate) written: usize,
}

/// The state between two pieces of input.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    /// Length of the size line or trailer section so far.
    line: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { value: u64, digits: bool },
    Extension { value: u64 },
    SizeLf { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

impl Chunked {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Size {
                value: 0,
                digits: false,
            },
            line: 0,
        }
    }

    /// Whether the last chunk and its trailers are over.
    pub(crate) fn is_at_end(&self) -> bool {
        self.state == State::End
    }

    /// Decodes until `input` is used up, `out` is full or the body ends.
    ///
    /// # Errors
    /// [`BadChunk`] when the coding is broken; nothing more can be read then.
    pub(crate) fn decode(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, BadChunk> {
        let (mut taken, mut written) = (0, 0);
        while taken < input.len() && self.state != State::End {
            if let State::Data { left } = self.state {
                let n = (input.len() - taken).min(out.len() - written);
                let n = usize::try_from(left).map_or(n, |left| n.min(left));
                if n == 0 {
                    break;
                }
                out[written..written + n].copy_from_slice(&input[taken..taken + n]);
                (taken, written) = (taken + n, written + n);
                self.state = match left - n as u64 {
                    0 => State::DataCr,
                    left => State::Data { left },
                };
                continue;
            }
            self.state = self.frame(input[taken])?;
            taken += 1;
        }
        Ok(Step { taken, written })
    }

    /// Takes one byte of what is between the data.
    fn frame(&mut self, byte: u8) -> Result<State, BadChunk> {
        self.line += 1;
        if self.line > LONGEST_LINE {
            return Err(BadChunk);
        }
        Ok(match (self.state, byte) {
            (State::Size { value, .. }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).ok_or(BadChunk)?;
                let value = value.checked_mul(16).ok_or(BadChunk)? + u64::from(digit);
                State::Size { value, digits: true }
            }
            (State::Size { value, digits: true }, b'\r') => State::SizeLf { value },
            // Blanks before the line's end are no grammar, but servers that pad the number exist.
            (State::Size { value, digits: true }, b';' | b' ' | b'\t') => State::Extension { value },
            (State::Extension { value }, b'\r') => State::SizeLf { value },
            (State::Extension { value }, b) if b != b'\n' => State::Extension { value },
            (State::SizeLf { value: 0 }, b'\n') => State::TrailerStart,
            (State::SizeLf { value }, b'\n') => {
                self.line = 0;
                State::Data { left: value }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.line = 0;
                State::Size {
                    value: 0,
                    digits: false,
                }
            }
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerStart | State::Trailer, b) if b != b'\n' => State::Trailer,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::EndLf, b'\n') => State::End,
            _ => return Err(BadChunk),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes `input` given in pieces of `piece` bytes into an output of `room` bytes. Yields the body,
    /// whether it ended, and how many bytes were left over.
    fn decoded(input: &[u8], piece: usize, room: usize) -> Result<(Vec<u8>, bool, usize), BadChunk> {
        let mut chunked = Chunked::new();
        let mut body = Vec::new();
        let mut out = vec![0; room];
        let mut rest = input;
        while !rest.is_empty() && !chunked.is_at_end() {
            let step = chunked.decode(&rest[..piece.min(rest.len())], &mut out)?;
            assert!(step.taken > 0, "no progress");
            body.extend_from_slice(&out[..step.written]);
            rest = &rest[step.taken..];
        }
        Ok((body, chunked.is_at_end(), rest.len()))
    }

    #[test]
    fn bodies_in_any_pieces() {
        for (input, body, left) in [
            (
                &b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"[..],
                &b"hello world"[..],
                0,
            ),
            (b"0\r\n\r\nmore", b"", 4),
            (
                b"00000A;name=\"v\"\r\n0123456789\r\n0;x\r\nTrailer: 1\r\nB: 2\r\n\r\n",
                b"0123456789",
                0,
            ),
            (b"a \r\n0123456789\r\n0\r\n\r\n", b"0123456789", 0),
        ] {
            for piece in 1..=input.len() {
                for room in [1, 3, 100] {
                    assert_eq!(
                        decoded(input, piece, room),
                        Ok((body.to_vec(), true, left)),
                        "{input:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn broken_coding_is_refused() {
        for input in [
            &b"\r\n"[..],
            b"x\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"5\nhello",
            b"5;x\nhello",
            b"5\r\nhello5",
            b"5\r\nhello\n",
            b"5\r\nhello\r\r",
            b"5\rhello",
            b"0\r\n\n",
            b"0\r\nA: 1\n",
            b"0\r\n\r\r",
            b"10000000000000000\r\n",
            b"fffffffffffffffff\r\n",
        ] {
            for piece in [1, input.len()] {
                assert_eq!(decoded(input, piece, 100), Err(BadChunk), "{input:?}");
            }
        }
    }

    #[test]
    fn lines_and_trailers_are_bounded() {
        let long = "x".repeat(LONGEST_LINE.into());
        let many = "a: b\r\n".repeat(LONGEST_LINE.into());
        for input in [
            format!("5;{long}"),
            format!("0\r\n{long}"),
            format!("0\r\n{many}"),
            "0".repeat(5000),
        ] {
            assert_eq!(decoded(input.as_bytes(), 100, 100), Err(BadChunk));
        }
    }

    #[test]
    fn an_unfinished_body_is_not_at_its_end() {
        for input in [
            &b"5\r\nhel"[..],
            b"5\r\nhello\r\n",
            b"5\r\nhello\r\n0\r\n",
            b"ffffffffffffffff\r\nx",
        ] {
            assert!(!decoded(input, 100, 100).unwrap().1, "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(input in proptest::collection::vec(any::<u8>(), 0..100), piece in 1usize..10) {
            let _ = decoded(&input, piece, 7);
        }

        #[test]
        fn what_is_coded_comes_back(chunks in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 1..50), 0..8), piece in 1usize..40)
        {
            let mut input = Vec::new();
            for chunk in &chunks {
                input.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                input.extend_from_slice(chunk);
                input.extend_from_slice(b"\r\n");
            }
            input.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(decoded(&input, piece, 13), Ok((chunks.concat(), true, 0)));
        }
    }
}
