//! A JSON reader that remembers where each value stood and forgives what people do by hand.
//!
//! Contract: any text gives a tree or one positioned complaint, never a panic; duplicate keys and
//! the order of keys are kept. Forgiven: a byte order mark, trailing commas, text after the value.

use serde_json::{Map, Number, Value};

/// Deepest nesting that is read; a configuration needs six levels.
const MAX_DEPTH: usize = 64;

/// A value and the byte offset at which it began.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: usize,
    pub(crate) kind: Kind,
}

/// What a [`Node`] holds. Numbers keep their spelling.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

/// One `"key": value` of an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    pub(crate) key: String,
    pub(crate) at: usize,
    pub(crate) value: Node,
}

/// The tree of a text, and where text that belongs to nothing begins.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) root: Node,
    pub(crate) trailing: Option<usize>,
}

/// Where and why a text is not JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BadJson {
    pub(crate) at: usize,
    pub(crate) what: String,
    pub(crate) fix: &'static str,
}

/// Reads the first JSON value of `text`.
pub(crate) fn parse(text: &str) -> Result<Parsed, BadJson> {
    let mut reader = Reader {
        text,
        bytes: text.as_bytes(),
        at: 0,
    };
    reader.skip_space();
    if reader.peek().is_none() {
        return Err(bad(0, "the file is empty", "write {} for a file of defaults"));
    }
    let root = reader.value(0)?;
    reader.skip_space();
    let trailing = (reader.at < text.len()).then_some(reader.at);
    Ok(Parsed { root, trailing })
}

/// One-based line and column (in characters) of a byte offset.
pub(crate) fn position(text: &str, at: usize) -> (u32, u32) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    (
        u32::try_from(line + 1).unwrap_or(u32::MAX),
        u32::try_from(column + 1).unwrap_or(u32::MAX),
    )
}

