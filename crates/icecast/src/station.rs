//! What a source says about itself in its head: name, genre, bitrate and the rest.
//!
//! Contract: `None` means "not said", so the caller can keep what it knew or reset it; every value is clean
//! text (see [`crate::text`]).

use std::num::NonZeroU32;

use http::HeaderMap;

use crate::text;

/// Most pairs kept of an `ice-audio-info` header.
const AUDIO_INFO_MAX: usize = 32;

/// The largest metadata interval taken seriously.
const METAINT_MAX: u32 = 1 << 20;

/// A station's description as its source or upstream declares it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StationInfo {
    /// Station name.
    pub name: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Genres, in the source's own punctuation.
    pub genre: Option<String>,
    /// The station's web page.
    pub url: Option<String>,
    /// Whether directories may list the stream.
    pub public: Option<bool>,
    /// Declared bitrate. Mostly kbit/s, sometimes words (`Quality 5`).
    pub bitrate: Option<String>,
    /// `ice-audio-info` taken apart, percent-decoded, in order.
    pub audio_info: Vec<(String, String)>,
    /// `ice-audio-info` as it came.
    pub raw_audio_info: Option<String>,
}

impl StationInfo {
    /// Reads the `ice-*`, `icy-*` and `x-audiocast-*` names; the first non-empty one wins, in this order.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let first = |names: &[&str]| text::first_header(headers, names);
        let raw_audio_info = first(&["ice-audio-info"]);
        let audio_info = raw_audio_info
            .as_deref()
            .map(audio_info_pairs)
            .unwrap_or_default();
        let bitrate = first(&["ice-bitrate", "icy-br", "x-audiocast-bitrate"])
            .filter(|value| !value.eq_ignore_ascii_case("n/a"))
            .or_else(|| {
                let found = |key: &str| audio_info.iter().find(|(k, _)| k.eq_ignore_ascii_case(key));
                found("bitrate")
                    .or_else(|| found("ice-bitrate"))
                    .map(|(_, value)| value.clone())
            });
        let public = first(&["ice-public", "icy-pub", "icy-public", "x-audiocast-public"]).map(|value| {
            ["1", "yes", "true", "on"]
                .iter()
                .any(|word| value.eq_ignore_ascii_case(word))
        });
        Self {
            name: first(&["ice-name", "icy-name", "x-audiocast-name"]),
            description: first(&["ice-description", "icy-description", "x-audiocast-description"]),
            genre: first(&["ice-genre", "icy-genre", "x-audiocast-genre"]),
            url: first(&["ice-url", "icy-url", "x-audiocast-url"]),
            public,
            bitrate,
            audio_info,
            raw_audio_info,
        }
    }

    /// The bitrate in kbit/s, when the declared value is a number.
    #[must_use]
    pub fn bitrate_kbps(&self) -> Option<u32> {
        self.bitrate
            .as_deref()?
            .trim()
            .parse()
            .ok()
            .filter(|&kbps| kbps > 0)
    }

    /// The value of an audio-info key, with or without its `ice-` prefix.
    #[must_use]
    pub fn audio_fact(&self, key: &str) -> Option<&str> {
        self.audio_info
            .iter()
            .find(|(k, _)| k.strip_prefix("ice-").unwrap_or(k).eq_ignore_ascii_case(key))
            .map(|(_, value)| value.as_str())
    }
}

/// The interval at which the peer interleaves metadata; zero, negative and absurd values count as absent.
#[must_use]
pub fn metaint(headers: &HeaderMap) -> Option<NonZeroU32> {
    let value: u32 = text::header(headers, "icy-metaint")?.parse().ok()?;
    NonZeroU32::new(value).filter(|n| n.get() <= METAINT_MAX)
}

