//! What the configuration says about mounts, in the shape that mounts need.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use config::MountName;

/// Settings of all mounts. Replaced as a whole by a reload.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Listeners of the whole server; `None` is no limit.
    pub max_listeners: Option<u64>,
    /// Listeners per client address; 0 is no limit.
    pub max_listeners_per_ip: u32,
    /// Live sources of the whole server; `None` is no limit.
    pub max_sources: Option<usize>,
    /// Burst of mounts without one of their own, in bytes.
    pub default_burst: u64,
    /// No burst and no batching where a mount does not ask for them.
    pub low_latency: bool,
    /// How long a mount waits for a source that went away; zero ends it at once.
    pub grace: Duration,
    /// How long a source must have been back before its listeners leave the fallback.
    pub settle: Duration,
    /// Whether a new source replaces the present one whatever its address.
    pub takeover: bool,
    /// Silence after which a source is cut, where the mount does not say otherwise.
    pub source_timeout: Duration,
    /// Mounts with settings of their own.
    pub mounts: HashMap<MountName, MountSettings>,
    /// Where listeners go while a mount has no source.
    pub fallbacks: HashMap<MountName, MountName>,
    /// Mounts that take neither sources nor listeners.
    pub disabled: HashSet<MountName>,
    /// Mounts listed on public pages.
    pub visible: HashSet<MountName>,
    /// Mounts explicitly marked as not to be listed anywhere.
    pub hidden: HashSet<MountName>,
    /// Mounts that the configuration mentions in any way.
    pub known: HashSet<MountName>,
}

/// Settings of one mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountSettings {
    /// Bytes that a new listener gets at once.
    pub burst: Option<u64>,
    /// Replaces the name that the source gives.
    pub name_override: Option<String>,
    /// Listeners of this mount.
    pub max_listeners: Option<u64>,
    /// Silence after which its source is cut.
    pub source_timeout: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_listeners: Some(100),
            max_listeners_per_ip: 0,
            max_sources: None,
            default_burst: 65_536,
            low_latency: false,
            grace: Duration::from_secs(5),
            settle: Duration::from_secs(30),
            takeover: false,
            source_timeout: Duration::from_secs(60),
            mounts: HashMap::new(),
            fallbacks: HashMap::new(),
            disabled: HashSet::new(),
            visible: HashSet::new(),
            hidden: HashSet::new(),
            known: HashSet::new(),
        }
    }
}

impl Settings {
    /// Bytes that a listener of `mount` gets at once.
    #[must_use]
    pub fn burst(&self, mount: &MountName) -> u64 {
        let own = self.mounts.get(mount).and_then(|settings| settings.burst);
        own.unwrap_or(if self.low_latency { 0 } else { self.default_burst })
    }

    /// Whether frames of `mount` go out as they come.
    #[must_use]
    pub fn is_low_latency(&self, mount: &MountName) -> bool {
        self.low_latency
            && self
                .mounts
                .get(mount)
                .is_none_or(|settings| settings.burst.is_none())
    }

    /// Silence after which the source of `mount` is cut.
    #[must_use]
    pub fn source_timeout(&self, mount: &MountName) -> Duration {
        self.mounts
            .get(mount)
            .and_then(|settings| settings.source_timeout)
            .unwrap_or(self.source_timeout)
    }
}
