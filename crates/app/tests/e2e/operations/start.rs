//! The first start, later ones, and those that fail.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
};

use serde_json::{Value, json};

use super::{folder_with, run, tinyice};
use crate::harness::{Folder, Program, Server, Wire, basic, get, until};

/// On a port that the system chooses, without the internal port, so that tests do not meet.
const ANYWHERE: [&str; 6] = ["-host", "127.0.0.1", "-port", "0", "-metrics-listen", ""];

/// A start in a folder of its own, until it has said all of its banner.
struct Station {
    program: Program,
    address: SocketAddr,
    banner: Vec<String>,
}

impl Station {
    fn start(folder: &Folder) -> Self {
        let mut program = Program::start(&mut tinyice(folder.path(), &ANYWHERE));
        let stars = "*".repeat(50);
        let output = until("a banner between two lines of stars", || {
            assert!(program.is_running(), "{}", program.output());
            let output = program.output();
            (output.lines().filter(|line| *line == stars).count() == 2).then_some(output)
        });
        let (_, after) = output.split_once("Starting TinyIce on ").unwrap();
        let address = after.split(' ').next().unwrap().parse().unwrap();
        let inside = output.lines().skip_while(|line| *line != stars).skip(1);
        let banner = inside
            .take_while(|line| *line != stars)
            .map(str::to_owned)
            .collect();
        Self {
            program,
            address,
            banner,
        }
    }

    /// What stands behind a label in the banner.
    fn told(&self, label: &str) -> Option<&str> {
        let mut lines = self
            .banner
            .iter()
            .filter_map(|line| line.trim_start().strip_prefix(label));
        lines.next()?.strip_prefix(": ")
    }

    fn publish(&self, mount: &str, password: &str) -> u16 {
        let mut wire = Wire::connect(self.address);
        let auth = basic("source", password);
        wire.send(format!(
            "SOURCE {mount} HTTP/1.0\r\nAuthorization: {auth}\r\n\r\n"
        ));
        wire.head().status
    }

    fn administer(&self, password: &str) -> u16 {
        let auth = format!("Authorization: {}\r\n", basic("admin", password));
        get(self.address, "/admin/listmounts", &auth).status()
    }
}

#[test]
fn the_first_run_makes_a_station_that_works() {
    let folder = Folder::new();
    let mut first = Station::start(&folder);
    let port = first.address.port();
    assert_eq!(first.banner[0], "  FIRST RUN: SETUP MODE");
    for line in [
        "  Open your browser and navigate to:".to_owned(),
        format!("    http://localhost:{port}/setup"),
        "  You will need this token to complete setup.".to_owned(),
    ] {
        assert!(first.banner.contains(&line), "{line:?} in {:#?}", first.banner);
    }
    let token = first.told("Setup Token").unwrap().to_owned();
    assert!(
        token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{token}"
    );
    let [admin, default, live] =
        ["Admin Password", "Default Source Password", "Live Mount Password"].map(|what| {
            first
                .told(what)
                .unwrap_or_else(|| panic!("{what} in {:#?}", first.banner))
                .to_owned()
        });

    let path = folder.file("tinyice.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for secret in [&admin, &default, &live, &token] {
        assert!(!text.contains(secret.as_str()), "only hashes are in the file");
    }
    let config: Value = serde_json::from_str(&text).unwrap();
    for (key, value) in [
        ("bind_host", "127.0.0.1"),
        ("port", "8000"),
        ("hostname", "localhost"),
        ("location", "Earth"),
        ("admin_email", "admin@localhost"),
        ("https_port", "443"),
        ("page_title", "TinyIce"),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
    assert_eq!(config["setup_complete"], false);
    for hash in [
        &config["default_source_password"],
        &config["mounts"]["/live"],
        &config["users"]["admin"]["password"],
    ] {
        assert!(hash.as_str().unwrap().starts_with("$2"), "{hash}");
    }
    assert_eq!(
        std::fs::read_to_string(folder.file("tinyice.pid")).unwrap(),
        pid_of(&first)
    );

    let check = |station: &Station| {
        assert_eq!(station.publish("/live", &live), 200);
        assert_eq!(station.publish("/live2", &default), 200);
        assert_eq!(station.publish("/live3", &live), 401, "each opens its own");
        assert_eq!(station.administer(&admin), 200);
        assert_eq!(station.administer(&live), 401);
    };
    check(&first);
    assert!(first.program.terminate().0.success());
    assert!(!folder.file("tinyice.pid").exists());

    let mut second = Station::start(&folder);
    assert_eq!(second.banner[0], "  SETUP NOT COMPLETE");
    assert!(
        second.told("Admin Password").is_none(),
        "passwords are shown once"
    );
    let again = second.told("Setup Token").unwrap();
    assert!(again.len() == 64 && again != token);
    assert!(
        second
            .program
            .output()
            .contains("Starting TinyIce with existing configuration")
    );
    check(&second);
    assert!(second.program.terminate().0.success());
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        text,
        "nothing but the operator changes the file"
    );
}

