//! Which addresses the server may call out to (the guard against server-side request forgery).
//!
//! Contract: what no entry of the allow list opens is reached only at ordinary public addresses. A
//! metadata service of a cloud is opened by an entry for exactly that one address and by nothing else.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;
use url::{Host, Url};

use crate::address;

/// One entry of the allow list: a network, or a host by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// Every address of the network.
    Net(IpNet),
    /// This name (not names below it), wherever it leads.
    Host(String),
}

/// An entry of the allow list that is neither a network, an address nor a host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is neither an address, a network such as 192.168.1.0/24, nor a host name")]
pub struct BadAllow(String);

impl From<&config::Allowed> for Allow {
    fn from(allowed: &config::Allowed) -> Self {
        match allowed {
            config::Allowed::Net(net) => Self::Net(*net),
            config::Allowed::Host(host) => Self::Host(host.clone()),
        }
    }
}

impl FromStr for Allow {
    type Err = BadAllow;

    fn from_str(text: &str) -> Result<Self, BadAllow> {
        let text = text.trim();
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(Self::Net(net));
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(addr) = bare.parse::<IpAddr>() {
            return Ok(Self::Net(addr.into()));
        }
        match Host::parse(text) {
            Ok(Host::Domain(name)) => Ok(Self::Host(plain_name(&name).to_owned())),
            Ok(Host::Ipv4(addr)) => Ok(Self::Net(IpAddr::V4(addr).into())),
            Ok(Host::Ipv6(addr)) => Ok(Self::Net(IpAddr::V6(addr).into())),
            Err(_) => Err(BadAllow(text.to_owned())),
        }
    }
}

/// Why the policy does not let a request out. The text is for the operator and for API answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Neither http nor https.
    #[error("scheme {0:?} not allowed (only http/https)")]
    Scheme(String),
    /// The URL names no host.
    #[error("host missing")]
    NoHost,
    /// The name stands for this machine.
    #[error("{host} is this machine (to permit it, list it under \"{key}\")")]
    LocalName {
        /// The name as the URL has it.
        host: String,
        /// The configuration key that would open it.
        key: &'static str,
    },
    /// The address is not an ordinary public one.
    #[error("{} is {kind} (to permit it, list it under \"{key}\")", led(.host, *.addr))]
    Address {
        /// The host as the URL has it.
        host: String,
        /// What it resolves to.
        addr: IpAddr,
        /// What kind of address that is; reads after "is".
        kind: &'static str,
        /// The configuration key that would open it.
        key: &'static str,
    },
    /// The metadata service of a cloud.
    #[error("{} is a cloud metadata address (only the entry \"{}\" under \"{key}\" permits it)",
        led(.host, *.addr), IpNet::from(*.addr))]
    Metadata {
        /// The host as the URL has it.
        host: String,
        /// What it resolves to.
        addr: IpAddr,
        /// The configuration key that would open it.
        key: &'static str,
    },
    /// This server listens there itself.
    #[error("{} port {} is this server itself (to permit it, list it under \"{key}\")", led(.host, .addr.ip()), .addr.port())]
    OwnAddress {
        /// The host as the URL has it.
        host: String,
        /// Address and port.
        addr: SocketAddr,
        /// The configuration key that would open it.
        key: &'static str,
    },
}

/// The rules for addresses: what is public passes, the rest only by the allow list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    nets: Vec<IpNet>,
    hosts: Vec<String>,
    own: Vec<SocketAddr>,
    key: &'static str,
}

impl Policy {
    /// The policy for relay pulls, directories and downloads, with the entries of `outbound_allow`.
    #[must_use]
    pub fn new(allow: &[Allow]) -> Self {
        let mut policy = Self {
            nets: Vec::new(),
            hosts: Vec::new(),
            own: Vec::new(),
            key: "outbound_allow",
        };
        for entry in allow {
            match entry {
                Allow::Net(net) => policy.nets.push(*net),
                // A `Host` made by hand may hold any spelling; one that means nothing opens nothing.
                Allow::Host(name) => match name.parse() {
                    Ok(Allow::Net(net)) => policy.nets.push(net),
                    Ok(Allow::Host(name)) => policy.hosts.push(name),
                    Err(_) => {}
                },
            }
        }
        policy
    }

    /// The policy for relay pulls, directories and downloads, as a configuration has it.
    #[must_use]
    pub fn of_config(config: &config::Config) -> Self {
        Self::new(&entries(&config.outbound_allow))
    }

