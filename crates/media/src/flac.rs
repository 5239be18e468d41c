//! Native FLAC (RFC 9639).
//!
//! Contract: a unit holds whole frames. A frame carries no length, so its end is known when the header of the
//! next one is there (correct CRC-8) and the CRC-16 in between comes out right.

mod crc;
mod frame;
mod head;

use crate::{
    StreamFacts, Unit,
    batch::Batch,
    buffer::Buffer,
    flac::{
        frame::{FrameHead, Look},
        head::{HeadReader, Progress, StreamInfo},
    },
    id3::{self, Tag},
    playtime::PlayTime,
};

/// Frame starts that are followed at the same time. One suffices as long as nothing is lost; the others are
/// headers that turned up before the frame had ended, one of which is right when the first was damaged.
const MAX_STARTS: usize = 8;

/// Cuts native FLAC.
#[derive(Debug)]
pub(crate) struct FlacFramer {
    buffer: Buffer,
    batch: Batch,
    time: PlayTime,
    state: State,
    /// The header that was passed on last.
    header: Option<bytes::Bytes>,
    facts: Option<StreamFacts>,
    /// Bytes of an ID3 tag that are still to come.
    tag_left: usize,
    bad_bytes: u64,
    resyncs: u64,
}

#[derive(Debug)]
enum State {
    /// Waiting for `fLaC`. True: nothing was thrown away yet, so a tag may be here.
    Search {
        boundary: bool,
    },
    Head(Box<HeadReader>),
    Audio(Audio),
}

/// The search for frame ends. Positions count from the front of the buffer.
#[derive(Debug)]
struct Audio {
    info: StreamInfo,
    starts: Vec<Start>,
    /// Up to here every possible frame start was looked at.
    searched: usize,
    /// Up to here the checksums of `starts` are computed.
    summed: usize,
    /// The last thing before `starts[0]` was a good frame or the stream's header.
    locked: bool,
}

#[derive(Debug)]
struct Start {
    at: usize,
    head: FrameHead,
    crc: u16,
}

/// What the search came upon.
enum Found {
    /// Nothing up to the end of the buffer.
    Nothing,
    Frame(usize, FrameHead),
    Marker(usize),
    Tag(usize, usize),
}

