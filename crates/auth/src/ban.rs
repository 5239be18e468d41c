//! Bans and exemptions: added, removed, and run out.
//!
//! Contract: an entry is stored in one form only, so that the same block is never there twice. Nobody bans themselves
//! or a trusted proxy by mistake. When a ban ends and why it was made stands beside the list that older programs read.

use std::collections::HashMap;
use std::net::IpAddr;

use config::{BanDetail, Config, parse_net};
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use crate::rule_error::{Kind, RuleError};
use crate::tokens::seconds;

const MOST: usize = 200_000;
const MAX_COMMENT: usize = 200;

/// Why a ban or an exemption is not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BanError {
    /// The request names no address.
    #[error("IP is required")]
    Required,
    /// It is no address and no block of addresses.
    #[error("Invalid IP address or range")]
    Invalid,
    /// The end is no time, or has passed.
    #[error("Invalid expires_at")]
    BadExpiry,
    /// Whoever asks would be locked out.
    #[error("This would ban your own address; send \"force\": true to do it all the same")]
    CoversCaller,
    /// Everybody behind the proxy would be locked out.
    #[error("This would ban a trusted proxy; send \"force\": true to do it all the same")]
    CoversProxy,
    /// The list is long enough.
    #[error("The list is full; remove entries or use larger blocks")]
    Full,
    /// There is no such ban.
    #[error("IP not found in ban list")]
    NotBanned,
    /// There is no such exemption.
    #[error("IP not found in whitelist")]
    NotWhitelisted,
}

impl RuleError for BanError {
    fn kind(&self) -> Kind {
        match self {
            BanError::Required | BanError::Invalid | BanError::BadExpiry => Kind::Bad,
            BanError::CoversCaller | BanError::CoversProxy | BanError::Full => Kind::Conflict,
            BanError::NotBanned | BanError::NotWhitelisted => Kind::Missing,
        }
    }
}

/// What is to be banned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewBan {
    /// An address or a block.
    pub ip: String,
    /// RFC 3339; empty is for ever.
    pub expires_at: String,
    /// Why.
    pub comment: String,
    /// Whether it may hit the caller or a trusted proxy.
    pub force: bool,
}

/// An entry that is on a list now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// As it stands there.
    pub ip: String,
    /// What it covers, for ending what is connected from there.
    pub net: IpNet,
    /// Whether it was not there before.
    pub is_new: bool,
}

/// A ban in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BanRow {
    /// An address or a block.
    pub ip: String,
    /// RFC 3339; empty is never.
    pub expires_at: String,
    /// Why.
    pub comment: String,
}

/// An address without a length, a block with it.
#[must_use]
pub fn net_text(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

fn read(text: &str) -> Result<IpNet, BanError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(BanError::Required);
    }
    // Bits beyond the length say nothing; without them a block has one form.
    parse_net(text).map(|net| one_form(&net)).ok_or(BanError::Invalid)
}

fn one_form(net: &IpNet) -> IpNet {
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.network().to_ipv4_mapped() {
            Some(v4) => IpNet::new(v4.into(), v6.prefix_len() - 96)
                .unwrap_or(*net)
                .trunc(),
            None => net.trunc(),
        },
        net => net.trunc(),
    }
}

fn is_same(a: &IpNet, b: &IpNet) -> bool {
    one_form(a) == one_form(b)
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    let (a, b) = (one_form(a), one_form(b));
    a.contains(&b) || b.contains(&a)
}

/// When bans end, by the block as it stands in the list. One whose end cannot be read lasts, and of several ends the
/// last one counts.
pub(crate) fn ban_ends(config: &Config) -> HashMap<IpNet, Timestamp> {
    let mut ends: HashMap<IpNet, Timestamp> = HashMap::new();
    let mut lasting = Vec::new();
    for detail in &config.ban_details {
        let Some(net) = parse_net(&detail.ip) else {
            continue;
        };
        match detail.expires_at.trim().parse() {
            Ok(end) => {
                let known = ends.entry(one_form(&net)).or_insert(end);
                *known = end.max(*known);
            }
            Err(_) => lasting.push(one_form(&net)),
        }
    }
    for net in &lasting {
        ends.remove(net);
    }
    if ends.is_empty() {
        return ends;
    }
    let as_listed = |net: &IpNet| Some((*net, *ends.get(&one_form(net))?));
    config.banned_ips.iter().filter_map(as_listed).collect()
}

