//! How the numbers look on a terminal.
//!
//! Contract: text from outside never reaches the terminal with control characters in it.

use std::{cmp::Reverse, fmt::Write as _, io::Read as _, net::SocketAddr, time::Duration};

use diagnostics::printable;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr},
};

use super::sample::Sample;

/// Begins a screen where the last one began, and clears what is left of it.
pub(super) const HOME: &str = "\x1b[H\x1b[J";

/// What mounts are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Listeners,
    Name,
    Out,
    Dropped,
    Silence,
}

impl Order {
    pub(super) fn by_key(key: u8) -> Option<Self> {
        Some(match key {
            b'l' => Self::Listeners,
            b'n' => Self::Name,
            b'o' => Self::Out,
            b'd' => Self::Dropped,
            b's' => Self::Silence,
            _ => return None,
        })
    }
}

/// Room on the terminal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    columns: usize,
    rows: usize,
}

impl Size {
    /// A file or a pipe.
    pub(super) const ENDLESS: Self = Self {
        columns: 200,
        rows: usize::MAX,
    };

    pub(super) fn of_terminal() -> Self {
        tcgetwinsize(std::io::stdout()).map_or(
            Self {
                columns: 80,
                rows: 24,
            },
            |size| Self {
                columns: usize::from(size.ws_col).max(40),
                rows: usize::from(size.ws_row).max(10),
            },
        )
    }
}

/// One mount between two looks.
struct Mount {
    name: String,
    listeners: f64,
    rate_in: f64,
    rate_out: f64,
    dropped: f64,
    health: f64,
    silence: f64,
    connected: bool,
    ring: f64,
    delay: Option<f64>,
}

/// Everything that fits.
pub(super) fn block(before: &Sample, now: &Sample, address: SocketAddr, order: Order, size: Size) -> String {
    let mut lines = head(before, now, address);
    let mut mounts: Vec<_> = now
        .label_values("tinyice_stream_source_connected", "mount")
        .into_iter()
        .map(|name| mount(before, now, name))
        .collect();
    match order {
        Order::Name => {}
        Order::Listeners => mounts.sort_by(|a, b| b.listeners.total_cmp(&a.listeners)),
        Order::Out => mounts.sort_by(|a, b| b.rate_out.total_cmp(&a.rate_out)),
        Order::Dropped => mounts.sort_by(|a, b| b.dropped.total_cmp(&a.dropped)),
        Order::Silence => mounts.sort_by_key(|mount| Reverse((mount.silence * 1_000.0) as u64)),
    }
    let room = size.rows.saturating_sub(lines.len() + 2);
    lines.push(format!(
        "{:<28} {:<8} {:>9} {:>9} {:>11} {:>10} {:>6} {:>8} {:>7} {:>8}",
        "MOUNT",
        "SOURCE",
        "LISTENERS",
        "IN kbit/s",
        "OUT kbit/s",
        "DROP B/s",
        "HEALTH",
        "SILENCE",
        "RING",
        "DELAY p99"
    ));
    let hidden = mounts.len().saturating_sub(room);
    for mount in mounts.iter().take(room) {
        lines.push(format!(
            "{:<28.28} {:<8} {:>9} {:>9.0} {:>11.0} {:>10.0} {:>6.2} {:>7.1}s {:>6.1}s {:>8}",
            printable(&mount.name),
            if mount.connected { "on" } else { "-" },
            mount.listeners,
            mount.rate_in * 8.0 / 1_000.0,
            mount.rate_out * 8.0 / 1_000.0,
            mount.dropped,
            mount.health,
            mount.silence,
            mount.ring,
            mount.delay.map_or("-".to_owned(), span),
        ));
    }
    if hidden > 0 {
        lines.push(format!("… and {hidden} more"));
    }
    let mut block = String::new();
    for line in lines {
        let cut: String = line.chars().take(size.columns).collect();
        let _ = writeln!(block, "{}", cut.trim_end());
    }
    block
}

fn head(before: &Sample, now: &Sample, address: SocketAddr) -> Vec<String> {
    let rate = |name| now.rate(before, name, &[]);
    let sum = |name| now.sum(name, &[]);
    let version = now.label_values("tinyice_build_info", "version").join(" ");
    let lag = |share| {
        now.quantile(before, "tinyice_delivery_lag_seconds", &[], share)
            .map_or("-".to_owned(), span)
    };
    vec![
        format!(
            "TinyIce {:.20} on {address}, up {}   keys: q quit; sort by l(isteners) n(ame) o(ut) d(rops) s(ilence)",
            printable(&version),
            uptime(sum("tinyice_server_uptime_seconds"))
        ),
        format!(
            "listeners {:.0} (+{:.1}/s -{:.1}/s, {:.0} behind)   sources {:.0}   in {:.1} Mbit/s   out {:.1} Mbit/s   dropped {:.0} B/s",
            sum("tinyice_listeners_total"),
            now.rate(before, "tinyice_listener_connects_total", &[("result", "ok")]),
            rate("tinyice_listener_disconnects_total"),
            sum("tinyice_listeners_catching_up"),
            sum("tinyice_sources_total"),
            rate("tinyice_bandwidth_in_bytes_total") * 8e-6,
            rate("tinyice_bandwidth_out_bytes_total") * 8e-6,
            rate("tinyice_total_dropped_bytes"),
        ),
        format!(
            "lag p50 {} p99 {}   cpu {:.0} %   memory {:.1} MB   files {:.0}/{:.0}   tasks {:.0}   lock waits {:.1}/s   watchdog {:.0}",
            lag(0.5),
            lag(0.99),
            rate("process_cpu_seconds_total") * 100.0,
            sum("process_resident_memory_bytes") / 1e6,
            sum("process_open_fds"),
            sum("process_max_fds"),
            sum("tinyice_tasks"),
            rate("tinyice_lock_contentions_total"),
            sum("tinyice_watchdog_trips_total"),
        ),
        String::new(),
    ]
}

