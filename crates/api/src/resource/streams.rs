//! Mounts: what is on air, and what is configured to be.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::{Duration, Instant},
};

use auth::Action;
use config::{Config, MAX_BURST, MountName};
use fanout::Leave;
use mount::{MountSnapshot, Stopped, Title};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::AuditAction;

use crate::endpoint::{
    Answer, Call, Endpoint, Json, NoQuery, Refusal, Status, delete, get, group, post, put, status,
};

/// An encoder that was sent away comes back by itself; so long it meets a closed door.
const KEPT_FREE: Duration = Duration::from_secs(5);
/// The longest that a door may be closed.
const LONGEST: u64 = 24 * 3600;

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Streams",
        vec![
            get("/api/streams", Action::StreamsRead, list)
                .says("Mounts: live ones first, then configured ones without a source")
                .fails(404, "There is no such mount"),
            post("/api/streams", Action::MountClaim, create)
                .says("Make a mount and its source password")
                .details("A superadmin makes mounts of the server, others make mounts of their own.")
                .fails(409, "The mount is somebody's already")
                .fails(503, "Too many passwords are being hashed"),
            put("/api/streams", Action::StreamsRead, update)
                .says("Change a mount; what is not given stays")
                .fails(404, "There is no such mount")
                .fails(503, "Too many passwords are being hashed")
                .and_patch(),
            delete("/api/streams", Action::MountDelete, remove)
                .says("Remove a mount with everything that is configured for it")
                .fails(404, "There is no such mount"),
            post("/api/streams/kick", Action::SourceKick, kick)
                .says("Disconnect a mount's source or its listeners")
                .fails(404, "The mount is not live"),
            post("/api/streams/metadata", Action::MetadataUpdate, set_title)
                .says("Set what is playing")
                .fails(404, "The mount is not live"),
            get("/api/streams/fallback", Action::FallbackRead, fallback)
                .says("Where listeners go without the mount's source"),
            put("/api/streams/fallback", Action::FallbackUpdate, set_fallback)
                .says("Change that; an empty fallback removes it"),
            post(
                "/api/streams/rotate-password",
                Action::MountPassword,
                rotate_password,
            )
            .says("Make a new source password, shown this once")
            .fails(404, "There is no such mount")
            .fails(503, "Too many passwords are being hashed"),
        ],
    )
}

/// Which mount.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct OneMount {
    /// The mount; a missing slash is added.
    #[serde(default)]
    pub(super) mount: String,
}

/// A mount.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct Row {
    mount: String,
    /// The station's name as the encoder sent it.
    name: String,
    content_type: String,
    current_song: String,
    /// Declared kbit/s as text.
    bitrate: String,
    listeners: u64,
    /// Address of the source, or what it is; empty when off air.
    source_ip: String,
    visible: bool,
    enabled: bool,
    /// 0 to 1.
    health: f64,
    /// `HH:MM:SS`, empty when off air.
    uptime: String,
    has_video: bool,
    /// Whether a source is connected.
    live: bool,
    viewers: u64,
    peak_listeners: u64,
    bytes_in: u64,
    bytes_out: u64,
    /// RFC 3339, empty when off air.
    started_at: String,
    genre: String,
    description: String,
    url: String,
    /// The accounts that own it; empty is the server.
    owner: String,
    /// Where its listeners go without it; may be empty.
    fallback: String,
    /// `icecast` or `relay`; empty when off air.
    source_protocol: String,
    audio_codec: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample_rate: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<u8>,
    silence_seconds: u64,
    /// Bytes that a new listener gets at once; 0 is the server's default.
    burst_size: u64,
}

async fn list(call: Call, query: OneMount, (): ()) -> Answer<Json<Vec<Row>>> {
    let config = call.config();
    if !query.mount.is_empty() {
        let mount = call.mount(&query.mount)?;
        let live = call.parts.mounts.snapshot_one(&mount, Instant::now());
        let owners = Owners::of(&config);
        let row = match &live {
            Some(snapshot) => live_row(snapshot, &config, &owners, has_picture(&call, &mount)),
            None if is_configured(&config, &mount) => idle_row(&mount, &config, &owners),
            None => return Err(Refusal::missing("Mount not found")),
        };
        return Ok(Json(vec![row]));
    }
    Ok(Json(rows(&call, &config)))
}

