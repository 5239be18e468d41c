//! What the figures have to be, and whether they are.
//!
//! Contract: a goal is judged by ratios and counts of this run; one that this run did not measure is left out. Nothing
//! fails because of a goal.

use crate::contender::Contender;
use crate::histogram::Histogram;
use crate::report::{Report, millis};
use crate::table::{Entry, floor_for};

/// A goal's wording, what was measured, and whether that is good enough.
struct Verdict {
    goal: String,
    measured: String,
    met: bool,
}

/// The tables of ratios and of goals for all scenarios of a run.
pub(crate) fn render(results: &[Vec<Entry>]) -> String {
    let mut text = overview(results);
    let verdicts: Vec<Verdict> = results.iter().flat_map(|entries| judge(entries)).collect();
    if verdicts.is_empty() {
        return text;
    }
    text += "\n### Goals\n\n| goal | measured | met |\n| --- | --- | --- |\n";
    for Verdict { goal, measured, met } in verdicts {
        let met = if met { "yes" } else { "no" };
        text += &format!("| {goal} | {measured} | {met} |\n");
    }
    text
}

/// Our server under the load that a scenario is named after.
fn ours(entries: &[Entry]) -> Option<&Entry> {
    measured(entries, |entry| {
        matches!(entry.contender, Contender::TinyIce { .. }) && entry.beside.is_none()
    })
}

fn icecast(entries: &[Entry]) -> Option<&Entry> {
    measured(entries, |entry| {
        matches!(entry.contender, Contender::Icecast { .. })
    })
}

fn measured(entries: &[Entry], wanted: impl Fn(&Entry) -> bool) -> Option<&Entry> {
    entries
        .iter()
        .find(|entry| wanted(entry) && !entry.rounds.is_empty())
}

/// One line a scenario: the ratios.
fn overview(results: &[Vec<Entry>]) -> String {
    let mut text = String::from(
        "\n### All scenarios\n\n| scenario | CPU × Icecast | CPU × floor | delay p99 ms | Icecast's | first byte p99 ms | \
         Icecast's | lost | Icecast's |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for entries in results {
        let Some(ours) = ours(entries) else { continue };
        let icecast = icecast(entries);
        let figure = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
        };
        let delay = |entry: &Entry| p99(entry, |report| &report.delay);
        let first = |entry: &Entry| p99(entry, |report| &report.first_byte);
        text += &format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            ours.scenario.name,
            figure(ratio(ours, icecast), 2),
            figure(ratio(ours, floor_for(ours, entries)), 2),
            figure(delay(ours), 0),
            figure(icecast.and_then(delay), 0),
            figure(first(ours), 0),
            figure(icecast.and_then(first), 0),
            lost(ours),
            figure(icecast.map(|entry| lost(entry) as f64), 0),
        );
    }
    text + "\nLost are the refused, the waiting and the dropped of all rounds.\n"
}

fn ratio(ours: &Entry, other: Option<&Entry>) -> Option<f64> {
    Some(ours.cpu()? / other?.cpu()?)
}

fn p99(entry: &Entry, histogram: impl Fn(&Report) -> &Histogram) -> Option<f64> {
    let at = |report: &Report| histogram(report).quantile(0.99).map_or(f64::NAN, millis);
    entry.median(|round| at(&round.report)).filter(|ms| !ms.is_nan())
}

fn lost(entry: &Entry) -> u64 {
    entry.sum(|report| report.refused_total() + report.waiting + report.dropped)
}

