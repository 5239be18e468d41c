//! One client's connection: its socket, what it is doing and how long it may.
//!
//! Contract: a client that neither asks nor reads is known by that, so that it can be sent away when its time is up
//! or its place is needed.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// How much clients may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once. When all are taken, the one that has been idle for longest makes room for a new one.
    pub connections: usize,
    /// How long a connection may stay without a request.
    pub idle: Duration,
    /// How long a request's head may take from its first byte on.
    pub head: Duration,
    /// How long a request's body may take.
    pub body: Duration,
    /// How long a client may leave an answer unread.
    pub stalled: Duration,
    /// A connection that has been idle or left an answer unread for this long may be closed to make room.
    pub spared: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 64,
            idle: Duration::from_secs(60),
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            stalled: Duration::from_secs(30),
            spared: Duration::from_secs(1),
        }
    }
}

/// What a client is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was sent since the last answer.
    Idle = 0,
    /// A request's head is on its way.
    Head = 1,
    /// A request is being answered.
    Served = 2,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    socket: TcpStream,
    peer: SocketAddr,
    begun: Instant,
    phase: AtomicU8,
    /// Milliseconds from `begun` to the begin of the phase.
    since: AtomicU64,
    /// Milliseconds from `begun` to when the client stopped reading, plus one; 0 while it reads.
    unread: AtomicU64,
    leave: Notify,
}

impl Client {
    pub(crate) fn new(socket: TcpStream, peer: SocketAddr) -> Client {
        Client {
            socket,
            peer,
            begun: Instant::now(),
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            leave: Notify::new(),
        }
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// What it does and for how long, for the list of connections.
    pub(crate) fn state(&self) -> (&'static str, Duration) {
        let name = match self.phase() {
            _ if self.unread_for().is_some() => "unread",
            Phase::Idle => "idle",
            Phase::Head => "head",
            Phase::Served => "served",
        };
        let since = self.unread_for().unwrap_or_else(|| self.phase_for());
        (name, since)
    }

    /// A request is complete; the returned value is dropped when its answer has been handed over.
    pub(crate) fn served(self: &Arc<Client>) -> Served {
        self.enter(Phase::Served);
        Served(Arc::clone(self))
    }

    /// How long it has used its place for nothing; `None` while it is being served and reads.
    pub(crate) fn idle_for(&self) -> Option<Duration> {
        let idle = (self.phase() != Phase::Served).then(|| self.phase_for());
        self.unread_for().or(idle)
    }

    /// Sends it away.
    pub(crate) fn dismiss(&self) {
        self.leave.notify_one();
    }

    /// Returns when the client has used up one of its limits or was dismissed.
    pub(crate) async fn overdue(&self, limits: &Limits) {
        // A phase that begins after a look ends no sooner than this, so nothing is missed in between.
        let shortest = limits.idle.min(limits.head).min(limits.stalled);
        loop {
            let of_phase = match self.phase() {
                Phase::Idle => Some(limits.idle),
                Phase::Head => Some(limits.head),
                Phase::Served => None,
            };
            let left = of_phase.map(|limit| limit.saturating_sub(self.phase_for()));
            let unread = self
                .unread_for()
                .map(|unread| limits.stalled.saturating_sub(unread));
            let next = left.into_iter().chain(unread).min().unwrap_or(shortest);
            if next.is_zero() {
                return;
            }
            let pause = next.min(shortest).max(Duration::from_millis(5));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.leave.notified() => return,
            }
        }
    }

