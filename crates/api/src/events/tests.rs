//! Feeds through the real front over connections in memory, on virtual time.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use front::{Closing, Ends, Exchange, Handler, Handling, Phase, Request, route::Route};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::world::World;
use crate::{
    Api,
    metrics::{Feed, SSE_SKIPPED_TICKS},
};

struct Door(Arc<Api>);

impl Handler for Door {
    fn handle<'a>(&'a self, request: Request, exchange: Exchange) -> Handling<'a> {
        Box::pin(async move {
            match request.route() {
                Route::Options(options) => exchange.respond(front::route::options(options)).await,
                route => self.0.answer(route, request, exchange).await,
            }
        })
    }
}

struct Server {
    world: World,
    api: Arc<Api>,
    phase: watch::Sender<Phase>,
    closing: Closing,
}

impl Server {
    fn new(world: World) -> Self {
        let (phase, closing) = Closing::new();
        Self {
            api: Arc::new(world.api()),
            world,
            phase,
            closing,
        }
    }

    /// Sends a request from an address, over a connection that holds so many bytes in flight.
    async fn send(&self, from: &str, request: &str, space: usize) -> Reader {
        let (mut client, server) = tokio::io::duplex(space);
        let ends = Ends {
            peer: SocketAddr::new(from.parse().unwrap(), 1000),
            local: "192.0.2.1:8000".parse().unwrap(),
            secure: false,
        };
        tokio::spawn(front::converse(
            front::Stream::erased(server),
            ends,
            Arc::new(Door(Arc::clone(&self.api))),
            Arc::new(front::Limits::default()),
            self.closing.clone(),
        ));
        client.write_all(request.as_bytes()).await.unwrap();
        let mut reader = Reader {
            client,
            early: Vec::new(),
            head: String::new(),
        };
        reader.head = reader.take_to("\r\n\r\n").await.unwrap();
        reader
    }

    async fn get(&self, target: &str) -> Reader {
        self.get_as("192.0.2.9", target).await
    }

    async fn get_as(&self, from: &str, target: &str) -> Reader {
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        self.send(from, &request, 1 << 20).await
    }
}

struct Reader {
    client: DuplexStream,
    early: Vec<u8>,
    head: String,
}

#[derive(Debug, PartialEq)]
struct Got {
    name: String,
    data: Value,
    at: Instant,
}

impl Reader {
    /// Everything up to this text; nothing when the connection ends before.
    async fn take_to(&mut self, end: &str) -> Option<String> {
        loop {
            let found = self
                .early
                .windows(end.len())
                .position(|bytes| bytes == end.as_bytes());
            if let Some(at) = found {
                let rest = self.early.split_off(at + end.len());
                let text = std::mem::replace(&mut self.early, rest);
                return Some(String::from_utf8(text).unwrap());
            }
            if self.client.read_buf(&mut self.early).await.unwrap() == 0 {
                return None;
            }
        }
    }

    /// The next block of the stream: an event, a comment or another field, without the lines of chunks.
    async fn block(&mut self) -> Option<String> {
        let block = self.take_to("\n\n").await?;
        let is_chunk = |line: &&str| line.ends_with('\r') || line.is_empty();
        let lines: Vec<_> = block.split('\n').filter(|line| !is_chunk(line)).collect();
        Some(lines.join("\n"))
    }

    async fn event(&mut self) -> Got {
        loop {
            let block = self.block().await.expect("the feed goes on");
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            let Some(data) = field("data: ") else { continue };
            assert!(field("id: ").is_some(), "{block}");
            return Got {
                name: field("event: ").unwrap_or("message").to_owned(),
                data: serde_json::from_str(data).unwrap(),
                at: Instant::now(),
            };
        }
    }

    /// The next event of this name.
    async fn next(&mut self, name: &str) -> Got {
        loop {
            let event = self.event().await;
            if event.name == name {
                return event;
            }
        }
    }

    /// Everything until the server closes.
    async fn rest(mut self) -> String {
        let mut rest = std::mem::take(&mut self.early);
        self.client.read_to_end(&mut rest).await.unwrap();
        String::from_utf8(rest).unwrap()
    }

    fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

#[tokio::test(start_paused = true)]
async fn a_feed_begins_with_everything_and_goes_on_with_changes() {
    let server = Server::new(World::new(&["/a"]));
    let (_a, _secret) = (server.world.publish("/a"), server.world.publish("/secret"));
    server.world.set_title("/a", "One");
    let mut reader = server.get("/events").await;
    assert_eq!(reader.status(), 200);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
        ("access-control-allow-origin", "*"),
        ("transfer-encoding", "chunked"),
    ] {
        assert_eq!(reader.header(name), Some(value), "{name}");
    }
    let began = Instant::now();
    assert_eq!(reader.block().await.unwrap(), "retry: 2000");
    let Got { name, data, at } = reader.event().await;
    assert_eq!((name.as_str(), at), ("message", began));
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        keys(&data[0]),
        "mount name listeners bitrate uptime genre description song live"
    );
    assert_eq!(data.as_array().unwrap().len(), 1);
    assert_eq!(
        (&data[0]["song"], &data[0]["live"]),
        (&"One".into(), &true.into())
    );
    // What would break the framing comes out whole.
    assert_eq!(data[0]["description"], "All \"that\"\r\ndata: x");
    let stream = reader.event().await;
    assert_eq!(stream.name, "stream");
    assert_eq!(
        keys(&stream.data),
        "mount title artist format bitrate listeners viewers live has_video video_width video_height video_fps \
         video_kbps video_gop url genre description started_at"
    );
    assert_eq!(
        (&stream.data["title"], &stream.data["format"]),
        (&"One".into(), &"audio/mpeg".into())
    );

    sleep(Duration::from_millis(1200)).await;
    server.world.set_title("/a", "Two");
    let changed = Instant::now();
    let stream = reader.next("stream").await;
    assert_eq!(stream.data["title"], "Two");
    assert!(
        stream.at - changed <= Duration::from_millis(501),
        "{:?}",
        stream.at - changed
    );
    // Nothing changes any more, and still the mount is mentioned in time.
    let mut last = stream.at;
    for _ in 0..4 {
        let again = reader.next("stream").await;
        assert!(again.at - last <= Duration::from_secs(4), "{:?}", again.at - last);
        last = again.at;
    }
}

