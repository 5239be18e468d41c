//! Which passwords open a mount, for every protocol that publishes.

use config::{Config, MountName};

/// The hashes of the passwords that open a mount. The first level that has one decides: the owners' own (each of
/// them, should several own the mount), the mount's, its advanced settings', the default. No hash means that nobody
/// may publish.
pub fn source_hashes(config: &Config, mount: &MountName) -> Vec<String> {
    let of_users: Vec<_> = config
        .users
        .values()
        .filter_map(|user| user.mounts.get(mount))
        .cloned()
        .collect();
    if !of_users.is_empty() {
        // An owner without a password closes the mount to the more general ones; empty hashes match nothing.
        return of_users;
    }
    if let Some(hash) = config.mounts.get(mount) {
        return vec![hash.clone()];
    }
    let of_mount = config
        .advanced_mounts
        .get(mount)
        .map(|settings| &settings.password);
    [of_mount, Some(&config.default_source_password)]
        .into_iter()
        .flatten()
        .find(|hash| !hash.is_empty())
        .map(|hash| vec![hash.clone()])
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes are named by one letter, and stand for themselves.
    fn check(file: &str, mount: &str, expected: &str) {
        let hash = |letter: char| format!("$2a$04${}", letter.to_string().repeat(53));
        let file: String = file
            .split('#')
            .enumerate()
            .map(|(part, text)| match (part, text.chars().next()) {
                (0, _) | (_, None) => text.to_owned(),
                (_, Some(letter)) => format!("{}{}", hash(letter), &text[1..]),
            })
            .collect();
        let loaded = config::Loaded::parse(std::path::Path::new("t.json"), file.into_bytes()).unwrap();
        let found = source_hashes(&loaded.config, &MountName::parse(mount).unwrap());
        let letters: Vec<_> = found
            .iter()
            .map(|hash| hash.chars().last().unwrap_or('-').to_string())
            .collect();
        assert_eq!(letters.join(" "), expected, "{mount}");
    }

    #[test]
    fn the_first_level_with_a_password_decides() {
        let file = r##"{
            "default_source_password": "#z",
            "mounts": {"/m": "#b", "/own": "#b", "/both": "#b", "/closed": ""},
            "advanced_mounts": {
                "/a": {"password": "#c"}, "/m": {"password": "#c"}, "/none": {"burst_size": 1}, "/own": {"password": "#c"}
            },
            "users": {
                "ann": {"password": "", "role": "dj", "mounts": {"/own": "#a", "/two": "#a", "/unset": ""}},
                "bob": {"password": "", "role": "admin", "mounts": {"/two": "#d", "/half": ""}},
                "cid": {"password": "", "role": "admin", "mounts": {"/half": "#e"}}
            }
        }"##;
        check(file, "/own", "a");
        check(file, "/two", "a d");
        check(file, "/half", "- e");
        check(file, "/m", "b");
        check(file, "/a", "c");
        check(file, "/none", "z");
        check(file, "/other", "z");
        // Fail closed: an own entry without a password is no reason to take a more general one.
        check(file, "/closed", "-");
        check(file, "/unset", "-");
    }

    #[test]
    fn without_passwords_nobody_publishes() {
        check(r#"{"default_source_password": ""}"#, "/live", "");
    }
}
