//! What a source says of itself.

use std::net::IpAddr;

observe::label! {
    /// How media reaches a mount.
    pub enum Protocol {
        /// Icecast `SOURCE` or `PUT`, or a Shoutcast source.
        Icecast = "icecast",
        /// Pulled from another server.
        Relay = "relay",
    }
}

/// Who feeds a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// How.
    pub protocol: Protocol,
    /// Shown as the source's address: the client address, or `relay-pull`.
    pub label: String,
    /// Client address of a source that connected to us.
    pub ip: Option<IpAddr>,
    /// What the encoder calls itself; empty when it does not.
    pub user_agent: String,
    /// The account whose password it used; none for passwords of mounts.
    pub account: Option<String>,
}

/// The station's description, cleaned already: trimmed, without control characters, bounded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Station {
    /// Stream name.
    pub name: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Genre.
    pub genre: Option<String>,
    /// Home page.
    pub url: Option<String>,
    /// Whether directories may list it.
    pub public: bool,
    /// Declared bitrate as the source wrote it; a number of kbit/s, as a rule.
    pub bitrate: Option<String>,
    /// `ice-audio-info` as it came.
    pub audio_info: Option<String>,
    /// Its pairs, decoded.
    pub audio_facts: Vec<(String, String)>,
}
