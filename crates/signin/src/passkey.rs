//! Passkeys (Web Authentication level 3): making one, and signing in with one.
//!
//! Contract: an answer counts only if it answers a question of ours, asked within the last minute and never answered
//! before; the credential must belong to the user that the answer itself names. Nothing here waits or does I/O.
//!
//! The user handle is the user's name unless the record says otherwise (`passkey_handle`) or the name is too long
//! for one. A random handle would hide the name from authenticators, but the Go program, to which an operator may
//! go back, accepts no other handle than the name.

mod cbor;
mod key;
mod party;
mod pending;
mod record;
mod response;
#[cfg(test)]
mod vectors;
mod verify;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{Config, Passkey, User};
use jiff::Timestamp;
use observe::{Mutex, RwLock};
use serde_json::{Value, json};

use crate::metrics::{Ended, SIGNINS, Way};
use crate::random::{self, base64url, from_base64url};
use pending::{Enrolment, Full, LIFE, Pending};
use record::Record;
use response::{Assertion, Registration};
use verify::{Question, Used};

pub use party::RelyingParty;

/// Passkeys that one user may have.
const MOST_PASSKEYS: usize = 32;
/// Longest user handle (Web Authentication section 5.4.3).
const LONGEST_HANDLE: usize = 64;
/// A passkey's name is cut here.
const LONGEST_NAME: usize = 64;

observe::event! {
    /// A counter that went back or stood still: two devices may hold the same key.
    struct PasskeyCopied<'a> { user: &'a str, passkey: &'a str }
    = [Auth] Warn "passkey_copied": "Passkey refused: its counter did not grow, so it may have been copied"

    /// Most often an address under which the configuration does not expect people.
    struct PasskeyOrigin<'a> { origin: &'a str }
    = Warn "passkey_origin": "Passkey refused: its page is none of the origins in \"webauthn\" or \"base_url\""
}

/// The questions that are open, and for whom they are asked.
#[derive(Debug)]
pub struct Passkeys {
    /// Held to copy a pointer.
    party: RwLock<Option<Arc<RelyingParty>>>,
    /// Held for a look-up; when it is full, for a walk over a thousand entries.
    pending: Mutex<Pending>,
}

/// A question for somebody who wants to sign in.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// For the answer's address.
    pub challenge_key: String,
    /// The body: `publicKey` and `challengeKey`.
    pub body: Value,
}

/// A passkey that was made. Keep it with [`add`].
#[derive(Debug, Clone, PartialEq)]
pub struct Registered {
    /// For the user's record.
    pub passkey: Passkey,
    /// For the user's record, if it is new.
    pub handle: Option<String>,
}

/// Somebody who proved who they are. Keep the use with [`record_use`] before the session begins.
#[derive(Debug, Clone, PartialEq)]
pub struct SignedIn {
    /// The user.
    pub username: String,
    /// The passkey, as it is to be stored now.
    pub passkey: Passkey,
    used: Used,
}

/// Why not. The texts are the API's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasskeyError {
    /// The configuration allows no passkeys.
    #[error("WebAuthn not configured")]
    NotConfigured,
    /// None asked for, answered already, or too late.
    #[error("No active registration session")]
    NoRegistration,
    /// The answer does not hold.
    #[error("Registration failed: {0}")]
    RegistrationFailed(Refusal),
    /// In the process, or from this client.
    #[error("Too many pending passkey logins; try again shortly")]
    TooMany {
        /// When it makes sense to come back.
        retry_after: Duration,
    },
    /// None asked for, answered already, or too late.
    #[error("No active login session")]
    NoLogin,
    /// The answer does not hold.
    #[error("Login failed: {0}")]
    LoginFailed(Refusal),
    /// No such user, or not the user's passkey.
    #[error("User not found for credential")]
    UserNotFound,
    /// A request without an id.
    #[error("Missing passkey ID")]
    MissingId,
    /// The user has no such passkey.
    #[error("Passkey not found")]
    NotFound,
}

