//! What hooks are told.
//!
//! Contract: a payload is flat, its names are those of [`Notice::payload`] and nothing in it is a secret; samples
//! are payloads of invented notices, so they cannot differ from what is sent.

use std::{collections::BTreeSet, net::IpAddr, sync::OnceLock, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{Event, context};

/// The payload of a notice.
pub type Payload = Map<String, Value>;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    missing_docs,
    reason = "the fields are named after the entries of the payload"
)]
pub enum Notice {
    /// An AutoDJ starts a track.
    NowPlaying {
        mount: String,
        /// Of the AutoDJ.
        name: String,
        artist: String,
        title: String,
        album: String,
        file: String,
        format: String,
        /// Kilobits per second.
        bitrate: u32,
        duration: Duration,
        listeners: Option<u64>,
        art_url: Option<String>,
    },
    /// A source goes on air.
    SourceConnect {
        mount: String,
        /// Without a port.
        ip: Option<IpAddr>,
        ua: String,
        /// Of the station.
        name: String,
        /// `icecast`, `rtmp`, `srt`, `webrtc`, `relay`…
        protocol: String,
    },
    /// A source goes off air.
    SourceDisconnect {
        mount: String,
        ip: Option<IpAddr>,
        ua: String,
        name: String,
        /// Why, in words.
        reason: String,
        /// How long it was on air.
        lived: Duration,
        protocol: String,
    },
    /// The title or description of a mount changes.
    MetadataUpdate {
        mount: String,
        name: String,
        description: String,
        genre: String,
        /// The whole title line.
        song: String,
        artist: String,
        title: String,
    },
    /// An address is locked out.
    SecurityLockout {
        ip: IpAddr,
        /// `brute_force_auth` or `connection_scanning`.
        reason: String,
        until: Timestamp,
        details: String,
        duration: Duration,
    },
    /// A source is connected but sends silence or nothing.
    StreamSilent {
        mount: String,
        name: String,
        /// Since when, as a length of time.
        silent: Duration,
    },
    /// A silent source is heard again.
    StreamRecovered {
        mount: String,
        name: String,
        silent: Duration,
    },
    /// Listeners of a mount hear its fallback.
    FallbackActive {
        mount: String,
        fallback: String,
        reason: String,
        listeners: u64,
    },
    /// Listeners are back on their mount.
    FallbackEnded {
        mount: String,
        fallback: String,
        lasted: Duration,
        listeners: u64,
    },
    /// A relay lost its upstream.
    RelayDown {
        mount: String,
        /// Without credentials.
        upstream: String,
        error: String,
    },
    /// A relay has its upstream again.
    RelayUp {
        mount: String,
        upstream: String,
        down: Duration,
    },
    /// An AutoDJ cannot play something.
    AutodjError {
        mount: String,
        name: String,
        file: String,
        error: String,
    },
    /// A mount has more listeners than ever.
    ListenerPeak {
        mount: String,
        listeners: u64,
        previous: u64,
    },
    /// Somebody asks for an account.
    UserPending {
        name: String,
        email: String,
        provider: String,
    },
    /// A disk is nearly full.
    DiskLow {
        path: String,
        free_bytes: u64,
        total_bytes: u64,
    },
}

impl Notice {
    /// Its kind.
    #[must_use]
    pub fn event(&self) -> Event {
        match self {
            Self::NowPlaying { .. } => Event::NowPlaying,
            Self::SourceConnect { .. } => Event::SourceConnect,
            Self::SourceDisconnect { .. } => Event::SourceDisconnect,
            Self::MetadataUpdate { .. } => Event::MetadataUpdate,
            Self::SecurityLockout { .. } => Event::SecurityLockout,
            Self::StreamSilent { .. } => Event::StreamSilent,
            Self::StreamRecovered { .. } => Event::StreamRecovered,
            Self::FallbackActive { .. } => Event::FallbackActive,
            Self::FallbackEnded { .. } => Event::FallbackEnded,
            Self::RelayDown { .. } => Event::RelayDown,
            Self::RelayUp { .. } => Event::RelayUp,
            Self::AutodjError { .. } => Event::AutodjError,
            Self::ListenerPeak { .. } => Event::ListenerPeak,
            Self::UserPending { .. } => Event::UserPending,
            Self::DiskLow { .. } => Event::DiskLow,
        }
    }

