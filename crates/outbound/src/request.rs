//! What to ask for, and how it is written to the wire.
//!
//! Contract: one request per connection (`Connection: close`); the framing headers are ours, callers
//! cannot set them; nothing that `Debug` prints is secret.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, Method,
    header::{self, HeaderName, HeaderValue},
};
use percent_encoding::percent_decode_str;
use url::{Position, Url};

use crate::masked;

/// A request and the limits of its exchange.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// What to fetch. Credentials in it become Basic authorization and are taken out.
    pub url: Url,
    /// Headers besides `Host`, `Connection` and the framing, which are set from the rest. `User-Agent`
    /// is the client's unless given here.
    pub headers: HeaderMap,
    /// The body; may be empty.
    pub body: Bytes,
    /// Time and size limits.
    pub limits: Limits,
}

/// Limits of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Longest name lookup, per hop.
    pub resolve: Duration,
    /// Longest wait for a connection over all addresses of a hop.
    pub connect: Duration,
    /// Longest TLS handshake.
    pub tls: Duration,
    /// Longest wait for a complete response head, sending the request included.
    pub head: Duration,
    /// Longest response head in bytes.
    pub head_bytes: usize,
    /// Longest silence within the body.
    pub silence: Option<Duration>,
    /// Longest exchange as a whole, redirects and body included.
    pub whole: Option<Duration>,
    /// Most redirects that are followed.
    pub redirects: u8,
}

impl Limits {
    /// For relay pulls: an endless body, given up after 60 s of silence.
    #[must_use]
    pub fn relay() -> Self {
        Self {
            resolve: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            tls: Duration::from_secs(10),
            head: Duration::from_secs(15),
            head_bytes: 64 * 1024,
            silence: Some(Duration::from_secs(60)),
            whole: None,
            redirects: 10,
        }
    }

    /// For directory reports: 15 s in all.
    #[must_use]
    pub fn directory() -> Self {
        Self {
            whole: Some(Duration::from_secs(15)),
            redirects: 5,
            ..Self::relay()
        }
    }

    /// For webhooks: 10 s in all.
    #[must_use]
    pub fn webhook() -> Self {
        Self {
            whole: Some(Duration::from_secs(10)),
            ..Self::directory()
        }
    }

    /// For large files: 5 minutes in all.
    #[must_use]
    pub fn download() -> Self {
        Self {
            whole: Some(Duration::from_secs(300)),
            ..Self::directory()
        }
    }
}

impl Request {
    /// A GET without further headers.
    #[must_use]
    pub fn get(url: Url, limits: Limits) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            limits,
        }
    }

    /// A POST of a form (`application/x-www-form-urlencoded`).
    #[must_use]
    pub fn form<'a>(url: Url, fields: impl IntoIterator<Item = (&'a str, &'a str)>, limits: Limits) -> Self {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]);
        Self {
            method: Method::POST,
            url,
            headers,
            body: form.into(),
            limits,
        }
    }

    /// The same request with `value` as its only header `name`.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Moves credentials from the URL to `Authorization`, which wins if it is there already, and drops
    /// the fragment.
    pub(crate) fn settle(&mut self) {
        let text = |part: &str| percent_decode_str(part).collect::<Vec<u8>>();
        if !self.url.username().is_empty() || self.url.password().is_some() {
            let credentials = basic(
                text(self.url.username()),
                text(self.url.password().unwrap_or_default()),
            );
            self.headers.entry(header::AUTHORIZATION).or_insert(credentials);
        }
        strip(&mut self.url);
    }

    /// The request as it goes over the wire.
    pub(crate) fn encode(&self, user_agent: &HeaderValue) -> Vec<u8> {
        let mut wire = Vec::with_capacity(512 + self.body.len());
        let mut line = |parts: &[&[u8]]| {
            parts.iter().for_each(|part| wire.extend_from_slice(part));
            wire.extend_from_slice(b"\r\n");
        };
        let target = &self.url[Position::BeforePath..Position::AfterQuery];
        let host = &self.url[Position::BeforeHost..Position::AfterPort];
        line(&[
            self.method.as_str().as_bytes(),
            b" ",
            target.as_bytes(),
            b" HTTP/1.1",
        ]);
        line(&[b"Host: ", host.as_bytes()]);
        if !self.headers.contains_key(header::USER_AGENT) {
            line(&[b"User-Agent: ", user_agent.as_bytes()]);
        }
        for (name, value) in &self.headers {
            if !OURS.contains(&name.as_str()) {
                line(&[spelling(name).as_bytes(), b": ", value.as_bytes()]);
            }
        }
        if !self.body.is_empty() || matches!(self.method, Method::POST | Method::PUT | Method::PATCH) {
            line(&[b"Content-Length: ", self.body.len().to_string().as_bytes()]);
        }
        line(&[b"Connection: close"]);
        line(&[]);
        wire.extend_from_slice(&self.body);
        wire
    }
}

