//! Scanners: who asks for many different things that are not there.
//!
//! Contract: pure; time comes in. 25 distinct missing paths within 10 minutes lock a client out for 15 minutes. A
//! listener that retries one mount for ever never gets there. The white list is the caller's business.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::locked_out::{LockedOut, Running};
use crate::lockout::Locked;
use crate::table::Table;

/// Distinct paths that lock out.
pub(crate) const PATHS: usize = 25;
const WINDOW: Duration = Duration::from_secs(10 * 60);
const LOCKOUT: Duration = Duration::from_secs(15 * 60);
const CLIENTS: usize = 65_536;

/// Browsers ask for these by themselves.
const HARMLESS_ENDINGS: &[&str] = &[
    ".ico",
    ".png",
    ".jpg",
    ".jpeg",
    ".gif",
    ".svg",
    ".webp",
    ".css",
    ".js",
    ".map",
    ".json",
    ".xml",
    ".txt",
    ".webmanifest",
    ".woff",
    ".woff2",
    ".ttf",
];

/// Missing paths by client.
#[derive(Debug)]
pub struct Scans {
    clients: Table<Client>,
    locked_out: LockedOut,
    /// Keyed afresh in each process, so that nobody can prepare paths that look alike.
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Client {
    /// At most [`PATHS`]; a path and when it was last missed.
    paths: Vec<(u64, Instant)>,
    lockout: Option<Running>,
}

impl Client {
    fn locked_until(&self, now: Instant) -> Option<Instant> {
        let until = self.lockout.as_ref().map(|lockout| lockout.until);
        until.filter(|until| now < *until)
    }

    fn count(&self, now: Instant) -> usize {
        match self.locked_until(now) {
            Some(_) => PATHS,
            None => self.paths.iter().filter(|(_, at)| is_fresh(*at, now)).count(),
        }
    }
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < WINDOW
}

impl Default for Scans {
    fn default() -> Scans {
        Scans {
            clients: Table::new(CLIENTS),
            locked_out: LockedOut::default(),
            hasher: RandomState::new(),
        }
    }
}

impl Scans {
    /// Whether a missing path says something about who asks for it.
    pub fn counts(path: &str) -> bool {
        let path = path.split('?').next().unwrap_or_default();
        let name = path.as_bytes();
        let harmless = |ending: &&str| {
            name.len() >= ending.len()
                && name[name.len() - ending.len()..].eq_ignore_ascii_case(ending.as_bytes())
        };
        !path.starts_with("/.well-known/") && !HARMLESS_ENDINGS.iter().any(harmless)
    }

    /// Notes a missing path; the answer is when the lockout that it caused ends.
    pub fn miss(&mut self, ip: IpAddr, path: &str, now: Instant) -> Option<Instant> {
        let hash = self.hasher.hash_one(path);
        let client = self.clients.touch(ip);
        if client.locked_until(now).is_some() {
            return None;
        }
        client.lockout = None;
        client
            .paths
            .retain(|(known, at)| is_fresh(*at, now) && *known != hash);
        client.paths.push((hash, now));
        if client.paths.len() < PATHS {
            return None;
        }
        client.paths = Vec::new();
        let until = now + LOCKOUT;
        client.lockout = Some(self.locked_out.until(until));
        Some(until)
    }

    /// When the client's lockout ends, if it has one.
    pub fn locked_until(&self, ip: IpAddr, now: Instant) -> Option<Instant> {
        self.clients.get(ip)?.locked_until(now)
    }

    /// Lifts a lockout and forgets the paths; `false` if there were none.
    pub fn clear(&mut self, ip: IpAddr) -> bool {
        self.clients.remove(ip).is_some()
    }

    /// Removes what has run out and names the clients whose lockout ended.
    pub fn sweep(&mut self, now: Instant) -> Vec<IpAddr> {
        let stale = self.clients.iter().filter(|(_, client)| client.count(now) == 0);
        let stale: Vec<_> = stale.map(|(ip, client)| (ip, client.lockout.is_some())).collect();
        for (ip, _) in &stale {
            self.clients.remove(*ip);
        }
        stale
            .into_iter()
            .filter(|(_, locked)| *locked)
            .map(|(ip, _)| ip)
            .collect()
    }

