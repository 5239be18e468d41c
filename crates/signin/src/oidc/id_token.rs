//! ID tokens (OpenID Connect Core section 3.1.3.7; the form is that of RFC 7515 and RFC 7519).
//!
//! Contract: pure. Claims come out only after signature, issuer, audience and times have been checked, by an
//! algorithm that the provider announced.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::keys::{Algorithm, Keys};
use crate::random::from_base64url;

/// Longest token.
const LONGEST: usize = 64 * 1024;
/// By how much clocks may differ, in seconds.
const LEEWAY: i64 = 60;
/// Longest subject (OpenID Connect Core section 2).
const LONGEST_SUBJECT: usize = 255;

/// What a token has to fit.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The provider.
    pub issuer: &'a str,
    /// Us.
    pub client_id: &'a str,
    /// What the provider announced.
    pub algorithms: &'a [Algorithm],
}

/// Why a token is refused; for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadToken {
    /// Not three parts in base64url with JSON in them.
    #[error("malformed")]
    Malformed,
    /// `none`, one with a shared secret, or one that the provider did not announce.
    #[error("the signing algorithm is not one that the provider announces")]
    Algorithm,
    /// It demands an extension.
    #[error("it has critical extensions")]
    Critical,
    /// No key of the provider fits; it may have new ones.
    #[error("no key of the provider fits")]
    UnknownKey,
    /// The key that it names did not sign it.
    #[error("the signature does not match")]
    Signature,
    /// Of somebody else.
    #[error("the issuer is another one")]
    Issuer,
    /// For somebody else.
    #[error("the audience is another one")]
    Audience,
    /// Too old, or of the future.
    #[error("it is not valid at this time")]
    Time,
    /// Says nothing about anybody.
    #[error("the subject is missing")]
    Subject,
}

/// A token whose signature has not been checked.
#[derive(Debug)]
pub struct Unverified<'a> {
    algorithm: String,
    key_id: Option<String>,
    signed: &'a [u8],
    signature: Vec<u8>,
    claims: Map<String, Value>,
}

/// What a verified token says.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims(Map<String, Value>);

impl<'a> Unverified<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// `Malformed`, `Algorithm` or `Critical`.
    pub fn read(token: &'a str) -> Result<Self, BadToken> {
        if token.len() > LONGEST {
            return Err(BadToken::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(BadToken::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(BadToken::Malformed)?;
        let header = object(header).ok_or(BadToken::Malformed)?;
        let algorithm = header
            .get("alg")
            .and_then(Value::as_str)
            .ok_or(BadToken::Malformed)?;
        if Algorithm::named(algorithm).is_none() {
            return Err(BadToken::Algorithm);
        }
        // RFC 7515 section 4.1.11: who does not know a critical extension refuses.
        if header.contains_key("crit") {
            return Err(BadToken::Critical);
        }
        Ok(Self {
            algorithm: algorithm.to_owned(),
            key_id: header.get("kid").and_then(Value::as_str).map(str::to_owned),
            signed: signed.as_bytes(),
            signature: from_base64url(signature).ok_or(BadToken::Malformed)?,
            claims: object(claims).ok_or(BadToken::Malformed)?,
        })
    }

    /// Checks the signature and what the token says about itself.
    ///
    /// # Errors
    /// [`BadToken`]; with `UnknownKey` newer keys may help.
    pub fn verify(&self, keys: &Keys, rules: &Rules<'_>, now: Timestamp) -> Result<Claims, BadToken> {
        let allowed = Algorithm::named(&self.algorithm).is_some_and(|alg| rules.algorithms.contains(&alg));
        if !allowed {
            return Err(BadToken::Algorithm);
        }
        let id = self.key_id.as_deref();
        if !keys.verify(id, &self.algorithm, self.signed, &self.signature) {
            return Err(match id {
                Some(id) if keys.has(id) => BadToken::Signature,
                _ => BadToken::UnknownKey,
            });
        }
        self.check(rules, now.as_second())?;
        Ok(Claims(self.claims.clone()))
    }

    fn check(&self, rules: &Rules<'_>, now: i64) -> Result<(), BadToken> {
        let text = |key: &str| self.claims.get(key).and_then(Value::as_str);
        if text("iss") != Some(rules.issuer) {
            return Err(BadToken::Issuer);
        }
        let (is_for_us, several) = match self.claims.get("aud") {
            Some(Value::String(one)) => (one == rules.client_id, false),
            Some(Value::Array(all)) => (
                all.iter().any(|one| one.as_str() == Some(rules.client_id)),
                all.len() > 1,
            ),
            _ => (false, false),
        };
        let party = self.claims.get("azp");
        let is_party = match party {
            None => !several,
            Some(party) => party.as_str() == Some(rules.client_id),
        };
        if !is_for_us || !is_party {
            return Err(BadToken::Audience);
        }
        let time = |key: &str| {
            self.claims
                .get(key)
                .map(|value| seconds(value).ok_or(BadToken::Time))
                .transpose()
        };
        let ends = time("exp")?.ok_or(BadToken::Time)?;
        let begins = time("nbf")?.into_iter().chain(time("iat")?).max();
        if ends.saturating_add(LEEWAY) <= now
            || begins.is_some_and(|begins| begins > now.saturating_add(LEEWAY))
        {
            return Err(BadToken::Time);
        }
        match text("sub") {
            Some(subject) if (1..=LONGEST_SUBJECT).contains(&subject.len()) => Ok(()),
            _ => Err(BadToken::Subject),
        }
    }
}

impl Claims {
    /// A claim that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// Whether the provider has verified the address. Some write the word instead of the value.
    #[must_use]
    pub fn is_email_verified(&self) -> bool {
        match self.0.get("email_verified") {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(text)) => text == "true",
            _ => false,
        }
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    match serde_json::from_slice(&from_base64url(part)?).ok()? {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

/// A point in time, which may have a fraction (RFC 7519 section 2, "NumericDate").
fn seconds(value: &Value) -> Option<i64> {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the conversion saturates, which is right for a time"
    )]
    value
        .as_i64()
        .or_else(|| value.as_f64().filter(|n| n.is_finite()).map(|n| n as i64))
}
