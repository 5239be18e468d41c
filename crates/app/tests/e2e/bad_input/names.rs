//! Names that are no mounts, methods that are not for mounts, and questions from other origins.

use serde_json::json;

use super::Bystander;
use crate::harness::{Feeder, Head, Listener, Mp3, Server, Source, get, request, source_auth};

#[test]
fn what_is_reserved_is_refused_to_sources() {
    let server = Server::start();
    let bystander = Bystander::start(&server);
    let long = format!("/{}", "x".repeat(255));
    let reserved = [
        "/",
        "/favicon.ico",
        "/login",
        "/logout",
        "/setup",
        "/setup/x",
        "/auth/x",
        "/admin",
        "/admin/",
        "/admin/x",
        "/admin/stats",
        "/admin/metadata",
        "/admin.cgi",
        "/api/x",
        "/api/streams",
        "/explore",
        "/developers",
        "/kiosk",
        "/player/x",
        "/player-webrtc/x",
        "/embed/x",
        "/webrtc/offer",
        "/webrtc/source-offer",
        "/events",
        "/status-json.xsl",
        "/status.xsl",
        "/7.html",
        "/stats",
        "/metrics",
        "/healthz",
        "/readyz",
        "/assets/x",
        "/branding/logo",
        "/.well-known/x",
        "/x.m3u",
        "/x.m3u8",
        "/x.pls",
        "/x.xspf",
        "/x/master.m3u8",
        "/x/playlist.m3u8",
        "/x/segment-1.ts",
        "/x/poster.jpg",
        "/x/whep",
        "/whep",
        "/x/video",
        "/x/_pcm",
        // Not legal in any place.
        "/a//b",
        "//a",
        "/a/",
        "/a/./b",
        "/a/../b",
        "/..",
        "/a\\b",
        "/a%5Cb",
        "/a%0Ab",
        "/a%00b",
        "/%FF",
        "/a%2F%2Fb",
        "/%2e%2e/x",
        "/%61dmin",
        "/adm%69n/x",
        &long,
    ];
    for path in reserved {
        for method in ["SOURCE", "PUT"] {
            let mut wire = server.connect();
            let audio = Mp3::new('a').bytes(4_000);
            let head = format!(
                "{method} {path} HTTP/1.0\r\n{}Content-Type: audio/mpeg\r\n\r\n",
                source_auth()
            );
            wire.send([head.as_bytes(), &audio].concat());
            let head = wire.head();
            let body = String::from_utf8(wire.body(&head)).unwrap();
            if method == "PUT" && path.starts_with("/api") {
                // There it is a call like any other, and answered like one.
                assert!(matches!(head.status, 403 | 404), "{method} {path}: {head:?}");
            } else {
                assert_eq!(
                    (head.status, body.trim()),
                    (403, "Reserved path"),
                    "{method} {path}"
                );
            }
            assert!(
                wire.rest().is_empty(),
                "{method} {path}: audio is never taken for a request"
            );
        }
    }
    assert_eq!(
        server.log_with("Source connected").len(),
        1,
        "only the bystander's"
    );
    bystander.check_unharmed(&server);
}

#[test]
fn names_that_only_look_reserved_are_mounts() {
    let server = Server::setup().set("source_grace_seconds", 0).start();
    let longest = format!("/{}", "x".repeat(254));
    let encoded = [
        ("/playerfm", "/playerfm"),
        ("/eventsradio", "/eventsradio"),
        ("/adminradio", "/adminradio"),
        ("/explorer", "/explorer"),
        ("/x/y/z.mp3", "/x/y/z.mp3"),
        ("/Live", "/Live"),
        ("/live?user=x&x=/admin", "/live"),
        ("/l%C3%B6cal", "/löcal"),
        ("/grün", "/grün"),
        ("/a%20b", "/a b"),
        ("/a+b", "/a+b"),
        ("/...", "/..."),
        (longest.as_str(), longest.as_str()),
    ];
    for (target, mount) in encoded {
        let mut source = Source::open(&server, target);
        source.send(Mp3::new('a').bytes(10_000));
        server.wait_for_mount(mount);
        let listener = Listener::open(&server, target, "");
        assert_eq!(listener.head.status, 200, "{target}");
        drop((source, listener));
        server.wait_for_no_mount(mount);
    }
}

