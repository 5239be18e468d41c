//! Deadlines and half-finished exchanges, on virtual time over pipes.

use std::time::Duration;

use crate::harness::{Pipe, answers};
use front::Phase;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

/// Waits for the connection's end; gives how long it took and what came.
async fn end(mut pipe: Pipe) -> (u64, String) {
    let start = Instant::now();
    let rest = pipe.rest().await;
    drop(pipe.client);
    pipe.ended.await.expect("no panic");
    (start.elapsed().as_secs(), rest)
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_after_the_head_time() {
    assert_eq!(end(Pipe::open()).await, (10, String::new()));
}

#[tokio::test(start_paused = true)]
async fn a_head_in_crumbs_has_no_more_time() {
    let mut pipe = Pipe::open();
    let start = Instant::now();
    for byte in b"GET / HTTP" {
        pipe.write(&[*byte]).await;
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    let (_, rest) = end(pipe).await;
    assert!(rest.starts_with("HTTP/1.1 408 "), "{rest}");
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_may_be_idle_longer_but_not_slower() {
    let mut pipe = Pipe::open();
    pipe.write(b"GET /m HTTP/1.1\r\n\r\n").await;
    pipe.read_to("GET /m").await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    pipe.write(b"GET /n HTTP/1.1\r\n\r\n").await;
    pipe.read_to("GET /n").await;
    assert_eq!(end(pipe).await, (120, String::new()));

    let mut pipe = Pipe::open();
    pipe.write(b"GET /m HTTP/1.1\r\n\r\n").await;
    pipe.read_to("GET /m").await;
    pipe.write(b"G").await;
    let (seconds, rest) = end(pipe).await;
    assert!(
        rest.starts_with("HTTP/1.1 408 ") && seconds == 10,
        "{seconds} {rest}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_truncated_head_is_no_request() {
    for head in [
        "GET",
        "GET /m HTTP/1.1\r\nHost: h\r\n",
        "GET /m HTTP/1.1\r\nHost: h\r\n\r",
    ] {
        let mut pipe = Pipe::open();
        pipe.write(head.as_bytes()).await;
        pipe.client.shutdown().await.expect("open");
        assert_eq!(pipe.rest().await, "");
        pipe.ended.await.expect("no panic");
        assert!(pipe.requests.recv().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_answered_after_the_body_time() {
    for framing in [
        "Content-Length: 100\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\n",
    ] {
        let mut pipe = Pipe::open();
        pipe.write(format!("POST /echo HTTP/1.1\r\n{framing}").as_bytes())
            .await;
        let start = Instant::now();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            pipe.write(b"x").await;
        }
        let answer = pipe.read_to("Request body took too long").await;
        assert!(
            answer.starts_with("HTTP/1.1 408 ") && answer.contains("Connection: close"),
            "{answer}"
        );
        assert_eq!(start.elapsed().as_secs(), 10);
        assert_eq!(end(pipe).await.1, "");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_may_be_slow_but_not_silent() {
    let mut pipe = Pipe::open();
    pipe.write(b"POST /upload HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
        .await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        pipe.write(b"x").await;
    }
    assert!(
        pipe.read_to("Request body took too long")
            .await
            .starts_with("HTTP/1.1 408 ")
    );

    let mut pipe = Pipe::open();
    pipe.write(b"POST /upload HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
        .await;
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        pipe.write(b"x").await;
    }
    assert!(pipe.read_to("xxxxxxxxx").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(start_paused = true)]
async fn a_missing_body_is_missed_only_for_a_second_when_nobody_wants_it() {
    let mut pipe = Pipe::open();
    pipe.write(b"POST /m HTTP/1.1\r\nContent-Length: 5\r\n\r\nab")
        .await;
    pipe.read_to("POST /m").await;
    let (seconds, rest) = end(pipe).await;
    assert_eq!(rest, "");
    assert!((1..=2).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn continue_is_sent_when_the_body_is_read_and_not_before() {
    for path in ["/echo", "/parts"] {
        let mut pipe = Pipe::open();
        pipe.write(
            format!("POST {path} HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").as_bytes(),
        )
        .await;
        assert_eq!(pipe.read_to("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        pipe.write(b"abc").await;
        assert!(pipe.read_to("abc").await.starts_with("HTTP/1.1 200 OK"));
    }

    // Refused: the final answer comes alone, and nobody waits for a body that will not come.
    let mut pipe = Pipe::open();
    pipe.write(b"PUT /401 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        .await;
    let answer = pipe.read_to("\r\n\r\nUnauthorized").await;
    assert!(
        answer.starts_with("HTTP/1.1 401 ") && answer.contains("Connection: close"),
        "{answer}"
    );

    // The body is there already: nothing to wait for.
    let mut pipe = Pipe::open();
    pipe.write(b"POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")
        .await;
    assert!(pipe.read_to("abc").await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_answer_is_dropped() {
    let mut pipe = Pipe::of_size(64);
    pipe.write(b"GET /m HTTP/1.1\r\n\r\n").await;
    let start = Instant::now();
    pipe.ended.await.expect("no panic");
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_event_stream_is_noticed() {
    let mut pipe = Pipe::open();
    pipe.write(b"GET /events HTTP/1.1\r\n\r\n").await;
    let answer = pipe.read_to("data: x\n\n\r\n").await;
    assert!(answer.contains("Transfer-Encoding: chunked"));
    drop(pipe.client);
    let start = Instant::now();
    pipe.ended.await.expect("no panic");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_closes_idle_connections_and_lets_requests_finish() {
    let idle = Pipe::open();
    let mut kept = Pipe::open();
    kept.write(b"GET /m HTTP/1.1\r\n\r\n").await;
    kept.read_to("GET /m").await;
    let mut busy = Pipe::open();
    busy.write(b"GET /wait HTTP/1.1\r\n\r\n").await;
    busy.requests.recv().await.expect("a request");
    let mut stuck = Pipe::open();
    stuck.write(b"GET /wait HTTP/1.1\r\n\r\n").await;
    stuck.requests.recv().await.expect("a request");
    for pipe in [&idle, &kept, &busy, &stuck] {
        pipe.phase.send_replace(Phase::Draining);
    }
    assert_eq!(end(idle).await, (0, String::new()));
    assert_eq!(end(kept).await, (0, String::new()));
    busy.gate.send_replace(true);
    let (seconds, rest) = end(busy).await;
    assert!(
        rest.starts_with("HTTP/1.1 200 OK") && rest.contains("Connection: close"),
        "{rest}"
    );
    assert_eq!(seconds, 0);
    stuck.phase.send_replace(Phase::Ended);
    assert_eq!(end(stuck).await, (0, String::new()));
}

#[tokio::test(start_paused = true)]
async fn any_cut_of_the_bytes_gives_the_same_answers() {
    let script = b"\r\nPOST /echo HTTP/1.1\nHost:h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nT: x\r\n\r\n\
        SOURCE /401 ICE/1.0\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n\
        POST /m HTTP/1.1\r\nContent-Length: 4\r\n\r\nGET \
        GET /last HTTP/1.1\r\nConnection: close\r\n\r\n";
    let pieces = |cut: usize| {
        let (first, second) = script.split_at(cut);
        vec![first, second]
    };
    let cuts = (0..script.len())
        .map(pieces)
        .chain([1, 2, 3, 7].map(|step| script.chunks(step).collect()));
    for pieces in cuts {
        let mut pipe = Pipe::open();
        for piece in pieces {
            pipe.write(piece).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut output = Vec::new();
        pipe.client.read_to_end(&mut output).await.expect("a pipe");
        let bodies: Vec<String> = answers(&output, false)
            .into_iter()
            .map(|answer| answer.body)
            .collect();
        assert_eq!(bodies, ["abc", "Unauthorized", "POST /m", "GET /last"]);
    }
}
