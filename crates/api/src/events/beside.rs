//! What takes too long for a tick, found out beside the ticks: where listeners are, and how much went through mounts.
//!
//! Contract: nobody waits. A tick gets what was known last, and asking for what is old starts one look for the new,
//! however many feeds ask.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use config::MountName;
use observe::Mutex;
use store::{Store, Traffic};
use tokio::sync::watch;

/// How long a map is good.
const MAP: Duration = Duration::from_secs(5);
/// How long sums over days and years are good.
const SUMS: Duration = Duration::from_secs(120);
/// Sums that nobody has asked for are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// Something that is looked at anew when it is old.
pub(crate) struct Look<T> {
    last: ArcSwap<T>,
    turn: Mutex<Turn>,
    /// Counts the looks that are over.
    over: watch::Sender<u64>,
}

#[derive(Default)]
struct Turn {
    began: Option<Instant>,
    is_running: bool,
}

impl<T: Default + Send + Sync + 'static> Look<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            last: ArcSwap::default(),
            turn: Mutex::new("events.look", Turn::default()),
            over: watch::Sender::new(0),
        })
    }

    /// What was seen last. Where that is old, `look` is called on another thread.
    pub(crate) fn last(self: &Arc<Self>, now: Instant, look: impl FnOnce() -> T + Send + 'static) -> Arc<T> {
        if self.takes_turn(now) {
            let own = Arc::clone(self);
            tokio::task::spawn_blocking(move || {
                // Given back whatever happens, or nobody would ever look again.
                let over = Over(&own.turn, &own.over);
                own.last.store(Arc::new(look()));
                drop(over);
            });
        }
        self.last.load_full()
    }

    /// The same for those who can wait: nothing older than a look that began when they asked, or shortly before.
    pub(crate) async fn fresh(
        self: &Arc<Self>,
        now: Instant,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Arc<T> {
        let mut over = self.over.subscribe();
        self.last(now, look);
        let is_running = self.turn.lock().is_running;
        if is_running {
            // The sender is here, so that this always ends with the look.
            let _ = over.changed().await;
        }
        self.last.load_full()
    }

    fn takes_turn(&self, now: Instant) -> bool {
        let mut turn = self.turn.lock();
        let is_old = turn
            .began
            .is_none_or(|began| now.saturating_duration_since(began) >= MAP);
        if turn.is_running || !is_old {
            return false;
        }
        *turn = Turn {
            began: Some(now),
            is_running: true,
        };
        true
    }
}

struct Over<'a>(&'a Mutex<Turn>, &'a watch::Sender<u64>);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.lock().is_running = false;
        self.1.send_modify(|looks| *looks += 1);
    }
}

/// Mounts whose bytes are summed up; none is all, also those of the past.
pub(crate) type Summed = Option<Vec<MountName>>;

/// Sums of bytes over days and years.
pub(crate) struct Sums {
    store: Store,
    known: Mutex<HashMap<Summed, Known>>,
}

struct Known {
    asked: Instant,
    wanted: Instant,
    traffic: Option<Arc<Traffic>>,
}

impl Sums {
    pub(crate) fn new(store: Store) -> Arc<Self> {
        Arc::new(Self {
            store,
            known: Mutex::new("events.sums", HashMap::new()),
        })
    }

    /// The sums as they were known last; nothing at first.
    pub(crate) fn of(self: &Arc<Self>, mounts: Summed, now: Instant) -> Option<Arc<Traffic>> {
        let mut known = self.known.lock();
        known.retain(|_, known| now.saturating_duration_since(known.wanted) < FORGOTTEN);
        let (is_old, traffic) = match known.get_mut(&mounts) {
            Some(known) => {
                known.wanted = now;
                let is_old = now.saturating_duration_since(known.asked) >= SUMS;
                if is_old {
                    known.asked = now;
                }
                (is_old, known.traffic.clone())
            }
            None => {
                let new = Known {
                    asked: now,
                    wanted: now,
                    traffic: None,
                };
                known.insert(mounts.clone(), new);
                (true, None)
            }
        };
        drop(known);
        if is_old {
            observe::task::spawn("traffic-sums", (), Arc::clone(self).ask(mounts)).detach();
        }
        traffic
    }

    async fn ask(self: Arc<Self>, mounts: Summed) {
        let names = mounts
            .as_ref()
            .map(|mounts| mounts.iter().map(ToString::to_string).collect());
        // Where the store cannot say, what was known stays.
        if let Ok(traffic) = self.store.traffic(names, jiff::Timestamp::now()).await
            && let Some(known) = self.known.lock().get_mut(&mounts)
        {
            known.traffic = Some(Arc::new(traffic));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_is_one_look_at_a_time_and_not_too_often() {
        let look = Look::<u32>::new();
        let start = Instant::now();
        // A look that is over when the test says so.
        let slow = |seen: u32| {
            let (go, wait) = std::sync::mpsc::channel::<()>();
            let look = move || {
                wait.recv().unwrap();
                seen
            };
            (go, look)
        };
        let (go, first) = slow(1);
        assert_eq!(*look.last(start, first), 0);
        // It is old, but somebody is looking already.
        assert_eq!(*look.last(start + MAP, || panic!("two at once")), 0);
        go.send(()).unwrap();
        let soon = start + MAP.saturating_sub(Duration::from_millis(1));
        assert_eq!(*look.fresh(soon, || panic!("too soon")).await, 1);
        let (go, second) = slow(2);
        assert_eq!(*look.last(start + MAP, second), 1);
        go.send(()).unwrap();
        assert_eq!(*look.fresh(start + MAP, || panic!("too soon")).await, 2);
        // One that breaks leaves what was seen before, and others may look.
        assert_eq!(*look.fresh(start + 2 * MAP, || panic!("on purpose")).await, 2);
        assert_eq!(*look.fresh(start + 3 * MAP, || 3).await, 3);
    }
}