    /// Returns when the client has closed its side of the connection, also with requests still unread.
    pub(crate) async fn gone(&self) {
        loop {
            match self.socket.ready(Interest::READABLE).await {
                Ok(ready) if !ready.is_read_closed() => {
                    // More requests wait in the socket: it stays readable until they are read.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Answers without reading and closes. For one who is turned away before its request was read.
    pub(crate) async fn turn_away(&self, response: &[u8]) {
        // The buffer of a new socket takes a line at once.
        let _ = self.socket.try_write(response);
        let _ = socket2::SockRef::from(&self.socket).shutdown(std::net::Shutdown::Write);
        // A socket that is closed with unread data takes the answer back (RFC 9112 section 9.6), so read a while.
        let mut scrap = [0; 1024];
        let drain = async {
            for _ in 0..64 {
                if self.socket.readable().await.is_err() {
                    return;
                }
                match self.socket.try_read(&mut scrap) {
                    Ok(0) => return,
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                    _ => {}
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), drain).await;
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Served,
        }
    }

    fn enter(&self, phase: Phase) {
        self.since.store(self.now(), Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn phase_for(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.since.load(Ordering::Relaxed)))
    }

    fn unread_for(&self) -> Option<Duration> {
        let since = self.unread.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_millis(self.now().saturating_sub(since)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// Notes whether the client takes what is written.
    fn note_write(&self, written: &Poll<io::Result<usize>>) {
        if written.is_ready() {
            self.unread.store(0, Ordering::Relaxed);
            if self.phase() == Phase::Idle {
                // The rest of an answer that was handed over: the client is idle when it has all of it.
                self.enter(Phase::Idle);
            }
        } else if self.unread.load(Ordering::Relaxed) == 0 {
            self.unread.store(self.now() + 1, Ordering::Relaxed);
        }
    }
}

/// Lasts as long as a request is being answered.
#[derive(Debug)]
pub(crate) struct Served(Arc<Client>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}

/// The socket of a client as something to read from and to write to.
#[derive(Debug)]
pub(crate) struct Socket(pub(crate) Arc<Client>);

impl Socket {
    fn write(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let socket = &self.0.socket;
        let written = loop {
            match socket.poll_write_ready(context) {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {}
            }
            match write(socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => break Poll::Ready(result),
            }
        };
        self.0.note_write(&written);
        written
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let client = &*self.0;
        loop {
            ready!(client.socket.poll_read_ready(context))?;
            match client.socket.try_read(buffer.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(length) => {
                    buffer.advance(length);
                    if length > 0 && client.phase() == Phase::Idle {
                        client.enter(Phase::Head);
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(context, |socket| socket.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |socket| socket.try_write_vectored(buffers))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket that the other side has reset is shut already.
        let _ = socket2::SockRef::from(&self.0.socket).shutdown(std::net::Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    async fn pair() -> (Arc<Client>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(listener.accept(), TcpStream::connect(address));
        let (socket, peer) = near.unwrap();
        (Arc::new(Client::new(socket, peer)), far.unwrap())
    }

    #[tokio::test]
    async fn phases_follow_the_bytes() {
        let (client, mut far) = pair().await;
        assert_eq!(client.state().0, "idle");
        far.write_all(b"GET").await.unwrap();
        let mut bytes = [0; 3];
        Socket(Arc::clone(&client)).read_exact(&mut bytes).await.unwrap();
        assert_eq!((client.state().0, &bytes), ("head", b"GET"));
        assert!(client.idle_for().is_some());
        let served = client.served();
        assert_eq!(client.state().0, "served");
        assert_eq!(client.idle_for(), None);
        drop(served);
        assert_eq!(client.state().0, "idle");
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_overdue() {
        let (client, far) = pair().await;
        let _served = client.served();
        let limits = Limits {
            stalled: Duration::from_millis(30),
            ..Limits::default()
        };
        let mut socket = Socket(Arc::clone(&client));
        let flood = async {
            loop {
                socket.write_all(&[0; 65_536]).await.unwrap();
            }
        };
        tokio::select! {
            () = client.overdue(&limits) => {}
            () = flood => {}
        }
        assert_eq!(client.state().0, "unread");
        assert!(client.idle_for().unwrap() >= limits.stalled);
        drop(far);
    }

    #[tokio::test]
    async fn leaving_is_seen_behind_unread_requests() {
        let (client, mut far) = pair().await;
        far.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        drop(far);
        tokio::time::timeout(Duration::from_secs(20), client.gone())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_dismissed_client_is_overdue() {
        let (client, _far) = pair().await;
        client.dismiss();
        client.overdue(&Limits::default()).await;
    }
}
