//! What a delivery thread knows of one listener.

use std::{sync::Arc, time::Instant};

use crate::{Leave, Presence, Seat, Wire, position::Position};

pub(crate) struct Listener {
    pub(crate) wire: Wire,
    pub(crate) position: Position,
    /// The stream that feeds it, if any, and its index among that stream's members.
    pub(crate) feed: Option<u64>,
    pub(crate) feed_index: usize,
    /// The mount it asked for and its index among that mount's members.
    pub(crate) home: u64,
    pub(crate) home_index: usize,
    /// Key of the streams that its decoder can follow.
    pub(crate) compatible: Arc<String>,
    pub(crate) presence: Arc<Presence>,
    pub(crate) seat: Option<Seat>,
    pub(crate) _server_seat: Seat,
    pub(crate) sent: u64,
    /// The socket took less than was offered; nothing is tried until it is writable again.
    pub(crate) blocked_since: Option<Instant>,
    pub(crate) last_write: Instant,
    /// Nothing feeds it; it waits until then for something to come.
    pub(crate) held_until: Option<Instant>,
    /// It is closed once everything due has been sent, at the latest then.
    pub(crate) closing: Option<(Leave, Instant)>,
    /// Jumps since the last write that went through whole.
    pub(crate) jumps: u8,
    /// It has not reached the live edge yet.
    pub(crate) bursting: bool,
    /// It closed its sending side.
    pub(crate) said_goodbye: bool,
}

impl Listener {
    /// Makes the counters visible to others.
    pub(crate) fn publish(&self, head: Option<u64>) {
        let behind = head.map_or(0, |head| head.saturating_sub(self.position.seq));
        self.presence.publish(self.sent, behind);
    }
}
