//! Totals, and who connects with what.
//!
//! Contract: whoever may not see everything is told sums of the mounts that they may see, never those of the server.

use std::{collections::BTreeMap, time::Instant};

use auth::Action;
use config::{Config, MountName};
use mount::{MountSnapshot, Protocol};
use schemars::JsonSchema;
use serde::Serialize;
use store::AgentKind;

use super::{history::unreadable, streams::clock, system::COMMIT};
use crate::{
    endpoint::{Answer, Call, Endpoint, Json, NoQuery, get, group},
    events::{bitrate, span},
};

/// Lists of the busiest are no longer.
const TOP: usize = 10;

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Statistics",
        vec![
            get("/api/stats", Action::StatisticsRead, stats).says("Totals of the server or of one's mounts, and the mounts"),
            get("/api/clients", Action::StatisticsRead, clients)
                .says("The busiest mounts, and the programs that listen and send")
                .fails(503, "There is no database, or it is busy")
                .details("Superadmins are told of all programs ever seen, others of those connected to their mounts now."),
            get("/admin/statistics", Action::StatisticsRead, statistics)
                .says("The same in the form of the old interface")
                .refuses_in_json()
                .fails(503, "There is no database, or it is busy"),
        ],
    )
}

/// Whether the caller may see a mount, or the mount whose picture it is.
pub(super) fn may_see(call: &Call, mount: &MountName) -> bool {
    let parent = || {
        mount
            .as_str()
            .strip_suffix("/video")
            .and_then(|parent| MountName::parse(parent).ok())
    };
    call.may(mount) || parent().is_some_and(|parent| call.may(&parent))
}

/// Whether nothing is kept from the caller.
pub(super) fn sees_everything(call: &Call) -> bool {
    call.who.as_ref().is_some_and(auth::Caller::sees_everything)
}

/// The live mounts that the caller may see.
fn shown(call: &Call) -> Vec<MountSnapshot> {
    let mut mounts = call.parts.mounts.snapshot(Instant::now());
    mounts.retain(|mount| !mount.name.as_str().ends_with("/_pcm") && may_see(call, &mount.name));
    mounts
}

/// Totals.
#[derive(Debug, Serialize, JsonSchema)]
struct Stats {
    bytes_in: u64,
    bytes_out: u64,
    total_listeners: u64,
    total_streams: usize,
    /// Bytes that slow listeners missed.
    total_dropped: u64,
    /// `26h3m12s`
    server_uptime: String,
    uptime_seconds: u64,
    /// RFC 3339.
    started_at: String,
    /// The most that listened at one time since the server began. For whoever does not see everything: what it may have
    /// been at most, the sum of what each of their mounts had since its source came.
    peak_listeners: u64,
    /// Tasks and threads.
    goroutines: u64,
    /// Bytes of memory taken from the system.
    sys_ram: u64,
    /// Bytes of live memory.
    heap_alloc: u64,
    /// Passes of the allocator.
    num_gc: u64,
    version: &'static str,
    commit: &'static str,
    streams: Vec<Stream>,
}

/// A mount on air.
#[derive(Debug, Serialize, JsonSchema)]
struct Stream {
    mount: String,
    name: String,
    listeners: u64,
    /// kbit/s as text.
    bitrate: String,
    /// `HH:MM:SS`
    uptime: String,
    content_type: String,
    /// Address of the source, or what it is.
    source_ip: String,
    bytes_in: u64,
    bytes_out: u64,
    current_song: String,
    /// 0 to 1.
    health: f64,
}

async fn stats(call: Call, _: NoQuery, (): ()) -> Answer<Json<Stats>> {
    let (parts, mounts) = (&call.parts, shown(&call));
    let runtime = (parts.runtime)();
    let uptime = jiff::Timestamp::now().duration_since(parts.began).unsigned_abs();
    let sum = |of: fn(&MountSnapshot) -> u64| mounts.iter().map(of).sum();
    let (bytes_in, bytes_out, listeners, peak, dropped) = if sees_everything(&call) {
        let totals = parts.mounts.totals();
        (
            totals.bytes_in,
            totals.bytes_out,
            totals.listeners,
            totals.listener_peak,
            totals.dropped,
        )
    } else {
        (
            sum(|mount| mount.bytes_in),
            sum(|mount| mount.bytes_out),
            sum(|mount| mount.listeners),
            sum(|mount| mount.listener_peak),
            sum(|mount| mount.dropped),
        )
    };
    Ok(Json(Stats {
        bytes_in,
        bytes_out,
        total_listeners: listeners,
        total_streams: mounts.len(),
        total_dropped: dropped,
        server_uptime: span(uptime),
        uptime_seconds: uptime.as_secs(),
        started_at: parts.began.to_string(),
        peak_listeners: peak,
        goroutines: runtime.goroutines,
        sys_ram: runtime.sys_ram,
        heap_alloc: runtime.heap_alloc,
        num_gc: runtime.num_gc,
        version: env!("CARGO_PKG_VERSION"),
        commit: COMMIT,
        streams: mounts.iter().map(stream).collect(),
    }))
}

