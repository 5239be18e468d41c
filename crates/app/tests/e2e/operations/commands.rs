//! Subcommands beside a running server, and what the command line refuses.

use serde_json::{Value, json};

use super::{folder_with, run};
use crate::harness::{Capture, Feeder, Folder, Server, get, until};

#[test]
fn commands_leave_the_server_and_its_pid_file_alone() {
    let mut server = Server::start();
    let _feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    let listener = Capture::start(&server, "/live", "");
    let pid_file = server.folder().file("tinyice.pid");
    let pid = server.pid().to_string();
    let folder = server.folder().path().to_owned();
    for (args, code, expected) in [
        (&["get", "bind_host"][..], 0, "bind_host = 127.0.0.1\n"),
        (&["get", "max_listeners"], 0, "max_listeners = 100\n"),
        (&["get", "nonsense"], 1, "nonsense = unknown\n"),
        (&["get"], 1, "Usage: get <option>\n"),
        (&["set"], 1, "Usage: set <option> <value>\n"),
        (&["set", "max_listeners", "many"], 1, "Error: "),
        (
            &["set", "location", "The Moon"],
            0,
            "Updated location to The Moon\nRun 'tinyice reload' to apply\n",
        ),
        (&["get", "location"], 0, "location = The Moon\n"),
        (&["check"], 0, "ok\n"),
        (&["dump-config"], 0, "\"location\": \"The Moon\""),
        (&["version"], 0, "TinyIce "),
        (&["help"], 0, "reload"),
    ] {
        let (status, output) = run(&folder, args);
        assert_eq!(status.code(), Some(code), "{args:?}: {output}");
        assert!(output.contains(expected), "{args:?}: {output}");
        assert!(
            !output.contains("Starting TinyIce") && !output.contains("****"),
            "{args:?}: {output}"
        );
        assert_eq!(std::fs::read_to_string(&pid_file).unwrap(), pid, "{args:?}");
        assert!(server.is_running());
    }
    assert!(!listener.has_ended());
    let location = || get(server.address(), "/status-json.xsl", "").json()["icestats"]["location"].clone();
    assert_ne!(location(), "The Moon", "set alone applies nothing");

    let (status, output) = run(&folder, &["reload"]);
    assert!(status.success(), "{output}");
    assert_eq!(output, format!("Sent reload signal (SIGHUP) to process {pid}\n"));
    until("the reload", || (location() == "The Moon").then_some(()));
    assert!(!listener.has_ended());
    assert!(server.stop().success());
    let (status, output) = run(&folder, &["reload"]);
    assert_eq!(status.code(), Some(1));
    let expected = "Error: TinyIce does not appear to be running (could not read tinyice.pid)\n";
    assert_eq!(output, expected);
}

#[test]
fn reload_finds_the_pid_file_that_it_is_told_of() {
    let server = Server::setup().arg("-pid-file").arg("other.pid").start();
    assert!(!server.folder().file("tinyice.pid").exists());
    let (status, output) = run(server.folder().path(), &["-pid-file", "other.pid", "reload"]);
    assert!(status.success(), "{output}");
    server.wait_for_log("Configuration reloaded successfully");

    // Numbers of processes that are gone, or are something else, are left alone.
    let folder = Folder::new();
    for number in ["99999999", "1", "0", "-1", "x"] {
        folder.write("tinyice.pid", number);
        let (status, output) = run(folder.path(), &["reload"]);
        assert_eq!(status.code(), Some(1), "{number}: {output}");
        assert!(output.starts_with("Error: "), "{number}: {output}");
    }
}

#[test]
fn the_whole_configuration_is_dumped_without_its_secrets() {
    let folder = folder_with(
        &json!({
            "default_source_password": "$2b$04$abcdefghijklmnopqrstuuKcLW3dJxMuMSIIgGEqpyIrBWU3Dhnlq",
            "relays": [{ "url": "http://a.example/x", "mount": "/x", "password": "swordfish" }],
            "of_another_version": { "kept": [1, 2] },
        })
        .to_string(),
    );
    let dump = |args: &[&str]| {
        let output = super::tinyice(folder.path(), args).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let tree: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        (text, tree, String::from_utf8(output.stderr).unwrap())
    };
    let (text, tree, aside) = dump(&["dump-config"]);
    assert!(text.starts_with("{\n    \"") && !text.contains('\x1b'), "{text}");
    assert!(!text.contains("swordfish") && !text.contains("$2b$"), "{text}");
    assert!(aside.contains("masked"), "{aside}");
    assert_eq!(
        (&tree["port"], &tree["max_listeners"]),
        (&json!("8000"), &json!(100)),
        "defaults are in it"
    );
    assert_eq!(tree["of_another_version"], json!({ "kept": [1, 2] }));
    let (text, _, aside) = dump(&["dump-config", "--secrets"]);
    assert!(text.contains("swordfish") && aside.is_empty());
}

#[test]
fn a_wrong_command_line_is_refused() {
    let folder = Folder::new();
    for (args, code, expected) in [
        (&["-nonsense"][..], 2, "flag provided but not defined: -nonsense"),
        (&["-port"], 2, "flag needs an argument: -port"),
        (
            &["-json-logs=maybe"],
            2,
            "invalid boolean value \"maybe\" for -json-logs",
        ),
        (&["relaod"], 2, "unknown command \"relaod\""),
        (&["-h"], 0, "Usage of TinyIce:"),
        (&["--help"], 0, "Usage of TinyIce:"),
        (&["-version"], 0, "TinyIce "),
        (&["get", "port"], 1, "Error: config file not found: tinyice.json"),
        (&["check"], 1, "Error: config file not found: tinyice.json"),
    ] {
        let (status, output) = run(folder.path(), args);
        assert_eq!(status.code(), Some(code), "{args:?}: {output}");
        assert!(output.contains(expected), "{args:?}: {output}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "nothing is created: {left:?}");
}
