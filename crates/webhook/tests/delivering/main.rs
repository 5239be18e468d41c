//! Deliveries to real receivers on loopback.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod guard;
mod receiver;
mod restart;
mod trying;

use std::time::Duration;

use receiver::{OK, Receiver, client, connect, facts, hook, skip, start, status, title, track, until};
use serde_json::{Value, json};
use tokio::time::Instant;
use webhook::{Event, Notice, Status};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn the_wanted_events_arrive_in_order() {
    let receiver = Receiver::start(&[OK]).await;
    let mut disabled = hook("wh_off", receiver.url(), Event::ALL);
    disabled.enabled = false;
    let webhooks = start(&[
        hook(
            "wh_1",
            receiver.url(),
            &[Event::SourceConnect, Event::SourceDisconnect],
        ),
        disabled,
    ]);
    for _ in 0..3 {
        webhooks.tell(connect("/a"));
        webhooks.tell(Notice::sample(Event::DiskLow));
        webhooks.tell(Notice::sample(Event::SourceDisconnect));
    }
    let asked = receiver.asked_times(6).await;
    let events: Vec<_> = asked
        .iter()
        .map(|request| request.header("X-TinyIce-Event").unwrap())
        .collect();
    assert_eq!(
        events.iter().filter(|event| **event == "source_connect").count(),
        3
    );
    assert!(
        asked
            .iter()
            .all(|request| request.header("X-TinyIce-Webhook-ID") == Some("wh_1"))
    );
    let first: Value = serde_json::from_str(asked[0].body()).unwrap();
    assert_eq!(asked[0].line(), "POST /hook HTTP/1.1");
    assert_eq!(
        (&first["event"], &first["hostname"]),
        (&json!("source_connect"), &json!("radio.example"))
    );
    assert_eq!(first["data"], Value::Object(connect("/a").payload()));
    until(|| webhooks.state("wh_1").unwrap().queued == 0).await;
    let records = webhooks.deliveries("wh_1").unwrap();
    assert_eq!(records.len(), 6);
    assert!(
        records
            .iter()
            .all(|record| record.status == Status::Delivered && record.attempts == 1)
    );
    assert_eq!(webhooks.deliveries("wh_off"), Some(Vec::new()));
    assert_eq!(webhooks.deliveries("wh_2"), None);
}

#[tokio::test]
async fn one_that_hangs_does_not_delay_another() {
    let (hangs, answers) = (Receiver::start(&[""]).await, Receiver::start(&[OK]).await);
    let webhooks = start(&[
        hook("wh_1", hangs.url(), &[Event::SourceConnect]),
        hook("wh_2", answers.url(), &[Event::SourceConnect]),
    ]);
    let began = Instant::now();
    for _ in 0..5 {
        webhooks.tell(connect("/a"));
    }
    answers.asked_times(5).await;
    until(|| webhooks.state("wh_2").unwrap().queued == 0).await;
    assert!(began.elapsed() < 9 * SECOND);
    assert_eq!(
        (
            hangs.asked_times(1).await.len(),
            webhooks.state("wh_1").unwrap().queued
        ),
        (1, 5)
    );
}

#[tokio::test]
async fn telling_keeps_a_bounded_amount() {
    let hangs = Receiver::start(&[""]).await;
    let webhooks = start(&[hook("wh_1", hangs.url(), &[Event::SourceConnect])]);
    for _ in 0..1500 {
        webhooks.tell(connect("/a"));
    }
    let state = webhooks.state("wh_1").unwrap();
    assert_eq!((state.queued, state.dropped), (1000, 500));
    assert_eq!(webhooks.deliveries("wh_1").unwrap().len(), 100);
}

