//! One attempt: from the first request, over redirects, to accepted audio or an error.

use std::num::NonZeroU32;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use crate::{
    Framing, StationInfo,
    body::content_length,
    relay::{LOOP_HEADER, Origin, REDIRECTS_MAX, RelayError, Upstream, head::HeadBuffer},
    station, text,
};

/// Who pulls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The program's version.
    pub version: String,
    /// The id of this instance, for loop detection.
    pub instance: String,
}

/// An attempt in progress.
#[derive(Debug, Clone)]
pub struct Attempt {
    upstream: Upstream,
    identity: Identity,
    head: HeadBuffer,
    redirects: usize,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Read on.
    NeedMore,
    /// Drop this connection, connect to [`Attempt::origin`] (checking the address again) and send
    /// [`Attempt::request`].
    Redirected,
    /// The stream is here.
    Accepted(Box<Accepted>),
}

/// An accepted stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// What the upstream says of it.
    pub head: RelayHead,
    /// Body bytes that came with the head; they go through the body decoder like all others.
    pub early: Bytes,
}

/// What an upstream says of its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayHead {
    /// The station. Never public: only the origin of a stream may list it in directories.
    pub station: StationInfo,
    /// Content type, if any was given.
    pub content_type: Option<String>,
    /// Interval of the metadata blocks, counted after chunk framing was removed.
    pub metaint: Option<NonZeroU32>,
    /// How the body is delimited.
    pub framing: Framing,
    /// The upstream's software.
    pub server: Option<String>,
}

impl Attempt {
    /// A fresh attempt.
    #[must_use]
    pub fn new(upstream: &Upstream, identity: Identity) -> Self {
        Self {
            upstream: upstream.clone(),
            identity,
            head: HeadBuffer::default(),
            redirects: 0,
        }
    }

    /// What to connect to now.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.upstream.origin()
    }

    /// Where the stream is pulled from now, without credentials.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.upstream.shown()
    }

    /// The request to write.
    #[must_use]
    pub fn request(&self) -> Bytes {
        let url = &self.upstream.url;
        let mut request = format!("GET {}", url.path());
        if let Some(query) = url.query() {
            request.push('?');
            request.push_str(query);
        }
        request.push_str(" HTTP/1.1\r\n");
        let mut line = |name: &str, value: &str| {
            request.push_str(name);
            request.push_str(": ");
            request.push_str(value);
            request.push_str("\r\n");
        };
        let host = url.host_str().unwrap_or_default();
        match url.port() {
            Some(port) => line("Host", &format!("{host}:{port}")),
            None => line("Host", host),
        }
        line(
            "User-Agent",
            &format!("TinyIce/{}", text::clean(&self.identity.version, text::VALUE_MAX)),
        );
        line("Accept", "*/*");
        line("Icy-MetaData", "1");
        line(
            LOOP_HEADER,
            &text::clean(&self.identity.instance, text::VALUE_MAX),
        );
        if let Some(authorization) = &self.upstream.authorization {
            line("Authorization", authorization);
        }
        line("Connection", "close");
        request.push_str("\r\n");
        Bytes::from(request)
    }

    /// Takes what the upstream sent. After [`Step::Accepted`] the body belongs to a [`crate::StreamBody`] with
    /// the head's framing and interval.
    ///
    /// # Errors
    /// [`RelayError`]: drop the connection and try again after [`super::Backoff`]. When the connection ends before
    /// the head does, that is [`RelayError::ClosedEarly`].
    pub fn input(&mut self, bytes: &[u8]) -> Result<Step, RelayError> {
        let mut bytes = Bytes::copy_from_slice(bytes);
        loop {
            let Some(head) = self.head.push(&bytes)? else {
                return Ok(Step::NeedMore);
            };
            // Interim answers (RFC 9110 section 15.2) stand before the real one.
            if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
                bytes = head.rest;
                continue;
            }
            return match head.status.as_u16() {
                200 => Ok(Step::Accepted(Box::new(Accepted {
                    head: RelayHead::read(&head.headers),
                    early: head.rest,
                }))),
                301 | 302 | 303 | 307 | 308 => self.redirect(&head.headers),
                _ => Err(RelayError::Status(head.status)),
            };
        }
    }

    fn redirect(&mut self, headers: &HeaderMap) -> Result<Step, RelayError> {
        if self.redirects == REDIRECTS_MAX {
            return Err(RelayError::TooManyRedirects);
        }
        self.redirects += 1;
        let location = headers
            .get(header::LOCATION)
            .map(|value| text::decode(value.as_bytes()));
        let location = location.unwrap_or_default();
        let shown = || RelayError::BadRedirect(text::clean(&location, text::VALUE_MAX));
        // An empty reference is legal and means the same address again, which is no progress.
        let target = Some(&location).filter(|location| !location.is_empty());
        self.upstream = target
            .and_then(|location| self.upstream.redirect(location))
            .ok_or_else(shown)?;
        Ok(Step::Redirected)
    }
}

