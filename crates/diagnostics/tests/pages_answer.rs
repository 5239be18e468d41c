//! What is where, in which forms, and what is refused how.

mod support;

use diagnostics::{Answer, Column, Pages, Table, tables};
use serde_json::json;
use support::{ask, get, page, start};

fn pages() -> Pages {
    Pages::new("Radio")
        .about("version", "1.2.3")
        .check("listeners", || Ok(()))
        .config(|| json!({"hostname": "radio.example.com"}))
        .page(page("/debug/streams", |query, _| {
            let mut table = Table::new(
                "streams",
                &[("mount", Column::Text), ("listeners", Column::Number)],
            );
            table.row([json!("/live\n\u{1b}[2J"), json!(3)]);
            tables(query, &[table]).unwrap_or_else(Answer::from)
        }))
}

#[test]
fn every_page_is_there() {
    let (_port, address) = start(pages());
    let text = "text/plain; charset=utf-8";
    let cases = [
        ("/", "text/html; charset=utf-8", "/debug/streams"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", ""),
        ("/healthz", text, "ok\n"),
        ("/readyz", text, "ready\n"),
        ("/debug/vars", "application/json", "\"cmdline\""),
        ("/debug/log", text, "info"),
        ("/debug/events", text, "internal_port_opened"),
        (
            "/debug/events?format=json&n=5",
            "application/x-ndjson",
            "\"event\":\"",
        ),
        ("/debug/tasks", text, "diagnostics-connection"),
        ("/debug/tasks?format=json", "application/json", "\"tasks\""),
        ("/debug/threads", text, "diagnostics"),
        ("/debug/locks", text, "== waiting now"),
        ("/debug/locks?format=json", "application/json", "\"waiting_now\""),
        ("/debug/connections", text, "127.0.0.1:"),
        ("/debug/system", text, "version     1.2.3"),
        ("/debug/system?format=json", "application/json", "\"processors\""),
        ("/debug/config", "application/json", "radio.example.com"),
        ("/debug/streams", text, "/live\u{fffd}\u{fffd}[2J"),
        (
            "/debug/streams?format=json",
            "application/json",
            "\"listeners\": 3",
        ),
        ("/debug/pprof/", "text/html; charset=utf-8", "goroutine"),
        ("/debug/pprof/cmdline", text, ""),
    ];
    for (target, content_type, content) in cases {
        let reply = get(address, target);
        assert_eq!(reply.status, 200, "{target}: {}", reply.text());
        assert_eq!(reply.header("content-type"), Some(content_type), "{target}");
        assert!(reply.text().contains(content), "{target}: {}", reply.text());
    }
}

#[test]
fn every_response_protects_the_browser() {
    let (_port, address) = start(pages());
    for target in ["/", "/metrics", "/nothing", "/debug/events?n=x", "/debug/bundle"] {
        let reply = get(address, target);
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("cross-origin-resource-policy", "same-origin"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{target} {name}");
        }
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
}

#[test]
fn what_cannot_be_answered_says_why() {
    let (_port, address) = start(pages());
    let foreign = "Host: evil.example\r\n";
    let cross = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n";
    let link = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    let origin = "Origin: http://localhost:3000\r\n";
    let cases = [
        ("GET", "/", foreign, 421, "IP address"),
        ("GET", "/", "Host: rebind.evil.example:8081\r\n", 421, "localhost"),
        ("GET", "http://evil.example/", "", 421, ""),
        ("GET", "/metrics", foreign, 421, ""),
        ("GET", "/", "Host: RADIO.example.com:8081\r\n", 200, ""),
        ("GET", "/", "Host: [::1]:8081\r\n", 200, ""),
        (
            "GET",
            "/",
            "Host: localhost\r\nHost: localhost\r\n",
            400,
            "more than one",
        ),
        ("GET", "/metrics", cross, 403, "elsewhere"),
        ("GET", "/", link, 200, ""),
        ("PUT", "/debug/log?level=info", origin, 403, "elsewhere"),
        ("OPTIONS", "/metrics", "", 405, "GET, HEAD"),
        ("POST", "/metrics", "", 405, "GET, HEAD"),
        ("PATCH", "/debug/log", "", 405, "GET, HEAD, PUT, POST, DELETE"),
        ("PUT", "/debug/pprof/heap", "", 405, "GET, HEAD, POST"),
        ("GET", "/nothing", "", 404, "/ lists"),
        ("GET", "/debug/../metrics", "", 404, ""),
        ("GET", "//metrics", "", 404, ""),
        ("GET", "/debug/events?n=-1", "", 400, "from 0 to 4096"),
        ("GET", "/debug/events?n=99999", "", 400, "from 0 to 4096"),
        ("GET", "/debug/events?level=loud", "", 400, "debug, info"),
        ("GET", "/debug/events?since=yesterday", "", 400, "10m"),
        ("GET", "/debug/events?nmae=x", "", 400, "name"),
        ("GET", "/debug/events?n=%zz", "", 400, "hexadecimal"),
        ("GET", "/debug/events?n=1&n=2", "", 400, "twice"),
        ("GET", "/debug/tasks?format=xml", "", 400, "text or json"),
        ("PUT", "/debug/log?level=loud", "", 400, "debug"),
        ("PUT", "/debug/log", "", 400, "level"),
        ("PUT", "/debug/log?level=info&for=soon", "", 400, "10m"),
        ("PUT", "/debug/log?level=info&for=1000h", "", 400, "week"),
        ("PUT", "/debug/log?levle=info", "", 400, "level"),
        ("GET", "/debug/pprof", "", 307, "/debug/pprof/"),
        ("GET", "/debug", "", 307, "/"),
    ];
    for (method, target, headers, status, content) in cases {
        let reply = ask(address, method, target, headers, "");
        let text = format!("{}{}", reply.head, reply.text());
        assert_eq!(reply.status, status, "{method} {target} {headers}: {text}");
        assert!(text.contains(content), "{method} {target}: {text}");
    }
    let long = "x".repeat(70_000);
    assert_eq!(ask(address, "PUT", "/debug/log", "", &long).status, 413);
    assert_eq!(ask(address, "GET", &format!("/{long}"), "", "").status / 100, 4);
}

#[test]
fn an_old_client_needs_no_host() {
    let (_port, address) = start(pages());
    let mut connection = support::Connection::open(address);
    connection.send("GET /healthz HTTP/1.0\r\n\r\n");
    // As `nc -N` does.
    connection.stream().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(connection.reply(false).unwrap().text(), "ok\n");
    let mut connection = support::Connection::open(address);
    connection.send("GET /healthz HTTP/1.1\r\n\r\n");
    assert_eq!(connection.reply(false).unwrap().status, 400);
}

#[test]
fn names_can_change() {
    let (port, address) = start(pages());
    let named = |name: &str| ask(address, "GET", "/healthz", &format!("Host: {name}\r\n"), "").status;
    assert_eq!((named("radio.example.com"), named("new.example.com")), (200, 421));
    port.rename(vec!["new.example.com".to_owned()]);
    assert_eq!((named("radio.example.com"), named("new.example.com")), (421, 200));
}

#[test]
fn head_is_get_without_a_body_and_without_long_work() {
    let (_port, address) = start(pages());
    for target in ["/metrics", "/debug/config", "/readyz"] {
        let (head, full) = (ask(address, "HEAD", target, "", ""), get(address, target));
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-type"), full.header("content-type"));
    }
    let begun = std::time::Instant::now();
    for target in [
        "/debug/pprof/profile?seconds=25",
        "/debug/bundle",
        "/debug/events?follow=1",
    ] {
        assert_eq!(ask(address, "HEAD", target, "", "").status, 200, "{target}");
    }
    assert!(begun.elapsed().as_secs() < 20);
}

#[test]
fn long_text_is_compressed_for_those_who_take_it() {
    let text = "a line of text\n".repeat(1_000);
    let expected = text.clone();
    let (_port, address) =
        start(Pages::new("Radio").page(page("/long", move |_, _| Answer::text(text.clone()))));
    let plain = get(address, "/long");
    assert_eq!(
        (plain.header("content-encoding"), plain.text()),
        (None, expected.as_str())
    );
    let packed = ask(address, "GET", "/long", "Accept-Encoding: gzip, br\r\n", "");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.header("vary").unwrap().contains("Accept-Encoding"));
    assert!(packed.body.len() < expected.len() / 4);
}

#[test]
fn programs_get_json_by_accept() {
    let (_port, address) = start(pages());
    let json = "Accept: application/json\r\n";
    let ready = ask(address, "GET", "/readyz", json, "").json();
    assert_eq!(
        ready,
        json!({"ready": true, "failing": null, "checks": {"listeners": "ok"}})
    );
    let tasks = ask(address, "GET", "/debug/tasks", json, "").json();
    assert!(
        tasks["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .any(|task| task["name"] == "diagnostics-door")
    );
    let open = "Accept: application/openmetrics-text; version=1.0.0\r\n";
    let metrics = ask(address, "GET", "/metrics", open, "");
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    assert!(metrics.text().ends_with("# EOF\n"));
}

#[test]
fn a_failing_check_is_named() {
    let pages = Pages::new("Radio")
        .check("listeners", || Ok(()))
        .check("database", || Err("cannot be written".to_owned()))
        .check("workers", || panic!("no such luck"));
    let (_port, address) = start(pages);
    // A check that panics names itself, whatever the others say.
    let reply = get(address, "/readyz");
    assert_eq!(reply.status, 503);
    assert!(
        reply.text().starts_with("not ready: workers: "),
        "{}",
        reply.text()
    );

    let pages = Pages::new("Radio")
        .check("listeners", || Ok(()))
        .check("database", || Err("cannot be written".to_owned()));
    let (_port, address) = start(pages);
    let reply = get(address, "/readyz");
    assert_eq!(
        (reply.status, reply.text()),
        (503, "not ready: database: cannot be written\n")
    );
    let reply = get(address, "/readyz?format=json");
    assert_eq!(
        (reply.status, &reply.json()["failing"]),
        (503, &json!("database"))
    );
}

#[test]
fn the_variables_are_those_of_expvar() {
    let (_port, address) = start(pages());
    let vars = get(address, "/debug/vars").json();
    assert!(!vars["cmdline"].as_array().unwrap().is_empty());
    assert!(vars["memstats"]["Sys"].is_u64());
    assert_eq!(vars.get("error"), None);
}
