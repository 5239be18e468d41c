//! A request as handlers see it.
//!
//! Contract: everything a handler needs to decide is decided here once: whose request it is, which host and scheme
//! the client used, and the path in its decoded form.

use std::net::{IpAddr, SocketAddr};

use http::header::{HOST, HeaderMap};
use http::{Method, Uri};

use crate::client::client_address;
use crate::connection::Ends;
use crate::framing::Framing;
use crate::head::{Head, Version};
use crate::request_id::RequestId;
use crate::route::{Route, is_source, route};
use crate::{Handler, Target};

/// A request without its body.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method; `SOURCE` is an extension method.
    pub method: Method,
    /// The protocol version.
    pub version: Version,
    /// The request target, raw and taken apart.
    pub target: Target,
    /// The header fields; values may hold any bytes but control characters.
    pub headers: HeaderMap,
    /// What the head says about the body.
    pub framing: Framing,
    /// The other end of the connection: the client or a proxy.
    pub peer: SocketAddr,
    /// Our end of the connection.
    pub local: SocketAddr,
    /// Who asks; an IPv4 address is never in its IPv6 form.
    pub client: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub via_trusted_proxy: bool,
    /// Whether the client used https, here or towards a trusted proxy.
    pub scheme_https: bool,
    /// Host and perhaps port as the client wrote them. The local address if it wrote none, or none that is safe to
    /// repeat.
    pub host: String,
    /// The connection, unique for the life of the process.
    pub id: u64,
    /// This request, in its answer and in the log.
    pub request_id: RequestId,
}

impl Request {
    pub(crate) fn new(head: Head, ends: &Ends, id: u64, handler: &dyn Handler) -> Self {
        let client = client_address(ends.peer.ip(), &head.headers, &|ip| handler.trusts(ip));
        let own_host = || {
            head.headers
                .get(HOST)
                .and_then(|host| host.to_str().ok())
                .map(str::to_owned)
        };
        let host = client
            .host
            .filter(|host| is_host(host))
            .or_else(|| own_host().filter(|host| is_host(host)))
            .unwrap_or_else(|| ends.local.to_string());
        let scheme_https = client
            .proto
            .map_or(ends.secure, |proto| proto.eq_ignore_ascii_case("https"));
        let request_id = RequestId::of(&head.headers, client.via_trusted_proxy);
        Self {
            method: head.method,
            version: head.version,
            target: head.target,
            headers: head.headers,
            framing: head.framing,
            peer: ends.peer,
            local: ends.local,
            client: client.ip,
            via_trusted_proxy: client.via_trusted_proxy,
            scheme_https,
            host,
            id,
            request_id,
        }
    }

    /// The percent-decoded path.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// The query, still encoded.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target.query()
    }

    /// What the request is about.
    #[must_use]
    pub fn route(&self) -> Route {
        route(&self.method, self.path())
    }

    /// Whether an encoder asks (`SOURCE` or `PUT`).
    #[must_use]
    pub fn is_source(&self) -> bool {
        is_source(&self.method)
    }

    /// The first field of that name as text: UTF-8, else ISO-8859-1.
    #[must_use]
    pub fn header_text(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| decode_text(value.as_bytes()))
    }

    /// The request for a tower service; this request stays reachable as an extension.
    #[must_use]
    pub fn into_http<B>(self, body: B) -> http::Request<B> {
        let mut request = http::Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri();
        *request.version_mut() = match self.version {
            Version::Http11 => http::Version::HTTP_11,
            Version::Http10 | Version::Ice10 => http::Version::HTTP_10,
        };
        *request.headers_mut() = self.headers.clone();
        request.extensions_mut().insert(self);
        request
    }

    fn uri(&self) -> Uri {
        self.target.uri()
    }
}

/// Text of a header value: UTF-8, else ISO-8859-1.
fn decode_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

