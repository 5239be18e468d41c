//! The sockets that requests come in by, and their replacement while the server runs.
//!
//! Contract: new sockets are open before old ones close, and connections outlive the socket they came by.

use std::{sync::Arc, time::Duration};

use config::Config;
use front::{BindError, Handler, Limits, Listening, Sockets};
use observe::task::{self, TaskHandle};
use tokio::sync::oneshot;

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
    stop: oneshot::Sender<Duration>,
    serving: TaskHandle<std::io::Result<()>>,
}

/// Where the configuration wants to listen.
pub(crate) fn wanted(config: &Config) -> Sockets {
    Sockets { host: config.bind_host.clone(), port: config.port }
}

/// The sockets of the start: those that a service manager opened for us, else our own.
pub(crate) fn first(sockets: &Sockets) -> Result<Listening, BindError> {
    let mut inherited = listenfd::ListenFd::from_env();
    let given: Vec<_> = (0..inherited.len()).filter_map(|n| inherited.take_tcp_listener(n).ok().flatten()).collect();
    if given.is_empty() {
        return bind(sockets);
    }
    match Listening::adopt(given) {
        Ok(listening) => {
            announce(&listening);
            Ok(listening)
        }
        Err(error) => {
            observe::emit(SkippedAddress { error: &format!("cannot use the sockets given: {error}") });
            bind(sockets)
        }
    }
}

/// Opens sockets without accepting yet, and says so.
pub(crate) fn bind(sockets: &Sockets) -> Result<Listening, BindError> {
    let listening = Listening::bind(sockets)?;
    for skipped in listening.skipped() {
        observe::emit(SkippedAddress { error: &skipped.to_string() });
    }
    announce(&listening);
    Ok(listening)
}

fn announce(listening: &Listening) {
    let addresses: Vec<_> = listening.local_addrs().iter().map(ToString::to_string).collect();
    observe::emit(Listens { addresses: &addresses.join(" and ") });
}

impl Doors {
    /// Begins to accept.
    pub(crate) fn open(listening: Listening, sockets: Sockets, handler: Arc<dyn Handler>) -> Self {
        let (stop, serving) = accept(listening, Arc::clone(&handler));
        Self { handler, sockets, stop, serving }
    }

    /// Moves to where the configuration wants to listen now, if that has changed. When that is not possible the
    /// old sockets stay.
    pub(crate) fn follow(&mut self, config: &Config) {
        let sockets = wanted(config);
        if sockets == self.sockets {
            return;
        }
        let listening = match bind(&sockets) {
            Ok(listening) => listening,
            Err(error) => return observe::emit(NotReplaced { error: &error.to_string() }),
        };
        let (stop, serving) = accept(listening, Arc::clone(&self.handler));
        let old = std::mem::replace(&mut self.stop, stop);
        // Sources that came by the old sockets go on for as long as they like.
        let _ = old.send(Duration::MAX);
        std::mem::replace(&mut self.serving, serving).detach();
        self.sockets = sockets;
    }

    /// Stops accepting and waits until running requests have ended, at most for the grace time.
    pub(crate) async fn close(self, grace: Duration) {
        let _ = self.stop.send(grace);
        // A panic or an error has been reported where it happened.
        let _ = self.serving.await;
    }
}

fn accept(
    listening: Listening,
    handler: Arc<dyn Handler>,
) -> (oneshot::Sender<Duration>, TaskHandle<std::io::Result<()>>) {
    let (stop, stopped) = oneshot::channel();
    let until = async move { stopped.await.unwrap_or_default() };
    (stop, task::spawn("front", (), front::serve(listening, handler, Limits::default(), until)))
}
