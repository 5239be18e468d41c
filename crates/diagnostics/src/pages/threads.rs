//! `/debug/threads`: every thread of the process, as the kernel sees it.

use serde_json::{Value, json};

use super::{Call, Rendered};
use crate::context::Context;
use crate::table::{Column, Table, secs, tables};

/// The kernel's clock ticks per second in `/proc`; it is 100 on every Linux that reports to programs.
const TICKS: u64 = 100;

pub(crate) fn render(_: &Context, call: &Call) -> Rendered {
    let mut table = Table::new(
        "threads",
        &[
            ("tid", Column::Number),
            ("id", Column::Number),
            ("name", Column::Text),
            ("state", Column::Text),
            ("user_seconds", Column::Seconds),
            ("system_seconds", Column::Seconds),
            ("age_seconds", Column::Seconds),
        ],
    );
    let registered = observe::thread::list();
    let kernel = kernel();
    if kernel.is_empty() {
        for thread in &registered {
            let (id, age) = (json!(thread.id), secs(thread.age));
            let unknown = Value::Null;
            table.row([
                json!(thread.native_id),
                id,
                json!(thread.name),
                unknown.clone(),
                unknown.clone(),
                unknown,
                age,
            ]);
        }
    }
    for thread in kernel {
        let known = registered
            .iter()
            .find(|known| known.native_id == Some(thread.tid));
        let ticks = |ticks: u64| json!(ticks as f64 / TICKS as f64);
        table.row([
            json!(thread.tid),
            json!(known.map(|known| known.id)),
            json!(known.map_or(thread.name.as_str(), |known| known.name)),
            json!(thread.state),
            ticks(thread.user),
            ticks(thread.system),
            known.map_or(Value::Null, |known| secs(known.age)),
        ]);
    }
    tables(&call.query, &[table])
}

#[derive(Debug, PartialEq, Eq)]
struct Thread {
    tid: u32,
    name: String,
    state: &'static str,
    user: u64,
    system: u64,
}

/// The threads in `/proc`, lowest id first; empty where there is no such thing.
fn kernel() -> Vec<Thread> {
    let Ok(folder) = std::fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let stat = |entry: std::io::Result<std::fs::DirEntry>| {
        // A thread may end between the listing and the look at it.
        let stat = std::fs::read(entry.ok()?.path().join("stat")).ok()?;
        parse(&String::from_utf8_lossy(&stat))
    };
    let mut threads: Vec<_> = folder.filter_map(stat).collect();
    threads.sort_unstable_by_key(|thread| thread.tid);
    threads
}

/// A line of `/proc/…/stat`, see proc(5). The name is in parentheses and may hold any of the separators.
fn parse(stat: &str) -> Option<Thread> {
    let (tid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = match fields.next()? {
        "R" => "running",
        "S" => "sleeping",
        "D" => "disk",
        "T" | "t" => "stopped",
        "Z" | "X" => "ended",
        _ => "idle",
    };
    // Fields 14 and 15 of the line; the state is the third.
    let mut times = fields.skip(10);
    Some(Thread {
        tid: tid.parse().ok()?,
        name: name.to_owned(),
        state,
        user: times.next()?.parse().ok()?,
        system: times.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_understood() {
        let line = "4242 (a) b (c) S 1 4242 4242 0 -1 4194368 90 0 0 0 17 5 0 0 20 0 3 0 100 1 2";
        let thread = Thread {
            tid: 4242,
            name: "a) b (c".to_owned(),
            state: "sleeping",
            user: 17,
            system: 5,
        };
        assert_eq!(parse(line), Some(thread));
        for bad in ["", "1", "1 (x", "1 (x) S", "x (x) S 1 1 1 1 1 1 1 1 1 1 1 1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_thread_is_among_them() {
        let threads = kernel();
        assert!(threads.iter().any(|thread| thread.state == "running"));
    }
}
