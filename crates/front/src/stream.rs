//! The bytes of a connection, whatever carries them.
//!
//! Contract: nothing beyond this file asks whether a connection is encrypted in order to read or write it.

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Anything that can stand in for a socket: a TLS session, a pipe in a test.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// A connection to a client.
pub enum Stream {
    /// A bare TCP socket, which may leave the runtime ([`Stream::into_tcp`]).
    Plain(TcpStream),
    /// A bare Unix socket, which may leave the runtime too ([`Stream::into_fd`]).
    Unix(UnixStream),
    /// Anything else.
    Erased(Box<dyn Duplex>),
}

impl Stream {
    /// A connection over something that is not a bare socket.
    pub fn erased(duplex: impl Duplex + 'static) -> Self {
        Self::Erased(Box::new(duplex))
    }

    /// The bare TCP socket, for delivery outside the runtime.
    ///
    /// # Errors
    /// Gives the stream back when it is not one.
    pub fn into_tcp(self) -> Result<TcpStream, Self> {
        match self {
            Self::Plain(socket) => Ok(socket),
            other @ (Self::Unix(_) | Self::Erased(_)) => Err(other),
        }
    }

    /// The bare socket of either kind, non-blocking, for delivery outside the runtime.
    ///
    /// # Errors
    /// `Unsupported` when there is a cipher (or anything else) between the stream and the socket; otherwise the runtime
    /// could not let go of the socket. The connection is closed.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        match self {
            Self::Plain(socket) => Ok(socket.into_std()?.into()),
            Self::Unix(socket) => Ok(socket.into_std()?.into()),
            Self::Erased(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Has the runtime of the caller watch a bare socket, instead of the one that accepted it. Anything else stays
    /// where it is and works from here too.
    ///
    /// # Errors
    /// When one of the two pollers refuses. The connection is closed.
    pub fn move_here(self) -> io::Result<Self> {
        Ok(match self {
            Self::Plain(socket) => TcpStream::from_std(socket.into_std()?)?.into(),
            Self::Unix(socket) => UnixStream::from_std(socket.into_std()?)?.into(),
            other @ Self::Erased(_) => other,
        })
    }

    /// The bare socket, for its options.
    #[must_use]
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Unix(_) | Self::Erased(_) => None,
        }
    }

    fn inner(&mut self) -> Pin<&mut dyn Duplex> {
        match self {
            Self::Plain(socket) => Pin::new(socket),
            Self::Unix(socket) => Pin::new(socket),
            Self::Erased(duplex) => Pin::new(&mut **duplex),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self::Plain(socket)
    }
}

impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Self {
        Self::Unix(socket)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(socket) => socket.fmt(out),
            Self::Unix(socket) => socket.fmt(out),
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
            Self::Unix(socket) => socket.is_write_vectored(),
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
