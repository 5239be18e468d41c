//! A process without free file descriptors can still be asked.

#![cfg(target_os = "linux")]

mod support;

use std::fs::File;

use diagnostics::Pages;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Connection, start};

/// Alone in its file: the limit is that of the whole process.
#[test]
fn the_port_answers_when_all_descriptors_are_taken() {
    let (_port, address) = start(Pages::new("Radio"));
    // The client's own descriptors are in this process too.
    let mut clients: Vec<_> = Vec::new();
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: Some(128),
        maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    taken.pop();
    clients.push(Connection::open(address));
    clients[0].send("GET /debug/system?format=json HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let reply = clients[0].reply(false).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.json()["files"].get("/proc/self/limits").is_some());
    assert!(support::happened("internal_accept_failed", &address.to_string()));
}
