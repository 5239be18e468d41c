//! Collecting the header pages of one chain: all BOS pages, then the further header packets of each logical
//! stream.
//!
//! Contract: a group is complete exactly when everything a decoder needs is in it, and it never holds more
//! than [`LIMIT`] bytes or [`MOST_PAGES`] pages.

use super::MAX_STREAMS;
use super::clock::Clock;
use super::comments;
use super::page::{NO_GRANULE, Packet, Page};
use crate::{StreamFacts, TrackTitle};

/// Bytes that the headers of one chain may have.
pub(super) const LIMIT: usize = 1024 * 1024;

/// Pages that the headers of one chain may have.
pub(super) const MOST_PAGES: usize = 256;

/// The header pages of a chain so far.
#[derive(Debug)]
pub(super) struct HeaderGroup {
    bytes: Vec<u8>,
    pages: usize,
    streams: Vec<Logical>,
    beginning: bool,
}

/// A logical stream of a chain.
#[derive(Debug, Clone)]
pub(super) struct Logical {
    pub(super) serial: u32,
    pub(super) codec: Codec,
    pub(super) clock: Clock,
    /// Samples (frames for video) per so many seconds, when known.
    pub(super) rate: Option<(u32, u32)>,
    facts: StreamFacts,
    missing: Missing,
}

/// Codecs whose headers are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Opus,
    Vorbis,
    Flac,
    Speex,
    Theora,
    Skeleton,
    Unknown,
}

/// What a logical stream still owes to the headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Nothing,
    Packets(usize),
    /// FLAC that does not count its blocks: up to the one with the flag of the last; whether that has begun.
    Blocks {
        last: bool,
    },
    /// Skeleton ends its stream before the data of the others begins.
    End,
    /// Nobody knows the codec: up to the first page whose granule position is neither 0 nor -1.
    Granule,
}

/// What became of a page given to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is a header page, and more are expected.
    Held,
    /// It is the last header page.
    Complete,
    /// The group was complete before this page, which is data.
    Data,
    /// It begins another chain.
    NextChain,
    /// It belongs to no stream of this chain, or comes too early.
    Stray,
    /// The headers cannot be completed any more.
    Broken,
}

impl HeaderGroup {
    /// A group that begins with this BOS page.
    pub(super) fn new(page: &Page<'_>) -> Self {
        let mut group = Self {
            bytes: Vec::new(),
            pages: 0,
            streams: Vec::new(),
            beginning: true,
        };
        group.open(page);
        group
    }

    /// Takes the next page of the source.
    pub(super) fn take(&mut self, page: &Page<'_>) -> Taken {
        if self.pages == MOST_PAGES || self.bytes.len() + page.bytes().len() > LIMIT {
            return Taken::Broken;
        }
        let known = self.streams.iter().position(|it| it.serial == page.serial());
        if page.is_bos() {
            if known.is_some() || !self.beginning {
                return Taken::NextChain;
            }
            if self.streams.len() == MAX_STREAMS {
                return Taken::Stray;
            }
            self.open(page);
            return Taken::Held;
        }
        let Some(index) = known else { return Taken::Stray };
        let stream = &mut self.streams[index];
        match stream.take(page) {
            Some(true) => {}
            Some(false) if self.is_ready() => return Taken::Data,
            Some(false) => return Taken::Stray,
            None => return Taken::Broken,
        }
        self.beginning = false;
        self.hold(page);
        match self.streams.iter().all(|it| it.missing == Missing::Nothing) {
            true => Taken::Complete,
            false => Taken::Held,
        }
    }

    /// Whether nothing that can be counted is missing.
    pub(super) fn is_ready(&self) -> bool {
        self.streams
            .iter()
            .all(|it| matches!(it.missing, Missing::Nothing | Missing::End | Missing::Granule))
    }

    /// The pages.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The logical streams.
    pub(super) fn streams(&self) -> &[Logical] {
        &self.streams
    }

