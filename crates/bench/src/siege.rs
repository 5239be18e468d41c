//! The `siege` command: whether listeners notice that somebody tries passwords, what a list of many mounts costs, and
//! whether the time of a sign-in tells which accounts exist.
//! Contract: each figure stands beside the same figure without the attack, from one run.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::accounting::CpuTime;
use crate::args::Args;
use crate::clock::Stamp;
use crate::compare::find_tinyice;
use crate::contender::ACCOUNTS;
use crate::launch::raise_descriptor_limit;
use crate::load::order;
use crate::report::millis;
use crate::round::Stand;
use crate::scenario::Scenario;
use crate::{Outcome, say};

/// Connections that try passwords at one time: more than may wait for a password check, so that the server has to turn some away.
const HANDS: usize = 192;

/// How long the server needs for the checks that wait: 64 of a quarter of a second.
const CALM: Duration = Duration::from_secs(18);

/// Runs the command.
pub(crate) fn run(args: &mut Args) -> Outcome<()> {
    let listeners = args.take("listeners", 1000)?;
    let window = Duration::from_secs_f64(args.take("seconds", 5.0)?);
    let rounds = args.take("rounds", 3)?;
    let rate = args.take("attempts", 2000u64)?;
    let addresses = args.take("addresses", 500u64)?;
    let mounts = args.take("mounts", 1000)?;
    let tries = args.take("tries", 200)?;
    let contender = find_tinyice(args)?
        .into_iter()
        .next()
        .ok_or("no tinyice found (see --tinyice)")?;
    args.finish()?;
    raise_descriptor_limit();

    let scenario = Scenario {
        listeners,
        ..Scenario::plain()
    };
    let mut stand = Stand::set_up(&contender, &scenario)?;
    stand.tell(order::START)?;
    stand.wait_settled();
    say(&format!(
        "{listeners} listeners; {rate} wrong passwords a second from {addresses} addresses\n"
    ))?;
    let (mut calm, mut besieged) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        calm.push(look(&mut stand, window, None)?);
        besieged.push(look(&mut stand, window, Some((rate, addresses)))?);
        // Passwords that still wait to be checked belong to the attack, not to the calm after it.
        thread::sleep(CALM);
    }
    for (name, looks) in [("without", &mut calm), ("with", &mut besieged)] {
        looks.sort_by(|a, b| a.p99.total_cmp(&b.p99));
        let middle = &looks[looks.len() / 2];
        say(&format!(
            "{name:>8} the attack: delay p50 {:.0} ms, p99 {:.0} ms, {} dropped, server {:.0} % of a core, {} attempts\n",
            middle.p50,
            middle.p99,
            looks.iter().map(|look| look.dropped).sum::<u64>(),
            middle.cpu * 100.0,
            middle.attempts,
        ))?;
    }
    drop(stand);
    timing(&contender, tries)?;
    list(&contender, mounts)
}

/// What one window showed.
struct Look {
    p50: f64,
    p99: f64,
    dropped: u64,
    cpu: f64,
    attempts: u64,
}

fn look(stand: &mut Stand, window: Duration, attack: Option<(u64, u64)>) -> Outcome<Look> {
    let (pid, address) = (stand.server.pid(), stand.server.address);
    let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let begun = Stamp::now();
    let hands: Vec<_> = attack
        .into_iter()
        .flat_map(|(rate, addresses)| (0..HANDS).map(move |hand| (rate, addresses, hand)))
        .map(|(rate, addresses, hand)| {
            let (stop, made) = (Arc::clone(&stop), Arc::clone(&made));
            thread::spawn(move || besiege(address, rate, addresses, hand, begun, &stop, &made))
        })
        .collect();
    if attack.is_some() {
        // Locked addresses are another load than fresh ones; both are in the window.
        thread::sleep(Duration::from_millis(300));
    }
    stand.open_window()?;
    let (cpu, opened, before) = (CpuTime::of(pid)?, Stamp::now(), made.load(Ordering::Relaxed));
    thread::sleep(window);
    let cpu = CpuTime::of(pid)?.since(&cpu).as_secs_f64() / Stamp::now().since(opened).as_secs_f64();
    let attempts = made.load(Ordering::Relaxed) - before;
    let report = stand.report(Duration::ZERO)?;
    stop.store(true, Ordering::Relaxed);
    for hand in hands {
        let _ = hand.join();
    }
    Ok(Look {
        p50: millis(report.delay.quantile(0.5).unwrap_or_default()),
        p99: millis(report.delay.quantile(0.99).unwrap_or_default()),
        dropped: report.dropped,
        cpu,
        attempts,
    })
}

