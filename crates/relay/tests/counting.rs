//! What is counted, and that no secret of an upstream or a directory is ever told, in a process of its own: one test,
//! one thing after the other.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "calls/world.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod world;

use std::{sync::Arc, time::Duration};

use config::Relay;
use observe::metrics::{Format, register, render};
use relay::{
    Announcing, Phase,
    metrics::{ALL, PULLS, Pulled, REPORTS, Reported},
    report,
};
use tokio::sync::watch;
use world::{OK, Server, World, client, frame, name, send};

/// A password and a token that must not be found anywhere.
const SECRET: &str = "hunter2-marker";

const LISTED: &str = "HTTP/1.1 200 OK\r\nYPResponse: 1\r\nSID: 77\r\nTouchFreq: 200\r\n\r\n";
const REFUSED: &str = "HTTP/1.1 200 OK\r\nYPResponse: 0\r\nYPMessage: go away\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn everything_is_counted_and_no_secret_is_told() {
    pulls().await;
    reports().await;
    register(ALL);
    let text = render(Format::Text);
    assert!(
        text.contains("tinyice_relay_pulls_total{result=\"connected\"} 1\n"),
        "{text}"
    );
    assert!(
        text.contains("tinyice_directory_reports_total{result=\"refused\"} 1\n"),
        "{text}"
    );

    let records = observe::recent();
    assert!(records.len() > 8);
    for text in records.iter().flat_map(|record| [record.json(), record.text()]) {
        assert!(!text.contains(SECRET) && !text.contains("aHVudGVy"), "{text}");
    }
}

/// Each attempt is counted once, by its result.
async fn pulls() {
    let elsewhere =
        format!("HTTP/1.1 302 Found\r\nLocation: http://u:{SECRET}@10.0.0.1/?token={SECRET}\r\n\r\n");
    let document = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n";
    for (answer, phase, result) in [
        ("HTTP/1.0 401 Unauthorized\r\n\r\n", Phase::Failed, Pulled::Status),
        ("HTTP/1.1 508 Loop Detected\r\n\r\n", Phase::Failed, Pulled::Loop),
        (document, Phase::Failed, Pulled::NotAStream),
        (&elsewhere, Phase::Failed, Pulled::Unreachable),
        ("", Phase::Failed, Pulled::Unreachable),
        (OK, Phase::Connected, Pulled::Connected),
    ] {
        let server = Server::start([vec![send(answer), world::Act::Hold]]).await;
        let acts = if answer.is_empty() {
            vec![]
        } else {
            vec![send(answer), world::Act::Hold]
        };
        server.play(acts);
        let mut world = World::new();
        let url = format!("http://u:{SECRET}@{}/up?token={SECRET}", server.address);
        let relay = Relay {
            password: SECRET.into(),
            ..Relay::new(url, name("/live"))
        };
        let before = PULLS.of(result).get();
        world.apply(&[relay]).await;
        world.until_phase("/live", phase).await;
        assert_eq!(PULLS.of(result).get(), before + 1, "{result:?}");
        assert!(server.asked()[0].head.contains("Basic "));
        world.pulls.stop().await;
    }
    // What cannot even be tried.
    let mut world = World::new();
    world
        .apply(&[Relay::new(format!("ftp://u:{SECRET}@h/"), name("/live"))])
        .await;
    world.until_phase("/live", Phase::Failed).await;
    let total: u64 = PULLS.all().iter().map(|counter| counter.get()).sum();
    assert_eq!(total, 6);
}

/// Each answer of a directory is counted, and each failure.
async fn reports() {
    for (answer, result) in [
        (LISTED, Reported::Ok),
        (REFUSED, Reported::Refused),
        ("", Reported::Failed),
    ] {
        let directory = Server::start([vec![send(answer)]]).await;
        let world = World::new();
        let url = format!("http://u:{SECRET}@{}/yp?key={SECRET}", directory.address);
        let announcing = watch::Sender::new(Arc::new(Announcing {
            client: client(&["127.0.0.1"]),
            directories: vec![url.parse().unwrap()],
            base: "http://radio.example:8000".into(),
            page_title: "TinyIce".into(),
        }));
        let reporting = tokio::spawn(report(
            Arc::clone(&world.mounts),
            announcing.subscribe(),
            std::future::pending(),
        ));
        let mut claim = world.encoder("/live");
        frame(&mut claim);
        world
            .pass_until("the report", || REPORTS.of(result).get() == 1)
            .await;
        reporting.abort();
        world.pass(Duration::from_secs(1)).await;
    }
    let total: u64 = REPORTS.all().iter().map(|counter| counter.get()).sum();
    assert_eq!(total, 3);
}
