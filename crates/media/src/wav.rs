//! RIFF WAVE ("Multimedia Programming Interface and Data Specifications 1.0", section 3).
//!
//! Contract: the audio is cut at multiples of the block align, so a listener who starts at any unit behind
//! the header hears no noise and no swapped channels. The header that is passed on tells no length.

use bytes::Bytes;

use crate::{Header, StreamFacts, Unit, batch::Batch, batch::UNIT_BYTES, buffer::Buffer, playtime::PlayTime};

/// A length that is not meant: the source cannot know it (0xFFFFFFFF, 0x7FFFFFFF and their neighbours).
const UNKNOWN_LEN: u32 = 0x7F00_0000;
/// `fmt ` and `fact` chunks are tiny; longer ones are damage.
const MAX_KEPT: u32 = 1024;

/// Cuts WAV.
#[derive(Debug)]
pub(crate) struct WavFramer {
    buffer: Buffer,
    batch: Batch,
    time: PlayTime,
    state: State,
    fmt: Option<Fmt>,
    /// The audio's length is odd, so a zero may follow it.
    padded: bool,
    /// The chunks that go into the header.
    chunks: Vec<u8>,
    /// The header that was passed on last.
    header: Option<Bytes>,
    facts: Option<StreamFacts>,
    bad_bytes: u64,
    resyncs: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Waiting for `RIFF`, a length and `WAVE`.
    Search,
    /// At the head of a chunk.
    Chunk,
    /// Inside a chunk nobody needs.
    Skip(u64),
    /// Inside the audio, so many bytes before its end if that is known.
    Data(Option<u32>),
    /// Behind the audio: another chunk or file, or more audio when the length was wrong.
    Behind,
}

#[derive(Debug, Clone, Copy)]
struct Fmt {
    block_align: usize,
    byte_rate: u32,
}