/// Whether the text can only be a host and a port: it ends up in links and redirects.
fn is_host(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]%".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{HeadLimits, Parsed, parse};
    use crate::{Exchange, Handling};

    struct Proxied;
    impl Handler for Proxied {
        fn trusts(&self, ip: IpAddr) -> bool {
            ip.is_loopback()
        }
        fn handle<'a>(&'a self, _: Request, exchange: Exchange) -> Handling<'a> {
            Box::pin(async move { exchange.close() })
        }
    }

    fn request(peer: &str, secure: bool, lines: &str) -> Request {
        let bytes = format!("GET /a%20b?q=1 HTTP/1.1\r\n{lines}\r\n");
        let Ok(Parsed::Complete { head, .. }) = parse(
            bytes.as_bytes(),
            HeadLimits {
                bytes: 9000,
                lines: 100,
            },
        ) else {
            panic!("{lines}");
        };
        let ends = Ends {
            peer: peer.parse().expect("an address"),
            local: "192.0.2.1:8000".parse().expect("an address"),
            secure,
        };
        Request::new(*head, &ends, 7, &Proxied)
    }

    #[test]
    fn host_and_scheme_are_the_clients() {
        for (peer, secure, lines, host, https) in [
            (
                "203.0.113.1:5",
                false,
                "Host: radio.example:8000\r\n",
                "radio.example:8000",
                false,
            ),
            (
                "203.0.113.1:5",
                true,
                "Host: [2001:db8::1]:443\r\n",
                "[2001:db8::1]:443",
                true,
            ),
            ("203.0.113.1:5", false, "", "192.0.2.1:8000", false),
            ("203.0.113.1:5", false, "Host:\r\n", "192.0.2.1:8000", false),
            (
                "203.0.113.1:5",
                false,
                "Host: a\"><script>\r\n",
                "192.0.2.1:8000",
                false,
            ),
            (
                "203.0.113.1:5",
                false,
                "Host: evil@x/y\r\n",
                "192.0.2.1:8000",
                false,
            ),
            (
                "203.0.113.1:5",
                false,
                "Host: h\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: e\r\n",
                "h",
                false,
            ),
            (
                "127.0.0.1:5",
                false,
                "Host: h\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: e\r\n",
                "e",
                true,
            ),
            (
                "127.0.0.1:5",
                true,
                "Host: h\r\nX-Forwarded-Proto: http\r\n",
                "h",
                false,
            ),
        ] {
            let request = request(peer, secure, lines);
            assert_eq!(
                (request.host.as_str(), request.scheme_https),
                (host, https),
                "{lines}"
            );
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let lines =
            "Authorization: Basic c2VjcmV0\r\nCookie: session=secret\r\nProxy-Authorization: secret\r\n";
        let bytes = format!("GET /admin.cgi?pass=secret HTTP/1.1\r\n{lines}\r\n");
        let limits = HeadLimits {
            bytes: 9000,
            lines: 100,
        };
        let Ok(Parsed::Complete { head, .. }) = parse(bytes.as_bytes(), limits) else {
            panic!("a head");
        };
        assert_eq!(head.headers["authorization"], "Basic c2VjcmV0");
        let printed = format!("{head:?} {:?}", request("203.0.113.1:5", false, lines));
        assert!(printed.contains("/admin.cgi"), "{printed}");
        assert!(
            !printed.contains("secret") && !printed.contains("c2VjcmV0"),
            "{printed}"
        );
    }

    #[test]
    fn header_text_is_utf_8_or_latin_1() {
        let request = request("203.0.113.1:5", false, "Ice-Name: Ünï\r\n");
        assert_eq!(request.header_text("ice-name").as_deref(), Some("Ünï"));
        assert_eq!(request.header_text("ice-genre"), None);
        assert_eq!(decode_text(b"\xDCn\xEF"), "Ünï");
    }

    #[test]
    fn services_get_the_request_still_encoded() {
        let request = request("203.0.113.1:5", false, "X: y\r\n").into_http(());
        assert_eq!(request.uri(), "/a%20b?q=1");
        assert_eq!(request.headers()["x"], "y");
        assert_eq!(
            request.extensions().get::<Request>().map(|request| request.id),
            Some(7)
        );
    }
}
