//! Listening sockets and socket options.
//!
//! Contract: a port that somebody else has is an error that names the address, never shared by accident. `SO_REUSEPORT` is
//! set on sockets of this program alone, and only while one of them is opened.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use config::BindAddress;

use crate::Stream;
use crate::unix::{SocketFiles, UnixSocket};

/// Connections that the kernel keeps for us until they are accepted.
pub(crate) const BACKLOG: i32 = 4096;
/// How often a port is chosen anew when only one family has it free.
const PORT_TRIES: usize = 16;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sockets {
    /// Addresses, host names or `unix:/path`, separated by commas. Empty, `0.0.0.0`, `::` and `*` mean every address
    /// of both families; anything else is that one address.
    pub host: String,
    /// The port; 0 lets the system choose one, the same for both families.
    pub port: u16,
}

impl Sockets {
    /// The same without Unix sockets, for a protocol on a port of its own. Where nothing else is named this is the
    /// loopback address: who listens on a Unix socket alone wants no open port.
    #[must_use]
    pub fn without_unix(self) -> Self {
        let is_unix = |host: &str| host.trim_start().starts_with("unix:");
        if !self.host.split(',').any(is_unix) {
            return self;
        }
        let hosts: Vec<&str> = self
            .host
            .split(',')
            .filter(|host| !is_unix(host) && !host.trim().is_empty())
            .collect();
        let host = if hosts.is_empty() {
            Ipv4Addr::LOCALHOST.to_string()
        } else {
            hosts.join(",")
        };
        Self { host, ..self }
    }
}

/// Sockets that this program has open.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// For internet addresses.
    pub tcp: &'a [TcpListener],
    /// Unix sockets.
    pub unix: &'a [UnixListener],
    /// The files of the latter.
    pub files: &'a SocketFiles,
}

impl Held<'_> {
    fn tcp_at(&self, address: SocketAddr) -> Option<&TcpListener> {
        let is_it = |socket: &&TcpListener| socket.local_addr().is_ok_and(|own| own == address);
        self.tcp.iter().find(is_it)
    }

    /// Those that have the port on every address while one is wanted, or on one while every address is.
    fn tcp_around(&self, address: SocketAddr) -> Vec<&TcpListener> {
        let is_around = |own: SocketAddr| {
            own.port() == address.port()
                && own.is_ipv4() == address.is_ipv4()
                && own.ip().is_unspecified() != address.ip().is_unspecified()
        };
        self.tcp
            .iter()
            .filter(|socket| socket.local_addr().is_ok_and(is_around))
            .collect()
    }
}

/// Listening sockets that accept nothing yet: connections wait in the kernel.
#[derive(Debug)]
pub struct Listening {
    sockets: Vec<TcpListener>,
    unix: Vec<UnixSocket>,
    skipped: Vec<Skipped>,
}

/// An address family that cannot be served here; the other one is.
#[derive(Debug, thiserror::Error)]
#[error("Could not listen on {address}: {error} (skipping)")]
pub struct Skipped {
    /// What was tried.
    pub address: SocketAddr,
    /// Why it failed.
    pub error: io::Error,
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another program, or another instance of this one, has the port.
    #[error("{0} is already in use: stop the other program or choose another port")]
    InUse(SocketAddr),
    /// Another program, or another instance of this one, listens on the Unix socket.
    #[error("unix:{} is already in use: stop the other program or choose another path", .0.display())]
    SocketInUse(PathBuf),
    /// A configured address cannot be used.
    #[error("Could not listen on {address}: {error}")]
    Failed {
        /// What was tried.
        address: String,
        /// Why it failed.
        #[source]
        error: io::Error,
    },
    /// Neither family can be served.
    #[error("failed to bind on any address for port {0}")]
    NoneLeft(u16),
}

impl Listening {
    /// Opens the sockets.
    ///
    /// # Errors
    /// See [`BindError`]. That one of both families is missing is no error, see [`Listening::skipped`].
    pub fn bind(settings: &Sockets) -> Result<Self, BindError> {
        let none = Held {
            tcp: &[],
            unix: &[],
            files: &SocketFiles::default(),
        };
        Self::bind_beside(settings, &none)
    }

    /// The same while others of this program are open: those that are wanted again stay open in both.
    ///
    /// # Errors
    /// As for [`Listening::bind`].
    pub fn bind_beside(settings: &Sockets, held: &Held<'_>) -> Result<Self, BindError> {
        let (wanted, paths) = wanted(settings)?;
        let mut listening = Self::bind_ports(&wanted, settings.port, paths.is_empty(), held)?;
        for path in paths {
            listening.unix.push(match UnixSocket::again(&path, held) {
                Some(socket) => socket,
                None => UnixSocket::open(&path)?,
            });
        }
        Ok(listening)
    }

