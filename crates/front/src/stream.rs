//! The bytes of a connection, whatever carries them.
//!
//! Contract: nothing beyond this file asks whether a connection is encrypted in order to read or write it.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Anything that can stand in for a socket: a TLS session, a Unix socket, a pipe in a test.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// A connection to a client.
pub enum Stream {
    /// A bare TCP socket, which may leave the runtime ([`Stream::into_tcp`]).
    Plain(TcpStream),
    /// Anything else.
    Erased(Box<dyn Duplex>),
}

impl Stream {
    /// A connection over something that is not a bare socket.
    pub fn erased(duplex: impl Duplex + 'static) -> Self {
        Self::Erased(Box::new(duplex))
    }

    /// The bare socket, for delivery outside the runtime.
    ///
    /// # Errors
    /// Gives the stream back when there is a cipher (or anything else) between it and the socket.
    pub fn into_tcp(self) -> Result<TcpStream, Self> {
        match self {
            Self::Plain(socket) => Ok(socket),
            erased @ Self::Erased(_) => Err(erased),
        }
    }

    /// The bare socket, for its options.
    #[must_use]
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Erased(_) => None,
        }
    }

    fn inner(&mut self) -> Pin<&mut dyn Duplex> {
        match self {
            Self::Plain(socket) => Pin::new(socket),
            Self::Erased(duplex) => Pin::new(&mut **duplex),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self::Plain(socket)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(socket) => socket.fmt(out),
            Self::Erased(_) => out.write_str("Erased"),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.inner().poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.inner().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Erased(duplex) => duplex.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }
}
