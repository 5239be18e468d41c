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

impl Format {
    /// The format that a source's content type stands for; None for a type that is not known, whose bytes
    /// are opaque unless [`sniff`](crate::sniff()) says otherwise.
    ///
    /// ```
    /// use media::Format;
    /// assert_eq!(Format::from_content_type("audio/MPEG; charset=utf-8"), Some(Format::Mpeg));
    /// assert_eq!(Format::from_content_type("video/webm; codecs=\"vp8,opus\""), Some(Format::Matroska));
    /// assert_eq!(Format::from_content_type("text/html"), None);
    /// ```
    #[must_use]
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        let whole = content_type.to_ascii_lowercase();
        let (essence, parameters) = whole.split_once(';').unwrap_or((&whole, ""));
        Some(match essence.trim() {
            "audio/mpeg" | "audio/mp3" | "audio/x-mpeg" | "audio/x-mp3" | "audio/mpeg3" | "audio/x-mpeg3" => {
                Self::Mpeg
            }
            "audio/aac" | "audio/aacp" | "audio/x-aac" | "audio/x-aacp" => Self::Adts,
            "audio/flac" | "audio/x-flac" => Self::Flac,
            "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => Self::Wav,
            "audio/webm" | "video/webm" | "audio/x-matroska" | "video/x-matroska" => Self::Matroska,
            "video/mp2t" | "audio/mp2t" => Self::MpegTs,
            // Bare samples have no header that could be replayed (RFC 2586).
            "audio/l16" => Self::Opaque,
            "audio/vorbis" => Self::Ogg,
            essence if essence.contains("ogg") || essence.contains("opus") => Self::Ogg,
            // Only Ogg sources are known to name their codecs with a type that says nothing else.
            _ if has_parameter(parameters, "codecs") => Self::Ogg,
            _ => return None,
        })
    }
}

fn has_parameter(parameters: &str, name: &str) -> bool {
    parameters
        .split(';')
        .filter_map(|it| it.split_once('='))
        .any(|(key, _)| key.trim() == name)
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn content_types_name_their_format() {
        let check = |content_type: &str, expected: Option<Format>| {
            assert_eq!(
                Format::from_content_type(content_type),
                expected,
                "{content_type}"
            );
        };
        check("audio/mpeg", Some(Format::Mpeg));
        check(" Audio/MP3 ;q=1", Some(Format::Mpeg));
        check("audio/aacp", Some(Format::Adts));
        check("application/ogg", Some(Format::Ogg));
        check("video/ogg", Some(Format::Ogg));
        check("audio/opus", Some(Format::Ogg));
        check("audio/vorbis", Some(Format::Ogg));
        check("application/x-ogg", Some(Format::Ogg));
        check("audio/ogg; codecs=flac", Some(Format::Ogg));
        check("audio/something; codecs=\"vorbis\"", Some(Format::Ogg));
        check("audio/x-flac", Some(Format::Flac));
        check("audio/x-wav", Some(Format::Wav));
        check("audio/L16;rate=44100;channels=2", Some(Format::Opaque));
        check("audio/webm;codecs=opus", Some(Format::Matroska));
        check("video/x-matroska", Some(Format::Matroska));
        check("video/MP2T", Some(Format::MpegTs));
        check("video/h264", None);
        check("application/octet-stream", None);
        check("", None);
    }
}