impl PasskeyError {
    /// The HTTP status to answer with.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::NotConfigured => 503,
            Self::NoRegistration | Self::RegistrationFailed(_) | Self::NoLogin | Self::MissingId => 400,
            Self::TooMany { .. } => 429,
            Self::LoginFailed(_) | Self::UserNotFound => 401,
            Self::NotFound => 404,
        }
    }

    /// Whether it counts towards the lockout of the client.
    #[must_use]
    pub fn is_failed_proof(&self) -> bool {
        matches!(self, Self::LoginFailed(_) | Self::UserNotFound)
    }

    /// Whether the passkey may have been copied: worth an entry in the audit log.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        matches!(self, Self::LoginFailed(Refusal::Copied))
    }
}

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is not of the standard's form.
    #[error("the answer is malformed ({0})")]
    Malformed(&'static str),
    /// Made for signing in instead of registering, or the other way round.
    #[error("the answer is of another kind")]
    Kind,
    /// To another question.
    #[error("the challenge does not match")]
    Challenge,
    /// From a page that is none of ours.
    #[error("the origin {0} is not allowed")]
    Origin(String),
    /// From a frame within another site's page.
    #[error("it was asked from within another site")]
    Framed,
    /// Made for another domain.
    #[error("the relying party does not match")]
    Party,
    /// Nobody touched the authenticator.
    #[error("the user's presence was not confirmed")]
    NotPresent,
    /// The authenticator did not ask for a PIN or a fingerprint.
    #[error("the user was not verified by a PIN, a fingerprint or the like")]
    NotVerified,
    /// Whether it can be copied between devices never changes.
    #[error("the backup eligibility has changed")]
    BackupEligibility,
    /// The stored key is none that we know.
    #[error("the key is of an unknown kind")]
    Algorithm,
    /// Not made with the stored key.
    #[error("the signature does not match")]
    Signature,
    /// The counter did not grow.
    #[error("the signature counter did not grow, the passkey may have been copied")]
    Copied,
    /// Registered before, by this user or another one.
    #[error("this passkey is registered already")]
    Taken,
    /// The user has as many as a user may have.
    #[error("there are {MOST_PASSKEYS} passkeys already")]
    Full,
    /// The user is gone.
    #[error("the user does not exist")]
    NoUser,
}

impl Passkeys {
    /// No open questions.
    #[must_use]
    pub fn new(party: Option<RelyingParty>) -> Self {
        Self {
            party: RwLock::new("passkey-party", party.map(Arc::new)),
            pending: Mutex::new("passkey-pending", Pending::new()),
        }
    }

    /// Follows a change of the configuration.
    pub fn set_party(&self, party: Option<RelyingParty>) {
        *self.party.write() = party.map(Arc::new);
    }

    /// Whether passkeys can be used at all.
    pub fn is_configured(&self) -> bool {
        self.party.read().is_some()
    }

    fn party(&self) -> Result<Arc<RelyingParty>, PasskeyError> {
        self.party.read().clone().ok_or(PasskeyError::NotConfigured)
    }

    /// Asks the browser of a signed-in user for a new passkey. Yields the body of the answer.
    ///
    /// # Errors
    /// [`PasskeyError`], `RegistrationFailed` when the user has too many.
    pub fn register_begin(&self, user: &User, now: Instant) -> Result<Value, PasskeyError> {
        let party = self.party()?;
        if user.passkeys.len() >= MOST_PASSKEYS {
            return Err(PasskeyError::RegistrationFailed(Refusal::Full));
        }
        let challenge = random::bytes();
        let (handle, fresh) = handle_of(user);
        let excluded = user.passkeys.iter().map(|passkey| {
            let mut known = json!({"type": "public-key", "id": passkey.id.trim_end_matches('=')});
            let record = Record::decode(&passkey.raw_credential);
            let transports = record.as_ref().map(Record::transports).unwrap_or_default();
            if !transports.is_empty() {
                known["transports"] = json!(transports);
            }
            known
        });
        let algorithms = key::ALGORITHMS.map(|alg| json!({"type": "public-key", "alg": alg}));
        let options = json!({"publicKey": {
            "rp": {"id": party.id(), "name": party.name()},
            "user": {"id": base64url(&handle), "name": user.username, "displayName": user.username},
            "challenge": base64url(challenge),
            "pubKeyCredParams": algorithms,
            "timeout": millis(LIFE),
            "attestation": "none",
            "excludeCredentials": excluded.collect::<Vec<_>>(),
            "authenticatorSelection": {
                "residentKey": "required",
                "requireResidentKey": true,
                "userVerification": "required",
            },
        }});
        let handle = fresh.then(|| base64url(&handle));
        let enrolment = Enrolment { challenge, handle };
        self.pending.lock().enrol(&user.username, enrolment, now)?;
        Ok(options)
    }

