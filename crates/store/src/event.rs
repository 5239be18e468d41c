//! What the store says in the log.

use std::path::Path;

observe::event! {
    /// A write was lost.
    pub(crate) struct WriteLost { what: &'static str, reason: &'static str }
    = Error "history_write_lost": "A write to the history database was lost"

    /// SQLite refused a write.
    pub(crate) struct WriteFailed<'a> { error: &'a str, path: &'a str }
    = Error "history_write_failed": "The history database cannot be written, streaming goes on"

    /// SQLite refused a read.
    pub(crate) struct ReadFailed<'a> { error: &'a str, path: &'a str }
    = Error "history_read_failed": "The history database cannot be read, streaming goes on"

    /// The database broke while it was in use.
    pub(crate) struct DatabaseReplaced<'a> { reason: &'a str, moved_to: &'a str }
    = Error "history_database_replaced": "The history database is corrupt; it was moved aside and a new one made"

    /// The disk is nearly full.
    pub(crate) struct SpaceLow { free_bytes: u64, least_bytes: u64 }
    = Warn "history_space_low": "The disk is nearly full: statistics stop until there is space again"

    /// There is space again.
    pub(crate) struct SpaceBack { free_bytes: u64 }
    = Info "history_space_back": "The disk has space again: statistics go on"

    /// Old rows were thinned and deleted.
    pub(crate) struct HistoryTidied { thinned: u64, deleted: u64, took: std::time::Duration => "duration" }
    = Debug "history_tidied": "Old history was thinned and deleted"
}

/// A path as the log shows it.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}
