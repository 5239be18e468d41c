//! The table of a comparison: medians over rounds, in Markdown.
//! Contract: a row never hides a problem; rounds that failed and listeners that were not served are in it.

use crate::contender::Contender;
use crate::histogram::Histogram;
use crate::report::{Report, millis};
use crate::round::Round;
use crate::scenario::Scenario;

/// All rounds of one contender in one scenario.
pub(crate) struct Entry {
    /// Who.
    pub(crate) contender: Contender,
    /// Under which load.
    pub(crate) scenario: Scenario,
    /// What is different about that load from the one in the head of the table.
    pub(crate) beside: Option<&'static str>,
    /// Rounds that gave a result.
    pub(crate) rounds: Vec<Round>,
    /// Why the other rounds did not.
    pub(crate) failures: Vec<String>,
    /// How often it was seen to deliver to a listener at the live edge, in milliseconds.
    pub(crate) delivers_every: Option<f64>,
}

impl Entry {
    /// A contender without rounds so far.
    pub(crate) fn new(contender: Contender, scenario: Scenario) -> Entry {
        Entry {
            contender,
            scenario,
            beside: None,
            rounds: Vec::new(),
            failures: Vec::new(),
            delivers_every: None,
        }
    }

    /// The name in tables.
    pub(crate) fn label(&self) -> String {
        let label = self.contender.label();
        match self.beside {
            Some(beside) => format!("{label}, {beside}"),
            None => label,
        }
    }

    /// The median of a figure over the rounds.
    pub(crate) fn median(&self, figure: impl Fn(&Round) -> f64) -> Option<f64> {
        let mut figures: Vec<f64> = self.rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        match figures.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(figures[middle]),
            _ => Some((figures[middle - 1] + figures[middle]) / 2.0),
        }
    }

    /// Microseconds of processor time for one listener and second.
    pub(crate) fn cpu(&self) -> Option<f64> {
        self.median(Round::cpu_per_listener_second)
    }

    /// The busier one's share of what the two busiest threads used.
    pub(crate) fn balance(&self) -> Option<f64> {
        let share = |round: &Round| match round.threads[..] {
            [first, second, ..] if first > 0 => first as f64 / (first + second) as f64,
            _ => f64::NAN,
        };
        self.median(share).filter(|share| !share.is_nan())
    }

    /// Anonymous memory in the tenths of a long window, in bytes.
    pub(crate) fn memory_course(&self) -> Option<[f64; 10]> {
        let tenth = |round: &Round, number: usize| {
            let size = round.memory.len() / 10;
            let part = round.memory.get(number * size..(number + 1) * size);
            let part = part.unwrap_or_default();
            part.iter().sum::<u64>() as f64 / part.len() as f64
        };
        let course =
            std::array::from_fn(|number| self.median(|round| tenth(round, number)).unwrap_or(f64::NAN));
        (!course.iter().any(|size| size.is_nan())).then_some(course)
    }

    /// How much memory grows, as a share, from the third tenth of a long window to the last. By the third everything
    /// that the scenario does has been done once, so that buffers and caches are as large as that makes them.
    pub(crate) fn memory_growth(&self) -> Option<f64> {
        let course = self.memory_course()?;
        Some(course[9] / course[2] - 1.0)
    }

    /// Reads of sources in all rounds, and those that took over 5 ms to get into the ring.
    pub(crate) fn ingest(&self) -> Option<(u64, u64)> {
        let counts = self.rounds.iter().filter_map(|round| round.ingest);
        counts.reduce(|(all, late), (more, later)| (all + more, late + later))
    }

    fn flush_ms(&self) -> Option<f64> {
        self.median(|round| round.report.flush_ms())
    }

    /// A count over all rounds.
    pub(crate) fn sum(&self, count: impl Fn(&Report) -> u64) -> u64 {
        self.rounds.iter().map(|round| count(&round.report)).sum()
    }
}

const HEAD: &str = "\
| contender | CPU µs/listener-s (least–most) | × Icecast | × floor | read every ms | delay ms p50 / p99 | \
first byte ms p50 / p99 | refused / waiting / dropped / shed / starved | gaps / damaged | \
memory kB/listener RSS / anon | busiest two threads | machine busy | rounds |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
";

