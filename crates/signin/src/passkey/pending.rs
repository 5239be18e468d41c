//! Questions that wait for their answer.
//!
//! Contract: a question is answered once and within [`LIFE`]; there are at most [`MOST`] of each kind, and one client
//! cannot take more than [`MOST_PER_CLIENT`] of those that anybody may ask for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::limit::{Limit, client};

/// How long an answer may take.
pub(crate) const LIFE: Duration = Duration::from_secs(60);
/// Questions of each kind at once.
pub(crate) const MOST: usize = 1000;
/// Login questions of one client at once, and within a minute.
pub(crate) const MOST_PER_CLIENT: usize = 20;

pub(crate) type Challenge = [u8; 32];

/// Says when there may be a place again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full(pub(crate) Duration);

/// A question for a new passkey.
#[derive(Debug)]
pub(crate) struct Enrolment {
    pub(crate) challenge: Challenge,
    /// The handle to store with the user, if it is a new one.
    pub(crate) handle: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Pending {
    enrolments: HashMap<String, (Enrolment, Instant)>,
    logins: HashMap<Challenge, (IpAddr, Instant)>,
    rate: Limit,
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self {
            enrolments: HashMap::new(),
            logins: HashMap::new(),
            rate: Limit::new(MOST_PER_CLIENT, Duration::from_secs(60)),
        }
    }

    /// A new question takes the place of an older one of the same user.
    pub(crate) fn enrol(&mut self, user: &str, enrolment: Enrolment, now: Instant) -> Result<(), Full> {
        if self.enrolments.len() >= MOST && !self.enrolments.contains_key(user) {
            self.enrolments.retain(|_, (_, end)| *end > now);
            room(
                self.enrolments.len(),
                self.enrolments.values().map(|(_, end)| *end),
                now,
            )?;
        }
        self.enrolments.insert(user.to_owned(), (enrolment, now + LIFE));
        Ok(())
    }

    pub(crate) fn take_enrolment(&mut self, user: &str, now: Instant) -> Option<Enrolment> {
        let (enrolment, end) = self.enrolments.remove(user)?;
        (end > now).then_some(enrolment)
    }

    pub(crate) fn ask(&mut self, challenge: Challenge, ip: IpAddr, now: Instant) -> Result<(), Full> {
        let ip = client(ip);
        if let Some(wait) = self.rate.wait(ip, now) {
            return Err(Full(wait));
        }
        self.logins.retain(|_, (_, end)| *end > now);
        room(self.logins.len(), self.logins.values().map(|(_, end)| *end), now)?;
        let own = self.logins.values().filter(|(other, _)| *other == ip);
        if own.clone().count() >= MOST_PER_CLIENT {
            let soonest = own.map(|(_, end)| *end).min();
            return Err(Full(soonest.unwrap_or(now).saturating_duration_since(now)));
        }
        self.rate.count(ip, now);
        self.logins.insert(challenge, (ip, now + LIFE));
        Ok(())
    }

    pub(crate) fn take_login(&mut self, challenge: &Challenge, now: Instant) -> bool {
        self.logins.remove(challenge).is_some_and(|(_, end)| end > now)
    }
}

fn room(len: usize, ends: impl Iterator<Item = Instant>, now: Instant) -> Result<(), Full> {
    match ends.min() {
        Some(soonest) if len >= MOST => Err(Full(soonest.saturating_duration_since(now))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn challenge(n: u32) -> Challenge {
        let mut challenge = [0; 32];
        challenge[..4].copy_from_slice(&n.to_be_bytes());
        challenge
    }

    fn ip(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn one_client_gets_twenty_a_minute() {
        let now = Instant::now();
        let mut pending = Pending::new();
        for n in 0..20 {
            assert_eq!(pending.ask(challenge(n), ip(1), now), Ok(()), "{n}");
        }
        assert_eq!(pending.ask(challenge(20), ip(1), now), Err(Full(LIFE)));
        assert_eq!(pending.ask(challenge(20), ip(2), now), Ok(()));
        // A question that was answered counts for the rate all the same.
        assert!(pending.take_login(&challenge(0), now));
        assert_eq!(pending.ask(challenge(21), ip(1), now), Err(Full(LIFE)));
        assert_eq!(pending.ask(challenge(21), ip(1), now + LIFE), Ok(()));
    }

    #[test]
    fn a_thousand_wait_and_time_makes_room() {
        let now = Instant::now();
        let later = |s| now + Duration::from_secs(s);
        let mut pending = Pending::new();
        for n in 0..1000 {
            assert_eq!(pending.ask(challenge(n), ip(n), later(1)), Ok(()), "{n}");
        }
        assert_eq!(
            pending.ask(challenge(1000), ip(1000), later(11)),
            Err(Full(Duration::from_secs(50)))
        );
        assert_eq!(pending.ask(challenge(1000), ip(1000), later(61)), Ok(()));
        assert_eq!(pending.logins.len(), 1);
    }

    #[test]
    fn a_question_is_answered_once_and_in_time() {
        let now = Instant::now();
        let just = now + LIFE - Duration::from_millis(1);
        let mut pending = Pending::new();
        let enrolment = |n| Enrolment {
            challenge: challenge(n),
            handle: None,
        };
        pending.ask(challenge(1), ip(1), now).unwrap();
        assert!(!pending.take_login(&challenge(2), now));
        assert!(pending.take_login(&challenge(1), just));
        assert!(!pending.take_login(&challenge(1), just));
        pending.ask(challenge(1), ip(1), now).unwrap();
        assert!(!pending.take_login(&challenge(1), now + LIFE));

        pending.enrol("alice", enrolment(1), now).unwrap();
        pending.enrol("alice", enrolment(2), now).unwrap();
        assert!(pending.take_enrolment("bob", now).is_none());
        assert_eq!(
            pending.take_enrolment("alice", just).unwrap().challenge,
            challenge(2)
        );
        assert!(pending.take_enrolment("alice", just).is_none());
        pending.enrol("alice", enrolment(1), now).unwrap();
        assert!(pending.take_enrolment("alice", now + LIFE).is_none());
    }

    #[test]
    fn enrolments_are_bounded_too() {
        let now = Instant::now();
        let mut pending = Pending::new();
        let enrolment = || Enrolment {
            challenge: challenge(0),
            handle: None,
        };
        for n in 0..1000 {
            pending.enrol(&n.to_string(), enrolment(), now).unwrap();
        }
        assert_eq!(pending.enrol("more", enrolment(), now), Err(Full(LIFE)));
        assert_eq!(pending.enrol("7", enrolment(), now), Ok(()));
        assert_eq!(pending.enrol("more", enrolment(), now + LIFE), Ok(()));
    }
}
