//! The text that scrapers read.
//!
//! Contract: whatever a label's value holds, the output stays well-formed: one sample is one line, and each family
//! is there once.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use super::Snapshot;
use super::notation::{bound, push_help, push_json_number, push_number, push_value};

crate::event! {
    struct FamilyRepeated { family: &'static str }
    = Warn "metrics_family_repeated": "A metric is written twice in one scrape: the second is left out"
}

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// One JSON object, as expvar has it.
    Json,
}

/// What a family holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Values by size.
    Histogram,
}

/// A sample's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole number.
    Whole(u64),
    /// Any number.
    Real(f64),
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

/// 1 is true.
impl From<bool> for Number {
    fn from(value: bool) -> Self {
        Self::Whole(u64::from(value))
    }
}

/// In seconds.
impl From<Duration> for Number {
    fn from(value: Duration) -> Self {
        Self::Real(value.as_secs_f64())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        push_number(&mut text, *self);
        out.write_str(&text)
    }
}

/// Labels that were written once to be used in many families: those of a mount, for example.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// `a="b",c="d"`.
    text: String,
    /// `a=b,c=d`, as a part of a JSON string.
    json: String,
}

impl Prepared {
    /// Writes the labels.
    #[must_use]
    pub fn new(labels: &[(&str, &str)]) -> Self {
        let mut prepared = Self::default();
        push_labels(&mut prepared.text, labels);
        push_json_labels(&mut prepared.json, labels);
        prepared
    }

    /// The same labels and one more.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut more = self.clone();
        if !more.text.is_empty() {
            more.text.push(',');
            more.json.push(',');
        }
        push_labels(&mut more.text, &[(name, value)]);
        push_json_labels(&mut more.json, &[(name, value)]);
        more
    }
}

/// The text under construction.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    text: String,
    /// The families so far.
    names: HashSet<&'static str>,
    /// The bounds of the last histogram as text: the next one mostly has the same.
    bounds: (&'static [f64], Vec<String>),
}

impl Exposition {
    /// Nothing yet. [`render`](super::render) makes the one with everything; this is for a collector's own tests.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self::with_capacity(format, 0)
    }

    pub(super) fn with_capacity(format: Format, capacity: usize) -> Self {
        let mut text = String::with_capacity(capacity);
        if format == Format::Json {
            text.push('{');
        }
        Self {
            format,
            text,
            names: HashSet::new(),
            bounds: (&[], Vec::new()),
        }
    }

    /// Begins a family. All its samples follow before the next one begins. Its name is its own in the whole scrape.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> Family<'_> {
        debug_assert!(is_name(name), "{name} is no name of a metric");
        let shape = if !self.names.insert(name) {
            debug_assert!(false, "the metric {name} is written twice in one scrape");
            crate::emit_limited(Duration::from_secs(60), FamilyRepeated { family: name });
            Shape::Left
        } else if self.format == Format::Json {
            Shape::Unknown
        } else {
            self.head(name, kind, help);
            Shape::Lines
        };
        Family {
            out: self,
            name,
            kind,
            shape,
        }
    }

    /// The finished text.
    #[must_use]
    pub fn finish(mut self) -> String {
        match self.format {
            Format::Text => {}
            Format::OpenMetrics => self.text.push_str("# EOF\n"),
            Format::Json => self.text.push_str("}\n"),
        }
        self.text
    }

    /// Where the text ends now; for [`Exposition::back_to`].
    pub(super) fn place(&self) -> usize {
        self.text.len()
    }

    /// Takes back what was written since, which may have ended in the middle of something.
    pub(super) fn back_to(&mut self, place: usize) {
        self.text.truncate(place);
    }

    fn head(&mut self, name: &'static str, kind: Kind, help: &str) {
        if self.format == Format::Text {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            push_all(&mut self.text, &["# HELP ", name, " "]);
            push_help(&mut self.text, help, false);
            return push_all(&mut self.text, &["\n# TYPE ", name, " ", kind, "\n"]);
        }
        // OpenMetrics 1.0, "Counter": the samples of a counter end in `_total`, its family does not. What grows
        // under another name can only be `unknown`.
        let (family, kind) = match (kind, name.strip_suffix("_total")) {
            (Kind::Counter, Some(family)) => (family, "counter"),
            (Kind::Counter, None) => (name, "unknown"),
            (Kind::Gauge, _) => (name, "gauge"),
            (Kind::Histogram, _) => (name, "histogram"),
        };
        push_all(&mut self.text, &["# TYPE ", family, " ", kind, "\n"]);
        let is_unit = |unit: &&str| {
            let rest = family.strip_suffix(unit);
            rest.is_some_and(|rest| rest.ends_with('_'))
        };
        if let Some(unit) = ["seconds", "bytes", "ratio"].into_iter().find(is_unit) {
            push_all(&mut self.text, &["# UNIT ", family, " ", unit, "\n"]);
        }
        push_all(&mut self.text, &["# HELP ", family, " "]);
        push_help(&mut self.text, help, true);
        self.text.push('\n');
    }

    /// Makes the texts of these bounds the ones at hand.
    fn know_bounds(&mut self, bounds: &'static [f64]) {
        if self.bounds.1.is_empty() || !std::ptr::eq(self.bounds.0, bounds) {
            let openmetrics = self.format == Format::OpenMetrics;
            let texts = bounds.iter().map(|&edge| bound(edge, openmetrics));
            self.bounds = (bounds, texts.chain(["+Inf".to_owned()]).collect());
        }
    }
}

