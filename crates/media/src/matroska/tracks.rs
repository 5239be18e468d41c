//! What Info and Tracks (RFC 9559 sections 5.1.2 and 5.1.4) tell of the stream.
//!
//! Contract: at most [`MOST_TRACKS`] tracks are remembered, and any time fits a `Duration`.

use std::time::Duration;

use smallvec::SmallVec;

use super::ebml::{children, float, id, unsigned};
use crate::StreamFacts;

/// Tracks that are remembered.
const MOST_TRACKS: usize = 16;

/// Nanoseconds of a tick where Info does not say.
const DEFAULT_SCALE: u64 = 1_000_000;

/// The tracks of a Segment and the unit of its times.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    scale: Option<u64>,
    video: SmallVec<[u64; 2]>,
    codec: Option<&'static str>,
    video_codec: Option<&'static str>,
    sample_rate: Option<u32>,
    channels: Option<u8>,
    audio: bool,
    entries: usize,
}

impl Tracks {
    /// Whether any track was read: without one nothing can be decoded.
    pub(super) fn is_known(&self) -> bool {
        self.entries > 0
    }

    /// Whether there is a video track.
    pub(super) fn has_video(&self) -> bool {
        !self.video.is_empty()
    }

    /// Whether this is the number of a video track.
    pub(super) fn is_video(&self, track: u64) -> bool {
        self.video.contains(&track)
    }

    /// Video names the codec, audio the rate and channels.
    pub(super) fn facts(&self) -> StreamFacts {
        StreamFacts {
            codec: if self.has_video() {
                self.video_codec
            } else {
                self.codec
            },
            sample_rate: self.sample_rate,
            channels: self.channels,
            bitrate: None,
        }
    }

    /// The time of a block, given in ticks from its Cluster's Timestamp.
    pub(super) fn time(&self, cluster: u64, block: i16) -> Duration {
        let ticks = cluster.saturating_add_signed(i64::from(block));
        Duration::from_nanos(ticks.saturating_mul(self.scale.unwrap_or(DEFAULT_SCALE)))
    }

    /// Takes the content of Info.
    pub(super) fn read_info(&mut self, content: &[u8]) {
        let scale = children(content).find(|&(id, _)| id == id::TIMESTAMP_SCALE);
        self.scale = scale.map(|(_, value)| unsigned(value)).filter(|&it| it > 0);
    }

    /// Takes the content of Tracks.
    pub(super) fn read_tracks(&mut self, content: &[u8]) {
        for (_, entry) in children(content).filter(|&(id, _)| id == id::TRACK_ENTRY) {
            if self.entries < MOST_TRACKS {
                self.entries += 1;
                self.read_entry(entry);
            }
        }
    }

    fn read_entry(&mut self, entry: &[u8]) {
        let (mut number, mut kind, mut codec, mut audio) = (0, 0, None, &[][..]);
        for (id, content) in children(entry) {
            match id {
                id::TRACK_NUMBER => number = unsigned(content),
                id::TRACK_TYPE => kind = unsigned(content),
                id::CODEC_ID => codec = codec_name(content),
                id::AUDIO => audio = content,
                _ => {}
            }
        }
        match kind {
            1 => {
                if !self.has_video() {
                    self.video_codec = codec;
                }
                self.video.push(number);
            }
            // The first audio track is the one that players take.
            2 if !self.audio => {
                self.audio = true;
                self.codec = codec;
                // Section 5.1.4.1.29: the defaults are 8,000 Hz and one channel.
                (self.sample_rate, self.channels) = (Some(8000), Some(1));
                for (id, content) in children(audio) {
                    match id {
                        id::SAMPLING_FREQUENCY => {
                            let rate = float(content).filter(|it| (1.0..=4e9).contains(it));
                            self.sample_rate = rate.map(|it| it as u32);
                        }
                        id::CHANNELS => {
                            self.channels = u8::try_from(unsigned(content)).ok().filter(|&it| it > 0);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// The name of a codec by its identifier; some go on with a profile.
fn codec_name(id: &[u8]) -> Option<&'static str> {
    const NAMES: [(&[u8], &str); 14] = [
        (b"A_OPUS", "Opus"),
        (b"A_VORBIS", "Vorbis"),
        (b"A_FLAC", "FLAC"),
        (b"A_AAC", "AAC"),
        (b"A_MPEG/L3", "MP3"),
        (b"A_MPEG/L2", "MP2"),
        (b"A_PCM", "PCM"),
        (b"A_AC3", "AC-3"),
        (b"V_VP8", "VP8"),
        (b"V_VP9", "VP9"),
        (b"V_AV1", "AV1"),
        (b"V_MPEG4/ISO/AVC", "H.264"),
        (b"V_MPEGH/ISO/HEVC", "H.265"),
        (b"V_THEORA", "Theora"),
    ];
    NAMES
        .iter()
        .find(|(prefix, _)| id.starts_with(prefix))
        .map(|&(_, name)| name)
}
