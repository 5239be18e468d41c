//! A registry of mounts without delivery, relays that feed it, and servers that they call.

use std::{
    net::SocketAddr,
    sync::{Arc, mpsc},
    time::Duration,
};

use config::{MountName, Relay};
use fanout::{Admission, Home, Leave, Presence};
use icecast::relay::OwnAddresses;
use media::{Format, Frames, Unit};
use mount::{Claim, Delivery, Entrance, Mounts, Offer, Owner, Protocol, Settings, Station, Stream};
use observe::Mutex;
use outbound::{Client, Policy};
use relay::{Board, Phase, Pulls, RelayState, Terms};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::yield_now,
    time::Instant,
};

/// How long a condition may take on a busy machine before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time passes in steps of this length.
const STEP: Duration = Duration::from_millis(500);

pub(crate) fn name(text: &str) -> MountName {
    MountName::parse(text).unwrap()
}

/// Delivery that only looks at what it is told.
struct Nowhere;

impl Delivery for Nowhere {
    fn admit(&self, _: Admission) {}
    fn reroute(&self, _: &Arc<Home>) {}
    fn rehome(&self, _: u64, _: &Arc<Home>, _: &Arc<String>) {}
    fn close(&self, _: Box<dyn Fn(&Presence) -> bool + Send + Sync>, _: Leave) {}
}

/// Keeps the paused clock from running by itself whenever nobody is busy: a socket may be.
pub(crate) struct StoppedClock {
    _release: mpsc::Sender<()>,
}

impl StoppedClock {
    pub(crate) fn new() -> Self {
        let (release, released) = mpsc::channel::<()>();
        // Tokio does not advance a paused clock while a blocking task runs. This one ends with the sender.
        tokio::task::spawn_blocking(move || released.recv());
        Self { _release: release }
    }
}

/// Lets `length` pass. Whoever is woken gets the time to do what is due, sockets included.
pub(crate) async fn pass(length: Duration) {
    let end = Instant::now() + length;
    while Instant::now() < end {
        tokio::time::advance(STEP.min(end - Instant::now())).await;
        settle().await;
    }
}

async fn settle() {
    let began = std::time::Instant::now();
    let mut turns = 0;
    while turns < 30 || began.elapsed() < Duration::from_micros(500) {
        yield_now().await;
        turns += 1;
    }
}

/// Waits for a condition while the clock stands still.
pub(crate) async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = std::time::Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        yield_now().await;
    }
}

pub(crate) struct World {
    pub(crate) mounts: Arc<Mounts>,
    pub(crate) board: Board,
    pub(crate) pulls: Pulls,
    pub(crate) terms: Terms,
    _clock: StoppedClock,
}

impl World {
    /// Relays may call loopback addresses here.
    pub(crate) fn new() -> Self {
        Self::with_policy(&["127.0.0.1/32"])
    }

    pub(crate) fn with_policy(allow: &[&str]) -> Self {
        let now = Instant::now().into_std();
        let mounts = Mounts::new(Arc::new(Nowhere), Settings::default(), now);
        let board = Board::default();
        let terms = Terms {
            client: client(allow),
            own: OwnAddresses::default(),
            instance: "this".into(),
        };
        let pulls = Pulls::new(
            Arc::clone(&mounts),
            board.clone(),
            terms.clone(),
            tokio::runtime::Handle::current(),
        );
        Self {
            mounts,
            board,
            pulls,
            terms,
            _clock: StoppedClock::new(),
        }
    }

    /// Mounts wait long for a source that blinks. A claim ends by the real clock, which is behind that of the test.
    pub(crate) fn wait_long_for_sources(&self) {
        let settings = Settings {
            grace: Duration::from_secs(3600),
            ..Settings::clone(&self.mounts.settings())
        };
        self.mounts.apply(settings, Instant::now().into_std());
    }

    pub(crate) async fn apply(&mut self, records: &[Relay]) {
        self.pulls.apply(records, self.terms.clone()).await;
    }

    /// Lets time pass; mounts do what is due.
    pub(crate) async fn pass(&self, length: Duration) {
        let end = Instant::now() + length;
        while Instant::now() < end {
            pass(STEP).await;
            self.mounts.tick(Instant::now().into_std());
        }
    }

    /// Lets time pass until a condition holds. Says how long that took.
    pub(crate) async fn pass_until(&self, what: &str, mut condition: impl FnMut() -> bool) -> Duration {
        let began = Instant::now();
        while !condition() {
            assert!(
                began.elapsed() < Duration::from_secs(600),
                "ten minutes in vain: {what}"
            );
            self.pass(STEP).await;
        }
        began.elapsed()
    }

    pub(crate) fn state(&self, mount: &str) -> RelayState {
        self.board.state(&name(mount)).expect("the relay runs")
    }

    pub(crate) async fn until_phase(&self, mount: &str, phase: Phase) -> RelayState {
        let what = format!("{mount} {}", phase.as_str());
        until(&what, || {
            Some(self.state(mount)).filter(|state| state.phase == phase)
        })
        .await
    }

    /// Phase and error of a relay, and who feeds its mount.
    pub(crate) fn told(&self, mount: &str) -> String {
        let state = self.state(mount);
        let error = state
            .last_error
            .map_or_else(String::new, |error| format!(": {error}"));
        format!("{}{error}", state.phase.as_str())
    }

    pub(crate) fn live(&self, mount: &str) -> Option<Arc<Stream>> {
        self.mounts.live(&name(mount))
    }

    /// The label of the mount's present or awaited source.
    pub(crate) fn owner(&self, mount: &str) -> String {
        self.live(mount)
            .map_or_else(|| "nobody".into(), |stream| stream.owner().label.clone())
    }

