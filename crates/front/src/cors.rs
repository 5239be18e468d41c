//! Cross-origin headers of what anybody may play: mounts, playlists, HLS, WHEP, posters, status, public events.
//!
//! Contract: never on a route that looks at the session cookie.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderMap, HeaderValue,
};

/// Which group of public routes a preflight is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preflight {
    /// Mounts, playlists, HLS, posters, status.
    Playback,
    /// The public event feed, which scripts also read by other means than a browser's `EventSource`.
    Events,
    /// WHEP and WHIP endpoints and sessions.
    WebRtc,
}

/// Sets what every answer of a public route carries, whatever its status.
pub fn simple(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    // `icy-metaint` must be readable for players that parse in-band titles; the last three serve WHEP.
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "icy-br, icy-description, icy-genre, icy-metaint, icy-name, icy-pub, icy-url, content-range, \
             location, link, etag",
        ),
    );
}

/// Sets what the answer to a preflight carries.
pub fn preflight(kind: Preflight, headers: &mut HeaderMap) {
    simple(headers);
    let (methods, names) = match kind {
        Preflight::Playback => (
            "GET, HEAD, OPTIONS",
            "Icy-MetaData, Range, If-Range, Content-Type, Authorization",
        ),
        Preflight::Events => (
            "GET, HEAD, OPTIONS",
            "Icy-MetaData, Range, If-Range, Content-Type, Authorization, Cache-Control, Last-Event-ID",
        ),
        Preflight::WebRtc => (
            "GET, HEAD, OPTIONS, POST, DELETE, PATCH",
            "Icy-MetaData, Range, If-Range, Content-Type, Authorization, If-Match",
        ),
    };
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(names));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("300"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preflights_allow_in_band_metadata() {
        for (kind, methods) in [
            (Preflight::Playback, "GET, HEAD, OPTIONS"),
            (Preflight::Events, "GET, HEAD, OPTIONS"),
            (Preflight::WebRtc, "GET, HEAD, OPTIONS, POST, DELETE, PATCH"),
        ] {
            let mut headers = HeaderMap::new();
            preflight(kind, &mut headers);
            assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
            assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], methods);
            assert_eq!(headers[ACCESS_CONTROL_MAX_AGE], "300");
            let names = headers[ACCESS_CONTROL_ALLOW_HEADERS].to_str().expect("ASCII");
            assert!(
                names.starts_with("Icy-MetaData, Range, If-Range, Content-Type, Authorization"),
                "{names}"
            );
        }
    }

    #[test]
    fn answers_expose_the_interval() {
        let mut headers = HeaderMap::new();
        simple(&mut headers);
        assert!(
            headers[ACCESS_CONTROL_EXPOSE_HEADERS]
                .to_str()
                .expect("ASCII")
                .contains("icy-metaint")
        );
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_METHODS));
    }
}
