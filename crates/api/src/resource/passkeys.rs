//! Passkeys: made by whoever is signed in, and signing in with one.
//!
//! Contract: there is no session before the counter of the passkey is written down, and every answer that does not
//! hold counts against its address.

use std::time::Instant;

use auth::{Account, Action, SignIn, check_way_in};
use http::StatusCode;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use signin::{PasskeyError, passkey};
use store::AuditAction;

use super::cookie::{self, SignedIn};
use crate::endpoint::{
    Answer, Call, Endpoint, Json, NoQuery, Refusal, WithHeaders, delete, get, group, post,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let off = "Passkeys cannot be used under this address";
    group(
        "Passkeys",
        vec![
            post("/api/passkey/register/begin", Action::PasskeyRegister, register_begin)
                .says("Begin to register a passkey")
                .details("The answer holds the options for `navigator.credentials.create`, with binary fields in base64url.")
                .fails(503, off),
            post("/api/passkey/register/finish", Action::PasskeyRegister, register_finish)
                .says("Register the passkey that the browser made")
                .details("Within 60 seconds of its beginning; the body is the credential as JSON.")
                .fails(503, off),
            post("/api/passkey/login/begin", Action::SignIn, login_begin)
                .says("Begin to sign in with a passkey")
                .details("The answer holds the options for `navigator.credentials.get`, with binary fields in base64url.")
                .fails(503, off),
            post("/api/passkey/login/finish", Action::SignIn, login_finish)
                .says("Sign in with the browser's answer")
                .details("Within 60 seconds of its beginning; the body is the assertion as JSON. Sets the cookie `sid`.")
                .fails(401, "The answer does not hold")
                .fails(503, off),
            get("/api/passkey", Action::PasskeysRead, list).says("Own passkeys"),
            delete("/api/passkey", Action::PasskeyDelete, remove)
                .says("Remove an own passkey")
                .fails(404, "There is no such passkey")
                .fails(409, "No superadmin could sign in any more"),
        ],
    )
}

/// A passkey.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Passkey {
    id: String,
    /// As its owner calls it.
    name: String,
    created_at: String,
    /// RFC 3339 or empty.
    last_used: String,
}

impl Passkey {
    pub(super) fn of(passkey: &config::Passkey) -> Self {
        Self {
            id: passkey.id.clone(),
            name: passkey.name.clone(),
            created_at: passkey.created_at.clone(),
            last_used: passkey.last_used.clone(),
        }
    }
}

fn now() -> (Instant, Timestamp) {
    (tokio::time::Instant::now().into_std(), Timestamp::now())
}

fn refused(error: PasskeyError) -> Refusal {
    let text = error.to_string();
    match error {
        PasskeyError::TooMany { retry_after } => Refusal::too_many(text, retry_after),
        error => Refusal::new(
            StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST),
            text,
        ),
    }
}

async fn register_begin(call: Call, _: NoQuery, (): ()) -> Answer<Json<Value>> {
    let (config, caller) = (call.config(), call.caller()?);
    let user = config
        .users
        .get(&caller.account.name)
        .ok_or_else(Refusal::unauthorized)?;
    let begun = call.parts.signin.passkeys.register_begin(user, now().0);
    Ok(Json(begun.map_err(refused)?))
}

/// What the passkey is called.
#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    /// `Passkey` if left out.
    #[serde(default)]
    name: String,
}

/// What was made.
#[derive(Debug, Serialize, JsonSchema)]
struct Registered {
    success: bool,
    name: String,
}

async fn register_finish(call: Call, query: Named, Json(body): Json<Value>) -> Answer<Json<Registered>> {
    let user = call.caller()?.account.name.clone();
    let (instant, at) = now();
    let finished = call
        .parts
        .signin
        .passkeys
        .register_finish(&user, &query.name, &bytes(&body), instant, at);
    let registered = finished.map_err(refused)?;
    let (id, name) = (registered.passkey.id.clone(), registered.passkey.name.clone());
    let owner = user.clone();
    call.change(move |config| passkey::add(config, &owner, registered).map_err(refused))
        .await?;
    call.audit(
        AuditAction::PasskeyRegistered,
        "auth",
        &user,
        &format!("name={name} id={id}"),
    );
    Ok(Json(Registered { success: true, name }))
}

