//! The numbers of one look at the server.
//!
//! Contract: reads the text that every scraper reads; a line that is not understood is left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

type Labels = Vec<(String, String)>;

/// All samples of one scrape.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) at: Instant,
    values: BTreeMap<String, Vec<(Labels, f64)>>,
}

impl Sample {
    pub(super) fn parse(text: &str, at: Instant) -> Self {
        let mut values: BTreeMap<String, Vec<(Labels, f64)>> = BTreeMap::new();
        for (name, labels, value) in text.lines().filter_map(parse_line) {
            values.entry(name).or_default().push((labels, value));
        }
        Self { at, values }
    }

    /// The sum of all series of a name that have these labels; 0 when there is none.
    pub(super) fn sum(&self, name: &str, with: &[(&str, &str)]) -> f64 {
        let has = |labels: &Labels| {
            with.iter()
                .all(|(key, value)| labels.iter().any(|(k, v)| k == key && v == value))
        };
        let series = self.values.get(name).into_iter().flatten();
        series
            .filter(|(labels, _)| has(labels))
            .map(|(_, value)| value)
            .sum()
    }

    /// The values of one label of a name.
    pub(super) fn label_values(&self, name: &str, label: &str) -> Vec<String> {
        let series = self.values.get(name).into_iter().flatten();
        let values: BTreeSet<_> = series
            .flat_map(|(labels, _)| labels)
            .filter(|(key, _)| key == label)
            .map(|(_, value)| value.clone())
            .collect();
        values.into_iter().collect()
    }

    /// Growth per second since an earlier look.
    pub(super) fn rate(&self, before: &Self, name: &str, with: &[(&str, &str)]) -> f64 {
        let seconds = self.at.saturating_duration_since(before.at).as_secs_f64();
        let growth = self.sum(name, with) - before.sum(name, with);
        // Smaller means that the server was started anew in between.
        if seconds > 0.0 {
            growth.max(0.0) / seconds
        } else {
            0.0
        }
    }

    /// The value below which a share of what a histogram counted since an earlier look lies: the upper bound of its
    /// bucket. Nothing when nothing was counted; infinite above the last bound.
    pub(super) fn quantile(
        &self,
        before: &Self,
        name: &str,
        with: &[(&str, &str)],
        share: f64,
    ) -> Option<f64> {
        let bucket = format!("{name}_bucket");
        let mut bounds: Vec<(f64, f64)> = Vec::new();
        for bound in self.label_values(&bucket, "le") {
            let mut labels = with.to_vec();
            labels.push(("le", &bound));
            let count = self.sum(&bucket, &labels) - before.sum(&bucket, &labels);
            bounds.push((bound.parse().unwrap_or(f64::INFINITY), count));
        }
        bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all = bounds
            .last()
            .map(|(_, count)| *count)
            .filter(|count| *count > 0.0)?;
        bounds
            .iter()
            .find(|(_, count)| *count >= all * share)
            .map(|(bound, _)| *bound)
    }
}

/// `name{key="value",…} number`
fn parse_line(line: &str) -> Option<(String, Labels, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        value => value.parse().ok()?,
    };
    Some((name.to_owned(), labels, value))
}

fn parse_labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut labels = Vec::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (key, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.push((key.to_owned(), value));
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let one = |line| parse_line(line).map(|(name, labels, value)| (name, labels.len(), value));
        for (line, expected) in [
            ("a 1", Some(("a", 0, 1.0))),
            ("a{b=\"c\"} 2.5", Some(("a", 1, 2.5))),
            ("a{b=\"c,}\\\"\",d=\"\\n\"} +Inf", Some(("a", 2, f64::INFINITY))),
            ("# HELP a b", None),
            ("a{b=\"c", None),
            ("a", None),
            ("", None),
        ] {
            let expected =
                expected.map(|(name, labels, value): (&str, _, _)| (name.to_owned(), labels, value));
            assert_eq!(one(line), expected, "{line}");
        }
    }

    #[test]
    fn rates_and_quantiles_are_of_the_time_between_two_looks() {
        let at = Instant::now();
        let text = |low: u32, high: u32| {
            format!("bytes_total {low}\nlag_bucket{{le=\"0.1\"}} {low}\nlag_bucket{{le=\"+Inf\"}} {high}\n")
        };
        let before = Sample::parse(&text(10, 10), at);
        let now = Sample::parse(&text(30, 110), at + Duration::from_secs(2));
        assert!((now.rate(&before, "bytes_total", &[]) - 10.0).abs() < 1e-9);
        assert_eq!(now.quantile(&before, "lag", &[], 0.1), Some(0.1));
        assert_eq!(now.quantile(&before, "lag", &[], 0.9), Some(f64::INFINITY));
        assert_eq!(before.quantile(&before, "lag", &[], 0.5), None);
        assert!(
            before.rate(&now, "bytes_total", &[]).abs() < 1e-9,
            "a restart is no negative rate"
        );
    }
}
