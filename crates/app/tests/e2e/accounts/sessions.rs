//! Signing in and out, and what ends a session.

use serde_json::{Value, json};

use super::{PASSWORD, setup};
use crate::harness::{As, Client, Server, post};

fn login(server: &Server, user: &str, password: &str, more: &str) -> crate::harness::Reply {
    let form = format!("username={user}&password={password}{more}");
    post(server.address(), "/login", "Accept: application/json\r\n", &form)
}

#[test]
fn the_cookie_is_for_this_server_and_no_script() {
    let server = setup().start();
    let reply = login(&server, "dj-own", PASSWORD, "");
    assert_eq!(
        (reply.status(), reply.head.get("location")),
        (303, Some("/admin"))
    );
    let cookie = reply.head.get("set-cookie").expect("a cookie");
    let (pair, attributes) = cookie.split_once("; ").expect("attributes");
    let id = pair.strip_prefix("sid=").expect("the session");
    assert!(
        id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{cookie}"
    );
    for attribute in ["Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=604800"] {
        assert!(attributes.contains(attribute), "{attribute} in {cookie}");
    }
    assert!(!attributes.contains("Secure"), "{cookie}");
    // Behind TLS the cookie never goes out in the clear.
    let server = setup().set("base_url", "https://radio.example").start();
    let reply = login(&server, "dj-own", PASSWORD, "");
    assert!(
        reply
            .head
            .get("set-cookie")
            .expect("a cookie")
            .contains("; Secure")
    );
}

#[test]
fn the_browser_is_sent_on_only_within_the_server() {
    let server = setup().start();
    for (next, expected) in [
        ("/kiosk", "/kiosk"),
        ("/admin?tab=streams", "/admin?tab=streams"),
        ("//evil.example", "/admin"),
        ("/\\evil.example", "/admin"),
        ("https://evil.example", "/admin"),
        ("javascript:alert(1)", "/admin"),
        ("", "/admin"),
    ] {
        let next: String = next.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let reply = login(&server, "dj-own", PASSWORD, &format!("&next={next}"));
        assert_eq!(reply.head.get("location"), Some(expected), "{next}");
    }
}

#[test]
fn wrong_passwords_are_said_to_be_wrong_and_counted() {
    let server = setup().strict_loopback().start();
    for _ in 0..5 {
        let reply = login(&server, "root", "wrong-password", "");
        assert_eq!(reply.status(), 401);
        assert_eq!(reply.json()["error"], "Invalid username or password");
    }
    let reply = login(&server, "root", PASSWORD, "");
    assert_eq!(reply.status(), 429, "{}", reply.text());
    let answer = reply.json();
    assert!(
        answer["error"]
            .as_str()
            .expect("a text")
            .starts_with("too many failed attempts. locked out until ")
    );
    let wait: u64 = reply
        .head
        .get("retry-after")
        .expect("a wait")
        .parse()
        .expect("seconds");
    assert!(
        (890..=900).contains(&wait) && answer["retry_after"] == json!(wait),
        "{answer}"
    );
    // The page says it too, and the audit trail has each of them.
    let page = post(
        server.address(),
        "/login",
        "Accept: text/html\r\n",
        "username=root&password=x",
    );
    assert_eq!(page.status(), 429);
    assert!(
        page.text().contains("too many failed attempts"),
        "{}",
        page.text()
    );
    // Listening goes on: an office behind one address must not fall silent.
    assert_eq!(
        crate::harness::get(server.address(), "/status-json.xsl", "").status(),
        200
    );
}

#[test]
fn signing_out_ends_the_session_and_nothing_else() {
    let server = setup().start();
    let (one, other) = (
        Client::login(&server, "dj-own", PASSWORD),
        Client::login(&server, "dj-own", PASSWORD),
    );
    assert_eq!(one.call("POST", "/api/logout", &Value::Null).status(), 200);
    assert_eq!(one.get("/api/me").status(), 401);
    assert_eq!(other.get("/api/me").status(), 200);
    assert_eq!(
        other.call("POST", "/api/me/logout-all", &Value::Null).status(),
        200
    );
    assert_eq!(
        Client::login(&server, "dj-own", PASSWORD).get("/api/me").status(),
        200
    );
}