/// One family under construction.
#[derive(Debug)]
pub struct Family<'a> {
    out: &'a mut Exposition,
    name: &'static str,
    kind: Kind,
    shape: Shape,
}

/// What has been written of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// It was there before and is left out.
    Left,
    /// Lines of text.
    Lines,
    /// No JSON yet.
    Unknown,
    /// A JSON value of its own.
    Single,
    /// A JSON object with a key for each combination of labels.
    Keyed,
}

impl Family<'_> {
    /// Adds a sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Number>) {
        self.add(&labels, value.into());
    }

    /// Adds a sample with labels that were prepared.
    pub fn sample_with(&mut self, labels: &Prepared, value: impl Into<Number>) {
        self.add(labels, value.into());
    }

    /// Adds a histogram's samples.
    pub fn histogram(&mut self, labels: &[(&str, &str)], snapshot: &Snapshot) {
        self.add_histogram(&labels, snapshot);
    }

    /// Adds a histogram's samples with labels that were prepared.
    pub fn histogram_with(&mut self, labels: &Prepared, snapshot: &Snapshot) {
        self.add_histogram(labels, snapshot);
    }

    fn add(&mut self, labels: &impl Render, value: Number) {
        debug_assert!(self.kind != Kind::Histogram, "{} is a histogram", self.name);
        if self.shape != Shape::Lines {
            if self.key(labels) {
                push_json_number(&mut self.out.text, value);
            }
            return;
        }
        let text = &mut self.out.text;
        text.push_str(self.name);
        if !labels.is_empty() {
            text.push('{');
            labels.push(text);
            text.push('}');
        }
        text.push(' ');
        push_number(text, value);
        text.push('\n');
    }

    fn add_histogram(&mut self, labels: &impl Render, snapshot: &Snapshot) {
        debug_assert!(self.kind == Kind::Histogram, "{} is no histogram", self.name);
        self.out.know_bounds(snapshot.bounds);
        if self.shape != Shape::Lines {
            if self.key(labels) {
                self.push_json_histogram(snapshot);
            }
            return;
        }
        let Exposition { text, bounds, .. } = &mut *self.out;
        // The labels are written for the first line and copied for the others.
        let mut first = None;
        let mut push_labels = |text: &mut String| match first.clone() {
            Some(place) => text.extend_from_within(place),
            None => {
                let start = text.len();
                labels.push(text);
                first = Some(start..text.len());
            }
        };
        for (count, edge) in cumulative(snapshot).zip(&bounds.1) {
            push_all(text, &[self.name, "_bucket{"]);
            if !labels.is_empty() {
                push_labels(text);
                text.push(',');
            }
            push_all(text, &["le=\"", edge, "\"} "]);
            push_number(text, Number::Whole(count));
            text.push('\n');
        }
        for (suffix, value) in [
            ("_sum", Number::Real(snapshot.sum)),
            ("_count", Number::Whole(snapshot.count())),
        ] {
            push_all(text, &[self.name, suffix]);
            if !labels.is_empty() {
                text.push('{');
                push_labels(text);
                text.push('}');
            }
            text.push(' ');
            push_number(text, value);
            text.push('\n');
        }
    }

    /// Writes what stands before a JSON value; `false` if the value has no place.
    fn key(&mut self, labels: &impl Render) -> bool {
        let text = &mut self.out.text;
        match self.shape {
            Shape::Unknown => {
                push_json_name(text, self.name);
                if labels.is_empty() {
                    self.shape = Shape::Single;
                    return true;
                }
                self.shape = Shape::Keyed;
                text.push_str("{\"");
            }
            Shape::Keyed if !labels.is_empty() => text.push_str(",\""),
            Shape::Keyed | Shape::Left | Shape::Lines | Shape::Single => return false,
        }
        labels.push_json(text);
        text.push_str("\":");
        true
    }

    fn push_json_histogram(&mut self, snapshot: &Snapshot) {
        let Exposition { text, bounds, .. } = &mut *self.out;
        text.push_str("{\"count\":");
        push_number(text, Number::Whole(snapshot.count()));
        text.push_str(",\"sum\":");
        push_json_number(text, Number::Real(snapshot.sum));
        let mut separator = ",\"buckets\":{\"";
        for (count, edge) in cumulative(snapshot).zip(&bounds.1) {
            text.push_str(separator);
            text.push_str(edge);
            text.push_str("\":");
            push_number(text, Number::Whole(count));
            separator = ",\"";
        }
        text.push_str("}}");
    }
}

