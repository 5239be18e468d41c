//! The tables: the Go program's own, which both programs share, and those that only this program knows.
//!
//! Contract: a database of the Go program is only added to (tables, indexes, columns with a default), so that it can
//! go back any day. Its oldest tables are copied and dropped, as it does itself.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Result, Transaction, TransactionBehavior};

use crate::file::{self, Broken};

/// Which layout of our own tables is in the file, as `PRAGMA user_version`. The Go program does not use it.
const VERSION: i64 = 1;

/// A table that both programs share, as the Go program's library makes it.
struct Shared {
    table: &'static str,
    make: &'static str,
    columns: &'static [(&'static str, &'static str)],
    indexes: &'static [&'static str],
}

const SHARED: [Shared; 4] = [
    Shared {
        table: "history_items",
        make: "CREATE TABLE IF NOT EXISTS `history_items` (`id` integer PRIMARY KEY AUTOINCREMENT,`mount` text,\
               `song` text,`timestamp` datetime)",
        columns: &[("mount", "text"), ("song", "text"), ("timestamp", "datetime")],
        indexes: &["mount", "timestamp"],
    },
    Shared {
        table: "user_agents",
        make: "CREATE TABLE IF NOT EXISTS `user_agents` (`ua` text,`type` text,`count` integer DEFAULT 1,\
               PRIMARY KEY (`ua`,`type`))",
        columns: &[("ua", "text"), ("type", "text"), ("count", "integer DEFAULT 1")],
        indexes: &[],
    },
    Shared {
        table: "listener_histories",
        make: "CREATE TABLE IF NOT EXISTS `listener_histories` (`id` integer PRIMARY KEY AUTOINCREMENT,\
               `mount` text,`listeners` integer,`bytes_in` integer,`bytes_out` integer,`timestamp` datetime)",
        columns: &[
            ("mount", "text"),
            ("listeners", "integer"),
            ("bytes_in", "integer"),
            ("bytes_out", "integer"),
            ("timestamp", "datetime"),
        ],
        indexes: &["mount", "timestamp"],
    },
    Shared {
        table: "audit_entries",
        make: "CREATE TABLE IF NOT EXISTS `audit_entries` (`id` integer PRIMARY KEY AUTOINCREMENT,\
               `timestamp` datetime,`username` text,`action` text,`resource_type` text,`resource_id` text,\
               `detail` text,`ip` text)",
        columns: &[
            ("timestamp", "datetime"),
            ("username", "text"),
            ("action", "text"),
            ("resource_type", "text"),
            ("resource_id", "text"),
            ("detail", "text"),
            ("ip", "text"),
        ],
        indexes: &["timestamp", "username", "action"],
    },
];

/// The tables of before, what they became, and the columns that they have in common.
const LEGACY: [(&str, &str, &[&str]); 2] = [
    ("history", "history_items", &["mount", "song", "timestamp"]),
    (
        "listener_history",
        "listener_histories",
        &["mount", "listeners", "bytes_in", "bytes_out", "timestamp"],
    ),
];

/// `listener_spans` holds what `listener_histories` says, summed up by hour and by day; `listener_counters` the last
/// counters of each mount and its bytes of all time; `store_state` how far the summing and thinning has come.
const OWN: &str = "
    CREATE TABLE IF NOT EXISTS listener_spans (
        span INTEGER NOT NULL, start INTEGER NOT NULL, mount TEXT NOT NULL,
        samples INTEGER NOT NULL, listeners_sum INTEGER NOT NULL, listeners_max INTEGER NOT NULL,
        bytes_in INTEGER NOT NULL, bytes_out INTEGER NOT NULL,
        first_id INTEGER NOT NULL, last_id INTEGER NOT NULL,
        PRIMARY KEY (span, start, mount)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS listener_counters (
        mount TEXT NOT NULL PRIMARY KEY,
        last_in INTEGER NOT NULL, last_out INTEGER NOT NULL,
        total_in INTEGER NOT NULL, total_out INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS store_records (
        kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (kind, key)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS store_state (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
";

/// What the file was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Empty,
    /// Written by the Go program only.
    Foreign,
    Ours,
}

/// Opens a database for writing, in the layout of today.
pub(crate) fn open(path: &Path) -> Result<(Connection, Before), Broken> {
    let mut connection = file::open(path)?;
    let before = prepare(&mut connection)?;
    Ok((connection, before))
}

/// Brings a database to the layout of today.
pub(crate) fn prepare(connection: &mut Connection) -> Result<Before> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let before = match version {
        0 if tables(&tx)? == 0 => Before::Empty,
        0 => Before::Foreign,
        _ => Before::Ours,
    };
    for shared in &SHARED {
        tx.execute(shared.make, [])?;
        let present = columns(&tx, shared.table)?;
        for (column, kind) in shared.columns {
            if !present.iter().any(|name| name == column) {
                tx.execute(
                    &format!("ALTER TABLE `{}` ADD COLUMN `{column}` {kind}", shared.table),
                    [],
                )?;
            }
        }
        for column in shared.indexes {
            tx.execute(
                &format!(
                    "CREATE INDEX IF NOT EXISTS `idx_{0}_{column}` ON `{0}`(`{column}`)",
                    shared.table
                ),
                [],
            )?;
        }
    }
    for (old, new, names) in &LEGACY {
        copy_legacy(&tx, old, new, names)?;
    }
    // A later version of this program may have been here; what it added stays.
    if version < VERSION {
        tx.execute_batch(OWN)?;
        tx.pragma_update(None, "user_version", VERSION)?;
    }
    tx.commit()?;
    Ok(before)
}

fn copy_legacy(tx: &Transaction<'_>, old: &str, new: &str, names: &[&str]) -> Result<()> {
    let present = columns(tx, old)?;
    if present.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| present.iter().any(|column| column == name))
        .collect();
    if !names.is_empty() {
        let names = names.join(", ");
        tx.execute(
            &format!("INSERT INTO {new} ({names}) SELECT {names} FROM {old} ORDER BY rowid"),
            [],
        )?;
    }
    tx.execute(&format!("DROP TABLE {old}"), [])?;
    Ok(())
}

fn tables(connection: &Connection) -> Result<i64> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
}

fn columns(connection: &Connection, table: &str) -> Result<Vec<String>> {
    connection
        .prepare("SELECT name FROM pragma_table_info(?)")?
        .query_map([table], |row| row.get(0))?
        .collect()
}

/// How far a job has come, of those that remember it in the file.
pub(crate) fn state(connection: &Connection, name: &str) -> Result<Option<i64>> {
    connection
        .prepare_cached("SELECT value FROM store_state WHERE name = ?")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// Remembers how far a job has come.
pub(crate) fn set_state(connection: &Connection, name: &str, value: i64) -> Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO store_state (name, value) VALUES (?, ?)")?
        .execute((name, value))?;
    Ok(())
}
