//! Requests that make no sense, to everything that takes one.
//!
//! Contract: what is sent is made from the server's own description, so that an endpoint that is added is tried too.

use std::{collections::BTreeMap, fs};

use serde_json::{Map, Value, json};

use super::{document, script};
use crate::{
    accounts::{PASSWORD, setup},
    harness::{As, Client, Reply, Server, Wire, basic, request},
};

/// What would end the run: a swap of the process or the account's own token.
const LEFT_OUT: [&str; 4] = [
    "/admin/hotswap",
    "/api/system/hotswap",
    "/api/me/logout-all",
    "/admin/golive/chunk",
];

/// An endpoint that takes a body.
struct Taker {
    method: String,
    path: String,
    media: String,
    /// The properties of a body, by name, with what each may be.
    properties: Map<String, Value>,
    /// The statuses that it is said to answer.
    statuses: Vec<u16>,
    /// Whether its refusals are JSON.
    in_json: bool,
}

/// Follows references.
fn resolve<'a>(document: &'a Value, mut schema: &'a Value) -> &'a Value {
    while let Some(to) = schema["$ref"].as_str() {
        schema = document.pointer(to.trim_start_matches('#')).expect("a schema");
    }
    schema
}

fn takers(document: &Value) -> Vec<Taker> {
    let mut takers = Vec::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let Some(content) = operation["requestBody"]["content"].as_object() else {
                continue;
            };
            if LEFT_OUT.contains(&path.as_str()) {
                continue;
            }
            let responses = operation["responses"].as_object().expect("responses");
            let (media, content) = content.iter().next().expect("a type");
            let schema = resolve(document, &content["schema"]);
            takers.push(Taker {
                method: method.to_uppercase(),
                path: path.replace(['{', '}'], ""),
                media: media.clone(),
                properties: schema["properties"].as_object().cloned().unwrap_or_default(),
                statuses: responses
                    .keys()
                    .map(|status| status.parse().expect("a number"))
                    .collect(),
                in_json: responses["400"]["content"]["application/json"].is_object()
                    && responses["400"]["content"].as_object().map(Map::len) == Some(1),
            });
        }
    }
    assert!(takers.len() > 30, "{}", takers.len());
    takers
}

/// Sends a body whatever the server thinks of its length.
fn send(client: &Client, taker: &Taker, media: &str, body: &[u8]) -> Reply {
    let csrf = match &client.identity {
        As::Session { csrf, .. } => format!("X-CSRF-Token: {csrf}\r\n"),
        _ => String::new(),
    };
    let head = format!(
        "{} {}?mount=%2Fghost&id=ghost&name=ghost HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{}{csrf}\
         Content-Type: {media}\r\nContent-Length: {}\r\n\r\n",
        taker.method,
        taker.path,
        client.address,
        client.lines(),
        body.len()
    );
    let mut wire = Wire::connect(client.address);
    wire.send(head);
    // It may have heard enough before the end.
    let _ = wire.try_send(body);
    let head = wire.head();
    let body = wire.body(&head);
    Reply { head, body }
}

/// What is wrong with an answer, if anything is.
fn complaint(taker: &Taker, reply: &Reply) -> Option<String> {
    let status = reply.status();
    if status == 500 || !taker.statuses.contains(&status) {
        return Some(format!("{status} is not among {:?}", taker.statuses));
    }
    if status < 400 || !taker.in_json {
        return None;
    }
    let answer: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let has_text = answer
        .as_ref()
        .is_some_and(|answer| answer["error"].as_str().is_some_and(|text| !text.is_empty()));
    let is_json = reply
        .head
        .get("content-type")
        .is_some_and(|kind| kind.starts_with("application/json"));
    (!has_text || !is_json).then(|| format!("{status} without an error: {}", reply.text()))
}

