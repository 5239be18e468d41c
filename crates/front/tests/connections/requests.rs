//! What goes in and what comes out, byte for byte over real sockets.

use crate::harness::{Server, answers, statuses};

/// Behind each script: shows whether the connection is still at the start of a request.
const PROBE: &[u8] = b"GET /probe HTTP/1.1\r\nConnection: close\r\n\r\n";

/// Sends script and probe; the statuses that come back end with 200 for the probe if the connection was kept.
async fn check(server: &Server, script: &[u8], expected: &[u16]) {
    let answer = server.send(&[script, PROBE].concat()).await;
    assert_eq!(
        statuses(&answer),
        expected,
        "{}\n{}",
        script.escape_ascii(),
        answer.escape_ascii()
    );
}

#[tokio::test]
async fn every_tolerated_head_is_served() {
    let server = Server::start().await;
    for script in [
        &b"GET /m HTTP/1.1\r\nHost: h\r\n\r\n"[..],
        b"GET /m HTTP/1.1\r\n\r\n",
        b"GET /m HTTP/1.1\n\n",
        b"GET /m HTTP/1.1\nicy-metadata:1\n\r\n",
        b"GET http://elsewhere:9/m HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /\xC3\xBC HTTP/1.1\r\nIce-Name: \xFC\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nUpgrade: TLS/1.0\r\nConnection: upgrade\r\n\r\n",
        b"\r\n\r\nGET /m HTTP/1.1\r\n\r\n",
        b"GET /m HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
        b"SOURCE /m ICE/1.0\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        b"SOURCE /m HTTP/1.0\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n",
        b"PUT /m HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    ] {
        check(&server, script, &[200, 200]).await;
    }
    for script in [
        &b"GET /m HTTP/1.0\r\n\r\n"[..],
        b"GET /m ICE/1.0\n\n",
        b"GET /m HTTP/1.1\r\nConnection: close\r\n\r\n",
    ] {
        check(&server, script, &[200]).await;
    }
}

