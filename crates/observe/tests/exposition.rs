//! What scrapers read: exact texts, hostile labels, and that it can be read back.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::time::Instant;

use observe::metrics::{Exposition, Format, Histogram, Kind, Prepared};
use proptest::prelude::*;

fn check(write: fn(&mut Exposition), text: &str, openmetrics: &str, json: &str) {
    for (format, expected) in [
        (Format::Text, text.to_owned()),
        (Format::OpenMetrics, format!("{openmetrics}# EOF\n")),
        (Format::Json, format!("{json}\n")),
    ] {
        let mut out = Exposition::new(format);
        write(&mut out);
        assert_eq!(out.finish(), expected, "{format:?}");
    }
}

#[test]
fn nothing() {
    check(|_| {}, "", "", "{}");
}

#[test]
fn a_counter_without_labels() {
    check(
        |out| {
            out.family("a_total", Kind::Counter, "Has \"a\\b\"\nc.")
                .sample(&[], 3u64);
        },
        "# HELP a_total Has \"a\\\\b\"\\nc.\n# TYPE a_total counter\na_total 3\n",
        "# TYPE a counter\n# HELP a Has \\\"a\\\\b\\\"\\nc.\na_total 3\n",
        r#"{"a_total":3}"#,
    );
}

#[test]
fn names_that_openmetrics_does_not_know() {
    check(
        |out| {
            out.family("dropped_bytes", Kind::Counter, "Grows.")
                .sample(&[], 1u64);
            out.family("listeners_total", Kind::Gauge, "Goes up and down.")
                .sample(&[], 2u64);
        },
        "# HELP dropped_bytes Grows.\n# TYPE dropped_bytes counter\ndropped_bytes 1\n\
         # HELP listeners_total Goes up and down.\n# TYPE listeners_total gauge\nlisteners_total 2\n",
        "# TYPE dropped_bytes unknown\n# UNIT dropped_bytes bytes\n# HELP dropped_bytes Grows.\ndropped_bytes 1\n\
         # TYPE listeners_total gauge\n# HELP listeners_total Goes up and down.\nlisteners_total 2\n",
        r#"{"dropped_bytes":1,"listeners_total":2}"#,
    );
}

#[test]
fn labels_and_families_without_samples() {
    check(
        |out| {
            let mut family = out.family("speed_ratio", Kind::Gauge, "Speed.");
            family.sample(&[("mount", "/a\"\\\n\u{1b}"), ("name", "")], f64::NAN);
            family.sample_with(
                &Prepared::new(&[("mount", "/b\"")]).with("name", "é"),
                f64::INFINITY,
            );
            drop(family);
            drop(out.family("empty", Kind::Gauge, "None."));
        },
        "# HELP speed_ratio Speed.\n# TYPE speed_ratio gauge\n\
         speed_ratio{mount=\"/a\\\"\\\\\\n\u{fffd}\",name=\"\"} NaN\nspeed_ratio{mount=\"/b\\\"\",name=\"é\"} +Inf\n\
         # HELP empty None.\n# TYPE empty gauge\n",
        "# TYPE speed_ratio gauge\n# UNIT speed_ratio ratio\n# HELP speed_ratio Speed.\n\
         speed_ratio{mount=\"/a\\\"\\\\\\n\u{fffd}\",name=\"\"} NaN\nspeed_ratio{mount=\"/b\\\"\",name=\"é\"} +Inf\n\
         # TYPE empty gauge\n# HELP empty None.\n",
        "{\"speed_ratio\":{\"mount=/a\\\"\\\\\\n\u{fffd},name=\":null,\"mount=/b\\\",name=é\":null},\"empty\":{}}",
    );
}

