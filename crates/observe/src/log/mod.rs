//! Log files: settings, the filter, and the queue between those who emit and the thread that writes.
//!
//! Contract: one event is one line whatever its strings hold, and nobody but the writer thread waits for the disk
//! or the terminal.

mod directive;
pub mod filter;
pub(crate) mod format;
mod output;
mod writer;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::event::Level;
use crate::record::Record;
use writer::Writer;

/// How logs are written.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Events below this level are not logged, unless a [`filter`] says so.
    pub level: Level,
    /// The shape of the lines.
    pub format: Format,
    /// The file to append to; standard output if there is none.
    pub file: Option<PathBuf>,
    /// The file of the authentication trail; the main log if there is none.
    pub auth_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            level: Level::Info,
            format: Format::Text,
            file: None,
            auth_file: None,
        }
    }
}

/// The shape of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Tab-separated parts and one JSON object with the fields.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// Text; on standard output without the time, which the journal has, and with the priority, which it reads.
    Journal,
}

/// A log file could not be opened at the start.
#[derive(Debug)]
pub struct OpenError {
    /// The file.
    pub file: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl fmt::Display for OpenError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "cannot open the log file {}", self.file.display())
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

static WRITER: ArcSwapOption<Writer> = ArcSwapOption::const_empty();
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Opens the files and starts the writer thread. Until then events are counted and recorded but not written. A
/// second start takes over from the first one, whose queue is still written.
pub fn start(settings: Settings) -> Result<LogHandle, OpenError> {
    set_level(settings.level);
    let writer = Arc::new(Writer::start(&settings, &DROPPED)?);
    WRITER.store(Some(Arc::clone(&writer)));
    Ok(LogHandle { writer })
}

/// The running log.
#[derive(Clone, Debug)]
pub struct LogHandle {
    writer: Arc<Writer>,
}

impl LogHandle {
    /// Opens the files anew, after a rotation. A file that cannot be opened is reported and the old one kept.
    pub fn reopen(&self) {
        self.writer.reopen();
    }

    /// Waits until all that was emitted before is written; `false` when that took longer.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.writer.flush(timeout)
    }

    /// Changes the configured level at once.
    pub fn set_level(&self, level: Level) {
        set_level(level);
    }
}

/// The configured level: the lowest that is logged where a [`filter`] says nothing else.
pub fn level() -> Level {
    filter::base()
}

/// Changes the configured level at once. A filter stays in force above it.
pub fn set_level(level: Level) {
    filter::set_base(level);
}

/// Lines that were lost because the queue was full or the file could not be written.
pub fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

pub(crate) use filter::enabled;

pub(crate) fn submit(record: Arc<Record>) {
    if let Some(writer) = WRITER.load().as_ref() {
        writer.submit(record);
    }
}
