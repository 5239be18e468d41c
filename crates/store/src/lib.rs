//! What is kept: songs, statistics, agents, audit, and records of others, in SQLite (`history.db`).
//!
//! Contract: nobody waits for a write. One thread writes, from a bounded queue, many writes in one transaction; what
//! does not fit is dropped, counted and reported. Readers have their own connections, a bounded queue and a time
//! limit. A broken or full disk costs history, never a listener.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! # let path = std::env::temp_dir().join(format!("store-doc-{}.db", std::process::id()));
//! let (store, opened) = store::Store::open(&path, store::Settings::default())?;
//! assert!(opened.replaced.is_none());
//! store.song("/live", "Artist - Title", jiff::Timestamp::now());
//! let songs = store.songs(store::SongQuery::newest("/live", 10)).await.unwrap();
//! assert_eq!(songs[0].artist_title(), ("Artist", "Title"));
//! store.close().await;
//! # std::fs::remove_file(&path).unwrap();
//! # Ok::<_, store::OpenError>(())
//! # }).unwrap();
//! ```

mod action;
mod agents;
mod audit;
pub mod csv;
mod entry;
mod event;
mod file;
mod insights;
pub mod metrics;
mod queue;
mod readers;
mod records;
mod samples;
mod schema;
mod songs;
mod spans;
mod stamp;
mod tidy;
mod traffic;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::oneshot;

use crate::entry::Write;
use crate::file::Broken;
use crate::queue::{Job, Queue};
use crate::readers::Readers;
use crate::writer::{Shared, Writer};

pub use action::{AuditAction, category_actions};
pub use agents::Agent;
pub use audit::{AuditPage, AuditQuery, AuditRow};
pub use csv::Part;
pub use entry::{AgentKind, AuditEntry, Sample};
pub use insights::{Insights, InsightsQuery, Point, Resolution};
pub use readers::ReadError;
pub use songs::{Song, SongQuery};
pub use tidy::{Retention, Tidied};
pub use traffic::{Total, Traffic};

/// How a database is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long what is kept.
    pub retention: Retention,
    /// The zone of the time stamps that are written.
    pub zone: TimeZone,
    /// Statistics stop while the disk has less free space than this, in bytes.
    pub least_free: u64,
    /// How many writes may wait.
    pub queue: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retention: Retention::default(),
            zone: TimeZone::system(),
            least_free: 100 * 1024 * 1024,
            queue: 8_192,
        }
    }
}

/// What [`Store::open`] found, for the caller's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The file did not exist or was empty.
    pub created: bool,
    /// The file was written by the Go program alone until now.
    pub adopted: bool,
    /// The file was broken and a new one was made.
    pub replaced: Option<Replaced>,
}

/// A broken database that was moved out of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Where it is now.
    pub moved_to: PathBuf,
    /// What was wrong with it.
    pub reason: String,
}

/// Why there is no history. The server runs all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process holds the file; try again later.
    #[error("the database {0} is in use by another process")]
    Busy(PathBuf),
    /// The file or its folder cannot be used: rights, space, or a failing disk.
    #[error("the database {path} cannot be used")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// SQLite cannot use the file.
    #[error("the database {path} cannot be used: {reason}")]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
}

/// The open database. Clones share it; it closes when the last one is gone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: Queue,
    readers: Readers,
    shared: Arc<Shared>,
}

impl Store {
    /// Opens a database or makes it, and starts the threads that write and read. It waits for the disk.
    pub fn open(path: &Path, settings: Settings) -> Result<(Store, Opened), OpenError> {
        let (connection, opened) = open_or_replace(path)?;
        let shared = Arc::new(Shared::new(path, settings.queue));
        let (queue, jobs) = Queue::new(Arc::clone(&shared));
        Writer::new(connection, jobs, Arc::clone(&shared), settings)
            .start()
            .map_err(|source| io_error(path, source))?;
        let readers = Readers::start(Arc::clone(&shared)).map_err(|source| io_error(path, source))?;
        let inner = Inner {
            queue,
            readers,
            shared,
        };
        Ok((
            Store {
                inner: Arc::new(inner),
            },
            opened,
        ))
    }

    /// Notes that a mount plays a song. Placeholders and what the mount plays already are left out.
    pub fn song(&self, mount: &str, song: &str, at: Timestamp) {
        if let Some(write) = entry::song(mount, song, at) {
            self.inner.queue.write(write);
        }
    }

    /// Counts a program that listens or that sends.
    pub fn agent(&self, kind: AgentKind, agent: Option<&str>) {
        self.inner.queue.write(entry::agent(kind, agent));
    }

    /// Notes the listeners and counters of live mounts. The counters may start over at any time.
    pub fn sample(&self, samples: Vec<Sample>, at: Timestamp) {
        if !samples.is_empty() {
            self.inner.queue.write(Write::Samples(samples, at));
        }
    }

    /// Notes who changed what.
    pub fn audit(&self, entry: AuditEntry) {
        self.inner.queue.write(Write::Audit(Box::new(entry.bounded())));
    }

    /// Keeps a record of another part of the program under its kind and key, in place of an earlier one.
    /// Records of more than 1 MiB are refused, like any loss.
    pub fn put(&self, kind: &'static str, key: &str, value: Vec<u8>) {
        let key = key.to_owned();
        self.inner.queue.write(Write::Put { kind, key, value });
    }

