//! An address of the port: opening it, trying again while somebody else has it, and taking connections.
//!
//! Contract: an address that cannot be opened is an event and a later attempt, never an end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::context::Context;
use crate::events::{AcceptFailed, ConnectionRefused, PortAbsent, PortBusy, PortExposed, PortOpened};

/// Connections that the system keeps until they are taken.
const BACKLOG: i32 = 128;
/// How soon an address is tried again, for so long; a hot swap is over by then.
const SOON: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How soon after that.
const LATER: Duration = Duration::from_secs(10);

const TURNED_AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 47\r\nRetry-After: 1\r\nConnection: close\r\n\r\nall connections of this port are in use: retry\n";

/// An open address.
#[derive(Debug)]
pub(crate) struct Door {
    listener: TcpListener,
    address: SocketAddr,
    context: Arc<Context>,
}

impl Door {
    /// Opens an address and lists it. Only this process answers there: two that share an address would take turns at
    /// random, and a profile of one would be taken for that of the other.
    pub(crate) fn open(context: &Arc<Context>, address: SocketAddr) -> io::Result<Door> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        context.bound.lock().push(address);
        Ok(Door {
            listener,
            address,
            context: Arc::clone(context),
        })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.context.bound.lock().retain(|bound| *bound != self.address);
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a predecessor that are still winding down do not hold the address.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` next to `0.0.0.0` is no conflict, whatever the system's default is.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves an address for ever, whether it could be opened at first or not.
pub(crate) async fn serve(context: Arc<Context>, address: SocketAddr, first: io::Result<Door>) {
    let door = match first {
        Ok(door) => door,
        Err(error) => reopen(&context, address, &error).await,
    };
    observe::emit(PortOpened {
        address: door.address,
    });
    if !door.address.ip().to_canonical().is_loopback() {
        observe::emit(PortExposed {
            address: door.address,
        });
    }
    accept(&door).await;
}

/// Tries until the address is free.
async fn reopen(context: &Arc<Context>, address: SocketAddr, error: &io::Error) -> Door {
    let text = error.to_string();
    let missing = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].map(|errno| Some(errno.raw_os_error()));
    if address.ip().is_loopback() && missing.contains(&error.raw_os_error()) {
        // A machine or container without IPv6 has no `::1`: nothing that somebody would have to look after.
        observe::emit(PortAbsent {
            address,
            error: &text,
        });
    } else {
        observe::emit(PortBusy {
            address,
            error: &text,
        });
    }
    let begun = Instant::now();
    loop {
        let (soon, until) = SOON;
        sleep(if begun.elapsed() < until { soon } else { LATER }).await;
        if let Ok(door) = Door::open(context, address) {
            return door;
        }
    }
}

async fn accept(door: &Door) {
    let Door {
        listener,
        address,
        context,
    } = door;
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                // Small answers go out at once.
                let _ = socket.set_nodelay(true);
                admit(context, Arc::new(Client::new(socket, peer)));
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                let text = error.to_string();
                observe::emit_limited(
                    Duration::from_secs(10),
                    AcceptFailed {
                        address: *address,
                        error: &text,
                    },
                );
                if !(is_out_of_files(&error) && context.spare.give_up_some()) {
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

fn admit(context: &Arc<Context>, client: Arc<Client>) {
    let peer = client.peer();
    let context = Arc::clone(context);
    if context.clients.admit(&client) {
        observe::task::spawn("diagnostics-connection", peer.to_string(), async move {
            crate::serve::connection(&context, &client).await;
            context.clients.remove(&client);
            drop(client);
            context.spare.restock();
        })
        .detach();
        return;
    }
    let connections = context.clients.count();
    observe::emit_limited(Duration::from_secs(10), ConnectionRefused { peer, connections });
    // Beyond this many the connection is just closed.
    let Ok(place) = Arc::clone(&context.turned_away).try_acquire_owned() else {
        return;
    };
    observe::task::spawn("diagnostics-refusal", peer.to_string(), async move {
        client.turn_away(TURNED_AWAY).await;
        drop(place);
    })
    .detach();
}

/// Whether the connection ended before it was taken, which says nothing about the listener.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn is_out_of_files(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].contains(&Errno::from_io_error(error).unwrap_or(Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_a_whole_response() {
        let text = std::str::from_utf8(TURNED_AWAY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
    }

    #[tokio::test]
    async fn an_address_is_opened_once() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        assert_eq!(listen(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert_eq!(listen(address).unwrap().local_addr().unwrap(), address);
    }
}
