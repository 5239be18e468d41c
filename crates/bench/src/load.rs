//! The `load` command: a crowd against a running server, alone or led by lines on standard input.
//! Contract: a led crowd answers each order with exactly one line and ends when its input ends.

use std::io::BufRead;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;

use crate::accounting::CpuTime;
use crate::args::Args;
use crate::clock::{Stamp, nanos};
use crate::crowd::{Crowd, Plan};
use crate::launch::raise_descriptor_limit;
use crate::mounts::Mounts;
use crate::report::{Report, millis};
use crate::{Outcome, say};

/// What a leader may say to a crowd, and its answers.
pub(crate) mod order {
    /// The answer when the crowd is ready to be led.
    pub(crate) const READY: &str = "ready";
    /// Begin to connect; answered by `SETTLED` when every listener is on or over.
    pub(crate) const START: &str = "start";
    /// See `START`.
    pub(crate) const SETTLED: &str = "settled";
    /// Begin the window; answered by the same word.
    pub(crate) const WINDOW: &str = "window";
    /// With the seconds for which the sources paused; answered by a report in JSON.
    pub(crate) const REPORT: &str = "report";
    /// With a share: so many hang up and come back; answered by `SETTLED` when they are back.
    pub(crate) const RETURN: &str = "return";
}

/// How long a step waits when nothing happens; orders wake it earlier.
const STEP: Duration = Duration::from_millis(200);

/// Descriptors that a crowd needs besides its listeners.
const SPARE_DESCRIPTORS: u64 = 32;

/// Runs the command.
pub(crate) fn run(args: &mut Args) -> Outcome<()> {
    let plan = read_plan(args)?;
    let led = args.switch("led")?;
    let seconds: f64 = args.take("seconds", 10.0)?;
    let server: Option<u32> = args.find("pid")?;
    args.finish()?;
    let limit = raise_descriptor_limit();
    if plan.listeners as u64 + SPARE_DESCRIPTORS > limit {
        return Err(format!(
            "{} listeners need more than this process's {limit} descriptors",
            plan.listeners
        )
        .into());
    }
    let crowd = Crowd::new(plan)?;
    if led {
        follow(crowd)
    } else {
        lead(crowd, Duration::from_secs_f64(seconds), server)
    }
}

/// The flags that make another process read the same plan.
pub(crate) fn write_plan(plan: &Plan) -> Vec<String> {
    let mut flags = vec![
        format!("--to={}", plan.target),
        format!("--mount={}", plan.mounts.base),
        format!("--mounts={}", plan.mounts.count),
        format!("--first={}", plan.first),
        format!("--listeners={}", plan.listeners),
        format!("--rate={}", plan.rate),
        format!("--bitrate={}", plan.bitrate.kbit()),
        format!("--icy={}", plan.icy),
        format!("--slow={}", plan.slow),
        format!("--dead={}", plan.dead),
        format!("--sampled={}", plan.sampled),
    ];
    if plan.http10 {
        flags.push("--http10".into());
    }
    flags.push("--led".into());
    flags
}

fn read_plan(args: &mut Args) -> Outcome<Plan> {
    let plan = Plan {
        target: args
            .find::<SocketAddr>("to")?
            .ok_or("load: --to HOST:PORT is missing")?,
        mounts: Mounts {
            base: args.take("mount", "/bench".to_owned())?,
            count: args.take("mounts", 1)?,
        },
        first: args.take("first", 0)?,
        listeners: args.take("listeners", 100)?,
        rate: args.take("rate", 500.0)?,
        bitrate: args.take("bitrate", "128".parse()?)?,
        icy: args.take("icy", 0.0)?,
        slow: args.take("slow", 0.0)?,
        dead: args.take("dead", 0.0)?,
        sampled: args.take("sampled", 200)?,
        http10: args.switch("http10")?,
    };
    if plan.rate <= 0.0 || plan.listeners == 0 {
        return Err("load: --rate and --listeners must be above zero".into());
    }
    Ok(plan)
}

