//! Who a listener is, for those who watch and administer.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;

/// A connected listener. Shared between its delivery thread and the registry.
#[derive(Debug)]
pub struct Presence {
    /// Stable and unique for the life of the process; what `killclient` takes.
    pub id: u64,
    /// Client address, behind trusted proxies the derived one.
    pub ip: IpAddr,
    /// As the request said; may be empty.
    pub user_agent: Box<str>,
    /// As the request said; may be empty.
    pub referer: Box<str>,
    /// When the request was accepted.
    pub since: Instant,
    /// Not counted against limits.
    pub exempt: bool,
    mount: ArcSwap<String>,
    fed_by: ArcSwap<String>,
    sent: AtomicU64,
    behind: AtomicU64,
}

impl Presence {
    /// A listener that has been accepted at `since`.
    #[must_use]
    pub fn new(id: u64, ip: IpAddr, mount: Arc<String>, since: Instant) -> Self {
        Self {
            id,
            ip,
            user_agent: "".into(),
            referer: "".into(),
            since,
            exempt: false,
            fed_by: ArcSwap::new(Arc::clone(&mount)),
            mount: ArcSwap::new(mount),
            sent: AtomicU64::new(0),
            behind: AtomicU64::new(0),
        }
    }

    /// Name of the mount that it belongs to: the one asked for, unless an administrator moved it.
    #[must_use]
    pub fn mount(&self) -> Arc<String> {
        self.mount.load_full()
    }

    pub(crate) fn set_mount(&self, mount: Arc<String>) {
        self.mount.store(mount);
    }

    /// Name of the mount that feeds it now: another one while it is on a fallback.
    #[must_use]
    pub fn fed_by(&self) -> Arc<String> {
        self.fed_by.load_full()
    }

    pub(crate) fn set_fed_by(&self, mount: &Arc<String>) {
        self.fed_by.store(Arc::clone(mount));
    }

    /// Bytes written to it; about a second old.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Chunks behind the live edge; about a second old.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.behind.load(Ordering::Relaxed)
    }

    pub(crate) fn publish(&self, sent: u64, behind: u64) {
        self.sent.store(sent, Ordering::Relaxed);
        self.behind.store(behind, Ordering::Relaxed);
    }
}

observe::label! {
    /// Why a listener is gone.
    pub enum Leave {
        /// It hung up.
        Client = "client",
        /// It could not keep up.
        Slow = "slow",
        /// An administrator closed it.
        Kicked = "kicked",
        /// The server ends.
        Shutdown = "shutdown",
        /// Nothing was left to feed it.
        SourceGone = "source_gone",
        /// The mount it was moved to has no place for it.
        Full = "full",
        /// The socket failed.
        Error = "error",
    }
}

/// Told once per listener, from its delivery thread: the receiver must not block.
#[derive(Debug)]
pub struct Departure {
    /// Who.
    pub presence: Arc<Presence>,
    /// Why.
    pub leave: Leave,
    /// Bytes written to it.
    pub sent: u64,
}
