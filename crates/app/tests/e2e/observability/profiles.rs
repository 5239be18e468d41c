//! Profiles, opened by the tools that people use for them.

use std::{process::Command, sync::OnceLock};

use crate::harness::{Feeder, Program, Server, Wire, get, installed, until};

fn server() -> Server {
    Server::setup().internal().variable("TINYICE_FAULTS", "1").start()
}

fn plant(server: &Server, fault: &str) {
    assert!(
        server
            .ask(&format!("/debug/fault?kind={fault}"))
            .text()
            .starts_with("planted: ")
    );
}

/// Whether `go tool pprof` is here. Newer versions of Go build it when it is first asked for, which takes its time.
fn has_pprof() -> bool {
    static READY: OnceLock<bool> = OnceLock::new();
    *READY.get_or_init(|| {
        installed(&["go"]) && Command::new("go").args(["tool", "pprof", "-h"]).output().is_ok()
    })
}

/// What `go tool pprof -top` says of a profile, as fetched by `go tool pprof` itself.
fn top(server: &Server, profile: &str, more: &[&str]) -> String {
    let more: Vec<_> = ["-top", "-nodecount=30"].iter().chain(more).copied().collect();
    pprof(server, profile, &more)
}

fn pprof(server: &Server, profile: &str, more: &[&str]) -> String {
    let folder = server.folder().path();
    let mut pprof = Program::start(
        Command::new("go")
            .args(["tool", "pprof"])
            .args(more)
            .arg(format!("http://{}/debug/pprof/{profile}", server.internal()))
            .env("PPROF_TMPDIR", folder)
            // Names must come from the profile and not from the program, which may be elsewhere.
            .env("PPROF_BINARY_PATH", "/nowhere"),
    );
    let (status, output) = pprof.wait();
    assert!(status.success(), "{profile}: {output}");
    output
}

/// The first function in the table.
fn first(table: &str) -> String {
    let mut rows = table.lines().skip_while(|line| !line.contains("flat%"));
    rows.nth(1).unwrap_or_default().to_owned()
}

#[test]
fn a_hot_function_is_first_in_the_processor_profile() {
    if !has_pprof() {
        return;
    }
    let server = server();
    plant(&server, "hot&seconds=20");
    // Inlined helpers of the library would come first otherwise.
    let table = top(&server, "profile?seconds=2", &["-noinlines"]);
    assert!(first(&table).contains("planted_hot_function"), "{table}");
    let by_thread = pprof(&server, "profile?seconds=1", &["-tags"]);
    assert!(by_thread.contains("fault-hot"), "{by_thread}");
}

#[test]
fn a_leak_is_first_in_the_heap_profile() {
    if !has_pprof() {
        return;
    }
    let server = server();
    plant(&server, "leak");
    until("the leak", || {
        server
            .metric("tinyice_heap_alloc_bytes")
            .filter(|bytes| *bytes > 64.0 * 1024.0 * 1024.0)
    });
    let table = top(&server, "heap", &[]);
    assert!(first(&table).contains("planted_leak"), "{table}");
    assert!(table.contains("inuse_space"), "{table}");
    let table = top(&server, "allocs", &[]);
    assert!(
        table.contains("alloc_space") && table.contains("planted_leak"),
        "{table}"
    );
    let text = server.ask("/debug/pprof/heap?debug=1").text();
    assert!(text.starts_with("heap profile: "), "{text}");
    assert!(text.contains("planted_leak"), "{text}");
}

#[test]
fn contention_names_the_function_that_waits() {
    if !has_pprof() {
        return;
    }
    let server = server();
    plant(&server, "contention&seconds=30");
    let waited = "tinyice_lock_contentions_total{lock=\"fault.gate\"}";
    until("contention", || {
        server.metric(waited).filter(|count| *count > 20.0)
    });
    for profile in ["mutex", "block"] {
        let table = top(&server, profile, &[]);
        assert!(table.contains("planted_contention"), "{table}");
    }
    let delta = top(&server, "mutex?seconds=1", &[]);
    assert!(delta.contains("planted_contention"), "{delta}");
    let text = server.ask("/debug/pprof/mutex?debug=2").text();
    assert!(text.starts_with("--- mutex:\ncycles/second="), "{text}");
    assert!(text.contains("fault.gate"), "{text}");
}

