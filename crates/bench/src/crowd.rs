//! Many listeners on one thread: opens them at a pace, lets them read, adds up what they saw.
//! Contract: opening never delays reading by more than a few milliseconds, so a joining crowd does not spoil the
//! delays measured by those already there.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Protocol, Socket, Type};

use crate::clock::{Stamp, nanos};
use crate::frames::Bitrate;
use crate::listener::{End, Listener, Pace, Sample};
use crate::mounts::Mounts;
use crate::report::Report;

/// Listeners that share one source address; an address has about 28,000 ports.
const PER_ADDRESS: usize = 10_000;
/// Connections opened at most between two looks at those that are open.
const OPEN_AT_ONCE: usize = 64;
const SLOW_TICK: Duration = Duration::from_millis(100);
/// The receive buffer of slow and dead readers, small so that the server notices them soon.
const SLOW_BUFFER: usize = 8 * 1024;
const WAKE: Token = Token(usize::MAX);

/// Who is to come and how they behave.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) target: SocketAddr,
    /// What they listen to.
    pub(crate) mounts: Mounts,
    /// The number of the first listener, when the crowd is spread over several processes.
    pub(crate) first: usize,
    /// How many.
    pub(crate) listeners: usize,
    /// Connections opened in a second.
    pub(crate) rate: f64,
    /// The bitrate that the sources send.
    pub(crate) bitrate: Bitrate,
    /// The share that asks for in-band metadata.
    pub(crate) icy: f64,
    /// The share that reads at half rate.
    pub(crate) slow: f64,
    /// The share that stops reading.
    pub(crate) dead: f64,
    /// How many look into their stream.
    pub(crate) sampled: usize,
    /// Ask with HTTP/1.0 instead of 1.1.
    pub(crate) http10: bool,
}

/// The listeners of this process.
pub(crate) struct Crowd {
    plan: Plan,
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    seats: Vec<Option<Listener>>,
    /// Seats whose listeners have hung up and are to come back at once.
    returning: VecDeque<usize>,
    /// How often listeners were sent home, so that it is not always the same ones.
    sendings: usize,
    started: Option<Stamp>,
    next_slow_tick: Stamp,
    /// Opened, but neither on nor over.
    undecided: usize,
    window: Stamp,
    all: Presence,
    ordinary: Presence,
    sample: Sample,
    report: Report,
    scratch: Vec<u8>,
}

/// Integrates the number of listeners over time.
#[derive(Clone, Copy)]
struct Presence {
    count: u64,
    since: Stamp,
    sum: u64,
}

impl Presence {
    fn change(&mut self, by: i64, now: Stamp) {
        self.sum += self.count * nanos(now.since(self.since));
        self.since = now;
        self.count = self.count.saturating_add_signed(by);
    }
}

