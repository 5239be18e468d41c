//! Reads response heads as radio servers really send them.
//!
//! Contract: bytes in, a head or a reason out, nothing else. Tolerant on purpose: `ICY 200 OK`, bare LF,
//! a missing reason phrase, repeated, folded or broken header lines. That is safe here because a
//! connection carries one exchange only, so nobody can hide a second response in the first.

use http::{
    HeaderMap, StatusCode,
    header::{HeaderName, HeaderValue},
};

/// Most header lines that are kept.
const MOST_HEADERS: usize = 256;

/// The head of a response.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) reason: String,
    pub(crate) headers: HeaderMap,
}

/// Why an answer is not usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadHead {
    /// It does not begin like a response.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// The head does not end within the limit.
    #[error("response head too long")]
    TooLong,
    /// The body's encoding is not one that can be undone.
    #[error("transfer coding not understood")]
    TransferCoding,
}

/// Reads a head from the start of `bytes`, of which an earlier call has seen the first `seen` in vain.
/// Yields it with its length in bytes, or `None` when more bytes are needed.
///
/// # Errors
/// [`BadHead::NotHttp`] as soon as it is certain.
pub(crate) fn read(bytes: &[u8], seen: usize) -> Result<Option<(Head, usize)>, BadHead> {
    // Some servers leave an empty line in front.
    let start = bytes
        .iter()
        .take(4)
        .position(|b| !matches!(b, b'\r' | b'\n'))
        .unwrap_or(bytes.len().min(4));
    let head = &bytes[start..];
    if !looks_like_status(head) {
        return Err(BadHead::NotHttp);
    }
    let Some(len) = length(head, seen.saturating_sub(start)) else {
        return Ok(None);
    };
    let mut lines = head[..len]
        .split(|&b| b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let (status, reason) = lines.next().and_then(status_line).ok_or(BadHead::NotHttp)?;
    Ok(Some((
        Head {
            status,
            reason,
            headers: headers(lines),
        },
        start + len,
    )))
}

/// Whether `bytes` can still become a status line.
fn looks_like_status(bytes: &[u8]) -> bool {
    ["HTTP/", "ICY "].iter().any(|start| {
        let seen = bytes.len().min(start.len());
        bytes[..seen].eq_ignore_ascii_case(&start.as_bytes()[..seen])
    })
}

/// The length of the head up to and including the first empty line, which does not end in the first
/// `seen` bytes. Looking there again for each byte of a slow peer would be quadratic work.
fn length(head: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(2);
    let ends = (from..head.len()).filter(|&at| head[at] == b'\n');
    ends.into_iter().find_map(|at| match &head[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// `HTTP/1.1 200 OK`, `ICY 200 OK`, `HTTP/1.0 200`.
fn status_line(line: &[u8]) -> Option<(StatusCode, String)> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.trim_end().splitn(3, ' ').filter(|word| !word.is_empty());
    let _version = words.next()?;
    let (status, reason) = match words.next()? {
        // Two blanks before the number leave it in the last word.
        word if word.contains(' ') => word.split_once(' ')?,
        word => (word, words.next().unwrap_or_default()),
    };
    let status = StatusCode::from_bytes(status.as_bytes()).ok()?;
    let reason: String = reason
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    Some((status, reason))
}

/// Header lines; what cannot be a header is left out, a folded line (RFC 9112 section 5.2) is joined.
fn headers<'a>(lines: impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut pending: Option<(HeaderName, Vec<u8>)> = None;
    for line in lines {
        if let [b' ' | b'\t', ..] = line {
            if let Some((_, value)) = &mut pending {
                value.push(b' ');
                value.extend_from_slice(line.trim_ascii());
            }
            continue;
        }
        keep(&mut headers, pending.take());
        let Some(colon) = line.iter().position(|&b| b == b':') else {
            continue;
        };
        let Ok(name) = HeaderName::from_bytes(line[..colon].trim_ascii()) else {
            continue;
        };
        pending = Some((name, line[colon + 1..].trim_ascii().to_vec()));
    }
    keep(&mut headers, pending);
    headers
}

fn keep(headers: &mut HeaderMap, header: Option<(HeaderName, Vec<u8>)>) {
    let Some((name, mut value)) = header else { return };
    // Station names with stray control characters exist; the rest of the name is still wanted.
    value.retain(|&b| b == b'\t' || (b >= b' ' && b != 0x7f));
    if headers.len() < MOST_HEADERS
        && let Ok(value) = HeaderValue::from_bytes(&value)
    {
        headers.append(name, value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Status, reason and headers in one text; also checks that every shorter part asks for more.
    fn check(bytes: &[u8], expected: &str) {
        let (head, len) = read(bytes, 0).unwrap().expect("complete");
        assert_eq!(&bytes[len..], b"BODY", "{expected}");
        for part in 0..len {
            assert!(
                matches!(read(&bytes[..part], 0), Ok(None)),
                "{part} bytes of {expected}"
            );
            assert_eq!(
                read(bytes, part).unwrap().map(|(_, len)| len),
                Some(len),
                "seen {part} of {expected}"
            );
        }
        let mut told = format!("{} {}", head.status.as_u16(), head.reason);
        for (name, value) in &head.headers {
            told += &format!("|{name}={}", String::from_utf8_lossy(value.as_bytes()));
        }
        assert_eq!(told, expected);
    }

    #[test]
    fn heads_as_servers_send_them() {
        check(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nBODY", "200 OK|server=x");
        check(
            b"ICY 200 OK\r\nicy-name:Radio\r\nicy-metaint:8192\r\n\r\nBODY",
            "200 OK|icy-name=Radio|icy-metaint=8192",
        );
        check(b"ICY 200 OK\nicy-name: Radio\n\nBODY", "200 OK|icy-name=Radio");
        check(b"HTTP/1.0 200 OK\nA: 1\r\nB: 2\n\r\nBODY", "200 OK|a=1|b=2");
        check(b"HTTP/1.0 200\r\n\r\nBODY", "200 ");
        check(b"HTTP/1.0  200  Fine\r\n\r\nBODY", "200 Fine");
        check(b"http/1.0 404 Not Found \r\n\r\nBODY", "404 Not Found");
        check(b"HTTP/1.0 401 Nicht  erlaubt\r\n\r\nBODY", "401 Nicht  erlaubt");
        check(b"\r\nHTTP/1.1 200 OK\r\n\r\nBODY", "200 OK");
        check(
            b"HTTP/1.1 200 OK\r\nA: 1\r\nA: 2\r\nA: 1\r\n\r\nBODY",
            "200 OK|a=1|a=2|a=1",
        );
        check(
            b"HTTP/1.1 200 OK\r\nicy-name: Caf\xe9 \xc3\xa9\r\n\r\nBODY",
            "200 OK|icy-name=Caf\u{fffd} \u{e9}",
        );
        check(
            b"HTTP/1.1 200 OK\r\nA: x\x01\x7fy\r\nbad name: 1\r\nnonsense\r\n: 2\r\nB:\r\n\r\nBODY",
            "200 OK|a=xy|b=",
        );
        check(
            b"HTTP/1.1 200 OK\r\n lost\r\nA: one\r\n\ttwo\r\n  three\r\nB : 4\r\n\r\nBODY",
            "200 OK|a=one two three|b=4",
        );
        check(
            b"ICY 200 OK\r\nicy-notice1:<BR>See: x<BR>\r\n\r\nBODY",
            "200 OK|icy-notice1=<BR>See: x<BR>",
        );
    }

    #[test]
    fn what_is_not_http_is_known_at_once() {
        for bytes in [
            &b"invalid password\r\n"[..],
            b"\xff\xfb\x90\x64",
            b"OggS",
            b"HTTQ",
            b"\r\n\r\n\r\n",
            b"ICY-",
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 99 x\r\n\r\n",
            b"HTTP/1.1\r\n\r\n",
            b"ICY \r\n\r\n",
        ] {
            assert_eq!(read(bytes, 0).unwrap_err(), BadHead::NotHttp, "{bytes:?}");
        }
    }

    #[test]
    fn the_number_of_headers_is_bounded() {
        let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
        for i in 0..5000 {
            bytes.extend_from_slice(format!("a{i}: x\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        let (head, len) = read(&bytes, 0).unwrap().unwrap();
        assert_eq!((head.headers.len(), len), (MOST_HEADERS, bytes.len()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
            bytes.extend_from_slice(&tail);
            if let Some((_, len)) = read(&bytes, 0).unwrap() {
                prop_assert!(len <= bytes.len());
            }
            let _ = read(&tail, 0);
        }
    }
}
