//! Event feeds as browsers, `curl` and bundled pages read them.
//!
//! Contract: what is on air reaches every page that watches within moments, by itself again after a restart, and
//! what is not listed reaches nobody who did not name it.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::{Browser, Feeder, Mp3, PATIENCE, Program, Server, Source, Wire, get, installed, until};

/// A server that lists `/live` and forgets sources at once.
fn server(port: u16) -> Server {
    let setup = Server::setup()
        .set("visible_mounts", json!({ "/live": true }))
        .set("source_grace_seconds", 0);
    setup.port(port).start()
}

fn publish(server: &Server, mount: &str) -> Feeder {
    let headers = "Content-Type: audio/mpeg\r\nIce-Name: My Station\r\n";
    Feeder::run(Source::with(server, mount, headers), Mp3::new('a'), 1.0)
}

fn set_title(server: &Server, mount: &str, title: &str) {
    let title: String = title.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let reply = server.admin(&format!("metadata?mount={mount}&mode=updinfo&song={title}"));
    assert_eq!(reply.status(), 200, "{reply:?}");
}

/// An open feed.
struct Feed(Wire);

impl Feed {
    /// Opens it with HTTP/1.0, so that there are no chunks between the lines.
    fn open(server: &Server, query: &str) -> Self {
        let mut wire = server.connect();
        wire.send(format!("GET /events{query} HTTP/1.0\r\n\r\n"));
        let head = wire.head();
        assert_eq!(
            (head.status, head.get("Content-Type")),
            (200, Some("text/event-stream"))
        );
        Self(wire)
    }

    /// The next event: its name and its data.
    fn event(&mut self) -> (String, Value) {
        let (mut name, mut data) = ("message".to_owned(), None);
        loop {
            let line = self.0.line();
            if let Some(text) = line.strip_prefix("event: ") {
                name = text.to_owned();
            } else if let Some(text) = line.strip_prefix("data: ") {
                data = Some(serde_json::from_str(text).unwrap());
            } else if line.is_empty()
                && let Some(data) = data.take()
            {
                return (name, data);
            }
        }
    }

    /// Waits for a title of a mount; gives the titles that came before.
    fn wait_for_title(&mut self, mount: &str, title: &str) -> Vec<String> {
        let mut before = Vec::new();
        let began = Instant::now();
        loop {
            let (name, data) = self.event();
            if name == "stream" && data["mount"] == mount {
                if data["title"] == title {
                    return before;
                }
                before.push(data["title"].as_str().unwrap().to_owned());
            }
            assert!(began.elapsed() < PATIENCE, "no {title:?}, but {before:?}");
        }
    }
}

#[test]
fn curl_reads_a_feed() {
    if !installed(&["curl"]) {
        return;
    }
    let server = server(0);
    let _live = publish(&server, "/live");
    server.wait_for_mount("/live");
    let mut curl = Program::start(Command::new("curl").args(["-sNi", &server.url("/events")]));
    let shows = |text: &str| {
        until(text, || {
            curl.output().replace('\r', "").contains(text).then_some(())
        })
    };
    for text in [
        "Content-Type: text/event-stream",
        "Cache-Control: no-store",
        "X-Accel-Buffering: no",
        "Access-Control-Allow-Origin: *",
        "retry: 2000\n\nid: ",
        "data: [{\"mount\":\"/live\",\"name\":\"My Station\"",
        "event: stream\ndata: {\"mount\":\"/live\"",
    ] {
        shows(text);
    }
    set_title(&server, "/live", "Artist - \"Song\"");
    shows("\"title\":\"Artist - \\\"Song\\\"\"");
    curl.terminate();
}

#[test]
fn unlisted_mounts_are_told_only_to_those_who_name_them() {
    let server = server(0);
    let (_live, secret) = (publish(&server, "/live"), publish(&server, "/hidden-one"));
    until("both mounts", || {
        (server.admin("listmounts").text().matches("<source ").count() == 2).then_some(())
    });
    let (mut all, mut named) = (Feed::open(&server, ""), Feed::open(&server, "?mount=/hidden-one"));
    assert_eq!(named.event(), ("message".to_owned(), json!([])));
    let (name, data) = named.event();
    assert_eq!((name.as_str(), &data["mount"]), ("stream", &"/hidden-one".into()));
    set_title(&server, "/hidden-one", "secret song");
    named.wait_for_title("/hidden-one", "secret song");
    drop(secret);
    while named.event() != ("gone".to_owned(), json!({ "mount": "/hidden-one" })) {}
    set_title(&server, "/live", "the end");
    let seen = loop {
        let (name, data) = all.event();
        assert!(
            !data.to_string().contains("hidden-one") && name != "gone",
            "{data}"
        );
        if data["title"] == "the end" {
            break data;
        }
    };
    assert_eq!(seen["live"], true);
}

#[test]
fn an_address_has_twenty_feeds() {
    let server = server(0);
    let mut feeds: Vec<_> = (0..20).map(|_| Feed::open(&server, "")).collect();
    let refused = get(server.address(), "/events", "Origin: https://site.example\r\n");
    assert_eq!(
        (refused.status(), refused.head.get("Retry-After")),
        (503, Some("30"))
    );
    assert_eq!(refused.head.get("Access-Control-Allow-Origin"), Some("*"));
    feeds.pop();
    until("room for another", || {
        let mut wire = server.connect();
        wire.send("GET /events HTTP/1.0\r\n\r\n");
        (wire.head().status == 200).then_some(())
    });
}

