//! What browsers send back: client data, authenticator data and what is around them.
//!
//! Contract: reading judges form only; whether an answer fits the question is for [`super::verify`].

use serde_json::{Map, Value};

use super::Refusal;
use super::cbor::{Item, Reader};
use super::key::PublicKey;
use crate::random::from_base64url;

/// Longest answer. Attestation statements with certificates take some 10 KiB.
pub(crate) const LONGEST: usize = 64 * 1024;
/// Longest credential id (Web Authentication section 4, "Credential ID").
const LONGEST_ID: usize = 1023;

/// The answer to a question for a new passkey.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) id: Vec<u8>,
    pub(crate) client_data: Vec<u8>,
    pub(crate) attestation: Vec<u8>,
    pub(crate) transports: Vec<String>,
    pub(crate) attachment: String,
}

/// The answer to a question for proof.
#[derive(Debug)]
pub(crate) struct Assertion {
    pub(crate) id: Vec<u8>,
    pub(crate) client_data: Vec<u8>,
    pub(crate) authenticator_data: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) user_handle: Vec<u8>,
}

impl Registration {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let credential = Credential::parse(body)?;
        let transports = credential.response.get("transports").and_then(Value::as_array);
        let transports = transports.into_iter().flatten().filter_map(Value::as_str);
        let transports = transports.filter(is_word).take(8).map(str::to_owned).collect();
        Ok(Self {
            client_data: credential.binary("clientDataJSON")?,
            attestation: credential.binary("attestationObject")?,
            transports,
            attachment: credential.attachment,
            id: credential.id,
        })
    }
}

impl Assertion {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let credential = Credential::parse(body)?;
        let user_handle = match credential.response.get("userHandle") {
            None | Some(Value::Null) => Vec::new(),
            Some(_) => credential.binary("userHandle")?,
        };
        Ok(Self {
            client_data: credential.binary("clientDataJSON")?,
            authenticator_data: credential.binary("authenticatorData")?,
            signature: credential.binary("signature")?,
            user_handle,
            id: credential.id,
        })
    }
}

/// A word such as those that the standard has for transports and formats.
fn is_word(text: &&str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The parts that both kinds of answers share.
struct Credential {
    id: Vec<u8>,
    attachment: String,
    response: Map<String, Value>,
}

impl Credential {
    fn parse(body: &[u8]) -> Result<Self, Refusal> {
        if body.len() > LONGEST {
            return Err(Refusal::Malformed("it is too long"));
        }
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else {
            return Err(Refusal::Malformed("it is not a JSON object"));
        };
        if fields.get("type").and_then(Value::as_str) != Some("public-key") {
            return Err(Refusal::Malformed("its type is not public-key"));
        }
        let id = |key: &str| fields.get(key).and_then(Value::as_str).and_then(from_base64url);
        let (id, raw) = (id("id"), id("rawId"));
        if id.is_some() && raw.is_some() && id != raw {
            return Err(Refusal::Malformed("id and rawId differ"));
        }
        let id = raw.or(id).filter(|id| (1..=LONGEST_ID).contains(&id.len()));
        let attachment = fields.get("authenticatorAttachment").and_then(Value::as_str);
        let attachment = attachment.filter(is_word).unwrap_or_default().to_owned();
        match (id, fields.remove("response")) {
            (Some(id), Some(Value::Object(response))) => Ok(Self {
                id,
                attachment,
                response,
            }),
            (None, _) => Err(Refusal::Malformed("rawId is missing")),
            _ => Err(Refusal::Malformed("response is missing")),
        }
    }

    fn binary(&self, key: &'static str) -> Result<Vec<u8>, Refusal> {
        let text = self.response.get(key).and_then(Value::as_str);
        text.and_then(from_base64url).ok_or(Refusal::Malformed(key))
    }
}

/// What the browser says it was asked (Web Authentication section 5.8.1).
#[derive(Debug)]
pub(crate) struct ClientData {
    pub(crate) kind: String,
    pub(crate) challenge: Vec<u8>,
    pub(crate) origin: String,
    /// Asked from within a frame of another site.
    pub(crate) is_framed: bool,
}

impl ClientData {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, Refusal> {
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        let Ok(Value::Object(fields)) = serde_json::from_slice(json) else {
            return Err(Refusal::Malformed("clientDataJSON"));
        };
        let text = |key: &str| fields.get(key).and_then(Value::as_str);
        let challenge = text("challenge").and_then(from_base64url);
        let (Some(kind), Some(challenge), Some(origin)) = (text("type"), challenge, text("origin")) else {
            return Err(Refusal::Malformed("clientDataJSON"));
        };
        let framed = fields
            .get("crossOrigin")
            .is_some_and(|value| *value != Value::Bool(false));
        Ok(Self {
            kind: kind.to_owned(),
            challenge,
            origin: origin.to_owned(),
            is_framed: framed || fields.contains_key("topOrigin"),
        })
    }
}

/// What the authenticator signs (Web Authentication section 6.1).
#[derive(Debug)]
pub(crate) struct AuthenticatorData<'a> {
    pub(crate) rp_id_hash: [u8; 32],
    pub(crate) flags: Flags,
    pub(crate) counter: u32,
    pub(crate) attested: Option<Attested<'a>>,
}

