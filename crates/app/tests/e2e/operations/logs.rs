//! What is written, and where.
//!
//! Contract: one event is one line, whatever its texts hold, and every line can be read by a program.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Capture, Mp3, Program, Server, Setup, Source, basic, get, installed, until};

/// A user agent with everything that could break a line or drive a terminal.
const AGENT: &str = "butt\x1b[31m\t\"1.40\" \u{202e}\u{2028}\u{85}\\n{}";

/// Makes something of everything happen.
fn busy(server: &Server) {
    let mut source = Source::with(
        server,
        "/live",
        &format!("User-Agent: {AGENT}\r\nContent-Type: audio/mpeg\r\n"),
    );
    source.send(Mp3::new('a').bytes(10_000));
    server.wait_for_mount("/live");
    let listener = Capture::start(server, "/live", &format!("User-Agent: {AGENT}\r\n"));
    listener.wait_for(4_000);
    let song = "one%0D%0A2026-01-01T00:00:00.000Z%09FATAL%09x%1B%5B2Jtwo%22%7D";
    assert_eq!(
        server
            .admin(&format!("metadata?mount=/live&song={song}"))
            .status(),
        200
    );
    let forged = basic(
        "eve' from 10.0.0.1: x\nAuthentication failed for user 'bob' from 10.0.0.2: y",
        "wrong",
    );
    assert_eq!(
        get(
            server.address(),
            "/admin/stats",
            &format!("Authorization: {forged}\r\n")
        )
        .status(),
        401
    );
    let refused = Source::try_with(server, "/live", &format!("User-Agent: {AGENT}\r\n"))
        .err()
        .unwrap();
    assert_eq!(refused.status(), 403);
    let nowhere = get(server.address(), "/no%22where%7F", "");
    assert_eq!(nowhere.status(), 404);
    drop(listener);
    server.wait_for_log("Listener disconnected");
    drop(source);
    server.wait_for_log("Source disconnected");
}

/// Panics unless a time is as it should be.
fn check_time(time: &str) {
    let shape: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    let zone = shape
        .strip_prefix("9999-99-99T99:99:99.999")
        .unwrap_or_else(|| panic!("{time}"));
    assert!(matches!(zone, "Z" | "+9999" | "-9999"), "{time}");
}

/// The one line with a message.
fn only<'a>(lines: &'a [Value], message: &str) -> &'a Value {
    let mut with = lines.iter().filter(|line| line["msg"] == message);
    let line = with.next().unwrap_or_else(|| panic!("{message} in {lines:#?}"));
    assert!(with.next().is_none(), "{message} twice");
    line
}

fn check_keys(lines: &[Value], message: &str, keys: &[&str]) {
    let line = only(lines, message);
    for key in keys {
        assert!(line.get(*key).is_some(), "{key} in {line}");
    }
}

#[test]
fn every_line_of_json_can_be_read() {
    let mut server = Server::setup().arg("-json-logs").arg("-log-level=debug").start();
    busy(&server);
    assert!(server.reload());
    assert!(server.stop().success());
    server.wait_for_log("TinyIce stopped");
    let lines: Vec<Value> = server
        .log()
        .iter()
        .map(|line| {
            assert!(!line.chars().any(char::is_control), "{line:?}");
            let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let is_auth = value.get("caller").is_none();
            let keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
            let first = if is_auth {
                &["level", "ts", "msg"][..]
            } else {
                &["level", "ts", "caller", "msg"]
            };
            assert_eq!(keys[..first.len()], *first, "{line}");
            let level = value["level"].as_str().unwrap();
            assert!(
                ["DEBUG", "INFO", "WARN", "ERROR", "FATAL"].contains(&level),
                "{line}"
            );
            check_time(value["ts"].as_str().unwrap());
            if !is_auth {
                let (file, number) = value["caller"].as_str().unwrap().split_once(':').unwrap();
                assert!(file.ends_with(".rs") && number.parse::<u32>().is_ok(), "{line}");
            }
            value
        })
        .collect();
    check_keys(&lines, "Source connected", &["mount", "ip", "ua"]);
    check_keys(&lines, "Source disconnected", &["mount", "bytes_in"]);
    check_keys(
        &lines,
        "Source rejected: mount already has an active source",
        &["mount", "new_ip", "existing_ip"],
    );
    check_keys(&lines, "Listener connected", &["mount", "ip", "ua"]);
    check_keys(&lines, "Listener disconnected", &["mount", "ip", "ua"]);
    check_keys(&lines, "Configuration reloaded successfully", &[]);
    let connected = only(&lines, "Listener connected");
    assert!(connected["ua"].as_str().unwrap().starts_with("butt") && connected["ip"] == "127.0.0.1");
    assert_eq!(only(&lines, "Source disconnected")["bytes_in"], 10_008);
    // Names are attackers' text: only the true address may look like one to a filter of bans.
    let failed: Vec<_> = lines
        .iter()
        .filter(|line| line["msg"].as_str().unwrap().contains("Authentication failed"))
        .collect();
    assert_eq!(failed.len(), 1);
    let message = failed[0]["msg"].as_str().unwrap();
    assert!(message.ends_with(" from 127.0.0.1: user not found"), "{message}");
    assert_eq!(message.matches("' from ").count(), 1, "{message}");
}

