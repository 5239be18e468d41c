//! A provider's public keys (JSON Web Key sets, RFC 7517 and RFC 7518 section 6).
//!
//! Contract: only keys for asymmetric signatures are kept, and a key verifies only by the algorithms of its own kind.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::{Map, Value};

use crate::random::from_base64url;

/// Keys of one provider that are kept.
const MOST_KEYS: usize = 100;

/// The ways to sign that are accepted (RFC 7518 section 3.1, RFC 8037). Those with a shared secret and `none` have no
/// value here, so that nothing can ask for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA, PKCS #1, SHA-256.
    Rs256,
    /// RSA, PKCS #1, SHA-384.
    Rs384,
    /// RSA, PKCS #1, SHA-512.
    Rs512,
    /// RSA, PSS, SHA-256.
    Ps256,
    /// RSA, PSS, SHA-384.
    Ps384,
    /// RSA, PSS, SHA-512.
    Ps512,
    /// P-256, SHA-256.
    Es256,
    /// P-384, SHA-384.
    Es384,
    /// P-521, SHA-512.
    Es512,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// By its name in a token's header.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }

    fn method(self) -> Method {
        match self {
            Self::Rs256 => Method::Rsa(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Method::Rsa(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Method::Rsa(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Method::Rsa(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Method::Rsa(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Method::Rsa(&RSA_PSS_2048_8192_SHA512),
            Self::Es256 => Method::Point("P-256", &ECDSA_P256_SHA256_FIXED),
            Self::Es384 => Method::Point("P-384", &ECDSA_P384_SHA384_FIXED),
            Self::Es512 => Method::Point("P-521", &ECDSA_P521_SHA512_FIXED),
            Self::EdDsa => Method::Point("Ed25519", &ED25519),
        }
    }
}

enum Method {
    Rsa(&'static RsaParameters),
    /// A point on the curve of this name.
    Point(&'static str, &'static dyn VerificationAlgorithm),
}

/// The keys of one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    /// The only algorithm it is for, if it says so.
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Point { curve: String, point: Vec<u8> },
}

impl Keys {
    /// Reads a set of keys. Keys of kinds that are not known are passed over, as RFC 7517 section 5 wants.
    ///
    /// None is a document that is no such set.
    #[must_use]
    pub fn parse(json: &[u8]) -> Option<Self> {
        Self::of(&serde_json::from_slice(json).ok()?)
    }

    pub(crate) fn of(document: &Value) -> Option<Self> {
        let keys = document.get("keys")?.as_array()?;
        let keys = keys.iter().filter_map(Value::as_object).filter_map(Key::of);
        Some(Self(keys.take(MOST_KEYS).collect()))
    }

    /// Whether a key for this token is among them.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// Whether the key of this id, or any where the token names none, made the signature.
    pub(crate) fn verify(&self, id: Option<&str>, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let Some(method) = Algorithm::named(algorithm).map(Algorithm::method) else {
            return false;
        };
        self.0
            .iter()
            .filter(|key| id.is_none() || key.id.as_deref() == id)
            .filter(|key| key.algorithm.as_deref().is_none_or(|only| only == algorithm))
            .any(|key| key.verifies(&method, message, signature))
    }
}

impl Key {
    fn of(fields: &Map<String, Value>) -> Option<Self> {
        let text = |key: &str| fields.get(key).and_then(Value::as_str);
        let bytes = |key: &str| text(key).and_then(from_base64url);
        if text("use").is_some_and(|used| used != "sig") {
            return None;
        }
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => Material::Rsa {
                n: without_zeros(bytes("n")?),
                e: without_zeros(bytes("e")?),
            },
            ("EC", Some(curve @ ("P-256" | "P-384" | "P-521"))) => Material::Point {
                curve: curve.to_owned(),
                // SEC 1 section 2.3.3: an uncompressed point. What is not on the curve does not verify.
                point: [vec![4], bytes("x")?, bytes("y")?].concat(),
            },
            ("OKP", Some("Ed25519")) => Material::Point {
                curve: "Ed25519".to_owned(),
                point: bytes("x")?,
            },
            _ => return None,
        };
        Some(Self {
            id: text("kid").map(str::to_owned),
            algorithm: text("alg").map(str::to_owned),
            material,
        })
    }

    fn verifies(&self, method: &Method, message: &[u8], signature: &[u8]) -> bool {
        match (&self.material, method) {
            (Material::Rsa { n, e }, Method::Rsa(parameters)) if !n.is_empty() && !e.is_empty() => {
                RsaPublicKeyComponents { n, e }
                    .verify(parameters, message, signature)
                    .is_ok()
            }
            (Material::Point { curve, point }, Method::Point(wanted, algorithm)) if curve == wanted => {
                UnparsedPublicKey::new(*algorithm, point)
                    .verify(message, signature)
                    .is_ok()
            }
            _ => false,
        }
    }
}

/// Some providers pad integers with zeros, which the library refuses.
fn without_zeros(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().skip_while(|byte| *byte == 0).collect()
}
