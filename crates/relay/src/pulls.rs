//! All relays: which run, and what a new configuration changes about them.
//!
//! Contract: a relay whose record did not change is not touched. One that goes takes its mount along at once; one
//! that changes hands its mount, with the listeners, to its successor.

use std::{collections::BTreeMap, sync::Arc};

use config::{MountName, Relay};
use icecast::relay::OwnAddresses;
use mount::Mounts;
use observe::task::{self, TaskHandle};
use outbound::Client;
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
};

use crate::{
    Board, Upstream,
    pull::{End, Pull},
};

/// What all relays need to know besides their records.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Dials, with the rules of where to.
    pub client: Client,
    /// Where nobody may pull from, because it is here.
    pub own: OwnAddresses,
    /// Names this process to upstreams.
    pub instance: String,
}

impl Terms {
    fn same(&self, other: &Self) -> bool {
        self.client.policy() == other.client.policy()
            && self.own == other.own
            && self.instance == other.instance
    }
}

/// The relays that run.
#[derive(Debug)]
pub struct Pulls {
    mounts: Arc<Mounts>,
    runtime: Handle,
    board: Board,
    terms: watch::Sender<Arc<Terms>>,
    running: BTreeMap<MountName, Running>,
}

#[derive(Debug)]
struct Running {
    record: Relay,
    /// Nothing when the address is of no use.
    task: Option<(oneshot::Sender<End>, TaskHandle<()>)>,
}

impl Running {
    /// Whether its task is gone although nobody told it to end.
    fn has_ended(&self) -> bool {
        self.task.as_ref().is_some_and(|(_, task)| task.is_finished())
    }
}

impl Pulls {
    /// No relay yet. Those to come will run on `runtime`.
    #[must_use]
    pub fn new(mounts: Arc<Mounts>, board: Board, terms: Terms, runtime: Handle) -> Self {
        Self {
            mounts,
            runtime,
            board,
            terms: watch::Sender::new(Arc::new(terms)),
            running: BTreeMap::new(),
        }
    }

    /// Makes exactly the enabled `records` run, each in a task of its own. Of several for one mount the first counts.
    /// Resolves when those that go are gone.
    pub async fn apply(&mut self, records: &[Relay], terms: Terms) {
        // Whoever waits tries again: the new terms may be what was missing.
        self.terms.send_if_modified(|present| {
            let changed = !present.same(&terms);
            *present = Arc::new(terms);
            changed
        });
        let mut wanted = BTreeMap::new();
        for record in records.iter().filter(|record| record.enabled) {
            wanted.entry(record.mount.clone()).or_insert(record);
        }
        let gone: Vec<_> = self
            .running
            .iter()
            .filter(|(mount, running)| wanted.get(*mount) != Some(&&running.record) || running.has_ended())
            .map(|(mount, _)| {
                let end = if wanted.contains_key(mount) {
                    End::HandOver
                } else {
                    End::Remove
                };
                (mount.clone(), end)
            })
            .collect();
        self.end(gone).await;
        for (mount, record) in wanted {
            if !self.running.contains_key(&mount) {
                let running = self.start(record);
                self.running.insert(mount, running);
            }
        }
    }

    /// Makes the relay of one mount connect anew. False when none runs.
    pub async fn restart(&mut self, mount: &MountName) -> bool {
        let Some(record) = self.running.get(mount).map(|running| running.record.clone()) else {
            return false;
        };
        self.end(vec![(mount.clone(), End::HandOver)]).await;
        let running = self.start(&record);
        self.running.insert(mount.clone(), running);
        true
    }

    /// Ends all relays; their mounts are left to the shutdown.
    pub async fn stop(&mut self) {
        let all = self.running.keys().map(|mount| (mount.clone(), End::HandOver));
        self.end(all.collect()).await;
    }

    fn start(&self, record: &Relay) -> Running {
        let task = match Upstream::parse(&record.url, &record.password) {
            Ok(upstream) => {
                let gauge = self.board.add(&record.mount, upstream.shown());
                let (end, ended) = oneshot::channel();
                let pull = Pull::new(
                    record,
                    upstream,
                    Arc::clone(&self.mounts),
                    gauge,
                    self.terms.subscribe(),
                );
                let task = task::spawn_on(
                    &self.runtime,
                    "relay-pull",
                    record.mount.as_str(),
                    pull.run(ended),
                );
                Some((end, task))
            }
            Err(bad) => {
                // The text may be anything, credentials included.
                let gauge = self.board.add(&record.mount, String::new());
                gauge.unusable(bad.to_string());
                None
            }
        };
        Running {
            record: record.clone(),
            task,
        }
    }

    async fn end(&mut self, mounts: Vec<(MountName, End)>) {
        let mut ending = Vec::new();
        for (mount, end) in mounts {
            self.board.remove(&mount);
            if let Some(Running {
                task: Some((tell, task)),
                ..
            }) = self.running.remove(&mount)
            {
                // A task that is gone already has nothing left to do.
                let _ = tell.send(end);
                ending.push(task);
            }
        }
        for task in ending {
            // A panic has been reported where it happened.
            let _ = task.await;
        }
    }
}
