//! The number of a request, by which its answer and its log lines are found.
//!
//! Contract: it is safe wherever it is repeated, and nobody but a trusted proxy has a say in it.

use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Carries it, in answers and in the requests of proxies that number theirs.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What proxies make are UUIDs and the like; what is longer is none of these.
const LONGEST: usize = 64;

/// The number of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Number);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Number {
    /// Random instead of counted, so that it does not tell the world how many requests there are.
    Own(u64),
    /// Letters, digits, `-`, `_` and `.`.
    Given(Box<str>),
}

impl RequestId {
    /// That of the proxy if there is a usable one, else a new one.
    pub(crate) fn of(headers: &HeaderMap, via_trusted_proxy: bool) -> Self {
        let given = headers
            .get(X_REQUEST_ID)
            .filter(|_| via_trusted_proxy)
            .and_then(|value| value.to_str().ok())
            .filter(|text| is_plain(text));
        Self(match given {
            Some(text) => Number::Given(text.into()),
            None => return Self::random(),
        })
    }

    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(Number::Own(fastrand::u64(..)))
    }

    pub(crate) fn to_value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.to_string()).expect("letters and digits are a header's value")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Number::Own(number) => write!(out, "{number:016x}"),
            Number::Given(text) => out.write_str(text),
        }
    }
}

fn is_plain(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: &[u8], via_trusted_proxy: bool) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(value).expect("a value"));
        RequestId::of(&headers, via_trusted_proxy)
    }

    #[test]
    fn a_trusted_proxy_may_number_requests_in_plain_words() {
        let longest = "a".repeat(LONGEST);
        let longer = "a".repeat(LONGEST + 1);
        for (value, via_trusted_proxy, taken) in [
            ("7f3a-B_2.c", true, true),
            ("7f3a-B_2.c", false, false),
            (longest.as_str(), true, true),
            (longer.as_str(), true, false),
            ("", true, false),
            ("a b", true, false),
            ("a,b", true, false),
            ("a\tb", true, false),
            ("<b>", true, false),
            ("\u{fc}", true, false),
        ] {
            let id = id(value.as_bytes(), via_trusted_proxy).to_string();
            assert_eq!(id == value, taken, "{value:?} {id}");
            assert!(is_plain(&id), "{id}");
        }
    }

    #[test]
    fn new_ones_differ_and_have_one_length() {
        assert_ne!(RequestId::random(), RequestId::random());
        assert_eq!(RequestId(Number::Own(0xAB)).to_string(), "00000000000000ab");
        assert_eq!(RequestId::of(&HeaderMap::new(), true).to_value().len(), 16);
    }
}
