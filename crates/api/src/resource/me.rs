//! The account that asks: who it is, its password, and where it is signed in.
//!
//! Contract: nobody but the account itself is asked about here, and a new password ends every other session.

use auth::{Action, Login, SessionRow};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::AuditAction;

use crate::endpoint::{
    Answer, Call, Endpoint, Json, NoQuery, Refusal, Status, WithHeaders, delete, get, group, post, put,
    status,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "My account",
        vec![
            get("/api/me", Action::MeRead, me).says("Who is asking"),
            put("/api/me/password", Action::MePassword, change_password)
                .says("Change the own password")
                .details("Other sessions of the account end. An account without a password leaves `current` empty.")
                .fails(403, "The current password is wrong, or the request came with a token"),
            post("/api/me/logout-all", Action::SessionsEnd, log_out_all)
                .says("Sign out everywhere, here too"),
            get("/api/sessions", Action::SessionsRead, sessions).says("Where the account is signed in"),
            delete("/api/sessions", Action::SessionsEnd, end_session)
                .says("End one of these sessions")
                .fails(404, "There is no such session"),
        ],
    )
}

/// Who is asking.
#[derive(Debug, Serialize, JsonSchema)]
struct Me {
    username: String,
    /// `superadmin`, `admin` or `dj`.
    role: &'static str,
    /// The mounts that are the account's own; a superadmin has access to all others too.
    mounts: Vec<String>,
    /// What forms must carry; empty without a session.
    csrf_token: String,
    /// `session`, `token` or `basic`.
    auth: &'static str,
    /// When the session ends however much it is used; null without one.
    session_expires_at: Option<String>,
    /// Whether there is a password to sign in with.
    has_password: bool,
}

async fn me(call: Call, _: NoQuery, (): ()) -> Answer<Json<Me>> {
    let (caller, config) = (call.caller()?, call.config());
    let session = caller.session();
    let mounts = caller
        .account
        .mounts
        .iter()
        .filter(|mount| caller.has_access(mount));
    let user = config.users.get(&caller.account.name);
    Ok(Json(Me {
        username: caller.account.name.clone(),
        role: caller.account.role.as_str(),
        mounts: mounts.map(ToString::to_string).collect(),
        csrf_token: session.map(|session| session.csrf.clone()).unwrap_or_default(),
        auth: caller.method(),
        session_expires_at: session.map(|session| session.expires_at.to_string()),
        has_password: user.is_some_and(|user| config::is_bcrypt(&user.password)),
    }))
}

/// The old password and the new one.
#[derive(Debug, Deserialize, JsonSchema)]
struct NewPassword {
    #[serde(default)]
    current: String,
    /// 8 to 72 bytes.
    #[serde(default)]
    new: String,
}

async fn change_password(call: Call, _: NoQuery, Json(body): Json<NewPassword>) -> Answer<Json<Status>> {
    let caller = call.caller()?;
    let name = caller.account.name.clone();
    auth::check_password(&body.new)?;
    let has_password = {
        let config = call.config();
        config
            .users
            .get(&name)
            .is_some_and(|user| config::is_bcrypt(&user.password))
    };
    if has_password {
        prove(&call, &name, &body.current).await?;
    }
    let hash = call.parts.auth.hash_password(&body.new).await?;
    let user = name.clone();
    call.change(move |config| {
        // Somebody may have set one meanwhile, and then it has to be known.
        let old = config.users.get(&user).ok_or_else(Refusal::unauthorized)?;
        if !has_password && config::is_bcrypt(&old.password) {
            return Err(wrong_password());
        }
        let change = auth::UserChange {
            password_hash: Some(hash),
            ..auth::UserChange::default()
        };
        auth::update_user(config, &user, change)?;
        Ok(())
    })
    .await?;
    let kept = caller.session().map(|session| session.id.as_str());
    call.parts.auth.end_of_user(&name, kept);
    call.audit(AuditAction::UserUpdated, "user", &name, "password");
    Ok(status("updated"))
}

/// Tries the current password; a wrong one counts as anywhere else.
async fn prove(call: &Call, name: &str, password: &str) -> Answer<()> {
    match call.parts.auth.login(call.ip(), name, password.as_bytes()).await {
        Login::Ok(_) => Ok(()),
        Login::Wrong => Err(wrong_password()),
        Login::LockedOut(locked) => Err(Refusal::too_many(locked.to_string(), locked.wait())),
        Login::Busy => Err(Refusal::unavailable(
            "Too many password checks are waiting; try again shortly",
        )),
    }
}

fn wrong_password() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "Current password is wrong")
}

/// How many sessions ended.
#[derive(Debug, Serialize, JsonSchema)]
struct Ended {
    success: bool,
    ended: usize,
}

async fn log_out_all(call: Call, _: NoQuery, (): ()) -> Answer<WithHeaders<Json<Ended>>> {
    let name = &call.caller()?.account.name;
    let is_session = call.caller()?.session().is_some();
    let ended = call.parts.auth.end_of_user(name, None);
    call.audit(
        AuditAction::Logout,
        "auth",
        name,
        &format!("all sessions: {ended}"),
    );
    let mut headers = http::HeaderMap::new();
    if is_session {
        super::cookie::clear(&call, &mut headers);
    }
    Ok(WithHeaders(headers, Json(Ended { success: true, ended })))
}

/// A session.
#[derive(Debug, Serialize, JsonSchema)]
struct Session {
    id: String,
    created_at: String,
    last_seen: String,
    /// Where it began.
    ip: String,
    /// What it began with.
    user_agent: String,
    /// Whether it is the one that asks.
    current: bool,
}

impl From<SessionRow> for Session {
    fn from(row: SessionRow) -> Self {
        Self {
            id: row.id,
            created_at: row.created_at.to_string(),
            last_seen: row.last_seen.to_string(),
            ip: row.ip.to_string(),
            user_agent: row.user_agent,
            current: row.current,
        }
    }
}

async fn sessions(call: Call, _: NoQuery, (): ()) -> Answer<Json<Vec<Session>>> {
    let rows = call.parts.auth.sessions_of(call.caller()?);
    Ok(Json(rows.into_iter().map(Session::from).collect()))
}

/// Which one.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// Its public id.
    #[serde(default)]
    id: String,
}

async fn end_session(call: Call, query: Which, (): ()) -> Answer<Json<Status>> {
    if query.id.is_empty() {
        return Err(Refusal::bad("ID is required"));
    }
    let caller = call.caller()?;
    if !call.parts.auth.revoke_session(caller, &query.id) {
        return Err(Refusal::missing("Session not found"));
    }
    call.audit(
        AuditAction::Logout,
        "auth",
        &caller.account.name,
        &format!("session {}", query.id),
    );
    Ok(status("deleted"))
}
