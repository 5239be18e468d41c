//! The thread on which sources are read.
//!
//! Contract: nothing runs here but what brings a source's bytes into its ring, so no page, password check or API call
//! can hold a source up.
//!
//! Being woken costs some 10 µs, a read with its acknowledgement as much, whatever there is to read. A few sources are
//! read the moment that something comes. Many would wake the thread for each frame of each of them; it then pauses
//! between two looks, the longer the more one look takes, so that one look finds what many sources have sent and one
//! read finds more than one frame.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use observe::{
    Mutex,
    span::Span,
    task::{self, TaskHandle},
    thread::ThreadHandle,
};
use tokio::{runtime::Handle, sync::oneshot};

/// The shortest pause between two looks while much is going on.
const PAUSE: Duration = Duration::from_millis(5);

/// The longest: two frames of most streams. It comes on top of the flush interval, which is longer wherever there are
/// listeners to so many sources.
const LONGEST: Duration = Duration::from_millis(50);

/// A pause is this many times as long as the look before it.
const PAUSES_PER_LOOK: u32 = 40;

/// The priority, where the system allows it (`CAP_SYS_NICE`, `LimitNICE=`): a source's bytes must not wait between read
/// and ring for a flush to thousands of listeners that has both cores. No source takes it for long: none is read
/// without end (`mount::Intake::rest`).
const NICE: i32 = -10;

/// The thread, until it is dropped or told to end.
pub(crate) struct SourceThread {
    runtime: Handle,
    /// Taken by whoever ends it.
    running: Mutex<Option<(oneshot::Sender<()>, ThreadHandle<()>)>>,
}

impl SourceThread {
    /// Starts the thread. While `is_hasty`, frames wait for [`PAUSE`] at most.
    ///
    /// # Errors
    /// When the system has no poller or thread to give.
    pub(crate) fn start(is_hasty: impl Fn() -> bool + Send + Sync + 'static) -> io::Result<Self> {
        let pace = Arc::new(Pace::new(Instant::now()));
        let looks = Arc::clone(&pace);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("sources-aside")
            // Looking names up is in no hurry.
            .on_thread_start(|| {
                let _ = rustix::process::setpriority_process(None, 0);
            })
            .on_thread_park(move || {
                let pause = pace.pause(Instant::now(), if is_hasty() { PAUSE } else { LONGEST });
                if !pause.is_zero() {
                    std::thread::sleep(pause);
                    pace.paused(Instant::now());
                }
            })
            .on_thread_unpark(move || looks.look(Instant::now()))
            .build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let thread = observe::thread::spawn("sources", move || {
            // On Linux that is the calling thread alone. Without the right to it everything works the same.
            let _ = rustix::process::setpriority_process(None, NICE);
            // A sender that is gone says the same as one that has spoken.
            let _ = runtime.block_on(ended);
            // A name that is being looked up is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self {
            runtime: handle,
            running: Mutex::new("source_thread.running", Some((end, thread))),
        })
    }

    /// Has a source read here.
    #[track_caller]
    pub(crate) fn spawn<F>(&self, span: &Span, mount: &str, reading: F) -> TaskHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let _here = self.runtime.enter();
        task::spawn_in(span, "source", mount, reading)
    }

    /// For those who spawn their tasks themselves.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Ends the thread, and with it whatever still runs there. Blocks until it has ended.
    pub(crate) fn finish(&self) {
        let running = self.running.lock().take();
        if let Some((end, thread)) = running {
            // The thread may have ended by itself; a panic in it has been reported where it happened.
            let _ = end.send(());
            let _ = thread.join();
        }
    }
}

/// Decides how long the thread pauses. Looks are the moments at which it comes out of its poller.
#[derive(Debug)]
struct Pace {
    began: Instant,
    /// When the last look was, in nanoseconds since the beginning.
    looked: AtomicU64,
    /// When the pause after it ended, if there was one.
    paused: AtomicU64,
    /// Whether it came so soon that pausing is worth it.
    busy: AtomicBool,
}

