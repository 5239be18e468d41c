//! Listeners and traffic over time.

use std::time::Duration;

use jiff::Timestamp;
use store::{Insights, InsightsQuery, Resolution, Store, csv};

use crate::{Folder, at, hours, minutes, open, run, sample};

const START: &str = "2026-08-10T00:00:00Z";

/// A sample each minute of a mount that sends 60 bytes and receives 6 per listener and minute.
async fn broadcast(store: &Store, mount: &str, from: Timestamp, count: i64, listeners: impl Fn(i64) -> u64) {
    let (mut into, mut out) = (0, 0);
    for minute in 0..count {
        into += 6;
        out += 60 * listeners(minute);
        store.sample(
            vec![sample(mount, listeners(minute), into, out)],
            from + minutes(minute),
        );
        if minute % 1_000 == 0 {
            store.flush().await;
        }
    }
    store.flush().await;
}

async fn ask(store: &Store, from: Timestamp, to: Timestamp, step: u64) -> Insights {
    let query = InsightsQuery {
        mounts: None,
        from,
        to,
        resolution: Resolution::Step(Duration::from_secs(step)),
    };
    store.insights(query).await.unwrap()
}

#[test]
fn points_are_aligned_and_their_bytes_moved_within() {
    let folder = Folder::new();
    let (store, _) = open(&folder.database());
    let start = at(START);
    run(async {
        broadcast(&store, "/live", start + minutes(50), 20, |minute| {
            1 + (minute % 2) as u64
        })
        .await;
        // After a gap its source is new and the counters start over.
        broadcast(&store, "/live", start + minutes(130), 2, |_| 4).await;
        for (step, expected) in [
            (
                1_800,
                vec![
                    (30, 1.5, 2, 54, 840),
                    (60, 1.5, 2, 60, 900),
                    (120, 4.0, 4, 12, 480),
                ],
            ),
            (
                3_600,
                vec![
                    (0, 1.5, 2, 54, 840),
                    (60, 1.5, 2, 60, 900),
                    (120, 4.0, 4, 12, 480),
                ],
            ),
            (7_200, vec![(0, 1.5, 2, 114, 1_740), (120, 4.0, 4, 12, 480)]),
            (86_400, vec![(0, 38.0 / 22.0, 4, 126, 2_220)]),
        ] {
            let insights = ask(&store, start + minutes(45), start + hours(3), step).await;
            assert_eq!(insights.step, Duration::from_secs(step));
            let points: Vec<_> = insights.mounts["/live"]
                .iter()
                .map(|point| {
                    let minute = (point.timestamp - start).get_seconds() / 60;
                    (
                        minute,
                        point.listeners,
                        point.max_listeners,
                        point.bytes_in,
                        point.bytes_out,
                    )
                })
                .collect();
            assert_eq!(points, expected, "step {step}");
        }
        store.close().await;
    });
}

#[test]
fn mounts_are_chosen_and_absent_ones_have_no_series() {
    let folder = Folder::new();
    let (store, _) = open(&folder.database());
    let start = at(START);
    run(async {
        for mount in ["/a", "/b", "/c"] {
            broadcast(&store, mount, start, 3, |_| 1).await;
        }
        for step in [60, 3_600] {
            for (mounts, expected) in [
                (None, vec!["/a", "/b", "/c"]),
                (
                    Some(vec!["/c".to_owned(), "/a".to_owned(), "/nope".to_owned()]),
                    vec!["/a", "/c"],
                ),
                (Some(vec![]), vec![]),
            ] {
                let query = InsightsQuery {
                    mounts: mounts.clone(),
                    from: start,
                    to: start + hours(1),
                    resolution: Resolution::Step(Duration::from_secs(step)),
                };
                let insights = store.insights(query).await.unwrap();
                assert_eq!(insights.mounts.keys().collect::<Vec<_>>(), expected);
                let traffic = store.traffic(mounts, start + minutes(5)).await.unwrap();
                assert_eq!(traffic.day.mounts, expected.len() as u64);
                assert_eq!(traffic.day.bytes_out, 120 * expected.len() as u64);
                assert_eq!(traffic.lifetime, traffic.day);
            }
        }
        let empty = ask(&store, start + hours(1), start, 60).await;
        assert!(empty.mounts.is_empty());
        store.close().await;
    });
}

