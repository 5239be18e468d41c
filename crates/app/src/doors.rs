//! The sockets that requests come in by, and their replacement while the server runs.
//!
//! Contract: new sockets are open before old ones close, and connections outlive the socket they came by.

use std::{
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixListener},
    sync::Arc,
    time::Duration,
};

use config::Config;
use front::{BindError, Handler, Held, Limits, Listening, SocketFiles, Sockets};
use observe::task::{self, TaskHandle};
use tokio::sync::oneshot;

use crate::{hot_swap, shoutcast};

observe::event! {
    /// The sockets are open.
    struct Listens<'a> { addresses: &'a str }
    = Info "listening": "Starting TinyIce on {addresses} (HTTP)"

    /// One address family is not there.
    struct SkippedAddress<'a> { error: &'a str }
    = Warn "address_skipped": "{error}"

    /// The old sockets stay.
    struct NotReplaced<'a> { error: &'a str }
    = Error "listening_unchanged": "Still listening where it was: {error}"
}

/// All sockets for HTTP.
pub(crate) struct Doors {
    handler: Arc<dyn Handler>,
    sockets: Sockets,
    /// Second handles, for a successor.
    handles: Handles,
    /// The files of Unix sockets, which a successor keeps.
    files: SocketFiles,
    stop: oneshot::Sender<Duration>,
    serving: TaskHandle<std::io::Result<()>>,
}

/// Where the configuration wants to listen.
pub(crate) fn wanted(config: &Config) -> Sockets {
    Sockets {
        host: config.bind_host.clone(),
        port: config.port,
    }
}

/// The sockets of the start: those that a service manager or a predecessor opened for us, else our own. The
/// second part is for Shoutcast sources.
pub(crate) fn first(sockets: &Sockets, config: &Config) -> Result<(Listening, Option<Listening>), BindError> {
    let mut inherited = listenfd::ListenFd::from_env();
    let (mut given, mut unix) = (Vec::new(), Vec::new());
    for n in 0..inherited.len() {
        if let Ok(Some(socket)) = inherited.take_tcp_listener(n) {
            given.push(socket);
        } else if let Ok(Some(socket)) = inherited.take_unix_listener(n) {
            unix.push(socket);
        }
    }
    let of_shoutcast = given.split_off(given.len().saturating_sub(hot_swap::shoutcast_sockets()));
    let http = match adopt(given, unix) {
        Some(listening) => listening,
        None => opened(Listening::bind(sockets)?),
    };
    let shoutcast = match adopt(of_shoutcast, Vec::new()) {
        Some(listening) => Some(listening),
        None => shoutcast::bind(config)?,
    };
    Ok((http, shoutcast))
}

fn adopt(given: Vec<TcpListener>, unix: Vec<UnixListener>) -> Option<Listening> {
    if given.is_empty() && unix.is_empty() {
        return None;
    }
    // The file of a socket that a service manager opened is the manager's.
    let owned = hot_swap::is_successor();
    match Listening::adopt(given).and_then(|listening| listening.with_unix(unix, owned)) {
        Ok(listening) => {
            announce(&listening);
            Some(listening)
        }
        Err(error) => {
            observe::emit(SkippedAddress {
                error: &format!("cannot use the sockets given: {error}"),
            });
            None
        }
    }
}

/// Says what is open now.
fn opened(listening: Listening) -> Listening {
    for skipped in listening.skipped() {
        observe::emit(SkippedAddress {
            error: &skipped.to_string(),
        });
    }
    announce(&listening);
    listening
}

fn announce(listening: &Listening) {
    observe::emit(Listens {
        addresses: &listening.addresses().join(" and "),
    });
}

impl Doors {
    /// Begins to accept.
    pub(crate) fn open(listening: Listening, sockets: Sockets, handler: Arc<dyn Handler>) -> Self {
        let (handles, files) = (Handles::of(&listening), listening.files());
        let (stop, serving) = accept(listening, Arc::clone(&handler));
        Self {
            handler,
            sockets,
            handles,
            files,
            stop,
            serving,
        }
    }

    /// Moves to where the configuration wants to listen now, if that has changed. When that is not possible the
    /// old sockets stay.
    pub(crate) fn follow(&mut self, config: &Config) {
        let sockets = wanted(config);
        if sockets == self.sockets {
            return;
        }
        let held = Held {
            tcp: &self.handles.tcp,
            unix: &self.handles.unix,
            files: &self.files,
        };
        let listening = match Listening::bind_beside(&sockets, &held) {
            Ok(listening) => opened(listening),
            Err(error) => {
                return observe::emit(NotReplaced {
                    error: &error.to_string(),
                });
            }
        };
        self.handles = Handles::of(&listening);
        self.files = listening.files();
        let (stop, serving) = accept(listening, Arc::clone(&self.handler));
        let old = std::mem::replace(&mut self.stop, stop);
        // Sources that came by the old sockets go on for as long as they like.
        let _ = old.send(Duration::MAX);
        std::mem::replace(&mut self.serving, serving).detach();
        self.sockets = sockets;
    }

    /// The sockets, for a successor.
    pub(crate) fn handles(&self) -> std::io::Result<Vec<OwnedFd>> {
        let tcp = self
            .handles
            .tcp
            .iter()
            .map(|socket| socket.try_clone().map(OwnedFd::from));
        let unix = self
            .handles
            .unix
            .iter()
            .map(|socket| socket.try_clone().map(OwnedFd::from));
        tcp.chain(unix).collect()
    }

    /// Leaves accepting to a successor; connections that are here stay.
    pub(crate) fn leave(self) {
        self.files.leave();
        let _ = self.stop.send(Duration::MAX);
        self.serving.detach();
    }

    /// Stops accepting and waits until running requests have ended, at most for the grace time.
    pub(crate) async fn close(self, grace: Duration) {
        let _ = self.stop.send(grace);
        // A panic or an error has been reported where it happened.
        let _ = self.serving.await;
    }
}

/// The same sockets once more.
struct Handles {
    tcp: Vec<TcpListener>,
    unix: Vec<UnixListener>,
}

impl Handles {
    fn of(listening: &Listening) -> Self {
        // Without them there is no hot swap, which is then said when somebody wants one.
        Self {
            tcp: listening.duplicates().unwrap_or_default(),
            unix: listening.unix_duplicates().unwrap_or_default(),
        }
    }
}

fn accept(
    listening: Listening,
    handler: Arc<dyn Handler>,
) -> (oneshot::Sender<Duration>, TaskHandle<std::io::Result<()>>) {
    let (stop, stopped) = oneshot::channel();
    let until = async move { stopped.await.unwrap_or_default() };
    (
        stop,
        task::spawn(
            "front",
            (),
            front::serve(listening, handler, Limits::default(), until),
        ),
    )
}
