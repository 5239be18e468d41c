//! What was played, heard and changed, as the API tells it.

use serde_json::{Value, json};

use super::database::{publish, set_title, sql};
use crate::{
    accounts::{PASSWORD, setup},
    harness::{Client, Folder, Listener, Setup, installed, until},
};

/// A server with songs and samples of two mounts; `/other` is not listed.
fn kept(folder: &Folder) -> Setup {
    let rows = |mount: &str, base: u32| {
        format!(
            "INSERT INTO history_items (mount, song, timestamp) VALUES
                ('{mount}', 'Artist - Title {base}', '2026-01-02 03:04:05+00:00'),
                ('{mount}', 'Without artist {base}', '2026-01-02 03:05:05+00:00'),
                ('{mount}', '=cmd|''x''!A1', '2026-01-02 03:06:05+00:00');
             INSERT INTO listener_histories (mount, listeners, bytes_in, bytes_out, timestamp) VALUES
                ('{mount}', 1, 1000, 1000, '2026-01-02 03:00:00+00:00'),
                ('{mount}', 3, 3000, 4000, '2026-01-02 03:01:00+00:00'),
                ('{mount}', 5, 500, 700, '2026-01-02 03:02:00+00:00');"
        )
    };
    // Our own tables, by a server that has nothing to keep.
    let data = folder.path().to_str().expect("a plain path").to_owned();
    let mut empty = setup().set("data_dir", data.as_str()).start();
    empty.stop();
    sql(
        &folder.file("history.db"),
        &format!("{}{}", rows("/own", 1), rows("/other", 2)),
    );
    setup()
        .set("data_dir", data)
        .set("visible_mounts", json!({ "/own": true }))
}

#[test]
fn songs_of_listed_mounts_are_for_anybody() {
    if !installed(&["sqlite3"]) {
        return;
    }
    let folder = Folder::new();
    let server = kept(&folder).start();
    let nobody = Client::nobody(&server);
    let songs = nobody.get("/api/history?mount=/own").json();
    let songs = songs.as_array().expect("a list");
    assert_eq!(
        songs[2],
        json!({
            "id": songs[2]["id"], "mount": "/own", "song": "Artist - Title 1", "artist": "Artist", "title": "Title 1",
            "timestamp": "2026-01-02T03:04:05Z",
        })
    );
    assert_eq!(
        (&songs[1]["artist"], &songs[1]["title"]),
        (&json!(""), &json!("Without artist 1"))
    );
    assert!(songs.is_sorted_by_key(|song| -song["id"].as_i64().expect("a number")));
    let first = &songs[0]["id"];
    let rest = nobody
        .get(&format!("/api/history?mount=/own&limit=1&before={first}"))
        .json();
    assert_eq!(rest, json!([songs[1]]));

    let old = nobody.get("/admin/history?mount=/own");
    assert_eq!(old.head.get("access-control-allow-origin"), Some("*"));
    let keys: Vec<_> = old.json()[0]
        .as_object()
        .expect("a song")
        .keys()
        .cloned()
        .collect();
    assert_eq!(keys, ["ID", "Mount", "Song", "Timestamp"]);

    let dj = Client::login(&server, "dj-own", PASSWORD);
    let root = Client::login(&server, "root", PASSWORD);
    for path in ["/api/history", "/admin/history"] {
        for (who, status) in [(&nobody, 401), (&dj, 403), (&root, 200)] {
            let reply = who.get(&format!("{path}?mount=/other"));
            assert_eq!(
                reply.status(),
                status,
                "{path} {:?}: {}",
                who.identity,
                reply.text()
            );
        }
    }
    for (query, text) in [
        ("", "mount"),
        ("?mount=/own&limit=x", "limit"),
        ("?mount=/own&before=x", "before"),
    ] {
        let reply = root.get(&format!("/api/history{query}"));
        let error = reply.json()["error"].as_str().expect("a text").to_lowercase();
        assert!(reply.status() == 400 && error.contains(text), "{query}: {error}");
    }
}

