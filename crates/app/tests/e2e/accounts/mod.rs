//! Accounts: signing in, what each may do, and what must not be possible.

mod access;
mod csrf;
mod ledger;
mod mail;
mod passkeys;
mod providers;
mod sessions;
mod tokens;
mod users;

use serde_json::{Value, json};

use crate::harness::{Server, Setup, hash};

/// The password of every account but the superadmin.
pub(crate) const PASSWORD: &str = "sesame-open-now";

/// A server with one account of each kind. `/own` belongs to `admin-own` and to `dj-own`, `/other` to nobody of them.
pub(crate) fn setup() -> Setup {
    let password = hash(PASSWORD);
    let source = hash("of-the-mount");
    let user = |name: &str, role: &str, mounts: &[&str]| {
        let mounts: serde_json::Map<String, Value> = mounts
            .iter()
            .map(|mount| ((*mount).to_owned(), json!(source)))
            .collect();
        json!({ "username": name, "password": password, "role": role, "mounts": mounts })
    };
    let mut users = json!({
        "admin-own": user("admin-own", "admin", &["/own"]),
        "admin-bare": user("admin-bare", "admin", &[]),
        "dj-own": user("dj-own", "dj", &["/own"]),
        "dj-bare": user("dj-bare", "dj", &[]),
        "root": user("root", "superadmin", &[]),
    });
    users[crate::harness::ADMIN.0] = json!({
        "username": crate::harness::ADMIN.0, "password": hash(crate::harness::ADMIN.1), "role": "superadmin", "mounts": {},
    });
    Server::setup()
        .set("users", users)
        .set("mounts", json!({ "/other": source }))
        .set("visible_mounts", json!({ "/own": true, "/other": true }))
        .set("audit_enabled", true)
}
