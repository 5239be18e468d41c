//! What a save changes, and what it must not.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use config::{Config, Loaded, MountName, Relay, Role, Store, User};
use serde_json::Value;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tinyice-saving-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, text: &str) -> PathBuf {
        let path = self.0.join("tinyice.json");
        fs::write(&path, text).unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const FULL: &str = include_str!("fixtures/full.json");

fn open(path: &Path) -> (Config, Store) {
    let loaded = Loaded::read(path).unwrap();
    (loaded.config, Store::new(loaded.document))
}

fn tree(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn mount(name: &str) -> MountName {
    MountName::parse(name).unwrap()
}

/// Loads the text, changes the configuration, saves, and gives the tree on disk.
fn after(name: &str, text: &str, change: impl FnOnce(&mut Config)) -> Value {
    let folder = Folder::new(name);
    let path = folder.file(text);
    let (mut config, mut store) = open(&path);
    change(&mut config);
    assert!(store.save(&config).unwrap().written);
    assert_eq!(
        Loaded::read(&path).unwrap().config,
        config,
        "the saved file means what was saved"
    );
    tree(&path)
}

#[test]
fn a_real_file_keeps_everything_but_the_change() {
    let mut expected: Value = serde_json::from_str(FULL).unwrap();
    let found = after("real", FULL, |config| config.location = "Mars".to_owned());
    expected["location"] = "Mars".into();
    // Reading gave the second webhook its id and quoted a port; both come along.
    let id = found["webhooks"][1]["id"].clone();
    assert!(id.as_str().unwrap().starts_with("wh_"));
    expected["webhooks"][1]["id"] = id;
    expected["autodjs"][0]["mpd_port"] = "6600".into();
    assert_eq!(found, expected);
    let order = |tree: &Value| tree.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(order(&found), order(&expected));
}

#[test]
fn unknown_keys_survive_changes_around_them() {
    let found = after("around", FULL, |config| {
        config.users.get_mut("boss").unwrap().role = Role::Admin;
        config.users.remove("dj1");
        config.users.insert(
            "new".to_owned(),
            User::new("new".to_owned(), String::new(), Role::Dj),
        );
        config.users.get_mut("boss").unwrap().passkeys[0].last_used = "2026-04-01T00:00:00Z".to_owned();
        config.advanced_mounts.get_mut("/live").unwrap().burst_size = 0;
        config.advanced_mounts.get_mut("/live").unwrap().name_override = None;
        config.relays.remove(1);
        config.relays[0].enabled = false;
        config
            .relays
            .insert(0, Relay::new("http://n.example/n".to_owned(), mount("/new")));
        config.transcoders[0].bitrate = 64;
        config.api_tokens[0].last_used_ip = "192.0.2.9".to_owned();
        config.webhooks[0].enabled = false;
        config.ingest.srt_enabled = true;
        config.banned_ips.remove(0);
        config.mounts.remove("/live");
        config.page_title = "T".to_owned();
    });
    for (pointer, expected) in [
        ("/users/boss/x_theme", "\"dark\""),
        ("/users/boss/role", "\"admin\""),
        ("/users/boss/passkeys/0/x_counter", "7"),
        ("/users/boss/passkeys/0/last_used", "\"2026-04-01T00:00:00Z\""),
        ("/advanced_mounts/~1live/x_future", r#"{"deep":[1,2.50,1e3]}"#),
        ("/advanced_mounts/~1live/burst_size", "0"),
        ("/relays/0/mount", "\"/new\""),
        ("/relays/1/x_note", "\"kept\""),
        ("/relays/1/enabled", "false"),
        ("/transcoders/0/x_lab", "true"),
        ("/transcoders/0/bitrate", "64"),
        ("/api_tokens/0/x_scope", "[\"read\"]"),
        ("/webhooks/0/x_retry", "3"),
        ("/webhooks/1/x_old", "1"),
        ("/ingest/x_ingest", "null"),
        ("/banned_ips", r#"["203.0.113.0/24","bad entry"]"#),
        ("/future_section", r#"{"nested":{"list":[{"a":1},null]}}"#),
        ("/another_future", "12345678901234567890.5"),
    ] {
        let value = found
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{pointer} is gone"));
        assert_eq!(value.to_string().replace("1e+3", "1e3"), expected, "{pointer}");
    }
    let mounts: Vec<&String> = found["mounts"].as_object().unwrap().keys().collect();
    assert_eq!(
        mounts,
        ["/stream.mp3", "/admin/bad"],
        "a mount that is not served stays in the file"
    );
    assert!(found.pointer("/users/dj1").is_none() && found.pointer("/relays/2").is_none());
    assert!(found.pointer("/advanced_mounts/~1live/name_override").is_none());
    assert_eq!(found["users"]["new"]["role"], "dj");
}

#[test]
fn keys_are_found_in_any_letter_case_and_mounts_are_not() {
    let found = after(
        "case",
        r#"{"PORT": 1, "Mounts": {"/Live": ""}, "x": 1}"#,
        |config| {
            config.port = 2;
            config.mounts.insert(mount("/live"), String::new());
        },
    );
    assert_eq!(
        found.to_string(),
        r#"{"PORT":"2","Mounts":{"/Live":"","/live":""},"x":1}"#
    );
}

#[test]
fn only_what_changed_is_added() {
    let found = after("small", "{}", |config| {
        config.set("ingest.rtmp_enabled", "true").unwrap()
    });
    assert_eq!(found["ingest"]["rtmp_port"], "1935");
    assert_eq!(found.as_object().unwrap().len(), 1);
}

#[test]
fn saving_without_a_change_writes_nothing() {
    let folder = Folder::new("same");
    let path = folder.file("{\"port\":   \"1\"}");
    let (config, mut store) = open(&path);
    assert!(!store.save(&config).unwrap().written);
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"port\":   \"1\"}");
    assert_eq!(folder.names(), ["tinyice.json"]);
}

#[test]
fn the_file_is_indented_by_four_and_ends_in_a_newline() {
    let folder = Folder::new("indent");
    let path = folder.file(r#"{"mounts":{"/a":""}}"#);
    let (mut config, mut store) = open(&path);
    config.port = 1;
    assert!(store.save(&config).unwrap().written);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(
        text,
        "{\n    \"mounts\": {\n        \"/a\": \"\"\n    },\n    \"port\": \"1\"\n}\n"
    );
}

#[test]
fn one_older_generation_is_kept_for_an_hour() {
    let folder = Folder::new("bak");
    let path = folder.file("{}");
    let (mut config, mut store) = open(&path);
    for port in 1..4 {
        config.port = port;
        assert!(store.save(&config).unwrap().written);
    }
    assert_eq!(
        fs::read_to_string(folder.0.join("tinyice.json.bak")).unwrap(),
        "{}"
    );
    assert_eq!(folder.names(), ["tinyice.json", "tinyice.json.bak"]);
    let two_hours = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    fs::File::options()
        .write(true)
        .open(folder.0.join("tinyice.json.bak"))
        .unwrap()
        .set_modified(two_hours)
        .unwrap();
    config.port = 9;
    assert!(store.save(&config).unwrap().written);
    assert_eq!(tree(&folder.0.join("tinyice.json.bak"))["port"], "3");
}

#[test]
fn a_migration_keeps_the_file_it_came_from() {
    let folder = Folder::new("migrate");
    let old = r#"{"webhooks": [{"url": "http://a"}]}"#;
    let path = folder.file(old);
    let (config, mut store) = open(&path);
    assert!(store.save(&config).unwrap().written);
    let kept = folder
        .names()
        .into_iter()
        .find(|name| name.contains(".pre-"))
        .unwrap();
    assert_eq!(fs::read_to_string(folder.0.join(kept)).unwrap(), old);
    assert_eq!(tree(&path)["webhooks"][0]["id"], config.webhooks[0].id.as_str());
}

#[test]
fn edits_on_disk_are_merged_or_kept_aside() {
    let folder = Folder::new("conflict");
    let path = folder.file(r#"{"port": "1", "hostname": "a", "x": 1}"#);
    let (mut config, mut store) = open(&path);
    fs::write(&path, r#"{"port": "1", "hostname": "b", "x": 2, "y": 3}"#).unwrap();
    config.port = 2;
    let saved = store.save(&config).unwrap();
    assert_eq!(
        (saved.merged, saved.conflict),
        (vec!["hostname".to_owned(), "x".to_owned(), "y".to_owned()], None)
    );
    assert_eq!(
        tree(&path).to_string(),
        r#"{"port":"2","hostname":"b","x":2,"y":3}"#
    );
    // The next save, by somebody who still does not know the edit, keeps it too.
    config.location = "L".to_owned();
    assert_eq!(store.save(&config).unwrap().merged, Vec::<String>::new());
    assert_eq!(tree(&path)["hostname"], "b");

    let edit = r#"{"port": "77", "hostname": "b"}"#;
    fs::write(&path, edit).unwrap();
    config.port = 3;
    let conflict = store.save(&config).unwrap().conflict.unwrap();
    assert_eq!(fs::read_to_string(&conflict).unwrap(), edit);
    assert!(
        conflict
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("tinyice.json.conflict-")
    );
    assert_eq!(tree(&path)["port"], "3");

    fs::write(&path, "{ half an ed").unwrap();
    config.port = 4;
    let conflict = store.save(&config).unwrap().conflict.unwrap();
    assert_eq!(fs::read_to_string(conflict).unwrap(), "{ half an ed");
    assert_eq!(tree(&path)["port"], "4");
}

#[test]
fn a_directory_that_is_gone_is_an_error_with_advice() {
    let folder = Folder::new("gone");
    let path = folder.file("{}");
    let (mut config, mut store) = open(&path);
    fs::remove_dir_all(&folder.0).unwrap();
    config.port = 2;
    let error = store.save(&config).unwrap_err().to_string();
    assert!(error.ends_with("create the directory"), "{error}");
}

#[test]
fn a_first_file_is_created_once() {
    let folder = Folder::new("create");
    let path = folder.0.join("tinyice.json");
    config::create(&path, &serde_json::json!({"port": "1"})).unwrap();
    let error = config::create(&path, &serde_json::json!({"port": "2"}))
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("it exists already; load it instead"), "{error}");
    assert_eq!(tree(&path)["port"], "1");
    assert_eq!(folder.names(), ["tinyice.json"]);
}

#[test]
fn several_writers_lose_nothing_and_readers_see_whole_files() {
    let folder = Folder::new("many");
    let path = folder.file("{\"port\": \"1\"}");
    let keys = ["location", "hostname", "page_title", "admin_email"];
    thread::scope(|scope| {
        let writers: Vec<_> = keys
            .iter()
            .map(|key| {
                let path = &path;
                scope.spawn(move || {
                    let (mut config, mut store) = open(path);
                    for round in 0..20 {
                        config.set(key, &format!("{key} {round}")).unwrap();
                        let saved = store.save(&config).unwrap();
                        assert_eq!(saved.conflict, None);
                    }
                })
            })
            .collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            assert_eq!(Loaded::read(&path).unwrap().config.port, 1);
        }
    });
    for key in keys {
        assert_eq!(tree(&path)[key], format!("{key} 19"), "{key}");
    }
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_target_of_a_symlink_is_replaced_and_the_link_stays() {
        let folder = Folder::new("link");
        fs::create_dir(folder.0.join("real")).unwrap();
        let real = folder.0.join("real/c.json");
        fs::write(&real, "{}").unwrap();
        let link = folder.0.join("tinyice.json");
        symlink("real/c.json", &link).unwrap();
        let (mut config, mut store) = open(&link);
        config.port = 2;
        assert!(store.save(&config).unwrap().written);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(tree(&real)["port"], "2");
        assert_eq!(folder.names(), ["real", "tinyice.json"]);
    }

    #[test]
    fn modes_are_kept_and_new_files_are_private() {
        for before in [0o600, 0o640, 0o644] {
            let folder = Folder::new(&format!("mode-{before:o}"));
            let path = folder.file("{}");
            fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
            let (mut config, mut store) = open(&path);
            config.port = 2;
            assert!(store.save(&config).unwrap().written);
            assert_eq!(mode(&path), before);
            assert_eq!(mode(&folder.0.join("tinyice.json.bak")), 0o600);
        }
        let folder = Folder::new("mode-new");
        let path = folder.0.join("tinyice.json");
        config::create(&path, &serde_json::json!({})).unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_planted_link_in_place_of_the_temporary_file_is_not_followed() {
        let folder = Folder::new("planted");
        let path = folder.file("{}");
        let victim = folder.0.join("victim");
        fs::write(&victim, "untouched").unwrap();
        symlink(&victim, folder.0.join("tinyice.json.tmp")).unwrap();
        let (mut config, mut store) = open(&path);
        config.port = 2;
        assert!(store.save(&config).unwrap().written);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    }
}

#[test]
fn a_complete_tree_has_every_key_and_the_unknown_ones() {
    let loaded = Loaded::parse(Path::new("x"), FULL.into()).unwrap();
    let whole = loaded.document.complete(&loaded.config);
    assert_eq!(whole["future_section"]["nested"]["list"][0]["a"], 1);
    assert_eq!(whole["mounts"]["/admin/bad"].as_str().map(str::len), Some(60));
    let small = Loaded::parse(Path::new("x"), b"{\"port\": \"1\"}".to_vec()).unwrap();
    let whole = small.document.complete(&small.config);
    assert_eq!(
        (&whole["port"], &whole["https_port"]),
        (&Value::from("1"), &Value::from("443"))
    );
    assert_eq!(whole["ingest"]["srt_latency"], 120);
}
