//! Sources without an encoder.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{FRAME, Mp3, Reply, Server, Wire, source_auth};

/// A source whose every byte the test sends.
pub(crate) struct Source {
    /// The connection, open for audio.
    pub(crate) wire: Wire,
}

impl Source {
    /// An unframed MP3 source that was let in.
    pub(crate) fn open(server: &Server, mount: &str) -> Self {
        Self::with(server, mount, "Content-Type: audio/mpeg\r\n")
    }

    /// The same with other header lines (each with its line end).
    pub(crate) fn with(server: &Server, mount: &str, headers: &str) -> Self {
        Self::try_with(server, mount, headers).unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    /// The same where the server may refuse; gives its answer then.
    pub(crate) fn try_with(server: &Server, mount: &str, headers: &str) -> Result<Self, Reply> {
        let mut wire = server.connect();
        wire.send(format!(
            "SOURCE {mount} HTTP/1.0\r\n{}{headers}\r\n",
            source_auth()
        ));
        let head = wire.head();
        if head.status == 200 {
            return Ok(Self { wire });
        }
        let body = wire.body(&head);
        Err(Reply { head, body })
    }

    /// Sends audio.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.wire.send(bytes);
        self
    }
}

/// Sends numbered MP3 frames in real time, or a multiple of it, until it is dropped.
pub(crate) struct Feeder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Feeder {
    /// Publishes on a mount; `mark` is that of [`Mp3::new`]. The first second comes at once.
    pub(crate) fn start(server: &Server, mount: &str, mark: char) -> Self {
        Self::run(Source::open(server, mount), Mp3::new(mark), 1.0)
    }

    /// Feeds a source that is open already, at a multiple of real time.
    pub(crate) fn run(mut source: Source, mut frames: Mp3, speed: f64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let began = Instant::now();
            let mut sent = 0_usize;
            while !stopped.load(Ordering::Acquire) {
                let due = ((began.elapsed().as_secs_f64() * speed + 1.0) * 16_000.0) as usize;
                while sent < due {
                    // A source that was kicked has nobody to send to.
                    if source.wire.try_send(frames.frame()).is_err() {
                        return;
                    }
                    sent += FRAME;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
