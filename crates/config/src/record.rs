//! Objects with known keys: one definition gives the struct, its defaults, reading, writing,
//! setting by name and comparing.
//!
//! Contract: a key is named once, in the `record!` that defines its field.

use std::marker::PhantomData;

use serde_json::{Map, Value};

use crate::{
    codec::{Codec, SetError, json_word},
    json::{Kind, Node},
    problem::{Notes, Path},
};

/// An object with known keys.
pub(crate) trait Record: Sized {
    /// The known keys in the order in which they are written.
    const KEYS: &'static [&'static str];
    /// Keys without which the object is of no use.
    const REQUIRED: &'static [&'static str];

    /// All defaults.
    fn blank() -> Self;
    /// Takes the known keys of an object over the defaults. Says which of the keys had a value.
    fn read_fields(&mut self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Vec<&'static str>;
    /// The object as it stands in the file; `all` includes keys that are left out while at their default.
    fn write_fields(&self, all: bool) -> Map<String, Value>;
    /// Sets one key, or the part of it that `rest` names.
    fn set_field(&mut self, key: &str, rest: &str, text: &str) -> Result<(), SetError>;
    /// The keys whose values differ.
    fn changed_keys(&self, other: &Self) -> Vec<&'static str>;

    /// Reads an object, noting unknown keys near a known one and keys given twice.
    fn read_record(node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<Self> {
        let Kind::Object(_) = node.kind else {
            notes.wrong_type(node, path, "an object", true, "write { … }");
            return None;
        };
        note_odd_keys(node, Self::KEYS, path, notes);
        let mut record = Self::blank();
        let given = record.read_fields(node, path, notes);
        if let Some(missing) = Self::REQUIRED.iter().find(|key| !given.contains(key)) {
            let what = format!("not used without a usable {missing:?}");
            notes.warn(
                node.at,
                path,
                what,
                format!("add {missing:?} or remove the entry"),
            );
            return None;
        }
        Some(record)
    }

    /// Sets a key by its dotted path, `ingest.rtmp_enabled`.
    fn set_path(&mut self, path: &str, text: &str) -> Result<(), SetError> {
        let (key, rest) = split_path(path);
        self.set_field(&key.to_ascii_lowercase(), rest, text)
    }
}

/// The first key of a dotted path and what follows it.
pub(crate) fn split_path(path: &str) -> (&str, &str) {
    match path.find(['.', '[']) {
        Some(at) if path.as_bytes()[at] == b'.' => (&path[..at], &path[at + 1..]),
        Some(at) => (&path[..at], &path[at..]),
        None => (path, ""),
    }
}

fn note_odd_keys(node: &Node, keys: &[&str], path: &Path<'_>, notes: &mut Notes<'_>) {
    let Kind::Object(members) = &node.kind else { return };
    for (index, member) in members.iter().enumerate() {
        let known = keys.iter().find(|key| key.eq_ignore_ascii_case(&member.key));
        let full = path.key(&member.key);
        match known {
            Some(key) => {
                let used = node.member(key).map(|used| used.at);
                if used != Some(member.at) {
                    notes.warn(
                        member.at,
                        full,
                        "the key is given twice; this one is not used",
                        "remove one",
                    );
                }
            }
            None => {
                if members[index + 1..].iter().any(|later| later.key == member.key) {
                    notes.warn(
                        member.at,
                        full,
                        "the key is given twice; this one is not used",
                        "remove one",
                    );
                }
                if let Some(near) = nearest(&member.key, keys.iter().copied()) {
                    notes.warn(member.at, full, "unknown key", format!("did you mean {near:?}?"));
                }
            }
        }
    }
}

/// The known word that an unknown one was probably meant to be.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let allowed = match word.len() {
        0..=2 => return None,
        3..=5 => 1,
        _ => 2,
    };
    known
        .map(|candidate| (edits(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// How many letters are inserted, removed, replaced or swapped with their neighbour.
fn edits(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (row, a) in one.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, b) in other.iter().enumerate() {
            let replaced = above[column] + usize::from(a != b);
            let mut best = replaced.min(above[column + 1] + 1).min(line[column] + 1);
            if row > 0 && column > 0 && *a == other[column - 1] && one[row - 1] == *b {
                best = best.min(before[column - 1] + 1);
            }
            line.push(best);
        }
        before = std::mem::replace(&mut above, line);
    }
    above.last().copied().unwrap_or(0)
}

/// An object nested under a key.
pub(crate) struct Nested<T>(PhantomData<T>);

/// An object nested under a key.
pub(crate) const fn nested<T>() -> Nested<T> {
    Nested(PhantomData)
}

impl<T: Record> Codec for Nested<T> {
    type Out = T;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<T> {
        T::read_record(node, path, notes)
    }

    fn write(&self, value: &T) -> Value {
        Value::Object(value.write_fields(false))
    }

    fn word(&self, text: &str) -> Node {
        json_word(text)
    }

    fn set(&self, slot: &mut T, rest: &str, text: &str) -> Result<(), SetError> {
        if rest.is_empty() {
            *slot = self.parse_word(text)?;
            return Ok(());
        }
        slot.set_path(rest, text)
    }
}

/// Defines an object with known keys.
///
/// `"key" field: Type = default, codec, always;` is written at each full save, with `absent` only
/// while it differs from its default. Keys in `requires [...]` must have a usable value.
macro_rules! record {
    ($(#[$meta:meta])* $name:ident requires [$($required:literal),*] {
        $( $(#[$note:meta])* $key:literal $field:ident: $type:ty = $default:expr, $codec:expr, $keep:ident; )*
    }) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq)]
        pub struct $name { $( $(#[$note])* pub $field: $type, )* }

        impl $crate::record::Record for $name {
            const KEYS: &'static [&'static str] = &[$($key),*];
            const REQUIRED: &'static [&'static str] = &[$($required),*];

            fn blank() -> Self {
                Self { $( $field: $default, )* }
            }

            fn read_fields(
                &mut self,
                node: &$crate::json::Node,
                path: &$crate::problem::Path<'_>,
                notes: &mut $crate::problem::Notes<'_>,
            ) -> Vec<&'static str> {
                let mut given = Vec::new();
                $(
                    if let Some(member) = node.member($key)
                        && member.value.kind != $crate::json::Kind::Null
                        && let Some(value) =
                            $crate::codec::Codec::read(&$codec, &member.value, &path.key($key), notes)
                    {
                        self.$field = value;
                        given.push($key);
                    }
                )*
                given
            }

            fn write_fields(&self, all: bool) -> serde_json::Map<String, serde_json::Value> {
                let blank = Self::blank();
                let mut map = serde_json::Map::new();
                $(
                    if all || $crate::record::$keep || self.$field != blank.$field {
                        map.insert($key.to_owned(), $crate::codec::Codec::write(&$codec, &self.$field));
                    }
                )*
                map
            }

            fn set_field(&mut self, key: &str, rest: &str, text: &str) -> Result<(), $crate::codec::SetError> {
                match key {
                    $( $key => $crate::codec::Codec::set(&$codec, &mut self.$field, rest, text), )*
                    _ => Err($crate::codec::SetError::UnknownKey(key.to_owned())),
                }
            }

            fn changed_keys(&self, other: &Self) -> Vec<&'static str> {
                let mut changed = Vec::new();
                $( if self.$field != other.$field { changed.push($key); } )*
                changed
            }
        }

        /// Secrets show as `***`.
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut value = serde_json::Value::Object($crate::record::Record::write_fields(self, false));
                $crate::secret::mask(&mut value);
                write!(f, "{} {value}", stringify!($name))
            }
        }
    };
}
pub(crate) use record;

/// The key is written at its default too.
#[expect(non_upper_case_globals, reason = "reads as a word in record!")]
pub(crate) const always: bool = true;
/// The key is left out of the file while at its default.
#[expect(non_upper_case_globals, reason = "reads as a word in record!")]
pub(crate) const absent: bool = false;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = || ["port", "hostname", "max_listeners", "reload"].into_iter();
        for (word, expected) in [
            ("prot", Some("port")),
            ("host_name", Some("hostname")),
            ("max_listener", Some("max_listeners")),
            ("relaod", Some("reload")),
            ("MAX_LISTENERZ", Some("max_listeners")),
            ("comment", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known()), expected, "{word}");
        }
    }

    #[test]
    fn paths_split_at_dots_and_brackets() {
        for (path, expected) in [
            ("port", ("port", "")),
            ("a.b.c", ("a", "b.c")),
            ("relays[2].url", ("relays", "[2].url")),
        ] {
            assert_eq!(split_path(path), expected);
        }
    }
}