fn pid_of(station: &Station) -> String {
    station.program.pid().to_string()
}

#[test]
fn the_setup_can_be_asked_for_again() {
    let server = Server::setup().arg("-force-setup").start();
    server.wait_for_log("  FORCE-SETUP MODE");
    server.wait_for_log("  Setup Token: ");
    assert!(server.log_with("Password: ").is_empty());
    let plain = Server::start();
    plain.wait_for_log("Starting TinyIce with existing configuration");
    assert!(plain.log_with("Setup Token").is_empty());
}

#[test]
fn a_bad_file_is_refused_with_place_key_and_fix() {
    let cases = [
        (
            "{\n    \"max_listeners\": \"many\"\n}\n",
            "tinyice.json:2:22: max_listeners: expected ",
        ),
        (
            "{\"relays\": [{\"url\": \"http://a.example/x\", \"mount\": \"/x\"},\n {\"url\": 7, \"mount\": \"/y\"}]}",
            "tinyice.json:2:10: relays[1].url: expected ",
        ),
        (
            "{\n\"port\": \"8000\"\n\"hostname\": \"x\"}",
            "tinyice.json:3:1: ",
        ),
        (
            "{ \"source_grace_seconds\": \"5\", \"users\": { \"a\": [] } }",
            "tinyice.json:1:27: source_grace_seconds: expected integer, found string \"5\"; write it without quotes",
        ),
        ("", "tinyice.json:1:1: "),
        ("not JSON at all", "tinyice.json:1:1: "),
        ("[]", "tinyice.json:1:1: "),
    ];
    for (text, expected) in cases {
        let folder = folder_with(text);
        let (status, output) = run(folder.path(), &ANYWHERE);
        assert_eq!(status.code(), Some(1), "{text}: {output}");
        let line = output.lines().find(|line| line.contains(expected));
        let line = line.unwrap_or_else(|| panic!("{text}: {output}"));
        assert!(
            line.contains("\tFATAL\t") && line.contains("Failed to load config: "),
            "{line}"
        );
        assert!(line.contains("; "), "what to do about it: {line}");
        assert_eq!(
            output.lines().filter(|line| line.contains("FATAL")).count(),
            1,
            "{output}"
        );
        assert!(!folder.file("tinyice.pid").exists());
        assert_eq!(
            std::fs::read_to_string(folder.file("tinyice.json")).unwrap(),
            text,
            "it is left as it is"
        );
        let (status, checked) = run(folder.path(), &["check"]);
        assert_eq!(status.code(), Some(1));
        assert!(checked.contains(expected), "{checked}");
    }
}

#[test]
fn a_fatal_error_is_one_line_of_json_where_that_is_asked_for() {
    let folder = folder_with("{ \"max_listeners\": [] }");
    let (status, output) = run(folder.path(), &[&ANYWHERE[..], &["-json-logs"]].concat());
    assert_eq!(status.code(), Some(1));
    let line: Value = serde_json::from_str(output.trim()).unwrap_or_else(|error| panic!("{error}: {output}"));
    assert_eq!(line["level"], "FATAL");
    assert!(line["msg"].as_str().unwrap().contains("max_listeners"), "{line}");
}

