//! The history database, looked at with SQLite's own program.

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};

use crate::{
    accounts::{PASSWORD, setup},
    harness::{
        Client, Feeder, Folder, Listener, Mp3, Program, Server, Source, basic, installed, until, until_within,
    },
};

/// What a statement gives: rows as objects.
pub(super) fn sql(database: &Path, statement: &str) -> Vec<Value> {
    let mut command = Command::new("sqlite3");
    command
        .args(["-batch", "-json", "-cmd", ".timeout 10000"])
        .arg(database)
        .arg(statement);
    let (status, output) = Program::start(&mut command).wait();
    assert!(status.success(), "{statement}: {status}: {output}");
    if output.trim().is_empty() {
        return Vec::new();
    }
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{statement}: {error}: {output}"))
}

/// The first column of the first row.
fn one(database: &Path, statement: &str) -> Value {
    let rows = sql(database, statement);
    let row = rows.first().unwrap_or_else(|| panic!("{statement}: no row"));
    row.as_object()
        .and_then(|row| row.values().next())
        .cloned()
        .expect("a column")
}

fn check(database: &Path) {
    assert_eq!(one(database, "PRAGMA integrity_check"), "ok");
}

/// A source with a name and a program, on a mount of [`setup`].
pub(super) fn publish(server: &Server, mount: &str) -> Feeder {
    let mut wire = server.connect();
    wire.send(format!(
        "SOURCE {mount} HTTP/1.0\r\nAuthorization: {}\r\nContent-Type: audio/mpeg\r\nIce-Name: My Station\r\n\
         User-Agent: BUTT/1.2\r\n\r\n",
        basic("source", "of-the-mount")
    ));
    assert_eq!(wire.head().status, 200);
    Feeder::run(Source { wire }, Mp3::new('a'), 1.0)
}

pub(super) fn set_title(server: &Server, mount: &str, title: &str) {
    let title: String = title.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let reply = server.admin(&format!("metadata?mount={mount}&mode=updinfo&song={title}"));
    assert_eq!(reply.status(), 200, "{reply:?}");
    server.wait_for_mount(mount);
}

/// A minute of listening and the API, and everything of it is in the file.
#[test]
fn songs_listeners_programs_and_changes_are_kept() {
    if !installed(&["sqlite3"]) {
        return;
    }
    let mut server = setup().start();
    let database = server.folder().file("history.db");
    let root = Client::login(&server, "root", PASSWORD);
    let _feeder = publish(&server, "/own");
    server.wait_for_mount("/own");
    let mut listener = Listener::open(&server, "/own", "User-Agent: VLC/3.0\r\n");
    assert!(!listener.wire.some().is_empty());
    let hostile = "O'Brien \"& Söhne\" - '); DROP TABLE history_items;--";
    for title in ["One - First", "One - First", hostile, "-", "One - First"] {
        set_title(&server, "/own", title);
    }
    assert_eq!(
        root.call("POST", "/api/security/bans", &json!({ "ip": "192.0.2.7" }))
            .status(),
        200
    );

    let songs = || {
        sql(
            &database,
            "SELECT song FROM history_items WHERE mount = '/own' ORDER BY id",
        )
    };
    let expected = ["One - First", hostile, "One - First"].map(|song| json!({ "song": song }));
    until("the songs in the file", || (songs() == expected).then_some(()));
    let told = root.get("/admin/history?mount=/own").json();
    let told: Vec<_> = told
        .as_array()
        .expect("a list")
        .iter()
        .map(|song| song["Song"].clone())
        .collect();
    assert_eq!(told, ["One - First", hostile, "One - First"]);

    let agents = || sql(&database, "SELECT ua, type, count FROM user_agents ORDER BY type");
    let expected = [
        json!({ "ua": "VLC/3.0", "type": "listener", "count": 1 }),
        json!({ "ua": "BUTT/1.2", "type": "source", "count": 1 }),
    ];
    until("the programs in the file", || {
        (agents() == expected).then_some(())
    });
    let statistics = root.get("/admin/statistics").json();
    assert_eq!(
        statistics["top_sources_ua"],
        json!([{ "ua": "BUTT/1.2", "count": 1 }]),
        "{statistics}"
    );

    let audit = "SELECT username, action, resource_type, resource_id, ip FROM audit_entries ORDER BY id";
    let entry = |action: &str, kind: &str, id: &str| json!({ "username": "root", "action": action, "resource_type": kind, "resource_id": id, "ip": "127.0.0.1" });
    let expected = [
        entry("login", "auth", "root"),
        entry("ip_banned", "security", "192.0.2.7"),
    ];
    until("the changes in the file", || {
        (sql(&database, audit) == expected).then_some(())
    });
    let page = root.get("/api/security/audit").json();
    assert_eq!(
        (&page["total"], &page["entries"][0]["action"]),
        (&json!(2), &json!("ip_banned")),
        "{page}"
    );

    // Listeners are counted once a minute.
    let samples = "SELECT listeners, bytes_in, bytes_out FROM listener_histories WHERE mount = '/own'";
    let sample = until_within(Duration::from_secs(100), "a sample in the file", || {
        sql(&database, samples).pop()
    });
    assert_eq!(sample["listeners"], 1, "{sample}");
    assert!(
        sample["bytes_in"].as_u64() > Some(100_000) && sample["bytes_out"].as_u64() > Some(0),
        "{sample}"
    );
    let insights = root.get("/admin/insights?hours=1").json();
    assert_eq!(insights["/own"].as_array().map(Vec::len), Some(1), "{insights}");

    let stamps = sql(
        &database,
        "SELECT timestamp FROM history_items UNION SELECT timestamp FROM audit_entries",
    );
    for stamp in stamps {
        let text = stamp["timestamp"].as_str().expect("a text");
        let is_like_gos = text.len() >= 25 && text.as_bytes()[10] == b' ' && text[19..].contains(['+', '-']);
        assert!(is_like_gos, "{text}");
    }
    server.stop();
    check(&database);
    assert_eq!(songs().len(), 3);
}

