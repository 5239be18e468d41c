//! What must not be reachable is not reached, whichever way it is named.

use outbound::{Failure, Limits, Policy, Refused, Request};

use crate::upstream::{Names, Upstream, client, told};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn send(client: &outbound::Client, url: &str) -> String {
    told(
        client
            .send(Request::get(url.parse().unwrap(), Limits::relay()))
            .await,
    )
    .await
}

#[tokio::test]
async fn loopback_is_not_dialled() {
    let upstream = Upstream::start(&[OK]).await;
    let names = Names::new(&[
        ("tricky.example", &["127.0.0.1"]),
        ("mapped.example", &["::ffff:127.0.0.1"]),
    ]);
    let closed = client(&[], &names);
    for (host, subject) in [
        ("127.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1"),
        ("tricky.example", "tricky.example resolves to 127.0.0.1, which"),
        (
            "mapped.example",
            "mapped.example resolves to ::ffff:127.0.0.1, which",
        ),
    ] {
        assert_eq!(
            send(&closed, &upstream.url(host, "/live")).await,
            format!(
                "failed: {subject} is a loopback address (to permit it, list it under \"outbound_allow\")"
            )
        );
    }
    assert!(
        send(&closed, &upstream.url("localhost", "/"))
            .await
            .starts_with("failed: localhost is this machine")
    );
    assert_eq!(upstream.asked(), [""; 0]);
    // The same server is reached as soon as the operator lists it.
    assert_eq!(
        send(
            &client(&["127.0.0.1"], &names),
            &upstream.url("127.0.0.1", "/live")
        )
        .await,
        "200 OK: ok"
    );
}

#[tokio::test]
async fn names_that_lead_inside() {
    let upstream = Upstream::start(&[OK]).await;
    let names = Names::new(&[
        ("inside.example", &["10.0.0.1"]),
        ("mixed.example", &["127.0.0.1", "10.0.0.1"]),
        ("cloud.example", &["169.254.169.254"]),
        ("nowhere.example", &[]),
    ]);
    let guarded = client(&["127.0.0.1/32"], &names);
    for (host, expected) in [
        (
            "inside.example",
            "inside.example resolves to 10.0.0.1, which is a private address (to permit it, list it under \"outbound_allow\")",
        ),
        // One bad address spoils the name, also when another one would do.
        (
            "mixed.example",
            "mixed.example resolves to 10.0.0.1, which is a private address (to permit it, list it under \"outbound_allow\")",
        ),
        (
            "cloud.example",
            "cloud.example resolves to 169.254.169.254, which is a cloud metadata address \
             (only the entry \"169.254.169.254/32\" under \"outbound_allow\" permits it)",
        ),
        (
            "nowhere.example",
            "cannot look up nowhere.example: it has no address",
        ),
        ("unknown.example", "cannot look up unknown.example: no such name"),
    ] {
        assert_eq!(
            send(&guarded, &upstream.url(host, "/")).await,
            format!("failed: {expected}")
        );
    }
    assert_eq!(upstream.asked(), [""; 0]);
}

#[tokio::test]
async fn redirects_that_lead_inside() {
    for (location, expected) in [
        (
            "http://169.254.169.254/latest/meta-data/",
            "169.254.169.254 is a cloud metadata address \
             (only the entry \"169.254.169.254/32\" under \"outbound_allow\" permits it)",
        ),
        (
            "http://[fd00::1]/",
            "fd00::1 is a unique local address (to permit it, list it under \"outbound_allow\")",
        ),
        (
            "//inside.example/",
            "inside.example resolves to 10.0.0.1, which is a private address (to permit it, list it under \"outbound_allow\")",
        ),
        (
            "file:///etc/passwd",
            "scheme \"file\" not allowed (only http/https)",
        ),
        (
            "gopher://public.example/",
            "scheme \"gopher\" not allowed (only http/https)",
        ),
    ] {
        let answer = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n");
        let upstream = Upstream::start(&[&answer]).await;
        let names = Names::new(&[
            ("public.example", &["127.0.0.1"]),
            ("inside.example", &["10.0.0.1"]),
        ]);
        let guarded = client(&["127.0.0.1/32"], &names);
        assert_eq!(
            send(&guarded, &upstream.url("public.example", "/live")).await,
            format!("failed: {expected}")
        );
        assert_eq!(upstream.asked().len(), 1);
    }
}

#[tokio::test]
async fn each_hop_looks_its_name_up_once() {
    let upstream = Upstream::start(&[
        "HTTP/1.1 302 Found\r\nLocation: http://second.example:PORT/\r\n\r\n",
        OK,
    ])
    .await;
    let names = Names::new(&[
        ("first.example", &["127.0.0.1"]),
        ("second.example", &["127.0.0.1"]),
    ]);
    assert_eq!(
        send(
            &client(&["127.0.0.1"], &names),
            &upstream.url("first.example", "/")
        )
        .await,
        "200 OK: ok"
    );
    assert_eq!(names.asked(), ["first.example", "second.example"]);
}

#[tokio::test]
async fn an_allowed_name_opens_nothing_else() {
    let upstream = Upstream::start(&["HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:PORT/\r\n\r\n"]).await;
    let names = Names::new(&[("master.lan", &["127.0.0.1"])]);
    let told = send(&client(&["master.lan"], &names), &upstream.url("master.lan", "/")).await;
    assert!(
        told.starts_with("failed: 127.0.0.1 is a loopback address"),
        "{told}"
    );
    assert_eq!(upstream.asked().len(), 1);
}

#[tokio::test]
async fn policies_are_changed_by_replacement() {
    let upstream = Upstream::start(&[OK]).await;
    let names = Names::new(&[]);
    let relay = client(&["127.0.0.1"], &names);
    let webhook = relay.clone().with_policy(Policy::for_webhooks(&[]));
    let url = upstream.url("127.0.0.1", "/");
    let refused = webhook
        .send(Request::get(url.parse().unwrap(), Limits::webhook()))
        .await
        .unwrap_err();
    assert!(matches!(
        &refused,
        Failure::Refused(Refused::Address {
            key: "outbound_allow_webhooks",
            ..
        })
    ));
    assert!(refused.is_lasting());
    assert_eq!(send(&relay, &url).await, "200 OK: ok");
}
