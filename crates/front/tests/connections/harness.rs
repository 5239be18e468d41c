//! A server with a handler for every way of ending an exchange, and a client that sends raw bytes.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use front::framing::{Decoder, Piece};
use front::{
    Closing, Ends, Exchange, Handler, Handling, Limits, Listening, Outcome, Patience, Phase, Raw, Request,
    Sockets,
};
use http::{Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Ends exchanges as the path says.
pub(crate) struct Stage {
    pub(crate) banned: bool,
    pub(crate) limit: u32,
    pub(crate) trusted: Vec<IpAddr>,
    pub(crate) asked: AtomicU32,
    /// Requests that reached the handler.
    pub(crate) requests: mpsc::UnboundedSender<Request>,
    /// Answers of `/wait` wait for this.
    pub(crate) gate: watch::Receiver<bool>,
}

impl Handler for Stage {
    fn admit(&self, _: IpAddr) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed);
        !self.banned
    }

    fn connection_limit(&self, _: IpAddr) -> u32 {
        self.limit
    }

    fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.contains(&peer)
    }

    fn handle<'a>(&'a self, request: Request, exchange: Exchange) -> Handling<'a> {
        self.requests
            .send(request.clone())
            .expect("the test holds the receiver");
        Box::pin(self.perform(request, exchange))
    }
}

impl Stage {
    async fn perform(&self, request: Request, mut exchange: Exchange) -> Outcome {
        match request.path() {
            "/echo" | "/upload" => {
                if request.path() == "/upload" {
                    exchange.set_patience(Patience::Idle(std::time::Duration::from_secs(10)));
                }
                match exchange.read_body(1 << 20).await {
                    Ok(body) => {
                        exchange
                            .respond(text(200, &body.escape_ascii().to_string()))
                            .await
                    }
                    Err(error) => exchange.respond(error.answer()).await,
                }
            }
            "/small" => match exchange.read_body(10).await {
                Ok(_) => exchange.respond(text(200, "small")).await,
                Err(error) => exchange.respond(error.answer()).await,
            },
            "/parts" => {
                let (body, responder) = exchange.into_parts();
                let (request, body) = request.into_http(body).into_parts();
                match body.collect().await {
                    Ok(body) => {
                        let body = body.to_bytes().escape_ascii().to_string();
                        responder
                            .respond(text(200, &format!("{} {body}", request.uri)))
                            .await
                    }
                    Err(error) => responder.respond(error.answer()).await,
                }
            }
            "/401" => {
                let mut response = text(401, "Unauthorized");
                response.headers_mut().insert(
                    "www-authenticate",
                    http::HeaderValue::from_static("Basic realm=\"Icecast\""),
                );
                exchange.respond(response).await
            }
            "/stream" => {
                exchange
                    .respond(Response::new(Pieces::of(&["one", "two", ""])))
                    .await
            }
            "/short" => {
                let mut response = Response::new(Pieces::of(&["one"]));
                response.headers_mut().insert("content-length", 10.into());
                exchange.respond(response).await
            }
            "/long" => {
                let mut response = Response::new(Pieces::of(&["0123456", "789xxx"]));
                response.headers_mut().insert("content-length", 10.into());
                exchange.respond(response).await
            }
            "/events" => exchange.respond(Response::new(Pieces::endless())).await,
            "/204" => exchange.respond(text(204, "")).await,
            "/close" => {
                let mut response = text(200, "bye");
                response
                    .headers_mut()
                    .insert("connection", http::HeaderValue::from_static("close"));
                exchange.respond(response).await
            }
            "/drop" => exchange.close(),
            "/panic" => panic!("as asked"),
            "/wait" => {
                let mut gate = self.gate.clone();
                let _ = gate.wait_for(|open| *open).await;
                exchange.respond(text(200, "waited")).await
            }
            "/raw" => {
                take_over(exchange.into_raw()).await;
                Outcome::taken()
            }
            _ => {
                let line = format!("{} {}", request.method, request.path());
                exchange.respond(text(200, &line)).await
            }
        }
    }
}

/// Does as a source does: tells what it got, then what the audio was.
async fn take_over(mut raw: Raw) {
    let mut audio = Vec::new();
    let mut input = bytes::BytesMut::from(&raw.buffered[..]);
    let mut decoder = Decoder::for_source(raw.framing);
    let early = raw.buffered.len();
    if raw.expects_continue {
        raw.stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await
            .expect("a client");
    }
    raw.stream
        .write_all(b"HTTP/1.0 200 OK\r\n\r\n")
        .await
        .expect("a client");
    loop {
        match decoder.decode(&mut input).expect("good framing") {
            Piece::Data(data) => audio.extend_from_slice(&data),
            Piece::End => break,
            Piece::More => {
                if raw.stream.read_buf(&mut input).await.expect("a client") == 0 {
                    break;
                }
            }
        }
    }
    let seen = format!(
        "{:?} early={} audio={}",
        raw.framing,
        early > 0,
        audio.escape_ascii()
    );
    raw.stream.write_all(seen.as_bytes()).await.expect("a client");
    raw.stream.shutdown().await.expect("a client");
}

pub(crate) fn text(status: u16, text: &str) -> Response<http_body_util::Full<Bytes>> {
    front::text(StatusCode::from_u16(status).expect("a status"), text)
}

/// A body of unknown length that pauses before each piece, as a channel would.
pub(crate) struct Pieces {
    pieces: Vec<Bytes>,
    pause: bool,
    endless: bool,
}

