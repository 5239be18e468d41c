//! Replacing the program while it runs: a successor inherits the listening sockets, then this process drains.
//!
//! Contract: nothing here changes for anybody until the successor has said that it is ready. If it does not, it
//! is ended and everything stays as it was.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpListener,
    os::fd::OwnedFd,
    process::{Child, Command},
    time::Duration,
};

use command_fds::{CommandFdExt as _, FdMapping};

/// How long a successor may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long sources and listeners stay with the old process, unless the caller says otherwise.
pub(crate) const DRAIN: Duration = Duration::from_secs(30);

/// The first descriptor that is passed on, as systemd's protocol has it.
const FIRST: i32 = 3;

/// Tells a successor by which descriptor to report.
const READY: &str = "TINYICE_READY_FD";

/// Tells a successor how many of the sockets, at the end, are for Shoutcast sources.
const SHOUTCAST: &str = "TINYICE_SHOUTCAST_SOCKETS";

observe::event! {
    /// The operator wants another program in our place.
    pub(crate) struct Swapping {}
    = Info "hot_swap_begun": "Hot swap: starting the successor"

    /// It serves.
    pub(crate) struct Swapped { pid: u32, drain: Duration }
    = Info "hot_swap_done": "Hot swap: the successor is ready, draining"

    /// It does not.
    pub(crate) struct SwapFailed<'a> { error: &'a str }
    = Error "hot_swap_failed": "Hot swap failed, going on as before: {error}"
}

/// Why there is no hot swap here.
pub(crate) fn obstacle() -> Option<&'static str> {
    (std::process::id() == 1).then_some("the server is process 1, whose end ends the container")
}

/// Starts the successor and waits until it is ready. Gives its process id. Blocks.
///
/// # Errors
/// It could not be started, ended early or was not ready in time; it is gone then.
pub(crate) fn start(http: Vec<OwnedFd>, shoutcast: Vec<TcpListener>) -> io::Result<u32> {
    let sockets = http.len() + shoutcast.len();
    let of_shoutcast = shoutcast.len();
    let (mut ready, report) = io::pipe()?;
    let passed = http
        .into_iter()
        .chain(shoutcast.into_iter().map(OwnedFd::from))
        .chain([OwnedFd::from(report)]);
    let mappings = passed
        .zip(FIRST..)
        .map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd })
        .collect();
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(std::env::args_os().skip(1))
        .env("LISTEN_FDS", sockets.to_string())
        .env("LISTEN_FDS_FIRST_FD", FIRST.to_string())
        // It is not known before the start, and the protocol lets it be absent.
        .env_remove("LISTEN_PID")
        .env(READY, (FIRST + i32::try_from(sockets).unwrap_or(0)).to_string())
        .env(SHOUTCAST, of_shoutcast.to_string());
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    let mut child = command.spawn()?;
    // Our own end of the pipe must close, or the child's death would go unnoticed.
    drop(command);
    let (told, heard) = std::sync::mpsc::channel();
    let listener = observe::thread::spawn("hot-swap-ready", move || {
        let mut word = [0; 1];
        // Nobody waits any more when the time is over.
        let _ = told.send(ready.read(&mut word).is_ok_and(|read| read == 1));
    })?;
    let is_ready = heard.recv_timeout(PATIENCE);
    if is_ready == Ok(true) {
        let pid = child.id();
        reap(child)?;
        return Ok(pid);
    }
    // It may have ended by itself.
    let _ = child.kill();
    let status = child.wait()?;
    let _ = listener.join();
    Err(io::Error::other(match is_ready {
        Ok(_) => format!("the successor ended early ({status}); its log says why"),
        Err(_) => format!("the successor was not ready within {} s", PATIENCE.as_secs()),
    }))
}

/// The successor outlives us as a rule; if it does not, it must not stay behind as a zombie.
fn reap(mut child: Child) -> io::Result<()> {
    observe::thread::spawn("hot-swap-reaper", move || drop(child.wait()))?;
    Ok(())
}

/// Whether this process takes over from another.
pub(crate) fn is_successor() -> bool {
    std::env::var_os(READY).is_some()
}

/// How many of the inherited sockets, at the end, are for Shoutcast sources.
pub(crate) fn shoutcast_sockets() -> usize {
    std::env::var(SHOUTCAST)
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(0)
}

/// Tells the predecessor that it may go.
///
/// # Errors
/// The predecessor is gone already.
pub(crate) fn report_ready() -> io::Result<()> {
    let Ok(fd) = std::env::var(READY) else {
        return Ok(());
    };
    let mut report = std::fs::OpenOptions::new()
        .write(true)
        .open(format!("/dev/fd/{fd}"))?;
    report.write_all(b"r")
}
