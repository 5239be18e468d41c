//! Turns a redirect into the next request.
//!
//! Contract: what was meant for one origin (scheme, host, port) never reaches another: only headers
//! from a short list survive the change, and they do not come back on the way. https never becomes http.

use http::{
    Method, StatusCode,
    header::{self, HeaderValue},
};

use crate::{Failure, Request, request::strip};

/// Headers that say nothing about who asks. The relay header must survive, or a loop through a
/// redirecting server would not be seen.
const HARMLESS: &[&str] = &[
    "accept",
    "accept-language",
    "content-type",
    "user-agent",
    "icy-metadata",
    "x-tinyice-relay",
];

/// Whether a response with `status` sends the client elsewhere, if it has a `Location`.
pub(crate) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Makes `request` the one that `location` asks for.
///
/// # Errors
/// [`Failure::BadRedirect`] or [`Failure::Downgrade`].
pub(crate) fn follow(
    request: &mut Request,
    status: StatusCode,
    location: &HeaderValue,
) -> Result<(), Failure> {
    let location = std::str::from_utf8(location.as_bytes()).map_err(|_| Failure::BadRedirect)?;
    let mut target = request.url.join(location).map_err(|_| Failure::BadRedirect)?;
    strip(&mut target);
    if request.url.scheme() == "https" && target.scheme() == "http" {
        return Err(Failure::Downgrade {
            host: target.host_str().unwrap_or_default().to_owned(),
        });
    }
    if request.url.origin() != target.origin() {
        let kept = request
            .headers
            .iter()
            .filter(|(name, _)| HARMLESS.contains(&name.as_str()));
        request.headers = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    }
    // RFC 9110 sections 15.4.2 to 15.4.4: 303 asks for a GET, and after 301 and 302 clients turn a POST
    // into one; 307 and 308 repeat the request.
    let becomes_get = match status.as_u16() {
        303 => request.method != Method::HEAD,
        301 | 302 => request.method == Method::POST,
        _ => false,
    };
    if becomes_get {
        request.method = Method::GET;
        request.body.clear();
        request.headers.remove(header::CONTENT_TYPE);
    }
    request.url = target;
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderName;

    use super::*;
    use crate::{Limits, basic};

    fn request(url: &str) -> Request {
        let mut request = Request::get(url.parse().unwrap(), Limits::relay())
            .with(header::AUTHORIZATION, basic("source", "hackme"))
            .with(header::COOKIE, HeaderValue::from_static("a=b"))
            .with(
                HeaderName::from_static("x-api-key"),
                HeaderValue::from_static("secret"),
            )
            .with(
                HeaderName::from_static("icy-metadata"),
                HeaderValue::from_static("1"),
            )
            .with(
                HeaderName::from_static("x-tinyice-relay"),
                HeaderValue::from_static("id"),
            );
        request.settle();
        request
    }

    fn names(request: &Request) -> String {
        let mut names: Vec<_> = request.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names.join(" ")
    }

    #[test]
    fn secrets_stay_with_their_origin() {
        const ALL: &str = "authorization cookie icy-metadata x-api-key x-tinyice-relay";
        const SAFE: &str = "icy-metadata x-tinyice-relay";
        for (from, location, to, headers) in [
            ("http://a.example/x", "/y?z", "http://a.example/y?z", ALL),
            ("http://a.example/x", "y", "http://a.example/y", ALL),
            (
                "http://a.example/x",
                "http://A.example:80/y#part",
                "http://a.example/y",
                ALL,
            ),
            (
                "http://a.example/x",
                "https://a.example/y",
                "https://a.example/y",
                SAFE,
            ),
            (
                "http://a.example/x",
                "http://a.example:8000/y",
                "http://a.example:8000/y",
                SAFE,
            ),
            (
                "http://a.example/x",
                "http://b.a.example/",
                "http://b.a.example/",
                SAFE,
            ),
            ("http://a.example/x", "//b.example/y", "http://b.example/y", SAFE),
            (
                "https://a.example/x",
                "//b.example/y",
                "https://b.example/y",
                SAFE,
            ),
            (
                "http://a.example/x",
                "http://u:p@b.example/ü",
                "http://b.example/%C3%BC",
                SAFE,
            ),
            (
                "http://a.example/x",
                "gopher://b.example/",
                "gopher://b.example/",
                SAFE,
            ),
        ] {
            let mut request = request(from);
            // The bytes of a `Location` are not always ASCII.
            let location = HeaderValue::from_bytes(location.as_bytes()).unwrap();
            follow(&mut request, StatusCode::FOUND, &location).unwrap();
            assert_eq!((request.url.as_str(), names(&request).as_str()), (to, headers));
        }
    }

    #[test]
    fn secrets_do_not_come_back() {
        let mut request = request("http://a.example/x");
        for location in ["http://b.example/", "http://a.example/x"] {
            follow(
                &mut request,
                StatusCode::FOUND,
                &HeaderValue::from_static(location),
            )
            .unwrap();
        }
        assert_eq!(names(&request), "icy-metadata x-tinyice-relay");
    }

    #[test]
    fn targets_that_are_not_followed() {
        for (from, location, expected) in [
            (
                "https://a.example/",
                "http://a.example/",
                "redirected from https to http (a.example)",
            ),
            (
                "http://a.example/",
                "http://",
                "redirected to something that is not a URL",
            ),
            (
                "http://a.example/",
                "http://a b/",
                "redirected to something that is not a URL",
            ),
        ] {
            let location = HeaderValue::from_static(location);
            let failure = follow(&mut request(from), StatusCode::FOUND, &location).unwrap_err();
            assert_eq!(failure.to_string(), expected);
        }
        let location = HeaderValue::from_bytes(b"/\xff").unwrap();
        let failure = follow(&mut request("http://a.example/"), StatusCode::FOUND, &location).unwrap_err();
        assert!(matches!(failure, Failure::BadRedirect));
    }

    #[test]
    fn methods_after_a_redirect() {
        for (status, method, expected, keeps_body) in [
            (301, Method::POST, Method::GET, false),
            (302, Method::POST, Method::GET, false),
            (303, Method::POST, Method::GET, false),
            (303, Method::PUT, Method::GET, false),
            (303, Method::HEAD, Method::HEAD, true),
            (301, Method::PUT, Method::PUT, true),
            (307, Method::POST, Method::POST, true),
            (308, Method::POST, Method::POST, true),
        ] {
            let mut request = Request {
                method,
                body: Bytes::from_static(b"x"),
                ..request("http://a.example/")
                    .with(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))
            };
            let status = StatusCode::from_u16(status).unwrap();
            assert!(is_redirect(status));
            follow(&mut request, status, &HeaderValue::from_static("/y")).unwrap();
            assert_eq!(request.method, expected, "{status}");
            assert_eq!(!request.body.is_empty(), keeps_body, "{status}");
            assert_eq!(
                request.headers.contains_key(header::CONTENT_TYPE),
                keeps_body,
                "{status}"
            );
        }
        assert!(
            ![200, 300, 304, 305, 401]
                .iter()
                .any(|&s| is_redirect(StatusCode::from_u16(s).unwrap()))
        );
    }
}
