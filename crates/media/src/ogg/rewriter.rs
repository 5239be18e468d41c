//! Pages made fit for one listener (RFC 3533 section 6).
//!
//! Contract: whatever is skipped between two calls, the output is well-formed: every logical stream has a
//! serial of its own, sequence numbers from 0 without gaps, right checksums and an end. Nothing is allocated
//! in the steady state of a chain with one logical stream, and the cost of a page does not grow with its
//! size but for the copying (the checksum is corrected from the header fields that changed).
//!
//! Granule positions of a listener who joins late are shifted so that the stream begins near zero; without
//! that a strict decoder fills the hours before with silence. Time lost later on stays visible as a gap.
//! The shift is only made where a single logical stream tells time: streams that are multiplexed keep the
//! positions they were sent with, because Theora positions cannot be moved by less than a frame and audio
//! must stay in step with it.

use smallvec::SmallVec;

use super::MAX_STREAMS;
use super::clock::Clock;
use super::crc;
use super::page::{EOS, HEAD, NO_GRANULE, Page};

/// Odd, so that serials repeat only after four thousand million streams.
const SERIAL_STEP: u32 = 0x9e37_79b9;

/// Rewrites the pages of a mount, and of one mount after another, for one listener.
#[derive(Debug, Clone)]
pub struct Rewriter {
    streams: SmallVec<[Logical; 1]>,
    next_serial: u32,
}

#[derive(Debug, Clone, Copy)]
struct Logical {
    source_serial: u32,
    serial: u32,
    sequence: u32,
    shift: Shift,
    ended: bool,
    granule: u64,
    offset: u64,
    clock: Clock,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shift {
    /// No data page was seen yet.
    Undecided,
    Decided,
}

impl Rewriter {
    /// A rewriter whose serials begin at `seed`, which should differ from listener to listener.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        Self {
            streams: SmallVec::new(),
            next_serial: seed,
        }
    }

    /// Whether a logical stream was begun and not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.streams.iter().any(|it| !it.ended)
    }

    /// Appends `pages` to `out` in the listener's own numbering.
    ///
    /// `pages` are whole pages as the framer emits them: a header unit first, then frames that follow it.
    /// Pages of a logical stream that was not begun, or has ended, are left out.
    pub fn rewrite(&mut self, pages: &[u8], out: &mut Vec<u8>) {
        for page in Page::all(pages) {
            if page.is_bos() {
                self.begin(&page, out);
            }
            self.rewrite_page(&page, out);
        }
    }

    /// Ends every open logical stream, so that something else may follow on the connection.
    pub fn end_chain(&mut self, out: &mut Vec<u8>) {
        for stream in self.streams.drain(..).filter(|it| !it.ended) {
            stream.end(out);
        }
    }

    fn begin(&mut self, page: &Page<'_>, out: &mut Vec<u8>) {
        // BOS pages of one chain stand together, so one that comes after anything else begins the next.
        if self
            .streams
            .iter()
            .any(|it| it.sequence > 1 || it.source_serial == page.serial())
        {
            self.end_chain(out);
        }
        if self.streams.len() == MAX_STREAMS {
            return;
        }
        let first = page.packets().next().map_or(&[][..], |it| it.bytes);
        self.streams.push(Logical {
            source_serial: page.serial(),
            serial: self.next_serial,
            sequence: 0,
            shift: Shift::Undecided,
            ended: false,
            granule: 0,
            offset: 0,
            clock: Clock::of(first),
        });
        self.next_serial = self.next_serial.wrapping_add(SERIAL_STEP);
    }

    fn rewrite_page(&mut self, page: &Page<'_>, out: &mut Vec<u8>) {
        let serial = page.serial();
        let Some(index) = self.streams.iter().position(|it| it.source_serial == serial) else {
            return;
        };
        let alone = self.streams.iter().filter(|it| it.clock != Clock::Still).count() == 1;
        let stream = &mut self.streams[index];
        if stream.ended {
            return;
        }
        if stream.shift == Shift::Undecided {
            match page.granule() {
                // A header page, or one on which no packet ends.
                0 | NO_GRANULE => stream.clock.learn(page),
                _ => {
                    stream.offset = if alone { stream.clock.shift(page) } else { 0 };
                    stream.shift = Shift::Decided;
                }
            }
        }
        let granule = match page.granule() {
            NO_GRANULE => NO_GRANULE,
            sent => {
                stream.granule = sent.saturating_sub(stream.offset);
                stream.granule
            }
        };
        let at = out.len();
        out.extend_from_slice(page.bytes());
        stream.number(granule, &mut out[at..]);
        stream.ended = page.is_eos();
    }
}

impl Logical {
    /// Puts granule position, serial, sequence number and checksum into a page that has a right one.
    fn number(&mut self, granule: u64, page: &mut [u8]) {
        let mut fields = [0; 16];
        fields[..8].copy_from_slice(&granule.to_le_bytes());
        fields[8..12].copy_from_slice(&self.serial.to_le_bytes());
        fields[12..].copy_from_slice(&self.sequence.to_le_bytes());
        self.sequence = self.sequence.wrapping_add(1);

        let mut difference = fields;
        difference
            .iter_mut()
            .zip(&page[6..22])
            .for_each(|(new, old)| *new ^= old);
        let change = crc::advance(crc::update(0, &difference), page.len() - 22);
        let old = u32::from_le_bytes(page[22..26].try_into().expect("four bytes"));
        page[6..22].copy_from_slice(&fields);
        page[22..26].copy_from_slice(&(old ^ change).to_le_bytes());
    }

    /// Appends an empty last page (RFC 3533 section 6: a page may have no segments).
    fn end(self, out: &mut Vec<u8>) {
        let mut page = [0; HEAD];
        page[..4].copy_from_slice(b"OggS");
        page[5] = EOS;
        page[6..14].copy_from_slice(&self.granule.to_le_bytes());
        page[14..18].copy_from_slice(&self.serial.to_le_bytes());
        page[18..22].copy_from_slice(&self.sequence.to_le_bytes());
        let crc = crc::page(&page);
        page[22..26].copy_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&page);
    }
}
