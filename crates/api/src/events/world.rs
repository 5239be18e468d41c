//! Mounts without sockets, for the tests of the feeds.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use auth::{Auth, SetupToken};
use config::{Config, MountName};
use fanout::{Admission, Home, Leave, Presence};
use jiff::Timestamp;
use media::{Format, Frames, Unit};
use mount::{Claim, Delivery, Mounts, Offer, Owner, Protocol, Settings, Station, Title};

use super::{Reading, Runtime};
use crate::{Administer, Api, Parts, Refusal, Signin};

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
        Err(Refusal::failed("nothing is saved"))
    }

    fn reload(&self) -> tokio::sync::oneshot::Receiver<Result<Vec<String>, String>> {
        tokio::sync::oneshot::channel().1
    }

    fn hot_swap(&self, _: Option<Duration>) -> Result<(), String> {
        Err("not in this test".into())
    }
}

pub(crate) struct World {
    pub(crate) mounts: Arc<Mounts>,
    pub(crate) config: Config,
    began: Instant,
}

pub(crate) fn name(text: &str) -> MountName {
    MountName::parse(text).unwrap()
}

fn settings(visible: &[&str]) -> Settings {
    Settings {
        visible: visible.iter().map(|mount| name(mount)).collect(),
        grace: Duration::ZERO,
        ..Settings::default()
    }
}

impl World {
    /// These mounts are listed when they are live.
    pub(crate) fn new(visible: &[&str]) -> Self {
        let began = Instant::now();
        Self {
            mounts: Mounts::new(Arc::new(Nowhere), settings(visible), began),
            config: Config::default(),
            began,
        }
    }

    /// Changes what is listed.
    pub(crate) fn show(&self, visible: &[&str]) {
        self.mounts.apply(settings(visible), self.began);
    }

    pub(crate) fn publish(&self, mount: &str) -> Claim {
        self.publish_as(mount, Protocol::Icecast)
    }

    pub(crate) fn publish_as(&self, mount: &str, protocol: Protocol) -> Claim {
        let offer = Offer {
            owner: Owner {
                protocol,
                label: "192.0.2.77".into(),
                ip: Some(IpAddr::from([192, 0, 2, 77])),
                user_agent: "secret-encoder".into(),
                account: None,
            },
            station: Station {
                name: Some("Station".into()),
                genre: Some("Jazz".into()),
                description: Some("All \"that\"\r\ndata: x".into()),
                url: Some("https://radio.example/".into()),
                bitrate: Some("128".into()),
                ..Station::default()
            },
            content_type: "audio/mpeg".into(),
            format: Format::Mpeg,
        };
        let mut claim = self.mounts.claim(&name(mount), offer, self.began).unwrap();
        feed(&mut claim, 1, self.began);
        claim
    }

    pub(crate) fn set_title(&self, mount: &str, title: &str) {
        let stream = self.mounts.live(&name(mount)).unwrap();
        stream.set_title(Title::whole(title));
    }

    /// Everything, so long after the beginning.
    pub(crate) fn read(&self, at: Duration) -> Reading {
        let now = self.began + at;
        Reading {
            now,
            time: Timestamp::UNIX_EPOCH + at,
            uptime: at,
            mounts: self.mounts.snapshot(now),
            totals: self.mounts.totals(),
            config: Arc::new(self.config.clone()),
            runtime: Runtime {
                goroutines: 61,
                memory: 18_350_080,
                heap_alloc: 1,
                stack_sys: 2,
                sys_ram: 3,
                num_gc: 4,
            },
            places: Arc::default(),
            sums: None,
        }
    }

    /// The endpoints over these mounts.
    pub(crate) fn api(&self) -> Api {
        Api::new(self.parts())
    }

    /// What they ask; webhooks have tasks, though there are none.
    pub(crate) fn parts(&self) -> Parts {
        let config = Arc::new(self.config.clone());
        let client = outbound::Client::new(outbound::Policy::new(&[]), "test".parse().unwrap());
        Parts {
            config: Arc::new(arc_swap::ArcSwap::new(Arc::clone(&config))),
            mounts: Arc::clone(&self.mounts),
            auth: Arc::new(Auth::start(config).unwrap()),
            began: Timestamp::now(),
            setup: Arc::new(SetupToken::none()),
            administer: Arc::new(Nowhere),
            ready: Box::new(|| Ok(())),
            runtime: Box::new(Runtime::default),
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
        }
    }
}

/// Pushes so many frames of 100 bytes.
pub(crate) fn feed(claim: &mut Claim, frames: usize, now: Instant) {
    for _ in 0..frames {
        let frames = Frames {
            bytes: vec![0xff; 100].into(),
            sync: true,
            duration: Duration::from_millis(26),
        };
        claim.count(100);
        claim.push(Unit::Frames(frames), now);
    }
}
