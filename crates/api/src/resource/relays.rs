//! Mounts that are pulled from other servers.

use auth::Action;
use config::{Config, Relay};
use http::StatusCode;
use outbound::masked;
use relay::Phase;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::AuditAction;

use super::streams::OneMount;
use crate::endpoint::{
    Answer, Call, Endpoint, Json, NoQuery, Refusal, Status, delete, get, group, post, put, status,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Relays",
        vec![
            get("/api/relays", Action::RelaysRead, list).says("Relays in the order of the configuration"),
            post("/api/relays", Action::RelayCreate, save)
                .says("Add a relay, or replace that of the mount")
                .details("An empty password keeps the one that is stored."),
            put("/api/relays", Action::RelayUpdate, update)
                .says("Change a relay; what is not given stays")
                .fails(404, "There is no such relay")
                .and_patch(),
            delete("/api/relays", Action::RelayDelete, remove)
                .says("Remove a relay")
                .fails(404, "There is no such relay"),
            post("/api/relays/toggle", Action::RelayUpdate, toggle)
                .says("Switch a relay on or off")
                .fails(404, "There is no such relay"),
            post("/api/relays/restart", Action::RelayUpdate, restart)
                .says("Connect a relay anew")
                .fails(404, "There is no such relay"),
        ],
    )
}

/// A relay.
#[derive(Debug, Serialize, JsonSchema)]
struct Row {
    /// Without credentials.
    url: String,
    mount: String,
    burst_size: u64,
    enabled: bool,
    /// Whether the mount is live from it.
    active: bool,
    on_demand: bool,
    /// Whether a password is stored.
    has_password: bool,
    /// `idle`, `connecting`, `connected`, `reconnecting`, `failed` or `off`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_since: Option<String>,
    reconnects: u64,
    bytes_in: u64,
}

async fn list(call: Call, _: NoQuery, (): ()) -> Answer<Json<Vec<Row>>> {
    let states = call.parts.relays.states();
    let row = |relay: &Relay| {
        let state = states
            .iter()
            .find(|(mount, _)| *mount == relay.mount)
            .map(|(_, state)| state);
        Row {
            url: shown(&relay.url),
            mount: relay.mount.to_string(),
            burst_size: relay.burst_size,
            enabled: relay.enabled,
            active: state.is_some_and(|state| state.active),
            on_demand: relay.on_demand,
            has_password: !relay.password.is_empty(),
            state: state.map_or("off", |state| state.phase.as_str()),
            last_error: state.and_then(|state| state.last_error.clone()),
            connected_since: state
                .filter(|state| state.phase == Phase::Connected)
                .and_then(|state| state.last_connected)
                .map(|time| time.to_string()),
            reconnects: state.map_or(0, |state| state.reconnects),
            bytes_in: state.map_or(0, |state| state.bytes_in),
        }
    };
    Ok(Json(call.config().relays.iter().map(row).collect()))
}

/// A relay to be.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Wanted {
    /// `http://host:port/mount`
    #[serde(default)]
    pub(super) url: Option<String>,
    #[serde(default)]
    pub(super) mount: String,
    /// Sent as that of the user `source`; empty keeps what is stored.
    #[serde(default)]
    pub(super) password: Option<String>,
    #[serde(default)]
    pub(super) burst_size: Option<u64>,
    #[serde(default)]
    pub(super) enabled: Option<bool>,
    /// Pull only while somebody listens.
    #[serde(default)]
    pub(super) on_demand: Option<bool>,
}

async fn save(call: Call, _: NoQuery, Json(body): Json<Wanted>) -> Answer<Json<Status>> {
    put_relay(&call, body).await?;
    Ok(status("ok"))
}

/// Adds or replaces.
pub(super) async fn put_relay(call: &Call, body: Wanted) -> Answer<()> {
    let url = body.url.clone().unwrap_or_default();
    if url.trim().is_empty() || body.mount.trim().is_empty() {
        return Err(Refusal::bad("URL and mount are required"));
    }
    let mount = call.mount(&body.mount)?;
    let url = checked(call, &url)?;
    let without_secrets = shown(&url);
    let name = mount.clone();
    let is_new = call
        .change(move |config| {
            let place = config.relays.iter().position(|relay| relay.mount == name);
            let mut relay = match place {
                Some(place) => config.relays[place].clone(),
                None => {
                    if auth::holder(config, &name).is_some_and(|holder| holder != auth::Holder::Settings) {
                        return Err(Refusal::conflict("Mount taken"));
                    }
                    Relay {
                        burst_size: 20,
                        ..Relay::new(String::new(), name)
                    }
                }
            };
            relay.url = url;
            apply(&mut relay, &body)?;
            match place {
                Some(place) => config.relays[place] = relay,
                None => config.relays.push(relay),
            }
            Ok(place.is_none())
        })
        .await?;
    let action = if is_new {
        AuditAction::RelayCreated
    } else {
        AuditAction::RelayUpdated
    };
    call.audit(action, "relay", mount.as_str(), &without_secrets);
    Ok(())
}

