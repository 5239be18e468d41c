//! The bundle: what is in it, and that a part that fails does not spoil the rest.

mod support;

use std::io::Write as _;
use std::process::{Command, Stdio};

use diagnostics::{Answer, Pages};
use serde_json::json;
use support::{Connection, get, page, start, until};

fn pages() -> Pages {
    Pages::new("Radio One")
        .about("version", "1.2.3")
        .config(|| json!({"hostname": "radio.example.com"}))
        .page(page("/debug/streams", |query, _| match query.get("format") {
            Some("json") => Answer::json(&json!({"streams": []})),
            _ => Answer::text("nobody is on air\n"),
        }))
        .page(page("/debug/bad", |_, _| panic!("no such luck")))
}

/// Has the system's `tar` read it.
fn tar(archive: &[u8], arguments: &[&str]) -> String {
    let mut tar = Command::new("tar")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tar is installed");
    let mut input = tar.stdin.take().expect("it is piped");
    let archive = archive.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&archive));
    let output = tar.wait_with_output().expect("tar ends");
    // A tar that fails does not read to the end, and its status says so.
    let _ = writer.join();
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("what is read is text")
}

#[test]
fn everything_is_in_the_bundle() {
    let (_port, address) = start(pages());
    let reply = get(address, "/debug/bundle");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/gzip"));
    let disposition = reply.header("content-disposition").unwrap();
    assert!(
        disposition.starts_with("attachment; filename=\"radioone-"),
        "{disposition}"
    );
    assert!(disposition.ends_with("Z.tar.gz\""), "{disposition}");

    let listed = tar(&reply.body, &["tz"]);
    let (folder, _) = listed.split_once('/').unwrap();
    let files: Vec<_> = listed
        .lines()
        .map(|line| line.strip_prefix(folder).unwrap().trim_start_matches('/'))
        .collect();
    let expected = [
        "metrics.txt",
        "metrics.openmetrics.txt",
        "vars.json",
        "healthz.txt",
        "readyz.txt",
        "readyz.json",
        "log.txt",
        "events.txt",
        "events.jsonl",
        "tasks.txt",
        "tasks.json",
        "threads.txt",
        "locks.txt",
        "locks.json",
        "system.txt",
        "system.json",
        "config.json",
        "streams.txt",
        "streams.json",
        "bad.error.txt",
        "pprof/goroutine-stacks.txt",
        "pprof/goroutine-groups.txt",
        "pprof/goroutine.pb.gz",
        "pprof/mutex.txt",
        "pprof/mutex.pb.gz",
        "pprof/block.txt",
        "pprof/block.pb.gz",
        "pprof/profile.pb.gz",
        "pprof/cmdline.txt",
        "CONTENTS.txt",
    ];
    for file in expected {
        assert!(files.contains(&file), "{file} is not in {files:?}");
    }
    // Without a sampling allocator there is no heap profile, but a file that says so.
    let heap = ["pprof/heap.pb.gz", "pprof/heap.error.txt"];
    assert!(heap.iter().any(|file| files.contains(file)), "{files:?}");
    let mut unique = files.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), files.len());

    let content = |file: &str| tar(&reply.body, &["xzO", &format!("{folder}/{file}")]);
    assert_eq!(content("streams.txt"), "nobody is on air\n");
    assert!(content("bad.error.txt").contains("no such luck"));
    assert!(content("system.txt").contains("1.2.3"));
    assert!(content("config.json").contains("radio.example.com"));
    let contents = content("CONTENTS.txt");
    assert!(
        contents.contains("bad.error.txt") && contents.contains("500"),
        "{contents}"
    );
    serde_json::from_str::<serde_json::Value>(&content("tasks.json")).unwrap();
}

#[test]
fn one_bundle_at_a_time_and_none_for_those_who_left() {
    let (_port, address) = start(pages());
    let mut first = Connection::open(address);
    first.send("GET /debug/bundle HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(first.reply(true).unwrap().status, 200);
    assert_eq!(get(address, "/debug/bundle").status, 503);
    assert_eq!(get(address, "/healthz").status, 200);
    drop(first);
    until("it is given up", || {
        let mut next = Connection::open(address);
        next.send("GET /debug/bundle HTTP/1.1\r\nHost: localhost\r\n\r\n");
        next.reply(true).is_some_and(|reply| reply.status == 200)
    });
}