async fn login_begin(call: Call, _: NoQuery, (): ()) -> Answer<Json<Value>> {
    cookie::check_lockout(&call)?;
    let asked = call.parts.signin.passkeys.login_begin(call.ip(), now().0);
    Ok(Json(asked.map_err(refused)?.body))
}

/// To which question this is the answer.
#[derive(Debug, Deserialize, JsonSchema)]
struct Question {
    /// As the question came with it.
    #[serde(default, rename = "challengeKey")]
    challenge_key: String,
    /// A path of this server to go to afterwards.
    #[serde(default)]
    next: String,
}

async fn login_finish(
    call: Call,
    query: Question,
    Json(body): Json<Value>,
) -> Answer<WithHeaders<Json<SignedIn>>> {
    cookie::check_lockout(&call)?;
    let (instant, at) = now();
    let finished = call.parts.signin.passkeys.login_finish(
        &query.challenge_key,
        &bytes(&body),
        &call.config(),
        instant,
        at,
    );
    let signed_in = finished.map_err(|error| fail(&call, "unknown", error))?;
    let user = signed_in.username.clone();
    // Of two answers with one counter the second is refused here, before it has a session.
    let kept = call
        .change(move |config| Ok(passkey::record_use(config, &signed_in)))
        .await?;
    kept.map_err(|error| fail(&call, &user, error))?;
    let account = Account::of(&call.config(), &user).ok_or_else(Refusal::unauthorized)?;
    let begun = cookie::begin(&call, &user, SignIn::Passkey)?;
    let told = SignedIn::new(&account, &begun, &query.next);
    Ok(WithHeaders(begun.headers, Json(told)))
}

/// Counts and writes down an answer that does not hold.
fn fail(call: &Call, user: &str, error: PasskeyError) -> Refusal {
    if error.is_failed_proof() {
        let reason = if error.is_copy() {
            "passkey may have been copied"
        } else {
            "passkey refused"
        };
        call.parts.auth.fail(call.ip(), user, reason);
        cookie::refuse(call, user, reason);
    }
    refused(error)
}

async fn list(call: Call, _: NoQuery, (): ()) -> Answer<Json<Vec<Passkey>>> {
    let config = call.config();
    let user = config.users.get(&call.caller()?.account.name);
    let passkeys = user.into_iter().flat_map(|user| &user.passkeys);
    Ok(Json(passkeys.map(Passkey::of).collect()))
}

/// Which one.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// The id of the credential.
    #[serde(default)]
    id: String,
}

/// It was done.
#[derive(Debug, Serialize, JsonSchema)]
struct Deleted {
    success: bool,
}

async fn remove(call: Call, query: Which, (): ()) -> Answer<Json<Deleted>> {
    let user = call.caller()?.account.name.clone();
    let owner = user.clone();
    let removed = call
        .change(move |config| {
            let before = config.clone();
            let removed = passkey::remove(config, &owner, &query.id).map_err(refused)?;
            check_way_in(&before, config)?;
            Ok(removed)
        })
        .await?;
    call.audit(
        AuditAction::PasskeyDeleted,
        "auth",
        &user,
        &format!("name={} id={}", removed.name, removed.id),
    );
    Ok(Json(Deleted { success: true }))
}

/// The credential as the verifier reads it.
fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn errors_have_the_status_of_their_kind() {
        let retry_after = Duration::from_secs(9);
        for (error, status, text) in [
            (PasskeyError::NotConfigured, 503, "WebAuthn not configured"),
            (
                PasskeyError::NoRegistration,
                400,
                "No active registration session",
            ),
            (PasskeyError::NoLogin, 400, "No active login session"),
            (PasskeyError::UserNotFound, 401, "User not found for credential"),
            (PasskeyError::NotFound, 404, "Passkey not found"),
            (PasskeyError::MissingId, 400, "Missing passkey ID"),
            (
                PasskeyError::TooMany { retry_after },
                429,
                "Too many pending passkey logins; try again shortly",
            ),
        ] {
            let refusal = refused(error);
            assert_eq!((refusal.status().as_u16(), refusal.text()), (status, text));
        }
        let reply = refused(PasskeyError::TooMany { retry_after }).json();
        assert_eq!(reply.headers()[http::header::RETRY_AFTER], "9");
    }
}
