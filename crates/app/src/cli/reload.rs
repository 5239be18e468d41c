//! `reload`: tells the running server to read its configuration again.
//!
//! Contract: only a live TinyIce is signalled, never a process that happens to have an old number.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use config::{Config, Loaded};
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process, test_kill_process},
};

use super::{FAILED, Flags, OK, Terminal, http};

/// How long the server is given to say how the reload went.
const PATIENCE: Duration = Duration::from_millis(1500);
const BETWEEN: Duration = Duration::from_millis(50);

pub(super) fn reload(flags: &Flags, terminal: &mut Terminal<'_>) -> u8 {
    let config = Loaded::read(flags.config_path())
        .map(|loaded| loaded.config)
        .unwrap_or_default();
    let config = flags
        .overrides()
        .map_or_else(|_| config.clone(), |overrides| config.with(&overrides));
    let paths = pid_paths(flags, &config);
    let Some(pid) = paths.iter().find_map(|path| read_pid(path)) else {
        let asked = paths
            .first()
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        terminal.say(format_args!(
            "Error: TinyIce does not appear to be running (could not read {asked})"
        ));
        return FAILED;
    };
    let number = pid.as_raw_nonzero();
    if !is_tinyice(pid) {
        terminal.say(format_args!("Error: Could not find process with PID {number}"));
        return FAILED;
    }
    let before = Status::ask(&config);
    if let Err(error) = kill_process(pid, Signal::HUP) {
        terminal.say(format_args!("Error signaling process: {error}"));
        return FAILED;
    }
    terminal.say(format_args!("Sent reload signal (SIGHUP) to process {number}"));
    if before.is_some_and(|before| failed_since(&config, &before)) {
        let path = flags.config_path();
        terminal.complain(format_args!(
            "Error: the server refused the configuration and goes on with the old one; see its log, or 'tinyice -config {} check'",
            path.display()
        ));
        return FAILED;
    }
    OK
}

/// The flag, else the working directory, else the data directory.
fn pid_paths(flags: &Flags, config: &Config) -> Vec<PathBuf> {
    match flags.pid_path() {
        Some(path) => vec![path],
        None => vec![PathBuf::from("tinyice.pid"), config.data_dir.join("tinyice.pid")],
    }
}

fn read_pid(path: &Path) -> Option<Pid> {
    let number: i32 = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    // 0 and negative numbers would signal groups.
    if number > 0 { Pid::from_raw(number) } else { None }
}

/// Whether the process lives and is a TinyIce, where the system lets us see its name.
fn is_tinyice(pid: Pid) -> bool {
    if !matches!(test_kill_process(pid), Ok(()) | Err(Errno::PERM)) {
        return false;
    }
    let proc = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let exe = fs::read_link(proc.join("exe")).ok();
    let exe = exe.and_then(|exe| exe.file_name().map(|name| name.to_string_lossy().into_owned()));
    let comm = fs::read_to_string(proc.join("comm")).ok();
    let names: Vec<String> = exe.into_iter().chain(comm).collect();
    names.is_empty()
        || names
            .iter()
            .any(|name| name.to_ascii_lowercase().contains("tinyice"))
}

/// What the internal port says about the last reload.
#[derive(Debug, Clone, PartialEq)]
struct Status {
    successful: bool,
    last_success: String,
}

impl Status {
    fn ask(config: &Config) -> Option<Self> {
        let answers = http::internal(config);
        let bodies = answers
            .into_iter()
            .filter_map(|address| http::get(address, "/metrics", PATIENCE).ok());
        bodies
            .filter(|(status, _)| *status == 200)
            .find_map(|(_, body)| Self::parse(&body))
    }

    fn parse(metrics: &str) -> Option<Self> {
        let value = |name: &str| {
            metrics
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::trim))
        };
        let successful = value("tinyice_config_last_reload_successful")?;
        let last_success = value("tinyice_config_last_reload_success_timestamp_seconds").unwrap_or_default();
        Some(Self {
            successful: successful == "1",
            last_success: last_success.to_owned(),
        })
    }
}

/// Watches until the server says how it went. Silence is success: the signal was sent.
fn failed_since(config: &Config, before: &Status) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        std::thread::sleep(BETWEEN);
        match Status::ask(config) {
            Some(now) if now.last_success != before.last_success => return false,
            Some(now) if !now.successful && before.successful => return true,
            Some(now) if Instant::now() >= deadline => return !now.successful,
            None => return false,
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_from_the_metrics() {
        let text = "# TYPE tinyice_config_last_reload_successful gauge\n\
            tinyice_config_last_reload_successful 0\n\
            tinyice_config_last_reload_success_timestamp_seconds 1.7e9\n";
        let expected = Status {
            successful: false,
            last_success: "1.7e9".to_owned(),
        };
        assert_eq!(Status::parse(text), Some(expected));
        assert_eq!(Status::parse("other 1\n"), None);
    }

    #[test]
    fn only_processes_with_the_right_name_count() {
        let init = Pid::from_raw(1).unwrap();
        assert!(!is_tinyice(init), "process 1 is no TinyIce");
        // The test program's name begins with that of the package.
        let me = Pid::from_raw(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(is_tinyice(me));
    }
}
