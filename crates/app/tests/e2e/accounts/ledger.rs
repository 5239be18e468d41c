//! What once went wrong, here or in the program that this one replaces, and must not again. `SECURITY.md` lists each.

use std::{net::Ipv4Addr, thread};

use serde_json::{Value, json};

use super::{PASSWORD, setup};
use crate::harness::{ADMIN, Client, Reply, Server, get, post, until};

/// The routes of the server: method, path, and whether anybody may call it.
fn routes(server: &Server) -> Vec<(String, String, bool)> {
    let document = Client::nobody(server).get("/api/openapi.json").json();
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let is_public = operation["security"].as_array().is_some_and(Vec::is_empty);
            routes.push((method.to_uppercase(), path.clone(), is_public));
        }
    }
    routes
}

#[test]
fn no_change_is_made_for_a_page_of_another_site() {
    let server = setup().start();
    let root = Client::login(&server, "root", PASSWORD);
    let cookie = root.lines();
    let before = server.config();
    let mut seen = 0;
    for (method, path, is_public) in routes(&server) {
        if method == "GET" || is_public {
            continue;
        }
        let path = path.replace(['{', '}'], "");
        let nobody = Client::nobody(&server);
        for lines in [
            "Content-Type: application/json\r\nOrigin: https://evil.example\r\n",
            "Content-Type: application/json\r\nSec-Fetch-Site: cross-site\r\n",
            "Content-Type: text/plain; x=application/json\r\n",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            "Content-Type: multipart/form-data; boundary=x\r\n",
            "",
        ] {
            let body =
                br#"{"mount":"/own","id":"x","username":"eve","password":"long-enough-1","ip":"192.0.2.1"}"#;
            let reply = nobody.send(&method, &path, &format!("{cookie}{lines}"), body);
            assert_eq!(reply.status(), 403, "{method} {path} {lines:?}: {}", reply.text());
        }
        seen += 1;
    }
    assert!(seen > 80, "only {seen} changes were looked at");
    assert_eq!(server.config(), before);
}

#[test]
fn nothing_puts_bytes_on_a_mount_without_credentials() {
    let server = setup().set("default_source_password", "").start();
    let address = server.address();
    let offer = r#"{"type":"offer","sdp":"v=0"}"#;
    let json = "Content-Type: application/json\r\n";
    let nobody = Client::nobody(&server);
    let stranger = Client::login(&server, "dj-bare", PASSWORD);
    let is_refused = |reply: &Reply| matches!(reply.status(), 401 | 403 | 404 | 405);
    for mount in ["/own", "/other", "/new"] {
        for (method, target, lines) in [
            ("SOURCE", mount.to_owned(), "Content-Type: audio/mpeg\r\n"),
            ("PUT", mount.to_owned(), "Content-Type: audio/mpeg\r\n"),
            ("POST", mount.to_owned(), "Content-Type: audio/mpeg\r\n"),
            ("POST", format!("/webrtc/source-offer?mount={mount}"), json),
            (
                "POST",
                format!("/webrtc/source-offer?mount={mount}&password="),
                json,
            ),
            (
                "POST",
                format!("/webrtc/source-offer?mount={mount}&password=guess"),
                json,
            ),
            ("POST", format!("/admin/golive/chunk?mount={mount}"), ""),
            (
                "POST",
                format!("{mount}/whip"),
                "Content-Type: application/sdp\r\n",
            ),
            ("POST", "/api/streams/metadata".to_owned(), json),
            (
                "GET",
                format!("/admin/metadata?mode=updinfo&mount={mount}&song=x"),
                "",
            ),
            (
                "GET",
                format!("/admin.cgi?mode=updinfo&mount={mount}&song=x&pass="),
                "",
            ),
        ] {
            let named = format!(r#"{{"mount":"{mount}","song":"x"}}"#);
            let body = match (method, target.as_str()) {
                ("GET", _) => "",
                (_, "/api/streams/metadata") => &named,
                _ => offer,
            };
            for client in [&nobody, &stranger] {
                let reply = client.send(method, &target, lines, body.as_bytes());
                assert!(
                    is_refused(&reply),
                    "{method} {target}: {} {}",
                    reply.status(),
                    reply.text()
                );
            }
        }
        assert!(server.status_of(mount).is_none(), "{mount} is on air");
    }
    assert_eq!(get(address, "/healthz", "").status(), 200);
}

#[test]
fn changes_at_the_same_time_are_all_kept() {
    let server = setup().start();
    let root = Client::login(&server, "root", PASSWORD);
    let hands: Vec<_> = (0..8_u8)
        .map(|hand| {
            let root = root.clone();
            thread::spawn(move || {
                for number in 0..5_u8 {
                    let ip = Ipv4Addr::new(198, 51, hand, number);
                    let reply = root.call("POST", "/api/security/bans", &json!({ "ip": ip.to_string() }));
                    assert_eq!(reply.status(), 200, "{}", reply.text());
                }
            })
        })
        .collect();
    for hand in hands {
        hand.join().expect("every ban is taken");
    }
    let bans = server.config()["banned_ips"].as_array().expect("bans").len();
    assert_eq!(bans, 40);
    assert!(!server.folder().file("tinyice.json.tmp").exists());
}

/// The token in its file, which is written a moment after the server listens.
fn setup_token(server: &Server) -> String {
    until("the setup token is there", || {
        let text = std::fs::read_to_string(server.folder().file("setup-token")).ok()?;
        Some(text.trim().to_owned()).filter(|token| token.len() == 64)
    })
}

#[test]
fn an_empty_setup_token_opens_nothing() {
    let token = |server: &Server, token: Value| {
        let client = Client::nobody(server);
        let body = json!({ "token": token, "username": "eve", "password": "long-enough-1" });
        let verify = client.call("POST", "/setup/verify-token", &body).status();
        (verify, client.call("POST", "/setup/complete", &body).status())
    };
    let open = setup().set("setup_complete", false).start();
    assert_eq!(token(&open, json!("")), (403, 403));
    assert_eq!(token(&open, Value::Null), (400, 400));
    let secret = setup_token(&open);
    assert_eq!(token(&open, json!(secret)), (200, 200));
    assert!(
        !open.folder().file("setup-token").exists(),
        "a token that opens nothing is not kept"
    );
    assert!(open.config()["users"]["eve"].is_object());
    // It opens once.
    assert_eq!(token(&open, json!(secret)), (404, 404));
    let done = setup().start();
    assert_eq!(token(&done, json!("")), (404, 404));
    assert_eq!(get(done.address(), "/setup", "").status(), 404);
    // A restart makes no way in.
    let again = open.restart();
    assert_eq!(token(&again, json!("")), (404, 404));
}

#[test]
fn of_two_who_complete_the_setup_one_does() {
    let server = setup().set("setup_complete", false).start();
    let secret = setup_token(&server);
    let hands: Vec<_> = ["one", "two", "three"]
        .map(|name| {
            let client = Client::nobody(&server);
            let body = json!({ "token": secret, "username": name, "password": "long-enough-1" });
            thread::spawn(move || client.call("POST", "/setup/complete", &body).status())
        })
        .into();
    let mut statuses: Vec<_> = hands
        .into_iter()
        .map(|hand| hand.join().expect("an answer"))
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 404, 404]);
}