#[test]
fn every_line_of_text_has_its_parts() {
    let mut server = Server::start();
    busy(&server);
    assert!(server.stop().success());
    server.wait_for_log("TinyIce stopped");
    for line in server.log() {
        assert!(
            !line.chars().any(|c| c.is_control() && c != '\t'),
            "no colour in a pipe, no forged line: {line:?}"
        );
        let parts: Vec<_> = line.split('\t').collect();
        assert!((3..=5).contains(&parts.len()), "{line:?}");
        check_time(parts[0]);
        assert!(
            ["DEBUG", "INFO", "WARN", "ERROR", "FATAL"].contains(&parts[1]),
            "{line}"
        );
        if let Some(fields) = parts.get(4) {
            let object: Value =
                serde_json::from_str(fields).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(
                object.is_object() && fields.contains("\": "),
                "a space after the colon: {line}"
            );
        }
    }
    for (message, fields) in [
        (
            "\tSource connected\t",
            "{\"mount\": \"/live\", \"ip\": \"127.0.0.1\", \"ua\": \"butt",
        ),
        (
            "\tListener connected\t",
            "{\"mount\": \"/live\", \"ip\": \"127.0.0.1\", \"ua\": \"butt",
        ),
        (
            "\tSource disconnected\t",
            "{\"mount\": \"/live\", \"bytes_in\": 10008",
        ),
    ] {
        let lines = server.log_with(message);
        assert_eq!(lines.len(), 1, "{message}");
        assert!(lines[0].contains(fields), "{}", lines[0]);
    }
}

/// The value of a field in a line of text.
fn field(line: &str, key: &str) -> Option<String> {
    let fields: Value = serde_json::from_str(line.split('\t').nth(4)?).ok()?;
    fields[key].as_str().map(str::to_owned)
}

