//! The places that `bind_host` names.
//!
//! Contract: a list that is not understood is refused as a whole and never becomes "everywhere": whoever asked for a
//! Unix socket did not ask for an open port.

use std::path::{Path as FilePath, PathBuf};

use serde_json::Value;

use crate::{
    codec::{Codec, Text},
    json::Node,
    problem::{Notes, Path},
};

/// The longest path that systems take for a Unix socket, without its end.
const MOST: usize = 103;

/// One of the places to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindAddress {
    /// Every address of both families.
    Everywhere,
    /// An address or a host name, without brackets.
    Host(String),
    /// A Unix socket, `unix:/path`.
    Unix(PathBuf),
}

impl BindAddress {
    /// Reads the comma list of `bind_host`; an empty one is [`BindAddress::Everywhere`].
    ///
    /// # Errors
    /// The text says what to write instead.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, &'static str> {
        let mut all = text
            .split(',')
            .map(str::trim)
            .filter(|place| !place.is_empty())
            .map(Self::parse)
            .collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() {
            all.push(Self::Everywhere);
        }
        Ok(all)
    }

    fn parse(place: &str) -> Result<Self, &'static str> {
        if let Some(path) = place.strip_prefix("unix:") {
            return unix_path(path).map(Self::Unix);
        }
        if matches!(place, "0.0.0.0" | "::" | "[::]" | "*") {
            return Ok(Self::Everywhere);
        }
        let bare = place
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(place);
        Ok(Self::Host(bare.to_owned()))
    }
}

fn unix_path(path: &str) -> Result<PathBuf, &'static str> {
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        return Err("name a file by its whole path: \"unix:/run/tinyice/http.sock\"");
    }
    if path.len() > MOST {
        return Err("the path of a Unix socket has at most 103 bytes");
    }
    Ok(FilePath::new(path).to_owned())
}

/// The text of `bind_host`, checked.
pub(crate) struct Bind;

impl Codec for Bind {
    type Out = String;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<String> {
        let text = Text.read(node, path, notes)?;
        if let Err(fix) = BindAddress::parse_list(&text) {
            let what = format!("{} cannot be listened on", node.describe(false));
            notes.error(node.at, path, what, fix);
            return None;
        }
        Some(text)
    }

    fn write(&self, value: &String) -> Value {
        Text.write(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Loaded;

    #[test]
    fn lists_name_hosts_and_sockets() {
        use BindAddress::Everywhere;
        let host = |text: &str| BindAddress::Host(text.to_owned());
        let unix = |text: &str| BindAddress::Unix(text.into());
        for (text, places) in [
            ("", vec![Everywhere]),
            (" , ", vec![Everywhere]),
            ("*", vec![Everywhere]),
            (
                "127.0.0.1, [::1],radio.lan",
                vec![host("127.0.0.1"), host("::1"), host("radio.lan")],
            ),
            ("unix:/run/t.sock", vec![unix("/run/t.sock")]),
            (
                "0.0.0.0, unix:/run/a b.sock",
                vec![Everywhere, unix("/run/a b.sock")],
            ),
        ] {
            assert_eq!(BindAddress::parse_list(text), Ok(places), "{text:?}");
        }
        let long = format!("unix:/{}", "x".repeat(103));
        for text in ["unix:", "unix:t.sock", "unix:@name", "unix:/run/", &long] {
            assert!(BindAddress::parse_list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bad_socket_is_an_error_and_not_everywhere() {
        let parse = |text: &str| {
            let file = format!("{{\"bind_host\": \"{text}\"}}");
            Loaded::parse(FilePath::new("t.json"), file.into_bytes())
        };
        let error = parse("127.0.0.1,unix:t.sock").expect_err("a relative path");
        assert_eq!(
            error.lines(),
            [
                "t.json:1:15: bind_host: string \"127.0.0.1,unix:t.sock\" cannot be listened on; name a file by its \
                 whole path: \"unix:/run/tinyice/http.sock\""
            ]
        );
        let loaded = parse("unix:/run/t.sock").expect("a socket");
        assert_eq!(loaded.config.bind_host, "unix:/run/t.sock");
        assert!(loaded.warnings.is_empty());
    }
}
