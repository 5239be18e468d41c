//! Tokens for scripts.

use serde_json::{Value, json};

use super::{PASSWORD, setup};
use crate::harness::{Client, Server};

fn mint(client: &Client, body: &Value) -> Value {
    let reply = client.call("POST", "/api/tokens", body);
    assert_eq!(reply.status(), 200, "{}", reply.text());
    reply.json()
}

fn with(server: &Server, token: &Value) -> Client {
    Client::token(server, token["token"].as_str().expect("a token"))
}

#[test]
fn a_token_is_shown_once_and_does_what_its_owner_may() {
    let server = setup().start();
    let dj = Client::login(&server, "dj-own", PASSWORD);
    let token = mint(&dj, &json!({ "name": "script" }));
    let raw = token["token"].as_str().expect("a token");
    assert!(raw.len() == 67 && raw.starts_with("ti_"), "{raw}");
    let script = with(&server, &token);
    assert_eq!(script.get("/api/streams").status(), 200);
    assert_eq!(script.get("/api/users").status(), 403);
    let list = dj.get("/api/tokens").json();
    assert_eq!(list[0]["prefix"], json!(format!("{}...", &raw[..7])));
    assert!(!list.to_string().contains(raw) && !server.config().to_string().contains(raw));
    assert!(
        list[0]["last_used_at"].as_str().is_some_and(|at| !at.is_empty()),
        "{list}"
    );
    assert_eq!(list[0]["last_used_ip"], json!("127.0.0.1"));
    // A token makes no tokens.
    let reply = script.call("POST", "/api/tokens", &json!({ "name": "child" }));
    assert_eq!(reply.status(), 403);
    assert_eq!(
        reply.json()["error"],
        "API tokens cannot create tokens; use a logged-in session"
    );
    let id = token["id"].as_str().expect("an id");
    assert_eq!(
        dj.call("DELETE", &format!("/api/tokens?id={id}"), &Value::Null)
            .status(),
        200
    );
    assert_eq!(script.get("/api/streams").status(), 401);
}

#[test]
fn bad_expiries_are_refused() {
    let server = setup().start();
    let dj = Client::login(&server, "dj-own", PASSWORD);
    for expiry in ["tomorrow", "2001-01-01T00:00:00Z", "2030-13-01T00:00:00Z", "1"] {
        let reply = dj.call(
            "POST",
            "/api/tokens",
            &json!({ "name": "x", "expires_at": expiry }),
        );
        assert_eq!(
            (reply.status(), &reply.json()["error"]),
            (400, &json!("Invalid expires_at")),
            "{expiry}"
        );
    }
    assert_eq!(
        dj.call("POST", "/api/tokens", &json!({})).json()["error"],
        "Name is required"
    );
}

#[test]
fn a_token_of_an_owner_who_is_gone_is_nothing() {
    let server = setup().start();
    let root = Client::login(&server, "root", PASSWORD);
    let script = with(
        &server,
        &mint(
            &Client::login(&server, "dj-own", PASSWORD),
            &json!({ "name": "x" }),
        ),
    );
    assert_eq!(
        root.call("DELETE", "/api/users?username=dj-own", &Value::Null)
            .status(),
        200
    );
    assert_eq!(script.get("/api/streams").status(), 401);
    // A new account of the same name does not get the old token.
    let again = json!({ "username": "dj-own", "password": PASSWORD, "role": "dj" });
    assert_eq!(root.call("POST", "/api/users", &again).status(), 200);
    assert_eq!(script.get("/api/streams").status(), 401);
    assert_eq!(server.config()["api_tokens"].as_array().map_or(0, Vec::len), 0);
}

#[test]
fn a_wrong_token_is_not_helped_by_a_right_cookie() {
    let server = setup().start();
    let root = Client::login(&server, "root", PASSWORD);
    let lines = format!("{}authorization: bearer ti_{}\r\n", root.lines(), "0".repeat(64));
    assert_eq!(
        Client::nobody(&server)
            .send("GET", "/api/users", &lines, b"")
            .status(),
        401
    );
}

#[test]
fn scopes_and_mounts_narrow_a_token() {
    let server = setup().start();
    let root = Client::login(&server, "root", PASSWORD);
    let reader = with(&server, &mint(&root, &json!({ "name": "r", "scopes": ["read"] })));
    assert_eq!(reader.get("/api/users").status(), 200);
    assert_eq!(
        reader
            .call("POST", "/api/security/bans", &json!({ "ip": "192.0.2.9" }))
            .status(),
        403
    );
    let narrow = with(&server, &mint(&root, &json!({ "name": "m", "mounts": ["/own"] })));
    let streams = narrow.get("/api/streams").json();
    let mounts: Vec<_> = streams
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["mount"].clone())
        .collect();
    assert_eq!(mounts, [json!("/own")]);
    assert_eq!(narrow.get("/api/streams?mount=/other").status(), 403);
    assert_eq!(narrow.get("/api/users").status(), 403);
    // A scraper needs no password.
    assert_eq!(reader.get("/metrics").status(), 200);
    assert_eq!(narrow.get("/metrics").status(), 403);
}

#[test]
fn hashes_of_the_old_program_still_open() {
    use sha2::{Digest as _, Sha256};
    let raw = format!("ti_{}", "ab".repeat(32));
    let hash: String = Sha256::digest(raw.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let server = setup()
        .set(
            "api_tokens",
            json!([{
                "id": &hash[..16], "name": "old", "token_hash": hash, "username": "dj-own", "role": "superadmin",
                "created_at": "2026-01-02T03:04:05Z", "last_used_at": "", "last_used_ip": "", "expires_at": "",
            }]),
        )
        .start();
    let script = Client::token(&server, &raw);
    assert_eq!(script.get("/api/streams").status(), 200);
    // The role that is stored with it means nothing.
    assert_eq!(script.get("/api/users").status(), 403);
    // Expired, or with an expiry that nobody can read, it is nothing.
    for expiry in ["2020-01-01T00:00:00Z", "never"] {
        server.edit_config(|config| config["api_tokens"][0]["expires_at"] = json!(expiry));
        assert!(server.reload());
        assert_eq!(script.get("/api/streams").status(), 401, "{expiry}");
    }
}