#[test]
fn what_cannot_be_created_or_opened_ends_the_start() {
    let folder = folder_with("{\"setup_complete\": true}");
    for (args, expected) in [
        (
            &["-log-file", "no/such/folder/x.log"][..],
            "Failed to initialize logging: ",
        ),
        (
            &["-auth-log-file", "no/such/folder/x.log"],
            "Failed to initialize logging: ",
        ),
        (
            &["-config", "no/such/folder/tinyice.json"],
            "Failed to create config: ",
        ),
        (&["-config", "."], "Failed to load config: "),
    ] {
        let (status, output) = run(folder.path(), &[&ANYWHERE[..], args].concat());
        assert_eq!(status.code(), Some(1), "{args:?}: {output}");
        let line = output.lines().find(|line| line.contains(expected));
        assert!(
            line.is_some_and(|line| line.contains("FATAL") && line.contains(args[1])),
            "{args:?}: {output}"
        );
    }
}

#[test]
fn a_busy_port_is_fatal_and_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = folder_with("{\"setup_complete\": true, \"metrics_listen\": \"\"}");
    let (status, output) = run(folder.path(), &["-host", "127.0.0.1", "-port", &port]);
    assert_eq!(status.code(), Some(1), "{output}");
    let line = output
        .lines()
        .find(|line| line.contains("FATAL"))
        .unwrap_or_else(|| panic!("{output}"));
    assert!(line.contains(&address), "{line}");
    assert!(!folder.file("tinyice.pid").exists());

    // Another TinyIce is no exception.
    let server = Server::start();
    let (status, output) = run(
        folder.path(),
        &["-host", "127.0.0.1", "-port", &server.port().to_string()],
    );
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains(&server.address().to_string()), "{output}");
    assert_eq!(get(server.address(), "/healthz", "").status(), 200);
}

#[test]
fn two_servers_do_not_share_a_pid_file() {
    let server = Server::start();
    let pid = std::fs::read_to_string(server.folder().file("tinyice.pid")).unwrap();
    assert_eq!(pid, server.pid().to_string());
    let (status, output) = run(server.folder().path(), &ANYWHERE);
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(
        output.contains("tinyice.pid") && output.contains("-pid-file"),
        "{output}"
    );
    assert_eq!(
        std::fs::read_to_string(server.folder().file("tinyice.pid")).unwrap(),
        pid
    );
    assert_eq!(get(server.address(), "/healthz", "").status(), 200);

    // A stale one is replaced, and one that cannot be written is no reason not to serve.
    let folder = folder_with("{\"setup_complete\": true}");
    folder.write("tinyice.pid", "99999999");
    for args in [
        &["-pid-file", "tinyice.pid"][..],
        &["-pid-file", "no/such/folder/pid"],
    ] {
        let mut program = Program::start(&mut tinyice(folder.path(), &[&ANYWHERE[..], args].concat()));
        until("a server", || {
            assert!(program.is_running(), "{}", program.output());
            program.output().contains("Starting TinyIce on").then_some(())
        });
        let written = std::fs::read_to_string(folder.file("tinyice.pid"));
        assert_eq!(
            written.is_ok_and(|text| text == program.pid().to_string()),
            args[1] == "tinyice.pid"
        );
        assert!(program.terminate().0.success());
    }
}

#[test]
fn health_is_told_to_everybody() {
    let server = Server::setup().set("mounts", json!({})).start();
    for (path, text) in [("/healthz", "ok"), ("/readyz", "ready")] {
        let reply = get(server.address(), path, "");
        assert_eq!((reply.status(), reply.text().trim()), (200, text));
        let mut wire = server.connect();
        wire.send(format!(
            "HEAD {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        ));
        assert_eq!(wire.head().status, 200);
        assert!(wire.rest().is_empty());
    }
    let port = server.port().to_string();
    let ask = ["-host", "127.0.0.1", "-port", &port, "healthcheck"];
    let (status, output) = run(server.folder().path(), &ask);
    assert!(status.success() && output.trim() == "ready", "{output}");
    let folder = Folder::new();
    let free = Server::free_port().to_string();
    let (status, output) = run(
        folder.path(),
        &["-host", "127.0.0.1", "-port", &free, "healthcheck"],
    );
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(!folder.file("tinyice.json").exists(), "asking creates nothing");
}
