//! The programs that listen and that send, by how often they connected.
//!
//! Contract: at most 5,000 rows. Who invents names to fill the table pushes out the rarest, not the common ones.

use std::collections::HashMap;

use rusqlite::{Connection, Result};
use serde::Serialize;

use crate::entry::AgentKind;
use crate::spans::{number, text};

/// Rows that are kept.
const MOST: i64 = 5_000;
/// Rows beyond which the rarest are deleted: not for each new name anew.
const SLACK: i64 = 500;

/// A program and how often it connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// Its name, as it says.
    pub ua: String,
    /// How often.
    pub count: u64,
}

/// Adds connections, counted by program.
pub(crate) fn count(connection: &Connection, agents: &HashMap<(AgentKind, &str), u64>) -> Result<()> {
    let mut added = false;
    for (&(kind, ua), &count) in agents {
        // An index that a foreign table may lack would be needed for "on conflict".
        let changed = connection
            .prepare_cached(
                "UPDATE user_agents SET count = coalesce(count, 0) + ? WHERE ua = ? AND type = ?",
            )?
            .execute((count.cast_signed(), ua, kind.as_str()))?;
        if changed == 0 {
            connection
                .prepare_cached("INSERT INTO user_agents (ua, type, count) VALUES (?, ?, ?)")?
                .execute((ua, kind.as_str(), count.cast_signed()))?;
            added = true;
        }
    }
    if added { trim(connection, MOST) } else { Ok(()) }
}

/// Deletes the rarest programs if there are too many, until there is room for some again.
fn trim(connection: &Connection, most: i64) -> Result<()> {
    let rows: i64 = connection
        .prepare_cached("SELECT count(*) FROM user_agents")?
        .query_row([], |row| row.get(0))?;
    if rows > most {
        connection
            .prepare_cached(
                "DELETE FROM user_agents WHERE rowid IN (SELECT rowid FROM user_agents ORDER BY count, rowid LIMIT ?)",
            )?
            .execute([rows - most + SLACK])?;
    }
    Ok(())
}

pub(crate) fn list(connection: &Connection, kind: AgentKind, limit: u32) -> Result<Vec<Agent>> {
    connection
        .prepare_cached("SELECT ua, count FROM user_agents WHERE type = ? ORDER BY count DESC, ua LIMIT ?")?
        .query_map((kind.as_str(), limit), |row| {
            let ua = text(row, 0)?;
            Ok(Agent {
                ua: if ua.is_empty() { "Unknown".into() } else { ua },
                count: number(row, 1)?,
            })
        })?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rarest_make_room() {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::schema::prepare(&mut connection).unwrap();
        let names: Vec<String> = (0..5_600).map(|number| format!("agent {number}")).collect();
        let agents = names.iter().enumerate().map(|(number, name)| {
            let often = if number % 7 == 0 { 9 } else { 1 };
            ((AgentKind::Listener, name.as_str()), often)
        });
        count(&connection, &agents.collect()).unwrap();
        let listed = list(&connection, AgentKind::Listener, 10_000).unwrap();
        assert_eq!(listed.len(), 4_500);
        assert_eq!(listed.iter().filter(|agent| agent.count == 9).count(), 800);
    }
}