#[test]
fn a_new_sign_in_ends_the_session_of_the_old_cookie() {
    let server = setup().start();
    let old = Client::login(&server, "dj-own", PASSWORD);
    let form = format!("username=dj-own&password={PASSWORD}");
    let reply = post(server.address(), "/login", &old.lines(), &form);
    assert_eq!(reply.status(), 303);
    assert_eq!(old.get("/api/me").status(), 401);
}

#[test]
fn rights_are_looked_up_at_each_request() {
    let server = setup().start();
    let root = Client::login(&server, "root", PASSWORD);
    let admin = Client::login(&server, "admin-own", PASSWORD);
    assert_eq!(admin.get("/admin/security-stats").status(), 200);
    let change = json!({ "username": "admin-own", "role": "dj" });
    assert_eq!(root.call("PUT", "/api/users", &change).status(), 200);
    assert_eq!(admin.get("/api/me").status(), 401, "a changed role ends sessions");
    let dj = Client::login(&server, "admin-own", PASSWORD);
    assert_eq!(dj.get("/admin/security-stats").status(), 403);
    assert_eq!(
        root.call("DELETE", "/api/users?username=admin-own", &Value::Null)
            .status(),
        200
    );
    assert_eq!(dj.get("/api/me").status(), 401);
    // The same by hand and a reload.
    let dj = Client::login(&server, "dj-own", PASSWORD);
    server.edit_config(|config| {
        config["users"].as_object_mut().expect("users").remove("dj-own");
    });
    assert!(server.reload());
    assert_eq!(dj.get("/api/me").status(), 401);
}

#[test]
fn sessions_outlive_a_restart() {
    let server = setup().start();
    let client = Client::login(&server, "dj-own", PASSWORD);
    let server = server.restart();
    let client = Client {
        address: server.address(),
        ..client
    };
    let me = client.get("/api/me");
    assert_eq!(me.status(), 200, "{}", me.text());
    let As::Session { csrf, .. } = &client.identity else {
        unreachable!()
    };
    assert_eq!(me.json()["csrf_token"], json!(csrf));
}

#[test]
fn own_sessions_are_listed_and_ended_one_by_one() {
    let server = setup().start();
    let (one, other) = (
        Client::login(&server, "dj-own", PASSWORD),
        Client::login(&server, "dj-own", PASSWORD),
    );
    let list = one.get("/api/sessions").json();
    let list = list.as_array().expect("a list");
    assert_eq!(list.len(), 2);
    let foreign = list
        .iter()
        .find(|session| session["current"] == json!(false))
        .expect("the other");
    let id = foreign["id"].as_str().expect("an id");
    let stranger = Client::login(&server, "dj-bare", PASSWORD);
    assert_eq!(
        stranger
            .call("DELETE", &format!("/api/sessions?id={id}"), &Value::Null)
            .status(),
        404
    );
    assert_eq!(
        one.call("DELETE", &format!("/api/sessions?id={id}"), &Value::Null)
            .status(),
        200
    );
    assert_eq!(
        (one.get("/api/me").status(), other.get("/api/me").status()),
        (200, 401)
    );
}

#[test]
fn the_feed_of_an_ended_session_ends() {
    let server = setup().start();
    let client = Client::login(&server, "dj-own", PASSWORD);
    let mut wire = server.connect();
    wire.send(format!(
        "GET /admin/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}\r\n",
        client.lines()
    ));
    assert_eq!(wire.head().status, 200);
    assert_eq!(client.call("POST", "/api/logout", &Value::Null).status(), 200);
    // It is asked every ten seconds whether it may go on.
    wire.rest();
}
