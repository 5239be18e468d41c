//! What a delivery thread knows of one listener.

use std::{sync::Arc, time::Instant};

use crate::{Leave, Presence, Seat, Wire, position::Position};

pub(super) struct Listener {
    pub(super) wire: Wire,
    pub(super) position: Position,
    /// The stream that feeds it, if any, and its index among that stream's members.
    pub(super) feed: Option<u64>,
    pub(super) feed_index: usize,
    /// The mount it asked for and its index among that mount's members.
    pub(super) home: u64,
    pub(super) home_index: usize,
    /// Key of the streams that its decoder can follow.
    pub(super) compatible: Arc<String>,
    pub(super) presence: Arc<Presence>,
    pub(super) seat: Option<Seat>,
    pub(super) _server_seat: Seat,
    pub(super) sent: u64,
    /// The socket took less than was offered; nothing is tried until it is writable again.
    pub(super) blocked_since: Option<Instant>,
    pub(super) last_write: Instant,
    /// Nothing feeds it; it waits until then for something to come.
    pub(super) held_until: Option<Instant>,
    /// It is closed once everything due has been sent, at the latest then.
    pub(super) closing: Option<(Leave, Instant)>,
    /// Jumps since the last write that went through whole.
    pub(super) jumps: u8,
    /// It closed its sending side.
    pub(super) said_goodbye: bool,
}

impl Listener {
    /// Makes the counters visible to others.
    pub(super) fn publish(&self, head: Option<u64>) {
        let behind = head.map_or(0, |head| head.saturating_sub(self.position.seq));
        self.presence.publish(self.sent, behind);
    }
}
