//! `trace`: what ran, worked and waited when, as Chrome's trace event format, which <https://ui.perfetto.dev> and
//! `chrome://tracing` open.
//!
//! Contract: what is drawn on a thread's line really occupied that thread, so that the slices of a line nest; what goes
//! on across awaits has a line of its own.

use std::fmt::Write as _;
use std::time::Duration;

use http::header::{CONTENT_DISPOSITION, HeaderValue};
use observe::trace::{self, Kind, Recording as Recorded, TraceEvent};
use observe::wait;

use super::recording::{Recording, busy};
use super::{IsCancelled, LONGEST, Outcome};
use crate::answer::JSON;
use crate::{Answer, Query};

/// Go's default.
const DURATION: Duration = Duration::from_secs(1);

pub(super) fn answer(query: &Query, cancelled: IsCancelled<'_>) -> Outcome {
    query.only(&["seconds", "debug", "gc"])?;
    let duration = query.seconds("seconds", LONGEST)?.unwrap_or(DURATION);
    let _recording = Recording::start()?;
    let recorded = trace::record(duration, cancelled).map_err(|trace::Busy| busy())?;
    let disposition = HeaderValue::from_static("attachment; filename=\"trace.json\"");
    Ok(Answer::new(JSON, write(&recorded, std::process::id())).with_header(CONTENT_DISPOSITION, disposition))
}

fn write(recorded: &Recorded, process: u32) -> String {
    let mut out = String::with_capacity(recorded.events.len() * 160 + 1024);
    out.push_str("{\"displayTimeUnit\":\"ms\",\"otherData\":{");
    let started = recorded
        .started
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let _ = write!(
        out,
        "\"started_unix_seconds\":{:.6},\"seconds\":{:.6},\"dropped_events\":{}}},\"traceEvents\":[",
        started.as_secs_f64(),
        recorded.duration.as_secs_f64(),
        recorded.dropped,
    );
    let program = std::env::args().next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    let _ = write!(
        out,
        "{{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":{process},\"args\":{{\"name\":{}}}}}",
        json(program),
    );
    for (thread, name) in &recorded.threads {
        let _ = write!(
            out,
            ",\n{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":{process},\"tid\":{thread},\"args\":{{\"name\":{}}}}}",
            json(name),
        );
    }
    for (number, event) in recorded.events.iter().enumerate() {
        match category(event.kind) {
            (category, true) => write_slice(&mut out, event, category, process),
            (category, false) => write_line(&mut out, event, category, process, number),
        }
    }
    out.push_str("]}\n");
    out
}

/// The category, and whether the thread was occupied.
fn category(kind: Kind) -> (&'static str, bool) {
    match kind {
        Kind::Poll => ("poll", true),
        Kind::Work => ("work", true),
        Kind::Wait(wait::Kind::Lock) => ("lock", true),
        Kind::Wait(wait::Kind::Disk) => ("disk", true),
        Kind::Wait(kind) => (kind.as_str(), false),
        Kind::Span => ("span", false),
    }
}

/// A slice on the thread's line.
fn write_slice(out: &mut String, event: &TraceEvent, category: &str, process: u32) {
    let duration = event.end.saturating_sub(event.begin);
    let _ = write!(
        out,
        ",\n{{\"ph\":\"X\",\"name\":{},\"cat\":\"{category}\",\"pid\":{process},\"tid\":{},\"ts\":{},\"dur\":{},{}}}",
        json(&title(event)),
        event.thread,
        micros(event.begin),
        micros(duration),
        arguments(event),
    );
}

/// A pair of begin and end on a line of its own; its number keeps it apart from the other pairs.
fn write_line(out: &mut String, event: &TraceEvent, category: &str, process: u32, number: usize) {
    for (phase, time) in [("b", event.begin), ("e", event.end)] {
        let _ = write!(
            out,
            ",\n{{\"ph\":\"{phase}\",\"name\":{},\"cat\":\"{category}\",\"id\":\"{number:#x}\",\"pid\":{process},\
             \"tid\":{},\"ts\":{},{}}}",
            json(&title(event)),
            event.thread,
            micros(time),
            arguments(event),
        );
    }
}

fn title(event: &TraceEvent) -> String {
    match &event.subject {
        Some(subject) => format!("{} {subject}", event.name),
        None => event.name.to_owned(),
    }
}

fn arguments(event: &TraceEvent) -> String {
    match event.kind {
        Kind::Span => format!("\"args\":{{\"span\":\"{:016x}\"}}", event.id),
        _ => format!("\"args\":{{\"goroutine\":{}}}", event.id),
    }
}

/// The format's unit, with nanoseconds as its fraction.
fn micros(time: Duration) -> String {
    format!("{}.{:03}", time.as_micros(), time.subsec_nanos() % 1000)
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::time::UNIX_EPOCH;

    fn event(kind: Kind, name: &'static str, id: u64, begin: u64, end: u64) -> TraceEvent {
        TraceEvent {
            kind,
            name,
            subject: (kind == Kind::Poll).then(|| "/\"live\"\n".into()),
            id,
            thread: 9,
            begin: Duration::from_nanos(begin),
            end: Duration::from_nanos(end),
        }
    }

    #[test]
    fn slices_are_on_threads_and_spans_have_lines() {
        let recorded = Recorded {
            started: UNIX_EPOCH,
            duration: Duration::from_secs(1),
            events: vec![
                event(Kind::Span, "request", 0xabc, 0, 5_000_000),
                event(Kind::Poll, "source", 3, 1_500, 4_001),
                event(Kind::Wait(wait::Kind::Channel), "jobs", 3, 2_000, 3_000),
                event(Kind::Wait(wait::Kind::Lock), "mount.state", 3, 2_000, 3_000),
            ],
            dropped: 1,
            threads: vec![(9, "worker".into())],
        };
        let value: Value = serde_json::from_str(&write(&recorded, 77)).unwrap();
        let events = value["traceEvents"].as_array().unwrap();
        let brief: Vec<_> = events
            .iter()
            .map(|event| {
                let text = |key: &str| event[key].as_str().unwrap_or("").to_owned();
                (
                    text("ph"),
                    text("cat"),
                    event["ts"].to_string(),
                    event["dur"].to_string(),
                )
            })
            .collect();
        let expected = [
            ("M", "", "null", "null"),
            ("M", "", "null", "null"),
            ("b", "span", "0.000", "null"),
            ("e", "span", "5000.000", "null"),
            ("X", "poll", "1.500", "2.501"),
            ("b", "channel", "2.000", "null"),
            ("e", "channel", "3.000", "null"),
            ("X", "lock", "2.000", "1.000"),
        ]
        .map(|(phase, category, begin, duration)| {
            (
                phase.to_owned(),
                category.to_owned(),
                begin.to_owned(),
                duration.to_owned(),
            )
        });
        assert_eq!(brief, expected);
        assert_eq!(events[4]["name"], "source /\"live\"\n");
        assert_eq!(events[1]["args"]["name"], "worker");
        assert_eq!(events[2]["id"], events[3]["id"]);
        assert_eq!(value["otherData"]["dropped_events"], 1);
    }
}
