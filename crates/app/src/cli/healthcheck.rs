//! `healthcheck`: whether the server on this machine is ready, for containers.
//!
//! Contract: 0 only on an answer of 200 from `/readyz`, first on the internal port, then on the public one.

use std::time::Duration;

use config::{Config, LoadError, Loaded};

use super::{FAILED, Flags, OK, Terminal, USAGE, http};

const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn ask(flags: &Flags, terminal: &mut Terminal<'_>) -> u8 {
    let overrides = match flags.overrides() {
        Ok(overrides) => overrides,
        Err(wrong) => {
            terminal.complain(wrong);
            return USAGE;
        }
    };
    let config = match Loaded::read(flags.config_path()) {
        Ok(loaded) => loaded.config,
        // The server may run on flags alone, or with a file that was broken since; the ports are then a guess.
        Err(LoadError::Missing { .. }) => Config::default(),
        Err(error) => {
            terminal.complain(format_args!("Warning: {error}"));
            Config::default()
        }
    };
    let config = config.with(&overrides);
    let mut reasons = Vec::new();
    for address in http::internal(&config).into_iter().chain(http::public(&config)) {
        match http::get(address, "/readyz", PATIENCE) {
            Ok((200, _)) => {
                terminal.say("ready");
                return OK;
            }
            // The server itself says that it is not ready; another port would say the same.
            Ok((503, body)) => {
                terminal.complain(format_args!("not ready: {}", body.trim()));
                return FAILED;
            }
            Ok((status, _)) => reasons.push(format!("{address}: status {status}")),
            Err(error) => reasons.push(format!("{address}: {error}")),
        }
    }
    let reasons = if reasons.is_empty() {
        "no address to ask".to_owned()
    } else {
        reasons.join("; ")
    };
    terminal.complain(format_args!("not ready: {reasons}"));
    FAILED
}
