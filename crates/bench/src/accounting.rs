//! What the kernel says a process has used: processor time and memory.
//! Contract: only differences of two readings of the same process mean anything; socket buffers are not in them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

/// The kernel reports process times to user space in hundredths of a second on every architecture in use.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of a process, by thread in nanoseconds and as a whole in ticks.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuTime {
    threads: BTreeMap<u32, Duration>,
    whole: Duration,
}

impl CpuTime {
    /// Reads the processor time that a process has used so far.
    pub(crate) fn of(pid: u32) -> io::Result<CpuTime> {
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let name = entry?.file_name();
            let Some(thread) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A thread that ended since the listing shows in the whole alone.
            let Ok(text) = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")) else {
                continue;
            };
            threads.insert(
                thread,
                parse_schedstat(&text).ok_or_else(|| unreadable("schedstat"))?,
            );
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let whole = parse_stat(&stat).ok_or_else(|| unreadable("stat"))?;
        Ok(CpuTime { threads, whole })
    }

    /// What each thread used since an earlier reading, most first.
    pub(crate) fn by_thread(&self, earlier: &CpuTime) -> Vec<Duration> {
        let used = |(thread, time): (&u32, &Duration)| {
            time.saturating_sub(earlier.threads.get(thread).copied().unwrap_or_default())
        };
        let mut threads: Vec<Duration> = self.threads.iter().map(used).collect();
        threads.sort_unstable_by(|one, other| other.cmp(one));
        threads
    }

    /// The time used since an earlier reading.
    pub(crate) fn since(&self, earlier: &CpuTime) -> Duration {
        let threads = self.by_thread(earlier).iter().sum::<Duration>();
        let whole = self.whole.saturating_sub(earlier.whole);
        // The threads' figures are exact but lose what ended threads used; the whole keeps that, in coarse ticks.
        // Both roundings of the whole (user and system, at both ends) come to four ticks at most.
        if whole > threads + 4 * TICK {
            whole
        } else {
            threads
        }
    }
}

/// Resident memory of a process in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// All resident pages.
    pub(crate) rss: u64,
    /// Resident pages, shared ones divided by the number of sharers.
    pub(crate) pss: u64,
    /// Pages without a file behind them: heap and stacks.
    pub(crate) anon: u64,
}

impl Memory {
    /// Reads the memory of a process.
    pub(crate) fn of(pid: u32) -> io::Result<Memory> {
        Ok(parse_rollup(&fs::read_to_string(format!(
            "/proc/{pid}/smaps_rollup"
        ))?))
    }
}

/// Time of the whole machine, to tell how much else was going on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Machine {
    busy: u64,
    all: u64,
}

impl Machine {
    /// Reads the machine's counters.
    pub(crate) fn read() -> io::Result<Machine> {
        parse_machine(&fs::read_to_string("/proc/stat")?).ok_or_else(|| unreadable("/proc/stat"))
    }

    /// The share of processor time in use since an earlier reading, 0 to 1.
    pub(crate) fn busy_since(self, earlier: Machine) -> f64 {
        let all = self.all.saturating_sub(earlier.all).max(1);
        self.busy.saturating_sub(earlier.busy) as f64 / all as f64
    }
}

fn unreadable(what: &str) -> io::Error {
    io::Error::other(format!("the kernel's {what} has an unknown form"))
}

fn parse_schedstat(text: &str) -> Option<Duration> {
    text.split_whitespace()
        .next()?
        .parse()
        .ok()
        .map(Duration::from_nanos)
}

fn parse_stat(text: &str) -> Option<Duration> {
    // proc_pid_stat(5): the name in parentheses may hold anything; utime and stime are fields 14 and 15.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u32 = fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?;
    Some(TICK * ticks)
}

fn parse_rollup(text: &str) -> Memory {
    let mut memory = Memory::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let field = match words.next() {
            Some("Rss:") => &mut memory.rss,
            Some("Pss:") => &mut memory.pss,
            Some("Anonymous:") => &mut memory.anon,
            _ => continue,
        };
        *field = words
            .next()
            .and_then(|word| word.parse::<u64>().ok())
            .unwrap_or_default()
            * 1024;
    }
    memory
}

fn parse_machine(text: &str) -> Option<Machine> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = fields
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    // proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal; guest time is already part of user.
    let all = fields.iter().take(8).sum();
    let idle = fields.get(3)? + fields.get(4)?;
    Some(Machine {
        busy: all - idle,
        all,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CpuTime, Machine, Memory, parse_machine, parse_rollup, parse_schedstat, parse_stat};

    #[test]
    fn kernel_texts_are_read() {
        assert_eq!(
            parse_schedstat("1129406 128733 3\n"),
            Some(Duration::from_nanos(1_129_406))
        );
        let stat = "7 (a) b)) S 1 7 7 0 -1 4194304 100 0 0 0 25 17 0 0 20 0 3 0 100 1 1";
        assert_eq!(parse_stat(stat), Some(Duration::from_millis(420)));
        let memory =
            parse_rollup("5000-6000 ---p 0\nRss:  12 kB\nPss: 10 kB\nPss_Dirty: 1 kB\nAnonymous: 8 kB\n");
        assert_eq!((memory.rss, memory.pss, memory.anon), (12_288, 10_240, 8_192));
        let machine = parse_machine("cpu  10 0 20 60 10 0 0 0 5 0\ncpu0 1 1\n").unwrap();
        assert_eq!(machine.busy_since(Machine::default()), 0.3);
    }

    #[test]
    fn ended_threads_are_counted_from_the_whole() {
        let reading = |threads: &[(u32, u64)], whole| CpuTime {
            threads: threads
                .iter()
                .map(|&(thread, ms)| (thread, Duration::from_millis(ms)))
                .collect(),
            whole: Duration::from_millis(whole),
        };
        let before = reading(&[(1, 100), (2, 50)], 150);
        assert_eq!(
            reading(&[(1, 300), (2, 60), (3, 7)], 360).since(&before),
            Duration::from_millis(217)
        );
        assert_eq!(
            reading(&[(1, 110)], 950).since(&before),
            Duration::from_millis(800)
        );
    }

    #[test]
    fn the_own_process_can_be_read() {
        let pid = std::process::id();
        assert!(Memory::of(pid).unwrap().rss > 0);
        let before = CpuTime::of(pid).unwrap();
        assert!(CpuTime::of(pid).unwrap().since(&before) < Duration::from_secs(60));
    }
}
