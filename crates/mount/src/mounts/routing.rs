//! Where the listeners of each mount belong: its own stream, a stand-in, or nowhere for a while.
//!
//! Contract: routings are worked out by one thread at a time, so that an older view never overwrites a newer one, and
//! delivery is told only of what changed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use config::MountName;
use fanout::{Otherwise, Routing};

use super::Mounts;
use crate::{Happening, Settings, Stream, events, fallback, state::Mount};

/// Listeners are held this long when neither their mount nor its fallback is live.
const HOLD: Duration = Duration::from_secs(120);

impl Mounts {
    /// Works out for every mount where its listeners belong and tells delivery what changed.
    pub(crate) fn refresh(&self, now: Instant) {
        let _one_at_a_time = self.routing.lock();
        let settings = self.settings();
        for mount in self.all() {
            let routing = self.routing_of(&mount, &settings, now);
            let before = mount.home.routing();
            let same = before.stay == routing.stay
                && before.otherwise == routing.otherwise
                && before.feeds.len() == routing.feeds.len()
                && before.feeds.iter().zip(&routing.feeds).all(|(a, b)| a.id == b.id);
            if !same {
                mount.home.set_routing(routing);
                self.delivery.reroute(&mount.home);
            }
        }
    }

    /// Runs something while no routing can change: a fault that is planted to see it being found.
    #[cfg(debug_assertions)]
    pub fn while_routing<T>(&self, run: impl FnOnce() -> T) -> T {
        let _one_at_a_time = self.routing.lock();
        run()
    }

    fn routing_of(&self, mount: &Mount, settings: &Settings, now: Instant) -> Routing {
        let own = mount.stream.load_full();
        let chain = fallback::chain(&mount.name, &settings.fallbacks);
        let stand_ins: Vec<_> = chain.iter().filter_map(|name| self.live(name)).collect();
        let mut state = mount.state.lock();
        if own.is_none()
            && let Some(first) = stand_ins.first()
            && !mount.home.routing().feeds.is_empty()
            && !std::mem::replace(&mut state.fallen, true)
        {
            let gone = mount
                .home
                .routing()
                .feeds
                .first()
                .map(|feed| feed.compatible.load_full());
            let is_unfit =
                gone.is_some_and(|key| !stand_ins.iter().any(|stream| stream.feed().can_follow(&key)));
            let listeners = if is_unfit { 0 } else { self.listeners_at(mount) };
            observe::emit(events::FallingBack {
                from: mount.name.as_str(),
                to: first.mount().as_str(),
                listeners,
            });
            self.witnesses.tell(Happening::FallbackBegun {
                mount: &mount.name,
                fallback: first.mount(),
                listeners,
            });
            if is_unfit {
                observe::emit(events::FallbackUnfit {
                    mount: mount.name.as_str(),
                    fallback: first.mount().as_str(),
                });
            }
        }
        let stay = own.is_some() && state.settles_at.is_some_and(|at| now < at);
        drop(state);
        let otherwise = if settings.disabled.contains(&mount.name) || chain.is_empty() {
            Otherwise::Close
        } else {
            Otherwise::Hold(HOLD)
        };
        let feeds = own
            .into_iter()
            .chain(stand_ins)
            .map(|stream| Arc::clone(stream.feed()))
            .collect();
        Routing {
            feeds,
            stay,
            otherwise,
        }
    }

    /// Listeners of a mount that hear it: those whom a fallback would take over.
    fn listeners_at(&self, mount: &Mount) -> u64 {
        let name = mount.name.as_str();
        self.listeners
            .count(|presence| presence.mount().as_str() == name && presence.fed_by().as_str() == name)
    }

    /// Listeners of a mount that hear another one.
    fn listeners_away_from(&self, mount: &Mount) -> u64 {
        let name = mount.name.as_str();
        self.listeners
            .count(|presence| presence.mount().as_str() == name && presence.fed_by().as_str() != name)
    }

    /// The source is back for as long as it has to be.
    pub(super) fn tell_recovery(&self, mount: &Mount, stable_for: Duration) {
        let listeners = self.listeners_away_from(mount);
        observe::emit(events::Recovering {
            mount: mount.name.as_str(),
            stable_for,
            listeners,
        });
        self.witnesses.tell(Happening::FallbackEnded {
            mount: &mount.name,
            listeners,
        });
    }

    /// The stream of a mount that is on air and may be listened to.
    #[must_use]
    pub fn live(&self, name: &MountName) -> Option<Arc<Stream>> {
        if self.settings.load().disabled.contains(name) {
            return None;
        }
        self.find(name)?.stream.load_full()
    }

    /// Whether a source is back but its listeners still wait on the fallback for it to prove itself.
    #[must_use]
    pub fn is_settling(&self, name: &MountName, now: Instant) -> bool {
        let Some(mount) = self.find(name) else {
            return false;
        };
        let state = mount.state.lock();
        state.fallen && state.settles_at.is_some_and(|at| now < at)
    }
}
