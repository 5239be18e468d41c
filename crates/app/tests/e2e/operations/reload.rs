//! Reading the configuration again while everything runs.
//!
//! Contract: what did not change is not disturbed by a byte, and a file that cannot be used changes nothing.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{
    ADMIN, Capture, Client, Feeder, Listener, Mp3, SOURCE_PASSWORD, Server, Source, basic, get, hash,
    numbers, until,
};

fn publish(server: &Server, mount: &str, password: &str) -> u16 {
    let mut wire = server.connect();
    let auth = basic("source", password);
    wire.send(format!(
        "SOURCE {mount} HTTP/1.0\r\nContent-Length: 0\r\nAuthorization: {auth}\r\n\r\n"
    ));
    wire.head().status
}

/// A source and its listener, of whom every byte is compared.
struct Exact {
    source: Source,
    frames: Mp3,
    sent: Vec<u8>,
    listener: Capture,
}

impl Exact {
    fn start(server: &Server) -> Self {
        let (mut source, mut frames) = (Source::open(server, "/exact"), Mp3::new('x'));
        let sent = frames.bytes(10_000);
        source.send(&sent);
        server.wait_for_mount("/exact");
        let listener = Capture::start(server, "/exact", "");
        let mut exact = Self {
            source,
            frames,
            sent,
            listener,
        };
        exact.check();
        exact
    }

    /// Sends more, and panics unless the listener gets just that.
    fn check(&mut self) {
        let more = self.frames.bytes(5_000);
        self.source.send(&more);
        self.sent.extend(more);
        let heard = until("every byte", || {
            let heard = self.listener.bytes();
            (heard.len() > 5_000 && self.sent.ends_with(&heard)).then_some(heard)
        });
        numbers(&heard);
        assert!(!self.listener.has_ended());
    }
}

#[test]
fn a_broken_file_changes_nothing_and_is_named() {
    let server = Server::start();
    let mut exact = Exact::start(&server);
    let good = std::fs::read(server.config_path()).unwrap();
    for (text, expected) in [
        ("{ \"max_listeners\": \n", ":2:1: "),
        (
            "{\n  \"default_source_password\": 5,\n  \"disabled_mounts\": {\"/exact\": true}\n}",
            ":2:30: default_source_password: ",
        ),
        ("", ":1:1: "),
    ] {
        server.folder().write("tinyice.json", text);
        assert!(!server.reload(), "{text}");
        let line = server.log_with("Failed to reload config: ").pop().unwrap();
        assert!(line.contains("tinyice.json") && line.contains(expected), "{line}");
        exact.check();
        assert_eq!(
            publish(&server, "/other", SOURCE_PASSWORD),
            200,
            "the old passwords count"
        );
        assert_eq!(server.admin("listmounts").status(), 200);
    }
    std::fs::remove_file(server.config_path()).unwrap();
    assert!(!server.reload(), "a file that is gone is no empty one");
    exact.check();
    std::fs::write(server.config_path(), good).unwrap();
    assert!(server.reload());
    exact.check();
}

#[test]
fn an_unchanged_file_is_noticed_by_nobody() {
    let server = Server::start();
    let mut exact = Exact::start(&server);
    let before = server.log().len();
    for _ in 0..20 {
        server.signal(Signal::HUP);
    }
    assert!(server.reload());
    exact.check();
    let log = server.log()[before..].join("\n");
    assert!(
        log.contains("Configuration reloaded successfully\t{\"changed\": \"\"}"),
        "{log}"
    );
    for word in ["WARN", "ERROR", "Source", "Listener", "Listening"] {
        assert!(!log.contains(word), "{word} in {log}");
    }
}

