//! Sources: who may claim a mount, what becomes of it when they go, and sending them away.
//!
//! Contract: whether a mount is free and taking it are one step, under the lock of its state.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use config::MountName;
use media::Format;
use ring::Writer;

use super::{ClaimError, Mounts, Offer};
use crate::{
    Claim, Happening, Owner, Protocol, Settings, Station, Stopped, Stream, Title,
    claim::Stop,
    events, fallback, health,
    metrics::{SOURCE_CONNECTS, SourceResult},
    state::{Mount, Source},
    stream::Beginning,
};

/// A source that was silent for this long may be replaced by its own return.
const SILENT_ENOUGH: Duration = Duration::from_secs(5);

impl Mounts {
    /// Makes the caller the source of a mount, or says who is.
    ///
    /// # Errors
    /// [`ClaimError`] says what to answer.
    pub fn claim(
        self: &Arc<Self>,
        name: &MountName,
        offer: Offer,
        now: Instant,
    ) -> Result<Claim, ClaimError> {
        let protocol = offer.owner.protocol;
        let claim = self.try_claim(name, offer, now);
        let result = match &claim {
            Ok(_) => SourceResult::Ok,
            Err(ClaimError::Disabled) => SourceResult::Disabled,
            Err(ClaimError::Busy { .. } | ClaimError::TooManySources | ClaimError::KeptFree { .. }) => {
                SourceResult::Busy
            }
        };
        SOURCE_CONNECTS.of((protocol, result)).inc();
        claim
    }

    fn try_claim(
        self: &Arc<Self>,
        name: &MountName,
        offer: Offer,
        now: Instant,
    ) -> Result<Claim, ClaimError> {
        let settings = self.settings();
        if settings.disabled.contains(name) {
            return Err(ClaimError::Disabled);
        }
        let mount = self.mount(name);
        if settings
            .max_sources
            .is_some_and(|limit| self.sources_besides(name) >= limit)
        {
            return Err(ClaimError::TooManySources);
        }
        let stop = Arc::new(Stop::default());
        let (stream, writer) = {
            let mut state = mount.state.lock();
            if let Some(until) = state.kept_free_until.filter(|until| now < *until) {
                let wait = until - now;
                return Err(ClaimError::KeptFree { wait });
            }
            state.kept_free_until = None;
            let inherited = match std::mem::replace(&mut state.source, Source::Nobody) {
                Source::Nobody => None,
                Source::Live { stop: old } => {
                    let present = mount.stream.load_full();
                    if let Some(busy) =
                        Self::keeps_its_place(present.as_deref(), &offer.owner, &settings, now)
                    {
                        state.source = Source::Live { stop: old };
                        drop(state);
                        observe::emit(events::SourceBusy {
                            mount: name.as_str(),
                            new_ip: &offer.owner.label,
                            existing_ip: &busy,
                        });
                        return Err(ClaimError::Busy { existing: busy });
                    }
                    old.fire(Stopped::Replaced);
                    if let Some(present) = &present {
                        observe::emit(events::SourceReplaced {
                            mount: name.as_str(),
                            ip: &offer.owner.label,
                            silent: present.silence(now),
                        });
                    }
                    None
                }
                Source::Away { writer, .. } => mount
                    .stream
                    .load_full()
                    .filter(|s| s.format() == offer.format && s.content_type() == offer.content_type)
                    .map(|stream| (stream, *writer)),
            };
            let (stream, writer) = if let Some((stream, writer)) = inherited {
                stream.set_station(offer.station.clone());
                stream.set_owner(offer.owner.clone());
                (stream, writer)
            } else {
                let title = mount.stream.load().as_ref().map(|stream| stream.title());
                if title.is_none() {
                    mount.seating.restart();
                }
                mount.end_stream(&mut state);
                let (stream, writer) = self.begin_stream(&mount, &offer, &settings, now);
                if let Some(title) = title {
                    stream.set_title(Title::clone(&title));
                }
                state.settles_at = Some(now + settings.settle);
                mount.stream.store(Some(Arc::clone(&stream)));
                (stream, writer)
            };
            state.source = Source::Live {
                stop: Arc::clone(&stop),
            };
            mount.connected.store(true, Ordering::Relaxed);
            (stream, writer)
        };
        Self::apply_to(&mount, &settings);
        let connections = if offer.owner.protocol == Protocol::Relay {
            &self.relay_connections
        } else {
            &self.source_connections
        };
        connections.fetch_add(1, Ordering::Relaxed);
        self.demand.lock().remove(name);
        observe::emit(events::SourceConnected {
            mount: name.as_str(),
            ip: &offer.owner.label,
            ua: &offer.owner.user_agent,
            protocol: offer.owner.protocol.as_str(),
            content_type: &offer.content_type,
        });
        self.witnesses.tell(Happening::SourceConnected {
            mount: name,
            owner: &offer.owner,
            station: &offer.station,
        });
        self.refresh(now);
        self.changed();
        // The settle time may end before the next tick that is planned.
        self.wake.notify_one();
        Ok(Claim::new(Arc::clone(self), mount, stream, writer, stop, now))
    }