    /// The policy for webhooks, as a configuration has it.
    #[must_use]
    pub fn of_webhooks(config: &config::Config) -> Self {
        Self::for_webhooks(&entries(&config.outbound_allow_webhooks))
    }

    /// The policy for webhooks, with the entries of `outbound_allow_webhooks`.
    #[must_use]
    pub fn for_webhooks(allow: &[Allow]) -> Self {
        Self {
            key: "outbound_allow_webhooks",
            ..Self::new(allow)
        }
    }

    /// Also refuses the addresses that this server listens on, public ones included, unless the allow
    /// list has them. A wildcard address says nothing and is left out.
    #[must_use]
    pub fn refusing_own(mut self, own: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.own = own
            .into_iter()
            .map(|addr| SocketAddr::new(addr.ip().to_canonical(), addr.port()))
            .filter(|addr| !addr.ip().is_unspecified())
            .collect();
        self
    }

    /// Checks everything about `url` that can be known before its host is looked up.
    ///
    /// # Errors
    /// [`Refused`] says what is wrong with it.
    pub fn check_url(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme(url.scheme().to_owned()));
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let literal = match url.host() {
            None => return Err(Refused::NoHost),
            Some(Host::Domain(name)) => return self.check_name(name),
            Some(Host::Ipv4(addr)) => IpAddr::V4(addr),
            Some(Host::Ipv6(addr)) => IpAddr::V6(addr),
        };
        self.check_socket(&literal.to_string(), SocketAddr::new(literal, port))
    }

    /// Checks one address that `host` (a name, or the address itself) leads to.
    ///
    /// # Errors
    /// [`Refused`] says what kind of address it is.
    pub fn check_addr(&self, host: &str, addr: IpAddr) -> Result<(), Refused> {
        let key = self.key;
        if address::is_metadata(addr) {
            let exact = |net: &IpNet| net.prefix_len() == net.max_prefix_len() && contains(net, addr);
            return match self.nets.iter().any(exact) {
                true => Ok(()),
                false => Err(Refused::Metadata {
                    host: host.to_owned(),
                    addr,
                    key,
                }),
            };
        }
        match address::special(addr) {
            Some(kind) if !self.opens(host, addr) => Err(Refused::Address {
                host: host.to_owned(),
                addr,
                kind,
                key,
            }),
            _ => Ok(()),
        }
    }

    /// Like [`Policy::check_addr`], and refuses the addresses given to [`Policy::refusing_own`] too.
    ///
    /// # Errors
    /// [`Refused`] says what kind of address it is.
    pub fn check_socket(&self, host: &str, addr: SocketAddr) -> Result<(), Refused> {
        self.check_addr(host, addr.ip())?;
        let plain = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        if self.own.contains(&plain) && !self.opens(host, addr.ip()) {
            return Err(Refused::OwnAddress {
                host: host.to_owned(),
                addr,
                key: self.key,
            });
        }
        Ok(())
    }

    /// Names for this machine are refused without a lookup: what they lead to is a matter of the
    /// machine's set-up. Where loopback is open, the lookup decides as for any other name.
    fn check_name(&self, name: &str) -> Result<(), Refused> {
        let plain = plain_name(name);
        if plain.is_empty() {
            return Err(Refused::NoHost);
        }
        let local = ["localhost", "localdomain", "ip6-localhost", "ip6-loopback"]
            .iter()
            .any(|local| {
                plain
                    .strip_suffix(local)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            });
        let open = || {
            let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            loopback.into_iter().any(|addr| self.opens(name, addr))
        };
        if local && !open() {
            return Err(Refused::LocalName {
                host: name.to_owned(),
                key: self.key,
            });
        }
        Ok(())
    }

    fn opens(&self, host: &str, addr: IpAddr) -> bool {
        let host = plain_name(host);
        self.nets.iter().any(|net| contains(net, addr))
            || self.hosts.iter().any(|open| open.eq_ignore_ascii_case(host))
    }
}

/// Whether `net` has `addr`. An IPv4-mapped address is its IPv4 address; NAT64 and 6to4 forms are not,
/// because they leave by another way than the network that was listed.
fn entries(allowed: &[config::Allowed]) -> Vec<Allow> {
    allowed.iter().map(Allow::from).collect()
}

fn contains(net: &IpNet, addr: IpAddr) -> bool {
    net.contains(&addr) || net.contains(&addr.to_canonical())
}

/// A name without the trailing dots that only say "absolute".
fn plain_name(name: &str) -> &str {
    name.trim_end_matches('.')
}