/// The bans in the order of the list.
#[must_use]
pub fn bans(config: &Config) -> Vec<BanRow> {
    let details: HashMap<IpNet, &BanDetail> = config
        .ban_details
        .iter()
        .filter_map(|detail| Some((one_form(&parse_net(&detail.ip)?), detail)))
        .collect();
    let row = |net: &IpNet| {
        let detail = details.get(&one_form(net));
        BanRow {
            ip: net_text(net),
            expires_at: detail.map(|detail| detail.expires_at.clone()).unwrap_or_default(),
            comment: detail.map(|detail| detail.comment.clone()).unwrap_or_default(),
        }
    };
    config.banned_ips.iter().map(row).collect()
}

/// Bans an address or a block. Doing so twice changes nothing but the end and the comment, where new ones are given.
///
/// # Errors
/// See [`BanError`]; nothing has changed then.
pub fn add_ban(
    config: &mut Config,
    wanted: &NewBan,
    caller: IpAddr,
    now: Timestamp,
) -> Result<Listed, BanError> {
    let net = read(&wanted.ip)?;
    let end = match wanted.expires_at.trim() {
        "" => None,
        text => Some(
            text.parse::<Timestamp>()
                .ok()
                .filter(|end| *end > now)
                .ok_or(BanError::BadExpiry)?,
        ),
    };
    if !wanted.force {
        if net.contains(&caller.to_canonical()) {
            return Err(BanError::CoversCaller);
        }
        if config.trusted_proxies.iter().any(|proxy| overlap(&net, proxy)) {
            return Err(BanError::CoversProxy);
        }
    }
    let is_new = !config.banned_ips.iter().any(|known| is_same(known, &net));
    if is_new && config.banned_ips.len() >= MOST {
        return Err(BanError::Full);
    }
    let comment: String = wanted
        .comment
        .trim()
        .chars()
        .filter(|letter| !letter.is_control())
        .take(MAX_COMMENT)
        .collect();
    let is_of_net = |detail: &BanDetail| parse_net(&detail.ip).is_some_and(|known| is_same(&known, &net));
    if is_new {
        config.banned_ips.push(net);
        // What is left of an older ban says nothing about this one.
        config.ban_details.retain(|detail| !is_of_net(detail));
    }
    if end.is_some() || !comment.is_empty() {
        let old = config.ban_details.iter().position(is_of_net);
        let mut detail = old.map_or_else(
            || BanDetail::new(net_text(&net)),
            |place| config.ban_details.remove(place),
        );
        config.ban_details.retain(|detail| !is_of_net(detail));
        if let Some(end) = end {
            detail.expires_at = seconds(end);
        }
        if !comment.is_empty() {
            detail.comment = comment;
        }
        config.ban_details.push(detail);
    }
    Ok(Listed {
        ip: net_text(&net),
        net,
        is_new,
    })
}

/// Lifts a ban, and returns it as it stood in the list.
///
/// # Errors
/// See [`BanError`]; nothing has changed then.
pub fn remove_ban(config: &mut Config, ip: &str) -> Result<String, BanError> {
    let net = read(ip)?;
    if !take(&mut config.banned_ips, &net) {
        return Err(BanError::NotBanned);
    }
    config
        .ban_details
        .retain(|detail| parse_net(&detail.ip).is_none_or(|known| !is_same(&known, &net)));
    Ok(net_text(&net))
}

/// Exempts an address or a block. Doing so twice changes nothing.
///
/// # Errors
/// See [`BanError`]; nothing has changed then.
pub fn add_whitelisted(config: &mut Config, ip: &str) -> Result<Listed, BanError> {
    let net = read(ip)?;
    let is_new = !config.whitelisted_ips.iter().any(|known| is_same(known, &net));
    if is_new && config.whitelisted_ips.len() >= MOST {
        return Err(BanError::Full);
    }
    if is_new {
        config.whitelisted_ips.push(net);
    }
    Ok(Listed {
        ip: net_text(&net),
        net,
        is_new,
    })
}

/// Takes an exemption back, and returns it as it stood in the list.
///
/// # Errors
/// See [`BanError`]; nothing has changed then.
pub fn remove_whitelisted(config: &mut Config, ip: &str) -> Result<String, BanError> {
    let net = read(ip)?;
    if take(&mut config.whitelisted_ips, &net) {
        Ok(net_text(&net))
    } else {
        Err(BanError::NotWhitelisted)
    }
}

fn take(list: &mut Vec<IpNet>, net: &IpNet) -> bool {
    let before = list.len();
    list.retain(|known| !is_same(known, net));
    list.len() < before
}