fn stream(mount: &MountSnapshot) -> Stream {
    Stream {
        mount: mount.name.to_string(),
        name: mount.station.name.clone().unwrap_or_default(),
        listeners: mount.listeners,
        bitrate: bitrate(mount),
        uptime: clock(mount.uptime),
        content_type: mount.content_type.clone(),
        source_ip: mount.owner.label.clone(),
        bytes_in: mount.bytes_in,
        bytes_out: mount.bytes_out,
        current_song: mount.title.text.clone(),
        health: health(mount),
    }
}

/// Four digits tell more than anybody can see.
fn health(mount: &MountSnapshot) -> f64 {
    (mount.health_ratio.clamp(0.0, 1.0) * 1e4).round() / 1e4
}

/// A program, and how often it came.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
struct Agent {
    ua: String,
    count: u64,
}

/// A busy mount.
#[derive(Debug, Serialize, JsonSchema)]
struct Busy {
    mount_name: String,
    content_type: String,
    description: String,
    genre: String,
    url: String,
    name: String,
    bitrate: String,
    /// RFC 3339.
    started: String,
    source_ip: String,
    enabled: bool,
    bytes_in: u64,
    bytes_out: u64,
    bytes_dropped: u64,
    current_song: String,
    /// Whether the source wants to be listed in directories.
    public: bool,
    /// Whether it is listed on public pages.
    visible: bool,
    is_transcoded: bool,
    listeners_count: u64,
    /// `HH:MM:SS`
    uptime: String,
    /// 0 to 1.
    health: f64,
}

impl Busy {
    fn new(mount: &MountSnapshot, config: &Config) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            mount_name: mount.name.to_string(),
            content_type: mount.content_type.clone(),
            description: text(&mount.station.description),
            genre: text(&mount.station.genre),
            url: text(&mount.station.url),
            name: text(&mount.station.name),
            bitrate: bitrate(mount),
            started: mount.began_at.to_string(),
            source_ip: mount.owner.label.clone(),
            enabled: !config.is_disabled(&mount.name),
            bytes_in: mount.bytes_in,
            bytes_out: mount.bytes_out,
            bytes_dropped: mount.dropped,
            current_song: mount.title.text.clone(),
            public: mount.station.public,
            visible: mount.visible,
            is_transcoded: false,
            listeners_count: mount.listeners,
            uptime: clock(mount.uptime),
            health: health(mount),
        }
    }
}

/// The busiest.
#[derive(Debug, Serialize, JsonSchema)]
struct Clients {
    /// At most 10, most listeners first.
    top_streams: Vec<Busy>,
    top_listeners_ua: Vec<Agent>,
    top_sources_ua: Vec<Agent>,
}

async fn clients(call: Call, _: NoQuery, (): ()) -> Answer<Json<Clients>> {
    Ok(Json(busiest(&call).await?))
}

async fn busiest(call: &Call) -> Answer<Clients> {
    let mut mounts = shown(call);
    let (listening, sending) = agents(call, &mounts).await?;
    mounts.sort_by(|a, b| b.listeners.cmp(&a.listeners).then_with(|| a.name.cmp(&b.name)));
    let config = call.config();
    Ok(Clients {
        top_streams: mounts
            .iter()
            .take(TOP)
            .map(|mount| Busy::new(mount, &config))
            .collect(),
        top_listeners_ua: listening,
        top_sources_ua: sending,
    })
}

/// The programs that listen and send.
async fn agents(call: &Call, mounts: &[MountSnapshot]) -> Answer<(Vec<Agent>, Vec<Agent>)> {
    if sees_everything(call) {
        return Ok((
            known(call, AgentKind::Listener).await?,
            known(call, AgentKind::Source).await?,
        ));
    }
    let mut by_mount = call.parts.mounts.listeners_by_mount();
    let listening = mounts.iter().flat_map(|mount| {
        let present = by_mount.remove(&mount.name.to_string()).unwrap_or_default();
        present
            .into_iter()
            .map(|presence| presence.user_agent.to_string())
    });
    // Relays are no programs of somebody else's.
    let sources = mounts
        .iter()
        .filter(|mount| mount.has_source && mount.owner.protocol != Protocol::Relay);
    Ok((
        top(listening),
        top(sources.map(|mount| mount.owner.user_agent.clone())),
    ))
}