    /// What is sent about it.
    #[must_use]
    pub fn payload(&self) -> Payload {
        let tree = match self {
            Self::NowPlaying {
                mount,
                name,
                artist,
                title,
                album,
                file,
                format,
                bitrate,
                duration,
                listeners,
                art_url,
            } => {
                let mut tree = json!({
                    "mount": mount, "name": name, "artist": artist, "title": title, "album": album, "file": file,
                    "format": format, "bitrate": bitrate, "duration_seconds": seconds(*duration),
                });
                if let Some(listeners) = listeners {
                    tree["listeners"] = json!(listeners);
                }
                if let Some(art_url) = art_url {
                    tree["art_url"] = json!(art_url);
                }
                tree
            }
            Self::SourceConnect {
                mount,
                ip,
                ua,
                name,
                protocol,
            } => json!({"mount": mount, "ip": address(*ip), "ua": ua, "name": name, "protocol": protocol}),
            Self::SourceDisconnect {
                mount,
                ip,
                ua,
                name,
                reason,
                lived,
                protocol,
            } => json!({
                "mount": mount, "ip": address(*ip), "ua": ua, "name": name, "reason": reason,
                "seconds": lived.as_secs(), "protocol": protocol,
            }),
            Self::MetadataUpdate {
                mount,
                name,
                description,
                genre,
                song,
                artist,
                title,
            } => json!({
                "mount": mount, "name": name, "description": description, "genre": genre, "current_song": song,
                "song": song, "artist": artist, "title": title,
            }),
            Self::SecurityLockout {
                ip,
                reason,
                until,
                details,
                duration,
            } => json!({
                "ip": address(Some(*ip)), "reason": reason, "until": context::rfc3339(*until), "details": details,
                "duration": clock(*duration),
            }),
            Self::StreamSilent { mount, name, silent } | Self::StreamRecovered { mount, name, silent } => {
                json!({"mount": mount, "name": name, "seconds": silent.as_secs()})
            }
            Self::FallbackActive {
                mount,
                fallback,
                reason,
                listeners,
            } => json!({"mount": mount, "fallback": fallback, "reason": reason, "listeners": listeners}),
            Self::FallbackEnded {
                mount,
                fallback,
                lasted,
                listeners,
            } => json!({
                "mount": mount, "fallback": fallback, "seconds": lasted.as_secs(), "listeners": listeners,
            }),
            Self::RelayDown {
                mount,
                upstream,
                error,
            } => json!({"mount": mount, "upstream": upstream, "error": error}),
            Self::RelayUp {
                mount,
                upstream,
                down,
            } => json!({"mount": mount, "upstream": upstream, "seconds": down.as_secs()}),
            Self::AutodjError {
                mount,
                name,
                file,
                error,
            } => json!({"mount": mount, "name": name, "file": file, "error": error}),
            Self::ListenerPeak {
                mount,
                listeners,
                previous,
            } => json!({"mount": mount, "listeners": listeners, "previous": previous}),
            Self::UserPending {
                name,
                email,
                provider,
            } => json!({"name": name, "email": email, "provider": provider}),
            Self::DiskLow {
                path,
                free_bytes,
                total_bytes,
            } => json!({
                "path": path, "free_bytes": free_bytes, "total_bytes": total_bytes,
                "free_percent": free_bytes.saturating_mul(100).checked_div(*total_bytes).unwrap_or(0),
            }),
        };
        match tree {
            Value::Object(payload) => payload,
            _ => Payload::new(),
        }
    }

