//! Sources, byte by byte: what encoders of thirty years send, and what they must be told.
//!
//! Contract: no byte of audio is lost or added, whatever way it came in.

use std::{
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::harness::{
    Capture, FRAME, Listener, Mp3, SOURCE_PASSWORD, Server, Source, Wire, basic, get, numbers, source_auth,
    until,
};

const ACCEPTED: &str = "HTTP/1.0 200 OK";

/// The head of an unframed answer holds these and nothing that could frame a body.
fn check_accepted(wire: &mut Wire) {
    let head = wire.head();
    assert_eq!(head.line, ACCEPTED);
    assert_eq!(head.get("Server"), Some("Icecast 2.4.4"));
    assert_eq!(head.get("Connection"), Some("Keep-Alive"));
    assert_eq!(head.get("Content-Length").or(head.get("Transfer-Encoding")), None);
}

#[test]
fn heads_of_every_age_are_understood_and_audio_behind_them_is_kept() {
    let server = Server::start();
    let basic = basic("source", SOURCE_PASSWORD);
    let heads = [
        format!("SOURCE /0 HTTP/1.0\r\nAuthorization: {basic}\r\n\r\n"),
        format!("SOURCE /1 ICE/1.0\r\nAuthorization: {basic}\r\nContent-Type: audio/mpeg\r\n\r\n"),
        format!("SOURCE /2 HTTP/1.1\r\nAuthorization: {basic}\r\n\r\n"),
        format!("PUT /3 HTTP/1.1\r\nAuthorization: {basic}\r\nContent-Type: audio/mpeg\r\n\r\n"),
        format!("SOURCE /4 HTTP/1.0\nAuthorization: {basic}\n\n"),
        format!(
            "SOURCE /5 HTTP/1.0\r\nauthorization:{basic}\r\nice-name:no space\r\ncontent-type:audio/mpeg\r\n\r\n"
        ),
        format!(
            "SOURCE http://radio.example/6 HTTP/1.1\r\nHost: radio.example\r\nAuthorization: {basic}\r\n\r\n"
        ),
        format!(
            "SOURCE /7 HTTP/1.0\r\nAuthorization: basic {}\r\nContent-Length: 0\r\n\r\n",
            &basic[6..]
        ),
        format!("SOURCE /8 HTTP/1.0\r\nHost: x\r\nAuthorization: {basic}\r\nice-name: N\u{e4}me\r\n\r\n"),
    ];
    for (index, head) in heads.iter().enumerate() {
        let mount = format!("/{index}");
        let mut frames = Mp3::new('a');
        let audio = frames.bytes(4_096);
        let mut wire = server.connect();
        // One segment, so that the server reads head and audio together.
        wire.send([head.as_bytes(), &audio].concat());
        check_accepted(&mut wire);
        let more = frames.bytes(8_000);
        let listener = Capture::start(&server, &mount, "");
        wire.send(&more);
        drop(wire);
        let length = audio.len() + more.len();
        assert!(
            listener.wait_for(length) == [audio, more].concat(),
            "{head:?} changed the audio"
        );
    }
}

#[test]
fn header_values_that_are_not_utf_8_are_latin_1() {
    let server = Server::start();
    let mut wire = server.connect();
    let head = format!("SOURCE /live HTTP/1.0\r\n{}ice-name: Caf", source_auth());
    wire.send([head.as_bytes(), b"\xe9\r\nice-genre: \xc3\xa9\r\n\r\n"].concat());
    check_accepted(&mut wire);
    let status = server.status_of("/live").unwrap();
    assert_eq!(
        (status["server_name"].as_str(), status["genre"].as_str()),
        (Some("Café"), Some("é"))
    );
}

#[test]
fn asking_first_and_then_publishing_on_the_same_connection_never_locks_out() {
    let server = Server::setup()
        .strict_loopback()
        .set("source_grace_seconds", 0)
        .start();
    for round in 0..20 {
        let mut wire = server.connect();
        wire.send("SOURCE /live HTTP/1.0\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n");
        let head = wire.head();
        assert_eq!(head.status, 401, "round {round}: {head:?}");
        assert_eq!(head.get("WWW-Authenticate"), Some("Basic realm=\"Icecast\""));
        assert_eq!(head.get("Content-Type"), Some("text/plain; charset=utf-8"));
        assert!(
            head.get("Connection")
                .is_some_and(|value| value.eq_ignore_ascii_case("keep-alive")),
            "{head:?}"
        );
        assert!(head.get("Content-Length").is_some());
        assert_eq!(wire.body(&head).trim_ascii(), b"Unauthorized");
        wire.send(format!(
            "SOURCE /live HTTP/1.0\r\n{}Content-Length: 0\r\nConnection: Keep-Alive\r\n\r\n",
            source_auth()
        ));
        check_accepted(&mut wire);
        wire.send(Mp3::new('a').bytes(2_000));
        drop(wire);
        server.wait_for_no_mount("/live");
    }
}

#[test]
fn what_libshout_asks_before_it_publishes_is_answered() {
    let server = Server::setup().strict_loopback().start();
    let mut wire = server.connect();
    wire.send("OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: Keep-Alive, Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n");
    let head = wire.head();
    assert!(matches!(head.status, 200 | 204), "{head:?}");
    let allow = head.get("Allow").unwrap_or_default();
    for method in ["GET", "HEAD", "PUT", "SOURCE", "OPTIONS"] {
        assert!(allow.split(", ").any(|have| have == method), "{head:?}");
    }
    wire.body(&head);
    wire.send("GET /admin/!POKE HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
    let head = wire.head();
    assert_eq!(head.status, 401);
    assert!(head.get("WWW-Authenticate").is_some(), "{head:?}");
    wire.body(&head);
    wire.send("SOURCE /live HTTP/1.0\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n");
    let head = wire.head();
    assert_eq!(head.status, 401);
    wire.body(&head);
    wire.send(format!("SOURCE /live HTTP/1.0\r\n{}\r\n", source_auth()));
    check_accepted(&mut wire);
}

#[test]
fn a_continue_comes_only_after_every_check() {
    let server = Server::setup()
        .set("disabled_mounts", json!({ "/disabled": true }))
        .start();
    let _busy = Source::open(&server, "/busy");
    let auth = source_auth();
    let ask = |mount: &str, more: &str| {
        let mut wire = server.connect();
        wire.send(format!(
            "PUT {mount} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{more}\r\n"
        ));
        wire
    };
    for (mount, more, status) in [
        ("/live", "", 401),
        ("/live", "Authorization: Basic eDp5\r\n", 401),
        ("/busy", &auth, 403),
        ("/disabled", &auth, 403),
        ("/admin", &auth, 403),
        ("/busy", &format!("{auth}Transfer-Encoding: chunked\r\n"), 403),
    ] {
        assert_eq!(ask(mount, more).head().status, status, "{mount} {more}");
    }
    let mut unframed = ask("/unframed", &auth);
    assert_eq!(unframed.head().line, "HTTP/1.1 100 Continue");
    check_accepted(&mut unframed);

    // The final answer to a framed body comes behind it: an early one makes proxies stop forwarding.
    let mut frames = Mp3::new('a');
    let mut framed = ask("/framed", &format!("{auth}Transfer-Encoding: chunked\r\n"));
    assert_eq!(framed.head().line, "HTTP/1.1 100 Continue");
    let listener = Capture::start(&server, "/framed", "");
    let audio = frames.bytes(20_000);
    framed.send([format!("{:x}\r\n", audio.len()).as_bytes(), &audio, b"\r\n"].concat());
    listener.wait_for(audio.len() - 2 * FRAME);
    assert!(framed.stays_silent(Duration::from_millis(100)));
    framed.send("0\r\n\r\n");
    let head = framed.head();
    assert_eq!(
        (head.line.as_str(), head.get("Content-Length")),
        ("HTTP/1.1 200 OK", Some("0"))
    );
}

#[test]
fn framed_bodies_arrive_without_their_framing() {
    let server = Server::setup().set("source_grace_seconds", 0).start();
    let audio = Mp3::new('a').bytes(30_000);
    let auth = source_auth();
    let mut chunked = Vec::new();
    for (index, piece) in audio.chunks(777).enumerate() {
        let (size, line) = (
            piece.len(),
            ["\r\n", ";name=value\r\n", ";a;b=\"c\"\r\n"][index % 3],
        );
        let digits = [format!("{size:x}"), format!("{size:X}"), format!("{size:06x}")];
        chunked.extend([digits[index % 3].as_bytes(), line.as_bytes(), piece, b"\r\n"].concat());
    }
    chunked.extend(b"0\r\nTrailer: dropped\r\n\r\n");
    let length = format!("Content-Length: {}\r\n", audio.len());
    for (mount, method, framing, body, early) in [
        (
            "/chunked-put",
            "PUT",
            "Transfer-Encoding: chunked\r\n",
            &chunked,
            false,
        ),
        (
            "/chunked-source",
            "SOURCE",
            "Transfer-Encoding: chunked\r\n",
            &chunked,
            true,
        ),
        ("/length-put", "PUT", &length, &audio, false),
        ("/length-source", "SOURCE", &length, &audio, true),
    ] {
        let mut wire = server.connect();
        wire.send(format!(
            "{method} {mount} HTTP/1.1\r\nHost: x\r\n{auth}{framing}\r\n"
        ));
        if early {
            check_accepted(&mut wire);
        }
        server.wait_for_mount(mount);
        let listener = Capture::start(&server, mount, "");
        // In pieces that cut through sizes, line ends and trailers.
        for piece in body.chunks(97) {
            wire.send(piece);
        }
        assert!(listener.wait_for_end() == audio, "{mount} changed the audio");
        if !early {
            let head = wire.head();
            assert_eq!(
                (head.status, head.get("Content-Length")),
                (200, Some("0")),
                "{mount}"
            );
        }
        server.wait_for_no_mount(mount);
    }
}

#[test]
fn broken_framing_ends_a_source_and_adds_nothing() {
    let server = Server::setup().set("source_grace_seconds", 0).start();
    let audio = Mp3::new('a').bytes(10_000);
    let mut wire = server.connect();
    wire.send(format!(
        "PUT /live HTTP/1.1\r\nHost: x\r\n{}Transfer-Encoding: chunked\r\n\r\n",
        source_auth()
    ));
    server.wait_for_mount("/live");
    let listener = Capture::start(&server, "/live", "");
    wire.send(
        [
            format!("{:x}\r\n", audio.len()).as_bytes(),
            &audio,
            b"\r\nnonsense\r\n",
            &audio,
        ]
        .concat(),
    );
    assert!(listener.wait_for_end() == audio);
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    for framing in [
        both,
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: -1\r\n",
    ] {
        let mut wire = server.connect();
        wire.send(format!(
            "PUT /live HTTP/1.1\r\nHost: x\r\n{}{framing}\r\n",
            source_auth()
        ));
        assert_eq!(wire.head().status, 400, "{framing}");
        wire.rest();
    }
}

#[test]
fn bytes_of_a_source_are_never_a_request() {
    let server = Server::start();
    let mut source = Source::open(&server, "/live");
    let listener = Capture::start(&server, "/live", "");
    let audio = Mp3::new('a').bytes(5_000);
    source.send(&audio);
    source.send("GET /status-json.xsl HTTP/1.1\r\nHost: x\r\n\r\n");
    source.send(Mp3::new('b').bytes(5_000));
    assert!(listener.wait_for(audio.len() + 5_000).starts_with(&audio));
    assert!(source.wire.stays_silent(Duration::from_millis(200)));
}

#[test]
fn of_two_sources_at_the_same_moment_one_wins_and_nothing_is_mixed() {
    let server = Server::start();
    for round in 0..10 {
        let mount = format!("/race-{round}");
        let start = Arc::new(Barrier::new(2));
        let racers = ['a', 'b'].map(|mark| {
            let (start, mount, mut wire) = (Arc::clone(&start), mount.clone(), server.connect());
            std::thread::spawn(move || {
                start.wait();
                let head = format!("SOURCE {mount} HTTP/1.0\r\n{}\r\n", source_auth());
                // The loser is closed while it still sends.
                let _ = wire.try_send([head.as_bytes(), &Mp3::new(mark).bytes(20_000)].concat());
                (wire.head(), wire, mark)
            })
        });
        let results = racers.map(|racer| racer.join().unwrap());
        let winner = results.iter().position(|(head, ..)| head.status == 200).unwrap();
        let (loser, wire, _) = &results[1 - winner];
        assert_eq!(loser.status, 403, "round {round}: {loser:?}");
        assert!(loser.get("Content-Length").is_some(), "{loser:?}");
        drop(wire.try_clone());
        let listener = Capture::start(&server, &mount, "");
        let frames = numbers(&listener.wait_for(19_000));
        let expected: Vec<_> = (0..)
            .map(|number| (results[winner].2, number))
            .take(frames.len())
            .collect();
        assert_eq!(frames, expected, "round {round}");
    }
}

#[test]
fn a_second_source_is_told_why() {
    let server = Server::start();
    let _first = Source::open(&server, "/live");
    let mut second = server.connect();
    second.send(format!("SOURCE /live HTTP/1.0\r\n{}\r\n", source_auth()));
    let head = second.head();
    assert_eq!(
        (head.status, head.get("Content-Type")),
        (403, Some("text/plain; charset=utf-8"))
    );
    assert_eq!(
        second.body(&head).trim_ascii(),
        b"Mount already has an active source"
    );
}

#[test]
fn an_encoder_behind_a_dead_connection_gets_its_mount_back_after_five_seconds() {
    let server = Server::start();
    let head = |agent: &str| {
        format!(
            "SOURCE /live HTTP/1.0\r\n{}User-Agent: {agent}\r\n\r\n",
            source_auth()
        )
    };
    let attempt = |agent: &str| {
        let mut wire = server.connect();
        wire.send(head(agent));
        let status = wire.head().status;
        (status == 200).then_some(wire)
    };
    let mut dead = attempt("encoder/1").unwrap();
    dead.send(Mp3::new('a').bytes(2_000));
    let silent = Instant::now();
    let _alive = until("the mount given to the same encoder again", || {
        assert!(attempt("stranger/1").is_none(), "somebody else took the mount");
        attempt("encoder/1")
    });
    assert!(
        silent.elapsed() > Duration::from_millis(4_900),
        "after {:?}",
        silent.elapsed()
    );
    dead.rest();
}

#[test]
fn a_source_without_audio_is_pointed_at_its_proxy() {
    let server = Server::start();
    let mut wire = server.connect();
    wire.send(format!(
        "PUT /live HTTP/1.1\r\nHost: x\r\n{}Transfer-Encoding: chunked\r\n\r\n",
        source_auth()
    ));
    let line = server.wait_for_log("Source connected but has sent no audio after 10s");
    assert!(line.contains("proxy_request_buffering off"), "{line}");
}

#[test]
fn wrong_passwords_lock_out_and_missing_ones_do_not() {
    let server = Server::setup().strict_loopback().start();
    let _live = Source::open(&server, "/live");
    let attempt = |auth: &str| {
        let mut wire = server.connect();
        wire.send(format!("SOURCE /other HTTP/1.0\r\n{auth}\r\n"));
        wire.head().status
    };
    for _ in 0..20 {
        assert_eq!(attempt(""), 401);
    }
    assert_eq!(attempt(&source_auth()), 200);
    until("the mount free again", || {
        (attempt(&source_auth()) == 200).then_some(())
    });
    let wrong = format!("Authorization: {}\r\n", basic("source", "wrong"));
    for _ in 0..5 {
        assert_eq!(attempt(&wrong), 401);
    }
    assert_eq!(
        attempt(&source_auth()),
        401,
        "five wrong passwords lock an address out"
    );
    // An office behind one address goes on listening.
    assert_eq!(Listener::open(&server, "/live", "").head.status, 200);
}

#[test]
fn names_that_are_no_mounts_are_refused() {
    let server = Server::start();
    let long = format!("/{}", "x".repeat(255));
    let reserved = [
        "/",
        "/admin",
        "/admin/metadata",
        "/admin/x",
        "/admin.cgi",
        "/api/streams",
        "/events",
        "/explore",
        "/login",
        "/setup",
        "/metrics",
        "/status-json.xsl",
        "/status.xsl",
        "/7.html",
        "/stats",
        "/assets/x.js",
        "/player/live",
        "/embed/live",
        "/.well-known/x",
        "/webrtc/offer",
        "/x.m3u",
        "/x.m3u8",
        "/x.pls",
        "/x.xspf",
        "/x/video",
        "/x/_pcm",
        "/x/whep",
        "/x/poster.jpg",
        "/x/playlist.m3u8",
        "/x/master.m3u8",
        "/x/segment-1.ts",
        "/a//b",
        "/a/",
        "/a/./b",
        "/a/../b",
        "/a%5Cb",
        "/a%01b",
        "/%FF",
        "/a%2F%2Fb",
        &long,
    ];
    for method in ["SOURCE", "PUT"] {
        for name in reserved {
            let mut wire = server.connect();
            wire.send(format!(
                "{method} {name} HTTP/1.1\r\nHost: x\r\n{}\r\n",
                source_auth()
            ));
            let head = wire.head();
            let body = wire.body(&head);
            if method == "PUT" && name.starts_with("/api") {
                // There it is a call like any other, and answered like one.
                assert!(matches!(head.status, 403 | 404), "{method} {name}: {head:?}");
                continue;
            }
            assert_eq!(head.status, 403, "{method} {name}: {head:?}");
            assert_eq!(body.trim_ascii(), b"Reserved path", "{method} {name}");
        }
    }
    let welcome = [
        "/playerfm",
        "/eventsradio",
        "/adminradio",
        "/live.mp3",
        "/a/b/c",
        "/a%20b",
        "/stra%C3%9Fe",
        "/+plus",
        &long[..255],
    ];
    for name in welcome {
        let mut wire = server.connect();
        wire.send(format!("SOURCE {name} HTTP/1.0\r\n{}\r\n", source_auth()));
        assert_eq!(wire.head().status, 200, "{name}");
        let listener = Listener::open(&server, name, "");
        assert_eq!(listener.head.status, 200, "{name}");
    }
}

#[test]
fn headers_of_every_dialect_describe_the_stream() {
    let server = Server::start();
    let dialects = [
        "ice-name: N\r\nice-description: D\r\nice-genre: G\r\nice-url: http://u/\r\nice-public: 1\r\nice-bitrate: 96\r\n",
        "icy-name:N\r\nicy-description:D\r\nicy-genre:G\r\nicy-url:http://u/\r\nicy-pub:1\r\nicy-br:96\r\n",
        "x-audiocast-name: N\r\nx-audiocast-description: D\r\nx-audiocast-genre: G\r\nx-audiocast-url: http://u/\r\n\
         x-audiocast-public: yes\r\nx-audiocast-bitrate: 96\r\n",
        "Ice-Name: N\r\nIce-Description: D\r\nIce-Genre: G\r\nIce-Url: http://u/\r\nicy-public: true\r\n\
         ice-bitrate: N/A\r\nice-audio-info: ice-samplerate=44100;bitrate=96;ice-channels=2\r\n",
    ];
    for (index, headers) in dialects.iter().enumerate() {
        let mount = format!("/{index}");
        let _source = Source::with(&server, &mount, &format!("Content-Type: audio/mpeg\r\n{headers}"));
        let head = Listener::open(&server, &mount, "").head;
        for (name, value) in [
            ("icy-name", "N"),
            ("icy-description", "D"),
            ("icy-genre", "G"),
            ("icy-url", "http://u/"),
            ("icy-pub", "1"),
            ("icy-br", "96"),
        ] {
            assert_eq!(head.get(name), Some(value), "{headers:?}: {head:?}");
            assert!(head.spells(name), "{head:?}");
        }
    }
    let status = get(server.address(), "/status-json.xsl?mount=/3", "").json();
    let source = &status["icestats"]["source"][0];
    assert_eq!(
        (source["bitrate"].as_u64(), source["ice-samplerate"].as_u64()),
        (Some(96), Some(44_100)),
        "{source}"
    );
}

/// A server with a Shoutcast port, and that port.
fn shoutcast_server() -> (Server, std::net::SocketAddr) {
    let port = Server::free_port();
    let server = Server::setup()
        .strict_loopback()
        .set(
            "shoutcast",
            json!({ "port": port.to_string(), "mount": "/stream" }),
        )
        .start();
    (server, ([127, 0, 0, 1], port).into())
}

#[test]
fn a_shoutcast_source_publishes_on_its_own_port() {
    let (server, port) = shoutcast_server();
    for password in [
        SOURCE_PASSWORD.to_owned(),
        format!("dj:{SOURCE_PASSWORD}"),
        format!("dj:{SOURCE_PASSWORD}:#1"),
    ] {
        let mut wire = Wire::connect(port);
        wire.send(format!("{password}\r\n"));
        assert_eq!(wire.line(), "OK2");
        assert_eq!(wire.line(), "icy-caps:11");
        assert_eq!(wire.line(), "");
        let audio = Mp3::new('s').bytes(4_096);
        let headers = "icy-name:Old\r\nicy-genre:Jazz\r\nicy-url:http://u/\r\nicy-pub:0\r\nicy-br:128\r\n\
                       content-type:audio/mpeg\r\n\r\n";
        wire.send([headers.as_bytes(), &audio].concat());
        server.wait_for_mount("/stream");
        let listener = Capture::start(&server, "/stream", "");
        assert_eq!(
            (listener.head.get("icy-name"), listener.head.get("icy-br")),
            (Some("Old"), Some("128"))
        );
        let more = Mp3::new('s').bytes(4_096);
        wire.send(&more);
        assert!(
            listener
                .wait_for(audio.len() + more.len() - FRAME)
                .starts_with(&audio),
            "{password}"
        );
        drop(wire);
        server.wait_for_no_mount("/stream");
    }
}

#[test]
fn a_wrong_shoutcast_password_is_named_and_counts() {
    let (server, port) = shoutcast_server();
    for _ in 0..5 {
        let mut wire = Wire::connect(port);
        wire.send("wrong\r\n");
        assert_eq!(wire.rest(), b"invalid password\r\n");
    }
    let mut wire = Wire::connect(port);
    wire.send(format!("{SOURCE_PASSWORD}\r\n"));
    assert_ne!(
        wire.rest(),
        b"OK2\r\nicy-caps:11\r\n\r\n",
        "a locked address got in"
    );
    assert!(server.status_of("/stream").is_none());
}
