//! All mounts of the server, and the rules that they live by.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use config::MountName;
use fanout::{Leave, Seating};
use media::Format;
use observe::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::{
    Delivery, Happening, Health, Owner, Settings, Station, Stopped, Stream, Totals, events, health,
    listeners::Listeners,
    state::{Mount, Source},
    witness::{Stand, Witness},
};

/// Mounts remembered beyond those that are live or configured.
const REMEMBERED: usize = 4_096;

/// What a source brings when it claims a mount.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Who.
    pub owner: Owner,
    /// What it says of itself.
    pub station: Station,
    /// What listeners will be told it is.
    pub content_type: String,
    /// How it is framed.
    pub format: Format,
}

/// Why a mount cannot be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimError {
    /// Another source has it.
    Busy {
        /// Label of that source.
        existing: String,
    },
    /// The mount takes no sources.
    Disabled,
    /// The server has all the sources that it may have.
    TooManySources,
    /// An administrator has just sent the source away.
    KeptFree {
        /// How much longer nobody may come.
        wait: Duration,
    },
}

/// What a request for a mount meets.
#[derive(Debug, Clone)]
pub enum Tuned {
    /// A stream, the mount's own (`primary`) or a stand-in.
    On {
        /// What to listen to.
        stream: Arc<Stream>,
        /// Whether it is the mount's own.
        primary: bool,
    },
    /// The mount takes no listeners.
    Disabled,
    /// Nothing to listen to.
    Off {
        /// Whether the configuration knows the mount, or it was live not long ago.
        known: bool,
    },
}

/// The registry.
pub struct Mounts {
    delivery: Arc<dyn Delivery>,
    settings: ArcSwap<Settings>,
    mounts: RwLock<HashMap<MountName, Arc<Mount>>>,
    /// The same, for readers that must not wait.
    pub(crate) listed: ArcSwap<Listed>,
    /// Held while routings are worked out, so that an older view never overwrites a newer one.
    routing: Mutex<()>,
    listeners: Listeners,
    pub(crate) seating: Arc<Seating>,
    next_id: AtomicU64,
    next_health_check: Mutex<Instant>,
    wake: Notify,
    changes: watch::Sender<u64>,
    demand: Mutex<HashSet<MountName>>,
    source_connections: AtomicU64,
    relay_connections: AtomicU64,
    pub(crate) witnesses: Arc<Stand>,
}

/// All mounts at one moment.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// By name.
    pub(crate) mounts: Vec<Arc<Mount>>,
    /// What mounts had counted that are forgotten.
    pub(crate) forgotten: Totals,
}

impl Mounts {
    /// An empty registry that gives its listeners to `delivery`.
    #[must_use]
    pub fn new(delivery: Arc<dyn Delivery>, settings: Settings, now: Instant) -> Arc<Self> {
        let seating = Seating::new(settings.max_listeners);
        let known = settings.known.clone();
        let mounts = Arc::new(Self {
            delivery,
            settings: ArcSwap::from_pointee(settings),
            mounts: RwLock::new("mounts.registry", HashMap::new()),
            listed: ArcSwap::default(),
            routing: Mutex::new("mounts.routing", ()),
            listeners: Listeners::new(),
            seating,
            next_id: AtomicU64::new(1),
            next_health_check: Mutex::new("mounts.health", now + health::PERIOD),
            wake: Notify::new(),
            changes: watch::Sender::new(0),
            demand: Mutex::new("mounts.demand", HashSet::new()),
            source_connections: AtomicU64::new(0),
            relay_connections: AtomicU64::new(0),
            witnesses: Arc::default(),
        });
        mounts.remember(&known);
        mounts
    }

