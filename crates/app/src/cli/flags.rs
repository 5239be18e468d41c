//! Flags in the syntax of Go's flag package, which unit files and scripts depend on.
//!
//! Contract: `-name value`, `-name=value` and both with two dashes are the same; booleans take a value
//! only with `=`; parsing stops at the first other word, which is the subcommand, behind which flags are
//! taken again. A flag that is not given is none, so that presence decides, not the value.

use std::path::PathBuf;

use config::{Endpoint, LogFormat, LogLevel, Overrides, parse_bool, parse_domains};

/// A flag as help and completions show it.
#[derive(Debug)]
pub(crate) struct Flag {
    /// Without dashes.
    pub(crate) name: &'static str,
    /// The kind of value in help; none is a boolean.
    pub(crate) value: Option<&'static str>,
    /// What counts when it is not given.
    pub(crate) default: &'static str,
    /// One line of help.
    pub(crate) help: &'static str,
}

const fn text(name: &'static str, default: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        value: Some("string"),
        default,
        help,
    }
}

const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        value: None,
        default: "",
        help,
    }
}

/// Every flag of the server, by name.
pub(crate) const FLAGS: &[Flag] = &[
    text("auth-log-file", "", "append the trail of logins to this file"),
    switch("auto-https", "get certificates by ACME; overrides auto_https"),
    switch(
        "check-config",
        "check the configuration and exit, as the subcommand check",
    ),
    text("config", "tinyice.json", "path of the configuration file"),
    switch("daemon", "run in the background"),
    text(
        "data-dir",
        "",
        "directory of everything the server writes; overrides data_dir",
    ),
    text(
        "domains",
        "",
        "comma-separated names for certificates; overrides domains",
    ),
    switch("force-setup", "run the setup wizard again"),
    text("host", "0.0.0.0", "address to listen on; overrides bind_host"),
    text("https-port", "", "HTTPS port; overrides https_port"),
    switch("json-logs", "write log lines as JSON"),
    text(
        "log-file",
        "",
        "append the log to this file instead of standard output",
    ),
    text(
        "log-format",
        "text",
        "text, json, or journal (text without the time, for systemd); overrides log.format and log.json",
    ),
    text("log-level", "info", "debug, info, warn or error"),
    text(
        "metrics-listen",
        "",
        "address of the internal port, host:port; empty is off; overrides metrics_listen",
    ),
    text(
        "pid-file",
        "",
        "path of the pid file, tinyice.pid in the working directory if empty",
    ),
    text("port", "", "HTTP port; overrides port"),
    switch("use-https", "serve HTTPS; overrides use_https"),
    switch("version", "print the version and exit"),
];

/// Flags of single subcommands.
const OWN_FLAGS: &[(&str, Flag)] = &[
    ("get", switch("json", "print JSON")),
    ("dump-config", switch("secrets", "print secrets too")),
];

/// A command line that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WrongUsage {
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    #[error("flag needs an argument: -{0}")]
    NoValue(String),
    #[error("invalid boolean value {value:?} for -{flag}: parse error")]
    BadBoolean { flag: String, value: String },
    #[error("bad flag syntax: {0}")]
    BadSyntax(String),
    #[error("invalid value {value:?} for flag -{flag}: {wanted}")]
    BadValue {
        flag: &'static str,
        value: String,
        wanted: &'static str,
    },
}

impl WrongUsage {
    /// Whether the usage text helps; a wrong value speaks for itself.
    pub(crate) fn shows_usage(&self) -> bool {
        !matches!(self, Self::BadValue { .. })
    }
}

/// What was typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) config: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<String>,
    pub(crate) https_port: Option<String>,
    pub(crate) use_https: Option<bool>,
    pub(crate) auto_https: Option<bool>,
    pub(crate) domains: Option<String>,
    pub(crate) log_level: Option<String>,
    pub(crate) json_logs: Option<bool>,
    pub(crate) log_format: Option<String>,
    pub(crate) log_file: Option<String>,
    pub(crate) auth_log_file: Option<String>,
    pub(crate) metrics_listen: Option<String>,
    pub(crate) data_dir: Option<String>,
    pub(crate) pid_file: Option<String>,
    pub(crate) daemon: bool,
    pub(crate) force_setup: bool,
    pub(crate) check_config: bool,
    pub(crate) version: bool,
    pub(crate) help: bool,
    /// `-json` of `get`.
    pub(crate) json: bool,
    /// `-secrets` of `dump-config`.
    pub(crate) secrets: bool,
    /// The subcommand.
    pub(crate) command: Option<String>,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
}

