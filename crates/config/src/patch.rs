//! Changing a tree only where the configuration changed.
//!
//! Contract: keys and entries that the typed configuration does not know survive at every level, and
//! so do order, spelling and values of everything that did not change.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value};

use crate::values::{net_text, parse_net};

/// Keys whose objects have free keys, so that letter case matters in them.
const FREE: &[&str] = &[
    "mounts",
    "advanced_mounts",
    "disabled_mounts",
    "visible_mounts",
    "fallback_mounts",
    "variant_groups",
    "users",
    "headers",
];

/// What tells the entries of a list of objects apart, the most telling first.
const IDENTITIES: &[&str] = &["id", "name", "mount", "output_mount", "url", "token_hash"];

/// Brings the difference between two typed trees into the document.
pub(crate) fn patch(tree: &mut Map<String, Value>, base: &Map<String, Value>, new: &Map<String, Value>) {
    patch_object(tree, base, new, false);
}

/// Adds what the document leaves out.
pub(crate) fn fill(tree: &mut Map<String, Value>, whole: &Map<String, Value>) {
    fill_object(tree, whole, false);
}

/// Ports are strings for the original; numbers written by hand become strings at the next save.
pub(crate) fn quote_ports(tree: &mut Map<String, Value>) {
    quote(tree, &["port", "https_port"]);
    if let Some(Value::Object(ingest)) = slot(tree, "ingest", false) {
        quote(ingest, &["rtmp_port", "srt_port"]);
    }
    if let Some(Value::Array(autodjs)) = slot(tree, "autodjs", false) {
        for autodj in autodjs.iter_mut().filter_map(Value::as_object_mut) {
            quote(autodj, &["mpd_port"]);
        }
    }
}

fn quote(map: &mut Map<String, Value>, keys: &[&str]) {
    for key in keys {
        if let Some(value @ Value::Number(_)) = slot(map, key, false) {
            *value = Value::from(value.to_string());
        }
    }
}

/// The value under a key: exact first, else in another letter case unless keys are free.
fn slot<'a>(map: &'a mut Map<String, Value>, key: &str, free: bool) -> Option<&'a mut Value> {
    if map.contains_key(key) {
        return map.get_mut(key);
    }
    if free {
        return None;
    }
    map.iter_mut()
        .rev()
        .find(|(name, _)| name.eq_ignore_ascii_case(key))
        .map(|(_, value)| value)
}

fn patch_object(
    tree: &mut Map<String, Value>,
    base: &Map<String, Value>,
    new: &Map<String, Value>,
    free: bool,
) {
    for (key, value) in new {
        let before = base.get(key);
        if before == Some(value) {
            continue;
        }
        match slot(tree, key, free) {
            Some(current) => patch_value(current, before, value, !free && FREE.contains(&key.as_str())),
            None => {
                tree.insert(key.clone(), value.clone());
            }
        }
    }
    for key in base.keys().filter(|key| !new.contains_key(*key)) {
        tree.retain(|name, _| name != key && (free || !name.eq_ignore_ascii_case(key)));
    }
}

fn patch_value(tree: &mut Value, base: Option<&Value>, new: &Value, free: bool) {
    match (tree, new) {
        (Value::Object(tree), Value::Object(new)) => {
            let none = Map::new();
            patch_object(tree, base.and_then(Value::as_object).unwrap_or(&none), new, free);
        }
        (Value::Array(tree), Value::Array(new)) => {
            let base = base.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            patch_list(tree, base, new);
        }
        (tree, new) => *tree = new.clone(),
    }
}

fn patch_list(tree: &mut Vec<Value>, base: &[Value], new: &[Value]) {
    if tree.as_slice() == base {
        // Nothing in it is unknown to us, which is the case for nearly all lists.
        *tree = new.to_vec();
        return;
    }
    let from_base = pair(new, base);
    let to_tree = pair(base, tree);
    let read: HashSet<usize> = to_tree.iter().flatten().copied().collect();
    let mut list: Vec<Value> = Vec::with_capacity(new.len());
    for (value, before) in new.iter().zip(from_base) {
        let entry = before.and_then(|before| to_tree[before].map(|at| (&base[before], &tree[at])));
        list.push(match entry {
            Some((before, current)) if before == value => current.clone(),
            Some((before, current)) => {
                let mut current = current.clone();
                patch_value(&mut current, Some(before), value, false);
                current
            }
            None => value.clone(),
        });
    }
    let unread = tree
        .iter()
        .enumerate()
        .filter(|(at, value)| !read.contains(at) && !value.is_null());
    list.extend(unread.map(|(_, value)| value.clone()));
    *tree = list;
}

/// For each entry of `ours` the entry of `theirs` that is the same thing, each used once.
fn pair(ours: &[Value], theirs: &[Value]) -> Vec<Option<usize>> {
    let mut pairs = vec![None; ours.len()];
    let mut used = vec![false; theirs.len()];
    for identity in ["", "="].iter().chain(IDENTITIES) {
        let mut named: HashMap<String, VecDeque<usize>> = HashMap::new();
        for (place, their) in theirs.iter().enumerate().filter(|(place, _)| !used[*place]) {
            if let Some(name) = identify(their, identity) {
                named.entry(name).or_default().push_back(place);
            }
        }
        for (slot, our) in pairs.iter_mut().zip(ours).filter(|(slot, _)| slot.is_none()) {
            let places = identify(our, identity).and_then(|name| named.get_mut(&name));
            let first = places.as_ref().and_then(|places| places.front().copied());
            // Two ids are two things, however much else they have in common.
            let ids = |place: usize| identify(our, "id").zip(identify(&theirs[place], "id"));
            if let (Some(places), Some(place)) = (places, first)
                && ids(place).is_none_or(|(one, other)| one == other)
            {
                places.pop_front();
                used[place] = true;
                *slot = Some(place);
            }
        }
    }
    pairs
}

/// What names an entry: itself (`""`), a scalar in its usual form (`"="`), or the text under a key.
fn identify(value: &Value, by: &str) -> Option<String> {
    match (value, by) {
        (_, "") => Some(value.to_string()),
        (Value::String(text), "=") => Some(usual(text)),
        (Value::Object(map), key) => {
            let named = map.get(key).or_else(|| {
                map.iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(key))
                    .map(|(_, value)| value)
            });
            named
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .map(ToOwned::to_owned)
        }
        _ => None,
    }
}

/// Addresses and names are read in one form and may be written in another.
fn usual(text: &str) -> String {
    parse_net(text).map_or_else(
        || text.trim().trim_end_matches('.').to_lowercase(),
        |net| net_text(&net),
    )
}

fn fill_object(tree: &mut Map<String, Value>, whole: &Map<String, Value>, free: bool) {
    for (key, value) in whole {
        match (slot(tree, key, free), value) {
            (None, value) => {
                tree.insert(key.clone(), value.clone());
            }
            (Some(Value::Object(current)), Value::Object(value)) => {
                fill_object(current, value, !free && FREE.contains(&key.as_str()));
            }
            (Some(current @ Value::Null), value) => *current = value.clone(),
            _ => {}
        }
    }
}