#[test]
fn sloppy_addresses_of_players_are_put_right() {
    let server = Server::start();
    let _feeder = Feeder::start(&server, "/a/b", 'a');
    server.wait_for_mount("/a/b");
    for target in [
        "/a/b",
        "/a//b",
        "//a/b",
        "/a/b/",
        "/a/./b",
        "/a/c/../b",
        "/%61/b",
        "http://elsewhere.example/a/b",
    ] {
        let listener = Listener::open(&server, target, "");
        assert_eq!(listener.head.status, 200, "{target}");
        assert_eq!(listener.head.get("Location"), None);
    }
}

/// Sends a request without a body; the connection is to be closed by the server.
fn ask(server: &Server, method: &str, target: &str, headers: &str) -> crate::harness::Reply {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n");
    request(server.address(), head)
}

fn check_cors(head: &Head) {
    assert_eq!(head.get("Access-Control-Allow-Origin"), Some("*"), "{head:?}");
    let exposed = head.get("Access-Control-Expose-Headers").unwrap_or_default();
    let wanted = "icy-br, icy-description, icy-genre, icy-metaint, icy-name, icy-pub, icy-url, content-range";
    for name in wanted.split(", ") {
        assert!(
            exposed.split(", ").any(|have| have == name),
            "{name} in {exposed:?}"
        );
    }
}

const ALLOWED: &str = "GET, HEAD, PUT, SOURCE, OPTIONS";

#[test]
fn methods_of_a_mount_do_what_players_and_encoders_expect() {
    let server = Server::setup()
        .set("disabled_mounts", json!({ "/off": true }))
        .start();
    let _feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    for mount in ["/live", "/dead"] {
        let options = ask(&server, "OPTIONS", mount, "");
        assert_eq!(
            (options.status(), options.head.get("Allow")),
            (204, Some(ALLOWED)),
            "{mount}"
        );
        for method in ["POST", "PATCH", "TRACE", "BREW"] {
            let reply = ask(&server, method, mount, "Content-Length: 0\r\n");
            assert_eq!(
                (reply.status(), reply.head.get("Allow")),
                (405, Some(ALLOWED)),
                "{method} {mount}"
            );
            check_cors(&reply.head);
        }
    }
    assert_eq!(ask(&server, "DELETE", "/live", &source_auth()).status(), 405);
    assert!(matches!(ask(&server, "DELETE", "/dead", "").status(), 404 | 405));
    assert!(server.status_of("/live").is_some());
    let star = ask(&server, "OPTIONS", "*", "Upgrade: TLS/1.0\r\n");
    assert_eq!((star.status(), star.head.get("Allow")), (204, Some(ALLOWED)));
    assert_eq!(
        star.head.get("Accept-Encoding"),
        Some("identity, chunked"),
        "libshout reads it"
    );
    for (method, mount, status) in [
        ("GET", "/dead", 404),
        ("HEAD", "/dead", 404),
        ("GET", "/off", 403),
        ("HEAD", "/off", 403),
    ] {
        let reply = {
            let mut wire = server.connect();
            wire.send(format!(
                "{method} {mount} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
            ));
            let head = wire.head();
            let body = wire.rest();
            assert_eq!(body.is_empty(), method == "HEAD", "{method} {mount}");
            head
        };
        assert_eq!(reply.status, status, "{method} {mount}");
        check_cors(&reply);
    }
}

#[test]
fn a_probe_learns_everything_and_is_not_counted() {
    let server = Server::start();
    let _feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    for version in ["1.0", "1.1"] {
        let keep = if version == "1.0" {
            "Connection: keep-alive\r\n"
        } else {
            ""
        };
        let mut wire = server.connect();
        let probe = format!("HEAD /live HTTP/{version}\r\nHost: h\r\nIcy-MetaData: 1\r\n{keep}\r\n");
        wire.send(&probe);
        let first = wire.head();
        wire.send(&probe);
        let second = wire.head();
        assert_eq!(
            (first.status, second.status),
            (200, 200),
            "the connection is used again"
        );
        assert!(first.line.starts_with(&format!("HTTP/{version} ")), "{first:?}");
        let mut listener = server.connect();
        listener.send(format!(
            "GET /live HTTP/{version}\r\nHost: h\r\nIcy-MetaData: 1\r\n\r\n"
        ));
        let heard = listener.head();
        assert!(heard.line.starts_with(&format!("HTTP/{version} ")), "{heard:?}");
        let told = |head: &Head| {
            let mut headers = head.headers.clone();
            // What is each answer's own.
            let own = ["Date", "Connection", "Keep-Alive", "X-Request-Id"];
            headers.retain(|(name, _)| !own.contains(&name.as_str()));
            headers.sort();
            headers
        };
        assert_eq!(
            told(&first),
            told(&heard),
            "a probe is told what a listener is told"
        );
        assert_eq!(heard.get("Transfer-Encoding"), None);
        assert_eq!(heard.get("Content-Length"), None);
        for name in ["icy-name", "icy-pub", "icy-metaint"] {
            assert!(heard.spells(name), "{name}: {heard:?}");
        }
        for (name, value) in [
            ("Content-Type", "audio/mpeg"),
            ("Cache-Control", "no-cache, no-store, must-revalidate"),
            ("Pragma", "no-cache"),
            ("Expires", "Mon, 26 Jul 1997 05:00:00 GMT"),
            ("Accept-Ranges", "none"),
            ("X-Accel-Buffering", "no"),
            ("X-Stream-Status", "primary"),
            ("Server", "Icecast 2.4.4 (TinyIce)"),
            ("Connection", "close"),
        ] {
            assert_eq!(heard.get(name), Some(value), "{name}");
        }
        check_cors(&heard);
        check_cors(&first);
    }
    assert!(
        server.status_of("/live").unwrap()["listener_peak"]
            .as_u64()
            .unwrap()
            <= 2,
        "only the real ones"
    );
}

