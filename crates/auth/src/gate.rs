//! Bans, the white list and trusted proxies: who may come in at all.
//!
//! Contract: immutable and quick: an answer costs three binary searches however long the lists are. The white list
//! always wins; loopback is on it only while no proxy is trusted, for behind a local proxy everybody is loopback.

use std::net::IpAddr;

use config::Config;
use ipnet::IpNet;
use jiff::Timestamp;

use crate::ban::ban_ends;

/// The lists of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    banned: Blocks,
    whitelisted: Blocks,
    trusted: Blocks,
    loopback_whitelisted: bool,
    /// When the next ban runs out.
    changes_at: Option<Timestamp>,
}

impl Gate {
    /// The gate of a configuration, as of now.
    pub fn new(config: &Config) -> Gate {
        Gate::at(config, Timestamp::now())
    }

    /// The gate of a configuration at some time: bans that have run out are left out.
    pub fn at(config: &Config, now: Timestamp) -> Gate {
        let ends = ban_ends(config);
        let in_force = |net: &&IpNet| ends.get(*net).is_none_or(|end| now < *end);
        let banned: Vec<IpNet> = config.banned_ips.iter().filter(in_force).copied().collect();
        Gate {
            changes_at: banned.iter().filter_map(|net| ends.get(net)).min().copied(),
            ..Gate::of(&banned, &config.whitelisted_ips, &config.trusted_proxies)
        }
    }

    /// Whether no ban has run out since it was made.
    pub(crate) fn is_current(&self) -> bool {
        self.changes_at.is_none_or(|at| Timestamp::now() < at)
    }

    fn of(banned: &[IpNet], whitelisted: &[IpNet], trusted: &[IpNet]) -> Gate {
        Gate {
            banned: Blocks::new(banned),
            whitelisted: Blocks::new(whitelisted),
            trusted: Blocks::new(trusted),
            loopback_whitelisted: trusted.is_empty(),
            changes_at: None,
        }
    }

    /// Whether a new connection may go on. A trusted proxy always may: its clients are judged one by one.
    pub fn at_accept(&self, peer: IpAddr) -> bool {
        !self.is_banned(peer) || self.is_trusted(peer)
    }

    /// Whether a client is banned.
    pub fn is_banned(&self, client: IpAddr) -> bool {
        self.banned.contain(client) && !self.is_whitelisted(client)
    }

    /// Whether a client is exempt from bans, lockouts and the search for scanners.
    pub fn is_whitelisted(&self, client: IpAddr) -> bool {
        self.whitelisted.contain(client) || self.loopback_whitelisted && client.to_canonical().is_loopback()
    }

    /// Whether a peer's forwarding headers are believed.
    pub fn is_trusted(&self, peer: IpAddr) -> bool {
        self.trusted.contain(peer)
    }
}

/// Address blocks as sorted ranges that do not touch.
#[derive(Clone, Debug, Default)]
struct Blocks {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Blocks {
    fn new(nets: &[IpNet]) -> Blocks {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                // An IPv4 block written in IPv6 form is the IPv4 block.
                IpNet::V6(net) => match (net.network().to_ipv4_mapped(), net.broadcast().to_ipv4_mapped()) {
                    (Some(first), Some(last)) => v4.push((first.to_bits(), last.to_bits())),
                    _ => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
                },
            }
        }
        Blocks {
            v4: merge(v4),
            v6: merge(v6),
        }
    }

    fn contain(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => covers(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => covers(&self.v6, ip.to_bits()),
        }
    }
}

fn merge<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged.into()
}

