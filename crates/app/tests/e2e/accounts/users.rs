//! Accounts and the mounts that they own.

use serde_json::{Value, json};

use super::{PASSWORD, setup};
use crate::harness::{ADMIN, Client};

#[test]
fn accounts_are_made_changed_and_removed() {
    let server = setup().start();
    let root = Client::login(&server, "root", PASSWORD);
    let create = |body: Value| root.call("POST", "/api/users", &body);
    for (body, status, error) in [
        (
            json!({ "username": "new" }),
            400,
            "Username and password are required",
        ),
        (
            json!({ "username": "new", "password": "short" }),
            400,
            "Password must be 8 to 72 bytes",
        ),
        (
            json!({ "username": "new", "password": "x".repeat(73) }),
            400,
            "Password must be 8 to 72 bytes",
        ),
        (
            json!({ "username": "new", "password": PASSWORD, "role": "god" }),
            400,
            "Invalid role",
        ),
        (
            json!({ "username": "dj-own", "password": PASSWORD }),
            409,
            "Username already taken",
        ),
    ] {
        let reply = create(body.clone());
        assert_eq!(
            (reply.status(), reply.json()["error"].as_str()),
            (status, Some(error)),
            "{body}"
        );
    }
    for name in ["a:b", "a\nb", &"x".repeat(65)] {
        assert_eq!(
            create(json!({ "username": name, "password": PASSWORD })).status(),
            400,
            "{name}"
        );
    }
    let reply =
        create(json!({ "username": "new", "password": PASSWORD, "role": "dj", "mounts": ["/other"] }));
    assert_eq!(
        reply.json(),
        json!({ "status": "created", "username": "new" }),
        "{}",
        reply.text()
    );
    let list = root.get("/api/users").json();
    let names: Vec<_> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|user| user["username"].clone())
        .collect();
    assert!(
        names.is_sorted_by_key(|name| name.to_string()) && names.contains(&json!("new")),
        "{list}"
    );
    assert!(!list.to_string().contains("$2"), "hashes stay here: {list}");
    let new = Client::login(&server, "new", PASSWORD);
    assert_eq!(new.get("/api/streams?mount=/other").status(), 200);
    let hash = server.config()["users"]["new"]["password"].clone();
    assert!(
        hash.as_str().is_some_and(|hash| hash.starts_with("$2a$12$")),
        "{hash}"
    );
    assert_eq!(
        root.call("DELETE", "/api/users?username=ghost", &Value::Null)
            .status(),
        404
    );
    let own = root.call("DELETE", "/api/users?username=root", &Value::Null);
    assert_eq!(
        (own.status(), own.json()["error"].as_str()),
        (400, Some("Cannot delete yourself"))
    );
}

#[test]
fn somebody_can_always_administer() {
    let server = setup().start();
    let root = Client::login(&server, "root", PASSWORD);
    assert_eq!(
        root.call(
            "DELETE",
            &format!("/api/users?username={}", ADMIN.0),
            &Value::Null
        )
        .status(),
        200
    );
    let reply = root.call("PUT", "/api/users", &json!({ "username": "root", "role": "dj" }));
    assert_eq!(reply.status(), 409, "{}", reply.text());
    assert_eq!(reply.json()["error"], "At least one superadmin is required");
    assert_eq!(root.get("/api/users").status(), 200);
    // Who was removed stays removed.
    let server = server.restart();
    assert!(server.config()["users"][ADMIN.0].is_null());
}

#[test]
fn mounts_of_others_cannot_be_taken() {
    let server = setup()
        .set("relays", json!([{ "url": "http://192.0.2.1/x", "mount": "/relayed", "enabled": false }]))
        .set("autodjs", json!([{ "name": "n", "mount": "/played", "music_dir": "/nowhere", "format": "mp3", "bitrate": 128 }]))
        .set("advanced_mounts", json!({ "/tuned": { "password": "", "burst_size": 0 } }))
        .set(
            "transcoders",
            json!([{ "name": "t", "input_mount": "/in", "output_mount": "/out", "format": "mp3", "bitrate": 128, "enabled": false }]),
        )
        .start();
    let admin = Client::login(&server, "admin-bare", PASSWORD);
    for mount in ["/own", "/other", "/relayed", "/played", "/tuned", "/in", "/out"] {
        let reply = admin.call(
            "POST",
            "/api/streams",
            &json!({ "mount": mount, "password": "let-me-have-it" }),
        );
        assert_eq!(
            (reply.status(), reply.json()["error"].as_str()),
            (409, Some("Mount taken")),
            "{mount}"
        );
    }
    for mount in ["/api/x", "/admin", "/a?b", "/x.pls", "/..", "/x/video"] {
        let reply = admin.call(
            "POST",
            "/api/streams",
            &json!({ "mount": mount, "password": "let-me-have-it" }),
        );
        assert_eq!(reply.status(), 400, "{mount}: {}", reply.text());
    }
    let reply = admin.call(
        "POST",
        "/api/streams",
        &json!({ "mount": "mine", "password": "let-me-have-it" }),
    );
    assert_eq!(
        reply.json(),
        json!({ "status": "created", "mount": "/mine" }),
        "{}",
        reply.text()
    );
    assert!(server.config()["users"]["admin-bare"]["mounts"]["/mine"].is_string());
    let dj = Client::login(&server, "dj-own", PASSWORD);
    assert_eq!(
        dj.call(
            "POST",
            "/api/streams",
            &json!({ "mount": "/djs", "password": "let-me-have-it" })
        )
        .status(),
        403
    );
    // A mount of one's own is operated by a dj, and neither renamed, repassworded nor removed.
    assert_eq!(
        dj.call(
            "PUT",
            "/api/streams",
            &json!({ "mount": "/own", "enabled": false })
        )
        .status(),
        200
    );
    assert_eq!(
        dj.call(
            "PUT",
            "/api/streams",
            &json!({ "mount": "/own", "password": "new-password" })
        )
        .status(),
        403
    );
    assert_eq!(
        dj.call("DELETE", "/api/streams?mount=/own", &Value::Null)
            .status(),
        403
    );
}

#[test]
fn one_password_is_changed_by_its_owner() {
    let server = setup().start();
    let dj = Client::login(&server, "dj-own", PASSWORD);
    let elsewhere = Client::login(&server, "dj-own", PASSWORD);
    let change = |current: &str, new: &str| {
        dj.call(
            "PUT",
            "/api/me/password",
            &json!({ "current": current, "new": new }),
        )
    };
    assert_eq!(change("wrong-password", "another-password").status(), 403);
    assert_eq!(change(PASSWORD, "short").status(), 400);
    assert_eq!(change(PASSWORD, "another-password").status(), 200);
    assert_eq!(
        dj.get("/api/me").status(),
        200,
        "the session that changed it stays"
    );
    assert_eq!(elsewhere.get("/api/me").status(), 401, "others end");
    Client::login(&server, "dj-own", "another-password");
}
