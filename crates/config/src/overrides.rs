//! Values given by flags: on top of the file while the process lives.
//!
//! Contract: they are never saved. Apply them to a copy and keep the file's configuration beside it.

use std::path::PathBuf;

use crate::{
    settings::Config,
    values::{Endpoint, LogFormat, LogLevel},
};

/// What flags say; none is "the file counts".
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// `-host`
    pub bind_host: Option<String>,
    /// `-port`; 0 lets the system choose one.
    pub port: Option<u16>,
    /// `-https-port`; 0 lets the system choose one.
    pub https_port: Option<u16>,
    /// `-use-https`
    pub use_https: Option<bool>,
    /// `-auto-https`
    pub auto_https: Option<bool>,
    /// `-domains`
    pub domains: Option<Vec<String>>,
    /// `-log-level`
    pub log_level: Option<LogLevel>,
    /// `-json-logs`
    pub json_logs: Option<bool>,
    /// `-log-format`; like the file's key it yields to JSON lines, but only to those of the flag beside it.
    pub log_format: Option<LogFormat>,
    /// `-log-file`
    pub log_file: Option<String>,
    /// `-auth-log-file`
    pub auth_log_file: Option<String>,
    /// `-metrics-listen`; empty is off.
    pub metrics_listen: Option<Vec<Endpoint>>,
    /// `-data-dir`
    pub data_dir: Option<PathBuf>,
}

impl Config {
    /// A copy with the values of flags in place of the file's.
    #[must_use]
    pub fn with(&self, overrides: &Overrides) -> Self {
        let mut config = self.clone();
        let given = overrides.clone();
        put(&mut config.bind_host, given.bind_host);
        put(&mut config.port, given.port);
        put(&mut config.https_port, given.https_port);
        put(&mut config.auto_https, given.auto_https);
        if given.auto_https == Some(true) {
            config.use_https = true;
        }
        put(&mut config.use_https, given.use_https);
        put(&mut config.domains, given.domains);
        put(&mut config.log.level, given.log_level);
        put(&mut config.log.json, given.log_format.map(|_| false));
        put(&mut config.log.json, given.json_logs);
        put(&mut config.log.format, given.log_format);
        put(
            &mut config.log.file,
            given.log_file.map(|file| (!file.is_empty()).then_some(file)),
        );
        put(
            &mut config.log.auth_file,
            given.auth_log_file.map(|file| (!file.is_empty()).then_some(file)),
        );
        put(&mut config.metrics_listen, given.metrics_listen);
        put(&mut config.data_dir, given.data_dir);
        config
    }
}

fn put<T>(slot: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *slot = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_flag_counts_whatever_its_value() {
        let mut file = Config::default();
        file.set("use_https", "true").unwrap();
        file.set("bind_host", "192.0.2.1").unwrap();
        file.set("log.file", "/var/log/x").unwrap();
        let overrides = Overrides {
            bind_host: Some("0.0.0.0".to_owned()),
            use_https: Some(false),
            port: Some(0),
            log_file: Some(String::new()),
            ..Overrides::default()
        };
        let running = file.with(&overrides);
        assert_eq!(
            (running.bind_host.as_str(), running.use_https, running.port),
            ("0.0.0.0", false, 0)
        );
        assert_eq!(running.log.file, None);
        assert_eq!(file.with(&Overrides::default()), file);
    }

    #[test]
    fn the_shape_of_the_log_is_what_the_command_line_says() {
        use LogFormat::{Journal, Json, Text};
        for (file, json_logs, log_format, shape) in [
            (r#"{"json": true}"#, None, None, Json),
            (r#"{"json": true}"#, Some(false), None, Text),
            (r#"{"json": true}"#, None, Some(Journal), Journal),
            (r#"{"json": true}"#, None, Some(Text), Text),
            (r#"{"json": true, "format": "journal"}"#, None, None, Json),
            (
                r#"{"json": true, "format": "journal"}"#,
                Some(false),
                None,
                Journal,
            ),
            (r#"{"format": "journal"}"#, None, None, Journal),
            (r#"{"format": "journal"}"#, Some(true), None, Json),
            (r#"{"format": "JSON"}"#, None, None, Json),
            (r#"{}"#, None, Some(Json), Json),
            (r#"{}"#, Some(true), Some(Journal), Json),
            (r#"{}"#, Some(false), Some(Journal), Journal),
        ] {
            let mut config = Config::default();
            config.set("log", file).unwrap();
            let overrides = Overrides {
                json_logs,
                log_format,
                ..Overrides::default()
            };
            assert_eq!(
                config.with(&overrides).log.shape(),
                shape,
                "{file} {json_logs:?} {log_format:?}"
            );
        }
    }

    #[test]
    fn certificates_from_an_authority_imply_https() {
        let overrides = Overrides {
            auto_https: Some(true),
            ..Overrides::default()
        };
        assert!(Config::default().with(&overrides).use_https);
        let overrides = Overrides {
            use_https: Some(false),
            ..overrides
        };
        assert!(!Config::default().with(&overrides).use_https);
    }
}
