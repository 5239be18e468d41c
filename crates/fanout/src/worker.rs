//! One delivery thread.
//!
//! Contract: the loop never blocks except in `poll`, and never longer than its next duty.

pub(crate) mod listener;
mod membership;
mod paged;
mod send;

use std::{
    collections::HashMap,
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use mio::{Events, Poll, Token};
use observe::watchdog::Pulse;
use ring::{Bell, Chunk};

use self::{listener::Listener, paged::Paged};
use crate::{
    Departure, Feed, Home, Leave,
    inbox::{Command, Inbox},
    meter, pace,
};

const WAKER: Token = Token(usize::MAX);

/// Commands taken between two looks at the sockets, so that a flood of joins does not starve delivery.
const COMMANDS_AT_ONCE: usize = 64;

/// How often deadlines are checked and counters published.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// A listener that closed its sending side and could not be written to for this long is gone.
const GOODBYE: Duration = Duration::from_secs(5);

pub(crate) struct Worker {
    poll: Poll,
    inbox: Arc<Inbox>,
    departures: Arc<dyn Fn(Departure) + Send + Sync>,
    write_timeout: Duration,
    listeners: Paged<Listener>,
    homes: HashMap<u64, HomeMembers>,
    feeds: HashMap<u64, FeedMembers>,
    /// Composed bytes of one listener; kept to save its allocation.
    scratch: Vec<u8>,
    /// Chunks of one listener that are older than the present flush.
    fetched: Vec<Arc<Chunk>>,
    /// Feeds to flush in this round; kept to save its allocation.
    news: Vec<u64>,
    /// Listeners that are behind and whose sockets would take more at once.
    unfinished: Vec<usize>,
    finishing: Option<Instant>,
}

/// Listeners by the mount they asked for.
struct HomeMembers {
    home: Arc<Home>,
    keys: Vec<usize>,
}

/// Listeners by the stream that feeds them.
struct FeedMembers {
    feed: Arc<Feed>,
    bell: Arc<Bell>,
    keys: Vec<usize>,
    /// Where the last flush ended, and so where listeners that keep up stand.
    edge: u64,
    /// The chunks of a flush and, when there are several, their bytes in one piece.
    batch: Vec<Arc<Chunk>>,
    joined: Vec<u8>,
}

impl Worker {
    pub(crate) fn new(
        write_timeout: Duration,
        departures: Arc<dyn Fn(Departure) + Send + Sync>,
    ) -> io::Result<(Self, Arc<Inbox>)> {
        let poll = Poll::new()?;
        let inbox = Arc::new(Inbox::new(mio::Waker::new(poll.registry(), WAKER)?));
        let worker = Self {
            poll,
            inbox: Arc::clone(&inbox),
            departures,
            write_timeout,
            listeners: Paged::new(),
            homes: HashMap::new(),
            feeds: HashMap::new(),
            scratch: Vec::with_capacity(128 << 10),
            fetched: Vec::with_capacity(256),
            news: Vec::new(),
            unfinished: Vec::new(),
            finishing: None,
        };
        Ok((worker, inbox))
    }

    pub(crate) fn run(mut self, pulse: &Pulse) {
        let mut events = Events::with_capacity(1_024);
        let mut next_flush = Instant::now();
        let (mut round, mut worked) = (next_flush, false);
        let mut next_housekeeping = Instant::now() + HOUSEKEEPING;
        loop {
            let now = Instant::now();
            if now >= next_flush {
                let flushed = self.flush_news(now);
                if flushed {
                    worked = true;
                    next_flush = Instant::now() + self.interval();
                }
            }
            if now >= next_housekeeping {
                self.keep_house(now);
                next_housekeeping = now + HOUSEKEEPING;
            }
            if self.is_finished(now) {
                return;
            }
            if worked {
                self.inbox.meter.cycle.observe_duration(meter::since(round));
            }
            let wait = if self.inbox.is_waiting() || !self.unfinished.is_empty() {
                Duration::ZERO
            } else {
                let now = Instant::now();
                let house = next_housekeeping.saturating_duration_since(now);
                let flush = next_flush.saturating_duration_since(now);
                // Between two flushes news can wait; after that it ends the nap.
                if !flush.is_zero() {
                    house.min(flush)
                } else if self.inbox.nap() {
                    house
                } else {
                    Duration::ZERO
                }
            };
            pulse.rest();
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    // Without a poller there is nothing left to do well; the next round tries again.
                    std::thread::sleep(Duration::from_millis(10));
                }
                _ => {}
            }
            pulse.beat();
            self.inbox.wake_up();
            let now = Instant::now();
            round = now;
            worked = !self.unfinished.is_empty() || events.iter().any(|event| event.token() != WAKER);
            for event in &events {
                if event.token() != WAKER {
                    self.attend(event, now);
                }
            }
            for key in std::mem::take(&mut self.unfinished) {
                self.pump(key, now);
            }
            for _ in 0..COMMANDS_AT_ONCE {
                let Some(command) = self.inbox.take() else { break };
                worked = true;
                self.obey(command, now);
            }
        }
    }

    fn interval(&self) -> Duration {
        if self
            .feeds
            .values()
            .any(|members| members.feed.low_latency.load(Ordering::Relaxed))
        {
            return Duration::ZERO;
        }
        pace::interval(self.listeners.len())
    }

    fn obey(&mut self, command: Command, now: Instant) {
        match command {
            Command::Admit(admission) => self.admit(*admission, now),
            Command::Reroute(home) => self.reroute(&home, now),
            Command::Rehome { from, to, name } => self.rehome(from, &to, &name, now),
            Command::Close { whom, leave } => {
                let keys: Vec<_> = self
                    .listeners
                    .iter()
                    .filter(|(_, listener)| whom(&listener.presence))
                    .map(|(key, _)| key)
                    .collect();
                for key in keys {
                    self.remove(key, leave);
                }
            }
            Command::Inspect {
                worker,
                inspect,
                reply,
            } => {
                // Whoever asked may have lost patience.
                let _ = reply.try_send(self.inspect(worker, &inspect, now));
            }
            Command::Finish { deadline } => {
                self.finishing = Some(self.finishing.map_or(deadline, |earlier| earlier.min(deadline)));
                for key in self.keys() {
                    self.close_when_sent(key, Leave::Shutdown, deadline, now);
                }
            }
        }
    }

    fn attend(&mut self, event: &mio::event::Event, now: Instant) {
        let key = event.token().0;
        let Some(listener) = self.listeners.get_mut(key) else {
            return;
        };
        if event.is_error() {
            return self.remove(key, Leave::Client);
        }
        if event.is_readable() || event.is_read_closed() {
            match listener.wire.drain() {
                Ok(true) => {}
                // A client may close its sending side and go on listening; writing tells the two apart.
                Ok(false) => listener.said_goodbye = true,
                Err(_) => return self.remove(key, Leave::Client),
            }
        }
        if event.is_writable() && listener.blocked_since.is_some() {
            listener.blocked_since = None;
            self.pump(key, now);
        }
    }

    /// Flushes every feed that has news. False when there was none. News that come meanwhile wait for the next
    /// flush, or a thread with many feeds would never pause.
    fn flush_news(&mut self, now: Instant) -> bool {
        let mut news = std::mem::take(&mut self.news);
        while let Some(id) = self.inbox.take_news() {
            news.push(id);
        }
        let mut flushed = false;
        for id in news.drain(..) {
            flushed |= self.flush(id, now);
        }
        self.news = news;
        flushed
    }

    fn keep_house(&mut self, now: Instant) {
        let mut gone = Vec::new();
        let mut catching_up = 0;
        for (key, listener) in self.listeners.iter() {
            let members = listener.feed.and_then(|id| self.feeds.get(&id));
            listener.publish(members.map(|members| members.feed.ring.head()));
            catching_up += u64::from(members.is_some_and(|members| listener.position.seq < members.edge));
            let leave = if let Some((leave, deadline)) = listener.closing
                && now >= deadline
            {
                leave
            } else if listener
                .blocked_since
                .is_some_and(|since| now - since >= self.write_timeout)
            {
                if let Some(members) = members {
                    members.feed.counters.slow.fetch_add(1, Ordering::Relaxed);
                }
                Leave::Slow
            } else if listener.held_until.is_some_and(|until| now >= until) {
                Leave::SourceGone
            } else if listener.said_goodbye && now - listener.last_write >= GOODBYE {
                Leave::Client
            } else {
                continue;
            };
            gone.push((key, leave));
        }
        self.inbox.meter.catching_up.store(catching_up, Ordering::Relaxed);
        self.inbox.meter.interval.set(self.interval().as_secs_f64());
        for (key, leave) in gone {
            self.remove(key, leave);
        }
    }

    pub(crate) fn listeners(&self) -> impl Iterator<Item = (usize, &Listener)> {
        self.listeners.iter()
    }

    pub(crate) fn listener(&self, key: usize) -> Option<&Listener> {
        self.listeners.get(key)
    }

    pub(crate) fn ring_of(&self, feed: u64) -> Option<&ring::Ring> {
        self.feeds.get(&feed).map(|members| &*members.feed.ring)
    }

    fn keys(&self) -> Vec<usize> {
        self.listeners.iter().map(|(key, _)| key).collect()
    }

    fn is_finished(&self, now: Instant) -> bool {
        self.finishing
            .is_some_and(|deadline| now >= deadline || self.listeners.is_empty())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        for key in self.keys() {
            self.remove(key, Leave::Shutdown);
        }
    }
}