/// Whether there is a live picture beside the mount's sound.
fn has_picture(call: &Call, mount: &MountName) -> bool {
    MountName::parse_internal(&format!("{mount}/video"))
        .is_ok_and(|video| call.parts.mounts.live(&video).is_some())
}

/// The rows that the caller may see. A server may have a thousand mounts, so that whatever all rows need is looked up
/// once.
fn rows(call: &Call, config: &Config) -> Vec<Row> {
    let snapshot = call.parts.mounts.snapshot(Instant::now());
    let live: HashSet<&MountName> = snapshot.iter().map(|mount| &mount.name).collect();
    let pictures: HashSet<&str> = snapshot
        .iter()
        .filter_map(|mount| mount.name.as_str().strip_suffix("/video"))
        .collect();
    let owners = Owners::of(config);
    let is_shown = |mount: &MountName| !is_companion(mount) && !mount.is_internal() && call.may(mount);
    let on_air = snapshot.iter().filter(|mount| is_shown(&mount.name));
    let mut rows: Vec<Row> = on_air
        .map(|mount| live_row(mount, config, &owners, pictures.contains(mount.name.as_str())))
        .collect();
    let idle = configured(config)
        .into_iter()
        .filter(|mount| !live.contains(mount) && is_shown(mount));
    rows.extend(idle.map(|mount| idle_row(mount, config, &owners)));
    rows
}

/// Whose mounts are.
struct Owners<'a>(HashMap<&'a MountName, Vec<&'a str>>);

impl<'a> Owners<'a> {
    fn of(config: &'a Config) -> Self {
        let mut owners: HashMap<_, Vec<_>> = HashMap::new();
        for (name, user) in &config.users {
            for mount in user.mounts.keys() {
                owners.entry(mount).or_default().push(name.as_str());
            }
        }
        Self(owners)
    }

    fn names(&self, mount: &MountName) -> String {
        self.0
            .get(mount)
            .map(|names| names.join(", "))
            .unwrap_or_default()
    }
}

/// The picture beside a mount's sound is no stream of its own here.
fn is_companion(mount: &MountName) -> bool {
    mount.as_str().ends_with("/video")
}

/// Mounts that the configuration has a password, a setting or an owner for.
fn configured(config: &Config) -> BTreeSet<&MountName> {
    config
        .mounts
        .keys()
        .chain(config.advanced_mounts.keys())
        .chain(config.users.values().flat_map(|user| user.mounts.keys()))
        .chain(config.relays.iter().map(|relay| &relay.mount))
        .chain(config.autodjs.iter().map(|autodj| &autodj.mount))
        .collect()
}

fn is_configured(config: &Config, mount: &MountName) -> bool {
    configured(config).contains(mount)
}

fn idle_row(mount: &MountName, config: &Config, owners: &Owners<'_>) -> Row {
    let advanced = config.advanced_mounts.get(mount);
    Row {
        mount: mount.to_string(),
        visible: config.visible_mounts.get(mount).copied().unwrap_or(false),
        enabled: !config.disabled_mounts.get(mount).copied().unwrap_or(false),
        owner: owners.names(mount),
        fallback: config
            .fallback_mounts
            .get(mount)
            .map(ToString::to_string)
            .unwrap_or_default(),
        burst_size: advanced.map_or(0, |advanced| advanced.burst_size),
        ..Row::default()
    }
}

fn live_row(live: &MountSnapshot, config: &Config, owners: &Owners<'_>, has_video: bool) -> Row {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Row {
        name: text(&live.station.name),
        content_type: live.content_type.clone(),
        current_song: live.title.text.clone(),
        bitrate: text(&live.bitrate),
        listeners: live.listeners,
        source_ip: if live.has_source {
            live.owner.label.clone()
        } else {
            String::new()
        },
        health: (live.health_ratio.clamp(0.0, 1.0) * 1e4).round() / 1e4,
        uptime: clock(live.uptime),
        has_video,
        live: live.has_source,
        peak_listeners: live.listener_peak,
        bytes_in: live.bytes_in,
        bytes_out: live.bytes_out,
        started_at: live.began_at.to_string(),
        genre: text(&live.station.genre),
        description: text(&live.station.description),
        url: text(&live.station.url),
        source_protocol: live.owner.protocol.as_str().to_owned(),
        audio_codec: live.facts.codec.unwrap_or_default().to_owned(),
        sample_rate: live.facts.sample_rate,
        channels: live.facts.channels,
        silence_seconds: live.silence.as_secs(),
        ..idle_row(&live.name, config, owners)
    }
}

