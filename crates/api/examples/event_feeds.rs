//! What event feeds cost: the real front and API over loopback, with clients in a process of their own.
//!
//! ```text
//! cargo run --release -p api --example event_feeds -- [clients] [mounts] [changed mounts per tick] [seconds]
//! ```
//!
//! Shares of one core of a busy 2-core machine, 1,000 feeds: 100 mounts of which 10 change per tick 3.8 % (about 65 MB a
//! second), none changes 0.7 %, 10 mounts of which 2 change 3.2 %, 1 mount that changes 3.3 %.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement prints its figures and stops when it cannot measure"
)]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use api::{
    Administer, Api, Parts, Refusal, Signin,
    metrics::{Feed, SSE_SKIPPED_TICKS, SSE_SUBSCRIBERS},
};
use arc_swap::ArcSwap;
use auth::{Auth, SetupToken};
use config::{Config, MountName};
use fanout::{Admission, Home, Leave, Presence};
use front::{Exchange, Handler, Handling, Limits, Listening, Request, Sockets};
use jiff::Timestamp;
use media::Format;
use mount::{Claim, Delivery, Mounts, Offer, Owner, Protocol, Settings, Station, Title};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    time::sleep,
};

struct Nowhere;

impl Delivery for Nowhere {
    fn admit(&self, _: Admission) {}
    fn reroute(&self, _: &Arc<Home>) {}
    fn rehome(&self, _: u64, _: &Arc<Home>, _: &Arc<String>) {}
    fn close(&self, _: Box<dyn Fn(&Presence) -> bool + Send + Sync>, _: Leave) {}
}

type Change<'a> = Box<dyn FnOnce(&mut Config) -> Result<(), Refusal> + 'a>;

impl Administer for Nowhere {
    fn change(&self, _: Change<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn reload(&self) -> tokio::sync::oneshot::Receiver<Result<Vec<String>, String>> {
        tokio::sync::oneshot::channel().1
    }

    fn hot_swap(&self, _: Option<Duration>) -> Result<(), String> {
        Ok(())
    }
}

struct Door(Api);

impl Handler for Door {
    fn handle<'a>(&'a self, request: Request, exchange: Exchange) -> Handling<'a> {
        Box::pin(self.0.answer(request.route(), request, exchange))
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    front::raise_open_files().unwrap();
    let number = |place: usize, default: usize| args.get(place).map_or(default, |text| text.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    if args.first().is_some_and(|arg| arg == "clients") {
        let address = args[1].parse().unwrap();
        runtime.block_on(read(address, number(2, 0)));
        return;
    }
    let seconds = Duration::from_secs(number(3, 20) as u64);
    runtime.block_on(measure(number(0, 1000), number(1, 100), number(2, 10), seconds));
}

fn name(index: usize) -> MountName {
    MountName::parse(&format!("/station-{index:03}")).unwrap()
}

async fn measure(clients: usize, mounts: usize, changed: usize, seconds: Duration) {
    let (registry, _claims) = stations(mounts);
    let config = Arc::new(Config::default());
    let client = outbound::Client::new(outbound::Policy::new(&[]), "measure".parse().unwrap());
    let api = Api::new(Parts {
        config: Arc::new(ArcSwap::new(Arc::clone(&config))),
        mounts: Arc::clone(&registry),
        auth: Arc::new(Auth::start(config).unwrap()),
        began: Timestamp::now(),
        setup: Arc::new(SetupToken::none()),
        administer: Arc::new(Nowhere),
        ready: Box::new(|| Ok(())),
        runtime: Box::new(api::Runtime::default),
        store: None,
        geo: Arc::default(),
        webhooks: webhook::Webhooks::start(
            client.clone(),
            webhook::Facts::default(),
            Vec::new(),
            Arc::new(()),
            Vec::new(),
        ),
        relays: relay::Board::default(),
        signin: Signin {
            passkeys: signin::Passkeys::new(None),
            oidc: signin::Oidc::new(client),
            mailer: signin::Mailer::default(),
        },
    });
    let listening = Listening::bind(&Sockets {
        host: "127.0.0.1".to_owned(),
        port: 0,
    });
    let listening = listening.unwrap();
    let address = listening.local_addrs()[0];
    let serving = front::serve(
        listening,
        Arc::new(Door(api)),
        Limits::default(),
        std::future::pending(),
    );
    observe::task::spawn("serve", (), serving).detach();

    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["clients", &address.to_string(), &clients.to_string()])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let subscribers = || SSE_SUBSCRIBERS.of(Feed::Public).get();
    while subscribers() < clients as f64 {
        sleep(Duration::from_millis(50)).await;
    }
    let titles = observe::task::spawn("titles", (), async move {
        for song in 0.. {
            for index in 0..changed {
                let mount = name((song * changed + index) % mounts);
                let title = Title::whole(format!("Some Artist - Some Song, the {song}th"));
                registry.live(&mount).unwrap().set_title(title);
            }
            sleep(Duration::from_millis(500)).await;
        }
    });
    sleep(Duration::from_secs(2)).await;
    let (began, before) = (Instant::now(), processor_seconds());
    sleep(seconds).await;
    let share = (processor_seconds() - before) / began.elapsed().as_secs_f64();
    println!(
        "{clients} feeds, {mounts} mounts, {changed} changed per tick: {:.1} % of one core, {} feeds at the end, {} \
         bursts skipped",
        share * 100.0,
        subscribers(),
        SSE_SKIPPED_TICKS.of(Feed::Public).get()
    );
    titles.abort();
    child.kill().unwrap();
    child.wait().unwrap();
}

