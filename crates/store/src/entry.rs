//! What is written: the entries, cut to size before they enter the queue.
//!
//! Contract: a text that somebody outside chose has a bound here, so the queue's length bounds its memory.

use std::borrow::Cow;

use jiff::Timestamp;

/// Which side a program is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentKind {
    /// It plays.
    Listener,
    /// It sends.
    Source,
}

impl AgentKind {
    /// The text in the database.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Source => "source",
        }
    }
}

/// A live mount at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The mount.
    pub mount: String,
    /// Its listeners.
    pub listeners: u64,
    /// What its sources sent so far.
    pub bytes_in: u64,
    /// What its listeners got so far.
    pub bytes_out: u64,
}

/// One entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// The account; `system` when there is none.
    pub username: String,
    /// What was done, such as `user_created`.
    pub action: String,
    /// What kind of thing it was done to.
    pub resource_type: String,
    /// Which one.
    pub resource_id: String,
    /// More, in one line and without secrets.
    pub detail: String,
    /// The address that asked.
    pub ip: String,
    /// When.
    pub at: Timestamp,
}

impl AuditEntry {
    pub(crate) fn bounded(mut self) -> Self {
        if self.username.is_empty() {
            "system".clone_into(&mut self.username);
        }
        for (text, most) in [
            (&mut self.username, 256),
            (&mut self.action, 64),
            (&mut self.resource_type, 64),
            (&mut self.resource_id, 1_024),
            (&mut self.detail, 1_024),
            (&mut self.ip, 64),
        ] {
            if let Cow::Owned(bounded) = line(text, most) {
                *text = bounded;
            }
        }
        self
    }
}

/// A write that waits.
#[derive(Debug)]
pub(crate) enum Write {
    Song {
        mount: String,
        song: String,
        at: Timestamp,
    },
    Agent(AgentKind, String),
    Samples(Vec<Sample>, Timestamp),
    Audit(Box<AuditEntry>),
    Put {
        kind: &'static str,
        key: String,
        value: Vec<u8>,
    },
    Delete {
        kind: &'static str,
        key: String,
    },
}

impl Write {
    /// The bytes that it holds, about.
    pub(crate) fn size(&self) -> usize {
        let texts = match self {
            Self::Song { mount, song, .. } => mount.len() + song.len(),
            Self::Agent(_, agent) => agent.len(),
            Self::Samples(samples, _) => samples
                .iter()
                .map(|sample| sample.mount.len() + size_of::<Sample>())
                .sum(),
            Self::Audit(entry) => {
                entry.detail.len() + entry.resource_id.len() + size_of::<AuditEntry>() + 512
            }
            Self::Put { key, value, .. } => key.len() + value.len(),
            Self::Delete { key, .. } => key.len(),
        };
        texts + size_of::<Self>()
    }

    /// Whether it is one that the server can do without: statistics give way to all else.
    pub(crate) fn is_statistics(&self) -> bool {
        matches!(self, Self::Agent(..) | Self::Samples(..))
    }
}

/// A song that is worth a row.
pub(crate) fn song(mount: &str, song: &str, at: Timestamp) -> Option<Write> {
    let song = line(song.trim(), 1_024);
    (!matches!(&*song, "" | "N/A" | "-")).then(|| Write::Song {
        mount: mount.to_owned(),
        song: song.into_owned(),
        at,
    })
}

/// A program by its name.
pub(crate) fn agent(kind: AgentKind, agent: Option<&str>) -> Write {
    const MOST: usize = 256;

    let agent = agent.unwrap_or_default().trim();
    let agent: String = match agent {
        "" => "Unknown".to_owned(),
        agent => agent.chars().map(printable).take(MOST).collect(),
    };
    Write::Agent(kind, agent)
}

/// A text as one line of at most so many bytes; borrowed if it is one already.
fn line(text: &str, most: usize) -> Cow<'_, str> {
    let end = (0..=most.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0);
    let cut = &text[..end];
    if cut.len() == text.len() && !text.contains(char::is_control) {
        return text.into();
    }
    cut.chars().map(printable).collect::<String>().into()
}

fn printable(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_no_songs() {
        for text in ["", "  ", "N/A", " - ", "\t-"] {
            assert!(song("/live", text, Timestamp::UNIX_EPOCH).is_none(), "{text:?}");
        }
        let Some(Write::Song { song, .. }) = song("/live", " A -\nB ", Timestamp::UNIX_EPOCH) else {
            panic!("it is a song");
        };
        assert_eq!(song, "A - B");
    }

    #[test]
    fn agents_have_a_name_and_a_bound() {
        let long = "é".repeat(300);
        for (given, expected) in [
            (None, "Unknown".to_owned()),
            (Some(" "), "Unknown".to_owned()),
            (Some("butt\r\n1.40"), "butt  1.40".to_owned()),
            (Some(&*long), "é".repeat(256)),
        ] {
            let Write::Agent(AgentKind::Source, agent) = agent(AgentKind::Source, given) else {
                panic!("it is an agent");
            };
            assert_eq!(agent, expected);
        }
    }

    #[test]
    fn audit_entries_are_one_bounded_line() {
        let entry = AuditEntry {
            username: String::new(),
            action: "user_created".into(),
            resource_type: "user".into(),
            resource_id: "x".repeat(5_000),
            detail: format!("a\nb\r\u{0}{}", "é".repeat(1_000)),
            ip: "203.0.113.9".into(),
            at: Timestamp::UNIX_EPOCH,
        }
        .bounded();
        assert_eq!(entry.username, "system");
        assert_eq!(entry.resource_id.len(), 1_024);
        assert!(entry.detail.starts_with("a b  é"), "{}", entry.detail);
        assert!(entry.detail.len() <= 1_024 && entry.detail.len() > 1_020);
    }
}
