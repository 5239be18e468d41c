//! Joining, moving and leaving.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use mio::Token;
use ring::{Bell, Rung};

use super::{FeedMembers, HomeMembers, Listener, Worker};
use crate::{Admission, Departure, Feed, Home, Leave, Otherwise, Routing, position::Position};

/// What is due to a listener whose stream ended has this long to get out.
const LAST_WORDS: Duration = Duration::from_secs(10);

impl Worker {
    pub(super) fn admit(&mut self, admission: Admission, now: Instant) {
        let Admission {
            wire,
            head,
            home,
            feed,
            interleave,
            presence,
            seat,
            server_seat,
        } = admission;
        let start = feed.ring.join(feed.burst(), now);
        let listener = Listener {
            wire,
            position: Position::new(head, &feed.ring, start, interleave),
            feed: None,
            feed_index: 0,
            home: home.id,
            home_index: 0,
            compatible: feed.compatible.load_full(),
            presence,
            seat: Some(seat),
            _server_seat: server_seat,
            sent: 0,
            blocked_since: None,
            last_write: now,
            held_until: None,
            closing: None,
            jumps: 0,
            said_goodbye: false,
            bursting: true,
        };
        let key = self.listeners.insert(listener);
        // The admission counted it; keep the count in step with what is really here.
        self.count_listeners();
        self.enter_home(key, &home);
        self.enter_feed(key, &feed);
        if let Some(deadline) = self.finishing {
            return self.close_when_sent(key, Leave::Shutdown, deadline, now);
        }
        let registry = self.poll.registry();
        if self
            .listeners
            .get_mut(key)
            .is_some_and(|listener| listener.wire.register(registry, Token(key)).is_err())
        {
            return self.remove(key, Leave::Error);
        }
        // The routing may have changed while the listener was on its way.
        self.route(key, &home.routing(), now);
        self.pump(key, now);
    }

    pub(super) fn reroute(&mut self, home: &Arc<Home>, now: Instant) {
        let Some(members) = self.homes.get(&home.id) else {
            return;
        };
        let routing = home.routing();
        for key in members.keys.clone() {
            self.route(key, &routing, now);
        }
    }

    pub(super) fn rehome(&mut self, from: u64, to: &Arc<Home>, name: &Arc<String>, now: Instant) {
        let Some(members) = self.homes.get(&from) else {
            return;
        };
        let routing = to.routing();
        for key in members.keys.clone() {
            let Some(listener) = self.listeners.get(key) else {
                continue;
            };
            if routing
                .feeds
                .iter()
                .any(|feed| feed.can_follow(&listener.compatible))
            {
                self.leave_home(key);
                self.enter_home(key, to);
                if let Some(listener) = self.listeners.get_mut(key) {
                    listener.presence.set_mount(Arc::clone(name));
                }
                self.route(key, &routing, now);
            }
        }
    }

    /// Feeds the listener from the first stream that suits it.
    fn route(&mut self, key: usize, routing: &Routing, now: Instant) {
        let Some(listener) = self.listeners.get_mut(key) else {
            return;
        };
        if listener.closing.is_some() {
            return;
        }
        let present = listener.feed;
        if let Some(members) = present.and_then(|id| self.feeds.get(&id)) {
            // What the stream is may have become known after the listener joined.
            listener.compatible = members.feed.compatible.load_full();
        }
        if routing.stay && routing.feeds.iter().any(|feed| Some(feed.id) == present) {
            return;
        }
        let suits = |feed: &&Arc<Feed>| Some(feed.id) == present || feed.can_follow(&listener.compatible);
        match routing.feeds.iter().find(suits) {
            Some(feed) if Some(feed.id) == present => {}
            Some(feed) => self.move_to(key, &Arc::clone(feed), now),
            None => match routing.otherwise {
                Otherwise::Close => self.close_when_sent(key, Leave::SourceGone, now + LAST_WORDS, now),
                Otherwise::Hold(time) => {
                    listener.held_until.get_or_insert(now + time);
                }
            },
        }
    }

