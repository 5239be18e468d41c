//! Times in the layouts of the template language: the reference time 2006-01-02 15:04:05 shows what goes where.

use jiff::{Timestamp, tz::TimeZone};

use super::value::push;

/// The pieces of a layout, longest first where one begins like another, and what stands for them.
const PIECES: &[(&str, &str)] = &[
    ("January", "%B"),
    ("Jan", "%b"),
    ("Monday", "%A"),
    ("Mon", "%a"),
    ("MST", "%Z"),
    ("2006", "%Y"),
    ("Z07:00", "Z"),
    ("-07:00", "%:z"),
    ("-0700", "%z"),
    ("-07", "%:::z"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("002", "%j"),
    ("15", "%H"),
    ("_2", "%e"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
    ("4", "%-M"),
    ("5", "%-S"),
];

/// A time from RFC 3339, or from seconds since 1970.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    match text.parse::<i64>() {
        Ok(seconds) => Timestamp::from_second(seconds).ok(),
        Err(_) => text.parse().ok(),
    }
}

/// `time` in UTC by `layout`.
pub(super) fn format(layout: &str, time: Timestamp) -> String {
    let zoned = time.to_zoned(TimeZone::UTC);
    let mut out = String::with_capacity(layout.len());
    let mut rest = layout;
    while let Some(c) = rest.chars().next() {
        if let Some((piece, with)) = PIECES.iter().find(|(piece, _)| rest.starts_with(piece)) {
            match *with {
                "Z" => out.push('Z'),
                with => push(&mut out, format_args!("{}", zoned.strftime(with))),
            }
            rest = &rest[piece.len()..];
            continue;
        }
        let zeros = rest.bytes().skip(1).take_while(|byte| *byte == b'0').count();
        if c == '.' && zeros > 0 && out.ends_with(|c: char| c.is_ascii_digit()) {
            let nanos = format!("{:09}", zoned.subsec_nanosecond());
            out.push('.');
            out.push_str(&nanos[..zeros.min(9)]);
            rest = &rest[1 + zeros..];
            continue;
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        let time = time("2026-03-05T07:08:09.123456Z").unwrap();
        for (layout, expected) in [
            ("2006-01-02", "2026-03-05"),
            ("15:04:05", "07:08:09"),
            ("2006-01-02T15:04:05Z07:00", "2026-03-05T07:08:09Z"),
            ("Mon, 02 Jan 2006 15:04:05 MST", "Thu, 05 Mar 2026 07:08:09 UTC"),
            ("Monday, January 2, 06", "Thursday, March 5, 26"),
            ("3:04 PM, 3:04pm", "7:08 AM, 7:08am"),
            ("1/_2/2006", "3/ 5/2026"),
            ("15:04:05.000", "07:08:09.123"),
            ("-0700 -07:00", "+0000 +00:00"),
            ("ü %Y", "ü %Y"),
            ("", ""),
        ] {
            assert_eq!(format(layout, time), expected, "{layout}");
        }
        assert_eq!(
            super::time("1767225600").unwrap().to_string(),
            "2026-01-01T00:00:00Z"
        );
        assert_eq!(super::time("soon"), None);
    }
}