impl FlacFramer {
    pub(crate) fn new() -> Self {
        Self {
            buffer: Buffer::default(),
            batch: Batch::default(),
            time: PlayTime::default(),
            state: State::Search { boundary: true },
            header: None,
            facts: None,
            tag_left: 0,
            bad_bytes: 0,
            resyncs: 0,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<Unit>) {
        self.buffer.extend(bytes);
        while self.step(out) {}
        self.batch.flush(out);
    }

    pub(crate) fn finish(&mut self, out: &mut Vec<Unit>) {
        if let State::Audio(audio) = &mut self.state {
            let end = self.buffer.len();
            if let Some(start) = audio.frame_that_ends(self.buffer.rest(), end) {
                self.emit(start, end, out);
            }
        }
        self.batch.flush(out);
        self.drop_bytes(self.buffer.len());
        self.state = State::Search { boundary: false };
    }

    pub(crate) fn bad_bytes(&self) -> u64 {
        self.bad_bytes
    }

    pub(crate) fn resyncs(&self) -> u64 {
        self.resyncs
    }

    /// Goes on by one frame, block, tag or piece of noise. False: that needs more bytes.
    fn step(&mut self, out: &mut Vec<Unit>) -> bool {
        if self.tag_left > 0 {
            let skipped = self.tag_left.min(self.buffer.len());
            self.tag_left -= skipped;
            self.buffer.consume(skipped);
            return skipped > 0;
        }
        match &mut self.state {
            State::Search { boundary } => {
                let boundary = *boundary;
                self.search(boundary)
            }
            State::Head(reader) => match reader.read(&mut self.buffer) {
                Progress::NeedMore => false,
                Progress::Broken => {
                    self.bad_bytes += reader.taken();
                    self.state = State::Search { boundary: false };
                    true
                }
                Progress::Done => {
                    let audio = Audio::new(reader.info());
                    if let State::Head(reader) = std::mem::replace(&mut self.state, State::Audio(audio)) {
                        self.begin(*reader, out);
                    }
                    true
                }
            },
            State::Audio(_) => self.audio(out),
        }
    }

    fn search(&mut self, boundary: bool) -> bool {
        let rest = self.buffer.rest();
        if boundary {
            match id3::tag(rest) {
                Tag::Bytes(bytes) => {
                    self.tag_left = bytes;
                    return true;
                }
                Tag::NeedMore => return false,
                Tag::No => {}
            }
        }
        match head::marker(rest) {
            Some(true) => {
                self.state = State::Head(Box::new(HeadReader::new(&mut self.buffer)));
                true
            }
            None => false,
            Some(false) => {
                let noise = memchr::memchr(b'f', &rest[1..]).map_or(rest.len(), |at| at + 1);
                self.drop_bytes(noise);
                self.state = State::Search { boundary: false };
                true
            }
        }
    }

    /// Passes the header on.
    fn begin(&mut self, reader: HeadReader, out: &mut Vec<Unit>) {
        let facts = reader.info().facts();
        let (header, title) = reader.into_header();
        self.batch.flush(out);
        // A header that repeats the one in force would only be noise to those who listen already.
        if self.header.as_ref() != Some(&header.bytes) {
            self.header = Some(header.bytes.clone());
            out.push(Unit::Header(header));
        }
        if self.facts.as_ref() != Some(&facts) {
            self.facts = Some(facts.clone());
            out.push(Unit::Facts(facts));
        }
        out.extend(title.map(Unit::Title));
    }

    fn audio(&mut self, out: &mut Vec<Unit>) -> bool {
        let State::Audio(audio) = &mut self.state else {
            return false;
        };
        let rest = self.buffer.rest();
        let found = audio.next(rest);
        match found {
            Found::Nothing => {
                let oldest = audio.starts.first().map_or(audio.searched, |start| start.at);
                let limit = audio.info.max_frame_len();
                let drop = match audio.starts.as_slice() {
                    // A damaged or imagined header: no frame is that long.
                    [start, others @ ..] if audio.searched - start.at > limit => {
                        others.first().map_or(audio.searched, |next| next.at)
                    }
                    _ => oldest,
                };
                self.lose(drop);
                false
            }
            Found::Frame(at, head) => {
                if let Some(start) = audio.frame_that_ends(rest, at) {
                    self.emit(start, at, out);
                    return true;
                }
                audio.starts.push(Start { at, head, crc: 0 });
                audio.searched = at + 1;
                if audio.starts.len() > MAX_STARTS {
                    let drop = audio.starts[1].at;
                    self.lose(drop);
                }
                true
            }
            Found::Marker(at) => {
                match audio.frame_that_ends(rest, at) {
                    Some(start) => self.emit(start, at, out),
                    None => self.lose(at),
                }
                self.state = State::Search { boundary: true };
                true
            }
            Found::Tag(at, bytes) => {
                match audio.frame_that_ends(rest, at) {
                    Some(start) => {
                        self.emit(start, at, out);
                        self.tag_left = bytes;
                    }
                    None if at == 0 && audio.starts.is_empty() && audio.locked => self.tag_left = bytes,
                    None => audio.searched = at + 1,
                }
                true
            }
        }
    }

    /// Passes on the frame from `starts[start]` to `end`. What was in front of it is lost.
    fn emit(&mut self, start: usize, end: usize, out: &mut Vec<Unit>) {
        let State::Audio(audio) = &mut self.state else {
            return;
        };
        let Start { at, head, .. } = audio.starts.swap_remove(start);
        let duration = self.time.of(
            head.block_size,
            head.sample_rate.unwrap_or(audio.info.sample_rate),
        );
        if at > 0 {
            self.lose(at);
        }
        self.batch
            .add(&self.buffer.rest()[..end - at], true, duration, out);
        self.buffer.consume(end - at);
        if let State::Audio(audio) = &mut self.state {
            *audio = Audio::new(audio.info);
        }
    }

    /// Throws away the first `count` bytes of the audio.
    fn lose(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        self.drop_bytes(count);
        if let State::Audio(audio) = &mut self.state {
            self.resyncs += u64::from(audio.locked);
            audio.locked = false;
            audio.starts.retain_mut(|start| {
                let kept = start.at >= count;
                start.at = start.at.saturating_sub(count);
                kept
            });
            audio.searched = audio.searched.saturating_sub(count);
            audio.summed = audio.summed.saturating_sub(count);
        }
    }

    fn drop_bytes(&mut self, count: usize) {
        self.buffer.consume(count);
        self.bad_bytes += count as u64;
    }
}

impl Audio {
    fn new(info: StreamInfo) -> Self {
        Self {
            info,
            starts: Vec::new(),
            searched: 0,
            summed: 0,
            locked: true,
        }
    }

    /// Searches for the next place at which a frame may end.
    fn next(&mut self, bytes: &[u8]) -> Found {
        while let Some(at) = memchr::memchr3(0xFF, b'f', b'I', &bytes[self.searched..]) {
            let at = self.searched + at;
            let here = &bytes[at..];
            self.searched = at;
            match here[0] {
                0xFF => match FrameHead::look(here) {
                    Look::Head(head) if self.info.allows(&head) => return Found::Frame(at, head),
                    Look::NeedMore => return Found::Nothing,
                    _ => {}
                },
                b'f' => match head::marker(here) {
                    Some(true) => return Found::Marker(at),
                    None => return Found::Nothing,
                    Some(false) => {}
                },
                _ => match id3::tag(here) {
                    Tag::Bytes(len) => return Found::Tag(at, len),
                    Tag::NeedMore => return Found::Nothing,
                    Tag::No => {}
                },
            }
            self.searched = at + 1;
        }
        self.searched = bytes.len();
        Found::Nothing
    }

    /// Brings the checksums up to `end` and tells which start makes a whole frame of what lies in between.
    /// The checksum of a frame with its own checksum at the end is 0.
    fn frame_that_ends(&mut self, bytes: &[u8], end: usize) -> Option<usize> {
        for start in &mut self.starts {
            start.crc = crc::crc16(start.crc, &bytes[self.summed.max(start.at)..end]);
        }
        self.summed = end;
        self.starts
            .iter()
            .position(|start| start.crc == 0 && start.at < end)
    }
}
