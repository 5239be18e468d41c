//! How the rest of the program and the rings reach a delivery thread.
//!
//! Contract: neither posting nor ringing ever blocks, and a sleeping thread is woken at most once per nap.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::SyncSender,
    },
    time::Instant,
};

use crossbeam_queue::SegQueue;
use ring::Rung;

use crate::{Admission, Home, Inspect, Leave, ListenerView, Presence, WorkerMeter};

/// What a thread can be told.
pub(crate) enum Command {
    Admit(Box<Admission>),
    /// The routing of this home changed.
    Reroute(Arc<Home>),
    /// All listeners of one home belong to another from now on.
    Rehome {
        from: u64,
        to: Arc<Home>,
        name: Arc<String>,
    },
    /// Close whoever matches.
    Close {
        whom: Arc<dyn Fn(&Presence) -> bool + Send + Sync>,
        leave: Leave,
    },
    /// Tell what listeners look like from here.
    Inspect {
        worker: usize,
        inspect: Inspect,
        reply: SyncSender<Vec<ListenerView>>,
    },
    /// Send what is due until then and end.
    Finish {
        deadline: Instant,
    },
}

pub(crate) struct Inbox {
    commands: SegQueue<Command>,
    /// Feeds with new chunks.
    news: SegQueue<u64>,
    waker: mio::Waker,
    /// Whether the thread sleeps without knowing when to look at `news` again.
    naps: AtomicBool,
    /// How the thread is doing.
    pub(crate) meter: Arc<WorkerMeter>,
}

impl Inbox {
    pub(crate) fn new(waker: mio::Waker) -> Self {
        Self {
            commands: SegQueue::new(),
            news: SegQueue::new(),
            waker,
            naps: AtomicBool::new(false),
            meter: Arc::new(WorkerMeter::new()),
        }
    }

    pub(crate) fn post(&self, command: Command) {
        self.commands.push(command);
        // Waking can only fail when the thread is gone; the command is then moot.
        let _ = self.waker.wake();
    }

    pub(crate) fn take(&self) -> Option<Command> {
        self.commands.pop()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.commands.is_empty()
    }

    pub(crate) fn take_news(&self) -> Option<u64> {
        self.news.pop()
    }

    /// Declares a nap that only news may end; false when there is news already.
    pub(crate) fn nap(&self) -> bool {
        self.naps.store(true, Ordering::SeqCst);
        if self.news.is_empty() {
            return true;
        }
        self.naps.store(false, Ordering::SeqCst);
        false
    }

    pub(crate) fn wake_up(&self) {
        self.naps.store(false, Ordering::SeqCst);
    }
}

impl Rung for Inbox {
    fn rung(&self, feed: u64) {
        self.news.push(feed);
        if self.naps.load(Ordering::SeqCst) && self.naps.swap(false, Ordering::SeqCst) {
            // A failed wake-up only delays: the thread looks again within a second.
            let _ = self.waker.wake();
        }
    }
}
