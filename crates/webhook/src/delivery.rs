//! One thing to tell one hook, and how it survives a restart.
//!
//! Contract: the id is the same on every attempt, also after a restart.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{Event, Notice, Payload};

/// Keeps what is not delivered yet. Neither call may wait for a disk: hooks are told from everywhere.
pub trait Backlog: Send + Sync {
    /// Stores a value, in the place of an earlier one under the key.
    fn save(&self, key: &str, value: Vec<u8>);
    /// Forgets a key.
    fn remove(&self, key: &str);
}

/// Keeps nothing.
impl Backlog for () {
    fn save(&self, _key: &str, _value: Vec<u8>) {}
    fn remove(&self, _key: &str) {}
}

/// One thing to tell one hook.
#[derive(Clone, PartialEq)]
pub(crate) struct Delivery {
    /// A UUID; also its key in the backlog.
    pub(crate) id: String,
    pub(crate) event: Event,
    pub(crate) at: Timestamp,
    pub(crate) payload: Payload,
    /// Attempts so far.
    pub(crate) attempts: u32,
    /// Orders those of the same moment.
    serial: u64,
}

impl Delivery {
    pub(crate) fn new(notice: &Notice, at: Timestamp) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        Self {
            id: uuid(),
            event: notice.event(),
            at,
            payload: notice.payload(),
            attempts: 0,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The mount that it is about.
    pub(crate) fn mount(&self) -> Option<&str> {
        self.payload.get("mount").and_then(Value::as_str)
    }

    /// Where it stands among others.
    pub(crate) fn order(&self) -> (Timestamp, u64) {
        (self.at, self.serial)
    }

    /// For the backlog.
    pub(crate) fn to_bytes(&self, hook: &str) -> Vec<u8> {
        let tree = json!({
            "hook": hook, "event": self.event, "at": self.at.to_string(), "serial": self.serial,
            "attempts": self.attempts, "payload": self.payload,
        });
        tree.to_string().into_bytes()
    }

    /// The hook and the delivery of an entry of the backlog; nothing if it is of no use.
    pub(crate) fn of_bytes(key: &str, value: &[u8]) -> Option<(String, Self)> {
        let mut tree: Value = serde_json::from_slice(value).ok()?;
        let Value::Object(payload) = tree.get_mut("payload")?.take() else {
            return None;
        };
        // The id becomes the value of a header.
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
            return None;
        }
        let delivery = Self {
            id: key.to_owned(),
            event: tree.get("event")?.as_str()?.parse().ok()?,
            at: tree.get("at")?.as_str()?.parse().ok()?,
            payload,
            attempts: u32::try_from(tree.get("attempts")?.as_u64()?).ok()?,
            serial: tree.get("serial")?.as_u64()?,
        };
        Some((tree.get("hook")?.as_str()?.to_owned(), delivery))
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.id)
            .field("event", &self.event)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// A random UUID (RFC 9562 section 5.4).
fn uuid() -> String {
    let mut bytes = [0; 16];
    // Without the system's randomness ids need only differ.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = fastrand::u128(..).to_be_bytes();
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids() {
        let id = uuid();
        let bytes = id.as_bytes();
        assert_eq!((id.len(), bytes[14]), (36, b'4'));
        assert!(matches!(bytes[19], b'8' | b'9' | b'a' | b'b'), "{id}");
        assert_ne!(id, uuid());
    }

    #[test]
    fn survives_the_backlog() {
        for event in Event::ALL {
            let mut delivery =
                Delivery::new(&Notice::sample(*event), "2026-01-01T00:15:00.5Z".parse().unwrap());
            delivery.attempts = 3;
            let bytes = delivery.to_bytes("wh_1");
            let (hook, back) = Delivery::of_bytes(&delivery.id, &bytes).unwrap();
            assert_eq!((hook.as_str(), &back), ("wh_1", &delivery));
            assert_eq!(Delivery::of_bytes("a\r\nb", &bytes), None);
        }
        for rubbish in [
            "",
            "{}",
            "[]",
            "{\"payload\":1}",
            "{\"payload\":{},\"event\":\"lunch\"}",
        ] {
            assert_eq!(Delivery::of_bytes("1", rubbish.as_bytes()), None, "{rubbish}");
        }
    }
}
