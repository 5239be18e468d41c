//! The log's filter is shown and changed.

mod support;

use diagnostics::Pages;
use serde_json::json;
use support::{ask, get, start};

#[test]
fn the_filter_is_changed_in_every_way_of_asking() {
    let (_port, address) = start(Pages::new("Radio"));
    assert_eq!(get(address, "/debug/log").text(), "info\n");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let cases = [
        ("PUT", "/debug/log?level=debug", "", "", "debug"),
        ("POST", "/debug/log?level=warn&for=10m", "", "", "warn"),
        ("PUT", "/debug/log", "", "error\n", "error"),
        (
            "PUT",
            "/debug/log?for=1h30m",
            "",
            "fanout=debug,info",
            "fanout=debug,info",
        ),
        (
            "POST",
            "/debug/log",
            form,
            "level=fanout%3Ddebug%2Cwarn&for=10m",
            "fanout=debug,warn",
        ),
    ];
    for (method, target, headers, body, expected) in cases {
        let reply = ask(address, method, target, headers, body);
        assert_eq!(reply.status, 200, "{target}: {}", reply.text());
        assert!(
            reply.text().starts_with(&format!("{expected}\n")),
            "{}",
            reply.text()
        );
        let now = get(address, "/debug/log?format=json").json();
        assert_eq!(
            (&now["filter"], &now["configured"]),
            (&json!(expected), &json!("info"))
        );
    }
    let left = get(address, "/debug/log?format=json").json()["seconds_left"]
        .as_u64()
        .unwrap();
    assert!((560..=600).contains(&left), "{left}");
    // What is not understood changes nothing.
    assert_eq!(ask(address, "PUT", "/debug/log", "", "loud").status, 400);
    assert!(
        get(address, "/debug/log")
            .text()
            .starts_with("fanout=debug,warn\n")
    );
    assert_eq!(ask(address, "DELETE", "/debug/log", "", "").text(), "info\n");
}
