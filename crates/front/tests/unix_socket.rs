//! Requests by a Unix socket: whose they are, what can be taken over, and what becomes of the file.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use front::{Exchange, Handler, Handling, Limits, Listening, Outcome, Request, Sockets};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

/// Tells who asks; `/raw` takes the connection over as delivery does.
struct Mirror {
    trusts: bool,
}

impl Handler for Mirror {
    fn trusts(&self, peer: IpAddr) -> bool {
        self.trusts && peer.is_loopback()
    }

    fn handle<'a>(&'a self, request: Request, exchange: Exchange) -> Handling<'a> {
        Box::pin(async move {
            if request.path() == "/raw" {
                let socket = exchange.into_raw().stream.into_fd().expect("a bare socket");
                // What delivery threads take: a socket of the standard library.
                let mut socket = std::net::TcpStream::from(socket);
                socket.write_all(b"audio").expect("room in the socket");
                return Outcome::taken();
            }
            let text = format!(
                "{} {} {}",
                request.client, request.host, request.via_trusted_proxy
            );
            exchange.respond(front::text(http::StatusCode::OK, &text)).await
        })
    }
}

struct Server {
    path: PathBuf,
    stop: oneshot::Sender<Duration>,
    ended: tokio::task::JoinHandle<std::io::Result<()>>,
}

fn serve(name: &str, trusts: bool) -> Server {
    let path = std::env::temp_dir().join(format!("front-serve-{name}-{}.sock", std::process::id()));
    let listening = Listening::bind(&Sockets {
        host: format!("unix:{}", path.display()),
        port: 8000,
    })
    .expect("a free path");
    let (stop, stopped) = oneshot::channel();
    let until = async move { stopped.await.unwrap_or_default() };
    let ended = tokio::spawn(front::serve(
        listening,
        Arc::new(Mirror { trusts }),
        Limits::default(),
        until,
    ));
    Server { path, stop, ended }
}

impl Server {
    async fn ask(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.path).await.expect("the server accepts");
        stream.write_all(request.as_bytes()).await.expect("open");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("text");
        answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
    }
}

#[tokio::test]
async fn a_client_is_loopback_or_whom_the_proxy_names() {
    let forwarded = "GET /m HTTP/1.0\r\nHost: radio.example\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n";
    let server = serve("proxy", true);
    assert_eq!(server.ask(forwarded).await, "203.0.113.9 radio.example true");
    assert_eq!(
        server.ask("GET /m HTTP/1.0\r\n\r\n").await,
        "127.0.0.1 127.0.0.1:80 true"
    );
    let server = serve("direct", false);
    assert_eq!(server.ask(forwarded).await, "127.0.0.1 radio.example false");
}

#[tokio::test]
async fn a_listener_can_leave_the_runtime() {
    let server = serve("raw", false);
    let mut stream = UnixStream::connect(&server.path)
        .await
        .expect("the server accepts");
    stream
        .write_all(b"GET /raw HTTP/1.0\r\n\r\n")
        .await
        .expect("open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    assert_eq!(answer, "audio");
}

#[tokio::test]
async fn the_file_goes_when_accepting_ends() {
    let server = serve("close", false);
    let mut kept = UnixStream::connect(&server.path)
        .await
        .expect("the server accepts");
    kept.write_all(b"GET /m HTTP/1.1\r\n\r\n").await.expect("open");
    kept.read_exact(&mut [0; 12]).await.expect("an answer");
    server.stop.send(Duration::from_secs(8)).expect("it runs");
    server.ended.await.expect("no panic").expect("no error");
    assert!(!server.path.exists());
    kept.read_to_end(&mut Vec::new())
        .await
        .expect("closed in good order");
}
