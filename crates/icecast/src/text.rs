//! Text that strangers sent: decoded, stripped of what could break a line, cut to a length.
//!
//! Contract: what [`clean`] and [`header`] return holds no control character and is never longer than asked.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header::AsHeaderName};

/// Longest descriptive value (name, genre, URL…) in bytes.
pub const VALUE_MAX: usize = 512;

/// Longest title in bytes. An ICY block carries at most 4,080 bytes, so nothing audible is lost.
pub const TITLE_MAX: usize = 4096;

/// UTF-8 when the bytes are valid UTF-8, else ISO-8859-1, as encoders have always mixed them.
#[must_use]
pub fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(latin1(bytes)),
    }
}

/// ISO-8859-1: each byte is the character of that number.
#[must_use]
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Without control characters and outer white space, cut at `max` bytes on a character boundary.
#[must_use]
pub fn clean(text: &str, max: usize) -> String {
    let mut kept: String = text.chars().filter(|c| !c.is_control()).collect();
    let trimmed = kept.trim();
    if trimmed.len() != kept.len() {
        kept = trimmed.to_owned();
    }
    if kept.len() > max {
        let end = (0..=max)
            .rev()
            .find(|&end| kept.is_char_boundary(end))
            .unwrap_or(0);
        kept.truncate(end);
        kept.truncate(kept.trim_end().len());
    }
    kept
}

/// One header's value, decoded and cleaned; `None` when the header is missing or empty.
pub fn header(headers: &HeaderMap, name: impl AsHeaderName) -> Option<String> {
    headers.get_all(name).iter().find_map(non_empty)
}

/// The first non-empty value among several headers, in the order of `names`.
pub(crate) fn first_header(headers: &HeaderMap, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| header(headers, *name))
}

fn non_empty(value: &HeaderValue) -> Option<String> {
    let text = clean(&decode(value.as_bytes()), VALUE_MAX);
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cleaned_and_cut_on_characters() {
        for (sent, max, kept) in [
            ("  Jazz \r\n", 512, "Jazz"),
            ("a\r\nSet-Cookie: b\0", 512, "aSet-Cookie: b"),
            ("\u{85}x\u{7f}", 512, "x"),
            ("äöü", 3, "ä"),
            ("ab cd", 3, "ab"),
            ("", 3, ""),
        ] {
            assert_eq!(clean(sent, max), kept, "{sent:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_latin1() {
        assert_eq!(decode("Café".as_bytes()), "Café");
        assert_eq!(decode(b"Caf\xe9"), "Café");
    }
}
