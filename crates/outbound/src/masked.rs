//! URLs as they may be shown: without the credentials that they carry.
//!
//! Contract: neither a password nor a lone user part (often a token) ever comes out.

use std::fmt;

use url::{Position, Url};

/// Shows `url` with its credentials replaced: `http://name:***@host/`, `http://***@host/`.
#[must_use]
pub fn masked(url: &Url) -> Masked<'_> {
    Masked(url)
}

/// A URL whose `Display` and `Debug` hide its credentials.
#[derive(Clone, Copy)]
pub struct Masked<'a>(&'a Url);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.0;
        f.write_str(&url[..Position::BeforeUsername])?;
        match (url.username(), url.password()) {
            ("", None) => {}
            (_, None) | ("", Some(_)) => f.write_str("***@")?,
            (name, Some(_)) => write!(f, "{name}:***@")?,
        }
        f.write_str(&url[Position::BeforeHost..])
    }
}

impl fmt::Debug for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_never_show() {
        for (url, expected) in [
            ("http://host/live", "http://host/live"),
            (
                "http://user:secret@host:8000/live?a=b#c",
                "http://user:***@host:8000/live?a=b#c",
            ),
            ("https://secret@host/", "https://***@host/"),
            ("https://:secret@host/", "https://***@host/"),
            (
                "http://u:s%40cret@[2001:db8::1]:81/",
                "http://u:***@[2001:db8::1]:81/",
            ),
            ("mailto:secret@host", "mailto:secret@host"),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(masked(&url).to_string(), expected);
            assert_eq!(format!("{:?}", masked(&url)), expected);
        }
    }
}
