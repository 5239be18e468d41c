//! Whose request it is: the socket peer, or whom trusted proxies speak for.
//!
//! Contract: forwarding headers count only when the peer is a trusted proxy, and they are read from the right: what
//! stands left of the first hop that is not trusted was written by the client.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Who asks, and what a trusted proxy says about how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The client's address; an IPv4 address is never in its IPv6 form.
    pub ip: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub via_trusted_proxy: bool,
    /// The scheme the client used (`https`), by a trusted proxy.
    pub proto: Option<String>,
    /// The host the client asked for, by a trusted proxy.
    pub host: Option<String>,
}

/// Derives the client from the peer and the forwarding headers: `X-Forwarded-For`, else `Forwarded` (RFC 7239), else
/// `X-Real-IP`, else the peer.
#[must_use]
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &dyn Fn(IpAddr) -> bool) -> Client {
    let peer = peer.to_canonical();
    if !trusted(peer) {
        return Client {
            ip: peer,
            via_trusted_proxy: false,
            proto: None,
            host: None,
        };
    }
    let hops = if headers.contains_key(&X_FORWARDED_FOR) {
        forwarded_for(headers)
    } else {
        forwarded(headers)
    };
    let (mut ip, mut at) = (peer, None);
    for (index, hop) in hops.iter().enumerate().rev() {
        let Some(address) = hop.address else { break };
        (ip, at) = (address, Some(index));
        if !trusted(address) {
            break;
        }
    }
    if hops.is_empty()
        && let Some(address) = last_item(headers, &X_REAL_IP).as_deref().and_then(parse_node)
    {
        ip = address;
    }
    let chosen = at.and_then(|index| hops.get(index));
    Client {
        ip,
        via_trusted_proxy: true,
        proto: chosen
            .and_then(|hop| hop.proto.clone())
            .or_else(|| last_item(headers, &X_FORWARDED_PROTO)),
        host: chosen
            .and_then(|hop| hop.host.clone())
            .or_else(|| last_item(headers, &X_FORWARDED_HOST)),
    }
}

/// Whether one of the networks holds the address, in whichever form either was written.
#[must_use]
pub fn contains(nets: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    nets.iter().any(|net| {
        net.contains(&ip)
            || matches!((net, ip), (IpNet::V6(net), IpAddr::V4(ip)) if net.contains(&ip.to_ipv6_mapped()))
    })
}

/// One hop of a forwarding chain.
#[derive(Debug, Default)]
struct Hop {
    /// Absent when the entry is not an IP address (`unknown`, `_hidden`, nonsense).
    address: Option<IpAddr>,
    proto: Option<String>,
    host: Option<String>,
}

fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    // A value that is not text cannot hold an address, but its place in the chain must be kept.
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|value| value.to_str().unwrap_or("?").split(',').map(str::trim))
}

/// The entry of the nearest proxy.
fn last_item(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    items(headers, name)
        .last()
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
}

fn forwarded_for(headers: &HeaderMap) -> Vec<Hop> {
    let mut hops: Vec<Hop> = items(headers, &X_FORWARDED_FOR)
        .map(|item| Hop {
            address: parse_node(item),
            ..Hop::default()
        })
        .collect();
    // When each proxy appended to both lists, the entry of the same hop is the right one; else the nearest is.
    let protos: Vec<&str> = items(headers, &X_FORWARDED_PROTO).collect();
    if protos.len() == hops.len() {
        for (hop, proto) in hops.iter_mut().zip(protos) {
            hop.proto = Some(proto.to_owned()).filter(|proto| !proto.is_empty());
        }
    }
    hops
}

