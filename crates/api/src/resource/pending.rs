//! People who ask for an account.

use auth::{Action, Approval};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::AuditAction;

use super::users::{Granted, grants};
use crate::endpoint::{Answer, Call, Endpoint, Json, NoQuery, get, group, post};

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Access requests",
        vec![
            get("/api/pending-users", Action::PendingRead, list).says("Requests that wait for an answer, the oldest first"),
            post("/api/pending-users/approve", Action::PendingApprove, approve)
                .says("Make an account for somebody who asked")
                .details("It has no password: its owner signs in by the provider. The role is `dj` if none is given.")
                .fails(404, "There is no such request")
                .fails(409, "The name or the address is somebody else's")
                .fails(503, "Too many passwords are being hashed"),
            post("/api/pending-users/deny", Action::PendingDeny, deny)
                .says("Say no to somebody who asked")
                .details("Whoever was denied can ask again after 24 hours.")
                .fails(404, "There is no such request"),
        ],
    )
}

/// Somebody who asks for an account.
#[derive(Debug, Serialize, JsonSchema)]
struct Row {
    id: String,
    /// Verified by the provider.
    email: String,
    /// As the provider says.
    name: String,
    provider: String,
    requested_at: String,
}

async fn list(call: Call, _: NoQuery, (): ()) -> Answer<Json<Vec<Row>>> {
    let config = call.config();
    let rows = auth::pending_users(&config).map(|pending| Row {
        id: pending.id.clone(),
        email: pending.email.clone(),
        name: pending.name.clone(),
        provider: pending.provider.clone(),
        requested_at: pending.requested_at.clone(),
    });
    Ok(Json(rows.collect()))
}

/// Who is to become what.
#[derive(Debug, Deserialize, JsonSchema)]
struct Approve {
    /// Of the request.
    #[serde(default)]
    id: String,
    /// Required: the name of the account.
    #[serde(default)]
    username: String,
    /// `superadmin`, `admin` or `dj`; `dj` if left out.
    #[serde(default)]
    role: Option<String>,
    /// Mounts of its own, so that it can stream at once.
    #[serde(default)]
    mounts: Option<Vec<Granted>>,
}

/// What was made.
#[derive(Debug, Serialize, JsonSchema)]
struct Approved {
    success: bool,
    username: String,
}

async fn approve(call: Call, _: NoQuery, Json(body): Json<Approve>) -> Answer<Json<Approved>> {
    let approval = Approval {
        id: body.id,
        username: body.username.clone(),
        role: body.role.unwrap_or_default(),
        mounts: grants(&call, &body.mounts.unwrap_or_default()).await?,
    };
    let pending = call
        .change(move |config| Ok(auth::approve_pending(config, approval)?))
        .await?;
    call.audit(
        AuditAction::PendingApproved,
        "user",
        &body.username,
        &pending.email,
    );
    Ok(Json(Approved {
        success: true,
        username: body.username,
    }))
}

/// Who.
#[derive(Debug, Deserialize, JsonSchema)]
struct Deny {
    /// Of the request.
    #[serde(default)]
    id: String,
}

/// It was done.
#[derive(Debug, Serialize, JsonSchema)]
struct Denied {
    success: bool,
}

async fn deny(call: Call, _: NoQuery, Json(body): Json<Deny>) -> Answer<Json<Denied>> {
    let pending = call
        .change(move |config| Ok(auth::deny_pending(config, &body.id, Timestamp::now())?))
        .await?;
    call.audit(AuditAction::PendingDenied, "user", &pending.email, "");
    Ok(Json(Denied { success: true }))
}
