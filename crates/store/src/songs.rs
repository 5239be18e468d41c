//! What mounts played.
//!
//! Contract: a mount's row follows one with another song. Rows are ordered by id, and kept for a year.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::{Connection, OptionalExtension as _, Result, Row};
use serde::Serialize;

use crate::csv::{PART, Part, Table};
use crate::spans::{instant, text};
use crate::stamp;

/// A song that a mount played.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Song {
    /// Grows with time.
    pub id: i64,
    /// The mount.
    pub mount: String,
    /// Artist and title as the source gave them.
    pub song: String,
    /// When it began.
    pub timestamp: Timestamp,
}

impl Song {
    /// The two halves of "Artist - Title"; without a dash all of it is the title.
    pub fn artist_title(&self) -> (&str, &str) {
        match self.song.split_once(" - ") {
            Some((artist, title)) => (artist.trim(), title.trim()),
            None => ("", self.song.trim()),
        }
    }
}

/// Which songs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SongQuery {
    /// Of this mount.
    pub mount: String,
    /// At most so many; 1,000 are the most.
    pub limit: u32,
    /// Only those with a smaller id.
    pub before: Option<i64>,
}

impl SongQuery {
    /// The newest songs of a mount.
    pub fn newest(mount: &str, limit: u32) -> Self {
        Self {
            mount: mount.to_owned(),
            limit,
            before: None,
        }
    }
}

/// Adds a song unless the mount's last one was the same.
pub(crate) fn add(
    connection: &Connection,
    mount: &str,
    song: &str,
    at: Timestamp,
    zone: &TimeZone,
) -> Result<()> {
    let last = connection
        .prepare_cached("SELECT song FROM history_items WHERE mount = ? ORDER BY id DESC LIMIT 1")?
        .query_row([mount], |row| text(row, 0))
        .optional()?;
    if last.as_deref() != Some(song) {
        connection
            .prepare_cached("INSERT INTO history_items (mount, song, timestamp) VALUES (?, ?, ?)")?
            .execute((mount, song, stamp::write(at, zone)))?;
    }
    Ok(())
}

pub(crate) fn list(connection: &Connection, query: &SongQuery) -> Result<Vec<Song>> {
    connection
        .prepare_cached(
            "SELECT id, mount, song, timestamp FROM history_items WHERE mount = ? AND id < ? ORDER BY id DESC LIMIT ?",
        )?
        .query_map(
            (&query.mount, query.before.unwrap_or(i64::MAX), query.limit.min(1_000)),
            read,
        )?
        .collect()
}

pub(crate) fn csv(connection: &Connection, mount: Option<&str>, before: Option<i64>) -> Result<Part> {
    let mut table = Table::part(before.is_some(), &["id", "timestamp", "mount", "song"]);
    let sql = match mount {
        Some(_) => {
            "SELECT id, mount, song, timestamp FROM history_items WHERE id < ?1 AND mount = ?2 ORDER BY id DESC LIMIT ?3"
        }
        None => {
            "SELECT id, mount, song, timestamp FROM history_items WHERE id < ?1 ORDER BY id DESC LIMIT ?3"
        }
    };
    let mut statement = connection.prepare_cached(sql)?;
    let songs = statement.query_map(
        (before.unwrap_or(i64::MAX), mount.unwrap_or_default(), PART),
        read,
    )?;
    for song in songs {
        let song = song?;
        table
            .number(song.id)
            .time(song.timestamp)
            .text(&song.mount)
            .text(&song.song)
            .end(song.id);
    }
    Ok(table.into_part())
}

fn read(row: &Row<'_>) -> Result<Song> {
    Ok(Song {
        id: row.get(0)?,
        mount: text(row, 1)?,
        song: text(row, 2)?,
        timestamp: instant(row, 3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artist_and_title_part_at_the_first_dash() {
        for (song, expected) in [
            ("Artist - Title", ("Artist", "Title")),
            ("A-Ha - Take On Me - Live", ("A-Ha", "Take On Me - Live")),
            ("News", ("", "News")),
            (" - Title", ("", "Title")),
        ] {
            let song = Song {
                id: 1,
                mount: "/live".into(),
                song: song.into(),
                timestamp: Timestamp::UNIX_EPOCH,
            };
            assert_eq!(song.artist_title(), expected);
        }
    }
}
