//! What is not delivered when the server ends is delivered when it runs again.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use webhook::{Event, Status, Webhooks};

use crate::receiver::{Kept, OK, Receiver, client, connect, facts, hook, status, track, until};

const EVENTS: &[Event] = &[Event::SourceConnect, Event::NowPlaying];

fn start(receiver: &Receiver, kept: &Arc<Kept>) -> Webhooks {
    let hooks = vec![hook("wh_1", receiver.url(), EVENTS)];
    let left = kept.left();
    Webhooks::start(
        client(&["127.0.0.1/32"]),
        facts(),
        hooks,
        Arc::<Kept>::clone(kept),
        left,
    )
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(15)
}

#[tokio::test]
async fn undelivered_ones_survive() {
    let kept = Arc::new(Kept::default());
    let receiver = Receiver::start(&[&status("500 No", "", "")]).await;
    let before = start(&receiver, &kept);
    before.tell(connect("/a"));
    until(|| before.deliveries("wh_1").unwrap()[0].status == Status::Retrying).await;
    before.tell(connect("/b"));
    before.finish(soon()).await;
    // Each was tried once; the end of the server is no reason to try anything again.
    let asked = receiver.asked();
    assert_eq!((asked.len(), kept.left().len()), (2, 2));
    // What happens while the server ends is kept too.
    before.tell(connect("/c"));
    assert_eq!(kept.left().len(), 3);
    drop(before);

    receiver.answer_from_now_on(OK);
    let after = start(&receiver, &kept);
    let all = receiver.asked_times(5).await;
    let mounts: Vec<_> = ["/a", "/b", "/c"]
        .iter()
        .map(|mount| all[2..].iter().position(|request| request.body().contains(mount)))
        .collect();
    assert_eq!(mounts, [Some(0), Some(1), Some(2)]);
    assert_eq!(
        (all[2].delivery(), all[3].delivery()),
        (asked[0].delivery(), asked[1].delivery())
    );
    assert_eq!(all[2].body(), asked[0].body());
    until(|| kept.left().is_empty()).await;
    let records = after.deliveries("wh_1").unwrap();
    assert_eq!(
        records.iter().map(|record| record.attempts).collect::<Vec<_>>(),
        [1, 2, 2]
    );
}

#[tokio::test]
async fn delivered_ones_are_forgotten() {
    let kept = Arc::new(Kept::default());
    let receiver = Receiver::start(&[OK]).await;
    let webhooks = start(&receiver, &kept);
    for _ in 0..20 {
        webhooks.tell(connect("/a"));
    }
    assert_eq!(kept.left().len(), 20);
    webhooks.finish(soon()).await;
    assert_eq!((receiver.asked().len(), kept.left().len()), (20, 0));
}

#[tokio::test]
async fn finishing_ends_in_time() {
    let kept = Arc::new(Kept::default());
    let receiver = Receiver::start(&[""]).await;
    let webhooks = start(&receiver, &kept);
    webhooks.tell(connect("/a"));
    webhooks.tell(connect("/a"));
    receiver.asked_times(1).await;
    let began = Instant::now();
    webhooks.finish(began + Duration::from_millis(50)).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!((receiver.asked().len(), kept.left().len()), (1, 2));
}

#[tokio::test]
async fn what_is_of_no_use_is_forgotten() {
    let kept = Arc::new(Kept::default());
    let gone = Receiver::start(&[""]).await;
    let webhooks = start(&gone, &kept);
    webhooks.tell(track("/a", "old"));
    webhooks.tell(connect("/a"));
    webhooks.finish(Instant::now()).await;
    let mut left = kept.left();
    for (_, value) in &mut left {
        let mut tree: serde_json::Value = serde_json::from_slice(value).unwrap();
        match tree["event"].as_str() {
            // An hour ago it was news.
            Some("now_playing") => {
                tree["at"] = jiff::Timestamp::now()
                    .saturating_sub(Duration::from_secs(3600))
                    .unwrap()
                    .to_string()
                    .into();
            }
            _ => tree["hook"] = "wh_removed".into(),
        }
        *value = tree.to_string().into_bytes();
    }
    left.push(("rubbish".to_owned(), b"rubbish".to_vec()));
    let hooks = vec![hook("wh_1", gone.url(), EVENTS)];
    let after = Webhooks::start(client(&[]), facts(), hooks, Arc::<Kept>::clone(&kept), left);
    assert_eq!(after.state("wh_1").unwrap().queued, 0);
    assert_eq!(kept.left().len(), 0);
}
