//! The life of mounts under a simulated clock: claim, grace, fallback, settle time, health.

use std::{
    net::{IpAddr, TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use config::MountName;
use fanout::{Admission, Home, Interleave, Leave, Presence, Wire};
use media::{Format, Frames, Header, Unit};
use mount::{
    Claim, ClaimError, Delivery, Mounts, Offer, Owner, Protocol, Refused, Settings, Station, Stopped, Tuned,
};

/// Delivery that only looks at what it is told.
struct Nowhere;

impl Delivery for Nowhere {
    fn admit(&self, _: Admission) {}
    fn reroute(&self, _: &Arc<Home>) {}
    fn rehome(&self, _: u64, _: &Arc<Home>, _: &Arc<String>) {}
    fn close(&self, _: Box<dyn Fn(&Presence) -> bool + Send + Sync>, _: Leave) {}
}

struct World {
    mounts: Arc<Mounts>,
    now: Instant,
}

fn name(text: &str) -> MountName {
    MountName::parse(text).expect("a legal name")
}

fn offer(protocol: Protocol) -> Offer {
    Offer {
        owner: Owner {
            protocol,
            label: "192.0.2.1".into(),
            ip: Some(IpAddr::from([192, 0, 2, 1])),
            user_agent: "encoder".into(),
            account: None,
        },
        station: Station::default(),
        content_type: "audio/mpeg".into(),
        format: Format::Mpeg,
    }
}

impl World {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        let now = Instant::now();
        Self {
            mounts: Mounts::new(Arc::new(Nowhere), settings, now),
            now,
        }
    }

    fn with_fallback() -> Self {
        Self::new(|settings| {
            settings.fallbacks.insert(name("/a"), name("/b"));
            settings.fallbacks.insert(name("/b"), name("/c"));
        })
    }

    fn source(&self, mount: &str) -> Claim {
        self.mounts
            .claim(&name(mount), offer(Protocol::Icecast), self.now)
            .expect("the mount is free")
    }

    fn frame(&self, claim: &mut Claim) {
        claim.count(100);
        let frames = Frames {
            bytes: vec![0xff; 100].into(),
            sync: true,
            duration: Duration::from_millis(26),
        };
        claim.push(Unit::Frames(frames), self.now);
    }

    /// Passes time in small steps, as the driver would.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds * 2 {
            self.now += Duration::from_millis(500);
            self.mounts.tick(self.now);
        }
    }

    /// Same, with the source sending all the while.
    fn play(&mut self, claim: &mut Claim, seconds: u64) {
        for _ in 0..seconds * 2 {
            self.frame(claim);
            self.now += Duration::from_millis(500);
            self.mounts.tick(self.now);
        }
    }

    /// Whom a request for the mount would hear: `-` for nobody.
    fn heard(&self, mount: &str) -> String {
        match self.mounts.tune(&name(mount)) {
            Tuned::On {
                stream,
                primary: true,
            } => stream.mount().to_string(),
            Tuned::On {
                stream,
                primary: false,
            } => format!("{} instead", stream.mount()),
            Tuned::Disabled => "disabled".into(),
            Tuned::Off { .. } => "-".into(),
        }
    }

    fn health(&self, mount: &str) -> &'static str {
        self.mounts
            .snapshot_one(&name(mount), self.now)
            .map_or("gone", |snapshot| snapshot.health.as_str())
    }
}

/// Releasing uses the real clock for its deadlines; the world's clock must not be behind it.
fn release(world: &mut World, claim: Claim) {
    claim.release("test");
    world.now = world.now.max(Instant::now());
}

#[test]
fn only_one_source_at_a_time_and_the_loser_learns_who_has_it() {
    let world = World::new(|_| {});
    let claim = world.source("/a");
    let second = world
        .mounts
        .claim(&name("/a"), offer(Protocol::Icecast), world.now);
    assert_eq!(
        second.err(),
        Some(ClaimError::Busy {
            existing: "192.0.2.1".into()
        })
    );
    drop(claim);
    assert!(
        world
            .mounts
            .claim(&name("/a"), offer(Protocol::Icecast), world.now)
            .is_ok()
    );
}

#[test]
fn many_threads_race_for_a_mount_and_one_wins() {
    let world = World::new(|_| {});
    let wins: Vec<_> = (0..8)
        .map(|_| {
            let (mounts, now) = (Arc::clone(&world.mounts), world.now);
            std::thread::spawn(move || mounts.claim(&name("/a"), offer(Protocol::Icecast), now).ok())
        })
        .filter_map(|thread| thread.join().expect("no panic"))
        .collect();
    assert_eq!(wins.len(), 1);
}

