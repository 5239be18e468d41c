//! Crates depend on each other only downwards, in the order of the table in `ARCHITECTURE.md`.

use std::{collections::BTreeMap, path::Path};

/// From the bottom up. A crate may use those before it.
const ORDER: &[&str] = &[
    "profile",
    "observe",
    "config",
    "media",
    "ring",
    "fanout",
    "auth",
    "store",
    "geo",
    "mount",
    "outbound",
    "webhook",
    "signin",
    "otlp",
    "icecast",
    "front",
    "relay",
    "api",
    "diagnostics",
    "tinyice",
    "bench",
];

/// Crates that stand apart: nothing of ours below them, or nothing of ours above them.
const USE_NOTHING_OF_OURS: &[&str] = &["profile", "bench"];

/// Each crate of the workspace with the workspace crates that it is built with.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(crates).expect("the crates are there") {
        let manifest = entry.expect("readable").path().join("Cargo.toml");
        let Ok(text) = std::fs::read_to_string(&manifest) else {
            continue;
        };
        let name = text
            .lines()
            .find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        let section = text.split("\n[dependencies]\n").nth(1).unwrap_or_default();
        let section = section.split("\n[").next().unwrap_or_default();
        let names = section
            .lines()
            .filter_map(|line| line.split(['.', ' ', '=']).next());
        let ours = names
            .filter(|name| ORDER.contains(name))
            .map(str::to_owned)
            .collect();
        all.insert(name.expect("every crate has a name").to_owned(), ours);
    }
    all
}

#[test]
fn every_crate_has_its_place_and_arrows_point_down() {
    let all = dependencies();
    let rank = |name: &str| ORDER.iter().position(|other| *other == name);
    for (name, below) in &all {
        let own = rank(name).unwrap_or_else(|| panic!("{name} has no place in the order"));
        for dependency in below {
            assert!(
                rank(dependency).expect("only ours are listed") < own,
                "{name} must not use {dependency}"
            );
        }
        if USE_NOTHING_OF_OURS.contains(&name.as_str()) {
            assert!(below.is_empty(), "{name} uses {below:?}");
        }
    }
    assert_eq!(all.len(), ORDER.len(), "a crate of the order is gone");
}

#[test]
fn the_map_names_every_crate() {
    let map = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ARCHITECTURE.md"));
    let map = map.expect("the map is there");
    for name in ORDER {
        assert!(
            map.contains(&format!("| `{name}`")),
            "{name} is missing in ARCHITECTURE.md"
        );
    }
}