impl Crowd {
    /// A crowd that waits for its start.
    pub(crate) fn new(plan: Plan) -> io::Result<Crowd> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let now = Stamp::now();
        let nobody = Presence {
            count: 0,
            since: now,
            sum: 0,
        };
        Ok(Crowd {
            seats: Vec::with_capacity(plan.listeners),
            returning: VecDeque::new(),
            sendings: 0,
            plan,
            poll,
            events: Events::with_capacity(4096),
            waker,
            started: None,
            next_slow_tick: now,
            undecided: 0,
            window: now,
            all: nobody,
            ordinary: nobody,
            sample: Sample::default(),
            report: Report::default(),
            scratch: vec![0; 64 * 1024],
        })
    }

    /// Ends a step early, from another thread.
    pub(crate) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Begins to connect.
    pub(crate) fn start(&mut self) {
        self.started = Some(Stamp::now());
    }

    /// Whether every listener is on or over.
    pub(crate) fn settled(&self) -> bool {
        self.seats.len() == self.plan.listeners && self.returning.is_empty() && self.undecided == 0
    }

    /// Begins the window: counters of bytes, delays, silence and connected time start anew.
    pub(crate) fn open_window(&mut self) {
        let now = Stamp::now();
        self.window = now;
        self.sample = Sample::default();
        for presence in [&mut self.all, &mut self.ordinary] {
            presence.change(0, now);
            presence.sum = 0;
        }
        self.seats
            .iter_mut()
            .flatten()
            .for_each(|listener| listener.open_window(now));
    }

    /// Has a share of the ordinary listeners hang up and come back as fast as they can.
    pub(crate) fn send_home(&mut self, share: f64) {
        let now = Stamp::now();
        self.sendings += 1;
        for seat in 0..self.seats.len() {
            let Some(listener) = &mut self.seats[seat] else {
                continue;
            };
            let drawn = spread(self.plan.first + seat + self.sendings * 7919, 0.569_840_291) < share;
            if listener.pace != Pace::Ordinary || !drawn {
                continue;
            }
            if listener.first_audio.is_some() {
                self.all.change(-1, now);
                self.ordinary.change(-1, now);
            } else {
                self.undecided -= 1;
            }
            listener.settle(&mut self.sample);
            self.report.bytes += listener.bytes;
            self.report.reads += listener.reads;
            self.seats[seat] = None;
            self.returning.push_back(seat);
        }
    }

    /// What was seen up to now; the sources paused for `silence` in the window. The crowd goes on.
    pub(crate) fn report(&mut self, silence: Duration) -> Report {
        let now = Stamp::now();
        self.all.change(0, now);
        self.ordinary.change(0, now);
        for listener in self.seats.iter_mut().flatten() {
            listener.settle(&mut self.sample);
        }
        let mut report = self.report.clone();
        report.wanted = self.plan.listeners as u64;
        report.on = self.all.count;
        let to_come = self.plan.listeners - self.seats.len() + self.returning.len();
        report.waiting = (self.undecided + to_come) as u64;
        report.listened = self.all.sum;
        report.listened_ordinary = self.ordinary.sum;
        report.delay = self.sample.delay.clone();
        report.findings = self.sample.findings.clone();
        report.blocks = self.sample.blocks.clone();
        for listener in self
            .seats
            .iter()
            .flatten()
            .filter(|listener| listener.pace == Pace::Ordinary)
        {
            let Some(first_audio) = listener.first_audio else {
                let waits = nanos(now.since(listener.opened));
                report.waits_mut(listener.returned).add(waits);
                continue;
            };
            report.bytes += listener.bytes;
            report.reads += listener.reads;
            report.silence.add(listener.longest_silence(now));
            let heard = now.since(first_audio.max(self.window)).as_secs_f64();
            // The last half second may still be on its way in any server that collects before it sends.
            let due = self.plan.bitrate.bytes_per_second() * (heard - silence.as_secs_f64() - 0.5) * 0.9;
            report.starved += u64::from((listener.bytes as f64) < due);
        }
        report
    }

    /// Opens who is due, waits for something to happen or for the given time, and handles it.
    pub(crate) fn step(&mut self, patience: Duration) -> io::Result<()> {
        let now = Stamp::now();
        let patience = self.open_due(now).map_or(patience, |wait| wait.min(patience));
        let slow = self.plan.slow > 0.0;
        let patience = if slow {
            patience.min(self.next_slow_tick.since(now))
        } else {
            patience
        };
        match self.poll.poll(&mut self.events, Some(patience)) {
            Ok(()) => self.handle_events(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if slow && Stamp::now() >= self.next_slow_tick {
            self.next_slow_tick = Stamp::now().after(SLOW_TICK);
            self.sip_slow();
        }
        Ok(())
    }

    /// Opens connections that are due and says how long until the next one is.
    fn open_due(&mut self, now: Stamp) -> Option<Duration> {
        let started = self.started?;
        let elapsed = now.since(started).as_secs_f64();
        let due = ((elapsed * self.plan.rate) as usize + 1).min(self.plan.listeners);
        let upto = due.min(self.seats.len() + OPEN_AT_ONCE);
        while self.seats.len() < upto {
            self.open(self.seats.len(), false);
        }
        for seat in (0..OPEN_AT_ONCE)
            .map_while(|_| self.returning.pop_front())
            .collect::<Vec<_>>()
        {
            self.open(seat, true);
        }
        if !self.returning.is_empty() {
            return Some(Duration::ZERO);
        }
        if self.seats.len() == self.plan.listeners {
            return None;
        }
        let next = self.seats.len() as f64 / self.plan.rate - elapsed;
        Some(Duration::from_secs_f64(next.max(0.0)))
    }

    fn open(&mut self, seat: usize, returned: bool) {
        let number = self.plan.first + seat;
        let pace = self.pace(number);
        let now = Stamp::now();
        let opened = connect(self.plan.target, number, pace).and_then(|mut stream| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut stream, Token(seat), interest)?;
            Ok(stream)
        });
        let listener = match opened {
            Ok(stream) => {
                let probe = self.is_sampled(number, pace).then_some(self.plan.bitrate);
                let request = self.request(number);
                self.undecided += 1;
                Some(Listener::new(stream, request, pace, probe, now).returned(returned))
            }
            Err(error) => {
                *self
                    .report
                    .refused
                    .entry(format!("cannot open: {error}"))
                    .or_default() += 1;
                None
            }
        };
        match self.seats.get_mut(seat) {
            Some(empty) => *empty = listener,
            None => self.seats.push(listener),
        }
    }

    fn request(&self, number: usize) -> Vec<u8> {
        let mount = self.plan.mounts.name(number);
        let version = if self.plan.http10 { "1.0" } else { "1.1" };
        let metadata = if spread(number, 0.754_877_666) < self.plan.icy {
            "Icy-MetaData: 1\r\n"
        } else {
            ""
        };
        let target = self.plan.target;
        format!("GET {mount} HTTP/{version}\r\nHost: {target}\r\nUser-Agent: bench\r\n{metadata}\r\n")
            .into_bytes()
    }

    fn pace(&self, number: usize) -> Pace {
        match spread(number, 0.618_033_988) {
            point if point < self.plan.dead => Pace::Dead,
            point if point < self.plan.dead + self.plan.slow => Pace::Slow,
            _ => Pace::Ordinary,
        }
    }

    fn is_sampled(&self, number: usize, pace: Pace) -> bool {
        let every = (self.plan.listeners / self.plan.sampled.max(1)).max(1);
        // One of each block, at another place in each block, so that all mounts get their share.
        pace == Pace::Ordinary && self.plan.sampled > 0 && number % every == number / every % every
    }

    fn handle_events(&mut self) {
        // An empty list takes no memory; the full one comes back below.
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let Token(seat) = event.token();
            // The waker's token is no seat; and an earlier event of this batch may have emptied one.
            let Some(Some(listener)) = self.seats.get_mut(seat) else {
                continue;
            };
            let before = listener.first_audio;
            let closing = event.is_read_closed() || event.is_error();
            let result = listener.ready(closing, &mut self.scratch, &mut self.sample);
            self.judge(seat, before, result);
        }
        self.events = events;
    }

    fn sip_slow(&mut self) {
        let earned = (self.plan.bitrate.bytes_per_second() / 2.0 * SLOW_TICK.as_secs_f64()) as usize;
        for seat in 0..self.seats.len() {
            let Some(listener) = &mut self.seats[seat] else {
                continue;
            };
            if listener.pace == Pace::Slow {
                let before = listener.first_audio;
                let result = listener.sip(earned, &mut self.scratch, &mut self.sample);
                self.judge(seat, before, result);
            }
        }
    }

    /// Books what became of a listener that has just read.
    fn judge(&mut self, seat: usize, before: Option<Stamp>, result: Result<(), End>) {
        let Some(listener) = &mut self.seats[seat] else {
            return;
        };
        let ordinary = listener.pace == Pace::Ordinary;
        if let (None, Some(first_audio)) = (before, listener.first_audio) {
            self.undecided -= 1;
            self.all.change(1, first_audio);
            if ordinary {
                self.ordinary.change(1, first_audio);
                let waited = nanos(first_audio.since(listener.opened));
                self.report.waits_mut(listener.returned).add(waited);
            }
        }
        let Err(end) = result else { return };
        let now = Stamp::now();
        listener.settle(&mut self.sample);
        if ordinary {
            self.report.bytes += listener.bytes;
            self.report.reads += listener.reads;
        }
        match end {
            End::Refused(reason) => {
                self.undecided -= 1;
                *self.report.refused.entry(reason).or_default() += 1;
            }
            End::Dropped => {
                self.all.change(-1, now);
                if ordinary {
                    self.ordinary.change(-1, now);
                    self.report.dropped += 1;
                } else {
                    self.report.shed += 1;
                }
            }
        }
        self.seats[seat] = None;
    }
}

