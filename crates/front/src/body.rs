//! Request bodies while they arrive.
//!
//! Contract: a body is read only when somebody asks for it, in bounded time, and `100 Continue` is sent at that
//! moment and not before: a client whose request is refused never sends its body.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::io::AsyncWrite as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::framing::{BadFraming, Decoder, Piece};
use crate::limits::Limits;
use crate::wire::Wire;

/// How long a body may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// From the first wait for it to its end.
    Whole(Duration),
    /// From one arrival to the next: for uploads and sources.
    Idle(Duration),
}

/// Why a body could not be read. The connection closes after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// It is larger than the caller takes.
    #[error("Request body too large")]
    TooLarge,
    /// Its framing is broken.
    #[error("Bad request: {0}")]
    Malformed(#[from] BadFraming),
    /// It took too long.
    #[error("Request body took too long")]
    TimedOut,
    /// The client has gone.
    #[error("The client closed the connection")]
    Gone,
}

impl BodyError {
    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Malformed(_) | Self::Gone => StatusCode::BAD_REQUEST,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// The answer in plain text.
    #[must_use]
    pub fn answer(self) -> Response<Full<Bytes>> {
        crate::text(self.status(), &self.to_string())
    }
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A connection whose request body has not been read to its end.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) wire: Wire,
    pub(crate) decoder: Decoder,
    pub(crate) patience: Patience,
    /// The client waits for `100 Continue`, and nothing of it was sent.
    pub(crate) awaited: bool,
    /// What of `100 Continue` is still to be written.
    interim: &'static [u8],
    timer: Option<Pin<Box<Sleep>>>,
    failure: Option<BodyError>,
}

impl Incoming {
    pub(crate) fn new(wire: Wire, decoder: Decoder, awaited: bool, limits: &Limits) -> Self {
        let patience = Patience::Whole(limits.body_time);
        Self {
            wire,
            decoder,
            patience,
            awaited,
            interim: b"",
            timer: None,
            failure: None,
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(crate) fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
        self.timer = None;
    }

    /// The next bytes of the body; nothing at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        if let Some(failure) = self.failure {
            return Poll::Ready(Err(failure));
        }
        let result = ready!(self.poll_piece(cx));
        self.failure = result.as_ref().err().copied();
        Poll::Ready(result)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        loop {
            match self.decoder.decode(&mut self.wire.buffer)? {
                Piece::Data(data) => {
                    if matches!(self.patience, Patience::Idle(_)) {
                        self.timer = None;
                    }
                    return Poll::Ready(Ok(Some(data)));
                }
                Piece::End => return Poll::Ready(Ok(None)),
                Piece::More => {}
            }
            if self.poll_timer(cx).is_ready() {
                return Poll::Ready(Err(BodyError::TimedOut));
            }
            if std::mem::take(&mut self.awaited) && self.wire.buffer.is_empty() {
                self.interim = CONTINUE;
            }
            if ready!(self.poll_interim(cx)).is_err() {
                return Poll::Ready(Err(BodyError::Gone));
            }
            match ready!(self.wire.poll_fill(cx)) {
                Ok(1..) => {}
                _ => return Poll::Ready(Err(BodyError::Gone)),
            }
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Patience::Whole(time) | Patience::Idle(time)) = self.patience;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + time)));
        timer.as_mut().poll(cx)
    }

    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.interim.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.interim.is_empty() {
            let written = ready!(Pin::new(&mut self.wire.stream).poll_write(cx, self.interim))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.interim = &self.interim[written..];
        }
        Pin::new(&mut self.wire.stream).poll_flush(cx)
    }

    /// Reads all of it.
    pub(crate) async fn read(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        if self.decoder.remaining() > limit as u64 {
            return Err(BodyError::TooLarge);
        }
        let mut body = Bytes::new();
        let mut more = BytesMut::new();
        while let Some(data) = self.chunk().await? {
            if body.len() + more.len() + data.len() > limit {
                return Err(BodyError::TooLarge);
            }
            if body.is_empty() && more.is_empty() {
                // Most bodies arrive in one piece and need no copy.
                body = data;
                continue;
            }
            more.extend_from_slice(&std::mem::take(&mut body));
            more.extend_from_slice(&data);
        }
        Ok(if more.is_empty() { body } else { more.freeze() })
    }

    /// Whether the rest of the body is small enough to be read just to reach the next request.
    pub(crate) fn can_drain(&self, limits: &Limits) -> bool {
        self.failure.is_none() && !self.awaited && self.decoder.remaining() <= limits.drain_bytes as u64
    }

    /// Reads the rest and drops it; says whether the end was reached within the limits.
    pub(crate) async fn drain(&mut self, limits: &Limits) -> bool {
        let drained = timeout(limits.drain_time, async {
            let mut dropped = 0;
            loop {
                match self.chunk().await {
                    Ok(Some(data)) if dropped + data.len() <= limits.drain_bytes => dropped += data.len(),
                    Ok(None) => return true,
                    Ok(Some(_)) | Err(_) => return false,
                }
            }
        });
        drained.await.unwrap_or(false)
    }
}

/// A request body that can be given away, for instance to a tower service. It must be dropped, read or not, before
/// the answer can be written.
#[derive(Debug)]
pub struct IncomingBody {
    /// Absent when there is nothing to read.
    incoming: Option<Incoming>,
    /// Takes the connection back to the one that answers.
    back: Option<oneshot::Sender<Incoming>>,
}

impl IncomingBody {
    pub(crate) fn empty() -> Self {
        Self {
            incoming: None,
            back: None,
        }
    }

    pub(crate) fn new(incoming: Incoming) -> (Self, oneshot::Receiver<Incoming>) {
        let (back, returned) = oneshot::channel();
        (
            Self {
                incoming: Some(incoming),
                back: Some(back),
            },
            returned,
        )
    }
}

impl Drop for IncomingBody {
    fn drop(&mut self) {
        if let (Some(incoming), Some(back)) = (self.incoming.take(), self.back.take()) {
            // When nobody answers any more the connection is dropped with the value.
            drop(back.send(incoming));
        }
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let chunk = ready!(incoming.poll_chunk(cx));
        Poll::Ready(chunk.map(|data| data.map(Frame::data)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.incoming
            .as_ref()
            .is_none_or(|incoming| incoming.decoder.is_finished())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            None => SizeHint::with_exact(0),
            Some(incoming) => incoming
                .decoder
                .exact_remaining()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