    fn bind_ports(wanted: &[Wanted], port: u16, required: bool, held: &Held<'_>) -> Result<Self, BindError> {
        for _ in 1..PORT_TRIES {
            match Self::open_all(wanted, port, required, held) {
                // The port that the system chose for the first address is not free for another: choose again.
                Err(BindError::InUse(_)) if port == 0 => {}
                result => return result,
            }
        }
        Self::open_all(wanted, port, required, held)
    }

    /// Takes over sockets that are listening already: from a service manager, or from a predecessor.
    ///
    /// # Errors
    /// They cannot be made non-blocking.
    pub fn adopt(sockets: Vec<TcpListener>) -> io::Result<Self> {
        for socket in &sockets {
            socket.set_nonblocking(true)?;
        }
        Ok(Self {
            sockets,
            unix: Vec::new(),
            skipped: Vec::new(),
        })
    }

    /// Takes over Unix sockets too. `owned` says whether their files are removed at the end: those of a predecessor
    /// are, those of a service manager are its own business.
    ///
    /// # Errors
    /// They cannot be made non-blocking, or the file of an owned one is gone.
    pub fn with_unix(mut self, sockets: Vec<UnixListener>, owned: bool) -> io::Result<Self> {
        for socket in sockets {
            self.unix.push(UnixSocket::adopt(socket, owned)?);
        }
        Ok(self)
    }

    /// Everything that is served, for people: `127.0.0.1:8000`, `unix:/path`.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let ports = self.local_addrs().into_iter().map(|address| address.to_string());
        ports.chain(self.unix.iter().map(UnixSocket::address)).collect()
    }

    /// The internet addresses that are served, with their real ports.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.sockets
            .iter()
            .filter_map(|socket| socket.local_addr().ok())
            .collect()
    }

    /// What could not be opened and is done without; worth a warning each.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Second handles of the sockets, for a successor.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn duplicates(&self) -> io::Result<Vec<TcpListener>> {
        self.sockets.iter().map(TcpListener::try_clone).collect()
    }

    /// The same of the Unix sockets.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn unix_duplicates(&self) -> io::Result<Vec<UnixListener>> {
        self.unix
            .iter()
            .map(|socket| socket.listener.try_clone())
            .collect()
    }

    /// The files of the Unix sockets. They are removed when [`crate::serve`] stops accepting, unless they are left to a
    /// successor before that.
    #[must_use]
    pub fn files(&self) -> SocketFiles {
        SocketFiles::of(&self.unix)
    }

    pub(crate) fn into_all(self) -> (Vec<TcpListener>, Vec<UnixSocket>) {
        (self.sockets, self.unix)
    }

    /// The sockets, for whoever accepts something else than HTTP on them. Unix sockets are closed: see
    /// [`Sockets::without_unix`].
    #[must_use]
    pub fn into_sockets(self) -> Vec<TcpListener> {
        self.sockets
    }

    fn open_all(
        wanted: &[Wanted],
        mut port: u16,
        required: bool,
        held: &Held<'_>,
    ) -> Result<Self, BindError> {
        let mut listening = Self {
            sockets: Vec::new(),
            unix: Vec::new(),
            skipped: Vec::new(),
        };
        for &Wanted { ip, named } in wanted {
            let address = SocketAddr::new(ip, port);
            let socket = match held.tcp_at(address) {
                Some(socket) => socket.try_clone(),
                None => open(address, &held.tcp_around(address)),
            };
            match socket.and_then(|socket| Ok((socket.local_addr()?.port(), socket))) {
                Ok((given, socket)) => {
                    port = given;
                    listening.sockets.push(socket);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(BindError::InUse(address));
                }
                Err(error) if named => {
                    return Err(BindError::Failed {
                        address: address.to_string(),
                        error,
                    });
                }
                Err(error) => listening.skipped.push(Skipped { address, error }),
            }
        }
        if required && listening.sockets.is_empty() {
            Err(BindError::NoneLeft(port))
        } else {
            Ok(listening)
        }
    }
}

/// An address to open.
#[derive(Debug)]
struct Wanted {
    ip: IpAddr,
    /// Without it the server is not what was configured.
    named: bool,
}

/// The internet addresses and the paths of Unix sockets.
fn wanted(settings: &Sockets) -> Result<(Vec<Wanted>, Vec<PathBuf>), BindError> {
    let failed = |address: String, error| BindError::Failed { address, error };
    let places = BindAddress::parse_list(&settings.host).map_err(|fix| {
        failed(
            settings.host.clone(),
            io::Error::new(io::ErrorKind::InvalidInput, fix),
        )
    })?;
    let everywhere = places.contains(&BindAddress::Everywhere);
    let (mut wanted, mut paths) = (Vec::new(), Vec::new());
    if everywhere {
        let both = [
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ];
        wanted.extend(both.map(|ip| Wanted { ip, named: false }));
    }
    for place in places {
        match place {
            BindAddress::Unix(path) => paths.push(path),
            BindAddress::Host(host) if !everywhere => {
                let ip =
                    resolve(&host).map_err(|error| failed(format!("{host}:{}", settings.port), error))?;
                wanted.push(Wanted { ip, named: true });
            }
            BindAddress::Host(_) | BindAddress::Everywhere => {}
        }
    }
    Ok((wanted, paths))
}