#[test]
fn new_passwords_count_from_the_next_connect() {
    let server = Server::start();
    let mut exact = Exact::start(&server);
    server.edit_config(|config| {
        config["default_source_password"] = hash("new").into();
        config["mounts"] = json!({ "/own": hash("own") });
        config["users"]["admin"]["password"] = hash("other").into();
    });
    assert!(server.reload());
    let line = server.wait_for_log("Configuration reloaded successfully");
    for key in ["default_source_password", "mounts", "users"] {
        assert!(line.contains(key), "{key} in {line}");
    }
    assert!(!line.contains("$2"), "keys, never values: {line}");
    exact.check();
    assert_eq!(publish(&server, "/a", SOURCE_PASSWORD), 401);
    assert_eq!(publish(&server, "/a", "new"), 200);
    assert_eq!(publish(&server, "/own", "new"), 401);
    assert_eq!(publish(&server, "/own", "own"), 200);
    assert_eq!(server.admin("listmounts").status(), 401);
    let auth = format!("Authorization: {}\r\n", basic("admin", "other"));
    assert_eq!(get(server.address(), "/admin/listmounts", &auth).status(), 200);
}

#[test]
fn a_password_in_plain_text_is_replaced_by_its_hash() {
    let server = Server::setup()
        .set("mounts", json!({ "/a": "swordfish" }))
        .start();
    assert_eq!(publish(&server, "/a", "swordfish"), 200);
    until("the hash in the file", || {
        server.config()["mounts"]["/a"]
            .as_str()
            .unwrap()
            .starts_with("$2")
            .then_some(())
    });
    server.edit_config(|config| config["mounts"]["/a"] = json!("trout"));
    assert!(server.reload());
    assert_eq!(publish(&server, "/a", "trout"), 200);
    let text = std::fs::read_to_string(server.config_path()).unwrap();
    assert!(!text.contains("trout") && !text.contains("swordfish"), "{text}");
    let log = server.log().join("\n");
    assert!(log.contains("mounts") && !log.contains("trout") && !log.contains("swordfish"));
}

#[test]
fn names_visibility_and_bursts_follow_the_file() {
    let server = Server::setup().set("default_burst_size", 1 << 20).start();
    let _feeder = Feeder::run(
        Source::with(&server, "/live", "Ice-Name: As sent\r\n"),
        Mp3::new('a'),
        2.0,
    );
    server.wait_for_mount("/live");
    let old = Capture::start(&server, "/live", "");
    let first = |listener: &Capture| numbers(&listener.wait_for(2_000))[0].1;
    assert_eq!(first(&old), 0, "all there is");
    old.wait_for(20_000);
    server.edit_config(|config| {
        config["default_burst_size"] = 1_000.into();
        config["advanced_mounts"] = json!({ "/live": { "name_override": "As wanted" } });
    });
    assert!(server.reload());
    assert!(
        first(&Capture::start(&server, "/live", "")) > 20,
        "near the live edge"
    );
    assert_eq!(
        Listener::open(&server, "/live", "").head.get("icy-name"),
        Some("As wanted")
    );
    assert_eq!(server.status_of("/live").unwrap()["server_name"], "As wanted");
    server.edit_config(|config| config["visible_mounts"] = json!({ "/live": false }));
    assert!(server.reload());
    assert!(server.status_of("/live").is_none(), "hidden at once");
    server.edit_config(|config| {
        config["visible_mounts"] = json!({});
        config["advanced_mounts"] = json!({ "/live": { "burst_size": 1 << 20 } });
    });
    assert!(server.reload());
    assert_eq!(server.status_of("/live").unwrap()["server_name"], "As sent");
    assert!(
        first(&Capture::start(&server, "/live", "")) < 20,
        "a mount's own burst counts more"
    );
    assert!(!old.has_ended());
}

#[test]
fn a_ban_closes_what_that_address_has_open() {
    let server = Server::setup()
        .set("trusted_proxies", json!(["127.0.0.1"]))
        .start();
    let mut exact = Exact::start(&server);
    let from = |ip: &str| format!("X-Forwarded-For: {ip}\r\n");
    let banned = Capture::start(&server, "/exact", &from("192.0.2.6"));
    let neighbour = Capture::start(&server, "/exact", &from("192.0.2.70"));
    let mut source = Source::with(&server, "/doomed", &from("192.0.2.7"));
    source.send(Mp3::new('d').bytes(10_000));
    server.wait_for_mount("/doomed");
    let orphan = Capture::start(&server, "/doomed", "");

    server.edit_config(|config| config["banned_ips"] = json!(["192.0.2.0/29"]));
    assert!(server.reload());
    numbers(&banned.wait_for_end());
    assert!(source.wire.rest().is_empty());
    numbers(&orphan.wait_for_end());
    assert!(server.status_of("/doomed").is_none());
    for (path, status) in [("/exact", 403), ("/status-json.xsl", 403), ("/healthz", 403)] {
        assert_eq!(
            get(server.address(), path, &from("192.0.2.1")).status(),
            status,
            "{path}"
        );
    }
    let refused = Source::try_with(&server, "/again", &from("192.0.2.7"))
        .err()
        .unwrap();
    assert_eq!((refused.status(), refused.text().trim()), (403, "Forbidden"));
    server.wait_for_log("Banned IP source connection");
    exact.check();
    assert!(!neighbour.has_ended());
}