#[test]
fn tables_can_be_opened_without_harm() {
    if !installed(&["sqlite3"]) {
        return;
    }
    let folder = Folder::new();
    let server = kept(&folder).start();
    let root = Client::login(&server, "root", PASSWORD);
    for (target, name) in [
        ("/api/history?mount=/own&format=csv", "history.csv"),
        ("/api/security/audit?format=csv", "audit.csv"),
        (
            "/api/insights?from=2026-01-02T00:00:00Z&to=2026-01-03T00:00:00Z&format=csv",
            "insights.csv",
        ),
    ] {
        let reply = root.get(target);
        assert_eq!(reply.status(), 200, "{target}: {}", reply.text());
        let kind = reply.head.get("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/csv"), "{target}: {kind}");
        let place = reply.head.get("content-disposition").unwrap_or_default();
        assert!(
            place.starts_with("attachment") && place.contains(name),
            "{target}: {place}"
        );
        assert!(reply.text().lines().count() > 1, "{target}: {}", reply.text());
    }
    // What a title holds is never a formula.
    let table = root.get("/api/history?mount=/own&format=csv").text();
    assert!(
        table.contains("cmd|") && !table.contains(",=cmd") && !table.contains("\"=cmd"),
        "{table}"
    );
}

#[test]
fn listeners_and_bytes_are_told_per_stretch_of_time() {
    if !installed(&["sqlite3"]) {
        return;
    }
    let folder = Folder::new();
    let server = kept(&folder).start();
    let root = Client::login(&server, "root", PASSWORD);
    let dj = Client::login(&server, "dj-own", PASSWORD);
    let span = "from=2026-01-02T03:00:00Z&to=2026-01-02T04:00:00Z";
    let told = root.get(&format!("/api/insights?{span}&step=3600")).json();
    let points = told["/own"].as_array().expect("a list");
    assert_eq!(points.len(), 1, "{told}");
    let point = &points[0];
    assert_eq!(
        (&point["timestamp"], &point["max_listeners"]),
        (&json!("2026-01-02T03:00:00Z"), &json!(5))
    );
    assert_eq!(point["listeners"].as_f64(), Some(3.0), "{point}");
    // 2000 and 3000 more, then a source that began anew.
    assert_eq!(
        (&point["bytes_in"], &point["bytes_out"]),
        (&json!(2_500), &json!(3_700)),
        "{point}"
    );
    assert_eq!(told.as_object().map(serde_json::Map::len), Some(2), "{told}");
    let own = dj.get(&format!("/api/insights?{span}")).json();
    assert_eq!(
        own.as_object().expect("mounts").keys().collect::<Vec<_>>(),
        ["/own"]
    );
    assert_eq!(
        dj.get(&format!("/api/insights?{span}&mount=/other")).status(),
        403
    );
    assert_eq!(Client::nobody(&server).get("/api/insights").status(), 401);

    let all = root.get("/api/traffic").json();
    let own = dj.get("/api/traffic").json();
    let window =
        |mounts: u64| json!({ "bytes_in": 2_500 * mounts, "bytes_out": 3_700 * mounts, "mounts": mounts });
    assert_eq!(
        (&all["lifetime"], &own["lifetime"]),
        (&window(2), &window(1)),
        "{all} {own}"
    );
    assert_eq!(all["all"], all["lifetime"]);
    assert_eq!(root.get("/admin/traffic").json(), all);
}

#[test]
fn the_peak_is_of_one_time_and_not_a_sum_of_the_mounts() {
    let server = setup().start();
    let root = Client::login(&server, "root", PASSWORD);
    let _feeders = ["/own", "/other"].map(|mount| publish(&server, mount));
    for mount in ["/own", "/other"] {
        server.wait_for_mount(mount);
        let listener = Listener::open(&server, mount, "");
        until("a listener", || {
            (root.get("/api/stats").json()["total_listeners"] == 1).then_some(())
        });
        drop(listener);
        until("nobody listening", || {
            (root.get("/api/stats").json()["total_listeners"] == 0).then_some(())
        });
    }
    assert_eq!(root.get("/api/stats").json()["peak_listeners"], 1);
    assert_eq!(root.get("/api/tenants/usage").json()["peak_listeners"], 1);
    // Who sees one mount only is not told of the others.
    let dj = Client::login(&server, "dj-own", PASSWORD);
    assert_eq!(dj.get("/api/stats").json()["peak_listeners"], 1);
}

