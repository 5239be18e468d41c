//! Log lines as text and as JSON.
//!
//! Contract: a line holds no control character but the tabs between its parts, whatever the fields hold.

use std::fmt::Write as _;
use std::sync::LazyLock;

use jiff::tz::TimeZone;

use crate::event::Level;
use crate::record::Record;
use crate::value::Value;

/// What a line looks like in one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) json: bool,
    /// The journal has a time of its own.
    pub(crate) time: bool,
    /// The authentication trail writes its level in lower case and no caller.
    pub(crate) auth: bool,
    pub(crate) colour: bool,
    /// The journal takes the level from a number before the line.
    pub(crate) priority: bool,
}

impl Style {
    pub(crate) const TEXT: Style = Style {
        json: false,
        time: true,
        auth: false,
        colour: false,
        priority: false,
    };
    pub(crate) const JSON: Style = Style {
        json: true,
        ..Style::TEXT
    };
}

static ZONE: LazyLock<TimeZone> = LazyLock::new(TimeZone::system);

pub(crate) fn line(record: &Record, style: Style) -> String {
    line_in_zone(record, style, &ZONE)
}

fn line_in_zone(record: &Record, style: Style, zone: &TimeZone) -> String {
    let mut line = String::with_capacity(256);
    let time = timestamp(record.time, zone);
    let level = if style.auth {
        record.level.as_lower_str()
    } else {
        record.level.as_str()
    };
    if style.json {
        let _ = write!(line, r#"{{"level":"{level}","ts":"{time}""#);
        if !style.auth {
            line.push_str(r#","caller":"#);
            push_json_text(&mut line, &record.caller_text());
        }
        line.push_str(r#","msg":"#);
        push_json_text(&mut line, &record.message);
        for (key, value) in &record.fields {
            push_field(&mut line, key, value, ",", ":");
        }
        line.push('}');
        return line;
    }
    if style.priority {
        let _ = write!(line, "<{}>", priority(record.level));
    }
    if style.time {
        line.push_str(&time);
        line.push('\t');
    }
    if style.colour {
        let _ = write!(line, "\x1b[{}m{level}\x1b[0m\t", colour(record.level));
    } else {
        let _ = write!(line, "{level}\t");
    }
    if !style.auth {
        push_escaped(&mut line, &record.caller_text(), false);
        line.push('\t');
    }
    push_escaped(&mut line, &record.message, false);
    let before = line.len();
    let mut separator = "\t{";
    for (key, value) in &record.fields {
        if push_field(&mut line, key, value, separator, ": ") {
            separator = ", ";
        }
    }
    if line.len() > before {
        line.push('}');
    }
    line
}

/// ISO 8601 with milliseconds; `Z` for UTC, else the offset without a colon.
fn timestamp(time: jiff::Timestamp, zone: &TimeZone) -> String {
    let local = time.to_zoned(zone.clone());
    let shape = if local.offset().is_zero() {
        "%Y-%m-%dT%H:%M:%S%.3fZ"
    } else {
        "%Y-%m-%dT%H:%M:%S%.3f%z"
    };
    local.strftime(shape).to_string()
}

fn colour(level: Level) -> u8 {
    match level {
        Level::Debug => 35,
        Level::Info => 34,
        Level::Warn => 33,
        Level::Error | Level::Fatal => 31,
    }
}

/// The priority of a line on standard output, as `sd-daemon(3)` has it.
fn priority(level: Level) -> u8 {
    match level {
        Level::Debug => 7,
        Level::Info => 6,
        Level::Warn => 4,
        Level::Error => 3,
        Level::Fatal => 2,
    }
}

/// Whether there was something to push.
fn push_field(line: &mut String, key: &str, value: &Value, separator: &str, colon: &str) -> bool {
    if *value == Value::Absent {
        return false;
    }
    line.push_str(separator);
    push_json_text(line, key);
    line.push_str(colon);
    let _ = match value {
        Value::Absent => Ok(()),
        Value::Static(text) => {
            push_json_text(line, text);
            Ok(())
        }
        Value::Text(text) => {
            push_json_text(line, text);
            Ok(())
        }
        Value::Unsigned(number) => write!(line, "{number}"),
        Value::Signed(number) => write!(line, "{number}"),
        Value::Float(number) if number.is_finite() => write!(line, "{number}"),
        Value::Float(_) => line.write_str("null"),
        Value::Bool(flag) => write!(line, "{flag}"),
    };
    true
}

fn push_json_text(line: &mut String, text: &str) {
    line.push('"');
    push_escaped(line, text, true);
    line.push('"');
}

/// Escapes what could break a line, drive a terminal or turn its text around; `quoted` also escapes what JSON needs.
fn push_escaped(line: &mut String, text: &str, quoted: bool) {
    for character in text.chars() {
        match character {
            '"' if quoted => line.push_str("\\\""),
            '\\' if quoted => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            _ if is_unsafe(character) => {
                let _ = write!(line, "\\u{:04x}", character as u32);
            }
            _ => line.push(character),
        }
    }
}

/// Control characters (C0, DEL, C1), the Unicode line ends, marks of direction and the byte order mark. All of them
/// are in the basic plane, so four digits are enough.
pub(crate) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;

    fn fields() -> Vec<(&'static str, Value)> {
        vec![
            ("mount", Value::text("/live")),
            ("ip", Value::text("203.0.113.9")),
            ("none", Value::Absent),
            ("ua", Value::text("butt 1.40")),
        ]
    }

    fn check(style: Style, fields: &[(&'static str, Value)], expected: &str) {
        let record = record("Source connected", fields);
        let expected = expected.replace("CALLER", &record.caller_text());
        assert_eq!(line_in_zone(&record, style, &TimeZone::UTC), expected);
    }

    #[test]
    fn text_lines() {
        check(
            Style::TEXT,
            &fields(),
            "2026-08-10T12:00:00.123Z\tINFO\tCALLER\tSource connected\t{\"mount\": \"/live\", \"ip\": \"203.0.113.9\", \"ua\": \"butt 1.40\"}",
        );
        check(
            Style::TEXT,
            &[],
            "2026-08-10T12:00:00.123Z\tINFO\tCALLER\tSource connected",
        );
        check(
            Style {
                time: false,
                ..Style::TEXT
            },
            &[],
            "INFO\tCALLER\tSource connected",
        );
        check(
            Style {
                time: false,
                priority: true,
                ..Style::TEXT
            },
            &[],
            "<6>INFO\tCALLER\tSource connected",
        );
        check(
            Style {
                auth: true,
                ..Style::TEXT
            },
            &[("n", Value::Unsigned(1))],
            "2026-08-10T12:00:00.123Z\tinfo\tSource connected\t{\"n\": 1}",
        );
        check(
            Style {
                colour: true,
                ..Style::TEXT
            },
            &[],
            "2026-08-10T12:00:00.123Z\t\u{1b}[34mINFO\u{1b}[0m\tCALLER\tSource connected",
        );
    }

    #[test]
    fn json_lines() {
        check(
            Style::JSON,
            &fields(),
            r#"{"level":"INFO","ts":"2026-08-10T12:00:00.123Z","caller":"CALLER","msg":"Source connected","mount":"/live","ip":"203.0.113.9","ua":"butt 1.40"}"#,
        );
        check(
            Style {
                auth: true,
                ..Style::JSON
            },
            &[],
            r#"{"level":"info","ts":"2026-08-10T12:00:00.123Z","msg":"Source connected"}"#,
        );
        let numbers = [
            ("a", Value::Unsigned(u64::MAX)),
            ("b", Value::Signed(-2)),
            ("c", Value::Float(1.5)),
            ("d", Value::Float(10.0)),
            ("e", Value::Float(f64::NAN)),
            ("f", Value::Bool(true)),
        ];
        check(
            Style::JSON,
            &numbers,
            r#"{"level":"INFO","ts":"2026-08-10T12:00:00.123Z","caller":"CALLER","msg":"Source connected","a":18446744073709551615,"b":-2,"c":1.5,"d":10,"e":null,"f":true}"#,
        );
    }

    #[test]
    fn times_have_the_local_offset() {
        let time: jiff::Timestamp = "2026-08-10T12:00:00.1239Z".parse().unwrap();
        for (zone, expected) in [
            (TimeZone::UTC, "2026-08-10T12:00:00.123Z"),
            (
                TimeZone::fixed(jiff::tz::offset(2)),
                "2026-08-10T14:00:00.123+0200",
            ),
            (
                TimeZone::fixed(jiff::tz::Offset::from_seconds(-12_600).unwrap()),
                "2026-08-10T08:30:00.123-0330",
            ),
        ] {
            assert_eq!(timestamp(time, &zone), expected);
        }
    }

    #[test]
    fn hostile_text_stays_on_its_line() {
        let hostile = "a\nb\r\t\u{0}\u{1b}[31m\u{7f}\u{9b}\u{2028}\u{2029}\u{202e}\u{feff}\"\\é😀";
        let record = record(hostile, &[("title", Value::text(hostile))]);
        for style in [
            Style::TEXT,
            Style::JSON,
            Style {
                auth: true,
                ..Style::JSON
            },
        ] {
            let line = line_in_zone(&record, style, &TimeZone::UTC);
            let clean = line
                .chars()
                .all(|character| character == '\t' || !is_unsafe(character));
            assert!(
                clean && (style.json || line.matches('\t').count() == 4),
                "{line:?}"
            );
            let json: serde_json::Value =
                serde_json::from_str(&line[line.rfind("\t{").map_or(0, |at| at + 1)..]).unwrap();
            assert_eq!(json["title"], hostile);
        }
    }

    /// Reads the fields of a line back; the line holds nothing that could end it or drive a terminal.
    fn read_back(text: &str, style: Style) -> serde_json::Value {
        let record = record(text, &[("title", Value::text(text))]);
        let line = line_in_zone(&record, style, &TimeZone::UTC);
        let unsafe_ones: Vec<_> = line
            .chars()
            .filter(|character| *character != '\t' && is_unsafe(*character))
            .collect();
        assert!(unsafe_ones.is_empty(), "{unsafe_ones:?} in {line:?}");
        assert!(style.json || line.matches('\t').count() == 4, "{line:?}");
        let fields = if style.json {
            &*line
        } else {
            line.rsplit('\t').next().unwrap()
        };
        serde_json::from_str(fields).unwrap()
    }

    #[test]
    fn long_titles_are_cut_and_stay_on_their_line() {
        for piece in [
            "\u{1b}]0;title\u{7}\u{1b}[2J",
            "\"},{\"msg\":\"",
            "\n2026-08-10T12:00:00Z\tERROR\tforged\r\n",
            "\u{80}\u{85}\u{9b}31m\u{2028}\u{2029}",
            // What a broken encoder makes of an emoji: the escapes are text here, and must stay text.
            "\\ud83d\\udead\\u0000\\",
            "\u{fffd}\u{e000}\u{10ffff}",
        ] {
            let title = piece.repeat(10_240 / piece.len());
            for style in [Style::TEXT, Style::JSON] {
                let json = read_back(&title, style);
                let read = json["title"].as_str().unwrap().strip_suffix('…').unwrap();
                assert!(
                    title.starts_with(read) && read.len() > 2_000,
                    "{piece:?}: {read:?}"
                );
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_reads_back(text in "(?s)(.|[\\\\\"\n\r\t\u{1b}\u{9b}\u{2028}\u{202e}]){0,200}") {
            for style in [Style::TEXT, Style::JSON] {
                let json = read_back(&text, style);
                proptest::prop_assert_eq!(json["title"].as_str().unwrap(), &text);
            }
        }
    }
}
