//! One round: one server, one load, one window of measurement.
//! Contract: everything that a round starts has ended when it returns, whatever the result.

use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::Outcome;
use crate::accounting::{CpuTime, Machine, Memory};
use crate::clock::{Stamp, nanos};
use crate::companion::Companion;
use crate::contender::{Contender, Demand, PASSWORD, PREFILL, Server};
use crate::crowd::Plan;
use crate::load::{order, write_plan};
use crate::mounts::Mounts;
use crate::report::Report;
use crate::scenario::{Act, Scenario};
use crate::source;

/// Listeners of one load process; the usual limit of descriptors is 20,000.
const PER_PROCESS: usize = 9_500;
/// Listeners whose streams are looked into, over all load processes.
const SAMPLED: usize = 200;
/// Between the sources' start and the first look at memory.
const WARM_UP: Duration = Duration::from_secs(1);
/// Between the last join and the window: bursts are over, listeners are at the live edge.
const SETTLE: Duration = Duration::from_millis(1500);
/// How long joining may take beyond its own pace before the window is opened all the same.
const JOIN_PATIENCE: Duration = Duration::from_secs(30);
/// Readings of memory in a window that is long enough for them, and how far apart they are at least.
const MEMORY_READINGS: u32 = 40;
const MEMORY_PAUSE: Duration = Duration::from_secs(2);
/// For answers that come at once unless the machine is overloaded.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one round found out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Round {
    /// Processor time of the server in the window, in nanoseconds.
    pub(crate) cpu: u64,
    /// Length of the window in nanoseconds.
    pub(crate) window: u64,
    /// Resident memory per wanted listener beyond what the server needs with a source alone, in bytes.
    pub(crate) rss_per_listener: f64,
    /// The same for pages without a file behind them.
    pub(crate) anon_per_listener: f64,
    /// What each of the busiest threads used in the window, most first, in nanoseconds.
    pub(crate) threads: Vec<u64>,
    /// Anonymous memory in the course of a long window, in bytes.
    pub(crate) memory: Vec<u64>,
    /// Reads of sources, and how many of them took over 5 ms to get into the ring; from the server's own histogram.
    pub(crate) ingest: Option<(u64, u64)>,
    /// Share of the machine's processor time in use by anybody.
    pub(crate) busy: f64,
    /// What the listeners saw.
    pub(crate) report: Report,
}

impl Round {
    /// Microseconds of processor time per connected second of a listener.
    pub(crate) fn cpu_per_listener_second(&self) -> f64 {
        self.cpu as f64 / 1e3 / (self.report.listened.max(1) as f64 / 1e9)
    }
}

/// A server with its sources and listeners. Fields end in this order: listeners first, the server last.
pub(crate) struct Stand {
    crowds: Vec<Companion>,
    source: Companion,
    pub(crate) server: Server,
    rate: f64,
    listeners: usize,
}

impl Stand {
    /// Starts a server and its sources; the listeners are ready to start.
    pub(crate) fn set_up(contender: &Contender, scenario: &Scenario) -> Outcome<Stand> {
        let mounts = Mounts {
            base: "/bench".into(),
            count: scenario.mounts,
        };
        let demand = Demand {
            mounts: mounts.names(),
            listeners: scenario.listeners,
            strict: scenario.strict,
        };
        let server = contender.start(&demand)?;
        let mut source = Companion::start("source", &source_flags(&server, scenario))?;
        source
            .expect(source::READY, PATIENCE)
            .map_err(|error| server.explain(&error))?;
        let parts = scenario.listeners.div_ceil(PER_PROCESS);
        let mut crowds = Vec::new();
        for part in 0..parts {
            let first = scenario.listeners * part / parts;
            let plan = Plan {
                target: server.address,
                mounts: mounts.clone(),
                first,
                listeners: scenario.listeners * (part + 1) / parts - first,
                rate: scenario.rate / parts as f64,
                bitrate: scenario.kbit.to_string().parse()?,
                icy: scenario.icy,
                slow: scenario.slow,
                dead: scenario.dead,
                sampled: SAMPLED / parts,
                http10: false,
            };
            let mut crowd = Companion::start("load", &write_plan(&plan))?;
            crowd.expect(order::READY, PATIENCE)?;
            crowds.push(crowd);
        }
        thread::sleep(WARM_UP);
        let Scenario { rate, listeners, .. } = *scenario;
        Ok(Stand {
            crowds,
            source,
            server,
            rate,
            listeners,
        })
    }

