//! What mounts look like at one moment, for status documents and the API.

use std::{sync::Arc, time::Duration};

use config::MountName;
use jiff::Timestamp;
use media::{Format, StreamFacts};

use crate::{Health, Owner, Station, Title};

/// One live mount.
#[derive(Debug, Clone)]
pub struct MountSnapshot {
    /// Its name.
    pub name: MountName,
    /// What listeners are told the stream is.
    pub content_type: String,
    /// How it is framed.
    pub format: Format,
    /// The station, with the configured name in place of the encoder's where there is one.
    pub station: Arc<Station>,
    /// Who feeds it.
    pub owner: Arc<Owner>,
    /// Whether a source is connected (not just awaited).
    pub has_source: bool,
    /// What is playing.
    pub title: Arc<Title>,
    /// What the framing revealed.
    pub facts: Arc<StreamFacts>,
    /// kbit/s, declared or measured.
    pub bitrate: Option<String>,
    /// When the stream began.
    pub began_at: Timestamp,
    /// How long ago that was.
    pub uptime: Duration,
    /// Listeners fed by it.
    pub listeners: u64,
    /// Most at once since the source came.
    pub listener_peak: u64,
    /// Connections since the source came.
    pub listener_connections: u64,
    /// Limit, if there is one.
    pub max_listeners: Option<u64>,
    /// Bytes from its sources since the process began.
    pub bytes_in: u64,
    /// Bytes to its listeners since the process began.
    pub bytes_out: u64,
    /// Bytes that slow listeners missed.
    pub dropped: u64,
    /// Times that a listener was too slow.
    pub slow_listeners: u64,
    /// State by silence.
    pub health: Health,
    /// 0 to 1.
    pub health_ratio: f64,
    /// How long nothing has come.
    pub silence: Duration,
    /// Listed on public pages.
    pub visible: bool,
    /// Explicitly not to be listed.
    pub hidden: bool,
    /// Where its listeners go without it.
    pub fallback: Option<MountName>,
}

/// The whole server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Listeners now.
    pub listeners: u64,
    /// Most listeners at one time since the process began.
    pub listener_peak: u64,
    /// Listeners ever.
    pub listener_connections: u64,
    /// Sources now.
    pub sources: u64,
    /// Sources ever, by connection.
    pub source_connections: u64,
    /// Relays among them.
    pub relay_connections: u64,
    /// Bytes from sources.
    pub bytes_in: u64,
    /// Bytes to listeners.
    pub bytes_out: u64,
    /// Bytes that slow listeners missed.
    pub dropped: u64,
}