impl Pace {
    fn new(began: Instant) -> Self {
        Self {
            began,
            looked: AtomicU64::new(0),
            paused: AtomicU64::new(0),
            busy: AtomicBool::new(false),
        }
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    /// A look begins.
    fn look(&self, now: Instant) {
        let now = self.nanos(now);
        let looked = self.looked.swap(now, Ordering::Relaxed);
        let paused = self.paused.load(Ordering::Relaxed);
        let busy = if paused > looked {
            // Something was waiting already, or hardly had to be waited for.
            Duration::from_nanos(now.saturating_sub(paused)) < PAUSE / 4
        } else {
            Duration::from_nanos(now.saturating_sub(looked)) < PAUSE
        };
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// The look is over: how long to pause before the next.
    fn pause(&self, now: Instant, longest: Duration) -> Duration {
        if !self.busy.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let took = self
            .nanos(now)
            .saturating_sub(self.looked.load(Ordering::Relaxed));
        let took = Duration::from_nanos(took);
        let pause = took.saturating_mul(PAUSES_PER_LOOK).clamp(PAUSE, longest);
        pause.saturating_sub(took)
    }

    /// The pause is over.
    fn paused(&self, now: Instant) {
        self.paused.store(self.nanos(now), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at frames that come at a fixed interval, as the thread would, with 10 µs for each frame; gives the number
    /// of looks in a second and the longest that a frame had to wait.
    fn run(interval: Duration, longest: Duration) -> (u32, Duration) {
        let began = Instant::now();
        let pace = Pace::new(began);
        let (mut now, mut next) = (began, began + interval);
        let (mut looks, mut waited) = (0, Duration::ZERO);
        while now < began + Duration::from_secs(1) {
            let pause = pace.pause(now, longest);
            if !pause.is_zero() {
                now += pause;
                pace.paused(now);
            }
            now = now.max(next);
            pace.look(now);
            looks += 1;
            waited = waited.max(now - next);
            let found = now;
            while next <= found {
                next += interval;
                now += Duration::from_micros(10);
            }
        }
        (looks, waited)
    }

    #[test]
    fn a_few_sources_are_read_at_once_and_many_together() {
        let frames = |per_second: u32| Duration::from_secs(1) / per_second;
        // One source and three of them: each frame has its own look, and none waits.
        assert_eq!(run(frames(40), LONGEST), (40, Duration::ZERO));
        assert_eq!(run(frames(125), LONGEST), (125, Duration::ZERO));
        // 20 sources: a few frames a look.
        let (looks, waited) = run(frames(770), LONGEST);
        assert!((150..=205).contains(&looks), "{looks} looks");
        assert!(waited <= PAUSE, "{waited:?}");
        // 200 sources: a look finds some two frames of each.
        let (looks, waited) = run(frames(7_700), LONGEST);
        assert!((20..=30).contains(&looks), "{looks} looks");
        assert!(waited <= LONGEST, "{waited:?}");
        // The same where frames must not wait.
        let (looks, waited) = run(frames(7_700), PAUSE);
        assert!((195..=205).contains(&looks), "{looks} looks");
        assert!(waited <= PAUSE, "{waited:?}");
    }

    #[test]
    fn tasks_run_on_the_thread_until_it_is_told_to_end() {
        let sources = SourceThread::start(|| false).expect("a thread");
        let (told, tells) = std::sync::mpsc::channel();
        let task = observe::task::spawn_on(sources.runtime(), "test", (), async move {
            let name = std::thread::current().name().map(str::to_owned);
            told.send(name).expect("the test waits");
            std::future::pending::<()>().await;
        });
        let name = tells.recv().expect("the task runs");
        assert_eq!(name.as_deref(), Some("sources"));
        sources.finish();
        assert!(task.is_finished(), "a task outlived its thread");
        sources.finish();
    }
}