fn follow(mut crowd: Crowd) -> Outcome<()> {
    let orders = hear_orders(&crowd);
    say_line(order::READY)?;
    let mut starting = false;
    let mut cpu = CpuTime::default();
    loop {
        crowd.step(STEP)?;
        if starting && crowd.settled() {
            starting = false;
            say_line(order::SETTLED)?;
        }
        loop {
            match orders.try_recv() {
                Ok(line) if line == order::START => {
                    crowd.start();
                    starting = true;
                }
                Ok(line) if line == order::WINDOW => {
                    crowd.open_window();
                    cpu = CpuTime::of(std::process::id())?;
                    say_line(order::WINDOW)?;
                }
                Ok(line) if line.starts_with(order::RETURN) => {
                    crowd.send_home(number_in(&line)?);
                    starting = true;
                }
                Ok(line) if line.starts_with(order::REPORT) => {
                    let mut report = crowd.report(Duration::from_secs_f64(number_in(&line)?));
                    report.own_cpu = nanos(CpuTime::of(std::process::id())?.since(&cpu));
                    say_line(&serde_json::to_string(&report)?)?;
                }
                Ok(line) => return Err(format!("load: unknown order {line:?}").into()),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }
}

/// The number behind the word of an order.
fn number_in(order: &str) -> Outcome<f64> {
    let number = order.split_once(' ').map(|(_, number)| number.parse());
    Ok(number.ok_or_else(|| format!("load: {order:?} lacks its number"))??)
}

fn hear_orders(crowd: &Crowd) -> Receiver<String> {
    let (sender, orders) = mpsc::channel();
    let waker = crowd.waker();
    // This thread ends with the input; the crowd's process then ends as well.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() || waker.wake().is_err() {
                return;
            }
        }
        drop(sender);
        // Nobody is left to be woken when this fails.
        let _ = waker.wake();
    });
    orders
}

fn lead(mut crowd: Crowd, window: Duration, server: Option<u32>) -> Outcome<()> {
    crowd.start();
    let begun = Stamp::now();
    // The crowd itself knows no time limit; a server that never answers must not hold the command for ever.
    while !crowd.settled() && Stamp::now().since(begun) < Duration::from_secs(60) {
        crowd.step(STEP)?;
    }
    crowd.open_window();
    let opened = Stamp::now();
    let before = server.map(CpuTime::of).transpose()?;
    let end = opened.after(window);
    while Stamp::now() < end {
        crowd.step(end.since(Stamp::now()).min(STEP))?;
    }
    let cpu = match (server, before) {
        (Some(pid), Some(before)) => Some(CpuTime::of(pid)?.since(&before)),
        _ => None,
    };
    say(&describe(&crowd.report(Duration::ZERO), cpu))
}

fn describe(report: &Report, cpu: Option<Duration>) -> String {
    let spans = |name: &str, histogram: &crate::histogram::Histogram| {
        let at = |share| {
            histogram
                .quantile(share)
                .map_or_else(|| "-".into(), |ns| format!("{:.1}", millis(ns)))
        };
        format!(
            "{name}: p50 {} ms, p99 {} ms, most {} ms of {}\n",
            at(0.5),
            at(0.99),
            at(1.0),
            histogram.total()
        )
    };
    let mut text = format!(
        "listeners: {} wanted, {} on, {} waiting, {} dropped, {} shed, {} starved\n",
        report.wanted, report.on, report.waiting, report.dropped, report.shed, report.starved
    );
    for (reason, count) in &report.refused {
        text += &format!("refused: {count} ({reason})\n");
    }
    text += &spans("first byte", &report.first_byte);
    text += &spans("delay of sampled frames", &report.delay);
    text += &spans("longest silence", &report.silence);
    text += &format!("time between reads: {:.1} ms\n", report.flush_ms());
    text += &format!("sampled streams: {:?}, {:?}\n", report.findings, report.blocks);
    if let Some(cpu) = cpu {
        let seconds = report.listened as f64 / 1e9;
        text += &format!(
            "server: {:.1} µs of processor time a listener-second\n",
            cpu.as_secs_f64() * 1e6 / seconds
        );
    }
    text
}

fn say_line(line: &str) -> Outcome<()> {
    say(&format!("{line}\n"))
}
