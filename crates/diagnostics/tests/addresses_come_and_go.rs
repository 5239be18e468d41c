//! Addresses: in use, freed, changed by a reload, closed.

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use diagnostics::{Pages, Port, Settings};
use support::{Connection, get, happened, settings, start, until};

#[test]
fn an_address_in_use_is_taken_when_it_is_freed() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let settings = Settings {
        addresses: vec![address],
        ..settings()
    };
    let port = Port::start(settings, Pages::new("Radio"));
    assert!(port.local_addresses().is_empty());
    until("the error is told", || {
        happened("internal_port_unavailable", &address.to_string())
    });
    drop(other);
    until("the address is taken", || port.local_addresses() == [address]);
    assert_eq!(get(address, "/healthz").status, 200);
    let told = observe::recent()
        .iter()
        .filter(|record| {
            record.name == "internal_port_unavailable" && record.json().contains(&address.to_string())
        })
        .count();
    assert_eq!(told, 1);
}

#[test]
fn a_successor_gets_the_address() {
    let (first, address) = start(Pages::new("Radio"));
    let settings = Settings {
        addresses: vec![address],
        ..settings()
    };
    let second = Port::start(settings, Pages::new("Radio"));
    assert!(second.local_addresses().is_empty());
    // A connection that is open meanwhile does not keep the address.
    let idle = Connection::open(address);
    assert!(first.close(Duration::from_millis(100)));
    until("the successor answers", || second.local_addresses() == [address]);
    assert_eq!(get(address, "/healthz").status, 200);
    drop(idle);
}

#[test]
fn addresses_change_without_interrupting_those_that_stay() {
    let (port, stays) = start(Pages::new("Radio"));
    let mut connection = Connection::open(stays);
    let ask = |connection: &mut Connection| {
        connection.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.reply(false).unwrap().status
    };
    assert_eq!(ask(&mut connection), 200);
    // The first was asked for as port 0, so that is what stays.
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let more: SocketAddr = "127.0.0.2:0".parse().unwrap();
    port.rebind(vec![any, more]);
    let bound = port.local_addresses();
    assert_eq!((bound.len(), bound[0]), (2, stays));
    assert_eq!(get(bound[1], "/healthz").status, 200);
    assert_eq!(ask(&mut connection), 200);
    port.rebind(vec![more]);
    assert_eq!(port.local_addresses(), [bound[1]]);
    assert!(TcpStream::connect(stays).is_err());
    port.rebind(Vec::new());
    assert!(port.local_addresses().is_empty());
}

#[test]
fn an_address_that_others_can_reach_is_a_warning() {
    let exposed = Settings {
        addresses: vec!["0.0.0.0:0".parse().unwrap()],
        ..settings()
    };
    let port = Port::start(exposed, Pages::new("Radio"));
    let address = port.local_addresses()[0];
    until("the warning", || {
        happened("internal_port_exposed", &format!("{address} can be reached"))
    });
    let (private, loopback) = start(Pages::new("Radio"));
    until("it is open", || {
        happened("internal_port_opened", &loopback.to_string())
    });
    assert!(!happened("internal_port_exposed", &loopback.to_string()));
    drop((port, private));
}

#[test]
fn both_families_listen() {
    let both = Settings {
        addresses: vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()],
        ..settings()
    };
    let port = Port::start(both, Pages::new("Radio"));
    for address in port.local_addresses() {
        assert_eq!(get(address, "/healthz").status, 200, "{address}");
    }
}

#[test]
fn closing_lets_requests_end_and_drops_the_idle() {
    let (release, hold) = std::sync::mpsc::channel::<()>();
    let hold = observe::Mutex::new("test-hold", hold);
    let page = support::page("/slow", move |_, _| {
        let _ = hold.lock().recv();
        diagnostics::Answer::text("done\n")
    });
    let (port, address) = start(Pages::new("Radio").page(page));
    let mut slow = Connection::open(address);
    slow.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut idle = Connection::open(address);
    until("it is being answered", || {
        get(address, "/debug/connections").text().contains("served")
    });
    let closer = std::thread::spawn(move || {
        let begun = Instant::now();
        (port.close(support::PATIENCE), begun.elapsed())
    });
    assert!(idle.is_closed());
    release.send(()).unwrap();
    assert_eq!(slow.reply(false).unwrap().text(), "done\n");
    let (in_time, _) = closer.join().unwrap();
    assert!(in_time);
    assert!(TcpStream::connect(address).is_err());
}
