//! Bytes nobody looks into.
//!
//! Contract: what comes in goes out at once, in pieces of at most 4 KiB.

use std::time::Duration;

use bytes::Bytes;

use crate::{Frames, Unit, batch::UNIT_BYTES};

/// Passes `bytes` on.
pub(crate) fn push(bytes: &[u8], out: &mut Vec<Unit>) {
    out.extend(bytes.chunks(UNIT_BYTES).map(|piece| {
        Unit::Frames(Frames {
            bytes: Bytes::copy_from_slice(piece),
            sync: true,
            duration: Duration::ZERO,
        })
    }));
}
