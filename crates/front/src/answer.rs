//! Writing answers: status line, headers, and which framing a body gets.
//!
//! Contract: the client can always tell where the answer ends, and an answer never says more than its body holds.

use std::io::Write as _;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use http_body::Body;
use http_body_util::Full;

use crate::head::Version;

/// An answer of one line of plain text.
#[must_use]
pub fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A complete head for those who write to a stream themselves: the status line in the client's version, a `Date`
/// unless there is one, and exactly these headers.
///
/// Names that begin with `icy-` or `ice-` stay in lower case, as old players compare them; others get capitals.
#[must_use]
pub fn head_bytes(version: Version, status: StatusCode, headers: &HeaderMap) -> BytesMut {
    let mut head = BytesMut::with_capacity(256 + 48 * headers.len());
    head.put_slice(match version {
        Version::Http11 => b"HTTP/1.1 ",
        Version::Http10 | Version::Ice10 => b"HTTP/1.0 ",
    });
    head.put_slice(status.as_str().as_bytes());
    head.put_u8(b' ');
    head.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    head.put_slice(b"\r\n");
    if !headers.contains_key(DATE) {
        head.put_slice(b"Date: ");
        head.put_slice(http_date().as_bytes());
        head.put_slice(b"\r\n");
    }
    for (name, value) in headers {
        put_name(name, &mut head);
        head.put_slice(b": ");
        head.put_slice(value.as_bytes());
        head.put_slice(b"\r\n");
    }
    head.put_slice(b"\r\n");
    head
}

/// The time as HTTP writes it (RFC 9110 section 5.6.7).
#[must_use]
pub fn http_date() -> String {
    jiff::Timestamp::now()
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}

fn put_name(name: &HeaderName, head: &mut BytesMut) {
    let name = name.as_str();
    match name {
        _ if name.starts_with("icy-") || name.starts_with("ice-") => head.put_slice(name.as_bytes()),
        "www-authenticate" => head.put_slice(b"WWW-Authenticate"),
        "etag" => head.put_slice(b"ETag"),
        _ => {
            let mut first = true;
            for byte in name.bytes() {
                head.put_u8(if first { byte.to_ascii_uppercase() } else { byte });
                first = byte == b'-';
            }
        }
    }
}

/// How the end of an answer's body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// There is no body.
    NoBody,
    /// After this many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    Close,
}

/// What the connection allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) version: Version,
    pub(crate) is_head: bool,
    pub(crate) keep_alive: bool,
}

