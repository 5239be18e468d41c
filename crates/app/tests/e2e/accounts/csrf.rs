//! Pages of somebody else cannot make a browser change anything.

use serde_json::json;

use super::{PASSWORD, setup};
use crate::harness::{As, Client, basic};

/// A change that would show: the ban of an address.
const BAN: &str = "/api/security/bans";

#[test]
fn only_what_a_foreign_page_cannot_send_gets_through() {
    let server = setup().start();
    let root = Client::login(&server, "root", PASSWORD);
    let As::Session { sid, csrf } = root.identity.clone() else {
        unreachable!()
    };
    let cookie = format!("Cookie: sid={sid}\r\n");
    let password = format!("Authorization: {}\r\n", basic("root", PASSWORD));
    let token = Client::login(&server, "root", PASSWORD)
        .call("POST", "/api/tokens", &json!({ "name": "script" }))
        .json();
    let bearer = format!(
        "Authorization: Bearer {}\r\n",
        token["token"].as_str().expect("a token")
    );
    let own = format!("Origin: http://{}\r\n", server.address());
    let anonymous = Client::nobody(&server);
    let json_type = "Content-Type: application/json\r\n";
    let form_type = "Content-Type: application/x-www-form-urlencoded\r\n";
    let tricky = "Content-Type: text/plain; x=application/json\r\n";
    let multipart = "Content-Type: multipart/form-data; boundary=x\r\n";
    let foreign = "Origin: https://evil.example\r\n";
    let header = format!("X-CSRF-Token: {csrf}\r\n");
    let wrong =
        "X-CSRF-Token: 0000000000000000000000000000000000000000000000000000000000000000\r\n".to_owned();
    let mut number = 0;
    for (who, lines, passes) in [
        (&cookie, json_type.to_owned(), true),
        (&cookie, format!("{json_type}{own}"), true),
        (&cookie, format!("{json_type}{foreign}"), false),
        (&cookie, format!("{json_type}Origin: null\r\n"), false),
        (
            &cookie,
            format!("{json_type}Sec-Fetch-Site: cross-site\r\n"),
            false,
        ),
        (
            &cookie,
            format!("{json_type}Sec-Fetch-Site: same-site\r\n"),
            false,
        ),
        (
            &cookie,
            format!("{json_type}Sec-Fetch-Site: same-origin\r\n"),
            true,
        ),
        (&cookie, tricky.to_owned(), false),
        (&cookie, multipart.to_owned(), false),
        (&cookie, form_type.to_owned(), false),
        (&cookie, String::new(), false),
        (&cookie, format!("{form_type}{header}"), true),
        (&cookie, format!("{form_type}{wrong}"), false),
        (&cookie, format!("{form_type}{own}"), true),
        (&password, json_type.to_owned(), true),
        (&password, form_type.to_owned(), false),
        (&password, multipart.to_owned(), false),
        (&password, format!("{json_type}{foreign}"), false),
        (&bearer, form_type.to_owned(), true),
        (&bearer, json_type.to_owned(), true),
    ] {
        number += 1;
        let ip = format!("198.51.100.{number}");
        let body = json!({ "ip": ip }).to_string();
        let reply = anonymous.send("POST", BAN, &format!("{who}{lines}"), body.as_bytes());
        let kind = who.split(':').next().unwrap_or_default();
        assert_eq!(
            reply.status(),
            if passes { 200 } else { 403 },
            "{kind} {lines:?}: {}",
            reply.text()
        );
        let bans = root.get(BAN).json();
        let is_banned = bans
            .as_array()
            .expect("a list")
            .iter()
            .any(|ban| ban == &json!(ip));
        assert_eq!(is_banned, passes, "{kind} {lines:?}");
    }
}

#[test]
fn links_and_pictures_change_nothing() {
    let server = setup().start();
    let root = Client::login(&server, "root", PASSWORD);
    let before = server.config();
    for target in [
        "/admin/remove-mount?mount=/other",
        "/admin/kick?mount=/other",
        "/admin/add-user?username=eve&password=long-enough-1",
        "/admin/toggle-mount?mount=/other",
        "/admin/clear-auth-lockout?ip=192.0.2.1",
    ] {
        assert_eq!(root.get(target).status(), 403, "{target}");
    }
    assert_eq!(server.config(), before);
}

#[test]
fn forms_of_scripts_need_a_token_and_not_a_password() {
    let server = setup().start();
    let form = [("mount", "/made"), ("password", "made-of-wood")];
    let by_password = Client::password(&server, "root", PASSWORD);
    assert_eq!(by_password.form("/admin/add-mount", &form).status(), 403);
    let session = Client::login(&server, "root", PASSWORD);
    let reply = session.form("/admin/add-mount", &form);
    assert_eq!(
        (reply.status(), reply.head.get("location")),
        (303, Some("/admin"))
    );
    assert!(reply.head.get("deprecation").is_some());
    assert!(server.config()["mounts"]["/made"].is_string());
    let token = session
        .call("POST", "/api/tokens", &json!({ "name": "script" }))
        .json();
    let script = Client::token(&server, token["token"].as_str().expect("a token"));
    assert_eq!(
        script.form("/admin/remove-mount", &[("mount", "/made")]).status(),
        303
    );
    assert!(server.config()["mounts"]["/made"].is_null());
}

#[test]
fn nobody_is_signed_in_by_a_foreign_page() {
    let server = setup().start();
    let client = Client::nobody(&server);
    let form = format!("username=root&password={PASSWORD}");
    for (lines, status) in [
        ("", 303),
        ("Sec-Fetch-Site: same-origin\r\n", 303),
        ("Sec-Fetch-Site: none\r\n", 303),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Origin: https://evil.example\r\n", 403),
    ] {
        let lines = format!("Content-Type: application/x-www-form-urlencoded\r\n{lines}");
        let reply = client.send("POST", "/login", &lines, form.as_bytes());
        assert_eq!(reply.status(), status, "{lines:?}");
        assert_eq!(reply.head.get("set-cookie").is_some(), status == 303, "{lines:?}");
    }
}
