//! A database of the Go program opens, shows its data, goes on, and can go back.

use store::{AgentKind, AuditQuery, InsightsQuery, Resolution, SongQuery};

use crate::{Folder, at, entry, integrity, open, run, sample};

/// As the Go program's library makes its tables.
const GO: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE `history_items` (`id` integer PRIMARY KEY AUTOINCREMENT,`mount` text,`song` text,`timestamp` datetime);
    CREATE INDEX `idx_history_items_timestamp` ON `history_items`(`timestamp`);
    CREATE INDEX `idx_history_items_mount` ON `history_items`(`mount`);
    CREATE TABLE `user_agents` (`ua` text,`type` text,`count` integer DEFAULT 1,PRIMARY KEY (`ua`,`type`));
    CREATE TABLE `listener_histories` (`id` integer PRIMARY KEY AUTOINCREMENT,`mount` text,`listeners` integer,
        `bytes_in` integer,`bytes_out` integer,`timestamp` datetime);
    CREATE INDEX `idx_listener_histories_timestamp` ON `listener_histories`(`timestamp`);
    CREATE INDEX `idx_listener_histories_mount` ON `listener_histories`(`mount`);
    CREATE TABLE `audit_entries` (`id` integer PRIMARY KEY AUTOINCREMENT,`timestamp` datetime,`username` text,
        `action` text,`resource_type` text,`resource_id` text,`detail` text,`ip` text);
    CREATE INDEX `idx_audit_entries_action` ON `audit_entries`(`action`);
    CREATE INDEX `idx_audit_entries_username` ON `audit_entries`(`username`);
    CREATE INDEX `idx_audit_entries_timestamp` ON `audit_entries`(`timestamp`);

    INSERT INTO `history_items` (`mount`,`song`,`timestamp`) VALUES
        ('/live','One - First','2026-08-10 14:00:00.123456789+02:00'),
        ('/live','Two - Second','2026-08-10 14:03:00.5 +0200 CEST m=+12.5'),
        ('/other','Three','2026-08-10T12:04:00Z');
    INSERT INTO `user_agents` (`ua`,`type`,`count`) VALUES ('VLC/3.0.20','listener',7), ('Unknown','listener',2),
        ('butt 1.40','source',3);
    INSERT INTO `listener_histories` (`mount`,`listeners`,`bytes_in`,`bytes_out`,`timestamp`) VALUES
        ('/live',10,1000,10000,'2026-08-10 14:00:00+02:00'),
        ('/live',20,1600,16000,'2026-08-10 14:01:00+02:00'),
        ('/other',NULL,NULL,NULL,NULL),
        ('/live',30,100,700,'2026-08-10 12:02:00');
    INSERT INTO `audit_entries` (`timestamp`,`username`,`action`,`resource_type`,`resource_id`,`detail`,`ip`) VALUES
        ('2026-08-10 14:00:00+02:00','alice','user_created','user','bob','role=dj','203.0.113.9'),
        ('2026-08-10 14:00:01+02:00','system','login',NULL,NULL,NULL,NULL);
";

#[test]
fn its_data_is_shown_and_goes_on() {
    let folder = Folder::new();
    folder.sql().execute_batch(GO).unwrap();
    let schema = "SELECT group_concat(sql, char(10)) FROM (SELECT sql FROM sqlite_schema
                  WHERE tbl_name IN ('history_items','user_agents','listener_histories','audit_entries') ORDER BY name)";
    let before: String = folder.sql().query_row(schema, [], |row| row.get(0)).unwrap();

    let (store, opened) = open(&folder.database());
    assert!(opened.adopted && !opened.created && opened.replaced.is_none());
    run(async {
        let songs = store.songs(SongQuery::newest("/live", 100)).await.unwrap();
        let shown: Vec<_> = songs
            .iter()
            .map(|song| (song.id, &*song.song, song.timestamp))
            .collect();
        assert_eq!(
            shown,
            [
                (2, "Two - Second", at("2026-08-10T12:03:00.5Z")),
                (1, "One - First", at("2026-08-10T12:00:00.123456789Z")),
            ]
        );
        let agents = store.agents(AgentKind::Listener, 10).await.unwrap();
        let agents: Vec<_> = agents.iter().map(|agent| (&*agent.ua, agent.count)).collect();
        assert_eq!(agents, [("VLC/3.0.20", 7), ("Unknown", 2)]);
        let page = store.audit_page(AuditQuery::default()).await.unwrap();
        assert_eq!((page.total, page.page, page.limit), (2, 1, 25));
        assert_eq!(
            (&*page.entries[1].username, &*page.entries[1].detail),
            ("alice", "role=dj")
        );
        assert_eq!(
            (&*page.entries[0].username, &*page.entries[0].resource_id),
            ("system", "")
        );
        assert_eq!(page.entries[1].timestamp, at("2026-08-10T12:00:00Z"));

        // The old samples are summed up in the background, and ours follow on.
        store.sample(vec![sample("/live", 40, 400, 1_700)], at("2026-08-10T12:03:00Z"));
        store.tidy(at("2026-08-10T12:04:00Z")).await;
        for resolution in [
            Resolution::Step(std::time::Duration::from_secs(60)),
            Resolution::Points(1),
        ] {
            let query = InsightsQuery {
                mounts: None,
                from: at("2026-08-10T12:00:00Z"),
                to: at("2026-08-10T13:00:00Z"),
                resolution,
            };
            let insights = store.insights(query).await.unwrap();
            assert_eq!(insights.mounts.keys().collect::<Vec<_>>(), ["/live"]);
            let points = &insights.mounts["/live"];
            let moved: Vec<_> = points
                .iter()
                .map(|point| (point.bytes_in, point.bytes_out))
                .collect();
            match resolution {
                Resolution::Step(_) => assert_eq!(moved, [(0, 0), (600, 6_000), (100, 700), (300, 1_000)]),
                Resolution::Points(_) => {
                    assert_eq!(moved, [(1_000, 7_700)]);
                    assert_eq!((points[0].listeners, points[0].max_listeners), (25.0, 40));
                }
            }
        }
        let traffic = store.traffic(None, at("2026-08-10T12:04:00Z")).await.unwrap();
        assert_eq!((traffic.day.bytes_in, traffic.day.mounts), (1_000, 1));
        assert_eq!(traffic.lifetime.bytes_out, 7_700);

        store.song("/live", "Two - Second", at("2026-08-10T12:05:00Z"));
        store.song("/live", "Four", at("2026-08-10T12:06:00Z"));
        store.agent(AgentKind::Source, Some("butt 1.40"));
        store.audit(entry("carol", "logout", "", at("2026-01-10T12:05:00.25Z")));
        store.close().await;
    });

    // The Go program finds its own schema and rows that look like its own.
    let sql = folder.sql();
    let after: String = sql.query_row(schema, [], |row| row.get(0)).unwrap();
    assert_eq!(after, before);
    let text = |query: &str| sql.query_row(query, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(
        text(
            "SELECT group_concat(song || '@' || timestamp, '; ') FROM (SELECT * FROM history_items WHERE id > 3)"
        ),
        "Four@2026-08-10 14:06:00+02:00"
    );
    assert_eq!(
        text("SELECT timestamp FROM audit_entries WHERE id = 3"),
        "2026-01-10 13:05:00.25+01:00"
    );
    assert_eq!(
        text("SELECT cast(count AS text) FROM user_agents WHERE type = 'source'"),
        "4"
    );
    assert_eq!(
        text(
            "SELECT mount || listeners || ' ' || bytes_in || ' ' || bytes_out || ' ' || timestamp
              FROM listener_histories ORDER BY id DESC LIMIT 1"
        ),
        "/live40 400 1700 2026-08-10 14:03:00+02:00"
    );
    assert_eq!(integrity(&folder.database()), "ok");
}

