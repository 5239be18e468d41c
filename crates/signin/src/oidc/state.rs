//! The `state` that travels to a provider and back.
//!
//! Contract: a state that opens was made by this process for this provider within the last ten minutes, and opens
//! once.

use std::collections::{HashSet, VecDeque};

use aws_lc_rs::hmac;
use jiff::Timestamp;
use observe::Mutex;

use crate::random::{self, base64url, from_base64url};

/// How long somebody may take at the provider.
pub(crate) const LIFE: i64 = 600;
/// Spent states that are remembered; they are needed until they run out.
const MOST_SPENT: usize = 10_000;
/// Longest state that is looked at.
const LONGEST: usize = 4096;
/// Longest place to go afterwards; a longer one is dropped. All of it has to fit into a cookie.
const LONGEST_NEXT: usize = 1024;

/// Makes states and opens them.
pub(crate) struct States {
    key: hmac::Key,
    /// Held for a look-up.
    spent: Mutex<Spent>,
}

#[derive(Default)]
struct Spent {
    tags: HashSet<Vec<u8>>,
    order: VecDeque<(i64, Vec<u8>)>,
}

/// What a state carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) next: String,
    pub(crate) link: Option<String>,
    expires: i64,
    tag: Vec<u8>,
}

impl States {
    pub(crate) fn new() -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &random::bytes::<32>()),
            spent: Mutex::new("oidc-states", Spent::default()),
        }
    }

    /// `<provider>:<expiry>:<random>:<HMAC of the rest>`. Behind the random part stand the place to go and the user
    /// who links, in base64url.
    pub(crate) fn make(&self, provider: &str, next: &str, link: Option<&str>, now: Timestamp) -> String {
        let expires = now.as_second() + LIFE;
        let random = base64url(random::bytes::<16>());
        let next = if next.len() <= LONGEST_NEXT { next } else { "" };
        let mut text = format!("{provider}:{expires}:{random}.{}", base64url(next));
        if let Some(user) = link {
            text.push('.');
            text.push_str(&base64url(user));
        }
        let tag = base64url(hmac::sign(&self.key, text.as_bytes()));
        format!("{text}:{tag}")
    }

    /// Reads a state that came back for `provider`.
    pub(crate) fn open(&self, text: &str, provider: &str, now: Timestamp) -> Option<State> {
        if text.len() > LONGEST {
            return None;
        }
        let (signed, tag) = text.rsplit_once(':')?;
        let tag = from_base64url(tag)?;
        hmac::verify(&self.key, signed.as_bytes(), &tag).ok()?;
        let (rest, random) = signed.rsplit_once(':')?;
        let (ours, expires) = rest.rsplit_once(':')?;
        let expires: i64 = expires.parse().ok()?;
        if ours != provider || expires <= now.as_second() {
            return None;
        }
        let mut parts = random.split('.').skip(1);
        let mut part = || String::from_utf8(from_base64url(parts.next()?)?).ok();
        Some(State {
            next: part()?,
            link: part(),
            expires,
            tag,
        })
    }

    /// Uses a state up. False is one that was used before.
    pub(crate) fn spend(&self, state: &State, now: Timestamp) -> bool {
        let mut spent = self.spent.lock();
        let Spent { tags, order } = &mut *spent;
        while order
            .front()
            .is_some_and(|(expires, _)| *expires <= now.as_second())
            || order.len() >= MOST_SPENT
        {
            if let Some((_, tag)) = order.pop_front() {
                tags.remove(&tag);
            }
        }
        let is_new = tags.insert(state.tag.clone());
        if is_new {
            order.push_back((state.expires, state.tag.clone()));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + s).unwrap()
    }

    #[test]
    fn a_state_carries_place_and_user() {
        let states = States::new();
        for (next, link) in [
            ("/admin?tab=a.b:c", None),
            ("", Some("alice:.é")),
            ("/x", Some("")),
        ] {
            let text = states.make("my:idp", next, link, at(0));
            let state = states.open(&text, "my:idp", at(599)).unwrap();
            assert_eq!(
                (state.next.as_str(), state.link.as_deref()),
                (next, link),
                "{text}"
            );
        }
        let long = states.make("x", &"a".repeat(2000), None, at(0));
        assert_eq!(states.open(&long, "x", at(0)).unwrap().next, "");
    }

    #[test]
    fn shape() {
        let text = States::new().make("google", "/x", None, at(0));
        let parts: Vec<_> = text.split(':').collect();
        assert_eq!(parts[..2], ["google", "1800000600"]);
        assert_eq!(from_base64url(parts[3]).unwrap().len(), 32);
    }

    #[test]
    fn what_does_not_open() {
        let states = States::new();
        let text = states.make("google", "/x", None, at(0));
        assert!(states.open(&text, "google", at(0)).is_some());
        let mut flipped = text.clone().into_bytes();
        flipped[8] ^= 1;
        let other_user = text.replacen('.', ".eA.", 1);
        for (why, text, provider, s) in [
            ("too late", text.as_str(), "google", 600),
            ("another provider", &text, "github", 0),
            ("another time", str::from_utf8(&flipped).unwrap(), "google", 0),
            ("another user", &other_user, "google", 0),
            (
                "another process",
                &States::new().make("google", "", None, at(0)),
                "google",
                0,
            ),
            ("cut", &text[..text.len() - 1], "google", 0),
            ("nothing", "", "google", 0),
            ("colons", ":::", "", 0),
            ("long", &format!("{text}{}", "A".repeat(5000)), "google", 0),
        ] {
            assert_eq!(states.open(text, provider, at(s)), None, "{why}");
        }
    }

    #[test]
    fn a_state_is_spent_once() {
        let states = States::new();
        let state = |s| {
            states
                .open(&states.make("x", "", None, at(s)), "x", at(s))
                .unwrap()
        };
        let one = state(0);
        assert!(states.spend(&one, at(1)));
        assert!(!states.spend(&one, at(599)));
        assert!(states.spend(&state(0), at(1)));
        assert_eq!(states.spent.lock().order.len(), 2);
        assert!(states.spend(&state(700), at(700)));
        assert_eq!(states.spent.lock().tags.len(), 1);
    }
}
