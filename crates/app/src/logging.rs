//! The log as the configuration asks for it.

use config::{Config, LogFormat, LogLevel};
use observe::{
    Level,
    log::{Format, LogHandle, OpenError, Settings},
};

/// Starts the log.
pub(crate) fn start(config: &Config) -> Result<LogHandle, OpenError> {
    observe::log::start(Settings {
        level: level(config.log.level),
        format: format(config),
        file: config.log.file.as_ref().map(Into::into),
        auth_file: config.log.auth_file.as_ref().map(Into::into),
    })
}

/// The configured shape of the lines.
pub(crate) fn format(config: &Config) -> Format {
    match config.log.shape() {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
        LogFormat::Journal => Format::Journal,
    }
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
