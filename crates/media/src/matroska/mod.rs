//! WebM and Matroska (RFC 9559) as live streams.
//!
//! Contract: the header unit is all a decoder needs before the first Cluster; every sync unit begins with a
//! Cluster; Segment and Clusters are given an unknown size, so that a listener may leave one at any element
//! and go on with the next. At most one element is buffered (8 MiB), or 1 MiB of headers.
//!
//! Clusters of an unknown size end where the next one begins (RFC 8794 section 6.2). What refers to sizes and
//! places in the file (SeekHead, Cues, Position, PrevSize, CRC-32 and Void) is dropped, because it is not true
//! of what a listener gets. A Cluster that is long, or that has a keyframe inside, is divided: a new Cluster
//! head with the same Timestamp makes a further place to start, and block times stay what they are.

mod ebml;
mod tracks;

use std::time::Duration;

use bytes::Bytes;

use self::ebml::{Head, Start, id};
use self::tracks::Tracks;
use crate::{Frames, Header, Unit};

/// Bytes that the headers may have.
const HEADER_LIMIT: usize = 1024 * 1024;

/// Bytes that an EBML header may have; real ones have less than 100.
const EBML_LIMIT: u64 = 4096;

/// Bytes that one element may have. Nothing larger is buffered or skipped over.
const ELEMENT_LIMIT: u64 = 8 * 1024 * 1024;

/// How much of a push is taken at once.
const STEP: usize = 64 * 1024;

/// Blocks that came together are sent together up to this size.
const GROUP: usize = 4096;

/// Bytes after a candidate's identifier that tell whether it is one: a size and the next identifier.
const EVIDENCE: usize = ebml::LONGEST_HEAD + 2;

/// A Segment of unknown size.
const SEGMENT: [u8; 12] = [
    0x18, 0x53, 0x80, 0x67, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
];

/// The first byte of an EBML header.
const EBML_BYTE: u8 = 0x1a;

/// A Cluster of unknown size.
const CLUSTER: [u8; 12] = [
    0x1f, 0x43, 0xb6, 0x75, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
];

/// Audio has a place to start at least this often.
const AUDIO_SYNC: Duration = Duration::from_secs(2);

/// Keyframes inside a Cluster do not divide it more often than this.
const VIDEO_SYNC: Duration = Duration::from_millis(500);

/// A stream with a video track that has shown no picture for so long is treated as audio.
const VIDEO_ABSENT: Duration = Duration::from_secs(5);

/// A longer step from one block to the next is lost time, not playing time.
const LONGEST_STEP: Duration = Duration::from_secs(60);

/// Cuts a WebM or Matroska stream into units. One per source connection.
#[derive(Debug, Default)]
pub(crate) struct MatroskaFramer {
    buffer: Vec<u8>,
    /// Bytes of an unwanted element that are still to come.
    skip: u64,
    place: Place,
    /// The header that is being collected.
    header: Vec<u8>,
    /// Whether a header is out, so that Clusters can be used.
    announced: bool,
    tracks: Tracks,
    /// Timestamp of the Cluster, once known.
    cluster: Option<u64>,
    group: Group,
    clock: Clock,
    /// Whether the last byte seen was part of an element.
    found: bool,
    bad_bytes: u64,
    resyncs: u64,
}

/// Where in the document the next element stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nobody knows; an EBML header is looked for, or a Cluster if the header is out.
    #[default]
    Lost,
    /// Behind an EBML header.
    Document,
    /// In the Segment, before the first Cluster.
    Header,
    /// In the Segment behind the header, or in a Cluster: identifiers tell these apart.
    Body,
}

/// The Cluster elements that wait for the end of the push.
#[derive(Debug, Default)]
struct Group {
    bytes: Vec<u8>,
    sync: bool,
    duration: Duration,
    /// Whether nothing but a Cluster's head is in it.
    head_only: bool,
}

/// Times of the stream, all counted from its Timestamp zero.
#[derive(Debug, Default)]
struct Clock {
    newest: Option<Duration>,
    /// The last place to start.
    sync: Option<Duration>,
    /// The last picture, or where the stream began.
    picture: Duration,
}