async fn update(call: Call, query: OneMount, Json(mut body): Json<Wanted>) -> Answer<Json<Status>> {
    if !query.mount.is_empty() {
        body.mount = query.mount;
    }
    let mount = call.mount(&body.mount)?;
    let url = body.url.as_deref().filter(|url| !url.is_empty());
    let new_url = url.map(|url| checked(&call, url)).transpose()?;
    let name = mount.clone();
    let url = call
        .change(move |config| {
            let relay = find(config, &name)?;
            let mut changed = relay.clone();
            if let Some(url) = new_url {
                changed.url = url;
            }
            apply(&mut changed, &body)?;
            *relay = changed;
            Ok(shown(&relay.url))
        })
        .await?;
    call.audit(AuditAction::RelayUpdated, "relay", mount.as_str(), &url);
    Ok(status("updated"))
}

fn apply(relay: &mut Relay, wanted: &Wanted) -> Answer<()> {
    if let Some(password) = wanted.password.as_deref().filter(|password| !is_kept(password)) {
        password.clone_into(&mut relay.password);
    }
    if let Some(burst) = wanted.burst_size {
        if burst > config::MAX_BURST {
            return Err(Refusal::bad(format!(
                "burst_size must be between 0 and {}",
                config::MAX_BURST
            )));
        }
        relay.burst_size = burst;
    }
    relay.enabled = wanted.enabled.unwrap_or(relay.enabled);
    relay.on_demand = wanted.on_demand.unwrap_or(relay.on_demand);
    Ok(())
}

/// What stands for a secret in answers stands for the same secret when it comes back.
fn is_kept(password: &str) -> bool {
    password.is_empty() || password == "********"
}

/// An address without the name and password in it.
fn shown(url: &str) -> String {
    url.parse()
        .map_or_else(|_| String::new(), |url| masked(&url).to_string())
}

/// An address that may be pulled from.
fn checked(call: &Call, url: &str) -> Answer<String> {
    let rejected = |reason: String| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("Upstream URL rejected: {reason}"),
        )
    };
    let parsed: url::Url = url
        .trim()
        .parse()
        .map_err(|error: url::ParseError| rejected(error.to_string()))?;
    let policy = outbound::Policy::of_config(&call.config());
    policy
        .check_url(&parsed)
        .map_err(|refused| rejected(refused.to_string()))?;
    Ok(url.trim().to_owned())
}

fn find<'a>(config: &'a mut Config, mount: &config::MountName) -> Answer<&'a mut Relay> {
    let relay = config.relays.iter_mut().find(|relay| relay.mount == *mount);
    relay.ok_or_else(|| Refusal::missing("Relay not found"))
}

async fn remove(call: Call, query: OneMount, (): ()) -> Answer<Json<Status>> {
    drop_relay(&call, &query.mount).await?;
    Ok(status("deleted"))
}

pub(super) async fn drop_relay(call: &Call, mount: &str) -> Answer<()> {
    let mount = call.mount(mount)?;
    let name = mount.clone();
    let url = call
        .change(move |config| {
            let url = shown(&find(config, &name)?.url);
            config.relays.retain(|relay| relay.mount != name);
            Ok(url)
        })
        .await?;
    call.audit(AuditAction::RelayDeleted, "relay", mount.as_str(), &url);
    Ok(())
}

/// Whether a relay is on now.
#[derive(Debug, Serialize, JsonSchema)]
struct Toggled {
    status: &'static str,
    enabled: bool,
}

async fn toggle(call: Call, _: NoQuery, Json(body): Json<OneMount>) -> Answer<Json<Toggled>> {
    let enabled = switch(&call, &body.mount).await?;
    Ok(Json(Toggled {
        status: "ok",
        enabled,
    }))
}

pub(super) async fn switch(call: &Call, mount: &str) -> Answer<bool> {
    let mount = call.mount(mount)?;
    let name = mount.clone();
    let enabled = call
        .change(move |config| {
            let relay = find(config, &name)?;
            relay.enabled = !relay.enabled;
            Ok(relay.enabled)
        })
        .await?;
    call.audit(
        AuditAction::RelayUpdated,
        "relay",
        mount.as_str(),
        &format!("enabled={enabled}"),
    );
    Ok(enabled)
}

async fn restart(call: Call, _: NoQuery, Json(body): Json<OneMount>) -> Answer<Json<Status>> {
    restart_relay(&call, &body.mount)?;
    Ok(status("ok"))
}

/// Its connection is cut; the relay opens a new one by itself.
pub(super) fn restart_relay(call: &Call, mount: &str) -> Answer<()> {
    let mount = call.mount(mount)?;
    if !call.config().relays.iter().any(|relay| relay.mount == mount) {
        return Err(Refusal::missing("Relay not found"));
    }
    call.parts.mounts.stop_source(&mount, mount::Stopped::Kicked);
    call.audit(AuditAction::RelayUpdated, "relay", mount.as_str(), "restarted");
    Ok(())
}
