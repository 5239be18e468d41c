//! Where a relay pulls from, and with which credentials.
//!
//! Contract: nothing that is shown or logged holds a password or a query, which is often a token.

use std::fmt;

use http::{HeaderName, HeaderValue, header};
use icecast::relay::LOOP_HEADER;
use outbound::{Limits, Request, basic};
use percent_encoding::percent_decode_str;
use url::{Position, Url};

/// The user that encoders and relays are, where none is named.
const USER: &str = "source";

/// An upstream's address without its credentials, and the credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Upstream {
    url: Url,
    authorization: Option<HeaderValue>,
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
    /// Reads an address, which may carry user and password. `password` is the relay's own setting and wins unless it
    /// is empty; the user is the address's, else `source`.
    ///
    /// # Errors
    /// [`BadUpstream`] says what to correct.
    pub fn parse(url: &str, password: &str) -> Result<Self, BadUpstream> {
        let mut url = Url::parse(url.trim()).map_err(|_| BadUpstream::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadUpstream::Scheme);
        }
        let decode = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
        let user = match url.username() {
            "" => USER.as_bytes().to_vec(),
            user => decode(user),
        };
        let password = match password {
            "" => url.password().map(decode),
            password => Some(password.as_bytes().to_vec()),
        };
        let authorization = password.map(|password| basic(user, password));
        // Only URLs without a host refuse, and http URLs have one.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Self { url, authorization })
    }

    /// The address.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The address as it may be shown and logged.
    #[must_use]
    pub fn shown(&self) -> String {
        let hidden = if self.url.query().is_some() { "?***" } else { "" };
        format!("{}{hidden}", &self.url[..Position::AfterPath])
    }

    /// The request of a relay.
    pub(crate) fn request(&self, instance: &str) -> Request {
        let mut request = Request::get(self.url.clone(), Limits::relay())
            .with(header::ACCEPT, HeaderValue::from_static("*/*"))
            .with(
                HeaderName::from_static("icy-metadata"),
                HeaderValue::from_static("1"),
            );
        if let Ok(instance) = HeaderValue::from_str(instance) {
            request = request.with(HeaderName::from_static(LOOP_HEADER), instance);
        }
        if let Some(authorization) = &self.authorization {
            request = request.with(header::AUTHORIZATION, authorization.clone());
        }
        request
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upstream").field(&self.shown()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_from_the_setting_or_the_address() {
        for (url, password, plain, credentials) in [
            ("http://h:8000/m", "", "http://h:8000/m", None),
            (" http://h/m ", "pw", "http://h/m", Some(("source", "pw"))),
            ("https://u:p%40@h/m?a=b", "", "https://h/m?a=b", Some(("u", "p@"))),
            ("http://u:p@h/", "pw", "http://h/", Some(("u", "pw"))),
            ("http://u@h/", "", "http://h/", None),
            ("http://:p@h/", "", "http://h/", Some(("source", "p"))),
        ] {
            let upstream = Upstream::parse(url, password).unwrap();
            assert_eq!(upstream.url().as_str(), plain);
            let expected = credentials.map(|(user, password)| basic(user, password));
            let sent = upstream
                .request("ab12")
                .headers
                .get(header::AUTHORIZATION)
                .cloned();
            assert_eq!(sent, expected, "{url}");
        }
    }

    #[test]
    fn what_is_shown_holds_no_secret() {
        let upstream = Upstream::parse("http://u:secret@h:8000/a%20b;x?token=secret", "secret").unwrap();
        assert_eq!(upstream.shown(), "http://h:8000/a%20b;x?***");
        assert_eq!(format!("{upstream:?}"), "Upstream(\"http://h:8000/a%20b;x?***\")");
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
            assert_eq!(Upstream::parse(url, ""), Err(error), "{url}");
        }
    }
}
