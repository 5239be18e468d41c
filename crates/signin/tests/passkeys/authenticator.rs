//! An authenticator and the browser around it, for tests. What it answers can be made wrong part by part.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// What a device signs with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Es256,
    Rs256,
    EdDsa,
}

enum Key {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

/// A device with one credential.
pub(crate) struct Device {
    kind: Kind,
    key: Key,
    pub(crate) id: Vec<u8>,
    /// The id within the attested data, where it differs.
    pub(crate) attested_id: Option<Vec<u8>>,
    pub(crate) handle: Vec<u8>,
    pub(crate) rp_id: String,
    pub(crate) origin: String,
    pub(crate) framed: bool,
    /// UP, UV, BE and BS.
    pub(crate) flags: u8,
    pub(crate) counter: u32,
    /// Another challenge than the one asked.
    pub(crate) challenge: Option<Vec<u8>>,
    /// Another ceremony than the one asked.
    pub(crate) ceremony: Option<&'static str>,
    /// Whether there is attested data in a new credential.
    pub(crate) attests: bool,
}

impl Device {
    pub(crate) fn new(kind: Kind, rp_id: &str, origin: &str) -> Self {
        let mut id = vec![0; 24];
        aws_lc_rs::rand::fill(&mut id).unwrap();
        Self {
            kind,
            key: Key::new(kind),
            id,
            attested_id: None,
            handle: Vec::new(),
            rp_id: rp_id.into(),
            origin: origin.into(),
            framed: false,
            flags: 0x1d,
            counter: 0,
            challenge: None,
            ceremony: None,
            attests: true,
        }
    }

    /// Signs with another key from now on.
    pub(crate) fn renew_key(&mut self) {
        self.key = Key::new(self.kind);
    }

    /// `navigator.credentials.create`
    pub(crate) fn create(&self, options: &Value) -> Value {
        let client_data = self.client_data(options, "webauthn.create");
        let mut data = self.authenticator_data(if self.attests { 0x40 } else { 0 });
        if self.attests {
            let id = self.attested_id.as_ref().unwrap_or(&self.id);
            data.extend([0xaa; 16]);
            data.extend(u16::try_from(id.len()).unwrap().to_be_bytes());
            data.extend(id);
            data.extend(self.key.cose());
        }
        let object = [
            &[0xa3][..],
            &text("fmt"),
            &text("none"),
            &text("attStmt"),
            &[0xa0],
            &text("authData"),
            &head(2, data.len()),
            &data,
        ]
        .concat();
        self.credential(json!({
            "clientDataJSON": base64url(&client_data),
            "attestationObject": base64url(&object),
            "transports": ["internal", "hybrid"],
        }))
    }

    /// `navigator.credentials.get`
    pub(crate) fn get(&self, options: &Value) -> Value {
        let client_data = self.client_data(options, "webauthn.get");
        let data = self.authenticator_data(0);
        let signature = self
            .key
            .sign(&[&data, digest(&SHA256, &client_data).as_ref()].concat());
        self.credential(json!({
            "clientDataJSON": base64url(&client_data),
            "authenticatorData": base64url(&data),
            "signature": base64url(&signature),
            "userHandle": (!self.handle.is_empty()).then(|| base64url(&self.handle)),
        }))
    }

    fn credential(&self, response: Value) -> Value {
        let id = base64url(&self.id);
        json!({
            "id": id, "rawId": id, "type": "public-key", "authenticatorAttachment": "platform",
            "clientExtensionResults": {}, "response": response,
        })
    }

    fn client_data(&self, options: &Value, ceremony: &str) -> Vec<u8> {
        let asked = options["publicKey"]["challenge"].as_str().unwrap();
        let challenge = self
            .challenge
            .as_ref()
            .map_or_else(|| asked.to_owned(), |other| base64url(other));
        let ceremony = self.ceremony.unwrap_or(ceremony);
        json!({"type": ceremony, "challenge": challenge, "origin": self.origin, "crossOrigin": self.framed})
            .to_string()
            .into_bytes()
    }

    fn authenticator_data(&self, more_flags: u8) -> Vec<u8> {
        let mut data = digest(&SHA256, self.rp_id.as_bytes()).as_ref().to_vec();
        data.push(self.flags | more_flags);
        data.extend(self.counter.to_be_bytes());
        data
    }
}

impl Key {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Es256 => Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()),
            Kind::Rs256 => Self::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
            Kind::EdDsa => Self::EdDsa(Ed25519KeyPair::generate().unwrap()),
        }
    }

    fn cose(&self) -> Vec<u8> {
        match self {
            Self::Es256(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = (&point[1..33], &point[33..]);
                [
                    &[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32][..],
                    x,
                    &[0x22, 0x58, 32],
                    y,
                ]
                .concat()
            }
            Self::Rs256(key) => {
                // RFC 8017 appendix A.1.1, where the lengths of a key of 2048 bits are always the same.
                let n = &key.public_key().as_ref()[9..265];
                [
                    &[0xa4, 1, 3, 3, 0x39, 1, 0, 0x20][..],
                    &head(2, n.len()),
                    n,
                    &[0x21, 0x43, 1, 0, 1],
                ]
                .concat()
            }
            Self::EdDsa(key) => {
                let x: Vec<u8> = key.public_key().as_ref().into();
                [&[0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21, 0x58, 32][..], &x].concat()
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Es256(key) => key.sign(&random, message).unwrap().as_ref().into(),
            Self::EdDsa(key) => key.sign(message).as_ref().into(),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
        }
    }
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Major type and length.
fn head(major: u8, len: usize) -> Vec<u8> {
    let len = u16::try_from(len).unwrap();
    match len {
        0..24 => vec![major << 5 | len as u8],
        _ => [&[major << 5 | 25][..], &len.to_be_bytes()].concat(),
    }
}

fn text(text: &str) -> Vec<u8> {
    [head(3, text.len()), text.into()].concat()
}