impl Pieces {
    pub(crate) fn of(pieces: &[&'static str]) -> Self {
        let pieces = pieces
            .iter()
            .rev()
            .map(|piece| Bytes::from_static(piece.as_bytes()))
            .collect();
        Self {
            pieces,
            pause: true,
            endless: false,
        }
    }

    pub(crate) fn endless() -> Self {
        Self {
            pieces: vec![Bytes::from_static(b"data: x\n\n")],
            pause: false,
            endless: true,
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if std::mem::replace(&mut self.pause, false) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.pause = !self.endless;
        match self.pieces.pop() {
            None if self.endless => Poll::Pending,
            piece => Poll::Ready(piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
    pub(crate) gate: watch::Sender<bool>,
    pub(crate) stage: Arc<Stage>,
    pub(crate) stop: Option<oneshot::Sender<Duration>>,
    pub(crate) ended: JoinHandle<std::io::Result<()>>,
}

pub(crate) fn stage() -> (Stage, mpsc::UnboundedReceiver<Request>, watch::Sender<bool>) {
    let (requests, received) = mpsc::unbounded_channel();
    let (gate, opened) = watch::channel(false);
    let stage = Stage {
        banned: false,
        limit: 0,
        trusted: Vec::new(),
        asked: AtomicU32::new(0),
        requests,
        gate: opened,
    };
    (stage, received, gate)
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(Limits::default(), |_| {})
    }

    pub(crate) fn start_with(limits: Limits, change: impl FnOnce(&mut Stage)) -> Self {
        let (mut stage, requests, gate) = stage();
        change(&mut stage);
        let stage = Arc::new(stage);
        let listening = Listening::bind(&Sockets {
            host: "127.0.0.1".to_owned(),
            port: 0,
        })
        .expect("a free port");
        let address = listening.local_addrs()[0];
        let (stop, stopped) = oneshot::channel::<Duration>();
        let shutdown = async move { stopped.await.unwrap_or(Duration::from_secs(8)) };
        let handler: Arc<dyn Handler> = stage.clone();
        let ended = tokio::spawn(front::serve(listening, handler, limits, shutdown));
        Self {
            address,
            requests,
            gate,
            stage,
            stop: Some(stop),
            ended,
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address)
            .await
            .expect("the server accepts")
    }

    /// Sends everything, then gives everything that came back until the server closed.
    pub(crate) async fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let (mut reader, mut writer) = self.connect().await.into_split();
        let write = async {
            // The server may have refused before it has read everything.
            let _ = writer.write_all(bytes).await;
            // The other half stays open: end of input is not what ends these connections.
            writer
        };
        let (_writer, answer) = tokio::join!(write, async {
            let mut answer = Vec::new();
            // A reset may come behind the answer when more was sent than the server cares to read.
            let _ = reader.read_to_end(&mut answer).await;
            answer
        });
        answer
    }
}

/// A connection in memory, for tests on virtual time.
pub(crate) struct Pipe {
    pub(crate) client: DuplexStream,
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
    pub(crate) gate: watch::Sender<bool>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) ended: JoinHandle<()>,
}

impl Pipe {
    pub(crate) fn open() -> Self {
        Self::of_size(1 << 16)
    }

    pub(crate) fn of_size(size: usize) -> Self {
        let (client, server) = tokio::io::duplex(size);
        let (stage, requests, gate) = stage();
        let (phase, closing) = Closing::new();
        let ends = Ends {
            peer: "192.0.2.7:1000".parse().expect("an address"),
            local: "192.0.2.1:8000".parse().expect("an address"),
            secure: false,
        };
        let connection = front::converse(
            front::Stream::erased(server),
            ends,
            Arc::new(stage),
            Arc::new(Limits::default()),
            closing,
        );
        Self {
            client,
            requests,
            gate,
            phase,
            ended: tokio::spawn(connection),
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.client
            .write_all(bytes)
            .await
            .expect("the connection is open");
    }

    /// Everything until the server closes.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.client.read_to_end(&mut rest).await.expect("a pipe");
        rest.escape_ascii().to_string()
    }

    /// Reads exactly up to and with this text.
    pub(crate) async fn read_to(&mut self, end: &str) -> String {
        let mut seen = Vec::new();
        while !seen.ends_with(end.as_bytes()) {
            match self.client.read_u8().await {
                Ok(byte) => seen.push(byte),
                Err(_) => panic!("closed after {}", seen.escape_ascii()),
            }
        }
        String::from_utf8(seen).expect("UTF-8")
    }
}

/// One answer on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Takes a connection's output apart. Answers to `HEAD` must be announced: they have no body.
pub(crate) fn answers(mut bytes: &[u8], is_head: bool) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let end =
            front::head::end_of_head(bytes, 0).unwrap_or_else(|| panic!("no head: {}", bytes.escape_ascii()));
        let head = String::from_utf8(bytes[..end].to_vec()).expect("UTF-8");
        let status = head[9..12].parse().expect("a status");
        bytes = &bytes[end..];
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        let body = if is_head || matches!(status, 100 | 204 | 304) {
            Vec::new()
        } else if let Some(length) = length {
            let length: usize = length.parse().expect("a length");
            let body = bytes[..length.min(bytes.len())].to_vec();
            bytes = &bytes[body.len()..];
            body
        } else if head.contains("Transfer-Encoding: chunked") {
            let mut input = bytes::BytesMut::from(bytes);
            let mut decoder = Decoder::new(front::framing::Framing::Chunked);
            let mut body = Vec::new();
            while let Piece::Data(data) = decoder.decode(&mut input).expect("good chunks") {
                body.extend_from_slice(&data);
            }
            bytes = &bytes[bytes.len() - input.len()..];
            body
        } else {
            std::mem::take(&mut bytes).to_vec()
        };
        answers.push(Answer {
            status,
            head,
            body: String::from_utf8(body).expect("UTF-8"),
        });
    }
    answers
}

pub(crate) fn statuses(bytes: &[u8]) -> Vec<u16> {
    answers(bytes, false).iter().map(|answer| answer.status).collect()
}