    /// Forgets a record; one that does not exist is no error.
    pub fn delete(&self, kind: &'static str, key: &str) {
        let key = key.to_owned();
        self.inner.queue.write(Write::Delete { kind, key });
    }

    /// All records of a kind, by key.
    pub async fn all(&self, kind: &'static str) -> Result<Vec<(String, Vec<u8>)>, ReadError> {
        self.read(move |connection| records::all(connection, kind)).await
    }

    /// Songs of a mount, newest first.
    pub async fn songs(&self, query: SongQuery) -> Result<Vec<Song>, ReadError> {
        self.read(move |connection| songs::list(connection, &query)).await
    }

    /// Listeners and bytes of mounts over time.
    pub async fn insights(&self, query: InsightsQuery) -> Result<Insights, ReadError> {
        self.read(move |connection| insights::read(connection, &query))
            .await
    }

    /// Bytes of mounts (none is all of them) in the windows that end at `now`.
    pub async fn traffic(&self, mounts: Option<Vec<String>>, now: Timestamp) -> Result<Traffic, ReadError> {
        self.read(move |connection| traffic::read(connection, mounts.as_deref(), now))
            .await
    }

    /// The programs that connected most often.
    pub async fn agents(&self, kind: AgentKind, limit: u32) -> Result<Vec<Agent>, ReadError> {
        self.read(move |connection| agents::list(connection, kind, limit))
            .await
    }

    /// A page of the audit log, newest first.
    pub async fn audit_page(&self, query: AuditQuery) -> Result<AuditPage, ReadError> {
        self.read(move |connection| audit::page(connection, &query)).await
    }

    /// A part of the audit log as CSV, newest first; `before` is the `next` of the part before it.
    pub async fn audit_csv(&self, query: AuditQuery, before: Option<i64>) -> Result<Part, ReadError> {
        self.read(move |connection| audit::csv(connection, &query, before))
            .await
    }

    /// A part of the songs of a mount (none is all mounts) as CSV, newest first.
    pub async fn songs_csv(&self, mount: Option<String>, before: Option<i64>) -> Result<Part, ReadError> {
        self.read(move |connection| songs::csv(connection, mount.as_deref(), before))
            .await
    }

    /// Waits until everything that was written before is in the file or lost. It waits for the disk as long as
    /// that takes, so the caller sets the limit.
    pub async fn flush(&self) {
        self.ask(Job::Flush).await;
    }

    /// Deletes and thins what is too old at `now`. The store does so itself once a day.
    pub async fn tidy(&self, now: Timestamp) -> Tidied {
        self.ask(|answer| Job::Tidy(now, answer))
            .await
            .unwrap_or_default()
    }

    /// Changes how long what is kept, from the next tidying on.
    pub async fn retain(&self, retention: Retention) {
        self.ask(|answer| Job::Retain(retention, answer)).await;
    }

    /// Writes what waits and closes the file. Later writes are lost and later reads fail.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        self.ask(Job::Close).await;
    }

    /// Whether the last writes reached the file.
    pub fn is_writable(&self) -> bool {
        self.inner.shared.is_writable()
    }

    /// Whether statistics stand still because the disk is nearly full.
    pub fn is_short_of_space(&self) -> bool {
        self.inner.shared.is_short_of_space()
    }

    /// How many writes were lost since the start, for whatever reason.
    pub fn lost(&self) -> u64 {
        self.inner.shared.lost()
    }

    /// Writes the families that depend on the state of this store, for `observe::metrics::collect_with`.
    pub fn collector(&self) -> impl Fn(&mut observe::metrics::Exposition) + Send + Sync + 'static {
        metrics::collector(Arc::downgrade(&self.inner.shared))
    }

    async fn read<T: Send + 'static>(
        &self,
        run: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        // Who has just written wants to see it. A stuck disk shall not keep readers from what they may have.
        let (answer, written) = oneshot::channel();
        if self.inner.shared.queued() > 0 && self.inner.queue.try_ask(Job::Flush(answer)) {
            let _ = tokio::time::timeout(Duration::from_millis(500), written).await;
        }
        self.inner.readers.run(run).await
    }

    /// Puts a question into the queue, waiting for a place, and waits for its answer.
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Job) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let mut job = question(answer);
        while let Err(back) = self.inner.queue.ask(job) {
            job = back?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        answered.await.ok()
    }
}

fn open_or_replace(path: &Path) -> Result<(rusqlite::Connection, Opened), OpenError> {
    let mut replaced = None;
    let (connection, before) = match schema::open(path) {
        Err(Broken::Corrupt(reason)) => {
            let moved_to =
                file::set_aside(path, Timestamp::now()).map_err(|source| io_error(path, source))?;
            replaced = Some(Replaced { moved_to, reason });
            schema::open(path)
        }
        result => result,
    }
    .map_err(|broken| match broken {
        Broken::Busy => OpenError::Busy(path.to_owned()),
        Broken::Io(source) => io_error(path, source),
        Broken::Corrupt(reason) | Broken::Other(reason) => OpenError::Database {
            path: path.to_owned(),
            reason,
        },
    })?;
    let opened = Opened {
        created: before == schema::Before::Empty,
        adopted: before == schema::Before::Foreign,
        replaced,
    };
    Ok((connection, opened))
}

fn io_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io {
        path: path.to_owned(),
        source,
    }
}