#[test]
fn tasks_and_threads_open_as_goroutines() {
    if !has_pprof() {
        return;
    }
    let server = server();
    let _feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    let table = top(&server, "goroutine", &[]);
    assert!(
        table.contains("goroutine") && table.contains("tinyice"),
        "{table}"
    );
    let text = server.ask("/debug/pprof/goroutine?debug=1").text();
    assert!(text.starts_with("goroutine profile: total "), "{text}");
    let dump = server.ask("/debug/pprof/goroutine?debug=2").text();
    for what in ["fanout", "mounts", "log-writer", "/live"] {
        assert!(dump.contains(what), "{what} in\n{dump}");
    }
    assert!(dump.starts_with("goroutine "), "{dump}");
    let threads = server.ask("/debug/pprof/threadcreate?debug=1").text();
    assert!(threads.contains("fanout"), "{threads}");
}

#[test]
fn only_one_processor_profile_runs_at_a_time() {
    let server = server();
    let internal = server.internal();
    let long = || {
        let mut wire = Wire::connect(internal);
        wire.send("GET /debug/pprof/profile?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        wire
    };
    let mut running = long();
    let refused = until("the second is refused", || {
        let reply = get(internal, "/debug/pprof/profile?seconds=0.1", "");
        if reply.status() == 200 {
            // It was faster, so the long one was refused.
            running = long();
            return None;
        }
        Some(reply)
    });
    assert_eq!(refused.status(), 503);
    assert!(!refused.text().is_empty());
    // Whoever leaves half-way makes room.
    drop(running);
    until("its place is free", || {
        (get(internal, "/debug/pprof/profile?seconds=0.1", "").status() == 200).then_some(())
    });
}

#[test]
fn headers_are_those_of_go() {
    let server = server();
    for (target, status, kind) in [
        ("/debug/pprof/", 200, "text/html; charset=utf-8"),
        ("/debug/pprof/heap", 200, "application/octet-stream"),
        ("/debug/pprof/heap?debug=1", 200, "text/plain; charset=utf-8"),
        ("/debug/pprof/goroutine?debug=2", 200, "text/plain; charset=utf-8"),
        ("/debug/pprof/cmdline", 200, "text/plain; charset=utf-8"),
        ("/debug/pprof/symbol", 200, "text/plain; charset=utf-8"),
        ("/debug/pprof/nothing", 404, "text/plain; charset=utf-8"),
        (
            "/debug/pprof/profile?seconds=-1",
            400,
            "text/plain; charset=utf-8",
        ),
        ("/debug/pprof/heap?debug=x", 400, "text/plain; charset=utf-8"),
    ] {
        let reply = server.ask(target);
        assert_eq!(reply.status(), status, "{target}: {}", reply.text());
        assert_eq!(reply.head.get("content-type"), Some(kind), "{target}");
        assert_eq!(
            reply.head.get("x-content-type-options"),
            Some("nosniff"),
            "{target}"
        );
        assert_eq!(reply.head.get("access-control-allow-origin"), None, "{target}");
        if kind == "application/octet-stream" {
            let disposition = reply.head.get("content-disposition").unwrap();
            assert_eq!(disposition, "attachment; filename=\"heap\"", "{target}");
        }
    }
    let words = server.ask("/debug/pprof/cmdline").text();
    assert!(words.contains("tinyice\0-config\0"), "{words:?}");
    assert!(
        server
            .ask("/debug/pprof/symbol")
            .text()
            .starts_with("num_symbols: 1")
    );
    let trace = server.ask("/debug/pprof/trace?seconds=1").json();
    assert!(!trace["traceEvents"].as_array().unwrap().is_empty(), "{trace}");
}
