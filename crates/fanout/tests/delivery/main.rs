//! Delivery to real sockets: late joins, moves between streams, slow readers, limits of memory work.
#![allow(unsafe_code, reason = "counting allocations takes an allocator of our own")]

mod encrypted;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use fanout::{
    Admission, Departure, Fanout, Feed, FeedCounters, Home, Interleave, Leave, Otherwise, Presence, Routing,
    Seating, Settings, Wire,
};
use media::Format;
use observe::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use ring::{Entry, Limits, Ring, Writer};

/// Counts the allocations of delivery threads, which are told apart by their names.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static COUNTS: AtomicBool = AtomicBool::new(false);

thread_local! {
    static IS_DELIVERY: Cell<Option<bool>> = const { Cell::new(None) };
}

fn count() {
    if !COUNTS.load(Ordering::Relaxed) {
        return;
    }
    // During the first look at the name the cell says "no", so that looking cannot recurse.
    let is_delivery = IS_DELIVERY.with(|cell| {
        if cell.get().is_none() {
            cell.set(Some(false));
            cell.set(Some(std::thread::current().name() == Some("fanout")));
        }
        cell.get() == Some(true)
    });
    if is_delivery {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system allocator unchanged; counting allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: as the trait asks; what comes back is the system allocator's.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as the trait asks; the pointer came from `alloc` above, which is the system allocator's.
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PATIENCE: Duration = Duration::from_secs(20);

/// Held by every test; whoever counts allocations holds it alone, for delivery threads are told by name only.
static STAGES: RwLock<()> = RwLock::new("stages", ());

struct Stage {
    _turn: Turn,
    fanout: Fanout,
    departures: mpsc::Receiver<Departure>,
    home: Arc<Home>,
    server: Arc<Seating>,
    next: Cell<u64>,
}

struct Station {
    writer: Writer,
    feed: Arc<Feed>,
}

/// A test's hold on [`STAGES`].
enum Turn {
    Together(#[allow(dead_code, reason = "held, not read")] RwLockReadGuard<'static, ()>),
    Alone(#[allow(dead_code, reason = "held, not read")] RwLockWriteGuard<'static, ()>),
}

impl Stage {
    fn new(write_timeout: Duration) -> Self {
        Self::with(Turn::Together(STAGES.read()), write_timeout)
    }

    fn alone() -> Self {
        Self::with(Turn::Alone(STAGES.write()), PATIENCE)
    }

    fn with(turn: Turn, write_timeout: Duration) -> Self {
        let (left, departures) = mpsc::channel();
        let settings = Settings {
            threads: 1,
            write_timeout,
            departures: Arc::new(move |departure| drop(left.send(departure))),
        };
        Self {
            _turn: turn,
            fanout: Fanout::start(&settings).expect("the system has threads"),
            departures,
            home: Home::new(1),
            server: Seating::new(None),
            next: Cell::new(1),
        }
    }

    fn station(&self, compatible: &str) -> Station {
        let (writer, ring) = Ring::new(Limits::for_burst(0));
        let id = 100 + self.next.replace(self.next.get() + 1);
        let feed = Arc::new(Feed {
            id,
            mount: Arc::new(format!("/{id}")),
            ring,
            format: Format::Mpeg,
            compatible: ArcSwap::from_pointee(compatible.to_owned()),
            seating: Seating::new(None),
            counters: Arc::new(FeedCounters::default()),
            burst: AtomicU64::new(65_536),
            low_latency: AtomicBool::new(false),
        });
        Station { writer, feed }
    }

    fn route(&self, feeds: &[&Station], otherwise: Otherwise) {
        let feeds = feeds.iter().map(|station| Arc::clone(&station.feed)).collect();
        self.home.set_routing(Routing {
            feeds,
            stay: false,
            otherwise,
        });
        self.fanout.reroute(&self.home);
    }

    /// A client's end of a new listener.
    fn listen(&self, station: &Station, interleave: Interleave) -> TcpStream {
        let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback is there");
        let client = TcpStream::connect(door.local_addr().expect("bound")).expect("it listens");
        client.set_read_timeout(Some(PATIENCE)).expect("a real timeout");
        let (socket, _) = door.accept().expect("the client connected");
        let wire = Wire::plain(socket).expect("sockets can be non-blocking");
        self.admit(station, interleave, wire);
        client
    }

    fn admit(&self, station: &Station, interleave: Interleave, wire: Wire) {
        let id = self.next.replace(self.next.get() + 1);
        let presence = Presence::new(
            id,
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            Arc::new("/live".to_owned()),
            Instant::now(),
        );
        self.fanout.admit(Admission {
            wire,
            head: Bytes::from_static(b"HEAD\n"),
            home: Arc::clone(&self.home),
            feed: Arc::clone(&station.feed),
            interleave,
            presence: Arc::new(presence),
            seat: station.feed.seating.take(false).expect("no limit"),
            server_seat: self.server.take(false).expect("no limit"),
        });
    }

    fn departure(&self) -> Departure {
        self.departures.recv_timeout(PATIENCE).expect("somebody leaves")
    }
}

impl Station {
    fn say(&mut self, text: &str) {
        self.writer.push(
            Entry::frames(Bytes::copy_from_slice(text.as_bytes()), true),
            Instant::now(),
        );
    }

    fn end(&self) {
        self.feed.ring.close();
    }
}

fn hear(client: &mut impl Read, len: usize) -> String {
    let mut got = vec![0; len];
    client.read_exact(&mut got).expect("it arrives in time");
    String::from_utf8(got).expect("only text was sent")
}

fn hear_end(client: &mut TcpStream) -> String {
    let mut got = String::new();
    client
        .read_to_string(&mut got)
        .expect("the connection is closed in time");
    got
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn head_burst_and_live_arrive_in_one_piece_and_the_end_is_the_last_frame() {
    let stage = Stage::new(PATIENCE);
    let mut station = stage.station("mpeg");
    stage.route(&[&station], Otherwise::Close);
    station.say("burst.");
    let mut client = stage.listen(&station, Interleave::Plain);
    assert_eq!(hear(&mut client, 11), "HEAD\nburst.");
    for n in 0..100 {
        station.say(&format!("{n}."));
    }
    station.end();
    stage.route(&[], Otherwise::Close);
    let expected: String = (0..100).map(|n| format!("{n}.")).collect();
    assert_eq!(hear_end(&mut client), expected);
    let departure = stage.departure();
    assert_eq!(departure.leave, Leave::SourceGone);
    assert_eq!(departure.sent as usize, 11 + expected.len());
    assert_eq!((station.feed.seating.taken(), stage.server.taken()), (0, 0));
}

#[test]
fn listeners_move_to_a_stream_that_suits_them_and_back() {
    let stage = Stage::new(PATIENCE);
    let (mut primary, mut other, mut fallback) = (
        stage.station("mpeg"),
        stage.station("ogg/Opus"),
        stage.station("mpeg"),
    );
    stage.route(&[&primary], Otherwise::Close);
    primary.say("one.");
    other.say("garbage.");
    fallback.say("two.");
    let mut client = stage.listen(&primary, Interleave::Plain);
    assert_eq!(hear(&mut client, 9), "HEAD\none.");
    primary.end();
    stage.route(&[&other, &fallback], Otherwise::Hold(PATIENCE));
    assert_eq!(hear(&mut client, 4), "two.");
    assert_eq!(
        (primary.feed.seating.taken(), fallback.feed.seating.taken()),
        (0, 1)
    );
    let mut again = stage.station("mpeg");
    again.say("three.");
    stage.route(&[&again, &other, &fallback], Otherwise::Hold(PATIENCE));
    assert_eq!(hear(&mut client, 6), "three.");
    fallback.say("not heard");
    again.say("four.");
    assert_eq!(hear(&mut client, 5), "four.");
}

#[test]
fn a_listener_without_anything_to_hear_is_held_and_then_let_go() {
    let stage = Stage::new(PATIENCE);
    let mut station = stage.station("mpeg");
    stage.route(&[&station], Otherwise::Close);
    station.say("one.");
    let mut client = stage.listen(&station, Interleave::Plain);
    assert_eq!(hear(&mut client, 9), "HEAD\none.");
    station.end();
    stage.route(&[], Otherwise::Hold(Duration::from_millis(1_500)));
    assert_eq!(hear_end(&mut client), "");
    assert_eq!(stage.departure().leave, Leave::SourceGone);
}

#[test]
fn a_reader_that_stops_is_dropped_and_nobody_else_notices() {
    let stage = Stage::new(Duration::from_millis(500));
    let mut station = stage.station("mpeg");
    stage.route(&[&station], Otherwise::Close);
    let mut healthy = stage.listen(&station, Interleave::Plain);
    let stuck = stage.listen(&station, Interleave::Plain);
    assert_eq!(hear(&mut healthy, 5), "HEAD\n");
    let frame = "x".repeat(64 << 10);
    let departure = loop {
        station.say(&frame);
        assert_eq!(hear(&mut healthy, frame.len()), frame);
        if let Ok(departure) = stage.departures.try_recv() {
            break departure;
        }
    };
    assert_eq!((departure.presence.id, departure.leave), (3, Leave::Slow));
    assert!(station.feed.counters.slow.load(Ordering::Relaxed) >= 1);
    drop(stuck);
    station.say("still here");
    assert_eq!(hear(&mut healthy, 10), "still here");
}

#[test]
fn what_a_slow_reader_misses_is_counted_exactly_and_it_goes_on_with_whole_frames() {
    let stage = Stage::new(PATIENCE);
    let mut station = stage.station("mpeg");
    stage.route(&[&station], Otherwise::Close);
    let mut client = stage.listen(&station, Interleave::Plain);
    assert_eq!(hear(&mut client, 5), "HEAD\n");
    // Frames of fixed length that say their number; far more than sockets and ring hold.
    let frames = 4_000_usize;
    for n in 0..frames {
        station.say(&format!("{n:09}{}\n", " ".repeat(4_086)));
        if n % 500 == 0 {
            std::thread::yield_now();
        }
    }
    station.end();
    stage.route(&[], Otherwise::Close);
    let got = hear_end(&mut client);
    let numbers: Vec<usize> = got
        .lines()
        .map(|line| {
            line.get(..9)
                .and_then(|text| text.parse().ok())
                .expect("whole frames only")
        })
        .collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
    let missed = frames - numbers.len();
    assert!(missed > 0, "the reader was overtaken");
    assert_eq!(
        station.feed.counters.dropped.load(Ordering::Relaxed),
        (missed * 4_096) as u64
    );
}

#[test]
fn a_client_that_hangs_up_or_is_kicked_is_gone_at_once() {
    let stage = Stage::new(PATIENCE);
    let mut station = stage.station("mpeg");
    stage.route(&[&station], Otherwise::Close);
    let mut first = stage.listen(&station, Interleave::Plain);
    let mut second = stage.listen(&station, Interleave::Plain);
    assert_eq!(
        (hear(&mut first, 5), hear(&mut second, 5)),
        ("HEAD\n".into(), "HEAD\n".into())
    );
    drop(first);
    station.say("a");
    station.say("b");
    let mut n = 0;
    let departure = loop {
        // The first write after a hang-up still succeeds; the reset that it causes is seen at the next.
        station.say("c");
        n += 1;
        if let Ok(departure) = stage.departures.recv_timeout(Duration::from_millis(50)) {
            break departure;
        }
        assert!(n < 200, "the hang-up is noticed");
    };
    assert_eq!((departure.presence.id, departure.leave), (2, Leave::Client));
    stage.fanout.close(|presence| presence.id == 3, Leave::Kicked);
    assert_eq!(stage.departure().leave, Leave::Kicked);
    hear_end(&mut second);
}

#[test]
fn a_client_that_only_closes_its_sending_side_goes_on_listening() {
    let stage = Stage::new(PATIENCE);
    let mut station = stage.station("mpeg");
    stage.route(&[&station], Otherwise::Close);
    let mut client = stage.listen(&station, Interleave::Plain);
    client
        .write_all(b"junk that nobody reads")
        .expect("the socket is open");
    client
        .shutdown(std::net::Shutdown::Write)
        .expect("the socket is open");
    assert_eq!(hear(&mut client, 5), "HEAD\n");
    station.say("one.");
    assert_eq!(hear(&mut client, 4), "one.");
}

#[test]
fn the_end_of_the_server_sends_what_is_due() {
    let stage = Stage::new(PATIENCE);
    let mut station = stage.station("mpeg");
    stage.route(&[&station], Otherwise::Close);
    let mut client = stage.listen(&station, Interleave::Plain);
    assert_eq!(hear(&mut client, 5), "HEAD\n");
    for _ in 0..50 {
        station.say("frame.");
    }
    stage.fanout.finish(Instant::now() + PATIENCE);
    assert_eq!(hear_end(&mut client), "frame.".repeat(50));
    assert_eq!(stage.departure().leave, Leave::Shutdown);
}

#[test]
fn a_flush_allocates_nothing_per_listener() {
    let stage = Stage::alone();
    let mut station = stage.station("mpeg");
    stage.route(&[&station], Otherwise::Close);
    let listeners = 200;
    let mut clients: Vec<_> = (0..listeners)
        .map(|n| {
            stage.listen(
                &station,
                if n % 2 == 0 {
                    Interleave::Plain
                } else {
                    Interleave::icy()
                },
            )
        })
        .collect();
    let frame = "x".repeat(417);
    // The first rounds size the buffers.
    for _ in 0..50 {
        station.say(&frame);
    }
    for client in &mut clients {
        hear(client, 5);
        client.set_nonblocking(true).expect("a socket");
    }
    let sent = || station.feed.counters.bytes_out.load(Ordering::Relaxed);
    let rounds = 100;
    let before = sent();
    COUNTS.store(true, Ordering::SeqCst);
    for round in 1..=rounds {
        station.writer.push(
            Entry::frames(Bytes::copy_from_slice(frame.as_bytes()), true),
            Instant::now(),
        );
        let due = before + round * frame.len() as u64 * listeners;
        wait_until("every round reaches everybody", || sent() >= due);
        let mut junk = [0; 4_096];
        for client in &mut clients {
            while client.read(&mut junk).is_ok_and(|read| read > 0) {}
        }
    }
    COUNTS.store(false, Ordering::SeqCst);
    let allocations = ALLOCATIONS.load(Ordering::SeqCst);
    assert!(
        allocations < rounds * 2,
        "{allocations} allocations for {rounds} flushes to {listeners} listeners"
    );
}
