//! From a source's bytes to header, title and page units.
//!
//! Contract: a unit holds whole pages with right checksums, byte for byte as sent, and no data page comes
//! before the headers of its chain. At most one page (and a few KiB) waits for its end, and at most 1 MiB of
//! headers.

use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::clock::Clock;
use super::headers::{Codec, HeaderGroup, Taken};
use super::page::{CAPTURE, LONGEST, NO_GRANULE, Page, Start};
use crate::{Frames, Header, Unit};

/// What is buffered: the longest page, and some of what follows so that pushes are taken in larger steps.
const BUFFER: usize = LONGEST + 4096;

/// Pages that came together are sent together up to this size.
const GROUP: usize = 4096;

/// Bytes without a good place to start after which a mediocre one is taken.
const STARVED: usize = 256 * 1024;

/// A longer step from one page to the next is lost time, not playing time.
const LONGEST_STEP: Duration = Duration::from_secs(60);

/// Cuts an Ogg stream into units. One per source connection.
#[derive(Debug, Default)]
pub struct OggFramer {
    buffer: Vec<u8>,
    state: State,
    /// The pages that wait for the end of the push.
    group: Group,
    /// Whether the last byte seen was part of a page.
    found: bool,
    bad_bytes: u64,
    resyncs: u64,
}

#[derive(Debug, Default)]
enum State {
    /// No headers yet: everything up to a BOS page is dropped.
    #[default]
    Idle,
    Headers(Box<HeaderGroup>),
    Data(Chain),
}

/// A chain whose headers are out.
#[derive(Debug)]
struct Chain {
    serials: SmallVec<[u32; 2]>,
    video: Option<u32>,
    time: Option<Time>,
    since_sync: usize,
}

/// The stream that a chain's playing time is taken from.
#[derive(Debug)]
struct Time {
    serial: u32,
    clock: Clock,
    rate: (u32, u32),
    position: Option<u64>,
}

#[derive(Debug, Default)]
struct Group {
    bytes: Vec<u8>,
    sync: bool,
    duration: Duration,
}

impl OggFramer {
    /// A framer at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the source and appends what is complete to `out`.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<Unit>) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BUFFER - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            self.cut(false, out);
        }
        self.group.flush(out);
    }

    /// Ends the stream: what is complete goes out, the rest is dropped, and the framer is as new.
    pub fn finish(&mut self, out: &mut Vec<Unit>) {
        self.cut(true, out);
        if let State::Headers(group) = std::mem::take(&mut self.state) {
            if group.is_ready() {
                announce(&group, out);
            } else {
                self.bad_bytes += group.bytes().len() as u64;
            }
        }
        self.group.flush(out);
        self.found = false;
    }

    /// Bytes that did not become part of a unit.
    #[must_use]
    pub fn bad_bytes(&self) -> u64 {
        self.bad_bytes
    }

    /// How often something that is no page stood behind a page.
    #[must_use]
    pub fn resyncs(&self) -> u64 {
        self.resyncs
    }

    /// Takes all pages out of the buffer; at the end of the stream nothing is left in it.
    fn cut(&mut self, ended: bool, out: &mut Vec<Unit>) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut at = 0;
        while at < buffer.len() {
            match Page::at_start_of(&buffer[at..]) {
                Start::Page(page) if page.is_intact() => {
                    self.found = true;
                    at += page.bytes().len();
                    self.take(&page, out);
                    continue;
                }
                Start::Partial if !ended => break,
                // A page that is cut off by the end of the connection is not the encoder's fault.
                Start::Partial => {}
                Start::Page(_) | Start::Other => {
                    self.resyncs += u64::from(self.found);
                    self.found = false;
                }
            }
            // The length of a damaged page cannot be trusted, so the search goes on inside it.
            let next = memchr::memchr(CAPTURE[0], &buffer[at + 1..]).map_or(buffer.len(), |it| at + 1 + it);
            self.bad_bytes += (next - at) as u64;
            at = next;
        }
        buffer.drain(..at);
        self.buffer = buffer;
    }

    fn take(&mut self, page: &Page<'_>, out: &mut Vec<Unit>) {
        match &mut self.state {
            State::Idle if page.is_bos() => self.begin(page),
            State::Idle => self.drop(page.bytes().len()),
            State::Headers(group) => match group.take(page) {
                Taken::Held => {}
                Taken::Complete => {
                    self.state = State::Data(announce(group, out));
                }
                Taken::Data => {
                    self.state = State::Data(announce(group, out));
                    self.data(page, out);
                }
                Taken::NextChain => {
                    let held = group.bytes().len();
                    self.drop(held);
                    self.begin(page);
                }
                Taken::Stray => self.drop(page.bytes().len()),
                Taken::Broken => {
                    let held = group.bytes().len();
                    self.drop(held);
                    match page.is_bos() {
                        true => self.begin(page),
                        false => {
                            self.state = State::Idle;
                            self.drop(page.bytes().len());
                        }
                    }
                }
            },
            State::Data(_) if page.is_bos() => {
                self.group.flush(out);
                self.begin(page);
            }
            State::Data(_) => self.data(page, out),
        }
    }

    fn begin(&mut self, page: &Page<'_>) {
        self.state = State::Headers(Box::new(HeaderGroup::new(page)));
    }

    fn data(&mut self, page: &Page<'_>, out: &mut Vec<Unit>) {
        let State::Data(chain) = &mut self.state else {
            return;
        };
        if !chain.serials.contains(&page.serial()) {
            self.bad_bytes += page.bytes().len() as u64;
            return;
        }
        let duration = chain.time.as_mut().map_or(Duration::ZERO, |it| it.step(page));
        let sync = chain.starts_at(page);
        self.group.add(page.bytes(), sync, duration, out);
    }

    fn drop(&mut self, bytes: usize) {
        self.bad_bytes += bytes as u64;
    }
}

