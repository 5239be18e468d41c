//! Accepting connections, and ending them all in good order.
//!
//! Contract: nothing but a shutdown ends accepting; whoever is not admitted costs no more than the accept.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use observe::span::Span;
use observe::{Mutex, Value};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::connection::{Closing, Ends, Phase, converse};
use crate::limits::Limits;
use crate::metrics::{ACCEPT_ERRORS, REJECTED, Rejection};
use crate::unix::SocketFile;
use crate::{Exchange, Listening, Outcome, Request, Stream};

/// A handler at work.
pub type Handling<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// Decides who may connect, and answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Whether the peer may connect; asked at the accept, before a byte is read.
    fn admit(&self, peer: IpAddr) -> bool {
        let _ = peer;
        true
    }

    /// How many connections the peer may have at a time; 0 is any number. IPv6 peers are counted by /64.
    fn connection_limit(&self, peer: IpAddr) -> u32 {
        let _ = peer;
        0
    }

    /// Whether the address is a trusted proxy, whose forwarding headers count.
    fn trusts(&self, peer: IpAddr) -> bool {
        let _ = peer;
        false
    }

    /// Answers a request or takes its connection over. A panic ends this connection alone. After the grace time of a
    /// shutdown the future is dropped, so whoever works on a connection for long watches [`Exchange::closing`] or
    /// works elsewhere.
    fn handle<'a>(&'a self, request: Request, exchange: Exchange) -> Handling<'a>;
}

observe::event! {
    /// Accepting failed; it goes on after a pause.
    struct AcceptFailed<'a> { address: &'a str, error: io::Error }
    = Warn "front_accept_failed": "Could not accept a connection"

    /// A peer has as many connections as it may have.
    struct TooManyConnections { ip: IpAddr, limit: u32 }
    = Warn "front_too_many_connections": "Refused a connection: too many from one address"
}

/// Lines about the same kind of trouble at the door come at most this often.
const LOG_EVERY: Duration = Duration::from_secs(1);
/// How long accepting pauses when the process or the system is out of something.
const PAUSE: Duration = Duration::from_millis(100);
/// Both ends of a connection by a Unix socket: a client on this machine, or the proxy that speaks for others.
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 80);
/// When a silent peer is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Accepts and serves until `shutdown` is ready, then lets running requests end. `shutdown` says how long they
/// may take; sockets that were merely replaced by others give theirs all the time they want.
///
/// # Errors
/// The sockets cannot be used from this runtime. Later trouble is logged and survived.
pub async fn serve(
    listening: Listening,
    handler: Arc<dyn Handler>,
    limits: Limits,
    shutdown: impl Future<Output = Duration> + Send,
) -> io::Result<()> {
    let (phase, closing) = Closing::new();
    let (running, mut finished) = mpsc::channel::<Infallible>(1);
    let door = Arc::new(Door {
        handler,
        limits: Arc::new(limits),
        census: Arc::new(Census(Mutex::new("front-census", HashMap::new()))),
        closing,
        running,
    });
    let (ports, unix) = listening.into_all();
    let mut entrances = Vec::new();
    for socket in ports {
        let address = socket.local_addr()?;
        entrances.push((
            address.to_string(),
            Entrance::Port(TcpListener::from_std(socket)?),
        ));
    }
    for socket in unix {
        let address = socket.address();
        let listener = UnixListener::from_std(socket.listener)?;
        entrances.push((address, Entrance::Unix(listener, socket.file)));
    }
    for (address, entrance) in entrances {
        let door = Arc::clone(&door);
        observe::task::spawn("front-accept", &address.clone(), async move {
            accept(&door, entrance, &address).await
        })
        .detach();
    }
    drop(door);

    let grace = shutdown.await;
    phase.send_replace(Phase::Draining);
    // Nothing is ever sent: the channel closes when the last accept loop and connection have dropped their end.
    if timeout(grace, finished.recv()).await.is_err() {
        phase.send_replace(Phase::Ended);
        finished.recv().await;
    }
    Ok(())
}

/// What the accept loops share.
struct Door {
    handler: Arc<dyn Handler>,
    limits: Arc<Limits>,
    census: Arc<Census>,
    closing: Closing,
    /// Proof that an accept loop or connection still runs.
    running: mpsc::Sender<Infallible>,
}

/// A socket on which connections arrive.
enum Entrance {
    Port(TcpListener),
    /// With its file, which goes when nobody accepts any more.
    Unix(
        UnixListener,
        #[expect(dead_code, reason = "it is only held")] Option<Arc<SocketFile>>,
    ),
}

impl Entrance {
    /// The next connection and who is at its other end.
    async fn next(&self) -> io::Result<(Stream, IpAddr)> {
        match self {
            Self::Port(socket) => {
                let (stream, peer) = socket.accept().await?;
                Ok((stream.into(), peer.ip().to_canonical()))
            }
            Self::Unix(socket, _) => Ok((socket.accept().await?.0.into(), LOCAL.ip())),
        }
    }
}