impl Drop for Family<'_> {
    fn drop(&mut self) {
        match self.shape {
            // A family without samples is an empty object: its name is still worth knowing.
            Shape::Unknown => {
                push_json_name(&mut self.out.text, self.name);
                self.out.text.push_str("{}");
            }
            Shape::Keyed => self.out.text.push('}'),
            Shape::Left | Shape::Lines | Shape::Single => {}
        }
    }
}

/// Labels that can be written.
trait Render {
    fn is_empty(&self) -> bool;
    fn push(&self, out: &mut String);
    fn push_json(&self, out: &mut String);
}

impl Render for &[(&str, &str)] {
    fn is_empty(&self) -> bool {
        <[_]>::is_empty(self)
    }
    fn push(&self, out: &mut String) {
        push_labels(out, self);
    }
    fn push_json(&self, out: &mut String) {
        push_json_labels(out, self);
    }
}

impl Render for Prepared {
    fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
    fn push(&self, out: &mut String) {
        out.push_str(&self.text);
    }
    fn push_json(&self, out: &mut String) {
        out.push_str(&self.json);
    }
}

fn push_all(text: &mut String, parts: &[&str]) {
    for part in parts {
        text.push_str(part);
    }
}

fn push_labels(out: &mut String, labels: &[(&str, &str)]) {
    for (place, (name, value)) in labels.iter().enumerate() {
        debug_assert!(
            is_name(name) && !name.contains(':'),
            "{name} is no name of a label"
        );
        if place > 0 {
            out.push(',');
        }
        out.push_str(name);
        out.push_str("=\"");
        push_value(out, value);
        out.push('"');
    }
}

fn push_json_labels(out: &mut String, labels: &[(&str, &str)]) {
    for (place, (name, value)) in labels.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        out.push_str(name);
        out.push('=');
        push_value(out, value);
    }
}

fn push_json_name(text: &mut String, name: &str) {
    // Only the brace that opens the object has no comma before the next name.
    text.push_str(if text.len() == 1 { "\"" } else { ",\"" });
    text.push_str(name);
    text.push_str("\":");
}

/// The counts of a histogram, each with those below it.
fn cumulative(snapshot: &Snapshot) -> impl Iterator<Item = u64> + '_ {
    snapshot.counts.iter().scan(0, |below: &mut u64, count| {
        *below += count;
        Some(*below)
    })
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    name.bytes().all(fits) && !name.as_bytes().first().is_none_or(u8::is_ascii_digit)
}