/// `Authorization` by name and password (RFC 7617), marked as sensitive.
#[must_use]
pub fn basic(name: impl AsRef<[u8]>, password: impl AsRef<[u8]>) -> HeaderValue {
    let credentials = STANDARD.encode([name.as_ref(), b":", password.as_ref()].concat());
    let mut value =
        HeaderValue::try_from(format!("Basic {credentials}")).expect("base64 is legal in a header");
    value.set_sensitive(true);
    value
}

/// Takes credentials and fragment out of `url`.
pub(crate) fn strip(url: &mut Url) {
    // These fail for URLs without a host only, which cannot have credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Header values may hold tokens under names that nobody can know; bodies as well.
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &masked(&self.url))
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Headers that are set from the rest of the request.
const OURS: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "keep-alive",
    "proxy-connection",
];

/// A header's name in its usual spelling. Names are case-insensitive (RFC 9110 section 5.1), but old
/// stream servers compare them as they stand in their manuals.
fn spelling(name: &HeaderName) -> String {
    let words = name.as_str().split('-').map(|word| match word {
        "metadata" => "MetaData".to_owned(),
        "tinyice" => "TinyIce".to_owned(),
        _ => word[..1.min(word.len())].to_ascii_uppercase() + word.get(1..).unwrap_or_default(),
    });
    words.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mut request: Request, expected: &str) {
        request.settle();
        let wire = request.encode(&HeaderValue::from_static("TinyIce/1"));
        assert_eq!(String::from_utf8(wire).unwrap(), expected.replace('\n', "\r\n"));
    }

    fn get(url: &str) -> Request {
        Request::get(url.parse().unwrap(), Limits::relay())
    }

    #[test]
    fn requests_on_the_wire() {
        check(
            get("http://radio.example")
                .with(
                    HeaderName::from_static("icy-metadata"),
                    HeaderValue::from_static("1"),
                )
                .with(
                    HeaderName::from_static("x-tinyice-relay"),
                    HeaderValue::from_static("id"),
                )
                .with(header::ACCEPT, HeaderValue::from_static("*/*")),
            "GET / HTTP/1.1\nHost: radio.example\nUser-Agent: TinyIce/1\nIcy-MetaData: 1\n\
             X-TinyIce-Relay: id\nAccept: */*\nConnection: close\n\n",
        );
        check(
            get("http://radio.example:8000/a b/ü?q=1 2#part"),
            "GET /a%20b/%C3%BC?q=1%202 HTTP/1.1\nHost: radio.example:8000\nUser-Agent: TinyIce/1\nConnection: close\n\n",
        );
        check(
            get("https://[2001:db8::1]:443/;")
                .with(header::USER_AGENT, HeaderValue::from_static("own"))
                .with(header::HOST, HeaderValue::from_static("evil"))
                .with(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))
                .with(header::CONTENT_LENGTH, HeaderValue::from_static("9"))
                .with(header::CONNECTION, HeaderValue::from_static("keep-alive")),
            "GET /; HTTP/1.1\nHost: [2001:db8::1]\nUser-Agent: own\nConnection: close\n\n",
        );
        check(
            Request::form(
                "http://yp.example/cgi".parse().unwrap(),
                [("sn", "A & B"), ("genre", "ü")],
                Limits::directory(),
            ),
            "POST /cgi HTTP/1.1\nHost: yp.example\nUser-Agent: TinyIce/1\n\
             Content-Type: application/x-www-form-urlencoded\nContent-Length: 20\nConnection: close\n\n\
             sn=A+%26+B&genre=%C3%BC"
                .replace("20", "23")
                .as_str(),
        );
        check(
            Request {
                method: Method::POST,
                ..get("http://a.example/")
            },
            "POST / HTTP/1.1\nHost: a.example\nUser-Agent: TinyIce/1\nContent-Length: 0\nConnection: close\n\n",
        );
    }

    #[test]
    fn credentials_of_the_url_become_a_header() {
        for (url, expected) in [
            ("http://source:hackme@a.example/", "Basic c291cmNlOmhhY2ttZQ=="),
            ("http://u%40x:p%3A%C3%BC@a.example/", "Basic dUB4OnA6w7w="),
            ("http://token@a.example/", "Basic dG9rZW46"),
        ] {
            let mut request = get(url);
            request.settle();
            assert_eq!(request.headers[header::AUTHORIZATION], expected);
            assert!(request.headers[header::AUTHORIZATION].is_sensitive());
            assert_eq!(request.url.as_str(), "http://a.example/");
        }
        let mut request =
            get("http://u:p@a.example/").with(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        request.settle();
        assert_eq!(request.headers[header::AUTHORIZATION], "Bearer x");
    }

    #[test]
    fn debug_shows_no_secret() {
        let request = get("http://source:hackme@a.example/live").with(
            HeaderName::from_static("x-api-key"),
            HeaderValue::from_static("geheim"),
        );
        let mut request = Request {
            body: Bytes::from_static(b"token=geheim"),
            ..request
        };
        for _ in 0..2 {
            let told = format!("{request:?}");
            assert!(
                told.contains("a.example/live") && told.contains("x-api-key"),
                "{told}"
            );
            assert!(
                !told.contains("hackme") && !told.contains("geheim") && !told.contains("aGFja21l"),
                "{told}"
            );
            request.settle();
        }
    }
}
