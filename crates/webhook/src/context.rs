//! What a template can name.
//!
//! Contract: a flat object. Entries of the payload stand in it under their own and under their camel-case name, and
//! win over everything else.

use std::sync::Arc;

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    Event, Payload,
    template::value::{Entries, Value, write_json_text},
};

/// The names that every event has.
pub(crate) const GLOBALS: &[&str] = &[
    "Event",
    "Timestamp",
    "UnixTimestamp",
    "Date",
    "Time",
    "Hostname",
    "BaseURL",
    "Version",
];

/// What is the same for all events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Of the server.
    pub hostname: String,
    /// Where listeners reach it; empty if that is not set.
    pub base_url: String,
    /// Of the program.
    pub version: String,
}

impl Facts {
    fn base(&self) -> &str {
        self.base_url.trim_end_matches('/')
    }
}

/// One event, with what is known about it.
pub(crate) struct Context<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) event: Event,
    pub(crate) at: Timestamp,
    pub(crate) payload: &'a Payload,
}

impl Context<'_> {
    /// The values for a template.
    pub(crate) fn values(&self) -> Value {
        let utc = self.at.to_zoned(TimeZone::UTC);
        let mut entries = Entries::new();
        let mut put = |name: &str, value: Value| {
            entries.insert(name.to_owned(), value);
        };
        put("Event", Value::text(self.event.as_str()));
        put("Timestamp", Value::text(rfc3339(self.at)));
        put("UnixTimestamp", Value::Int(self.at.as_second()));
        put("Date", Value::text(utc.strftime("%Y-%m-%d").to_string()));
        put("Time", Value::text(utc.strftime("%H:%M:%S").to_string()));
        put("Hostname", Value::text(self.facts.hostname.as_str()));
        put("Version", Value::text(self.facts.version.as_str()));
        let base = self.facts.base();
        put("BaseURL", Value::text(base));
        let mount = self.payload.get("mount").and_then(serde_json::Value::as_str);
        if let Some(mount) = mount
            && !mount.is_empty()
            && !base.is_empty()
        {
            put("MountURL", Value::text(format!("{base}{mount}")));
            put("PlayerURL", Value::text(format!("{base}/player{mount}")));
        }
        for (name, value) in self.payload {
            put(&camel(name), Value::of_json(value));
        }
        for (name, value) in self.payload {
            put(name, Value::of_json(value));
        }
        Value::Map(Arc::new(entries))
    }

    /// The body of a hook without template.
    pub(crate) fn envelope(&self) -> String {
        let mut out = String::from("{\"event\":");
        write_json_text(self.event.as_str(), &mut out);
        out.push_str(",\"timestamp\":");
        write_json_text(&rfc3339(self.at), &mut out);
        out.push_str(",\"hostname\":");
        write_json_text(&self.facts.hostname, &mut out);
        out.push_str(",\"data\":");
        let data = self.payload.iter();
        let data = data.map(|(name, value)| (name.clone(), Value::of_json(value)));
        Value::Map(Arc::new(data.collect())).write_json(&mut out);
        out.push('}');
        out
    }
}

/// In UTC, to the second.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// `duration_seconds` is `DurationSeconds`.
pub(crate) fn camel(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let mut chars = word.chars();
        let first = chars.next().map(|c| c.to_ascii_uppercase());
        first.into_iter().chain(chars).collect::<String>()
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Notice;

    fn told(base_url: &str, event: Event) -> String {
        let payload = Notice::sample(event).payload();
        let facts = Facts {
            hostname: "radio.example".to_owned(),
            base_url: base_url.to_owned(),
            version: "1.2.3".to_owned(),
        };
        let context = Context {
            facts: &facts,
            event,
            at: Timestamp::constant(1_767_226_500, 987_000_000),
            payload: &payload,
        };
        let mut out = String::new();
        context.values().write_json(&mut out);
        format!("{out}\n{}", context.envelope())
    }

    #[test]
    fn values_and_envelope() {
        assert_eq!(
            told("https://radio.example/", Event::StreamSilent),
            "{\"BaseURL\":\"https://radio.example\",\"Date\":\"2026-01-01\",\"Event\":\"stream_silent\",\
             \"Hostname\":\"radio.example\",\"Mount\":\"/live\",\"MountURL\":\"https://radio.example/live\",\
             \"Name\":\"Example Radio\",\"PlayerURL\":\"https://radio.example/player/live\",\"Seconds\":30,\
             \"Time\":\"00:15:00\",\"Timestamp\":\"2026-01-01T00:15:00Z\",\"UnixTimestamp\":1767226500,\
             \"Version\":\"1.2.3\",\"mount\":\"/live\",\"name\":\"Example Radio\",\"seconds\":30}\n\
             {\"event\":\"stream_silent\",\"timestamp\":\"2026-01-01T00:15:00Z\",\"hostname\":\"radio.example\",\
             \"data\":{\"mount\":\"/live\",\"name\":\"Example Radio\",\"seconds\":30}}"
        );
        let without = told("", Event::StreamSilent);
        assert!(
            without.contains("\"BaseURL\":\"\"") && !without.contains("MountURL"),
            "{without}"
        );
        assert!(!told("https://radio.example", Event::UserPending).contains("MountURL"));
    }
}
