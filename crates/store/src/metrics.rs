//! What is counted about the history database.
//!
//! Contract: labels say what kind of thing was written or lost, never whose.

use std::sync::Weak;

use observe::metrics::{Exposition, Kind, Metric};

use crate::entry::Write;
use crate::writer::Shared;

/// The metrics of this crate, apart from those of [`Store::collector`](crate::Store::collector).
pub const ALL: &[&dyn Metric] = &[
    &WRITES,
    &LOST,
    &BATCH_DURATION,
    &BATCH_WRITES,
    &ERRORS,
    &READS,
    &READ_DURATION,
];

observe::metrics! {
    /// Writes in the file.
    pub static WRITES: Counters<What> = "tinyice_store_writes_total" {"what"}:
        "Writes that reached the history database.";
    /// Writes that are gone.
    pub static LOST: Counters<(What, Lost)> = "tinyice_store_lost_total" {"what", "reason"}:
        "Writes to the history database that were lost: the queue was full, the disk failed, space was low, the \
         record was too large, or the database was closed.";
    /// How long transactions took.
    pub static BATCH_DURATION: Histogram = "tinyice_store_batch_seconds":
        "Transactions of the history database, from their begin to their commit, retries included.",
        seconds &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
    /// How much they held.
    pub static BATCH_WRITES: Histogram = "tinyice_store_batch_writes":
        "Writes in one transaction of the history database.",
        plain &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0];
    /// What SQLite refused.
    pub static ERRORS: Counters<(Side, Trouble)> = "tinyice_store_errors_total" {"side", "kind"}:
        "Errors of the history database, attempts that were repeated included.";
    /// Questions.
    pub static READS: Counters<Answer> = "tinyice_store_reads_total" {"result"}:
        "Questions to the history database by result; busy ones were turned away because too many waited.";
    /// How long answers took.
    pub static READ_DURATION: Histogram = "tinyice_store_read_seconds":
        "Answers of the history database, the wait for a reader included.",
        seconds &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
}

observe::label! {
    /// What is written.
    pub enum What {
        Song = "song",
        Agent = "agent",
        Sample = "sample",
        Audit = "audit",
        Record = "record",
    }

    /// Why a write is gone.
    pub enum Lost {
        Full = "full",
        Failed = "failed",
        Space = "space",
        TooLarge = "too_large",
        Closed = "closed",
    }

    /// Who had an error.
    pub enum Side {
        Write = "write",
        Read = "read",
    }

    /// What SQLite says.
    pub enum Trouble {
        Busy = "busy",
        Full = "full",
        ReadOnly = "read_only",
        Io = "io",
        Corrupt = "corrupt",
        Other = "other",
    }

    /// How a question ended.
    pub enum Answer {
        Ok = "ok",
        Busy = "busy",
        Late = "timeout",
        Failed = "failed",
    }
}

impl What {
    pub(crate) fn of(write: &Write) -> Self {
        match write {
            Write::Song { .. } => Self::Song,
            Write::Agent(..) => Self::Agent,
            Write::Samples(..) => Self::Sample,
            Write::Audit(_) => Self::Audit,
            Write::Put { .. } | Write::Delete { .. } => Self::Record,
        }
    }
}

impl Trouble {
    pub(crate) fn of(error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;

        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly,
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => Self::Io,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt,
            _ => Self::Other,
        }
    }
}

pub(crate) fn collector(shared: Weak<Shared>) -> impl Fn(&mut Exposition) + Send + Sync + 'static {
    move |out| {
        let Some(shared) = shared.upgrade() else { return };
        let families = [
            (
                "tinyice_store_queue_length",
                "Writes that wait for the history database or are being written.",
                shared.queued() as u64,
            ),
            (
                "tinyice_store_queue_bytes",
                "Memory of the writes that wait for the history database.",
                shared.queued_bytes() as u64,
            ),
            (
                "tinyice_store_database_bytes",
                "The history database and its journal on the disk, as of the last minute.",
                shared.database_bytes(),
            ),
            (
                "tinyice_store_writable",
                "Whether the last writes reached the history database.",
                u64::from(shared.is_writable()),
            ),
            (
                "tinyice_store_statistics_paused",
                "Whether statistics stand still because the disk is nearly full.",
                u64::from(shared.is_short_of_space()),
            ),
        ];
        for (name, help, value) in families {
            out.family(name, Kind::Gauge, help).sample(&[], value);
        }
    }
}