    /// The label of the present source, unless the new one may take its place.
    fn keeps_its_place(
        present: Option<&Stream>,
        new: &Owner,
        settings: &Settings,
        now: Instant,
    ) -> Option<String> {
        let present = present?;
        let owner = present.owner();
        let returns = new.ip.is_some()
            && owner.ip == new.ip
            && owner.user_agent == new.user_agent
            && present.silence(now) >= SILENT_ENOUGH;
        (!settings.takeover && !returns).then(|| owner.label.clone())
    }

    fn begin_stream(
        &self,
        mount: &Mount,
        offer: &Offer,
        settings: &Settings,
        now: Instant,
    ) -> (Arc<Stream>, Writer) {
        Stream::begin(Beginning {
            mount: &mount.name,
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            format: offer.format,
            content_type: offer.content_type.clone(),
            station: offer.station.clone(),
            owner: offer.owner.clone(),
            seating: &mount.seating,
            counters: &mount.counters,
            settings,
            witnesses: Arc::clone(&self.witnesses),
            now,
        })
    }

    /// Begins another stream under the same claim; nothing when the claim is no longer the mount's.
    pub(crate) fn replace_stream(
        &self,
        mount: &Mount,
        stop: &Arc<Stop>,
        old: &Stream,
        format: Format,
        content_type: String,
        now: Instant,
    ) -> Option<(Arc<Stream>, Writer)> {
        let settings = self.settings();
        let offer = Offer {
            owner: Owner::clone(&old.owner()),
            station: Station::clone(&old.station()),
            content_type,
            format,
        };
        let begun = {
            let mut state = mount.state.lock();
            let Source::Live { stop: present } = &state.source else {
                return None;
            };
            if !Arc::ptr_eq(present, stop) {
                return None;
            }
            let present = Arc::clone(present);
            let settles_at = state.settles_at;
            mount.end_stream(&mut state);
            state.source = Source::Live { stop: present };
            mount.connected.store(true, Ordering::Relaxed);
            state.settles_at = settles_at;
            let (stream, writer) = self.begin_stream(mount, &offer, &settings, now);
            stream.set_title(Title::clone(&old.title()));
            stream.count_in(0);
            mount.stream.store(Some(Arc::clone(&stream)));
            (stream, writer)
        };
        self.refresh(now);
        self.changed();
        Some(begun)
    }