#[test]
fn windows_of_traffic_end_now() {
    let folder = Folder::new();
    let (store, _) = open(&folder.database());
    let now = at("2026-08-10T12:34:30Z");
    run(async {
        let mut bytes = 1_000;
        store.sample(vec![sample("/live", 1, bytes, 0)], now - hours(24 * 400));
        // Each is a power of two, so that a sum says what is in it.
        for (age, moved) in [
            (hours(24 * 366), 1),
            (hours(24 * 364), 2),
            (hours(24 * 89), 4),
            (hours(24 * 29), 8),
            (hours(24 * 7) + minutes(1), 16),
            (hours(24 * 7) - minutes(1), 32),
            (hours(24) + minutes(1), 64),
            (hours(24) - minutes(1), 128),
            (minutes(1), 256),
        ] {
            bytes += moved;
            store.sample(vec![sample("/live", 1, bytes, 0)], now - age);
        }
        let traffic = store.traffic(None, now).await.unwrap();
        let windows = [
            traffic.day,
            traffic.week,
            traffic.month,
            traffic.quarter,
            traffic.year,
            traffic.lifetime,
        ];
        assert_eq!(
            windows.map(|total| total.bytes_in),
            [384, 480, 504, 508, 510, 511]
        );
        let later = store.traffic(None, now + hours(24 * 1_000)).await.unwrap();
        assert_eq!(
            (later.year.bytes_in, later.year.mounts, later.lifetime.bytes_in),
            (0, 0, 511)
        );
        store.close().await;
    });
}

#[test]
fn insights_are_exported() {
    let folder = Folder::new();
    let (store, _) = open(&folder.database());
    let start = at(START);
    run(async {
        broadcast(&store, "/live", start, 3, |minute| minute as u64).await;
        let insights = ask(&store, start, start + hours(1), 3_600).await;
        assert_eq!(
            String::from_utf8(csv::insights(&insights)).unwrap(),
            "mount,timestamp,listeners,max_listeners,bytes_in,bytes_out\r\n\
             /live,2026-08-10T00:00:00Z,1.00,2,12,180\r\n"
        );
        store.close().await;
    });
}

/// Not a test of speed in itself: `cargo test -p store -- --ignored --nocapture a_year` says the figures.
#[test]
#[ignore = "makes a database of hundreds of megabytes"]
fn a_year_of_fifty_mounts() {
    let folder = Folder::new();
    let (store, _) = open(&folder.database());
    run(store.close());
    let now = at("2026-08-10T12:34:30Z");
    let sql = folder.sql();
    let made = std::time::Instant::now();
    sql.execute_batch("PRAGMA synchronous = OFF; BEGIN").unwrap();
    {
        let mut insert = sql
            .prepare("INSERT INTO listener_histories (mount,listeners,bytes_in,bytes_out,timestamp) VALUES (?,?,?,?,?)")
            .unwrap();
        let mut row = |minute: i64| {
            let time = (now - minutes(minute))
                .strftime("%Y-%m-%d %H:%M:%S+00:00")
                .to_string();
            let bytes = (600_000 - minute) * 1_000_000;
            for mount in 0..50 {
                let listeners = 100 + (minute / 60 + mount) % 50;
                insert
                    .execute((format!("/mount{mount}"), listeners, bytes, bytes * 3, &time))
                    .unwrap();
            }
        };
        // As after a year: hourly rows, and every minute of the last month.
        (1..=335)
            .rev()
            .for_each(|day| (0..24).for_each(|hour| row((day + 30) * 1_440 - hour * 60)));
        (0..30 * 1_440).rev().for_each(row);
    }
    sql.execute_batch("COMMIT").unwrap();
    drop(sql);
    println!("made in {:?}", made.elapsed());
    let (store, _) = open(&folder.database());
    run(async {
        let began = std::time::Instant::now();
        store.tidy(now).await;
        println!("summed up and tidied in {:?}", began.elapsed());
        store.sample(vec![sample("/mount1", 1, 0, 0)], now);
        let began = std::time::Instant::now();
        store.flush().await;
        println!("one sample in {:?}", began.elapsed());
        for round in ["first", "second"] {
            let began = std::time::Instant::now();
            let traffic = store.traffic(None, now).await.unwrap();
            println!(
                "{round} traffic in {:?}, {} mounts",
                began.elapsed(),
                traffic.year.mounts
            );
            for (hours, points) in [
                (24, 200),
                (24, 2_000),
                (24 * 7, 200),
                (24 * 7, 2_000),
                (24 * 30, 200),
                (24 * 30, 2_000),
                (8_760, 200),
            ] {
                let query = InsightsQuery {
                    mounts: None,
                    from: now - crate::hours(hours),
                    to: now,
                    resolution: Resolution::Points(points),
                };
                let began = std::time::Instant::now();
                let insights = store.insights(query).await.unwrap();
                let count: usize = insights.mounts.values().map(Vec::len).sum();
                println!(
                    "{round} insights of {hours} h: {count} points, step {:?}, in {:?}",
                    insights.step,
                    began.elapsed()
                );
            }
        }
        store.close().await;
    });
    println!(
        "{} MB",
        std::fs::metadata(folder.database()).unwrap().len() / 1_000_000
    );
}
