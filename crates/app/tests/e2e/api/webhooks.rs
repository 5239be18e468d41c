//! News for other programs, taken by a receiver on this machine.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, SystemTime},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use observe::Mutex;
use serde_json::{Value, json};
use sha2::Sha256;

use super::database::{publish, set_title};
use crate::{
    accounts::{PASSWORD, setup},
    harness::{Capture, Client, Setup, get, post, until, until_within},
};

const SECRET: &str = "between the two of us";

/// A request as it came.
#[derive(Debug, Clone)]
struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        let found = self
            .headers
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    fn event(&self) -> &str {
        self.header("X-TinyIce-Event")
    }

    fn delivery(&self) -> &str {
        self.header("X-TinyIce-Delivery")
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Whether it was signed a moment ago with [`SECRET`].
    fn is_signed(&self) -> bool {
        let header = self.header("X-TinyIce-Signature");
        let (time, hex) = header
            .strip_prefix("t=")
            .and_then(|rest| rest.split_once(",v1="))
            .expect("a signature");
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any key");
        mac.update(format!("{time}.{}", self.body).as_bytes());
        let expected: String = mac
            .finalize()
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let age = now.abs_diff(time.parse().expect("seconds"));
        hex == expected && age < 60
    }
}

/// What a receiver has seen and will say.
#[derive(Debug, Default)]
struct Book {
    connections: usize,
    seen: Vec<Request>,
    /// Answers to come; after those it is 200.
    answers: VecDeque<String>,
}

/// Takes what it gets. Ends with the test's process.
struct Receiver {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
}

impl Receiver {
    fn start() -> Self {
        Self::at(Ipv4Addr::LOCALHOST)
    }

    fn at(ip: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let book = Arc::new(Mutex::new("receiver.book", Book::default()));
        let kept = Arc::clone(&book);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                kept.lock().connections += 1;
                let book = Arc::clone(&kept);
                std::thread::spawn(move || serve(&stream, &book));
            }
        });
        Self { address, book }
    }

    /// Gives these answers before it takes things.
    fn answer(&self, answers: &[&str]) {
        let mut book = self.book.lock();
        book.answers = answers.iter().map(|answer| (*answer).to_owned()).collect();
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn seen(&self) -> Vec<Request> {
        self.book.lock().seen.clone()
    }

    fn connections(&self) -> usize {
        self.book.lock().connections
    }

    /// Waits for so many requests about an event.
    fn wait_for(&self, event: &str, times: usize) -> Vec<Request> {
        until_within(Duration::from_secs(60), &format!("{times} times {event}"), || {
            let mut seen = self.seen();
            seen.retain(|request| request.event() == event);
            (seen.len() >= times).then_some(seen)
        })
    }
}