#[tokio::test]
async fn titles_are_told_once_per_second() {
    let receiver = Receiver::start(&[OK]).await;
    let webhooks = start(&[hook(
        "wh_1",
        receiver.url(),
        &[Event::MetadataUpdate, Event::SourceDisconnect],
    )]);
    let songs = |asked: Vec<receiver::Request>| -> Vec<String> {
        let bodies = asked
            .iter()
            .map(|request| serde_json::from_str::<Value>(request.body()).unwrap());
        bodies
            .map(|body| body["data"]["song"].as_str().unwrap_or("gone").to_owned())
            .collect()
    };
    for named in ["1", "1", "2", "3"] {
        webhooks.tell(title(named));
    }
    assert_eq!(songs(receiver.asked_times(1).await), ["1"]);
    until(|| webhooks.state("wh_1").unwrap().queued == 0).await;
    skip(SECOND).await;
    assert_eq!(songs(receiver.asked_times(2).await), ["1", "3"]);
    // What waits is told before the source goes.
    webhooks.tell(title("4"));
    webhooks.tell(Notice::sample(Event::SourceDisconnect));
    assert_eq!(songs(receiver.asked_times(4).await), ["1", "3", "4", "gone"]);
}

#[tokio::test]
async fn a_new_configuration_is_used_at_once() {
    let (old, new) = (
        Receiver::start(&[&status("500 No", "", "")]).await,
        Receiver::start(&[OK]).await,
    );
    let events = [Event::SourceConnect];
    let webhooks = start(&[hook("wh_1", old.url(), &events), hook("wh_2", old.url(), &events)]);
    webhooks.tell(connect("/a"));
    old.asked_times(2).await;
    let waits = |id| webhooks.deliveries(id).unwrap()[0].status == Status::Retrying;
    until(|| waits("wh_1") && waits("wh_2")).await;
    // What waited for the broken address goes to the new one; what was for a removed hook goes nowhere.
    let allowed = client(&["127.0.0.1/32"]);
    webhooks.reload(allowed.clone(), facts(), vec![hook("wh_1", new.url(), &events)]);
    assert_eq!(
        new.asked_times(1).await[0].delivery(),
        webhooks.deliveries("wh_1").unwrap()[0].id
    );
    assert_eq!(webhooks.deliveries("wh_2"), None);
    until(|| webhooks.state("wh_1").unwrap().queued == 0).await;
    let mut off = hook("wh_1", new.url(), &events);
    off.enabled = false;
    webhooks.reload(allowed.clone(), facts(), vec![off]);
    webhooks.tell(connect("/b"));
    webhooks.reload(allowed, facts(), vec![hook("wh_1", new.url(), &events)]);
    webhooks.tell(connect("/c"));
    assert!(new.asked_times(2).await[1].body().contains("/c"));
}

#[tokio::test]
async fn a_hook_that_fails_for_a_day_is_marked() {
    let receiver = Receiver::start(&[&status("404 Not Found", "", "")]).await;
    let webhooks = start(&[hook("wh_1", receiver.url(), &[Event::SourceConnect])]);
    let state = || webhooks.state("wh_1").unwrap();
    for _ in 0..60 {
        webhooks.tell(connect("/a"));
    }
    until(|| state().failures_in_a_row == 60).await;
    assert!(!state().failing);
    assert_eq!(state().last_error.as_deref(), Some("404 Not Found"));
    skip(24 * 3600 * SECOND).await;
    webhooks.tell(connect("/a"));
    until(|| state().failing).await;
    receiver.answer_from_now_on(OK);
    webhooks.tell(connect("/a"));
    until(|| !state().failing).await;
    assert_eq!((state().failures_in_a_row, state().failing_since), (0, None));
}

#[tokio::test]
async fn a_get_hook_sends_its_template_as_query() {
    let receiver = Receiver::start(&[OK]).await;
    let mut get = hook("wh_1", receiver.url(), &[Event::NowPlaying]);
    get.method = "GET".to_owned();
    get.body_template = "title={{urlencode .Title}}\n".to_owned();
    get.secret = "geheim".to_owned();
    let webhooks = start(&[get]);
    webhooks.tell(track("/a", "a b&c"));
    let asked = receiver.asked_times(1).await;
    assert_eq!(
        (asked[0].line(), asked[0].body()),
        ("GET /hook?title=a+b%26c HTTP/1.1", "")
    );
    let signature = asked[0].header("X-TinyIce-Signature").unwrap();
    let unix = signature[2..].split(',').next().unwrap().parse().unwrap();
    assert_eq!(signature, webhook::sign("geheim", unix, b""));
}
