//! Relays that would pull from each other in a circle.
//!
//! A relay names its instance in the request, and the answer names the instances that the stream has been through.
//! The first finds the circle of one (the answer is 508); the second all longer ones: the relay itself lets go.

use http::{HeaderMap, StatusCode};

use crate::{Answer, text};

/// Carries instance ids: in a request the relay's own, in an answer those that the stream came through.
pub const LOOP_HEADER: &str = "x-tinyice-relay";

/// Instances that are believed of one answer. A longer chain is not one that anybody built on purpose.
const LONGEST: usize = 16;

/// Longest id that is believed.
const ID_MAX: usize = 64;

/// The instances that a stream came through, the nearest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain(Vec<String>);

impl Chain {
    /// Reads an upstream's answer.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        let legal =
            |id: &String| !id.is_empty() && id.len() <= ID_MAX && id.bytes().all(|b| b.is_ascii_graphic());
        Self(ids(headers).filter(legal).take(LONGEST).collect())
    }

    /// Whether the stream has been here, or in so many places that it must be going round.
    #[must_use]
    pub fn leads_back_to(&self, own_instance: &str) -> bool {
        self.0.len() >= LONGEST || self.0.iter().any(|id| id == own_instance)
    }

    /// What to tell a relay that pulls the stream from us.
    #[must_use]
    pub fn through(&self, own_instance: &str) -> String {
        let mut all = own_instance.to_owned();
        for id in &self.0 {
            all.push_str(", ");
            all.push_str(id);
        }
        all
    }
}

/// Whether a listener is a relay.
#[must_use]
pub fn is_relay(headers: &HeaderMap) -> bool {
    headers.contains_key(LOOP_HEADER)
}

/// Whether a listener is a relay of this very instance. The header may list several instances.
#[must_use]
pub fn is_loop(headers: &HeaderMap, own_instance: &str) -> bool {
    ids(headers).any(|id| id == own_instance)
}

/// 508 to such a listener.
#[must_use]
pub fn loop_detected() -> Answer {
    Answer::text(StatusCode::LOOP_DETECTED, "Loop Detected")
}

fn ids(headers: &HeaderMap) -> impl Iterator<Item = String> + '_ {
    headers
        .get_all(LOOP_HEADER)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(|id| text::decode(id.trim_ascii()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head_lines;

    #[test]
    fn our_own_id_comes_back_as_508() {
        for (head, relay, looped) in [
            ("X-TinyIce-Relay: ab12", true, true),
            ("x-tinyice-relay: cd34, ab12", true, true),
            ("X-TinyIce-Relay: cd34\nX-TinyIce-Relay: ab12", true, true),
            ("X-TinyIce-Relay: ab123", true, false),
            ("", false, false),
        ] {
            let headers = head_lines::parse(head.as_bytes());
            assert_eq!(is_loop(&headers, "ab12"), looped, "{head}");
            assert_eq!(is_relay(&headers), relay, "{head}");
        }
        assert_eq!(loop_detected().status, 508);
    }

    #[test]
    fn a_stream_is_not_taken_back_by_an_instance_that_it_came_through() {
        let mut chain = Chain::default();
        // a pulls from nobody, b from a, c from b.
        for (instance, told) in [("a", "a"), ("b", "b, a"), ("c", "c, b, a")] {
            assert!(!chain.leads_back_to(instance));
            assert_eq!(chain.through(instance), told);
            chain = Chain::read(&head_lines::parse(format!("X-TinyIce-Relay: {told}").as_bytes()));
        }
        for (instance, back) in [("a", true), ("b", true), ("c", true), ("d", false)] {
            assert_eq!(chain.leads_back_to(instance), back, "{instance}");
        }
    }

    #[test]
    fn what_an_upstream_claims_is_bounded() {
        let many = format!("X-TinyIce-Relay: {}", "x, ".repeat(1000));
        let chain = Chain::read(&head_lines::parse(many.as_bytes()));
        assert!(chain.leads_back_to("a"));
        assert!(chain.through("a").len() < 100);
        let odd = format!("X-TinyIce-Relay: {}, , b\u{e9}, ok", "x".repeat(65));
        let chain = Chain::read(&head_lines::parse(odd.as_bytes()));
        assert_eq!(chain.through("a"), "a, ok");
    }
}