/// The tables as the Go program's library makes them.
const GO: &str = "
CREATE TABLE `history_items` (`id` integer PRIMARY KEY AUTOINCREMENT,`mount` text,`song` text,`timestamp` datetime);
CREATE INDEX `idx_history_items_timestamp` ON `history_items`(`timestamp`);
CREATE INDEX `idx_history_items_mount` ON `history_items`(`mount`);
CREATE TABLE `user_agents` (`ua` text,`type` text,`count` integer DEFAULT 1,PRIMARY KEY (`ua`,`type`));
CREATE TABLE `listener_histories` (`id` integer PRIMARY KEY AUTOINCREMENT,`mount` text,`listeners` integer,\
`bytes_in` integer,`bytes_out` integer,`timestamp` datetime);
CREATE INDEX `idx_listener_histories_timestamp` ON `listener_histories`(`timestamp`);
CREATE INDEX `idx_listener_histories_mount` ON `listener_histories`(`mount`);
CREATE TABLE `audit_entries` (`id` integer PRIMARY KEY AUTOINCREMENT,`timestamp` datetime,`username` text,\
`action` text,`resource_type` text,`resource_id` text,`detail` text,`ip` text);
CREATE INDEX `idx_audit_entries_action` ON `audit_entries`(`action`);
CREATE INDEX `idx_audit_entries_username` ON `audit_entries`(`username`);
CREATE INDEX `idx_audit_entries_timestamp` ON `audit_entries`(`timestamp`);
";

/// Rows of before, and some of the last hour so that charts show them.
const ROWS: &str = "
INSERT INTO history_items (mount, song, timestamp) VALUES
    ('/own', 'Old - One', '2026-01-02 03:04:05.123456789+02:00'),
    ('/own', 'Old - Two', '2026-01-02T03:05:05Z'),
    ('/else', 'Of another', '2026-01-02 03:05:05');
INSERT INTO user_agents (ua, type, count) VALUES ('VLC/3.0', 'listener', 41), ('BUTT/1.2', 'source', 7);
INSERT INTO listener_histories (mount, listeners, bytes_in, bytes_out, timestamp) VALUES
    ('/own', 3, 1000, 3000, strftime('%Y-%m-%d %H:%M:%f', 'now', '-30 minutes') || '+00:00'),
    ('/own', 5, 2000, 8000, strftime('%Y-%m-%d %H:%M:%f', 'now', '-20 minutes') || '+00:00');