fn covers<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after > 0 && address <= ranges[after - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nets(text: &str) -> Vec<IpNet> {
        let net = |text: &str| {
            text.parse()
                .unwrap_or_else(|_| IpNet::from(text.parse::<IpAddr>().unwrap()))
        };
        text.split_whitespace().map(net).collect()
    }

    /// Lists of bans, exemptions and proxies, an address, and the answers of the gate in letters:
    /// **e**nters at accept, **b**anned, **w**hitelisted, **t**rusted.
    fn check(banned: &str, whitelisted: &str, trusted: &str, ip: &str, expected: &str) {
        let gate = Gate::of(&nets(banned), &nets(whitelisted), &nets(trusted));
        let ip: IpAddr = ip.parse().unwrap();
        let answers = [
            (gate.at_accept(ip), 'e'),
            (gate.is_banned(ip), 'b'),
            (gate.is_whitelisted(ip), 'w'),
            (gate.is_trusted(ip), 't'),
        ];
        let letters: String = answers
            .iter()
            .filter(|(yes, _)| *yes)
            .map(|(_, letter)| *letter)
            .collect();
        assert_eq!(
            letters, expected,
            "{ip} with bans {banned:?}, exempt {whitelisted:?}, proxies {trusted:?}"
        );
    }

    #[test]
    fn the_lists_work_together() {
        check("", "", "", "192.0.2.1", "e");
        check("192.0.2.1", "", "", "192.0.2.1", "b");
        check("192.0.2.1", "", "", "192.0.2.2", "e");
        check("192.0.2.0/24", "", "", "192.0.2.255", "b");
        check("192.0.2.0/24", "", "", "192.0.3.0", "e");
        check("192.0.2.0/24", "192.0.2.7", "", "192.0.2.7", "ew");
        check("192.0.2.1", "", "", "::ffff:192.0.2.1", "b");
        check("::ffff:192.0.2.0/120", "", "", "192.0.2.9", "b");
        check("2001:db8::/32", "", "", "2001:db8:ffff::1", "b");
        check("2001:db8::/32", "2001:db8:1::/48", "", "2001:db8:1::9", "ew");
        check("10.0.0.0/8 10.1.0.0/16 10.255.255.255", "", "", "10.200.0.1", "b");
        check("0.0.0.0/0", "", "", "2001:db8::1", "e");
        check("0.0.0.0/0 ::/0", "", "", "2001:db8::1", "b");
    }

    #[test]
    fn proxies_enter_even_when_banned() {
        check("10.0.0.0/8", "", "10.0.0.1", "10.0.0.1", "ebt");
        check("10.0.0.0/8", "", "10.0.0.1", "10.0.0.2", "b");
    }

    #[test]
    fn bans_run_out() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut config = Config {
            banned_ips: nets("192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4/30 2001:db8::/32"),
            ..Config::default()
        };
        for (ip, expires_at) in [
            ("192.0.2.1", "1970-01-01T00:00:10Z"),
            ("192.0.2.2", ""),
            ("192.0.2.3", "soon"),
            ("192.0.2.4/30", "1970-01-01T00:00:20Z"),
            ("192.0.2.4/30", "1970-01-01T00:00:05Z"),
        ] {
            let mut detail = config::BanDetail::new(ip.into());
            detail.expires_at = expires_at.into();
            config.ban_details.push(detail);
        }
        for (second, banned, next) in [
            (0, "1 2 3 4 7", Some(10)),
            (9, "1 2 3 4 7", Some(10)),
            (10, "2 3 4 7", Some(20)),
            (20, "2 3", None),
        ] {
            let gate = Gate::at(&config, at(second));
            let seen: Vec<_> = (0..10_u8)
                .filter(|last| gate.is_banned([192, 0, 2, *last].into()))
                .filter(|last| !matches!(last, 5 | 6))
                .map(|last| last.to_string())
                .collect();
            assert_eq!(seen.join(" "), banned, "at {second}");
            assert_eq!(gate.changes_at, next.map(at), "at {second}");
            assert!(gate.is_banned("2001:db8::1".parse().unwrap()));
        }
    }

    #[test]
    fn loopback_is_exempt_only_without_proxies() {
        check("127.0.0.0/8 ::1", "", "", "127.0.0.1", "ew");
        check("127.0.0.0/8 ::1", "", "", "::1", "ew");
        check("127.0.0.0/8 ::1", "", "10.0.0.1", "127.0.0.1", "b");
        check("", "", "127.0.0.1", "127.0.0.1", "et");
        check("", "127.0.0.1", "127.0.0.1", "127.0.0.1", "ewt");
    }

    #[test]
    fn a_hundred_thousand_blocks_merge_and_answer() {
        let nets: Vec<IpNet> = (0..100_000_u32)
            .map(|number| ipnet::Ipv4Net::new((number << 10).into(), 24).unwrap().into())
            .collect();
        let gate = Gate::of(&nets, &[], &[]);
        assert_eq!(gate.banned.v4.len(), 100_000);
        let ip = |bits: u32| IpAddr::V4(bits.into());
        assert!(
            (0..100_000).all(|number| gate.is_banned(ip((number << 10) | 200))
                && !gate.is_banned(ip((number << 10) | 256)))
        );
    }

    proptest! {
        #[test]
        fn ranges_agree_with_the_blocks(
            blocks in prop::collection::vec((any::<u32>(), 4_u8..=32), 0..40),
            addresses in prop::collection::vec(any::<u32>(), 40),
        ) {
            let nets: Vec<IpNet> = blocks
                .iter()
                .map(|(bits, prefix)| ipnet::Ipv4Net::new((*bits).into(), *prefix).unwrap().trunc().into())
                .collect();
            let banned = Blocks::new(&nets);
            let near = blocks.iter().flat_map(|(bits, _)| [*bits, bits.wrapping_add(1), bits.wrapping_sub(1)]);
            for bits in addresses.iter().copied().chain(near) {
                let ip = IpAddr::V4(bits.into());
                prop_assert_eq!(banned.contain(ip), nets.iter().any(|net| net.contains(&ip)));
            }
        }
    }
}
