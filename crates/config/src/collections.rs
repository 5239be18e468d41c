//! Lists and maps of values.
//!
//! Contract: an entry that cannot be used is left out of the typed collection with a note; it stays
//! in the file.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    codec::{Codec, SetError, json_word},
    json::{Kind, Node},
    mount_name::MountName,
    problem::{Notes, Path},
    record::split_path,
};

/// A list of values of one kind.
pub(crate) struct List<C>(pub(crate) C);

/// A list in which a comma separates the words of a shell argument.
pub(crate) struct Words<C>(pub(crate) C);

fn read_list<C: Codec>(
    codec: &C,
    node: &Node,
    path: &Path<'_>,
    notes: &mut Notes<'_>,
) -> Option<Vec<C::Out>> {
    let Kind::List(nodes) = &node.kind else {
        notes.wrong_type(node, path, "a list", true, "write [ … ]");
        return None;
    };
    let entries = nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.kind != Kind::Null);
    Some(
        entries
            .filter_map(|(index, node)| codec.read(node, &path.index(index), notes))
            .collect(),
    )
}

fn write_list<C: Codec>(codec: &C, values: &[C::Out]) -> Value {
    Value::Array(values.iter().map(|value| codec.write(value)).collect())
}

impl<C: Codec> Codec for List<C> {
    type Out = Vec<C::Out>;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<Self::Out> {
        read_list(&self.0, node, path, notes)
    }

    fn write(&self, value: &Self::Out) -> Value {
        write_list(&self.0, value)
    }

    fn word(&self, text: &str) -> Node {
        json_word(text)
    }

    fn set(&self, slot: &mut Self::Out, rest: &str, text: &str) -> Result<(), SetError> {
        if rest.is_empty() {
            *slot = self.parse_word(text)?;
            return Ok(());
        }
        let unknown = || SetError::UnknownKey(rest.to_owned());
        let (index, rest) = split_index(rest).ok_or_else(unknown)?;
        let entry = slot.get_mut(index).ok_or_else(unknown)?;
        self.0.set(entry, rest, text)
    }
}

impl<C: Codec> Codec for Words<C> {
    type Out = Vec<C::Out>;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<Self::Out> {
        read_list(&self.0, node, path, notes)
    }

    fn write(&self, value: &Self::Out) -> Value {
        write_list(&self.0, value)
    }

    fn word(&self, text: &str) -> Node {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        Node::new(Kind::List(words.map(|word| self.0.word(word)).collect()))
    }
}

/// `[2].url` or `2.url` as an index and the rest.
pub(crate) fn split_index(path: &str) -> Option<(usize, &str)> {
    let (index, rest) = match path.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => split_path(path),
    };
    Some((index.parse().ok()?, rest.strip_prefix('.').unwrap_or(rest)))
}

/// A map whose keys are free.
pub(crate) struct MapOf<C>(pub(crate) C);

/// A map from mounts.
pub(crate) struct Mounts<C>(pub(crate) C);

fn read_map<C: Codec, K: Ord>(
    codec: &C,
    node: &Node,
    path: &Path<'_>,
    notes: &mut Notes<'_>,
    name: impl Fn(&str) -> Result<K, String>,
) -> Option<BTreeMap<K, C::Out>> {
    let Kind::Object(members) = &node.kind else {
        notes.wrong_type(node, path, "an object", true, "write { … }");
        return None;
    };
    let mut map = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        let full = path.key(&member.key);
        if members[index + 1..].iter().any(|later| later.key == member.key) {
            notes.warn(
                member.at,
                full,
                "the key is given twice; this one is not used",
                "remove one",
            );
            continue;
        }
        let key = match name(&member.key) {
            Ok(key) => key,
            Err(reason) => {
                let fix = "the mount is not served; use another name";
                notes.warn(member.at, full, reason, fix);
                continue;
            }
        };
        if member.value.kind != Kind::Null
            && let Some(value) = codec.read(&member.value, &full, notes)
        {
            map.insert(key, value);
        }
    }
    Some(map)
}

fn set_entry<C: Codec, K: Ord>(
    codec: &C,
    slot: &mut BTreeMap<K, C::Out>,
    rest: &str,
    text: &str,
    name: impl Fn(&str) -> Result<K, String>,
) -> Result<(), SetError> {
    let key = |text: &str| {
        name(text).map_err(|reason| SetError::BadValue {
            key: text.to_owned(),
            reason,
        })
    };
    // A key may hold dots (`/stream.mp3`): the longest entry that exists wins.
    let mut ends = rest.match_indices('.').map(|(at, _)| at).chain([rest.len()]);
    let existing = ends.rfind(|at| key(&rest[..*at]).is_ok_and(|key| slot.contains_key(&key)));
    match existing {
        Some(at) if at < rest.len() => {
            let entry = slot.get_mut(&key(&rest[..at])?);
            let entry = entry.ok_or_else(|| SetError::UnknownKey(rest.to_owned()))?;
            codec.set(entry, &rest[at + 1..], text)
        }
        _ => {
            let value = codec.parse_word(text)?;
            slot.insert(key(rest)?, value);
            Ok(())
        }
    }
}

impl<C: Codec> Codec for MapOf<C> {
    type Out = BTreeMap<String, C::Out>;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<Self::Out> {
        read_map(&self.0, node, path, notes, |name| Ok(name.to_owned()))
    }

    fn write(&self, value: &Self::Out) -> Value {
        let entries = value
            .iter()
            .map(|(key, value)| (key.clone(), self.0.write(value)));
        Value::Object(entries.collect::<Map<_, _>>())
    }

    fn word(&self, text: &str) -> Node {
        json_word(text)
    }

    fn set(&self, slot: &mut Self::Out, rest: &str, text: &str) -> Result<(), SetError> {
        if rest.is_empty() {
            *slot = self.parse_word(text)?;
            return Ok(());
        }
        set_entry(&self.0, slot, rest, text, |name| Ok(name.to_owned()))
    }
}

impl<C: Codec> Codec for Mounts<C> {
    type Out = BTreeMap<MountName, C::Out>;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<Self::Out> {
        read_map(&self.0, node, path, notes, mount_key)
    }

    fn write(&self, value: &Self::Out) -> Value {
        let entries = value
            .iter()
            .map(|(key, value)| (key.to_string(), self.0.write(value)));
        Value::Object(entries.collect::<Map<_, _>>())
    }

    fn word(&self, text: &str) -> Node {
        json_word(text)
    }

    fn set(&self, slot: &mut Self::Out, rest: &str, text: &str) -> Result<(), SetError> {
        if rest.is_empty() {
            *slot = self.parse_word(text)?;
            return Ok(());
        }
        set_entry(&self.0, slot, rest, text, mount_key)
    }
}

fn mount_key(name: &str) -> Result<MountName, String> {
    MountName::parse(name).map_err(|reason| reason.to_string())
}

/// The name of a mount as a value.
pub(crate) struct Mount;

impl Codec for Mount {
    type Out = MountName;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<MountName> {
        let Kind::Text(text) = &node.kind else {
            notes.wrong_type(
                node,
                path,
                "a mount name",
                false,
                "write a name such as \"/live\"",
            );
            return None;
        };
        if text.is_empty() {
            return None;
        }
        match MountName::parse(text) {
            Ok(mount) => Some(mount),
            Err(reason) => {
                let what = format!("{} is not a mount name: {reason}", node.describe(false));
                notes.warn(node.at, path, what, "the mount is not served; use another name");
                None
            }
        }
    }

    fn write(&self, value: &MountName) -> Value {
        Value::from(value.as_str())
    }
}