    /// The stream that tells the time: the first audio stream, else the video.
    pub(super) fn main(&self) -> Option<&Logical> {
        let audio = self
            .streams
            .iter()
            .find(|it| it.rate.is_some() && it.codec != Codec::Theora);
        audio.or_else(|| self.streams.iter().find(|it| it.rate.is_some()))
    }

    /// What the chain consists of. Video names the codec, audio the rate and channels.
    pub(super) fn facts(&self) -> StreamFacts {
        let mut facts = self.main().map(|it| it.facts.clone()).unwrap_or_default();
        if let Some(video) = self.streams.iter().find(|it| it.codec == Codec::Theora) {
            facts.codec = video.facts.codec;
            facts.bitrate = match (facts.bitrate, video.facts.bitrate) {
                (Some(audio), Some(video)) if facts.sample_rate.is_some() => {
                    Some(audio.saturating_add(video))
                }
                (_, video) => video,
            };
        }
        facts
    }

    /// The title in the comments of the first stream that has one; audio is asked first.
    pub(super) fn title(&self) -> Option<TrackTitle> {
        let (video, audio): (Vec<_>, Vec<_>) = self.streams.iter().partition(|it| it.codec == Codec::Theora);
        audio
            .into_iter()
            .chain(video)
            .find_map(|stream| self.title_of(stream))
    }

    fn title_of(&self, stream: &Logical) -> Option<TrackTitle> {
        let mut packet = Vec::new();
        let pages = Page::all(&self.bytes).filter(|it| it.serial() == stream.serial && !it.is_bos());
        for part in pages.flat_map(|page| page.packets()) {
            if part.begins {
                packet.clear();
            }
            // The magic of the longest kind comes on top of what is read of the comments.
            let room = (comments::LIMIT + 8).saturating_sub(packet.len());
            packet.extend_from_slice(&part.bytes[..part.bytes.len().min(room)]);
            if part.ends
                && let Some(block) = stream.codec.comments_in(&packet)
            {
                return comments::track_title(block);
            }
        }
        None
    }

    fn open(&mut self, page: &Page<'_>) {
        let first = page.packets().next().map_or(&[][..], |it| it.bytes);
        self.streams.push(Logical::new(page.serial(), first));
        self.hold(page);
    }

    fn hold(&mut self, page: &Page<'_>) {
        self.bytes.extend_from_slice(page.bytes());
        self.pages += 1;
    }
}

impl Logical {
    fn new(serial: u32, first: &[u8]) -> Self {
        let little = |at: usize| u32::from_le_bytes(first[at..at + 4].try_into().expect("four bytes"));
        let positive = |bitrate: u32| Some(bitrate).filter(|&it| it > 0 && it <= i32::MAX as u32);
        let clock = Clock::of(first);
        // `Clock::of` has checked that the fields read below are there.
        let (codec, name, missing, rate, channels, bitrate) = match clock {
            Clock::Opus { .. } => (
                Codec::Opus,
                Some("Opus"),
                Missing::Packets(1),
                48_000,
                first[9],
                None,
            ),
            Clock::Vorbis { .. } => {
                let bitrate = positive(little(20));
                (
                    Codec::Vorbis,
                    Some("Vorbis"),
                    Missing::Packets(2),
                    little(12),
                    first[11],
                    bitrate,
                )
            }
            Clock::Flac => {
                let rate = u32::from_be_bytes([0, first[27], first[28], first[29]]) >> 4;
                let channels = (first[29] >> 1 & 7) + 1;
                let missing = match u16::from_be_bytes([first[7], first[8]]) {
                    // Not counted, and the block of the first packet already calls itself the last.
                    0 if first[13] & 0x80 != 0 => Missing::Granule,
                    0 => Missing::Blocks { last: false },
                    count => Missing::Packets(usize::from(count)),
                };
                (Codec::Flac, Some("FLAC"), missing, rate, channels, None)
            }
            Clock::Speex { .. } => {
                let missing = Missing::Packets(1 + little(68).min(MOST_PAGES as u32 * 255) as usize);
                let channels = little(48).min(255) as u8;
                (
                    Codec::Speex,
                    Some("Speex"),
                    missing,
                    little(36),
                    channels,
                    positive(little(52)),
                )
            }
            Clock::Theora { frames, .. } => {
                let bitrate = positive(u32::from_be_bytes([0, first[37], first[38], first[39]]));
                (
                    Codec::Theora,
                    Some("Theora"),
                    Missing::Packets(2),
                    frames,
                    0,
                    bitrate,
                )
            }
            Clock::Still => (Codec::Skeleton, None, Missing::End, 0, 0, None),
            Clock::Unknown => (Codec::Unknown, None, Missing::Granule, 0, 0, None),
        };
        let per_seconds = if let Clock::Theora { per_seconds, .. } = clock {
            per_seconds
        } else {
            1
        };
        let facts = StreamFacts {
            codec: name,
            sample_rate: Some(rate).filter(|&it| it > 0 && codec != Codec::Theora),
            channels: Some(channels).filter(|&it| it > 0),
            bitrate,
        };
        let rate = Some((rate, per_seconds)).filter(|&(rate, seconds)| rate > 0 && seconds > 0);
        Self {
            serial,
            codec,
            clock,
            rate,
            facts,
            missing,
        }
    }