    /// Judges the answer; `body` is what the browser sent, `name` what the user calls the passkey.
    ///
    /// # Errors
    /// [`PasskeyError`]; the question is used up in any case.
    pub fn register_finish(
        &self,
        username: &str,
        name: &str,
        body: &[u8],
        now: Instant,
        at: Timestamp,
    ) -> Result<Registered, PasskeyError> {
        let party = self.party()?;
        let enrolment = self.pending.lock().take_enrolment(username, now);
        let enrolment = enrolment.ok_or(PasskeyError::NoRegistration)?;
        let question = Question {
            party: &party,
            challenge: &enrolment.challenge,
        };
        let judged = Registration::parse(body).and_then(|answer| {
            let record = verify::registration(question, &answer)?;
            Ok((answer.id, record))
        });
        let (id, record) = judged.map_err(|refusal| PasskeyError::RegistrationFailed(told(refusal)))?;
        let passkey = Passkey {
            name: tidy(name),
            created_at: rfc3339(at),
            ..Passkey::new(base64url(id), record.encode())
        };
        Ok(Registered {
            passkey,
            handle: enrolment.handle,
        })
    }

    /// Asks whoever comes from `ip` for proof by a passkey.
    ///
    /// # Errors
    /// `NotConfigured` or `TooMany`.
    pub fn login_begin(&self, ip: IpAddr, now: Instant) -> Result<Asked, PasskeyError> {
        let party = self.party()?;
        let challenge = random::bytes();
        self.pending.lock().ask(challenge, ip, now)?;
        let challenge = base64url(challenge);
        let challenge_key = format!("login:{challenge}");
        let body = json!({
            "publicKey": {
                "challenge": challenge,
                "timeout": millis(LIFE),
                "rpId": party.id(),
                "userVerification": "required",
            },
            "challengeKey": challenge_key,
        });
        Ok(Asked { challenge_key, body })
    }

    /// Judges the answer to the question of `challenge_key`.
    ///
    /// # Errors
    /// [`PasskeyError`]; the question is used up in any case.
    pub fn login_finish(
        &self,
        challenge_key: &str,
        body: &[u8],
        config: &Config,
        now: Instant,
        at: Timestamp,
    ) -> Result<SignedIn, PasskeyError> {
        let party = self.party()?;
        let challenge = challenge_key.strip_prefix("login:").and_then(from_base64url);
        let challenge = challenge.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let challenge = challenge.ok_or(PasskeyError::NoLogin)?;
        if !self.pending.lock().take_login(&challenge, now) {
            return Err(PasskeyError::NoLogin);
        }
        let question = Question {
            party: &party,
            challenge: &challenge,
        };
        let judged = judge_login(question, body, config, at);
        let ended = if judged.is_ok() { Ended::Ok } else { Ended::Refused };
        SIGNINS.of((Way::Passkey, ended)).inc();
        judged
    }
}

impl From<Full> for PasskeyError {
    fn from(Full(retry_after): Full) -> Self {
        Self::TooMany { retry_after }
    }
}

fn judge_login(
    question: Question<'_>,
    body: &[u8],
    config: &Config,
    at: Timestamp,
) -> Result<SignedIn, PasskeyError> {
    let failed = |refusal| PasskeyError::LoginFailed(told(refusal));
    let answer = Assertion::parse(body).map_err(failed)?;
    let user = user_of(config, &answer.user_handle).ok_or(PasskeyError::UserNotFound)?;
    let passkey = user.passkeys.iter().find(|passkey| is(passkey, &answer.id));
    let passkey = passkey.ok_or(PasskeyError::UserNotFound)?;
    let record = Record::decode(&passkey.raw_credential).ok_or_else(|| failed(Refusal::Algorithm))?;
    let used = verify::assertion(question, &answer, &record).map_err(|refusal| {
        if refusal == Refusal::Copied {
            observe::emit(PasskeyCopied {
                user: &user.username,
                passkey: &passkey.name,
            });
        }
        failed(refusal)
    })?;
    let passkey = Passkey {
        raw_credential: record.used(used).encode(),
        last_used: rfc3339(at),
        ..passkey.clone()
    };
    Ok(SignedIn {
        username: user.username.clone(),
        passkey,
        used,
    })
}