/// `10.0.0.1`, or `radio.example resolves to 10.0.0.1, which` when the host is a name.
fn led(host: &str, addr: IpAddr) -> String {
    match host.parse::<IpAddr>() {
        Ok(literal) if literal == addr => addr.to_string(),
        _ => format!("{host} resolves to {addr}, which"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str]) -> Policy {
        Policy::new(
            &allow
                .iter()
                .map(|entry| entry.parse().unwrap())
                .collect::<Vec<_>>(),
        )
    }

    /// `""` as the expected text means that the URL passes.
    fn check(allow: &[&str], cases: &[(&str, &str)]) {
        let policy = policy(allow);
        for (url, expected) in cases {
            let told = match policy.check_url(&Url::parse(url).unwrap()) {
                Ok(()) => String::new(),
                Err(refused) => refused.to_string(),
            };
            assert_eq!(told, *expected, "{url} with {allow:?}");
        }
    }

    const LOOPBACK: &str = "127.0.0.1 is a loopback address (to permit it, list it under \"outbound_allow\")";

    #[test]
    fn urls_are_judged_before_any_lookup() {
        check(
            &[],
            &[
                ("http://radio.example/live", ""),
                ("https://radio.example:8443/live", ""),
                ("http://93.184.216.34/", ""),
                ("http://[2606:4700::1111]/", ""),
                (
                    "ftp://radio.example/",
                    "scheme \"ftp\" not allowed (only http/https)",
                ),
                (
                    "file:///etc/passwd",
                    "scheme \"file\" not allowed (only http/https)",
                ),
                ("mailto:a@b", "scheme \"mailto\" not allowed (only http/https)"),
                ("http://./", "host missing"),
                (
                    "http://192.168.1.1/",
                    "192.168.1.1 is a private address (to permit it, list it under \"outbound_allow\")",
                ),
                (
                    "http://[fd00::1]/",
                    "fd00::1 is a unique local address (to permit it, list it under \"outbound_allow\")",
                ),
                (
                    "http://169.254.169.254/latest/",
                    "169.254.169.254 is a cloud metadata address \
                     (only the entry \"169.254.169.254/32\" under \"outbound_allow\" permits it)",
                ),
            ],
        );
    }

    #[test]
    fn odd_spellings_are_the_same_address() {
        for url in [
            "http://127.0.0.1/",
            "http://127.0.0.1./",
            "http://127.1/",
            "http://127.0.1/",
            "http://0x7f.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://017700000001/",
            "http://0177.0.0.01/",
            "http://%31%32%37.0.0.1/",
            "http://１２７.0.0.1/",
            "http://127。0。0。1/",
            "http://user@127.0.0.1/",
            "http:\\\\127.0.0.1/",
            "http:127.0.0.1",
        ] {
            check(&[], &[(url, LOOPBACK)]);
        }
        for url in [
            "http://[::ffff:127.0.0.1]/",
            "http://[0:0:0:0:0:ffff:7f00:1]/",
            "http://[::1]/",
        ] {
            let refused = policy(&[]).check_url(&Url::parse(url).unwrap()).unwrap_err();
            assert!(refused.to_string().contains("is a loopback address"), "{refused}");
        }
    }

    #[test]
    fn names_of_this_machine() {
        for name in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "localhost..",
            "radio.localhost",
            "localhost.localdomain",
            "localdomain",
            "ip6-localhost",
            "ip6-loopback",
            "loc%61lhost",
            "ｌocalhost",
        ] {
            let url = Url::parse(&format!("http://{name}:8000/")).unwrap();
            let refused = policy(&[]).check_url(&url).unwrap_err();
            assert!(matches!(refused, Refused::LocalName { .. }), "{name}: {refused}");
            // Open by its network: the lookup decides.
            assert_eq!(policy(&["127.0.0.0/8"]).check_url(&url), Ok(()), "{name}");
        }
        check(
            &[],
            &[("http://notlocalhost/", ""), ("http://localhost.example/", "")],
        );
        check(
            &["localhost"],
            &[
                ("http://localhost:8000/", ""),
                ("http://127.0.0.1:8000/", LOOPBACK),
            ],
        );
    }

    #[test]
    fn the_allow_list_opens_what_it_names() {
        let lan = policy(&[
            "192.168.1.0/24",
            "10.0.0.7",
            "master.lan.",
            "[fd00::7]",
            "fd01::/16",
        ]);
        for (host, addr, passes) in [
            ("192.168.1.5", "192.168.1.5", true),
            ("relay.example", "192.168.1.5", true),
            ("relay.example", "::ffff:192.168.1.5", true),
            // Another way to the same network is not the network.
            ("relay.example", "64:ff9b::192.168.1.5", false),
            ("relay.example", "192.168.2.5", false),
            ("relay.example", "10.0.0.7", true),
            ("relay.example", "10.0.0.8", false),
            ("relay.example", "fd00::7", true),
            ("relay.example", "fd00::8", false),
            ("relay.example", "fd01:2::8", true),
            ("master.lan", "172.16.0.1", true),
            ("MASTER.lan.", "127.0.0.1", true),
            ("x.master.lan", "172.16.0.1", false),
            ("relay.example", "8.8.8.8", true),
        ] {
            assert_eq!(
                lan.check_addr(host, addr.parse().unwrap()).is_ok(),
                passes,
                "{host} {addr}"
            );
        }
    }

    #[test]
    fn metadata_opens_only_by_its_own_address() {
        let addr = "169.254.169.254".parse().unwrap();
        for (allow, passes) in [
            ("169.254.0.0/16", false),
            ("169.254.169.254/31", false),
            ("0.0.0.0/0", false),
            ("metadata.internal", false),
            ("169.254.169.254/32", true),
            ("169.254.169.254", true),
        ] {
            assert_eq!(
                policy(&[allow]).check_addr("metadata.internal", addr).is_ok(),
                passes,
                "{allow}"
            );
        }
        let addr = "fd00:ec2::254".parse().unwrap();
        for (allow, passes) in [("fd00::/8", false), ("::/0", false), ("fd00:ec2::254/128", true)] {
            assert_eq!(
                policy(&[allow]).check_addr("fd00:ec2::254", addr).is_ok(),
                passes,
                "{allow}"
            );
        }
        // The forms that carry it need their own entry.
        let nat64 = "64:ff9b::169.254.169.254".parse().unwrap();
        assert!(
            policy(&["64:ff9b::/96", "169.254.169.254"])
                .check_addr("x", nat64)
                .is_err()
        );
    }

    #[test]
    fn own_addresses_are_refused_by_port() {
        let own =
            ["203.0.112.1:8000", "[::]:80", "[::ffff:203.0.112.2]:8000"].map(|own| own.parse().unwrap());
        let guarded = policy(&[]).refusing_own(own);
        for (addr, passes) in [
            ("203.0.112.1:8000", false),
            ("[::ffff:203.0.112.1]:8000", false),
            ("203.0.112.2:8000", false),
            ("203.0.112.1:8001", true),
            ("203.0.112.3:8000", true),
        ] {
            assert_eq!(
                guarded.check_socket("me.example", addr.parse().unwrap()).is_ok(),
                passes,
                "{addr}"
            );
        }
        let open = policy(&["203.0.112.1"]).refusing_own(own);
        assert_eq!(open.check_socket("me.example", own[0]), Ok(()));
    }

    #[test]
    fn the_text_names_address_reason_and_key() {
        let refused = policy(&[])
            .check_addr("relay.example", "10.0.0.1".parse().unwrap())
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "relay.example resolves to 10.0.0.1, which is a private address \
             (to permit it, list it under \"outbound_allow\")"
        );
        let refused = Policy::for_webhooks(&[])
            .check_addr("10.0.0.1", "10.0.0.1".parse().unwrap())
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "10.0.0.1 is a private address (to permit it, list it under \"outbound_allow_webhooks\")"
        );
    }

    #[test]
    fn entries_of_the_allow_list() {
        for (text, expected) in [
            ("10.0.0.0/8", Some(Allow::Net("10.0.0.0/8".parse().unwrap()))),
            (" 10.0.0.1 ", Some(Allow::Net("10.0.0.1/32".parse().unwrap()))),
            ("fd00::1", Some(Allow::Net("fd00::1/128".parse().unwrap()))),
            ("[fd00::1]", Some(Allow::Net("fd00::1/128".parse().unwrap()))),
            ("0x7f.1", Some(Allow::Net("127.0.0.1/32".parse().unwrap()))),
            ("Master.LAN.", Some(Allow::Host("master.lan".into()))),
            ("http://master.lan/", None),
            ("master lan", None),
            ("10.0.0.0/33", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Allow>().ok(), expected, "{text:?}");
        }
        // A host given as an address opens that address.
        let by_hand = Policy::new(&[Allow::Host("10.0.0.1".into())]);
        assert_eq!(
            by_hand.check_addr("x.example", "10.0.0.1".parse().unwrap()),
            Ok(())
        );
    }
}
