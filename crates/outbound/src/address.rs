//! What kind of address an address is: the special ranges of the IANA registries (RFC 6890 and later).
//!
//! Contract: an address without a [`special`] kind is an ordinary public unicast address, and so is any
//! IPv4 address that it carries inside (mapped, NAT64, 6to4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why `addr` is not an ordinary public address; `None` if it is one. Reads after "is".
pub(crate) fn special(addr: IpAddr) -> Option<&'static str> {
    match addr {
        IpAddr::V4(addr) => special_v4(addr),
        IpAddr::V6(addr) => special_v6(addr),
    }
}

/// Whether a cloud's metadata service answers at `addr`, also in the forms that carry an IPv4 address.
pub(crate) fn is_metadata(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => METADATA_V4.contains(&addr),
        IpAddr::V6(addr) => {
            METADATA_V6.contains(&addr) || carried(addr).is_some_and(|inner| METADATA_V4.contains(&inner))
        }
    }
}

/// Instance metadata and credential services of the large clouds. Whoever reaches one can take over
/// the machine's cloud account.
const METADATA_V4: &[Ipv4Addr] = &[
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

const METADATA_V6: &[Ipv6Addr] = &[
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

const LOOPBACK: &str = "a loopback address";
const UNSPECIFIED: &str = "the unspecified address";
const MULTICAST: &str = "a multicast address";
const LINK_LOCAL: &str = "a link-local address";
const DOCUMENTATION: &str = "an address for documentation only";
const BENCHMARK: &str = "an address for benchmarks only";
const PROTOCOL: &str = "reserved for protocol assignments";
const RESERVED: &str = "a reserved address";

/// Network, prefix length, kind. The first match counts.
const V4: &[([u8; 4], u32, &str)] = &[
    ([0, 0, 0, 0], 32, UNSPECIFIED),
    ([0, 0, 0, 0], 8, "an address of \"this network\""),
    ([10, 0, 0, 0], 8, "a private address"),
    ([100, 64, 0, 0], 10, "a carrier-grade NAT address"),
    ([127, 0, 0, 0], 8, LOOPBACK),
    ([169, 254, 0, 0], 16, LINK_LOCAL),
    ([172, 16, 0, 0], 12, "a private address"),
    ([192, 0, 0, 0], 24, PROTOCOL),
    ([192, 0, 2, 0], 24, DOCUMENTATION),
    // RFC 7526 withdrew the anycast address of 6to4 relays.
    ([192, 88, 99, 0], 24, RESERVED),
    ([192, 168, 0, 0], 16, "a private address"),
    ([198, 18, 0, 0], 15, BENCHMARK),
    ([198, 51, 100, 0], 24, DOCUMENTATION),
    ([203, 0, 113, 0], 24, DOCUMENTATION),
    ([224, 0, 0, 0], 4, MULTICAST),
    ([255, 255, 255, 255], 32, "the broadcast address"),
    ([240, 0, 0, 0], 4, RESERVED),
];

const V6: &[([u16; 8], u32, &str)] = &[
    ([0; 8], 128, UNSPECIFIED),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, LOOPBACK),
    // RFC 4291 section 2.5.5.1: deprecated, and nothing legitimate lives there.
    ([0; 8], 96, "an IPv4-compatible address"),
    // RFC 2765: "IPv4-translated" addresses exist only inside translators.
    ([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, "an IPv4-translated address"),
    // RFC 8215: NAT64 prefixes of local use reach whatever the site chose.
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "a local NAT64 address"),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "a discard-only address"),
    // RFC 4380: the tunnel leads to an IPv4 host of anybody's choice.
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "a Teredo address"),
    ([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, BENCHMARK),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, PROTOCOL),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, DOCUMENTATION),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, DOCUMENTATION),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "a segment routing identifier"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "a unique local address"),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, LINK_LOCAL),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "a site-local address"),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, MULTICAST),
];

fn special_v4(addr: Ipv4Addr) -> Option<&'static str> {
    let bits = addr.to_bits();
    V4.iter().find_map(|&(net, prefix, kind)| {
        let net = Ipv4Addr::from(net).to_bits();
        ((bits ^ net).leading_zeros() >= prefix).then_some(kind)
    })
}

fn special_v6(addr: Ipv6Addr) -> Option<&'static str> {
    let bits = addr.to_bits();
    V6.iter()
        .find_map(|&(net, prefix, kind)| {
            let net = Ipv6Addr::from(net).to_bits();
            ((bits ^ net).leading_zeros() >= prefix).then_some(kind)
        })
        .or_else(|| special_v4(carried(addr)?))
}

