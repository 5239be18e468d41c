//! What must not be reachable is not reached, by whatever way.

use std::sync::Arc;

use webhook::{Event, Status, Webhooks};

use crate::receiver::{Names, Receiver, client, connect, facts, hook, start, status, until};

/// Tells one hook something and yields why it failed.
async fn failure(webhooks: &Webhooks) -> String {
    webhooks.tell(connect("/a"));
    until(|| {
        let records = webhooks.deliveries("wh_1").unwrap();
        records
            .iter()
            .any(|record| matches!(record.status, Status::Failed | Status::Delivered))
    })
    .await;
    let record = webhooks.deliveries("wh_1").unwrap().remove(0);
    assert_eq!((record.status, record.attempts), (Status::Failed, 1));
    record.error.unwrap()
}

#[tokio::test]
async fn names_that_lead_inside() {
    let receiver = Receiver::start(&[crate::OK]).await;
    for addr in [
        "127.0.0.1",
        "10.0.0.1",
        "::1",
        "::ffff:10.0.0.1",
        "169.254.169.254",
    ] {
        let names = Names::new(&[("hooks.example", &[addr])]);
        let webhooks = Webhooks::start(
            client(&[]).with_resolver(names),
            facts(),
            vec![hook(
                "wh_1",
                format!("http://hooks.example:{}/", receiver.port),
                &[Event::SourceConnect],
            )],
            Arc::new(()),
            Vec::new(),
        );
        let told = failure(&webhooks).await;
        assert!(
            told.starts_with(&format!("hooks.example resolves to {addr}")),
            "{told}"
        );
        assert!(told.contains("outbound_allow_webhooks"), "{told}");
    }
    assert_eq!(receiver.asked().len(), 0);
}

#[tokio::test]
async fn names_that_change_their_mind() {
    // The first answer passes and cannot be reached; the second, for the retry, must not be dialled.
    let receiver = Receiver::start(&[&status("500 No", "", "")]).await;
    let names = Names::new(&[("hooks.example", &["127.0.0.1", "10.0.0.1"])]);
    let webhooks = Webhooks::start(
        client(&["127.0.0.1/32"]).with_resolver(names),
        facts(),
        vec![hook(
            "wh_1",
            format!("http://hooks.example:{}/", receiver.port),
            &[Event::SourceConnect],
        )],
        Arc::new(()),
        Vec::new(),
    );
    webhooks.tell(connect("/a"));
    until(|| webhooks.deliveries("wh_1").unwrap()[0].status == Status::Retrying).await;
    crate::skip(2 * crate::SECOND).await;
    until(|| webhooks.deliveries("wh_1").unwrap()[0].status == Status::Failed).await;
    let error = webhooks.deliveries("wh_1").unwrap().remove(0).error.unwrap();
    assert!(error.starts_with("hooks.example resolves to 10.0.0.1"), "{error}");
    assert_eq!(receiver.asked().len(), 1);
}

#[tokio::test]
async fn redirects_that_lead_inside() {
    let inside = Receiver::start(&[crate::OK]).await;
    for (location, expected) in [
        (
            format!("http://127.0.0.2:{}/", inside.port),
            "127.0.0.2 is a loopback address",
        ),
        (
            format!("http://[::1]:{}/", inside.port),
            "::1 is a loopback address",
        ),
        (
            format!("http://localhost:{}/", inside.port),
            "cannot look up localhost",
        ),
        (
            "http://169.254.169.254/".to_owned(),
            "169.254.169.254 is a cloud metadata address",
        ),
        (
            "gopher://hooks.example/".to_owned(),
            "scheme \"gopher\" not allowed",
        ),
    ] {
        let redirect = status("302 Found", &format!("Location: {location}\r\n"), "");
        let receiver = Receiver::start(&[&redirect]).await;
        let webhooks = start(&[hook("wh_1", receiver.url(), &[Event::SourceConnect])]);
        let outcome = webhooks
            .test(&hook("wh_1", receiver.url(), &[]), Event::SourceConnect)
            .await;
        let told = outcome.error.unwrap();
        assert!(told.starts_with(expected), "{told}");
        assert_eq!((outcome.status, receiver.asked().len()), ("failed", 1));
    }
    assert_eq!(inside.asked().len(), 0);
}
