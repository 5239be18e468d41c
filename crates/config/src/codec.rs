//! How a value of a known key is read from the tree, written back and set from a word.
//!
//! Contract: what a codec writes it also reads, as the same value; a value it refuses is noted with
//! its place and leaves the default.

use std::{marker::PhantomData, ops::RangeInclusive, time::Duration};

use serde_json::Value;

use crate::{
    json::{Kind, Node},
    problem::{Notes, Path},
};

/// Why a word cannot become the value of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// There is no such key.
    #[error("Unknown or unsupported option: {0}")]
    UnknownKey(String),
    /// The key does not take this value.
    #[error("{key}: {reason}")]
    BadValue {
        /// The key as asked for.
        key: String,
        /// What is wrong and what to write.
        reason: String,
    },
}

/// Reads and writes the values of one kind.
pub(crate) trait Codec {
    type Out;

    /// The value, or nothing after noting why. `null` never gets here.
    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<Self::Out>;

    /// The value as it stands in the file.
    fn write(&self, value: &Self::Out) -> Value;

    /// The node that a word typed in a shell stands for.
    fn word(&self, text: &str) -> Node {
        Node::new(Kind::Text(text.to_owned()))
    }

    /// Sets the value, or the part of it that `rest` names.
    fn set(&self, slot: &mut Self::Out, rest: &str, text: &str) -> Result<(), SetError> {
        if !rest.is_empty() {
            return Err(SetError::UnknownKey(rest.to_owned()));
        }
        *slot = self.parse_word(text)?;
        Ok(())
    }

    /// The value of a word; stricter than a file, as nothing is stored on a mistake.
    fn parse_word(&self, text: &str) -> Result<Self::Out, SetError> {
        let mut notes = Notes::new("");
        let value = self.read(&self.word(text), &Path::Root, &mut notes);
        let problem = notes.finish().into_iter().next();
        match (value, problem) {
            (Some(value), None) => Ok(value),
            (_, problem) => Err(SetError::BadValue {
                key: String::new(),
                reason: problem.map_or_else(
                    || "not a value of this key".to_owned(),
                    |problem| format!("{}; {}", problem.what, problem.fix),
                ),
            }),
        }
    }
}

/// A word that is JSON where it can be, else a string.
pub(crate) fn json_word(text: &str) -> Node {
    match crate::json::parse(text) {
        Ok(parsed) if parsed.trailing.is_none() => parsed.root,
        _ => Node::new(Kind::Text(text.to_owned())),
    }
}

/// Any text.
pub(crate) struct Text;

/// Text whose value must not show in messages.
pub(crate) struct Secret;

/// A bcrypt hash (a secret). Plain text is read too: it is hashed at start.
pub(crate) struct Hash;

fn read_text(node: &Node, path: &Path<'_>, notes: &mut Notes<'_>, secret: bool) -> Option<String> {
    match &node.kind {
        Kind::Text(text) => Some(text.clone()),
        _ => {
            notes.wrong_type(node, path, "string", secret, "put the value in double quotes");
            None
        }
    }
}

impl Codec for Text {
    type Out = String;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<String> {
        read_text(node, path, notes, false)
    }

    fn write(&self, value: &String) -> Value {
        Value::from(value.as_str())
    }
}

impl Codec for Secret {
    type Out = String;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<String> {
        read_text(node, path, notes, true)
    }

    fn write(&self, value: &String) -> Value {
        Value::from(value.as_str())
    }
}

impl Codec for Hash {
    type Out = String;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<String> {
        let text = read_text(node, path, notes, true)?;
        if !text.is_empty() && !crate::secret::is_bcrypt(&text) {
            let fix = "the server replaces it by its hash at start; `tinyice hash-password` makes one";
            notes.warn(node.at, path, "the password is not hashed", fix);
        }
        Some(text)
    }

    fn write(&self, value: &String) -> Value {
        Value::from(value.as_str())
    }
}

