//! Where a relay pulls from, and with which credentials.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

/// An upstream's address without its credentials, and the credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Upstream {
    pub(super) url: Url,
    /// The value of `Authorization`.
    pub(super) authorization: Option<String>,
}

/// What to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Whether the connection is TLS.
    pub tls: bool,
    /// Name or address.
    pub host: Host<String>,
    /// Port.
    pub port: u16,
}

/// Why a text is no upstream. The relay cannot start until it is corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadUpstream {
    /// Not a URL.
    #[error("not a URL: write it as http://host:port/mount")]
    NotAUrl,
    /// Neither http nor https.
    #[error("only http and https are possible")]
    Scheme,
}

impl Upstream {
    /// Reads an address, which may carry user and password. `password` is the relay's own setting and wins; the
    /// user is the address's, else `source`.
    ///
    /// # Errors
    /// [`BadUpstream`] says what to correct.
    pub fn parse(url: &str, password: Option<&str>) -> Result<Self, BadUpstream> {
        let mut url = Url::parse(url.trim()).map_err(|_| BadUpstream::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadUpstream::Scheme);
        }
        let decode = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
        let user = match url.username() {
            "" => b"source".to_vec(),
            user => decode(user),
        };
        let password = password
            .filter(|password| !password.is_empty())
            .map(|password| password.as_bytes().to_vec())
            .or_else(|| url.password().map(decode));
        let authorization = password.map(|password| {
            let credentials = [user.as_slice(), b":", &password].concat();
            format!("Basic {}", STANDARD.encode(credentials))
        });
        forget_userinfo(&mut url);
        Ok(Self { url, authorization })
    }

    /// The address as it may be shown and logged.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.url.as_str()
    }

    /// What to connect to.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin::of(&self.url)
    }

    /// Follows a redirect. Credentials stay behind when host, port or scheme changes.
    pub(super) fn redirect(&self, location: &str) -> Option<Self> {
        let mut url = self.url.join(location.trim()).ok()?;
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        forget_userinfo(&mut url);
        let same_origin = Origin::of(&url) == self.origin();
        Some(Self {
            url,
            authorization: self.authorization.clone().filter(|_| same_origin),
        })
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upstream").field(&self.shown()).finish()
    }
}

impl Origin {
    fn of(url: &Url) -> Self {
        Self {
            tls: url.scheme() == "https",
            host: url.host().expect("http URLs have a host").to_owned(),
            port: url
                .port_or_known_default()
                .expect("http and https have a default port"),
        }
    }
}

fn forget_userinfo(url: &mut Url) {
    // Only URLs without a host refuse, and http URLs have one.
    let _ = url.set_username("");
    let _ = url.set_password(None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_from_the_setting_or_the_address() {
        for (url, password, shown, credentials) in [
            ("http://h:8000/m", None, "http://h:8000/m", None),
            ("http://h:8000/m", Some(""), "http://h:8000/m", None),
            ("http://h/m", Some("pw"), "http://h/m", Some("source:pw")),
            ("https://u:p%40@h/m?a=b", None, "https://h/m?a=b", Some("u:p@")),
            ("http://u:p@h/", Some("pw"), "http://h/", Some("u:pw")),
            ("http://u@h/", None, "http://h/", None),
            ("http://:p@h/", None, "http://h/", Some("source:p")),
        ] {
            let upstream = Upstream::parse(url, password).unwrap();
            let expected = credentials.map(|text| format!("Basic {}", STANDARD.encode(text)));
            assert_eq!(
                (upstream.shown(), &upstream.authorization),
                (shown, &expected),
                "{url}"
            );
            assert!(!format!("{upstream:?}").contains("Basic"));
        }
    }

    #[test]
    fn only_web_addresses_are_upstreams() {
        for (url, error) in [
            ("", BadUpstream::NotAUrl),
            ("radio.example/live", BadUpstream::NotAUrl),
            ("http://", BadUpstream::NotAUrl),
            ("ftp://h/m", BadUpstream::Scheme),
            ("file:///etc/passwd", BadUpstream::Scheme),
        ] {
            assert_eq!(Upstream::parse(url, None), Err(error), "{url}");
        }
    }

    #[test]
    fn a_redirect_keeps_the_password_within_its_origin_only() {
        let upstream = Upstream::parse("http://h:8000/a/m", Some("pw")).unwrap();
        for (location, target, keeps) in [
            ("/b", "http://h:8000/b", true),
            ("b", "http://h:8000/a/b", true),
            ("http://H:8000/b", "http://h:8000/b", true),
            ("http://h/b", "http://h/b", false),
            ("https://h:8000/b", "https://h:8000/b", false),
            ("//other:8000/b", "http://other:8000/b", false),
            ("http://x:y@other/b", "http://other/b", false),
        ] {
            let redirected = upstream.redirect(location).unwrap();
            assert_eq!(
                (redirected.shown(), redirected.authorization.is_some()),
                (target, keeps),
                "{location}"
            );
        }
        assert_eq!(upstream.redirect("ftp://h/"), None);
        assert_eq!(upstream.redirect("http://"), None);
    }
}
