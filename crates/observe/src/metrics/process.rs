//! The process as the kernel sees it, under the names that all programs use for it.
//!
//! Contract: reading it costs a few small files of `/proc/self` and holds up nobody. What this system does not tell
//! is left out.

use super::{Exposition, Kind, Number};

/// Memory and threads, from `/proc/self/status`. Sizes are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Address space.
    pub(super) virtual_memory: u64,
    /// In memory now.
    pub(super) resident: u64,
    /// In memory now and not a part of a file.
    pub(super) anonymous: u64,
    /// Moved out of memory.
    pub(super) swapped: u64,
    /// The stack of the first thread.
    pub(super) first_stack: u64,
    /// Threads alive.
    pub(super) threads: u64,
}

impl Usage {
    fn parse(status: &str) -> Self {
        let mut usage = Self::default();
        for line in status.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let (place, scale) = match key {
                "VmSize" => (&mut usage.virtual_memory, 1024),
                "VmRSS" => (&mut usage.resident, 1024),
                "RssAnon" => (&mut usage.anonymous, 1024),
                "VmSwap" => (&mut usage.swapped, 1024),
                "VmStk" => (&mut usage.first_stack, 1024),
                "Threads" => (&mut usage.threads, 1),
                _ => continue,
            };
            let number = value.split_whitespace().next().and_then(|text| text.parse().ok());
            *place = u64::saturating_mul(number.unwrap_or(0), scale);
        }
        usage
    }
}

/// Memory and threads now.
pub(super) fn usage() -> Option<Usage> {
    kernel::status().map(|status| Usage::parse(&status))
}

/// Writes the families and hands on what was read.
pub(super) fn expose(out: &mut Exposition) -> Option<Usage> {
    let mut one = |name, kind, help, value: Option<Number>| {
        if let Some(value) = value {
            out.family(name, kind, help).sample(&[], value);
        }
    };
    let usage = usage();
    let (received, sent) = kernel::network().unzip();
    one(
        "process_cpu_seconds_total",
        Kind::Counter,
        "Processor time that the process used, in seconds.",
        kernel::cpu().map(Number::from),
    );
    one(
        "process_resident_memory_bytes",
        Kind::Gauge,
        "Memory of the process that is in memory now.",
        usage.map(|usage| usage.resident.into()),
    );
    one(
        "process_virtual_memory_bytes",
        Kind::Gauge,
        "Address space of the process.",
        usage.map(|usage| usage.virtual_memory.into()),
    );
    one(
        "process_threads",
        Kind::Gauge,
        "Threads of the process.",
        usage.map(|usage| usage.threads.into()),
    );
    one(
        "process_open_fds",
        Kind::Gauge,
        "Open file descriptors: files, sockets and the like.",
        kernel::open_fds().map(Number::from),
    );
    one(
        "process_max_fds",
        Kind::Gauge,
        "File descriptors that the process may have open.",
        kernel::max_fds(),
    );
    one(
        "process_start_time_seconds",
        Kind::Gauge,
        "When the process started, in seconds since 1970.",
        kernel::start_time().map(Number::from),
    );
    one(
        "process_network_receive_bytes_total",
        Kind::Counter,
        "Bytes of IP packets received in the network namespace of the process.",
        received.map(Number::from),
    );
    one(
        "process_network_transmit_bytes_total",
        Kind::Counter,
        "Bytes of IP packets sent in the network namespace of the process.",
        sent.map(Number::from),
    );
    usage
}

/// Octets received and sent over IPv4, from `/proc/self/net/netstat`: a line of names and one of values.
fn parse_netstat(text: &str) -> Option<(u64, u64)> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let value = |wanted| {
        let mut pairs = names.split(' ').zip(values.split(' '));
        pairs.find(|(name, _)| *name == wanted)?.1.parse().ok()
    };
    Some((value("InOctets")?, value("OutOctets")?))
}