/// Answers the requests of one connection, for as long as it is kept.
fn serve(stream: &TcpStream, book: &Mutex<Book>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let answer = {
            let mut book = book.lock();
            book.seen.push(request);
            book.answers.pop_front()
        };
        let answer = answer.unwrap_or_else(|| status("200 OK", ""));
        let mut stream = stream;
        if answer.is_empty() || stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn status(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 5\r\n\r\nheard")
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| {
            line.split_once(':')
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        })
        .collect();
    let mut request = Request {
        line: lines[0].clone(),
        headers,
        body: String::new(),
    };
    let length = request.header("Content-Length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).expect("text");
    Some(request)
}

/// A server whose webhooks may go to 127.0.0.1 and nowhere else on this machine.
fn open() -> Setup {
    setup()
        .set("outbound_allow_webhooks", json!(["127.0.0.1/32"]))
        .set("source_grace_seconds", 0)
}

fn add(root: &Client, hook: &Value) -> String {
    let reply = root.call("POST", "/api/webhooks", hook);
    assert_eq!(reply.status(), 200, "{}", reply.text());
    reply.json()["id"].as_str().expect("an id").to_owned()
}

fn hook(receiver: &Receiver, events: &[&str]) -> Value {
    json!({ "name": "test", "url": receiver.url(), "events": events, "secret": SECRET })
}

#[test]
fn what_happens_on_air_is_told_and_signed() {
    let receiver = Receiver::start();
    let server = open().set("hostname", "radio.example").start();
    let root = Client::login(&server, "root", PASSWORD);
    let id = add(
        &root,
        &hook(
            &receiver,
            &["source_connect", "source_disconnect", "metadata_update"],
        ),
    );
    let feeder = publish(&server, "/own");
    let connect = receiver.wait_for("source_connect", 1).remove(0);
    assert_eq!(connect.line, "POST /hook HTTP/1.1");
    for (name, expected) in [
        ("Content-Type", "application/json"),
        ("User-Agent", "TinyIce-Webhook/2.0"),
        ("X-TinyIce-Webhook-ID", id.as_str()),
        ("Host", &receiver.address.to_string()),
    ] {
        assert_eq!(connect.header(name), expected, "{name}");
    }
    assert_eq!(connect.delivery().len(), 36);
    let body = connect.json();
    assert_eq!(
        (&body["event"], &body["hostname"]),
        (&json!("source_connect"), &json!("radio.example"))
    );
    assert!(
        body["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')),
        "{body}"
    );
    let expected = json!({ "mount": "/own", "ip": "127.0.0.1", "ua": "BUTT/1.2", "name": "My Station", "protocol": "icecast" });
    assert_eq!(body["data"], expected);

    server.wait_for_mount("/own");
    // Twice the same is one title.
    for title in ["Björk - Jóga", "Björk - Jóga"] {
        set_title(&server, "/own", title);
    }
    let update = receiver.wait_for("metadata_update", 1).remove(0);
    let data = update.json()["data"].clone();
    for (key, expected) in [
        ("mount", "/own"),
        ("name", "My Station"),
        ("current_song", "Björk - Jóga"),
        ("song", "Björk - Jóga"),
        ("artist", "Björk"),
        ("title", "Jóga"),
    ] {
        assert_eq!(data[key], expected, "{key} in {data}");
    }
    drop(feeder);
    let disconnect = receiver.wait_for("source_disconnect", 1).remove(0);
    let data = disconnect.json()["data"].clone();
    assert!(
        data["mount"] == "/own" && data["seconds"].is_u64() && data["reason"].is_string(),
        "{data}"
    );
    assert_eq!(
        (&data["ip"], &data["protocol"]),
        (&json!("127.0.0.1"), &json!("icecast")),
        "{data}"
    );

    let seen = receiver.seen();
    assert_eq!(seen.len(), 3, "{seen:#?}");
    assert!(seen.iter().all(Request::is_signed), "{seen:#?}");
    let log = until("the deliveries on record", || {
        let log = root.get(&format!("/api/webhooks/deliveries?id={id}")).json();
        let all = log.as_array()?.clone();
        (all.len() == 3 && all.iter().all(|row| row["status"] == "delivered")).then_some(all)
    });
    assert_eq!(log[2]["id"], connect.delivery());
    // Secrets stay here.
    let list = root.get("/api/webhooks").text();
    assert!(list.contains("********") && !list.contains(SECRET), "{list}");
}

#[test]
fn a_receiver_that_fails_is_asked_again_with_the_same() {
    let receiver = Receiver::start();
    let server = open().start();
    let root = Client::login(&server, "root", PASSWORD);
    let id = add(&root, &hook(&receiver, &["source_connect"]));
    receiver.answer(&[&status("500 Oh", ""), &status("503 No", "Retry-After: 2\r\n")]);
    let _feeder = publish(&server, "/own");
    let seen = receiver.wait_for("source_connect", 3);
    assert!(
        seen.iter()
            .all(|request| request.delivery() == seen[0].delivery()),
        "{seen:#?}"
    );
    assert!(
        seen.iter()
            .all(|request| request.body == seen[0].body && request.is_signed()),
        "{seen:#?}"
    );
    let row = until("it is on record", || {
        let log = root.get(&format!("/api/webhooks/deliveries?id={id}")).json();
        (log[0]["status"] == "delivered").then(|| log[0].clone())
    });
    assert_eq!(
        (&row["attempts"], &row["http_status"]),
        (&json!(3), &json!(200)),
        "{row}"
    );
    // What is not wanted is not asked for again.
    receiver.answer(&[&status("404 Gone", "")]);
    let _other = publish(&server, "/other");
    let row = until("the refusal is on record", || {
        let log = root.get(&format!("/api/webhooks/deliveries?id={id}")).json();
        (log[0]["mount"] == "/other" && log[0]["status"] == "failed").then(|| log[0].clone())
    });
    assert_eq!(
        (&row["attempts"], &row["http_status"]),
        (&json!(1), &json!(404)),
        "{row}"
    );
}

#[test]
fn what_was_not_delivered_comes_after_a_restart() {
    let receiver = Receiver::start();
    let server = open().start();
    let root = Client::login(&server, "root", PASSWORD);
    add(&root, &hook(&receiver, &["source_connect"]));
    receiver.answer(&[&status("500 Oh", ""), &status("500 Oh", "")]);
    let _feeder = publish(&server, "/own");
    let first = receiver.wait_for("source_connect", 2).remove(0);
    let server = server.restart();
    let seen = receiver.wait_for("source_connect", 3);
    let last = seen.last().expect("three");
    assert_eq!((last.delivery(), &last.body), (first.delivery(), &first.body));
    assert!(last.is_signed());
    // And only once.
    let server = server.restart();
    let _feeder = publish(&server, "/other");
    let seen = receiver.wait_for("source_connect", 4);
    assert_eq!(seen[3].json()["data"]["mount"], "/other", "{seen:#?}");
}

#[test]
fn a_trial_tells_what_came_of_it() {
    let receiver = Receiver::start();
    let server = open().start();
    let root = Client::login(&server, "root", PASSWORD);
    let mut wanted = hook(&receiver, &["source_connect"]);
    wanted["enabled"] = json!(false);
    wanted["headers"] = json!({ "X-Song": "{{.Title}}", "Authorization": "Bearer abcdef" });
    wanted["body_template"] = json!("{\"text\":{{json (printf \"%s by %s\" .Title .Artist)}}}");
    let id = add(&root, &wanted);
    let test = |query: &str| {
        root.call(
            "POST",
            &format!("/api/webhooks/test?id={id}{query}"),
            &Value::Null,
        )
    };
    let told = test("").json();
    assert_eq!(
        (&told["status"], &told["http_status"], &told["event"]),
        (&json!("ok"), &json!(200), &json!("now_playing")),
        "{told}"
    );
    assert_eq!(told["response_body"], "heard");
    assert!(told["duration_ms"].is_u64(), "{told}");
    let request = receiver.wait_for("now_playing", 1).remove(0);
    assert_eq!(told["request"]["body"], request.body);
    assert!(
        request.json()["text"]
            .as_str()
            .is_some_and(|text| text.contains(" by ")),
        "{request:?}"
    );
    assert!(
        request.is_signed()
            && !request.header("X-Song").is_empty()
            && request.header("Authorization") == "Bearer abcdef"
    );
    assert!(
        !told.to_string().contains("abcdef") && !told.to_string().contains(SECRET),
        "{told}"
    );

    receiver.answer(&[&status("500 Oh", "")]);
    let told = test("&event=source_disconnect").json();
    assert_eq!(
        (&told["status"], &told["http_status"]),
        (&json!("failed"), &json!(500)),
        "{told}"
    );
    assert_eq!(receiver.wait_for("source_disconnect", 1).len(), 1);
    receiver.answer(&[""]);
    let told = test("").json();
    assert!(told["status"] == "failed" && told["error"].is_string(), "{told}");
    assert_eq!(test("&event=nonsense").status(), 400);
    assert_eq!(
        root.call("POST", "/api/webhooks/test?id=wh_000000000000", &Value::Null)
            .status(),
        404
    );
    let bad = root.call(
        "PATCH",
        &format!("/api/webhooks?id={id}"),
        &json!({ "body_template": "a\n{{if}}" }),
    );
    let error = bad.json()["error"].as_str().expect("a text").to_owned();
    assert!(
        bad.status() == 400 && error.starts_with("template error: ") && error.contains('2'),
        "{error}"
    );
}

#[test]
fn a_fallback_is_told_with_the_number_of_those_who_were_moved() {
    let receiver = Receiver::start();
    let server = open()
        .set("fallback_mounts", json!({ "/own": "/other" }))
        .set("fallback_settle_seconds", 1)
        .start();
    let root = Client::login(&server, "root", PASSWORD);
    add(&root, &hook(&receiver, &["fallback_active", "fallback_ended"]));
    let _other = publish(&server, "/other");
    let own = publish(&server, "/own");
    server.wait_for_mount("/other");
    server.wait_for_mount("/own");
    let moved = [(); 2].map(|()| Capture::start(&server, "/own", ""));
    // Hears the fallback for its own sake.
    let _stays = Capture::start(&server, "/other", "");
    for listener in &moved {
        listener.wait_for(5_000);
    }
    drop(own);
    let told = receiver.wait_for("fallback_active", 1).remove(0).json()["data"].clone();
    let expected = json!({ "mount": "/own", "fallback": "/other", "reason": "source gone", "listeners": 2 });
    assert_eq!(told, expected);
    until("both on the fallback", || {
        (server.status_of("/other")?["listeners"] == 3).then_some(())
    });
    let _own = publish(&server, "/own");
    let told = receiver.wait_for("fallback_ended", 1).remove(0).json()["data"].clone();
    assert_eq!(
        (&told["fallback"], &told["listeners"]),
        (&json!("/other"), &json!(2)),
        "{told}"
    );
}

#[test]
fn a_relay_is_told_when_its_upstream_goes_and_when_it_is_back() {
    let receiver = Receiver::start();
    let upstream = setup().set("source_grace_seconds", 0).start();
    let feeder = publish(&upstream, "/own");
    upstream.wait_for_mount("/own");
    let url = upstream.url("/own");
    let server = open()
        .set("outbound_allow", json!(["127.0.0.1/32"]))
        .set(
            "relays",
            json!([{ "url": url, "mount": "/relayed", "enabled": true }]),
        )
        .start();
    let root = Client::login(&server, "root", PASSWORD);
    add(&root, &hook(&receiver, &["relay_down", "relay_up"]));
    server.wait_for_mount("/relayed");
    // Only what was seen up can go down, and it is looked at every five seconds.
    let uptime = || {
        let stats = root.get("/api/stats").json();
        stats["uptime_seconds"].as_u64().expect("seconds")
    };
    let seen = uptime() + 7;
    until("a look at the relay", || (uptime() >= seen).then_some(()));

    drop(feeder);
    let told = receiver.wait_for("relay_down", 1).remove(0).json()["data"].clone();
    assert_eq!(
        (&told["mount"], &told["upstream"]),
        (&json!("/relayed"), &json!(url)),
        "{told}"
    );
    assert!(
        told["error"].as_str().is_some_and(|error| !error.is_empty()),
        "{told}"
    );

    let _feeder = publish(&upstream, "/own");
    let told = receiver.wait_for("relay_up", 1).remove(0).json()["data"].clone();
    assert_eq!(
        (&told["mount"], &told["upstream"]),
        (&json!("/relayed"), &json!(url)),
        "{told}"
    );
    assert_eq!(receiver.wait_for("relay_down", 1).len(), 1, "told once");
}

#[test]
fn a_lockout_is_told_once() {
    let receiver = Receiver::start();
    let server = open().strict_loopback().start();
    let root = Client::login(&server, "root", PASSWORD);
    let id = add(
        &root,
        &hook(&receiver, &["security_lockout", "source_disconnect"]),
    );
    let feeder = publish(&server, "/own");
    server.wait_for_mount("/own");
    for expected in [401, 401, 401, 401, 401, 429, 429] {
        let reply = post(
            server.address(),
            "/login",
            "Accept: application/json\r\n",
            "username=root&password=wrong",
        );
        assert_eq!(reply.status(), expected, "{}", reply.text());
    }
    let told = receiver.wait_for("security_lockout", 1).remove(0).json()["data"].clone();
    for (key, expected) in [
        ("ip", "127.0.0.1"),
        ("reason", "brute_force_auth"),
        ("details", "5 failed authentication attempts"),
    ] {
        assert_eq!(told[key], expected, "{told}");
    }
    assert!(
        told["until"].as_str().is_some_and(|at| at.ends_with('Z')) && told["duration"].is_string(),
        "{told}"
    );
    // What comes later has overtaken nothing.
    drop(feeder);
    receiver.wait_for("source_disconnect", 1);
    assert_eq!(receiver.wait_for("security_lockout", 1).len(), 1);
    assert_eq!(get(server.address(), "/status-json.xsl", "").status(), 200);
    assert!(id.starts_with("wh_"));
}

#[test]
fn nothing_goes_where_the_configuration_does_not_let_it() {
    let receiver = Receiver::start();
    let url = receiver.url();
    let hooks =
        json!([{ "id": "wh_0123456789ab", "url": url, "events": ["source_connect"], "enabled": true }]);
    let server = setup().set("webhooks", hooks).start();
    let root = Client::login(&server, "root", PASSWORD);
    let port = receiver.address.port();
    let named = |host: &str| format!("http://{host}:{port}/");
    for bad in [
        url.clone(),
        named("localhost"),
        named("127.1"),
        named("0x7f000001"),
        named("2130706433"),
        named("[::1]"),
        named("[::ffff:127.0.0.1]"),
        named("0.0.0.0"),
        named("10.0.0.1"),
        named("169.254.169.254"),
        "ftp://radio.example/".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let reply = root.call(
            "POST",
            "/api/webhooks",
            &json!({ "url": bad, "events": ["source_connect"] }),
        );
        let error = reply.json()["error"].as_str().expect("a text").to_owned();
        assert!(
            reply.status() == 400 && error.starts_with("URL rejected: "),
            "{bad}: {} {error}",
            reply.status()
        );
    }
    // One that came with the file is refused when it is to be used.
    let _feeder = publish(&server, "/own");
    until("the refusal on record", || {
        let log = root.get("/api/webhooks/deliveries?id=wh_0123456789ab").json();
        let row = &log[0];
        (row["status"] == "failed" && row["error"].is_string()).then_some(())
    });
    let told = root
        .call("POST", "/api/webhooks/test?id=wh_0123456789ab", &Value::Null)
        .json();
    assert_eq!(told["status"], "failed", "{told}");
    assert_eq!(receiver.connections(), 0);
}

#[test]
fn a_redirect_does_not_lead_into_the_network() {
    let receiver = Receiver::start();
    let inner = Receiver::at(Ipv4Addr::new(127, 0, 0, 2));
    let server = open().start();
    let root = Client::login(&server, "root", PASSWORD);
    let id = add(&root, &hook(&receiver, &["source_connect"]));
    assert_eq!(inner.address.ip(), IpAddr::from([127, 0, 0, 2]));
    let redirect = status("307 Elsewhere", &format!("Location: {}\r\n", inner.url()));
    receiver.answer(&[&redirect]);
    let told = root
        .call("POST", &format!("/api/webhooks/test?id={id}"), &Value::Null)
        .json();
    assert_eq!(told["status"], "failed", "{told}");
    let within = status("307 Elsewhere", &format!("Location: {}\r\n", receiver.url()));
    receiver.answer(&[&within]);
    let told = root
        .call("POST", &format!("/api/webhooks/test?id={id}"), &Value::Null)
        .json();
    assert_eq!(told["status"], "ok", "{told}");
    assert_eq!((receiver.seen().len(), inner.connections()), (3, 0));
}

#[test]
fn one_receiver_that_hangs_delays_no_other() {
    let (slow, quick) = (
        TcpListener::bind("127.0.0.1:0").expect("a port"),
        Receiver::start(),
    );
    let server = open().start();
    let root = Client::login(&server, "root", PASSWORD);
    let url = format!("http://{}/", slow.local_addr().expect("an address"));
    add(&root, &json!({ "url": url, "events": ["source_connect"] }));
    add(&root, &hook(&quick, &["source_connect", "source_disconnect"]));
    let feeder = publish(&server, "/own");
    let _hanging = slow.accept().expect("it is asked");
    quick.wait_for("source_connect", 1);
    drop(feeder);
    quick.wait_for("source_disconnect", 1);
    // Still waiting for an answer to the first.
    until("the quick one has nothing left", || {
        let states = root.get("/api/webhooks").json();
        assert_eq!(states[0]["state"]["queued"], 1, "{states}");
        (states[1]["state"]["queued"] == 0).then_some(())
    });
}

#[test]
fn the_forms_of_the_old_interface_still_work() {
    let receiver = Receiver::start();
    let server = open().start();
    let root = Client::login(&server, "root", PASSWORD);
    let url = receiver.url();
    let made = root.form(
        "/admin/add-webhook",
        &[
            ("url", &url),
            ("events", "source_connect"),
            ("events", "source_disconnect"),
        ],
    );
    assert_eq!(
        (made.status(), made.head.get("location")),
        (303, Some("/admin#tab-webhooks")),
        "{}",
        made.text()
    );
    assert_eq!(root.form("/admin/add-webhook", &[("url", &url)]).status(), 400);
    let _feeder = publish(&server, "/own");
    assert_eq!(
        receiver.wait_for("source_connect", 1)[0].json()["data"]["mount"],
        "/own"
    );
    assert_eq!(root.form("/admin/delete-webhook", &[("url", &url)]).status(), 303);
    assert_eq!(root.get("/api/webhooks").json(), json!([]));
}