fn forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let mut hops = Vec::new();
    for value in headers.get_all(http::header::FORWARDED) {
        for element in split_unquoted(value.to_str().unwrap_or("?"), ',') {
            let mut hop = Hop::default();
            for pair in split_unquoted(element, ';') {
                let Some((name, value)) = pair.split_once('=') else {
                    continue;
                };
                let value = unquote(value.trim());
                match name.trim().to_ascii_lowercase().as_str() {
                    "for" => hop.address = parse_node(&value),
                    "proto" => hop.proto = Some(value),
                    "host" => hop.host = Some(value),
                    _ => {}
                }
            }
            hops.push(hop);
        }
    }
    hops
}

fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        if escaped {
            escaped = false;
        } else if quoted && c == '\\' {
            escaped = true;
        } else if c == '"' {
            quoted = !quoted;
        }
        !quoted && c == separator
    })
}

fn unquote(text: &str) -> String {
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(inner) => inner.replace('\\', ""),
        None => text.to_owned(),
    }
}

/// An address as proxies write it: with or without brackets, with or without a port.
fn parse_node(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bracketed = || {
        text.strip_prefix('[')?
            .strip_suffix(']')?
            .parse::<Ipv6Addr>()
            .ok()
            .map(IpAddr::V6)
    };
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(bracketed)
        .map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn client(peer: &str, trusted: &str, lines: &[(&'static str, &str)]) -> Client {
        let nets: Vec<IpNet> = trusted
            .split_whitespace()
            .map(|net| {
                net.parse()
                    .unwrap_or_else(|_| IpNet::from(net.parse::<IpAddr>().expect("an address")))
            })
            .collect();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        client_address(peer.parse().expect("an address"), &headers, &|ip| {
            contains(&nets, ip)
        })
    }

    #[test]
    fn the_client_is_the_first_hop_from_the_right_that_is_not_trusted() {
        const XFF: &str = "x-forwarded-for";
        const REAL: &str = "x-real-ip";
        type Lines = &'static [(&'static str, &'static str)];
        let cases: &[(&str, &str, Lines, &str)] = &[
            ("203.0.113.9", "", &[(XFF, "1.2.3.4")], "203.0.113.9"),
            ("10.0.0.1", "10.0.0.1", &[(XFF, "1.2.3.4, 10.0.0.1")], "1.2.3.4"),
            ("::ffff:10.0.0.1", "10.0.0.1", &[(XFF, "1.2.3.4:5678")], "1.2.3.4"),
            ("10.0.0.1", "::ffff:10.0.0.0/104", &[(XFF, "1.2.3.4")], "1.2.3.4"),
            ("10.0.0.7", "10.0.0.0/8", &[(REAL, "9.9.9.9")], "9.9.9.9"),
            (
                "10.0.0.7",
                "10.0.0.0/8",
                &[(XFF, "[2001:db8::1]:99")],
                "2001:db8::1",
            ),
            ("10.0.0.7", "10.0.0.0/8", &[(XFF, "2001:db8::1")], "2001:db8::1"),
            ("10.0.0.7", "10.0.0.0/8", &[(XFF, "[2001:db8::1]")], "2001:db8::1"),
            ("10.0.0.7", "10.0.0.0/8", &[(XFF, "::ffff:1.2.3.4")], "1.2.3.4"),
            ("127.0.0.1", "", &[(XFF, "1.2.3.4")], "127.0.0.1"),
            ("::ffff:127.0.0.1", "", &[], "127.0.0.1"),
            // The client wrote the left-most entry itself.
            ("10.0.0.1", "10.0.0.1", &[(XFF, "6.6.6.6, 1.2.3.4")], "1.2.3.4"),
            (
                "10.0.0.1",
                "10.0.0.0/8",
                &[(XFF, "6.6.6.6, 1.2.3.4, 10.0.0.9")],
                "1.2.3.4",
            ),
            (
                "10.0.0.1",
                "10.0.0.0/8",
                &[(XFF, "6.6.6.6"), (XFF, "1.2.3.4, 10.0.0.9")],
                "1.2.3.4",
            ),
            // Nothing but proxies: the farthest.
            (
                "10.0.0.1",
                "10.0.0.0/8",
                &[(XFF, "10.0.0.3, 10.0.0.2")],
                "10.0.0.3",
            ),
            // What is no address ends the walk.
            (
                "10.0.0.1",
                "10.0.0.0/8",
                &[(XFF, "1.2.3.4, unknown, 10.0.0.2")],
                "10.0.0.2",
            ),
            (
                "10.0.0.1",
                "10.0.0.0/8",
                &[(XFF, "1.2.3.4, , 10.0.0.2")],
                "10.0.0.2",
            ),
            (
                "10.0.0.1",
                "10.0.0.0/8",
                &[(XFF, "1.2.3.4"), (XFF, "\u{fc}")],
                "10.0.0.1",
            ),
            (
                "10.0.0.1",
                "10.0.0.0/8",
                &[(XFF, "nonsense"), (REAL, "9.9.9.9")],
                "10.0.0.1",
            ),
            ("10.0.0.1", "10.0.0.0/8", &[(REAL, "nonsense")], "10.0.0.1"),
            // RFC 7239.
            (
                "10.0.0.1",
                "10.0.0.0/8",
                &[("forwarded", "for=1.2.3.4;proto=https, for=10.0.0.2")],
                "1.2.3.4",
            ),
            (
                "10.0.0.1",
                "10.0.0.0/8",
                &[("forwarded", "For=\"[2001:db8::1]:4711\"")],
                "2001:db8::1",
            ),
            (
                "10.0.0.1",
                "10.0.0.0/8",
                &[("forwarded", "for=1.2.3.4, for=_hidden")],
                "10.0.0.1",
            ),
            (
                "10.0.0.1",
                "10.0.0.0/8",
                &[("forwarded", "for=\"a,b;for=6.6.6.6\"")],
                "10.0.0.1",
            ),
            (
                "10.0.0.1",
                "10.0.0.0/8",
                &[("forwarded", "for=6.6.6.6"), (XFF, "1.2.3.4")],
                "1.2.3.4",
            ),
            ("10.0.0.1", "", &[("forwarded", "for=1.2.3.4")], "10.0.0.1"),
        ];
        for (peer, trusted, lines, expected) in cases {
            let client = client(peer, trusted, lines);
            assert_eq!(client.ip.to_string(), *expected, "{peer} {trusted} {lines:?}");
        }
    }

    #[test]
    fn scheme_and_host_follow_the_same_trust() {
        const PROTO: &str = "x-forwarded-proto";
        const HOST: &str = "x-forwarded-host";
        const XFF: &str = "x-forwarded-for";
        type Lines = &'static [(&'static str, &'static str)];
        let cases: &[(&str, Lines, Option<&str>, Option<&str>)] = &[
            ("", &[(PROTO, "https"), (HOST, "radio.example")], None, None),
            (
                "10.0.0.1",
                &[(PROTO, "https"), (HOST, "radio.example")],
                Some("https"),
                Some("radio.example"),
            ),
            ("10.0.0.1", &[(PROTO, "http, https")], Some("https"), None),
            // The client forged an entry of both lists; the one at its own place counts.
            (
                "10.0.0.0/8",
                &[(XFF, "6.6.6.6, 1.2.3.4, 10.0.0.2"), (PROTO, "x, https, http")],
                Some("https"),
                None,
            ),
            (
                "10.0.0.1",
                &[("forwarded", "for=1.2.3.4;proto=https;host=\"h:1\"")],
                Some("https"),
                Some("h:1"),
            ),
            ("10.0.0.1", &[(PROTO, "")], None, None),
        ];
        for (trusted, lines, proto, host) in cases {
            let client = client("10.0.0.1", trusted, lines);
            assert_eq!(
                (client.proto.as_deref(), client.host.as_deref()),
                (*proto, *host),
                "{lines:?}"
            );
            assert_eq!(client.via_trusted_proxy, !trusted.is_empty());
        }
    }
}
