//! The internal port itself: where it is, who may ask, and that it stays usable.

use std::net::TcpListener;

use crate::harness::{Server, Wire, basic, get, request, until};

#[test]
fn the_public_port_serves_none_of_it() {
    let server = Server::setup().internal().start();
    for target in [
        "/debug/pprof/",
        "/debug/vars",
        "/debug/streams",
        "/debug/pprof/heap",
    ] {
        assert_eq!(get(server.address(), target, "").status(), 404, "{target}");
    }
    let refused = get(server.address(), "/metrics", "");
    assert_eq!(refused.status(), 401);
    assert_eq!(
        refused.head.get("www-authenticate"),
        Some("Basic realm=\"TinyIce Metrics\"")
    );
    let wrong = format!("Authorization: {}\r\n", basic("admin", "wrong"));
    assert_eq!(get(server.address(), "/metrics", &wrong).status(), 401);
    let metrics = get(server.address(), "/metrics", &Server::admin_auth());
    assert_eq!(metrics.status(), 200);
    assert!(metrics.text().contains("\ntinyice_listeners_total 0\n"));
}

#[test]
fn a_web_page_cannot_read_it_through_the_operators_browser() {
    let server = Server::setup().internal().start();
    for (host, status) in [
        ("localhost", 200),
        ("127.0.0.1:8081", 200),
        ("[::1]:8081", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:8081", 421),
    ] {
        let head = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let reply = request(server.internal(), head);
        assert_eq!(reply.status(), status, "{host}");
        assert_eq!(reply.head.get("access-control-allow-origin"), None);
    }
}

#[test]
fn a_port_that_is_taken_does_not_stop_the_server_and_is_had_later() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let server = Server::setup().set("metrics_listen", address.to_string()).start();
    let line = server.wait_for_log(&format!("Internal port {address} cannot be opened"));
    assert!(line.contains("ERROR"), "{line}");
    assert_eq!(get(server.address(), "/readyz", "").status(), 200);
    drop(other);
    until("the port is taken over", || {
        let mut wire = std::net::TcpStream::connect(address).ok()?;
        std::io::Write::write_all(&mut wire, b"GET /healthz HTTP/1.0\r\n\r\n").ok()?;
        Some(())
    });
    assert_eq!(server.internal(), address);
}

#[test]
fn a_port_that_others_can_reach_is_warned_about() {
    let server = Server::setup().set("metrics_listen", "0.0.0.0:0").start();
    let line = server.wait_for_log("without authentication");
    assert!(line.contains("WARN") && line.contains("0.0.0.0:"), "{line}");
}

#[test]
fn a_reload_moves_it() {
    let server = Server::setup().internal().start();
    let before = server.internal();
    let port = Server::free_port();
    server.edit_config(|config| config["metrics_listen"] = format!("127.0.0.1:{port}").into());
    assert!(server.reload());
    let after = format!("127.0.0.1:{port}").parse().unwrap();
    until("the new address", || std::net::TcpStream::connect(after).ok());
    assert_eq!(get(after, "/healthz", "").status(), 200);
    until("the old one is closed", || {
        std::net::TcpStream::connect(before).err()
    });
}

#[test]
fn ten_thousand_requests_and_clients_that_say_nothing_leave_it_usable() {
    let server = Server::setup().internal().start();
    let mut silent: Vec<_> = (0..50).map(|_| Wire::connect(server.internal())).collect();
    for wire in &mut silent {
        wire.send("GET /metr");
    }
    let mut wire = Wire::connect(server.internal());
    for _ in 0..10_000 {
        wire.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let head = wire.head();
        assert_eq!(head.status, 200);
        wire.body(&head);
    }
    assert_eq!(server.ask("/metrics").status(), 200);
}

#[test]
fn readiness_is_also_on_the_public_port() {
    let server = Server::setup().internal().start();
    for address in [server.address(), server.internal()] {
        assert_eq!(get(address, "/healthz", "").status(), 200);
        assert_eq!(get(address, "/readyz", "").status(), 200);
    }
}
