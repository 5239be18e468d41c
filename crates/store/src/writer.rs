//! The thread that writes, and what it shares with the others.
//!
//! Contract: it alone changes the file. A batch of writes is one transaction; one that fails is repeated where that
//! can help, then split, so that a bad write takes no good ones with it. It ends only when it is told to.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use crate::entry::Write;
use crate::event::{DatabaseReplaced, HistoryTidied, SpaceBack, SpaceLow, WriteFailed, WriteLost, shown};
use crate::metrics::{BATCH_DURATION, BATCH_WRITES, ERRORS, LOST, Lost, Side, Trouble, WRITES, What};
use crate::queue::Job;
use crate::tidy::{Round, Tidied};
use crate::{Settings, agents, audit, file, records, samples, schema, songs};

/// Writes in one transaction at most.
const BATCH: usize = 1_000;
/// At most so often a transaction, unless somebody waits for one: many connects cost one commit.
const PACE: Duration = Duration::from_millis(20);
/// After the start, when everything else has been done.
const FIRST_TIDY: Duration = Duration::from_secs(120);
const TIDY: Duration = Duration::from_secs(24 * 60 * 60);
const MEASURE: Duration = Duration::from_secs(60);
/// While fresh writes keep coming, old rows get their turn so often.
const CHORE_TURN: Duration = Duration::from_millis(250);
/// Lines about the same trouble are so far apart.
const QUIET: Duration = Duration::from_secs(60);

/// What all threads of a store know.
#[derive(Debug)]
pub(crate) struct Shared {
    path: PathBuf,
    capacity: usize,
    queued: AtomicUsize,
    queued_bytes: AtomicUsize,
    lost: AtomicU64,
    failing: AtomicBool,
    short_of_space: AtomicBool,
    database_bytes: AtomicU64,
    /// Grows when a new file takes the place of a broken one.
    generation: AtomicU64,
}

