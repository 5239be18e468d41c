//! A listener's connection as delivery sees it: a bare socket, or one with a cipher in front.
//!
//! Contract: what `send` has taken goes out in order and once, if need be by a later [`Wire::flush`]. Nothing else in
//! this crate knows what is behind a wire.

mod tls;

use std::{io, net::TcpStream, os::fd::AsFd as _};

use mio::{Interest, Registry, Token};
use rustls::ServerConnection;

use self::tls::Tls;

use crate::tcp_info::{self, TcpInfo};

/// A non-blocking byte sink.
#[derive(Debug)]
pub struct Wire(Kind);

#[derive(Debug)]
enum Kind {
    Plain(mio::net::TcpStream),
    /// Apart, so that listeners without a cipher do not carry its size.
    Tls(Box<Tls>),
}

impl Wire {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// When the socket cannot be made non-blocking.
    pub fn plain(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self(Kind::Plain(mio::net::TcpStream::from_std(stream))))
    }

    /// Takes over a connected socket and the session on it, whose handshake is over.
    ///
    /// # Errors
    /// When the socket cannot be made non-blocking.
    pub fn tls(stream: TcpStream, session: ServerConnection) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let socket = mio::net::TcpStream::from_std(stream);
        Ok(Self(Kind::Tls(Box::new(Tls::new(socket, session)))))
    }

    /// Writes what fits. `WouldBlock`, short counts and [`Wire::owes`] mean: wait for the socket to become writable.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        use io::Write as _;
        match &mut self.0 {
            Kind::Plain(stream) => loop {
                match stream.write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => return other,
                }
            },
            Kind::Tls(tls) => tls.send(bytes),
        }
    }

    /// Whether bytes that were taken have not reached the socket yet.
    pub(crate) fn owes(&self) -> bool {
        match &self.0 {
            Kind::Plain(_) => false,
            Kind::Tls(tls) => tls.owes(),
        }
    }

    /// Sends what is owed. `WouldBlock` as for [`Wire::send`].
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::Plain(_) => Ok(()),
            Kind::Tls(tls) => tls.flush(),
        }
    }

    /// Reads and forgets what the client sends. `Ok(false)` means that it will send no more.
    pub(crate) fn drain(&mut self) -> io::Result<bool> {
        use io::Read as _;
        let mut junk = [0; 512];
        match &mut self.0 {
            Kind::Plain(stream) => {
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
            Kind::Tls(tls) => tls.drain(),
        }
    }

    fn socket(&self) -> &mio::net::TcpStream {
        match &self.0 {
            Kind::Plain(stream) => stream,
            Kind::Tls(tls) => tls.socket(),
        }
    }

    /// What the kernel knows of the connection.
    pub(crate) fn tcp_info(&self) -> Option<TcpInfo> {
        tcp_info::read(self.socket().as_fd())
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let stream = match &mut self.0 {
            Kind::Plain(stream) => stream,
            Kind::Tls(tls) => tls.socket_mut(),
        };
        registry.register(stream, token, Interest::READABLE | Interest::WRITABLE)
    }
}
