//! Values with a form of their own: roles, levels, endpoints, networks, domains.
//!
//! Contract: each prints as it is read.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use ipnet::IpNet;
use serde_json::Value;

use crate::{
    codec::{Codec, Word},
    json::{Kind, Node},
    problem::{Notes, Path},
};

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Operates the mounts assigned to it.
    Dj,
    /// Also creates mounts and keeps its own.
    Admin,
    /// Everything.
    Superadmin,
}

impl Role {
    /// The role as it stands in the file and in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dj => "dj",
            Self::Admin => "admin",
            Self::Superadmin => "superadmin",
        }
    }
}

impl FromStr for Role {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::WORDS
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, role)| *role)
            .ok_or(UnknownWord)
    }
}

/// The word is none of the known ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown word")]
pub struct UnknownWord;

impl Word for Role {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("superadmin", Self::Superadmin),
        ("admin", Self::Admin),
        ("dj", Self::Dj),
    ];
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What happens.
    #[default]
    Info,
    /// What looks wrong.
    Warn,
    /// What is broken.
    Error,
}

impl LogLevel {
    /// The level as it stands in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl FromStr for LogLevel {
    type Err = UnknownWord;

    /// Takes any letter case, and `warning`.
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::from_spelling(text).ok_or(UnknownWord)
    }
}

impl Word for LogLevel {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("warn", Self::Warn),
        ("error", Self::Error),
        ("warning", Self::Warn),
    ];
}

/// What lines of the log look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Parts between tabs.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// Text as systemd's journal wants it: without the time, which it has, and with the priority, which it reads.
    Journal,
}

impl FromStr for LogFormat {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::from_spelling(text).ok_or(UnknownWord)
    }
}

impl Word for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("text", Self::Text),
        ("json", Self::Json),
        ("journal", Self::Journal),
    ];
}

/// How `/status-json.xsl` writes `source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatusSource {
    /// A list always, empty when nothing is live.
    #[default]
    Array,
    /// As Icecast: an object for one, a list for several, left out for none.
    Icecast,
}

impl Word for StatusSource {
    const WORDS: &'static [(&'static str, Self)] = &[("array", Self::Array), ("icecast", Self::Icecast)];
}

/// What an AutoDJ or a transcoder makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AudioFormat {
    /// MPEG layer III.
    #[default]
    Mp3,
    /// Opus in Ogg.
    Opus,
}

/// The format of an AutoDJ or a transcoder in any spelling: Opus-like ones are Opus, all others MP3.
pub(crate) struct Format;

impl Codec for Format {
    type Out = AudioFormat;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<AudioFormat> {
        let text = crate::codec::Text.read(node, path, notes)?.to_ascii_lowercase();
        Some(if text.contains("opus") {
            AudioFormat::Opus
        } else {
            AudioFormat::Mp3
        })
    }

    fn write(&self, value: &AudioFormat) -> Value {
        Value::from(match value {
            AudioFormat::Mp3 => "mp3",
            AudioFormat::Opus => "opus",
        })
    }
}

/// Whether a transcoder's output is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Visibility {
    /// As its input.
    #[default]
    Follow,
    /// Listed.
    Public,
    /// Not listed.
    Unlisted,
}

impl Word for Visibility {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("", Self::Follow),
        ("public", Self::Public),
        ("unlisted", Self::Unlisted),
    ];
}

/// What an Opus encoder is tuned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OpusApplication {
    /// Music.
    #[default]
    Audio,
    /// Speech.
    Voip,
    /// Least delay.
    LowDelay,
}

impl Word for OpusApplication {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("", Self::Audio),
        ("audio", Self::Audio),
        ("voip", Self::Voip),
        ("lowdelay", Self::LowDelay),
    ];
}

/// How a certificate authority checks a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcmeChallenge {
    /// Whichever works.
    #[default]
    Auto,
    /// A file over plain HTTP.
    Http01,
    /// A certificate over TLS.
    TlsAlpn01,
}

impl Word for AcmeChallenge {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("http-01", Self::Http01),
        ("tls-alpn-01", Self::TlsAlpn01),
    ];
}

/// A port, with the host to listen on where one is given: `1935`, `127.0.0.1:1935`, `[::1]:8081`, `:8081`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The host without brackets; none means the general `bind_host`.
    pub host: Option<String>,
    /// The port; 0 lets the system choose.
    pub port: u16,
}

impl Endpoint {
    /// A port on the general host.
    #[must_use]
    pub const fn port(port: u16) -> Self {
        Self { host: None, port }
    }
}