impl RelayHead {
    fn read(headers: &HeaderMap) -> Self {
        let mut station = StationInfo::from_headers(headers);
        station.public = Some(false);
        Self {
            station,
            content_type: text::header(headers, header::CONTENT_TYPE),
            metaint: station::metaint(headers),
            framing: framing(headers),
            server: text::header(headers, header::SERVER),
        }
    }
}

/// The connection serves this one stream, so nothing can be smuggled behind it: chunked wins, and a length that is
/// zero or nonsense stands for "until the end".
fn framing(headers: &HeaderMap) -> Framing {
    let chunked = headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"));
    match content_length(headers) {
        _ if chunked => Framing::Chunked,
        Ok(Some(length)) if length > 0 => Framing::Length(length),
        _ => Framing::Unframed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(url: &str, password: Option<&str>) -> Attempt {
        let identity = Identity {
            version: "1.0".into(),
            instance: "ab12".into(),
        };
        Attempt::new(&Upstream::parse(url, password).unwrap(), identity)
    }

    fn request(attempt: &Attempt) -> String {
        String::from_utf8(attempt.request().to_vec()).unwrap()
    }

    #[test]
    fn the_request_asks_for_metadata_and_names_the_relay() {
        assert_eq!(
            request(&attempt("http://h:8000/a%20b/ü?x=y#z", Some("pw"))),
            "GET /a%20b/%C3%BC?x=y HTTP/1.1\r\nHost: h:8000\r\nUser-Agent: TinyIce/1.0\r\nAccept: */*\r\n\
             Icy-MetaData: 1\r\nX-TinyIce-Relay: ab12\r\nAuthorization: Basic c291cmNlOnB3\r\n\
             Connection: close\r\n\r\n"
        );
        let bare = request(&attempt("https://[2001:db8::1]", None));
        assert!(bare.starts_with("GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n"));
        assert!(!bare.contains("Authorization"));
        let shoutcast = request(&attempt("http://h/;stream.mp3", None));
        assert!(shoutcast.starts_with("GET /;stream.mp3 HTTP/1.1\r\n"));
    }

    #[test]
    fn streams_of_every_kind_are_accepted() {
        for (name, head, framing, metaint, content_type, early) in [
            (
                "icecast",
                "HTTP/1.0 200 OK\r\nContent-Type: audio/mpeg\r\nIce-Name: N\r\nicy-metaint:16000\r\n\r\nab",
                Framing::Unframed,
                Some(16000),
                Some("audio/mpeg"),
                "ab",
            ),
            (
                "shoutcast",
                "ICY 200 OK\nicy-name:N\nicy-metaint:8192\n\n",
                Framing::Unframed,
                Some(8192),
                None,
                "",
            ),
            (
                "chunked with metadata",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nicy-name: N\r\nicy-metaint: 100\r\n\r\n5\r\n",
                Framing::Chunked,
                Some(100),
                None,
                "5\r\n",
            ),
            (
                "file",
                "HTTP/1.1 200 OK\r\nicy-name: N\r\nContent-Length: 99\r\n\r\n",
                Framing::Length(99),
                None,
                None,
                "",
            ),
            (
                "odd length",
                "HTTP/1.1 200 OK\r\nicy-name:N\r\nContent-Length: 0\r\n\r\n",
                Framing::Unframed,
                None,
                None,
                "",
            ),
            (
                "absurd interval",
                "ICY 200 OK\r\nicy-name:N\r\nicy-metaint:2000000\r\n\r\n",
                Framing::Unframed,
                None,
                None,
                "",
            ),
            (
                "interim",
                "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nicy-name:N\r\n\r\nx",
                Framing::Unframed,
                None,
                None,
                "x",
            ),
        ] {
            let Ok(Step::Accepted(accepted)) = attempt("http://h/", None).input(head.as_bytes()) else {
                panic!("{name} was not accepted")
            };
            let head = &accepted.head;
            assert_eq!(head.station.name.as_deref(), Some("N"), "{name}");
            assert_eq!(head.station.public, Some(false), "{name}");
            assert_eq!(head.framing, framing, "{name}");
            assert_eq!(head.metaint.map(NonZeroU32::get), metaint, "{name}");
            assert_eq!(head.content_type.as_deref(), content_type, "{name}");
            assert_eq!(accepted.early, early, "{name}");
        }
    }

    #[test]
    fn only_200_is_accepted_and_the_error_says_why() {
        for (head, error) in [
            ("HTTP/1.0 401 Authentication Required\r\n\r\n", "401 Unauthorized"),
            ("HTTP/1.1 403 x\r\n\r\n", "403 Forbidden"),
            ("HTTP/1.1 404 File Not Found\r\n\r\n", "404 Not Found"),
            ("HTTP/1.1 206 Partial Content\r\n\r\n", "206 Partial Content"),
            ("HTTP/1.1 799 x\r\n\r\n", "799"),
            ("HTTP/1.1 508 Loop Detected\r\n\r\n", "508 Loop Detected"),
            ("OK2\r\n", "the upstream does not answer with HTTP or ICY"),
            (
                "HTTP/1.1 302 Found\r\n\r\n",
                "the upstream redirects to nowhere: ",
            ),
            (
                "HTTP/1.1 302 Found\r\nLocation: gopher://x\r\n\r\n",
                "the upstream redirects to nowhere: gopher://x",
            ),
        ] {
            let error_text = attempt("http://h/", None)
                .input(head.as_bytes())
                .unwrap_err()
                .to_string();
            assert_eq!(error_text, error, "{head}");
        }
    }

    #[test]
    fn redirects_are_followed_without_the_password() {
        let mut attempt = attempt("http://h:8000/m", Some("pw"));
        for (location, origin_port, keeps) in [
            ("/n", 8000, true),
            ("http://h/n", 80, false),
            ("http://h:8000/m", 8000, false),
        ] {
            let answer =
                format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 4\r\n\r\nbody");
            assert_eq!(attempt.input(answer.as_bytes()), Ok(Step::Redirected));
            assert_eq!(attempt.origin().port, origin_port);
            assert_eq!(request(&attempt).contains("Authorization"), keeps, "{location}");
        }
        assert!(matches!(
            attempt.input(b"ICY 200 OK\r\n\r\n"),
            Ok(Step::Accepted(_))
        ));
    }

    #[test]
    fn redirects_end() {
        let mut attempt = attempt("http://h/", None);
        for _ in 0..REDIRECTS_MAX {
            assert_eq!(
                attempt.input(b"HTTP/1.1 301 x\r\nLocation: /\r\n\r\n"),
                Ok(Step::Redirected)
            );
        }
        let last = attempt.input(b"HTTP/1.1 301 x\r\nLocation: /\r\n\r\n");
        assert_eq!(last, Err(RelayError::TooManyRedirects));
    }
}