#[test]
fn histograms_are_cumulative() {
    check(
        |out| {
            let histogram = Histogram::plain(&[0.5, 1.0, 1e6]);
            histogram.observe_many(1, 2);
            histogram.observe(5_000_000);
            let snapshot = histogram.snapshot();
            out.family("plain", Kind::Histogram, "P.")
                .histogram(&[], &snapshot);
            out.family("labelled", Kind::Histogram, "L.")
                .histogram(&[("a", "\""), ("b", "c")], &snapshot);
        },
        "# HELP plain P.\n# TYPE plain histogram\nplain_bucket{le=\"0.5\"} 0\nplain_bucket{le=\"1\"} 2\n\
         plain_bucket{le=\"1e+06\"} 2\nplain_bucket{le=\"+Inf\"} 3\nplain_sum 5000002\nplain_count 3\n\
         # HELP labelled L.\n# TYPE labelled histogram\nlabelled_bucket{a=\"\\\"\",b=\"c\",le=\"0.5\"} 0\n\
         labelled_bucket{a=\"\\\"\",b=\"c\",le=\"1\"} 2\nlabelled_bucket{a=\"\\\"\",b=\"c\",le=\"1e+06\"} 2\n\
         labelled_bucket{a=\"\\\"\",b=\"c\",le=\"+Inf\"} 3\nlabelled_sum{a=\"\\\"\",b=\"c\"} 5000002\n\
         labelled_count{a=\"\\\"\",b=\"c\"} 3\n",
        "# TYPE plain histogram\n# HELP plain P.\nplain_bucket{le=\"0.5\"} 0\nplain_bucket{le=\"1.0\"} 2\n\
         plain_bucket{le=\"1e+06\"} 2\nplain_bucket{le=\"+Inf\"} 3\nplain_sum 5000002\nplain_count 3\n\
         # TYPE labelled histogram\n# HELP labelled L.\nlabelled_bucket{a=\"\\\"\",b=\"c\",le=\"0.5\"} 0\n\
         labelled_bucket{a=\"\\\"\",b=\"c\",le=\"1.0\"} 2\nlabelled_bucket{a=\"\\\"\",b=\"c\",le=\"1e+06\"} 2\n\
         labelled_bucket{a=\"\\\"\",b=\"c\",le=\"+Inf\"} 3\nlabelled_sum{a=\"\\\"\",b=\"c\"} 5000002\n\
         labelled_count{a=\"\\\"\",b=\"c\"} 3\n",
        r#"{"plain":{"count":3,"sum":5000002,"buckets":{"0.5":0,"1":2,"1e+06":2,"+Inf":3}},"labelled":{"a=\",b=c":{"count":3,"sum":5000002,"buckets":{"0.5":0,"1":2,"1e+06":2,"+Inf":3}}}}"#,
    );
}

#[test]
#[cfg_attr(debug_assertions, should_panic(expected = "is written twice"))]
fn a_family_that_comes_twice_is_a_bug() {
    let mut out = Exposition::new(Format::Text);
    for value in [1u64, 2] {
        out.family("twice", Kind::Gauge, "T.").sample(&[], value);
    }
    assert_eq!(out.finish(), "# HELP twice T.\n# TYPE twice gauge\ntwice 1\n");
    assert_eq!(observe::event_counts()["metrics_family_repeated"], 1);
}

/// One line of a sample: its name, labels and value.
type Sample = (String, BTreeMap<String, String>, String);

