//! The right to feed a mount.
//!
//! Contract: a claim is the only thing that can write to its stream, and giving it up (also by a panic of its
//! task) always releases the mount.

use std::{
    sync::{Arc, OnceLock, atomic::Ordering},
    time::{Duration, Instant},
};

use media::{Format, TrackTitle, Unit};
use ring::{Entry, Preamble, Writer};
use tokio::sync::Notify;

use crate::{
    Happening, Mounts, Stream, Title, events,
    metrics::{IntakeMeter, SOURCE_DISCONNECTS, SourceEnd},
    state::Mount,
};

/// Why a claim must be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stopped {
    /// An administrator ended it.
    Kicked,
    /// The mount was disabled or deleted.
    Disabled,
    /// The same encoder came back, or newest wins.
    Replaced,
    /// Silent for too long.
    Silent,
    /// The server ends.
    Shutdown,
}

impl Stopped {
    /// Label for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kicked => "kicked",
            Self::Disabled => "disabled",
            Self::Replaced => "replaced",
            Self::Silent => "silent",
            Self::Shutdown => "shutdown",
        }
    }
}

/// How a claim's task is told to end.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    reason: OnceLock<Stopped>,
    notify: Notify,
}

impl Stop {
    pub(crate) fn fire(&self, reason: Stopped) {
        // The first reason is the one that counts.
        let _ = self.reason.set(reason);
        self.notify.notify_waiters();
        self.notify.notify_one();
    }

    fn reason(&self) -> Option<Stopped> {
        self.reason.get().copied()
    }
}

/// The right to feed a mount.
#[derive(Debug)]
pub struct Claim {
    mounts: Arc<Mounts>,
    mount: Arc<Mount>,
    stream: Arc<Stream>,
    writer: Option<Writer>,
    stop: Arc<Stop>,
    meter: Meter,
    began: Instant,
    bytes_in: u64,
    /// When frames came last.
    last: Option<Instant>,
    /// How long the first byte of what comes next was held by the framing.
    held: Duration,
    /// Told by whoever ends the claim; `None` means that its owner was dropped without a word.
    reason: Option<&'static str>,
}

impl Claim {
    pub(crate) fn new(
        mounts: Arc<Mounts>,
        mount: Arc<Mount>,
        stream: Arc<Stream>,
        writer: Writer,
        stop: Arc<Stop>,
        now: Instant,
    ) -> Self {
        let meter = Meter::new(now);
        Self {
            mounts,
            mount,
            stream,
            writer: Some(writer),
            stop,
            meter,
            began: now,
            bytes_in: 0,
            last: None,
            held: Duration::ZERO,
            reason: None,
        }
    }

