//! What all connections of the port share.
//!
//! Contract: its locks are held for a few instructions and only by the port itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::client::Limits;
use crate::clients::Clients;
use crate::lane::Lane;
use crate::page::{Page, Pages};
use crate::spare::Spare;

/// Refusals that may be on their way at once.
const TURNED_AWAY: usize = 32;
/// Clients that may follow the events at once.
const FOLLOWERS: usize = 8;
/// Profiles at once. Those that need more than their own data refuse a second one themselves.
const PROFILES: usize = 8;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) pages: Pages,
    pub(crate) limits: Limits,
    /// The host names that the port answers to.
    pub(crate) names: observe::RwLock<Vec<String>>,
    pub(crate) lanes: Lanes,
    pub(crate) clients: Clients,
    /// The addresses that are open.
    pub(crate) bound: observe::Mutex<Vec<SocketAddr>>,
    pub(crate) turned_away: Arc<Semaphore>,
    pub(crate) followers: Arc<Semaphore>,
    /// One bundle at a time.
    pub(crate) bundles: Arc<Semaphore>,
    pub(crate) spare: Spare,
    /// True once the port closes.
    pub(crate) closing: watch::Sender<bool>,
}

/// The lanes by kind of work. Each has threads of its own, so that none can take away those of another.
#[derive(Debug)]
pub(crate) struct Lanes {
    pub(crate) metrics: Lane,
    pub(crate) checks: Lane,
    /// The port's own pages.
    pub(crate) own: Lane,
    pub(crate) profiles: Lane,
    pub(crate) bundle: Lane,
    /// One for each of the program's pages, in their order.
    pub(crate) pages: Vec<Lane>,
}

impl Lanes {
    fn new(pages: &[Page]) -> Lanes {
        let patience = Duration::from_secs(5);
        let limit = Some(Duration::from_secs(10));
        Lanes {
            metrics: Lane::new("scrapes", 2, patience, limit),
            checks: Lane::new("checks", 2, Duration::from_secs(1), Some(Duration::from_secs(3))),
            own: Lane::new("pages", 4, patience, limit),
            profiles: Lane::new("profiles", PROFILES, Duration::ZERO, None),
            bundle: Lane::new("bundles", 1, patience, None),
            pages: pages
                .iter()
                .map(|page| Lane::new(format!("requests for {}", page.path), 2, patience, limit))
                .collect(),
        }
    }

    fn threads(&self) -> usize {
        let own = [
            &self.metrics,
            &self.checks,
            &self.own,
            &self.profiles,
            &self.bundle,
        ];
        own.into_iter().chain(&self.pages).map(Lane::size).sum()
    }
}

impl Context {
    pub(crate) fn new(pages: Pages, names: Vec<String>, limits: Limits) -> Context {
        Context {
            lanes: Lanes::new(&pages.pages),
            clients: Clients::new(&limits),
            names: observe::RwLock::new("diagnostics names", names),
            bound: observe::Mutex::new("diagnostics addresses", Vec::new()),
            turned_away: Arc::new(Semaphore::new(TURNED_AWAY)),
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
            bundles: Arc::new(Semaphore::new(1)),
            spare: Spare::new(),
            closing: watch::Sender::new(false),
            limits,
            pages,
        }
    }

    /// Threads that all lanes together can take.
    pub(crate) fn threads(&self) -> usize {
        self.lanes.threads()
    }
}