impl MatroskaFramer {
    /// A framer at the beginning of a stream.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the source and appends what is complete to `out`.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<Unit>) {
        for step in bytes.chunks(STEP) {
            self.buffer.extend_from_slice(step);
            self.cut(false, out);
        }
        if !self.group.head_only {
            self.group.flush(out);
        }
    }

    /// Ends the stream: what is complete goes out, the rest is dropped, and the framer is as new.
    pub(crate) fn finish(&mut self, out: &mut Vec<Unit>) {
        self.cut(true, out);
        if self.place == Place::Header && self.tracks.is_known() {
            self.announce(out);
        }
        self.group.flush(out);
        let (bad_bytes, resyncs) = (self.bad_bytes + self.buffer.len() as u64, self.resyncs);
        *self = Self {
            bad_bytes,
            resyncs,
            ..Self::default()
        };
    }

    /// Bytes that were searched for the next element after something that is none.
    pub(crate) fn bad_bytes(&self) -> u64 {
        self.bad_bytes
    }

    /// How often something else stood behind an element.
    pub(crate) fn resyncs(&self) -> u64 {
        self.resyncs
    }

    /// Takes all complete elements out of the buffer.
    fn cut(&mut self, ended: bool, out: &mut Vec<Unit>) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut at = 0;
        while at < buffer.len() {
            let rest = &buffer[at..];
            if self.skip > 0 {
                let skipped = rest.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
                self.skip -= skipped as u64;
                at += skipped;
                continue;
            }
            let taken = match self.place {
                Place::Lost => self.search(rest, ended),
                _ => self.element(rest, out),
            };
            match taken {
                Some(taken) => at += taken,
                None => break,
            }
        }
        buffer.drain(..at);
        // A large picture or header must not keep its memory for the rest of the stream.
        if buffer.capacity() > HEADER_LIMIT && buffer.len() < STEP {
            buffer.shrink_to(STEP);
        }
        self.buffer = buffer;
    }

    /// Drops bytes up to the next place to start at; nothing when more bytes are needed to tell.
    fn search(&mut self, rest: &[u8], ended: bool) -> Option<usize> {
        let mut at = 0;
        let found = loop {
            match memchr::memchr2(EBML_BYTE, CLUSTER[0], &rest[at..]) {
                Some(next) => at += next,
                None => {
                    at = rest.len();
                    break false;
                }
            }
            if self.begins_something(&rest[at..]) {
                break rest.len() - at >= EVIDENCE || ended;
            }
            at += 1;
        };
        if at > 0 {
            self.resyncs += u64::from(self.found);
            self.found = false;
            self.bad_bytes += at as u64;
        }
        if found {
            self.found = true;
            self.place = if rest[at] == CLUSTER[0] {
                Place::Body
            } else {
                Place::Document
            };
        }
        (found || at > 0).then_some(at)
    }

    /// Whether these bytes, as far as they go, look like an EBML header or a Cluster that can be used.
    fn begins_something(&self, bytes: &[u8]) -> bool {
        let wanted = if bytes[0] == CLUSTER[0] {
            id::CLUSTER
        } else {
            id::EBML
        };
        if wanted == id::CLUSTER && !self.announced {
            return false;
        }
        let id = wanted.to_be_bytes();
        if bytes.iter().zip(&id).any(|(a, b)| a != b) {
            return false;
        }
        match ebml::head(bytes) {
            Start::Partial => true,
            Start::Other => false,
            Start::Head(head) if wanted == id::EBML && head.whole(EBML_LIMIT).is_none() => false,
            Start::Head(head) => match bytes.get(head.len) {
                None => true,
                // Timestamp comes first, but for what is dropped.
                Some(child) if wanted == id::CLUSTER => matches!(child, 0xe7 | 0xec | 0xbf | 0xa7 | 0xab),
                Some(child) => matches!(child, 0x42 | 0xec | 0xbf),
            },
        }
    }

    /// Takes the element at the start of `rest`, or only its head where its children are of interest.
    /// Answers how many bytes were taken; nothing when more are needed.
    fn element(&mut self, rest: &[u8], out: &mut Vec<Unit>) -> Option<usize> {
        let head = match ebml::head(rest) {
            Start::Head(head) => head,
            Start::Partial => return None,
            Start::Other => return Some(self.lose(out)),
        };
        match (self.place, head.id) {
            (_, id::EBML) => {
                let Some(length) = head.whole(EBML_LIMIT) else {
                    return Some(self.lose(out));
                };
                let element = rest.get(..length)?;
                self.group.flush(out);
                self.cluster = None;
                self.header.clear();
                self.header.extend_from_slice(element);
                self.place = Place::Document;
                Some(length)
            }
            (Place::Document, id::SEGMENT) if !self.header.is_empty() => {
                // Only now the old header is void: what looked like an EBML header may have been payload.
                self.announced = false;
                self.tracks = Tracks::default();
                self.clock = Clock::default();
                self.header.extend_from_slice(&SEGMENT);
                self.place = Place::Header;
                Some(head.len)
            }
            (Place::Header, id::INFO | id::TRACKS | id::TAGS) => {
                let room = HEADER_LIMIT - self.header.len().min(HEADER_LIMIT);
                let Some(length) = head.whole(room as u64) else {
                    return Some(self.lose(out));
                };
                let element = rest.get(..length)?;
                self.header.extend_from_slice(element);
                match head.id {
                    id::INFO => self.tracks.read_info(&element[head.len..]),
                    id::TRACKS => self.tracks.read_tracks(&element[head.len..]),
                    _ => {}
                }
                Some(length)
            }
            (Place::Header, id::CLUSTER) if self.tracks.is_known() => {
                self.announce(out);
                self.place = Place::Body;
                Some(head.len)
            }
            (Place::Body, id::CLUSTER) => {
                self.group.flush(out);
                self.cluster = None;
                Some(head.len)
            }
            (Place::Body, id::TIMESTAMP) => {
                let Some(length) = head.whole(ebml::LONGEST_HEAD as u64 + 8) else {
                    return Some(self.lose(out));
                };
                let timestamp = ebml::unsigned(&rest.get(..length)?[head.len..]);
                self.cluster = Some(timestamp);
                self.group.flush(out);
                self.group.open(timestamp);
                Some(length)
            }
            (Place::Body, id::SIMPLE_BLOCK | id::BLOCK_GROUP) => {
                let Some(length) = head.whole(ELEMENT_LIMIT) else {
                    return Some(self.lose(out));
                };
                let element = rest.get(..length)?;
                match self.cluster {
                    Some(cluster) => self.block(element, head, cluster, out),
                    None => return Some(self.lose(out)),
                }
                Some(length)
            }
            (Place::Document, _) if !head.is_global() => Some(self.lose(out)),
            // A Cluster without the tracks before it.
            (Place::Header, id::CLUSTER) => Some(self.lose(out)),
            _ => {
                let Some(size) = head.size.filter(|&size| size <= ELEMENT_LIMIT) else {
                    return Some(self.lose(out));
                };
                self.skip = size;
                Some(head.len)
            }
        }
    }

    /// Gives up the current element and looks for the next place to start. Answers how much of the buffer is
    /// dropped: enough not to find the same thing again.
    fn lose(&mut self, out: &mut Vec<Unit>) -> usize {
        self.group.flush(out);
        self.cluster = None;
        self.header.clear();
        self.place = Place::Lost;
        self.resyncs += u64::from(self.found);
        self.found = false;
        self.bad_bytes += 1;
        1
    }

    fn announce(&mut self, out: &mut Vec<Unit>) {
        out.push(Unit::Header(Header {
            bytes: Bytes::copy_from_slice(&self.header),
            chains: false,
        }));
        out.push(Unit::Facts(self.tracks.facts()));
        self.header = Vec::new();
        self.announced = true;
    }

    /// Takes a whole SimpleBlock or BlockGroup.
    fn block(&mut self, element: &[u8], head: Head, cluster: u64, out: &mut Vec<Unit>) {
        let block = ebml::Block::read(head.id, &element[head.len..]);
        // What cannot be read is passed on as if it belonged to the block before.
        let time = block.map(|it| self.tracks.time(cluster, it.time));
        let time = time.or(self.clock.newest).unwrap_or_default();
        let step = self.clock.step(time);
        let is_video = block.is_some_and(|it| self.tracks.is_video(it.track));
        let keyframe = is_video && block.is_some_and(|it| it.keyframe);
        let waits_for_picture =
            self.tracks.has_video() && time.saturating_sub(self.clock.picture) < VIDEO_ABSENT;
        if is_video {
            self.clock.picture = time;
        }
        let first = self.group.head_only;
        let since = self
            .clock
            .sync
            .map_or(Duration::MAX, |sync| time.saturating_sub(sync));
        let sync = match (first, keyframe, waits_for_picture || is_video) {
            (true, keyframe, true) => keyframe,
            (true, _, false) => true,
            (false, keyframe, true) => keyframe && since >= VIDEO_SYNC,
            (false, _, false) => since >= AUDIO_SYNC,
        };
        if sync {
            self.clock.sync = Some(time);
            if !first {
                self.group.flush(out);
                self.group.open(cluster);
            }
        }
        self.group.add(element, sync, step, out);
    }
}

