//! What a file means, and what is said about one that is wrong.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{path::Path, time::Duration};

use config::{Allowed, Config, Endpoint, LoadError, Loaded, LogLevel, MountName, Role, StatusSource};
use proptest::prelude::*;

fn load(text: &str) -> Result<Loaded, LoadError> {
    Loaded::parse(Path::new("tinyice.json"), text.as_bytes().to_vec())
}

fn config(text: &str) -> Config {
    load(text)
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .config
}

fn warnings(text: &str) -> Vec<String> {
    load(text)
        .unwrap_or_else(|error| panic!("{error}"))
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn mount(name: &str) -> MountName {
    MountName::parse(name).unwrap()
}

#[test]
fn an_empty_object_means_every_default() {
    let config = config("{}");
    assert_eq!(config, Config::default());
    assert_eq!(config.bind_host, "0.0.0.0");
    assert_eq!((config.port, config.https_port), (8000, 443));
    assert_eq!(config.max_listeners, Some(100));
    assert_eq!(config.max_connections_per_ip, Some(200));
    assert_eq!(config.default_burst_size, 65_536);
    assert_eq!(config.source_grace_seconds, Duration::from_secs(5));
    assert_eq!(config.fallback_settle_seconds, Duration::from_secs(30));
    assert_eq!(config.source_timeout_seconds, Duration::from_secs(60));
    assert_eq!(config.status_json_source, StatusSource::Array);
    assert_eq!(config.data_dir, Path::new("."));
    assert_eq!(config.ingest.rtmp_port, Endpoint::port(1935));
    assert_eq!(config.page_subtitle, "Live streaming server");
    assert!(!config.setup_complete && config.shoutcast.is_none() && config.users.is_empty());
    let internal: Vec<String> = config.metrics_listen.iter().map(ToString::to_string).collect();
    assert_eq!(internal, ["127.0.0.1:8081", "[::1]:8081"]);
}

#[test]
fn null_and_empty_ports_are_defaults() {
    let nulls: Vec<String> = Config::KEYS
        .iter()
        .map(|key| format!("\"{key}\": null"))
        .collect();
    assert_eq!(config(&format!("{{{}}}", nulls.join(","))), Config::default());
    assert_eq!(
        config(r#"{"port":"","ingest":{"rtmp_port":"","srt_port":null}}"#),
        Config::default()
    );
}

#[test]
fn values_arrive_typed() {
    let file = config(
        r#"{"Port": 9000, "HOSTNAME": "h", "max_listeners": -1, "base_url": "https://r.example/",
            "trusted_proxies": ["10.0.0.0/8", "::ffff:192.0.2.1"], "metrics_listen": "127.0.0.1:0",
            "outbound_allow": ["10.0.0.0/8", "Master.LAN"], "log": {"level": "WARN", "json": true},
            "shoutcast": {"port": 8001}, "status_json_source": "icecast", "max_listeners_per_ip": 3,
            "advanced_mounts": {"/a": {"burst_size": 5, "source_timeout_seconds": 7, "max_listeners": 0}},
            "users": {"bob": {"role": "admin", "mounts": {"/b": ""}}}, "allow_commands": false,
            "relays": [{"url": "http://x/a", "mount": "/r", "burst_size": 2048, "enabled": true, "on_demand": true},
                       {"url": "http://x/b", "mount": "/s", "burst_size": 20}]}"#,
    );
    assert_eq!(
        (file.port, file.hostname.as_str(), file.max_listeners),
        (9000, "h", None)
    );
    assert_eq!(file.base_url, "https://r.example");
    assert_eq!(file.trusted_proxies[1].to_string(), "192.0.2.1/32");
    assert_eq!(file.outbound_allow[1], Allowed::Host("master.lan".to_owned()));
    assert_eq!((file.log.level, file.log.json), (LogLevel::Warn, true));
    assert_eq!(
        file.shoutcast.as_ref().map(|s| (s.port, s.mount.as_str())),
        Some((8001, "/stream"))
    );
    assert_eq!(file.status_json_source, StatusSource::Icecast);
    assert_eq!(file.max_listeners_per_ip, Some(3));
    assert_eq!(file.metrics_listen.len(), 1);
    assert_eq!(file.source_timeout_of(&mount("/a")), Duration::from_secs(7));
    assert_eq!(file.source_timeout_of(&mount("/b")), Duration::from_secs(60));
    assert_eq!(file.users["bob"].role, Role::Admin);
    assert_eq!(file.users["bob"].username, "bob");
    assert_eq!(file.allow_commands, Some(false));
    assert!(file.relays[0].on_demand && file.relays[0].enabled && !file.relays[1].enabled);
    for (name, burst) in [("/a", 5), ("/r", 2048), ("/s", 65_536), ("/else", 65_536)] {
        assert_eq!(file.burst_of(&mount(name)), burst, "{name}");
    }
}

#[test]
fn forgiven_forms() {
    assert_eq!(config("\u{feff}{\"port\": \"81\",}").port, 81);
    assert_eq!(config(r#"{"PORT": "1", "port": "2", "Port": "3"}"#).port, 2);
    assert_eq!(config(r#"{"port": "1", "port": "2"}"#).port, 2);
    assert_eq!(config("{} trailing }{ [").port, 8000);
    let latin1 = Loaded::parse(Path::new("x"), b"{\"location\": \"K\xf6ln\"}".to_vec()).unwrap();
    assert_eq!(latin1.config.location, "K\u{fffd}ln");
    assert_eq!(latin1.warnings[0].what, "bytes that are not UTF-8 were replaced");
}

#[test]
fn errors_name_place_key_and_fix() {
    for (text, expected) in [
        (
            "{\n  \"relays\": [{}, {},\n    {\"mount\": \"/x\", \"url\": \"http://u\", \"burst_size\": \"20\"}]\n}",
            "tinyice.json:3:54: relays[2].burst_size: expected integer, found string \"20\"; write it without quotes",
        ),
        (
            r#"{"port": "0"}"#,
            "tinyice.json:1:10: port: string \"0\" is not a port; write a number from 1 to 65535",
        ),
        (
            r#"{"port": 65536}"#,
            "tinyice.json:1:10: port: number 65536 is not a port; write a number from 1 to 65535",
        ),
        (
            r#"{"port": true}"#,
            "tinyice.json:1:10: port: expected port, found true; write a port such as \"8000\"",
        ),
        (
            r#"{"use_https": "yes"}"#,
            "tinyice.json:1:15: use_https: expected true or false, found string \"yes\"; write true or false without quotes",
        ),
        (
            r#"{"domains": "a.example"}"#,
            "tinyice.json:1:13: domains: expected a list, found string; write [ … ]",
        ),
        (
            r#"{"max_listeners": 1.5}"#,
            "tinyice.json:1:19: max_listeners: expected integer, found number 1.5; write a whole number",
        ),
        (
            r#"{"default_source_password": 12345}"#,
            "tinyice.json:1:29: default_source_password: expected string, found number; put the value in double quotes",
        ),
        (
            r#"{"users": {"bob": {"mounts": {"/x": ["s3cret"]}}}}"#,
            "tinyice.json:1:37: users.bob.mounts./x: expected string, found a list; put the value in double quotes",
        ),
        (
            r#"{"ingest": {"srt_port": "x"}}"#,
            "tinyice.json:1:25: ingest.srt_port: string \"x\" is not a port; write a port from 1 to 65535 or host:port, an IPv6 host in brackets",
        ),
        (
            "[]",
            "tinyice.json:1:1: expected an object, found a list; write { … }",
        ),
        (
            "",
            "tinyice.json:1:1: the file is empty; write {} for a file of defaults",
        ),
        (
            "{\"a\": 1\n \"b\": 2}",
            "tinyice.json:2:2: expected \",\" or \"}\", found '\"'; a comma or a quote is missing before this place",
        ),
        (
            r#"{"use_https": 1, "auto_https": 2}"#,
            "tinyice.json:1:15: use_https: expected true or false, found number 1; write true or false without quotes (and 1 more, see `tinyice check`)",
        ),
    ] {
        assert_eq!(load(text).unwrap_err().to_string(), expected, "{text}");
    }
    let all = load(r#"{"use_https": 1, "prot": "1", "auto_https": 2}"#)
        .unwrap_err()
        .lines();
    assert_eq!(all.len(), 3);
    assert!(
        all[1].starts_with("tinyice.json:1:18: warning: prot: unknown key"),
        "{all:?}"
    );
}

#[test]
fn what_is_odd_is_a_warning_and_is_not_used() {
    for (text, expected) in [
        (
            r#"{"max_listener": 5}"#,
            r#"1:2: warning: max_listener: unknown key; did you mean "max_listeners"?"#,
        ),
        (
            r#"{"port": "1", "port": "2"}"#,
            "1:2: warning: port: the key is given twice; this one is not used; remove one",
        ),
        (
            r#"{"Port": "1", "port": "2"}"#,
            "1:2: warning: Port: the key is given twice; this one is not used; remove one",
        ),
        (
            r#"{"x": 1, "x": 2}"#,
            "1:2: warning: x: the key is given twice; this one is not used; remove one",
        ),
        (
            r#"{"mounts": {"/a": "", "/a": ""}}"#,
            "1:13: warning: mounts./a: the key is given twice; this one is not used; remove one",
        ),
        (
            "{}}",
            "1:3: warning: text after the end of the configuration is not read; remove it",
        ),
        (
            r#"{"mounts": {"/admin/x": ""}}"#,
            "1:13: warning: mounts./admin/x: the path is reserved; the mount is not served; use another name",
        ),
        (
            r#"{"visible_mounts": {"live": true}}"#,
            "1:21: warning: visible_mounts.live: a mount name begins with \"/\"; the mount is not served; use another name",
        ),
        (
            r#"{"fallback_mounts": {"/a": "/b", "/b": "/a"}}"#,
            "1:22: warning: fallback_mounts./a: the fallbacks form a loop: /a → /b → /a; remove the fallback of /b",
        ),
        (
            r#"{"fallback_mounts": {"/a": "/a"}}"#,
            "1:22: warning: fallback_mounts./a: the fallbacks form a loop: /a → /a; remove the fallback of /a",
        ),
        (
            r#"{"banned_ips": ["1.2.3"]}"#,
            "1:17: warning: banned_ips[0]: string \"1.2.3\" is not an address and matches nobody; write an address or a block such as 192.0.2.0/24",
        ),
        (
            r#"{"accent_color": "red;}"}"#,
            "1:18: warning: accent_color: string \"red;}\" is not used; write a colour such as #f60 or #ff6600",
        ),
        (
            r#"{"base_url": "radio.example"}"#,
            "1:14: warning: base_url: string \"radio.example\" is not used; write an http or https address without a path, such as https://radio.example",
        ),
        (
            r#"{"log": {"level": "loud"}}"#,
            "1:19: warning: log.level: string \"loud\" is not used; write one of \"debug\", \"info\", \"warn\", \"error\", \"warning\"",
        ),
        (
            r#"{"ingest": {"srt_latency": 9000}}"#,
            "1:28: warning: ingest.srt_latency: 9000 is out of range, 8000 is used; write 20 to 8000",
        ),
        (
            r#"{"advanced_mounts": {"/a": {"burst_size": -1}}}"#,
            "1:43: warning: advanced_mounts./a.burst_size: -1 is out of range, 0 is used; write 0 to 16777216",
        ),
        (
            r#"{"auto_https": true, "domains": ["a.example"]}"#,
            "1:2: warning: auto_https: use_https was assumed; set \"use_https\": true",
        ),
        (
            r#"{"use_https": true}"#,
            "1:2: warning: use_https: there is no certificate; set cert_file and key_file, or auto_https and domains",
        ),
        (
            r#"{"relays": [{"mount": "/x"}]}"#,
            "1:13: warning: relays[0]: not used without a usable \"url\"; add \"url\" or remove the entry",
        ),
        (
            r#"{"users": {"a": {"username": "b"}}}"#,
            "1:18: warning: users.a.username: differs from the key, \"a\" is used; make both the same",
        ),
        (
            r#"{"default_source_password": "hackme"}"#,
            "1:29: warning: default_source_password: the password is not hashed; the server replaces it by its hash at start; `tinyice hash-password` makes one",
        ),
        (
            r#"{"variant_groups": {"/a": ["/b"]}}"#,
            "1:21: warning: variant_groups./a: the primary is not in its own list; add \"/a\" to the list",
        ),
    ] {
        assert_eq!(
            warnings(text).first().map(String::as_str),
            Some(expected),
            "{text}"
        );
    }
    assert_eq!(warnings(r#"{"comment": "free", "x": {}}"#), Vec::<String>::new());
    assert_eq!(
        config(r#"{"users": {"a": {"role": "king"}}}"#).users["a"].role,
        Role::Dj
    );
}

#[test]
fn fallback_chains_of_ten_are_followed_and_longer_ones_are_named() {
    let chain = |hops: usize| {
        let links: Vec<String> = (0..hops).map(|n| format!("\"/m{n}\": \"/m{}\"", n + 1)).collect();
        format!("{{\"fallback_mounts\": {{{}}}}}", links.join(","))
    };
    assert_eq!(warnings(&chain(10)), Vec::<String>::new());
    let long = config(&chain(11));
    let way = config::follow_fallbacks(&long, &mount("/m0"));
    assert_eq!((way.mounts.len(), way.cut_at), (10, Some(mount("/m11"))));
    assert!(warnings(&chain(11))[0].contains("longer than 10 mounts"));
}

#[test]
fn old_forms_are_lifted() {
    let hash = "$2a$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW";
    let lifted = config(&format!(
        r#"{{"admin_user": "root", "admin_password": "{hash}"}}"#
    ));
    assert!(lifted.setup_complete);
    assert_eq!(
        (lifted.users["root"].role, lifted.users["root"].password.as_str()),
        (Role::Superadmin, hash)
    );
    assert!(
        config(r#"{"admin_user": "root", "admin_password": ""}"#)
            .users
            .is_empty()
    );
    // A superadmin that was deleted on purpose does not come back.
    let kept = config(&format!(
        r#"{{"admin_password": "{hash}", "users": {{"bob": {{"role": "superadmin"}}}}}}"#
    ));
    assert_eq!(kept.users.keys().collect::<Vec<_>>(), ["bob"]);
    let rid = config(
        r#"{"setup_complete": true, "users": {"admin": {"role": "superadmin"},
            "boss": {"role": "superadmin", "password": "x"}}}"#,
    );
    assert_eq!(rid.users.keys().collect::<Vec<_>>(), ["boss"]);
    let hooks = r#"{"webhooks": [{"url": "http://a"}, {"url": "http://a"}]}"#;
    let (one, again) = (config(hooks), config(hooks));
    assert_eq!(one, again, "the same file means the same until it is saved");
    assert!(one.webhooks[0].id.len() == 15 && one.webhooks[0].id.starts_with("wh_"));
    assert_ne!(one.webhooks[0].id, one.webhooks[1].id);
    assert_eq!(config(r#"{"max_listeners": 0}"#).max_listeners, Some(100));
}

#[test]
fn plain_passwords_are_hashed_and_named() {
    let mut file = config(
        r#"{"admin_user": "boss", "admin_password": "new", "default_source_password": "a",
            "mounts": {"/m": "b"}, "advanced_mounts": {"/n": {"password": "c"}},
            "users": {"boss": {"role": "superadmin", "password": "d", "mounts": {"/o": "e"}}},
            "relays": [{"url": "http://x/y", "mount": "/r", "password": "plain on purpose"}]}"#,
    );
    // Hashes in this test are as long as real ones.
    let hash = |text: &str| Ok::<_, ()>(format!("$2a$12${text:.<53}"));
    let keys = file.hash_plain(hash).unwrap();
    assert_eq!(
        keys,
        [
            "admin_password",
            "default_source_password",
            "mounts./m",
            "advanced_mounts./n.password",
            "users.boss.mounts./o"
        ]
    );
    assert_eq!(file.users["boss"].password, hash("new").unwrap());
    assert_eq!(file.relays[0].password, "plain on purpose");
    assert_eq!(file.hash_plain(hash).unwrap(), Vec::<String>::new());
}

#[test]
fn a_missing_file_is_told_apart() {
    let error = Loaded::read("/nowhere/tinyice.json").unwrap_err();
    assert!(matches!(error, LoadError::Missing { .. }));
    assert_eq!(error.to_string(), "config file not found: /nowhere/tinyice.json");
    let utf16 = Loaded::parse(Path::new("x"), vec![0xff, 0xfe, b'{', 0]).unwrap_err();
    assert_eq!(
        utf16.to_string(),
        "cannot read x: the file is UTF-16; save it as UTF-8"
    );
}

#[test]
fn debug_output_holds_no_secret() {
    let file = config(
        r#"{"mounts": {"/m": "s3cret"}, "relays": [{"url": "http://x", "mount": "/r", "password": "s3cret"}]}"#,
    );
    let shown = format!("{file:?} {:?} {:?}", file.relays[0], file.users);
    assert!(!shown.contains("s3cret") && shown.contains("/m"), "{shown}");
}

#[test]
fn changes_name_keys_only() {
    let old = config(r#"{"port": "1", "mounts": {"/a": ""}}"#);
    let new =
        config(r#"{"port": "2", "relays": [{"url": "http://x", "mount": "/r"}], "mounts": {"/a": ""}}"#);
    assert_eq!(old.changes(&new), ["port", "relays"]);
    assert_eq!(old.changes(&old.clone()), Vec::<&str>::new());
}

#[test]
fn keys_are_set_strictly() {
    for (key, text, shown) in [
        ("port", "9000", "\"9000\""),
        ("HOST", "::", "\"::\""),
        ("use_https", "T", "true"),
        ("max_listeners", "-1", "-1"),
        ("domains", "A.example, b.example", r#"["a.example","b.example"]"#),
        ("ingest.rtmp_enabled", "true", "true"),
        ("ingest.rtmp_port", "127.0.0.1:1936", "\"127.0.0.1:1936\""),
        ("log.level", "debug", "\"debug\""),
        ("log.format", "journal", "\"journal\""),
        ("relays[0].enabled", "true", "true"),
        ("relays.0.url", "http://y/z", "\"http://y/z\""),
        ("visible_mounts./stream.mp3", "true", "true"),
        ("advanced_mounts./stream.mp3.burst_size", "4096", "4096"),
        (
            "shoutcast",
            r#"{"port": 8001}"#,
            r#"{"port":"8001","mount":"/stream"}"#,
        ),
        ("metrics_listen", "", "\"\""),
        ("media_roots", "/a,/b", r#"["/a","/b"]"#),
        ("source_grace_seconds", "0", "0"),
    ] {
        let mut file = config(
            r#"{"relays": [{"url": "http://x/y", "mount": "/r"}], "advanced_mounts": {"/stream.mp3": {}}}"#,
        );
        file.set(key, text)
            .unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(file.get(key).unwrap().to_string(), shown, "{key}");
    }
    for (key, text) in [
        ("port", "0"),
        ("port", "x"),
        ("use_https", "yes"),
        ("max_listeners", "many"),
        ("max_listeners", "1.5"),
        ("base_url", "radio.example/x"),
        ("accent_color", "red"),
        ("default_source_password", "plain"),
        ("domains", "a b"),
        ("ingest.srt_latency", "1"),
        ("visible_mounts./admin/x", "true"),
        ("smtp.host", "x"),
        ("nonsense", "1"),
        ("ingest.nonsense", "1"),
        ("relays[7].enabled", "true"),
        ("port.x", "1"),
        ("", "1"),
    ] {
        let mut file = config(r#"{"relays": [{"url": "http://x/y", "mount": "/r"}]}"#);
        let before = file.clone();
        assert!(file.set(key, text).is_err(), "{key} {text}");
        assert_eq!(file, before, "{key} {text}");
    }
    assert_eq!(Config::default().get("nonsense"), None);
    assert_eq!(config::suggest_key("hostnam"), Some("hostname"));
}

#[test]
fn a_first_file_is_on_air_at_once() {
    let mut seen = Vec::new();
    let (tree, secrets) = config::first_run("::", |text| {
        seen.push(text.to_owned());
        Ok::<_, ()>(format!("$2a$12${text:.<53}"))
    })
    .unwrap();
    assert_eq!(
        seen,
        [
            &secrets.admin_password[..],
            &secrets.default_source_password,
            &secrets.live_mount_password
        ]
    );
    assert!(seen.iter().all(|text| text.len() == 20) && seen[0] != seen[1] && seen[1] != seen[2]);
    let loaded = load(&config::to_text(&tree)).unwrap();
    assert_eq!(loaded.warnings, []);
    let file = loaded.config;
    assert_eq!(
        (file.bind_host.as_str(), file.port, file.https_port),
        ("::", 8000, 443)
    );
    assert_eq!(
        (file.location.as_str(), file.admin_email.as_str()),
        ("Earth", "admin@localhost")
    );
    assert_eq!(file.users["admin"].role, Role::Superadmin);
    assert!(
        file.is_visible(&mount("/live")) && file.mounts.contains_key(&mount("/live")) && !file.setup_complete
    );
    assert_eq!(file.status_json_source, StatusSource::Icecast);
    let failed = config::first_run("", |_| Err::<String, _>("no")).unwrap_err();
    assert_eq!(failed.to_string(), "cannot hash a password: no");
}

/// Bits of configurations, so that random texts get past the first bracket.
fn fragment() -> impl Strategy<Value = String> {
    let key = prop::sample::select([Config::KEYS, &["/live", "url", "mount", "burst_size", "x"]].concat());
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-99999999999999999999999".to_owned()),
        Just("1e400".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "[ -~]{0,12}".prop_map(|text| format!("{text:?}")),
        "\\PC{0,6}",
    ];
    scalar.prop_recursive(5, 64, 6, move |inner| {
        let pair = (key.clone(), inner.clone()).prop_map(|(key, value)| format!("\"{key}\": {value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|values| format!("[{}]", values.join(","))),
            prop::collection::vec(pair, 0..8).prop_map(|pairs| format!("{{{}}}", pairs.join(","))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Loaded::parse(Path::new("x"), bytes);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in fragment()) {
        if let Ok(loaded) = load(&text) {
            // What was read means the same when written out in full.
            let again = load(&config::to_text(&loaded.document.complete(&loaded.config))).unwrap();
            prop_assert_eq!(again.config, loaded.config);
        }
    }

    #[test]
    fn no_word_makes_set_panic(key in "[a-z_.\\[\\]0-9/]{0,20}", text in "\\PC{0,12}") {
        let mut file = Config::default();
        let _ = file.set(&key, &text);
        let _ = file.get(&key);
    }
}

#[test]
fn every_key_is_documented_with_its_default() {
    let reference = include_str!("../../../docs/configuration.md");
    let whole = Config::default().to_value();
    for key in Config::KEYS {
        let row = reference.lines().find(|line| {
            line.starts_with('|')
                && line
                    .split('|')
                    .nth(1)
                    .is_some_and(|cell| cell.contains(&format!("`{key}`")))
        });
        let row = row.unwrap_or_else(|| panic!("{key} is missing in docs/configuration.md"));
        let written_otherwise = ["absent", "see below", "working directory", "["]
            .iter()
            .any(|word| row.contains(word));
        let default = whole[*key].to_string();
        assert!(
            written_otherwise || row.replace(' ', "").contains(&default.replace(' ', "")),
            "{key}: {default}\n{row}"
        );
    }
}