    /// A claim ended.
    pub(crate) fn release(
        &self,
        mount: &Mount,
        stop: &Arc<Stop>,
        writer: Writer,
        stopped: Option<Stopped>,
        now: Instant,
    ) {
        let settings = self.settings();
        let ours = {
            let mut state = mount.state.lock();
            match &state.source {
                Source::Live { stop: present } if Arc::ptr_eq(present, stop) => {
                    let stream = mount.stream.load_full();
                    match stream.and_then(|s| self.waits_until(mount, &s, stopped, &settings, now)) {
                        Some(until) => {
                            mount.connected.store(false, Ordering::Relaxed);
                            state.source = Source::Away {
                                writer: Box::new(writer),
                                until,
                            }
                        }
                        None => mount.end_stream(&mut state),
                    }
                    true
                }
                // Somebody else has the mount by now.
                _ => false,
            }
        };
        if ours {
            self.refresh(now);
            self.changed();
            self.wake.notify_one();
        }
    }

    /// Until when the stream of a source that went waits for one to go on with it; nothing when it ends at once.
    fn waits_until(
        &self,
        mount: &Mount,
        stream: &Stream,
        stopped: Option<Stopped>,
        settings: &Settings,
        now: Instant,
    ) -> Option<Instant> {
        if stopped.is_some() || settings.disabled.contains(&mount.name) {
            return None;
        }
        if stream.owner().protocol == Protocol::Relay {
            // A relay reconnects by itself; its mount lasts until it counts as silent for too long.
            return Some(now + health::REMOVED.saturating_sub(stream.silence(now)));
        }
        let stand_in = fallback::chain(&mount.name, &settings.fallbacks)
            .iter()
            .any(|name| self.live(name).is_some());
        (!settings.grace.is_zero() && !stand_in).then(|| now + settings.grace)
    }

    /// Cuts the source of a mount and lets nobody be its source for a while, so that an encoder which comes back by
    /// itself does not undo it. False when there was none.
    pub fn send_away(&self, name: &MountName, keep_free: Duration) -> bool {
        let now = Instant::now();
        if let Some(mount) = self.find(name) {
            let mut state = mount.state.lock();
            if matches!(state.source, Source::Nobody) {
                return false;
            }
            state.kept_free_until = Some(now + keep_free);
        }
        self.stop_source(name, Stopped::Kicked)
    }

    /// Cuts the source of a mount. False when there was none.
    pub fn stop_source(&self, name: &MountName, reason: Stopped) -> bool {
        let Some(mount) = self.find(name) else {
            return false;
        };
        let now = Instant::now();
        let was_there = {
            let mut state = mount.state.lock();
            let was_there = match &state.source {
                Source::Live { stop } => {
                    stop.fire(reason);
                    true
                }
                Source::Away { .. } => true,
                Source::Nobody => false,
            };
            if was_there {
                mount.end_stream(&mut state);
            }
            was_there
        };
        if was_there {
            self.refresh(now);
            self.changed();
        }
        was_there
    }

    /// Cuts the sources of some client addresses.
    pub fn stop_sources_from(&self, is_banned: impl Fn(std::net::IpAddr) -> bool) {
        for mount in self.all() {
            let owner = mount.stream.load().as_ref().map(|stream| stream.owner());
            if owner.and_then(|owner| owner.ip).is_some_and(&is_banned) {
                self.stop_source(&mount.name, Stopped::Kicked);
            }
        }
    }

    /// Cuts the sources of some owners.
    pub fn stop_sources_of(&self, is_unwelcome: impl Fn(&Owner) -> bool) {
        for mount in self.all() {
            let owner = mount.stream.load().as_ref().map(|stream| stream.owner());
            if owner.is_some_and(|owner| is_unwelcome(&owner)) {
                self.stop_source(&mount.name, Stopped::Kicked);
            }
        }
    }

    /// Cuts every source.
    pub fn stop_all(&self, reason: Stopped) {
        for mount in self.all() {
            self.stop_source(&mount.name, reason);
        }
    }

    fn sources_besides(&self, name: &MountName) -> usize {
        let is_live = |mount: &Arc<Mount>| matches!(mount.state.lock().source, Source::Live { .. });
        self.all()
            .iter()
            .filter(|mount| mount.name != *name && is_live(mount))
            .count()
    }
}
