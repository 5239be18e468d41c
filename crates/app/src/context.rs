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
use tokio::sync::{mpsc, oneshot, watch};

use crate::source_thread::SourceThread;

/// What an endpoint asks the whole server to do.
pub(crate) enum Order {
    /// Let another program take our place, with so much time to drain.
    Swap(Duration),
    /// Read the configuration again, and say which keys changed or what is wrong with it.
    Reload(oneshot::Sender<Result<Vec<String>, String>>),
}

/// The running server's parts. Cheap to share, never replaced.
pub(crate) struct Context {
    /// The configuration in force: the file's with the flags' values on top.
    pub(crate) config: Arc<ArcSwap<Config>>,
    /// Mounts and their listeners.
    pub(crate) mounts: Arc<Mounts>,
    /// Where sources are read.
    pub(crate) sources: SourceThread,
    /// Who may do what.
    pub(crate) auth: Arc<Auth>,
    /// How relays are doing.
    pub(crate) relays: relay::Board,
    /// Pages, status documents, administration.
    pub(crate) api: api::Api,
    /// Changes with each reload and each saved change.
    pub(crate) reloaded: watch::Sender<u64>,
    /// Orders for the one who has all the parts in hand.
    pub(crate) orders: mpsc::Sender<Order>,
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
