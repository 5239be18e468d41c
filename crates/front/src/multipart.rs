//! The parts of an uploaded form, `multipart/form-data` (RFC 7578), once the body is wholly here.
//!
//! Contract: bytes and a header field in, parts out. The bytes of a part are those of the body, not copies, and a body
//! that is broken anywhere has no parts at all.

use bytes::Bytes;
use memchr::memmem;

/// More parts than this is no form of ours.
const PARTS: usize = 64;
/// A boundary has one to seventy characters (RFC 2046 section 5.1.1).
const LONGEST_BOUNDARY: usize = 70;

/// One part of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The name of the field.
    pub name: String,
    /// The name of the file, where it is one.
    pub file_name: Option<String>,
    /// What was typed or uploaded.
    pub bytes: Bytes,
}

/// The boundary in the value of a `Content-Type` field; nothing if it has none that may be one.
#[must_use]
pub fn boundary(content_type: &str) -> Option<String> {
    parameter(content_type, "boundary").filter(|boundary| (1..=LONGEST_BOUNDARY).contains(&boundary.len()))
}

/// The parts between the delimiters of `boundary`. Nothing if the body is broken.
#[must_use]
pub fn parts(body: &Bytes, boundary: &str) -> Option<Vec<Part>> {
    let mut at = Delimiter::begin(body, boundary)?;
    let mut parts = Vec::new();
    while !at.is_last {
        if parts.len() == PARTS {
            return None;
        }
        let next = Delimiter::after(body, at.end, boundary)?;
        // The line break before a delimiter belongs to the delimiter; that of an empty head is the one of the line above.
        let head = at.end - 2;
        let blank = head + memmem::find(&body[head..next.begin + 2], b"\r\n\r\n")?;
        let content = blank + 4;
        let lines = std::str::from_utf8(&body[at.end.min(blank)..blank]).ok()?;
        let disposition = lines
            .split("\r\n")
            .filter_map(|line| line.split_once(':'))
            .find_map(|(name, value)| name.eq_ignore_ascii_case("content-disposition").then_some(value))?;
        parts.push(Part {
            name: parameter(disposition, "name")?,
            file_name: parameter(disposition, "filename"),
            bytes: body.slice(content.min(next.begin)..next.begin),
        });
        at = next;
    }
    Some(parts)
}

/// A line that stands between parts.
struct Delimiter {
    /// Where the line break before it is.
    begin: usize,
    /// Where the line after it begins.
    end: usize,
    /// It has two more hyphens: nothing of ours follows.
    is_last: bool,
}

impl Delimiter {
    /// The first one, before which there may be anything.
    fn begin(body: &[u8], boundary: &str) -> Option<Self> {
        let first = format!("--{boundary}");
        if body.starts_with(first.as_bytes())
            && let Some(delimiter) = Self::read(body, 0, first.len())
        {
            return Some(delimiter);
        }
        Self::after(body, 0, boundary)
    }

    /// The first one whose line break is not before `from`, save that a part may be as empty as its head allows.
    fn after(body: &[u8], from: usize, boundary: &str) -> Option<Self> {
        let wanted = format!("\r\n--{boundary}");
        let from = from.saturating_sub(2);
        memmem::find_iter(&body[from..], wanted.as_bytes())
            .find_map(|at| Self::read(body, from + at, from + at + wanted.len()))
    }

    /// What begins like a delimiter, up to `name_end`, is one only with the end of its line (RFC 2046 section 5.1.1).
    fn read(body: &[u8], begin: usize, name_end: usize) -> Option<Self> {
        let rest = &body[name_end..];
        let is_last = rest.starts_with(b"--");
        if is_last {
            return Some(Self {
                begin,
                end: name_end + 2,
                is_last,
            });
        }
        let padding = rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        let end = name_end + padding + 2;
        rest[padding..]
            .starts_with(b"\r\n")
            .then_some(Self { begin, end, is_last })
    }
}

/// The value of a parameter behind the first semicolon, in quotes or without.
fn parameter(field: &str, name: &str) -> Option<String> {
    let (_, mut rest) = field.split_once(';')?;
    loop {
        let (key, after) = rest.split_once('=')?;
        // A word without a value, which nobody asks for.
        let key = key.rsplit(';').next().unwrap_or(key);
        let (value, after) = value(after.trim_start());
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after.split_once(';')?.1;
    }
}

