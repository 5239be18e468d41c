//! Who gets in, what waiting costs, and how everything ends.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::harness::{Server, answers, statuses};
use front::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn is_closed(connection: &mut TcpStream) -> bool {
    matches!(connection.read(&mut [0]).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn a_banned_peer_is_closed_before_a_byte_is_read() {
    let mut server = Server::start_with(Limits::default(), |stage| stage.banned = true);
    assert_eq!(server.send(b"GET /m HTTP/1.1\r\n\r\n").await, b"");
    assert_eq!(server.stage.asked.load(Ordering::Relaxed), 1);
    assert!(server.requests.try_recv().is_err());
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_gets_them_back() {
    let server = Server::start_with(Limits::default(), |stage| stage.limit = 3);
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut connection = server.connect().await;
        connection
            .write_all(b"GET /m HTTP/1.1\r\n\r\n")
            .await
            .expect("open");
        let mut answer = vec![0; 12];
        connection.read_exact(&mut answer).await.expect("an answer");
        held.push(connection);
    }
    assert!(is_closed(&mut server.connect().await).await);
    held.clear();
    // The server notices the departures in its own time.
    while server.send(b"GET /m HTTP/1.0\r\n\r\n").await.is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_panic_in_a_handler_ends_one_connection() {
    let server = Server::start().await;
    assert_eq!(server.send(b"GET /panic HTTP/1.1\r\n\r\n").await, b"");
    assert_eq!(server.send(b"GET /drop HTTP/1.1\r\n\r\n").await, b"");
    assert_eq!(statuses(&server.send(b"GET /m HTTP/1.0\r\n\r\n").await), [200]);
}

#[tokio::test]
async fn a_shutdown_waits_for_requests_up_to_the_grace_time() {
    let mut server = Server::start().await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /m HTTP/1.1\r\n\r\n").await.expect("open");
    idle.read_exact(&mut [0; 12]).await.expect("an answer");
    let mut busy = server.connect().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\n\r\n").await.expect("open");
    while server.requests.recv().await.expect("a request").path() != "/wait" {}

    server
        .stop
        .take()
        .expect("once")
        .send(Duration::from_secs(8))
        .expect("it runs");
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("closed in good order");
    assert!(!server.ended.is_finished());
    server.gate.send_replace(true);
    let mut answer = Vec::new();
    busy.read_to_end(&mut answer).await.expect("an answer");
    assert_eq!(answers(&answer, false)[0].body, "waited");
    server.ended.await.expect("no panic").expect("no error");
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let mut server = Server::start().await;
    let mut stuck = server.connect().await;
    stuck
        .write_all(b"GET /wait HTTP/1.1\r\n\r\n")
        .await
        .expect("open");
    server.requests.recv().await.expect("a request");
    server
        .stop
        .take()
        .expect("once")
        .send(Duration::from_millis(10))
        .expect("it runs");
    server.ended.await.expect("no panic").expect("no error");
    assert!(is_closed(&mut stuck).await);
}

#[tokio::test]
async fn silent_connections_are_cheap_and_do_not_keep_others_out() {
    let _ = front::raise_open_files();
    let server = Server::start().await;
    let mut silent = Vec::new();
    for _ in 0..2_000 {
        silent.push(server.connect().await);
    }
    assert_eq!(statuses(&server.send(b"GET /m HTTP/1.0\r\n\r\n").await), [200]);
    // What the connections themselves take, without a server or a kernel around them.
    let (stage, _requests, _gate) = crate::harness::stage();
    let (_phase, closing) = front::Closing::new();
    let (_client, pipe) = tokio::io::duplex(1);
    let ends = front::Ends {
        peer: server.address,
        local: server.address,
        secure: false,
    };
    let connection = front::converse(
        front::Stream::erased(pipe),
        ends,
        std::sync::Arc::new(stage),
        std::sync::Arc::new(Limits::default()),
        closing,
    );
    let size = std::mem::size_of_val(&connection);
    assert!(size < 1_600, "a connection's task holds {size} bytes");
}
