//! The examples of Web Authentication level 3, section 16 ("Test Vectors"), and records that the Go library which the
//! Go program uses stores for them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::record::Record;
use super::response::{Assertion, AuthenticatorData, Registration, attested_data};
use super::verify::{Question, Used, assertion, registration};
use super::{Refusal, RelyingParty};

struct Vector(Value);

impl Vector {
    fn named(name: &str) -> Self {
        let all: Vec<Value> = serde_json::from_str(include_str!("vectors.json")).unwrap();
        Self(all.into_iter().find(|vector| vector["name"] == name).unwrap())
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        let hex = self.0[key].as_str().unwrap().as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        hex.chunks(2).map(byte).collect()
    }

    fn created(&self) -> Registration {
        Registration {
            id: self.bytes("id"),
            client_data: self.bytes("createClientData"),
            attestation: self.bytes("attestationObject"),
            transports: vec!["internal".into(), "hybrid".into()],
            attachment: "platform".into(),
        }
    }

    fn asserted(&self) -> Assertion {
        Assertion {
            id: self.bytes("id"),
            client_data: self.bytes("getClientData"),
            authenticator_data: self.bytes("authenticatorData"),
            signature: self.bytes("signature"),
            user_handle: b"alice".into(),
        }
    }

    fn register(&self) -> Result<Record, Refusal> {
        let challenge = self.bytes("createChallenge");
        let party = party();
        registration(
            Question {
                party: &party,
                challenge: &challenge,
            },
            &self.created(),
        )
    }

    fn login(&self, stored: &Record) -> Result<Used, Refusal> {
        let challenge = self.bytes("getChallenge");
        let party = party();
        assertion(
            Question {
                party: &party,
                challenge: &challenge,
            },
            &self.asserted(),
            stored,
        )
    }
}

fn party() -> RelyingParty {
    RelyingParty::new("example.org", "", &["https://example.org"]).unwrap()
}

#[test]
fn credentials_that_verify_users_register_and_sign_in() {
    for name in ["packed-es256", "tpm-es256"] {
        let vector = Vector::named(name);
        let record = vector.register().unwrap();
        let record = Record::decode(&record.encode()).unwrap();
        let used = vector.login(&record).unwrap();
        assert!(used.flags.user_verified && used.flags.backup_eligible, "{name}");
    }
}

#[test]
fn credentials_that_do_not_verify_users_are_refused() {
    assert_eq!(Vector::named("none-es256").register(), Err(Refusal::NotVerified));
    assert_eq!(
        Vector::named("packed-eddsa").register(),
        Err(Refusal::NotVerified)
    );
    let vector = Vector::named("packed-rs256");
    let record = vector.register().unwrap();
    assert_eq!(vector.login(&record), Err(Refusal::NotVerified));
}

#[test]
fn framed_pages_are_refused() {
    for name in ["none-es256-crossOrigin", "none-es256-topOrigin"] {
        assert_eq!(Vector::named(name).register(), Err(Refusal::Framed), "{name}");
    }
}

#[test]
fn algorithms_that_nobody_asked_for_are_refused() {
    assert_eq!(
        Vector::named("packed-es384").register(),
        Err(Refusal::Malformed("authenticatorData"))
    );
}

/// Signatures alone, as most of these examples do not have the user verified.
#[test]
fn signatures_by_all_algorithms() {
    for name in [
        "none-es256",
        "none-es256-long-credential-id",
        "packed-rs256",
        "packed-eddsa",
        "tpm-es256",
    ] {
        let vector = Vector::named(name);
        let attestation = vector.bytes("attestationObject");
        let (data, _) = attested_data(&attestation).unwrap();
        let attested = AuthenticatorData::parse(data).unwrap().attested.unwrap();
        assert_eq!(attested.id, vector.bytes("id"), "{name}");
        let answer = vector.asserted();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &answer.client_data);
        let mut signed = [&answer.authenticator_data, hash.as_ref()].concat();
        assert!(attested.key.verifies(&signed, &answer.signature), "{name}");
        signed[0] ^= 1;
        assert!(!attested.key.verifies(&signed, &answer.signature), "{name}");
    }
}

/// The examples that the Go library registered, as it wrote them down.
#[test]
fn records_of_the_go_program() {
    for (name, expected) in [
        ("packed-es256", None),
        ("packed-rs256", Some(Refusal::NotVerified)),
        ("packed-eddsa", Some(Refusal::NotVerified)),
    ] {
        let vector = Vector::named(name);
        let stored = Record::decode(vector.0["stored"].as_str().unwrap()).unwrap();
        assert_eq!(vector.login(&stored).err(), expected, "{name}");
        let key = stored.public_key().unwrap();
        let answer = vector.asserted();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &answer.client_data);
        let signed = [&answer.authenticator_data, hash.as_ref()].concat();
        assert!(key.verifies(&signed, &answer.signature), "{name}");
        assert_eq!(stored.transports(), ["internal", "hybrid"], "{name}");
        assert_eq!(stored.backup_eligible(), Some(name != "packed-eddsa"), "{name}");
    }
}

/// Ours has the keys of the Go library's record, with the same values but for what nobody verified.
#[test]
fn our_record_is_of_the_go_programs_shape() {
    let vector = Vector::named("packed-es256");
    let json = |raw: &str| serde_json::from_slice::<Value>(&STANDARD.decode(raw).unwrap()).unwrap();
    let theirs = json(vector.0["stored"].as_str().unwrap());
    let ours = json(&vector.register().unwrap().encode());
    for key in ["id", "publicKey", "attestationFormat", "transport", "flags"] {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
    for (key, value) in theirs["authenticator"].as_object().unwrap() {
        assert_eq!(ours["authenticator"][key], *value, "{key}");
    }
    for (key, value) in theirs["attestation"].as_object().unwrap() {
        assert_eq!(ours["attestation"][key], *value, "{key}");
    }
    assert_eq!(
        (&ours["attestationType"], &ours["authenticator"]["signCount"]),
        (&"none".into(), &0.into())
    );
}

#[test]
fn a_signature_over_anything_else_is_refused() {
    let vector = Vector::named("packed-es256");
    let stored = vector.register().unwrap();
    let challenge = vector.bytes("getChallenge");
    let party = party();
    let check = |answer: Assertion, expected: Refusal| {
        let question = Question {
            party: &party,
            challenge: &challenge,
        };
        assert_eq!(assertion(question, &answer, &stored), Err(expected));
    };
    let mut answer = vector.asserted();
    answer.signature[10] ^= 1;
    check(answer, Refusal::Signature);
    let mut answer = vector.asserted();
    answer.client_data.push(b' ');
    check(answer, Refusal::Signature);
    let mut answer = vector.asserted();
    answer.authenticator_data[36] ^= 1;
    check(answer, Refusal::Signature);
    let mut answer = vector.asserted();
    answer.authenticator_data.push(0);
    check(answer, Refusal::Malformed("authenticatorData"));
    let mut answer = vector.asserted();
    answer.authenticator_data[0] ^= 1;
    check(answer, Refusal::Party);
    let other = Vector::named("tpm-es256").register().unwrap();
    assert_eq!(vector.login(&other), Err(Refusal::Signature));
}