    /// What is fed.
    #[must_use]
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Whether any byte has come from this source.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.bytes_in > 0
    }

    /// Counts bytes read from the source, before framing.
    pub fn count(&mut self, bytes: usize) {
        self.bytes_in += bytes as u64;
        self.stream.count_in(bytes as u64);
        self.mount.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// What the mount counts of its sources' bytes.
    pub(crate) fn intake(&self) -> &IntakeMeter {
        &self.mount.intake
    }

    /// How long what was just read took to get through the framing.
    pub(crate) fn count_ingest(&self, took: Duration) {
        self.mount.counters.delays.ingest.observe_duration(took);
    }

    /// The first byte of the next unit was held for this long until the unit was whole.
    pub(crate) fn set_held(&mut self, held: Duration) {
        self.held = held;
    }

    /// Sends one unit to the mount.
    pub fn push(&mut self, unit: Unit, now: Instant) {
        let Some(writer) = self.writer.as_mut() else {
            return;
        };
        {
            let mark = self.stream.mark();
            writer.set_mark(Arc::clone(&mark));
        }
        match unit {
            Unit::Frames(frames) => {
                self.mount.counters.delays.framing.observe_duration(self.held);
                match self.last.replace(now) {
                    // Frames of one read belong together.
                    Some(last) if last != now => {
                        self.mount
                            .intake
                            .gaps
                            .observe_duration(now.saturating_duration_since(last));
                    }
                    _ => {}
                }
                self.meter.count(frames.bytes.len(), frames.duration, now);
                if let Some(kbits) = self.meter.kbits(now) {
                    self.stream.set_measured_kbits(kbits);
                }
                writer.push(
                    Entry {
                        bytes: frames.bytes,
                        sync: frames.sync,
                        duration: frames.duration,
                        held: self.held,
                    },
                    now,
                );
            }
            Unit::Header(header) => match writer.preamble() {
                // The same encoder came back: decoders have this header already.
                Some(known) if !header.chains && known.bytes == header.bytes => {}
                Some(_) if !header.chains => {
                    observe::emit(events::HeaderChanged {
                        mount: self.stream.mount().as_str(),
                    });
                    self.replace(self.stream.format(), self.stream.content_type().to_owned(), now);
                    if let Some(writer) = self.writer.as_mut() {
                        writer.push_header(
                            Preamble {
                                bytes: header.bytes,
                                chains: header.chains,
                            },
                            now,
                        );
                    }
                }
                _ => writer.push_header(
                    Preamble {
                        bytes: header.bytes,
                        chains: header.chains,
                    },
                    now,
                ),
            },
            Unit::Title(TrackTitle { artist, title }) => {
                self.stream.set_title(Title::parts(artist, title));
            }
            Unit::Facts(facts) => self.stream.set_facts(facts),
        }
    }

    /// The bytes turned out to be something else than declared (`labelled`) or assumed. Listeners that were
    /// promised the other thing are let go.
    pub fn correct(&mut self, format: Format, content_type: &str, labelled: bool, now: Instant) {
        if labelled {
            observe::emit(events::ContentTypeCorrected {
                mount: self.stream.mount().as_str(),
                declared: self.stream.content_type(),
                found: content_type,
            });
        }
        self.replace(format, content_type.to_owned(), now);
    }

    fn replace(&mut self, format: Format, content_type: String, now: Instant) {
        if let Some((stream, writer)) =
            self.mounts
                .replace_stream(&self.mount, &self.stop, &self.stream, format, content_type, now)
        {
            self.stream = stream;
            self.writer = Some(writer);
        }
    }

    /// Why the claim has to be given up, if it has to.
    #[must_use]
    pub fn is_stopped(&self) -> Option<Stopped> {
        self.stop.reason()
    }

    /// Resolves when the claim has to be given up.
    pub fn stopped(&self) -> impl Future<Output = Stopped> + Send + use<> {
        let stop = Arc::clone(&self.stop);
        async move {
            loop {
                let notified = stop.notify.notified();
                if let Some(reason) = stop.reason() {
                    return reason;
                }
                notified.await;
            }
        }
    }

    /// Gives the claim up. `reason` is for the log.
    pub fn release(mut self, reason: &'static str) {
        self.reason = Some(reason);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let stopped = self.stop.reason();
        let reason = stopped.map(Stopped::as_str).or(self.reason).unwrap_or("aborted");
        let now = Instant::now();
        SOURCE_DISCONNECTS.of(SourceEnd::of(reason)).inc();
        observe::emit(events::SourceDisconnected {
            mount: self.stream.mount().as_str(),
            bytes_in: self.bytes_in,
            reason,
            connected: now.saturating_duration_since(self.began),
        });
        self.mounts.witnesses.tell(Happening::SourceDisconnected {
            mount: self.stream.mount(),
            owner: &self.stream.owner(),
            station: &self.stream.station(),
            reason,
            connected: now.saturating_duration_since(self.began),
        });
        if let Some(writer) = self.writer.take() {
            self.mounts.release(&self.mount, &self.stop, writer, stopped, now);
        }
    }
}

/// Measures the bitrate over windows of ten seconds.
#[derive(Debug)]
struct Meter {
    since: Instant,
    bytes: u64,
    playtime: Duration,
}

impl Meter {
    const WINDOW: Duration = Duration::from_secs(10);

    fn new(now: Instant) -> Self {
        Self {
            since: now,
            bytes: 0,
            playtime: Duration::ZERO,
        }
    }

    fn count(&mut self, bytes: usize, playtime: Duration, now: Instant) {
        if self.bytes == 0 {
            self.since = now;
        }
        self.bytes += bytes as u64;
        self.playtime += playtime;
    }

    /// kbit/s when a window is full. The frames' own time is used where they tell it: encoders send in gusts.
    fn kbits(&mut self, now: Instant) -> Option<u64> {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < Self::WINDOW {
            return None;
        }
        let time = if self.playtime >= Self::WINDOW / 2 {
            self.playtime
        } else {
            elapsed
        };
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        let kbits = (self.bytes * 8 + millis / 2) / millis;
        (self.bytes, self.playtime, self.since) = (0, Duration::ZERO, now);
        Some(kbits)
    }
}
