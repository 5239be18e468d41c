//! `/debug/pprof/`: which profiles there are.

use std::fmt::Write as _;

use super::{Outcome, goroutine, threads, waits};
use crate::html::escape;
use crate::{Answer, Query};

/// A line of the list.
struct Row {
    name: &'static str,
    description: &'static str,
    /// The text forms, as label and query.
    text: &'static [(&'static str, &'static str)],
}

const TEXT: &[(&str, &str)] = &[("text", "?debug=1")];

const ROWS: [Row; 11] = [
    Row {
        name: "allocs",
        description: "All memory that was ever allocated, by the stack that asked for it; sampled every 512 KiB.",
        text: TEXT,
    },
    Row {
        name: "block",
        description: "Waits for locks, channels, semaphores and disks, by the stack that waited. Every wait is counted.",
        text: TEXT,
    },
    Row {
        name: "cmdline",
        description: "The program's arguments.",
        text: &[],
    },
    Row {
        name: "goroutine",
        description: "What every task and every thread does and waits for. It also answers when the rest hangs.",
        text: &[("grouped", "?debug=1"), ("each", "?debug=2")],
    },
    Row {
        name: "heap",
        description: "Memory that is alive, by the stack that asked for it; sampled every 512 KiB.",
        text: TEXT,
    },
    Row {
        name: "mutex",
        description: "Waits for locks, by lock and stack, with those who still wait and who holds them up.",
        text: TEXT,
    },
    Row {
        name: "profile",
        description: "Processor time of all threads over 30 s, or over seconds=; hz= samples a second and thread.",
        text: &[("text of 5 s", "?seconds=5&debug=1")],
    },
    Row {
        name: "symbol",
        description: "Names of addresses, for tools that have a profile without names.",
        text: &[],
    },
    Row {
        name: "threadcreate",
        description: "The threads by name.",
        text: TEXT,
    },
    Row {
        name: "trace",
        description: "What ran, worked and waited when, over 1 s or over seconds=. Open the file with \
            https://ui.perfetto.dev or chrome://tracing.",
        text: &[],
    },
    Row {
        name: "heap?seconds=10",
        description: "With seconds=, heap, allocs, block, mutex and goroutine give the difference that this time makes.",
        text: &[],
    },
];

pub(super) fn answer(query: &Query) -> Outcome {
    query.only(&[])?;
    let (mutex, block) = waits::counts();
    let memory = profile::heap::snapshot().map(|heap| heap.samples.len()).ok();
    let count = |name: &str| match name {
        "allocs" | "heap" => memory,
        "block" => Some(block),
        "mutex" => Some(mutex),
        "goroutine" => Some(goroutine::count()),
        "threadcreate" => Some(threads::count()),
        _ => None,
    };
    let mut html = String::from(
        "<h1>Profiles</h1>\n<p class=\"dim\">For <code>go tool pprof</code>: \
         <code>go tool pprof -top http://HOST:PORT/debug/pprof/heap</code></p>\n\
         <table>\n<tr><th class=\"n\">Count</th><th>Profile</th><th>What it shows</th></tr>\n",
    );
    for row in ROWS {
        let count = count(row.name).map(|count| count.to_string()).unwrap_or_default();
        let name = escape(row.name);
        let _ = write!(
            html,
            "<tr><td class=\"n\">{count}</td><td><a href=\"{name}\">{name}</a>"
        );
        for (label, query) in row.text {
            let _ = write!(html, " <a href=\"{name}{}\">{label}</a>", escape(query));
        }
        let _ = writeln!(html, "</td><td>{}</td></tr>", escape(row.description));
    }
    html.push_str("</table>\n<p><a href=\"/\">All pages</a></p>\n");
    Ok(Answer::html("Profiles", &html))
}
