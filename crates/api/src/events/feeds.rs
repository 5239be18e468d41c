//! The open feeds: who is subscribed, and the task that tells them.
//!
//! Contract: the task runs only while somebody is subscribed, and mounts are looked at once per tick whatever their
//! number. Nothing here waits for a subscriber.
//!
//! 1,000 feeds of 100 mounts, 10 of which change per tick, take 3.8 % of one core, nearly all of it in the kernel's
//! sending (`cargo run --release -p api --example event_feeds`).

use std::{
    collections::{HashMap, hash_map::Entry as Place},
    net::IpAddr,
    sync::Arc,
};

use front::household;
use observe::Mutex;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{
    TICK,
    beside::Look,
    group::{CatchUp, Group, Published},
    places::Places,
    tick::{Reading, Tick, Ticker},
    view::Selection,
};
use crate::metrics::{SSE_SKIPPED_TICKS, SSE_SUBSCRIBERS};

/// How many feeds there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Per client address; IPv6 clients are counted by /64.
    pub(crate) per_client: usize,
    /// Altogether.
    pub(crate) total: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_client: 20,
            total: 10_000,
        }
    }
}

/// Why a feed is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The client has as many as it may have.
    Client,
    /// So has the server.
    Server,
}

/// All feeds of the server.
pub(crate) struct Feeds {
    /// Where listeners are, for feeds and for whoever asks by itself.
    pub(crate) map: Arc<Look<Places>>,
    read: Box<dyn Fn() -> Reading + Send + Sync>,
    limits: Limits,
    /// Held to come and go, and once per tick to write the bursts.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    groups: HashMap<Arc<Selection>, Group>,
    /// The last one, while the task runs.
    tick: Option<Arc<Tick>>,
    running: bool,
    clients: HashMap<IpAddr, usize>,
    total: usize,
}

impl Feeds {
    pub(crate) fn new(
        limits: Limits,
        map: Arc<Look<Places>>,
        read: impl Fn() -> Reading + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            map,
            read: Box::new(read),
            limits,
            state: Mutex::new("events.feeds", State::default()),
        })
    }

    /// Opens a feed for a client.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        selection: Selection,
        client: IpAddr,
    ) -> Result<(Subscription, CatchUp), Full> {
        let client = household(client);
        let mut state = self.state.lock();
        if state.total >= self.limits.total {
            return Err(Full::Server);
        }
        if state
            .clients
            .get(&client)
            .is_some_and(|feeds| *feeds >= self.limits.per_client)
        {
            return Err(Full::Client);
        }
        *state.clients.entry(client).or_insert(0) += 1;
        state.total += 1;
        SSE_SUBSCRIBERS.of(selection.feed()).add(1.0);
        let State {
            groups,
            tick,
            running,
            ..
        } = &mut *state;
        let selection = Arc::new(selection);
        let (selection, group) = match groups.entry(selection) {
            Place::Occupied(place) => (Arc::clone(place.key()), place.into_mut()),
            Place::Vacant(place) => {
                let selection = Arc::clone(place.key());
                let group = Group::new(Selection::clone(&selection));
                (selection, place.insert(group))
            }
        };
        let (bursts, catch_up) = group.join(tick.as_deref());
        if !std::mem::replace(running, true) {
            observe::task::spawn("event-feeds", (), Arc::clone(self).run()).detach();
        }
        let subscription = Subscription {
            feeds: Arc::clone(self),
            selection,
            client,
            bursts,
            seen: catch_up.number,
        };
        Ok((subscription, catch_up))
    }

    #[cfg(test)]
    pub(crate) fn is_at_rest(&self) -> bool {
        let state = self.state.lock();
        !state.running && state.groups.is_empty() && state.clients.is_empty()
    }

    /// Ticks until nobody is subscribed.
    async fn run(self: Arc<Self>) {
        let _running = Running(&self);
        let mut ticker = Ticker::default();
        let mut clock = interval(TICK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            {
                let mut state = self.state.lock();
                state.groups.retain(|_, group| !group.is_deserted());
                if state.groups.is_empty() {
                    state.end();
                    return;
                }
            }
            let tick = ticker.tick((self.read)());
            let mut state = self.state.lock();
            for group in state.groups.values_mut() {
                group.step(&tick);
            }
            state.tick = Some(tick);
        }
    }
}

impl State {
    fn end(&mut self) {
        self.running = false;
        self.tick = None;
    }
}

/// Ends the feeds of a task that panicked, so that their readers come again and start another.
struct Running<'a>(&'a Feeds);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut state = self.0.state.lock();
            state.groups.clear();
            state.end();
        }
    }
}

/// One reader of a feed. Dropping it gives its place back.
pub(crate) struct Subscription {
    feeds: Arc<Feeds>,
    selection: Arc<Selection>,
    client: IpAddr,
    bursts: watch::Receiver<Option<Published>>,
    /// The last burst that the reader got or needs not get.
    seen: u64,
}

impl Subscription {
    /// Waits for something to tell; nothing at the end of the feed.
    pub(crate) async fn news(&mut self) -> Option<Vec<bytes::Bytes>> {
        loop {
            self.bursts.changed().await.ok()?;
            let Some(burst) = self.bursts.borrow_and_update().clone() else {
                continue;
            };
            // What came between was in what the reader was told at once.
            let missed = match burst.number.checked_sub(self.seen + 1) {
                None => continue,
                Some(0) => {
                    self.seen = burst.number;
                    return Some(vec![burst.text]);
                }
                Some(missed) => missed,
            };
            SSE_SKIPPED_TICKS.of(self.selection.feed()).add(missed);
            let mut state = self.feeds.state.lock();
            let State { groups, tick, .. } = &mut *state;
            let (group, tick) = (groups.get_mut(&*self.selection)?, tick.as_deref()?);
            let CatchUp { number, text } = group.catch_up(self.seen, tick);
            self.seen = number;
            return Some(text);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        SSE_SUBSCRIBERS.of(self.selection.feed()).add(-1.0);
        let mut state = self.feeds.state.lock();
        state.total -= 1;
        if let Place::Occupied(mut feeds) = state.clients.entry(self.client) {
            *feeds.get_mut() -= 1;
            if *feeds.get() == 0 {
                feeds.remove();
            }
        }
    }
}