impl WavFramer {
    pub(crate) fn new() -> Self {
        Self {
            buffer: Buffer::default(),
            batch: Batch::default(),
            time: PlayTime::default(),
            state: State::Search,
            fmt: None,
            padded: false,
            chunks: Vec::new(),
            header: None,
            facts: None,
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
        if matches!(self.state, State::Behind) {
            // Too few bytes for another chunk can still be audio.
            self.state = State::Data(None);
            while self.step(out) {}
        }
        self.batch.flush(out);
        self.drop_bytes(self.buffer.len());
        self.state = State::Search;
    }

    pub(crate) fn bad_bytes(&self) -> u64 {
        self.bad_bytes
    }

    pub(crate) fn resyncs(&self) -> u64 {
        self.resyncs
    }

    /// Goes on by one chunk or by the audio that is here. False: that needs more bytes.
    fn step(&mut self, out: &mut Vec<Unit>) -> bool {
        match self.state {
            State::Search => self.search(),
            State::Chunk => self.chunk(out),
            State::Skip(left) => {
                let skipped = left.min(self.buffer.len() as u64);
                self.buffer.consume(skipped as usize);
                self.state = if left == skipped {
                    State::Chunk
                } else {
                    State::Skip(left - skipped)
                };
                left == skipped
            }
            State::Data(left) => self.data(left, out),
            State::Behind => self.behind(),
        }
    }

    fn search(&mut self) -> bool {
        match riff_head(self.buffer.rest()) {
            None => false,
            Some(true) => {
                self.buffer.consume(12);
                self.fmt = None;
                self.chunks.clear();
                self.state = State::Chunk;
                true
            }
            Some(false) => {
                let rest = self.buffer.rest();
                let noise = memchr::memchr(b'R', &rest[1..]).map_or(rest.len(), |at| at + 1);
                self.drop_bytes(noise);
                true
            }
        }
    }

    fn chunk(&mut self, out: &mut Vec<Unit>) -> bool {
        let rest = self.buffer.rest();
        let Some((id, len)) = chunk_head(rest) else {
            return false;
        };
        let padded = u64::from(len) + u64::from(len & 1);
        match &id {
            b"data" => {
                if self.fmt.is_some() {
                    self.buffer.consume(8);
                    self.begin(len, out);
                } else {
                    // Audio that nobody can make sense of.
                    self.lose();
                }
                true
            }
            b"fmt " | b"fact" => {
                if len > MAX_KEPT || (id == *b"fmt " && len < 16) {
                    self.lose();
                    return true;
                }
                let whole = 8 + padded as usize;
                let Some(chunk) = rest.get(..whole) else {
                    return false;
                };
                if id == *b"fmt " {
                    self.fmt = Some(Fmt::read(&chunk[8..]));
                    let facts = facts(&chunk[8..]);
                    if self.facts.as_ref() != Some(&facts) {
                        self.facts = Some(facts.clone());
                        out.push(Unit::Facts(facts));
                    }
                }
                if self.chunks.len() + whole <= 2 * MAX_KEPT as usize {
                    self.chunks.extend_from_slice(chunk);
                }
                self.buffer.consume(whole);
                true
            }
            // Behind the trailer of a file: the next file.
            b"RIFF" => {
                self.state = State::Search;
                true
            }
            // All registered and private chunks have printable names.
            id if id.iter().all(|byte| (0x20..0x7F).contains(byte)) && len < UNKNOWN_LEN => {
                self.buffer.consume(8);
                self.state = State::Skip(padded);
                true
            }
            _ => {
                self.lose();
                true
            }
        }
    }

    /// The audio begins: the header is complete.
    fn begin(&mut self, len: u32, out: &mut Vec<Unit>) {
        let mut header = b"RIFF\xFF\xFF\xFF\xFFWAVE".to_vec();
        header.extend_from_slice(&self.chunks);
        header.extend_from_slice(b"data\xFF\xFF\xFF\xFF");
        let header = Bytes::from(header);
        self.batch.flush(out);
        // A header that repeats the one in force would only be noise to those who listen already.
        if self.header.as_ref() != Some(&header) {
            self.header = Some(header.clone());
            out.push(Unit::Header(Header {
                bytes: header,
                chains: false,
            }));
        }
        self.padded = len & 1 == 1;
        self.state = State::Data((1..UNKNOWN_LEN).contains(&len).then_some(len));
    }

    fn data(&mut self, left: Option<u32>, out: &mut Vec<Unit>) -> bool {
        let Some(fmt) = self.fmt else { return false };
        let available = left.map_or(self.buffer.len(), |left| self.buffer.len().min(left as usize));
        let whole = available - available % fmt.block_align;
        let piece = (UNIT_BYTES - UNIT_BYTES % fmt.block_align).max(fmt.block_align);
        for piece in self.buffer.rest()[..whole].chunks(piece) {
            let duration = self.time.of(piece.len() as u32, fmt.byte_rate);
            self.batch.add(piece, true, duration, out);
        }
        self.buffer.consume(whole);
        let Some(left) = left.map(|left| left - whole as u32) else {
            return false;
        };
        self.state = State::Data(Some(left));
        if (left as usize) < fmt.block_align && self.buffer.len() > left as usize {
            self.drop_bytes(left as usize);
            self.state = State::Behind;
            return true;
        }
        false
    }

    fn behind(&mut self) -> bool {
        const TRAILERS: [&[u8; 4]; 9] = [
            b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"smpl", b"JUNK", b"_PMX", b"iXML",
        ];
        let rest = self.buffer.rest();
        let padding = usize::from(self.padded && rest.first() == Some(&0));
        let rest = &rest[padding..];
        match riff_head(rest) {
            None => return false,
            Some(true) => {
                self.buffer.consume(padding);
                self.state = State::Search;
                return true;
            }
            Some(false) => {}
        }
        let Some((id, len)) = chunk_head(rest) else {
            return false;
        };
        self.state = if TRAILERS.contains(&&id) && len < UNKNOWN_LEN {
            self.buffer.consume(padding + 8);
            State::Skip(u64::from(len) + u64::from(len & 1))
        } else {
            State::Data(None)
        };
        true
    }

    /// The head makes no sense: look for another one.
    fn lose(&mut self) {
        self.resyncs += u64::from(self.header.is_some());
        self.drop_bytes(1);
        self.state = State::Search;
    }

    fn drop_bytes(&mut self, count: usize) {
        self.buffer.consume(count);
        self.bad_bytes += count as u64;
    }
}

/// Whether `bytes` begins with `RIFF`, a length and `WAVE`; None when more bytes must tell.
fn riff_head(bytes: &[u8]) -> Option<bool> {
    for (range, name) in [(0..4, b"RIFF"), (8..12, b"WAVE")] {
        for (at, expected) in range.zip(name) {
            if bytes.get(at)? != expected {
                return Some(false);
            }
        }
    }
    Some(true)
}

fn chunk_head(bytes: &[u8]) -> Option<([u8; 4], u32)> {
    let (id, rest) = bytes.split_first_chunk()?;
    Some((*id, u32::from_le_bytes(*rest.first_chunk()?)))
}

fn u16_at(chunk: &[u8], at: usize) -> u16 {
    chunk
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(chunk: &[u8], at: usize) -> u32 {
    chunk
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

impl Fmt {
    fn read(chunk: &[u8]) -> Self {
        let samples = u32::from(u16_at(chunk, 2)) * u32::from(u16_at(chunk, 14)).div_ceil(8);
        let block_align = match u16_at(chunk, 12) {
            0 => samples.clamp(1, 0xFFFF),
            stated => u32::from(stated),
        };
        let byte_rate = match u32_at(chunk, 8) {
            0 => u32_at(chunk, 4).saturating_mul(block_align),
            stated => stated,
        };
        Self {
            block_align: block_align as usize,
            byte_rate,
        }
    }
}

fn facts(chunk: &[u8]) -> StreamFacts {
    // PCM, floating point, A-law, µ-law, and the extensible form that wraps them.
    let pcm = matches!(u16_at(chunk, 0), 1 | 3 | 6 | 7 | 0xFFFE);
    StreamFacts {
        codec: pcm.then_some("PCM"),
        sample_rate: Some(u32_at(chunk, 4)).filter(|rate| *rate > 0),
        channels: u8::try_from(u16_at(chunk, 2))
            .ok()
            .filter(|channels| *channels > 0),
        bitrate: Fmt::read(chunk)
            .byte_rate
            .checked_mul(8)
            .filter(|bitrate| *bitrate > 0),
    }
}
