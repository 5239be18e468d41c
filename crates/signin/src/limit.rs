//! How often one client may do something.
//!
//! Contract: at most [`MOST_CLIENTS`] are remembered; a full memory forgets the one that was quiet longest. IPv6
//! clients count by their /64, because a single machine has a whole one to choose from.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Clients remembered at once.
const MOST_CLIENTS: usize = 10_000;

/// What stands for one client.
pub(crate) fn client(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        ip => ip,
    }
}

/// So many within a window that slides.
#[derive(Debug)]
pub(crate) struct Limit<K = IpAddr> {
    most: usize,
    window: Duration,
    times: HashMap<K, VecDeque<Instant>>,
}

impl<K: Copy + Eq + Hash> Limit<K> {
    pub(crate) fn new(most: usize, window: Duration) -> Self {
        Self {
            most,
            window,
            times: HashMap::new(),
        }
    }

    /// How long `key` has to wait; none may go on.
    pub(crate) fn wait(&mut self, key: K, now: Instant) -> Option<Duration> {
        let times = self.times.get_mut(&key)?;
        while times
            .front()
            .is_some_and(|time| now.saturating_duration_since(*time) >= self.window)
        {
            times.pop_front();
        }
        if times.len() < self.most {
            return None;
        }
        let free = *times.front()? + self.window;
        Some(free.saturating_duration_since(now))
    }

    /// Counts one for `key`.
    pub(crate) fn count(&mut self, key: K, now: Instant) {
        if self.times.len() >= MOST_CLIENTS && !self.times.contains_key(&key) {
            self.make_room(now);
        }
        let times = self.times.entry(key).or_default();
        if times.len() >= self.most {
            times.pop_front();
        }
        times.push_back(now);
    }

    fn make_room(&mut self, now: Instant) {
        let window = self.window;
        let live = |time: &Instant| now.saturating_duration_since(*time) < window;
        self.times.retain(|_, times| times.back().is_some_and(live));
        if self.times.len() >= MOST_CLIENTS {
            let quiet = self.times.iter().min_by_key(|(_, times)| times.back().copied());
            if let Some(key) = quiet.map(|(key, _)| *key) {
                self.times.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_window_slides() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut limit = Limit::new(2, Duration::from_secs(60));
        let one = client(ip("192.0.2.1"));
        for s in [0, 20] {
            assert_eq!(limit.wait(one, at(s)), None);
            limit.count(one, at(s));
        }
        assert_eq!(limit.wait(one, at(50)), Some(Duration::from_secs(10)));
        assert_eq!(limit.wait(client(ip("192.0.2.2")), at(50)), None);
        assert_eq!(limit.wait(one, at(60)), None);
        limit.count(one, at(60));
        assert_eq!(limit.wait(one, at(60)), Some(Duration::from_secs(20)));
    }

    #[test]
    fn memory_is_bounded_and_the_quiet_one_goes() {
        let start = Instant::now();
        let mut limit = Limit::new(1, Duration::from_secs(3600));
        for n in 0..=MOST_CLIENTS {
            limit.count(n, start + Duration::from_millis(n as u64));
        }
        assert_eq!(limit.times.len(), MOST_CLIENTS);
        let now = start + Duration::from_secs(20);
        assert_eq!(limit.wait(0, now), None);
        assert!(limit.wait(1, now).is_some());
    }

    #[test]
    fn a_client_is_an_address_or_a_64() {
        for (a, b, same) in [
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:0:0:2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(client(ip(a)) == client(ip(b)), same, "{a} {b}");
        }
    }
}
