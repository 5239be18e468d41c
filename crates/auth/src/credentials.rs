//! What a client presents to prove who it is.
//!
//! Contract: a password never shows up in a debug print.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Longer headers are not looked at; real ones have less than 150 bytes.
const MAX_HEADER: usize = 4_096;

/// Some encoders leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A user name and a password. The password is bytes: encoders send what their owner's machine calls text.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name; encoders send `source`, nothing, or anything.
    pub user: String,
    /// The password as it was sent.
    pub password: Vec<u8>,
}

impl Credentials {
    /// A password without a name, as in a stream key.
    pub fn password(password: impl Into<Vec<u8>>) -> Credentials {
        Credentials {
            user: String::new(),
            password: password.into(),
        }
    }

    /// Reads the value of an `Authorization` header (RFC 7617). `None` if it is not well-formed Basic: the caller
    /// treats that like no credentials at all.
    pub fn from_basic(header: &[u8]) -> Option<Credentials> {
        if header.len() > MAX_HEADER {
            return None;
        }
        let header = header.trim_ascii();
        let at = header.iter().position(|byte| *byte == b' ')?;
        let (scheme, token) = header.split_at(at);
        if !scheme.eq_ignore_ascii_case(b"basic") {
            return None;
        }
        let mut password = BASE64.decode(token.trim_ascii()).ok()?;
        let colon = password.iter().position(|byte| *byte == b':')?;
        let user = String::from_utf8_lossy(&password[..colon]).into_owned();
        password.drain(..=colon);
        Some(Credentials { user, password })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_headers_are_read() {
        let long = format!("Basic {}", "QTpC".repeat(2_000));
        for (header, expected) in [
            ("Basic c291cmNlOmhhY2ttZQ==", Some(("source", "hackme"))),
            ("basic c291cmNlOmhhY2ttZQ", Some(("source", "hackme"))),
            ("  BASIC   OmhhY2ttZQ==  ", Some(("", "hackme"))),
            ("Basic Og==", Some(("", ""))),
            ("Basic YTpiOmM=", Some(("a", "b:c"))),
            ("Basic YQ==", None),
            ("Basic", None),
            ("Basic ", None),
            ("Basic !!!!", None),
            ("Bearer c291cmNlOmhhY2ttZQ==", None),
            ("", None),
            (long.as_str(), None),
        ] {
            let read = Credentials::from_basic(header.as_bytes());
            let expected = expected.map(|(user, password)| Credentials {
                user: user.to_owned(),
                password: password.as_bytes().to_vec(),
            });
            assert_eq!(read, expected, "{header:.40}");
        }
    }

    #[test]
    fn passwords_may_be_latin1_but_names_are_text() {
        // "ü:ü" in ISO-8859-1.
        let read = Credentials::from_basic(b"Basic /Dr8").unwrap();
        assert_eq!(
            (read.user.as_str(), read.password.as_slice()),
            ("\u{fffd}", &[0xfc][..])
        );
    }

    #[test]
    fn passwords_are_not_printed() {
        let credentials = Credentials {
            user: "bob".into(),
            password: b"hackme".to_vec(),
        };
        let printed = format!("{credentials:?}");
        assert!(
            printed.contains("bob") && !printed.contains("hack") && !printed.contains("104"),
            "{printed}"
        );
    }
}
