//! Disks fail, and the store says so and goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use store::{AgentKind, OpenError, Settings, SongQuery, Store};

use crate::{Folder, at, entry, integrity, open, run, sample, settings};

#[test]
fn a_file_that_is_no_database_is_set_aside() {
    let folder = Folder::new();
    fs::write(
        folder.database(),
        "this is not a database, but somebody's notes ".repeat(100),
    )
    .unwrap();
    let (store, opened) = open(&folder.database());
    let replaced = opened.replaced.unwrap();
    assert!(opened.created);
    assert!(!replaced.reason.is_empty());
    let name = replaced.moved_to.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("history.db.corrupt-2"), "{name}");
    assert!(
        fs::read_to_string(&replaced.moved_to)
            .unwrap()
            .starts_with("this is not")
    );
    run(async {
        store.song("/live", "A - One", at("2026-08-10T12:00:00Z"));
        assert_eq!(store.songs(SongQuery::newest("/live", 1)).await.unwrap().len(), 1);
        store.close().await;
    });
}

#[test]
fn damage_inside_is_found() {
    let folder = Folder::new();
    let (store, _) = open(&folder.database());
    run(async {
        for number in 0..2_000 {
            store.audit(entry(
                "alice",
                "login",
                &"x".repeat(number % 500),
                at("2026-08-10T12:00:00Z"),
            ));
        }
        store.close().await;
    });
    let mut bytes = fs::read(folder.database()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 20_000].fill(0x5a);
    fs::write(folder.database(), bytes).unwrap();
    let (store, opened) = open(&folder.database());
    assert!(opened.replaced.is_some());
    run(store.close());
    assert_eq!(integrity(&folder.database()), "ok");
}

#[test]
fn a_database_that_breaks_in_use_is_replaced() {
    let folder = Folder::new();
    let (store, _) = open(&folder.database());
    run(async {
        store.song("/live", "A - One", at("2026-08-10T12:00:00Z"));
        store.flush().await;
        // Another hand makes the table unusable: its root is no page of a table any more.
        folder
            .sql()
            .execute_batch(
                "PRAGMA writable_schema = ON;
                 UPDATE sqlite_schema SET rootpage = 4000000 WHERE name = 'history_items';
                 PRAGMA schema_version = 1000;",
            )
            .unwrap();
        store.song("/live", "B - Two", at("2026-08-10T12:01:00Z"));
        let songs = store.songs(SongQuery::newest("/live", 10)).await.unwrap();
        let songs: Vec<_> = songs.iter().map(|song| &*song.song).collect();
        assert_eq!(songs, ["B - Two"], "the new file has what came since");
        assert_eq!(store.lost(), 0);
        store.close().await;
    });
    let aside = folder
        .names()
        .into_iter()
        .filter(|name| name.contains("corrupt"))
        .count();
    assert!(aside >= 1, "{:?}", folder.names());
}

#[test]
fn the_file_is_for_owner_and_group() {
    let folder = Folder::new();
    let mode = || fs::metadata(folder.database()).unwrap().permissions().mode() & 0o777;
    let (store, _) = open(&folder.database());
    assert_eq!(mode(), 0o640);
    run(store.close());
    fs::set_permissions(folder.database(), fs::Permissions::from_mode(0o644)).unwrap();
    let (store, _) = open(&folder.database());
    assert_eq!(mode(), 0o640);
    let journal = folder.0.join("history.db-wal");
    assert_eq!(fs::metadata(journal).unwrap().permissions().mode() & 0o777, 0o640);
    run(store.close());
}

#[test]
fn what_cannot_be_used_is_told() {
    let folder = Folder::new();
    let missing = folder.0.join("no/such/folder/history.db");
    assert!(matches!(
        Store::open(&missing, settings()),
        Err(OpenError::Io { .. })
    ));
    fs::create_dir(folder.database()).unwrap();
    let error = Store::open(&folder.database(), settings()).unwrap_err();
    assert!(error.to_string().contains("history.db"), "{error}");
}

#[test]
fn a_full_disk_stops_statistics_only() {
    let folder = Folder::new();
    let settings = Settings {
        least_free: u64::MAX,
        ..settings()
    };
    let (store, _) = Store::open(&folder.database(), settings).unwrap();
    let now = at("2026-08-10T12:00:00Z");
    run(async {
        store.sample(vec![sample("/live", 1, 1, 1)], now);
        store.agent(AgentKind::Listener, None);
        store.song("/live", "A - One", now);
        store.audit(entry("alice", "login", "", now));
        store.flush().await;
        assert!(store.is_short_of_space() && store.is_writable());
        assert_eq!(store.lost(), 2);
        assert_eq!(store.songs(SongQuery::newest("/live", 1)).await.unwrap().len(), 1);
        assert_eq!(
            store
                .audit_page(store::AuditQuery::default())
                .await
                .unwrap()
                .total,
            1
        );
        assert_eq!(store.agents(AgentKind::Listener, 1).await.unwrap(), []);
        store.close().await;
    });
}

#[test]
fn one_bad_write_takes_no_other_with_it() {
    let folder = Folder::new();
    let (store, _) = open(&folder.database());
    folder
        .sql()
        .execute_batch(
            "CREATE TRIGGER refuse BEFORE INSERT ON history_items WHEN new.song = 'bad'
             BEGIN SELECT raise(ABORT, 'no'); END",
        )
        .unwrap();
    let now = at("2026-08-10T12:00:00Z");
    run(async {
        store.flush().await;
        for song in ["one", "bad", "two"] {
            store.song("/live", song, now);
        }
        let songs = store.songs(SongQuery::newest("/live", 10)).await.unwrap();
        let songs: Vec<_> = songs.iter().map(|song| &*song.song).collect();
        assert_eq!(songs, ["two", "one"]);
        assert_eq!(store.lost(), 1);
        assert!(store.is_writable());
        store.close().await;
    });
}
