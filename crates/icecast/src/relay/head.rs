//! The response head of a radio server, which is HTTP with liberties.
//!
//! Contract: the head ends at the first empty line, with CRLF or bare LF; what follows is body, to the byte.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::{head_lines, relay::RelayError};

/// Longest response head.
const HEAD_MAX: usize = 64 * 1024;

/// A response head that is arriving.
#[derive(Debug, Clone, Default)]
pub(super) struct HeadBuffer {
    bytes: Vec<u8>,
    /// Where the line begins whose end was not found yet.
    line: usize,
    /// How far that line was searched.
    searched: usize,
    /// End of the status line; empty lines before it are skipped.
    status_line: Option<(usize, usize)>,
}

/// A complete head.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Body bytes that came along.
    pub(super) rest: Bytes,
}

impl HeadBuffer {
    /// Takes the next bytes; gives the head once, when it is complete, and is empty again then.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Option<ResponseHead>, RelayError> {
        self.bytes.extend_from_slice(bytes);
        while let Some(at) = self.bytes[self.searched..].iter().position(|&byte| byte == b'\n') {
            let end = self.searched + at;
            let start = self.line;
            if end >= HEAD_MAX {
                return Err(RelayError::HeadTooLong);
            }
            self.line = end + 1;
            self.searched = end + 1;
            let empty = matches!(&self.bytes[start..end], b"" | b"\r");
            match self.status_line {
                None if empty => {}
                None => {
                    // Refuse at once what cannot become a head, so that audio is not collected as one.
                    status(&self.bytes[start..end]).ok_or(RelayError::NotHttp)?;
                    self.status_line = Some((start, end));
                }
                Some(status_line) if empty => return Ok(self.finish(status_line, start)),
                Some(_) => {}
            }
        }
        self.searched = self.bytes.len();
        if self.bytes.len() > HEAD_MAX {
            return Err(RelayError::HeadTooLong);
        }
        Ok(None)
    }

    fn finish(&mut self, (start, end): (usize, usize), headers_end: usize) -> Option<ResponseHead> {
        let buffer = std::mem::take(self);
        let status = status(&buffer.bytes[start..end])?;
        let headers = head_lines::parse(&buffer.bytes[end + 1..headers_end]);
        let rest = Bytes::from(buffer.bytes).slice(buffer.line..);
        Some(ResponseHead {
            status,
            headers,
            rest,
        })
    }
}

/// `HTTP/1.1 200 OK`, `ICY 200 OK`.
fn status(line: &[u8]) -> Option<StatusCode> {
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let protocol = words.next()?;
    if protocol != b"ICY" && !protocol.starts_with(b"HTTP/") && !protocol.starts_with(b"ICE/") {
        return None;
    }
    StatusCode::from_bytes(words.next()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8]) -> Result<Option<ResponseHead>, RelayError> {
        HeadBuffer::default().push(bytes)
    }

    #[test]
    fn heads_of_real_servers_are_read() {
        for (name, head, status, icy_name, rest) in [
            (
                "icecast",
                "HTTP/1.0 200 OK\r\nServer: Icecast 2.4.4\r\nicy-name:x\r\n\r\n\r\nab",
                200,
                Some("x"),
                "\r\nab",
            ),
            (
                "shoutcast 1",
                "ICY 200 OK\r\nicy-notice1:<BR>Use a player.<BR>\r\nicy-name:x\r\n\r\nab",
                200,
                Some("x"),
                "ab",
            ),
            ("bare LF", "ICY 200 OK\nicy-name: x\n\nab", 200, Some("x"), "ab"),
            (
                "mixed line ends",
                "HTTP/1.1 200 OK\r\nicy-name: x\n\r\nab",
                200,
                Some("x"),
                "ab",
            ),
            ("no headers", "ICY 200 OK\r\n\r\n", 200, None, ""),
            ("no reason", "HTTP/1.1 404\r\n\r\n", 404, None, ""),
            (
                "early empty lines",
                "\r\n\nHTTP/1.1 401 Unauthorized\r\n\r\n",
                401,
                None,
                "",
            ),
            (
                "broken lines",
                "HTTP/1.1 200 OK\r\n<html>\r\nicy-name:x\r\n\r\n",
                200,
                Some("x"),
                "",
            ),
            (
                "shoutcast error",
                "ICY 401 Service Unavailable\r\n\r\n",
                401,
                None,
                "",
            ),
        ] {
            let head = parse(head.as_bytes()).unwrap().unwrap();
            assert_eq!(head.status, status, "{name}");
            assert_eq!(
                head.headers.get("icy-name").map(|v| v.to_str().unwrap()),
                icy_name,
                "{name}"
            );
            assert_eq!(head.rest, rest, "{name}");
        }
    }

    #[test]
    fn what_is_no_head_is_refused_early() {
        for bytes in [
            "SSH-2.0-x\r\n",
            "invalid password\r\n",
            "HTTP/1.1\r\n",
            "HTTP/1.1 abc\r\n",
            "ICY  \n",
        ] {
            assert_eq!(parse(bytes.as_bytes()), Err(RelayError::NotHttp), "{bytes:?}");
        }
        assert_eq!(parse(&[0xff; HEAD_MAX + 1]), Err(RelayError::HeadTooLong));
        let endless = format!("ICY 200 OK\r\n{}", "a: b\r\n".repeat(HEAD_MAX / 6));
        assert_eq!(parse(endless.as_bytes()), Err(RelayError::HeadTooLong));
        assert_eq!(parse(b"ICY 200 OK\r\n"), Ok(None));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_head(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just(b"ICY 200 OK".to_vec()), Just(b"\r\n".to_vec()), Just(b"\n".to_vec()),
                    Just(b"icy-br:1".to_vec()), proptest::collection::vec(any::<u8>(), 0..5),
                ],
                0..16,
            ),
            step in 1usize..9,
        ) {
            let bytes = pieces.concat();
            let whole = parse(&bytes);
            let mut buffer = HeadBuffer::default();
            let mut split = Ok(None);
            let mut fed = 0;
            for piece in bytes.chunks(step) {
                split = buffer.push(piece);
                fed += piece.len();
                if !matches!(split, Ok(None)) { break; }
            }
            if let Ok(Some(head)) = &mut split {
                head.rest = [&head.rest, &bytes[fed..]].concat().into();
            }
            prop_assert_eq!(split, whole);
        }
    }
}
