//! How label values, help texts and numbers are written.
//!
//! Contract: nothing that is pushed here ends a line or a quotation early, and reading it back gives the same text,
//! but for the characters that were replaced and those beyond the limit.

use std::fmt::Write as _;

use super::Number;
use crate::log::format::is_unsafe;

/// Label values are cut here: some of them come from strangers.
pub(super) const LONGEST_VALUE: usize = 128;

/// What stands for a character that could drive a terminal or turn text around.
const REPLACED: char = char::REPLACEMENT_CHARACTER;

/// Adds a label's value without its quotation marks. The result is also a part of a JSON string: JSON has the same
/// three characters escaped, and no other control character is left.
pub(super) fn push_value(out: &mut String, value: &str) {
    if is_plain(value) {
        return out.push_str(value);
    }
    for character in shown(value) {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(character),
        }
    }
}

/// Most values need no second look.
fn is_plain(value: &str) -> bool {
    value.len() <= LONGEST_VALUE
        && value
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
}

/// The characters of a value that are exposed.
fn shown(value: &str) -> impl Iterator<Item = char> + '_ {
    value
        .chars()
        .take(LONGEST_VALUE)
        .map(|character| match character {
            '\n' => '\n',
            _ if is_unsafe(character) => REPLACED,
            _ => character,
        })
}

/// Adds a help text. OpenMetrics has quotation marks escaped as well.
pub(super) fn push_help(out: &mut String, help: &str, quotes: bool) {
    for character in help.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            _ => out.push(character),
        }
    }
}

/// Adds a sample's value.
pub(super) fn push_number(out: &mut String, number: Number) {
    match number {
        Number::Whole(value) => push_display(out, value),
        Number::Real(value) if value.is_nan() => out.push_str("NaN"),
        Number::Real(value) if value.is_infinite() => out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" }),
        Number::Real(value) => push_finite(out, value),
    }
}

/// Adds a number as JSON has it, which knows finite ones only.
pub(super) fn push_json_number(out: &mut String, number: Number) {
    match number {
        Number::Real(value) if !value.is_finite() => out.push_str("null"),
        _ => push_number(out, number),
    }
}

fn push_finite(out: &mut String, value: f64) {
    let size = value.abs();
    // Whole numbers of this size are exact, and quicker to write than fractions.
    if size < 1e15 && value.fract() == 0.0 {
        #[allow(clippy::cast_possible_truncation, reason = "the value is whole and in range")]
        push_display(out, value as i64);
    } else if (1e-6..1e15).contains(&size) {
        push_display(out, value);
    } else {
        let _ = write!(out, "{value:e}");
    }
}

fn push_display(out: &mut String, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{value}");
}

/// A bucket's bound as Go writes it, so that its series is the same whoever exposed it: the shortest digits that
/// read back as the same number, with an exponent of at least two digits from 1e6 on and below 1e-4.
pub(super) fn bound(value: f64, openmetrics: bool) -> String {
    if !value.is_finite() {
        let mut out = String::new();
        push_number(&mut out, Number::Real(value));
        return out;
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mut out = if (-4..6).contains(&exponent) {
        value.to_string()
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
    };
    // OpenMetrics 1.0, "Considerations: Canonical Numbers": a bound always looks like a fraction.
    if openmetrics && !out.contains(['.', 'e']) {
        out.push_str(".0");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_have_the_forms_that_parsers_know() {
        for (number, text, json) in [
            (
                Number::Whole(u64::MAX),
                "18446744073709551615",
                "18446744073709551615",
            ),
            (Number::Real(0.0), "0", "0"),
            (Number::Real(-3.0), "-3", "-3"),
            (Number::Real(0.1), "0.1", "0.1"),
            (Number::Real(1e20), "1e20", "1e20"),
            (Number::Real(1.5e-9), "1.5e-9", "1.5e-9"),
            (Number::Real(f64::NAN), "NaN", "null"),
            (Number::Real(f64::INFINITY), "+Inf", "null"),
            (Number::Real(f64::NEG_INFINITY), "-Inf", "null"),
        ] {
            let mut out = String::new();
            push_number(&mut out, number);
            out.push(' ');
            push_json_number(&mut out, number);
            assert_eq!(out, format!("{text} {json}"));
        }
    }

    #[test]
    fn bounds_are_written_as_go_writes_them() {
        for (value, text, openmetrics) in [
            (0.005, "0.005", "0.005"),
            (0.0001, "0.0001", "0.0001"),
            (0.000_05, "5e-05", "5e-05"),
            (1.0, "1", "1.0"),
            (10.0, "10", "10.0"),
            (2.5, "2.5", "2.5"),
            (65_536.0, "65536", "65536.0"),
            (1e6, "1e+06", "1e+06"),
            (1_048_576.0, "1.048576e+06", "1.048576e+06"),
            (f64::INFINITY, "+Inf", "+Inf"),
        ] {
            assert_eq!(
                (bound(value, false), bound(value, true)),
                (text.into(), openmetrics.into())
            );
        }
    }

    #[test]
    fn help_stays_on_its_line() {
        let mut out = String::new();
        push_help(&mut out, "a\\b\n\"c\"", false);
        push_help(&mut out, "\"", true);
        assert_eq!(out, r#"a\\b\n"c"\""#);
    }

    #[test]
    fn hostile_values_are_replaced_and_cut() {
        for (value, expected) in [
            ("/live", "/live"),
            ("a\nb\"c\\d", r#"a\nb\"c\\d"#),
            (
                "\r\t\u{1b}[31m\u{7f}\u{9b}\u{2028}\u{202e}é😀",
                "\u{fffd}\u{fffd}\u{fffd}[31m\u{fffd}\u{fffd}\u{fffd}\u{fffd}é😀",
            ),
            (&"é".repeat(200), &"é".repeat(128)),
            (&"x".repeat(129), &"x".repeat(128)),
        ] {
            let mut out = String::new();
            push_value(&mut out, value);
            assert_eq!(out, expected);
        }
    }

    /// The inverse of [`push_value`].
    fn unescaped(text: &str) -> String {
        let mut out = String::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            out.push(match character {
                '\\' => match characters.next() {
                    Some('n') => '\n',
                    Some(escaped @ ('\\' | '"')) => escaped,
                    other => panic!("no escape: {other:?}"),
                },
                '"' => panic!("the quotation ends early"),
                _ => character,
            });
        }
        out
    }

    proptest! {
        #[test]
        fn values_read_back_as_they_were(value in "(?s)(.|[\\\\\"\n\r\u{1b}]){0,200}") {
            let expected: String = shown(&value).collect();
            let mut out = String::new();
            push_value(&mut out, &value);
            prop_assert_eq!(out.lines().count(), usize::from(!out.is_empty()));
            prop_assert_eq!(unescaped(&out), expected.clone());
            let json: String = serde_json::from_str(&format!("\"{out}\"")).unwrap();
            prop_assert_eq!(json, expected);
        }

        #[test]
        fn numbers_read_back_as_they_were(value: f64, whole: u64) {
            let mut out = String::new();
            push_number(&mut out, Number::Real(value));
            let back: f64 = out.parse().unwrap();
            prop_assert!(back == value || value.is_nan() && back.is_nan(), "{} {}", out, value);
            prop_assert_eq!(bound(value, true).parse::<f64>().unwrap(), value);
            out.clear();
            push_number(&mut out, Number::Whole(whole));
            prop_assert_eq!(out.parse::<u64>().unwrap(), whole);
        }
    }
}
