//! Text made safe for another language, and letters in the other case.

use super::value::push;

/// As in a form: letters, digits and `-_.~` stay, a space is a plus.
pub(super) fn urlencode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => push(&mut out, format_args!("%{byte:02X}")),
        }
    }
    out
}

pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// For a string in a script.
pub(super) fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => push(&mut out, format_args!("\\u{:04X}", u32::from(c))),
            c if is_printable(c) => out.push(c),
            c => push(&mut out, format_args!("\\u{:04X}", u32::from(c))),
        }
    }
    out
}

/// Letters, marks, numbers, punctuation, symbols and the plain space.
pub(super) fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // A mark counts as unprintable where nothing precedes it, so something does.
    let pair = ['a', c];
    pair.iter().collect::<String>().escape_debug().nth(1) != Some('\\')
}

/// As a quoted constant.
pub(super) fn quote(text: &str, mark: char, only_ascii: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(mark);
    for c in text.chars() {
        match c {
            _ if c == mark || c == '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if is_printable(c) && (c.is_ascii() || !only_ascii) => out.push(c),
            c if c.is_ascii() => push(&mut out, format_args!("\\x{:02x}", u32::from(c))),
            c if u32::from(c) < 0x1_0000 => push(&mut out, format_args!("\\u{:04x}", u32::from(c))),
            c => push(&mut out, format_args!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push(mark);
    out
}

pub(super) fn lower(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            // The only letter whose full mapping is longer than one character.
            '\u{130}' => 'i',
            c => single(c.to_lowercase()).unwrap_or(c),
        })
        .collect()
}

/// Upper case letter by letter: what has no single capital letter (`ß`) stays.
pub(super) fn upper(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            // Greek letters with iota subscript have a single title-case letter.
            '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => shifted(c, 8),
            '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => shifted(c, 9),
            c => single(c.to_uppercase()).unwrap_or(c),
        })
        .collect()
}

fn shifted(c: char, by: u32) -> char {
    char::from_u32(u32::from(c) + by).unwrap_or(c)
}

fn single(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    let first = mapped.next()?;
    mapped.next().is_none().then_some(first)
}