impl Flags {
    /// Reads the words behind the program's name.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, WrongUsage> {
        let mut flags = Self::default();
        let mut words = words.into_iter();
        let mut only_words = false;
        while let Some(word) = words.next() {
            let is_flag = !only_words && word.len() > 1 && word.starts_with('-');
            // `set max_listeners -1`: a number behind the subcommand is an argument.
            let is_number = flags.command.is_some()
                && word
                    .strip_prefix('-')
                    .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
            if is_flag && word == "--" {
                only_words = true;
            } else if is_flag && !is_number {
                flags.take(&word, &mut words)?;
                if flags.help {
                    break;
                }
            } else if flags.command.is_none() {
                flags.command = Some(word);
                only_words = false;
            } else {
                flags.arguments.push(word);
            }
        }
        Ok(flags)
    }

    fn take(&mut self, word: &str, words: &mut impl Iterator<Item = String>) -> Result<(), WrongUsage> {
        let body = word
            .strip_prefix("--")
            .or_else(|| word.strip_prefix('-'))
            .unwrap_or(word);
        if body.is_empty() || body.starts_with(['-', '=']) {
            return Err(WrongUsage::BadSyntax(word.to_owned()));
        }
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        if matches!(name, "h" | "help") {
            self.help = true;
            return Ok(());
        }
        let command = self.command.as_deref().unwrap_or_default();
        let own = OWN_FLAGS
            .iter()
            .filter(|(of, _)| *of == command)
            .map(|(_, flag)| flag);
        let Some(flag) = FLAGS.iter().chain(own).find(|flag| flag.name == name) else {
            return Err(WrongUsage::Unknown(name.to_owned()));
        };
        if flag.value.is_none() {
            let on = match value {
                None => true,
                Some(value) => parse_bool(value).ok_or_else(|| WrongUsage::BadBoolean {
                    flag: name.to_owned(),
                    value: value.to_owned(),
                })?,
            };
            self.switch(flag.name, on);
            return Ok(());
        }
        let value = match value {
            Some(value) => value.to_owned(),
            None => words.next().ok_or_else(|| WrongUsage::NoValue(name.to_owned()))?,
        };
        self.put(flag.name, value);
        Ok(())
    }

    fn switch(&mut self, name: &str, on: bool) {
        match name {
            "use-https" => self.use_https = Some(on),
            "auto-https" => self.auto_https = Some(on),
            "json-logs" => self.json_logs = Some(on),
            "daemon" => self.daemon = on,
            "force-setup" => self.force_setup = on,
            "check-config" => self.check_config = on,
            "version" => self.version = on,
            "json" => self.json = on,
            "secrets" => self.secrets = on,
            _ => debug_assert!(false, "the table has a switch without a field: {name}"),
        }
    }

    fn put(&mut self, name: &str, value: String) {
        let slot = match name {
            "config" => &mut self.config,
            "host" => &mut self.host,
            "port" => &mut self.port,
            "https-port" => &mut self.https_port,
            "domains" => &mut self.domains,
            "log-level" => &mut self.log_level,
            "log-format" => &mut self.log_format,
            "log-file" => &mut self.log_file,
            "auth-log-file" => &mut self.auth_log_file,
            "metrics-listen" => &mut self.metrics_listen,
            "data-dir" => &mut self.data_dir,
            "pid-file" => &mut self.pid_file,
            _ => {
                debug_assert!(false, "the table has a flag without a field: {name}");
                return;
            }
        };
        *slot = Some(value);
    }

    /// The configuration file.
    pub(crate) fn config_path(&self) -> PathBuf {
        PathBuf::from(
            self.config
                .as_deref()
                .filter(|path| !path.is_empty())
                .unwrap_or("tinyice.json"),
        )
    }

    /// The pid file that was asked for.
    pub(crate) fn pid_path(&self) -> Option<PathBuf> {
        self.pid_file
            .as_deref()
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    }

    /// The warning that a log level deserves which is none.
    pub(crate) fn log_level_warning(&self) -> Option<String> {
        let level = self.log_level.as_deref()?;
        let unknown = level.parse::<LogLevel>().is_err();
        unknown
            .then(|| format!("unknown log level {level:?}, info is used; write debug, info, warn or error"))
    }

    /// The values that lie on top of the file.
    pub(crate) fn overrides(&self) -> Result<Overrides, WrongUsage> {
        let port = |flag, value: &Option<String>| match value.as_deref().map(str::trim) {
            // An empty one comes from a unit file with an unset variable.
            None | Some("") => Ok(None),
            Some(value) => value.parse().map(Some).map_err(|_| WrongUsage::BadValue {
                flag,
                value: value.to_owned(),
                wanted: "not a port from 1 to 65535 (0 lets the system choose)",
            }),
        };
        let metrics_listen = self.metrics_listen.as_deref().map(|list| {
            list.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(endpoint)
                .collect::<Result<_, _>>()
        });
        Ok(Overrides {
            bind_host: self.host.clone(),
            port: port("port", &self.port)?,
            https_port: port("https-port", &self.https_port)?,
            use_https: self.use_https,
            auto_https: self.auto_https,
            domains: self.domains.as_deref().map(parse_domains),
            log_level: self
                .log_level
                .as_deref()
                .map(|level| level.parse().unwrap_or_default()),
            json_logs: self.json_logs,
            log_format: self.log_format.as_deref().map(log_format).transpose()?,
            log_file: self.log_file.clone(),
            auth_log_file: self.auth_log_file.clone(),
            metrics_listen: metrics_listen.transpose()?,
            data_dir: self
                .data_dir
                .as_deref()
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
        })
    }
}

