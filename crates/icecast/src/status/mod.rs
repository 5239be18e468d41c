//! Status documents: what the server says of itself and its mounts to tools that expect Icecast.
//!
//! Contract: internal mounts appear in none of them, unlisted ones only where an administrator asks, and every
//! document is well-formed whatever titles and names contain.

mod fields;
mod json;
mod shoutcast;
mod table;
mod xml;

pub use json::{listclients_json, stats_json, status_json};
pub use shoutcast::Channel;
pub use table::{StatusTable, status_tables};
pub use xml::{iceresponse_xml, listclients_xml, listmounts_xml, stats_xml};

use std::{borrow::Cow, time::Duration};

use config::MountName;
use jiff::{Timestamp, tz::TimeZone};

use crate::StationInfo;

/// The whole server at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerStatus {
    /// Contact address.
    pub admin: String,
    /// Public host name.
    pub host: String,
    /// Where the server stands.
    pub location: String,
    /// When the process started.
    pub server_start: Timestamp,
    /// The zone in which dates are written.
    pub time_zone: TimeZone,
    /// Counters of the whole server.
    pub totals: Totals,
    /// Live mounts.
    pub sources: Vec<SourceStatus>,
}

/// Counters of the whole server, named as Icecast names them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Open client connections of any kind.
    pub clients: u64,
    /// Accepted connections since the start.
    pub connections: u64,
    /// Requests since the start.
    pub client_connections: u64,
    /// Files served since the start.
    pub file_connections: u64,
    /// Listeners now.
    pub listeners: u64,
    /// Listeners since the start.
    pub listener_connections: u64,
    /// Sources now.
    pub sources: u64,
    /// Encoders since the start.
    pub source_client_connections: u64,
    /// Relays since the start.
    pub source_relay_connections: u64,
    /// Encoders and relays since the start.
    pub source_total_connections: u64,
    /// Statistics clients now.
    pub stats: u64,
    /// Statistics clients since the start.
    pub stats_connections: u64,
}

/// One live mount.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceStatus {
    /// The mount.
    pub mount: MountName,
    /// Its public address.
    pub listenurl: String,
    /// `false` only when the mount is explicitly hidden.
    pub listed: bool,
    /// What the source says of the station.
    pub station: StationInfo,
    /// Content type.
    pub content_type: String,
    /// Codec inside the container (`Opus`, `Vorbis`), when known.
    pub subtype: Option<String>,
    /// The current title; the whole "artist - title" when the artist was not given apart.
    pub title: String,
    /// The artist, when given apart.
    pub artist: Option<String>,
    /// Nominal bits per second, as the stream itself tells.
    pub audio_bitrate: Option<u32>,
    /// Channels, as the stream itself tells.
    pub audio_channels: Option<u8>,
    /// Hertz, as the stream itself tells.
    pub audio_samplerate: Option<u32>,
    /// Measured kbit/s, for sources that declare none.
    pub measured_kbps: Option<u32>,
    /// When the source connected.
    pub stream_start: Timestamp,
    /// How long ago that was.
    pub connected: Duration,
    /// Listeners now.
    pub listeners: u64,
    /// Most listeners at once since the source connected.
    pub listener_peak: u64,
    /// The private part.
    pub private: PrivateStatus,
}

impl SourceStatus {
    /// Artist and title in one; empty when there is none.
    #[must_use]
    pub fn song(&self) -> Cow<'_, str> {
        match self.artist.as_deref().filter(|artist| !artist.is_empty()) {
            Some(artist) => Cow::Owned(format!("{artist} - {}", self.title)),
            None => Cow::Borrowed(&self.title),
        }
    }
}

/// What only administrators see of a mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrivateStatus {
    /// Listeners since the source connected.
    pub listener_connections: u64,
    /// Requests for the mount since the source connected.
    pub connections: u64,
    /// Listeners that were skipped ahead or dropped because they read too slowly.
    pub slow_listeners: u64,
    /// The mount's own limit.
    pub max_listeners: Option<u64>,
    /// Where the source comes from.
    pub source_ip: String,
    /// The encoder.
    pub user_agent: String,
    /// Bytes from the source.
    pub total_bytes_read: u64,
    /// Bytes to listeners.
    pub total_bytes_sent: u64,
    /// Where listeners go when the source leaves.
    pub fallback: Option<MountName>,
}