fn mount(before: &Sample, now: &Sample, name: String) -> Mount {
    let label = [("mount", name.as_str())];
    let stages = ["ring", "fanout"].map(|stage| {
        let labels = [("mount", name.as_str()), ("stage", stage)];
        now.quantile(before, "tinyice_stream_delay_seconds", &labels, 0.99)
    });
    Mount {
        listeners: now.sum("tinyice_stream_listeners_current", &label),
        rate_in: now.rate(before, "tinyice_stream_bytes_in_total", &label),
        rate_out: now.rate(before, "tinyice_stream_bytes_out_total", &label),
        dropped: now.rate(before, "tinyice_stream_bytes_dropped_total", &label),
        health: now.sum("tinyice_stream_health_ratio", &label),
        silence: now.sum("tinyice_stream_silence_seconds", &label),
        connected: now.sum("tinyice_stream_source_connected", &label) > 0.0,
        ring: now.sum("tinyice_stream_ring_seconds", &label),
        delay: stages.into_iter().flatten().reduce(|a, b| a + b),
        name,
    }
}

fn span(seconds: f64) -> String {
    if seconds.is_infinite() {
        ">max".to_owned()
    } else if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1_000.0)
    } else {
        format!("{seconds:.1} s")
    }
}

fn uptime(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match days {
        0 => format!("{hours:02}:{minutes:02}:{:02}", seconds % 60),
        days => format!("{days} d {hours:02}:{minutes:02}"),
    }
}

/// Single keys, without waiting for the end of a line. The terminal is as it was when this is dropped.
pub(super) struct Keys {
    before: Termios,
}

impl Keys {
    /// Nothing when the input is no terminal.
    pub(super) fn open() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        // Interrupts come as keys too, so that the terminal is always put back.
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }

    /// The next key, if one is pressed in time.
    pub(super) fn next(&mut self, patience: Duration) -> Option<u8> {
        let stdin = std::io::stdin();
        let mut wait = [PollFd::new(&stdin, PollFlags::IN)];
        let timeout = Timespec::try_from(patience).ok();
        let ready = poll(&mut wait, timeout.as_ref()).ok()?;
        let mut key = [0];
        (ready > 0 && stdin.lock().read_exact(&mut key).is_ok()).then_some(key[0])
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that cannot be put back is gone.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_block_shows_mounts_in_order_and_keeps_control_characters_out() {
        let at = Instant::now();
        let text = "tinyice_stream_source_connected{mount=\"/a\"} 1\n\
            tinyice_stream_source_connected{mount=\"/b\\u{1b}[31m\x1b]0;x\"} 0\n\
            tinyice_stream_listeners_current{mount=\"/a\",name=\"A\"} 3\n\
            tinyice_stream_bytes_out_total{mount=\"/a\",name=\"A\"} 1000\n";
        let before = Sample::parse(text, at);
        let now = Sample::parse(&text.replace(" 1000", " 17000"), at + Duration::from_secs(1));
        let address = "127.0.0.1:8081".parse().unwrap();
        let block = block(&before, &now, address, Order::Listeners, Size::ENDLESS);
        assert!(!block.contains('\x1b'), "{block}");
        let first = block.lines().find(|line| line.starts_with('/')).unwrap();
        let cells: Vec<_> = first.split_whitespace().collect();
        assert_eq!(cells[..5], ["/a", "on", "3", "0", "128"]);
        let small = super::block(&before, &now, address, Order::Name, Size { columns: 30, rows: 7 });
        assert!(
            small.lines().count() <= 7 && small.lines().all(|line| line.chars().count() <= 30),
            "{small}"
        );
        assert!(small.ends_with("… and 1 more\n"), "{small}");
    }

    #[test]
    fn times_are_written_for_people() {
        assert_eq!(uptime(59.0), "00:00:59");
        assert_eq!(uptime(90_061.0), "1 d 01:01");
        assert_eq!(
            (span(0.25), span(2.0), span(f64::INFINITY)),
            ("250 ms".into(), "2.0 s".into(), ">max".into())
        );
    }
}