/// Entries of the audit trail, newest first.
fn entries(root: &Client, query: &str) -> Vec<Value> {
    let page = root.get(&format!("/api/security/audit?{query}"));
    assert_eq!(page.status(), 200, "{query}: {}", page.text());
    page.json()["entries"].as_array().expect("a list").clone()
}

#[test]
fn changes_and_sign_ins_are_found_again() {
    let server = setup().start();
    let root = Client::login(&server, "root", PASSWORD);
    assert_eq!(
        root.call(
            "POST",
            "/api/login",
            &json!({ "username": "dj-own", "password": "wrong-one" })
        )
        .status(),
        401
    );
    for number in 1..=4 {
        let ban = json!({ "ip": format!("192.0.2.{number}"), "comment": "=SUM(A1)\nsecond line" });
        assert_eq!(root.call("POST", "/api/security/bans", &ban).status(), 200);
    }
    let user = json!({ "username": "eve", "password": PASSWORD, "role": "dj" });
    assert_eq!(root.call("POST", "/api/users", &user).status(), 200);
    until("everything is written", || {
        (entries(&root, "").len() == 7).then_some(())
    });
    let actions = |query: &str| {
        entries(&root, query)
            .iter()
            .map(|entry| entry["action"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(actions("category=security&limit=3"), ["ip_banned"; 3]);
    assert_eq!(actions("category=security&limit=3&page=2"), ["ip_banned"]);
    assert_eq!(actions("category=users"), ["user_created"]);
    assert_eq!(actions("category=auth"), ["login_failed", "login"]);
    assert_eq!(actions("category=nonsense"), Vec::<Value>::new());
    assert_eq!(actions("user=dj-own"), ["login_failed"]);
    assert_eq!(actions("q=192.0.2.3"), ["ip_banned"]);
    assert_eq!(
        actions("q=%25"),
        Vec::<Value>::new(),
        "a percent sign is a letter"
    );
    assert_eq!(actions("to=2020-01-01T00:00:00Z"), Vec::<Value>::new());
    let all = entries(&root, "");
    assert!(
        all.iter()
            .all(|entry| !entry["detail"].as_str().expect("a text").contains('\n'))
    );
    assert!(!json!(all).to_string().contains(PASSWORD));
    let page = root.get("/api/security/audit?limit=-1&page=0").json();
    assert_eq!(
        (&page["total"], &page["page"], &page["limit"]),
        (&json!(7), &json!(1), &json!(25))
    );
    for name in ["dj-own", "admin-own"] {
        assert_eq!(
            Client::login(&server, name, PASSWORD)
                .get("/api/security/audit")
                .status(),
            403
        );
    }
}

#[test]
fn what_is_not_to_be_recorded_is_not() {
    let server = setup().set("audit_enabled", false).start();
    let root = Client::login(&server, "root", PASSWORD);
    assert_eq!(
        root.call("POST", "/api/security/bans", &json!({ "ip": "192.0.2.1" }))
            .status(),
        200
    );
    assert_eq!(
        root.call("PUT", "/api/settings", &json!({ "audit_enabled": true }))
            .status(),
        200
    );
    assert_eq!(
        root.call("POST", "/api/security/bans", &json!({ "ip": "192.0.2.2" }))
            .status(),
        200
    );
    until("the second ban", || {
        (!entries(&root, "q=192.0.2.2").is_empty()).then_some(())
    });
    assert_eq!(entries(&root, "q=192.0.2.1"), Vec::<Value>::new());
}

#[test]
fn a_title_comes_into_the_history_once_it_changes() {
    let server = setup().start();
    let feeder = publish(&server, "/own");
    server.wait_for_mount("/own");
    for title in ["A - 1", "A - 1", "N/A", "A - 2"] {
        set_title(&server, "/own", title);
    }
    let nobody = Client::nobody(&server);
    let songs = || -> Vec<Value> {
        let songs = nobody.get("/api/history?mount=/own").json();
        songs
            .as_array()
            .expect("a list")
            .iter()
            .map(|song| song["song"].clone())
            .collect()
    };
    until("both songs", || (songs() == ["A - 2", "A - 1"]).then_some(()));
    drop(feeder);
    let server = server.restart();
    let nobody = Client::nobody(&server);
    let songs = nobody.get("/api/history?mount=/own").json();
    assert_eq!(songs.as_array().map(Vec::len), Some(2), "{songs}");
}