impl Clock {
    /// Goes on to the time of a block; the playing time that it adds. Blocks of several tracks are not in
    /// order, so only what is newer than all before counts.
    fn step(&mut self, time: Duration) -> Duration {
        match self.newest {
            Some(newest) if newest.abs_diff(time) <= LONGEST_STEP => {
                self.newest = Some(newest.max(time));
                time.saturating_sub(newest)
            }
            _ => {
                *self = Self {
                    newest: Some(time),
                    sync: None,
                    picture: time,
                };
                Duration::ZERO
            }
        }
    }
}

impl Group {
    /// Begins with the head of a Cluster, when nothing else is there.
    fn open(&mut self, timestamp: u64) {
        self.bytes.extend_from_slice(&CLUSTER);
        self.bytes.extend_from_slice(&[0xe7, 0x88]);
        self.bytes.extend_from_slice(&timestamp.to_be_bytes());
        self.head_only = true;
    }

    fn add(&mut self, block: &[u8], sync: bool, duration: Duration, out: &mut Vec<Unit>) {
        if self.head_only {
            self.sync = sync;
        } else if self.bytes.len() + block.len() > GROUP {
            self.flush(out);
        }
        self.head_only = false;
        self.bytes.extend_from_slice(block);
        self.duration += duration;
    }

    /// Sends what is there; a head without blocks is dropped.
    fn flush(&mut self, out: &mut Vec<Unit>) {
        if !self.head_only && !self.bytes.is_empty() {
            let bytes = Bytes::copy_from_slice(&self.bytes);
            out.push(Unit::Frames(Frames {
                bytes,
                sync: self.sync,
                duration: self.duration,
            }));
        }
        self.bytes.clear();
        self.bytes.shrink_to(2 * GROUP);
        self.sync = false;
        self.duration = Duration::ZERO;
        self.head_only = false;
    }
}

#[cfg(test)]
mod tests;