impl FromStr for Endpoint {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let text = text.trim();
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let port = port.parse().map_err(|_| UnknownWord)?;
        let host = match host.strip_prefix('[') {
            Some(inner) => {
                let inner = inner.strip_suffix(']').ok_or(UnknownWord)?;
                inner.parse::<Ipv6Addr>().map_err(|_| UnknownWord)?;
                inner
            }
            None if host.contains([':', '/', ' ']) => return Err(UnknownWord),
            None => host,
        };
        Ok(Self {
            host: (!host.is_empty()).then(|| host.to_owned()),
            port,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            None => write!(f, "{}", self.port),
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
        }
    }
}

/// An [`Endpoint`]; a number is taken too, empty is the default.
pub(crate) struct EndpointText;

impl Codec for EndpointText {
    type Out = Endpoint;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<Endpoint> {
        let text = match &node.kind {
            Kind::Text(text) => text.trim(),
            Kind::Number(text) => text,
            _ => {
                notes.wrong_type(
                    node,
                    path,
                    "port or host:port",
                    false,
                    "write a string such as \"1935\"",
                );
                return None;
            }
        };
        if text.is_empty() {
            return None;
        }
        let endpoint = text.parse().ok();
        if endpoint.is_none() {
            let fix = "write a port from 1 to 65535 or host:port, an IPv6 host in brackets";
            notes.error(
                node.at,
                path,
                format!("{} is not a port", node.describe(false)),
                fix,
            );
        }
        endpoint
    }

    fn write(&self, value: &Endpoint) -> Value {
        Value::from(value.to_string())
    }
}

/// Endpoints: one string or a list; the empty string is none.
pub(crate) struct Endpoints;

impl Codec for Endpoints {
    type Out = Vec<Endpoint>;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<Self::Out> {
        match &node.kind {
            Kind::Text(text) if text.trim().is_empty() => Some(Vec::new()),
            Kind::List(nodes) => {
                let nodes = nodes.iter().enumerate();
                Some(
                    nodes
                        .filter_map(|(n, node)| EndpointText.read(node, &path.index(n), notes))
                        .collect(),
                )
            }
            _ => EndpointText
                .read(node, path, notes)
                .map(|endpoint| vec![endpoint]),
        }
    }

    fn write(&self, value: &Self::Out) -> Value {
        if value.is_empty() {
            return Value::from("");
        }
        Value::Array(
            value
                .iter()
                .map(|endpoint| EndpointText.write(endpoint))
                .collect(),
        )
    }

    fn word(&self, text: &str) -> Node {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        Node::new(Kind::List(words.map(|word| EndpointText.word(word)).collect()))
    }
}

/// An address or a block of addresses. IPv4 in IPv6 form is taken as IPv4.
pub fn parse_net(text: &str) -> Option<IpNet> {
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(IpNet::from(address.to_canonical()));
    }
    let net: IpNet = text.parse().ok()?;
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => {
            let mapped = v6.addr().to_ipv4_mapped();
            mapped
                .and_then(|v4| IpNet::new(v4.into(), v6.prefix_len() - 96).ok())
                .or(Some(net))
        }
        _ => Some(net),
    }
}

/// A net as people write it: a single address without its length.
pub(crate) fn net_text(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

/// An address or a block; others are left out with a warning.
pub(crate) struct Net;

impl Codec for Net {
    type Out = IpNet;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<IpNet> {
        let text = crate::codec::Text.read(node, path, notes)?;
        let net = parse_net(&text);
        if net.is_none() {
            let what = format!("{} is not an address and matches nobody", node.describe(false));
            notes.warn(
                node.at,
                path,
                what,
                "write an address or a block such as 192.0.2.0/24",
            );
        }
        net
    }

    fn write(&self, value: &IpNet) -> Value {
        Value::from(net_text(value))
    }
}

/// A place that outgoing requests may reach although it is private.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// Every address in a block.
    Net(IpNet),
    /// A host by name, in lower case.
    Host(String),
}

/// An [`Allowed`] place.
pub(crate) struct AllowedText;

impl Codec for AllowedText {
    type Out = Allowed;

    fn read(&self, node: &Node, path: &Path<'_>, notes: &mut Notes<'_>) -> Option<Allowed> {
        let text = crate::codec::Text.read(node, path, notes)?;
        let allowed = match parse_net(&text) {
            Some(net) => Some(Allowed::Net(net)),
            None => domain(&text).ok().map(Allowed::Host),
        };
        if allowed.is_none() {
            let what = format!("{} allows nothing", node.describe(false));
            notes.warn(
                node.at,
                path,
                what,
                "write a block such as 10.0.0.0/8 or a host name",
            );
        }
        allowed
    }

    fn write(&self, value: &Allowed) -> Value {
        Value::from(match value {
            Allowed::Net(net) => net_text(net),
            Allowed::Host(host) => host.clone(),
        })
    }
}