#[test]
fn ranges_and_conditions_are_ignored() {
    let server = Server::start();
    let _feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    for headers in [
        "Range: bytes=0-\r\n",
        "Range: bytes=100-200\r\n",
        "Range: bytes=0-0,-1\r\n",
        "If-None-Match: *\r\nIf-Modified-Since: Mon, 26 Jul 2027 05:00:00 GMT\r\n",
        "If-Match: \"x\"\r\n",
        "Authorization: Basic bm86Ym9keQ==\r\n",
        "Accept: text/html\r\nAccept-Encoding: gzip\r\n",
    ] {
        let mut listener = Listener::open(&server, "/live", headers);
        assert_eq!(listener.head.status, 200, "{headers}");
        assert_eq!(
            (
                listener.head.get("Content-Range"),
                listener.head.get("Content-Encoding")
            ),
            (None, None)
        );
        assert_eq!(
            listener.wire.exact(4),
            [0xff, 0xfb, 0x90, 0x00],
            "the stream as for everybody"
        );
    }
}

#[test]
fn players_on_other_pages_may_listen_and_nothing_else() {
    let server = Server::start();
    let _feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    let origin = "Origin: https://elsewhere.example\r\n";
    let question = format!(
        "{origin}Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: icy-metadata, range\r\n"
    );
    for target in [
        "/live",
        "/dead",
        "*",
        "/live.m3u",
        "/live.pls",
        "/live/playlist.m3u8",
        "/status-json.xsl",
        "/7.html",
        "/stats",
        "/events",
    ] {
        let reply = ask(&server, "OPTIONS", target, &question);
        assert_eq!(reply.status(), 204, "{target}");
        check_cors(&reply.head);
        let headers = match target {
            // What clients of event feeds send beyond a browser's own.
            "/events" => {
                "Icy-MetaData, Range, If-Range, Content-Type, Authorization, Cache-Control, Last-Event-ID"
            }
            _ => "Icy-MetaData, Range, If-Range, Content-Type, Authorization",
        };
        for (name, value) in [
            ("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS"),
            ("Access-Control-Allow-Headers", headers),
            ("Access-Control-Max-Age", "300"),
        ] {
            assert_eq!(reply.head.get(name), Some(value), "{target}");
        }
    }
    let listener = Listener::open(&server, "/live", &format!("{origin}Icy-MetaData: 1\r\n"));
    check_cors(&listener.head);
    assert_eq!(listener.head.get("icy-metaint"), Some("16000"));
    check_cors(&get(server.address(), "/live.m3u", origin).head);
    for target in ["/status-json.xsl", "/7.html", "/stats?sid=1"] {
        check_cors(&get(server.address(), target, origin).head);
    }
    for target in [
        "/status.xsl",
        "/admin/stats",
        "/admin/listmounts",
        "/admin/metadata?mount=/live&song=x",
        "/admin",
        "/login",
    ] {
        let auth = format!("{origin}{}", Server::admin_auth());
        let reply = get(server.address(), target, &auth);
        assert_eq!(reply.head.get("Access-Control-Allow-Origin"), None, "{target}");
        let reply = ask(&server, "OPTIONS", target, &question);
        assert_eq!(
            reply.head.get("Access-Control-Allow-Origin"),
            None,
            "preflight of {target}"
        );
    }
}