/// Sends the headers and what they tell.
fn announce(group: &HeaderGroup, out: &mut Vec<Unit>) -> Chain {
    out.push(Unit::Header(Header {
        bytes: Bytes::copy_from_slice(group.bytes()),
        chains: true,
    }));
    out.push(Unit::Facts(group.facts()));
    out.extend(group.title().map(Unit::Title));
    Chain {
        serials: group.streams().iter().map(|it| it.serial).collect(),
        video: group
            .streams()
            .iter()
            .find(|it| it.codec == Codec::Theora)
            .map(|it| it.serial),
        time: group.main().and_then(|main| {
            Some(Time {
                serial: main.serial,
                clock: main.clock,
                rate: main.rate?,
                position: None,
            })
        }),
        since_sync: 0,
    }
}

impl Chain {
    /// Whether a listener can start with this page.
    fn starts_at(&mut self, page: &Page<'_>) -> bool {
        let fresh = !page.is_continued();
        let good = match self.video {
            // Theora specification section 7.1: the first bit says header, the second says inter frame.
            Some(serial) => {
                let first = page.packets().next().and_then(|it| it.bytes.first());
                fresh && page.serial() == serial && first.is_some_and(|it| it & 0xc0 == 0)
            }
            None => fresh,
        };
        // Some muxers never begin a page with a packet, or with a keyframe. A decoder copes with both: it
        // skips to the next packet or keyframe.
        let starved = self.since_sync >= STARVED && fresh || self.since_sync >= 2 * STARVED;
        let sync = good || starved;
        self.since_sync = if sync {
            0
        } else {
            self.since_sync + page.bytes().len()
        };
        sync
    }
}

impl Time {
    /// The playing time that the page adds.
    fn step(&mut self, page: &Page<'_>) -> Duration {
        if page.serial() != self.serial || page.granule() == NO_GRANULE {
            return Duration::ZERO;
        }
        let position = self.clock.position(page.granule());
        let ticks = match self.position.replace(position) {
            Some(before) => position.saturating_sub(before),
            // Where the first page begins only its packets tell.
            None => self
                .clock
                .samples(page)
                .map_or(0, |samples| samples.min(position)),
        };
        let (rate, seconds) = self.rate;
        let nanoseconds = u128::from(ticks) * u128::from(seconds) * 1_000_000_000 / u128::from(rate);
        let step = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        if step > LONGEST_STEP { Duration::ZERO } else { step }
    }
}

impl Group {
    fn add(&mut self, page: &[u8], sync: bool, duration: Duration, out: &mut Vec<Unit>) {
        // A place to start must be the beginning of a unit, or nobody can.
        if sync && !self.sync || self.bytes.len() + page.len() > GROUP {
            self.flush(out);
        }
        if self.bytes.is_empty() {
            self.sync = sync;
        }
        self.bytes.extend_from_slice(page);
        self.duration += duration;
    }

    fn flush(&mut self, out: &mut Vec<Unit>) {
        if self.bytes.is_empty() {
            return;
        }
        let bytes = Bytes::copy_from_slice(&self.bytes);
        out.push(Unit::Frames(Frames {
            bytes,
            sync: self.sync,
            duration: self.duration,
        }));
        *self = Self {
            bytes: std::mem::take(&mut self.bytes),
            ..Self::default()
        };
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests;