#[test]
fn a_source_that_blinks_keeps_its_mount_and_one_that_stays_away_loses_it() {
    let mut world = World::new(|_| {});
    let mut claim = world.source("/a");
    world.frame(&mut claim);
    let stream = Arc::clone(claim.stream());
    release(&mut world, claim);
    world.pass(3);
    assert_eq!(world.heard("/a"), "/a");
    let mut claim = world.source("/a");
    assert!(Arc::ptr_eq(claim.stream(), &stream), "the same stream goes on");
    world.frame(&mut claim);
    release(&mut world, claim);
    world.pass(6);
    assert_eq!(world.heard("/a"), "-");
    assert!(stream.feed().ring.is_closed());
}

#[test]
fn without_grace_a_mount_ends_with_its_source() {
    let mut world = World::new(|settings| settings.grace = Duration::ZERO);
    let claim = world.source("/a");
    release(&mut world, claim);
    assert_eq!(world.heard("/a"), "-");
}

#[test]
fn a_kicked_source_has_no_grace() {
    let world = World::new(|_| {});
    let claim = world.source("/a");
    assert!(world.mounts.stop_source(&name("/a"), Stopped::Kicked));
    assert_eq!(world.heard("/a"), "-");
    let second = world.source("/a");
    drop(claim);
    assert_eq!(
        world.heard("/a"),
        "/a",
        "the old claim's end does not touch the new one"
    );
    drop(second);
}

#[test]
fn a_live_fallback_takes_over_at_once_and_the_primary_returns_when_it_has_settled() {
    let mut world = World::with_fallback();
    let mut a = world.source("/a");
    let mut b = world.source("/b");
    world.frame(&mut a);
    world.frame(&mut b);
    let home = |world: &World| {
        // What the threads were told for listeners of /a.
        let entrance = match world.mounts.tune(&name("/a")) {
            Tuned::On { stream, .. } => stream,
            _ => unreachable!("something is on air"),
        };
        entrance.mount().to_string()
    };
    assert_eq!(home(&world), "/a");
    release(&mut world, a);
    assert_eq!(world.heard("/a"), "/b instead");
    world.play(&mut b, 10);
    // Back for 20 s, away, back again: the settle time begins anew.
    let mut a = world.source("/a");
    world.play(&mut a, 20);
    release(&mut world, a);
    let mut a = world.source("/a");
    world.play(&mut a, 29);
    assert!(
        world.mounts.is_settling(&name("/a"), world.now),
        "listeners are still on the fallback"
    );
    world.play(&mut a, 2);
    assert!(!world.mounts.is_settling(&name("/a"), world.now));
    drop(b);
}

#[test]
fn a_chain_reaches_the_last_mount() {
    let world = World::with_fallback();
    assert_eq!(world.heard("/a"), "-");
    let _c = world.source("/c");
    assert_eq!(world.heard("/a"), "/c instead");
    let _b = world.source("/b");
    assert_eq!(world.heard("/a"), "/b instead");
}

#[test]
fn silence_degrades_kills_and_removes() {
    let mut world = World::new(|_| {});
    let mut claim = world.source("/a");
    world.play(&mut claim, 6);
    assert_eq!(world.health("/a"), "healthy");
    world.pass(11);
    assert_eq!(world.health("/a"), "degraded");
    world.play(&mut claim, 6);
    assert_eq!(world.health("/a"), "healthy");
    world.pass(36);
    assert_eq!(world.health("/a"), "dead");
    world.pass(90);
    assert_eq!(world.health("/a"), "gone");
    assert_eq!(world.heard("/a"), "-");
    drop(claim);
}

#[test]
fn a_relay_may_be_away_until_its_mount_counts_as_silent_for_too_long() {
    let mut world = World::new(|_| {});
    let mut claim = world
        .mounts
        .claim(&name("/a"), offer(Protocol::Relay), world.now)
        .expect("the mount is free");
    world.frame(&mut claim);
    release(&mut world, claim);
    world.pass(100);
    assert_eq!(world.heard("/a"), "/a");
    // While it is away an encoder may take the mount.
    drop(world.source("/a"));
    world.pass(6);
    assert_eq!(world.heard("/a"), "-");
}

#[test]
fn the_same_encoder_may_replace_itself_after_five_silent_seconds() {
    let mut world = World::new(|_| {});
    let mut old = world.source("/a");
    world.frame(&mut old);
    world.pass(4);
    assert!(
        world
            .mounts
            .claim(&name("/a"), offer(Protocol::Icecast), world.now)
            .is_err()
    );
    world.pass(2);
    let mut other = offer(Protocol::Icecast);
    other.owner.user_agent = "somebody else".into();
    assert!(world.mounts.claim(&name("/a"), other, world.now).is_err());
    let _new = world.source("/a");
    drop(old);
    assert_eq!(world.heard("/a"), "/a");
}

