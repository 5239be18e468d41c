//! A "no": the status, and the text that people and scripts are shown.
//!
//! Contract: every refusal of an endpoint has one shape, `{"error":"text"}`, and never more detail than the caller
//! may know.

use std::{borrow::Cow, time::Duration};

use auth::{Kind, RuleError};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use crate::Reply;

/// Why an endpoint did not do what it was asked for.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    text: Cow<'static, str>,
    /// Few have it, and every result of every handler has the room for it.
    more: Option<Box<More>>,
}

/// What goes with the text.
#[derive(Debug, Default)]
struct More {
    header: Option<(HeaderName, HeaderValue)>,
    keys: Map<String, Value>,
}

impl Refusal {
    /// A refusal with this status and text.
    #[must_use]
    pub fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            text: text.into(),
            more: None,
        }
    }

    /// 400: the caller can put it right.
    #[must_use]
    pub fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// 401: nobody is signed in. Without a challenge, so that browsers show no box of their own.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized")
    }

    /// 403: whoever is signed in may not.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden")
    }

    /// 404: there is no such thing.
    #[must_use]
    pub fn missing(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// 409: it does not go together with what there is.
    #[must_use]
    pub fn conflict(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, text)
    }

    /// 503: not now, or not in this release.
    #[must_use]
    pub fn unavailable(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    /// 500: the fault is ours or the disk's.
    #[must_use]
    pub fn failed(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// 429: later.
    #[must_use]
    pub fn too_many(text: impl Into<Cow<'static, str>>, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self::new(StatusCode::TOO_MANY_REQUESTS, text)
            .with("retry_after", seconds)
            .header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// With another key beside `error`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.more().keys.insert(key.to_owned(), value.into());
        self
    }

    /// With a header field.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.more().header = Some((name, value));
        self
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// As the API says it.
    pub(crate) fn json(self) -> Reply {
        let mut object = Map::new();
        object.insert("error".to_owned(), Value::from(self.text.as_ref()));
        let more = self.more.map(|more| *more).unwrap_or_default();
        object.extend(more.keys);
        let mut reply = front::text(self.status, &format!("{}\n", Value::Object(object)));
        reply
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        reply.headers_mut().extend(more.header);
        reply
    }

    /// As everything else says it.
    pub(crate) fn plain(self) -> Reply {
        let mut reply = front::text(self.status, &format!("{}\n", self.text));
        reply.headers_mut().extend(self.more.and_then(|more| more.header));
        reply
    }
}

/// The rules say no in the words that people are shown.
impl<E: RuleError> From<E> for Refusal {
    fn from(error: E) -> Self {
        let status = match error.kind() {
            Kind::Bad => StatusCode::BAD_REQUEST,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::Missing => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Kind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::Busy => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_whole_seconds_and_never_none() {
        for (wait, header) in [
            (Duration::ZERO, "1"),
            (Duration::from_millis(1), "1"),
            (Duration::from_secs(900), "900"),
            (Duration::from_millis(1_001), "2"),
        ] {
            let reply = Refusal::too_many("later", wait).json();
            assert_eq!(reply.status(), StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(reply.headers()[header::RETRY_AFTER], header);
        }
    }
}
