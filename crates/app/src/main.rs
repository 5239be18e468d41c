//! TinyIce, a live streaming server: one program that takes audio in and delivers it to very many listeners.

mod banner;
mod calls;
mod chronicle;
mod cli;
mod configuration;
mod context;
mod daemon;
mod doors;
mod handler;
mod hot_swap;
mod ingest;
#[cfg(test)]
mod layers;
mod listen;
mod logging;
mod pid_file;
mod respond;
mod server;
mod service_manager;
mod settings;
mod shoutcast;
mod signals;
mod source_thread;
mod station;
mod telemetry;

use std::process::ExitCode;

/// Knows who allocated what is in use.
#[global_allocator]
static ALLOCATOR: profile::Allocator = profile::Allocator::new();

fn main() -> ExitCode {
    let flags = match cli::run() {
        cli::Outcome::Exit(code) => return code.into(),
        cli::Outcome::Serve(flags) => flags,
    };
    if flags.daemon && !daemon::is_child() {
        return daemon::start().into();
    }
    observe::task::watch_panics();
    let Ok(overrides) = flags.overrides() else {
        return cli::USAGE.into();
    };
    server::run(server::Invocation {
        config: flags.config_path(),
        overrides,
        pid_file: flags.pid_path(),
        force_setup: flags.force_setup,
    })
    .into()
}
