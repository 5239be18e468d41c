//! The program in the background.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;

use super::{folder_with, run, tinyice};
use crate::harness::{Folder, Program, Server, get, hash, until, until_within};

/// The background process by the number in its pid file. Dropping it ends it.
struct Background(Pid);

impl Background {
    fn of(folder: &Folder) -> Self {
        let text = std::fs::read_to_string(folder.file("tinyice.pid")).unwrap();
        Self(Pid::from_raw(text.parse().unwrap()).unwrap())
    }

    fn is_running(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.as_raw_nonzero()));
        // Whoever adopts orphans here may not bury them.
        let zombie = stat.is_ok_and(|stat| {
            stat.rsplit_once(')')
                .is_some_and(|(_, rest)| rest.starts_with(" Z"))
        });
        test_kill_process(self.0).is_ok() && !zombie
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = kill_process(self.0, Signal::KILL);
        }
    }
}

fn config(port: u16) -> String {
    json!({
        "bind_host": "127.0.0.1",
        "port": port.to_string(),
        "metrics_listen": "",
        "setup_complete": true,
        "default_source_password": hash("x"),
    })
    .to_string()
}

#[test]
fn the_background_process_serves_when_its_parent_leaves() {
    for (flag, log) in [
        ("-daemon", None),
        ("--daemon", Some("elsewhere.log")),
        ("-daemon=true", None),
    ] {
        let port = Server::free_port();
        let folder = folder_with(&config(port));
        let mut args = vec![flag];
        args.extend(log.map(|log| ["-log-file", log]).into_iter().flatten());
        let (status, output) = run(folder.path(), &args);
        assert!(status.success(), "{output}");
        let background = Background::of(&folder);
        let pid = background.0.as_raw_nonzero();
        assert_eq!(output, format!("TinyIce starting in background (PID: {pid})\n"));
        let address = ([127, 0, 0, 1], port).into();
        assert_eq!(get(address, "/healthz", "").status(), 200, "it serves already");

        let log = folder.file(log.unwrap_or("tinyice.log"));
        let wait_for_line = |text: &str| {
            until(text, || {
                std::fs::read_to_string(&log).ok()?.contains(text).then_some(())
            });
        };
        wait_for_line("Starting TinyIce on");
        let (status, output) = run(folder.path(), &["reload"]);
        assert!(status.success(), "{output}");
        wait_for_line("Configuration reloaded successfully");
        kill_process(background.0, Signal::TERM).unwrap();
        until_within(Duration::from_secs(10), "its end", || {
            (!background.is_running()).then_some(())
        });
        wait_for_line("TinyIce stopped");
        assert!(!folder.file("tinyice.pid").exists());
    }
}

#[test]
fn the_parent_tells_why_there_is_no_background_process() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = folder_with(&config(address.port()));
    let (status, output) = run(folder.path(), &["-daemon"]);
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(
        output.contains(&address.to_string()) && output.contains("FATAL"),
        "{output}"
    );
    assert!(!output.contains("starting in background") && !folder.file("tinyice.pid").exists());

    let folder = folder_with("{ \"port\": {} }");
    let (status, output) = run(folder.path(), &["-daemon"]);
    assert_eq!(status.code(), Some(1));
    assert!(
        output.contains("Failed to load config: ") && output.contains("port: "),
        "{output}"
    );
}

#[test]
fn the_first_run_in_the_background_shows_its_passwords() {
    let folder = Folder::new();
    let args = [
        "-daemon",
        "-host",
        "127.0.0.1",
        "-port",
        "0",
        "-metrics-listen",
        "",
    ];
    let mut parent = Program::start(&mut tinyice(folder.path(), &args));
    let (status, output) = parent.wait();
    let _background = Background::of(&folder);
    assert!(status.success(), "{output}");
    for line in [
        "  FIRST RUN: SETUP MODE",
        "  Setup Token: ",
        "  Admin Password: ",
        "TinyIce starting in background",
    ] {
        assert!(output.contains(line), "{line} in {output}");
    }
}
