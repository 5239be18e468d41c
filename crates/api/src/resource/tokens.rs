//! API tokens.

use auth::{Action, NewToken, TokenRow};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::AuditAction;

use crate::endpoint::{
    Answer, Call, Endpoint, Json, NoQuery, Refusal, Status, delete, get, group, mount_name, post, status,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "API tokens",
        vec![
            get("/api/tokens", Action::TokensRead, list).says("Own tokens; a superadmin sees everybody's"),
            post("/api/tokens", Action::TokenCreate, create)
                .says("Make a token, shown this once")
                .details(
                    "It may do what its owner may at the time of its use. `scopes` and `mounts` make it less: `read` \
                     for looking, `streams:write` for operating streams, `metadata` for titles, `admin` for everything.",
                )
                .fails(403, "A token cannot make tokens")
                .fails(409, "The account has too many"),
            delete("/api/tokens", Action::TokenRevoke, revoke)
                .says("Revoke a token")
                .details("Owners and superadmins may. With a token, only that token itself, unless it may do everything.")
                .fails(404, "There is no such token"),
        ],
    )
}

/// A token.
#[derive(Debug, Serialize, JsonSchema)]
struct Row {
    id: String,
    name: String,
    /// Its owner.
    username: String,
    created_at: String,
    /// RFC 3339 or empty.
    last_used_at: String,
    last_used_ip: String,
    /// RFC 3339; empty is never.
    expires_at: String,
    /// How it begins.
    prefix: String,
    /// What it may do, where that is less than its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<String>>,
    /// The mounts that it may touch, where those are not all of its owner's.
    #[serde(skip_serializing_if = "Option::is_none")]
    mounts: Option<Vec<String>>,
}

impl From<TokenRow> for Row {
    fn from(row: TokenRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            username: row.username,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            last_used_ip: row.last_used_ip,
            expires_at: row.expires_at,
            prefix: row.prefix,
            scopes: row.scopes,
            mounts: row.mounts,
        }
    }
}

async fn list(call: Call, _: NoQuery, (): ()) -> Answer<Json<Vec<Row>>> {
    let rows = call.parts.auth.token_rows(call.caller()?);
    Ok(Json(rows.into_iter().map(Row::from).collect()))
}

/// A token to be.
#[derive(Debug, Deserialize, JsonSchema)]
struct Wanted {
    /// Required, for lists.
    #[serde(default)]
    name: String,
    /// RFC 3339; empty is never.
    #[serde(default)]
    expires_at: Option<String>,
    /// `read`, `streams:write`, `metadata`, `admin`; left out is everything that the owner may do.
    #[serde(default)]
    scopes: Option<Vec<String>>,
    /// Mounts that it may touch; left out is all of the owner's.
    #[serde(default)]
    mounts: Option<Vec<String>>,
}

/// A token that was just made.
#[derive(Debug, Serialize, JsonSchema)]
struct Created {
    id: String,
    /// Shown this once.
    token: String,
    name: String,
}

async fn create(call: Call, _: NoQuery, Json(body): Json<Wanted>) -> Answer<Json<Created>> {
    let caller = call.caller()?.clone();
    let mounts = body
        .mounts
        .map(|mounts| mounts.iter().map(|mount| mount_name(mount)).collect());
    let wanted = NewToken {
        name: body.name,
        expires_at: body.expires_at.unwrap_or_default(),
        scopes: body.scopes,
        mounts: mounts.transpose()?,
    };
    let created = call
        .change(move |config| Ok(auth::create_token(config, &caller, wanted, Timestamp::now())?))
        .await?;
    call.audit(
        AuditAction::TokenCreated,
        "auth",
        &created.id,
        &format!("name={}", created.name),
    );
    Ok(Json(Created {
        id: created.id,
        token: created.token,
        name: created.name,
    }))
}

/// Which one.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// Its public id.
    #[serde(default)]
    id: String,
}

async fn revoke(call: Call, query: Which, (): ()) -> Answer<Json<Status>> {
    if query.id.is_empty() {
        return Err(Refusal::bad("ID is required"));
    }
    let caller = call.caller()?.clone();
    let token = call
        .change(move |config| Ok(auth::revoke_token(config, &caller, &query.id)?))
        .await?;
    call.audit(
        AuditAction::TokenRevoked,
        "auth",
        &token.id,
        &format!("name={} owner={}", token.name, token.username),
    );
    Ok(status("deleted"))
}