    /// How many clients are locked out, counted without a look at them.
    pub(crate) fn locked_out(&self) -> LockedOut {
        self.locked_out.clone()
    }

    /// All clients that missed something lately, the most paths first.
    pub fn list(&self, now: Instant) -> Vec<Locked> {
        let describe = |(ip, client): (IpAddr, &Client)| Locked {
            ip,
            count: client.count(now),
            until: client.locked_until(now),
        };
        let mut list: Vec<_> = self
            .clients
            .iter()
            .map(describe)
            .filter(|client| client.count > 0)
            .collect();
        list.sort_by(|a, b| b.count.cmp(&a.count).then(a.ip.cmp(&b.ip)));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn ip() -> IpAddr {
        [192, 0, 2, 1].into()
    }

    #[test]
    fn twenty_five_distinct_paths_lock_out() {
        let start = Instant::now();
        let mut scans = Scans::default();
        for number in 0..24 {
            assert_eq!(scans.miss(ip(), &format!("/{number}"), start), None);
            assert_eq!(scans.miss(ip(), "/0", start), None, "a repeated path is one path");
        }
        assert_eq!(
            scans.list(start),
            [Locked {
                ip: ip(),
                count: 24,
                until: None
            }]
        );
        let until = start + 15 * MINUTE;
        assert_eq!(scans.miss(ip(), "/24", start), Some(until));
        assert_eq!(scans.miss(ip(), "/25", start), None, "locked out once");
        assert_eq!(scans.locked_until(ip(), start + 14 * MINUTE), Some(until));
        assert_eq!(
            scans.list(start),
            [Locked {
                ip: ip(),
                count: 25,
                until: Some(until)
            }]
        );
        assert_eq!(scans.locked_until(ip(), until), None);
        assert_eq!(scans.miss(ip(), "/26", until), None, "the set was emptied");
        assert_eq!(scans.list(until)[0].count, 1);
    }

    #[test]
    fn one_path_for_ever_never_locks_out() {
        let start = Instant::now();
        let mut scans = Scans::default();
        for second in 0..10_000 {
            assert_eq!(
                scans.miss(ip(), "/live", start + Duration::from_secs(second)),
                None
            );
        }
    }

    #[test]
    fn paths_are_forgotten_after_ten_minutes() {
        let start = Instant::now();
        let mut scans = Scans::default();
        for number in 0..500 {
            assert_eq!(
                scans.miss(ip(), &format!("/{number}"), start + MINUTE / 2 * number),
                None,
                "{number}"
            );
        }
        assert_eq!(scans.list(start + MINUTE / 2 * 499)[0].count, 20);
        assert_eq!(scans.sweep(start + 300 * MINUTE), [] as [IpAddr; 0]);
        assert!(!scans.clear(ip()));
    }

    #[test]
    fn a_lockout_can_be_lifted_and_ends() {
        let start = Instant::now();
        let mut scans = Scans::default();
        let lock =
            |scans: &mut Scans| (0..25).find_map(|number| scans.miss(ip(), &format!("/{number}"), start));
        let locked_out = scans.locked_out();
        assert!(lock(&mut scans).is_some() && locked_out.count() == 1 && scans.clear(ip()));
        assert_eq!(locked_out.count(), 0);
        assert_eq!(scans.locked_until(ip(), start), None);
        assert!(lock(&mut scans).is_some());
        assert_eq!(scans.sweep(start + 15 * MINUTE), [ip()]);
    }

    #[test]
    fn some_paths_say_nothing() {
        for (path, counts) in [
            ("/wp-login.php", true),
            ("/live", true),
            ("/live.mp3", true),
            ("/favicon.ico", false),
            ("/apple-touch-icon.PNG", false),
            ("/x.json?y=1", false),
            ("/x?y=.json", true),
            ("/.well-known/security.txt", false),
            ("/.well-known/acme-challenge/x", false),
            ("/é", true),
        ] {
            assert_eq!(Scans::counts(path), counts, "{path}");
        }
    }
}
