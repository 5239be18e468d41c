//! A listener's connection as delivery sees it.
//!
//! The seam for encryption: a variant with a cipher takes plain bytes in `send` and answers how many it took,
//! like a socket. Nothing else in this crate knows what is behind it.

use std::{io, net::TcpStream, os::fd::AsFd as _};

use mio::{Interest, Registry, Token};

use crate::tcp_info::{self, TcpInfo};

/// A non-blocking byte sink.
#[derive(Debug)]
pub enum Wire {
    /// A TCP connection without encryption.
    Plain(mio::net::TcpStream),
}

impl Wire {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// When the socket cannot be made non-blocking.
    pub fn plain(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::Plain(mio::net::TcpStream::from_std(stream)))
    }

    /// Writes what fits. `WouldBlock` and short counts mean: wait for the socket to become writable.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        use io::Write as _;
        match self {
            Self::Plain(stream) => loop {
                match stream.write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => return other,
                }
            },
        }
    }

    /// Reads and forgets what the client sends. `Ok(false)` means that it will send no more.
    pub(crate) fn drain(&mut self) -> io::Result<bool> {
        use io::Read as _;
        let mut junk = [0; 512];
        match self {
            Self::Plain(stream) => {
                // A listener has nothing to say; one that floods is read a little at a time.
                for _ in 0..16 {
                    match stream.read(&mut junk) {
                        Ok(0) => return Ok(false),
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(true)
            }
        }
    }

    /// What the kernel knows of the connection.
    pub(crate) fn tcp_info(&self) -> Option<TcpInfo> {
        match self {
            Self::Plain(stream) => tcp_info::read(stream.as_fd()),
        }
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Plain(stream) => registry.register(stream, token, Interest::READABLE | Interest::WRITABLE),
        }
    }
}
