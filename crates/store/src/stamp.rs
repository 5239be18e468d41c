//! Time stamps as they stand in the database.
//!
//! Contract: every form that the Go program or its database drivers ever wrote is read, and one form is written:
//! date and time with nanoseconds (trailing zeros cut) and offset, `2026-08-10 14:00:00.123456789+02:00`. Offsets
//! change over a year, so texts are never compared: rows are ordered by id, and compared as instants.

use jiff::civil;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use rusqlite::types::ValueRef;

/// The text of an instant in a time zone.
pub(crate) fn write(at: Timestamp, zone: &TimeZone) -> String {
    let offset = zone.to_offset(at);
    let local = offset.to_datetime(at);
    let mut text = format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        local.year(),
        local.month(),
        local.day(),
        local.hour(),
        local.minute(),
        local.second()
    );
    if local.subsec_nanosecond() != 0 {
        let fraction = format!(".{:09}", local.subsec_nanosecond());
        text.push_str(fraction.trim_end_matches('0'));
    }
    let minutes = offset.seconds() / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    let minutes = minutes.abs();
    text.push_str(&format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60));
    text
}

/// The instant in a column: text in any form, or a number of seconds or milliseconds since 1970.
pub(crate) fn read(value: ValueRef<'_>) -> Option<Timestamp> {
    match value {
        ValueRef::Text(text) => parse(std::str::from_utf8(text).ok()?),
        // Seconds reach this in the year 5138, milliseconds did in 1973.
        ValueRef::Integer(number) if number.abs() >= 100_000_000_000 => {
            Timestamp::from_millisecond(number).ok()
        }
        ValueRef::Integer(number) => Timestamp::from_second(number).ok(),
        ValueRef::Real(number) => {
            let since = SignedDuration::try_from_secs_f64(number).ok()?;
            Timestamp::from_duration(since).ok()
        }
        ValueRef::Null | ValueRef::Blob(_) => None,
    }
}

/// The instant that a text names; without an offset it is UTC.
///
/// `2026-08-10 14:00:00.5+02:00`, `2026-08-10T12:00:00Z`, `2026-08-10 12:00:00` and Go's own form
/// `2026-08-10 14:00:00.5 +0200 CEST m=+0.01` are all understood.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let mut rest = Scan(text.trim().as_bytes());
    let year = rest.digits(4)?;
    rest.expect(b"-")?;
    let month = rest.digits(2)?;
    rest.expect(b"-")?;
    let day = rest.digits(2)?;
    let (mut hour, mut minute, mut second, mut nanosecond) = (0, 0, 0, 0);
    if rest.expect(b"Tt ").is_some() {
        hour = rest.digits(2)?;
        rest.expect(b":")?;
        minute = rest.digits(2)?;
        if rest.expect(b":").is_some() {
            second = rest.digits(2)?;
            if rest.expect(b".,").is_some() {
                nanosecond = rest.fraction();
            }
        }
    }
    rest.spaces();
    let offset = rest.offset()?;
    let part = |number: i32| i8::try_from(number).ok();
    let local = civil::DateTime::new(
        i16::try_from(year).ok()?,
        part(month)?,
        part(day)?,
        part(hour)?,
        part(minute)?,
        // A leap second is the last one of its minute here.
        part(second.min(59))?,
        nanosecond,
    )
    .ok()?;
    offset.to_timestamp(local).ok()
}

/// What is left of a text.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn expect(&mut self, any: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        any.contains(first).then(|| {
            self.0 = rest;
            *first
        })
    }

    fn digits(&mut self, count: usize) -> Option<i32> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        let mut number = 0;
        for digit in digits {
            number = number * 10 + i32::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        }
        self.0 = rest;
        Some(number)
    }

    /// Nanoseconds; digits beyond the ninth are less than this program counts.
    fn fraction(&mut self) -> i32 {
        let (mut number, mut seen) = (0, 0);
        while let Some(digit) = self.digits(1) {
            if seen < 9 {
                number = number * 10 + digit;
                seen += 1;
            }
        }
        (seen..9).fold(number, |number, _| number * 10)
    }

    fn spaces(&mut self) {
        while self.expect(b" ").is_some() {}
    }

    /// `Z`, `+02:00`, `+0200`, `+02` or nothing; what follows (the zone's name, a monotonic clock) says no more.
    fn offset(&mut self) -> Option<Offset> {
        let Some(sign) = self.expect(b"+-") else {
            return Some(Offset::UTC);
        };
        let hours = self.digits(2)?;
        self.expect(b":");
        let minutes = self.digits(2).unwrap_or(0);
        let seconds = (hours * 60 + minutes) * 60;
        Offset::from_seconds(if sign == b'-' { -seconds } else { seconds }).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let noon = "2026-08-10T12:00:00Z";
        let half = "2026-08-10T12:00:00.5Z";
        for (text, expected) in [
            ("2026-08-10 14:00:00+02:00", Some(noon)),
            ("2026-08-10 14:00:00.5+02:00", Some(half)),
            ("2026-08-10 14:00:00.500000000 +0200 CEST", Some(half)),
            ("2026-08-10 14:00:00.5 +0200 CEST m=+0.012", Some(half)),
            ("2026-08-10 12:00:00 +0000 UTC", Some(noon)),
            ("2026-08-10T12:00:00Z", Some(noon)),
            ("2026-08-10T08:30:00.5-03:30", Some(half)),
            ("2026-08-10 12:00:00", Some(noon)),
            ("2026-08-10 12:00", Some(noon)),
            ("2026-08-10T12:00:00.5000000009", Some(half)),
            ("2026-08-10", Some("2026-08-10T00:00:00Z")),
            ("2026-06-30 23:59:60Z", Some("2026-06-30T23:59:59Z")),
            ("", None),
            ("yesterday", None),
            ("2026-13-10 12:00:00", None),
            ("2026-08-10 25:00:00", None),
            ("2026-08-10 12:00:00+99:99", None),
            ("2026-08-1é 12:00:00", None),
        ] {
            let expected = expected.map(|text| text.parse::<Timestamp>().unwrap());
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_are_read() {
        let noon: Timestamp = "2026-08-10T12:00:00Z".parse().unwrap();
        assert_eq!(read(ValueRef::Integer(noon.as_second())), Some(noon));
        assert_eq!(read(ValueRef::Integer(noon.as_millisecond())), Some(noon));
        assert_eq!(read(ValueRef::Real(noon.as_second() as f64)), Some(noon));
        assert_eq!(read(ValueRef::Null), None);
        assert_eq!(read(ValueRef::Real(f64::NAN)), None);
    }

    #[test]
    fn one_form_is_written_and_read_back() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let newfoundland = TimeZone::posix("NST3:30").unwrap();
        for (zone, at, expected) in [
            (
                &berlin,
                "2026-08-10T12:00:00.123456789Z",
                "2026-08-10 14:00:00.123456789+02:00",
            ),
            (&berlin, "2026-01-10T12:00:00.5Z", "2026-01-10 13:00:00.5+01:00"),
            (&berlin, "2026-08-10T12:00:00Z", "2026-08-10 14:00:00+02:00"),
            (
                &newfoundland,
                "2026-08-10T12:00:00.000001Z",
                "2026-08-10 08:30:00.000001-03:30",
            ),
            (
                &TimeZone::UTC,
                "2026-08-10T12:00:00Z",
                "2026-08-10 12:00:00+00:00",
            ),
        ] {
            let at: Timestamp = at.parse().unwrap();
            assert_eq!(write(at, zone), expected);
            assert_eq!(parse(expected), Some(at));
        }
    }
}
