//! A socket with a TLS session in front.
//!
//! Contract: plain bytes are taken only as far as their ciphertext can be kept, so a listener that does not read costs
//! a bounded amount of memory.

use std::io::{self, Read as _, Write as _};

use mio::net::TcpStream;
use rustls::ServerConnection;

/// Ciphertext kept for a socket that takes no more: two records of the largest size (RFC 8446 section 5.1).
const KEEP: usize = 32 << 10;

/// Reads of one listener before others get their turn; it has nothing to say.
const READS_AT_ONCE: usize = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Tls {
    socket: TcpStream,
    session: ServerConnection,
}

impl Tls {
    pub(super) fn new(socket: TcpStream, mut session: ServerConnection) -> Self {
        session.set_buffer_limit(Some(KEEP));
        Self { socket, session }
    }

    /// As [`super::Wire::send`].
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let mut taken = 0;
        while taken < bytes.len() {
            match self.session.writer().write(&bytes[taken..])? {
                // Only when the session has been closed for writing.
                0 => return Err(io::ErrorKind::BrokenPipe.into()),
                more => taken += more,
            }
            match self.flush() {
                Ok(()) => {}
                // What was taken is owed, and the caller sees that.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    pub(super) fn owes(&self) -> bool {
        self.session.wants_write()
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// As [`super::Wire::drain`]. The session has its own matters to settle meanwhile, such as new keys.
    pub(super) fn drain(&mut self) -> io::Result<bool> {
        let mut junk = [0; 512];
        for _ in 0..READS_AT_ONCE {
            match self.session.read_tls(&mut self.socket) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let state = self
                .session
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if state.peer_has_closed() {
                return Ok(false);
            }
            while matches!(self.session.reader().read(&mut junk), Ok(1..)) {}
        }
        // An answer that the socket does not take now is owed like anything else.
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(true),
        }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        // A player can then tell the end from a cut (RFC 8446 section 6.1). One that takes no more is not waited for.
        self.session.send_close_notify();
        let _ = self.flush();
    }
}