/// The most frequent of all times.
async fn known(call: &Call, kind: AgentKind) -> Answer<Vec<Agent>> {
    let agents = call.store()?.agents(kind, TOP as u32).await.map_err(unreadable)?;
    Ok(agents
        .into_iter()
        .map(|agent| Agent {
            ua: agent.ua,
            count: agent.count,
        })
        .collect())
}

/// The most frequent of these, counted in the same way.
fn top(agents: impl Iterator<Item = String>) -> Vec<Agent> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for agent in agents {
        let agent = if agent.trim().is_empty() {
            "Unknown".to_owned()
        } else {
            agent
        };
        *counts.entry(agent).or_default() += 1;
    }
    let mut agents: Vec<Agent> = counts
        .into_iter()
        .map(|(ua, count)| Agent { ua, count })
        .collect();
    agents.sort_by_key(|agent| std::cmp::Reverse(agent.count));
    agents.truncate(TOP);
    agents
}

/// The busiest, with the keys that scripts of the old interface know.
#[derive(Debug, Serialize, JsonSchema)]
struct Statistics {
    top_streams: Vec<OldBusy>,
    top_listeners_ua: Vec<Agent>,
    top_sources_ua: Vec<Agent>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct OldBusy {
    mount_name: String,
    content_type: String,
    description: String,
    genre: String,
    #[serde(rename = "URL")]
    url: String,
    name: String,
    bitrate: String,
    started: String,
    #[serde(rename = "SourceIP")]
    source_ip: String,
    enabled: bool,
    bytes_in: u64,
    bytes_out: u64,
    bytes_dropped: u64,
    current_song: String,
    public: bool,
    visible: bool,
    is_transcoded: bool,
    listeners_count: u64,
    uptime: String,
    health: f64,
}

impl From<Busy> for OldBusy {
    fn from(busy: Busy) -> Self {
        Self {
            mount_name: busy.mount_name,
            content_type: busy.content_type,
            description: busy.description,
            genre: busy.genre,
            url: busy.url,
            name: busy.name,
            bitrate: busy.bitrate,
            started: busy.started,
            source_ip: busy.source_ip,
            enabled: busy.enabled,
            bytes_in: busy.bytes_in,
            bytes_out: busy.bytes_out,
            bytes_dropped: busy.bytes_dropped,
            current_song: busy.current_song,
            public: busy.public,
            visible: busy.visible,
            is_transcoded: busy.is_transcoded,
            listeners_count: busy.listeners_count,
            uptime: busy.uptime,
            health: busy.health,
        }
    }
}

async fn statistics(call: Call, _: NoQuery, (): ()) -> Answer<Json<Statistics>> {
    let clients = busiest(&call).await?;
    Ok(Json(Statistics {
        top_streams: clients.top_streams.into_iter().map(OldBusy::from).collect(),
        top_listeners_ua: clients.top_listeners_ua,
        top_sources_ua: clients.top_sources_ua,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_counted_and_the_most_frequent_come_first() {
        let agents = ["VLC", "", "mpv", "VLC", " "].map(str::to_owned).into_iter();
        let seen: Vec<_> = top(agents)
            .into_iter()
            .map(|agent| (agent.ua, agent.count))
            .collect();
        assert_eq!(
            seen,
            [
                ("Unknown".to_owned(), 2),
                ("VLC".to_owned(), 2),
                ("mpv".to_owned(), 1)
            ]
        );
        assert_eq!(top((0..20).map(|number| number.to_string())).len(), TOP);
    }

    #[test]
    fn the_old_interface_has_its_keys() {
        let busy = Busy::new(&live(), &Config::default());
        let old = serde_json::to_value(OldBusy::from(busy)).unwrap();
        let keys: Vec<_> = old.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = "MountName ContentType Description Genre URL Name Bitrate Started SourceIP Enabled BytesIn BytesOut \
                        BytesDropped CurrentSong Public Visible IsTranscoded ListenersCount Uptime Health";
        assert_eq!(keys, expected.split_whitespace().collect::<Vec<_>>());
    }

    fn live() -> MountSnapshot {
        let world = crate::events::world::World::new(&["/a"]);
        let _a = world.publish("/a");
        world.mounts.snapshot(Instant::now()).remove(0)
    }
}
