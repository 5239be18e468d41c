//! The program as an operator meets it: starting, reloading, rotating logs, stopping.
//!
//! Contract: every message that a script or a unit file may depend on is looked at as it leaves the program.

mod background;
mod commands;
mod logs;
mod reload;
mod shutdown;
mod start;
mod unix_sockets;

use std::{
    path::Path,
    process::{Command, ExitStatus},
};

use crate::harness::{Folder, Program};

/// The program, to be run in a folder.
fn tinyice(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tinyice"));
    command
        .args(args)
        .current_dir(folder)
        .env_remove("NOTIFY_SOCKET")
        .env_remove("TINYICE_DAEMON");
    command
}

/// Runs it to its end.
fn run(folder: &Path, args: &[&str]) -> (ExitStatus, String) {
    Program::start(&mut tinyice(folder, args)).wait()
}

/// A folder with a configuration file.
fn folder_with(config: &str) -> Folder {
    let folder = Folder::new();
    folder.write("tinyice.json", config);
    folder
}
