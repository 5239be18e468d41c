//! Where the work of pages is done: on threads beside the port's own, in lanes that cannot hold each other up.
//!
//! Contract: the port's own thread never waits for a page. A lane whose work hangs refuses more of it at once and
//! leaves the other lanes alone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::events::{PageFailed, PageStuck};
use crate::{Answer, Cancelled};

/// A bounded number of threads for one kind of work.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    /// What runs here, for those who are turned away.
    name: Arc<str>,
    places: Arc<Semaphore>,
    size: usize,
    /// How long to wait for a place.
    patience: Duration,
    /// How long work may take before the client is told that it hangs.
    limit: Option<Duration>,
}

/// Why work has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Undone {
    /// All places are taken.
    Busy {
        /// The lane's name.
        lane: Arc<str>,
        /// How many places it has.
        size: usize,
    },
    /// It took longer than the lane allows, and may go on for ever.
    Stuck(Duration),
    /// It panicked; an event has told.
    Panicked(String),
}

impl fmt::Display for Undone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Undone::Busy { lane, size } => write!(out, "{size} {lane} run already: try again later"),
            Undone::Stuck(limit) => write!(
                out,
                "no answer within {limit:?}: what it reads is held by somebody; \
                 see /debug/locks and /debug/pprof/goroutine?debug=2"
            ),
            Undone::Panicked(message) => write!(out, "this page panicked: {message}"),
        }
    }
}

impl From<Undone> for Answer {
    fn from(undone: Undone) -> Answer {
        let status = match undone {
            Undone::Busy { .. } | Undone::Stuck(_) => StatusCode::SERVICE_UNAVAILABLE,
            Undone::Panicked(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Answer::refused(status, undone.to_string())
    }
}

impl Lane {
    pub(crate) fn new(
        name: impl Into<Arc<str>>,
        size: usize,
        patience: Duration,
        limit: Option<Duration>,
    ) -> Lane {
        Lane {
            name: name.into(),
            places: Arc::new(Semaphore::new(size)),
            size,
            patience,
            limit,
        }
    }

    /// How many threads it can take.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Runs work for a page. When the returned future is dropped, or the time is up, `cancelled` is set and the work
    /// is left to end on its own; its place is free only then.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        path: &str,
        cancelled: &Cancelled,
        work: impl FnOnce(&Cancelled) -> T + Send + 'static,
    ) -> Result<T, Undone> {
        let _left = cancelled.on_drop();
        let busy = || Undone::Busy {
            lane: Arc::clone(&self.name),
            size: self.size,
        };
        let place = match timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => place,
            _ => return Err(busy()),
        };
        let (cancelled, subject) = (cancelled.clone(), path.to_owned());
        let job = tokio::task::spawn_blocking(move || {
            let _place = place;
            observe::task::guard("diagnostics-page", subject, || work(&cancelled))
        });
        let joined = match self.limit {
            None => job.await,
            Some(limit) => match timeout(limit, job).await {
                Ok(joined) => joined,
                Err(_) => {
                    observe::emit(PageStuck { path, after: limit });
                    return Err(Undone::Stuck(limit));
                }
            },
        };
        let end = match joined {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(end)) => end.to_string(),
            Err(error) => error.to_string(),
        };
        observe::emit(PageFailed { path, error: &end });
        Err(Undone::Panicked(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn lane(limit: Duration) -> Lane {
        Lane::new("tests", 1, Duration::ZERO, Some(limit))
    }

    #[tokio::test]
    async fn work_that_hangs_is_given_up_and_keeps_its_place() {
        let lane = lane(Duration::from_millis(20));
        let (release, hold) = mpsc::channel::<()>();
        let cancelled = Cancelled::new();
        let hung = lane
            .run("/hung", &cancelled, move |_| {
                let _ = hold.recv();
            })
            .await;
        assert_eq!(hung, Err(Undone::Stuck(Duration::from_millis(20))));
        assert!(cancelled.is_set());
        let refused = lane.run("/next", &Cancelled::new(), |_| ()).await;
        assert!(matches!(refused, Err(Undone::Busy { size: 1, .. })));
        drop(release);
        let place = lane.places.acquire().await.unwrap();
        drop(place);
        assert_eq!(lane.run("/next", &Cancelled::new(), |_| 3).await, Ok(3));
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_an_event() {
        let capture = observe::Capture::start();
        let result = lane(Duration::from_secs(60))
            .run("/bad", &Cancelled::new(), |_| panic!("no such luck"))
            .await;
        let result: Result<(), _> = result;
        let message = "the task panicked: no such luck";
        assert_eq!(result, Err(Undone::Panicked(message.into())));
        let names: Vec<_> = capture.records().iter().map(|record| record.name).collect();
        assert_eq!(names, ["internal_page_failed"]);
        let answer = Answer::from(Undone::Panicked(message.into()));
        assert_eq!(answer.status, 500);
    }

    #[tokio::test]
    async fn work_is_told_when_nobody_waits() {
        let lane = lane(Duration::from_secs(60));
        let cancelled = Cancelled::new();
        let (tell, told) = mpsc::channel();
        let run = lane.run("/long", &cancelled, move |cancelled| {
            while !cancelled.is_set() {
                std::thread::yield_now();
            }
            let _ = tell.send(());
        });
        assert!(timeout(Duration::from_millis(20), run).await.is_err());
        told.recv().unwrap();
    }
}
