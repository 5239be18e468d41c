//! What a page answers, before it is a response on a connection.
//!
//! Contract: an answer is whole and owned; nothing in it refers to a lock or to a state that may change.

use std::borrow::Cow;

use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode, header};

/// Plain text.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
/// JSON.
pub(crate) const JSON: &str = "application/json";
/// One JSON value a line.
pub(crate) const JSON_LINES: &str = "application/x-ndjson";
/// A page for a browser.
pub(crate) const HTML: &str = "text/html; charset=utf-8";
/// Bytes for a program.
pub(crate) const BINARY: &str = "application/octet-stream";

/// What a page answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The `Content-Type`.
    pub content_type: Cow<'static, str>,
    /// Further headers. What every response of the port has (caching, sniffing, framing) is added later.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The content.
    pub body: Vec<u8>,
}

impl Answer {
    /// 200 with a content of some type.
    #[must_use]
    pub fn new(content_type: impl Into<Cow<'static, str>>, body: impl Into<Vec<u8>>) -> Answer {
        Answer {
            status: StatusCode::OK,
            content_type: content_type.into(),
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// 200 with plain text.
    #[must_use]
    pub fn text(body: impl Into<String>) -> Answer {
        Answer::new(TEXT, body.into())
    }

    /// 200 with JSON, made readable.
    #[must_use]
    pub fn json(value: &serde_json::Value) -> Answer {
        Answer::new(JSON, format!("{value:#}\n"))
    }

    /// 200 with a page for a browser: `content` is HTML, `title` is not.
    #[must_use]
    pub fn html(title: &str, content: &str) -> Answer {
        Answer::new(HTML, crate::html::document(title, content))
    }

    /// 200 with bytes that a browser stores under a name. The name must be plain ASCII without quotes.
    #[must_use]
    pub fn attachment(name: &str, body: Vec<u8>) -> Answer {
        let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
        let answer = Answer::new(BINARY, body);
        match disposition {
            Ok(disposition) => answer.with_header(header::CONTENT_DISPOSITION, disposition),
            Err(_) => answer,
        }
    }

    /// Another status with a line that says why and what to do.
    #[must_use]
    pub fn refused(status: StatusCode, reason: impl Into<String>) -> Answer {
        let mut body = reason.into();
        if !body.ends_with('\n') {
            body.push('\n');
        }
        Answer {
            status,
            ..Answer::text(body)
        }
    }

    /// 405 that names the methods that work.
    #[must_use]
    pub fn method_not_allowed(allowed: &'static [Method]) -> Answer {
        let allowed = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let answer = Answer::refused(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("this path answers {allowed}"),
        );
        match HeaderValue::from_str(&allowed) {
            Ok(value) => answer.with_header(header::ALLOW, value),
            Err(_) => answer,
        }
    }

    /// With one more header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Answer {
        self.headers.push((name, value));
        self
    }

    /// With another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Answer {
        self.status = status;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_of_text() {
        let answer = Answer::refused(StatusCode::NOT_FOUND, "no such page");
        assert_eq!(answer.status, 404);
        assert_eq!(answer.content_type, "text/plain; charset=utf-8");
        assert_eq!(answer.body, b"no such page\n");
        let again = Answer::refused(StatusCode::NOT_FOUND, "no such page\n");
        assert_eq!(again, answer);
    }

    #[test]
    fn methods_are_listed() {
        let answer = Answer::method_not_allowed(&[Method::GET, Method::PUT]);
        assert_eq!(answer.status, 405);
        assert_eq!(
            answer.headers,
            [(header::ALLOW, HeaderValue::from_static("GET, PUT"))]
        );
    }

    #[test]
    fn an_attachment_has_a_name() {
        let answer = Answer::attachment("heap", vec![1]);
        assert_eq!(
            answer.headers[0].1,
            HeaderValue::from_static("attachment; filename=\"heap\"")
        );
    }
}
