//! `/debug/system`: the program, its machine and its limits, as far as a report of a fault needs them.
//!
//! Contract: nothing of the environment's variables; they hold secrets.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Map, Value, json};

use super::{Call, Rendered};
use crate::context::Context;
use crate::{Answer, Form};

/// Files that tell about the process or the machine; those that are absent are left out.
const FILES: [&str; 9] = [
    "/proc/self/limits",
    "/proc/self/status",
    "/proc/self/cgroup",
    "/proc/loadavg",
    "/proc/pressure/cpu",
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/cpu.max",
    "/proc/net/sockstat",
    "/proc/meminfo",
];

pub(crate) fn render(context: &Context, call: &Call) -> Rendered {
    let mut facts = Map::new();
    facts.insert("product".to_owned(), json!(context.pages.product));
    for (key, value) in &context.pages.about {
        facts.insert((*key).to_owned(), json!(value));
    }
    facts.insert("time".to_owned(), json!(jiff::Timestamp::now().to_string()));
    facts.insert("pid".to_owned(), json!(std::process::id()));
    for (key, value) in machine() {
        facts.insert(key.to_owned(), json!(value));
    }
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    facts.insert("processors".to_owned(), json!(processors));
    let open = fs::read_dir("/proc/self/fd").map(Iterator::count).ok();
    facts.insert("open_files".to_owned(), json!(open));
    let files = FILES
        .iter()
        .filter_map(|file| Some((*file, fs::read(file).ok()?)))
        .map(|(file, content)| (file, String::from_utf8_lossy(&content).into_owned()));
    Ok(match call.query.form()? {
        Form::Json => {
            let files = files.map(|(file, content)| (file.to_owned(), json!(content)));
            facts.insert("files".to_owned(), Value::Object(files.collect()));
            Answer::json(&Value::Object(facts))
        }
        Form::Text => {
            let mut text = String::new();
            for (key, value) in &facts {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let _ = writeln!(text, "{key:<12}{value}");
            }
            for (file, content) in files {
                let _ = writeln!(text, "\n== {file}\n{}", content.trim_end());
            }
            Answer::text(text)
        }
    })
}

/// What `uname` says.
fn machine() -> [(&'static str, String); 4] {
    let name = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    [
        ("system", text(name.sysname())),
        ("release", text(name.release())),
        ("machine", text(name.machine())),
        ("host", text(name.nodename())),
    ]
}

/// The machine's name as part of a file's name.
pub(crate) fn host() -> String {
    let name = rustix::system::uname();
    let plain = |character: char| {
        if character.is_ascii_alphanumeric() || character == '.' || character == '-' {
            character
        } else {
            '_'
        }
    };
    name.nodename()
        .to_string_lossy()
        .chars()
        .take(64)
        .map(plain)
        .collect()
}

/// A line of `/proc/self/status` that is a number of kilobytes.
pub(crate) fn status_kilobytes(key: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