    fn move_to(&mut self, key: usize, feed: &Arc<Feed>, now: Instant) {
        let Some(listener) = self.listeners.get_mut(key) else {
            return;
        };
        let Ok(seat) = feed.seating.take(listener.presence.exempt) else {
            return self.remove(key, Leave::Full);
        };
        listener.seat = Some(seat);
        listener.held_until = None;
        listener
            .position
            .go_to(&feed.ring, feed.ring.join(feed.burst(), now));
        self.leave_feed(key);
        self.enter_feed(key, feed);
        self.pump(key, now);
    }

    /// Sends what the listener is due and then closes it.
    pub(super) fn close_when_sent(&mut self, key: usize, leave: Leave, deadline: Instant, now: Instant) {
        let Some(listener) = self.listeners.get_mut(key) else {
            return;
        };
        listener.closing.get_or_insert((leave, deadline));
        self.pump(key, now);
    }

    pub(super) fn remove(&mut self, key: usize, leave: Leave) {
        self.leave_home(key);
        self.leave_feed(key);
        let Some(listener) = self.listeners.remove(key) else {
            return;
        };
        listener.publish(None);
        self.count_listeners();
        // The seats are free before anyone is told, so that numbers read afterwards are right.
        let Listener {
            presence,
            sent,
            seat,
            _server_seat,
            wire,
            ..
        } = listener;
        drop((seat, _server_seat, wire));
        (self.departures)(Departure {
            presence,
            leave,
            sent,
        });
    }

    fn count_listeners(&self) {
        self.inbox
            .meter
            .listeners
            .store(self.listeners.len(), Ordering::Relaxed);
    }

    fn enter_home(&mut self, key: usize, home: &Arc<Home>) {
        let members = self.homes.entry(home.id).or_insert_with(|| HomeMembers {
            home: Arc::clone(home),
            keys: Vec::new(),
        });
        debug_assert_eq!(members.home.id, home.id);
        if let Some(listener) = self.listeners.get_mut(key) {
            listener.home = home.id;
            listener.home_index = members.keys.len();
            members.keys.push(key);
        }
    }

    fn leave_home(&mut self, key: usize) {
        let Some(listener) = self.listeners.get(key) else {
            return;
        };
        let (home, index) = (listener.home, listener.home_index);
        let Some(members) = self.homes.get_mut(&home) else {
            return;
        };
        members.keys.swap_remove(index);
        if let Some(moved) = members.keys.get(index)
            && let Some(listener) = self.listeners.get_mut(*moved)
        {
            listener.home_index = index;
        }
        if members.keys.is_empty() {
            self.homes.remove(&home);
        }
    }

    fn enter_feed(&mut self, key: usize, feed: &Arc<Feed>) {
        let members = self.feeds.entry(feed.id).or_insert_with(|| {
            let target: Arc<dyn Rung> = Arc::clone(&self.inbox) as Arc<dyn Rung>;
            let bell = Bell::new(target, feed.id);
            feed.ring.attach(&bell);
            bell.arm();
            FeedMembers {
                feed: Arc::clone(feed),
                bell,
                keys: Vec::new(),
                edge: feed.ring.head(),
                batch: Vec::new(),
                joined: Vec::new(),
            }
        });
        if let Some(listener) = self.listeners.get_mut(key) {
            listener.presence.set_fed_by(&feed.mount);
            listener.feed = Some(feed.id);
            listener.feed_index = members.keys.len();
            members.keys.push(key);
        }
    }

    fn leave_feed(&mut self, key: usize) {
        let Some(listener) = self.listeners.get_mut(key) else {
            return;
        };
        let Some(feed) = listener.feed.take() else { return };
        let index = listener.feed_index;
        let Some(members) = self.feeds.get_mut(&feed) else {
            return;
        };
        members.keys.swap_remove(index);
        if let Some(moved) = members.keys.get(index)
            && let Some(listener) = self.listeners.get_mut(*moved)
        {
            listener.feed_index = index;
        }
        if members.keys.is_empty()
            && let Some(members) = self.feeds.remove(&feed)
        {
            members.feed.ring.detach(&members.bell);
        }
    }
}