fn resolve(host: &str) -> io::Result<IpAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(ip);
    }
    let nothing = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    (host, 0)
        .to_socket_addrs()?
        .next()
        .map(|address| address.ip())
        .ok_or_else(nothing)
}

/// Opens a socket while others of this program have the same port on more addresses or on fewer. The kernel gives a
/// connection to the socket that is bound to its address, if there is one.
fn open(address: SocketAddr, around: &[&TcpListener]) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Else this socket would take IPv4 too, and the IPv4 socket could not be opened beside it.
        socket.set_only_v6(true)?;
    }
    // Connections of a former instance that linger in TIME_WAIT must not keep the port from us. On Windows the
    // option means something else: sharing the port with whoever listens already.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    let around: Vec<SockRef<'_>> = around.iter().copied().map(SockRef::from).collect();
    share(&socket, &around, true)?;
    let opened = socket.bind(&address.into()).and_then(|()| socket.listen(BACKLOG));
    share(&socket, &around, false)?;
    opened?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Lets a socket be opened beside others, or ends that. The kernel looks at the option of both when one is bound.
fn share(socket: &Socket, around: &[SockRef<'_>], may_share: bool) -> io::Result<()> {
    #[cfg(unix)]
    if !around.is_empty() {
        socket.set_reuse_port(may_share)?;
        for other in around {
            other.set_reuse_port(may_share)?;
        }
    }
    #[cfg(not(unix))]
    let _ = (socket, around, may_share);
    Ok(())
}

/// How many files the process may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// The limit at start; absent is no limit.
    pub before: Option<u64>,
    /// The limit now.
    pub now: Option<u64>,
}

/// Raises the limit of open files to the most that is allowed: each connection is one.
///
/// # Errors
/// The system refused; the old limit stands.
pub fn raise_open_files() -> io::Result<OpenFiles> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?;
    Ok(OpenFiles {
        before: current,
        now: getrlimit(Resource::Nofile).current,
    })
}

