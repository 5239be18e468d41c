//! One stream as pages show it.
//!
//! Contract: what is written here is plain text; templates escape it. Numbers and times look the same on all pages
//! (`site.js` writes them in the same form when it refreshes them).

use std::time::Duration;

use config::MountName;
use icecast::playlist::encode_mount;
use media::Format;
use mount::MountSnapshot;

/// What a page says about a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stream {
    /// The mount that is listened to.
    pub(super) mount: String,
    /// The mount as it stands in an address.
    pub(super) path: String,
    /// The mount whose stream it is: another one while a fallback stands in.
    pub(super) source: String,
    /// Name of the station, else of the mount.
    pub(super) name: String,
    /// Description.
    pub(super) description: Option<String>,
    /// Genre.
    pub(super) genre: Option<String>,
    /// Web page of the station.
    pub(super) homepage: Option<String>,
    /// What is playing.
    pub(super) song: Option<String>,
    /// Short name of the codec.
    pub(super) codec: String,
    /// The content type, for browsers to tell whether they can play it.
    pub(super) content_type: String,
    /// Bit rate with its unit.
    pub(super) bitrate: Option<String>,
    /// Listeners with their noun.
    pub(super) listeners: String,
    /// When it began, for machines.
    pub(super) began: String,
    /// How long ago that was.
    pub(super) uptime: String,
}

impl Stream {
    pub(super) fn new(mount: &MountName, snapshot: &MountSnapshot) -> Self {
        let station = &snapshot.station;
        let said = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let homepage = said(&station.url).filter(|url| {
            ["http://", "https://"]
                .iter()
                .any(|scheme| url.starts_with(scheme))
        });
        // Until it is measured, the header's word counts.
        let of_header = snapshot
            .facts
            .bitrate
            .map(|bits| format!("{} kbit/s", bits / 1000));
        Self {
            mount: mount.to_string(),
            path: encode_mount(mount),
            source: snapshot.name.to_string(),
            name: said(&station.name).unwrap_or_else(|| mount.to_string()),
            description: said(&station.description),
            genre: said(&station.genre),
            homepage,
            song: Some(snapshot.title.text.clone()).filter(|text| !text.trim().is_empty()),
            codec: codec(snapshot.facts.codec, snapshot.format, &snapshot.content_type),
            content_type: snapshot.content_type.clone(),
            bitrate: snapshot.bitrate.as_deref().and_then(bitrate).or(of_header),
            listeners: listeners(snapshot.listeners),
            began: snapshot.began_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            uptime: uptime(snapshot.uptime),
        }
    }

    /// Whether another mount's stream is heard.
    pub(super) fn is_stand_in(&self) -> bool {
        self.source != self.mount
    }

    /// Whether a search finds it.
    pub(super) fn matches(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let fields = [
            Some(&self.mount),
            Some(&self.name),
            self.song.as_ref(),
            self.genre.as_ref(),
        ];
        fields
            .into_iter()
            .flatten()
            .any(|field| field.to_lowercase().contains(&text))
    }
}

fn codec(known: Option<&str>, format: Format, content_type: &str) -> String {
    let of_format = match format {
        Format::Mpeg => "MP3",
        Format::Adts => "AAC",
        Format::Ogg => "Ogg",
        Format::Flac => "FLAC",
        Format::Wav => "WAV",
        Format::Matroska => "WebM",
        Format::MpegTs => "MPEG-TS",
        _ => "",
    };
    match known.unwrap_or(of_format) {
        "" => {
            let essence = content_type.split(';').next().unwrap_or_default();
            essence
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .trim()
                .to_uppercase()
        }
        name => name.to_owned(),
    }
}

/// A declared bit rate may be a number of kbit/s or any text, such as "Quality 4".
fn bitrate(text: &str) -> Option<String> {
    let text = text.trim();
    match text.parse::<f64>() {
        Ok(kbits) if kbits.is_finite() && kbits > 0.0 => Some(format!("{text} kbit/s")),
        Ok(_) => None,
        Err(_) => Some(text.to_owned()).filter(|text| !text.is_empty()),
    }
}

fn listeners(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{grouped} {}", if count == 1 { "listener" } else { "listeners" })
}

/// A length of time by its two greatest units.
fn uptime(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        for (count, expected) in [
            (0, "0 listeners"),
            (1, "1 listener"),
            (999, "999 listeners"),
            (1_234_567, "1,234,567 listeners"),
        ] {
            assert_eq!(listeners(count), expected);
        }
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3599, "59m"),
            (11_040, "3h 4m"),
            (86_400, "1d 0h"),
            (183_600, "2d 3h"),
        ] {
            assert_eq!(uptime(Duration::from_secs(seconds)), expected);
        }
        for (text, expected) in [
            ("128", Some("128 kbit/s")),
            (" 44.1 ", Some("44.1 kbit/s")),
            ("Quality 4", Some("Quality 4")),
            ("0", None),
            ("nan", None),
            ("", None),
        ] {
            assert_eq!(bitrate(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn codecs_have_short_names() {
        for (known, format, content_type, expected) in [
            (Some("Opus"), Format::Ogg, "audio/ogg", "Opus"),
            (None, Format::Mpeg, "audio/mpeg", "MP3"),
            (None, Format::Adts, "audio/aacp", "AAC"),
            (None, Format::Opaque, "audio/x-strange; a=b", "X-STRANGE"),
            (None, Format::Opaque, "", ""),
        ] {
            assert_eq!(codec(known, format, content_type), expected);
        }
    }

    #[test]
    fn a_search_looks_at_what_is_shown() {
        let stream = Stream {
            mount: "/live".into(),
            name: "Ünder FM".into(),
            song: Some("A - B".into()),
            genre: Some("Jazz".into()),
            ..Stream::default()
        };
        for (text, expected) in [
            ("", true),
            ("LIVE", true),
            ("ünder", true),
            ("a - b", true),
            ("jazz", true),
            ("rock", false),
        ] {
            assert_eq!(stream.matches(text), expected, "{text}");
        }
    }
}