/// The IPv4 address that traffic to `addr` ends up at: IPv4-mapped (RFC 4291), NAT64 (RFC 6052,
/// `64:ff9b::/96`) or 6to4 (RFC 3056, `2002::/16`).
fn carried(addr: Ipv6Addr) -> Option<Ipv4Addr> {
    let pair = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match addr.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => pair(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => pair(high, low),
        [0x2002, high, low, ..] => pair(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(addrs: &[&str], expected: Option<&str>) {
        for text in addrs {
            let addr: IpAddr = text.parse().unwrap();
            assert_eq!(special(addr), expected, "{text}");
        }
    }

    #[test]
    fn edges_of_the_ipv4_ranges() {
        check(&["0.0.0.0"], Some(UNSPECIFIED));
        check(
            &["0.0.0.1", "0.255.255.255"],
            Some("an address of \"this network\""),
        );
        check(
            &[
                "10.0.0.0",
                "10.255.255.255",
                "172.16.0.0",
                "172.31.255.255",
                "192.168.0.0",
                "192.168.255.255",
            ],
            Some("a private address"),
        );
        check(
            &["100.64.0.0", "100.127.255.255"],
            Some("a carrier-grade NAT address"),
        );
        check(&["127.0.0.0", "127.0.0.1", "127.255.255.255"], Some(LOOPBACK));
        check(
            &["169.254.0.0", "169.254.169.254", "169.254.255.255"],
            Some(LINK_LOCAL),
        );
        check(&["192.0.0.0", "192.0.0.255"], Some(PROTOCOL));
        check(
            &["192.0.2.0", "198.51.100.255", "203.0.113.7"],
            Some(DOCUMENTATION),
        );
        check(&["198.18.0.0", "198.19.255.255"], Some(BENCHMARK));
        check(&["224.0.0.0", "239.255.255.255"], Some(MULTICAST));
        check(&["192.88.99.1", "240.0.0.0", "255.255.255.254"], Some(RESERVED));
        check(&["255.255.255.255"], Some("the broadcast address"));
        check(
            &[
                "1.1.1.1",
                "9.255.255.255",
                "11.0.0.0",
                "100.63.255.255",
                "100.128.0.0",
                "126.255.255.255",
                "128.0.0.0",
                "169.253.255.255",
                "169.255.0.0",
                "172.15.255.255",
                "172.32.0.0",
                "192.0.1.0",
                "192.0.3.0",
                "192.167.255.255",
                "192.169.0.0",
                "198.17.255.255",
                "198.20.0.0",
                "223.255.255.255",
            ],
            None,
        );
    }

    #[test]
    fn edges_of_the_ipv6_ranges() {
        check(&["::"], Some(UNSPECIFIED));
        check(&["::1"], Some(LOOPBACK));
        check(
            &["::2", "::127.0.0.1", "::8.8.8.8"],
            Some("an IPv4-compatible address"),
        );
        check(&["::ffff:0:127.0.0.1"], Some("an IPv4-translated address"));
        check(&["64:ff9b:1::8.8.8.8"], Some("a local NAT64 address"));
        check(&["100::1"], Some("a discard-only address"));
        check(
            &["2001::1", "2001:0:53aa:64c:0:fbff:ab2b:d19"],
            Some("a Teredo address"),
        );
        check(&["2001:2::1"], Some(BENCHMARK));
        check(&["2001:1::1", "2001:1ff::1"], Some(PROTOCOL));
        check(
            &["2001:db8::1", "2001:db8:ffff::", "3fff:fff::1"],
            Some(DOCUMENTATION),
        );
        check(&["fc00::1", "fdff::1"], Some("a unique local address"));
        check(&["fe80::1", "febf::1"], Some(LINK_LOCAL));
        check(&["fec0::1", "feff::1"], Some("a site-local address"));
        check(&["ff00::1", "ff02::1"], Some(MULTICAST));
        check(
            &[
                "2001:200::1",
                "2001:4860:4860::8888",
                "2606:4700::1111",
                "2a01::1",
                "2003::1",
            ],
            None,
        );
    }

    #[test]
    fn carried_ipv4_addresses_are_judged() {
        for (inner, expected) in [
            ("127.0.0.1", Some(LOOPBACK)),
            ("10.1.2.3", Some("a private address")),
            ("8.8.8.8", None),
        ] {
            let v4: Ipv4Addr = inner.parse().unwrap();
            let [a, b] = [(v4.to_bits() >> 16) as u16, v4.to_bits() as u16];
            check(
                &[
                    &format!("::ffff:{inner}"),
                    &format!("64:ff9b::{inner}"),
                    &format!("2002:{a:x}:{b:x}::1"),
                    &format!("2002:{a:x}:{b:x}:ffff::"),
                ],
                expected,
            );
        }
    }

    #[test]
    fn metadata_services_in_every_form() {
        for text in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::",
            "169.254.170.2",
            "100.100.100.200",
            "fd00:ec2::254",
            "fd20:ce::254",
        ] {
            assert!(is_metadata(text.parse().unwrap()), "{text}");
        }
        for text in ["169.254.169.253", "fd00:ec2::253", "8.8.8.8", "::ffff:8.8.8.8"] {
            assert!(!is_metadata(text.parse().unwrap()), "{text}");
        }
    }
}
