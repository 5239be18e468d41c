//! What is in the ring.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

/// Whole frames that are sent together, with all that a reader needs to start here.
#[derive(Debug)]
pub struct Chunk {
    /// Sequence number, from 0, without gaps.
    pub seq: u64,
    /// Offset of the first byte in everything ever written to this ring.
    pub start: u64,
    /// The frames.
    pub bytes: Bytes,
    /// Whether a reader can start here.
    pub sync: bool,
    /// Whether these bytes are themselves the stream header that `preamble` names.
    pub header: bool,
    /// The stream header in force, if the format has one.
    pub preamble: Option<Arc<Preamble>>,
    /// The title in force.
    pub mark: Arc<Mark>,
    /// Playing time; zero when unknown.
    pub duration: Duration,
    /// When the last of the source's bytes were read.
    pub at: Instant,
    /// How long the first of them had been held by then.
    pub held: Duration,
}

impl Chunk {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Chunks are never empty; asked only because there is a length.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Offset behind the last byte.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start + self.len()
    }
}

/// A stream header that a reader must have sent before anything that follows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Preamble {
    /// The header's bytes.
    pub bytes: Bytes,
    /// Whether a decoder in the middle of a stream can take it and go on.
    pub chains: bool,
}

/// A title, formatted once as the in-band metadata block that every listener gets.
#[derive(Debug, PartialEq, Eq)]
pub struct Mark {
    /// Grows with each change within the process, so two marks with one revision are the same title.
    pub revision: u64,
    /// Length byte and padded text; the ring does not look into it.
    pub block: Bytes,
}

/// What the writer is given.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The bytes, not empty.
    pub bytes: Bytes,
    /// Whether a reader can start here.
    pub sync: bool,
    /// Playing time.
    pub duration: Duration,
    /// How long the first byte was held until the frames were whole.
    pub held: Duration,
}

impl Entry {
    /// Frames of unknown duration.
    #[must_use]
    pub fn frames(bytes: Bytes, sync: bool) -> Self {
        Self {
            bytes,
            sync,
            duration: Duration::ZERO,
            held: Duration::ZERO,
        }
    }
}
