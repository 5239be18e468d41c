//! What a framer makes of a source's bytes.

use std::time::Duration;

use bytes::Bytes;

/// One piece of a stream, in the order in which listeners get it.
#[derive(Debug, Clone, PartialEq)]
pub enum Unit {
    /// A stream header. It is part of the stream (those who already listen get it in its place) and whoever
    /// joins later gets it before anything that follows it.
    Header(Header),
    /// Whole frames, pages or blocks.
    Frames(Frames),
    /// A title found inside the stream; it belongs to the frames that follow.
    Title(TrackTitle),
    /// Facts about the stream, once known and whenever they change.
    Facts(StreamFacts),
}

/// The bytes without which nothing behind them can be decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Complete header: Ogg BOS and set-up pages, `fLaC` with its blocks, a RIFF head, EBML up to the first
    /// Cluster, PAT and PMT.
    pub bytes: Bytes,
    /// Whether a decoder that is in the middle of the stream can take this header and go on (Ogg chains,
    /// MPEG-TS tables). When not, it is only useful at the start of a connection.
    pub chains: bool,
}

/// Whole frames that are sent together.
#[derive(Debug, Clone, PartialEq)]
pub struct Frames {
    /// The frames as the source sent them.
    pub bytes: Bytes,
    /// Whether a listener can start here (after the header in force).
    pub sync: bool,
    /// Playing time; zero when the format does not tell.
    pub duration: Duration,
}

/// A title as the stream's own tags give it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrackTitle {
    /// Performer, when tagged.
    pub artist: Option<String>,
    /// Title, when tagged.
    pub title: Option<String>,
}

/// What the framing reveals of the codec.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamFacts {
    /// Codec name as Icecast's `subtype` prints it: `Opus`, `Vorbis`, `FLAC`, `Speex`, `Theora`, `MP3`, `AAC`…
    pub codec: Option<&'static str>,
    /// Hertz.
    pub sample_rate: Option<u32>,
    /// Channel count.
    pub channels: Option<u8>,
    /// Nominal bits per second, where the header tells.
    pub bitrate: Option<u32>,
}
