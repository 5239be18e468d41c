//! Cross-origin headers of everything that players fetch, and the answer to `OPTIONS`.
//!
//! Contract: these headers never go onto routes that a session cookie opens.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::Answer;

/// What a mount can be asked; libshout reads it.
pub const ALLOW: &str = "GET, HEAD, PUT, SOURCE, OPTIONS";

/// Headers of every answer that another origin's page may read.
pub const HEADERS: &[(HeaderName, &str)] = &[
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        "icy-br, icy-description, icy-genre, icy-metaint, icy-name, icy-pub, icy-url, content-range",
    ),
];

/// What the preflight adds. Browser players that ask for in-band metadata send `Icy-MetaData`, which needs it.
pub const PREFLIGHT_HEADERS: &[(HeaderName, &str)] = &[
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "Icy-MetaData, Range, If-Range, Content-Type, Authorization",
    ),
    (header::ACCESS_CONTROL_MAX_AGE, "300"),
];

/// Adds [`HEADERS`].
pub fn add_to(headers: &mut HeaderMap) {
    extend(headers, HEADERS);
}

/// 204 to `OPTIONS *` and `OPTIONS` on a mount or playlist, preflight or not. libshout reads `Allow` and
/// `Accept-Encoding`.
#[must_use]
pub fn options() -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert(header::ALLOW, HeaderValue::from_static(ALLOW));
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity, chunked"),
    );
    extend(&mut headers, HEADERS);
    extend(&mut headers, PREFLIGHT_HEADERS);
    // RFC 9110 section 8.6: no Content-Length with 204.
    Answer {
        status: StatusCode::NO_CONTENT,
        headers,
        body: bytes::Bytes::new(),
    }
}

/// 405 to methods that a mount does not know.
#[must_use]
pub fn method_not_allowed() -> Answer {
    let mut answer = Answer::text(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
        .with(header::ALLOW, HeaderValue::from_static(ALLOW));
    add_to(&mut answer.headers);
    answer
}

fn extend(headers: &mut HeaderMap, more: &[(HeaderName, &'static str)]) {
    for (name, value) in more {
        headers.insert(name.clone(), HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preflight_for_in_band_metadata_passes() {
        let answer = options();
        assert_eq!(answer.status, 204);
        let allowed = answer.headers["access-control-allow-headers"]
            .to_str()
            .unwrap()
            .to_ascii_lowercase();
        assert!(allowed.split(", ").any(|name| name == "icy-metadata"));
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        assert_eq!(answer.headers["access-control-max-age"], "300");
        assert_eq!(answer.headers["allow"], "GET, HEAD, PUT, SOURCE, OPTIONS");
        assert_eq!(answer.headers["accept-encoding"], "identity, chunked");
        assert!(!answer.headers.contains_key("content-length"));
    }

    #[test]
    fn unknown_methods_learn_the_known_ones() {
        let answer = method_not_allowed();
        assert_eq!(answer.status, 405);
        assert_eq!(answer.headers["allow"], ALLOW);
    }
}
