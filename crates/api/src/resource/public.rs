//! What any web site may ask: the mounts that are listed, and what they play.
//!
//! Contract: a mount that is not listed is not there, and an answer says nothing of who listens or sends.

use std::{collections::BTreeSet, time::Instant};

use auth::Action;
use config::MountName;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use mount::MountSnapshot;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    etag,
    streams::{OneMount, clock},
};
use crate::{
    endpoint::{Answer, Call, Endpoint, NoQuery, Refusal, Written, get, group, mount_name},
    events::bitrate,
};

/// How long a copy may be used.
const FRESH: &str = "public, max-age=2";

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Public",
        vec![
            get("/api/public/streams", Action::PublicRead, streams).says("The listed mounts that are on air"),
            get("/api/public/now-playing", Action::PublicRead, now_playing)
                .says("What a listed mount plays")
                .fails(404, "There is no such mount, or it is not listed"),
        ],
    )
}

/// A mount on air.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Stream {
    mount: String,
    name: String,
    listeners: u64,
    viewers: u64,
    /// kbit/s as text; empty where it is not known.
    bitrate: String,
    /// `HH:MM:SS`
    uptime: String,
    genre: String,
    description: String,
    song: String,
    /// Whether a source is connected, not just awaited.
    live: bool,
    has_video: bool,
    url: String,
    /// Its media type.
    format: String,
    /// RFC 3339.
    started_at: String,
}

async fn streams(call: Call, _: NoQuery, (): ()) -> Answer<Written<Vec<Stream>>> {
    let all = call.parts.mounts.snapshot(Instant::now());
    let names: BTreeSet<&MountName> = all.iter().map(|mount| &mount.name).collect();
    let has_video = |mount: &MountName| {
        MountName::parse_internal(&format!("{mount}/video")).is_ok_and(|video| names.contains(&video))
    };
    let listed = all
        .iter()
        .filter(|mount| mount.visible && !mount.name.is_internal());
    let streams: Vec<Stream> = listed
        .map(|mount| stream(mount, has_video(&mount.name)))
        .collect();
    // The uptime of a mount is no news.
    let timeless: Vec<Stream> = streams
        .iter()
        .map(|stream| Stream {
            uptime: String::new(),
            ..stream.clone()
        })
        .collect();
    Ok(Written::new(shared(&call, &streams, &timeless)))
}

fn stream(mount: &MountSnapshot, has_video: bool) -> Stream {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Stream {
        mount: mount.name.to_string(),
        name: text(&mount.station.name),
        listeners: mount.listeners,
        viewers: 0,
        bitrate: bitrate(mount),
        uptime: clock(mount.uptime),
        genre: text(&mount.station.genre),
        description: text(&mount.station.description),
        song: mount.title.text.clone(),
        live: mount.has_source,
        has_video,
        url: text(&mount.station.url),
        format: mount.content_type.clone(),
        started_at: mount.began_at.to_string(),
    }
}

/// What a mount plays.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct NowPlaying {
    mount: String,
    /// The station's name.
    name: String,
    /// Whether it is on air.
    live: bool,
    /// The whole title, as players show it.
    song: String,
    /// Empty where it cannot be told from the title.
    artist: String,
    title: String,
    listeners: u64,
}

async fn now_playing(call: Call, query: OneMount, (): ()) -> Answer<Written<NowPlaying>> {
    let mount = mount_name(&query.mount)?;
    if mount.is_internal() || !call.config().is_visible(&mount) {
        return Err(Refusal::missing("Mount not found"));
    }
    let live = call.parts.mounts.snapshot_one(&mount, Instant::now());
    let playing = live.map_or_else(
        || NowPlaying {
            mount: mount.to_string(),
            ..NowPlaying::default()
        },
        |live| {
            let (artist, title) = split(&live.title);
            NowPlaying {
                mount: mount.to_string(),
                name: live.station.name.clone().unwrap_or_default(),
                live: live.has_source,
                song: live.title.text.clone(),
                artist,
                title,
                listeners: live.listeners,
            }
        },
    );
    Ok(Written::new(shared(&call, &playing, &playing)))
}

/// Artist and title, where the source told them apart, or a dash does.
fn split(title: &mount::Title) -> (String, String) {
    match (&title.artist, &title.title) {
        (Some(artist), title) => (artist.clone(), title.clone().unwrap_or_default()),
        (None, Some(title)) => (String::new(), title.clone()),
        (None, None) => super::history::artist_and_title(&title.text),
    }
}

/// An answer that any page may read, and need not read twice. What is `compared` decides whether there is news.
fn shared(call: &Call, answer: &impl Serialize, compared: &impl Serialize) -> crate::Reply {
    // A weak one: the uptime may differ (RFC 9110 section 8.8.1).
    let tag = etag::weak_tag(&json(compared));
    let is_known = etag::is_known(&call.request, &tag);
    let mut reply = Response::new(if is_known {
        Full::default()
    } else {
        Full::from(json(answer))
    });
    if is_known {
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(FRESH));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ETAG, tag);
    reply
}

/// JSON in one line.
fn json(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    text
}
