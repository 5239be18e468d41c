//! The writing side: one per ring, owned by whoever is the source.
//!
//! Contract: holding the writer *is* being the source. It cannot be cloned, so two sources never mix.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{Chunk, Entry, Mark, Preamble, Ring};

/// The one writer of a ring.
#[derive(Debug)]
pub struct Writer {
    ring: Arc<Ring>,
    head: u64,
    oldest: u64,
    written: u64,
    /// Bytes in the slots from `oldest` to `head`.
    held: u64,
    preamble: Option<Arc<Preamble>>,
    mark: Arc<Mark>,
}

impl Writer {
    pub(crate) fn new(ring: Arc<Ring>) -> Self {
        let mark = Arc::new(Mark {
            revision: 0,
            block: Bytes::from_static(&[0]),
        });
        Self {
            ring,
            head: 0,
            oldest: 0,
            written: 0,
            held: 0,
            preamble: None,
            mark,
        }
    }

    /// The readers' side.
    #[must_use]
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// The title from the next chunk on.
    pub fn set_mark(&mut self, mark: Arc<Mark>) {
        self.mark = mark;
    }

    /// The stream header in force.
    #[must_use]
    pub fn preamble(&self) -> Option<&Arc<Preamble>> {
        self.preamble.as_ref()
    }

    /// Forgets the stream header: what follows is another stream.
    pub fn clear_preamble(&mut self) {
        self.preamble = None;
    }

    /// Appends frames and tells whoever armed a bell.
    pub fn push(&mut self, entry: Entry, now: Instant) {
        let preamble = self.preamble.clone();
        self.append(entry, preamble, false, now);
    }

    /// Appends a stream header: it is sent in its place and stays in force for what follows.
    pub fn push_header(&mut self, preamble: Preamble, now: Instant) {
        let bytes = preamble.bytes.clone();
        let preamble = Arc::new(preamble);
        self.preamble = Some(Arc::clone(&preamble));
        let entry = Entry {
            bytes,
            sync: true,
            duration: Duration::ZERO,
            held: Duration::ZERO,
        };
        // Before the head moves, so that nobody who sees the header starts before it.
        self.ring.newest_header.store(self.head, Ordering::SeqCst);
        self.append(entry, Some(preamble), true, now);
    }

    /// Begins a new run: readers that are behind jump to what comes next, and nobody hears what came before.
    pub fn begin_run(&mut self) {
        self.ring.floor.store(self.head, Ordering::SeqCst);
        while self.oldest < self.head {
            self.drop_oldest();
        }
        self.preamble = None;
        self.ring.ring_bells();
    }

    fn append(&mut self, entry: Entry, preamble: Option<Arc<Preamble>>, header: bool, now: Instant) {
        if entry.bytes.is_empty() {
            return;
        }
        let len = entry.bytes.len() as u64;
        let slots = self.ring.slots.len() as u64;
        // Room is made before the slot is reused, so a slot only ever holds chunks of the window.
        while self.oldest < self.head
            && (self.held + len > self.ring.limits.bytes || self.head - self.oldest >= slots)
        {
            self.drop_oldest();
        }
        let chunk = Chunk {
            seq: self.head,
            start: self.written,
            bytes: entry.bytes,
            sync: entry.sync,
            header,
            preamble,
            mark: Arc::clone(&self.mark),
            duration: entry.duration,
            at: now,
            held: entry.held,
        };
        self.ring.slot(self.head).store(Some(Arc::new(chunk)));
        self.held += len;
        self.written += len;
        self.head += 1;
        self.ring.written.store(self.written, Ordering::Release);
        self.ring.head.store(self.head, Ordering::SeqCst);
        self.ring.ring_bells();
    }

    fn drop_oldest(&mut self) {
        if let Some(chunk) = self.ring.slot(self.oldest).swap(None) {
            self.held -= chunk.len();
        }
        self.oldest += 1;
        self.ring.oldest.store(self.oldest, Ordering::Release);
    }
}
