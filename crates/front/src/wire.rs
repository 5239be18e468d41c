//! A stream and what was read from it but not yet used.
//!
//! Contract: no memory is held for a client that has said nothing.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};

use crate::Stream;

#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: Stream,
    pub(crate) buffer: BytesMut,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// Reads once and appends to the buffer; 0 is the end.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }

    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // The bytes land on this thread's stack first: the buffer grows by what came, and a silent client's task
        // holds neither a buffer nor the space for one.
        let mut space = [MaybeUninit::<u8>::uninit(); 8192];
        let mut landed = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut landed))?;
        self.buffer.extend_from_slice(landed.filled());
        Poll::Ready(Ok(landed.filled().len()))
    }

    /// Gives the buffer's memory back when nothing is in it.
    pub(crate) fn slim(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Writes all of it; a client that takes nothing for `stall` is an error.
    pub(crate) async fn write(&mut self, mut bytes: impl Buf, stall: Duration) -> io::Result<()> {
        while bytes.has_remaining() {
            let written = timeout(stall, self.stream.write_buf(&mut bytes)).await??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        timeout(stall, self.stream.flush()).await?
    }

    /// Ends our side, then reads and drops what the client still sends, up to a limit, so that the answer is not
    /// lost in a reset (RFC 9112 section 9.6).
    pub(crate) async fn linger(mut self, bytes: usize, time: Duration) {
        let deadline = Instant::now() + time;
        let mut dropped = self.buffer.len();
        self.buffer = BytesMut::new();
        if !matches!(timeout_at(deadline, self.stream.shutdown()).await, Ok(Ok(()))) {
            return;
        }
        while dropped < bytes {
            match timeout_at(deadline, self.fill()).await {
                Ok(Ok(1..)) => {
                    dropped += self.buffer.len();
                    self.buffer.clear();
                }
                _ => return,
            }
        }
    }

    /// Ends our side of a connection from which nothing more is expected.
    pub(crate) async fn finish(mut self, time: Duration) {
        // The connection is over whether or not the client hears of it.
        let _ = timeout(time, self.stream.shutdown()).await;
    }
}