    /// An encoder that takes a mount.
    pub(crate) fn encoder(&self, mount: &str) -> Claim {
        let offer = Offer {
            owner: Owner {
                protocol: Protocol::Icecast,
                label: "encoder".into(),
                ip: None,
                user_agent: String::new(),
                account: None,
            },
            station: Station {
                public: true,
                ..Station::default()
            },
            content_type: "audio/mpeg".into(),
            format: Format::Mpeg,
        };
        self.mounts
            .claim(&name(mount), offer, Instant::now().into_std())
            .expect("the mount is free")
    }

    /// A listener; it leaves when the value is dropped.
    pub(crate) fn listener(&self, mount: &str) -> Entrance {
        let stream = self.live(mount).expect("the mount is live");
        let ip = [198, 51, 100, 7].into();
        self.mounts
            .seat(&name(mount), &stream, ip, false, Instant::now().into_std())
            .expect("there is a place")
    }
}

pub(crate) fn client(allow: &[&str]) -> Client {
    let allow: Vec<_> = allow.iter().map(|entry| entry.parse().unwrap()).collect();
    Client::new(Policy::new(&allow), http::HeaderValue::from_static("TinyIce/1.0"))
}

/// All that was written to a stream and is still held.
pub(crate) fn heard(stream: &Stream) -> Vec<u8> {
    let ring = &stream.feed().ring;
    (ring.oldest()..ring.head())
        .filter_map(|seq| ring.get(seq))
        .flat_map(|chunk| chunk.bytes.to_vec())
        .collect()
}

/// `count` MPEG-1 layer III frames of 128 kbit/s at 44.1 kHz, numbered so that each differs.
pub(crate) fn mp3(count: usize) -> Vec<u8> {
    let frame = |n: usize| {
        let mut frame = vec![0xff, 0xfb, 0x90, 0x64];
        frame.resize(417, (n % 251) as u8);
        frame
    };
    (0..count).flat_map(frame).collect()
}

/// One frame of an encoder.
pub(crate) fn frame(claim: &mut Claim) {
    claim.count(417);
    let frames = Frames {
        bytes: mp3(1).into(),
        sync: true,
        duration: Duration::from_millis(26),
    };
    claim.push(Unit::Frames(frames), Instant::now().into_std());
}

/// What a server does on one connection, after it read the request.
#[derive(Clone)]
pub(crate) enum Act {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Waits, on the clock of the test.
    Wait(Duration),
    /// Sends these bytes once a second, over and over.
    Repeat(Vec<u8>),
    /// Is silent for ever.
    Hold,
}

pub(crate) fn send(bytes: impl AsRef<[u8]>) -> Act {
    Act::Send(bytes.as_ref().to_vec())
}

/// One request that a server got.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: String,
    pub(crate) at: Instant,
}

/// A server that acts by a script: the nth connection by its nth entry, all further ones by the last. A connection
/// whose entry is over is closed.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    open: Arc<Mutex<usize>>,
    script: Arc<Mutex<Vec<Vec<Act>>>>,
}

impl Server {
    pub(crate) async fn start(script: impl Into<Vec<Vec<Act>>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::new(Mutex::new("test.asked", Vec::new())),
            open: Arc::new(Mutex::new("test.open", 0)),
            script: Arc::new(Mutex::new("test.script", script.into())),
        };
        let (asked, open, script) = (
            Arc::clone(&server.asked),
            Arc::clone(&server.open),
            Arc::clone(&server.script),
        );
        tokio::spawn(async move {
            let mut count = 0;
            while let Ok((socket, _)) = listener.accept().await {
                let acts = {
                    let script = script.lock();
                    script.get(count).or(script.last()).cloned().unwrap_or_default()
                };
                count += 1;
                *open.lock() += 1;
                let (asked, open) = (Arc::clone(&asked), Arc::clone(&open));
                tokio::spawn(async move {
                    converse(socket, acts, &asked).await;
                    *open.lock() -= 1;
                });
            }
        });
        server
    }

    /// A server that accepts everybody and then plays MP3 for ever.
    pub(crate) async fn playing() -> Self {
        Self::start([vec![send(OK), Act::Repeat(mp3(40))]]).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn relay(&self, mount: &str) -> Relay {
        Relay::new(self.url("/up"), name(mount))
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        *self.open.lock()
    }

    /// Replaces what connections from now on get.
    pub(crate) fn play(&self, acts: Vec<Act>) {
        *self.script.lock() = vec![acts];
    }
}

/// The answer of a plain Icecast.
pub(crate) const OK: &str =
    "HTTP/1.0 200 OK\r\nServer: Icecast 2.4.4\r\nContent-Type: audio/mpeg\r\nicy-name: Example FM\r\n\r\n";

async fn converse(mut socket: TcpStream, acts: Vec<Act>, asked: &Mutex<Vec<Asked>>) {
    let mut request = Vec::new();
    let head_end = loop {
        if let Some(at) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let head = String::from_utf8(request[..head_end].to_vec()).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    while request.len() < head_end + length {
        if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let body = String::from_utf8(request.split_off(head_end)).unwrap();
    asked.lock().push(Asked {
        head,
        body,
        at: Instant::now(),
    });
    let (mut reading, mut writing) = socket.split();
    let play = async {
        for act in acts {
            match act {
                Act::Send(bytes) => writing.write_all(&bytes).await.ok()?,
                Act::Wait(length) => tokio::time::sleep(length).await,
                Act::Repeat(bytes) => loop {
                    writing.write_all(&bytes).await.ok()?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                },
                Act::Hold => std::future::pending().await,
            }
        }
        writing.shutdown().await.ok()
    };
    // The client says nothing more; its end is the end.
    let mut rest = [0; 16];
    tokio::select! {
        _ = play => {}
        _ = reading.read(&mut rest) => {}
    }
}