#[tokio::test(start_paused = true)]
async fn a_feed_with_nothing_to_say_shows_that_it_lives() {
    let server = Server::new(World::new(&[]));
    let _secret = server.world.publish("/secret");
    let mut reader = server.get("/events").await;
    assert_eq!(reader.block().await.unwrap(), "retry: 2000");
    let began = Instant::now();
    assert_eq!(reader.event().await.data, serde_json::json!([]));
    for pings in 1..4 {
        assert_eq!(reader.block().await.unwrap(), ": ping");
        let after = Instant::now() - began;
        let expected = Duration::from_secs(15) * pings;
        assert!(after.abs_diff(expected) <= Duration::from_secs(1), "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_mount_is_told_to_those_who_saw_it() {
    let server = Server::new(World::new(&["/a"]));
    let (a, secret) = (server.world.publish("/a"), server.world.publish("/secret"));
    let mut all = server.get("/events").await;
    let mut one = server.get("/events?mount=/secret").await;
    assert_eq!(all.next("stream").await.data["mount"], "/a");
    assert_eq!(one.event().await.data, serde_json::json!([]));
    assert_eq!(one.next("stream").await.data["mount"], "/secret");
    drop((a, secret));
    assert_eq!(all.next("gone").await.data, serde_json::json!({"mount": "/a"}));
    assert_eq!(
        one.next("gone").await.data,
        serde_json::json!({"mount": "/secret"})
    );
    let silence = timeout(Duration::from_secs(10), all.event()).await;
    assert!(silence.is_err(), "{silence:?}");
}

#[tokio::test(start_paused = true)]
async fn old_clients_get_a_body_that_ends_with_the_connection() {
    let server = Server::new(World::new(&["/a"]));
    let _a = server.world.publish("/a");
    let mut reader = server
        .send("192.0.2.9", "GET /events HTTP/1.0\r\n\r\n", 1 << 20)
        .await;
    assert_eq!(
        (reader.status(), reader.header("connection")),
        (200, Some("close"))
    );
    assert_eq!(reader.header("transfer-encoding"), None);
    assert_eq!(reader.take_to("\n\n").await.unwrap(), "retry: 2000\n\n");
    assert!(reader.take_to("\n\n").await.unwrap().starts_with("id: "));
}

#[tokio::test(start_paused = true)]
async fn methods_and_parameters_are_checked() {
    let server = Server::new(World::new(&["/a"]));
    for (request, status, header, value) in [
        ("HEAD /events", 200, "content-type", "text/event-stream"),
        ("HEAD /events?interval=1", 400, "access-control-allow-origin", "*"),
        ("OPTIONS /events", 204, "access-control-allow-origin", "*"),
        (
            "OPTIONS /events",
            204,
            "access-control-allow-methods",
            "GET, HEAD, OPTIONS",
        ),
        ("OPTIONS /events", 204, "allow", "GET, HEAD, OPTIONS"),
        ("POST /events", 405, "allow", "GET, HEAD, OPTIONS"),
        ("DELETE /events", 405, "access-control-allow-origin", "*"),
        (
            "GET /events?mount=x",
            400,
            "content-type",
            "text/plain; charset=utf-8",
        ),
        ("GET /events?events=junk", 400, "access-control-allow-origin", "*"),
        ("GET /events?interval=", 400, "cache-control", "no-store"),
        ("GET /events?unknown=1&mount=/a", 200, "x-accel-buffering", "no"),
    ] {
        let text = format!("{request} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let reader = server.send("192.0.2.9", &text, 1 << 16).await;
        assert_eq!(
            (reader.status(), reader.header(header)),
            (status, Some(value)),
            "{request}"
        );
        if request.starts_with("HEAD") {
            assert_eq!(reader.rest().await, "", "{request}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_has_twenty_feeds() {
    let server = Server::new(World::new(&["/a"]));
    let mut readers = Vec::new();
    for view in 0..20 {
        let reader = server.get(&format!("/events?mount=/{view}")).await;
        assert_eq!(reader.status(), 200);
        readers.push(reader);
    }
    let refused = server.get("/events").await;
    assert_eq!(
        (refused.status(), refused.header("retry-after")),
        (503, Some("30"))
    );
    assert_eq!(refused.header("access-control-allow-origin"), Some("*"));
    assert_eq!(server.get_as("192.0.2.10", "/events").await.status(), 200);
    // A network of IPv6 addresses is one client.
    for host in 0..20 {
        let from = format!("2001:db8:1:1::{host}");
        let reader = server.get_as(&from, "/events").await;
        assert_eq!(reader.status(), 200);
        readers.push(reader);
    }
    assert_eq!(
        server.get_as("2001:db8:1:1:ffff::", "/events").await.status(),
        503
    );
    // Who leaves makes room, at once and not with the next burst.
    readers.truncate(19);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(server.get("/events").await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_server_has_a_limit_too_and_rests_when_nobody_watches() {
    let world = World::new(&[]);
    let limits = super::Limits {
        per_client: 20,
        total: 2,
    };
    let mut api = world.api();
    api.feeds = super::Feeds::new(limits, super::beside::Look::new(), {
        let mounts = Arc::clone(&world.mounts);
        let config = Arc::new(world.config.clone());
        move || {
            let mut reading = World::new(&[]).read(Duration::ZERO);
            reading.now = Instant::now().into_std();
            reading.mounts = mounts.snapshot(reading.now);
            reading.config = Arc::clone(&config);
            reading
        }
    });
    let server = Server {
        api: Arc::new(api),
        ..Server::new(world)
    };
    let first = server.get_as("192.0.2.1", "/events").await;
    let second = server.get_as("192.0.2.2", "/events").await;
    assert_eq!((first.status(), second.status()), (200, 200));
    assert_eq!(server.get_as("192.0.2.3", "/events").await.status(), 503);
    assert!(!server.api.feeds.is_at_rest());
    drop((first, second));
    sleep(Duration::from_secs(1)).await;
    assert!(server.api.feeds.is_at_rest());
    let mut again = server.get_as("192.0.2.3", "/events").await;
    assert_eq!(again.event().await.data, serde_json::json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_was_away_gets_the_newest() {
    let server = Server::new(World::new(&["/a"]));
    let _a = server.world.publish("/a");
    let request = "GET /events?events=stream HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut reader = server.send("192.0.2.9", request, 600).await;
    let skipped = SSE_SKIPPED_TICKS.of(Feed::Public).get();
    for title in 0..20 {
        server.world.set_title("/a", &title.to_string());
        sleep(Duration::from_millis(500)).await;
    }
    // The connection holds two events at most, and one waits behind them.
    let mut titles = Vec::new();
    while titles.last().is_none_or(|title| title != "19") {
        titles.push(
            reader.next("stream").await.data["title"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    assert!(titles.len() <= 4, "{titles:?}");
    assert!(SSE_SKIPPED_TICKS.of(Feed::Public).get() - skipped >= 15);
    // It keeps up again.
    server.world.set_title("/a", "after");
    assert_eq!(reader.next("stream").await.data["title"], "after");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_feeds_in_good_order() {
    let server = Server::new(World::new(&["/a"]));
    let _a = server.world.publish("/a");
    let mut reader = server.get("/events").await;
    reader.next("stream").await;
    let began = Instant::now();
    server.phase.send_replace(Phase::Draining);
    assert!(reader.rest().await.ends_with("0\r\n\r\n"));
    assert!(Instant::now() - began < Duration::from_millis(100));
}
