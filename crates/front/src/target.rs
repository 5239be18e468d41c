//! Request targets: the part of the request line between method and version.
//!
//! Contract: the path is percent-decoded exactly once, here; what was not UTF-8 shows as U+FFFD, which no mount
//! name may contain, so such a path is served to nobody and published by nobody.

use std::fmt::{self, Write as _};

use percent_encoding::percent_decode;

/// A request target, taken apart. Its query, which may hold a password, is not in its debug print.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    raw: Vec<u8>,
    path: String,
    query: Option<String>,
}

impl fmt::Debug for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let query = self.query.as_ref().map(|_| "…");
        out.debug_struct("Target")
            .field("path", &self.path)
            .field("query", &query)
            .finish_non_exhaustive()
    }
}

/// Bytes that clients send bare although a URI must escape them, and that the `http` crate would refuse or cut at.
fn needs_escape(byte: u8) -> bool {
    !byte.is_ascii_graphic()
        || matches!(
            byte,
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b'#'
        )
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if needs_escape(byte) {
            let _ = write!(text, "%{byte:02X}");
        } else {
            text.push(char::from(byte));
        }
    }
    text
}

impl Target {
    /// Takes a target apart: `/path?query`, `*`, or `scheme://authority/path?query`, whose authority is dropped.
    /// Gives nothing for any other form.
    #[must_use]
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let local = match raw {
            [b'/', ..] => raw,
            b"*" => raw,
            _ => after_authority(raw)?,
        };
        let (path, query) = match memchr::memchr(b'?', local) {
            Some(mark) => (&local[..mark], Some(&local[mark + 1..])),
            None => (local, None),
        };
        let path = if path.is_empty() { b"/" } else { path };
        Some(Self {
            raw: raw.to_vec(),
            path: String::from_utf8_lossy(&percent_decode(path).collect::<Vec<u8>>()).into_owned(),
            query: query.map(escape),
        })
    }

    /// The target byte for byte as the client sent it.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The path, percent-decoded once.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query without its `?`, still encoded. Bytes that should have been escaped are, so nothing is lost.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The target as a URI in origin form, still encoded.
    #[must_use]
    pub fn uri(&self) -> http::Uri {
        let local = match &self.raw[..] {
            raw @ ([b'/', ..] | b"*") => raw,
            raw => after_authority(raw).unwrap_or(b"/"),
        };
        let mut text = escape(local);
        if text.is_empty() || text.starts_with('?') {
            text.insert(0, '/');
        }
        // A path that begins with two slashes would be read as an authority.
        let parts = http::uri::PathAndQuery::try_from(text).map(|path| {
            let mut parts = http::uri::Parts::default();
            parts.path_and_query = Some(path);
            parts
        });
        parts
            .ok()
            .and_then(|parts| http::Uri::from_parts(parts).ok())
            .unwrap_or_default()
    }
}

/// What follows the authority of an absolute-form target (RFC 9112 section 3.2.2); may be empty.
fn after_authority(raw: &[u8]) -> Option<&[u8]> {
    let mark = memchr::memmem::find(raw, b"://")?;
    let scheme = &raw[..mark];
    if !matches!(scheme.first(), Some(first) if first.is_ascii_alphabetic())
        || !scheme
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
    {
        return None;
    }
    let rest = &raw[mark + 3..];
    let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    (end > 0).then(|| &rest[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_decoded_once_and_kept_encoded() {
        let cases: &[(&[u8], &str, Option<&str>, &str)] = &[
            (b"/live", "/live", None, "/live"),
            (b"/live?a=1&b=2", "/live", Some("a=1&b=2"), "/live?a=1&b=2"),
            (b"/a%2Fb%252F", "/a/b%2F", None, "/a%2Fb%252F"),
            (b"/100%", "/100%", None, "/100%"),
            ("/Ünï".as_bytes(), "/Ünï", None, "/%C3%9Cn%C3%AF"),
            (b"/%C3%9Cn", "/Ün", None, "/%C3%9Cn"),
            (b"/\xDC", "/\u{FFFD}", None, "/%DC"),
            (b"/%FF", "/\u{FFFD}", None, "/%FF"),
            (b"/m?song=\xDC#1", "/m", Some("song=%DC%231"), "/m?song=%DC%231"),
            (b"/a#b", "/a#b", None, "/a%23b"),
            (b"http://host:8000/live?x", "/live", Some("x"), "/live?x"),
            (b"http://host", "/", None, "/"),
            (b"http://host?x=1", "/", Some("x=1"), "/?x=1"),
            (b"icy://h/m", "/m", None, "/m"),
            (b"//twice/x", "//twice/x", None, "//twice/x"),
            (b"*", "*", None, "*"),
        ];
        for (raw, path, query, uri) in cases {
            let target = Target::parse(raw).unwrap_or_else(|| panic!("{}", raw.escape_ascii()));
            assert_eq!(target.path(), *path);
            assert_eq!(target.query(), *query);
            assert_eq!(target.uri().to_string(), *uri, "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn other_forms_are_not_targets() {
        for raw in [
            &b""[..],
            b"live",
            b"host:80",
            b"?x",
            b"**",
            b"http:///x",
            b"1http://h/x",
            b"://h/x",
        ] {
            assert_eq!(Target::parse(raw), None, "{}", raw.escape_ascii());
        }
    }
}
