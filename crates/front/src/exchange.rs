//! One request's side of a connection: its body, and the one answer or take-over it ends with.
//!
//! Contract: an exchange ends in exactly one [`Outcome`]; after it the connection is at the start of the next
//! request, closed in a way that lets the client read the answer, or somebody else's.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use http_body::Body;
use observe::span::Span;
#[cfg(any(target_os = "linux", target_os = "android"))]
use socket2::SockRef;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::answer::{Ending, Terms, chunk_header, head_bytes, settle};
use crate::body::{BodyError, Incoming, IncomingBody, Patience};
use crate::connection::Closing;
use crate::framing::{Decoder, Framing};
use crate::head::Version;
use crate::limits::Limits;
use crate::metrics::Tally;
use crate::request_id::{RequestId, X_REQUEST_ID};
use crate::wire::Wire;
use crate::{Request, Stream};

/// What became of a connection after a request. A handler gets one from the exchange and gives it back.
#[derive(Debug)]
#[must_use = "the handler returns it"]
pub struct Outcome(pub(crate) After);

#[derive(Debug)]
pub(crate) enum After {
    /// The next request may come.
    Next(Wire),
    /// Closed, or somebody else's.
    Over,
}

impl Outcome {
    /// For a connection that was taken over by [`Exchange::into_raw`].
    pub fn taken() -> Self {
        Self(After::Over)
    }

    fn closed() -> Self {
        Self(After::Over)
    }
}

/// A connection taken over. Nothing has been written to it.
#[derive(Debug)]
pub struct Raw {
    /// The connection.
    pub stream: Stream,
    /// What arrived behind the head: the beginning of the body.
    pub buffered: Bytes,
    /// What the head said about the body; [`Decoder::for_source`] takes the framing off.
    pub framing: Framing,
    /// The client waits for `100 Continue`.
    pub expects_continue: bool,
    /// For the status line.
    pub version: Version,
}

/// The right and the duty to answer a request.
#[derive(Debug)]
pub struct Exchange {
    incoming: Incoming,
    framing: Framing,
    reply: Reply,
}

/// What is needed to answer, apart from the connection.
#[derive(Debug)]
struct Reply {
    version: Version,
    is_head: bool,
    keep_alive: bool,
    /// A source announced no body: what follows the head is audio, never a request.
    unframed: bool,
    request_id: RequestId,
    limits: Arc<Limits>,
    closing: Closing,
    tally: Tally,
}

impl Exchange {
    pub(crate) fn new(
        wire: Wire,
        request: &Request,
        wants: Wants,
        limits: &Arc<Limits>,
        closing: &Closing,
    ) -> Self {
        Self {
            incoming: Incoming::new(wire, Decoder::new(request.framing), wants.a_continue, limits),
            framing: request.framing,
            reply: Reply {
                version: request.version,
                is_head: request.method == http::Method::HEAD,
                keep_alive: wants.keep_alive,
                unframed: request.is_source() && request.framing == Framing::Absent,
                request_id: request.request_id.clone(),
                limits: Arc::clone(limits),
                closing: closing.clone(),
                tally: Tally::new(request),
            },
        }
    }

    /// The request's span, for those requests that have one.
    pub(crate) fn span(&self) -> Option<Span> {
        self.reply.tally.span()
    }

    /// Sets how long the body may take; ordinary requests need not.
    pub fn set_patience(&mut self, patience: Patience) {
        self.incoming.set_patience(patience);
    }

    /// Tells of the shutdown of the front, for those who keep the connection for long.
    #[must_use]
    pub fn closing(&self) -> Closing {
        self.reply.closing.clone()
    }

    /// Keeps at most so many bytes of the answer waiting in the system for a client that does not read: the rest
    /// waits in the body, which can still think better of it. For feeds, whose old news nobody wants.
    pub fn limit_unsent(&self, bytes: u32) {
        if let Some(socket) = self.incoming.wire.stream.tcp() {
            // Without the option the client gets older news before the newest; nothing is wrong with them.
            #[cfg(any(target_os = "linux", target_os = "android"))]
            let _ = SockRef::from(socket).set_tcp_notsent_lowat(bytes);
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            let _ = (socket, bytes);
        }
    }