/// `HH:MM:SS`
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// A new mount.
#[derive(Debug, Deserialize, JsonSchema)]
struct Create {
    /// Required.
    #[serde(default)]
    mount: String,
    /// Of its source; required, at most 72 bytes.
    #[serde(default)]
    password: String,
    /// Bytes that a new listener gets at once; 0 is the server's default.
    #[serde(default)]
    burst_size: Option<i64>,
}

/// What became of a mount.
#[derive(Debug, Serialize, JsonSchema)]
struct Changed {
    status: &'static str,
    mount: String,
}

async fn create(call: Call, _: NoQuery, Json(body): Json<Create>) -> Answer<Json<Changed>> {
    let mount = claim(&call, &body.mount, &body.password, body.burst_size).await?;
    Ok(Json(Changed {
        status: "created",
        mount: mount.to_string(),
    }))
}

/// Makes a mount for the caller.
pub(super) async fn claim(call: &Call, mount: &str, password: &str, burst: Option<i64>) -> Answer<MountName> {
    if mount.trim().is_empty() || password.is_empty() {
        return Err(Refusal::bad("Mount and password are required"));
    }
    let burst = burst.map(burst_size).transpose()?;
    let mount = crate::endpoint::mount_name(mount)?;
    let hash = hash(call, password).await?;
    let caller = call.caller()?;
    // A token for some mounts makes no others.
    if let auth::Proof::Token(token) = &caller.proof
        && token
            .mounts
            .as_ref()
            .is_some_and(|mounts| !mounts.contains(&mount))
    {
        return Err(Refusal::forbidden());
    }
    let account = caller.account.clone();
    let name = mount.clone();
    call.change(move |config| {
        auth::claim_mount(config, &account, &name, hash)?;
        if let Some(burst) = burst {
            set_burst(config, &name, burst);
        }
        Ok(())
    })
    .await?;
    call.audit(AuditAction::MountCreated, "stream", mount.as_str(), "");
    Ok(mount)
}

fn burst_size(wanted: i64) -> Answer<u64> {
    u64::try_from(wanted)
        .ok()
        .filter(|burst| *burst <= MAX_BURST)
        .ok_or_else(|| Refusal::bad(format!("burst_size must be between 0 and {MAX_BURST}")))
}

fn set_burst(config: &mut Config, mount: &MountName, burst: u64) {
    config
        .advanced_mounts
        .entry(mount.clone())
        .or_default()
        .burst_size = burst;
}

/// The hash of a new password of a source.
async fn hash(call: &Call, password: &str) -> Answer<String> {
    Ok(call.parts.auth.hash_source_password(password).await?)
}

/// Changes of a mount.
#[derive(Debug, Deserialize, JsonSchema)]
struct Update {
    #[serde(default)]
    mount: String,
    /// A new password of its source; empty keeps the old one.
    #[serde(default)]
    password: Option<String>,
    /// Whether it takes sources and listeners.
    #[serde(default)]
    enabled: Option<bool>,
    /// Whether it is listed on public pages.
    #[serde(default)]
    visible: Option<bool>,
    /// Bytes that a new listener gets at once; 0 is the server's default.
    #[serde(default)]
    burst_size: Option<i64>,
}