    /// Calls the one witness of what happens to mounts from now on.
    pub fn call_witness(&self, witness: impl Witness + 'static) {
        self.witnesses.call(Box::new(witness));
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Applies new settings to everything that is live, without disturbing what did not change.
    pub fn apply(&self, settings: Settings, now: Instant) {
        self.seating.set_limit(settings.max_listeners);
        self.remember(&settings.known);
        let settings = Arc::new(settings);
        self.settings.store(Arc::clone(&settings));
        for mount in self.all() {
            Self::apply_to(&mount, &settings);
            if settings.disabled.contains(&mount.name) {
                self.stop_source(&mount.name, Stopped::Disabled);
            }
        }
        self.refresh(now);
        for name in &settings.disabled {
            // Whoever no fallback suited is let go; new requests are refused anyway.
            self.close_listeners_of(name, Leave::Kicked, false);
        }
    }

    fn apply_to(mount: &Mount, settings: &Settings) {
        let own = settings.mounts.get(&mount.name).and_then(|own| own.max_listeners);
        mount.seating.set_limit(own);
        if let Some(stream) = mount.stream.load_full() {
            stream.apply(settings);
        }
    }

    /// Changes whenever a stream begins or ends.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Does what is due and says when to come back.
    pub fn tick(&self, now: Instant) -> Instant {
        let settings = self.settings();
        let mut next = now + health::PERIOD;
        let mut ended = false;
        let check_health = {
            let mut due = self.next_health_check.lock();
            let is_due = now >= *due;
            if is_due {
                *due = now + health::PERIOD;
            }
            next = next.min(*due);
            is_due
        };
        for mount in self.all() {
            if check_health {
                self.check_health(&mount, now);
            }
            let mut state = mount.state.lock();
            if let Source::Away { until, .. } = &state.source {
                if now >= *until {
                    mount.end_stream(&mut state);
                    ended = true;
                } else {
                    next = next.min(*until);
                }
            }
            if let Some(settles_at) = state.settles_at {
                if now >= settles_at {
                    state.settles_at = None;
                    if std::mem::take(&mut state.fallen) {
                        self.tell_recovery(&mount, settings.settle);
                    }
                    ended = true;
                } else {
                    next = next.min(settles_at);
                }
            }
        }
        if ended {
            self.refresh(now);
            self.changed();
        }
        if check_health {
            self.forget_idle();
        }
        next
    }

    /// Calls [`Mounts::tick`] when it is due, for as long as it is polled.
    pub async fn run(self: Arc<Self>) {
        loop {
            let next = self.tick(Instant::now());
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    fn check_health(&self, mount: &Arc<Mount>, now: Instant) {
        let Some(stream) = mount.stream.load_full() else {
            return;
        };
        let silence = stream.silence(now);
        let (from, to, source) = {
            let mut state = mount.state.lock();
            let to = Health::after(silence);
            let from = std::mem::replace(&mut state.health, to);
            let source = match &state.source {
                Source::Live { stop } => Some(Arc::clone(stop)),
                _ => None,
            };
            (from, to, source)
        };
        if from != to {
            observe::emit(events::HealthChanged {
                mount: mount.name.as_str(),
                from: from.as_str(),
                to: to.as_str(),
            });
            let mount = &mount.name;
            match (from, to) {
                (Health::Healthy, _) => self.witnesses.tell(Happening::Silent { mount, silence }),
                (_, Health::Healthy) => self.witnesses.tell(Happening::Recovered { mount }),
                _ => {}
            }
        }
        if silence >= health::REMOVED
            && let Some(stop) = source
        {
            observe::emit(events::SilentRemoved {
                mount: mount.name.as_str(),
                silent: silence,
            });
            stop.fire(Stopped::Silent);
            mount.end_stream(&mut mount.state.lock());
            self.refresh(now);
            self.changed();
        }
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    pub(crate) fn find(&self, name: &MountName) -> Option<Arc<Mount>> {
        self.mounts.read().get(name).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Mount>> {
        self.mounts.read().values().cloned().collect()
    }

    pub(crate) fn mount(&self, name: &MountName) -> Arc<Mount> {
        if let Some(mount) = self.find(name) {
            return mount;
        }
        let mount = Mount::new(name.clone(), self.next_id.fetch_add(1, Ordering::Relaxed));
        let mut mounts = self.mounts.write();
        let mount = Arc::clone(mounts.entry(name.clone()).or_insert(mount));
        self.list(&mounts, self.listed.load().forgotten);
        mount
    }

    /// Configured mounts are measured from the start, live or not.
    fn remember(&self, names: &HashSet<MountName>) {
        let mut mounts = self.mounts.write();
        let before = mounts.len();
        for name in names {
            mounts
                .entry(name.clone())
                .or_insert_with(|| Mount::new(name.clone(), self.next_id.fetch_add(1, Ordering::Relaxed)));
        }
        if mounts.len() > before {
            self.list(&mounts, self.listed.load().forgotten);
        }
    }

    /// Forgets mounts that nobody uses once there are very many; their counts stay in the totals.
    fn forget_idle(&self) {
        let mut mounts = self.mounts.write();
        if mounts.len() <= REMEMBERED {
            return;
        }
        let settings = self.settings();
        let mut forgotten = self.listed.load().forgotten;
        mounts.retain(|name, mount| {
            let in_use = mount.stream.load().is_some() || Arc::strong_count(&mount.home) > 1;
            if in_use || settings.known.contains(name) {
                return true;
            }
            forgotten.bytes_in += mount.bytes_in();
            forgotten.bytes_out += mount.counters.bytes_out.load(Ordering::Relaxed);
            forgotten.dropped += mount.counters.dropped.load(Ordering::Relaxed);
            false
        });
        self.list(&mounts, forgotten);
    }

    /// Publishes the registry. Called by whoever holds it for writing, so that an older view never comes last.
    fn list(&self, mounts: &HashMap<MountName, Arc<Mount>>, forgotten: Totals) {
        let mut mounts: Vec<_> = mounts.values().cloned().collect();
        mounts.sort_by(|a, b| a.name.cmp(&b.name));
        self.listed.store(Arc::new(Listed { mounts, forgotten }));
    }
}

mod audience;
mod overview;
mod routing;
mod sources;

impl std::fmt::Debug for Mounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mounts")
            .field("mounts", &self.mounts.read().len())
            .finish_non_exhaustive()
    }
}