#[test]
fn every_answer_names_the_line_of_its_request() {
    let server = Server::setup()
        .arg("-log-level=debug")
        .set("banned_ips", json!(["198.51.100.7"]))
        .set("trusted_proxies", json!(["127.0.0.1"]))
        .start();
    let mut source = Source::open(&server, "/live");
    source.send(Mp3::new('a').bytes(10_000));
    server.wait_for_mount("/live");
    let given = |id: &str| format!("X-Forwarded-For: 203.0.113.5\r\nX-Request-Id: {id}\r\n");
    let banned = "X-Forwarded-For: 198.51.100.7\r\n".to_owned();
    let longest = "a-B_2.".repeat(10);
    for (method, target, lines, status, taken) in [
        ("GET", "/", String::new(), 200, None),
        ("GET", "/favicon.ico", String::new(), 200, None),
        ("GET", "/assets/none.js", String::new(), 404, None),
        ("GET", "/api/me", String::new(), 401, None),
        ("GET", "/api/nothing", String::new(), 404, None),
        ("GET", "/status-json.xsl", String::new(), 200, None),
        ("GET", "/admin/stats", String::new(), 401, None),
        ("GET", "/live.m3u", String::new(), 200, None),
        ("GET", "/nowhere", String::new(), 404, None),
        ("OPTIONS", "/live", String::new(), 204, None),
        ("DELETE", "/live", String::new(), 405, None),
        ("HEAD", "/live", String::new(), 200, None),
        ("GET", "/live", String::new(), 200, None),
        ("GET", "/live", given("for-players"), 200, Some("for-players")),
        ("GET", "/", banned, 403, None),
        ("GET", "/api/me", given(&longest), 401, Some(longest.as_str())),
        ("GET", "/api/me", given("two words"), 401, None),
        ("GET", "/api/me", given(&format!("{longest}12345")), 401, None),
    ] {
        let mut wire = server.connect();
        wire.send(format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n"));
        let head = wire.head();
        assert_eq!(head.status, status, "{method} {target}");
        let ids: Vec<_> = head
            .headers
            .iter()
            .filter(|(name, _)| name == "X-Request-Id")
            .collect();
        assert_eq!(ids.len(), 1, "{method} {target}: {head:?}");
        let id = &ids[0].1;
        match taken {
            Some(taken) => assert_eq!(id, taken),
            None => assert!(
                id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{method} {target}: {id}"
            ),
        }
        let line = until("the line of the request", || {
            let mut lines = server.log_with("\tRequest\t").into_iter();
            lines.find(|line| field(line, "request_id").as_deref() == Some(id))
        });
        assert_eq!(field(&line, "method").as_deref(), Some(method), "{line}");
        assert_eq!(field(&line, "path").as_deref(), Some(target), "{line}");
    }
}

#[test]
fn strangers_do_not_number_their_requests() {
    let server = Server::start();
    let reply = get(server.address(), "/api/me", "X-Request-Id: mine\r\n");
    assert_ne!(reply.head.get("x-request-id"), Some("mine"));
}

#[test]
fn the_journal_gets_priorities_and_no_times() {
    let journal = |setup: Setup| {
        let mut server = setup.start();
        busy(&server);
        assert!(server.reload());
        assert!(server.stop().success());
        server.wait_for_log("TinyIce stopped");
        let lines = server.log();
        for line in &lines {
            let (priority, rest) = line.split_at(3);
            let (level, _) = rest.split_once('\t').unwrap_or_else(|| panic!("{line:?}"));
            let expected = match priority {
                "<7>" => "DEBUG",
                "<6>" => "INFO",
                "<4>" => "WARN",
                "<3>" => "ERROR",
                _ => panic!("{line:?}"),
            };
            assert_eq!(level, expected, "{line:?}");
            assert!(!line.contains('\x1b'), "{line:?}");
        }
        assert!(
            lines
                .iter()
                .any(|line| line.contains("\tSource connected\t{\"mount\""))
        );
    };
    journal(Server::setup().arg("-log-format=journal"));
    // The flag says what the lines look like, whatever the file says; without it the file does.
    journal(
        Server::setup()
            .set("log", json!({"json": true}))
            .arg("-log-format=journal"),
    );
    journal(Server::setup().set("log", json!({"format": "journal"})));
}

#[test]
fn another_log_format_is_refused() {
    let failed = Server::setup()
        .arg("-log-format=pretty")
        .try_start()
        .err()
        .unwrap();
    assert_eq!(failed.status.code(), Some(2));
    assert!(failed.log[0].contains("text, json, journal"), "{:?}", failed.log);
}

/// A server that logs into files of its folder; it says where it listens on its way there.
fn into_files(setup: Setup) -> (Server, impl Fn(&str) -> String) {
    let server = setup.arg("-log-file").arg("main.log").start();
    let folder = server.folder().path().to_owned();
    let read = move |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    (server, read)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn files_can_be_rotated() {
    let (mut server, read) = into_files(Server::setup().arg("-auth-log-file").arg("auth.log"));
    let wait_for_line = |name: &str, text: &str| {
        until(&format!("{text:?} in {name}"), || {
            read(name).contains(text).then_some(())
        });
    };
    let folder = server.folder().path().to_owned();
    wait_for_line("main.log", "Starting TinyIce on");
    assert_eq!(
        (mode(&folder.join("main.log")), mode(&folder.join("auth.log"))),
        (0o640, 0o640)
    );
    for (round, signal) in [Signal::USR1, Signal::HUP].into_iter().enumerate() {
        let mount = format!("/round{round}");
        let source = Source::open(&server, &mount);
        wait_for_line("main.log", &format!("\"mount\": \"{mount}\""));
        wait_for_line("auth.log", &format!("\"mount\": \"{mount}\""));
        for name in ["main.log", "auth.log"] {
            fs::rename(folder.join(name), folder.join(format!("{name}.{round}"))).unwrap();
        }
        server.signal(signal);
        until("new files", || {
            (folder.join("main.log").exists() && folder.join("auth.log").exists()).then_some(())
        });
        let old = read(&format!("main.log.{round}"));
        drop(source);
        wait_for_line("main.log", "Source disconnected");
        assert_eq!(
            read(&format!("main.log.{round}")),
            old,
            "nothing goes to the old file any more"
        );
        fs::write(folder.join("main.log"), "").unwrap();
        server.signal(Signal::USR1);
    }
    assert!(server.stop().success());
    assert!(read("main.log").contains("TinyIce stopped"));
    assert!(
        server.log().is_empty(),
        "nothing is said twice: {:?}",
        server.log()
    );
}

#[test]
fn logins_go_to_a_file_of_their_own() {
    for json in [false, true] {
        let mut setup = Server::setup()
            .arg("-auth-log-file")
            .arg("auth.log")
            .strict_loopback();
        if json {
            setup = setup.arg("-json-logs");
        }
        let server = setup.start();
        let wrong = format!("Authorization: {}\r\n", basic("eve", "wrong"));
        assert_eq!(get(server.address(), "/admin/stats", &wrong).status(), 401);
        assert_eq!(server.admin("stats").status(), 200);
        let _source = Source::open(&server, "/live");
        let trail = until("three lines", || {
            let trail = fs::read_to_string(server.folder().file("auth.log")).unwrap();
            (trail.lines().count() == 3).then_some(trail)
        });
        let expected = [
            (
                "warn",
                "Authentication failed for user 'eve' from 127.0.0.1: user not found",
            ),
            ("info", "Admin auth successful (Basic)"),
            ("info", "Source auth successful"),
        ];
        for (line, (level, message)) in trail.lines().zip(expected) {
            if json {
                let value: Value = serde_json::from_str(line).unwrap();
                assert_eq!(
                    (&value["level"], &value["msg"]),
                    (&json!(level), &json!(message)),
                    "{line}"
                );
                assert!(value.get("caller").is_none(), "{line}");
                assert_eq!(value["ip"], "127.0.0.1");
            } else {
                let parts: Vec<_> = line.split('\t').collect();
                assert_eq!((parts[1], parts[2]), (level, message), "{line}");
                assert!(parts[3].contains("\"ip\": \"127.0.0.1\""), "{line}");
            }
        }
        assert!(
            server.log_with("auth successful").is_empty()
                && server.log_with("Authentication failed").is_empty()
        );
        server.wait_for_log("Source connected");
    }
}

#[test]
fn the_level_decides_what_is_written() {
    let folder =
        super::folder_with("{ \"setup_complete\": true, \"metrics_listen\": \"\", \"max_listener\": 1 }");
    let port = Server::free_port();
    let text = port.to_string();
    for (level, warns) in [("warn", true), ("ERROR", false)] {
        let args = ["-host", "127.0.0.1", "-port", &text, "-log-level", level];
        let mut program = Program::start(&mut super::tinyice(folder.path(), &args));
        until("a server", || {
            assert!(program.is_running(), "{}", program.output());
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        let (status, output) = program.terminate();
        assert!(status.success());
        assert_eq!(output.contains("\tWARN\t"), warns, "{level}: {output}");
        assert!(!output.contains("\tINFO\t"), "{level}: {output}");
    }
    let server = Server::setup().arg("-log-level").arg("loud").start();
    let warning = server.wait_for_log("loud");
    assert!(warning.starts_with("Warning: "), "{warning}");
    server.wait_for_log("\tINFO\t");
}

#[test]
fn a_source_that_sends_nothing_is_noticed() {
    let server = Server::start();
    let mut framed = server.connect();
    let auth = crate::harness::source_auth();
    framed.send(format!(
        "PUT /framed HTTP/1.1\r\nHost: h\r\n{auth}User-Agent: nginx\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    let _plain = Source::with(&server, "/plain", "User-Agent: butt\r\n");
    let mut talks = Source::open(&server, "/talks");
    talks.send(Mp3::new('a').bytes(4_000));
    for (mount, framing) in [("/framed", "true"), ("/plain", "false")] {
        let line = until(&format!("the warning about {mount}"), || {
            let lines = server.log_with("Source connected but has sent no audio after 10s");
            lines.into_iter().find(|line| line.contains(mount))
        });
        for field in [
            &format!("\"framed_body\": {framing}"),
            "\"ip\": \"127.0.0.1\"",
            "\"ua\": ",
            "\"hint\": ",
        ] {
            assert!(line.contains(field), "{field} in {line}");
        }
        assert!(
            line.contains("WARN") && line.contains("proxy_request_buffering"),
            "{line}"
        );
    }
    assert_eq!(
        server.log_with("has sent no audio").len(),
        2,
        "once each, and not about who talks"
    );
}

#[test]
fn the_log_follows_the_file() {
    let server = Server::start();
    let moved = server.folder().file("moved.log");
    server.edit_config(|config| config["log"] = json!({"file": moved.display().to_string(), "json": true}));
    server.signal(Signal::HUP);
    let line = until("the log moves", || {
        let text = std::fs::read_to_string(&moved).ok()?;
        text.lines()
            .find(|line| line.contains("Configuration reloaded successfully"))
            .map(str::to_owned)
    });
    let line: Value = serde_json::from_str(&line).expect("json was asked for too");
    assert_eq!(line["changed"], "log");
}

#[test]
fn jq_reads_every_line_of_json() {
    if !installed(&["jq"]) {
        return;
    }
    let server = Server::setup().arg("-json-logs").start();
    busy(&server);
    let lines = server.log();
    let file = server.folder().write("lines.json", lines.join("\n"));
    let mut jq = Program::start(
        std::process::Command::new("jq")
            .args(["-c", "select(.level and .ts and .caller and .msg) | .msg"])
            .arg(file),
    );
    let (status, output) = jq.wait();
    assert!(status.success(), "{output}");
    // A line break or an escape sequence in a title would make more lines, or fewer.
    assert_eq!(output.lines().count(), lines.len(), "{output}");
    assert!(!lines.join("").contains('\x1b'));
}