/// A value and what stands behind it. Browsers write a quote within one as `%22`, curl as `\"`; a backslash before
/// anything else is part of a path of Windows.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let escaped = letters.next_if(|(_, next)| letter == '\\' && matches!(next, '"' | '\\'));
        match (escaped, letter) {
            (Some((_, escaped)), _) => value.push(escaped),
            (None, '"') => return (value, &quoted[at + 1..]),
            (None, letter) => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts as `name/file: content`, or `broken`.
    fn check(body: &str, expected: &str) {
        let read = parts(&Bytes::from(body.to_owned()), "x");
        let seen = read.map_or_else(
            || "broken".to_owned(),
            |parts| {
                let part = |part: &Part| {
                    let file = part.file_name.as_deref().unwrap_or("-");
                    format!("{}/{file}: {:?}", part.name, String::from_utf8_lossy(&part.bytes))
                };
                parts.iter().map(part).collect::<Vec<_>>().join(", ")
            },
        );
        assert_eq!(seen, expected, "{body:?}");
    }

    #[test]
    fn parts_are_taken_apart() {
        let head = "Content-Disposition: form-data; name=\"a\"";
        check("--x--", "");
        check(&format!("--x\r\n{head}\r\n\r\n1\r\n--x--\r\n"), "a/-: \"1\"");
        check(&format!("--x\r\n{head}\r\n\r\n\r\n--x--"), "a/-: \"\"");
        check(
            &format!("before\r\n--x \t\r\nA: b\r\n{head}; filename=\"f\"\r\n\r\n1\r\n--y\r\n\r\n--x--after"),
            "a/f: \"1\\r\\n--y\\r\\n\"",
        );
        check(
            &format!("--x\r\n{head}\r\n\r\n1\r\n--x\r\n{head}\r\n\r\n2\r\n--x--"),
            "a/-: \"1\", a/-: \"2\"",
        );
    }

    #[test]
    fn what_only_begins_like_a_delimiter_is_content() {
        let head = "Content-Disposition: form-data; name=\"a\"";
        check(
            &format!("--xy\r\n--x\r\n{head}\r\n\r\n1\r\n--xy\r\n2\r\n--x--"),
            "a/-: \"1\\r\\n--xy\\r\\n2\"",
        );
    }

    #[test]
    fn what_is_broken_has_no_parts() {
        let head = "Content-Disposition: form-data; name=\"a\"";
        for body in [
            "",
            "--x",
            "--x\r\n",
            "--x\r\n\r\n--x--",
            "--x\r\nA: b\r\n\r\nc\r\n--x--",
            &format!("--x\r\n{head}\r\n\r\n1"),
            &format!("--x\r\n{head}\r\n\r\n1\r\n--x"),
            &format!("--x\r\n{head}\r\n--x--"),
            &format!("--x\r\n{head};\r\n--x\r\n\r\n1\r\n--x--"),
        ] {
            check(body, "broken");
        }
        let many = |count: usize| format!("--x\r\n{head}\r\n\r\n1\r\n").repeat(count) + "--x--";
        let count = |text: String| parts(&Bytes::from(text), "x").map(|parts| parts.len());
        assert_eq!(count(many(PARTS)), Some(PARTS));
        assert_eq!(count(many(PARTS + 1)), None);
    }

    #[test]
    fn parameters_are_read_as_browsers_and_curl_write_them() {
        for (field, expected) in [
            ("form-data; name=\"a\"", Some("a")),
            ("form-data; name=a", Some("a")),
            ("form-data; NAME = \"a\"", Some("a")),
            ("form-data; filename=\"x; name=y\"; name=\"a\"", Some("a")),
            ("form-data; x; name=\"a;b\"", Some("a;b")),
            ("form-data; name=\"a\\\"b\\\\\"", Some("a\"b\\")),
            ("form-data; name=\"C:\\dir\\f\"", Some("C:\\dir\\f")),
            ("form-data; name=\"\"", Some("")),
            ("form-data; name=\"a", Some("a")),
            ("form-data; filename=\"name\"", None),
            ("name=\"a\"", None),
            ("", None),
        ] {
            assert_eq!(parameter(field, "name").as_deref(), expected, "{field}");
        }
        assert_eq!(
            boundary("multipart/form-data; boundary=\"x y\"").as_deref(),
            Some("x y")
        );
        assert_eq!(
            boundary(&format!("multipart/form-data; boundary={}", "x".repeat(71))),
            None
        );
        assert_eq!(boundary("multipart/form-data; boundary="), None);
    }
}