/// A reader of sample lines that knows nothing of how they are written.
fn read(line: &str) -> Sample {
    let (head, value) = line.rsplit_once(' ').unwrap();
    let (name, mut rest) = match head.split_once('{') {
        None => return (head.to_owned(), BTreeMap::new(), value.to_owned()),
        Some((name, rest)) => (name, rest.strip_suffix('}').unwrap()),
    };
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").unwrap();
        let mut text = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().unwrap() {
                (end, '"') => break end,
                (_, '\\') => text.push(match characters.next().unwrap().1 {
                    'n' => '\n',
                    character => character,
                }),
                (_, character) => text.push(character),
            }
        };
        labels.insert(label.to_owned(), text);
        rest = after[end + 1..].trim_start_matches(',');
    }
    (name.to_owned(), labels, value.to_owned())
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(
        values in prop::collection::vec(("(?s)(.|[\\\\\"\n,={}]){0,140}", any::<u64>()), 0..20),
    ) {
        for format in [Format::Text, Format::OpenMetrics] {
            let mut out = Exposition::new(format);
            let mut family = out.family("a_total", Kind::Counter, "A.");
            for (place, (value, count)) in values.iter().enumerate() {
                let labels = [("place", place.to_string()), ("value", value.clone())];
                let labels: Vec<_> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
                match place % 2 {
                    0 => family.sample(&labels, *count),
                    _ => family.sample_with(&Prepared::new(&labels), *count),
                }
            }
            drop(family);
            let text = out.finish();
            // What the standard library takes for an end of line, a parser might.
            let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).map(read).collect();
            prop_assert_eq!(samples.len(), values.len());
            for (place, ((name, labels, count), (value, expected))) in samples.iter().zip(&values).enumerate() {
                prop_assert_eq!((name.as_str(), count), ("a_total", &expected.to_string()));
                prop_assert_eq!(&labels["place"], &place.to_string());
                let read: Vec<char> = labels["value"].chars().collect();
                prop_assert_eq!(read.len(), value.chars().count().min(128));
                for (read, written) in read.into_iter().zip(value.chars()) {
                    prop_assert!(read == written || read == '\u{fffd}' && written != '\n', "{read:?} {written:?}");
                    prop_assert!(read == '\n' || !read.is_control());
                }
            }
        }
    }

    #[test]
    fn json_is_json(values in prop::collection::hash_map("(?s).{0,100}", any::<f64>(), 0..20)) {
        let mut out = Exposition::new(Format::Json);
        let mut family = out.family("a", Kind::Gauge, "A.");
        for (place, (value, number)) in values.iter().enumerate() {
            family.sample(&[("place", &place.to_string()), ("value", value)], *number);
        }
        drop(family);
        out.family("b", Kind::Gauge, "B.").sample(&[], 1u64);
        let json: serde_json::Value = serde_json::from_str(&out.finish()).unwrap();
        prop_assert_eq!(json["a"].as_object().unwrap().len(), values.len());
        prop_assert_eq!(&json["b"], 1);
    }
}

/// 1,000 mounts with 60 lines each, three histograms among them: 2.4 ms as text or OpenMetrics, 1.7 ms as
/// JSON.
/// `cargo test -p observe --release --test exposition -- --ignored --nocapture`
#[test]
#[ignore = "measures"]
fn cost_of_sixty_thousand_lines() {
    const GAUGES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    const HISTOGRAMS: [&str; 3] = ["lag_seconds", "gap_seconds", "delay_seconds"];
    let histogram = Histogram::seconds(&[
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ]);
    histogram.observe_many(123_456_789, 99_999);
    let snapshot = histogram.snapshot();
    let mounts: Vec<_> = (0..1_000)
        .map(|number| format!("/station-{number}/live.mp3"))
        .collect();
    for format in [Format::Text, Format::OpenMetrics, Format::Json] {
        let mut best = (f64::MAX, 0, 0);
        for _ in 0..10 {
            let begun = Instant::now();
            let mut out = Exposition::new(format);
            let labels: Vec<_> = mounts
                .iter()
                .map(|mount| Prepared::new(&[("mount", mount), ("name", "Radio Überall – \"the best\"")]))
                .collect();
            for (place, name) in GAUGES.into_iter().enumerate() {
                let mut family = out.family(name, Kind::Gauge, "A gauge.");
                for (number, labels) in labels.iter().enumerate() {
                    #[allow(clippy::cast_precision_loss, reason = "any number will do")]
                    match place % 2 {
                        0 => family.sample_with(labels, number as u64 * 1_234_567),
                        _ => family.sample_with(labels, number as f64 / 7.0),
                    }
                }
            }
            for name in HISTOGRAMS {
                let mut family = out.family(name, Kind::Histogram, "A histogram.");
                for labels in &labels {
                    family.histogram_with(labels, &snapshot);
                }
            }
            let text = out.finish();
            let took = begun.elapsed().as_secs_f64() * 1e3;
            best = (best.0.min(took), text.lines().count(), text.len());
        }
        let (millis, lines, bytes) = best;
        println!("{format:?}: {lines} lines, {bytes} bytes in {millis:.1} ms");
    }
}
