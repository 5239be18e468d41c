//! Attempts, and attempts that are made to see what happens.

use std::time::Duration;

use webhook::{Event, Status};

use crate::receiver::{OK, Receiver, connect, hook, skip, start, status, track, until};

const EVENTS: &[Event] = &[Event::SourceConnect, Event::NowPlaying];

#[tokio::test]
async fn retries_carry_the_same_delivery() {
    let unwilling = status("500 Internal Server Error", "", "");
    let receiver = Receiver::start(&[&unwilling, &unwilling, &unwilling, OK]).await;
    let webhooks = start(&[hook("wh_1", receiver.url(), EVENTS)]);
    webhooks.tell(connect("/a"));
    for (attempts, wait) in [(1, 1), (2, 5), (3, 30)] {
        receiver.asked_times(attempts).await;
        let waits = || {
            let record = &webhooks.deliveries("wh_1").unwrap()[0];
            record.status == Status::Retrying && record.attempts as usize == attempts
        };
        until(waits).await;
        // Not before its time; the jitter is at most a fifth.
        skip(Duration::from_millis(wait * 1000 - 500)).await;
        assert_eq!((waits(), receiver.asked().len()), (true, attempts));
        skip(Duration::from_millis(wait * 200 + 600)).await;
    }
    let asked = receiver.asked_times(4).await;
    assert!(
        asked
            .iter()
            .all(|request| request.delivery() == asked[0].delivery())
    );
    assert!(asked.iter().all(|request| request.body() == asked[0].body()));
    until(|| webhooks.state("wh_1").unwrap().queued == 0).await;
    let record = &webhooks.deliveries("wh_1").unwrap()[0];
    assert_eq!(
        (record.status, record.attempts, record.http_status),
        (Status::Delivered, 4, Some(200))
    );
    assert_eq!(record.id, asked[0].delivery());
}

#[tokio::test]
async fn given_up_after_the_last_wait() {
    let receiver = Receiver::start(&[&status("503 Busy", "", "try later")]).await;
    let webhooks = start(&[hook("wh_1", receiver.url(), EVENTS)]);
    webhooks.tell(connect("/a"));
    for attempts in 1..6 {
        until(|| webhooks.deliveries("wh_1").unwrap()[0].attempts == attempts).await;
        skip(Duration::from_secs(721)).await;
    }
    until(|| webhooks.state("wh_1").unwrap().queued == 0).await;
    let record = &webhooks.deliveries("wh_1").unwrap()[0];
    assert_eq!((record.status, record.attempts), (Status::Failed, 6));
    assert_eq!(record.error.as_deref(), Some("503 Busy: try later"));
    assert_eq!(receiver.asked().len(), 6);
}

#[tokio::test]
async fn a_refusal_is_not_repeated() {
    let echo = status("400 Bad Request", "", "bad Authorization: Bearer abcdef123");
    let receiver = Receiver::start(&[&echo]).await;
    let mut with_token = hook("wh_1", receiver.url(), EVENTS);
    with_token
        .headers
        .insert("Authorization".to_owned(), "Bearer abcdef123".to_owned());
    let webhooks = start(&[with_token]);
    webhooks.tell(connect("/a"));
    until(|| {
        webhooks
            .deliveries("wh_1")
            .unwrap()
            .first()
            .is_some_and(|record| record.status == Status::Failed)
    })
    .await;
    let record = &webhooks.deliveries("wh_1").unwrap()[0];
    assert_eq!(
        record.error.as_deref(),
        Some("400 Bad Request: bad Authorization: ***")
    );
    assert_eq!((record.attempts, receiver.asked().len()), (1, 1));
}

#[tokio::test]
async fn a_broken_template_sends_nothing() {
    let receiver = Receiver::start(&[OK]).await;
    let mut broken = hook("wh_1", receiver.url(), EVENTS);
    broken.body_template = "{{index .Mount 99}}".to_owned();
    let webhooks = start(&[broken]);
    webhooks.tell(connect("/a"));
    until(|| webhooks.deliveries("wh_1").unwrap()[0].status == Status::Failed).await;
    let record = &webhooks.deliveries("wh_1").unwrap()[0];
    assert_eq!(
        record.error.as_deref(),
        Some("template error: line 1: index out of range: 99")
    );
    assert_eq!((record.attempts, receiver.asked().len()), (0, 0));
}