/// Kilobytes of memory in use.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn readers_that_sleep_cost_no_memory_and_wake_to_the_newest() {
    let server = server(0);
    let _live = publish(&server, "/live");
    server.wait_for_mount("/live");
    let mut feeds: Vec<_> = (0..20).map(|_| Feed::open(&server, "")).collect();
    set_title(&server, "/live", "before");
    for feed in &mut feeds {
        feed.wait_for_title("/live", "before");
    }
    let before = resident(&server);
    // Long titles at ten a second: what would be a megabyte per reader if it were kept.
    let began = Instant::now();
    let mut song = 0;
    while began.elapsed() < Duration::from_secs(10) {
        song += 1;
        set_title(&server, "/live", &format!("{song} {}", "x".repeat(500)));
        thread::sleep(Duration::from_millis(100));
    }
    set_title(&server, "/live", "newest");
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} kB more than {before} kB");
    for feed in &mut feeds {
        let stale = feed.wait_for_title("/live", "newest");
        // Two a second at most, however often it changed.
        assert!(stale.len() <= 24, "{} titles", stale.len());
    }
}

/// Serves one page to everybody, on an origin of its own.
fn serve_page(html: String) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.0 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n";
            let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{html}", html.len());
        }
    });
    address
}

#[test]
fn a_browser_on_another_site_follows_through_a_restart() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let port = Server::free_port();
    let mut first = server(port);
    let live = publish(&first, "/live");
    first.wait_for_mount("/live");
    set_title(&first, "/live", "First");
    let site = serve_page(format!(
        "<!doctype html><script>
         let opened = 0, titles = {{}}, ids = [];
         const feed = new EventSource('{}');
         feed.onopen = () => opened += 1;
         feed.onmessage = ({{ data, lastEventId }}) => {{
           ids.push(+lastEventId);
           titles.message = (JSON.parse(data)[0] ?? {{}}).song;
         }};
         feed.addEventListener('stream', ({{ data }}) => titles.stream = JSON.parse(data).title);
         </script>",
        first.url("/events")
    ));
    let page = browser.open(&format!("http://{site}/"));
    let titles = "titles.message + ', ' + titles.stream";
    browser.wait_for(&page, titles, "First, First");
    set_title(&first, "/live", "Second");
    browser.wait_for(&page, titles, "Second, Second");

    drop(live);
    first.stop();
    browser.wait_for(&page, "feed.readyState", 0);
    let second = server(port);
    let _live = publish(&second, "/live");
    second.wait_for_mount("/live");
    set_title(&second, "/live", "Third");
    browser.wait_for(&page, titles, "Third, Third");
    assert_eq!(browser.value(&page, "opened"), 2);
    let rising = "ids.every((id, at) => at === 0 || id > ids[at - 1])";
    assert_eq!(browser.value(&page, rising), true);
}

#[test]
fn the_bundled_pages_follow_without_a_reload() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let server = server(0);
    let landing = browser.open(&server.url("/"));
    assert_eq!(
        browser.value(&landing, "document.querySelectorAll('[data-stream]').length"),
        0
    );
    let live = publish(&server, "/live");
    let unlisted = publish(&server, "/unlisted");
    // The list is fetched again when there is something to list.
    browser.wait_for(
        &landing,
        "document.querySelector('[data-stream]')?.dataset.mount ?? ''",
        "/live",
    );
    assert_eq!(
        browser.value(&landing, "document.querySelectorAll('[data-stream]').length"),
        1
    );

    let song = "document.querySelector('[data-song]').textContent";
    let player = browser.open(&server.url("/player/live"));
    let hidden = browser.open(&server.url("/player/unlisted"));
    for page in [&landing, &player, &hidden] {
        browser.value(page, "window.loaded = 'once'");
    }
    let markup = "<img src=x onerror=\"window.loaded='hacked'\"> & Co";
    set_title(&server, "/live", markup);
    set_title(&server, "/unlisted", "Quiet");
    browser.wait_for(&landing, song, markup);
    browser.wait_for(&player, song, markup);
    browser.wait_for(&hidden, song, "Quiet");

    let mut listener = server.connect();
    listener.send("GET /live HTTP/1.0\r\n\r\n");
    assert_eq!(listener.head().status, 200);
    for page in [&landing, &player] {
        browser.wait_for(
            page,
            "document.querySelector('[data-listeners]').textContent",
            "1 listener",
        );
    }
    drop((live, unlisted));
    for page in [&player, &hidden] {
        browser.wait_for(
            page,
            "document.querySelector('[data-badge]').textContent",
            "Off air",
        );
    }
    let _live = publish(&server, "/live");
    browser.wait_for(
        &player,
        "document.querySelector('[data-badge]').textContent",
        "On air",
    );
    for page in [&landing, &player, &hidden] {
        assert_eq!(browser.value(page, "window.loaded"), "once");
    }
}

#[test]
fn a_page_that_waits_shows_the_player_when_the_mount_is_back() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let server = server(0);
    let page = browser.open(&server.url("/player/live"));
    assert_eq!(browser.value(&page, "document.body.dataset.await"), "/live");
    let _live = publish(&server, "/live");
    browser.wait_for(
        &page,
        "document.querySelector('[data-player]')?.dataset.mount ?? ''",
        "/live",
    );
}
