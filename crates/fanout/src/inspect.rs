//! A close look at listeners, for a person who asks why one of them breaks up.
//!
//! Contract: a delivery thread answers for a bounded number of its listeners, and whoever asks waits for a bounded
//! time: a thread that is stuck is named instead.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use crate::{Fanout, Presence, TcpInfo, inbox::Command, worker::Worker};

/// Whom to look at.
#[derive(Clone)]
pub struct Inspect {
    /// How many at most, those that are furthest behind first.
    pub most: usize,
    /// Who is meant.
    pub whom: Arc<dyn Fn(&Presence) -> bool + Send + Sync>,
}

/// One listener, seen from its delivery thread.
#[derive(Debug, Clone)]
pub struct ListenerView {
    /// Who.
    pub presence: Arc<Presence>,
    /// The delivery thread.
    pub worker: usize,
    /// Bytes written to it.
    pub sent: u64,
    /// Chunks behind the live edge.
    pub chunks_behind: u64,
    /// Bytes behind the live edge.
    pub bytes_behind: u64,
    /// Age of what it is sent next; nothing when it has everything.
    pub lag: Option<Duration>,
    /// Since when its socket takes nothing.
    pub blocked: Option<Duration>,
    /// Since the last write that its socket took.
    pub since_write: Duration,
    /// What the kernel knows.
    pub tcp: Option<TcpInfo>,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Inspection {
    /// Listeners, those that are furthest behind first.
    pub listeners: Vec<ListenerView>,
    /// Delivery threads that did not answer in time.
    pub silent: Vec<usize>,
}

impl Fanout {
    /// Looks at listeners. Blocks until all threads have answered or `patience` is over.
    #[must_use]
    pub fn inspect(&self, inspect: &Inspect, patience: Duration) -> Inspection {
        let deadline = Instant::now() + patience;
        let answers: Vec<_> = self
            .inboxes()
            .iter()
            .enumerate()
            .map(|(worker, inbox)| {
                let (reply, answer) = mpsc::sync_channel(1);
                inbox.post(Command::Inspect {
                    worker,
                    inspect: inspect.clone(),
                    reply,
                });
                answer
            })
            .collect();
        let mut seen = Inspection::default();
        for (worker, answer) in answers.iter().enumerate() {
            match answer.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(views) => seen.listeners.extend(views),
                Err(_) => seen.silent.push(worker),
            }
        }
        seen.listeners
            .sort_by_key(|view| std::cmp::Reverse((view.bytes_behind, view.presence.id)));
        seen.listeners.truncate(inspect.most);
        seen
    }
}

impl Worker {
    pub(crate) fn inspect(&self, worker: usize, inspect: &Inspect, now: Instant) -> Vec<ListenerView> {
        let head_of = |feed: Option<u64>| feed.and_then(|id| self.ring_of(id));
        let mut keys: Vec<_> = self
            .listeners()
            .filter(|(_, listener)| (inspect.whom)(&listener.presence))
            .map(|(key, listener)| {
                let behind = head_of(listener.feed)
                    .map_or(0, |ring| ring.head().saturating_sub(listener.position.seq));
                (behind, key)
            })
            .collect();
        if keys.len() > inspect.most {
            keys.select_nth_unstable_by_key(inspect.most, |&(behind, _)| std::cmp::Reverse(behind));
            keys.truncate(inspect.most);
        }
        let view = |(behind, key): (u64, usize)| {
            let listener = self.listener(key)?;
            let ring = head_of(listener.feed);
            let next = ring.and_then(|ring| ring.get(listener.position.seq));
            let bytes = match (&next, ring) {
                (Some(chunk), Some(ring)) => ring.written().saturating_sub(chunk.start),
                _ => 0,
            };
            Some(ListenerView {
                presence: Arc::clone(&listener.presence),
                worker,
                sent: listener.sent,
                chunks_behind: behind,
                bytes_behind: bytes,
                lag: next.map(|chunk| now.saturating_duration_since(chunk.at)),
                blocked: listener
                    .blocked_since
                    .map(|since| now.saturating_duration_since(since)),
                since_write: now.saturating_duration_since(listener.last_write),
                tcp: listener.wire.tcp_info(),
            })
        };
        keys.into_iter().filter_map(view).collect()
    }
}

impl std::fmt::Debug for Inspect {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Inspect")
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}
