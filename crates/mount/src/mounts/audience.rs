//! Listeners: finding them a stream, letting them in, moving them and letting them go.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use config::MountName;
use fanout::{Departure, Interleave, Leave, Presence, Wire};

use super::Mounts;
use crate::{
    Entrance, Happening, Refused, Stream, Tuned, events, fallback,
    metrics::{LISTENER_CONNECTS, LISTENER_DISCONNECTS, LISTENER_SESSIONS, ListenerProtocol, ListenerResult},
};

impl Mounts {
    /// What a request for `name` meets now.
    #[must_use]
    pub fn tune(&self, name: &MountName) -> Tuned {
        let settings = self.settings();
        if settings.disabled.contains(name) {
            return Tuned::Disabled;
        }
        if let Some(stream) = self.live(name) {
            return Tuned::On {
                stream,
                primary: true,
            };
        }
        let stand_in = fallback::chain(name, &settings.fallbacks)
            .iter()
            .find_map(|name| self.live(name));
        match stand_in {
            Some(stream) => Tuned::On {
                stream,
                primary: false,
            },
            None => Tuned::Off {
                known: settings.known.contains(name) || self.find(name).is_some(),
            },
        }
    }

    /// Takes the places for a listener of mount `name` that will hear `stream`. Exempt listeners are counted
    /// but never refused.
    ///
    /// # Errors
    /// [`Refused`] says which limit is reached.
    pub fn seat(
        &self,
        name: &MountName,
        stream: &Arc<Stream>,
        ip: IpAddr,
        exempt: bool,
        now: Instant,
    ) -> Result<Entrance, Refused> {
        let per_address = self.settings.load().max_listeners_per_ip;
        if !exempt && per_address > 0 && self.listeners.count_of(ip) >= per_address {
            return Err(Refused::AddressFull);
        }
        let server_seat = self.seating.take(exempt).map_err(|_| Refused::ServerFull)?;
        let seat = stream
            .feed()
            .seating
            .take(exempt)
            .map_err(|_| Refused::MountFull)?;
        let mount = self.mount(name);
        let mut presence = Presence::new(self.listeners.next_id(), ip, Arc::clone(&mount.label), now);
        presence.exempt = exempt;
        let home = Arc::clone(&mount.home);
        Ok(Entrance {
            presence,
            stream: Arc::clone(stream),
            home,
            seat,
            server_seat,
        })
    }

    /// Gives a listener to delivery: `head` goes out first, then the stream.
    pub fn enter(&self, entrance: Entrance, wire: Wire, head: Bytes, interleave: Interleave) {
        let feed = entrance.stream.mount().clone();
        let admission = entrance.into_admission(wire, head, interleave);
        let presence = Arc::clone(&admission.presence);
        self.listeners.enter(&presence);
        LISTENER_CONNECTS
            .of((ListenerProtocol::Http, ListenerResult::Ok))
            .inc();
        observe::emit(events::ListenerConnected {
            mount: &presence.mount(),
            ip: presence.ip,
            ua: &presence.user_agent,
            id: presence.id,
            feed: feed.as_str(),
        });
        self.witnesses.tell(Happening::ListenerConnected {
            mount: &feed,
            user_agent: &presence.user_agent,
        });
        if admission.home.routing().feeds.is_empty() {
            // A mount that was only ever asked for has no routing yet.
            self.refresh(presence.since);
        }
        self.delivery.admit(admission);
    }

    /// Delivery let a listener go.
    pub fn left(&self, departure: &Departure, now: Instant) {
        let Departure {
            presence,
            leave,
            sent,
        } = departure;
        self.listeners.leave(presence);
        LISTENER_DISCONNECTS.of(*leave).inc();
        LISTENER_SESSIONS.observe_duration(now.saturating_duration_since(presence.since));
        observe::emit(events::ListenerDisconnected {
            mount: &presence.mount(),
            ip: presence.ip,
            ua: &presence.user_agent,
            id: presence.id,
            reason: leave.as_str(),
            bytes_out: *sent,
            connected: now.saturating_duration_since(presence.since),
        });
    }

    /// The mount that feeds a listener now.
    #[must_use]
    pub fn feeds_listener(&self, id: u64) -> Option<Arc<String>> {
        self.listeners.contains(id).map(|presence| presence.fed_by())
    }

    /// The listeners that `name` feeds now.
    #[must_use]
    pub fn listeners_of(&self, name: &MountName) -> Vec<Arc<Presence>> {
        let mut all = self.listeners.all();
        all.retain(|presence| presence.fed_by().as_str() == name.as_str());
        all
    }

    /// All listeners by the mount that feeds them now, for whoever wants those of several mounts.
    #[must_use]
    pub fn listeners_by_mount(&self) -> HashMap<Arc<String>, Vec<Arc<Presence>>> {
        let mut by_mount: HashMap<_, Vec<_>> = HashMap::new();
        for presence in self.listeners.all() {
            by_mount.entry(presence.fed_by()).or_default().push(presence);
        }
        by_mount
    }

    /// Closes every listener of a mount. With `fed` also those that it feeds in place of another.
    pub fn close_listeners_of(&self, name: &MountName, leave: Leave, fed: bool) {
        let name = name.to_string();
        let whom =
            move |presence: &Presence| *presence.fed_by() == name && (fed || *presence.mount() == name);
        self.delivery.close(Box::new(whom), leave);
    }

    /// Closes every listener of the server.
    pub fn close_all_listeners(&self, leave: Leave) {
        self.delivery.close(Box::new(|_| true), leave);
    }

    /// Closes one listener of a mount. False when there is no such.
    pub fn close_listener(&self, name: &MountName, id: u64) -> bool {
        let Some(presence) = self.listeners.contains(id) else {
            return false;
        };
        if presence.fed_by().as_str() != name.as_str() && presence.mount().as_str() != name.as_str() {
            return false;
        }
        self.delivery
            .close(Box::new(move |presence| presence.id == id), Leave::Kicked);
        true
    }

    /// Closes listeners by client address.
    pub fn close_addresses(&self, is_banned: impl Fn(IpAddr) -> bool + Send + Sync + 'static) {
        self.delivery
            .close(Box::new(move |presence| is_banned(presence.ip)), Leave::Kicked);
    }

    /// Makes all listeners of `from` listeners of `to`, which must be live.
    pub fn move_listeners(&self, from: &MountName, to: &MountName) {
        let (from, to) = (self.mount(from), self.mount(to));
        self.delivery.rehome(from.home.id, &to.home, &to.label);
    }

    /// Notes that somebody wants to hear a mount that is not live, for relays that pull on demand.
    pub fn ask_for(&self, name: &MountName) {
        if self.demand.lock().insert(name.clone()) {
            self.changed();
        }
    }

    /// Whether somebody wants to hear `name`, or does.
    #[must_use]
    pub fn is_wanted(&self, name: &MountName) -> bool {
        self.demand.lock().contains(name) || self.find(name).is_some_and(|mount| mount.seating.taken() > 0)
    }

    /// Forgets an unmet wish.
    pub fn forget_wish(&self, name: &MountName) {
        self.demand.lock().remove(name);
    }
}
