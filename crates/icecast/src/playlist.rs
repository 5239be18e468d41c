//! The small files that hand a stream's address to a player: M3U, PLS and XSPF.
//!
//! Contract: a station's name can neither add a line or an element nor reach into another directory, and the
//! mount in an address is percent-encoded.

use bytes::Bytes;
use config::MountName;
use http::{HeaderValue, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{Answer, cors, text, xml::Xml};

/// What may stay as it is in a path (RFC 3986 section 3.3), without the quotes that playlists and HTML trip on.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// RFC 8187 section 3.2.1: what may stay as it is in an extended header parameter.
const EXTENDED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The kind of playlist file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlaylistKind {
    /// Extended M3U.
    M3u,
    /// The same under the name for UTF-8. `/m/playlist.m3u8` and `/m/master.m3u8` are HLS and never come here.
    M3u8,
    /// PLS.
    Pls,
    /// XSPF.
    Xspf,
}

/// One stream's entry.
#[derive(Debug, Clone, Copy)]
pub struct Playlist<'a> {
    /// Public address without a trailing slash; see [`base`].
    pub base: &'a str,
    /// The mount.
    pub mount: &'a MountName,
    /// Station name.
    pub name: &'a str,
    /// Description; may be empty.
    pub description: &'a str,
}

impl PlaylistKind {
    /// Splits a path into the mount's path and the kind of playlist.
    #[must_use]
    pub fn of_path(path: &str) -> Option<(&str, Self)> {
        [Self::M3u8, Self::M3u, Self::Pls, Self::Xspf]
            .into_iter()
            .find_map(|kind| {
                let mount = path.strip_suffix(kind.extension())?.strip_suffix('.')?;
                Some((mount, kind))
            })
    }

    fn extension(self) -> &'static str {
        match self {
            Self::M3u => "m3u",
            Self::M3u8 => "m3u8",
            Self::Pls => "pls",
            Self::Xspf => "xspf",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::M3u | Self::M3u8 => "audio/x-mpegurl",
            Self::Pls => "audio/x-scpls",
            Self::Xspf => "application/xspf+xml",
        }
    }
}

/// The address that playlists and links begin with: the configured one, else scheme and `Host`. A `Host` that is
/// none (it comes from a stranger) counts as absent and `hostname` is used.
#[must_use]
pub fn base(base_url: &str, https: bool, host: Option<&str>, hostname: &str) -> String {
    let base_url = base_url.trim().trim_end_matches('/');
    if !base_url.is_empty() {
        return base_url.to_owned();
    }
    let legal = |host: &&str| {
        let legal_byte = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
        !host.is_empty() && host.len() <= 255 && host.bytes().all(legal_byte)
    };
    let host = host.map(str::trim).filter(legal).unwrap_or(hostname);
    format!("{}://{host}", if https { "https" } else { "http" })
}

/// A mount's path as it stands in an address.
#[must_use]
pub fn encode_mount(mount: &MountName) -> String {
    utf8_percent_encode(mount.as_str(), PATH).to_string()
}