/// The table of one scenario.
pub(crate) fn render(entries: &[Entry]) -> String {
    let icecast = entries
        .iter()
        .find(|entry| matches!(entry.contender, Contender::Icecast { .. }));
    let icecast = icecast.and_then(Entry::cpu);
    let mut text = HEAD.to_owned();
    for entry in entries {
        text += &row(entry, icecast, floor_for(entry, entries));
    }
    for entry in entries {
        for failure in &entry.failures {
            text += &format!("\n{}: round failed: {failure}\n", entry.label());
        }
        let mut reasons: Vec<&String> = entry
            .rounds
            .iter()
            .flat_map(|round| round.report.refused.keys())
            .collect();
        reasons.sort();
        reasons.dedup();
        for reason in reasons {
            let count = entry.sum(|report| report.refused.get(reason).copied().unwrap_or_default());
            text += &format!("\n{}: {count} refused in all rounds: {reason}\n", entry.label());
        }
        text += &asides(entry);
        let titles = entry.sum(|report| report.blocks.titles);
        let wrong = entry.sum(|report| report.blocks.wrong);
        if titles + wrong > 0 {
            let label = entry.label();
            text +=
                &format!("\n{label}: {titles} titles and {wrong} damaged blocks in the sampled streams\n");
        }
    }
    let load = entries
        .iter()
        .filter_map(|entry| entry.median(|round| round.report.own_cpu as f64 / round.window.max(1) as f64));
    text + &format!(
        "\nThe load generator used up to {:.2} of a core.\n",
        load.fold(0.0, f64::max)
    )
}

/// What only some scenarios and contenders have to tell.
fn asides(entry: &Entry) -> String {
    let label = entry.label();
    let mut text = String::new();
    if entry.sum(|report| report.back.total()) > 0 {
        let waits = spans(entry, |report| &report.back, 0.0);
        text += &format!("\n{label}: back on after {waits} ms (p50 / p99)\n");
    }
    if !entry.scenario.silence(entry.scenario.least_window()).is_zero() {
        let silences = spans(entry, |report| &report.silence, 0.0);
        text += &format!("\n{label}: longest silence of a listener {silences} ms (p50 / p99)\n");
    }
    if let Some((course, growth)) = entry.memory_course().zip(entry.memory_growth()) {
        let course = course.map(|size| format!("{:.1}", size / 1e6)).join(", ");
        text += &format!(
            "\n{label}: anonymous memory in the tenths of the window {course} MB ({:+.1} % from the third to the last)\n",
            growth * 100.0
        );
    }
    if let Some((all, late)) = entry.ingest() {
        text += &format!("\n{label}: {late} of {all} reads took over 5 ms to get into the ring\n");
    }
    text
}

/// The floor whose flush interval is nearest to that of a contender.
pub(crate) fn floor_for<'a>(entry: &Entry, entries: &'a [Entry]) -> Option<&'a Entry> {
    let interval = entry.delivers_every.or_else(|| entry.flush_ms())?;
    let distance = |floor: &&Entry| match floor.contender {
        Contender::Floor { flush_ms } => (flush_ms as f64 / interval).ln().abs(),
        _ => f64::INFINITY,
    };
    let floors = entries
        .iter()
        .filter(|entry| entry.contender.is_floor() && !entry.rounds.is_empty());
    floors.min_by(|one, other| distance(one).total_cmp(&distance(other)))
}

fn row(entry: &Entry, icecast: Option<f64>, floor: Option<&Entry>) -> String {
    let cpus = || entry.rounds.iter().map(Round::cpu_per_listener_second);
    let (least, most) = (cpus().fold(f64::INFINITY, f64::min), cpus().fold(0.0, f64::max));
    let cpu = entry
        .cpu()
        .map_or_else(dash, |cpu| format!("{cpu:.1} ({least:.1}–{most:.1})"));
    let ratio = |mark: Option<f64>| match (entry.cpu(), mark) {
        (Some(cpu), Some(mark)) if mark > 0.0 => format!("{:.2}", cpu / mark),
        _ => dash(),
    };
    let floor = match floor {
        Some(floor) if !entry.contender.is_floor() => {
            format!("{} ({})", ratio(floor.cpu()), floor.contender.label())
        }
        _ => dash(),
    };
    let share_waiting =
        entry.sum(|report| report.waiting) as f64 / entry.sum(|report| report.wanted).max(1) as f64;
    let cells = [
        entry.label(),
        cpu,
        ratio(icecast),
        floor,
        entry.flush_ms().map_or_else(dash, |ms| format!("{ms:.0}")),
        spans(entry, |report| &report.delay, 0.0),
        spans(entry, |report| &report.first_byte, share_waiting),
        format!(
            "{} / {} / {} / {} / {}",
            entry.sum(Report::refused_total),
            entry.sum(|report| report.waiting),
            entry.sum(|report| report.dropped),
            entry.sum(|report| report.shed),
            entry.sum(|report| report.starved),
        ),
        format!(
            "{} / {}",
            entry.sum(|report| report.findings.gaps),
            entry.sum(|report| report.findings.corrupt)
        ),
        match (
            entry.median(|round| round.rss_per_listener),
            entry.median(|round| round.anon_per_listener),
        ) {
            (Some(rss), Some(anon)) => format!("{:.2} / {:.2}", rss / 1024.0, anon / 1024.0),
            _ => dash(),
        },
        entry.balance().map_or_else(dash, |share| {
            format!("{:.0} : {:.0}", share * 100.0, (1.0 - share) * 100.0)
        }),
        entry
            .median(|round| round.busy)
            .map_or_else(dash, |busy| format!("{:.0} %", busy * 100.0)),
        format!(
            "{} of {}",
            entry.rounds.len(),
            entry.rounds.len() + entry.failures.len()
        ),
    ];
    format!("| {} |\n", cells.join(" | "))
}

