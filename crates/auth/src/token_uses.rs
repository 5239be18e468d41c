//! When and from where API tokens are used.
//!
//! Contract: in memory and without waiting for a disk; as many records as the configuration has tokens. A use from an
//! address that is not among the last few is news.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;

use config::Config;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Addresses of one token that are no news.
const ADDRESSES: usize = 8;

/// When and where a token was used last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUse {
    /// The token's public name.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// Where.
    pub ip: IpAddr,
}

/// Uses by token, in memory; as many as the configuration has tokens.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    by_id: HashMap<String, Used>,
}

#[derive(Debug)]
struct Used {
    at: Timestamp,
    /// The last one at the back.
    addresses: VecDeque<IpAddr>,
    is_new: bool,
}

impl Uses {
    /// Forgets the tokens that are gone and learns what the file says of the others.
    pub(crate) fn keep(&mut self, config: &Config) {
        let known: HashSet<&str> = config.api_tokens.iter().map(|token| token.id.as_str()).collect();
        self.by_id.retain(|id, _| known.contains(id.as_str()));
        for token in &config.api_tokens {
            if let (Ok(at), Ok(ip)) = (token.last_used_at.parse(), token.last_used_ip.parse()) {
                self.learn(&token.id, at, ip);
            }
        }
    }

    /// Learns a use of the past.
    pub(crate) fn learn(&mut self, id: &str, at: Timestamp, ip: IpAddr) {
        let used = self.by_id.entry(id.to_owned()).or_insert_with(|| Used {
            at,
            addresses: VecDeque::new(),
            is_new: false,
        });
        if used.addresses.is_empty() || at > used.at {
            used.at = at;
            remember(&mut used.addresses, ip.to_canonical());
        }
    }

    /// Notes a use; says whether its address is news.
    pub(crate) fn note(&mut self, id: &str, ip: IpAddr, now: Timestamp) -> bool {
        let used = self.by_id.entry(id.to_owned()).or_insert_with(|| Used {
            at: now,
            addresses: VecDeque::new(),
            is_new: true,
        });
        used.at = now.max(used.at);
        used.is_new = true;
        remember(&mut used.addresses, ip.to_canonical())
    }

    /// What was used since the last time.
    pub(crate) fn take(&mut self) -> Vec<TokenUse> {
        let mut uses: Vec<_> = self
            .by_id
            .iter_mut()
            .filter(|(_, used)| used.is_new)
            .filter_map(|(id, used)| {
                used.is_new = false;
                use_of(id, used)
            })
            .collect();
        uses.sort_by(|a, b| a.id.cmp(&b.id));
        uses
    }

    pub(crate) fn last(&self, id: &str) -> Option<TokenUse> {
        use_of(id, self.by_id.get(id)?)
    }
}

fn use_of(id: &str, used: &Used) -> Option<TokenUse> {
    Some(TokenUse {
        id: id.to_owned(),
        at: used.at,
        ip: *used.addresses.back()?,
    })
}

/// Puts an address at the back; says whether it was not there.
fn remember(addresses: &mut VecDeque<IpAddr>, ip: IpAddr) -> bool {
    let known = addresses.iter().position(|other| *other == ip);
    if let Some(place) = known {
        addresses.remove(place);
    } else if addresses.len() >= ADDRESSES {
        addresses.pop_front();
    }
    addresses.push_back(ip);
    known.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::ApiToken;

    fn now() -> Timestamp {
        "2026-08-10T12:00:00Z".parse().unwrap()
    }

    fn ip(last: u8) -> IpAddr {
        [203, 0, 113, last].into()
    }

    #[test]
    fn uses_are_remembered_and_taken_once() {
        let mut config = Config::default();
        let mut token = ApiToken::new("a".into(), String::new());
        token.last_used_at = "2026-08-01T00:00:00Z".into();
        token.last_used_ip = "203.0.113.1".into();
        config.api_tokens.push(token);
        let mut uses = Uses::default();
        uses.keep(&config);
        assert_eq!(uses.take(), [], "what the file says is no news for it");
        for (last, news) in [(1, false), (2, true), (2, false), (1, false)] {
            assert_eq!(uses.note("a", ip(last), now()), news, "{last}");
        }
        let expected = TokenUse {
            id: "a".into(),
            at: now(),
            ip: ip(1),
        };
        assert_eq!(uses.take(), std::slice::from_ref(&expected));
        assert_eq!(uses.take(), []);
        uses.learn("a", "2020-01-01T00:00:00Z".parse().unwrap(), ip(9));
        assert_eq!(uses.last("a"), Some(expected), "an older use changes nothing");
        for last in 10..30 {
            assert!(uses.note("a", ip(last), now()));
        }
        assert!(uses.note("a", ip(1), now()), "eight addresses are remembered");
        assert_eq!(uses.by_id["a"].addresses.len(), ADDRESSES);
        config.api_tokens.clear();
        uses.keep(&config);
        assert!(uses.last("a").is_none() && uses.by_id.is_empty());
    }
}
