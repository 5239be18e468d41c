//! The log as the configuration asks for it.

use config::{Config, LogLevel};
use observe::{
    Level,
    log::{Format, LogHandle, OpenError, Settings},
};

/// Starts the log.
pub(crate) fn start(config: &Config) -> Result<LogHandle, OpenError> {
    observe::log::start(Settings {
        level: level(config.log.level),
        format: if config.log.json {
            Format::Json
        } else {
            Format::Text
        },
        file: config.log.file.as_ref().map(Into::into),
        auth_file: config.log.auth_file.as_ref().map(Into::into),
    })
}

/// The configured level.
pub(crate) fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Debug => Level::Debug,
        LogLevel::Info => Level::Info,
        LogLevel::Warn => Level::Warn,
        LogLevel::Error => Level::Error,
    }
}
