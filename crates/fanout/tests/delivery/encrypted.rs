//! Delivery through TLS to a real TLS client.

use std::{
    io::Read,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
};

use fanout::{Interleave, Leave, Otherwise, Wire};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::PrivateKeyDer,
};
use socket2::{Domain, Socket, Type};

use super::{PATIENCE, Stage, hear, wait_until};

/// Small enough that a listener which does not read is noticed at once.
const SMALL_BUFFER: usize = 4 << 10;

type Client = StreamOwned<ClientConnection, TcpStream>;

/// Both ends of a connection whose handshake is over.
fn connect() -> (Client, Wire) {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a key");
    let mut roots = RootCertStore::empty();
    roots.add(key.cert.der().clone()).expect("a certificate");
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let private = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .expect("the key fits");

    let door = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    door.set_send_buffer_size(SMALL_BUFFER).expect("an option");
    door.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .expect("loopback is there");
    door.listen(1).expect("it listens");
    let door = TcpListener::from(door);
    let ear = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    ear.set_recv_buffer_size(SMALL_BUFFER).expect("an option");
    ear.connect(&door.local_addr().expect("bound").into())
        .expect("it listens");
    let ear = TcpStream::from(ear);
    ear.set_read_timeout(Some(PATIENCE)).expect("a real timeout");

    let shaking = std::thread::spawn(move || {
        let (mut socket, _) = door.accept().expect("the client connected");
        let mut session = ServerConnection::new(Arc::new(server)).expect("a session");
        while session.is_handshaking() {
            session.complete_io(&mut socket).expect("the client shakes hands");
        }
        Wire::tls(socket, session).expect("sockets can be non-blocking")
    });
    let name = "localhost".try_into().expect("a name");
    let session = ClientConnection::new(Arc::new(client), name).expect("a session");
    let mut client = StreamOwned::new(session, ear);
    while client.conn.is_handshaking() {
        client
            .conn
            .complete_io(&mut client.sock)
            .expect("the server shakes hands");
    }
    (client, shaking.join().expect("no panic"))
}

#[test]
fn a_cipher_changes_nothing_about_what_is_heard() {
    let stage = Stage::new(PATIENCE);
    let mut station = stage.station("mpeg");
    stage.route(&[&station], Otherwise::Close);
    station.say("burst.");
    let (mut client, wire) = connect();
    stage.admit(&station, Interleave::Plain, wire);
    assert_eq!(hear(&mut client, 11), "HEAD\nburst.");
    for n in 0..100 {
        station.say(&format!("{n}."));
    }
    station.end();
    stage.route(&[], Otherwise::Close);
    let expected: String = (0..100).map(|n| format!("{n}.")).collect();
    let mut got = String::new();
    // Fails when the connection is cut instead of ended.
    client.read_to_string(&mut got).expect("the end is announced");
    assert_eq!(got, expected);
    let departure = stage.departure();
    assert_eq!(departure.leave, Leave::SourceGone);
    assert_eq!(departure.sent as usize, 11 + expected.len());
}

#[test]
fn what_the_cipher_holds_for_a_full_socket_is_neither_lost_nor_sent_twice() {
    let stage = Stage::new(PATIENCE);
    let mut station = stage.station("mpeg");
    stage.route(&[&station], Otherwise::Close);
    let (mut client, wire) = connect();
    stage.admit(&station, Interleave::Plain, wire);
    assert_eq!(hear(&mut client, 5), "HEAD\n");
    // Far more than the sockets and the cipher hold, and less than the ring does.
    let line = |n: usize| format!("{n:06} {}\n", "x".repeat(992));
    for n in 0..400 {
        station.say(&line(n));
    }
    let meter = stage.fanout.meters().next().expect("one thread").clone();
    wait_until("the listener falls behind", || meter.catching_up() == 1);
    for n in 0..400 {
        assert_eq!(hear(&mut client, 1_000), line(n));
    }
    station.say("and on.");
    assert_eq!(hear(&mut client, 7), "and on.");
}

#[test]
fn a_client_that_ends_its_session_is_let_go() {
    let stage = Stage::new(PATIENCE);
    let station = stage.station("mpeg");
    stage.route(&[&station], Otherwise::Close);
    let (mut client, wire) = connect();
    stage.admit(&station, Interleave::Plain, wire);
    assert_eq!(hear(&mut client, 5), "HEAD\n");
    client.conn.send_close_notify();
    client
        .conn
        .complete_io(&mut client.sock)
        .expect("the server is there");
    drop(client);
    assert_eq!(stage.departure().leave, Leave::Client);
}