/// Text checked and brought into its usual form by a function that says what is wrong.
pub(crate) struct Checked(pub(crate) fn(&str) -> Result<String, &'static str>);

impl Codec for Checked {
    type Out = String;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<String> {
        let text = read_text(node, path, notes, false)?;
        match self.0(&text) {
            Ok(text) => Some(text),
            Err(wanted) => {
                notes.warn(
                    node.at,
                    path,
                    format!("{} is not used", node.describe(false)),
                    wanted,
                );
                None
            }
        }
    }

    fn write(&self, value: &String) -> Value {
        Value::from(value.as_str())
    }
}

/// `true` or `false`.
pub(crate) struct Flag;

impl Codec for Flag {
    type Out = bool;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<bool> {
        if let Kind::Bool(value) = node.kind {
            return Some(value);
        }
        notes.wrong_type(
            node,
            path,
            "true or false",
            false,
            "write true or false without quotes",
        );
        None
    }

    fn write(&self, value: &bool) -> Value {
        Value::Bool(*value)
    }

    fn word(&self, text: &str) -> Node {
        Node::new(parse_bool(text).map_or_else(|| Kind::Text(text.to_owned()), Kind::Bool))
    }
}

/// A boolean in the spellings that flags take.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The integer of a node, without a look at its range. Far too large ones saturate.
pub(crate) fn read_integer(node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<i64> {
    let (fix, saturated) = match &node.kind {
        Kind::Number(text) => match text.parse::<i128>() {
            Ok(value) => {
                return Some(i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX }));
            }
            Err(_) => ("write a whole number", None::<i64>),
        },
        Kind::Text(text) if text.trim().parse::<i64>().is_ok() => ("write it without quotes", None),
        _ => ("write a whole number", None),
    };
    notes.wrong_type(node, path, "integer", false, fix);
    saturated
}

fn number_word(text: &str) -> Node {
    let kind = match text.parse::<i64>() {
        Ok(value) => Kind::Number(value.to_string()),
        Err(_) => Kind::Text(text.to_owned()),
    };
    Node::new(kind)
}

/// A whole number; outside of its range it is moved to the nearest end, with a warning.
pub(crate) struct Whole<T>(pub(crate) RangeInclusive<i64>, pub(crate) PhantomData<T>);

/// A whole number in a range.
pub(crate) const fn whole<T>(range: RangeInclusive<i64>) -> Whole<T> {
    Whole(range, PhantomData)
}

impl<T: Copy + TryFrom<i64> + TryInto<i64>> Codec for Whole<T> {
    type Out = T;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<T> {
        let value = read_integer(node, path, notes)?;
        let used = value.clamp(*self.0.start(), *self.0.end());
        if used != value {
            let what = format!("{value} is out of range, {used} is used");
            notes.warn(
                node.at,
                path,
                what,
                format!("write {} to {}", self.0.start(), self.0.end()),
            );
        }
        T::try_from(used).ok()
    }

    fn write(&self, value: &T) -> Value {
        Value::from((*value).try_into().unwrap_or(i64::MAX))
    }

    fn word(&self, text: &str) -> Node {
        number_word(text)
    }
}

/// A limit: 0 in the file is none.
pub(crate) struct Limit;

impl Codec for Limit {
    type Out = Option<u32>;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<Self::Out> {
        let limit = whole::<u32>(0..=i64::from(u32::MAX)).read(node, path, notes)?;
        Some((limit > 0).then_some(limit))
    }

    fn write(&self, value: &Self::Out) -> Value {
        Value::from(value.unwrap_or(0))
    }

    fn word(&self, text: &str) -> Node {
        number_word(text)
    }
}

/// The listener limit of the server: below 0 is none, 0 is the default.
pub(crate) struct Listeners;

/// Listeners that a server takes when the file says nothing.
pub(crate) const DEFAULT_LISTENERS: u32 = 100;

impl Codec for Listeners {
    type Out = Option<u32>;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<Self::Out> {
        Some(match read_integer(node, path, notes)? {
            ..0 => None,
            0 => Some(DEFAULT_LISTENERS),
            limit => Some(u32::try_from(limit).unwrap_or(u32::MAX)),
        })
    }