#[tokio::test]
async fn the_receiver_can_ask_for_time() {
    let busy = status("429 Too Many Requests", "Retry-After: 60\r\n", "");
    let receiver = Receiver::start(&[&busy, OK]).await;
    let webhooks = start(&[hook("wh_1", receiver.url(), EVENTS)]);
    webhooks.tell(connect("/a"));
    let waits = || webhooks.deliveries("wh_1").unwrap()[0].status == Status::Retrying;
    until(waits).await;
    skip(Duration::from_secs(59)).await;
    assert_eq!((waits(), receiver.asked().len()), (true, 1));
    // Other mounts do not wait along.
    webhooks.tell(connect("/b"));
    assert!(receiver.asked_times(2).await[1].body().contains("/b"));
    skip(Duration::from_secs(14)).await;
    assert!(receiver.asked_times(3).await[2].body().contains("/a"));
}

#[tokio::test]
async fn a_track_that_is_over_is_not_repeated() {
    let receiver = Receiver::start(&[&status("500 No", "", ""), OK]).await;
    let webhooks = start(&[hook("wh_1", receiver.url(), EVENTS)]);
    webhooks.tell(track("/a", "first"));
    until(|| webhooks.deliveries("wh_1").unwrap()[0].status == Status::Retrying).await;
    webhooks.tell(track("/a", "second"));
    let asked = receiver.asked_times(2).await;
    assert!(asked[1].body().contains("second"));
    until(|| webhooks.state("wh_1").unwrap().queued == 0).await;
    let statuses: Vec<_> = webhooks
        .deliveries("wh_1")
        .unwrap()
        .iter()
        .map(|record| record.status)
        .collect();
    assert_eq!(statuses, [Status::Delivered, Status::Superseded]);
}

#[tokio::test]
async fn tests_show_what_was_sent_and_answered() {
    let long = "ü".repeat(3000);
    let receiver = Receiver::start(&[&status("201 Created", "", &long)]).await;
    let webhooks = start(&[]);
    let mut tested = hook("wh_1", receiver.url().replace("//", "//user:geheim1@"), &[]);
    tested.enabled = false;
    tested.secret = "geheim2".to_owned();
    tested.body_template = "{{.Title}}".to_owned();
    tested
        .headers
        .insert("X-Api-Key".to_owned(), "geheim3".to_owned());
    tested.headers.insert("Title".to_owned(), "{{.Mount}}".to_owned());
    let outcome = webhooks.test(&tested, Event::NowPlaying).await;
    let tree = serde_json::to_value(&outcome).unwrap();
    assert_eq!(
        (
            &tree["status"],
            &tree["event"],
            &tree["http_status"],
            &tree["error"]
        ),
        (
            &"ok".into(),
            &"now_playing".into(),
            &201.into(),
            &serde_json::Value::Null
        )
    );
    assert_eq!(outcome.response_body, "ü".repeat(2048));
    let request = outcome.request.as_ref().unwrap();
    assert_eq!(
        (request.method.as_str(), request.body.as_str()),
        ("POST", "Example Song")
    );
    assert_eq!(request.url, receiver.url().replace("//", "//user:***@"));
    assert_eq!(request.headers["title"], "/live");
    assert_eq!(request.headers["x-api-key"], "***");
    assert!(!tree.to_string().contains("geheim"), "{tree}");
    // The receiver got what is masked here.
    let asked = receiver.asked();
    assert_eq!(asked[0].header("X-Api-Key"), Some("geheim3"));
    assert_eq!(asked[0].header("Authorization"), Some("Basic dXNlcjpnZWhlaW0x"));
    assert_eq!(asked[0].delivery(), request.headers["x-tinyice-delivery"]);
}

#[tokio::test]
async fn tests_end_after_ten_seconds() {
    let receiver = Receiver::start(&[""]).await;
    let webhooks = start(&[]);
    let tested = hook("wh_1", receiver.url(), &[]);
    let testing = webhooks.test(&tested, Event::DiskLow);
    let time = async {
        receiver.asked_times(1).await;
        skip(Duration::from_secs(11)).await;
    };
    let (outcome, ()) = tokio::join!(testing, time);
    assert_eq!((outcome.status, outcome.http_status), ("failed", None));
    assert!(outcome.error.unwrap().starts_with("not finished within 10 s"));
}

#[tokio::test]
async fn tests_of_hooks_that_cannot_be_sent() {
    let webhooks = start(&[]);
    let mut broken = hook("wh_1", "http://127.0.0.1/".to_owned(), &[]);
    broken.body_template = "{{foo}}".to_owned();
    let outcome = webhooks.test(&broken, Event::NowPlaying).await;
    assert_eq!((outcome.status, outcome.request), ("failed", None));
    assert_eq!(
        outcome.error.as_deref(),
        Some("template error: line 1: function \"foo\" not defined")
    );
}