/// Medians of two quantiles. One that falls among those who still wait is only known to be larger.
fn spans(entry: &Entry, histogram: impl Fn(&Report) -> &Histogram, waiting: f64) -> String {
    let at = |share: f64| {
        let ms = entry.median(|round| histogram(&round.report).quantile(share).map_or(f64::NAN, millis));
        match ms {
            Some(ms) if !ms.is_nan() => format!("{}{ms:.1}", if waiting > 1.0 - share { "≥ " } else { "" }),
            _ => dash(),
        }
    };
    format!("{} / {}", at(0.5), at(0.99))
}

fn dash() -> String {
    "–".into()
}

#[cfg(test)]
mod tests {
    use super::{Entry, render};
    use crate::contender::Contender;
    use crate::report::Report;
    use crate::round::Round;
    use crate::scenario::Scenario;

    fn round(cpu_us: u64, flush_ms: u64) -> Round {
        let mut report = Report {
            wanted: 1,
            on: 1,
            listened: 1_000_000_000,
            ..Report::default()
        };
        report.listened_ordinary = report.listened;
        report.reads = 1000 / flush_ms;
        report.delay.add(20);
        let (rss, anon) = (2048.0, 1024.0);
        Round {
            cpu: cpu_us * 1000,
            window: 1,
            rss_per_listener: rss,
            anon_per_listener: anon,
            threads: vec![60, 40],
            memory: Vec::new(),
            ingest: None,
            busy: 0.5,
            report,
        }
    }

    fn entry(contender: Contender, cpus: &[u64], flush_ms: u64) -> Entry {
        let rounds = cpus.iter().map(|&cpu| round(cpu, flush_ms)).collect();
        Entry {
            rounds,
            ..Entry::new(contender, Scenario::plain())
        }
    }

    #[test]
    fn ratios_are_of_medians_and_to_the_floor_of_the_same_interval() {
        let icecast = Contender::Icecast {
            program: "icecast2".into(),
        };
        let entries = [
            entry(
                Contender::TinyIce {
                    label: "tinyice".into(),
                    program: "t".into(),
                },
                &[90, 40, 44],
                250,
            ),
            entry(icecast, &[88, 80, 300], 100),
            entry(Contender::Floor { flush_ms: 100 }, &[55], 100),
            entry(Contender::Floor { flush_ms: 250 }, &[40], 250),
        ];
        let text = render(&entries);
        let rows: Vec<&str> = text.lines().collect();
        assert!(
            rows[2].starts_with("| tinyice | 44.0 (40.0–90.0) | 0.50 | 1.10 (floor 250 ms) | 250 |"),
            "{text}"
        );
        assert!(
            rows[3].starts_with("| icecast | 88.0 (80.0–300.0) | 1.00 | 1.60 (floor 100 ms) | 100 |"),
            "{text}"
        );
        assert!(
            rows[4].starts_with("| floor 100 ms | 55.0 (55.0–55.0) | 0.62 | – | 100 |"),
            "{text}"
        );
        assert!(
            rows[2].ends_with("| 2.00 / 1.00 | 60 : 40 | 50 % | 3 of 3 |"),
            "{text}"
        );
    }

    #[test]
    fn what_only_some_have_to_tell_is_told_below() {
        let mut entry = entry(Contender::Floor { flush_ms: 250 }, &[40], 250);
        entry.beside = Some("one mount");
        entry.rounds[0].memory = (1..=20).map(|n| n * 1_000_000).collect();
        entry.rounds[0].ingest = Some((10, 1));
        entry.rounds[0].report.back.add(7_000_000);
        let text = render(&[entry]);
        for part in [
            "| floor 250 ms, one mount |",
            "memory in the tenths of the window 1.5, 3.5, 5.5, 7.5, 9.5, 11.5, 13.5, 15.5, 17.5, 19.5 MB (+254.5 % from the",
            "1 of 10 reads",
            "back on after 7.",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn what_went_wrong_is_printed() {
        let mut broken = Entry::new(Contender::Floor { flush_ms: 20 }, Scenario::plain());
        broken.failures.push("no port".into());
        let mut refusing = entry(Contender::Icecast { program: "i".into() }, &[1], 100);
        refusing.rounds[0].report.refused.insert("status 403".into(), 3);
        refusing.rounds[0].report.blocks.titles = 7;
        refusing.rounds[0].report.waiting = 1;
        refusing.rounds[0].report.first_byte.add(5_000_000);
        let text = render(&[broken, refusing]);
        for part in [
            "0 of 1",
            "round failed: no port",
            "3 refused in all rounds: status 403",
            "≥ 5.0",
            "| 3 / 1 / 0",
            "icecast: 7 titles and 0 damaged",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