async fn update(call: Call, _: NoQuery, Json(body): Json<Update>) -> Answer<Json<Changed>> {
    let mount = call.mount(&body.mount)?;
    let password = body.password.filter(|password| !password.is_empty());
    let burst = body.burst_size.map(burst_size).transpose()?;
    // Each part of the change is a right of its own.
    let wanted = [
        (password.is_some(), Action::MountPassword),
        (burst.is_some(), Action::MountUpdate),
        (body.enabled.is_some(), Action::MountEnable),
        (body.visible.is_some(), Action::MountShow),
    ];
    if wanted
        .iter()
        .any(|(is_wanted, action)| *is_wanted && !call.may_do(*action, &mount))
    {
        return Err(Refusal::forbidden());
    }
    let hash = match &password {
        Some(password) => Some(hash(&call, password).await?),
        None => None,
    };
    let (enabled, visible) = (body.enabled, body.visible);
    let (account, name) = (call.caller()?.account.clone(), mount.clone());
    call.change(move |config| {
        if !is_configured(config, &name) {
            return Err(Refusal::missing("Mount not found"));
        }
        if let Some(hash) = hash {
            auth::set_mount_password(config, &account, &name, &hash)?;
        }
        if let Some(burst) = burst {
            set_burst(config, &name, burst);
        }
        if let Some(enabled) = enabled {
            set_enabled(config, &name, enabled);
        }
        if let Some(visible) = visible {
            config.visible_mounts.insert(name, visible);
        }
        Ok(())
    })
    .await?;
    if password.is_some() || burst.is_some() {
        call.audit(AuditAction::MountUpdated, "stream", mount.as_str(), "");
    }
    tell_enabled(&call, &mount, enabled);
    tell_visible(&call, &mount, visible);
    Ok(Json(Changed {
        status: "updated",
        mount: mount.to_string(),
    }))
}

pub(super) fn set_enabled(config: &mut Config, mount: &MountName, enabled: bool) {
    if enabled {
        config.disabled_mounts.remove(mount);
    } else {
        config.disabled_mounts.insert(mount.clone(), true);
    }
}

pub(super) fn tell_enabled(call: &Call, mount: &MountName, enabled: Option<bool>) {
    match enabled {
        Some(true) => call.audit(AuditAction::MountEnabled, "stream", mount.as_str(), ""),
        Some(false) => call.audit(AuditAction::MountDisabled, "stream", mount.as_str(), ""),
        None => {}
    }
}

pub(super) fn tell_visible(call: &Call, mount: &MountName, visible: Option<bool>) {
    match visible {
        Some(true) => call.audit(AuditAction::MountMadeVisible, "stream", mount.as_str(), ""),
        Some(false) => call.audit(AuditAction::MountHidden, "stream", mount.as_str(), ""),
        None => {}
    }
}

async fn remove(call: Call, query: OneMount, (): ()) -> Answer<Json<Status>> {
    drop_mount(&call, &query.mount).await?;
    Ok(status("deleted"))
}

/// Removes a mount wherever the configuration knows it.
pub(super) async fn drop_mount(call: &Call, mount: &str) -> Answer<()> {
    let mount = call.mount(mount)?;
    let name = mount.clone();
    call.change(move |config| {
        auth::delete_mount(config, &name)?;
        Ok(())
    })
    .await?;
    let mounts = &call.parts.mounts;
    mounts.stop_source(&mount, Stopped::Disabled);
    mounts.close_listeners_of(&mount, Leave::Kicked, true);
    call.audit(AuditAction::MountDeleted, "stream", mount.as_str(), "");
    Ok(())
}

/// Whom to disconnect.
#[derive(Debug, Deserialize, JsonSchema)]
struct Kick {
    #[serde(default)]
    mount: String,
    /// `source` (the default) or `listeners`.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    /// How long no source may come, in seconds; 5 where nothing is said.
    #[serde(default)]
    ban_seconds: Option<u64>,
}

async fn kick(call: Call, _: NoQuery, Json(body): Json<Kick>) -> Answer<Json<Status>> {
    let mount = call.mount(&body.mount)?;
    match body.kind.as_deref() {
        None | Some("" | "source") => {
            let keep_free = body
                .ban_seconds
                .map_or(KEPT_FREE, |seconds| Duration::from_secs(seconds.min(LONGEST)));
            kick_source(&call, &mount, keep_free)?;
        }
        Some("listeners") => {
            if call.parts.mounts.live(&mount).is_none() && call.parts.mounts.listeners_of(&mount).is_empty() {
                return Err(Refusal::missing("Mount is not live"));
            }
            call.parts.mounts.close_listeners_of(&mount, Leave::Kicked, true);
            call.audit(AuditAction::ListenersKickedAll, "stream", mount.as_str(), "");
        }
        Some(_) => return Err(Refusal::bad("type must be source or listeners")),
    }
    Ok(status("ok"))
}

