//! Shoutcast v1 sources, on a port of their own: a password line, then headers, then audio.

use std::{io, net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use auth::{Credentials, Protocol as Proto, SourceVerdict};
use bytes::BytesMut;
use config::{Config, MountName};
use front::{BindError, Listening, Sockets, Stream, framing::Decoder, framing::Framing};
use icecast::shoutcast::{ACCEPTED, Handshake, REFUSED, Step};
use mount::{Owner, Protocol};
use observe::task;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

use crate::{context::Context, ingest::Session, station};

/// The whole handshake takes at most this long.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Accepting pauses this long when the process is out of something.
const PAUSE: Duration = Duration::from_millis(100);

observe::event! {
    /// Sources of the old kind are welcome.
    struct Listens<'a> { address: &'a str, mount: &'a str }
    = Info "shoutcast_listening": "Listening for Shoutcast sources"

    /// No longer.
    struct Closed {}
    = Info "shoutcast_closed": "No longer listening for Shoutcast sources"

    /// The old port stays.
    struct NotReplaced<'a> { error: &'a str }
    = Error "shoutcast_unchanged": "Still listening for Shoutcast sources where it was: {error}"
}

/// Where the configuration wants it.
fn wanted(config: &Config) -> Option<Sockets> {
    let sockets = Sockets {
        host: config.bind_host.clone(),
        port: config.shoutcast.as_ref()?.port,
    };
    Some(sockets.without_unix())
}

/// Opens the port, if the configuration asks for it.
pub(crate) fn bind(config: &Config) -> Result<Option<Listening>, BindError> {
    wanted(config)
        .map(|sockets| Listening::bind(&sockets))
        .transpose()
}

/// The port, open or not. It goes where the configuration says; sources that came by it stay where they are.
pub(crate) struct Port {
    context: Arc<Context>,
    sockets: Option<Sockets>,
    /// Second handles, for a successor.
    handles: Vec<std::net::TcpListener>,
    stop: watch::Sender<bool>,
}

impl Port {
    /// Begins to accept on what was opened at the start.
    pub(crate) fn open(context: &Arc<Context>, listening: Option<Listening>, config: &Config) -> Self {
        let mut port = Self {
            context: Arc::clone(context),
            sockets: wanted(config),
            handles: Vec::new(),
            stop: watch::Sender::new(false),
        };
        if let Some(listening) = listening {
            port.accept(listening);
        }
        port
    }

    /// Moves to where the configuration wants it now, if that has changed. When that is not possible the old port
    /// stays.
    pub(crate) fn follow(&mut self, config: &Config) {
        let sockets = wanted(config);
        if sockets == self.sockets {
            return;
        }
        let listening = match bind(config) {
            Ok(listening) => listening,
            Err(error) => {
                return observe::emit(NotReplaced {
                    error: &error.to_string(),
                });
            }
        };
        self.stop.send_replace(true);
        self.handles.clear();
        self.sockets = sockets;
        match listening {
            Some(listening) => self.accept(listening),
            None => observe::emit(Closed {}),
        }
    }

    /// The sockets, for a successor.
    pub(crate) fn handles(&self) -> io::Result<Vec<std::net::TcpListener>> {
        self.handles
            .iter()
            .map(std::net::TcpListener::try_clone)
            .collect()
    }

    /// Stops accepting.
    pub(crate) fn close(self) {
        self.stop.send_replace(true);
    }

    fn accept(&mut self, listening: Listening) {
        // Without them there is no hot swap of this port.
        self.handles = listening.duplicates().unwrap_or_default();
        self.stop = watch::Sender::new(false);
        for socket in listening.into_sockets() {
            let Ok(socket) = TcpListener::from_std(socket) else {
                continue;
            };
            let address = socket
                .local_addr()
                .map(|address| address.to_string())
                .unwrap_or_default();
            let mount = mount(&self.context);
            observe::emit(Listens {
                address: &address,
                mount: mount.as_ref().map_or("", MountName::as_str),
            });
            let accepting = accept_from(Arc::clone(&self.context), socket, self.stop.subscribe());
            task::spawn("shoutcast-accept", address, accepting).detach();
        }
    }
}

/// Where its sources publish.
fn mount(context: &Context) -> Option<MountName> {
    let config = context.config.load();
    config.shoutcast.as_ref().map(|shoutcast| shoutcast.mount.clone())
}

/// Accepts sources until told to stop; those that are there stay.
async fn accept_from(context: Arc<Context>, socket: TcpListener, mut stopped: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, peer)) if context.auth.gate().at_accept(peer.ip()) => {
                // Without a mount the port is about to close.
                if let Some(mount) = mount(&context) {
                    let source = converse(Arc::clone(&context), mount.clone(), stream, peer);
                    task::spawn("shoutcast-source", mount.to_string(), source).detach();
                }
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn converse(context: Arc<Context>, mount: MountName, stream: TcpStream, peer: SocketAddr) {
    let mut stream = Stream::from(stream);
    let ip = peer.ip().to_canonical();
    let Ok(Some((session, early))) = timeout(HANDSHAKE, shake_hands(&context, &mount, &mut stream, ip)).await
    else {
        return;
    };
    // Without any framing the end of the connection is the end of the stream.
    let span = session.span();
    let serve = async move {
        session
            .run(stream, Decoder::for_source(Framing::Absent), early, false)
            .await
    };
    // A panic in it has been told where it happened.
    let _ = context.sources.spawn(&span, mount.as_str(), serve).await;
}

/// Password, then headers. Nothing when the source was refused or went away.
async fn shake_hands(
    context: &Arc<Context>,
    mount: &MountName,
    stream: &mut Stream,
    ip: std::net::IpAddr,
) -> Option<(Session, BytesMut)> {
    let mut handshake = Handshake::new();
    let mut buffer = [0; 2048];
    let mut step = Step::NeedMore;
    let mut account = None;
    loop {
        match step {
            Step::NeedMore => {
                let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
                step = handshake.input(&buffer[..read]).ok()?;
            }
            Step::Check(credentials) => {
                // A password may look like `user:password`, so the whole line is tried too.
                let tries = [&credentials.password, &credentials.whole_line];
                let mut opened = None;
                for password in &tries[..if tries[0] == tries[1] { 1 } else { 2 }] {
                    let credentials = Credentials::password(password.as_bytes());
                    let verdict = context
                        .auth
                        .source(Proto::Icecast, ip, mount, Some(&credentials))
                        .await;
                    if let SourceVerdict::Ok(opener) = verdict {
                        opened = Some(opener);
                        break;
                    }
                }
                let Some(opener) = opened else {
                    // The source learns why; whether it reads it is up to it.
                    let _ = stream.write_all(REFUSED).await;
                    return None;
                };
                account = station::account(opener);
                stream.write_all(ACCEPTED).await.ok()?;
                step = handshake.accept().ok()?;
            }
            Step::Ready(source) => {
                let owner = Owner {
                    protocol: Protocol::Icecast,
                    label: ip.to_string(),
                    ip: Some(ip),
                    user_agent: String::new(),
                    account,
                };
                let interval = source
                    .metaint
                    .and_then(|interval| NonZeroUsize::try_from(interval).ok());
                let station = station::of_source(source.station);
                let session =
                    Session::claim(context, mount, owner, station, source.content_type, interval).ok()?;
                return Some((session, BytesMut::from(&source.early[..])));
            }
        }
    }
}
