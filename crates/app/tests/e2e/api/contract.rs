//! The API against its own description, by a program that makes up requests from it.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};

use super::{
    database::{publish, set_title},
    document, script,
};
use crate::{
    accounts::setup,
    harness::{As, Client, Folder, Listener, Program, Setup, installed, until_within},
};

/// What ends the run itself: the server, the account's token, or a feed that never ends.
const LEFT_OUT: [&str; 6] = [
    "/admin/events",
    "/admin/hotswap",
    "/api/logout",
    "/api/me/logout-all",
    "/api/system/hotswap",
    "/logout",
];

/// What is said to be not available yet is no fault; all else that begins with a 5 is. Half of what is asked for is
/// there, so that not everything ends at a 404.
const SETTINGS: &str = r#"
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]

[dictionaries]
mounts.values = ["/own", "/other", "/relayed"]
ids.values = ["wh_0123456789ab", "6f1f2e3d-0000-4000-8000-000000000001", "mock"]
names.values = ["dj-own", "dj-bare", "admin-bare"]
addresses.values = ["203.0.113.66", "198.51.100.0/24"]
passwords.values = ["long-enough-1"]

[parameters]
"query.mount" = { dictionary = "mounts", probability = 0.5 }
"body.mount" = { dictionary = "mounts", probability = 0.5 }
"query.id" = { dictionary = "ids", probability = 0.5 }
"body.id" = { dictionary = "ids", probability = 0.5 }
"query.username" = { dictionary = "names", probability = 0.5 }
"body.username" = { dictionary = "names", probability = 0.5 }
"query.ip" = { dictionary = "addresses", probability = 0.5 }
"body.ip" = { dictionary = "addresses", probability = 0.5 }
"body.password" = { dictionary = "passwords", probability = 0.5 }
"#;

/// One of everything, so that lists are not empty. Nothing of it can be reached (RFC 5737).
fn furnished() -> Setup {
    setup()
        .set("banned_ips", json!(["203.0.113.66", "198.51.100.0/24"]))
        .set("whitelisted_ips", json!(["192.0.2.10"]))
        .set("fallback_mounts", json!({ "/own": "/other" }))
        .set("directory_server", "http://192.0.2.1/yp")
        .set("relays", json!([{ "url": "http://192.0.2.1/up", "mount": "/relayed", "password": "x", "enabled": true }]))
        .set(
            "webhooks",
            json!([{ "id": "wh_0123456789ab", "url": "http://192.0.2.1/hook", "events": ["source_connect"], "enabled": true }]),
        )
        .set(
            "pending_users",
            json!([{
                "id": "6f1f2e3d-0000-4000-8000-000000000001", "email": "eve@radio.example", "name": "Eve",
                "provider": "mock", "requested_at": "2026-03-04T05:06:07Z",
            }]),
        )
        .set(
            "oidc_providers",
            json!([{
                "id": "mock", "name": "Mock", "client_id": "c", "client_secret": "s",
                "discovery_url": "http://127.0.0.1:1", "icon": "key", "enabled": false,
            }]),
        )
}

/// How long all requests together may take on a busy machine.
const WHOLE: Duration = Duration::from_secs(600);

#[test]
fn every_answer_is_as_the_description_says() {
    if !installed(&["schemathesis"]) {
        return;
    }
    let server = furnished().start();
    let _feeder = publish(&server, "/own");
    server.wait_for_mount("/own");
    set_title(&server, "/own", "Artist - Title");
    let mut listener = Listener::open(&server, "/own", "");
    assert!(!listener.wire.some().is_empty());
    let script = script(&server);
    let As::Token(token) = &script.identity else {
        unreachable!()
    };
    let folder = Folder::new();
    folder.write("schemathesis.toml", SETTINGS);
    let mut command = Command::new("schemathesis");
    command
        .current_dir(folder.path())
        .args(["run", &server.url("/api/openapi.json")])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            "15",
            "--seed",
            "1",
        ])
        .args([
            "--workers",
            "2",
            "--request-timeout",
            "30",
            "--max-redirects",
            "0",
        ])
        .args([
            "--suppress-health-check",
            "all",
            "--continue-on-failure",
            "--warnings",
            "off",
        ])
        .env("NO_COLOR", "1")
        .env("PYTHONUNBUFFERED", "1");
    for path in LEFT_OUT {
        command.args(["--exclude-path", path]);
    }
    let mut program = Program::start(&mut command);
    until_within(WHOLE, "the end of the requests", || {
        (!program.is_running()).then_some(())
    });
    let (status, output) = program.wait();
    assert!(status.success(), "{status}");
    assert!(
        output.contains("passed") && !output.contains("failed"),
        "{output}"
    );
    assert_eq!(server.log_with("panic"), Vec::<String>::new());
    // It was the superadmin to the end.
    assert_eq!(script.get("/api/users").status(), 200);
}

/// Every reference in a tree.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().filter(|_| key == "$ref") {
                    Some(to) => found.push(to),
                    None => references(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn the_description_is_whole() {
    let server = setup().start();
    let document = document(&server);
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1."))
    );
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for to in found {
        let pointer = to
            .strip_prefix('#')
            .unwrap_or_else(|| panic!("{to} is elsewhere"));
        assert!(document.pointer(pointer).is_some(), "{to} is nowhere");
    }
    let mut names = std::collections::BTreeSet::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let placeholders: Vec<_> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        for (method, operation) in operations.as_object().expect("operations") {
            let what = format!("{method} {path}");
            assert!(
                names.insert(operation["operationId"].as_str().expect("a name").to_owned()),
                "{what}"
            );
            for key in ["summary", "description", "tags", "responses", "security"] {
                assert!(!operation[key].is_null(), "{what} has no {key}");
            }
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let in_path: Vec<_> = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .collect();
            let named: Vec<_> = in_path
                .iter()
                .map(|parameter| parameter["name"].as_str().expect("a name"))
                .collect();
            assert_eq!(named, placeholders, "{what}");
            for parameter in &parameters {
                assert!(parameter["schema"].is_object(), "{what}: {parameter}");
            }
            let responses = operation["responses"].as_object().expect("responses");
            assert!(
                responses.keys().any(|status| status.starts_with(['2', '3'])),
                "{what} never succeeds"
            );
        }
    }
    // The same in the other form, and the page for people.
    let nobody = Client::nobody(&server);
    let yaml = nobody.get("/api/openapi.yaml");
    assert_eq!(
        (yaml.status(), yaml.head.get("content-type")),
        (200, Some("application/x-yaml"))
    );
    for name in names {
        assert!(
            yaml.text().contains(&format!("\"{name}\"")),
            "{name} is not in the YAML"
        );
    }
    let page = nobody.get("/api/docs");
    assert_eq!(page.status(), 200);
    assert!(
        !page.text().contains("//cdn") && !page.text().contains("src=\"http"),
        "no script of strangers"
    );
}