#[test]
fn rows_that_the_go_program_adds_meanwhile_count() {
    let folder = Folder::new();
    let now = at("2026-08-10T12:30:00Z");
    let (store, opened) = open(&folder.database());
    assert!(opened.created && !opened.adopted);
    run(async {
        store.sample(vec![sample("/live", 1, 100, 1_000)], at("2026-08-10T12:00:00Z"));
        store.close().await;
    });
    folder
        .sql()
        .execute_batch(
            "INSERT INTO listener_histories (mount,listeners,bytes_in,bytes_out,timestamp) VALUES
             ('/live',5,300,3000,'2026-08-10 14:01:00+02:00'), ('/live',5,50,500,'2026-08-10 14:02:00+02:00')",
        )
        .unwrap();
    let (store, opened) = open(&folder.database());
    assert!(!opened.created && !opened.adopted);
    run(async {
        store.tidy(now).await;
        let traffic = store.traffic(None, now).await.unwrap();
        assert_eq!((traffic.day.bytes_in, traffic.day.bytes_out), (250, 2_500));
        assert_eq!(traffic.day, traffic.all);
        store.close().await;
    });
}

#[test]
fn the_oldest_tables_are_copied_and_dropped() {
    let folder = Folder::new();
    folder
        .sql()
        .execute_batch(
            "CREATE TABLE history (mount TEXT, song TEXT, timestamp DATETIME);
             CREATE TABLE listener_history (mount TEXT, listeners INTEGER, bytes_in INTEGER, bytes_out INTEGER,
                timestamp DATETIME);
             INSERT INTO history VALUES ('/live','Old','2024-01-02 03:04:05+00:00'),
                ('/live','Older','2024-01-02 03:05:05+00:00');
             INSERT INTO listener_history VALUES ('/live',3,10,20,'2024-01-02 03:04:05+00:00'),
                ('/live',3,30,60,'2024-01-02 03:05:05+00:00');",
        )
        .unwrap();
    let (store, opened) = open(&folder.database());
    assert!(opened.adopted);
    run(async {
        let songs = store.songs(SongQuery::newest("/live", 100)).await.unwrap();
        let songs: Vec<_> = songs.iter().map(|song| &*song.song).collect();
        assert_eq!(songs, ["Older", "Old"]);
        store.tidy(at("2024-01-03T00:00:00Z")).await;
        let traffic = store.traffic(None, at("2024-01-03T00:00:00Z")).await.unwrap();
        assert_eq!((traffic.day.bytes_in, traffic.day.bytes_out), (20, 40));
        store.close().await;
    });
    let old: i64 = folder
        .sql()
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name IN ('history', 'listener_history')",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(old, 0);
}

#[test]
fn missing_columns_are_added() {
    let folder = Folder::new();
    folder
        .sql()
        .execute_batch(
            "CREATE TABLE user_agents (ua text, count integer);
             CREATE TABLE audit_entries (id integer PRIMARY KEY, timestamp datetime, username text, action text);
             INSERT INTO audit_entries VALUES (1, '2026-08-10 12:00:00', 'alice', 'logout');",
        )
        .unwrap();
    let (store, _) = open(&folder.database());
    run(async {
        store.agent(AgentKind::Source, None);
        store.agent(AgentKind::Source, None);
        let agents = store.agents(AgentKind::Source, 10).await.unwrap();
        assert_eq!((&*agents[0].ua, agents[0].count), ("Unknown", 2));
        let page = store.audit_page(AuditQuery::default()).await.unwrap();
        assert_eq!((&*page.entries[0].username, &*page.entries[0].ip), ("alice", ""));
        store.close().await;
    });
}