    /// Whether the page is a header page; nothing when it shows that a header was lost.
    fn take(&mut self, page: &Page<'_>) -> Option<bool> {
        let timed = !matches!(page.granule(), 0 | NO_GRANULE);
        match self.missing {
            Missing::Nothing => return Some(false),
            Missing::Granule if timed => return Some(false),
            Missing::Granule => {}
            Missing::End => {
                if page.is_eos() {
                    self.missing = Missing::Nothing;
                }
            }
            Missing::Packets(count) => {
                if !page
                    .packets()
                    .filter(|it| it.begins)
                    .take(count)
                    .all(|it| self.codec.may_head(it))
                {
                    return None;
                }
                match count.saturating_sub(page.packets_ended()) {
                    0 => self.missing = Missing::Nothing,
                    // Header pages have granule position 0: this one has data, so a page in between is lost.
                    _ if timed => return None,
                    left => self.missing = Missing::Packets(left),
                }
            }
            Missing::Blocks { mut last } => {
                for packet in page.packets() {
                    if packet.begins {
                        match packet.bytes.first() {
                            // A frame: the headers ended before, without saying so.
                            Some(0xff) => {
                                self.missing = Missing::Nothing;
                                return Some(false);
                            }
                            first => last = first.is_some_and(|it| it & 0x80 != 0),
                        }
                    }
                    if packet.ends && last {
                        self.missing = Missing::Nothing;
                        break;
                    }
                }
                if self.missing != Missing::Nothing {
                    self.missing = Missing::Blocks { last };
                }
            }
        }
        self.clock.learn(page);
        Some(true)
    }
}

impl Codec {
    /// Whether a packet can be one of the further headers, as far as its beginning tells.
    fn may_head(self, packet: Packet<'_>) -> bool {
        let agrees = |bytes: &[u8], magic: &[u8]| bytes.iter().zip(magic).all(|(a, b)| a == b);
        match (self, packet.bytes) {
            (Self::Opus, bytes) => agrees(bytes, b"OpusTags"),
            (Self::Vorbis, [kind, rest @ ..]) => kind & 1 == 1 && agrees(rest, b"vorbis"),
            (Self::Theora, [kind, rest @ ..]) => kind & 0x80 != 0 && agrees(rest, b"theora"),
            (Self::Flac, [kind, ..]) => *kind != 0xff,
            _ => true,
        }
    }

    /// The comment block, when this header packet has it.
    fn comments_in(self, packet: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Opus => packet.strip_prefix(b"OpusTags"),
            Self::Vorbis => packet.strip_prefix(b"\x03vorbis"),
            Self::Theora => packet.strip_prefix(b"\x81theora"),
            // RFC 9639 section 8: a block is its type, its length in 24 bits, then its content.
            Self::Flac => packet
                .first()
                .filter(|&it| it & 0x7f == 4)
                .and_then(|_| packet.get(4..)),
            Self::Speex => Some(packet),
            Self::Skeleton | Self::Unknown => None,
        }
    }
}
