//! Connections that leave the front: nothing that came with the head is lost, nothing is written to them.

use crate::harness::{Pipe, Server};
use front::{Duplex, Exchange, Handling, Outcome, Request, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn publish(head: &str, audio: &[u8]) -> String {
    let server = Server::start().await;
    let mut connection = server.connect().await;
    connection
        .write_all(&[head.as_bytes(), audio].concat())
        .await
        .expect("open");
    connection.shutdown().await.expect("open");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.expect("open");
    String::from_utf8(answer).expect("UTF-8")
}

#[tokio::test]
async fn audio_behind_the_head_is_kept() {
    let audio = vec![0xAA; 4096];
    let shown = audio.escape_ascii().to_string();
    for (head, framing) in [
        ("SOURCE /raw HTTP/1.0\r\n\r\n", "Absent"),
        ("SOURCE /raw ICE/1.0\r\n\r\n", "Absent"),
        ("SOURCE /raw HTTP/1.1\nice-name:x\n\n", "Absent"),
        ("PUT /raw HTTP/1.1\r\n\r\n", "Absent"),
        ("PUT /raw HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "Empty"),
        (
            "PUT /raw HTTP/1.1\r\nContent-Length: 4096\r\n\r\n",
            "Length(4096)",
        ),
    ] {
        let answer = publish(head, &audio).await;
        assert_eq!(
            answer,
            format!("HTTP/1.0 200 OK\r\n\r\n{framing} early=true audio={shown}"),
            "{head}"
        );
    }
    let answer = publish(
        "SOURCE /raw HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    )
    .await;
    assert_eq!(answer, "HTTP/1.0 200 OK\r\n\r\nChunked early=true audio=abcde");
}

#[tokio::test]
async fn audio_that_looks_like_a_request_stays_audio() {
    let answer = publish("SOURCE /raw HTTP/1.1\r\n\r\n", b"GET /m HTTP/1.1\r\n\r\n").await;
    assert!(answer.ends_with("audio=GET /m HTTP/1.1\\r\\n\\r\\n"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_waits_for_100_is_told_so() {
    let mut pipe = Pipe::open();
    pipe.write(b"PUT /raw HTTP/1.1\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(
        pipe.read_to("200 OK\r\n\r\n").await,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\n"
    );
    pipe.write(b"audio").await;
    pipe.client.shutdown().await.expect("open");
    assert_eq!(pipe.rest().await, "Absent early=false audio=audio");
}

#[tokio::test]
async fn a_take_over_can_follow_other_requests() {
    let mut pipe = Pipe::open();
    pipe.write(b"OPTIONS * HTTP/1.1\r\n\r\nSOURCE /raw HTTP/1.0\r\n\r\nabc")
        .await;
    pipe.read_to("OPTIONS *").await;
    pipe.read_to("HTTP/1.0 200 OK\r\n\r\n").await;
    pipe.client.shutdown().await.expect("open");
    assert_eq!(pipe.rest().await, "Absent early=true audio=abc");
}

#[tokio::test]
async fn only_bare_sockets_leave_the_runtime() {
    let (here, _there) = tokio::io::duplex(1);
    assert!(Stream::erased(here).into_tcp().is_err());
    let server = Server::start().await;
    assert!(Stream::from(server.connect().await).into_tcp().is_ok());
}

/// What the exchange promises to the compiler.
#[allow(dead_code, reason = "it is enough that it compiles")]
fn exchanges_travel_between_threads(request: Request, exchange: Exchange) -> impl Send + Sync {
    fn handling(_: Handling<'_>, _: Box<dyn Duplex>, _: Outcome) {}
    let _ = handling;
    (request, exchange)
}