INSERT INTO audit_entries (timestamp, username, action, resource_type, resource_id, detail, ip) VALUES
    ('2026-01-02 03:04:05.5+00:00', 'system', 'login', 'auth', 'alice', '', '203.0.113.9'),
    ('2026-01-02 03:04:06+00:00', 'alice', 'user_created', 'user', 'bob', 'role=dj', '203.0.113.9');
";

fn schema(database: &Path) -> Vec<Value> {
    let tables = "'history_items', 'user_agents', 'listener_histories', 'audit_entries'";
    sql(
        database,
        &format!("SELECT name, sql FROM sqlite_schema WHERE tbl_name IN ({tables}) ORDER BY name"),
    )
}

#[test]
fn the_database_of_the_go_program_opens_is_shown_and_goes_on() {
    if !installed(&["sqlite3"]) {
        return;
    }
    let folder = Folder::new();
    let database = folder.file("history.db");
    sql(&database, &format!("{GO}{ROWS}"));
    let before = schema(&database);
    let data = folder.path().to_str().expect("a plain path");
    let mut server = setup().set("data_dir", data).start();
    let root = Client::login(&server, "root", PASSWORD);

    let songs = root.get("/admin/history?mount=/own").json();
    let row =
        |id: u32, song: &str, at: &str| json!({ "ID": id, "Mount": "/own", "Song": song, "Timestamp": at });
    assert_eq!(songs[0], row(2, "Old - Two", "2026-01-02T03:05:05Z"), "{songs}");
    assert_eq!(
        songs[1],
        row(1, "Old - One", "2026-01-02T01:04:05.123456789Z"),
        "{songs}"
    );
    let insights = root.get("/admin/insights?hours=2").json();
    let points = insights["/own"].as_array().expect("a list");
    let most = points
        .iter()
        .filter_map(|point| point["max_listeners"].as_u64())
        .max();
    assert_eq!(most, Some(5), "{insights}");
    let sum = |key: &str| points.iter().filter_map(|point| point[key].as_u64()).sum::<u64>();
    assert_eq!(
        (sum("bytes_in"), sum("bytes_out")),
        (1000, 5000),
        "what moved between the samples: {insights}"
    );
    let audit = root.get("/api/security/audit?category=users").json();
    let entry = &audit["entries"][0];
    assert_eq!(
        (&audit["total"], &entry["username"], &entry["id"]),
        (&json!(1), &json!("alice"), &json!(2)),
        "{audit}"
    );
    assert_eq!(entry["timestamp"], "2026-01-02T03:04:06Z");
    let statistics = root.get("/admin/statistics").json();
    assert_eq!(
        statistics["top_listeners_ua"],
        json!([{ "ua": "VLC/3.0", "count": 41 }]),
        "{statistics}"
    );

    let _feeder = publish(&server, "/own");
    server.wait_for_mount("/own");
    set_title(&server, "/own", "New - Three");
    until("the new song", || {
        let songs = root.get("/admin/history?mount=/own").json();
        (songs[0]["Song"] == "New - Three" && songs[0]["ID"].as_u64() > Some(3)).then_some(())
    });
    server.stop();
    check(&database);
    // The other program finds everything where it was.
    assert_eq!(schema(&database), before);
    let count = |table: &str| one(&database, &format!("SELECT count(*) FROM {table}"));
    assert_eq!(count("history_items"), 4);
    assert!(count("audit_entries").as_u64() >= Some(2));
    let source = one(
        &database,
        "SELECT count FROM user_agents WHERE ua = 'BUTT/1.2' AND type = 'source'",
    );
    assert_eq!(source, 8);
}

