//! Connections that break off, say too much, say nonsense, or nothing at all.

use std::{
    io::Read as _,
    net::TcpStream,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Bystander;
use crate::harness::{
    Capture, FRAME, Feeder, Listener, Mp3, PATIENCE, Server, Source, get, numbers, source_auth, until,
    until_within,
};

/// Sends bytes and gives the status of the answer, if there is one. The server must close the connection.
fn answer(server: &Server, bytes: &[u8]) -> Option<u16> {
    let mut wire = server.connect();
    // It may have had enough before all of it is sent.
    let _ = wire.try_send(bytes);
    wire.finish_sending();
    let answer = String::from_utf8_lossy(&wire.rest()).into_owned();
    let status = answer
        .strip_prefix("HTTP/1.1 ")
        .map(|rest| rest[..3].parse().unwrap());
    assert!(status.is_some() || answer.is_empty(), "{answer}");
    status
}

#[test]
fn broken_heads_are_refused() {
    let server = Server::start();
    let bystander = Bystander::start(&server);
    let auth = source_auth();
    let many = format!(
        "GET /bystander HTTP/1.1\r\nHost: h\r\n{}\r\n",
        "X-Line: 1\r\n".repeat(200)
    );
    let long = format!(
        "GET /bystander HTTP/1.1\r\nHost: h\r\nX-Long: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let endless = "G".repeat(1 << 20);
    let post = |headers: &str, body: &str| {
        format!("POST /admin/metadata?mount=/bystander HTTP/1.1\r\nHost: h\r\n{auth}{headers}\r\n{body}")
    };
    let source = |headers: &str| {
        format!(
            "SOURCE /smuggled HTTP/1.1\r\nHost: h\r\n{auth}Content-Type: audio/mpeg\r\n{headers}\r\n0\r\n\r\n"
        )
    };
    let cases: Vec<(&str, Vec<u8>, Option<u16>)> = vec![
        ("nothing", b"".to_vec(), None),
        ("half a request line", b"GET /bysta".to_vec(), None),
        (
            "half a head",
            b"GET /bystander HTTP/1.1\r\nHost: h\r\nIcy-Meta".to_vec(),
            None,
        ),
        (
            "half a source's head",
            b"SOURCE /live HTTP/1.0\r\nAuthorization: Basic c291".to_vec(),
            None,
        ),
        ("a head of 1 MiB", long.into_bytes(), Some(431)),
        ("a request line of 1 MiB", endless.into_bytes(), Some(431)),
        ("200 header lines", many.into_bytes(), Some(431)),
        (
            "TLS on the plain port",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(40),
            Some(400),
        ),
        (
            "binary",
            (0..=255).cycle().skip(128).take(2_000).collect(),
            Some(400),
        ),
        (
            "a header without a colon",
            b"GET / HTTP/1.1\r\nHost: h\r\nnonsense\r\n\r\n".to_vec(),
            Some(400),
        ),
        (
            "two hosts",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(),
            Some(400),
        ),
        (
            "a control character in the path",
            b"GET /a\x01b HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
            Some(400),
        ),
        (
            "another protocol",
            b"EHLO mail.example\r\n\r\n".to_vec(),
            Some(400),
        ),
        (
            "a version to come",
            b"GET / HTTP/9.9\r\nHost: h\r\n\r\n".to_vec(),
            Some(505),
        ),
        (
            "both framings",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n").into_bytes(),
            Some(400),
        ),
        (
            "two lengths",
            post("Content-Length: 5\r\nContent-Length: 6\r\n", "song=x").into_bytes(),
            Some(400),
        ),
        (
            "a list of lengths",
            post("Content-Length: 5, 6\r\n", "song=x").into_bytes(),
            Some(400),
        ),
        (
            "a negative length",
            post("Content-Length: -1\r\n", "").into_bytes(),
            Some(400),
        ),
        (
            "no number for a length",
            post("Content-Length: ten\r\n", "").into_bytes(),
            Some(400),
        ),
        (
            "an unknown coding",
            post("Transfer-Encoding: gzip\r\n", "").into_bytes(),
            Some(501),
        ),
        (
            "a bad chunk",
            post("Transfer-Encoding: chunked\r\n", "zz\r\nsong=x\r\n0\r\n\r\n").into_bytes(),
            Some(400),
        ),
        (
            "a source with both",
            source("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n").into_bytes(),
            Some(400),
        ),
        (
            "a source with two lengths",
            source("Content-Length: 5\r\nContent-Length: 6\r\n").into_bytes(),
            Some(400),
        ),
    ];
    for (what, bytes, expected) in cases {
        assert_eq!(answer(&server, &bytes), expected, "{what}");
    }
    assert!(server.log_with("/smuggled").is_empty());
    bystander.check_unharmed(&server);
}

/// How many idle connections a test may hold here.
fn crowd() -> usize {
    const WANTED: u64 = 3_000;
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // Other tests need descriptors too.
    usize::try_from(WANTED.min(most.saturating_sub(500) / 2)).unwrap()
}

#[test]
fn a_crowd_that_says_nothing_disturbs_nobody() {
    let server = Server::start();
    let bystander = Bystander::start(&server);
    let silent: Vec<_> = (0..crowd())
        .map(|_| TcpStream::connect(server.address()).unwrap())
        .collect();
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(get(server.address(), "/healthz", "").status(), 200);
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    }
    bystander.check_unharmed(&server);
    // A head has to be complete after ten seconds.
    for (index, mut stream) in silent.into_iter().enumerate() {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let read = stream.read(&mut [0; 64]);
        assert!(matches!(read, Ok(0)), "connection {index}: {read:?}");
    }
    bystander.check_unharmed(&server);
}

#[test]
fn one_address_has_a_limit_of_connections() {
    let server = Server::setup()
        .set("max_connections_per_ip", 10)
        .strict_loopback()
        .start();
    let mut held: Vec<_> = (0..10).map(|_| server.connect()).collect();
    until("the eleventh refused", || {
        let mut one_more = TcpStream::connect(server.address()).unwrap();
        one_more
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        // A reset is a refusal too; a time-out is none.
        match one_more.read(&mut [0; 1]) {
            Ok(0) => Some(()),
            Ok(_) => None,
            Err(error) => (error.kind() == std::io::ErrorKind::ConnectionReset).then_some(()),
        }
    });
    server.wait_for_log("too many from one address");
    let first = &mut held[0];
    first.send("GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(first.head().status, 200, "those inside are served");
    held.clear();
    until("a free place", || {
        let mut wire = server.connect();
        let sent = wire.try_send("GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        (sent.is_ok() && wire.rest().starts_with(b"HTTP/1.1 200")).then_some(())
    });
}

/// Resident memory in bytes.
fn memory(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

/// Cuts what a listener heard at its jumps. A jump may leave the frame before it unfinished.
fn runs(mut heard: &[u8]) -> Vec<(u32, u32)> {
    let mut runs = Vec::new();
    while heard.len() >= FRAME {
        let whole = heard
            .chunks_exact(FRAME)
            .take_while(|frame| frame.starts_with(&[0xff, 0xfb, 0x90, 0x00]));
        let row = numbers(&heard[..whole.count() * FRAME]);
        let in_order = 1 + row
            .windows(2)
            .take_while(|pair| pair[0].1 + 1 == pair[1].1)
            .count();
        runs.push((row[0].1, row[in_order - 1].1));
        heard = &heard[in_order * FRAME..];
        // The rest of a frame that was cut off; its successor begins at the next header.
        let next = heard.windows(4).position(|four| four == [0xff, 0xfb, 0x90, 0x00]);
        heard = &heard[next.unwrap_or(heard.len())..];
    }
    runs
}

#[test]
fn who_does_not_read_costs_nothing_and_is_let_go() {
    const SENT: u64 = 32 << 20;
    // A ring that a healthy listener on a busy machine is not thrown out of at this speed.
    let server = Server::setup().set("default_burst_size", 4 << 20).start();
    let bystander = Bystander::start(&server);
    let _feeder = Feeder::run(Source::open(&server, "/fast"), Mp3::new('f'), 300.0);
    server.wait_for_mount("/fast");
    let open = || {
        let listener = Listener::open(&server, "/fast", "");
        assert_eq!(listener.head.status, 200);
        listener
    };
    let healthy = Capture::start(&server, "/fast", "");
    let _never = open();
    let mut sips = open();
    let stalls = open();
    let before = memory(&server);
    let figure = |name: &str| {
        crate::admin::read_xml(&server.admin("stats?mount=/fast"), |root| {
            let source = root.children().find(|node| node.has_tag_name("source")).unwrap();
            crate::admin::number(source, name)
        })
    };
    until("so much through the mount", || {
        // One byte at a time, far less than comes.
        sips.wire.exact(1);
        (figure("total_bytes_read") > SENT).then_some(())
    });
    let grown = memory(&server).saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes for listeners that do not read");
    let frames = numbers(&healthy.bytes());
    assert!(
        frames.windows(2).all(|pair| pair[0].1 + 1 == pair[1].1),
        "the healthy one misses frames"
    );

    // Who reads again goes on further ahead, and what was left out is counted.
    let stalls = stalls.capture();
    until("a jump", || (runs(&stalls.bytes()).len() > 1).then_some(()));
    assert!(figure("slow_listeners") >= 1);
    let slow = || {
        let gone = server.log_with("Listener disconnected");
        gone.iter()
            .filter(|line| line.contains("\"reason\": \"slow\""))
            .count()
    };
    let drunk = Instant::now();
    until_within(Duration::from_secs(60), "both of them let go", || {
        if slow() < 2 && drunk.elapsed() < Duration::from_secs(20) {
            sips.wire.exact(1);
        }
        (slow() >= 2).then_some(())
    });
    assert!(figure("slow_listeners") >= 3);
    assert!(!healthy.has_ended());
    bystander.check_unharmed(&server);
}
