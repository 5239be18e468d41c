//! What the front counts, in a process of its own so that nobody else counts: one test, one thing after the other.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;
use front::metrics::{
    ALL, CONNECTIONS, Class, REJECTED, REQUEST_DURATION, REQUESTS, Rejection, Template, Verb,
};
use front::{Exchange, Handler, Handling, Limits, Listening, Outcome, Request, Sockets};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use observe::metrics::{Format, register, render};
use observe::{Value, span};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A password that must not be found anywhere.
const SECRET: &str = "hunter2-marker";

observe::event! { struct Handled<'a> { path: &'a str } = Info "test_handled": "Handled" }

#[derive(Default)]
struct Stage {
    banned: AtomicBool,
    limit: AtomicU32,
}

impl Handler for Stage {
    fn admit(&self, _: IpAddr) -> bool {
        !self.banned.load(Ordering::Relaxed)
    }

    fn connection_limit(&self, _: IpAddr) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    fn handle<'a>(&'a self, request: Request, exchange: Exchange) -> Handling<'a> {
        Box::pin(async move {
            observe::emit(Handled { path: request.path() });
            match request.path() {
                "/raw" => {
                    let mut raw = exchange.into_raw();
                    raw.stream
                        .write_all(b"ICY 200 OK\r\n\r\n")
                        .await
                        .expect("a client");
                    raw.stream.shutdown().await.expect("a client");
                    Outcome::taken()
                }
                "/gone" => exchange.close(),
                "/events" => {
                    let mut response = Response::new(Full::new(Bytes::from_static(b"data: x\n\n")));
                    response
                        .headers_mut()
                        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
                    exchange.respond(response).await
                }
                "/metrics" => {
                    exchange
                        .respond(front::text(StatusCode::INTERNAL_SERVER_ERROR, "no"))
                        .await
                }
                _ => exchange.respond(front::text(StatusCode::NOT_FOUND, "no")).await,
            }
        })
    }
}

