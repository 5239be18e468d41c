//! Taking over from the Go program, version 2.9: its file, its passwords, its tokens.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    accounts::PASSWORD,
    harness::{Client, SOURCE_PASSWORD, Server, Setup, Source, get, hash},
};

/// What the file says of the token and what it is.
fn token() -> (String, String) {
    let raw = format!("ti_{}", "5e".repeat(32));
    let hash = Sha256::digest(raw.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    (raw, hash)
}

/// A file as that program writes it, and with keys that nobody knows at several levels.
fn written() -> Value {
    let mut file = serde_json::from_str(include_str!("tinyice-2.9.json")).expect("JSON");
    fill(&mut file);
    let (_, hash) = token();
    file["api_tokens"][0]["id"] = json!(&hash[..16]);
    file["api_tokens"][0]["token_hash"] = json!(hash);
    file
}

/// Puts hashes where the file says of what. Go's library begins them with another letter than ours.
fn fill(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(fill),
        Value::Array(values) => values.iter_mut().for_each(fill),
        Value::String(text) => {
            if let Some(password) = text.strip_prefix("hash of ") {
                *text = hash(password).replacen("$2b$", "$2a$", 1);
            }
        }
        _ => {}
    }
}

fn setup(file: &Value) -> Setup {
    let mut setup = Server::setup();
    for (key, value) in file.as_object().expect("keys") {
        setup = setup.set(key, value.clone());
    }
    setup
}

