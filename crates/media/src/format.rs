//! The groups of containers that are framed alike.

/// How a stream is framed. What the source *called* it (its content type) is kept apart from this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// MPEG-1/2/2.5 audio, layers I to III.
    Mpeg,
    /// AAC in ADTS frames.
    Adts,
    /// Ogg pages: Opus, Vorbis, FLAC, Speex, Theora.
    Ogg,
    /// Native FLAC.
    Flac,
    /// RIFF WAVE with PCM.
    Wav,
    /// WebM and Matroska.
    Matroska,
    /// MPEG transport stream.
    MpegTs,
    /// Bytes nobody looks into.
    Opaque,
}
