//! The server genuinely stuck, and found out through its internal port alone.
//!
//! The faults are planted by a page that only debug builds have, see `telemetry::faults`.

use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use crate::harness::{Capture, Feeder, Program, Server, get, installed, until};

/// What an operator is told to be patient for.
const PROMISE: Duration = Duration::from_secs(5);

fn server() -> Server {
    Server::setup().internal().variable("TINYICE_FAULTS", "1").start()
}

fn plant(server: &Server, fault: &str) {
    let reply = server.ask(&format!("/debug/fault?kind={fault}"));
    assert_eq!(
        reply.text(),
        format!("planted: {}\n", fault.split('&').next().unwrap())
    );
}

/// One of the documented commands, word for word but for the address.
fn curl(server: &Server, target: &str) -> String {
    let folder = server.folder().file("curl.txt");
    let began = Instant::now();
    let mut curl = Program::start(
        std::process::Command::new("curl")
            .args(["-sS", "--max-time", "10", "-o"])
            .arg(&folder)
            .arg(format!("http://{}{target}", server.internal())),
    );
    let (status, output) = curl.wait();
    assert!(status.success(), "{target}: {output}");
    assert!(began.elapsed() < PROMISE, "{target} took {:?}", began.elapsed());
    String::from_utf8(std::fs::read(folder).unwrap()).unwrap()
}

/// The blocks of a dump with a text in them.
fn blocks<'a>(dump: &'a str, text: &str) -> Vec<&'a str> {
    dump.split("\n\n").filter(|block| block.contains(text)).collect()
}

#[test]
fn a_deadlocked_media_path_is_named_by_the_documented_commands() {
    if !installed(&["curl"]) {
        return;
    }
    let server = server();
    let _feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    plant(&server, "deadlock");
    // The public port is dead: that is the point.
    until("the public port hangs", || {
        let mut curl = Program::start(
            std::process::Command::new("curl")
                .args(["-sS", "--max-time", "1"])
                .arg(server.url("/status-json.xsl")),
        );
        (!curl.wait().0.success()).then_some(())
    });
    let dump = curl(&server, "/debug/pprof/goroutine?debug=2");
    let waits = "waiting for lock \"mounts.routing\"";
    let waiting = blocks(&dump, waits);
    assert!(!waiting.is_empty(), "{dump}");
    // Whoever waits says who holds, and the holder's own block says what it waits for in turn.
    assert!(
        waiting.iter().any(|block| block.contains("fault-holder")),
        "{}",
        waiting.join("\n\n")
    );
    let holder = blocks(&dump, "waiting for lock \"fault.gate\"");
    assert!(
        holder.iter().any(|block| block.contains("fault-holder")),
        "{dump}"
    );
    assert!(dump.contains("planted_deadlock_holder"), "{dump}");
    assert!(dump.contains("planted_deadlock_thread"), "{dump}");
    let mutex = curl(&server, "/debug/pprof/mutex?debug=2");
    assert!(mutex.starts_with("--- mutex:\n"), "{mutex}");
    assert!(
        mutex.contains("mounts.routing") && mutex.contains("planted_deadlock"),
        "{mutex}"
    );
    let block = curl(&server, "/debug/pprof/block?debug=1");
    assert!(block.contains("fault.gate"), "{block}");
    // Numbers and readiness too.
    assert!(curl(&server, "/metrics").contains("\ntinyice_goroutines "));
    assert_eq!(curl(&server, "/healthz").trim(), "ok");
    let ready = until("the watchdog has seen it", || {
        let reply = server.ask("/readyz");
        (reply.status() == 503).then(|| reply.text())
    });
    assert!(!ready.trim().is_empty(), "{ready}");
    let events = curl(&server, "/debug/events");
    assert!(events.contains("mounts.routing"), "{events}");
    let cpu = server.ask("/debug/pprof/profile?seconds=1");
    assert_eq!((cpu.status(), &cpu.body[..2]), (200, &[0x1f, 0x8b][..]));
}

#[test]
fn listeners_hear_on_while_every_worker_of_the_runtime_hangs() {
    let server = server();
    let _feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    let listener = Capture::start(&server, "/live", "");
    listener.wait_for(1);
    plant(&server, "deadlock");
    until("the public port hangs", || {
        let answer = std::net::TcpStream::connect(server.address()).and_then(|mut door| {
            door.set_read_timeout(Some(Duration::from_secs(1)))?;
            door.write_all(b"GET /status-json.xsl HTTP/1.0\r\n\r\n")?;
            door.read(&mut [0; 1])
        });
        answer.is_err().then_some(())
    });
    // More than lay in any buffer: the source is read, and its audio delivered, without the runtime.
    let heard = listener.len();
    listener.wait_for(heard + 60_000);
    assert!(!listener.has_ended());
}

#[test]
fn a_stuck_delivery_thread_is_named_while_the_others_go_on() {
    let server = server();
    let _feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    let _listeners: Vec<_> = (0..4).map(|_| Capture::start(&server, "/live", "")).collect();
    until("four listeners", || {
        (server.metric("tinyice_listeners_total") == Some(4.0)).then_some(())
    });
    plant(&server, "fanout");
    let dump = until("the stuck thread in the dump", || {
        let dump = curl(&server, "/debug/pprof/goroutine?debug=2");
        dump.contains("planted_stuck_delivery").then_some(dump)
    });
    let stuck = blocks(&dump, "waiting for lock \"fault.gate\"");
    assert!(
        stuck
            .iter()
            .any(|block| block.contains("fanout") && block.contains("fault-gate")),
        "{dump}"
    );
    let streams = curl(&server, "/debug/streams");
    assert!(streams.contains("does not answer"), "{streams}");
    until("the watchdog tells", || {
        server
            .metric("tinyice_watchdog_trips_total{check=\"pulse\"}")
            .filter(|trips| *trips >= 1.0)
    });
    // The rest of the server is well.
    assert_eq!(get(server.address(), "/status-json.xsl", "").status(), 200);
}

#[test]
fn a_slow_poll_is_in_the_flight_recorder() {
    let server = server();
    plant(&server, "slow&seconds=1");
    let events = until("the slow poll", || {
        let events = server.ask("/debug/events").text();
        events.contains("fault-slow").then_some(events)
    });
    assert!(events.contains("slow") || events.contains("held"), "{events}");
}

#[test]
fn a_panic_is_told_with_its_place_and_the_server_goes_on() {
    let server = server();
    plant(&server, "panic");
    let line = server.wait_for_log("Task fault-panic panicked: planted");
    assert!(line.contains("faults.rs:"), "{line}");
    assert!(server.ask("/debug/events").text().contains("planted"));
    assert_eq!(get(server.address(), "/status-json.xsl", "").status(), 200);
}

#[test]
fn without_the_variable_there_are_no_faults() {
    let server = Server::setup().internal().start();
    assert_eq!(server.ask("/debug/fault?kind=panic").status(), 404);
}