/// The configuration without what the test's own setup put in and what a save adds.
fn compared(server: &Server, like: &Value) -> Value {
    let config = server.config();
    let known = like.as_object().expect("keys").keys();
    known
        .map(|key| (key.clone(), config[key].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn the_file_is_taken_as_it_is() {
    let file = written();
    let server = setup(&file).start();
    let before = fs::read(server.config_path()).expect("the file");
    assert_eq!(server.log_with("Configuration: "), Vec::<String>::new());
    // The old password and the old token.
    let root = Client::login(&server, "root", PASSWORD);
    let dana = Client::login(&server, "dana", PASSWORD);
    let script = Client::token(&server, &token().0);
    assert_eq!(script.get("/api/me").json()["username"], "root");
    assert_eq!(script.get("/api/users").status(), 200);
    let streams = dana.get("/api/streams").json();
    let mounts: Vec<_> = streams
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["mount"].clone())
        .collect();
    assert_eq!(mounts, ["/own"]);

    // The old passwords of mounts.
    let source = |mount: &str, password: &str| {
        let mut wire = server.connect();
        let who = crate::harness::basic("source", password);
        wire.send(format!(
            "SOURCE {mount} HTTP/1.0\r\nAuthorization: {who}\r\nContent-Type: audio/mpeg\r\n\r\n"
        ));
        wire.head().status
    };
    for (mount, password, status) in [
        ("/live", "of-live-mount", 200),
        ("/live", SOURCE_PASSWORD, 401),
        ("/own", "of-dana", 200),
        ("/anything", SOURCE_PASSWORD, 200),
        ("/off", SOURCE_PASSWORD, 403),
    ] {
        assert_eq!(source(mount, password), status, "{mount} with {password}");
    }
    let users = root.get("/api/users").json();
    let row = users
        .as_array()
        .expect("a list")
        .iter()
        .find(|user| user["username"] == "dana")
        .expect("her")
        .clone();
    assert_eq!(
        (&row["passkeys"][0]["name"], &row["linked_emails"]),
        (&json!("Phone"), &json!(["dana@radio.example"]))
    );
    assert_eq!(
        root.get("/api/pending-users").json()[0]["email"],
        "eve@radio.example"
    );
    assert_eq!(
        root.get("/api/security/bans").json(),
        json!(["203.0.113.66", "198.51.100.0/24"])
    );
    let hook = root.get("/api/webhooks").json()[0].clone();
    assert!(
        hook["id"]
            .as_str()
            .is_some_and(|id| id.len() == 15 && id.starts_with("wh_")),
        "{hook}"
    );
    assert_eq!(root.get("/api/relays").json()[0]["mount"], "/relayed");
    let page = get(server.address(), "/", "").text();
    assert!(
        page.contains("My radio") && !page.contains("powered by Go"),
        "{page}"
    );
    for answer in [
        root.get("/api/webhooks"),
        root.get("/api/relays"),
        root.get("/api/oidc/providers/config"),
        root.get("/api/users"),
    ] {
        for secret in ["of-hook", "of-upstream", "of-google", "of-mail", "$2a$"] {
            assert!(!answer.text().contains(secret), "{secret} in {}", answer.text());
        }
    }
    assert_eq!(
        fs::read(server.config_path()).expect("the file"),
        before,
        "looking changes nothing"
    );
}

#[test]
fn changes_keep_what_nobody_knows() {
    let file = written();
    let server = setup(&file).start();
    let mode = |name: &str| {
        fs::metadata(server.folder().file(name))
            .map(|about| about.permissions().mode() & 0o777)
            .ok()
    };
    fs::set_permissions(server.config_path(), fs::Permissions::from_mode(0o600)).expect("it is ours");
    let before = fs::read(server.config_path()).expect("the file");
    let root = Client::login(&server, "root", PASSWORD);
    let mut expected = file.clone();

    assert_eq!(
        root.call("PUT", "/api/settings", &json!({ "location": "Moon" }))
            .status(),
        200
    );
    expected["location"] = json!("Moon");
    let id = server.config()["webhooks"][0]["id"].clone();
    expected["webhooks"][0]["id"] = id.clone();
    assert_eq!(compared(&server, &expected), expected);
    // The old form is kept once more, before the first save.
    assert_eq!(mode("tinyice.json"), Some(0o600));
    let copies: Vec<_> = fs::read_dir(server.folder().path())
        .expect("a folder")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("tinyice.json."))
        .collect();
    assert!(
        copies.iter().any(|name| name.starts_with("tinyice.json.pre-")),
        "{copies:?}"
    );
    for name in &copies {
        assert_eq!(mode(name), Some(0o600), "{name}");
        assert_eq!(
            fs::read(server.folder().file(name)).expect("a copy"),
            before,
            "{name}"
        );
    }

    let change = |method: &str, target: &str, body: Value| {
        let reply = root.call(method, target, &body);
        assert_eq!(reply.status(), 200, "{method} {target}: {}", reply.text());
    };
    change(
        "PUT",
        "/api/users",
        json!({ "username": "dana", "role": "admin" }),
    );
    expected["users"]["dana"]["role"] = json!("admin");
    change("POST", "/api/security/bans", json!({ "ip": "192.0.2.99" }));
    expected["banned_ips"]
        .as_array_mut()
        .expect("a list")
        .push(json!("192.0.2.99"));
    change(
        "PATCH",
        &format!("/api/webhooks?id={}", id.as_str().expect("an id")),
        json!({ "name": "Named" }),
    );
    expected["webhooks"][0]["name"] = json!("Named");
    change(
        "PUT",
        "/api/streams",
        json!({ "mount": "/own", "visible": false }),
    );
    change(
        "POST",
        "/api/pending-users/approve",
        json!({ "id": file["pending_users"][0]["id"], "username": "eve" }),
    );
    let config = server.config();
    assert_eq!(
        config["users"]["eve"]["linked_emails"],
        json!(["eve@radio.example"])
    );
    assert!(!config["visible_mounts"]["/own"].as_bool().unwrap_or(false));
    for key in [
        "location",
        "banned_ips",
        "webhooks",
        "relays",
        "advanced_mounts",
        "later_key",
        "autodjs",
        "api_tokens",
        "smtp",
    ] {
        assert_eq!(config[key], expected[key], "{key}");
    }
    assert_eq!(config["users"]["dana"], expected["users"]["dana"]);

    // A start with the same file finds all of it again.
    let server = server.restart();
    let root = Client::login(&server, "root", PASSWORD);
    assert_eq!(server.config(), config);
    let streams = root.get("/api/streams?mount=/own");
    assert_eq!(streams.status(), 200, "{}", streams.text());
}

#[test]
fn what_the_command_line_says_is_not_saved() {
    // Host and port are given in every test.
    let server = setup(&written())
        .arg("-https-port=8443")
        .arg("-domains=other.example")
        .start();
    let root = Client::login(&server, "root", PASSWORD);
    let settings = root.get("/api/settings").json();
    for (key, expected) in [
        ("bind_host", json!("127.0.0.1")),
        ("port", json!(server.port().to_string())),
        ("https_port", json!("8443")),
        ("domains", json!(["other.example"])),
    ] {
        assert_eq!(settings[key], expected, "{key}");
    }
    assert_eq!(
        root.call("PUT", "/api/settings", &json!({ "location": "Moon" }))
            .status(),
        200
    );
    let config = server.config();
    assert_eq!(
        (&config["bind_host"], &config["port"]),
        (&json!("0.0.0.0"), &json!("8000"))
    );
    assert_eq!(
        (&config["https_port"], &config["domains"]),
        (&json!("443"), &Value::Null)
    );
    assert_eq!(config["location"], "Moon");
}

#[test]
fn a_source_goes_on_through_changes() {
    let server = setup(&written()).start();
    let root = Client::login(&server, "root", PASSWORD);
    let mut source = Source::open(&server, "/anything");
    source.send(crate::harness::Mp3::new('a').bytes(40_000));
    server.wait_for_mount("/anything");
    server.wait_for_log("Source connected");
    for location in ["Moon", "Mars"] {
        assert_eq!(
            root.call("PUT", "/api/settings", &json!({ "location": location }))
                .status(),
            200
        );
    }
    assert!(server.reload());
    source.send(crate::harness::Mp3::new('a').bytes(40_000));
    assert!(server.status_of("/anything").is_some());
    assert_eq!(
        (
            server.log_with("Source connected").len(),
            server.log_with("Source disconnected").len()
        ),
        (1, 0)
    );
}
