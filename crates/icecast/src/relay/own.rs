//! Relays that would pull from this very server.

use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

/// The names and sockets under which this server is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    /// Listening sockets.
    pub listening: Vec<SocketAddr>,
    /// Public names with their ports.
    pub names: Vec<(String, u16)>,
}

impl OwnAddresses {
    /// Adds the name and port of a `base_url`; anything that is no URL adds nothing.
    pub fn add_base_url(&mut self, base_url: &str) {
        if let Ok(url) = Url::parse(base_url.trim())
            && let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default())
        {
            self.names.push((host.to_owned(), port));
        }
    }

    /// Whether an upstream's address is this server's; to be asked before dialling. A name that leads here without
    /// being known is found by [`is_loop`](super::is_loop) on the other end, which is here too.
    #[must_use]
    pub fn names_us(&self, upstream: &Url) -> bool {
        let (Some(host), Some(port)) = (upstream.host(), upstream.port_or_known_default()) else {
            return false;
        };
        let bare = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
        let text = host.to_string();
        let by_name = self
            .names
            .iter()
            .any(|(name, own_port)| *own_port == port && bare(name) == bare(&text));
        let ip = match host {
            Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
            Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
            // Where loopback is open to relays, this name for it passes the guard as well.
            Host::Domain(name) => (bare(name) == "localhost").then_some(IpAddr::from([127, 0, 0, 1])),
        };
        by_name || ip.is_some_and(|ip| self.listens_on(SocketAddr::new(ip, port)))
    }

    fn listens_on(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.listening.iter().any(|own| {
            let own_ip = own.ip().to_canonical();
            let everywhere = own_ip.is_unspecified() && (ip.is_loopback() || ip.is_unspecified());
            own.port() == address.port() && (own_ip == ip || everywhere)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_names_and_addresses_are_known() {
        let mut own = OwnAddresses {
            listening: vec!["0.0.0.0:8000".parse().unwrap(), "192.0.2.1:8443".parse().unwrap()],
            names: vec![("radio.example".into(), 8000)],
        };
        own.add_base_url("https://www.radio.example/");
        own.add_base_url("nonsense");
        for (url, ours) in [
            ("http://radio.example:8000/m", true),
            ("http://RADIO.example.:8000/m", true),
            ("https://www.radio.example/m", true),
            ("http://127.0.0.1:8000/m", true),
            ("http://localhost:8000/m", true),
            ("http://[::ffff:127.0.0.1]:8000/m", true),
            ("http://0.0.0.0:8000/m", true),
            ("https://192.0.2.1:8443/m", true),
            ("http://radio.example:9000/m", false),
            ("http://localhost:9000/m", false),
            ("http://192.0.2.1:8444/m", false),
            ("http://other.example:8000/m", false),
            ("http://192.0.2.2:8000/m", false),
        ] {
            assert_eq!(own.names_us(&Url::parse(url).unwrap()), ours, "{url}");
        }
    }
}
