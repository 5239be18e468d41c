//! Which names the port answers to, and which requests of browsers it refuses.
//!
//! Contract: a web page from elsewhere can neither read nor change anything here through the browser of an operator,
//! also when it makes its own name resolve to this machine (DNS rebinding).

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::Uri;
use http::{Method, StatusCode, Version};

use crate::Answer;

/// Refuses a request whose target is not this port by address, `localhost` or one of the names.
pub(crate) fn check(
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
    names: &[String],
) -> Result<(), Answer> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("there is more than one Host header"));
    }
    // RFC 9112 section 3.2: a request of HTTP/1.1 has the header, also when its target is a whole address.
    if host.is_none() && version >= Version::HTTP_11 {
        return Err(bad("the Host header is missing"));
    }
    let host = host.map(HeaderValue::to_str).transpose();
    let host = host.map_err(|_| bad("the Host header is no text"))?;
    let target = uri.authority().map(http::uri::Authority::as_str);
    match host
        .into_iter()
        .chain(target)
        .find(|authority| !is_ours(authority, names))
    {
        None => Ok(()),
        Some(_) => Err(Answer::refused(
            StatusCode::MISDIRECTED_REQUEST,
            "this port answers to its IP address, to localhost and to the name in its configuration only",
        )),
    }
}

/// Refuses what a web page from elsewhere has its visitor's browser send. Programs send none of these headers.
pub(crate) fn check_origin(method: &Method, headers: &HeaderMap) -> Result<(), Answer> {
    let text = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let reads = method == Method::GET || method == Method::HEAD;
    let refuse = |reason| Err(Answer::refused(StatusCode::FORBIDDEN, reason));
    if !reads {
        // Another port of the same machine counts as the same site, so for changes only the same origin will do.
        if !matches!(text("sec-fetch-site"), None | Some(b"same-origin" | b"none")) {
            return refuse("a page from elsewhere may not change anything here");
        }
        let own = headers.get(header::HOST).map(HeaderValue::as_bytes);
        let foreign = |origin: &[u8]| origin.strip_prefix(b"http://") != own;
        if headers
            .get(header::ORIGIN)
            .is_some_and(|origin| foreign(origin.as_bytes()))
        {
            return refuse("a page from elsewhere may not change anything here");
        }
        return Ok(());
    }
    let opened = text("sec-fetch-mode") == Some(b"navigate") && text("sec-fetch-dest") == Some(b"document");
    match text("sec-fetch-site") {
        Some(b"cross-site") if !opened => refuse("a page from elsewhere may not load anything from here"),
        _ => Ok(()),
    }
}

fn bad(reason: &str) -> Answer {
    Answer::refused(StatusCode::BAD_REQUEST, reason)
}

/// Whether `host` or `host:port` means this port.
fn is_ours(authority: &str, names: &[String]) -> bool {
    let Some(host) = without_port(authority) else {
        return false;
    };
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    if host.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    // RFC 6761 section 6.3: what ends in `localhost` never leaves the machine.
    host == "localhost"
        || host.ends_with(".localhost")
        || names.iter().any(|name| {
            let name = name.strip_suffix('.').unwrap_or(name);
            !name.is_empty() && name.eq_ignore_ascii_case(&host)
        })
}

/// The host alone, brackets included; `None` when it is no host with an optional port.
fn without_port(authority: &str) -> Option<&str> {
    let end = authority.find(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[end..].find(':') {
        Some(colon) => (&authority[..end + colon], &authority[end + colon + 1..]),
        None => (authority, ""),
    };
    let port_fits =
        port.is_empty() || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok());
    (port_fits && !host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_ours() {
        let names = ["radio.example.com".to_owned(), String::new()];
        let ours = [
            "127.0.0.1",
            "127.0.0.1:8081",
            "10.1.2.3:9",
            "[::1]",
            "[::1]:8081",
            "[fd00::2]:1",
            "localhost",
            "LocalHost:8081",
            "localhost.",
            "tinyice.localhost:8081",
            "radio.example.com",
            "RADIO.example.com.:8081",
            "localhost:",
        ];
        let foreign = [
            "",
            ":8081",
            "evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "2130706433",
            "0x7f.1",
            "127.1",
            "user@localhost",
            "localhost@evil.example",
            "[::1",
            "[::1]x",
            "[evil]",
            "::1",
            "[fe80::1%25eth0]",
            "localhost:x",
            "localhost:80:80",
            "localhost:99999",
            "localhost:+80",
            "localhost evil",
            "radio.example.com.evil.example",
            "..",
        ];
        for host in ours {
            assert!(is_ours(host, &names), "{host}");
        }
        for host in foreign {
            assert!(!is_ours(host, &names), "{host}");
        }
    }

    #[test]
    fn requests_are_checked_by_header_and_target() {
        let cases: [(Version, &str, &[&str], u16); 9] = [
            (Version::HTTP_11, "/", &["localhost"], 200),
            (Version::HTTP_11, "/", &[], 400),
            (Version::HTTP_10, "/", &[], 200),
            (Version::HTTP_10, "/", &["evil.example"], 421),
            (Version::HTTP_11, "/", &["localhost", "localhost"], 400),
            (Version::HTTP_11, "/", &["evil.example"], 421),
            (Version::HTTP_11, "http://127.0.0.1:8081/", &["localhost"], 200),
            (Version::HTTP_11, "http://evil.example/", &["localhost"], 421),
            (Version::HTTP_11, "http://localhost/", &["evil.example"], 421),
        ];
        for (version, target, hosts, expected) in cases {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, HeaderValue::from_static(host));
            }
            let checked = check(version, &Uri::from_static(target), &headers, &[]);
            let status = checked.map_or_else(|answer| answer.status.as_u16(), |()| 200);
            assert_eq!(status, expected, "{version:?} {target} {hosts:?}");
        }
    }

    #[test]
    fn pages_from_elsewhere_are_refused() {
        type Headers<'a> = &'a [(&'static str, &'static str)];
        let cases: [(Method, Headers<'_>, bool); 12] = [
            (Method::GET, &[], true),
            (Method::GET, &[("sec-fetch-site", "none")], true),
            (Method::GET, &[("sec-fetch-site", "same-origin")], true),
            (Method::GET, &[("sec-fetch-site", "cross-site")], false),
            (
                Method::GET,
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "document"),
                ],
                true,
            ),
            (
                Method::GET,
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "iframe"),
                ],
                false,
            ),
            (Method::PUT, &[], true),
            (Method::POST, &[("sec-fetch-site", "same-site")], false),
            (Method::POST, &[("sec-fetch-site", "same-origin")], true),
            (Method::POST, &[("origin", "http://localhost:8081")], true),
            (Method::POST, &[("origin", "http://localhost:3000")], false),
            (Method::POST, &[("origin", "null")], false),
        ];
        for (method, list, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:8081"));
            for (name, value) in list {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            assert_eq!(
                check_origin(&method, &headers).is_ok(),
                expected,
                "{method} {list:?}"
            );
        }
    }
}