/// Whether there is something for [`purge_bans`] to do.
#[must_use]
pub fn has_expired_bans(config: &Config, now: Timestamp) -> bool {
    ban_ends(config).values().any(|end| *end <= now)
}

/// Takes out the bans that have run out, and names them. They are out of force at their end already.
pub fn purge_bans(config: &mut Config, now: Timestamp) -> Vec<String> {
    let ends = ban_ends(config);
    let over: Vec<IpNet> = config
        .banned_ips
        .iter()
        .filter(|net| ends.get(*net).is_some_and(|end| *end <= now))
        .copied()
        .collect();
    over.iter()
        .filter_map(|net| remove_ban(config, &net_text(net)).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Gate;
    use proptest::prelude::*;

    fn now() -> Timestamp {
        "2026-08-10T12:00:00Z".parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn ban(ip: &str) -> NewBan {
        NewBan {
            ip: ip.into(),
            ..NewBan::default()
        }
    }

    fn lists(config: &Config) -> (Vec<String>, Vec<String>) {
        let text = |nets: &[IpNet]| nets.iter().map(net_text).collect();
        (text(&config.banned_ips), text(&config.whitelisted_ips))
    }

    #[test]
    fn entries_have_one_form() {
        for (text, expected) in [
            (" 192.0.2.1 ", Ok("192.0.2.1")),
            ("192.0.2.1/32", Ok("192.0.2.1")),
            ("192.0.2.77/24", Ok("192.0.2.0/24")),
            ("::ffff:192.0.2.1", Ok("192.0.2.1")),
            ("::ffff:192.0.2.0/120", Ok("192.0.2.0/24")),
            ("2001:DB8:0::1", Ok("2001:db8::1")),
            ("2001:db8::1/64", Ok("2001:db8::/64")),
            ("", Err(BanError::Required)),
            ("  ", Err(BanError::Required)),
            ("192.0.2", Err(BanError::Invalid)),
            ("192.0.2.0/33", Err(BanError::Invalid)),
            ("evil.example", Err(BanError::Invalid)),
            ("192.0.2.1:80", Err(BanError::Invalid)),
        ] {
            let mut config = Config::default();
            let added = add_ban(&mut config, &ban(text), ip("203.0.113.1"), now());
            assert_eq!(
                added
                    .as_ref()
                    .map(|added| added.ip.as_str())
                    .map_err(|error| *error),
                expected,
                "{text}"
            );
            assert_eq!(lists(&config).0, Vec::from_iter(expected.ok()), "{text}");
            assert_eq!(
                remove_ban(&mut config, text).ok().as_deref(),
                expected.ok(),
                "{text}"
            );
            assert_eq!(
                add_whitelisted(&mut config, text)
                    .map(|added| added.ip)
                    .ok()
                    .as_deref(),
                expected.ok()
            );
            assert_eq!(
                remove_whitelisted(&mut config, text).ok().as_deref(),
                expected.ok()
            );
            assert_eq!(config, Config::default());
        }
    }

    #[test]
    fn nobody_bans_themselves_by_mistake() {
        let (me, proxy) = (BanError::CoversCaller, BanError::CoversProxy);
        for (text, caller, expected) in [
            ("203.0.113.9", "203.0.113.9", Some(me)),
            ("203.0.113.0/24", "203.0.113.9", Some(me)),
            ("203.0.113.0/24", "::ffff:203.0.113.9", Some(me)),
            ("0.0.0.0/0", "203.0.113.9", Some(me)),
            ("0.0.0.0/0", "2001:db8::1", Some(proxy)),
            ("10.0.0.0/8", "203.0.113.9", Some(proxy)),
            ("10.0.0.1", "203.0.113.9", Some(proxy)),
            ("10.0.0.0/31", "203.0.113.9", Some(proxy)),
            ("172.16.5.5", "203.0.113.9", Some(proxy)),
            ("10.0.0.2", "203.0.113.9", None),
            ("203.0.114.0/24", "203.0.113.9", None),
        ] {
            let mut config = Config {
                trusted_proxies: vec!["10.0.0.1/32".parse().unwrap(), "172.16.0.0/12".parse().unwrap()],
                ..Config::default()
            };
            let added = add_ban(&mut config, &ban(text), ip(caller), now());
            assert_eq!(added.err(), expected, "{text} by {caller}");
            assert_eq!(
                config.banned_ips.is_empty(),
                expected.is_some(),
                "{text} by {caller}"
            );
            let forced = NewBan {
                force: true,
                ..ban(text)
            };
            assert!(add_ban(&mut config, &forced, ip(caller), now()).is_ok());
        }
    }

    #[test]
    fn a_ban_may_have_an_end_and_a_reason() {
        let mut config = Config::default();
        let caller = ip("203.0.113.1");
        let with = |ip: &str, expires_at: &str, comment: &str| NewBan {
            expires_at: expires_at.into(),
            comment: comment.into(),
            ..ban(ip)
        };
        for wrong in ["tomorrow", "2026-08-10T12:00:00Z", "2026-08-10"] {
            let error = add_ban(&mut config, &with("192.0.2.1", wrong, ""), caller, now()).unwrap_err();
            assert_eq!(error, BanError::BadExpiry, "{wrong}");
        }
        assert_eq!(config, Config::default());
        let rows = |config: &Config| -> Vec<String> {
            bans(config)
                .iter()
                .map(|row| format!("{} {} {}", row.ip, row.expires_at, row.comment))
                .collect()
        };
        let steps = [
            (
                with("192.0.2.1", "2026-08-10T15:00:00+02:00", "sc\nan"),
                true,
                "192.0.2.1 2026-08-10T13:00:00Z scan",
            ),
            (ban("192.0.2.1"), false, "192.0.2.1 2026-08-10T13:00:00Z scan"),
            (
                with("::ffff:192.0.2.1", "", "again"),
                false,
                "192.0.2.1 2026-08-10T13:00:00Z again",
            ),
            (
                with("192.0.2.1", "2026-08-10T14:00:00Z", ""),
                false,
                "192.0.2.1 2026-08-10T14:00:00Z again",
            ),
        ];
        for (wanted, is_new, row) in steps {
            assert_eq!(
                add_ban(&mut config, &wanted, caller, now()).unwrap().is_new,
                is_new
            );
            assert_eq!(rows(&config), [row]);
        }
        add_ban(&mut config, &ban("192.0.2.0/24"), caller, now()).unwrap();
        let end = now() + jiff::SignedDuration::from_hours(2);
        assert!(!has_expired_bans(
            &config,
            end - jiff::SignedDuration::from_nanos(1)
        ));
        assert!(has_expired_bans(&config, end));
        assert_eq!(purge_bans(&mut config, end), ["192.0.2.1"]);
        assert_eq!(rows(&config), ["192.0.2.0/24  "]);
        assert!(config.ban_details.is_empty() && !has_expired_bans(&config, end));
        assert_eq!(remove_ban(&mut config, "192.0.2.1"), Err(BanError::NotBanned));
        assert_eq!(
            remove_whitelisted(&mut config, "192.0.2.1"),
            Err(BanError::NotWhitelisted)
        );
    }

    #[test]
    fn removing_takes_every_spelling_that_the_file_has() {
        let mut config = Config {
            banned_ips: vec!["192.0.2.5/24".parse().unwrap(), "192.0.2.0/24".parse().unwrap()],
            ..Config::default()
        };
        let mut detail = BanDetail::new("192.0.2.9/24".into());
        detail.comment = "x".into();
        config.ban_details.push(detail);
        assert!(
            !add_ban(&mut config, &ban("192.0.2.0/24"), ip("::1"), now())
                .unwrap()
                .is_new
        );
        assert_eq!(
            remove_ban(&mut config, "192.0.2.0/24").as_deref(),
            Ok("192.0.2.0/24")
        );
        assert_eq!(config, Config::default());
    }

    proptest! {
        /// What is added is in force for exactly the addresses of the block, and gone when it is removed.
        #[test]
        fn a_ban_covers_its_block_and_nothing_else(bits in any::<u32>(), length in 8_u8..=32, other in any::<u32>()) {
            let text = format!("{}/{length}", std::net::Ipv4Addr::from_bits(bits));
            let other = IpAddr::from(std::net::Ipv4Addr::from_bits(other));
            let mut config = Config { trusted_proxies: vec!["198.51.100.1/32".parse().unwrap()], ..Config::default() };
            let forced = NewBan { force: true, ..ban(&text) };
            let added = add_ban(&mut config, &forced, other, now()).unwrap();
            let gate = Gate::at(&config, now());
            for address in [other, added.net.network(), added.net.broadcast()] {
                prop_assert_eq!(gate.is_banned(address), added.net.contains(&address));
            }
            prop_assert!(gate.is_banned(IpAddr::from(std::net::Ipv4Addr::from_bits(bits))));
            prop_assert_eq!(remove_ban(&mut config, &added.ip), Ok(added.ip.clone()));
            prop_assert!(config.banned_ips.is_empty());
        }
    }
}
