//! Who changed what.

use auth::Action;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{AuditPage, AuditQuery};

use super::{
    history::{time, unreadable},
    sheet,
};
use crate::endpoint::{Answer, Call, Endpoint, Refusal, Written, get, group};

const LARGEST_PAGE: u32 = 100;

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Security",
        vec![
            get("/api/security/audit", Action::AuditRead, page)
                .says("Who changed what, newest first")
                .details(
                    "Changes are recorded while `audit_enabled` is on, failed sign-ins always. `format=csv` gives all \
                     entries that the filters let through as a table.",
                )
                .fails(503, "There is no database, or it is busy"),
        ],
    )
}

/// Which entries.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Wanted {
    /// From 1 on.
    page: Option<String>,
    /// Entries of a page: 1 to 100; 25 where nothing is said.
    limit: Option<String>,
    /// `auth`, `streams`, `autodj`, `relays`, `transcoders`, `webhooks`, `users`, `security` or `settings`.
    category: Option<String>,
    /// Of this account.
    user: Option<String>,
    /// This action.
    action: Option<String>,
    /// RFC 3339: not before.
    from: Option<String>,
    /// RFC 3339: before.
    to: Option<String>,
    /// With this text somewhere.
    q: Option<String>,
    /// `csv` for a table.
    format: Option<String>,
    /// For tables: only entries with a smaller `id`.
    before: Option<String>,
}

impl Wanted {
    fn query(&self) -> Answer<AuditQuery> {
        let text = |text: &Option<String>| text.as_deref().unwrap_or_default().trim().to_owned();
        Ok(AuditQuery {
            page: positive(self.page.as_deref()),
            limit: positive(self.limit.as_deref()).min(LARGEST_PAGE),
            category: text(&self.category),
            user: text(&self.user),
            action: text(&self.action),
            from: time(self.from.as_deref(), "from")?,
            to: time(self.to.as_deref(), "to")?,
            q: text(&self.q),
        })
    }
}

/// A number from 1 on; what is none is 0, which is the default.
fn positive(text: Option<&str>) -> u32 {
    let number = text.and_then(|text| text.trim().parse::<i64>().ok()).unwrap_or(0);
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// A page of entries.
#[derive(Debug, Serialize, JsonSchema)]
struct Page {
    entries: Vec<Entry>,
    /// Entries that the filters let through, on all pages.
    total: u64,
    page: u32,
    limit: u32,
}

/// Who changed what.
#[derive(Debug, Serialize, JsonSchema)]
struct Entry {
    id: i64,
    /// RFC 3339.
    timestamp: String,
    /// The account, or `system`.
    username: String,
    action: String,
    resource_type: String,
    resource_id: String,
    detail: String,
    /// The address that asked.
    ip: String,
}

impl From<AuditPage> for Page {
    fn from(page: AuditPage) -> Self {
        let entry = |row: store::AuditRow| Entry {
            id: row.id,
            timestamp: row.timestamp.to_string(),
            username: row.username,
            action: row.action,
            resource_type: row.resource_type,
            resource_id: row.resource_id,
            detail: row.detail,
            ip: row.ip,
        };
        Self {
            entries: page.entries.into_iter().map(entry).collect(),
            total: page.total,
            page: page.page,
            limit: page.limit,
        }
    }
}

async fn page(call: Call, wanted: Wanted, (): ()) -> Answer<Written<Page>> {
    let (store, query) = (call.store()?, wanted.query()?);
    if sheet::is_wanted(wanted.format.as_deref()) {
        let before = wanted.before.as_deref().filter(|text| !text.is_empty());
        let before = before
            .map(str::parse)
            .transpose()
            .map_err(|_| Refusal::bad("before: must be a number"))?;
        let part = |from| store.audit_csv(query.clone(), from);
        return Ok(Written::new(
            sheet::answer(&call, "audit.csv", before, part).await?,
        ));
    }
    let page = store.audit_page(query).await.map_err(unreadable)?;
    Ok(Written::json(&Page::from(page)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_limits_that_make_no_sense_are_the_default() {
        let query = |text: &str| serde_urlencoded::from_str::<Wanted>(text).unwrap().query();
        for (text, page, limit) in [
            ("", 0, 0),
            ("page=3&limit=50", 3, 50),
            ("page=-1&limit=-5", 0, 0),
            ("page=x&limit=1e3", 0, 0),
            ("page=99999999999&limit=101", u32::MAX, 100),
        ] {
            let query = query(text).unwrap();
            assert_eq!((query.page, query.limit), (page, limit), "{text}");
        }
        assert_eq!(
            query("from=now").unwrap_err().text(),
            "from: must be a time such as 2026-01-02T03:04:05Z"
        );
    }
}
