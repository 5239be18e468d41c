//! The checks of Web Authentication sections 7.1 and 7.2.
//!
//! Contract: pure. Every check of the standard that applies without attestation is here, in its order, and a
//! password-less sign-in always needs the user verified.

use aws_lc_rs::digest::{SHA256, digest};

use super::record::Record;
use super::response::{Assertion, AuthenticatorData, ClientData, Flags, Registration, attested_data};
use super::{Refusal, RelyingParty};

/// What a ceremony asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) party: &'a RelyingParty,
    pub(crate) challenge: &'a [u8],
}

/// What changes in a stored credential with each use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) counter: u32,
    pub(crate) flags: Flags,
}

/// Judges the answer to a question for a new passkey.
pub(crate) fn registration(question: Question<'_>, answer: &Registration) -> Result<Record, Refusal> {
    client_data(question, &answer.client_data, "webauthn.create")?;
    let (bytes, format) = attested_data(&answer.attestation)?;
    let data = AuthenticatorData::parse(bytes)?;
    authenticator(question, &data)?;
    // A key of any other algorithm than those we ask for did not parse.
    let attested = data.attested.ok_or(Refusal::Malformed("attestationObject"))?;
    if attested.id != answer.id {
        return Err(Refusal::Malformed("rawId is not the attested one"));
    }
    Ok(Record::new(&super::record::Fresh {
        answer,
        format,
        authenticator_data: bytes,
        attested: &attested,
        flags: data.flags,
        counter: data.counter,
    }))
}

/// Judges the answer to a question for proof by the credential that is stored under the answer's id.
pub(crate) fn assertion(
    question: Question<'_>,
    answer: &Assertion,
    stored: &Record,
) -> Result<Used, Refusal> {
    client_data(question, &answer.client_data, "webauthn.get")?;
    let data = AuthenticatorData::parse(&answer.authenticator_data)?;
    authenticator(question, &data)?;
    if stored
        .backup_eligible()
        .is_some_and(|was| was != data.flags.backup_eligible)
    {
        return Err(Refusal::BackupEligibility);
    }
    let key = stored.public_key().ok_or(Refusal::Algorithm)?;
    let hash = digest(&SHA256, &answer.client_data);
    let signed = [&answer.authenticator_data, hash.as_ref()].concat();
    if !key.verifies(&signed, &answer.signature) {
        return Err(Refusal::Signature);
    }
    // Only now is the counter known to be the authenticator's own.
    if !grows(stored.counter(), data.counter) {
        return Err(Refusal::Copied);
    }
    Ok(Used {
        counter: data.counter,
        flags: data.flags,
    })
}

/// Whether a counter is believable after another one. Authenticators that do not count say 0 for ever.
pub(crate) fn grows(before: u32, now: u32) -> bool {
    now > before || (now == 0 && before == 0)
}

fn client_data(question: Question<'_>, json: &[u8], kind: &str) -> Result<(), Refusal> {
    let data = ClientData::parse(json)?;
    if data.kind != kind {
        return Err(Refusal::Kind);
    }
    if data.challenge != question.challenge {
        return Err(Refusal::Challenge);
    }
    if !question.party.permits(&data.origin) {
        return Err(Refusal::Origin(data.origin.chars().take(200).collect()));
    }
    if data.is_framed {
        return Err(Refusal::Framed);
    }
    Ok(())
}

fn authenticator(question: Question<'_>, data: &AuthenticatorData<'_>) -> Result<(), Refusal> {
    if digest(&SHA256, question.party.id().as_bytes()).as_ref() != data.rp_id_hash {
        return Err(Refusal::Party);
    }
    if !data.flags.user_present {
        return Err(Refusal::NotPresent);
    }
    if !data.flags.user_verified {
        return Err(Refusal::NotVerified);
    }
    if data.flags.backup_state && !data.flags.backup_eligible {
        return Err(Refusal::Malformed("it is backed up without being eligible"));
    }
    Ok(())
}