#[test]
fn the_white_list_frees_a_locked_address_at_once() {
    let server = setup().strict_loopback().start();
    let root = Client::login(&server, "root", PASSWORD);
    for _ in 0..5 {
        post(server.address(), "/login", "", "username=root&password=wrong");
    }
    let form = format!("username=root&password={PASSWORD}");
    assert_eq!(post(server.address(), "/login", "", &form).status(), 429);
    // The session of before goes on.
    let seen = root.get("/admin/security-stats").json();
    assert_eq!(seen["auth_fails"][0]["ip"], "127.0.0.1");
    assert_eq!(seen["auth_fails"][0]["locked"], true);
    let added = root.call("POST", "/api/security/whitelist", &json!({ "ip": "127.0.0.1" }));
    assert_eq!(added.status(), 200, "{}", added.text());
    assert_eq!(post(server.address(), "/login", "", &form).status(), 303);
}

#[test]
fn nobody_is_believed_who_says_to_be_another_address() {
    let server = setup().strict_loopback().start();
    for number in 0..5 {
        let lines = format!("X-Forwarded-For: 203.0.113.{number}\r\nForwarded: for=203.0.113.{number}\r\n");
        post(server.address(), "/login", &lines, "username=root&password=wrong");
    }
    let form = format!("username=root&password={PASSWORD}");
    let lines = "X-Forwarded-For: 203.0.113.99\r\n";
    assert_eq!(post(server.address(), "/login", lines, &form).status(), 429);
    // A proxy that is trusted is believed, and what its client claims in front of it is not.
    let server = setup().set("trusted_proxies", json!(["127.0.0.1"])).start();
    for number in 0..5 {
        let lines = format!("X-Forwarded-For: 10.9.9.{number}, 203.0.113.7\r\n");
        post(server.address(), "/login", &lines, "username=root&password=wrong");
    }
    let login = |from: &str| {
        post(
            server.address(),
            "/login",
            &format!("X-Forwarded-For: {from}\r\n"),
            &form,
        )
        .status()
    };
    assert_eq!((login("203.0.113.7"), login("203.0.113.8")), (429, 303));
}

#[test]
fn titles_of_an_encoder_lock_nobody_out() {
    let server = setup().strict_loopback().start();
    let source = Client::password(&server, "source", "of-the-mount");
    for number in 0..50 {
        let reply = source.get(&format!(
            "/admin/metadata?mode=updinfo&mount=/own&song=Song+{number}"
        ));
        assert!(matches!(reply.status(), 200 | 400 | 404), "{}", reply.status());
    }
    assert_eq!(
        post(
            server.address(),
            "/login",
            "",
            &format!("username={}&password={}", ADMIN.0, ADMIN.1)
        )
        .status(),
        303
    );
}
