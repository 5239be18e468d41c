//! The life of a connection: heads in, one exchange after the other, until it closes or is taken over.
//!
//! Contract: a silent connection costs its task and little else, and has ended after the head time.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Buf as _;
use http::StatusCode;
use http::header::{CONNECTION, HeaderValue};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::accept::{Handler, Handling};
use crate::answer::{head_bytes, text};
use crate::exchange::{After, Exchange, Wants};
use crate::head::{Head, HeadError, HeadLimits, Parsed, Version, blank_lines, end_of_head, parse};
use crate::limits::Limits;
use crate::metrics::{Presence, REJECTED, Rejection};
use crate::wire::Wire;
use crate::{Request, Stream};

/// How much of an oversized head is read and dropped for the sake of the answer: what heads may have had elsewhere.
const REFUSED_HEAD: usize = 1 << 20;

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// The other end.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// Whether the stream is encrypted.
    pub secure: bool,
}

/// How far the shutdown of the front has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    Open,
    /// Idle connections close, running requests are the last of theirs.
    Draining,
    /// Whatever still runs is dropped.
    Ended,
}

/// Tells connections of the shutdown.
#[derive(Clone)]
pub struct Closing(watch::Receiver<Phase>);

impl Closing {
    /// The sender moves the phase. When it is dropped everything ends.
    #[must_use]
    pub fn new() -> (watch::Sender<Phase>, Self) {
        let (sender, receiver) = watch::channel(Phase::Open);
        (sender, Self(receiver))
    }

    /// Whether new requests are welcome.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self.0.borrow() == Phase::Open
    }

    /// Waits for a phase or a later one.
    pub async fn reached(&mut self, phase: Phase) {
        // An error means that the sender is gone, which is the end too.
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }
}

impl fmt::Debug for Closing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Closing").field(&*self.0.borrow()).finish()
    }
}

/// Serves one connection to its end. [`crate::serve`] does this for each it accepts; other transports (TLS, a Unix
/// socket) call it with an erased stream.
pub async fn converse(
    stream: Stream,
    ends: Ends,
    handler: Arc<dyn Handler>,
    limits: Arc<Limits>,
    closing: Closing,
) {
    let _present = Presence::new();
    let mut ended = closing.clone();
    tokio::select! {
        () = talk(stream, ends, handler, limits, closing) => {}
        () = ended.reached(Phase::Ended) => {}
    }
}

async fn talk(
    stream: Stream,
    ends: Ends,
    handler: Arc<dyn Handler>,
    limits: Arc<Limits>,
    mut closing: Closing,
) {
    static CONNECTIONS: AtomicU64 = AtomicU64::new(1);
    let id = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    let mut wire = Wire::new(stream);
    let mut patience = limits.head_time;
    loop {
        // What happens after a head is boxed, so that connections that say nothing do not carry its space.
        let head = match read_head(&mut wire, patience, &limits, &mut closing).await {
            Ok(head) => head,
            Err(End::Gone) => return,
            Err(End::Silent) => return Box::pin(wire.finish(limits.drain_time)).await,
            Err(End::Refused(refusal)) => return Box::pin(refuse(wire, refusal, &limits)).await,
        };
        let handling = begin(head, wire, (&ends, id), &*handler, &limits, &closing);
        match handling.await.0 {
            After::Next(next) => wire = next,
            After::Over => return,
        }
        patience = limits.idle_time;
    }
}

/// Gives a request to its handler. Not async, so that the connection's task has no space for any of this.
fn begin<'a>(
    head: Box<Head>,
    wire: Wire,
    (ends, id): (&Ends, u64),
    handler: &'a dyn Handler,
    limits: &Arc<Limits>,
    closing: &Closing,
) -> Handling<'a> {
    let wants = Wants {
        keep_alive: head.wants_keep_alive(),
        a_continue: head.expects_continue(),
    };
    let request = Request::new(*head, ends, id, handler);
    let exchange = Exchange::new(wire, &request, wants, limits, closing);
    match exchange.span() {
        Some(span) => {
            // A handler may do some of its work before it gives its future away.
            let handling = span.run(|| handler.handle(request, exchange));
            Box::pin(async move { span.within(handling).await })
        }
        None => handler.handle(request, exchange),
    }
}

/// Why there will be no further request.
enum End {
    /// The client left.
    Gone,
    /// The client said nothing for too long, or the front shuts down.
    Silent,
    /// What it said cannot be served.
    Refused(Refusal),
}

/// The answer to what is not a request.
struct Refusal {
    status: StatusCode,
    text: String,
    reason: Rejection,
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        Self {
            status: error.status(),
            text: error.to_string(),
            reason: error.into(),
        }
    }
}

/// Reads up to the end of the next head. `patience` is for its first byte.
async fn read_head(
    wire: &mut Wire,
    patience: Duration,
    limits: &Limits,
    closing: &mut Closing,
) -> Result<Box<Head>, End> {
    let head_limits = HeadLimits {
        bytes: limits.head_bytes,
        lines: limits.head_lines,
    };
    let mut deadline = Instant::now() + patience;
    let mut seen = 0;
    let mut begun = false;
    loop {
        wire.buffer.advance(blank_lines(&wire.buffer));
        wire.slim();
        if !wire.buffer.is_empty() {
            if !begun {
                begun = true;
                deadline = deadline.min(Instant::now() + limits.head_time);
            }
            // A head that comes in crumbs is not parsed again with each of them.
            let worthwhile = seen == 0
                || wire.buffer.len() >= limits.head_bytes
                || end_of_head(&wire.buffer, seen).is_some();
            if worthwhile {
                match parse(&wire.buffer, head_limits) {
                    Ok(Parsed::Complete { head, length }) => {
                        wire.buffer.advance(length);
                        return Ok(head);
                    }
                    Ok(Parsed::Partial) => {}
                    Err(error) => return Err(End::Refused(error.into())),
                }
            }
            seen = wire.buffer.len();
        }
        let read = async {
            tokio::select! {
                // Data first: a request that has arrived is served even when the front shuts down.
                biased;
                read = wire.fill() => read,
                () = closing.reached(Phase::Draining), if !begun => Ok(0),
            }
        };
        match timeout_at(deadline, read).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0)) if !begun && !closing.is_open() => return Err(End::Silent),
            Ok(_) => return Err(End::Gone),
            Err(_) if begun => {
                return Err(End::Refused(Refusal {
                    status: StatusCode::REQUEST_TIMEOUT,
                    text: "Request header took too long".to_owned(),
                    reason: Rejection::Timeout,
                }));
            }
            Err(_) => return Err(End::Silent),
        }
    }
}

/// Answers what is not a request, and closes.
async fn refuse(mut wire: Wire, refusal: Refusal, limits: &Limits) {
    let Refusal {
        status,
        text: body,
        reason,
    } = refusal;
    REJECTED.of(reason).inc();
    let (mut parts, _) = text(status, "").into_parts();
    let body = body.into_bytes();
    parts
        .headers
        .insert(http::header::CONTENT_LENGTH, body.len().into());
    parts
        .headers
        .insert(CONNECTION, HeaderValue::from_static("close"));
    let head = head_bytes(Version::Http11, status, &parts.headers);
    if wire
        .write(head.chain(&body[..]), limits.write_stall)
        .await
        .is_ok()
    {
        wire.linger(limits.drain_bytes.max(REFUSED_HEAD), limits.drain_time)
            .await;
    }
}
