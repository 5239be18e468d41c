//! The end: in order, in time, and at once when the operator insists.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Capture, FRAME, Feeder, Server, Source, numbers};

const IN_TIME: Duration = Duration::from_secs(10);

#[test]
fn two_hundred_listeners_are_sent_home_in_time() {
    for (signal, name) in [(Signal::TERM, "terminated"), (Signal::INT, "interrupt")] {
        let mut server = Server::setup().set("max_listeners", -1).start();
        let _feeder = Feeder::start(&server, "/live", 'a');
        let mut idle = Source::open(&server, "/idle");
        server.wait_for_mount("/live");
        let listeners: Vec<_> = (0..200).map(|_| Capture::start(&server, "/live", "")).collect();
        for listener in &listeners {
            listener.wait_for(FRAME);
        }
        let mut kept = server.connect();
        kept.send("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
        let head = kept.head();
        kept.body(&head);
        let pid_file = server.folder().file("tinyice.pid");
        assert!(pid_file.exists());

        server.signal(signal);
        let began = Instant::now();
        let status = server.wait();
        assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
        assert_eq!(status.code(), Some(0));
        assert!(!pid_file.exists());
        server.wait_for_log(&format!("Received {name}, shutting down..."));
        server.wait_for_log("TinyIce stopped");
        assert!(
            server.log().last().unwrap().contains("TinyIce stopped"),
            "it is the last word"
        );
        assert!(server.log_with("Graceful shutdown failed").is_empty());
        for listener in &listeners {
            let heard = listener.wait_for_end();
            assert_eq!(heard.len() % FRAME, 0, "the last byte is audio");
            numbers(&heard);
        }
        assert!(idle.wire.rest().is_empty() && kept.rest().is_empty());
    }
}

/// A request that takes its time: the server waits for the rest of it.
fn dawdle(server: &Server) -> crate::harness::Wire {
    let mut wire = server.connect();
    let auth = Server::admin_auth();
    wire.send(format!(
        "POST /admin/metadata HTTP/1.1\r\nHost: h\r\n{auth}Content-Length: 100\r\n\r\nmount="
    ));
    // It has to be past the head, or it would count as idle.
    server.wait_for_mount("/live");
    wire
}

#[test]
fn a_request_that_dawdles_does_not_hold_the_end_up() {
    let mut server = Server::start();
    let _feeder = Feeder::start(&server, "/live", 'a');
    let _wire = dawdle(&server);
    server.signal(Signal::TERM);
    let began = Instant::now();
    let status = server.wait();
    assert!(
        began.elapsed() < IN_TIME + Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(status.code(), Some(0));
    server.wait_for_log("TinyIce stopped");
}

#[test]
fn a_second_signal_ends_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut server = Server::start();
        let _feeder = Feeder::start(&server, "/live", 'a');
        let _wire = dawdle(&server);
        server.signal(Signal::TERM);
        server.wait_for_log("Received terminated");
        assert!(server.is_running(), "it waits for the request");
        server.signal(signal);
        let began = Instant::now();
        assert_eq!(server.wait().code(), Some(code));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert!(!server.folder().file("tinyice.pid").exists());
    }
}

#[test]
fn only_a_signal_to_end_cuts_the_end_short() {
    let mut server = Server::start();
    let _feeder = Feeder::start(&server, "/live", 'a');
    let mut wire = dawdle(&server);
    server.signal(Signal::TERM);
    server.wait_for_log("Received terminated");
    server.signal(Signal::HUP);
    server.signal(Signal::USR1);
    wire.send("x".repeat(100));
    assert_eq!(wire.head().status, 404, "the request is answered to its end");
    assert_eq!(server.wait().code(), Some(0));
    server.wait_for_log("TinyIce stopped");
}

#[test]
fn other_signals_do_what_they_are_for() {
    let mut server = Server::start();
    server.signal(Signal::USR2);
    server.signal(Signal::PIPE);
    server.signal(Signal::USR1);
    assert!(server.reload(), "it is still there");
    server.signal(Signal::QUIT);
    assert_eq!(server.wait().code(), Some(2));
    for task in ["name: \"mounts\"", "name: \"front\"", "name: \"fanout\""] {
        server.wait_for_log(task);
    }
}
