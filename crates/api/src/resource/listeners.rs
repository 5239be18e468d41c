//! Who listens.

use std::time::Instant;

use auth::Action;
use config::MountName;
use fanout::Leave;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::AuditAction;

use super::streams::OneMount;
use crate::endpoint::{Answer, Call, Endpoint, Json, NoQuery, Refusal, Status, get, group, post, status};

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Listeners",
        vec![
            get("/api/listeners", Action::ListenersRead, list)
                .says("The listeners of a mount, or of all one's mounts"),
            post("/api/listeners/kick", Action::ListenersKick, kick)
                .says("Disconnect one listener")
                .fails(404, "There is no such listener"),
            post("/api/listeners/move", Action::ListenersMove, relocate)
                .says("Send a mount's listeners to another mount")
                .fails(404, "The other mount is not live"),
        ],
    )
}

/// A listener.
#[derive(Debug, Serialize, JsonSchema)]
struct Listener {
    id: u64,
    mount: String,
    ip: String,
    /// ISO 3166 code, where the address is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    user_agent: String,
    protocol: &'static str,
    /// RFC 3339.
    connected_at: String,
    connected_seconds: u64,
    bytes: u64,
    /// Bytes that wait for it.
    behind_bytes: u64,
}

async fn list(call: Call, query: OneMount, (): ()) -> Answer<Json<Vec<Listener>>> {
    let only = match query.mount.as_str() {
        "" => None,
        text => Some(call.mount(text)?),
    };
    let (now, time) = (Instant::now(), jiff::Timestamp::now());
    let mounts = match only {
        Some(mount) => vec![mount],
        None => {
            let live = call
                .parts
                .mounts
                .snapshot(now)
                .into_iter()
                .map(|mount| mount.name);
            live.filter(|mount| call.may(mount)).collect()
        }
    };
    let (mut rows, geo) = (Vec::new(), call.parts.geo.load_full());
    for mount in mounts {
        for presence in call.parts.mounts.listeners_of(&mount) {
            let connected = now.saturating_duration_since(presence.since);
            rows.push(Listener {
                id: presence.id,
                mount: mount.to_string(),
                ip: presence.ip.to_string(),
                country: geo
                    .as_ref()
                    .and_then(|geo| geo.lookup(presence.ip))
                    .map(|place| place.iso.to_string()),
                user_agent: presence.user_agent.to_string(),
                protocol: "http",
                connected_at: time.checked_sub(connected).unwrap_or(time).to_string(),
                connected_seconds: connected.as_secs(),
                bytes: presence.sent(),
                behind_bytes: presence.behind(),
            });
        }
    }
    Ok(Json(rows))
}

/// Which listener.
#[derive(Debug, Deserialize, JsonSchema)]
struct Kick {
    id: u64,
}

async fn kick(call: Call, _: NoQuery, Json(body): Json<Kick>) -> Answer<Json<Status>> {
    // One that is not the caller's to see is one that is not there.
    let missing = || Refusal::missing("Listener not found");
    let mount = call.parts.mounts.feeds_listener(body.id).ok_or_else(missing)?;
    let mount = MountName::parse_internal(&mount).map_err(|_| missing())?;
    if !call.may(&mount) || !call.parts.mounts.close_listener(&mount, body.id) {
        return Err(missing());
    }
    call.audit(
        AuditAction::ListenerKicked,
        "stream",
        mount.as_str(),
        &format!("id={}", body.id),
    );
    Ok(status("ok"))
}

/// Whom to send where.
#[derive(Debug, Deserialize, JsonSchema)]
struct Move {
    #[serde(default)]
    mount: String,
    /// A live mount.
    #[serde(default)]
    to: String,
}

async fn relocate(call: Call, _: NoQuery, Json(body): Json<Move>) -> Answer<Json<Status>> {
    let (from, to) = (call.mount(&body.mount)?, call.mount(&body.to)?);
    if from == to {
        return Err(Refusal::bad("to: this is the same mount"));
    }
    if call.parts.mounts.live(&to).is_none() {
        return Err(Refusal::missing("Mount is not live"));
    }
    call.parts.mounts.move_listeners(&from, &to);
    call.audit(
        AuditAction::ListenersMoved,
        "stream",
        from.as_str(),
        &format!("to={to}"),
    );
    Ok(status("ok"))
}

/// Ends all listeners of all mounts.
pub(super) fn kick_all(call: &Call) {
    call.parts.mounts.close_all_listeners(Leave::Kicked);
    call.audit(AuditAction::ListenersKickedAll, "server", "", "");
}