fn audio_info_pairs(raw: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        let bytes: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
        text::clean(&text::decode(&bytes), text::VALUE_MAX)
    };
    raw.split(';')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (decoded(key), decoded(value)))
        .filter(|(key, value)| !key.is_empty() && !value.is_empty())
        .take(AUDIO_INFO_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head_lines;

    fn station(head: &str) -> StationInfo {
        StationInfo::from_headers(&head_lines::parse(head.as_bytes()))
    }

    #[test]
    fn ice_names_win_over_icy_over_audiocast() {
        for (head, name) in [
            ("x-audiocast-name: c\nicy-name: b\nice-name: a", "a"),
            ("x-audiocast-name: c\nicy-name: b\nIce-Name:  ", "b"),
            ("X-Audiocast-Name:c", "c"),
            ("ICY-NAME:b", "b"),
        ] {
            assert_eq!(station(head).name.as_deref(), Some(name), "{head}");
        }
    }

    #[test]
    fn every_field_has_its_names() {
        for (prefix, public) in [
            ("ice-", "ice-public"),
            ("icy-", "icy-pub"),
            ("x-audiocast-", "icy-public"),
        ] {
            let head = format!(
                "{prefix}name: n\n{prefix}description: d\n{prefix}genre: g\n{prefix}url: u\n{public}: yes"
            );
            let info = station(&head);
            let fields = [&info.name, &info.description, &info.genre, &info.url].map(|f| f.as_deref());
            assert_eq!(fields, [Some("n"), Some("d"), Some("g"), Some("u")], "{prefix}");
            assert_eq!(info.public, Some(true), "{prefix}");
        }
    }

    #[test]
    fn public_means_one_yes_true_or_on() {
        for (value, public) in [
            ("1", Some(true)),
            ("YES", Some(true)),
            ("True", Some(true)),
            ("on", Some(true)),
            ("0", Some(false)),
            ("2", Some(false)),
            ("", None),
        ] {
            assert_eq!(
                station(&format!("x-audiocast-public: {value}")).public,
                public,
                "{value}"
            );
        }
    }

    #[test]
    fn the_bitrate_may_hide_in_the_audio_info() {
        for (head, bitrate, kbps) in [
            ("ice-bitrate: 128", Some("128"), Some(128)),
            ("icy-br: 96\nice-bitrate:", Some("96"), Some(96)),
            (
                "ice-bitrate: N/A\nice-audio-info: ice-samplerate=44100;ice-bitrate=192",
                Some("192"),
                Some(192),
            ),
            ("ice-audio-info: ice-bitrate=192;bitrate=64", Some("64"), Some(64)),
            ("x-audiocast-bitrate: Quality 5", Some("Quality 5"), None),
            ("ice-bitrate: n/a", None, None),
        ] {
            let info = station(head);
            assert_eq!(info.bitrate.as_deref(), bitrate, "{head}");
            assert_eq!(info.bitrate_kbps(), kbps, "{head}");
        }
    }

    #[test]
    fn audio_info_keeps_every_pair_in_order() {
        let info = station("ice-audio-info: ice-samplerate=44100; ice-channels=2;quality=5%2C5;x;=y;z=");
        let pairs: Vec<_> = info
            .audio_info
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("ice-samplerate", "44100"),
                ("ice-channels", "2"),
                ("quality", "5,5")
            ]
        );
        assert_eq!(info.audio_fact("channels"), Some("2"));
        assert_eq!(
            info.raw_audio_info.as_deref(),
            Some("ice-samplerate=44100; ice-channels=2;quality=5%2C5;x;=y;z=")
        );
        let flood = format!("ice-audio-info: {}", "a=1;".repeat(100));
        assert_eq!(station(&flood).audio_info.len(), AUDIO_INFO_MAX);
    }

    #[test]
    fn values_are_latin1_when_they_are_not_utf8_and_are_cut() {
        let headers = head_lines::parse(b"ice-name: Caf\xe9\nice-genre: Caf\xc3\xa9\n");
        let info = StationInfo::from_headers(&headers);
        assert_eq!(
            (info.name.as_deref(), info.genre.as_deref()),
            (Some("Café"), Some("Café"))
        );
        let long = station(&format!("ice-description: {}", "ä".repeat(400)));
        assert_eq!(long.description.map(|d| d.len()), Some(512));
        let odd = station(&format!("ice-description: x{}", "ä".repeat(400)));
        assert_eq!(odd.description.map(|d| d.len()), Some(511));
    }

    #[test]
    fn the_interval_has_bounds() {
        for (value, interval) in [
            ("16000", Some(16000)),
            ("1", Some(1)),
            ("1048576", Some(1_048_576)),
            ("1048577", None),
            ("0", None),
            ("-1", None),
            ("x", None),
            ("99999999999", None),
        ] {
            let headers = head_lines::parse(format!("Icy-MetaInt:{value}").as_bytes());
            assert_eq!(metaint(&headers).map(NonZeroU32::get), interval, "{value}");
        }
    }
}
