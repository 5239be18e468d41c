//! What hooks can be told about: the names and descriptions of events.
//!
//! Contract: the order is that of the API; names never change, because configuration files hold them.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "`description` says what each is")]
pub enum Event {
    NowPlaying,
    SourceConnect,
    SourceDisconnect,
    MetadataUpdate,
    SecurityLockout,
    StreamSilent,
    StreamRecovered,
    FallbackActive,
    FallbackEnded,
    RelayDown,
    RelayUp,
    AutodjError,
    ListenerPeak,
    UserPending,
    DiskLow,
}

/// No event has that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown event")]
pub struct UnknownEvent;

impl Event {
    /// All of them, in the order of the API.
    pub const ALL: &'static [Self] = &[
        Self::NowPlaying,
        Self::SourceConnect,
        Self::SourceDisconnect,
        Self::MetadataUpdate,
        Self::SecurityLockout,
        Self::StreamSilent,
        Self::StreamRecovered,
        Self::FallbackActive,
        Self::FallbackEnded,
        Self::RelayDown,
        Self::RelayUp,
        Self::AutodjError,
        Self::ListenerPeak,
        Self::UserPending,
        Self::DiskLow,
    ];

    /// As in configuration files and payloads.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NowPlaying => "now_playing",
            Self::SourceConnect => "source_connect",
            Self::SourceDisconnect => "source_disconnect",
            Self::MetadataUpdate => "metadata_update",
            Self::SecurityLockout => "security_lockout",
            Self::StreamSilent => "stream_silent",
            Self::StreamRecovered => "stream_recovered",
            Self::FallbackActive => "fallback_active",
            Self::FallbackEnded => "fallback_ended",
            Self::RelayDown => "relay_down",
            Self::RelayUp => "relay_up",
            Self::AutodjError => "autodj_error",
            Self::ListenerPeak => "listener_peak",
            Self::UserPending => "user_pending",
            Self::DiskLow => "disk_low",
        }
    }

    /// When it is sent, for people.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::NowPlaying => "An AutoDJ starts a track",
            Self::SourceConnect => "A source goes on air",
            Self::SourceDisconnect => "A source goes off air",
            Self::MetadataUpdate => "The title or description of a mount changes",
            Self::SecurityLockout => "An address is locked out",
            Self::StreamSilent => "A source is connected but sends silence or nothing",
            Self::StreamRecovered => "A silent source is heard again",
            Self::FallbackActive => "Listeners of a mount hear its fallback",
            Self::FallbackEnded => "Listeners are back on their mount",
            Self::RelayDown => "A relay lost its upstream",
            Self::RelayUp => "A relay has its upstream again",
            Self::AutodjError => "An AutoDJ cannot play something",
            Self::ListenerPeak => "A mount has more listeners than ever",
            Self::UserPending => "Somebody asks for an account",
            Self::DiskLow => "A disk is nearly full",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Event {
    type Err = UnknownEvent;

    fn from_str(text: &str) -> Result<Self, UnknownEvent> {
        let found = Self::ALL.iter().find(|event| event.as_str() == text);
        found.copied().ok_or(UnknownEvent)
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for event in Event::ALL {
            assert_eq!(event.as_str().parse(), Ok(*event));
        }
        assert_eq!("nope".parse::<Event>(), Err(UnknownEvent));
        assert_eq!(
            Event::ALL[..5]
                .iter()
                .map(|event| event.as_str())
                .collect::<Vec<_>>(),
            [
                "now_playing",
                "source_connect",
                "source_disconnect",
                "metadata_update",
                "security_lockout"
            ]
        );
    }
}