    /// The next bytes of the request body without its framing; nothing at its end. The first call sends `100 Continue`
    /// when the client waits for it.
    ///
    /// # Errors
    /// See [`BodyError`]; what is left to do is to answer.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        self.incoming.chunk().await
    }

    /// The whole request body, of at most `limit` bytes.
    ///
    /// # Errors
    /// See [`BodyError`]; what is left to do is to answer, perhaps with [`BodyError::answer`].
    pub async fn read_body(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        self.incoming.read(limit).await
    }

    /// Answers, and reads an unread body to its end within the limits. The length of the answer is taken from the
    /// body; if it is not known, HTTP/1.1 clients get chunks and others the end of the connection.
    pub async fn respond<B: Body<Data = Bytes>>(self, response: Response<B>) -> Outcome {
        answer(self.incoming, self.reply, response).await
    }

    /// Takes the body apart from the answer, so that a service can have it.
    #[must_use]
    pub fn into_parts(self) -> (IncomingBody, Responder) {
        if self.incoming.decoder.is_finished() {
            return (
                IncomingBody::empty(),
                Responder {
                    connection: Whereabouts::Here(self.incoming),
                    reply: self.reply,
                },
            );
        }
        let (body, returned) = IncomingBody::new(self.incoming);
        (
            body,
            Responder {
                connection: Whereabouts::WithBody(returned),
                reply: self.reply,
            },
        )
    }

    /// Takes the connection over. Meant for exchanges whose body has not been touched, to be answered with 200.
    #[must_use]
    pub fn into_raw(mut self) -> Raw {
        self.reply.tally.begin(StatusCode::OK);
        let Wire { stream, buffer } = self.incoming.wire;
        Raw {
            stream,
            buffered: buffer.freeze(),
            framing: self.framing,
            expects_continue: self.incoming.awaited,
            version: self.reply.version,
        }
    }

    /// Closes without an answer.
    pub fn close(self) -> Outcome {
        Outcome::closed()
    }
}

/// What the head asked of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wants {
    pub(crate) keep_alive: bool,
    pub(crate) a_continue: bool,
}

/// Answers a request whose body was given away.
#[derive(Debug)]
pub struct Responder {
    connection: Whereabouts,
    reply: Reply,
}

#[derive(Debug)]
enum Whereabouts {
    Here(Incoming),
    WithBody(oneshot::Receiver<Incoming>),
}

impl Responder {
    /// As [`Exchange::respond`]. The body must have been dropped, or be dropped soon.
    pub async fn respond<B: Body<Data = Bytes>>(self, response: Response<B>) -> Outcome {
        let incoming = match self.connection {
            Whereabouts::Here(incoming) => incoming,
            Whereabouts::WithBody(returned) => match timeout(self.reply.limits.body_time, returned).await {
                Ok(Ok(incoming)) => incoming,
                _ => return Outcome::closed(),
            },
        };
        answer(incoming, self.reply, response).await
    }
}

async fn answer<B: Body<Data = Bytes>>(
    mut incoming: Incoming,
    mut reply: Reply,
    mut response: Response<B>,
) -> Outcome {
    reply.tally.begin(response.status());
    let is_open_ended = is_event_stream(&response);
    let limits = &*reply.limits;
    let unread = !incoming.decoder.is_finished();
    let keep_alive = reply.keep_alive
        && !reply.unframed
        && !incoming.has_failed()
        && (!unread || incoming.can_drain(limits))
        && reply.closing.is_open();
    let terms = Terms {
        version: reply.version,
        is_head: reply.is_head,
        keep_alive,
    };
    response
        .headers_mut()
        .insert(X_REQUEST_ID, reply.request_id.to_value());
    let (ending, keep_alive) = settle(&mut response, terms);
    let (parts, body) = response.into_parts();
    let head = head_bytes(reply.version, parts.status, &parts.headers);
    match write(&mut incoming.wire, head, body, ending, limits).await {
        Ok(()) if is_open_ended => {}
        Ok(()) => reply.tally.finish(),
        Err(_) => return Outcome::closed(),
    }
    if keep_alive && (!unread || incoming.drain(limits).await) {
        return Outcome(After::Next(incoming.wire));
    }
    let quiet = !reply.unframed && incoming.decoder.is_finished() && incoming.wire.buffer.is_empty();
    if quiet {
        incoming.wire.finish(limits.drain_time).await;
    } else {
        incoming.wire.linger(limits.drain_bytes, limits.drain_time).await;
    }
    Outcome::closed()
}