/// Settles framing and connection headers of an answer; gives the ending and whether the connection stays.
pub(crate) fn settle<B: Body>(response: &mut Response<B>, terms: Terms) -> (Ending, bool) {
    let status = response.status();
    let exact = response.body().size_hint().exact();
    let headers = response.headers_mut();
    let wants_close = headers
        .get(CONNECTION)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    headers.remove(CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    headers.remove("keep-alive");
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());

    // RFC 9112 section 6.3: these have no body whatever their headers say.
    let bodiless =
        status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let ending = if bodiless {
        headers.remove(CONTENT_LENGTH);
        Ending::NoBody
    } else if terms.is_head {
        // An empty body says nothing about the length of what GET would give.
        if let (None, Some(length @ 1..)) = (declared, exact) {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        Ending::NoBody
    } else if let Some(length) = exact.or(declared) {
        headers.insert(CONTENT_LENGTH, length.into());
        Ending::Length(length)
    } else if terms.version == Version::Http11 {
        headers.remove(CONTENT_LENGTH);
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        Ending::Chunked
    } else {
        headers.remove(CONTENT_LENGTH);
        Ending::Close
    };
    let keep_alive = terms.keep_alive && !wants_close && ending != Ending::Close;
    if !keep_alive {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    } else if terms.version != Version::Http11 {
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    }
    (ending, keep_alive)
}

/// The line before a chunk.
pub(crate) fn chunk_header(length: usize) -> BytesMut {
    let mut line = BytesMut::with_capacity(20).writer();
    // Writing to memory cannot fail.
    let _ = write!(line, "{length:x}\r\n");
    line.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, Empty};

    #[test]
    fn names_are_written_as_old_clients_expect_them() {
        let mut headers = HeaderMap::new();
        for name in [
            "content-type",
            "icy-metaint",
            "ice-audio-info",
            "www-authenticate",
            "etag",
            "x-stream-status",
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        headers.insert(DATE, HeaderValue::from_static("now"));
        headers.insert(
            "icy-name",
            HeaderValue::from_bytes("Ünï".as_bytes()).expect("a value"),
        );
        let head = head_bytes(Version::Ice10, StatusCode::OK, &headers);
        assert_eq!(
            std::str::from_utf8(&head).expect("UTF-8"),
            "HTTP/1.0 200 OK\r\nContent-Type: v\r\nicy-metaint: v\r\nice-audio-info: v\r\nWWW-Authenticate: v\r\n\
             ETag: v\r\nX-Stream-Status: v\r\nDate: now\r\nicy-name: Ünï\r\n\r\n"
        );
    }

    #[test]
    fn dates_are_in_the_fixed_form() {
        let date = http_date();
        assert!(
            date.len() == 29 && date.ends_with(" GMT") && date.as_bytes()[3] == b',',
            "{date}"
        );
        let head = head_bytes(Version::Http11, StatusCode::NOT_FOUND, &HeaderMap::new());
        assert!(
            head.starts_with(b"HTTP/1.1 404 Not Found\r\nDate: "),
            "{}",
            head.escape_ascii()
        );
    }

    #[test]
    fn the_ending_fits_the_client() {
        use Ending::{Chunked, Close, Length, NoBody};
        use Version::{Http10, Http11, Ice10};
        let known = || Full::new(Bytes::from_static(b"abc")).boxed();
        let empty = || Empty::<Bytes>::new().boxed();
        // A body of unknown length.
        let open = || Never.boxed();
        let none: &[(&str, &str)] = &[];
        let cases = [
            (Http11, false, 200, known(), none, Length(3), "content-length: 3"),
            (Http11, false, 200, empty(), none, Length(0), "content-length: 0"),
            (
                Http11,
                false,
                200,
                open(),
                none,
                Chunked,
                "transfer-encoding: chunked",
            ),
            (
                Http10,
                false,
                200,
                known(),
                none,
                Length(3),
                "connection: keep-alive\ncontent-length: 3",
            ),
            (Ice10, false, 200, open(), none, Close, "connection: close"),
            (
                Http11,
                false,
                200,
                open(),
                &[("content-length", "9")],
                Length(9),
                "content-length: 9",
            ),
            (
                Http11,
                false,
                200,
                known(),
                &[("content-length", "9")],
                Length(3),
                "content-length: 3",
            ),
            (
                Http11,
                false,
                200,
                known(),
                &[("connection", "close")],
                Length(3),
                "connection: close\ncontent-length: 3",
            ),
            (
                Http11,
                false,
                200,
                known(),
                &[("transfer-encoding", "x")],
                Length(3),
                "content-length: 3",
            ),
            (Http11, true, 200, known(), none, NoBody, "content-length: 3"),
            (Http11, true, 200, empty(), none, NoBody, ""),
            (
                Http11,
                true,
                200,
                empty(),
                &[("content-length", "9")],
                NoBody,
                "content-length: 9",
            ),
            (Http11, true, 200, open(), none, NoBody, ""),
            (Http11, false, 204, empty(), none, NoBody, ""),
            (
                Http11,
                false,
                304,
                known(),
                &[("content-length", "3")],
                NoBody,
                "",
            ),
        ];
        for (version, is_head, status, body, extra, ending, headers) in cases {
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            for (name, value) in extra {
                response
                    .headers_mut()
                    .insert(*name, HeaderValue::from_static(value));
            }
            let settled = settle(
                &mut response,
                Terms {
                    version,
                    is_head,
                    keep_alive: true,
                },
            );
            assert_eq!(settled, (ending, !headers.contains("close")), "{headers}");
            let mut lines: Vec<String> = response
                .headers()
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII")))
                .collect();
            lines.sort();
            assert_eq!(lines.join("\n"), headers);
        }
    }

    struct Never;
    impl Body for Never {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }
}
