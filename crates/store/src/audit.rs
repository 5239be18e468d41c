//! Who changed what.
//!
//! Contract: entries are only added, and deleted by age alone; the newest come first, by id.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::types::Value;
use rusqlite::{Connection, Result, Row, params_from_iter};
use serde::Serialize;

use crate::action::category_actions;
use crate::csv::{PART, Part, Table};
use crate::entry::AuditEntry;
use crate::file::nanoseconds;
use crate::spans::{instant, text};
use crate::stamp;

/// Entries on a page, when nobody says how many.
const PAGE: u32 = 25;
/// Entries on a page at most.
const LARGEST_PAGE: u32 = 100;

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditRow {
    /// Grows with time.
    pub id: i64,
    /// When.
    pub timestamp: Timestamp,
    /// The account, or `system`.
    pub username: String,
    /// What was done.
    pub action: String,
    /// What kind of thing it was done to.
    pub resource_type: String,
    /// Which one.
    pub resource_id: String,
    /// More.
    pub detail: String,
    /// The address that asked.
    pub ip: String,
}

/// A page of entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditPage {
    /// The entries, newest first.
    pub entries: Vec<AuditRow>,
    /// How many the filter lets through, on all pages.
    pub total: u64,
    /// Which page this is.
    pub page: u32,
    /// How many entries a page has.
    pub limit: u32,
}

/// Which entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// From 1 on; 0 is 1.
    pub page: u32,
    /// 1 to 100; 0 is 25.
    pub limit: u32,
    /// One of the categories; empty is all, an unknown one has no entries.
    pub category: String,
    /// Of this account only, unless empty.
    pub user: String,
    /// This action only, unless empty.
    pub action: String,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// Only entries with this text in account, action, resource, detail or address, unless empty.
    pub q: String,
}

pub(crate) fn add(connection: &Connection, entry: &AuditEntry, zone: &TimeZone) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO audit_entries (timestamp, username, action, resource_type, resource_id, detail, ip)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute((
            stamp::write(entry.at, zone),
            &entry.username,
            &entry.action,
            &entry.resource_type,
            &entry.resource_id,
            &entry.detail,
            &entry.ip,
        ))?;
    Ok(())
}

pub(crate) fn page(connection: &Connection, query: &AuditQuery) -> Result<AuditPage> {
    let limit = match query.limit {
        0 => PAGE,
        limit => limit.min(LARGEST_PAGE),
    };
    let mut page = AuditPage {
        entries: Vec::new(),
        total: 0,
        page: query.page.max(1),
        limit,
    };
    let Some(filter) = Filter::new(query) else {
        return Ok(page);
    };
    let total: i64 = connection
        .prepare_cached(&format!(
            "SELECT count(*) FROM audit_entries WHERE {}",
            filter.sql
        ))?
        .query_row(params_from_iter(&filter.values), |row| row.get(0))?;
    page.total = total.unsigned_abs();
    let offset = i64::from(page.page - 1) * i64::from(limit);
    if offset < total {
        let sql = format!(
            "SELECT {COLUMNS} FROM audit_entries WHERE {} ORDER BY id DESC LIMIT {limit} OFFSET {offset}",
            filter.sql
        );
        page.entries = connection
            .prepare(&sql)?
            .query_map(params_from_iter(&filter.values), read)?
            .collect::<Result<_>>()?;
    }
    Ok(page)
}

pub(crate) fn csv(connection: &Connection, query: &AuditQuery, before: Option<i64>) -> Result<Part> {
    let header = [
        "id",
        "timestamp",
        "username",
        "action",
        "resource_type",
        "resource_id",
        "detail",
        "ip",
    ];
    let mut table = Table::part(before.is_some(), &header);
    let Some(mut filter) = Filter::new(query) else {
        return Ok(table.into_part());
    };
    filter.and("id < ?", [Value::Integer(before.unwrap_or(i64::MAX))]);
    let sql = format!(
        "SELECT {COLUMNS} FROM audit_entries WHERE {} ORDER BY id DESC LIMIT {PART}",
        filter.sql
    );
    let mut statement = connection.prepare_cached(&sql)?;
    for row in statement.query_map(params_from_iter(&filter.values), read)? {
        let row = row?;
        table.number(row.id).time(row.timestamp);
        for cell in [
            &row.username,
            &row.action,
            &row.resource_type,
            &row.resource_id,
            &row.detail,
            &row.ip,
        ] {
            table.text(cell);
        }
        table.end(row.id);
    }
    Ok(table.into_part())
}

const COLUMNS: &str = "id, timestamp, username, action, resource_type, resource_id, detail, ip";

fn read(row: &Row<'_>) -> Result<AuditRow> {
    Ok(AuditRow {
        id: row.get(0)?,
        timestamp: instant(row, 1)?,
        username: text(row, 2)?,
        action: text(row, 3)?,
        resource_type: text(row, 4)?,
        resource_id: text(row, 5)?,
        detail: text(row, 6)?,
        ip: text(row, 7)?,
    })
}

/// A condition on rows: fixed SQL, and values that are bound.
struct Filter {
    sql: String,
    values: Vec<Value>,
}

impl Filter {
    /// The condition of a query, or none if no row can meet it.
    fn new(query: &AuditQuery) -> Option<Self> {
        let mut filter = Self {
            sql: "1".to_owned(),
            values: Vec::new(),
        };
        if !query.category.is_empty() {
            let actions = category_actions(&query.category)?;
            let places = vec!["?"; actions.len()].join(",");
            let values = actions
                .iter()
                .map(|action| Value::Text(action.as_str().to_owned()));
            filter.and(&format!("action IN ({places})"), values);
        }
        if !query.user.is_empty() {
            filter.and("username = ?", [Value::Text(query.user.clone())]);
        }
        if !query.action.is_empty() {
            filter.and("action = ?", [Value::Text(query.action.clone())]);
        }
        if let Some(from) = query.from {
            filter.and("instant(timestamp) >= ?", [Value::Integer(nanoseconds(from))]);
        }
        if let Some(to) = query.to {
            filter.and("instant(timestamp) < ?", [Value::Integer(nanoseconds(to))]);
        }
        if !query.q.is_empty() {
            let escaped = query
                .q
                .replace('\\', "\\\\")
                .replace('%', "\\%")
                .replace('_', "\\_");
            // The separator keeps the end of one column and the begin of the next from matching together.
            filter.and(
                "concat_ws(char(10), username, action, resource_type, resource_id, detail, ip) LIKE ? ESCAPE '\\'",
                [Value::Text(format!("%{escaped}%"))],
            );
        }
        Some(filter)
    }

    fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.extend(values);
    }
}
