//! What every request and task may need.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use arc_swap::ArcSwap;
use auth::Auth;
use config::{Config, MountName};
use mount::Mounts;
use observe::log::LogHandle;
use tokio::sync::{mpsc, watch};

/// The running server's parts. Cheap to share, never replaced.
pub(crate) struct Context {
    /// The configuration in force: the file's with the flags' values on top.
    pub(crate) config: Arc<ArcSwap<Config>>,
    /// Mounts and their listeners.
    pub(crate) mounts: Arc<Mounts>,
    /// Who may do what.
    pub(crate) auth: Arc<Auth>,
    /// How relays are doing.
    pub(crate) relays: relay::Board,
    /// Pages, status documents, administration.
    pub(crate) api: api::Api,
    /// Changes with each reload and each saved change.
    pub(crate) reloaded: watch::Sender<u64>,
    /// Asks for a hot swap, with the time to drain.
    pub(crate) swap: mpsc::Sender<Duration>,
    /// The log, which a reload may have moved to other files.
    pub(crate) log: ArcSwap<LogHandle>,
    /// Set when the end has begun.
    pub(crate) stopping: AtomicBool,
    /// Names this process to relays, so that a chain of them cannot close.
    pub(crate) instance: String,
}

impl Context {
    /// Whether a relay pulls this mount only while somebody listens.
    pub(crate) fn is_on_demand(&self, mount: &MountName) -> bool {
        let config = self.config.load();
        config
            .relays
            .iter()
            .any(|relay| relay.mount == *mount && relay.enabled && relay.on_demand)
    }
}