pub(super) fn kick_source(call: &Call, mount: &MountName, keep_free: Duration) -> Answer<()> {
    if !call.parts.mounts.send_away(mount, keep_free) {
        return Err(Refusal::missing("Mount is not live"));
    }
    call.audit(AuditAction::StreamKicked, "stream", mount.as_str(), "");
    Ok(())
}

/// As forms kick.
pub(super) fn kick_source_for_a_while(call: &Call, mount: &MountName) -> Answer<()> {
    kick_source(call, mount, KEPT_FREE)
}

/// What is playing.
#[derive(Debug, Deserialize, JsonSchema)]
struct SetTitle {
    #[serde(default)]
    mount: String,
    /// The whole title; or give `artist` and `title`.
    #[serde(default)]
    song: Option<String>,
    #[serde(default)]
    artist: Option<String>,
    #[serde(default)]
    title: Option<String>,
    /// A link that goes with it.
    #[serde(default)]
    url: Option<String>,
}

/// Longer titles are cut by players anyway.
const TITLE: usize = 512;

async fn set_title(call: Call, _: NoQuery, Json(body): Json<SetTitle>) -> Answer<Json<Status>> {
    let mount = call.mount(&body.mount)?;
    let clean = |text: Option<String>| {
        text.map(|text| icecast::text::clean(&text, TITLE))
            .filter(|text| !text.is_empty())
    };
    let mut title = match clean(body.song) {
        Some(song) => Title::whole(song),
        None => Title::parts(clean(body.artist), clean(body.title)),
    };
    if title.text.is_empty() {
        return Err(Refusal::bad("song, or artist and title, is required"));
    }
    title.url = clean(body.url);
    let stream = call.parts.mounts.live(&mount);
    stream
        .ok_or_else(|| Refusal::missing("Mount is not live"))?
        .set_title(title);
    Ok(status("ok"))
}

/// A mount's fallback.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Fallback {
    #[serde(default)]
    mount: String,
    /// Empty is none.
    #[serde(default)]
    fallback: String,
}

async fn fallback(call: Call, query: OneMount, (): ()) -> Answer<Json<Fallback>> {
    let mount = call.mount(&query.mount)?;
    let fallback = call.config().fallback_mounts.get(&mount).map(ToString::to_string);
    Ok(Json(Fallback {
        mount: mount.to_string(),
        fallback: fallback.unwrap_or_default(),
    }))
}

async fn set_fallback(call: Call, _: NoQuery, Json(body): Json<Fallback>) -> Answer<Json<Status>> {
    change_fallback(&call, &body.mount, &body.fallback).await?;
    Ok(status("updated"))
}

pub(super) async fn change_fallback(call: &Call, mount: &str, fallback: &str) -> Answer<()> {
    let mount = call.mount(mount)?;
    let fallback = match fallback.trim() {
        "" => None,
        text => Some(call.mount(text)?),
    };
    let name = mount.clone();
    let detail = fallback.as_ref().map(ToString::to_string).unwrap_or_default();
    call.change(move |config| crate::administration::plan_fallback(config, &name, fallback.as_ref()))
        .await?;
    call.audit(
        AuditAction::MountUpdated,
        "stream",
        mount.as_str(),
        &format!("fallback={detail}"),
    );
    Ok(())
}

/// A password that is shown once.
#[derive(Debug, Serialize, JsonSchema)]
struct NewPassword {
    mount: String,
    password: String,
}

async fn rotate_password(call: Call, _: NoQuery, Json(body): Json<OneMount>) -> Answer<Json<NewPassword>> {
    let mount = call.mount(&body.mount)?;
    let fresh = call.parts.auth.new_source_password().await?;
    let (account, name, hash) = (
        call.caller()?.account.clone(),
        mount.clone(),
        fresh.hash().to_owned(),
    );
    call.change(move |config| {
        auth::set_mount_password(config, &account, &name, &hash)?;
        Ok(())
    })
    .await?;
    call.audit(
        AuditAction::MountUpdated,
        "stream",
        mount.as_str(),
        "password rotated",
    );
    Ok(Json(NewPassword {
        mount: mount.to_string(),
        password: fresh.reveal().to_owned(),
    }))
}