    /// An invented one of a kind, for tests and documentation.
    #[must_use]
    pub fn sample(event: Event) -> Self {
        let mount = || "/live".to_owned();
        let station = || "Example Radio".to_owned();
        let ip = IpAddr::from([203, 0, 113, 9]);
        let ua = || "butt 1.40.0".to_owned();
        match event {
            Event::NowPlaying => Self::NowPlaying {
                mount: mount(),
                name: "Night rotation".to_owned(),
                artist: "Example Artist".to_owned(),
                title: "Example Song".to_owned(),
                album: "Example Album".to_owned(),
                file: "example.mp3".to_owned(),
                format: "mp3".to_owned(),
                bitrate: 320,
                duration: Duration::from_millis(285_400),
                listeners: Some(42),
                art_url: Some("https://radio.example/art/example.jpg".to_owned()),
            },
            Event::SourceConnect => Self::SourceConnect {
                mount: mount(),
                ip: Some(ip),
                ua: ua(),
                name: station(),
                protocol: "icecast".to_owned(),
            },
            Event::SourceDisconnect => Self::SourceDisconnect {
                mount: mount(),
                ip: Some(ip),
                ua: ua(),
                name: station(),
                reason: "closed".to_owned(),
                lived: Duration::from_secs(3600),
                protocol: "icecast".to_owned(),
            },
            Event::MetadataUpdate => Self::MetadataUpdate {
                mount: mount(),
                name: station(),
                description: "Example description".to_owned(),
                genre: "Various".to_owned(),
                song: "Example Artist - Example Song".to_owned(),
                artist: "Example Artist".to_owned(),
                title: "Example Song".to_owned(),
            },
            Event::SecurityLockout => Self::SecurityLockout {
                ip,
                reason: "brute_force_auth".to_owned(),
                until: Timestamp::constant(1_767_226_500, 0),
                details: "5 failed authentication attempts".to_owned(),
                duration: Duration::from_secs(900),
            },
            Event::StreamSilent => Self::StreamSilent {
                mount: mount(),
                name: station(),
                silent: Duration::from_secs(30),
            },
            Event::StreamRecovered => Self::StreamRecovered {
                mount: mount(),
                name: station(),
                silent: Duration::from_secs(95),
            },
            Event::FallbackActive => Self::FallbackActive {
                mount: mount(),
                fallback: "/backup".to_owned(),
                reason: "source_gone".to_owned(),
                listeners: 42,
            },
            Event::FallbackEnded => Self::FallbackEnded {
                mount: mount(),
                fallback: "/backup".to_owned(),
                lasted: Duration::from_secs(61),
                listeners: 42,
            },
            Event::RelayDown => Self::RelayDown {
                mount: mount(),
                upstream: "http://upstream.example:8000/live".to_owned(),
                error: "connection refused".to_owned(),
            },
            Event::RelayUp => Self::RelayUp {
                mount: mount(),
                upstream: "http://upstream.example:8000/live".to_owned(),
                down: Duration::from_secs(12),
            },
            Event::AutodjError => Self::AutodjError {
                mount: mount(),
                name: "Night rotation".to_owned(),
                file: "broken.mp3".to_owned(),
                error: "no audio found".to_owned(),
            },
            Event::ListenerPeak => Self::ListenerPeak {
                mount: mount(),
                listeners: 250,
                previous: 249,
            },
            Event::UserPending => Self::UserPending {
                name: "Example Person".to_owned(),
                email: "person@example.org".to_owned(),
                provider: "github".to_owned(),
            },
            Event::DiskLow => Self::DiskLow {
                path: "/var/lib/tinyice".to_owned(),
                free_bytes: 500_000_000,
                total_bytes: 20_000_000_000,
            },
        }
    }