/// Tries bodies on every endpoint that takes one: none may be a fault of the server's, and what is refused has changed
/// nothing.
fn try_all(server: &Server, bodies: impl Fn(&Taker) -> Vec<(String, String, Vec<u8>, Option<u16>)>) {
    let script = script(server);
    let session = Client::login(server, "root", PASSWORD);
    let mut wrong = Vec::new();
    let mut config;
    let mut refused = 0;
    for taker in takers(&document(server)) {
        // What makes credentials cannot be done with a token.
        let needs_session = send(&script, &taker, &taker.media, b"{}").status() == 403;
        let client = if needs_session { &session } else { &script };
        config = fs::read(server.config_path()).expect("the file");
        for (what, media, body, expected) in bodies(&taker) {
            let reply = send(client, &taker, &media, &body);
            let name = format!("{} {} {what}", taker.method, taker.path);
            if let Some(complaint) = complaint(&taker, &reply) {
                wrong.push(format!("{name}: {complaint}"));
            }
            if expected.is_some_and(|expected| reply.status() != expected) {
                wrong.push(format!(
                    "{name}: {} instead of {expected:?}: {}",
                    reply.status(),
                    reply.text()
                ));
            }
            let now = fs::read(server.config_path()).expect("the file");
            if reply.status() >= 400 {
                refused += 1;
                if now != config {
                    wrong.push(format!(
                        "{name}: refused with {} and changed all the same",
                        reply.status()
                    ));
                }
            }
            config = now;
        }
    }
    assert!(refused > 30, "{refused}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(server.log_with("panic"), Vec::<String>::new());
}

fn is_json(taker: &Taker) -> bool {
    taker.media == "application/json"
}

#[test]
fn values_of_the_wrong_kind_are_named() {
    let server = setup().start();
    try_all(&server, |taker| {
        if !is_json(taker) {
            return Vec::new();
        }
        let kinds = [
            json!(null),
            json!(true),
            json!(-1.5),
            json!(1e300),
            json!("\u{0}\u{202e}<x>"),
            json!([[]]),
            json!({ "a": {} }),
        ];
        let mut bodies = Vec::new();
        for name in taker.properties.keys() {
            for kind in &kinds {
                let body = json!({ name: kind });
                bodies.push((
                    body.to_string(),
                    taker.media.clone(),
                    body.to_string().into_bytes(),
                    None,
                ));
            }
        }
        let all: Map<String, Value> = taker
            .properties
            .keys()
            .map(|name| (name.clone(), json!({ "x": [1] })))
            .collect();
        bodies.push((
            "nothing but objects".into(),
            taker.media.clone(),
            Value::from(all).to_string().into_bytes(),
            None,
        ));
        let unknown =
            json!({ "__proto__": { "admin": true }, "no_such_key": 1, "": "", "Role": "superadmin" });
        bodies.push((
            "unknown keys".into(),
            taker.media.clone(),
            unknown.to_string().into_bytes(),
            None,
        ));
        bodies
    });
}

#[test]
fn what_is_no_json_is_refused() {
    let server = setup().start();
    let deep = |open: &str, close: &str| [open.repeat(100_000), close.repeat(100_000)].concat();
    let broken = [
        ("an open object", "{".to_owned()),
        ("a word", "nonsense".to_owned()),
        ("two values", "{} {}".to_owned()),
        ("a comma too many", "{\"a\":1,}".to_owned()),
        ("a byte order mark", "\u{feff}{}".to_owned()),
        ("half a letter", "{\"a\":\"\\ud800\"".to_owned()),
        ("a deep list", deep("[", "]")),
    ];
    // Where the key is unknown it is stepped over, however deep.
    let nested = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    try_all(&server, |taker| {
        if !is_json(taker) {
            return Vec::new();
        }
        let mut bodies: Vec<_> = broken
            .iter()
            .map(|(what, body)| {
                (
                    (*what).to_owned(),
                    taker.media.clone(),
                    body.clone().into_bytes(),
                    Some(400),
                )
            })
            .collect();
        bodies.push((
            "a deep object".into(),
            taker.media.clone(),
            nested.clone().into_bytes(),
            None,
        ));
        bodies.push((
            "bytes".into(),
            taker.media.clone(),
            vec![0xff, 0xfe, 0x00, 0x80],
            Some(400),
        ));
        for (what, body) in [
            ("nothing", ""),
            ("a list", "[]"),
            ("a number", "7"),
            ("null", "null"),
            ("a text", "\"x\""),
        ] {
            bodies.push((what.into(), taker.media.clone(), body.into(), None));
        }
        bodies
    });
}

#[test]
fn bodies_of_another_type_or_too_large_are_refused() {
    let server = setup().start();
    // Somebody who may post all day has other limits than somebody who may not.
    try_all(&server, |taker| {
        let large = vec![b' '; 3 << 20];
        let mut bodies = vec![("3 MiB".to_owned(), taker.media.clone(), large, Some(413))];
        for media in [
            "text/xml",
            "application/json-patch+json",
            "image/png",
            "nonsense",
            "multipart/form-data",
        ] {
            if is_json(taker) {
                bodies.push((media.to_owned(), media.to_owned(), b"{}".to_vec(), Some(415)));
            } else {
                bodies.push((media.to_owned(), media.to_owned(), b"{}".to_vec(), None));
            }
        }
        if !is_json(taker) {
            for body in [&b"%"[..], b"a=%zz&b=%ff&&&=", b"\0\0\0", b"--x\r\n\r\n--x--", b""] {
                bodies.push((format!("{body:?}"), taker.media.clone(), body.to_vec(), None));
                bodies.push((
                    format!("parts {body:?}"),
                    "multipart/form-data; boundary=x".into(),
                    body.to_vec(),
                    None,
                ));
            }
        }
        bodies
    });
}

#[test]
fn a_body_that_is_announced_and_never_comes_is_waited_for_a_while_only() {
    let server = setup().start();
    let script = script(&server);
    // One that has no end is cut at its limit, whatever was announced.
    let mut wire = Wire::connect(server.address());
    let head = format!(
        "POST /api/streams HTTP/1.1\r\nHost: x\r\n{}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        script.lines()
    );
    wire.send(head);
    let piece = [b"10000\r\n", &vec![b' '; 0x10000][..], b"\r\n"].concat();
    for _ in 0..64 {
        if wire.try_send(&piece).is_err() {
            break;
        }
    }
    assert_eq!(wire.head().status, 413);
    // And two lengths are none.
    let reply = request(
        server.address(),
        format!(
            "POST /api/streams HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}",
            script.lines()
        ),
    );
    assert_eq!(reply.status(), 400);
}

#[test]
fn forged_proofs_are_nobody() {
    let server = setup().start();
    let root = Client::login(&server, "root", PASSWORD);
    let As::Session { sid, .. } = root.identity.clone() else {
        unreachable!()
    };
    let As::Token(token) = script(&server).identity else {
        unreachable!()
    };
    let ended = Client::login(&server, "root", PASSWORD);
    assert_eq!(ended.call("POST", "/api/logout", &Value::Null).status(), 200);
    let As::Session { sid: over, .. } = ended.identity else {
        unreachable!()
    };
    let cookie = |value: &str| format!("Cookie: sid={value}\r\n");
    let bearer = |value: &str| format!("Authorization: Bearer {value}\r\n");
    let nobody = Client::nobody(&server);
    for lines in [
        cookie(""),
        cookie(&"0".repeat(64)),
        cookie(&over),
        cookie(&sid.to_uppercase()),
        cookie(&sid[..63]),
        cookie(&format!("{sid}0")),
        cookie(&format!("\"{sid}\"")),
        cookie(&"a".repeat(20_000)),
        cookie("../../etc/passwd"),
        format!("Cookie: SID={sid}\r\n"),
        format!("Cookie: xsid={sid}\r\n"),
        bearer(""),
        bearer("ti_"),
        bearer(&token.to_uppercase()),
        bearer(&token[..66]),
        bearer(&format!("{token}0")),
        bearer(&token[3..]),
        bearer(&"0".repeat(30_000)),
        // A cookie that is right does not help a token that is not.
        format!("{}{}", bearer("ti_0"), cookie(&sid)),
        "Authorization: Basic !!!!\r\n".to_owned(),
        "Authorization: Basic\r\n".to_owned(),
        "Authorization: Basic cm9vdA==\r\n".to_owned(),
        format!("Authorization: {}\r\n", basic("root", "")),
        format!("Authorization: {}\r\n", basic("", PASSWORD)),
        format!("Authorization: {}\r\n", basic("ROOT", PASSWORD)),
        format!(
            "Authorization: Digest username=\"root\", response=\"{}\"\r\n",
            "0".repeat(32)
        ),
        "X-Forwarded-User: root\r\nRemote-User: root\r\nX-Original-URL: /api/branding\r\n".to_owned(),
    ] {
        let short: String = lines.chars().take(80).collect();
        for target in ["/api/users", "/api/me", "/api/settings"] {
            let reply = nobody.send("GET", target, &lines, b"");
            assert_eq!(reply.status(), 401, "{target} {short}: {}", reply.text());
            assert_eq!(reply.json()["error"], "Unauthorized", "{target} {short}");
            assert!(reply.head.get("www-authenticate").is_none(), "{target} {short}");
        }
    }
    // Nothing of this has ended the real ones.
    assert_eq!(
        (
            root.get("/api/me").status(),
            Client::token(&server, &token).get("/api/me").status()
        ),
        (200, 200)
    );
}

#[test]
fn crooked_paths_lead_nowhere() {
    let server = setup().start();
    server.folder().write("secret.txt", "the-secret-of-the-folder");
    let marks = [
        "the-secret-of-the-folder",
        "\"users\"",
        "$2a$",
        "$2b$",
        "\"role\":\"superadmin\"",
        "root:x:0:0",
    ];
    let callers: BTreeMap<&str, Client> = [
        ("nobody", Client::nobody(&server)),
        ("dj-bare", Client::login(&server, "dj-bare", PASSWORD)),
        (
            "dj-bare by password",
            Client::password(&server, "dj-bare", PASSWORD),
        ),
    ]
    .into();
    let mut wrong = Vec::new();
    for target in [
        "/api/%2e%2e/api/users",
        "/api/../api/users",
        "/api/./users",
        "//api/users",
        "/api//users",
        "/api/users/",
        "/api/users%00",
        "/api/users%00.json",
        "/api/users%2f",
        "/api%2fusers",
        "/%61pi/users",
        "/api/%75sers",
        "/API/users",
        "/api/users;x=1",
        "/api\\users",
        "/api/users%3f",
        "/admin/%2e%2e/api/users",
        "/admin/..%2fapi%2fusers",
        "/admin/%00",
        "//admin/security-stats",
        "/admin//security-stats",
        "/admin/security-stats/",
        "/admin/../metrics",
        "/branding/%2e%2e/tinyice.json",
        "/branding/..%2ftinyice.json",
        "/branding/..%2fsecret.txt",
        "/branding/../secret.txt",
        "/branding/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/branding/logo/../../secret.txt",
        "/branding/logo%00.png",
        "/branding//etc/passwd",
        "/assets/../secret.txt",
        "/assets/%2e%2e/secret.txt",
        "/assets/..%5csecret.txt",
        "/assets//secret.txt",
        "/auth/%2e%2e/callback",
        "/auth/..%2f..%2fapi%2fusers",
        "/auth/%00/callback",
        "/auth//callback",
        "/auth/%ff",
        "/player/..%2f..%2fsecret.txt",
        "/player/%2e%2e/api/users",
        "/embed/%00",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/%00",
        "/%zz",
        "/api/users%",
        "http://elsewhere.example/api/users",
        "/api/users#fragment",
    ] {
        for (name, client) in &callers {
            let reply = client.get(target);
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            if reply.status() >= 500 || marks.iter().any(|mark| text.contains(mark)) {
                wrong.push(format!("{target} as {name}: {} {text:.200}", reply.status()));
            }
            // A name in a redirect stays on this server.
            let location = reply.head.get("location").unwrap_or("/");
            if !location.starts_with('/') || location.starts_with("//") || location.starts_with("/\\") {
                wrong.push(format!("{target} as {name}: leads to {location}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The same account of a superadmin gets what it asks for, so the marks mean something.
    let root = Client::login(&server, "root", PASSWORD);
    assert!(root.get("/api/users").text().contains("\"role\":\"superadmin\""));
    // Below /api/ there is always JSON.
    for target in ["/api/nope", "/api/", "/api/users/x/y", "/api/users%2fx"] {
        let reply = Client::nobody(&server).get(target);
        assert_eq!(reply.status(), 404, "{target}: {}", reply.text());
        assert!(reply.json()["error"].is_string(), "{target}");
    }
}

#[test]
fn other_methods_are_told_which_there_are() {
    let server = setup().start();
    let script = script(&server);
    let document = document(&server);
    for (path, operations) in document["paths"].as_object().expect("paths") {
        if !path.starts_with("/api/") || path.contains('{') {
            continue;
        }
        let present: Vec<String> = operations
            .as_object()
            .expect("operations")
            .keys()
            .map(|name| name.to_uppercase())
            .collect();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            if present.iter().any(|have| have == method) {
                continue;
            }
            let reply = script.call(method, path, &Value::Null);
            assert_eq!(reply.status(), 405, "{method} {path}: {}", reply.text());
            assert_eq!(reply.json()["error"], "Method not allowed", "{method} {path}");
            let allow: Vec<_> = reply
                .head
                .get("allow")
                .expect("a list")
                .split(", ")
                .map(str::to_owned)
                .collect();
            assert!(
                present.iter().all(|have| allow.contains(have)),
                "{method} {path}: {allow:?}"
            );
        }
        let options = script.call("OPTIONS", path, &Value::Null);
        assert_eq!(
            (options.status(), options.head.get("allow").is_some()),
            (204, true),
            "OPTIONS {path}"
        );
    }
}
