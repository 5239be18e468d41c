//! Relays that would pull from this very server, directly or in a circle.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, StatusCode};
use url::{Host, Url};

use crate::{
    Answer,
    relay::{LOOP_HEADER, Origin},
};

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

    /// Whether an upstream names this server; to be asked before dialling.
    #[must_use]
    pub fn names_us(&self, origin: &Origin) -> bool {
        let host = origin.host.to_string();
        let bare = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
        let by_name = self
            .names
            .iter()
            .any(|(name, port)| *port == origin.port && bare(name) == bare(&host));
        let ip = match &origin.host {
            Host::Ipv4(ip) => Some(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => Some(IpAddr::V6(*ip)),
            Host::Domain(_) => None,
        };
        by_name || ip.is_some_and(|ip| self.listens_on(SocketAddr::new(ip, origin.port)))
    }

    /// Whether a connection leads back here; to be asked when it stands, with the addresses of both its ends. Two
    /// equal addresses mean this machine, whatever name led there.
    #[must_use]
    pub fn reaches_us(&self, local: SocketAddr, peer: SocketAddr) -> bool {
        let same_machine = local.ip().to_canonical() == peer.ip().to_canonical();
        same_machine && self.listening.iter().any(|own| own.port() == peer.port()) || self.listens_on(peer)
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

/// Whether a listener is a relay whose data comes from this instance. The header may list several instances.
#[must_use]
pub fn is_loop(headers: &HeaderMap, own_instance: &str) -> bool {
    headers
        .get_all(LOOP_HEADER)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|instance| instance.trim_ascii() == own_instance.as_bytes())
}

/// 508 to such a listener.
#[must_use]
pub fn loop_detected() -> Answer {
    Answer::text(StatusCode::LOOP_DETECTED, "Loop Detected")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{head_lines, relay::Upstream};

    fn own() -> OwnAddresses {
        let mut own = OwnAddresses {
            listening: vec!["0.0.0.0:8000".parse().unwrap(), "192.0.2.1:8443".parse().unwrap()],
            names: vec![("radio.example".into(), 8000)],
        };
        own.add_base_url("https://www.radio.example/");
        own.add_base_url("nonsense");
        own
    }

    #[test]
    fn our_names_and_addresses_are_known() {
        for (url, ours) in [
            ("http://radio.example:8000/m", true),
            ("http://RADIO.example.:8000/m", true),
            ("https://www.radio.example/m", true),
            ("http://127.0.0.1:8000/m", true),
            ("http://[::ffff:127.0.0.1]:8000/m", true),
            ("http://0.0.0.0:8000/m", true),
            ("https://192.0.2.1:8443/m", true),
            ("http://radio.example:9000/m", false),
            ("http://192.0.2.1:8444/m", false),
            ("http://other.example:8000/m", false),
            ("http://192.0.2.2:8000/m", false),
        ] {
            assert_eq!(
                own().names_us(&Upstream::parse(url, None).unwrap().origin()),
                ours,
                "{url}"
            );
        }
    }

    #[test]
    fn a_connection_to_this_machine_is_known_by_its_ends() {
        for (local, peer, ours) in [
            ("198.51.100.7:50000", "198.51.100.7:8000", true),
            ("198.51.100.7:50000", "198.51.100.7:9000", false),
            ("198.51.100.7:50000", "198.51.100.8:8000", false),
            ("198.51.100.7:50000", "127.0.0.1:8000", true),
            ("[::ffff:10.0.0.1]:5", "10.0.0.1:8000", true),
        ] {
            assert_eq!(
                own().reaches_us(local.parse().unwrap(), peer.parse().unwrap()),
                ours,
                "{local} {peer}"
            );
        }
    }

    #[test]
    fn our_own_id_comes_back_as_508() {
        for (head, looped) in [
            ("X-TinyIce-Relay: ab12", true),
            ("x-tinyice-relay: cd34, ab12", true),
            ("X-TinyIce-Relay: cd34\nX-TinyIce-Relay: ab12", true),
            ("X-TinyIce-Relay: ab123", false),
            ("", false),
        ] {
            assert_eq!(
                is_loop(&head_lines::parse(head.as_bytes()), "ab12"),
                looped,
                "{head}"
            );
        }
        assert_eq!(loop_detected().status, 508);
    }
}