    /// The mount that it is about.
    #[must_use]
    pub fn mount(&self) -> Option<&str> {
        match self {
            Self::NowPlaying { mount, .. }
            | Self::SourceConnect { mount, .. }
            | Self::SourceDisconnect { mount, .. }
            | Self::MetadataUpdate { mount, .. }
            | Self::StreamSilent { mount, .. }
            | Self::StreamRecovered { mount, .. }
            | Self::FallbackActive { mount, .. }
            | Self::FallbackEnded { mount, .. }
            | Self::RelayDown { mount, .. }
            | Self::RelayUp { mount, .. }
            | Self::AutodjError { mount, .. }
            | Self::ListenerPeak { mount, .. } => Some(mount),
            Self::SecurityLockout { .. } | Self::UserPending { .. } | Self::DiskLow { .. } => None,
        }
    }
}

/// Whether some event has an entry `name`, in either spelling; in a template it is empty where it is missing.
pub(crate) fn is_known(name: &str) -> bool {
    static KNOWN: OnceLock<BTreeSet<String>> = OnceLock::new();
    let known = KNOWN.get_or_init(|| {
        let payloads = Event::ALL.iter().map(|event| Notice::sample(*event).payload());
        let names = payloads.flat_map(|payload| payload.into_iter().map(|(name, _)| name));
        let both = names.flat_map(|name| [context::camel(&name), name]);
        both.chain(["MountURL", "PlayerURL"].map(str::to_owned)).collect()
    });
    known.contains(name)
}

fn address(ip: Option<IpAddr>) -> String {
    ip.map_or_else(String::new, |ip| ip.to_canonical().to_string())
}

/// To the millisecond, which is more than anybody can hear.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// `15m0s`, as other times of the API.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(event: Event, names: &str) {
        let notice = Notice::sample(event);
        assert_eq!(notice.event(), event);
        let payload = notice.payload();
        assert_eq!(
            payload.keys().map(String::as_str).collect::<Vec<_>>().join(" "),
            names
        );
        assert_eq!(payload.get("mount").and_then(Value::as_str), notice.mount());
    }

    #[test]
    fn payloads() {
        check(
            Event::NowPlaying,
            "mount name artist title album file format bitrate duration_seconds listeners art_url",
        );
        check(Event::SourceConnect, "mount ip ua name protocol");
        check(
            Event::SourceDisconnect,
            "mount ip ua name reason seconds protocol",
        );
        check(
            Event::MetadataUpdate,
            "mount name description genre current_song song artist title",
        );
        check(Event::SecurityLockout, "ip reason until details duration");
        check(Event::StreamSilent, "mount name seconds");
        check(Event::StreamRecovered, "mount name seconds");
        check(Event::FallbackActive, "mount fallback reason listeners");
        check(Event::FallbackEnded, "mount fallback seconds listeners");
        check(Event::RelayDown, "mount upstream error");
        check(Event::RelayUp, "mount upstream seconds");
        check(Event::AutodjError, "mount name file error");
        check(Event::ListenerPeak, "mount listeners previous");
        check(Event::UserPending, "name email provider");
        check(Event::DiskLow, "path free_bytes total_bytes free_percent");
    }

    #[test]
    fn values_have_the_form_of_the_contract() {
        let lockout = Notice::sample(Event::SecurityLockout).payload();
        assert_eq!(lockout["until"], "2026-01-01T00:15:00Z");
        assert_eq!(lockout["duration"], "15m0s");
        assert_eq!(
            Notice::sample(Event::NowPlaying).payload()["duration_seconds"].to_string(),
            "285.4"
        );
        assert_eq!(Notice::sample(Event::DiskLow).payload()["free_percent"], 2);
        assert_eq!(address(Some("::ffff:192.0.2.1".parse().unwrap())), "192.0.2.1");
        for (seconds, text) in [(0, "0s"), (45, "45s"), (843, "14m3s"), (3601, "1h0m1s")] {
            assert_eq!(clock(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn names_of_all_events_are_known() {
        for name in [
            "artist",
            "Artist",
            "DurationSeconds",
            "art_url",
            "ArtUrl",
            "PlayerURL",
            "FreePercent",
        ] {
            assert!(is_known(name), "{name}");
        }
        for name in ["", "artIst", "Station", "Event"] {
            assert!(!is_known(name), "{name}");
        }
    }
}
