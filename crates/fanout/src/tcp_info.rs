//! What the kernel knows of a connection.
//!
//! Contract: asks, and changes nothing. Where the kernel tells less, fields are absent.
#![allow(
    unsafe_code,
    reason = "getsockopt(TCP_INFO) has no safe wrapper that knows the newer fields"
)]

use std::{os::fd::BorrowedFd, time::Duration};

/// One connection, as `struct tcp_info` of Linux has it (include/uapi/linux/tcp.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed round trip.
    pub round_trip: Duration,
    /// Its variation.
    pub variation: Duration,
    /// Segments sent again since the connection began.
    pub retransmits: u32,
    /// Segments sent again and not yet acknowledged.
    pub lost: u32,
    /// Segments that are under way.
    pub in_flight: u32,
    /// Segments that may be under way.
    pub window: u32,
    /// Bytes that the kernel holds and has not sent once.
    pub unsent: Option<u32>,
    /// What the path delivers, in bytes per second.
    pub delivery_rate: Option<u64>,
    /// How long sending waited for the client's receive window: the client does not read fast enough.
    pub client_limited: Option<Duration>,
    /// Since the client last acknowledged anything.
    pub since_acknowledged: Duration,
}

/// Asks the kernel; nothing when the socket is not TCP or the system cannot tell.
#[cfg(target_os = "linux")]
pub(crate) fn read(socket: BorrowedFd<'_>) -> Option<TcpInfo> {
    use std::os::fd::AsRawFd as _;
    let mut buffer = [0u8; 256];
    let mut length = libc::socklen_t::try_from(buffer.len()).ok()?;
    // SAFETY: the descriptor is borrowed and so open; the kernel writes at most `length` bytes to `buffer`, which
    // lives until after the call, and tells in `length` how many.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            buffer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let known = buffer.get(..usize::try_from(length).ok()?)?;
    (result == 0).then(|| parse(known)).flatten()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn read(_: BorrowedFd<'_>) -> Option<TcpInfo> {
    None
}

fn parse(bytes: &[u8]) -> Option<TcpInfo> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let micros = |value: u32| Duration::from_micros(value.into());
    Some(TcpInfo {
        round_trip: micros(word(68)?),
        variation: micros(word(72)?),
        retransmits: word(100)?,
        lost: word(36)?,
        in_flight: word(24)?,
        window: word(80)?,
        unsent: word(144),
        delivery_rate: long(160),
        client_limited: long(176).map(Duration::from_micros),
        since_acknowledged: Duration::from_millis(word(56)?.into()),
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        os::fd::AsFd as _,
    };

    use super::*;

    #[test]
    fn short_answers_of_old_kernels_are_no_answer() {
        assert_eq!(parse(&[0; 100]), None);
        let known = parse(&[0; 104]).unwrap();
        assert_eq!((known.unsent, known.delivery_rate), (None, None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_client_that_does_not_read_is_told_by_unsent_bytes() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let (mut connection, _) = server.accept().unwrap();
        connection.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        let before = read(connection.as_fd()).unwrap();
        assert_eq!(before.unsent, Some(0));
        assert!(before.round_trip > Duration::ZERO && before.window > 0);
        connection.set_nonblocking(true).unwrap();
        let junk = [0; 65_536];
        while connection.write(&junk).is_ok() {}
        let after = read(connection.as_fd()).unwrap();
        assert!(after.unsent.unwrap() > 65_536, "{after:?}");
    }
}
