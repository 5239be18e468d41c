//! What an upstream says of its stream.

use std::num::NonZeroU32;

use http::{HeaderMap, header};

use crate::{StationInfo, relay::Chain, station, text};

/// What an upstream says of its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayHead {
    /// The station. Never public: only the origin of a stream may list it in directories.
    pub station: StationInfo,
    /// Content type, if any was given.
    pub content_type: Option<String>,
    /// Interval of the metadata blocks, counted after chunk framing was removed.
    pub metaint: Option<NonZeroU32>,
    /// The upstream's software.
    pub server: Option<String>,
    /// The instances of this server that the stream came through.
    pub chain: Chain,
}

impl RelayHead {
    /// Reads the headers of an accepted response.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Self {
        let mut station = StationInfo::from_headers(headers);
        station.public = Some(false);
        Self {
            station,
            content_type: text::header(headers, header::CONTENT_TYPE),
            metaint: station::metaint(headers),
            server: text::header(headers, header::SERVER),
            chain: Chain::read(headers),
        }
    }

    /// Whether the answer is a page or a playlist, which somebody may have taken for the stream.
    #[must_use]
    pub fn is_document(&self) -> bool {
        const DOCUMENTS: &[&str] = &[
            "text/html",
            "audio/x-mpegurl",
            "audio/mpegurl",
            "application/vnd.apple.mpegurl",
            "application/x-mpegurl",
            "audio/x-scpls",
            "application/pls+xml",
            "application/xspf+xml",
        ];
        let essence = self.content_type.as_deref().and_then(|it| it.split(';').next());
        essence.is_some_and(|essence| DOCUMENTS.iter().any(|it| it.eq_ignore_ascii_case(essence.trim())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head_lines;

    fn read(lines: &str) -> RelayHead {
        RelayHead::read(&head_lines::parse(lines.as_bytes()))
    }

    #[test]
    fn heads_of_both_families_are_read() {
        for (lines, name, bitrate, url, content_type, metaint) in [
            (
                "Content-Type: audio/mpeg\nIce-Name: N\nIce-Bitrate: 128\nIce-Url: http://s/\nicy-metaint:16000",
                Some("N"),
                Some("128"),
                Some("http://s/"),
                Some("audio/mpeg"),
                Some(16_000),
            ),
            (
                "icy-name:N\nicy-br:96\nicy-url:http://s/\nicy-metaint:8192\ncontent-type:audio/aacp",
                Some("N"),
                Some("96"),
                Some("http://s/"),
                Some("audio/aacp"),
                Some(8192),
            ),
            ("", None, None, None, None, None),
        ] {
            let head = read(lines);
            assert_eq!(head.station.name.as_deref(), name, "{lines}");
            assert_eq!(head.station.bitrate.as_deref(), bitrate, "{lines}");
            assert_eq!(head.station.url.as_deref(), url, "{lines}");
            assert_eq!(head.content_type.as_deref(), content_type, "{lines}");
            assert_eq!(head.metaint.map(NonZeroU32::get), metaint, "{lines}");
        }
    }

    #[test]
    fn a_relayed_stream_is_never_public() {
        for lines in ["icy-pub:1", "ice-public: yes", ""] {
            assert_eq!(read(lines).station.public, Some(false), "{lines}");
        }
    }

    #[test]
    fn absurd_intervals_count_as_absent() {
        for value in ["0", "-1", "1048577", "x", ""] {
            assert_eq!(read(&format!("icy-metaint: {value}")).metaint, None, "{value}");
        }
    }

    #[test]
    fn pages_and_playlists_are_told_from_streams() {
        for (content_type, document) in [
            ("text/html; charset=utf-8", true),
            ("Audio/X-MpegURL", true),
            ("audio/x-scpls", true),
            ("audio/mpeg", false),
            ("application/ogg", false),
            ("application/octet-stream", false),
        ] {
            assert_eq!(
                read(&format!("Content-Type: {content_type}")).is_document(),
                document,
                "{content_type}"
            );
        }
        assert!(!read("").is_document());
    }
}