#[tokio::test]
async fn every_bad_head_is_answered_and_closed() {
    let server = Server::start().await;
    let many_lines = [&b"GET /m HTTP/1.1\r\n"[..], &b"X: y\r\n".repeat(101), b"\r\n"].concat();
    let big_line = [&b"GET /m HTTP/1.1\r\nX: "[..], &vec![b'x'; 1 << 20], b"\r\n\r\n"].concat();
    let big_target = [&b"GET /"[..], &vec![b'x'; 1 << 20], b" HTTP/1.1\r\n\r\n"].concat();
    for (script, status) in [
        (&b"GET /m\r\n\r\n"[..], 400),
        (b"GET m HTTP/1.1\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT h:80 HTTP/1.1\r\n\r\n", 400),
        (b"GET /m HTTP/2.0\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /m HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /m HTTP/1.1\r\nX: a\rb\r\n\r\n", 400),
        (b"GET /m HTTP/1.1\r\nX: a\0b\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (
            b"POST /m HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            b"POST /m HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            400,
        ),
        (b"POST /m HTTP/1.1\r\nContent-Length: 3x\r\n\r\nabc", 400),
        (b"POST /m HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc", 400),
        (
            b"SOURCE /m HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST /m HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (&many_lines, 431),
        (&big_line, 431),
        (&big_target, 431),
    ] {
        check(&server, script, &[status]).await;
    }
    assert!(server.requests.is_empty(), "no bad head reaches the handler");
}

#[tokio::test]
async fn bodies_are_read_up_to_the_next_request() {
    let server = Server::start().await;
    for (script, body) in [
        (&b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"[..], "abc"),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "abc"),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 0\r\n\r\n", ""),
        (b"POST /echo HTTP/1.1\r\n\r\n", ""),
        (b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\nT: x\r\n\r\n", "abc"),
        (b"POST /parts?q HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "/parts?q abc"),
        (b"GET /parts HTTP/1.1\r\n\r\n", "/parts "),
    ] {
        let answer = server.send(&[script, PROBE].concat()).await;
        let answers = answers(&answer, false);
        assert_eq!(answers.len(), 2, "{}", answer.escape_ascii());
        assert_eq!((answers[0].status, answers[0].body.as_str()), (200, body));
        assert_eq!(answers[1].body, "GET /probe");
    }
}

#[tokio::test]
async fn unread_bodies_do_not_become_requests() {
    let mut server = Server::start().await;
    let smuggled = b"GET /smuggled HTTP/1.1\r\n\r\n";
    let head = |framing: &str| format!("POST /m HTTP/1.1\r\n{framing}\r\n\r\n").into_bytes();
    let small = [
        head(&format!("Content-Length: {}", smuggled.len())),
        smuggled.to_vec(),
    ]
    .concat();
    let chunked = [
        head("Transfer-Encoding: chunked"),
        b"1a\r\n".to_vec(),
        smuggled.to_vec(),
        b"\r\n0\r\n\r\n".to_vec(),
    ]
    .concat();
    check(&server, &small, &[200, 200]).await;
    check(&server, &chunked, &[200, 200]).await;
    // Too large to be read for nothing: the connection closes, and says so.
    let large = [head("Content-Length: 1000000"), smuggled.repeat(10)].concat();
    let answer = server.send(&large).await;
    assert_eq!(statuses(&answer), [200]);
    assert!(answers(&answer, false)[0].head.contains("Connection: close"));
    let endless = [
        head("Transfer-Encoding: chunked"),
        b"10000\r\n".to_vec(),
        vec![b'x'; 0x10000],
        b"\r\n1\r\nx\r\n".to_vec(),
    ]
    .concat();
    check(&server, &endless, &[200]).await;
    let mut paths = Vec::new();
    while let Ok(request) = server.requests.try_recv() {
        paths.push(request.path().to_owned());
    }
    assert!(!paths.contains(&"/smuggled".to_owned()), "{paths:?}");
}

#[tokio::test]
async fn bad_bodies_are_answered_and_closed() {
    let server = Server::start().await;
    let chunked = |chunks: &str| {
        format!("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}").into_bytes()
    };
    for (script, status) in [
        (chunked("x\r\n"), 400),
        (chunked("-1\r\na"), 400),
        (chunked("1\na\n0\n\n"), 400),
        (chunked("3\r\nabcd\r\n0\r\n\r\n"), 400),
        (chunked("ffffffffffffffffff\r\n"), 400),
        (chunked("0\r\nT: x\n\r\n"), 400),
        (
            b"POST /small HTTP/1.1\r\nContent-Length: 11\r\n\r\n01234567890".to_vec(),
            413,
        ),
        (
            b"POST /small HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n0".to_vec(),
            413,
        ),
        (
            b"POST /parts HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n".to_vec(),
            400,
        ),
    ] {
        let answer = server.send(&[&script[..], PROBE].concat()).await;
        let answers = answers(&answer, false);
        assert_eq!(answers[0].status, status, "{}", script.escape_ascii());
        // A body that was refused for its size alone may be read to its end, and then the connection goes on.
        if status == 400 {
            assert_eq!(answers.len(), 1, "{}", answer.escape_ascii());
            assert!(answers[0].head.contains("Connection: close"));
        }
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start().await;
    let script = b"GET /1 HTTP/1.1\r\n\r\nPOST /echo HTTP/1.1\r\nContent-Length: 1\r\n\r\nxGET /stream HTTP/1.1\r\n\r\nGET /204 HTTP/1.1\r\n\r\n\
        GET /5 HTTP/1.1\r\n\r\n";
    let answers = answers(&server.send(&[&script[..], PROBE].concat()).await, false);
    let bodies: Vec<&str> = answers.iter().map(|answer| answer.body.as_str()).collect();
    assert_eq!(bodies, ["GET /1", "x", "onetwo", "", "GET /5", "GET /probe"]);
    assert_eq!(answers[3].status, 204);
    assert!(!answers[3].head.contains("Content-Length"));
}

#[tokio::test]
async fn answers_are_framed_for_the_client() {
    let server = Server::start().await;
    let one = |request: &'static [u8], is_head| {
        let server = &server;
        async move { answers(&server.send(request).await, is_head).remove(0) }
    };
    let http11 = one(b"GET /stream HTTP/1.1\r\nConnection: close\r\n\r\n", false).await;
    assert!(
        http11.head.starts_with("HTTP/1.1 200 OK\r\nDate: "),
        "{}",
        http11.head
    );
    assert!(http11.head.contains("\r\nTransfer-Encoding: chunked\r\n"));
    assert_eq!(http11.body, "onetwo");

    let http10 = one(b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false).await;
    assert!(http10.head.starts_with("HTTP/1.0 200 OK\r\n"), "{}", http10.head);
    assert!(http10.head.contains("\r\nConnection: close\r\n"));
    assert!(!http10.head.contains("Transfer-Encoding"));
    assert_eq!(http10.body, "onetwo");

    let kept = one(
        b"GET /m HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /close HTTP/1.0\r\n\r\n",
        false,
    )
    .await;
    assert!(kept.head.contains("\r\nConnection: keep-alive\r\n"));
    assert!(kept.head.contains("\r\nContent-Length: 6\r\n"));

    let head = server
        .send(b"HEAD /m HTTP/1.1\r\n\r\nHEAD /stream HTTP/1.1\r\nConnection: close\r\n\r\n")
        .await;
    let heads = answers(&head, true);
    assert_eq!(heads.len(), 2, "{}", head.escape_ascii());
    assert!(heads[0].head.contains("\r\nContent-Length: 7\r\n"));

    let exact = one(b"GET /long HTTP/1.1\r\nConnection: close\r\n\r\n", false).await;
    assert_eq!(exact.body, "0123456789");
    // An answer that ends early must not look complete: the connection closes without the promised bytes.
    let short = server
        .send(b"GET /short HTTP/1.1\r\n\r\nGET /m HTTP/1.1\r\n\r\n")
        .await;
    assert_eq!(answers(&short, false).len(), 1);
    assert!(short.ends_with(b"\r\n\r\none"), "{}", short.escape_ascii());
}

#[tokio::test]
async fn a_refused_source_can_try_again_on_the_same_connection() {
    let server = Server::start().await;
    let probe: &[u8] = b"SOURCE /401 HTTP/1.0\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n";
    let script = [
        &probe.repeat(20)[..],
        b"SOURCE /raw HTTP/1.0\r\nAuthorization: Basic x\r\nConnection: Keep-Alive\r\n\r\n",
    ]
    .concat();
    let mut connection = server.connect().await;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    connection.write_all(&script).await.expect("open");
    connection.shutdown().await.expect("open");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.expect("open");
    let answers = answers(&answer, false);
    assert_eq!(answers.len(), 21);
    for refused in &answers[..20] {
        assert_eq!((refused.status, refused.body.as_str()), (401, "Unauthorized"));
        assert!(refused.head.starts_with("HTTP/1.0 401 Unauthorized\r\n"));
        assert!(
            refused
                .head
                .contains("\r\nWWW-Authenticate: Basic realm=\"Icecast\"\r\n")
        );
        assert!(refused.head.contains("\r\nContent-Length: 12\r\n"));
        assert!(refused.head.contains("\r\nConnection: keep-alive\r\n"));
    }
    assert_eq!(answers[20].status, 200);
}

#[tokio::test]
async fn audio_behind_a_refused_source_is_never_a_request() {
    let server = Server::start().await;
    for head in [
        "SOURCE /401 HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
        "SOURCE /401 HTTP/1.1\r\n\r\n",
        "PUT /401 HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
        "SOURCE /401 ICE/1.0\r\n\r\n",
        "PUT /401 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
        "PUT /401 HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n",
    ] {
        let answer = server.send(&[head.as_bytes(), PROBE].concat()).await;
        let answers = answers(&answer, false);
        assert_eq!(answers.len(), 1, "{head}: {}", answer.escape_ascii());
        assert_eq!(answers[0].status, 401);
        assert!(
            answers[0].head.contains("Connection: close"),
            "{}",
            answers[0].head
        );
    }
}

#[tokio::test]
async fn requests_know_their_client() {
    let server = Server::start_with(front::Limits::default(), |stage| {
        stage.trusted = vec![[127, 0, 0, 1].into()]
    });
    let Server {
        mut requests,
        address,
        ..
    } = server;
    use tokio::io::AsyncWriteExt as _;
    let mut connection = tokio::net::TcpStream::connect(address)
        .await
        .expect("the server accepts");
    let script = b"GET /drop HTTP/1.1\r\nHost: radio\r\nX-Forwarded-For: 6.6.6.6, 1.2.3.4\r\nX-Forwarded-Proto: https\r\n\r\n";
    connection.write_all(script).await.expect("open");
    let request = requests.recv().await.expect("a request");
    assert_eq!(request.client.to_string(), "1.2.3.4");
    assert_eq!(request.peer, connection.local_addr().expect("open"));
    assert_eq!(request.local, address);
    assert!(request.via_trusted_proxy && request.scheme_https && request.id > 0);
    assert_eq!(request.host, "radio");
}
