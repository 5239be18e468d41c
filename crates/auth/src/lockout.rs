//! Brute force: who failed too often may not try for a while.
//!
//! Contract: pure; time comes in. Five failures within 15 minutes lock a client out for 15 minutes; failures older
//! than that are forgotten, so that typos over a month lock nobody out. The white list is the caller's business.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::locked_out::{LockedOut, Running};
use crate::table::Table;

/// Failures that lock out.
pub(crate) const FAILURES: usize = 5;
/// How long a failure counts, and how long a lockout lasts.
pub(crate) const WINDOW: Duration = Duration::from_secs(15 * 60);
/// A locked client that keeps trying gets one line in this time.
const NOTED_EVERY: Duration = Duration::from_secs(10);
const CLIENTS: usize = 65_536;

/// What a failure led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// So many failures are on record.
    Counted(usize),
    /// This one locked the client out.
    Locked(Instant),
    /// The client was locked out already; the lockout lasts longer now.
    Renewed(Instant),
}

/// A client with failures on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Locked {
    /// Its address; of an IPv6 block the one seen last.
    pub ip: IpAddr,
    /// Failures on record.
    pub count: usize,
    /// When its lockout ends, if it is locked out.
    pub until: Option<Instant>,
}

/// Failures by client.
#[derive(Debug)]
pub struct Lockouts {
    clients: Table<Client>,
    locked_out: LockedOut,
}

#[derive(Debug, Default)]
struct Client {
    /// At most [`FAILURES`], oldest first.
    failures: Vec<Instant>,
    lockout: Option<Running>,
    noted: Option<Instant>,
}

impl Client {
    fn until(&self) -> Option<Instant> {
        self.lockout.as_ref().map(|lockout| lockout.until)
    }

    fn locked_until(&self, now: Instant) -> Option<Instant> {
        self.until().filter(|until| now < *until)
    }

    fn count(&self, now: Instant) -> usize {
        match self.until() {
            Some(until) if now >= until => 0,
            _ => self
                .failures
                .iter()
                .filter(|at| self.lockout.is_some() || is_fresh(**at, now))
                .count(),
        }
    }
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < WINDOW
}

impl Default for Lockouts {
    fn default() -> Lockouts {
        Lockouts {
            clients: Table::new(CLIENTS),
            locked_out: LockedOut::default(),
        }
    }
}

impl Lockouts {
    /// When the client may try again; `None` if it may now.
    pub fn locked_until(&self, ip: IpAddr, now: Instant) -> Option<Instant> {
        self.clients.get(ip)?.locked_until(now)
    }

    /// Counts a failure.
    pub fn fail(&mut self, ip: IpAddr, now: Instant) -> Failure {
        let client = self.clients.touch(ip);
        if client.until().is_some_and(|until| now >= until) {
            *client = Client::default();
        }
        let locked = client.lockout.is_some();
        if !locked {
            client.failures.retain(|at| is_fresh(*at, now));
            client.failures.push(now);
        }
        if client.failures.len() < FAILURES {
            return Failure::Counted(client.failures.len());
        }
        let until = now + WINDOW;
        client.lockout = Some(self.locked_out.until(until));
        if locked {
            Failure::Renewed(until)
        } else {
            Failure::Locked(until)
        }
    }

    /// Forgets the failures of a client that proved itself. A lockout stays: it is lifted by time or by people.
    pub fn succeed(&mut self, ip: IpAddr, now: Instant) {
        if self
            .clients
            .get(ip)
            .is_some_and(|client| client.locked_until(now).is_none())
        {
            self.clients.remove(ip);
        }
    }

    /// Whether a refusal of this locked client deserves a line: one in ten seconds.
    pub fn is_notable(&mut self, ip: IpAddr, now: Instant) -> bool {
        let Some(client) = self.clients.get_mut(ip) else {
            return false;
        };
        let due = client
            .noted
            .is_none_or(|noted| now.saturating_duration_since(noted) >= NOTED_EVERY);
        if due {
            client.noted = Some(now);
        }
        due
    }

    /// Lifts a lockout and forgets the failures; `false` if there were none.
    pub fn clear(&mut self, ip: IpAddr) -> bool {
        self.clients.remove(ip).is_some()
    }