/// Octets received and sent over IPv6, from `/proc/self/net/snmp6`: a name and a value on each line.
fn parse_snmp6(text: &str) -> Option<(u64, u64)> {
    let value = |wanted| {
        let mut pairs = text
            .lines()
            .filter_map(|line| line.split_once(|space: char| space.is_ascii_whitespace()));
        pairs.find(|(name, _)| *name == wanted)?.1.trim().parse().ok()
    };
    Some((value("Ip6InOctets")?, value("Ip6OutOctets")?))
}

/// The start in ticks since the system started: field 22 of `/proc/self/stat`. The name before it may hold anything.
fn parse_start(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    // What follows the name begins with field 3.
    fields.split_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::fs;
    use std::sync::LazyLock;
    use std::time::{Duration, Instant};

    use rustix::process::{Resource, getrlimit};
    use rustix::time::{ClockId, Timespec, clock_gettime};

    use super::super::Number;

    /// Where the number of descriptors has to be counted, it is counted this often at most...
    const COUNT_EVERY: Duration = Duration::from_secs(1);
    /// ...and for at most one part in this many of the time.
    const COUNT_SHARE: u32 = 100;

    pub(super) fn status() -> Option<String> {
        fs::read_to_string("/proc/self/status").ok()
    }

    /// Of all threads, those that ended included.
    pub(super) fn cpu() -> Option<Duration> {
        duration(clock_gettime(ClockId::ProcessCPUTime))
    }

    pub(super) fn max_fds() -> Option<Number> {
        #[allow(clippy::cast_precision_loss, reason = "no limit is that high")]
        let limit = getrlimit(Resource::Nofile).current.map(|limit| limit as f64);
        Some(limit.unwrap_or(f64::INFINITY).into())
    }

    /// Since Linux 6.2 the size of the folder is the number; before, it is 0 and the entries have to be counted.
    pub(super) fn open_fds() -> Option<u64> {
        match fs::metadata("/proc/self/fd").ok()?.len() {
            0 => counted_fds(),
            count => Some(count),
        }
    }

    /// Held to copy two words, or to count once a second.
    #[allow(
        clippy::disallowed_types,
        reason = "the named locks are exposed by this very module"
    )]
    static COUNTED: parking_lot::Mutex<Option<(Instant, u64)>> = parking_lot::Mutex::new(None);

    fn counted_fds() -> Option<u64> {
        let mut counted = COUNTED.lock();
        let begun = Instant::now();
        if let Some((due, count)) = *counted
            && begun < due
        {
            return Some(count);
        }
        let count = count_fds()?;
        let now = Instant::now();
        let pause = COUNT_EVERY.max((now - begun) * COUNT_SHARE);
        *counted = Some((now + pause, count));
        Some(count)
    }

    pub(super) fn count_fds() -> Option<u64> {
        let entries = fs::read_dir("/proc/self/fd").ok()?.count();
        // One of them is the folder itself while it is read.
        u64::try_from(entries.saturating_sub(1)).ok()
    }

    pub(super) fn network() -> Option<(u64, u64)> {
        let netstat = fs::read_to_string("/proc/self/net/netstat").ok()?;
        let (received, sent) = super::parse_netstat(&netstat)?;
        // Systems without IPv6 have no such file.
        let snmp6 = fs::read_to_string("/proc/self/net/snmp6").ok();
        let (received6, sent6) = snmp6.and_then(|text| super::parse_snmp6(&text)).unwrap_or((0, 0));
        Some((received + received6, sent + sent6))
    }

    static START: LazyLock<Option<Duration>> = LazyLock::new(|| {
        let ticks = super::parse_start(&fs::read_to_string("/proc/self/stat").ok()?)?;
        let hertz = rustix::param::clock_ticks_per_second();
        #[allow(clippy::cast_precision_loss, reason = "a tick is 10 ms")]
        let started = Duration::try_from_secs_f64(ticks as f64 / hertz as f64).ok()?;
        let (now, uptime) = (
            duration(clock_gettime(ClockId::Realtime))?,
            duration(clock_gettime(ClockId::Boottime))?,
        );
        now.checked_sub(uptime)?.checked_add(started)
    });

    /// Read once: a step of the wall clock must not look like a new process.
    pub(super) fn start_time() -> Option<Duration> {
        *START
    }

    fn duration(time: Timespec) -> Option<Duration> {
        Some(Duration::new(
            u64::try_from(time.tv_sec).ok()?,
            u32::try_from(time.tv_nsec).ok()?,
        ))
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::time::Duration;

    use super::super::Number;

    pub(super) fn status() -> Option<String> {
        None
    }
    pub(super) fn cpu() -> Option<Duration> {
        None
    }
    pub(super) fn max_fds() -> Option<Number> {
        None
    }
    pub(super) fn open_fds() -> Option<u64> {
        None
    }
    pub(super) fn network() -> Option<(u64, u64)> {
        None
    }
    pub(super) fn start_time() -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_status() {
        let status = "Name:\ta:b\nVmSize:\t    3060 kB\nVmRSS:\t 1764 kB\nRssAnon:\t 116 kB\nVmStk:\t 132 kB\n\
                      VmSwap:\t 1 kB\nThreads:\t7\nVmLib: many\n";
        let expected = Usage {
            virtual_memory: 3060 << 10,
            resident: 1764 << 10,
            anonymous: 116 << 10,
            swapped: 1 << 10,
            first_stack: 132 << 10,
            threads: 7,
        };
        assert_eq!(Usage::parse(status), expected);
        assert_eq!(Usage::parse("VmRSS:\nThreads: x kB\n"), Usage::default());
    }

    #[test]
    fn network_bytes_are_those_of_both_protocols() {
        let netstat = "TcpExt: InOctets\nTcpExt: 9\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 1 20 300\n";
        assert_eq!(parse_netstat(netstat), Some((20, 300)));
        assert_eq!(parse_netstat("IpExt: InOctets OutOctets\nIpExt: 1\n"), None);
        let snmp6 = "Ip6InReceives                   \t57\nIp6InOctets \t4000\nIp6OutOctets\t50000\n";
        assert_eq!(parse_snmp6(snmp6), Some((4000, 50_000)));
        assert_eq!(parse_snmp6(""), None);
    }

    #[test]
    fn the_start_is_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 98765 20";
        assert_eq!(parse_start(stat), Some(98765));
        assert_eq!(parse_start("42 (a) S 1 2"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_alive() {
        let usage = Usage::parse(&kernel::status().unwrap());
        assert!(usage.threads >= 1 && usage.resident > 0 && usage.virtual_memory >= usage.resident);
        assert!(kernel::cpu().unwrap() > std::time::Duration::ZERO);
        let start = kernel::start_time().unwrap().as_secs_f64();
        let now = jiff::Timestamp::now().as_duration().as_secs_f64();
        assert!(start <= now + 1.0 && start > now - 86_400.0, "{start} {now}");
        assert!(kernel::network().is_some());
        let files: Vec<_> = (0..100)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        assert!(kernel::open_fds().unwrap() > 100 && kernel::count_fds().unwrap() > 100);
        drop(files);
    }

    /// 20,000 descriptors: 0.03 ms by the folder's size (Linux 6.2 and later). Counting takes the kernel 5 µs for a
    /// descriptor that it has not shown before and 1 µs for one that it has, so it pauses for a hundred times as long.
    /// `cargo test -p observe --release -- --ignored --nocapture cost_of_counting`
    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "measures"]
    fn cost_of_counting_descriptors() {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let most = limit.current.unwrap_or(20_000).min(20_000) - 100;
        let files: Vec<_> = (0..most)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        for (how, count) in [
            ("size", kernel::open_fds as fn() -> Option<u64>),
            ("entries", kernel::count_fds),
        ] {
            let begun = std::time::Instant::now();
            let found = count();
            println!("{how}: {found:?} in {:?}", begun.elapsed());
        }
        drop(files);
    }
}