    /// Gives an order to all load processes.
    pub(crate) fn tell(&mut self, order: &str) -> Outcome<()> {
        self.crowds.iter_mut().try_for_each(|crowd| crowd.tell(order))
    }

    /// Waits until every listener is on or over. A server that leaves some waiting is measured as it is.
    pub(crate) fn wait_settled(&mut self) {
        let pace = Duration::from_secs_f64(self.listeners as f64 / self.rate);
        let deadline = Stamp::now().after(pace + JOIN_PATIENCE);
        for crowd in &mut self.crowds {
            if crowd
                .expect(order::SETTLED, deadline.since(Stamp::now()))
                .is_err()
            {
                return;
            }
        }
        thread::sleep(SETTLE);
    }

    /// Begins the window in all load processes.
    pub(crate) fn open_window(&mut self) -> Outcome<()> {
        self.tell(order::WINDOW)?;
        for crowd in &mut self.crowds {
            hear(crowd, order::WINDOW)?;
        }
        Ok(())
    }

    /// Does one thing of a scenario's script.
    fn act(&mut self, act: Act) -> Outcome<()> {
        match act {
            Act::Return(share) => self.tell(&format!("{} {share}", order::RETURN)),
            Act::Blink(away) => self
                .source
                .tell(&format!("{} {}", source::BLINK, away.as_secs_f64())),
            Act::Reload => self.server.reload(),
        }
    }

    /// Collects and adds up the reports; the sources paused for `silence` in the window.
    pub(crate) fn report(&mut self, silence: Duration) -> Outcome<Report> {
        self.tell(&format!("{} {}", order::REPORT, silence.as_secs_f64()))?;
        let mut sum = Report::default();
        for crowd in &mut self.crowds {
            sum.absorb(&serde_json::from_str(&hear(crowd, "{")?)?);
        }
        Ok(sum)
    }
}

/// Measures one contender once.
pub(crate) fn measure(contender: &Contender, scenario: &Scenario, window: Duration) -> Outcome<Round> {
    let mut stand = Stand::set_up(contender, scenario)?;
    let result = measure_on(&mut stand, scenario, window);
    result.map_err(|error| stand.server.explain(&error))
}

fn measure_on(stand: &mut Stand, scenario: &Scenario, window: Duration) -> Outcome<Round> {
    let pid = stand.server.pid();
    let memory_before = Memory::of(pid)?;
    let window = if scenario.joining {
        stand.open_window()?;
        window + Duration::from_secs_f64(scenario.listeners as f64 / scenario.rate)
    } else {
        stand.tell(order::START)?;
        stand.wait_settled();
        stand.open_window()?;
        window
    };
    let (cpu, machine, opened) = (CpuTime::of(pid)?, Machine::read()?, Stamp::now());
    if scenario.joining {
        stand.tell(order::START)?;
    }
    let readings = run_window(stand, scenario, window)?;
    let cpu_after = CpuTime::of(pid)?;
    let threads = cpu_after.by_thread(&cpu);
    let cpu = cpu_after.since(&cpu);
    let busy = Machine::read()?.busy_since(machine);
    let silence = scenario.silence(window);
    let window = Stamp::now().since(opened);
    let ingest = stand.server.metrics().and_then(|text| read_ingest(&text));
    let report = stand.report(silence)?;
    let memory = Memory::of(pid)?;
    let per_listener = |after: u64, before: u64| (after as f64 - before as f64) / scenario.listeners as f64;
    Ok(Round {
        cpu: nanos(cpu),
        window: nanos(window),
        rss_per_listener: per_listener(memory.rss, memory_before.rss),
        anon_per_listener: per_listener(memory.anon, memory_before.anon),
        threads: threads.into_iter().take(4).map(nanos).collect(),
        memory: readings,
        ingest,
        busy,
        report,
    })
}

