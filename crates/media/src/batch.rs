//! Collects frames into units of a few network packets.
//!
//! Contract: frames leave in the order in which they came, and none stays here once the push that completed
//! it returns; every framer ends a push with [`Batch::flush`].

use std::time::Duration;

use bytes::Bytes;

use crate::{Frames, Unit};

/// A unit is closed before it would grow beyond this; a single frame may be larger.
pub(crate) const UNIT_BYTES: usize = 4096;

/// The unit that is being filled.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    sync: bool,
    duration: Duration,
}

impl Batch {
    /// Appends one frame. `sync` says whether a listener can start with it; it counts when the frame is the
    /// first of its unit.
    pub(crate) fn add(&mut self, frame: &[u8], sync: bool, duration: Duration, out: &mut Vec<Unit>) {
        if self.bytes.len() + frame.len() > UNIT_BYTES {
            self.flush(out);
        }
        if self.bytes.is_empty() {
            self.sync = sync;
        }
        self.bytes.extend_from_slice(frame);
        self.duration += duration;
    }

    /// Closes the unit.
    pub(crate) fn flush(&mut self, out: &mut Vec<Unit>) {
        if self.bytes.is_empty() {
            return;
        }
        out.push(Unit::Frames(Frames {
            bytes: Bytes::copy_from_slice(&self.bytes),
            sync: self.sync,
            duration: std::mem::take(&mut self.duration),
        }));
        self.bytes.clear();
    }
}
