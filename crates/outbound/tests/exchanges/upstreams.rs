//! Upstreams as they exist: Icecast, Shoutcast, chunking servers, redirecting ones, dead ones.

use std::{io, time::Duration};

use http::{
    HeaderName, HeaderValue, Method,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use outbound::{Limits, Request, basic};
use tokio::{io::AsyncWriteExt, net::TcpListener, time::timeout};

use crate::upstream::{Names, Upstream, client, fetch, told};

async fn check(answer: &str, expected: &str) {
    let upstream = Upstream::start(&[answer]).await;
    assert_eq!(
        told(fetch(&upstream.url("127.0.0.1", "/live")).await).await,
        expected,
        "{answer}"
    );
}

#[tokio::test]
async fn bodies_of_every_kind() {
    check("ICY 200 OK\r\nicy-metaint:8192\r\n\r\naudio", "200 OK: audio").await;
    check("ICY 200 OK\nicy-name: x\n\naudio", "200 OK: audio").await;
    check(
        "HTTP/1.0 200 OK\r\nContent-Type: audio/mpeg\r\n\r\naudio",
        "200 OK: audio",
    )
    .await;
    check(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\naud\r\n2;x\r\nio\r\n0\r\n\r\n",
        "200 OK: audio",
    )
    .await;
    check(
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\naudio\r\n0\r\n\r\n",
        "200 OK: audio",
    )
    .await;
    check(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nau",
        "200 OK: broken: UnexpectedEof",
    )
    .await;
    check(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\naudio",
        "200 OK: broken: InvalidData",
    )
    .await;
    check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\naudio", "200 OK: aud").await;
    check(
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\naudio",
        "200 OK: broken: UnexpectedEof",
    )
    .await;
    check("HTTP/1.1 204 No Content\r\n\r\n", "204 No Content: ").await;
    check("HTTP/1.0 401\r\n\r\nno", "401 Unauthorized: no").await;
    check("HTTP/1.1 302 Found\r\n\r\nno target", "302 Found: no target").await;
    let upstream = Upstream::start(&["invalid password\r\n"]).await;
    let outcome = told(fetch(&upstream.url("127.0.0.1", "/")).await).await;
    assert_eq!(
        outcome,
        format!("failed: the answer is not HTTP (127.0.0.1:{})", upstream.port)
    );
}

#[tokio::test]
async fn a_long_body_arrives_whole() {
    let audio: String = (0..40_000).map(|i| format!("{i:05}")).collect();
    let chunked: String = audio
        .as_bytes()
        .chunks(1234)
        .map(|part| format!("{:X}\r\n{}\r\n", part.len(), std::str::from_utf8(part).unwrap()))
        .collect();
    check(&format!("ICY 200 OK\r\n\r\n{audio}"), &format!("200 OK: {audio}")).await;
    check(
        &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}0\r\n\r\n"),
        &format!("200 OK: {audio}"),
    )
    .await;
}