    /// Removes what has run out and names the clients whose lockout ended.
    pub fn sweep(&mut self, now: Instant) -> Vec<IpAddr> {
        let stale: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, client)| client.count(now) == 0)
            .collect();
        let stale: Vec<_> = stale
            .into_iter()
            .map(|(ip, client)| (ip, client.lockout.is_some()))
            .collect();
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

    /// All clients with failures on record, the most failures first.
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

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Runs a script: at a minute, an address and what it does, and what comes of it in words.
    fn check(script: &[(u32, &str, &str, &str)]) {
        let start = Instant::now();
        let mut lockouts = Lockouts::default();
        for (step, (minute, address, action, expected)) in script.iter().enumerate() {
            let now = start + MINUTE * *minute;
            let after = |until: Instant| (until - start).as_secs() / 60;
            let seen = match *action {
                "fail" => match lockouts.fail(ip(address), now) {
                    Failure::Counted(count) => count.to_string(),
                    Failure::Locked(until) => format!("locked to {}", after(until)),
                    Failure::Renewed(until) => format!("renewed to {}", after(until)),
                },
                "ok" => {
                    lockouts.succeed(ip(address), now);
                    String::new()
                }
                "clear" => lockouts.clear(ip(address)).to_string(),
                "sweep" => format!("{:?}", lockouts.sweep(now)),
                "list" => {
                    let list = lockouts.list(now);
                    let words = list.iter().map(|client| {
                        format!("{} {} {:?}", client.ip, client.count, client.until.map(after))
                    });
                    words.collect::<Vec<_>>().join(", ")
                }
                "ask" => lockouts
                    .locked_until(ip(address), now)
                    .map_or("free".into(), |until| format!("to {}", after(until))),
                other => panic!("{other}"),
            };
            assert_eq!(seen, *expected, "step {step}: {minute} {address} {action}");
        }
    }

    #[test]
    fn the_fifth_failure_locks_for_15_minutes() {
        check(&[
            (0, "192.0.2.1", "fail", "1"),
            (1, "192.0.2.1", "fail", "2"),
            (2, "192.0.2.1", "fail", "3"),
            (3, "192.0.2.1", "fail", "4"),
            (3, "192.0.2.1", "ask", "free"),
            (4, "192.0.2.1", "fail", "locked to 19"),
            (4, "192.0.2.2", "ask", "free"),
            (18, "192.0.2.1", "ask", "to 19"),
            (18, "192.0.2.1", "fail", "renewed to 33"),
            (32, "192.0.2.1", "ask", "to 33"),
            (33, "192.0.2.1", "ask", "free"),
            (33, "192.0.2.1", "fail", "1"),
        ]);
    }

    #[test]
    fn old_failures_are_forgotten() {
        check(&[
            (0, "192.0.2.1", "fail", "1"),
            (5, "192.0.2.1", "fail", "2"),
            (10, "192.0.2.1", "fail", "3"),
            (14, "192.0.2.1", "fail", "4"),
            (15, "192.0.2.1", "fail", "4"),
            (24, "192.0.2.1", "fail", "4"),
            (24, "", "list", "192.0.2.1 4 None"),
            (40, "", "list", ""),
            (40, "", "sweep", "[]"),
        ]);
    }

    #[test]
    fn a_success_clears_failures_but_no_lockout() {
        check(&[
            (0, "192.0.2.1", "fail", "1"),
            (0, "192.0.2.1", "fail", "2"),
            (0, "192.0.2.1", "ok", ""),
            (0, "192.0.2.1", "fail", "1"),
            (0, "192.0.2.1", "fail", "2"),
            (0, "192.0.2.1", "fail", "3"),
            (0, "192.0.2.1", "fail", "4"),
            (0, "192.0.2.1", "fail", "locked to 15"),
            (1, "192.0.2.1", "ok", ""),
            (1, "192.0.2.1", "ask", "to 15"),
            (1, "192.0.2.1", "clear", "true"),
            (1, "192.0.2.1", "clear", "false"),
            (1, "192.0.2.1", "ask", "free"),
        ]);
    }

    #[test]
    fn ipv6_counts_by_block() {
        check(&[
            (0, "2001:db8::1", "fail", "1"),
            (0, "2001:db8::2", "fail", "2"),
            (0, "2001:db8::3", "fail", "3"),
            (0, "2001:db8:0:1::1", "fail", "1"),
            (0, "2001:db8::4", "fail", "4"),
            (0, "2001:db8::5", "fail", "locked to 15"),
            (1, "2001:db8::6", "ask", "to 15"),
            (1, "", "list", "2001:db8::5 5 Some(15), 2001:db8:0:1::1 1 None"),
            (14, "", "sweep", "[]"),
            (15, "", "sweep", "[2001:db8::5]"),
            (15, "", "sweep", "[]"),
        ]);
    }

    #[test]
    fn a_locked_client_is_noted_every_ten_seconds() {
        let start = Instant::now();
        let mut lockouts = Lockouts::default();
        assert!(!lockouts.is_notable(ip("192.0.2.1"), start));
        lockouts.fail(ip("192.0.2.1"), start);
        for (second, expected) in [(0, true), (9, false), (10, true), (11, false)] {
            assert_eq!(
                lockouts.is_notable(ip("192.0.2.1"), start + Duration::from_secs(second)),
                expected
            );
        }
    }

    #[test]
    fn lockouts_are_counted_whatever_becomes_of_them() {
        let start = Instant::now();
        let mut lockouts = Lockouts {
            clients: Table::new(3),
            ..Lockouts::default()
        };
        let locked_out = lockouts.locked_out();
        let lock = |lockouts: &mut Lockouts, address: &str, now| {
            for _ in 0..FAILURES {
                lockouts.fail(ip(address), now);
            }
        };
        for (address, expected) in [
            ("192.0.2.1", 1),
            ("192.0.2.2", 2),
            ("192.0.2.2", 2),
            ("192.0.2.3", 3),
        ] {
            lock(&mut lockouts, address, start);
            assert_eq!(locked_out.count(), expected, "{address}");
        }
        // There is room for three: the first is forgotten when the fourth fails for the first time.
        lockouts.fail(ip("192.0.2.4"), start);
        assert_eq!(locked_out.count(), 2);
        lockouts.clear(ip("192.0.2.2"));
        assert_eq!(locked_out.count(), 1);
        lockouts.sweep(start + WINDOW);
        assert_eq!(locked_out.count(), 0);
        // One that ran out is replaced by what the client does next.
        lock(&mut lockouts, "192.0.2.5", start);
        lockouts.fail(ip("192.0.2.5"), start + WINDOW);
        assert_eq!(locked_out.count(), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let start = Instant::now();
        let mut lockouts = Lockouts {
            clients: Table::new(100),
            ..Lockouts::default()
        };
        for number in 0..1_000_u32 {
            lockouts.fail(std::net::Ipv4Addr::from_bits(number).into(), start);
        }
        let list = lockouts.list(start);
        assert_eq!(list.len(), 100);
        assert_eq!(list[0].ip, ip("0.0.3.132"));
    }
}