async fn accept(door: &Door, entrance: Entrance, address: &str) {
    let mut closing = door.closing.clone();
    loop {
        let accepted = tokio::select! {
            accepted = entrance.next() => accepted,
            () = closing.reached(Phase::Draining) => return,
        };
        match accepted {
            Ok((stream, peer)) => admit(door, stream, peer),
            // The client gave up between the kernel's accept and ours.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                ACCEPT_ERRORS.inc();
                observe::emit_limited(LOG_EVERY, AcceptFailed { address, error });
                sleep(PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

fn admit(door: &Door, stream: Stream, ip: IpAddr) {
    if !door.handler.admit(ip) {
        REJECTED.of(Rejection::Banned).inc();
        return;
    }
    let limit = door.handler.connection_limit(ip);
    let Some(seat) = Census::seat(&door.census, ip, limit) else {
        REJECTED.of(Rejection::Full).inc();
        observe::emit_limited(LOG_EVERY, TooManyConnections { ip, limit });
        return;
    };
    // An address is unknown only when the client has already gone.
    let Some(ends) = ends(&stream) else { return };
    let (handler, limits) = (Arc::clone(&door.handler), Arc::clone(&door.limits));
    let (closing, running) = (door.closing.clone(), door.running.clone());
    // Boxed, so that the layers around a task do not each reserve its size: most connections wait most of their time.
    let connection = Box::pin(converse(stream, ends, handler, limits, closing));
    // Its id is on every line that this connection causes.
    let span = Span::start("connection", [("ip", Value::text(&ip.to_string()))]);
    observe::task::spawn_in(&span, "connection", ip.to_string(), async move {
        let _held = (seat, running);
        connection.await;
    })
    .detach();
}

/// Both ends of a connection, whose socket gets its options.
fn ends(stream: &Stream) -> Option<Ends> {
    let Some(socket) = stream.tcp() else {
        return Some(Ends {
            peer: LOCAL,
            local: LOCAL,
            secure: false,
        });
    };
    let (peer, local) = (socket.peer_addr().ok()?, socket.local_addr().ok()?);
    // Both options are matters of comfort; a socket without them works.
    let _ = socket.set_nodelay(true);
    let _ = SockRef::from(socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE));
    Some(Ends {
        peer,
        local,
        secure: false,
    })
}

/// How many connections each address has, as far as it is limited.
struct Census(Mutex<HashMap<IpAddr, u32>>);

/// One counted connection; an address that is not limited is not counted.
struct Seat(Option<(Arc<Census>, IpAddr)>);

impl Census {
    fn seat(census: &Arc<Self>, ip: IpAddr, limit: u32) -> Option<Seat> {
        if limit == 0 {
            return Some(Seat(None));
        }
        let household = household(ip);
        let mut counts = census.0.lock();
        let count = counts.entry(household).or_insert(0);
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Seat(Some((Arc::clone(census), household))))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some((census, household)) = &self.0 else {
            return;
        };
        let mut counts = census.0.lock();
        if let Some(count) = counts.get_mut(household) {
            *count -= 1;
            if *count == 0 {
                counts.remove(household);
            }
        }
    }
}

/// By what clients are counted: one client has a whole /64 of IPv6 addresses.
#[must_use]
pub fn household(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_counted_by_household() {
        for (ip, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            assert_eq!(household(ip.parse().expect("an address")).to_string(), expected);
        }
    }

    #[test]
    fn seats_are_given_back() {
        let census = Arc::new(Census(Mutex::new("test-census", HashMap::new())));
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let first = Census::seat(&census, ip("2001:db8::1"), 2);
        let second = Census::seat(&census, ip("2001:db8::2"), 2);
        assert!(first.is_some() && second.is_some());
        assert!(Census::seat(&census, ip("2001:db8::3"), 2).is_none());
        assert!(Census::seat(&census, ip("2001:db8:0:1::3"), 2).is_some());
        assert!(Census::seat(&census, ip("2001:db8::3"), 0).is_some());
        drop(first);
        let third = Census::seat(&census, ip("2001:db8::3"), 2);
        assert!(third.is_some());
        drop((second, third));
        assert!(census.0.lock().is_empty(), "nothing is kept of those who left");
    }

    #[test]
    fn only_trouble_of_our_own_pauses_accepting() {
        use io::ErrorKind::ConnectionAborted;
        assert!(is_of_one_connection(&ConnectionAborted.into()));
        // EMFILE and ENFILE.
        for code in [24, 23] {
            assert!(!is_of_one_connection(&io::Error::from_raw_os_error(code)));
        }
    }
}
