//! What anybody may see: the texts of `/events`.
//!
//! Contract: no addresses, no health, no byte counts, and of a mount that is not listed nothing at all unless it was
//! asked for by name.

use std::time::Duration;

use jiff::Timestamp;
use mount::MountSnapshot;
use serde::Serialize;

use super::{
    burst::Burst,
    group::News,
    tick::{Entry, json},
    view::{Event, View},
};

/// Part of the unnamed event.
#[derive(Serialize)]
pub(crate) struct Listed<'a> {
    mount: &'a str,
    name: &'a str,
    listeners: u64,
    bitrate: String,
    uptime: String,
    genre: &'a str,
    description: &'a str,
    song: &'a str,
    live: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    has_video: bool,
}

impl<'a> Listed<'a> {
    pub(crate) fn new(entry: &'a Entry) -> Self {
        let mount = &entry.mount;
        Self {
            mount: mount.name.as_str(),
            name: text(&mount.station.name),
            listeners: mount.listeners,
            bitrate: bitrate(mount),
            uptime: clock(mount.uptime),
            genre: text(&mount.station.genre),
            description: text(&mount.station.description),
            song: &mount.title.text,
            live: mount.has_source,
            has_video: entry.has_video,
        }
    }
}

/// The `stream` event.
#[derive(Serialize)]
pub(crate) struct Stream<'a> {
    mount: &'a str,
    title: &'a str,
    artist: &'a str,
    format: &'a str,
    bitrate: String,
    listeners: u64,
    viewers: u64,
    live: bool,
    has_video: bool,
    video_width: u32,
    video_height: u32,
    video_fps: u32,
    video_kbps: u32,
    video_gop: u32,
    url: &'a str,
    genre: &'a str,
    description: &'a str,
    started_at: String,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(mount: &'a MountSnapshot, has_video: bool) -> Self {
        Self {
            mount: mount.name.as_str(),
            title: &mount.title.text,
            artist: text(&mount.station.name),
            format: &mount.content_type,
            bitrate: bitrate(mount),
            listeners: mount.listeners,
            viewers: 0,
            live: mount.has_source,
            has_video,
            video_width: 0,
            video_height: 0,
            video_fps: 0,
            video_kbps: 0,
            video_gop: 0,
            url: text(&mount.station.url),
            genre: text(&mount.station.genre),
            description: text(&mount.station.description),
            started_at: rfc3339(mount.began_at),
        }
    }
}

/// Writes what a view is told.
pub(crate) fn write(view: &View, news: &News<'_>, burst: &mut Burst) {
    if view.events.has(Event::Message) && (news.whole || !news.fresh.is_empty() || !news.gone.is_empty()) {
        let listed = news.shown.iter().filter(|entry| entry.is_listed());
        burst.add_list(Event::Message, listed.map(|entry| entry.listed()));
    }
    if view.events.has(Event::Stream) {
        for entry in &news.fresh {
            burst.add(Event::Stream, [&entry.public[..]]);
        }
    }
    if view.events.has(Event::Gone) {
        for mount in news.gone {
            burst.add(
                Event::Gone,
                [&json(&Gone {
                    mount: mount.as_str(),
                })[..]],
            );
        }
    }
}

/// The `gone` event.
#[derive(Serialize)]
pub(crate) struct Gone<'a> {
    pub(crate) mount: &'a str,
}

pub(crate) fn text(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or_default()
}

/// kbit/s: declared or measured, else what the stream's header says.
pub(crate) fn bitrate(mount: &MountSnapshot) -> String {
    let of_header = || mount.facts.bitrate.map(|bits| (bits / 1000).to_string());
    mount.bitrate.clone().or_else(of_header).unwrap_or_default()
}

/// `HH:MM:SS`
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