/// Tries passwords at its share of the pace, each time from the next address.
fn besiege(
    server: SocketAddr,
    rate: u64,
    addresses: u64,
    hand: usize,
    begun: Stamp,
    stop: &AtomicBool,
    made: &AtomicU64,
) {
    let mut number = hand as u64;
    while !stop.load(Ordering::Relaxed) {
        let due = Duration::from_nanos(number * 1_000_000_000 / rate);
        thread::sleep(due.saturating_sub(Stamp::now().since(begun)));
        // A refusal, even without words, is an answer.
        if attempt(
            server,
            number % addresses,
            &format!("guess-{}", number % addresses),
            "wrong",
        )
        .is_ok()
        {
            made.fetch_add(1, Ordering::Relaxed);
        }
        number += HANDS as u64;
    }
}

/// One sign-in; gives the status.
fn attempt(server: SocketAddr, from: u64, user: &str, password: &str) -> Outcome<String> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    let (high, low) = (u8::try_from(from / 250)?, u8::try_from(from % 250 + 1)?);
    socket.bind(&SocketAddr::from(([127, 2, high, low], 0)).into())?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.connect(&server.into())?;
    let mut stream: TcpStream = socket.into();
    let body = format!("username={user}&password={password}");
    write!(
        stream,
        "POST /login HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nAccept: application/json\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.get(9..12).unwrap_or_default().to_owned())
}

/// How long wrong sign-ins take, by kind of account.
fn timing(contender: &crate::contender::Contender, tries: usize) -> Outcome<()> {
    let scenario = Scenario {
        listeners: 0,
        ..Scenario::plain()
    };
    let stand = Stand::set_up(contender, &scenario)?;
    let kinds = [
        ("known", "known"),
        ("unknown", "nobody"),
        ("without password", "passwordless"),
    ];
    let mut times = kinds.map(|_| Vec::with_capacity(tries));
    for number in 0..tries {
        for (place, (_, user)) in kinds.iter().enumerate() {
            let from = u64::try_from(number % 60_000)?;
            let user = format!("{user}-{}", number % ACCOUNTS);
            let begun = Stamp::now();
            attempt(stand.server.address, from, &user, "wrong")?;
            times[place].push(Stamp::now().since(begun).as_secs_f64() * 1e3);
        }
    }
    say(&format!("{tries} wrong sign-ins of each kind of account\n"))?;
    for ((name, _), mut times) in kinds.into_iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        say(&format!(
            "{name:>18}: median {:.1} ms, p5 {:.1}, p95 {:.1}\n",
            at(50),
            at(5),
            at(95)
        ))?;
    }
    Ok(())
}

/// What a list of many mounts costs.
fn list(contender: &crate::contender::Contender, mounts: usize) -> Outcome<()> {
    let scenario = Scenario {
        listeners: 0,
        mounts,
        kbit: 32,
        ..Scenario::plain()
    };
    let stand = Stand::set_up(contender, &scenario)?;
    thread::sleep(Duration::from_secs(2));
    let address = stand.server.address;
    let mut times = Vec::new();
    let mut size = 0;
    for _ in 0..60 {
        let mut stream = TcpStream::connect(address)?;
        // `admin:bench-source`
        write!(
            stream,
            "GET /api/streams HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Authorization: Basic YWRtaW46YmVuY2gtc291cmNl\r\n\r\n"
        )?;
        let begun = Stamp::now();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        if !answer.starts_with(b"HTTP/1.1 200") {
            return Err("the server does not list its mounts".into());
        }
        times.push(Stamp::now().since(begun).as_secs_f64() * 1e3);
        size = answer.len();
        thread::sleep(Duration::from_millis(50));
    }
    times.sort_by(f64::total_cmp);
    say(&format!(
        "/api/streams with {mounts} mounts: median {:.1} ms, p95 {:.1} ms, {} kB\n",
        times[times.len() / 2],
        times[times.len() * 95 / 100],
        size / 1024
    ))
}
