//! A complete short answer: status, headers and body, for whoever owns the connection to write.
//!
//! Contract: `Content-Length` is always present and right, so an HTTP/1.0 keep-alive connection stays usable.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// The type of plain answers.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Status, headers and body of one answer. Connection headers are the front's business.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Headers without `Connection`, `Date` and `Server`.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// An answer with a body of this type.
    #[must_use]
    pub fn new(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        Self {
            status,
            headers,
            body,
        }
    }

    /// Plain text.
    #[must_use]
    pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(status, TEXT, body)
    }

    /// 401 as encoders know it. Missing credentials get it too, and then the same connection is used again.
    #[must_use]
    pub fn unauthorized_source() -> Self {
        Self::text(StatusCode::UNAUTHORIZED, "Unauthorized").with(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"Icecast\""),
        )
    }

    /// 401 of the metadata and administration endpoints; never a redirect, which no tool follows.
    #[must_use]
    pub fn unauthorized_admin() -> Self {
        Self::text(StatusCode::UNAUTHORIZED, "Unauthorized").with(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"TinyIce\""),
        )
    }

    /// 403 with its reason.
    #[must_use]
    pub fn forbidden(reason: &'static str) -> Self {
        Self::text(StatusCode::FORBIDDEN, reason)
    }

    /// 403 to a source on a mount that is taken. Icecast 2.5 says 409, which today's encoders do not know.
    #[must_use]
    pub fn mount_in_use() -> Self {
        Self::forbidden("Mount already has an active source")
    }

    /// 403 to a source on a path that is the server's own or no legal mount name.
    #[must_use]
    pub fn reserved_path() -> Self {
        Self::forbidden("Reserved path")
    }

    /// 503 to a source beyond the configured number of sources.
    #[must_use]
    pub fn too_many_sources() -> Self {
        Self::text(StatusCode::SERVICE_UNAVAILABLE, "Too many sources")
    }

    /// 503 to credentials while too many others are being checked.
    #[must_use]
    pub fn too_many_logins() -> Self {
        Self::text(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many logins at the moment, try again",
        )
        .with(header::RETRY_AFTER, HeaderValue::from_static("2"))
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl From<Answer> for http::Response<Bytes> {
    fn from(answer: Answer) -> Self {
        let mut response = http::Response::new(answer.body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_keep_the_connection_countable() {
        for (answer, status, body) in [
            (Answer::unauthorized_source(), 401, "Unauthorized"),
            (Answer::mount_in_use(), 403, "Mount already has an active source"),
            (Answer::reserved_path(), 403, "Reserved path"),
            (Answer::too_many_sources(), 503, "Too many sources"),
        ] {
            assert_eq!(answer.status, status);
            assert_eq!(answer.body, body);
            assert_eq!(answer.headers["content-length"], body.len().to_string().as_str());
            assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
        }
        assert_eq!(
            Answer::unauthorized_source().headers["www-authenticate"],
            "Basic realm=\"Icecast\""
        );
    }
}
