//! The parameters of a request.
//!
//! Contract: what is not understood is refused with a line that says what is allowed; nothing is guessed.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::StatusCode;
use percent_encoding::percent_decode_str;

use crate::Answer;

/// Parameters that a request may have at most.
const MOST: usize = 64;

/// The decoded parameters of a request, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
    /// The client prefers JSON, as its `Accept` header says.
    prefers_json: bool,
}

/// Why a parameter cannot be used; turns into a 400.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadQuery(String);

impl BadQuery {
    /// A reason for the client.
    pub fn new(reason: impl Into<String>) -> BadQuery {
        BadQuery(reason.into())
    }
}

impl Display for BadQuery {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for BadQuery {}

impl From<BadQuery> for Answer {
    fn from(bad: BadQuery) -> Answer {
        Answer::refused(StatusCode::BAD_REQUEST, bad.0)
    }
}

/// The form of a page that has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For a person.
    Text,
    /// For a program.
    Json,
}

impl Query {
    /// Decodes `a=1&b=two%20words`, as in an address or a form. A key may come once.
    pub fn parse(text: &str) -> Result<Query, BadQuery> {
        let mut query = Query::default();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let (key, value) = (decode(key)?, decode(value)?);
            if query.get(&key).is_some() {
                return Err(BadQuery(format!("the parameter {key:?} is there twice")));
            }
            if query.pairs.len() == MOST {
                return Err(BadQuery(format!("more than {MOST} parameters")));
            }
            query.pairs.push((key, value));
        }
        Ok(query)
    }

    /// With one more parameter, or another value of it.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Query {
        self.pairs.retain(|(known, _)| known != key);
        self.pairs.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn with_accept(mut self, prefers_json: bool) -> Query {
        self.prefers_json = prefers_json;
        self
    }

    /// The text of a parameter.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    }

    /// The names of all parameters.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|(key, _)| key.as_str())
    }

    /// A whole number in a range; `default` when it is not there or empty.
    pub fn number(&self, key: &str, range: RangeInclusive<u64>, default: u64) -> Result<u64, BadQuery> {
        let text = match self.get(key) {
            None | Some("") => return Ok(default),
            Some(text) => text,
        };
        text.parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (least, most) = (range.start(), range.end());
                BadQuery(format!("{key} is a whole number from {least} to {most}"))
            })
    }

    /// A time in seconds, whole or with a fraction (`seconds=5`, `seconds=0.5`), more than 0 and at most `most`;
    /// `None` when it is not there, empty or 0.
    pub fn seconds(&self, key: &str, most: Duration) -> Result<Option<Duration>, BadQuery> {
        let text = match self.get(key) {
            None | Some("") => return Ok(None),
            Some(text) => text,
        };
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let duration = text
            .parse()
            .ok()
            .filter(|_| plain)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|duration| *duration <= most)
            .ok_or_else(|| {
                BadQuery(format!(
                    "{key} is a number of seconds, at most {}",
                    most.as_secs_f64()
                ))
            })?;
        Ok((duration > Duration::ZERO).then_some(duration))
    }

    /// A duration with units (`10m`, `1h30m`, `1.5s`) or a bare number of seconds; `None` when it is not there.
    pub fn duration(&self, key: &str) -> Result<Option<Duration>, BadQuery> {
        let Some(text) = self.get(key) else {
            return Ok(None);
        };
        parse_duration(text).map(Some).ok_or_else(|| {
            BadQuery(format!(
                "{key} is a duration such as 90s, 10m or 1h30m (units: ns, us, ms, s, m, h)"
            ))
        })
    }

    /// A yes or no: `1`, `true`, `yes` or a bare name are yes.
    pub fn flag(&self, key: &str) -> Result<bool, BadQuery> {
        match self.get(key) {
            None | Some("0" | "false" | "no") => Ok(false),
            Some("" | "1" | "true" | "yes") => Ok(true),
            Some(_) => Err(BadQuery(format!("{key} is 1 or 0"))),
        }
    }

    /// The form of the page: the parameter `format`, or else what the `Accept` header prefers.
    pub fn form(&self) -> Result<Form, BadQuery> {
        match self.get("format") {
            None | Some("") if self.prefers_json => Ok(Form::Json),
            None | Some("" | "text") => Ok(Form::Text),
            Some("json") => Ok(Form::Json),
            Some(_) => Err(BadQuery::new("format is text or json")),
        }
    }

    /// Refuses parameters that a page does not know, so that a typing error is no surprise.
    pub fn only(&self, known: &[&str]) -> Result<(), BadQuery> {
        match self.keys().find(|key| !known.contains(key)) {
            None => Ok(()),
            Some(key) if known.is_empty() => Err(BadQuery(format!(
                "unknown parameter {key:?}: there are none here"
            ))),
            Some(key) => Err(BadQuery(format!(
                "unknown parameter {key:?}; there are: {}",
                known.join(", ")
            ))),
        }
    }
}