/// Makes writes and keep-alive probes to a dead peer fail after `after`, where the system can (`TCP_USER_TIMEOUT`).
/// For sources, 60 s.
///
/// # Errors
/// The option was refused; the connection works without it.
pub fn watch_peer(stream: &Stream, after: Duration) -> io::Result<()> {
    let Some(socket) = stream.tcp() else { return Ok(()) };
    #[cfg(target_os = "linux")]
    SockRef::from(socket).set_tcp_user_timeout(Some(after))?;
    #[cfg(not(target_os = "linux"))]
    let _ = (SockRef::from(socket), after);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(host: &str, port: u16) -> Result<Listening, BindError> {
        Listening::bind(&Sockets {
            host: host.to_owned(),
            port,
        })
    }

    #[test]
    fn every_address_is_both_families_on_one_port() {
        for host in ["", "0.0.0.0", "::", "127.0.0.1, ::"] {
            let listening = bind(host, 0).expect("a free port");
            let addresses = listening.local_addrs();
            assert_eq!(addresses.len() + listening.skipped().len(), 2, "{host}");
            assert!(addresses.iter().all(|address| address.ip().is_unspecified()));
            assert!(
                addresses
                    .iter()
                    .all(|address| address.port() == addresses[0].port() && address.port() != 0)
            );
            // IPv4 and IPv6 are apart: each is reached by its own socket.
            assert!(addresses.iter().filter(|address| address.is_ipv4()).count() <= 1);
        }
    }

    #[test]
    fn a_single_address_is_that_one() {
        for (host, ip) in [("127.0.0.1", "127.0.0.1"), (" 127.0.0.1 ", "127.0.0.1")] {
            let addresses = bind(host, 0).expect("a free port").local_addrs();
            assert_eq!(addresses.len(), 1);
            assert_eq!(addresses[0].ip().to_string(), ip);
        }
    }

    #[test]
    fn lists_share_a_port() {
        let listening = bind("127.0.0.1, 127.0.0.2,", 0).expect("a free port");
        let addresses = listening.local_addrs();
        assert_eq!(addresses.len(), 2);
        assert_eq!(addresses[0].port(), addresses[1].port());
    }

    #[test]
    fn a_busy_port_is_an_error_that_names_the_address() {
        let first = bind("127.0.0.1", 0).expect("a free port");
        let port = first.local_addrs()[0].port();
        let error = bind("127.0.0.1", port).expect_err("the port is taken");
        assert!(matches!(error, BindError::InUse(address) if address.port() == port));
        assert!(
            error
                .to_string()
                .starts_with(&format!("127.0.0.1:{port} is already in use")),
            "{error}"
        );
        let error = bind("0.0.0.0", port).expect_err("the port is taken");
        assert!(
            matches!(error, BindError::InUse(address) if address.port() == port),
            "{error}"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn one_address_and_all_of_them_follow_each_other_on_one_port() {
        use std::net::TcpStream;
        for (first, then, other) in [
            ("127.0.0.1", "0.0.0.0", "127.0.0.2"),
            ("0.0.0.0", "127.0.0.1", "127.0.0.1"),
        ] {
            let old = bind(first, 0).expect("a free port");
            let port = old.local_addrs()[0].port();
            let (tcp, files) = (old.duplicates().expect("descriptors"), old.files());
            let held = Held {
                tcp: &tcp,
                unix: &[],
                files: &files,
            };
            let wanted = Sockets {
                host: then.to_owned(),
                port,
            };
            let new = Listening::bind_beside(&wanted, &held).expect("both are ours");
            // Nobody else gets in.
            for host in [first, then] {
                assert!(matches!(bind(host, port), Err(BindError::InUse(_))), "{host}");
            }
            TcpStream::connect(("127.0.0.1", port)).expect("one of them has it");
            drop((old, tcp));
            TcpStream::connect((other, port)).expect("the new one has it");
            let (sockets, _) = new.into_all();
            assert!(
                sockets.iter().any(|socket| socket.accept().is_ok()),
                "{first} to {then}"
            );
        }
    }

    #[test]
    fn an_address_that_is_not_ours_is_an_error() {
        let error = bind("192.0.2.1", 0).expect_err("a documentation address");
        assert!(
            matches!(&error, BindError::Failed { address, .. } if address == "192.0.2.1:0"),
            "{error}"
        );
        assert!(matches!(bind("no such host!", 0), Err(BindError::Failed { .. })));
    }

    #[test]
    fn protocols_with_a_port_of_their_own_do_without_unix_sockets() {
        for (host, expected) in [
            ("0.0.0.0", "0.0.0.0"),
            ("", ""),
            ("127.0.0.1,unix:/x", "127.0.0.1"),
            (" unix:/x , ::1", " ::1"),
            ("unix:/x", "127.0.0.1"),
            ("unix:/x,", "127.0.0.1"),
        ] {
            let sockets = Sockets {
                host: host.to_owned(),
                port: 8001,
            };
            assert_eq!(sockets.without_unix().host, expected, "{host}");
        }
    }

    #[test]
    fn ports_and_unix_sockets_listen_together() {
        let path = std::env::temp_dir().join(format!("front-together-{}.sock", std::process::id()));
        let unix = format!("unix:{}", path.display());
        let both = bind(&format!("127.0.0.1, {unix}"), 0).expect("a free port and path");
        let port = both.local_addrs()[0].port();
        assert_eq!(both.addresses(), [format!("127.0.0.1:{port}"), unix.clone()]);
        assert_eq!(both.unix_duplicates().expect("a descriptor").len(), 1);
        drop(both);
        let alone = bind(&unix, 0).expect("the path is free again");
        assert_eq!(alone.addresses(), [unix]);
        assert!(alone.local_addrs().is_empty());
        assert!(matches!(bind("unix:relative", 0), Err(BindError::Failed { .. })));
    }

    #[test]
    fn sockets_can_be_handed_over() {
        let first = bind("127.0.0.1", 0).expect("a free port");
        let second = Listening::adopt(first.duplicates().expect("a descriptor")).expect("a socket");
        assert_eq!(first.local_addrs(), second.local_addrs());
    }

    #[test]
    fn open_files_are_raised_to_the_hard_limit() {
        let files = raise_open_files().expect("allowed");
        assert_eq!(files.now, getrlimit(Resource::Nofile).maximum);
        assert!(files.before.is_none() || files.now.is_none() || files.before <= files.now);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_dead_peer_is_given_up_after_the_time() {
        let listening = bind("127.0.0.1", 0).expect("a free port");
        let socket = tokio::net::TcpStream::connect(listening.local_addrs()[0])
            .await
            .expect("the backlog has room");
        let stream = Stream::from(socket);
        watch_peer(&stream, Duration::from_secs(60)).expect("supported");
        let socket = SockRef::from(stream.tcp().expect("a bare socket"));
        assert_eq!(
            socket.tcp_user_timeout().expect("supported"),
            Some(Duration::from_secs(60))
        );
        let (pipe, _other) = tokio::io::duplex(1);
        watch_peer(&Stream::erased(pipe), Duration::from_secs(60)).expect("nothing to do");
    }
}
