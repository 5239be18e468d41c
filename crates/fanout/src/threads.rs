//! The delivery threads as the rest of the program sees them.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use observe::{Mutex, thread::ThreadHandle, watchdog};

use crate::{
    Departure, Feed, Home, Interleave, Leave, Presence, Seat, Wire, WorkerMeter,
    inbox::{Command, Inbox},
    worker::Worker,
};

/// A round of a delivery thread that takes longer is a fault.
const STUCK: Duration = Duration::from_secs(5);

/// How delivery is set up.
pub struct Settings {
    /// How many threads; one per core is right.
    pub threads: usize,
    /// A listener that takes nothing for this long is dropped.
    pub write_timeout: Duration,
    /// Hears of each listener that leaves. Called on a delivery thread: it must not block.
    pub departures: Arc<dyn Fn(Departure) + Send + Sync>,
}

/// A listener on its way to a delivery thread.
pub struct Admission {
    /// The connection.
    pub wire: Wire,
    /// Sent before anything else.
    pub head: Bytes,
    /// The mount that was asked for.
    pub home: Arc<Home>,
    /// The stream that the head describes.
    pub feed: Arc<Feed>,
    /// What the head promised about the bytes.
    pub interleave: Interleave,
    /// Who.
    pub presence: Arc<Presence>,
    /// The place in the mount that feeds it.
    pub seat: Seat,
    /// The place in the server.
    pub server_seat: Seat,
}

/// The delivery threads. Dropping it ends them at once; [`Fanout::finish`] ends them well.
pub struct Fanout {
    inboxes: Vec<Arc<Inbox>>,
    /// Taken by whoever waits for the end.
    threads: Mutex<Vec<ThreadHandle<()>>>,
    accepts: AtomicBool,
}

impl Fanout {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system has no poller or thread to give.
    pub fn start(settings: &Settings) -> io::Result<Self> {
        let mut inboxes = Vec::new();
        let mut threads = Vec::new();
        for number in 0..settings.threads.max(1) {
            let (worker, inbox) = Worker::new(settings.write_timeout, Arc::clone(&settings.departures))?;
            inboxes.push(inbox);
            let pulse = watchdog::pulse("fanout", format!("delivery thread {number}"), STUCK);
            threads.push(observe::thread::spawn("fanout", move || worker.run(&pulse))?);
        }
        Ok(Self {
            inboxes,
            threads: Mutex::new("fanout.threads", threads),
            accepts: AtomicBool::new(true),
        })
    }

    /// Gives a listener to the thread with the fewest. After [`Fanout::finish`] it is dropped.
    pub fn admit(&self, admission: Admission) {
        if !self.accepts.load(Ordering::Acquire) {
            return;
        }
        let least = self.inboxes.iter().min_by_key(|inbox| inbox.meter.listeners());
        if let Some(inbox) = least {
            // Counted here already, so that a flood of joins is spread before the threads see it.
            inbox.meter.listeners.fetch_add(1, Ordering::Relaxed);
            inbox.post(Command::Admit(Box::new(admission)));
        }
    }

    /// Has all threads apply the routing of a home.
    pub fn reroute(&self, home: &Arc<Home>) {
        self.tell(|| Command::Reroute(Arc::clone(home)));
    }

    /// Makes all listeners of one mount listeners of another; those whose decoder cannot follow stay.
    pub fn rehome(&self, from: u64, to: &Arc<Home>, name: &Arc<String>) {
        self.tell(|| Command::Rehome {
            from,
            to: Arc::clone(to),
            name: Arc::clone(name),
        });
    }

    /// Closes every listener that matches.
    pub fn close(&self, whom: impl Fn(&Presence) -> bool + Send + Sync + 'static, leave: Leave) {
        let whom: Arc<dyn Fn(&Presence) -> bool + Send + Sync> = Arc::new(whom);
        self.tell(|| Command::Close {
            whom: Arc::clone(&whom),
            leave,
        });
    }

    /// Listeners per thread.
    #[must_use]
    pub fn listeners(&self) -> Vec<usize> {
        self.inboxes.iter().map(|inbox| inbox.meter.listeners()).collect()
    }

    /// How each thread is doing.
    pub fn meters(&self) -> impl Iterator<Item = &Arc<WorkerMeter>> {
        self.inboxes.iter().map(|inbox| &inbox.meter)
    }

    /// Threads that have ended although nobody asked them to. Empty while the answer would have to be waited for.
    #[must_use]
    pub fn ended_early(&self) -> Vec<usize> {
        if !self.accepts.load(Ordering::Acquire) {
            return Vec::new();
        }
        let threads = self.threads.try_lock();
        let threads = threads.iter().flat_map(|threads| threads.iter().enumerate());
        threads
            .filter(|(_, thread)| thread.is_finished())
            .map(|(number, _)| number)
            .collect()
    }

    pub(crate) fn inboxes(&self) -> &[Arc<Inbox>] {
        &self.inboxes
    }

    /// Lets nobody in any more, and has the threads end once they have sent what is due, at the latest at
    /// `deadline`.
    pub fn begin_finish(&self, deadline: Instant) {
        self.accepts.store(false, Ordering::Release);
        self.tell(|| Command::Finish { deadline });
    }

    /// Like [`Fanout::begin_finish`], and waits for the end. Blocks.
    pub fn finish(&self, deadline: Instant) {
        self.begin_finish(deadline);
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            // A panic in a delivery thread has been reported where it happened.
            let _ = thread.join();
        }
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for inbox in &self.inboxes {
            inbox.post(command());
        }
    }
}

impl Drop for Fanout {
    fn drop(&mut self) {
        self.finish(Instant::now());
    }
}

impl fmt::Debug for Fanout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fanout")
            .field("listeners", &self.listeners())
            .finish_non_exhaustive()
    }
}