/// Whether the answer goes on until its reader leaves.
fn is_event_stream<B>(response: &Response<B>) -> bool {
    response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// Writes head and body. An error means that the client cannot tell where the answer ends.
async fn write<B: Body<Data = Bytes>>(
    wire: &mut Wire,
    head: BytesMut,
    body: B,
    ending: Ending,
    limits: &Limits,
) -> io::Result<()> {
    let stall = limits.write_stall;
    let mut left = match ending {
        Ending::NoBody | Ending::Length(0) => return wire.write(head, stall).await,
        Ending::Length(length) => Some(length),
        Ending::Chunked | Ending::Close => None,
    };
    let mut body = pin!(body);
    let mut head = Some(head);
    loop {
        let step = next_step(wire, body.as_mut(), head.is_some(), left.is_none(), limits).await;
        let data = match step {
            Step::HeadFirst => {
                wire.write(head.take().unwrap_or_default(), stall).await?;
                continue;
            }
            Step::Gone | Step::Failed => return Err(io::ErrorKind::BrokenPipe.into()),
            Step::End => None,
            Step::Data(data) => Some(data),
        };
        let head = head.take().unwrap_or_default();
        let Some(mut data) = data else {
            let last: &[u8] = if ending == Ending::Chunked {
                b"0\r\n\r\n"
            } else {
                b""
            };
            wire.write(head.chain(last), stall).await?;
            return if left.is_some() {
                Err(io::ErrorKind::UnexpectedEof.into())
            } else {
                Ok(())
            };
        };
        if let Some(left) = &mut left {
            let most = usize::try_from(*left).unwrap_or(usize::MAX);
            data.truncate(most);
            *left -= data.len() as u64;
            wire.write(head.chain(data), stall).await?;
            if *left == 0 {
                return Ok(());
            }
        } else if ending == Ending::Chunked && !data.is_empty() {
            let line = chunk_header(data.len());
            wire.write(head.chain(line).chain(data).chain(&b"\r\n"[..]), stall)
                .await?;
        } else {
            wire.write(head.chain(data), stall).await?;
        }
    }
}

/// What an answer in progress does next.
enum Step {
    Data(Bytes),
    End,
    /// The body failed.
    Failed,
    /// The body takes its time; the head should not wait for it.
    HeadFirst,
    /// The client left while there was nothing to write.
    Gone,
}

async fn next_step<B: Body<Data = Bytes>>(
    wire: &mut Wire,
    mut body: Pin<&mut B>,
    head_waits: bool,
    watch: bool,
    limits: &Limits,
) -> Step {
    poll_fn(|cx| {
        while let Poll::Ready(frame) = body.as_mut().poll_frame(cx) {
            return Poll::Ready(match frame {
                None => Step::End,
                Some(Err(_)) => Step::Failed,
                // Trailers are optional for everybody (RFC 9110 section 6.5.1); nobody here uses them.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Step::Data(data),
                    Err(_) => continue,
                },
            });
        }
        if head_waits {
            return Poll::Ready(Step::HeadFirst);
        }
        // An event stream may have nothing to say for long: without a look at the other direction the departure of
        // its reader would go unnoticed until then.
        while watch && wire.buffer.len() < limits.head_bytes {
            match wire.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(Step::Gone),
                Poll::Pending => break,
            }
        }
        Poll::Pending
    })
    .await
}