#[test]
fn a_banned_peer_is_dropped_before_it_says_a_word() {
    let server = Server::setup().strict_loopback().start();
    let feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    let listener = Capture::start(&server, "/live", "");
    listener.wait_for(4_000);
    server.edit_config(|config| config["banned_ips"] = json!(["127.0.0.0/8"]));
    assert!(server.reload());
    numbers(&listener.wait_for_end());
    let mut wire = server.connect();
    assert!(wire.rest().is_empty(), "closed without a byte");
    server.wait_for_log("Dropping connection from banned IP at TCP level");
    server.edit_config(|config| config["whitelisted_ips"] = json!(["127.0.0.1"]));
    assert!(server.reload());
    assert_eq!(
        get(server.address(), "/healthz", "").status(),
        200,
        "the white list wins"
    );
    drop(feeder);
}

#[test]
fn flags_stay_in_force_and_some_settings_wait_for_a_restart() {
    let server = Server::start();
    let mut exact = Exact::start(&server);
    server.edit_config(|config| {
        config["port"] = json!("1");
        config["bind_host"] = json!("192.0.2.1");
    });
    assert!(server.reload());
    exact.check();
    assert_eq!(
        get(server.address(), "/healthz", "").status(),
        200,
        "the port was given as a flag"
    );
    assert!(server.log_with("Still listening where it was").is_empty());
    server.edit_config(|config| config["use_https"] = true.into());
    assert!(server.reload());
    let line = server.wait_for_log("Changed setting needs a restart");
    assert!(line.contains("use_https"), "{line}");
    exact.check();
}

#[test]
fn odd_things_in_the_file_are_warnings() {
    let server = Server::setup()
        .set("max_listener", 5)
        .set("fallback_mounts", json!({ "/admin/x": "/b" }))
        .start();
    for (text, hint) in [("max_listener", "max_listeners"), ("/admin/x", "fallback_mounts")] {
        let line = server.wait_for_log(text);
        assert!(line.contains("WARN") && line.contains(hint), "{line}");
    }
    server.edit_config(|config| config["accent_color"] = json!("red; background: url(x)"));
    assert!(server.reload());
    let line = server.wait_for_log("accent_color");
    assert!(line.contains("WARN"), "{line}");
}