#[test]
fn disabling_a_live_mount_ends_it_and_refuses_both_kinds() {
    let world = World::new(|_| {});
    let claim = world.source("/a");
    let mut settings = Settings::clone(&world.mounts.settings());
    settings.disabled.insert(name("/a"));
    world.mounts.apply(settings, world.now);
    assert_eq!(world.heard("/a"), "disabled");
    assert!(claim.stream().feed().ring.is_closed());
    let again = world
        .mounts
        .claim(&name("/a"), offer(Protocol::Icecast), world.now);
    assert_eq!(again.err(), Some(ClaimError::Disabled));
}

#[test]
fn limits_are_for_the_server_the_mount_and_the_address() {
    let world = World::new(|settings| {
        settings.max_listeners = Some(3);
        settings.mounts.entry(name("/a")).or_default().max_listeners = Some(1);
    });
    let (a, b) = (world.source("/a"), world.source("/b"));
    let ip = IpAddr::from([198, 51, 100, 7]);
    let seat = |claim: &Claim, exempt| {
        let mount = claim.stream().mount().clone();
        world.mounts.seat(&mount, claim.stream(), ip, exempt, world.now)
    };
    let mut inside = vec![seat(&a, false).expect("the first")];
    assert_eq!(seat(&a, false).err(), Some(Refused::MountFull));
    inside.push(seat(&b, false).expect("the second"));
    inside.push(seat(&b, false).expect("the third"));
    assert_eq!(seat(&b, false).err(), Some(Refused::ServerFull));
    inside.push(seat(&b, true).expect("exempt"));
    inside.clear();
    assert!(seat(&b, false).is_ok());
    assert_eq!(world.mounts.totals().listeners, 0);
}

#[test]
fn all_listeners_are_listed_by_the_mount_that_feeds_them() {
    let world = World::new(|_| {});
    let (a, b) = (world.source("/a"), world.source("/b"));
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    for claim in [&a, &b, &a] {
        let stream = claim.stream();
        let ip = IpAddr::from([198, 51, 100, 7]);
        let entrance = world
            .mounts
            .seat(stream.mount(), stream, ip, false, world.now)
            .expect("a place");
        let socket = TcpStream::connect(server.local_addr().expect("an address")).expect("a connection");
        let wire = Wire::plain(socket).expect("a socket");
        world
            .mounts
            .enter(entrance, wire, Bytes::new(), Interleave::Plain);
    }
    let ids = |list: &[Arc<Presence>]| list.iter().map(|presence| presence.id).collect::<Vec<_>>();
    let by_mount = world.mounts.listeners_by_mount();
    assert_eq!(by_mount.len(), 2);
    for (mount, expected) in [("/a", [1, 3].as_slice()), ("/b", &[2])] {
        assert_eq!(ids(&by_mount[&mount.to_owned()]), expected, "{mount}");
        assert_eq!(ids(&world.mounts.listeners_of(&name(mount))), expected, "{mount}");
    }
}

#[test]
fn a_header_that_changed_begins_another_stream_and_the_same_one_does_not() {
    let mut world = World::new(|_| {});
    let flac = Offer {
        format: Format::Flac,
        content_type: "audio/flac".into(),
        ..offer(Protocol::Icecast)
    };
    let header = |text: &'static str| {
        Unit::Header(Header {
            bytes: text.into(),
            chains: false,
        })
    };
    let mut claim = world
        .mounts
        .claim(&name("/a"), flac.clone(), world.now)
        .expect("the mount is free");
    claim.push(header("fLaC one"), world.now);
    let first = Arc::clone(claim.stream());
    release(&mut world, claim);
    let mut claim = world
        .mounts
        .claim(&name("/a"), flac, world.now)
        .expect("the mount waits");
    claim.push(header("fLaC one"), world.now);
    assert!(Arc::ptr_eq(claim.stream(), &first));
    assert_eq!(first.feed().ring.head(), 1, "the header is not sent twice");
    claim.push(header("fLaC two"), world.now);
    assert!(!Arc::ptr_eq(claim.stream(), &first));
    assert!(first.feed().ring.is_closed());
}

#[test]
fn counters_go_on_over_reconnects() {
    let mut world = World::new(|settings| settings.grace = Duration::ZERO);
    for _ in 0..3 {
        let mut claim = world.source("/a");
        world.frame(&mut claim);
        release(&mut world, claim);
    }
    assert_eq!(world.mounts.totals().bytes_in, 300);
    assert_eq!(world.mounts.totals().source_connections, 3);
}
