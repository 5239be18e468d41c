//! Connects to the first of several addresses that answers (RFC 8305 in its simple form).
//!
//! Contract: only the addresses given are dialled; what loses the race is closed.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::sleep;

/// How long one address may be silent before the next is tried beside it (RFC 8305 section 8).
const HEAD_START: Duration = Duration::from_millis(250);

/// Most addresses that are tried; a name with more gains nothing from the rest.
const MOST: usize = 8;

/// The order to try addresses in: as given, but with the two families taking turns, so that a network
/// whose IPv6 leads nowhere costs one head start only (RFC 8305 section 4).
pub(crate) fn order(addrs: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let first_is_v6 = addrs.first().is_some_and(SocketAddr::is_ipv6);
    let mut first = addrs.iter().filter(|addr| addr.is_ipv6() == first_is_v6);
    let mut second = addrs.iter().filter(|addr| addr.is_ipv6() != first_is_v6);
    let mut ordered = VecDeque::new();
    while ordered.len() < MOST {
        let before = ordered.len();
        ordered.extend(first.next());
        ordered.extend(second.next());
        if ordered.len() == before {
            break;
        }
    }
    ordered
}

/// Dials `addrs` in turn, each with a head start before the next, and gives the first connection. The
/// error is that of the address that tells most.
pub(crate) async fn race<T, F, Fut>(
    mut addrs: VecDeque<SocketAddr>,
    dial: F,
) -> Result<(T, SocketAddr), (io::Error, SocketAddr)>
where
    F: Fn(SocketAddr) -> Fut,
    Fut: Future<Output = io::Result<T>>,
{
    let mut dialling: Vec<Dial<Fut>> = Vec::new();
    let mut telling: Option<(io::Error, SocketAddr)> = None;
    loop {
        match addrs.pop_front() {
            Some(addr) => dialling.push((addr, Box::pin(dial(addr)))),
            None if dialling.is_empty() => {
                let nothing = || {
                    (
                        io::ErrorKind::AddrNotAvailable.into(),
                        SocketAddr::from(([0; 4], 0)),
                    )
                };
                return Err(telling.unwrap_or_else(nothing));
            }
            None => {}
        }
        tokio::select! {
            biased;
            (addr, outcome) = poll_fn(|cx| poll_any(&mut dialling, cx)) => match outcome {
                Ok(connection) => return Ok((connection, addr)),
                Err(error) if telling.as_ref().is_none_or(|(known, _)| is_unreachable(known)) => {
                    telling = Some((error, addr));
                }
                Err(_) => {}
            },
            () = sleep(HEAD_START), if !addrs.is_empty() => {}
        }
    }
}

type Dial<Fut> = (SocketAddr, Pin<Box<Fut>>);

fn poll_any<T, Fut>(dialling: &mut Vec<Dial<Fut>>, cx: &mut Context<'_>) -> Poll<(SocketAddr, io::Result<T>)>
where
    Fut: Future<Output = io::Result<T>>,
{
    for i in 0..dialling.len() {
        if let Poll::Ready(outcome) = dialling[i].1.as_mut().poll(cx) {
            let (addr, _) = dialling.swap_remove(i);
            return Poll::Ready((addr, outcome));
        }
    }
    Poll::Pending
}

/// A machine without IPv6 says this of every IPv6 address; the other family's error is the real news.
fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable
    )
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::Instant;

    use super::*;

    fn addrs(hosts: &[&str]) -> Vec<SocketAddr> {
        hosts
            .iter()
            .map(|host| SocketAddr::new(host.parse().unwrap(), 80))
            .collect()
    }

    #[test]
    fn families_take_turns() {
        for (given, expected) in [
            (&[][..], &[][..]),
            (
                &["::1", "::2", "1.0.0.1", "1.0.0.2"],
                &["::1", "1.0.0.1", "::2", "1.0.0.2"],
            ),
            (&["1.0.0.1", "1.0.0.2", "::1"], &["1.0.0.1", "::1", "1.0.0.2"]),
        ] {
            assert_eq!(order(&addrs(given)), addrs(expected));
        }
        assert_eq!(order(&vec![addrs(&["::1"])[0]; 100]).len(), MOST);
    }

    /// Each address behaves as its last number says: 1 connects at once, 2 after 400 ms, 3 refuses at
    /// once, 4 is unreachable, 5 never answers. Yields outcome and the times of the dials.
    async fn dialled(hosts: &[&str]) -> (String, Vec<(SocketAddr, u128)>) {
        let start = Instant::now();
        let log = RefCell::new(Vec::new());
        let outcome = race(addrs(hosts).into(), |addr| {
            log.borrow_mut().push((addr, start.elapsed().as_millis()));
            async move {
                let SocketAddr::V4(v4) = addr else {
                    panic!("IPv4 only")
                };
                match v4.ip().octets()[3] {
                    1 => Ok(()),
                    2 => {
                        sleep(Duration::from_millis(400)).await;
                        Ok(())
                    }
                    3 => Err(io::ErrorKind::ConnectionRefused.into()),
                    4 => Err(io::ErrorKind::NetworkUnreachable.into()),
                    _ => std::future::pending().await,
                }
            }
        })
        .await;
        let outcome = match outcome {
            Ok(((), addr)) => format!("{addr} at {}", start.elapsed().as_millis()),
            Err((error, addr)) => format!("{:?} {addr}", error.kind()),
        };
        (outcome, log.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_address_is_tried_on_failure_or_silence() {
        for (hosts, outcome, times) in [
            (&["1.0.0.1", "2.0.0.1"][..], "1.0.0.1:80 at 0", &[0][..]),
            (&["1.0.0.3", "2.0.0.1"], "2.0.0.1:80 at 0", &[0, 0]),
            (
                &["1.0.0.5", "2.0.0.5", "3.0.0.1"],
                "3.0.0.1:80 at 500",
                &[0, 250, 500],
            ),
            (&["1.0.0.2", "2.0.0.5"], "1.0.0.2:80 at 400", &[0, 250]),
            (&["1.0.0.2", "2.0.0.3"], "1.0.0.2:80 at 400", &[0, 250]),
            (
                &["1.0.0.4", "2.0.0.3", "3.0.0.4"],
                "ConnectionRefused 2.0.0.3:80",
                &[0, 0, 0],
            ),
            (&["1.0.0.3", "2.0.0.4"], "ConnectionRefused 1.0.0.3:80", &[0, 0]),
            (&[], "AddrNotAvailable 0.0.0.0:0", &[]),
        ] {
            let (told, log) = dialled(hosts).await;
            assert_eq!(told, outcome, "{hosts:?}");
            assert_eq!(
                log.iter().map(|(_, at)| *at).collect::<Vec<_>>(),
                times,
                "{hosts:?}"
            );
        }
    }
}