/// Lets the window pass, with all that the scenario has happen in it; gives what memory was on the way.
fn run_window(stand: &mut Stand, scenario: &Scenario, window: Duration) -> Outcome<Vec<u64>> {
    let opened = Stamp::now();
    let mut script = scenario.script(window).into_iter().peekable();
    let pause = window / MEMORY_READINGS;
    let mut next_reading = pause;
    let mut readings = Vec::new();
    loop {
        let passed = Stamp::now().since(opened);
        if let Some((_, act)) = script.next_if(|(at, _)| *at <= passed) {
            stand.act(act)?;
            continue;
        }
        // In a short window a reading would be felt by the server, whose memory is locked meanwhile.
        if pause >= MEMORY_PAUSE && passed >= next_reading {
            readings.push(Memory::of(stand.server.pid())?.anon);
            next_reading += pause;
        }
        if passed >= window {
            return Ok(readings);
        }
        let next = script.peek().map_or(window, |(at, _)| *at);
        let next = if pause >= MEMORY_PAUSE {
            next.min(next_reading)
        } else {
            next
        };
        thread::sleep(next.min(window).saturating_sub(passed));
    }
}

/// Reads in all and those over 5 ms, from the server's histogram of the stage between read and ring.
fn read_ingest(metrics: &str) -> Option<(u64, u64)> {
    let sum = |name: &str, label: &str| {
        let lines = metrics.lines().filter(|line| {
            line.starts_with(name) && line.contains("stage=\"ingest\"") && line.contains(label)
        });
        let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.sum::<f64>() as u64
    };
    let all = sum("tinyice_stream_delay_seconds_count", "");
    let quick = sum("tinyice_stream_delay_seconds_bucket", "le=\"0.005\"");
    (all > 0).then(|| (all, all.saturating_sub(quick)))
}

/// The next line that begins as expected; a crowd may settle after its leader has stopped waiting for that.
fn hear(crowd: &mut Companion, beginning: &str) -> Outcome<String> {
    loop {
        let line = crowd.hear(PATIENCE)?;
        if line.starts_with(beginning) {
            return Ok(line);
        }
        if line != order::SETTLED {
            return Err(format!("load said {line:?}").into());
        }
    }
}

fn source_flags(server: &Server, scenario: &Scenario) -> Vec<String> {
    let mut flags = vec![
        format!("--to={}", server.address),
        format!("--mounts={}", scenario.mounts),
        format!("--bitrate={}", scenario.kbit),
        format!("--password={PASSWORD}"),
        format!("--prefill={PREFILL}"),
    ];
    if scenario.icy > 0.0 {
        flags.push("--titles=2".into());
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::{Round, read_ingest};
    use crate::report::Report;

    #[test]
    fn processor_time_is_per_connected_second() {
        let report = Report {
            listened: 2_000_000_000,
            ..Report::default()
        };
        let round = Round {
            cpu: 100_000,
            window: 1,
            rss_per_listener: 0.0,
            anon_per_listener: 0.0,
            threads: Vec::new(),
            memory: Vec::new(),
            ingest: None,
            busy: 0.0,
            report,
        };
        assert_eq!(round.cpu_per_listener_second(), 50.0);
    }

    #[test]
    fn slow_reads_of_all_mounts_are_counted() {
        let bucket = |mount: &str, stage: &str, le: &str, value: u32| {
            format!(
                "tinyice_stream_delay_seconds_bucket{{mount=\"{mount}\",stage=\"{stage}\",le=\"{le}\"}} {value}\n"
            )
        };
        let count = |mount: &str, stage: &str, value: u32| {
            format!("tinyice_stream_delay_seconds_count{{mount=\"{mount}\",stage=\"{stage}\"}} {value}\n")
        };
        let text = [
            bucket("/a", "ingest", "0.001", 90),
            bucket("/a", "ingest", "0.005", 99),
            bucket("/a", "ring", "0.005", 1),
            count("/a", "ingest", 100),
            bucket("/b", "ingest", "0.005", 50),
            count("/b", "ingest", 50),
            count("/b", "ring", 7),
        ];
        assert_eq!(read_ingest(&text.concat()), Some((150, 1)));
        assert_eq!(read_ingest("icecast 1\n"), None);
    }
}
