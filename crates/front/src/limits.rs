//! The limits of the front.

use std::time::Duration;

/// How long and how large things may get before the front gives up on a connection.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From the accept, or from the first byte of a later request, until the head is complete.
    pub head_time: Duration,
    /// How long a kept connection may stay silent between requests.
    pub idle_time: Duration,
    /// Largest request head in bytes.
    pub head_bytes: usize,
    /// Most header lines in a head.
    pub head_lines: usize,
    /// How long the body of an ordinary request may take; see [`crate::Patience`] for others.
    pub body_time: Duration,
    /// How long one write of an answer may be blocked by a client that does not read.
    pub write_stall: Duration,
    /// How many bytes of an unread body are read and thrown away so that the client sees the answer.
    pub drain_bytes: usize,
    /// How long that may take.
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(120),
            head_bytes: 64 << 10,
            head_lines: 100,
            body_time: Duration::from_secs(10),
            write_stall: Duration::from_secs(30),
            drain_bytes: 64 << 10,
            drain_time: Duration::from_secs(1),
        }
    }
}
