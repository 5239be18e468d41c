//! `/metrics` on the public port, for administrators whose scraper cannot reach the internal one.
//!
//! Contract: nobody without an account learns anything, and the answer says how to sign in.

use std::io::Write as _;

use auth::{Action, Identified, Presented};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use front::Request;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use icecast::Answer;
use observe::metrics;

use crate::{Api, Reply, endpoint::cookie, plain};

const REALM: HeaderValue = HeaderValue::from_static("Basic realm=\"TinyIce Metrics\"");

impl Api {
    pub(crate) async fn scrape(&self, request: &Request) -> Reply {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            let mut reply = front::text(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed\n");
            let allow = HeaderValue::from_static("GET, HEAD");
            reply.headers_mut().insert(header::ALLOW, allow);
            return reply;
        }
        let presented = Presented {
            ip: request.client,
            authorization: request
                .headers
                .get(header::AUTHORIZATION)
                .map(HeaderValue::as_bytes),
            sid: cookie(request, "sid"),
            user_agent: "",
        };
        match self.parts.auth.identify(&presented).await {
            Identified::Caller(caller) if auth::permits(&caller, Action::MetricsRead, None) => {
                exposition(&request.headers)
            }
            Identified::Caller(_) => front::text(StatusCode::FORBIDDEN, "Forbidden\n"),
            Identified::Busy => plain(Answer::too_many_logins()),
            Identified::Anonymous | Identified::Wrong | Identified::LockedOut(_) => {
                let mut reply = front::text(StatusCode::UNAUTHORIZED, "Unauthorized\n");
                reply.headers_mut().insert(header::WWW_AUTHENTICATE, REALM);
                reply
            }
        }
    }
}

/// All metrics, in the format and coding that the scraper prefers.
fn exposition(headers: &HeaderMap) -> Reply {
    let field = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let format = metrics::negotiate(field(header::ACCEPT));
    let text = metrics::render(format);
    let wanted = metrics::wants_gzip(field(header::ACCEPT_ENCODING));
    let compressed = wanted.then(|| gzip(text.as_bytes())).flatten();
    let is_compressed = compressed.is_some();
    let mut reply = Response::new(Full::new(compressed.unwrap_or_else(|| text.into())));
    let headers = reply.headers_mut();
    let mut put = |name, value| headers.insert(name, HeaderValue::from_static(value));
    put(header::CONTENT_TYPE, metrics::content_type(format));
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(header::CACHE_CONTROL, "no-store");
    put(header::VARY, "Accept, Accept-Encoding");
    if is_compressed {
        put(header::CONTENT_ENCODING, "gzip");
    }
    reply
}

fn gzip(text: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use http_body_util::BodyExt as _;

    use super::*;

    async fn scrape(headers: &[(header::HeaderName, &str)]) -> (HeaderMap, Bytes) {
        let pairs = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        let (parts, body) = exposition(&pairs.collect()).into_parts();
        (parts.headers, body.collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn format_and_coding_are_the_scrapers_choice() {
        metrics::register(crate::metrics::ALL);
        crate::metrics::SSE_SKIPPED_TICKS
            .of(crate::metrics::Feed::Admin)
            .add(0);
        let line = "tinyice_sse_skipped_ticks_total{feed=\"admin\"} 0";
        let (headers, body) = scrape(&[]).await;
        assert!(
            headers[header::CONTENT_TYPE]
                .to_str()
                .unwrap()
                .starts_with("text/plain; version=0.0.4")
        );
        assert!(!headers.contains_key(header::CONTENT_ENCODING));
        assert!(String::from_utf8_lossy(&body).contains(line));

        let accepts = [
            (header::ACCEPT, "application/openmetrics-text;version=1.0.0"),
            (header::ACCEPT_ENCODING, "gzip"),
        ];
        let (headers, body) = scrape(&accepts).await;
        assert!(
            headers[header::CONTENT_TYPE]
                .to_str()
                .unwrap()
                .starts_with("application/openmetrics-text")
        );
        assert_eq!(headers[header::CONTENT_ENCODING], "gzip");
        let mut text = String::new();
        GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
        assert!(text.contains(line) && text.ends_with("# EOF\n"), "{text}");
    }
}
