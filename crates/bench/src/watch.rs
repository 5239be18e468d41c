//! The `watch` command: what it costs a server to be watched: scrapes of its metrics and subscribers of its feed.
//! Contract: the cost is processor time of the server with and without those who watch, in one run.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use crate::accounting::CpuTime;
use crate::args::Args;
use crate::clock::Stamp;
use crate::compare::find_tinyice;
use crate::contender::scrape;
use crate::launch::raise_descriptor_limit;
use crate::round::Stand;
use crate::scenario::Scenario;
use crate::{Outcome, say};

/// Runs the command.
pub(crate) fn run(args: &mut Args) -> Outcome<()> {
    let mounts = args.take("mounts", 1000)?;
    let scrapes = args.take("scrapes", 50u32)?;
    let subscribers = args.take("subscribers", 1000usize)?;
    let feed_mounts = args.take("feed-mounts", 10)?;
    let window = Duration::from_secs_f64(args.take("seconds", 10.0)?);
    let contender = find_tinyice(args)?
        .into_iter()
        .next()
        .ok_or("no tinyice found (see --tinyice)")?;
    args.finish()?;
    raise_descriptor_limit();

    say(&format!("{mounts} mounts with a source of 32 kbit/s each\n"))?;
    let stand = Stand::set_up(&contender, &scenario(mounts))?;
    let pid = stand.server.pid();
    thread::sleep(Duration::from_secs(2));
    for (name, header) in [
        ("text", ""),
        ("text, gzip", "Accept-Encoding: gzip\r\n"),
        ("OpenMetrics", "Accept: application/openmetrics-text\r\n"),
    ] {
        let (cost, size) = scrape_cost(pid, stand.server.internal, header, scrapes)?;
        say(&format!(
            "scrape, {name}: {:.1} ms of one core, {} kB\n",
            cost.as_secs_f64() * 1e3,
            size / 1024
        ))?;
    }
    drop(stand);

    say(&format!(
        "{feed_mounts} mounts, {subscribers} subscribers of /events\n"
    ))?;
    let stand = Stand::set_up(&contender, &scenario(feed_mounts))?;
    let pid = stand.server.pid();
    thread::sleep(Duration::from_secs(2));
    let without = share(pid, window)?;
    let crowd = Subscribers::open(stand.server.address, subscribers)?;
    let counting = thread::spawn(move || crowd.read(window + Duration::from_secs(4)));
    thread::sleep(Duration::from_secs(2));
    let with = share(pid, window)?;
    let bytes = counting.join().map_err(|_| "a subscriber failed")?;
    say(&format!(
        "feed: {:.1} % of one core beyond the {:.1} % without subscribers; {:.1} kB/s for each\n",
        (with - without) * 100.0,
        without * 100.0,
        bytes as f64 / 1024.0 / subscribers as f64 / (window.as_secs_f64() + 4.0),
    ))
}

fn scenario(mounts: usize) -> Scenario {
    Scenario {
        listeners: 0,
        mounts,
        kbit: 32,
        ..Scenario::plain()
    }
}

/// The share of one core that a process uses.
fn share(pid: u32, window: Duration) -> Outcome<f64> {
    let (before, begun) = (CpuTime::of(pid)?, Stamp::now());
    thread::sleep(window);
    let used = CpuTime::of(pid)?.since(&before);
    Ok(used.as_secs_f64() / Stamp::now().since(begun).as_secs_f64())
}

/// Processor time of one scrape beyond what the server needs anyway, and the size of its answer.
fn scrape_cost(pid: u32, internal: SocketAddr, header: &str, scrapes: u32) -> Outcome<(Duration, usize)> {
    // Stretched out, so that the answer of one scrape is never the cached one of another.
    let pause = Duration::from_millis(100);
    let before = CpuTime::of(pid)?;
    thread::sleep(pause * scrapes);
    let idle = CpuTime::of(pid)?.since(&before);
    let before = CpuTime::of(pid)?;
    let begun = Stamp::now();
    let mut size = 0;
    for number in 1..=scrapes {
        size = scrape(internal, header)?.len();
        let due = pause * number;
        thread::sleep(due.saturating_sub(Stamp::now().since(begun)));
    }
    let used = CpuTime::of(pid)?.since(&before);
    Ok((used.saturating_sub(idle) / scrapes, size))
}

/// Connections that read a feed and forget it.
struct Subscribers {
    poll: Poll,
    streams: Vec<mio::net::TcpStream>,
}

impl Subscribers {
    /// Subscribes from as many loopback addresses as it takes: a server limits the feeds of one address.
    fn open(server: SocketAddr, count: usize) -> Outcome<Subscribers> {
        const PER_ADDRESS: usize = 15;
        let poll = Poll::new()?;
        let mut streams = Vec::with_capacity(count);
        for number in 0..count {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
            let part = number / PER_ADDRESS + 1;
            let from = SocketAddr::from((
                [127, 1, u8::try_from(part / 250)?, u8::try_from(part % 250 + 1)?],
                0,
            ));
            socket.bind(&from.into())?;
            socket.connect(&server.into())?;
            let mut stream: TcpStream = socket.into();
            write!(stream, "GET /events HTTP/1.1\r\nHost: {server}\r\n\r\n")?;
            let mut head = [0; 12];
            stream.read_exact(&mut head)?;
            if !head.ends_with(b"200") {
                return Err(format!("subscriber {number} was refused").into());
            }
            stream.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(number), Interest::READABLE)?;
            streams.push(stream);
        }
        Ok(Subscribers { poll, streams })
    }

    /// Reads for a time; gives the number of bytes.
    fn read(mut self, time: Duration) -> u64 {
        let begun = Stamp::now();
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 64 << 10];
        let mut bytes = 0;
        while Stamp::now().since(begun) < time {
            // A failed poll is tried again until the time is over.
            let _ = self.poll.poll(&mut events, Some(Duration::from_millis(100)));
            for event in &events {
                while let Ok(count) = self.streams[event.token().0].read(&mut buffer) {
                    bytes += count as u64;
                    if count == 0 {
                        break;
                    }
                }
            }
        }
        bytes
    }
}