impl Playlist<'_> {
    /// The file as an answer, readable across origins.
    #[must_use]
    pub fn answer(&self, kind: PlaylistKind) -> Answer {
        let content_type = HeaderValue::from_static(kind.content_type());
        let mut answer = Answer::new(StatusCode::OK, content_type, self.body(kind))
            .with(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Ok(value) = HeaderValue::from_str(&self.disposition(kind)) {
            answer.headers.insert(header::CONTENT_DISPOSITION, value);
        }
        cors::add_to(&mut answer.headers);
        answer
    }

    /// The address of the stream itself.
    #[must_use]
    pub fn location(&self) -> String {
        format!("{}{}", self.base, encode_mount(self.mount))
    }

    fn body(&self, kind: PlaylistKind) -> Bytes {
        let name = self.name();
        let location = self.location();
        Bytes::from(match kind {
            PlaylistKind::M3u | PlaylistKind::M3u8 => {
                format!("#EXTM3U\n#EXTINF:-1,{name}\n{location}\n")
            }
            PlaylistKind::Pls => format!(
                "[playlist]\nNumberOfEntries=1\nFile1={location}\nTitle1={name}\nLength1=-1\nVersion=2\n"
            ),
            PlaylistKind::Xspf => {
                let mut xml = Xml::new("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
                xml.open(
                    "playlist",
                    &[("version", "1"), ("xmlns", "http://xspf.org/ns/0/")],
                );
                xml.text("title", &name);
                xml.open("trackList", &[]);
                xml.open("track", &[]);
                xml.text("location", &location);
                xml.text("title", &name);
                xml.text("annotation", self.description);
                xml.close("track");
                xml.close("trackList");
                xml.close("playlist");
                xml.finish()
            }
        })
    }

    /// The name, or the mount's where the stream has none.
    fn name(&self) -> String {
        let name = text::clean(self.name, text::VALUE_MAX);
        if name.is_empty() {
            self.mount.as_str()[1..].to_owned()
        } else {
            name
        }
    }

    fn disposition(&self, kind: PlaylistKind) -> String {
        let extension = kind.extension();
        let unsafe_in_file_name =
            |c: char| matches!(c, '"' | '\'' | '/' | '\\' | ':' | '*' | '?' | '<' | '>' | '|');
        let name = self.name().replace(unsafe_in_file_name, "");
        let name = name.trim().trim_start_matches('.');
        let name = if name.is_empty() { "stream" } else { name };
        let ascii = name.replace(|c: char| !c.is_ascii() || c == '%' || c == ';', "_");
        let extended = utf8_percent_encode(name, EXTENDED);
        format!("attachment; filename=\"{ascii}.{extension}\"; filename*=UTF-8''{extended}.{extension}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(mount: &str, name: &str, kind: PlaylistKind) -> (String, String, String) {
        let mount = MountName::parse(mount).unwrap();
        let playlist = Playlist {
            base: "http://radio.example.org:8000",
            mount: &mount,
            name,
            description: "R&B",
        };
        let answer = playlist.answer(kind);
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        (header("content-type"), header("content-disposition"), body)
    }

    #[test]
    fn each_kind_has_its_body_and_type() {
        let m3u = "#EXTM3U\n#EXTINF:-1,Example FM\nhttp://radio.example.org:8000/live\n";
        let pls = "[playlist]\nNumberOfEntries=1\nFile1=http://radio.example.org:8000/live\nTitle1=Example FM\n\
                   Length1=-1\nVersion=2\n";
        let xspf = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<playlist version=\"1\" \
                    xmlns=\"http://xspf.org/ns/0/\"><title>Example FM</title><trackList><track>\
                    <location>http://radio.example.org:8000/live</location><title>Example FM</title>\
                    <annotation>R&amp;B</annotation></track></trackList></playlist>\n";
        for (kind, content_type, extension, body) in [
            (PlaylistKind::M3u, "audio/x-mpegurl", "m3u", m3u),
            (PlaylistKind::M3u8, "audio/x-mpegurl", "m3u8", m3u),
            (PlaylistKind::Pls, "audio/x-scpls", "pls", pls),
            (PlaylistKind::Xspf, "application/xspf+xml", "xspf", xspf),
        ] {
            let disposition = format!(
                "attachment; filename=\"Example FM.{extension}\"; filename*=UTF-8''Example%20FM.{extension}"
            );
            assert_eq!(
                answer("/live", "Example FM", kind),
                (content_type.into(), disposition, body.into())
            );
        }
    }

    #[test]
    fn names_cannot_add_lines_or_paths() {
        let (_, disposition, body) = answer("/a b/ü#?.mp3", "../\"Ünï\"\r\nX: y", PlaylistKind::M3u);
        assert_eq!(
            disposition,
            "attachment; filename=\"_n_X y.m3u\"; filename*=UTF-8''%C3%9Cn%C3%AFX%20y.m3u"
        );
        assert_eq!(
            body,
            "#EXTM3U\n#EXTINF:-1,../\"Ünï\"X: y\nhttp://radio.example.org:8000/a%20b/%C3%BC%23%3F.mp3\n"
        );
        let (_, disposition, body) = answer("/live", " ", PlaylistKind::Pls);
        assert!(disposition.contains("filename=\"live.pls\"") && body.contains("Title1=live\n"));
    }

    #[test]
    fn paths_name_their_kind() {
        for (path, expected) in [
            ("/live.m3u", Some(("/live", PlaylistKind::M3u))),
            ("/a/b.mp3.m3u8", Some(("/a/b.mp3", PlaylistKind::M3u8))),
            ("/live.pls", Some(("/live", PlaylistKind::Pls))),
            ("/live.xspf", Some(("/live", PlaylistKind::Xspf))),
            ("/live", None),
            ("/livem3u", None),
        ] {
            assert_eq!(PlaylistKind::of_path(path), expected, "{path}");
        }
    }

    #[test]
    fn the_base_is_configured_or_asked_for() {
        for (base_url, https, host, expected) in [
            ("https://r.example/", false, Some("x"), "https://r.example"),
            ("", false, Some("r.example:8000"), "http://r.example:8000"),
            ("", true, Some("[2001:db8::1]:8443"), "https://[2001:db8::1]:8443"),
            ("", true, None, "https://localhost"),
            ("", false, Some("evil\"><script>"), "http://localhost"),
            ("", false, Some("a/b"), "http://localhost"),
        ] {
            assert_eq!(base(base_url, https, host, "localhost"), expected);
        }
    }
}