impl Shared {
    pub(crate) fn new(path: &Path, capacity: usize) -> Self {
        Self {
            path: path.to_owned(),
            capacity: capacity.max(1),
            queued: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            short_of_space: AtomicBool::new(false),
            database_bytes: AtomicU64::new(file::size(path)),
            generation: AtomicU64::new(0),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn enter(&self, size: usize) {
        self.queued.fetch_add(1, Ordering::Relaxed);
        self.queued_bytes.fetch_add(size, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self, count: usize, size: usize) {
        self.queued.fetch_sub(count, Ordering::Relaxed);
        self.queued_bytes.fetch_sub(size, Ordering::Relaxed);
    }

    /// Counts writes that are gone, and says so now and then.
    pub(crate) fn lose(&self, what: What, reason: Lost, count: u64) {
        use observe::metrics::Label as _;

        self.lost.fetch_add(count, Ordering::Relaxed);
        LOST.of((what, reason)).add(count);
        // Low space has its own line, and a closed store is no surprise.
        if !matches!(reason, Lost::Space | Lost::Closed) {
            observe::emit_limited(
                QUIET,
                WriteLost {
                    what: What::VALUES[what.index()],
                    reason: Lost::VALUES[reason.index()],
                },
            );
        }
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn is_writable(&self) -> bool {
        !self.failing.load(Ordering::Relaxed)
    }

    pub(crate) fn is_short_of_space(&self) -> bool {
        self.short_of_space.load(Ordering::Relaxed)
    }

    pub(crate) fn database_bytes(&self) -> u64 {
        self.database_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// The thread.
pub(crate) struct Writer {
    /// None only while a broken file could not be replaced.
    connection: Option<Connection>,
    jobs: Receiver<Job>,
    shared: Arc<Shared>,
    settings: Settings,
    last_commit: Option<Instant>,
    chores: Chores,
}

/// What is done when nobody writes.
struct Chores {
    /// Whether samples may wait to be summed up.
    folding: bool,
    round: Option<(Round, Instant)>,
    waiting: Vec<oneshot::Sender<Tidied>>,
    next_round: Instant,
    next_measure: Instant,
    last_turn: Instant,
}

impl Writer {
    pub(crate) fn new(
        connection: Connection,
        jobs: Receiver<Job>,
        shared: Arc<Shared>,
        settings: Settings,
    ) -> Self {
        let now = Instant::now();
        Self {
            connection: Some(connection),
            jobs,
            shared,
            settings,
            last_commit: None,
            chores: Chores {
                folding: true,
                round: None,
                waiting: Vec::new(),
                next_round: now + FIRST_TIDY,
                next_measure: now,
                last_turn: now,
            },
        }
    }

    pub(crate) fn start(self) -> io::Result<()> {
        observe::thread::spawn("store-writer", move || self.run()).map(drop)
    }

    fn run(mut self) {
        loop {
            let now = Instant::now();
            if self.chores.is_busy() && now.duration_since(self.chores.last_turn) >= CHORE_TURN {
                self.do_chore();
            }
            match self.jobs.recv_timeout(self.chores.wait(now)) {
                Ok(job) => {
                    if let Some(closed) = self.take_batch(job) {
                        self.end();
                        let _ = closed.send(());
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.do_chore(),
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
        }
    }

    /// Gathers writes until somebody waits for them or it is time, and writes them. Gives the answer of who closes.
    fn take_batch(&mut self, first: Job) -> Option<oneshot::Sender<()>> {
        let until = self.last_commit.map(|last| last + PACE);
        let mut writes = Vec::new();
        let mut next = Some(first);
        let mut flushed = None;
        let mut closed = None;
        while let Some(job) = next.take() {
            match job {
                Job::Write(write) => writes.push(write),
                Job::Flush(answer) => flushed = Some(answer),
                Job::Close(answer) => closed = Some(answer),
                Job::Tidy(now, answer) => {
                    self.chores.waiting.push(answer);
                    self.chores.begin(Round::new(now, self.settings.retention));
                }
                Job::Retain(retention, answer) => {
                    self.settings.retention = retention;
                    let _ = answer.send(());
                }
            }
            if flushed.is_some() || closed.is_some() || writes.len() >= BATCH {
                break;
            }
            next = match until {
                Some(until) if !writes.is_empty() => self.jobs.recv_deadline(until).ok(),
                _ => self.jobs.try_recv().ok(),
            };
        }
        self.write(&writes);
        if let Some(answer) = flushed {
            let _ = answer.send(());
        }
        closed
    }

    fn write(&mut self, writes: &[Write]) {
        if writes.is_empty() {
            return;
        }
        self.look_for_space(writes);
        let started = Instant::now();
        let failed = match self.attempt(writes) {
            Ok(()) => Vec::new(),
            Err(_) if writes.len() == 1 => writes.iter().collect(),
            // The disk is well, so a single write of them is not: the others shall not go with it.
            Err(Trouble::Other) => writes
                .iter()
                .filter(|write| self.attempt(std::slice::from_ref(write)).is_err())
                .collect(),
            Err(_) => writes.iter().collect(),
        };
        for write in &failed {
            self.shared.lose(What::of(write), Lost::Failed, 1);
        }
        self.shared
            .failing
            .store(failed.len() == writes.len(), Ordering::Relaxed);
        self.shared
            .leave(writes.len(), writes.iter().map(Write::size).sum());
        BATCH_DURATION.observe_duration(started.elapsed());
        BATCH_WRITES.observe_many(writes.len() as u64, 1);
        self.last_commit = Some(Instant::now());
    }

    /// Writes in one transaction, again after what passes by itself or can be mended.
    fn attempt(&mut self, writes: &[Write]) -> Result<(), Trouble> {
        // A disk that failed the last time gets one chance, so that the queue does not pile up behind it.
        let mut pauses = match self.shared.is_writable() {
            true => [50, 250, 1_000].iter(),
            false => [].iter(),
        };
        let mut replaced = false;
        loop {
            let error = match self.transact(|connection, context| apply(connection, writes, context)) {
                Ok(folding) => {
                    self.chores.folding |= folding;
                    let short = self.shared.is_short_of_space();
                    for write in writes.iter().filter(|write| !(short && write.is_statistics())) {
                        WRITES.of(What::of(write)).inc();
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            let trouble = self.report(&error);
            match trouble {
                Trouble::Corrupt if !replaced => {
                    replaced = true;
                    if !self.replace(&error.to_string()) {
                        return Err(trouble);
                    }
                }
                Trouble::Other | Trouble::Corrupt => return Err(trouble),
                Trouble::Busy | Trouble::Full | Trouble::ReadOnly | Trouble::Io => match pauses.next() {
                    Some(&pause) => std::thread::sleep(Duration::from_millis(pause)),
                    None => return Err(trouble),
                },
            }
        }
    }

    /// Runs statements in one transaction, all or none of them.
    fn transact<T>(
        &mut self,
        run: impl FnOnce(&Connection, Context<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        if self.connection.is_none() {
            let opened = schema::open(&self.shared.path).map_err(|broken| {
                let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
                rusqlite::Error::SqliteFailure(code, Some(format!("{broken:?}")))
            });
            self.connection = Some(opened?.0);
        }
        let connection = self.connection.as_mut().expect("it was opened");
        let context = Context {
            settings: &self.settings,
            shared: &self.shared,
        };
        let whole = AssertUnwindSafe(|| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = run(&tx, context)?;
            tx.commit()?;
            Ok(value)
        });
        // A panic is a bug in one write and reported by the thread's watcher; the transaction was undone.
        catch_unwind(whole).unwrap_or(Err(rusqlite::Error::UnwindingPanic))
    }

    /// Does a piece of work; true if there is more of it and it works.
    fn transact_chore(&mut self, run: impl FnOnce(&Connection) -> rusqlite::Result<bool>) -> bool {
        self.transact(|connection, _| run(connection))
            .unwrap_or_else(|error| {
                self.report(&error);
                false
            })
    }

    fn report(&self, error: &rusqlite::Error) -> Trouble {
        let trouble = Trouble::of(error);
        ERRORS.of((Side::Write, trouble)).inc();
        observe::emit_limited(
            QUIET,
            WriteFailed {
                error: &error.to_string(),
                path: &shown(&self.shared.path),
            },
        );
        trouble
    }

    /// Moves a file that broke in use aside and goes on with a new one.
    fn replace(&mut self, reason: &str) -> bool {
        self.connection = None;
        let Ok(moved_to) = file::set_aside(&self.shared.path, Timestamp::now()) else {
            return false;
        };
        let opened = schema::open(&self.shared.path);
        // Readers let go of the old file in any case.
        self.shared.generation.fetch_add(1, Ordering::Release);
        observe::emit(DatabaseReplaced {
            reason,
            moved_to: &shown(&moved_to),
        });
        self.connection = opened.ok().map(|(connection, _)| connection);
        self.connection.is_some()
    }

    fn look_for_space(&self, writes: &[Write]) {
        if !writes.iter().any(Write::is_statistics) {
            return;
        }
        let Some(free) = file::free(&self.shared.path) else {
            return;
        };
        let short = free < self.settings.least_free;
        if self.shared.short_of_space.swap(short, Ordering::Relaxed) != short {
            match short {
                true => observe::emit(SpaceLow {
                    free_bytes: free,
                    least_bytes: self.settings.least_free,
                }),
                false => observe::emit(SpaceBack { free_bytes: free }),
            }
        }
        for write in writes.iter().filter(|write| short && write.is_statistics()) {
            self.shared.lose(What::of(write), Lost::Space, 1);
        }
    }

    /// One short piece of the work that is due.
    fn do_chore(&mut self) {
        let now = Instant::now();
        self.chores.last_turn = now;
        if self.chores.folding {
            self.chores.folding = self.transact_chore(samples::fold);
        } else if let Some((mut round, started)) = self.chores.round.take() {
            // A step that fails undoes itself; the next round finds the same rows.
            match self.transact_chore(|connection| round.step(connection)) {
                true => self.chores.round = Some((round, started)),
                false => self.finish_round(&round, started),
            }
        } else if now >= self.chores.next_round {
            self.chores.next_round = now + TIDY;
            self.chores
                .begin(Round::new(Timestamp::now(), self.settings.retention));
        } else if now >= self.chores.next_measure {
            self.chores.next_measure = now + MEASURE;
            let bytes = file::size(&self.shared.path);
            self.shared.database_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    fn finish_round(&mut self, round: &Round, started: Instant) {
        let tidied = round.tidied;
        observe::emit(HistoryTidied {
            thinned: tidied.thinned,
            deleted: tidied.samples + tidied.audit + tidied.songs,
            took: started.elapsed(),
        });
        if let Some(connection) = &self.connection {
            // SQLite keeps its statistics of the tables fresh by this; without them it is only slower.
            let _ = connection.execute_batch("PRAGMA optimize");
        }
        for answer in self.chores.waiting.drain(..) {
            let _ = answer.send(tidied);
        }
    }

    /// Writes the journal into the file and closes it.
    fn end(mut self) {
        let write = |job| match job {
            Job::Write(write) => Some(write),
            _ => None,
        };
        let left: Vec<Write> = self.jobs.try_iter().filter_map(write).collect();
        for batch in left.chunks(BATCH) {
            self.write(batch);
        }
        if let Some(connection) = self.connection.take() {
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            let _ = connection.close();
        }
    }
}

impl Chores {
    fn is_busy(&self) -> bool {
        self.folding || self.round.is_some()
    }

    /// How long there is nothing to do.
    fn wait(&self, now: Instant) -> Duration {
        match self.is_busy() {
            true => Duration::ZERO,
            false => self
                .next_round
                .min(self.next_measure)
                .saturating_duration_since(now),
        }
    }

    fn begin(&mut self, round: Round) {
        // Samples are summed up before the oldest are thinned.
        self.folding = true;
        self.round = Some((round, Instant::now()));
    }
}

/// What writes need to know.
#[derive(Clone, Copy)]
struct Context<'a> {
    settings: &'a Settings,
    shared: &'a Shared,
}

/// Puts writes into the open transaction; true if samples are left to be summed up.
fn apply(connection: &Connection, writes: &[Write], context: Context<'_>) -> rusqlite::Result<bool> {
    let zone = &context.settings.zone;
    let short = context.shared.is_short_of_space();
    let mut connects = HashMap::new();
    let mut sampled = false;
    for write in writes {
        match write {
            Write::Song { mount, song, at } => songs::add(connection, mount, song, *at, zone)?,
            Write::Audit(entry) => audit::add(connection, entry, zone)?,
            Write::Put { kind, key, value } => records::put(connection, kind, key, value)?,
            Write::Delete { kind, key } => records::delete(connection, kind, key)?,
            Write::Agent(..) | Write::Samples(..) if short => {}
            Write::Agent(kind, agent) => *connects.entry((*kind, agent.as_str())).or_insert(0_u64) += 1,
            Write::Samples(samples, at) => {
                samples::add(connection, samples, *at, zone)?;
                sampled = true;
            }
        }
    }
    agents::count(connection, &connects)?;
    if sampled {
        samples::fold(connection)
    } else {
        Ok(false)
    }
}