#[test]
fn a_source_goes_with_the_account_whose_password_it_used() {
    let ann = |mounts: serde_json::Value| json!({ "username": "ann", "password": "", "role": "dj", "mounts": mounts });
    let server = Server::setup()
        .set("mounts", json!({ "/shared": hash("of-the-mount") }))
        .start();
    server.edit_config(|config| {
        config["users"]["ann"] = ann(json!({ "/ann": hash("anns"), "/both": hash("anns"), "/shared": "" }));
        config["users"]["bob"] = json!({
            "username": "bob", "password": "", "role": "dj",
            "mounts": { "/both": hash("bobs"), "/bob": hash("bobs") }
        });
    });
    assert!(server.reload());
    let mut exact = Exact::start(&server);
    let open = |mount: &str, password: &str| {
        let mut wire = server.connect();
        let auth = basic("source", password);
        wire.send(format!(
            "SOURCE {mount} HTTP/1.0\r\nContent-Type: audio/mpeg\r\nAuthorization: {auth}\r\n\r\n"
        ));
        assert_eq!(wire.head().status, 200, "{mount}");
        wire.send(Mp3::new('a').bytes(10_000));
        server.wait_for_mount(mount);
        wire
    };
    let mut of_ann = open("/ann", "anns");
    let mut of_bob = open("/both", "bobs");
    let mut of_mount = open("/shared", "of-the-mount");
    let orphan = Capture::start(&server, "/ann", "");
    orphan.wait_for(4_000);

    // Another password is for those who come later, and so is another mount.
    server.edit_config(|config| config["users"]["ann"] = ann(json!({ "/ann": hash("new") })));
    assert!(server.reload());
    of_ann.send(Mp3::new('a').bytes(5_000));
    assert!(server.status_of("/ann").is_some());

    let began = Instant::now();
    server.edit_config(|config| {
        config["users"].as_object_mut().unwrap().remove("ann");
    });
    assert!(server.reload());
    assert!(of_ann.rest().is_empty(), "the connection is closed");
    assert!(began.elapsed() < Duration::from_secs(5));
    numbers(&orphan.wait_for_end());
    assert!(server.status_of("/ann").is_none());
    server.wait_for_log("Source disconnected");
    for (mount, wire) in [("/both", &mut of_bob), ("/shared", &mut of_mount)] {
        wire.send(Mp3::new('a').bytes(5_000));
        assert!(server.status_of(mount).is_some(), "{mount}");
    }
    exact.check();

    // The same by the API.
    let root = Client::password(&server, ADMIN.0, ADMIN.1);
    let reply = root.call("DELETE", "/api/users?username=bob", &json!(null));
    assert_eq!(reply.status(), 200, "{}", reply.text());
    assert!(of_bob.rest().is_empty());
    assert!(server.status_of("/both").is_none() && server.status_of("/shared").is_some());
    exact.check();
}

#[test]
fn the_port_of_shoutcast_sources_follows_the_file() {
    let server = Server::start();
    let mut exact = Exact::start(&server);
    let address = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let follow = |shoutcast: serde_json::Value| {
        server.edit_config(|config| {
            let config = config.as_object_mut().unwrap();
            match shoutcast {
                serde_json::Value::Null => config.remove("shoutcast"),
                shoutcast => config.insert("shoutcast".to_owned(), shoutcast),
            };
        });
        assert!(server.reload());
    };
    let open = |port: u16, mount: &str| {
        let mut wire = crate::harness::Wire::connect(address(port));
        wire.send(format!("{SOURCE_PASSWORD}\r\n"));
        assert_eq!(wire.line(), "OK2");
        wire.send("content-type:audio/mpeg\r\n\r\n");
        wire.send(Mp3::new('s').bytes(10_000));
        server.wait_for_mount(mount);
        wire
    };
    let closes = |port: u16| {
        until("the port closes", || {
            std::net::TcpStream::connect(address(port)).is_err().then_some(())
        });
    };
    let (first, second) = (Server::free_port(), Server::free_port());
    let on = |port: u16, mount: &str| json!({ "port": port.to_string(), "mount": mount });

    follow(on(first, "/one"));
    let mut one = open(first, "/one");
    let listener = Capture::start(&server, "/one", "");
    listener.wait_for(4_000);
    // The mount of those who come from now on; the port is not touched.
    follow(on(first, "/two"));
    let two = open(first, "/two");
    assert_eq!(server.log_with("Listening for Shoutcast sources").len(), 1);
    follow(on(second, "/three"));
    let three = open(second, "/three");
    closes(first);
    // A port that somebody else has: it stays where it is.
    let taken = std::net::TcpListener::bind(address(0)).unwrap();
    follow(on(taken.local_addr().unwrap().port(), "/three"));
    server.wait_for_log("Still listening for Shoutcast sources where it was");
    std::net::TcpStream::connect(address(second)).unwrap();
    follow(json!(null));
    closes(second);
    server.wait_for_log("No longer listening for Shoutcast sources");

    let before = listener.bytes().len();
    one.send(Mp3::new('s').bytes(10_000));
    listener.wait_for(before + 5_000);
    for mount in ["/one", "/two", "/three"] {
        assert!(server.status_of(mount).is_some(), "{mount} went on");
    }
    assert!(!listener.has_ended());
    assert!(server.log_with("Changed setting needs a restart").is_empty());
    exact.check();
    drop((two, three));
}