/// The flags that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) user_present: bool,
    pub(crate) user_verified: bool,
    pub(crate) backup_eligible: bool,
    pub(crate) backup_state: bool,
}

/// A new credential.
#[derive(Debug)]
pub(crate) struct Attested<'a> {
    pub(crate) aaguid: &'a [u8],
    pub(crate) id: &'a [u8],
    pub(crate) key: PublicKey,
    /// The key as it was written.
    pub(crate) key_bytes: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        Self::read(bytes).ok_or(Refusal::Malformed("authenticatorData"))
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (rp_id_hash, rest) = bytes.split_first_chunk::<32>()?;
        let (&bits, rest) = rest.split_first()?;
        let (counter, mut rest) = rest.split_first_chunk::<4>()?;
        let has = |bit: u8| bits & 1 << bit != 0;
        let mut attested = None;
        if has(6) {
            let (aaguid, after) = rest.split_at_checked(16)?;
            let (len, after) = after.split_first_chunk::<2>()?;
            let (id, after) = after.split_at_checked(u16::from_be_bytes(*len).into())?;
            let mut reader = Reader::new(after);
            let key = PublicKey::read(&mut reader).ok()?;
            rest = reader.rest();
            attested = Some(Attested {
                aaguid,
                id,
                key,
                key_bytes: &after[..after.len() - rest.len()],
            });
        }
        if has(7) {
            let mut reader = Reader::new(rest);
            for _ in 0..reader.map().ok()?.checked_mul(2)? {
                reader.item().ok()?;
            }
            rest = reader.rest();
        }
        let data = Self {
            rp_id_hash: *rp_id_hash,
            flags: Flags {
                user_present: has(0),
                user_verified: has(2),
                backup_eligible: has(3),
                backup_state: has(4),
            },
            counter: u32::from_be_bytes(*counter),
            attested,
        };
        rest.is_empty().then_some(data)
    }
}

/// The authenticator data within an attestation object, and the name of the statement's format. We ask for no
/// attestation and believe none, so the statement itself is passed over.
pub(crate) fn attested_data(object: &[u8]) -> Result<(&[u8], &str), Refusal> {
    let bad = Refusal::Malformed("attestationObject");
    let mut reader = Reader::new(object);
    let (mut data, mut format) = (None, None);
    for _ in 0..reader.map().map_err(|_| bad.clone())? {
        let (key, value) = (reader.item(), reader.item());
        match (key, value) {
            (Ok(Item::Text("authData")), Ok(Item::Bytes(bytes))) if data.is_none() => data = Some(bytes),
            (Ok(Item::Text("fmt")), Ok(Item::Text(text))) if format.is_none() => format = Some(text),
            (Ok(Item::Text("authData" | "fmt")), _) | (Err(_), _) | (_, Err(_)) => return Err(bad),
            _ => {}
        }
    }
    match (data, format) {
        (Some(data), Some(format)) if reader.rest().is_empty() && is_word(&format) => Ok((data, format)),
        _ => Err(bad),
    }
}