impl Node {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { at: 0, kind }
    }

    /// What the node is in the words of a message, its value included unless it may be a secret.
    pub(crate) fn describe(&self, secret: bool) -> String {
        let shown = |name: &str, value: String| {
            if secret {
                name.to_owned()
            } else {
                format!("{name} {value}")
            }
        };
        match &self.kind {
            Kind::Null => "null".to_owned(),
            Kind::Bool(value) => value.to_string(),
            Kind::Number(text) => shown("number", clip(text)),
            Kind::Text(text) => shown("string", format!("{:?}", clip(text))),
            Kind::List(_) => "a list".to_owned(),
            Kind::Object(_) => "an object".to_owned(),
        }
    }

    /// The member that a known key means: the last one spelt so, else the last one in other letter case.
    pub(crate) fn member(&self, key: &str) -> Option<&Member> {
        let Kind::Object(members) = &self.kind else {
            return None;
        };
        let last = |same: &dyn Fn(&str) -> bool| members.iter().rev().find(|member| same(&member.key));
        last(&|name| name == key).or_else(|| last(&|name| name.eq_ignore_ascii_case(key)))
    }

    /// The plain tree. Of duplicate keys the last one stays, as when reading.
    pub(crate) fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(text) => text.parse::<Number>().map_or(Value::Null, Value::Number),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(nodes) => Value::Array(nodes.iter().map(Node::to_value).collect()),
            Kind::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|member| (member.key.clone(), member.value.to_value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

/// The first characters of a value, so that a message stays a line.
fn clip(text: &str) -> String {
    const LONGEST: usize = 40;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

fn bad(at: usize, what: impl Into<String>, fix: &'static str) -> BadJson {
    BadJson {
        at,
        what: what.into(),
        fix,
    }
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, BadJson> {
        let at = self.at;
        if depth > MAX_DEPTH {
            return Err(bad(at, "too many nested brackets", "remove the nesting"));
        }
        let kind = match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Kind::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't' | b'f' | b'n') => self.word()?,
            Some(_) => return Err(self.unexpected("a value")),
            None => return Err(bad(at, "the file ends where a value is due", "complete the file")),
        };
        Ok(Node { at, kind })
    }

    fn object(&mut self, depth: usize) -> Result<Kind, BadJson> {
        let opened = self.at;
        self.at += 1;
        let mut members = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Some(b'}') => break,
                Some(b'"') => {}
                Some(_) => return Err(self.unexpected("a key in double quotes or \"}\"")),
                None => return Err(self.unclosed(opened, "{")),
            }
            let at = self.at;
            let key = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("\":\" after the key"));
            }
            self.at += 1;
            self.skip_space();
            let value = self.value(depth + 1)?;
            members.push(Member { key, at, value });
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                Some(_) => return Err(self.unexpected("\",\" or \"}\"")),
                None => return Err(self.unclosed(opened, "{")),
            }
        }
        self.at += 1;
        Ok(Kind::Object(members))
    }

    fn list(&mut self, depth: usize) -> Result<Kind, BadJson> {
        let opened = self.at;
        self.at += 1;
        let mut nodes = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Some(b']') => break,
                None => return Err(self.unclosed(opened, "[")),
                Some(_) => nodes.push(self.value(depth + 1)?),
            }
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                Some(_) => return Err(self.unexpected("\",\" or \"]\"")),
                None => return Err(self.unclosed(opened, "[")),
            }
        }
        self.at += 1;
        Ok(Kind::List(nodes))
    }

    fn word(&mut self) -> Result<Kind, BadJson> {
        for (word, kind) in [
            ("true", Kind::Bool(true)),
            ("false", Kind::Bool(false)),
            ("null", Kind::Null),
        ] {
            if self.bytes[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(kind);
            }
        }
        Err(self.unexpected("a value"))
    }

    fn number(&mut self) -> Result<Kind, BadJson> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        if text.parse::<Number>().is_err() {
            return Err(bad(
                start,
                format!("{} is not a number", clip(text)),
                "write a number, or quote it",
            ));
        }
        Ok(Kind::Number(text.to_owned()))
    }

    fn string(&mut self) -> Result<String, BadJson> {
        let opened = self.at;
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            // The loop stops on ASCII bytes only, so both ends are character boundaries.
            out.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => out.push(self.escape()?),
                Some(b'\n' | b'\r') | None => {
                    return Err(bad(
                        opened,
                        "the string has no end",
                        "add the closing double quote",
                    ));
                }
                Some(_) => {
                    return Err(bad(
                        self.at,
                        "control character in a string",
                        "write it as \\t or \\u00XX",
                    ));
                }
            }
        }
        self.at += 1;
        Ok(out)
    }

    fn escape(&mut self) -> Result<char, BadJson> {
        let start = self.at;
        self.at += 1;
        let letter = self.peek();
        self.at += 1;
        Ok(match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(start),
            _ => {
                self.at = start;
                return Err(bad(
                    start,
                    "unknown escape in a string",
                    "write \\\\ for a backslash",
                ));
            }
        })
    }

    /// The rest of `\uXXXX`. RFC 8259 section 7: two surrogates are one character; a lone one is replaced.
    fn unicode(&mut self, start: usize) -> Result<char, BadJson> {
        let first = self.hex4(start)?;
        if (0xd800..0xdc00).contains(&first) && self.bytes[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let second = self.hex4(start)?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self, start: usize) -> Result<u32, BadJson> {
        let digits = self
            .bytes
            .get(self.at..self.at + 4)
            .filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let Some(digits) = digits else {
            return Err(bad(
                start,
                "\\u without four hex digits",
                "write \\u and four hex digits",
            ));
        };
        self.at += 4;
        Ok(digits.iter().fold(0, |code, digit| {
            code * 16 + char::from(*digit).to_digit(16).unwrap_or_default()
        }))
    }

    fn unexpected(&self, wanted: &str) -> BadJson {
        let found = self.text[self.at..].chars().next();
        let fix = match found {
            Some('/' | '#') => "JSON has no comments; remove it",
            Some('"') => "a comma or a quote is missing before this place",
            Some('\'') => "use double quotes",
            _ => "correct the text at this place",
        };
        match found {
            Some(found) => bad(self.at, format!("expected {wanted}, found {found:?}"), fix),
            None => bad(
                self.at,
                format!("expected {wanted}, found the end of the file"),
                "complete the file",
            ),
        }
    }

    fn unclosed(&self, opened: usize, bracket: &str) -> BadJson {
        bad(
            opened,
            format!("{bracket:?} is never closed"),
            "add the closing bracket",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgiving_texts_give_the_strict_tree() {
        for (text, expected) in [
            (r#"{"a":1,"b":[1,2,],}"#, r#"{"a":1,"b":[1,2]}"#),
            (" \n[true,false , null]", "[true,false,null]"),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            (r#""\u00e4\ud83d\ude00\n\/""#, r#""ä😀\n/""#),
            (r#""\ud83dx""#, "\"\u{fffd}x\""),
            (r#""\ud83d\u0041""#, "\"\u{fffd}A\""),
            ("-1.50e3", "-1.50e3"),
        ] {
            let strict: Value = serde_json::from_str(expected).unwrap();
            assert_eq!(parse(text).unwrap().root.to_value(), strict, "{text}");
        }
    }

    #[test]
    fn text_after_the_value_is_found_not_refused() {
        assert_eq!(parse("{} x").unwrap().trailing, Some(3));
        assert_eq!(parse("{}\n\n").unwrap().trailing, None);
    }

    #[test]
    fn complaints_carry_the_place() {
        for (text, at, what) in [
            ("", 0, "the file is empty"),
            ("{", 0, "\"{\" is never closed"),
            ("[1", 0, "\"[\" is never closed"),
            (r#"{"a" 1}"#, 5, "expected \":\" after the key, found '1'"),
            (r#"{"a":1 "b":2}"#, 7, "expected \",\" or \"}\", found '\"'"),
            (r#"{"a":tru}"#, 5, "expected a value, found 't'"),
            (r#"{"a":01}"#, 5, "01 is not a number"),
            (r#"{"a":"x"#, 5, "the string has no end"),
            ("{\"a\":\"x\n\"}", 5, "the string has no end"),
            (r#"{"a":"\q"}"#, 6, "unknown escape in a string"),
            (
                "{// x\n}",
                1,
                "expected a key in double quotes or \"}\", found '/'",
            ),
            ("{,}", 1, "expected a key in double quotes or \"}\", found ','"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.at, error.what.as_str()), (at, what), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(parse(&deep).unwrap_err().what, "too many nested brackets");
    }

    #[test]
    fn positions_count_characters_from_one() {
        assert_eq!(position("{\n  \"ä\": 1}", 10), (2, 8));
        assert_eq!(position("x", 0), (1, 1));
    }
}
