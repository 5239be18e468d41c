//! The endpoints that tools for Icecast call: statistics, lists, commands, titles, and who may use them.
//!
//! Contract: whoever may not do something gets a status that says so, never a redirect, and every document is
//! read here by the same kind of parser that the tools use.

mod documents;
mod permission;
mod reference;

use roxmltree::{Document, Node};
use serde_json::json;

use crate::harness::{Capture, Feeder, Reply, Server, Source, get, until};

/// The text of a child element.
fn text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let child = node.children().find(|child| child.has_tag_name(name))?;
    Some(child.text().unwrap_or_default())
}

pub(crate) fn number(node: Node<'_, '_>, name: &str) -> u64 {
    let text = text(node, name).unwrap_or_else(|| panic!("no {name}"));
    text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}"))
}

/// The XML of an answer; `read` gets the root element.
pub(crate) fn read_xml<T>(reply: &Reply, read: impl FnOnce(Node<'_, '_>) -> T) -> T {
    assert_eq!(reply.status(), 200, "{reply:?}");
    assert_eq!(reply.head.get("Content-Type"), Some("text/xml; charset=utf-8"));
    let body = reply.text();
    let document = Document::parse(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
    read(document.root_element())
}

fn sources<'a, 'input>(root: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    root.children().filter(|node| node.has_tag_name("source"))
}

fn mounts(root: Node<'_, '_>) -> Vec<String> {
    sources(root)
        .filter_map(|source| source.attribute("mount").map(str::to_owned))
        .collect()
}

/// Panics unless a command was answered with this status, message and verdict.
fn check_response(reply: &Reply, status: u16, message: &str, done: bool) {
    let expected = format!(
        "<?xml version=\"1.0\"?>\n<iceresponse><message>{message}</message><return>{}</return></iceresponse>\n",
        u8::from(done)
    );
    assert_eq!((reply.status(), reply.text()), (status, expected));
    assert_eq!(reply.head.get("Content-Type"), Some("text/xml; charset=utf-8"));
}

/// What AzuraCast reads of a mount.
#[derive(Debug, PartialEq)]
struct NowPlaying {
    mount: String,
    artist: Option<String>,
    title: String,
    bitrate: u64,
    format: String,
    listeners: u64,
}

fn now_playing(source: Node<'_, '_>) -> NowPlaying {
    NowPlaying {
        mount: source.attribute("mount").unwrap().to_owned(),
        artist: text(source, "artist").map(str::to_owned),
        title: text(source, "title").unwrap().to_owned(),
        bitrate: number(source, "bitrate"),
        format: text(source, "server_type").unwrap().to_owned(),
        listeners: number(source, "listeners"),
    }
}

const DESCRIBED: &str = "Content-Type: audio/mpeg\r\nUser-Agent: butt <1.40> & co\r\nIce-Name: R&B <3\r\n\
    Ice-Description: \"All\" day\r\nIce-Genre: Jazz\r\nIce-Url: http://station.example/?a=1&b=2\r\n\
    Ice-Public: 1\r\nIce-Audio-Info: ice-samplerate=44100;ice-bitrate=128;ice-channels=2\r\n";

/// A server with a described mount `/live`, a plain one `/other`, and whoever keeps them fed.
fn station() -> (Server, Vec<Feeder>) {
    let server = Server::setup()
        .set("admin_email", "studio@example.org")
        .set("hostname", "radio.example.org")
        .set("location", "Earth")
        .start();
    let described = Source::with(&server, "/live", DESCRIBED);
    let feeders = vec![
        Feeder::run(described, crate::harness::Mp3::new('a'), 1.0),
        Feeder::run(
            Source::with(&server, "/other", "Icy-Br: 128\r\n"),
            crate::harness::Mp3::new('b'),
            1.0,
        ),
    ];
    server.wait_for_mount("/live");
    server.wait_for_mount("/other");
    (server, feeders)
}

#[test]
fn statistics_are_what_tools_read() {
    let (server, _feeders) = station();
    let update = "metadata?mount=/live&mode=updinfo&artist=Simon%20%26%20Garfunkel&title=%3CTitle%3E";
    check_response(&server.admin(update), 200, "Metadata update successful", true);
    let two = [
        Capture::start(&server, "/live", ""),
        Capture::start(&server, "/live", ""),
    ];
    until("both listeners", || {
        (server.status_of("/live")?["listeners"] == 2).then_some(())
    });
    // Seats are taken before the first byte goes out, and the source counts before that.
    for listener in &two {
        listener.wait_for(1);
    }

    read_xml(&server.admin("stats"), |root| {
        assert_eq!(root.tag_name().name(), "icestats");
        for (name, value) in [
            ("admin", "studio@example.org"),
            ("host", "radio.example.org"),
            ("location", "Earth"),
            ("server_id", "Icecast 2.4.4 (TinyIce)"),
        ] {
            assert_eq!(text(root, name), Some(value), "{name}");
        }
        for name in ["server_start", "server_start_iso8601"] {
            assert!(text(root, name).is_some_and(|date| date.contains("20")), "{name}");
        }
        for name in [
            "clients",
            "connections",
            "client_connections",
            "file_connections",
            "listeners",
            "listener_connections",
            "sources",
            "source_client_connections",
            "source_relay_connections",
            "source_total_connections",
            "stats",
            "stats_connections",
        ] {
            number(root, name);
        }
        assert_eq!(
            [
                "listeners",
                "listener_connections",
                "sources",
                "source_client_connections"
            ]
            .map(|key| number(root, key)),
            [2, 2, 2, 2]
        );
        assert_eq!(mounts(root), ["/live", "/other"]);
        let live = sources(root).next().unwrap();
        assert_eq!(
            now_playing(live),
            NowPlaying {
                mount: "/live".into(),
                artist: Some("Simon & Garfunkel".into()),
                title: "<Title>".into(),
                bitrate: 128,
                format: "audio/mpeg".into(),
                listeners: 2,
            }
        );
        for (name, value) in [
            ("server_name", "R&B <3"),
            ("server_description", "\"All\" day"),
            ("genre", "Jazz"),
            ("server_url", "http://station.example/?a=1&b=2"),
            ("public", "1"),
            ("max_listeners", "unlimited"),
            ("user_agent", "butt <1.40> & co"),
            ("source_ip", "127.0.0.1"),
            (
                "audio_info",
                "ice-samplerate=44100;ice-bitrate=128;ice-channels=2",
            ),
            ("ice-samplerate", "44100"),
            ("ice-channels", "2"),
            ("yp_currently_playing", "Simon & Garfunkel - <Title>"),
        ] {
            assert_eq!(text(live, name), Some(value), "{name}");
        }
        let listenurl = text(live, "listenurl").unwrap();
        assert!(
            listenurl.starts_with("http://radio.example.org:") && listenurl.ends_with("/live"),
            "{listenurl}"
        );
        for name in ["listener_peak", "listener_connections", "connections"] {
            assert_eq!(number(live, name), 2, "{name}");
        }
        assert!(number(live, "total_bytes_read") > 0 && number(live, "total_bytes_sent") > 0);
        assert_eq!(number(live, "slow_listeners"), 0);
        assert!(text(live, "stream_start_iso8601").is_some_and(|date| date.contains('T')));
    });
}

#[test]
fn statistics_are_xml_unless_json_is_asked_for() {
    let (server, _feeders) = station();
    let ask = |target: &str, headers: &str| {
        get(
            server.address(),
            target,
            &format!("{}{headers}", Server::admin_auth()),
        )
    };
    for (target, headers) in [
        ("/admin/stats", ""),
        ("/admin/stats", "Accept: */*\r\n"),
        ("/admin/stats", "Accept: text/xml, application/xml\r\n"),
        ("/admin/stats.xml", "Accept: application/json\r\n"),
    ] {
        read_xml(&ask(target, headers), |root| {
            assert_eq!(mounts(root), ["/live", "/other"], "{target} {headers}")
        });
    }
    for (target, headers) in [
        ("/admin/stats?format=json", ""),
        ("/admin/stats", "Accept: application/json\r\n"),
    ] {
        // A mount is there from the moment that its source was let in.
        until("the first bytes", || {
            let reply = ask(target, headers);
            assert_eq!(
                reply.head.get("Content-Type"),
                Some("application/json"),
                "{target}"
            );
            let json = reply.json();
            assert_eq!(
                json.as_object().unwrap().keys().collect::<Vec<_>>(),
                ["bytes_in", "bytes_out"]
            );
            (json["bytes_in"].as_u64() > Some(0)).then_some(())
        });
    }
    read_xml(&ask("/admin/stats?mount=/other", ""), |root| {
        assert_eq!(mounts(root), ["/other"]);
        assert_eq!(number(root, "sources"), 2, "the server's numbers stay");
    });
    read_xml(&ask("/admin/stats?mount=/nowhere", ""), |root| {
        assert!(mounts(root).is_empty())
    });
}

#[test]
fn listeners_are_listed_as_statistics_tools_read_them() {
    let server = Server::setup()
        .set("trusted_proxies", json!(["127.0.0.1"]))
        .start();
    let _feeders = [
        Feeder::start(&server, "/live", 'a'),
        Feeder::start(&server, "/other", 'b'),
    ];
    server.wait_for_mount("/live");
    server.wait_for_mount("/other");
    let from = |ip: &str, agent: &str| format!("X-Forwarded-For: {ip}\r\nUser-Agent: {agent}\r\n");
    let clients = [
        (
            "/live",
            from("192.0.2.10", "VLC/3.0.18 <LibVLC> & \"co\"") + "Referer: http://a.example/?x=1&y=2\r\n",
        ),
        ("/live", from("2001:db8::7", "Lavf/59")),
        ("/other", from("192.0.2.99", "curl/8")),
    ];
    let _listening = clients.map(|(mount, headers)| Capture::start(&server, mount, &headers));
    until("everybody", || {
        (server.status_of("/live")?["listeners"] == 2 && server.status_of("/other")?["listeners"] == 1)
            .then_some(())
    });
    let ids = read_xml(&server.admin("listclients?mount=/live"), |root| {
        let source = sources(root).next().unwrap();
        assert_eq!(
            (source.attribute("mount"), number(source, "Listeners")),
            (Some("/live"), 2)
        );
        let listeners = source.children().filter(|node| node.has_tag_name("listener"));
        let mut listeners: Vec<_> = listeners
            .map(|listener| {
                let id = number(listener, "ID");
                assert_eq!(listener.attribute("id"), Some(id.to_string().as_str()));
                assert!(number(listener, "Connected") < 60);
                let field = |name| text(listener, name).unwrap().to_owned();
                (field("IP"), field("UserAgent"), field("Referer"), id)
            })
            .collect();
        listeners.sort();
        let (first, second) = (&listeners[0], &listeners[1]);
        assert_eq!(
            [&first.0, &first.1, &first.2],
            [
                "192.0.2.10",
                "VLC/3.0.18 <LibVLC> & \"co\"",
                "http://a.example/?x=1&y=2"
            ]
        );
        assert_eq!([&second.0, &second.1, &second.2], ["2001:db8::7", "Lavf/59", ""]);
        [first.3, second.3]
    });
    assert_ne!(ids[0], ids[1]);
    let json = server.admin("listclients?mount=/other&format=json").json();
    assert_eq!(json["icestats"]["source"][0]["listener"][0]["ip"], "192.0.2.99");
    check_response(
        &server.admin("listclients?mount=/nowhere"),
        400,
        "Source does not exist",
        false,
    );
    check_response(
        &server.admin("listclients"),
        400,
        "Missing parameter: mount",
        false,
    );
}

#[test]
fn mounts_are_listed_for_people_and_for_slaves() {
    let server = Server::setup()
        .set("fallback_mounts", json!({ "/a": "/b" }))
        .set("visible_mounts", json!({ "/b": true, "/hidden": false }))
        .start();
    let _feeders = ["/a", "/b", "/hidden"].map(|mount| Feeder::start(&server, mount, 'a'));
    until("three mounts", || {
        read_xml(&server.admin("listmounts"), |root| {
            (mounts(root) == ["/a", "/b", "/hidden"]).then_some(())
        })
    });
    let _listener = Capture::start(&server, "/a", "");
    until("the listener", || {
        (server.status_of("/a")?["listeners"] == 1).then_some(())
    });
    read_xml(&server.admin("listmounts"), |root| {
        let rows: Vec<_> = sources(root)
            .map(|source| {
                assert!(number(source, "Connected") < 60);
                (
                    text(source, "fallback").unwrap(),
                    number(source, "listeners"),
                    text(source, "content-type").unwrap(),
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                ("/b", 1, "audio/mpeg"),
                ("", 0, "audio/mpeg"),
                ("", 0, "audio/mpeg")
            ]
        );
    });
    let list = server.admin("streamlist.txt");
    assert_eq!(list.status(), 200);
    assert!(
        list.head
            .get("Content-Type")
            .is_some_and(|kind| kind.starts_with("text/plain")),
        "{list:?}"
    );
    assert_eq!(list.text(), "/a\r\n/b\r\n", "what is hidden is not relayed");
}

#[test]
fn a_fallback_set_by_command_is_kept() {
    let mut server = Server::start();
    check_response(
        &server.admin("fallbacks?mount=/a&fallback=/b"),
        200,
        "Fallback configured",
        true,
    );
    assert_eq!(
        server.config()["fallback_mounts"],
        json!({ "/a": "/b" }),
        "it is in the file"
    );
    let _b = Feeder::start(&server, "/b", 'b');
    server.wait_for_mount("/b");
    let listener = Capture::start(&server, "/a", "");
    assert_eq!(
        listener.head.get("X-Stream-Status"),
        Some("fallback"),
        "and in force"
    );
    assert!(server.reload());
    assert_eq!(server.config()["fallback_mounts"], json!({ "/a": "/b" }));

    check_response(
        &server.admin("fallbacks?mount=/a&fallback="),
        200,
        "Fallback configured",
        true,
    );
    assert_eq!(
        server.config()["fallback_mounts"],
        json!({}),
        "an empty one removes it"
    );
    check_response(
        &server.admin("fallbacks?mount=/a"),
        400,
        "Missing parameter: fallback",
        false,
    );
    let bad = server.admin("fallbacks?mount=/a&fallback=/admin");
    assert_eq!(bad.status(), 400, "{}", bad.text());
    assert!(server.stop().success());
}

#[test]
fn libshout_may_ask_whether_it_must_prove_itself() {
    let server = Server::start();
    let closed = get(server.address(), "/admin/!POKE", "");
    assert_eq!(closed.status(), 401);
    assert!(
        closed
            .head
            .get("WWW-Authenticate")
            .is_some_and(|realm| realm.starts_with("Basic realm="))
    );
    assert_eq!(closed.head.get("Location"), None);
    let options = crate::harness::request(
        server.address(),
        "OPTIONS /admin/metadata HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(
        (options.status(), options.head.get("Allow")),
        (204, Some("GET, HEAD, POST, OPTIONS"))
    );
    // Asking often, without credentials, is no attempt to break in.
    for _ in 0..10 {
        assert_eq!(get(server.address(), "/admin/!POKE", "").status(), 401);
    }
    let mut source = Source::open(&server, "/live");
    source.send(crate::harness::Mp3::new('a').bytes(5_000));
    server.wait_for_mount("/live");
}