/// One listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Unique for the life of the process.
    pub id: u64,
    /// Client address.
    pub ip: String,
    /// Player.
    pub user_agent: String,
    /// The page that plays the stream; empty when not told.
    pub referer: String,
    /// Since when.
    pub connected: Duration,
}

/// The shape of `source` in `status-json.xsl`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SourceShape {
    /// Always an array, `[]` when there is none.
    #[default]
    Array,
    /// An object when there is one, an array when several, absent when none.
    Icecast,
}

/// What of the status is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatusQuery<'a> {
    /// The shape of `source`.
    pub shape: SourceShape,
    /// Only this mount.
    pub mount: Option<&'a str>,
    /// Whether hidden mounts are shown: an authenticated administrator asks.
    pub with_unlisted: bool,
}

impl ServerStatus {
    /// The sources that are meant.
    pub fn select<'a>(&'a self, query: &StatusQuery<'a>) -> impl Iterator<Item = &'a SourceStatus> + use<'a> {
        let StatusQuery {
            mount, with_unlisted, ..
        } = *query;
        self.sources.iter().filter(move |source| {
            !source.mount.is_internal()
                && (with_unlisted || source.listed)
                && mount.is_none_or(|mount| source.mount.as_str() == mount)
        })
    }
}

/// `streamlist.txt`: one listed live mount per line. Icecast slaves relay what stands there.
#[must_use]
pub fn streamlist_txt(status: &ServerStatus) -> String {
    status
        .select(&StatusQuery::default())
        .map(|source| format!("{}\r\n", source.mount))
        .collect()
}

#[cfg(test)]
pub(crate) mod sample {
    use super::*;
    use crate::head_lines;

    pub(crate) fn source(mount: &str) -> SourceStatus {
        SourceStatus {
            mount: MountName::parse_internal(mount).unwrap(),
            listenurl: format!("http://radio.example.org:8000{mount}"),
            listed: true,
            station: StationInfo::from_headers(&head_lines::parse(
                b"ice-name: Example FM\nice-description: All day\nice-genre: Jazz\nice-bitrate: 128\nice-public: 1\n",
            )),
            content_type: "audio/mpeg".into(),
            subtype: None,
            title: "A - B".into(),
            artist: None,
            audio_bitrate: None,
            audio_channels: None,
            audio_samplerate: None,
            measured_kbps: None,
            stream_start: "2025-09-02T09:10:11Z".parse().unwrap(),
            connected: Duration::from_millis(3_600_900),
            listeners: 12,
            listener_peak: 40,
            private: PrivateStatus {
                listener_connections: 99,
                connections: 101,
                slow_listeners: 2,
                max_listeners: None,
                source_ip: "192.0.2.7".into(),
                user_agent: "ices".into(),
                total_bytes_read: 5_000_000_000,
                total_bytes_sent: 6,
                fallback: None,
            },
        }
    }

    pub(crate) fn server(sources: Vec<SourceStatus>) -> ServerStatus {
        ServerStatus {
            admin: "studio@example.org".into(),
            host: "radio.example.org".into(),
            location: "Earth".into(),
            server_start: "2025-09-02T08:00:00Z".parse().unwrap(),
            time_zone: TimeZone::UTC,
            totals: Totals {
                clients: 13,
                listeners: 12,
                sources: 1,
                ..Totals::default()
            },
            sources,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slave_is_told_listed_mounts_only() {
        let mut hidden = sample::source("/hidden");
        hidden.listed = false;
        let sources = vec![
            sample::source("/live"),
            hidden,
            sample::source("/live/video"),
            sample::source("/b"),
        ];
        assert_eq!(streamlist_txt(&sample::server(sources)), "/live\r\n/b\r\n");
        assert_eq!(streamlist_txt(&sample::server(vec![])), "");
    }
}
