//! The stored form of a passkey: the JSON object that the Go program keeps, in base64, in the configuration.
//!
//! Contract: what this writes the Go program reads, and the other way round; keys that are unknown here survive an
//! update. Keys are read whatever their case, and missing ones are no error as long as there is a public key.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde_json::{Map, Value, json};

use super::key::PublicKey;
use super::response::{Attested, Flags, Registration};
use super::verify::Used;

/// Standard base64; a missing end of padding is no reason to lock somebody out.
const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A stored credential.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record(Map<String, Value>);

/// What a new credential consists of.
pub(crate) struct Fresh<'a> {
    pub(crate) answer: &'a Registration,
    pub(crate) format: &'a str,
    pub(crate) authenticator_data: &'a [u8],
    pub(crate) attested: &'a Attested<'a>,
    pub(crate) flags: Flags,
    pub(crate) counter: u32,
}

impl Record {
    pub(crate) fn new(fresh: &Fresh<'_>) -> Self {
        let Fresh {
            answer,
            attested,
            flags,
            ..
        } = fresh;
        let bytes = |bytes: &[u8]| STANDARD.encode(bytes);
        let transport = match answer.transports.is_empty() {
            true => Value::Null,
            false => json!(answer.transports),
        };
        let record = json!({
            "id": bytes(&answer.id),
            "publicKey": bytes(attested.key_bytes),
            "attestationType": "none",
            "attestationFormat": fresh.format,
            "transport": transport,
            "flags": {
                "userPresent": flags.user_present,
                "userVerified": flags.user_verified,
                "backupEligible": flags.backup_eligible,
                "backupState": flags.backup_state,
            },
            "authenticator": {
                "AAGUID": bytes(attested.aaguid),
                "signCount": fresh.counter,
                "cloneWarning": false,
                "attachment": answer.attachment,
            },
            "attestation": {
                "clientDataJSON": bytes(&answer.client_data),
                "clientDataHash": bytes(digest(&SHA256, &answer.client_data).as_ref()),
                "authenticatorData": bytes(fresh.authenticator_data),
                "publicKeyAlgorithm": attested.key.algorithm(),
                "object": bytes(&answer.attestation),
            },
        });
        match record {
            Value::Object(fields) => Self(fields),
            _ => unreachable!("the literal is an object"),
        }
    }

    /// Reads `raw_credential`.
    pub(crate) fn decode(raw: &str) -> Option<Self> {
        let json = TOLERANT.decode(raw.trim()).ok()?;
        match serde_json::from_slice(&json).ok()? {
            Value::Object(fields) => Some(Self(fields)),
            _ => None,
        }
    }

    /// As it stands in `raw_credential`.
    pub(crate) fn encode(&self) -> String {
        STANDARD.encode(Value::Object(self.0.clone()).to_string())
    }

    pub(crate) fn public_key(&self) -> Option<PublicKey> {
        let text = get(&self.0, "publicKey")?.as_str()?;
        PublicKey::parse(&TOLERANT.decode(text).ok()?).ok()
    }

    pub(crate) fn counter(&self) -> u32 {
        let count = self.within("authenticator", "signCount").and_then(Value::as_u64);
        count.map_or(0, |count| u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// None in records of before this was kept.
    pub(crate) fn backup_eligible(&self) -> Option<bool> {
        self.within("flags", "backupEligible")?.as_bool()
    }

    /// How the authenticator can be reached, as it said itself.
    pub(crate) fn transports(&self) -> Vec<&str> {
        let names = get(&self.0, "transport").and_then(Value::as_array);
        names.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The same after a use.
    pub(crate) fn used(mut self, used: Used) -> Self {
        let authenticator = object(&mut self.0, "authenticator");
        *slot(authenticator, "signCount") = used.counter.into();
        *slot(authenticator, "cloneWarning") = false.into();
        let flags = object(&mut self.0, "flags");
        *slot(flags, "userPresent") = used.flags.user_present.into();
        *slot(flags, "userVerified") = used.flags.user_verified.into();
        *slot(flags, "backupEligible") = used.flags.backup_eligible.into();
        *slot(flags, "backupState") = used.flags.backup_state.into();
        self
    }

    fn within(&self, object: &str, key: &str) -> Option<&Value> {
        get(get(&self.0, object)?.as_object()?, key)
    }
}

/// Go matches keys of JSON whatever their case, the exact one first.
fn get<'a>(fields: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let other = || fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
    fields.get(key).or_else(|| other().map(|(_, value)| value))
}

/// The value under `key` in whatever spelling it has, new if need be.
fn slot<'a>(fields: &'a mut Map<String, Value>, key: &str) -> &'a mut Value {
    let name = match fields.contains_key(key) {
        true => None,
        false => fields.keys().find(|name| name.eq_ignore_ascii_case(key)).cloned(),
    };
    fields
        .entry(name.unwrap_or_else(|| key.to_owned()))
        .or_insert(Value::Null)
}

fn object<'a>(fields: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = slot(fields, key);
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was just made one")
}

#[cfg(test)]
mod tests {
    use super::*;

    const USED: Used = Used {
        counter: 9,
        flags: Flags {
            user_present: true,
            user_verified: true,
            backup_eligible: true,
            backup_state: true,
        },
    };

    fn record(json: &str) -> Record {
        Record::decode(&STANDARD.encode(json)).unwrap()
    }

    #[test]
    fn keys_are_read_in_any_case_and_unknown_ones_survive() {
        let stored = record(
            r#"{"ID":"AQ==","FLAGS":{"backupeligible":true,"x":1},"Authenticator":{"SignCount":7,"AAGUID":"AA=="},
                "Transport":["usb","nfc"],"later":{"kept":[1.50]}}"#,
        );
        assert_eq!(stored.counter(), 7);
        assert_eq!(stored.backup_eligible(), Some(true));
        assert_eq!(stored.transports(), ["usb", "nfc"]);
        let json = STANDARD.decode(stored.used(USED).encode()).unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"ID":"AQ==","FLAGS":{"backupeligible":true,"x":1,"userPresent":true,"userVerified":true,"backupState":true},"Authenticator":{"SignCount":9,"AAGUID":"AA==","cloneWarning":false},"Transport":["usb","nfc"],"later":{"kept":[1.50]}}"#
        );
    }

    #[test]
    fn what_is_missing_or_of_another_type_counts_as_unknown() {
        for json in [
            "{}",
            r#"{"flags":null,"authenticator":[],"transport":"usb"}"#,
            r#"{"authenticator":{"signCount":-1}}"#,
        ] {
            let stored = record(json);
            assert_eq!((stored.counter(), stored.backup_eligible()), (0, None), "{json}");
            assert!(
                stored.transports().is_empty() && stored.public_key().is_none(),
                "{json}"
            );
            assert_eq!(stored.used(USED).counter(), 9, "{json}");
        }
    }

    #[test]
    fn raw_credentials_that_do_not_read() {
        for raw in ["", "%", "W10=", "e30", "bm8="] {
            let expected = (raw == "e30").then(|| record("{}"));
            assert_eq!(Record::decode(raw), expected, "{raw}");
        }
    }
}