#[tokio::test]
async fn heads_keep_their_bytes_and_their_repetitions() {
    let upstream =
        Upstream::start(&["ICY 200 OK\r\nicy-name: Caf\u{e9}\r\nYPMessage: a\r\nYPMessage: b\r\n\r\n"]).await;
    let response = fetch(&upstream.url("127.0.0.1", "/live;?x#y")).await.unwrap();
    assert_eq!(response.headers["icy-name"].as_bytes(), "Caf\u{e9}".as_bytes());
    assert_eq!(
        response.headers.get_all("ypmessage").iter().collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(response.url.as_str(), upstream.url("127.0.0.1", "/live;?x"));
    assert_eq!(response.peer.port(), upstream.port);
}

#[tokio::test]
async fn the_request_of_a_relay() {
    let upstream = Upstream::start(&["ICY 200 OK\r\n\r\naudio"]).await;
    let names = Names::new(&[]);
    let request = Request::get(
        upstream.url("127.0.0.1", "/live").parse().unwrap(),
        Limits::relay(),
    )
    .with(
        HeaderName::from_static("icy-metadata"),
        HeaderValue::from_static("1"),
    )
    .with(AUTHORIZATION, basic("source", "hackme"));
    let client = client(&["127.0.0.1"], &names);
    // Pulls live in tasks, which may move between threads.
    let pull = tokio::spawn(async move {
        client
            .send(request)
            .await?
            .body
            .next(&mut [0; 16])
            .await
            .map_err(Into::into)
    });
    let outcome: Result<usize, Box<dyn std::error::Error + Send + Sync>> = pull.await.unwrap();
    assert_eq!(outcome.unwrap(), 5);
    assert_eq!(
        upstream.asked(),
        [format!(
            "GET /live HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nUser-Agent: TinyIce/test\r\nIcy-MetaData: 1\r\n\
             Authorization: Basic c291cmNlOmhhY2ttZQ==\r\nConnection: close\r\n\r\n",
            upstream.port
        )]
    );
}

#[tokio::test]
async fn the_report_to_a_directory() {
    let upstream = Upstream::start(&["HTTP/1.0 200 OK\r\nYPResponse: 1\r\nSID: 7\r\n\r\n"]).await;
    let names = Names::new(&[("yp.example", &["127.0.0.1"])]);
    let url = upstream.url("yp.example", "/cgi").parse().unwrap();
    let request = Request::form(url, [("action", "add"), ("sn", "A & B")], Limits::directory());
    let response = client(&["127.0.0.1"], &names).send(request).await.unwrap();
    assert_eq!(
        (&response.headers["ypresponse"], &response.headers["sid"]),
        (&"1".parse().unwrap(), &"7".parse().unwrap())
    );
    let asked = &upstream.asked()[0];
    assert!(
        asked.starts_with("POST /cgi HTTP/1.1\r\nHost: yp.example:"),
        "{asked}"
    );
    assert!(asked.ends_with("\r\n\r\naction=add&sn=A+%26+B"), "{asked}");
}

/// Redirects through `locations` with credentials and a private header; yields which requests carried
/// the credentials.
async fn authorized(locations: &[&str]) -> Vec<bool> {
    let mut answers: Vec<_> = locations
        .iter()
        .map(|to| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n"))
        .collect();
    answers.push("HTTP/1.1 200 OK\r\n\r\n".into());
    let upstream = Upstream::start(&answers.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let names = Names::new(&[("a.example", &["127.0.0.1"]), ("b.example", &["127.0.0.1"])]);
    let url = format!("http://source:hackme@a.example:{}/", upstream.port);
    let request = Request::get(url.parse().unwrap(), Limits::relay())
        .with(
            HeaderName::from_static("x-api-key"),
            HeaderValue::from_static("secret"),
        )
        .with(
            HeaderName::from_static("x-tinyice-relay"),
            HeaderValue::from_static("id"),
        );
    let response = client(&["127.0.0.1"], &names).send(request).await.unwrap();
    assert!(!response.url.as_str().contains("hackme"));
    let asked = upstream.asked();
    asked
        .iter()
        .map(|asked| {
            assert!(asked.contains("\r\nX-TinyIce-Relay: id\r\n"), "{asked}");
            let has = asked.contains("\r\nAuthorization: Basic ");
            assert_eq!(has, asked.contains("\r\nX-Api-Key: secret\r\n"), "{asked}");
            has
        })
        .collect()
}

#[tokio::test]
async fn credentials_stay_with_their_origin() {
    assert_eq!(authorized(&[]).await, [true]);
    assert_eq!(authorized(&["/x", "y?z"]).await, [true, true, true]);
    assert_eq!(
        authorized(&["/x", "http://b.example:PORT/", "/z"]).await,
        [true, true, false, false]
    );
    assert_eq!(
        authorized(&["http://b.example:PORT/", "http://a.example:PORT/"]).await,
        [true, false, false]
    );
}

#[tokio::test]
async fn redirects_are_counted() {
    let again = "HTTP/1.1 301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\n\r\nend";
    for (redirects, expected, hops) in [
        (10, "200 OK: end", 11),
        (11, "failed: more than 10 redirects", 11),
    ] {
        let mut answers = vec![again; redirects];
        answers.push(last);
        let upstream = Upstream::start(&answers).await;
        assert_eq!(told(fetch(&upstream.url("127.0.0.1", "/")).await).await, expected);
        assert_eq!(upstream.asked().len(), hops);
    }
}

#[tokio::test]
async fn a_redirected_post() {
    for (status, expected) in [(302, "GET /to"), (307, "POST /to")] {
        let redirect = format!("HTTP/1.1 {status} x\r\nLocation: /to\r\n\r\n");
        let upstream = Upstream::start(&[&redirect, "HTTP/1.1 200 OK\r\n\r\n"]).await;
        let request = Request {
            method: Method::POST,
            body: "{}".into(),
            ..Request::get(
                upstream.url("127.0.0.1", "/from").parse().unwrap(),
                Limits::webhook(),
            )
        };
        let request = request.with(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        client(&["127.0.0.1"], &Names::new(&[]))
            .send(request)
            .await
            .unwrap();
        let asked = &upstream.asked()[1];
        assert!(asked.starts_with(expected), "{asked}");
        assert_eq!(asked.ends_with("\r\n\r\n{}"), status == 307, "{asked}");
    }
}

#[tokio::test]
async fn the_next_address_is_tried() {
    let upstream = Upstream::start(&["HTTP/1.1 200 OK\r\n\r\nok"]).await;
    // Nobody listens at 127.0.0.2 on that port: the server is bound to 127.0.0.1 alone.
    let names = Names::new(&[("radio.example", &["127.0.0.2", "127.0.0.1"])]);
    let request = Request::get(
        upstream.url("radio.example", "/").parse().unwrap(),
        Limits::relay(),
    );
    assert_eq!(
        told(client(&["127.0.0.0/8"], &names).send(request).await).await,
        "200 OK: ok"
    );
}

#[tokio::test]
async fn a_dead_upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let failure = fetch(&format!("http://user:secret@{addr}/")).await.unwrap_err();
    assert_eq!(failure.to_string(), format!("connection refused ({addr})"));
    assert!(!failure.is_lasting());
}

#[tokio::test]
async fn the_limits_hold_for_the_body() {
    for (limits, expected) in [
        (Limits::relay(), "no data"),
        (Limits::webhook(), "not finished in time"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let names = Names::new(&[]);
        let client = client(&["127.0.0.1"], &names);
        let accept = async {
            let (mut peer, _) = listener.accept().await.unwrap();
            peer.write_all(b"ICY 200 OK\r\n\r\naudio").await.unwrap();
            peer
        };
        let request = Request::get(url.parse().unwrap(), limits);
        let (response, _peer) = tokio::join!(client.send(request), accept);
        let mut body = response.unwrap().body;
        // From here on nothing arrives any more, so the clock may run ahead.
        tokio::time::pause();
        let ended = timeout(Duration::from_secs(100), body.read_limited(100)).await;
        let error = ended.expect("the limit ends it").unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (io::ErrorKind::TimedOut, expected)
        );
        tokio::time::resume();
    }
}