fn stations(mounts: usize) -> (Arc<Mounts>, Vec<Claim>) {
    let settings = Settings {
        visible: (0..mounts).map(name).collect(),
        ..Settings::default()
    };
    let now = Instant::now();
    let registry = Mounts::new(Arc::new(Nowhere), settings, now);
    let claim = |index: usize| {
        let offer = Offer {
            owner: Owner {
                protocol: Protocol::Icecast,
                label: "192.0.2.1".into(),
                ip: Some(IpAddr::from([192, 0, 2, 1])),
                user_agent: "encoder".into(),
                account: None,
            },
            station: Station {
                name: Some(format!("Station number {index}")),
                genre: Some("Jazz, Soul and Funk".into()),
                description: Some("What a station says of itself in a line".into()),
                url: Some("https://station.example/".into()),
                bitrate: Some("128".into()),
                ..Station::default()
            },
            content_type: "audio/mpeg".into(),
            format: Format::Mpeg,
        };
        registry.claim(&name(index), offer, now).unwrap()
    };
    let claims = (0..mounts).map(claim).collect();
    (registry, claims)
}

/// The time that this process had a processor, in the kernel on its behalf included. The scheduler counts it to the
/// nanosecond; the samples behind `getrusage` miss work that begins with a timer's tick and ends before the next.
fn processor_seconds() -> f64 {
    let mut nanos = 0;
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        let file = thread.unwrap().path().join("schedstat");
        let text = std::fs::read_to_string(file).unwrap();
        nanos += text.split(' ').next().unwrap().parse::<u64>().unwrap();
    }
    nanos as f64 / 1e9
}

/// Reads so many feeds for ever; twenty per address, as the server wants it.
async fn read(address: SocketAddr, clients: usize) {
    let mut readers = Vec::new();
    for client in 0..clients {
        let socket = TcpSocket::new_v4().unwrap();
        let host = u32::from(Ipv4Addr::new(127, 0, 1, 1)) + u32::try_from(client / 20).unwrap();
        socket.bind((Ipv4Addr::from(host), 0).into()).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream
            .write_all(b"GET /events HTTP/1.1\r\nHost: h\r\n\r\n")
            .await
            .unwrap();
        readers.push(observe::task::spawn("reader", (), async move {
            let mut buffer = vec![0; 16 << 10];
            while stream.read(&mut buffer).await.unwrap() > 0 {}
        }));
    }
    for reader in readers {
        reader.await.unwrap();
    }
}
