//! The file of the database: opened, given its mode, and moved out of the way when it is broken.
//!
//! Contract: a broken file is renamed together with its journal and never deleted: somebody may want to repair it.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::stamp;

/// How long SQLite waits for another process before it gives up.
const BUSY: Duration = Duration::from_secs(5);
/// Files up to this size are checked page by page when they are opened; a larger one would hold up the start, and
/// shows its damage when it is used.
const CHECKED: u64 = 32 * 1024 * 1024;
/// Songs, agents and addresses are nobody else's business.
const MODE: u32 = 0o640;

/// What a connection keeps of the file, in KiB; SQLite writes that with a minus. The system caches the file as well, and
/// three connections with SQLite's own 2 MB each would be a fifth of what a small server needs in all.
const CACHE: i64 = 512;

/// Opens a database for writing, making it when there is none.
pub(crate) fn open(path: &Path) -> Result<Connection, Broken> {
    restrict(path)?;
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Broken::Other(format!(
            "the journal mode is {mode}: does the disk lack shared memory?"
        )));
    }
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    connection.pragma_update(None, "cache_size", -CACHE)?;
    learn(&connection)?;
    let size = fs::metadata(path).map_or(0, |about| about.len());
    if size <= CHECKED {
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(Broken::Corrupt(verdict));
        }
    }
    Ok(connection)
}

/// Opens a database that [`open`] has prepared, for reading only.
pub(crate) fn open_for_reading(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -CACHE)?;
    learn(&connection)?;
    Ok(connection)
}

/// Teaches SQL the function `instant`: nanoseconds since 1970 of a time stamp in any form, or null.
fn learn(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("instant", 1, flags, |row| {
        Ok(stamp::read(row.get_raw(0)).map(nanoseconds))
    })
}

/// What `instant` makes of a time.
pub(crate) fn nanoseconds(at: Timestamp) -> i64 {
    let clamped = at.as_nanosecond().clamp(i64::MIN.into(), i64::MAX.into());
    i64::try_from(clamped).expect("it is clamped to the range")
}

/// SQLite gives the journal the mode of the database, so the file is made before SQLite sees it. One that exists is
/// not opened here: closing it would end the locks that this process has on it.
fn restrict(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

    match fs::metadata(path) {
        Ok(about) if about.is_file() && about.permissions().mode() & 0o777 & !MODE != 0 => {
            // Somebody else's file may well be usable all the same.
            let _ = fs::set_permissions(path, Permissions::from_mode(MODE));
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(MODE);
            options.open(path).map(drop)
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Moves a broken database aside and says where it is now.
pub(crate) fn set_aside(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let time = now.strftime("%Y%m%dT%H%M%SZ");
    let plain = suffixed(path, &format!(".corrupt-{time}"));
    let aside = (1_u32..)
        .map(|number| match number {
            1 => plain.clone(),
            _ => suffixed(&plain, &format!("-{number}")),
        })
        .find(|aside| !aside.exists())
        .expect("numbers do not end before the disk does");
    fs::rename(path, &aside)?;
    for journal in ["-wal", "-shm"] {
        match fs::rename(suffixed(path, journal), suffixed(&aside, journal)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

/// The bytes that a database and its journal take on the disk.
pub(crate) fn size(path: &Path) -> u64 {
    ["", "-wal", "-shm"]
        .into_iter()
        .filter_map(|suffix| fs::metadata(suffixed(path, suffix)).ok())
        .map(|about| about.len())
        .sum()
}

/// The bytes that are free where a file is, if the system says so.
pub(crate) fn free(path: &Path) -> Option<u64> {
    let about = rustix::fs::statvfs(path).ok()?;
    Some(about.f_bavail.saturating_mul(about.f_frsize))
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Why a database could not be opened.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The file is no sound database: it is to be set aside.
    Corrupt(String),
    /// Another process holds it.
    Busy,
    Io(io::Error),
    Other(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<rusqlite::Error> for Broken {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Corrupt(error.to_string()),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            _ => Self::Other(error.to_string()),
        }
    }
}
