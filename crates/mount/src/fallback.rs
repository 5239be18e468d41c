//! Which mounts stand in for a mount.

use std::collections::HashMap;

use config::MountName;

/// Hops that are followed before a chain is taken for a mistake.
const HOPS: usize = 10;

/// The mounts that listeners of `mount` go to, in order, without `mount` itself. A loop ends the chain.
pub(crate) fn chain(mount: &MountName, fallbacks: &HashMap<MountName, MountName>) -> Vec<MountName> {
    let mut chain: Vec<MountName> = Vec::new();
    let mut at = mount;
    while let Some(next) = fallbacks.get(at) {
        if next == mount || chain.contains(next) || chain.len() == HOPS {
            break;
        }
        chain.push(next.clone());
        at = next;
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)], expected: &[&str]) {
        let name = |text: &str| MountName::parse(text).expect("a legal name");
        let fallbacks = pairs.iter().map(|(from, to)| (name(from), name(to))).collect();
        let chain: Vec<_> = chain(&name("/a"), &fallbacks)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(chain, expected);
    }

    #[test]
    fn chains_are_followed_and_loops_end_them() {
        check(&[], &[]);
        check(&[("/a", "/b"), ("/b", "/c")], &["/b", "/c"]);
        check(&[("/a", "/b"), ("/b", "/a")], &["/b"]);
        check(&[("/a", "/a")], &[]);
        check(&[("/a", "/b"), ("/b", "/c"), ("/c", "/b")], &["/b", "/c"]);
    }

    #[test]
    fn a_chain_has_at_most_ten_hops() {
        let names: Vec<_> = ('a'..='z').map(|c| format!("/{c}")).collect();
        let pairs: Vec<_> = names
            .windows(2)
            .map(|pair| (pair[0].as_str(), pair[1].as_str()))
            .collect();
        let expected: Vec<_> = names[1..11].iter().map(String::as_str).collect();
        check(&pairs, &expected);
    }
}
