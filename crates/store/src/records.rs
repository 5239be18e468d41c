//! Records of other parts of the program, which alone know what is in them.
//!
//! Contract: a record is kept whole or not at all, and the last one written under a key counts.

use rusqlite::{Connection, Result};

pub(crate) fn put(connection: &Connection, kind: &str, key: &str, value: &[u8]) -> Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO store_records (kind, key, value) VALUES (?, ?, ?)")?
        .execute((kind, key, value))?;
    Ok(())
}

pub(crate) fn delete(connection: &Connection, kind: &str, key: &str) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM store_records WHERE kind = ? AND key = ?")?
        .execute((kind, key))?;
    Ok(())
}

pub(crate) fn all(connection: &Connection, kind: &str) -> Result<Vec<(String, Vec<u8>)>> {
    connection
        .prepare_cached("SELECT key, value FROM store_records WHERE kind = ? ORDER BY key")?
        .query_map([kind], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}