fn judge(entries: &[Entry]) -> Vec<Verdict> {
    let Some(ours) = ours(entries) else {
        return Vec::new();
    };
    let (name, mut verdicts) = (ours.scenario.name, Vec::new());
    let mut at_most = |goal: &str, value: Option<f64>, most: f64, unit: &str| {
        if let Some(value) = value {
            verdicts.push(Verdict {
                goal: format!("{name}: {goal} at most {most}{unit}"),
                measured: format!("{value:.2}{unit}"),
                met: value <= most,
            });
        }
    };
    let beside = measured(entries, |entry| {
        entry.beside.is_some() && entry.contender.label() == ours.contender.label()
    });
    let delay = |entry: &Entry| p99(entry, |report| &report.delay);
    let nobody_lost = Some(lost(ours) as f64);
    match name {
        "100" => at_most("delay p99", delay(ours), 40.0, " ms"),
        "8000" => {
            at_most("CPU of Icecast's", ratio(ours, icecast(entries)), 0.4, "");
            at_most(
                "CPU of the bare loop's",
                ratio(ours, floor_for(ours, entries)),
                1.15,
                "",
            );
            at_most("delay p99", delay(ours), 500.0, " ms");
        }
        "19000" => {
            let memory = ours.median(|round| round.anon_per_listener / 1024.0);
            at_most("memory for each listener", memory, 1.5, " kB");
            at_most("share of the busier of two threads", ours.balance(), 0.6, "");
            at_most("refused, waiting or dropped", nobody_lost, 0.0, "");
        }
        "joins" => {
            at_most("refused, waiting or dropped", nobody_lost, 0.0, "");
            at_most(
                "first byte p99",
                p99(ours, |report| &report.first_byte),
                250.0,
                " ms",
            );
        }
        "mounts" => at_most("CPU of that with one mount", ratio(ours, beside), 1.2, ""),
        "slow" => {
            let pair = beside.and_then(delay).zip(delay(ours));
            let ratio = pair.map(|(alone, among)| among / alone);
            at_most("delay p99 of that with healthy listeners alone", ratio, 1.1, "");
        }
        "everything" => {
            let growth = ours.memory_growth().map(|growth| growth * 100.0);
            at_most("growth of memory", growth, 2.0, " %");
            at_most("dropped", Some(ours.sum(|report| report.dropped) as f64), 0.0, "");
        }
        _ => {}
    }
    let late = ours.ingest().map(|(_, late)| late as f64);
    at_most("reads over 5 ms from the ring", late, 0.0, "");
    verdicts
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::contender::Contender;
    use crate::report::Report;
    use crate::round::Round;
    use crate::scenario::Scenario;
    use crate::table::Entry;

    fn entry(contender: Contender, name: &str, cpu_us: u64, ingest: Option<(u64, u64)>) -> Entry {
        let [scenario] = &Scenario::select(&[name.into()]).unwrap()[..] else {
            panic!("one was asked for")
        };
        let mut report = Report {
            wanted: 1,
            on: 1,
            listened: 1_000_000_000,
            listened_ordinary: 1_000_000_000,
            reads: 4,
            ..Report::default()
        };
        report.delay.add(450_000_000);
        report.first_byte.add(1_000_000);
        let round = Round {
            cpu: cpu_us * 1000,
            window: 1,
            rss_per_listener: 2048.0,
            anon_per_listener: 1024.0,
            threads: vec![70, 30],
            memory: Vec::new(),
            ingest,
            busy: 0.5,
            report,
        };
        let mut entry = Entry::new(contender, scenario.clone());
        entry.rounds.push(round);
        entry
    }

    fn run(name: &str) -> Vec<Entry> {
        let tinyice = Contender::TinyIce {
            label: "tinyice".into(),
            program: "t".into(),
        };
        let icecast = Contender::Icecast { program: "i".into() };
        vec![
            entry(tinyice, name, 36, Some((100, 2))),
            entry(icecast, name, 80, None),
            entry(Contender::Floor { flush_ms: 250 }, name, 35, None),
        ]
    }

    #[test]
    fn goals_are_judged_by_what_was_measured() {
        let text = render(&[run("8000"), run("19000"), run("1000")]);
        for line in [
            "| 8000 | 0.45 | 1.03 | ",
            "| 8000: CPU of Icecast's at most 0.4 | 0.45 | no |",
            "| 8000: CPU of the bare loop's at most 1.15 | 1.03 | yes |",
            "| 8000: delay p99 at most 500 ms | 4",
            "| 19000: memory for each listener at most 1.5 kB | 1.00 kB | yes |",
            "| 19000: share of the busier of two threads at most 0.6 | 0.70 | no |",
            "| 1000: reads over 5 ms from the ring at most 0 | 2.00 | no |",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        let floor = entry(Contender::Floor { flush_ms: 250 }, "8000", 35, None);
        assert!(!render(&[vec![floor]]).contains("Goals"));
    }
}