/// A host name in its usual form: trimmed, lower case, IDNA-encoded.
pub(crate) fn domain(text: &str) -> Result<String, &'static str> {
    const WANTED: &str = "write a host name such as radio.example";
    let text = text.trim().trim_end_matches('.');
    let (wildcard, name) = text.strip_prefix("*.").map_or(("", text), |name| ("*.", name));
    match url::Host::parse(name) {
        Ok(url::Host::Domain(name)) if !name.is_empty() => Ok(format!("{wildcard}{name}")),
        Ok(host @ (url::Host::Ipv4(_) | url::Host::Ipv6(_))) => Ok(host.to_string()),
        _ => Err(WANTED),
    }
}

/// Domains of a comma list, as the flag takes them: empty and impossible ones are dropped.
#[must_use]
pub fn parse_domains(list: &str) -> Vec<String> {
    list.split(',')
        .filter(|part| !part.trim().is_empty())
        .filter_map(|part| domain(part).ok())
        .collect()
}

/// A public origin without path: `https://radio.example`. A trailing slash is dropped.
pub(crate) fn origin(text: &str) -> Result<String, &'static str> {
    const WANTED: &str = "write an http or https address without a path, such as https://radio.example";
    let text = text.trim().trim_end_matches('/');
    if text.is_empty() {
        return Ok(String::new());
    }
    let url = url::Url::parse(text).map_err(|_| WANTED)?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let plain = url.username().is_empty() && url.password().is_none() && url.has_host();
    match url.scheme() {
        "http" | "https" if bare && plain => Ok(text.to_owned()),
        _ => Err(WANTED),
    }
}

/// A web address of any path.
pub(crate) fn web_address(text: &str) -> Result<String, &'static str> {
    const WANTED: &str = "write an http or https address";
    let text = text.trim();
    if text.is_empty() {
        return Ok(String::new());
    }
    let url = url::Url::parse(text).map_err(|_| WANTED)?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(text.to_owned()),
        _ => Err(WANTED),
    }
}

/// A colour that may stand in a style sheet.
pub(crate) fn colour(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    let digits = text.strip_prefix('#').unwrap_or_default();
    if matches!(digits.len(), 3 | 6) && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_owned());
    }
    Err("write a colour such as #f60 or #ff6600")
}

/// The subtitle; the texts that another version of the program wrote count as unset.
pub(crate) fn subtitle(text: &str) -> Result<String, &'static str> {
    const UNSET: [&str; 3] = [
        "",
        "Live Streaming Server powered by Go",
        "Live streaming network powered by Go",
    ];
    Ok(if UNSET.contains(&text) {
        crate::settings::SUBTITLE.to_owned()
    } else {
        text.to_owned()
    })
}

/// The title; an empty one counts as unset.
pub(crate) fn title(text: &str) -> Result<String, &'static str> {
    Ok(if text.trim().is_empty() {
        "TinyIce".to_owned()
    } else {
        text.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_print_as_they_are_read() {
        for (text, expected) in [
            ("1935", Some("1935")),
            (":8081", Some("8081")),
            ("127.0.0.1:0", Some("127.0.0.1:0")),
            ("[::1]:8081", Some("[::1]:8081")),
            ("localhost:80", Some("localhost:80")),
            ("::1:80", None),
            ("[x]:80", None),
            ("70000", None),
            ("a:b", None),
            ("", None),
        ] {
            let read = text.parse::<Endpoint>().ok().map(|endpoint| endpoint.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn nets_take_addresses_blocks_and_mapped_forms() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            (" 10.0.0.0/8 ", Some("10.0.0.0/8")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("::ffff:10.0.0.0/104", Some("10.0.0.0/8")),
            ("2001:db8::/32", Some("2001:db8::/32")),
            ("10.0.0.0/33", None),
            ("example", None),
        ] {
            assert_eq!(
                parse_net(text).map(|net| net_text(&net)).as_deref(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn domains_are_brought_into_their_usual_form() {
        assert_eq!(
            parse_domains(" Radio.Example,, bücher.example ,a b"),
            ["radio.example", "xn--bcher-kva.example"]
        );
    }

    #[test]
    fn origins_have_no_path() {
        for (text, expected) in [
            ("https://radio.example/", Ok("https://radio.example")),
            ("http://radio.example:8000", Ok("http://radio.example:8000")),
            ("", Ok("")),
            ("https://radio.example/live", Err(())),
            ("ftp://radio.example", Err(())),
            ("radio.example", Err(())),
            ("https://a:b@radio.example", Err(())),
        ] {
            assert_eq!(origin(text).as_deref().map_err(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn colours_cannot_carry_other_css() {
        for (text, good) in [
            ("#f60", true),
            ("#FF6600", true),
            ("red", false),
            ("#ff66", false),
            ("#ff;}x", false),
        ] {
            assert_eq!(colour(text).is_ok(), good, "{text}");
        }
    }
}
