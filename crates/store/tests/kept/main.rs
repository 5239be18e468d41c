//! What the store keeps, in real files, as its callers and the Go program see it.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod audit_log;
mod broken_disks;
mod foreign_database;
mod listener_statistics;
mod queued_writes;
mod retention;

use std::future::Future;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use store::{AuditEntry, Opened, Sample, Settings, Store};

/// A folder of its own that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("store-{}-{:x}", std::process::id(), fastrand::u64(..)));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn database(&self) -> PathBuf {
        self.0.join("history.db")
    }

    fn sql(&self) -> Connection {
        Connection::open(self.database()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn settings() -> Settings {
    Settings {
        zone: TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(),
        least_free: 0,
        ..Settings::default()
    }
}

fn open(path: &Path) -> (Store, Opened) {
    Store::open(path, settings()).unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(future)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn minutes(count: i64) -> SignedDuration {
    SignedDuration::from_mins(count)
}

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

fn sample(mount: &str, listeners: u64, bytes_in: u64, bytes_out: u64) -> Sample {
    Sample {
        mount: mount.to_owned(),
        listeners,
        bytes_in,
        bytes_out,
    }
}

fn entry(username: &str, action: &str, detail: &str, at: Timestamp) -> AuditEntry {
    AuditEntry {
        username: username.to_owned(),
        action: action.to_owned(),
        resource_type: "user".to_owned(),
        resource_id: "bob".to_owned(),
        detail: detail.to_owned(),
        ip: "203.0.113.9".to_owned(),
        at,
    }
}

/// What SQLite thinks of the file, by its own program where there is one.
fn integrity(path: &Path) -> String {
    const CHECK: &str = "PRAGMA integrity_check";

    match std::process::Command::new("sqlite3")
        .arg(path)
        .arg(CHECK)
        .output()
    {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).unwrap().trim().to_owned(),
        _ => Connection::open(path)
            .unwrap()
            .query_row(CHECK, [], |row| row.get(0))
            .unwrap(),
    }
}
