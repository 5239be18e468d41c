//! The server as a whole.

use std::time::Duration;

use auth::Action;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::AuditAction;

use crate::endpoint::{
    Answer, AnyJson, Call, Endpoint, Form, Json, NoQuery, Other, Refusal, get, group, post,
};

/// The longest that sources and listeners may stay with the old process.
const LONGEST_DRAIN: u64 = 3_600;
/// Reading a file takes no longer.
const RELOAD: Duration = Duration::from_secs(30);

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "System",
        vec![
            get("/api/version", Action::PublicRead, version).says("Name and version of the server"),
            get("/api/system", Action::SystemRead, state).says("How the process is doing"),
            post("/api/system/reload", Action::SettingsUpdate, reload)
                .says("Read the configuration file again")
                .fails(503, "The server is going down"),
            post("/api/system/hotswap", Action::HotSwap, swap)
                .says("Let another process take this one's place")
                .details("`drain` is how many seconds sources and listeners may stay with the old process.")
                .fails(409, "It is not possible here or now"),
            post("/admin/hotswap", Action::HotSwap, swap_by_form)
                .says("The same at its old address")
                .refuses_in_json()
                .fails(409, "It is not possible here or now"),
            get("/api/config/export", Action::ConfigExport, export)
                .says("The configuration without its secrets"),
        ],
    )
}

/// What runs here.
#[derive(Debug, Serialize, JsonSchema)]
struct Version {
    name: &'static str,
    version: &'static str,
    /// For those who are signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'static str>,
}

/// The revision that the program was made of, where whoever made it said so.
pub(super) const COMMIT: &str = match option_env!("TINYICE_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

async fn version(call: Call, _: NoQuery, (): ()) -> Answer<Json<Version>> {
    Ok(Json(Version {
        name: "TinyIce",
        version: env!("CARGO_PKG_VERSION"),
        commit: call.who.as_ref().map(|_| COMMIT),
    }))
}

/// How the process is doing.
#[derive(Debug, Serialize, JsonSchema)]
struct System {
    version: &'static str,
    commit: &'static str,
    pid: u32,
    started_at: String,
    uptime_seconds: u64,
    /// Whether it is ready for traffic, and if not why.
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_ready: Option<String>,
    tasks: u64,
    memory_bytes: u64,
    heap_bytes: u64,
    listeners: u64,
    sources: u64,
    /// Free and total bytes where the server keeps its data.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<Disk>,
    data_dir: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Disk {
    free: u64,
    total: u64,
}

async fn state(call: Call, _: NoQuery, (): ()) -> Answer<Json<System>> {
    let parts = &call.parts;
    let (runtime, totals, config) = ((parts.runtime)(), parts.mounts.totals(), call.config());
    let ready = (parts.ready)();
    let folder = config.data_dir.clone();
    let disk = tokio::task::spawn_blocking(move || disk(&folder))
        .await
        .ok()
        .flatten();
    Ok(Json(System {
        version: env!("CARGO_PKG_VERSION"),
        commit: COMMIT,
        pid: std::process::id(),
        started_at: parts.began.to_string(),
        uptime_seconds: jiff::Timestamp::now()
            .duration_since(parts.began)
            .unsigned_abs()
            .as_secs(),
        ready: ready.is_ok(),
        not_ready: ready.err(),
        tasks: runtime.goroutines,
        memory_bytes: runtime.sys_ram,
        heap_bytes: runtime.heap_alloc,
        listeners: totals.listeners,
        sources: totals.sources,
        disk,
        data_dir: config.data_dir.display().to_string(),
    }))
}

#[cfg(unix)]
fn disk(folder: &std::path::Path) -> Option<Disk> {
    let room = rustix::fs::statvfs(folder).ok()?;
    Some(Disk {
        free: room.f_bavail * room.f_frsize,
        total: room.f_blocks * room.f_frsize,
    })
}

#[cfg(not(unix))]
fn disk(_: &std::path::Path) -> Option<Disk> {
    None
}

/// What a reload did.
#[derive(Debug, Serialize, JsonSchema)]
struct Reloaded {
    status: &'static str,
    /// The keys that changed.
    changed: Vec<String>,
}

async fn reload(call: Call, _: NoQuery, (): ()) -> Answer<Json<Reloaded>> {
    let reloaded = tokio::time::timeout(RELOAD, call.parts.administer.reload()).await;
    match reloaded {
        Ok(Ok(Ok(changed))) => {
            call.audit(AuditAction::ConfigReloaded, "server", "", &changed.join(", "));
            Ok(Json(Reloaded {
                status: "reloaded",
                changed,
            }))
        }
        Ok(Ok(Err(error))) => Err(Refusal::bad(error)),
        Ok(Err(_)) | Err(_) => Err(Refusal::unavailable("The server cannot reload now")),
    }
}

/// How.
#[derive(Debug, Deserialize, JsonSchema)]
struct Swap {
    /// Seconds, at most 3600.
    #[serde(default)]
    drain: Option<String>,
}

/// What has begun.
#[derive(Debug, Serialize, JsonSchema)]
struct Begun {
    status: &'static str,
}

async fn swap(call: Call, query: Swap, (): ()) -> Answer<Other<202, AnyJson>> {
    let drain = match query.drain.map(|text| text.parse::<u64>()) {
        None => None,
        Some(Ok(seconds)) if seconds <= LONGEST_DRAIN => Some(Duration::from_secs(seconds)),
        Some(_) => {
            return Err(Refusal::bad(format!(
                "drain: a number of seconds up to {LONGEST_DRAIN}"
            )));
        }
    };
    match call.parts.administer.hot_swap(drain) {
        Ok(()) => {
            call.audit(AuditAction::Hotswap, "server", "", "");
            Ok(Other::json(StatusCode::ACCEPTED, &Begun { status: "started" }))
        }
        Err(error) => Err(Refusal::conflict(format!(
            "hot swap is not available here: {error}"
        ))),
    }
}

async fn swap_by_form(call: Call, query: Swap, _: Form) -> Answer<Other<202, AnyJson>> {
    swap(call, query, ()).await
}

async fn export(call: Call, _: NoQuery, (): ()) -> Answer<Json<Value>> {
    let mut tree = call.config().to_value();
    config::mask(&mut tree);
    Ok(Json(tree))
}
