//! Nobody waits for a write, and what was written is there.

use std::time::Duration;

use store::{AgentKind, ReadError, Settings, SongQuery, Store};

use crate::{Folder, at, entry, integrity, open, run, settings};

#[test]
fn who_writes_sees_it_at_once_and_after_a_restart() {
    let folder = Folder::new();
    let now = at("2026-08-10T12:00:00Z");
    run(async {
        let (store, _) = open(&folder.database());
        for song in ["A - One", "A - One", "", "N/A", "-", "B - Two", "A - One"] {
            store.song("/live", song, now);
        }
        store.song("/other", "A - One", now);
        let songs = store.songs(SongQuery::newest("/live", 10)).await.unwrap();
        let shown: Vec<_> = songs.iter().map(|song| &*song.song).collect();
        assert_eq!(shown, ["A - One", "B - Two", "A - One"]);
        let query = SongQuery {
            before: Some(songs[1].id),
            ..SongQuery::newest("/live", 10)
        };
        assert_eq!(store.songs(query).await.unwrap(), [songs[2].clone()]);

        store.put("session", "a", b"first".to_vec());
        store.put("session", "a", b"second".to_vec());
        store.put("session", "b", vec![0, 255]);
        store.put("session", "c", Vec::new());
        store.put("token", "a", b"other".to_vec());
        store.delete("session", "c");
        store.delete("session", "never there");
        drop(store.clone());
        store.close().await;
        assert_eq!(store.all("session").await, Err(ReadError::Closed));
        store.put("session", "late", Vec::new());
        assert_eq!(store.lost(), 1);

        let (store, _) = open(&folder.database());
        let records = store.all("session").await.unwrap();
        assert_eq!(
            records,
            [
                ("a".to_owned(), b"second".to_vec()),
                ("b".to_owned(), vec![0, 255])
            ]
        );
        store.song("/live", "A - One", now);
        let songs = store.songs(SongQuery::newest("/live", 10)).await.unwrap();
        assert_eq!(songs.len(), 3, "a restart does not repeat the song");
        store.close().await;
    });
    assert_eq!(folder.names(), ["history.db"], "the journal went into the file");
    assert_eq!(integrity(&folder.database()), "ok");
}

#[test]
fn a_full_queue_loses_the_newest_and_statistics_first() {
    let folder = Folder::new();
    let now = at("2026-08-10T12:00:00Z");
    let settings = Settings {
        queue: 100,
        ..settings()
    };
    let (store, _) = Store::open(&folder.database(), settings).unwrap();
    let blocker = folder.sql();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The writer takes at most one batch with it into its wait for the lock.
    let before = std::time::Instant::now();
    for number in 0..3_000 {
        store.audit(entry("alice", "login", &number.to_string(), now));
    }
    assert!(before.elapsed() < Duration::from_secs(2), "nobody waited");
    let lost = store.lost();
    assert!((1_900..3_000).contains(&lost), "{lost} lost");
    store.agent(AgentKind::Listener, Some("VLC"));
    assert_eq!(store.lost(), lost + 1, "no place for statistics");
    blocker.execute_batch("ROLLBACK").unwrap();
    run(async {
        store.flush().await;
        let page = store.audit_page(store::AuditQuery::default()).await.unwrap();
        assert_eq!(page.total, 3_000 - lost);
        store.close().await;
    });
}

#[test]
fn records_without_bound_are_refused() {
    let folder = Folder::new();
    let (store, _) = open(&folder.database());
    run(async {
        store.put("webhook", "large", vec![0; 2 * 1024 * 1024]);
        store.put("webhook", "small", vec![0; 512 * 1024]);
        assert_eq!(store.lost(), 1);
        let records = store.all("webhook").await.unwrap();
        assert_eq!(records.len(), 1);
        store.close().await;
    });
}

#[test]
fn programs_are_counted_by_kind() {
    let folder = Folder::new();
    let (store, _) = open(&folder.database());
    run(async {
        for (kind, agent, times) in [
            (AgentKind::Listener, Some("VLC"), 3),
            (AgentKind::Listener, None, 2),
            (AgentKind::Source, Some("VLC"), 1),
        ] {
            (0..times).for_each(|_| store.agent(kind, agent));
        }
        let count = |agents: Vec<store::Agent>| -> Vec<(String, u64)> {
            agents.into_iter().map(|agent| (agent.ua, agent.count)).collect()
        };
        assert_eq!(
            count(store.agents(AgentKind::Listener, 10).await.unwrap()),
            [("VLC".to_owned(), 3), ("Unknown".to_owned(), 2)]
        );
        assert_eq!(
            count(store.agents(AgentKind::Listener, 1).await.unwrap()),
            [("VLC".to_owned(), 3)]
        );
        assert_eq!(
            count(store.agents(AgentKind::Source, 10).await.unwrap()),
            [("VLC".to_owned(), 1)]
        );
        store.close().await;
    });
}

#[test]
fn the_last_clone_closes_the_file() {
    let folder = Folder::new();
    let (store, _) = open(&folder.database());
    store.song("/live", "A - One", at("2026-08-10T12:00:00Z"));
    drop(store);
    // The thread ends by itself, so its last write may come after the next open.
    let (store, _) = open(&folder.database());
    let limit = std::time::Instant::now() + Duration::from_secs(10);
    run(async {
        while store
            .songs(SongQuery::newest("/live", 1))
            .await
            .unwrap()
            .is_empty()
        {
            assert!(
                std::time::Instant::now() < limit,
                "what was queued is not in the file"
            );
        }
        store.close().await;
    });
}

#[test]
fn songs_are_exported() {
    let folder = Folder::new();
    let (store, _) = open(&folder.database());
    run(async {
        store.song("/live", "=cmd, \"x\"", at("2026-08-10T12:00:00Z"));
        store.song("/other", "B - Two", at("2026-08-10T12:00:01Z"));
        let part = store.songs_csv(None, None).await.unwrap();
        assert_eq!(
            String::from_utf8(part.bytes).unwrap(),
            "id,timestamp,mount,song\r\n\
             2,2026-08-10T12:00:01Z,/other,B - Two\r\n\
             1,2026-08-10T12:00:00Z,/live,\"'=cmd, \"\"x\"\"\"\r\n"
        );
        assert_eq!(part.next, None);
        let part = store.songs_csv(Some("/other".into()), Some(2)).await.unwrap();
        assert_eq!(part.bytes, b"");
        store.close().await;
    });
}