/// A sum of numbers with units, as Go writes durations; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    if text.len() > 40 {
        return None;
    }
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|character: char| !character.is_ascii_digit() && character != '.')
            .filter(|&end| end > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest
            .find(|character: char| character.is_ascii_digit() || character == '.')
            .unwrap_or(rest.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..end])?;
        seconds += number * unit;
        rest = &rest[end..];
    }
    if text.is_empty() {
        return None;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

fn decode(text: &str) -> Result<String, BadQuery> {
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    let whole = (0..bytes.len()).all(|at| bytes[at] != b'%' || (hex(at + 1) && hex(at + 2)));
    if !whole {
        return Err(BadQuery::new(
            "a % in the query is not followed by two hexadecimal digits",
        ));
    }
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| BadQuery::new("the query is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_strictly() {
        let good: [(&str, &[(&str, &str)]); 5] = [
            ("", &[]),
            ("&&", &[]),
            ("debug=1&gc", &[("debug", "1"), ("gc", "")]),
            ("a=two+words%21&b=%C3%A4=1", &[("a", "two words!"), ("b", "ä=1")]),
            ("level=tinyice%3Ddebug,info", &[("level", "tinyice=debug,info")]),
        ];
        for (text, expected) in good {
            let query = Query::parse(text).unwrap();
            let pairs: Vec<_> = query
                .pairs
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect();
            assert_eq!(pairs, expected, "{text}");
        }
        let many = (0..65).map(|n| format!("a{n}=1&")).collect::<String>();
        for bad in ["a=%", "a=%4", "a=%zz", "a=%ff", "a=1&a=2", many.as_str()] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_have_a_range() {
        let cases = [
            ("", Ok(7)),
            ("n=", Ok(7)),
            ("n=1", Ok(1)),
            ("n=9", Ok(9)),
            ("n=0", Err(())),
            ("n=10", Err(())),
            ("n=-1", Err(())),
            ("n=1.5", Err(())),
            ("n=x", Err(())),
            ("n=99999999999999999999", Err(())),
        ];
        for (text, expected) in cases {
            let query = Query::parse(text).unwrap();
            let number = query.number("n", 1..=9, 7);
            assert_eq!(number.clone().map_err(|_| ()), expected, "{text}");
            if let Err(error) = number {
                assert_eq!(error.to_string(), "n is a whole number from 1 to 9");
            }
        }
    }

    #[test]
    fn seconds_may_have_a_fraction() {
        let most = Duration::from_secs(60);
        let cases = [
            ("", Ok(None)),
            ("seconds=0", Ok(None)),
            ("seconds=60", Ok(Some(60_000))),
            ("seconds=0.5", Ok(Some(500))),
            ("seconds=61", Err(())),
            ("seconds=-1", Err(())),
            ("seconds=nan", Err(())),
            ("seconds=inf", Err(())),
            ("seconds=1e1", Err(())),
            ("seconds=.", Err(())),
        ];
        for (text, expected) in cases {
            let seconds = Query::parse(text).unwrap().seconds("seconds", most);
            let millis = seconds.map(|found| found.map(|duration| duration.as_millis()));
            assert_eq!(millis.map_err(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        let cases = [
            ("90", Some(90_000)),
            ("10m", Some(600_000)),
            ("1h30m", Some(5_400_000)),
            ("1.5s", Some(1_500)),
            ("250ms", Some(250)),
            ("2m0.5s", Some(120_500)),
            ("", None),
            ("m", None),
            ("10", Some(10_000)),
            ("10x", None),
            ("-5s", None),
            ("1h30", None),
            ("1..5s", None),
            ("1m s", None),
            ("99999999999999999999h", None),
            ("9".repeat(50).as_str(), None),
        ]
        .map(|(text, millis)| (text.to_owned(), millis));
        for (text, expected) in cases {
            let millis = parse_duration(&text).map(|duration| duration.as_millis());
            assert_eq!(millis, expected, "{text}");
        }
    }

    #[test]
    fn the_form_follows_parameter_then_header() {
        let cases = [
            ("", false, Ok(Form::Text)),
            ("", true, Ok(Form::Json)),
            ("format=text", true, Ok(Form::Text)),
            ("format=json", false, Ok(Form::Json)),
            ("format=xml", false, Err(BadQuery::new("format is text or json"))),
        ];
        for (text, accept, expected) in cases {
            let query = Query::parse(text).unwrap().with_accept(accept);
            assert_eq!(query.form(), expected, "{text} {accept}");
        }
    }

    #[test]
    fn unknown_parameters_are_refused() {
        let query = Query::parse("n=1&fromat=json").unwrap();
        let error = query.only(&["n", "format"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown parameter \"fromat\"; there are: n, format"
        );
        assert_eq!(query.only(&["n", "fromat"]), Ok(()));
        assert_eq!(query.flag("n"), Ok(true));
    }
}