    fn write(&self, value: &Self::Out) -> Value {
        value.map_or(Value::from(-1), Value::from)
    }

    fn word(&self, text: &str) -> Node {
        number_word(text)
    }
}

/// Whole seconds up to a most.
pub(crate) struct Seconds(pub(crate) RangeInclusive<i64>);

impl Codec for Seconds {
    type Out = Duration;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<Duration> {
        whole::<u64>(self.0.clone())
            .read(node, path, notes)
            .map(Duration::from_secs)
    }

    fn write(&self, value: &Duration) -> Value {
        Value::from(value.as_secs())
    }

    fn word(&self, text: &str) -> Node {
        number_word(text)
    }
}

/// A port: a string in the file, a number is taken too. Empty is the default.
pub(crate) struct Port;

impl Codec for Port {
    type Out = u16;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<u16> {
        let text = match &node.kind {
            Kind::Text(text) => text.trim(),
            Kind::Number(text) => text,
            _ => {
                notes.wrong_type(node, path, "port", false, "write a port such as \"8000\"");
                return None;
            }
        };
        if text.is_empty() {
            return None;
        }
        match text.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => {
                notes.error(
                    node.at,
                    path,
                    format!("{} is not a port", node.describe(false)),
                    "write a number from 1 to 65535",
                );
                None
            }
        }
    }

    fn write(&self, value: &u16) -> Value {
        Value::from(value.to_string())
    }
}

/// A value that may be left out; `null` and the empty string leave it out.
pub(crate) struct Maybe<C>(pub(crate) C);

impl<C: Codec> Codec for Maybe<C> {
    type Out = Option<C::Out>;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<Self::Out> {
        if matches!(&node.kind, Kind::Text(text) if text.is_empty()) {
            return Some(None);
        }
        self.0.read(node, path, notes).map(Some)
    }

    fn write(&self, value: &Self::Out) -> Value {
        value.as_ref().map_or(Value::Null, |value| self.0.write(value))
    }

    fn word(&self, text: &str) -> Node {
        if text.is_empty() {
            Node::new(Kind::Text(String::new()))
        } else {
            self.0.word(text)
        }
    }

    fn set(&self, slot: &mut Self::Out, rest: &str, text: &str) -> Result<(), SetError> {
        if rest.is_empty() {
            *slot = self.parse_word(text)?;
            return Ok(());
        }
        match slot {
            Some(value) => self.0.set(value, rest, text),
            None => Err(SetError::BadValue {
                key: rest.to_owned(),
                reason: "the object does not exist yet; write it into the file".to_owned(),
            }),
        }
    }
}

/// One of a few words.
pub(crate) trait Word: Copy + Sized + 'static {
    /// Every value with its spelling.
    const WORDS: &'static [(&'static str, Self)];

    /// The value that a spelling, in any letter case, stands for.
    fn from_spelling(text: &str) -> Option<Self> {
        Self::WORDS
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text.trim()))
            .map(|(_, value)| *value)
    }
}

/// One of the words of `T`; another one leaves the default, with a warning.
pub(crate) struct OneOf<T>(pub(crate) PhantomData<T>);

/// One of the words of `T`.
pub(crate) const fn one_of<T>() -> OneOf<T> {
    OneOf(PhantomData)
}

impl<T: Word + PartialEq> Codec for OneOf<T> {
    type Out = T;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<T> {
        let text = read_text(node, path, notes, false)?;
        let value = T::from_spelling(&text);
        if value.is_none() {
            let words: Vec<String> = T::WORDS.iter().map(|(word, _)| format!("{word:?}")).collect();
            let fix = format!("write one of {}", words.join(", "));
            notes.warn(
                node.at,
                path,
                format!("{} is not used", node.describe(false)),
                fix,
            );
        }
        value
    }

    fn write(&self, value: &T) -> Value {
        T::WORDS
            .iter()
            .find(|(_, known)| known == value)
            .map_or(Value::Null, |(word, _)| Value::from(*word))
    }
}