/// Stores a new passkey.
///
/// # Errors
/// `RegistrationFailed` when the user is gone or full, or somebody has the passkey already; nothing is changed then.
pub fn add(config: &mut Config, username: &str, registered: Registered) -> Result<(), PasskeyError> {
    let failed = PasskeyError::RegistrationFailed;
    let id = from_base64url(&registered.passkey.id).unwrap_or_default();
    let mut all = config.users.values().flat_map(|user| &user.passkeys);
    if all.any(|passkey| is(passkey, &id)) {
        return Err(failed(Refusal::Taken));
    }
    let user = config.users.get_mut(username).ok_or(failed(Refusal::NoUser))?;
    if user.passkeys.len() >= MOST_PASSKEYS {
        return Err(failed(Refusal::Full));
    }
    if let Some(handle) = registered.handle.filter(|_| user.passkey_handle.is_empty()) {
        user.passkey_handle = handle;
    }
    user.passkeys.push(registered.passkey);
    Ok(())
}

/// Stores what a sign-in changed in its passkey: counter, backup state and time.
///
/// # Errors
/// `UserNotFound` when user or passkey are gone by now, `LoginFailed` when the passkey was used with a higher counter
/// in between; nothing is changed then, and there must be no session.
pub fn record_use(config: &mut Config, signed_in: &SignedIn) -> Result<(), PasskeyError> {
    let id = from_base64url(&signed_in.passkey.id).unwrap_or_default();
    let user = config.users.get_mut(&signed_in.username);
    let passkey = user.and_then(|user| user.passkeys.iter_mut().find(|passkey| is(passkey, &id)));
    let passkey = passkey.ok_or(PasskeyError::UserNotFound)?;
    let record = Record::decode(&passkey.raw_credential).ok_or(PasskeyError::UserNotFound)?;
    if !verify::grows(record.counter(), signed_in.used.counter) {
        observe::emit(PasskeyCopied {
            user: &signed_in.username,
            passkey: &passkey.name,
        });
        return Err(PasskeyError::LoginFailed(Refusal::Copied));
    }
    passkey.raw_credential = record.used(signed_in.used).encode();
    passkey.last_used.clone_from(&signed_in.passkey.last_used);
    Ok(())
}

/// Removes a passkey of a user and yields it.
///
/// # Errors
/// `MissingId` or `NotFound`.
pub fn remove(config: &mut Config, username: &str, id: &str) -> Result<Passkey, PasskeyError> {
    if id.is_empty() {
        return Err(PasskeyError::MissingId);
    }
    let user = config.users.get_mut(username).ok_or(PasskeyError::NotFound)?;
    let wanted = |passkey: &Passkey| passkey.id.trim_end_matches('=') == id.trim_end_matches('=');
    let at = user
        .passkeys
        .iter()
        .position(wanted)
        .ok_or(PasskeyError::NotFound)?;
    Ok(user.passkeys.remove(at))
}

/// Whether `passkey` is the one with this id.
fn is(passkey: &Passkey, id: &[u8]) -> bool {
    from_base64url(&passkey.id).is_some_and(|own| own == id)
}

/// The handle for a new passkey of `user`, and whether it is a new one that has to be stored.
fn handle_of(user: &User) -> (Vec<u8>, bool) {
    let stored = from_base64url(&user.passkey_handle);
    match stored.filter(|handle| (1..=LONGEST_HANDLE).contains(&handle.len())) {
        Some(handle) => (handle, false),
        None if user.username.len() <= LONGEST_HANDLE => (user.username.clone().into_bytes(), false),
        None => (random::bytes::<32>().into(), true),
    }
}

/// Who has this handle. Passkeys of before a user got a random handle know the user by name.
fn user_of<'c>(config: &'c Config, handle: &[u8]) -> Option<&'c User> {
    if handle.is_empty() {
        return None;
    }
    let stored = |user: &&User| from_base64url(&user.passkey_handle).is_some_and(|own| own == handle);
    let by_name = || config.users.get(str::from_utf8(handle).ok()?);
    config.users.values().find(stored).or_else(by_name)
}

/// Tells the operator what only the operator can set right.
fn told(refusal: Refusal) -> Refusal {
    if let Refusal::Origin(origin) = &refusal {
        observe::emit_limited(Duration::from_secs(10), PasskeyOrigin { origin });
    }
    refusal
}

/// A name without control characters, cut where lists end.
fn tidy(name: &str) -> String {
    let name: String = name
        .chars()
        .filter(|c| !c.is_control())
        .take(LONGEST_NAME)
        .collect();
    match name.trim() {
        "" => "Passkey".to_owned(),
        name => name.to_owned(),
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_secs() * 1000
}

/// A point in time as the configuration has it.
fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
