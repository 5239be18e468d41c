//! What is counted about requests, in a process of its own: one test, one thing after the other.

#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "exchanges/upstream.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod upstream;

use observe::metrics::{Format, register, render};
use outbound::metrics::{ALL, Outcome, REQUEST_DURATION, REQUESTS};
use outbound::{Limits, Request};
use upstream::{Names, Upstream, client};

#[tokio::test]
async fn requests_are_counted_by_result() {
    let names = Names::new(&[("radio.example", &["127.0.0.1"])]);
    let redirect = "HTTP/1.1 302 Found\r\nLocation: http://:PORT/\r\n\r\n";
    for (answer, host, allow, expected) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "radio.example",
            true,
            Outcome::Ok,
        ),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "radio.example",
            true,
            Outcome::Status,
        ),
        ("", "radio.example", false, Outcome::Policy),
        ("", "unknown.example", true, Outcome::Resolve),
        ("nonsense\r\n\r\n", "radio.example", true, Outcome::Broken),
        (redirect, "radio.example", true, Outcome::Redirect),
    ] {
        let upstream = Upstream::start(&[answer]).await;
        let allowed: &[&str] = if allow { &["127.0.0.1"] } else { &[] };
        let url = upstream.url(host, "/").parse().unwrap();
        let _ = client(allowed, &names)
            .send(Request::get(url, Limits::relay()))
            .await;
        assert_eq!(REQUESTS.of(expected).get(), 1, "{expected:?}");
    }
    assert_eq!(REQUEST_DURATION.snapshot().count(), 6);
    register(ALL);
    let text = render(Format::Text);
    assert!(
        text.contains("tinyice_outbound_requests_total{result=\"status\"} 1\n"),
        "{text}"
    );
    assert!(
        text.contains("tinyice_outbound_request_duration_seconds_count 6\n"),
        "{text}"
    );
}