#[test]
fn the_oldest_tables_are_taken_over() {
    if !installed(&["sqlite3"]) {
        return;
    }
    let folder = Folder::new();
    let database = folder.file("history.db");
    sql(
        &database,
        "CREATE TABLE history (mount TEXT, song TEXT, timestamp DATETIME);
         INSERT INTO history VALUES ('/own', 'Ancient - Song', '2024-01-02 03:04:05');
         CREATE TABLE listener_history (mount TEXT, listeners INTEGER, bytes_in INTEGER, bytes_out INTEGER,
            timestamp DATETIME);
         INSERT INTO listener_history VALUES ('/own', 2, 10, 20, '2024-01-02 03:04:05');",
    );
    let data = folder.path().to_str().expect("a plain path");
    let mut server = setup().set("data_dir", data).start();
    let root = Client::login(&server, "root", PASSWORD);
    assert_eq!(
        root.get("/admin/history?mount=/own").json()[0]["Song"],
        "Ancient - Song"
    );
    server.stop();
    check(&database);
    let left = sql(
        &database,
        "SELECT name FROM sqlite_schema WHERE name IN ('history', 'listener_history')",
    );
    assert_eq!(left, Vec::<Value>::new());
    assert_eq!(one(&database, "SELECT listeners FROM listener_histories"), 2);
}

#[test]
fn a_broken_file_is_set_aside() {
    if !installed(&["sqlite3"]) {
        return;
    }
    for (what, breaks) in [
        (
            "no database at all",
            (|_: &Path| b"this is no database, but long enough for one".repeat(100)) as fn(&Path) -> Vec<u8>,
        ),
        ("a page overwritten", |database: &Path| {
            sql(database, &format!("{GO}{ROWS}"));
            let mut bytes = fs::read(database).expect("a file");
            // The first page is that of the schema.
            bytes[4_096..12_288].fill(0x5a);
            bytes
        }),
        ("cut in the middle", |database: &Path| {
            sql(database, &format!("{GO}{ROWS}"));
            let mut bytes = fs::read(database).expect("a file");
            bytes.truncate(10_000);
            bytes
        }),
    ] {
        let folder = Folder::new();
        let database = folder.file("history.db");
        let bytes = breaks(&database);
        fs::write(&database, &bytes).expect("written");
        let mut server = setup()
            .set("data_dir", folder.path().to_str().expect("a plain path"))
            .start();
        server.wait_for_log("was damaged and is kept as");
        let root = Client::login(&server, "root", PASSWORD);
        assert_eq!(root.get("/admin/insights").json(), json!({}), "{what}");
        until("the sign-in in the new file", || {
            (root.get("/api/security/audit").json()["total"] == 1).then_some(())
        });
        server.stop();
        check(&database);
        let kept = fs::read_dir(folder.path())
            .expect("a folder")
            .filter_map(Result::ok)
            .find(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.starts_with("history.db.corrupt-") && !name.ends_with("-wal") && !name.ends_with("-shm")
            });
        let kept = kept.unwrap_or_else(|| panic!("{what}: it is gone"));
        // SQLite may have noted in the head of the file that it was there.
        let kept = fs::read(kept.path()).expect("a file");
        assert!(kept[100..] == bytes[100..], "{what}: it was changed");
    }
}

#[test]
fn without_a_place_to_write_there_is_no_history_and_all_else() {
    let folder = Folder::new();
    // A file where a folder should be: not even root can write below it.
    let blocked = folder.write("file", "").join("below");
    let server = setup()
        .set("data_dir", blocked.to_str().expect("a plain path"))
        .start();
    server.wait_for_log("No history is kept");
    let root = Client::login(&server, "root", PASSWORD);
    let _feeder = publish(&server, "/own");
    server.wait_for_mount("/own");
    set_title(&server, "/own", "A - B");
    let mut listener = Listener::open(&server, "/own", "");
    assert!(!listener.wire.some().is_empty());
    for target in [
        "/admin/insights",
        "/admin/traffic",
        "/admin/history?mount=/own",
        "/api/security/audit",
        "/api/traffic",
    ] {
        let reply = root.get(target);
        assert_eq!(
            (reply.status(), reply.json()["error"].is_string()),
            (503, true),
            "{target}: {}",
            reply.text()
        );
    }
    assert_eq!(
        root.call("POST", "/api/security/bans", &json!({ "ip": "192.0.2.7" }))
            .status(),
        200
    );
    assert_eq!(root.get("/api/streams?mount=/own").status(), 200);
}