fn log_format(text: &str) -> Result<LogFormat, WrongUsage> {
    text.parse().map_err(|_| WrongUsage::BadValue {
        flag: "log-format",
        value: text.to_owned(),
        wanted: "not one of text, json, journal",
    })
}

fn endpoint(text: &str) -> Result<Endpoint, WrongUsage> {
    text.parse().map_err(|_| WrongUsage::BadValue {
        flag: "metrics-listen",
        value: text.to_owned(),
        wanted: "not host:port; an IPv6 host stands in brackets",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Flags, WrongUsage> {
        Flags::parse(line.iter().map(ToString::to_string))
    }

    #[test]
    fn every_form_of_a_flag() {
        let level = |value: &str| Flags {
            log_level: Some(value.to_owned()),
            ..Flags::default()
        };
        let port = |value: &str| Flags {
            port: Some(value.to_owned()),
            ..Flags::default()
        };
        let json = |on| Flags {
            json_logs: Some(on),
            ..Flags::default()
        };
        let command = |flags: Flags, word: &str, arguments: &[&str]| Flags {
            command: Some(word.to_owned()),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            ..flags
        };
        let none = Flags::default;
        for (line, expected) in [
            (&["-log-level", "warn"][..], level("warn")),
            (&["--log-level=warn"], level("warn")),
            (&["-log-level=warn"], level("warn")),
            (&["--log-level", "warn"], level("warn")),
            (&["-log-level", "warn", "-log-level=debug"], level("debug")),
            (&["-log-level="], level("")),
            (&["-log-level", "-x"], level("-x")),
            (&["-port=8001"], port("8001")),
            (&["-port=a=b"], port("a=b")),
            (&["-json-logs"], json(true)),
            (&["-json-logs=false"], json(false)),
            (&["--json-logs=T"], json(true)),
            (&["-json-logs=0", "-json-logs=1"], json(true)),
            (&["-json-logs", "true"], command(json(true), "true", &[])),
            (
                &["-use-https=false"],
                Flags {
                    use_https: Some(false),
                    ..none()
                },
            ),
            (
                &["--daemon"],
                Flags {
                    daemon: true,
                    ..none()
                },
            ),
            (
                &["-daemon=true"],
                Flags {
                    daemon: true,
                    ..none()
                },
            ),
            (&["-h"], Flags { help: true, ..none() }),
            (&["-help", "-nonsense"], Flags { help: true, ..none() }),
            (&["--help"], Flags { help: true, ..none() }),
            (
                &["--version"],
                Flags {
                    version: true,
                    ..none()
                },
            ),
            (&["-port=1", "get", "port"], command(port("1"), "get", &["port"])),
            (&["get", "port", "-port=1"], command(port("1"), "get", &["port"])),
            (
                &["get", "-json", "port"],
                Flags {
                    json: true,
                    ..command(none(), "get", &["port"])
                },
            ),
            (
                &["dump-config", "--secrets"],
                Flags {
                    secrets: true,
                    ..command(none(), "dump-config", &[])
                },
            ),
            (
                &["set", "max_listeners", "-1"],
                command(none(), "set", &["max_listeners", "-1"]),
            ),
            (
                &["set", "page_title", "--", "-x"],
                command(none(), "set", &["page_title", "-x"]),
            ),
            (&["--", "get", "-port=1", "x"], command(port("1"), "get", &["x"])),
            (&["-", "x"], command(none(), "-", &["x"])),
            (&["", "x"], command(none(), "", &["x"])),
            (
                &["set", "location", ""],
                command(none(), "set", &["location", ""]),
            ),
            (
                &["set", "location", "ä"],
                command(none(), "set", &["location", "ä"]),
            ),
            (&[], none()),
        ] {
            assert_eq!(parse(line), Ok(expected), "{line:?}");
        }
    }

    #[test]
    fn mistakes_read_as_they_always_did() {
        for (line, expected) in [
            (&["-x"][..], "flag provided but not defined: -x"),
            (&["--x=1"], "flag provided but not defined: -x"),
            (&["-json"], "flag provided but not defined: -json"),
            (&["set", "-json", "x"], "flag provided but not defined: -json"),
            (&["-1"], "flag provided but not defined: -1"),
            (&["-port"], "flag needs an argument: -port"),
            (&["get", "x", "-config"], "flag needs an argument: -config"),
            (
                &["-json-logs=maybe"],
                "invalid boolean value \"maybe\" for -json-logs: parse error",
            ),
            (
                &["-json-logs="],
                "invalid boolean value \"\" for -json-logs: parse error",
            ),
            (&["---x"], "bad flag syntax: ---x"),
            (&["-=x"], "bad flag syntax: -=x"),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), expected, "{line:?}");
        }
    }

    #[test]
    fn every_flag_of_the_table_has_its_field() {
        let mut names: Vec<&str> = FLAGS.iter().map(|flag| flag.name).collect();
        names.dedup();
        assert!(names.is_sorted() && names.len() == FLAGS.len());
        for flag in FLAGS {
            let word = if flag.value.is_some() {
                format!("-{}=1", flag.name)
            } else {
                format!("-{}", flag.name)
            };
            assert_ne!(parse(&[&word]).unwrap(), Flags::default(), "{word}");
        }
    }

    #[test]
    fn presence_decides_not_the_value() {
        let overrides = |line: &[&str]| parse(line).unwrap().overrides();
        assert_eq!(overrides(&[]).unwrap(), Overrides::default());
        let given = overrides(&[
            "-host",
            "0.0.0.0",
            "-use-https=false",
            "-domains",
            " A.example,,b.example ",
        ])
        .unwrap();
        assert_eq!(given.bind_host.as_deref(), Some("0.0.0.0"));
        assert_eq!(given.use_https, Some(false));
        assert_eq!(
            given.domains,
            Some(vec!["a.example".to_owned(), "b.example".to_owned()])
        );
        let given = overrides(&["-port=0", "-https-port=", "-metrics-listen="]).unwrap();
        assert_eq!(
            (given.port, given.https_port, given.metrics_listen),
            (Some(0), None, Some(Vec::new()))
        );
        let given = overrides(&["-log-format", "Journal"]).unwrap();
        assert_eq!(
            (given.log_format, given.json_logs),
            (Some(LogFormat::Journal), None)
        );
        let given = overrides(&["-log-level=LOUD"]).unwrap();
        assert_eq!(given.log_level, Some(LogLevel::Info));
        let warned = parse(&["-log-level=LOUD"]).unwrap().log_level_warning();
        assert_eq!(
            warned.unwrap(),
            "unknown log level \"LOUD\", info is used; write debug, info, warn or error"
        );
        assert_eq!(parse(&["-log-level=Warn"]).unwrap().log_level_warning(), None);
        for (line, expected) in [
            (
                ["-port=x"],
                "invalid value \"x\" for flag -port: not a port from 1 to 65535 (0 lets the system choose)",
            ),
            (
                ["-log-format=pretty"],
                "invalid value \"pretty\" for flag -log-format: not one of text, json, journal",
            ),
            (
                ["-metrics-listen=x"],
                "invalid value \"x\" for flag -metrics-listen: not host:port; an IPv6 host stands in brackets",
            ),
        ] {
            assert_eq!(overrides(&line).unwrap_err().to_string(), expected);
        }
    }
}
