//! What is too old is thinned, then deleted.

use std::time::Duration;

use store::{AuditQuery, InsightsQuery, Resolution, Retention, SongQuery, Store};

use crate::{Folder, at, entry, hours, integrity, minutes, open, run, sample};

const START: &str = "2026-01-10T00:00:00Z";

async fn listeners(store: &Store, step: u64) -> Vec<(f64, u64, u64)> {
    let query = InsightsQuery {
        mounts: None,
        from: at(START),
        to: at(START) + hours(4),
        resolution: Resolution::Step(Duration::from_secs(step)),
    };
    let insights = store.insights(query).await.unwrap();
    let points = insights.mounts.get("/live").cloned().unwrap_or_default();
    points
        .iter()
        .map(|point| (point.listeners, point.max_listeners, point.bytes_in))
        .collect()
}

#[test]
fn samples_become_hourly_after_a_month_and_go_in_time() {
    let folder = Folder::new();
    let (store, _) = open(&folder.database());
    let start = at(START);
    let rows = || -> (i64, i64, i64) {
        folder
            .sql()
            .query_row(
                "SELECT count(*), sum(listeners), max(bytes_in) FROM listener_histories",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .unwrap()
    };
    run(async {
        // Three hours; the counters start over in the middle of the second.
        for minute in 0..180 {
            let bytes = if minute < 90 { 1_000 + minute } else { minute - 90 };
            let count = 10 + minute as u64 % 3;
            let now = start + minutes(minute);
            store.sample(vec![sample("/live", count, bytes.unsigned_abs(), 0)], now);
        }
        let hourly = vec![(11.0, 12, 59), (11.0, 12, 30 + 29), (11.0, 12, 60)];
        assert_eq!(listeners(&store, 3_600).await, hourly);
        assert_eq!(listeners(&store, 60).await.len(), 180);
        let traffic = store.traffic(None, start + hours(4)).await.unwrap();

        // The first hour is over for exactly a month.
        let tidied = store.tidy(start + hours(30 * 24 + 1)).await;
        assert_eq!(tidied.thinned, 59);
        assert_eq!(rows(), (121, 11 + 120 * 11, 1_089));
        let tidied = store.tidy(start + hours(40 * 24)).await;
        assert_eq!(tidied.thinned, 118);
        assert_eq!(
            rows(),
            (3, 33, 1_059),
            "the averages, and the counters at each hour's end"
        );
        assert_eq!(store.tidy(start + hours(40 * 24)).await, store::Tidied::default());
        assert_eq!(listeners(&store, 3_600).await, hourly);
        assert_eq!(store.traffic(None, start + hours(4)).await.unwrap(), traffic);

        // The mount goes on where it was.
        store.sample(vec![sample("/live", 5, 189, 0)], start + hours(40 * 24));
        let after = store.traffic(None, start + hours(40 * 24)).await.unwrap();
        assert_eq!(
            (after.day.bytes_in, after.lifetime.bytes_in),
            (100, traffic.lifetime.bytes_in + 100)
        );

        // Nothing is deleted unless somebody wants it.
        assert_eq!(store.tidy(start + hours(10_000 * 24)).await.samples, 0);
        store.retain(Retention::from_days(0, 60)).await;
        let tidied = store.tidy(start + hours(60 * 24 + 2)).await;
        assert_eq!(tidied.samples, 2);
        assert_eq!(listeners(&store, 3_600).await, hourly[2..]);
        let tidied = store.tidy(start + hours(1_000 * 24)).await;
        assert_eq!(tidied.samples, 2);
        assert_eq!(listeners(&store, 3_600).await, []);
        assert_eq!(listeners(&store, 86_400).await, []);
        let last = store.traffic(None, start + hours(1_000 * 24)).await.unwrap();
        assert_eq!(
            last.lifetime, after.lifetime,
            "what was sent in all is not forgotten"
        );
        store.close().await;
    });
    assert_eq!(integrity(&folder.database()), "ok");
}

#[test]
fn audit_entries_go_by_age() {
    let folder = Folder::new();
    let (store, _) = open(&folder.database());
    let start = at(START);
    run(async {
        for day in 0..10 {
            store.audit(entry("alice", "login", "", start + hours(24 * day)));
        }
        let count = async || store.audit_page(AuditQuery::default()).await.unwrap().total;
        assert_eq!(store.tidy(start + hours(24 * 365)).await.audit, 0);
        assert_eq!(store.tidy(start + hours(24 * 368)).await.audit, 3);
        assert_eq!(count().await, 7);
        store.retain(Retention::from_days(0, 0)).await;
        assert_eq!(store.tidy(start + hours(24 * 5_000)).await.audit, 0);
        store.retain(Retention::from_days(1, 0)).await;
        assert_eq!(store.tidy(start + hours(24 * 5_000)).await.audit, 7);
        assert_eq!(count().await, 0);
        store.close().await;
    });
}

#[test]
fn songs_are_kept_a_year_and_the_newest_hundred_of_a_mount_for_ever() {
    let folder = Folder::new();
    let (store, _) = open(&folder.database());
    let start = at(START);
    run(async {
        for number in 0..250 {
            store.song("/live", &format!("song {number}"), start + hours(number));
            store.song("/rare", &format!("song {}", number / 50), start + hours(number));
        }
        let tidied = store.tidy(start + hours(24 * 365 + 120)).await;
        assert_eq!(tidied.songs, 120);
        let tidied = store.tidy(start + hours(24 * 3_650)).await;
        assert_eq!(tidied.songs, 30);
        let songs = store.songs(SongQuery::newest("/live", 1_000)).await.unwrap();
        assert_eq!((songs.len(), &*songs[99].song), (100, "song 150"));
        assert_eq!(
            store
                .songs(SongQuery::newest("/rare", 1_000))
                .await
                .unwrap()
                .len(),
            5
        );
        store.close().await;
    });
}