/// A point between 0 and 1 for each number, evenly spread over any run of numbers.
fn spread(number: usize, step: f64) -> f64 {
    (number as f64 * step).fract()
}

fn connect(target: SocketAddr, number: usize, pace: Pace) -> io::Result<mio::net::TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Closing resets, so that thousands of ports do not linger until the next round.
    socket.set_linger(Some(Duration::ZERO))?;
    if pace != Pace::Ordinary {
        socket.set_recv_buffer_size(SLOW_BUFFER)?;
    }
    if target.ip().is_loopback() && target.is_ipv4() {
        let host = 2 + (number / PER_ADDRESS % 250) as u8;
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), 0);
        socket.bind(&address.into())?;
    }
    match socket.connect(&target.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    Ok(mio::net::TcpStream::from_std(socket.into()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::{Crowd, Plan, Presence, spread};
    use crate::clock::Stamp;
    use crate::mounts::Mounts;

    #[test]
    fn presence_is_count_times_time() {
        let mut presence = Presence {
            count: 0,
            since: Stamp(0),
            sum: 0,
        };
        presence.change(1, Stamp(10));
        presence.change(1, Stamp(20));
        presence.change(-1, Stamp(25));
        presence.change(0, Stamp(30));
        assert_eq!((presence.count, presence.sum), (1, 10 + 10 + 5));
    }

    #[test]
    fn shares_are_met_within_small_runs() {
        for share in [0.05, 0.1, 0.5] {
            let met = (0..1000)
                .filter(|&number| spread(number, 0.618_033_988) < share)
                .count();
            assert!(
                met.abs_diff((share * 1000.0) as usize) <= 10,
                "{met} of 1000 for {share}"
            );
        }
    }

    #[test]
    fn a_crowd_tells_listeners_from_refusals() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let plan = Plan {
            target: server.local_addr().unwrap(),
            mounts: Mounts {
                base: "/m".into(),
                count: 1,
            },
            first: 0,
            listeners: 4,
            rate: 1e6,
            bitrate: "128".parse().unwrap(),
            icy: 0.0,
            slow: 0.0,
            dead: 0.0,
            sampled: 4,
            http10: true,
        };
        let mut crowd = Crowd::new(plan).unwrap();
        crowd.start();
        while crowd.seats.len() < 4 {
            crowd.step(Duration::ZERO).unwrap();
        }
        let serving = std::thread::spawn(move || {
            let mut peers = Vec::new();
            for answer in [
                "200 OK\r\n\r\naudio",
                "403 No\r\n\r\n",
                "200 OK\r\n\r\naudio",
                "200 OK\r\n\r\n",
            ] {
                let (mut peer, _) = server.accept().unwrap();
                let mut request = [0; 4096];
                let read = peer.read(&mut request).unwrap();
                assert!(request[..read].starts_with(b"GET /m HTTP/1.0\r\n"));
                write!(peer, "HTTP/1.0 {answer}").unwrap();
                peers.push(peer);
            }
            // The last one stays without audio and is cut off.
            peers.pop();
            peers
        });
        while !crowd.settled() {
            crowd.step(Duration::from_millis(50)).unwrap();
        }
        let report = crowd.report(Duration::ZERO);
        assert_eq!(
            (report.wanted, report.on, report.refused_total(), report.waiting),
            (4, 2, 2, 0)
        );
        assert_eq!(report.first_byte.total(), 2);
        drop(serving.join().unwrap());
    }
}