async fn send(address: SocketAddr, bytes: &str) {
    let mut stream = TcpStream::connect(address).await.expect("the server accepts");
    // A server that turns us away may have closed already.
    let _ = stream.write_all(bytes.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
}

fn durations(template: Template) -> u64 {
    REQUEST_DURATION.of(template).snapshot().count()
}

fn serve(stage: &Arc<Stage>, limits: Limits) -> SocketAddr {
    let listening = Listening::bind(&Sockets {
        host: "127.0.0.1".to_owned(),
        port: 0,
    })
    .expect("a free port");
    let address = listening.local_addrs()[0];
    let handler: Arc<dyn Handler> = stage.clone();
    tokio::spawn(front::serve(listening, handler, limits, std::future::pending()));
    address
}

/// The server notices departures in its own time.
async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn everything_is_counted_once() {
    let stage = Arc::new(Stage::default());
    let address = serve(&stage, Limits::default());
    let basic = "Authorization: Basic aHVudGVyMi1tYXJrZXI6aHVudGVyMi1tYXJrZXI=\r\n";

    // What is sent, how it is counted, and whether it has a duration.
    for (request, template, verb, class, timed) in [
        (
            "GET /live HTTP/1.0\r\n\r\n",
            Template::Listener,
            Verb::Get,
            Class::ClientError,
            true,
        ),
        (
            "HEAD /live HTTP/1.0\r\n\r\n",
            Template::Listener,
            Verb::Head,
            Class::ClientError,
            true,
        ),
        (
            "GET /raw HTTP/1.0\r\n\r\n",
            Template::Listener,
            Verb::Get,
            Class::Success,
            false,
        ),
        (
            "SOURCE /raw ICE/1.0\r\n\r\n",
            Template::Source,
            Verb::Source,
            Class::Success,
            false,
        ),
        (
            "PUT /other HTTP/1.0\r\n\r\n",
            Template::Source,
            Verb::Put,
            Class::ClientError,
            true,
        ),
        (
            "GET /gone HTTP/1.0\r\n\r\n",
            Template::Listener,
            Verb::Get,
            Class::None,
            false,
        ),
        (
            "GET /events HTTP/1.0\r\n\r\n",
            Template::Events,
            Verb::Get,
            Class::Success,
            false,
        ),
        (
            "GET /metrics HTTP/1.0\r\n\r\n",
            Template::Metrics,
            Verb::Get,
            Class::ServerError,
            true,
        ),
        (
            "BREW /pot HTTP/1.0\r\n\r\n",
            Template::MethodNotAllowed,
            Verb::Other,
            Class::ClientError,
            true,
        ),
        (
            &format!("GET /admin/metadata?pass={SECRET} HTTP/1.0\r\n{basic}\r\n"),
            Template::Metadata,
            Verb::Get,
            Class::ClientError,
            true,
        ),
    ] {
        let counter = REQUESTS.of((template, verb, class));
        let before = (counter.get(), durations(template));
        send(address, request).await;
        let after = (before.0 + 1, before.1 + u64::from(timed));
        until(|| counter.get() >= after.0 && durations(template) >= after.1).await;
        assert_eq!((counter.get(), durations(template)), after, "{request}");
    }
    let all: u64 = REQUESTS.all().iter().map(|counter| counter.get()).sum();
    assert_eq!(all, 10, "nothing was counted twice");

    // Whoever is turned away is no request.
    let long = format!("GET /{} HTTP/1.0\r\n\r\n", "x".repeat(70_000));
    for (bytes, reason) in [
        ("\x16\x03\x01", Rejection::BadHead),
        (&long, Rejection::TooLarge),
        ("GET / HTTP/2.0\r\n\r\n", Rejection::Unsupported),
    ] {
        send(address, bytes).await;
        assert_eq!(REJECTED.of(reason).get(), 1, "{reason:?}");
    }
    let impatient = Limits {
        head_time: std::time::Duration::from_millis(50),
        ..Limits::default()
    };
    send(serve(&stage, impatient), "GET / HT").await;
    assert_eq!(REJECTED.of(Rejection::Timeout).get(), 1);
    stage.banned.store(true, Ordering::Relaxed);
    send(address, "GET / HTTP/1.0\r\n\r\n").await;
    stage.banned.store(false, Ordering::Relaxed);
    stage.limit.store(1, Ordering::Relaxed);
    until(|| CONNECTIONS.get() == 0.0).await;
    let mut held = TcpStream::connect(address).await.expect("the server accepts");
    held.write_all(b"GET /live HTTP/1.1\r\n\r\n").await.expect("open");
    held.read_exact(&mut [0; 12]).await.expect("an answer");
    assert_eq!(CONNECTIONS.get(), 1.0);
    send(address, "GET / HTTP/1.0\r\n\r\n").await;
    drop(held);
    until(|| CONNECTIONS.get() == 0.0).await;
    assert_eq!(REJECTED.of(Rejection::Banned).get(), 1);
    assert_eq!(REJECTED.of(Rejection::Full).get(), 1);

    // Lines of one connection have one id, of two connections two; administration is a span of its own.
    let two = "GET /one HTTP/1.1\r\n\r\nGET /admin/stats HTTP/1.0\r\n\r\n";
    send(address, two).await;
    send(address, "GET /three HTTP/1.0\r\n\r\n").await;
    let id_of = |path: &str| {
        let records = observe::recent();
        let record = records
            .iter()
            .find(|record| record.name == "test_handled" && record.field("path") == Some(&Value::text(path)));
        let record = record.expect("it was handled");
        record.field("span").cloned().expect("it belongs to a connection")
    };
    assert_eq!(id_of("/one"), id_of("/admin/stats"));
    assert_ne!(id_of("/one"), id_of("/three"));
    until(|| {
        span::recent()
            .iter()
            .any(|span| attribute(span, "route") == Some("/admin/stats".into()))
    })
    .await;
    let spans = span::recent();
    let requests: Vec<_> = spans.iter().filter(|span| span.name == "request").collect();
    let routes: Vec<_> = requests
        .iter()
        .filter_map(|span| attribute(span, "route"))
        .collect();
    assert_eq!(routes, ["/metrics", "/admin/metadata", "/admin/stats"]);
    assert!(requests.iter().all(|span| span.parent.is_some()));
    assert_eq!(attribute(requests[2], "status"), Some("404".into()));

    // What clients send as secrets is nowhere.
    let records = observe::recent();
    assert!(records.len() > 10);
    for text in records.iter().flat_map(|record| [record.json(), record.text()]) {
        assert!(!text.contains(SECRET) && !text.contains("aHVudGVy"), "{text}");
    }
    for span in &spans {
        let text = format!("{span:?}");
        assert!(!text.contains(SECRET) && !text.contains("aHVudGVy"), "{text}");
    }

    // A scrape shows just what occurred.
    register(ALL);
    let text = render(Format::Text);
    let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(series("tinyice_http_requests_total{"), 11, "{text}");
    assert!(
        text.contains("tinyice_http_requests_total{route=\"listener\",method=\"GET\",status=\"none\"} 1\n")
    );
    assert!(text.contains("tinyice_connections_rejected_total{reason=\"banned\"} 1\n"));
    assert!(text.contains("tinyice_http_connections 0\n"));
}

fn attribute(span: &span::Finished, name: &str) -> Option<String> {
    let (_, value) = span.attributes.iter().find(|(key, _)| *key == name)?;
    Some(match value {
        Value::Unsigned(number) => number.to_string(),
        other => other.as_str()?.to_owned(),
    })
}
