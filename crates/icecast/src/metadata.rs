//! Title changes from outside the stream: `/admin/metadata` and Shoutcast's `/admin.cgi`.
//!
//! Contract: whatever an encoder's idea of encoding is, the result is clean Unicode; parameters that nobody
//! knows are ignored, a missing one is named.

use std::fmt;

use bytes::Bytes;
use config::{BadMountName, MountName};
use http::{HeaderValue, StatusCode};

use crate::{Answer, command, text};

/// Most parameters looked at; liquidsoap sends every tag it has.
const PARAMETERS_MAX: usize = 256;

/// A new title, as an encoder announces it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TitleUpdate {
    /// The whole title. Empty clears the song.
    pub song: String,
    /// The artist, when given apart and no whole title was.
    pub artist: Option<String>,
    /// The title, when given apart and no whole title was.
    pub title: Option<String>,
}

/// What `/admin/metadata` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataUpdate {
    /// The mount.
    pub mount: MountName,
    /// The mount with `+` taken literally, when that makes a difference: some encoders do not encode it. To be
    /// tried when [`MetadataUpdate::mount`] is not live.
    pub literal_mount: Option<MountName>,
    /// The new title; `None` when only the URL changes.
    pub title: Option<TitleUpdate>,
    /// New `StreamUrl`.
    pub url: Option<String>,
}

/// What `/admin.cgi` asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct ShoutcastUpdate {
    /// The password, which travels in the query.
    pub password: String,
    /// The update itself.
    pub update: MetadataUpdate,
}

/// Why an update cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadUpdate {
    /// This parameter is needed.
    #[error("missing parameter: {0}")]
    Missing(&'static str),
    /// `mode` is something else than `updinfo`.
    #[error("no such action")]
    NoSuchAction,
    /// No mount can have this name.
    #[error("bad mount: {0}")]
    BadMount(BadMountName),
    /// No password was given.
    #[error("no password")]
    NoPassword,
}

impl MetadataUpdate {
    /// Reads the query and the form body of `/admin/metadata`; the query wins where both have a parameter.
    ///
    /// # Errors
    /// [`BadUpdate`] becomes the answer.
    pub fn parse(query: &[u8], form: &[u8]) -> Result<Self, BadUpdate> {
        let parameters = Parameters::read(query, form);
        let raw = parameters.raw("mount").ok_or(BadUpdate::Missing("mount"))?;
        let mount = mount_name(raw, Plus::IsSpace).map_err(BadUpdate::BadMount)?;
        let literal_mount = mount_name(raw, Plus::IsPlus)
            .ok()
            .filter(|literal| *literal != mount);
        parameters.update(mount, literal_mount)
    }
}

impl ShoutcastUpdate {
    /// Reads the query and the form body of `/admin.cgi`.
    ///
    /// # Errors
    /// [`BadUpdate`] becomes the answer.
    pub fn parse(query: &[u8], form: &[u8], default_mount: &MountName) -> Result<Self, BadUpdate> {
        let parameters = Parameters::read(query, form);
        let password = parameters
            .text("pass", text::VALUE_MAX)
            .ok_or(BadUpdate::NoPassword)?;
        let mount = match parameters.raw("mount") {
            Some(raw) => mount_name(raw, Plus::IsSpace).map_err(BadUpdate::BadMount)?,
            None => default_mount.clone(),
        };
        let update = parameters.update(mount, None)?;
        Ok(Self { password, update })
    }
}

impl fmt::Debug for ShoutcastUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShoutcastUpdate")
            .field("update", &self.update)
            .finish_non_exhaustive()
    }
}

/// 200 to a title that was taken over, or was the current one already.
#[must_use]
pub fn done() -> Answer {
    command::response(StatusCode::OK, "Metadata update successful", true)
}

/// 404 when the mount has no live source.
#[must_use]
pub fn no_such_mount() -> Answer {
    command::response(StatusCode::NOT_FOUND, "No such mount", false)
}

/// 401 to missing and to wrong credentials; only wrong ones count for the lockout.
#[must_use]
pub fn unauthorized() -> Answer {
    Answer::unauthorized_admin()
}

/// 403 to credentials without rights on the mount.
#[must_use]
pub fn forbidden() -> Answer {
    command::response(StatusCode::FORBIDDEN, "Forbidden", false)
}

/// 200 to a Shoutcast encoder, which expects a page.
#[must_use]
pub fn done_page() -> Answer {
    page(StatusCode::OK, "Metadata updated")
}

/// The refusals of `/admin.cgi`.
#[must_use]
pub fn refusal_page(status: StatusCode, reason: &'static str) -> Answer {
    page(status, reason)
}

fn page(status: StatusCode, text: &'static str) -> Answer {
    let body = format!("<html><head><title>{text}</title></head><body>{text}</body></html>\n");
    Answer::new(
        status,
        HeaderValue::from_static("text/html; charset=utf-8"),
        Bytes::from(body),
    )
}

impl From<BadUpdate> for Answer {
    fn from(bad: BadUpdate) -> Self {
        match bad {
            // Icecast answers 200 and leaves the verdict to `return`.
            BadUpdate::NoSuchAction => command::response(StatusCode::OK, "No such action", false),
            BadUpdate::Missing(parameter) => command::missing(parameter),
            BadUpdate::BadMount(_) => no_such_mount(),
            BadUpdate::NoPassword => unauthorized(),
        }
    }
}

/// What an encoder means by a `+` in a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    IsSpace,
    IsPlus,
}

/// The encoding of the percent-decoded bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Charset {
    /// UTF-8, and ISO-8859-1 where that fails.
    Guess,
    Latin1,
    Windows1252,
}

/// Parameters as they came, still encoded.
struct Parameters<'a> {
    pairs: Vec<(&'a [u8], &'a [u8])>,
    charset: Charset,
}

impl<'a> Parameters<'a> {
    fn read(query: &'a [u8], form: &'a [u8]) -> Self {
        let pairs: Vec<_> = [query, form]
            .into_iter()
            .flat_map(|part| part.split(|&byte| byte == b'&'))
            .filter_map(|pair| {
                let equals = pair.iter().position(|&byte| byte == b'=')?;
                Some((&pair[..equals], pair[equals + 1..].trim_ascii_end()))
            })
            .take(PARAMETERS_MAX)
            .collect();
        let mut parameters = Self {
            pairs,
            charset: Charset::Guess,
        };
        parameters.charset = parameters.raw("charset").map_or(Charset::Guess, charset);
        parameters
    }

    fn raw(&self, name: &str) -> Option<&'a [u8]> {
        self.pairs
            .iter()
            .find(|(key, _)| *key == name.as_bytes())
            .map(|(_, value)| *value)
    }

    fn text(&self, name: &str, max: usize) -> Option<String> {
        let bytes = decode(self.raw(name)?, Plus::IsSpace);
        let decoded = match self.charset {
            Charset::Guess => text::decode(&bytes),
            Charset::Latin1 => text::latin1(&bytes).into(),
            Charset::Windows1252 => bytes.iter().map(|&byte| windows_1252(byte)).collect(),
        };
        Some(text::clean(&decoded, max))
    }

    fn update(
        &self,
        mount: MountName,
        literal_mount: Option<MountName>,
    ) -> Result<MetadataUpdate, BadUpdate> {
        if self.raw("mode").is_some_and(|mode| mode != b"updinfo") {
            return Err(BadUpdate::NoSuchAction);
        }
        let title = self.title();
        let url = self.text("url", text::VALUE_MAX);
        if title.is_none() && url.is_none() {
            return Err(BadUpdate::Missing("song"));
        }
        Ok(MetadataUpdate {
            mount,
            literal_mount,
            title,
            url,
        })
    }

    fn title(&self) -> Option<TitleUpdate> {
        let value = |name| self.text(name, text::TITLE_MAX);
        if let Some(song) = value("song") {
            return Some(TitleUpdate {
                song,
                artist: None,
                title: None,
            });
        }
        let (artist, title) = (value("artist"), value("title"));
        if artist.is_none() && title.is_none() {
            return None;
        }
        let [artist, title] = [artist, title].map(|part| part.filter(|text| !text.is_empty()));
        let song = match (&artist, &title) {
            (Some(artist), Some(title)) => text::clean(&format!("{artist} - {title}"), text::TITLE_MAX),
            (Some(one), None) | (None, Some(one)) => one.clone(),
            (None, None) => String::new(),
        };
        Some(TitleUpdate { song, artist, title })
    }
}

fn charset(name: &[u8]) -> Charset {
    match name.to_ascii_lowercase().as_slice() {
        b"latin1" | b"latin-1" | b"iso-8859-1" | b"iso8859-1" | b"iso_8859-1" => Charset::Latin1,
        b"windows-1252" | b"cp1252" | b"cp-1252" => Charset::Windows1252,
        _ => Charset::Guess,
    }
}

fn decode(value: &[u8], plus: Plus) -> Vec<u8> {
    let spaced: Vec<u8> = match plus {
        Plus::IsSpace => value
            .iter()
            .map(|&byte| if byte == b'+' { b' ' } else { byte })
            .collect(),
        Plus::IsPlus => value.to_vec(),
    };
    percent_encoding::percent_decode(&spaced).collect()
}

/// Mount names are UTF-8 whatever the charset of the title is.
fn mount_name(raw: &[u8], plus: Plus) -> Result<MountName, BadMountName> {
    MountName::parse(&text::decode(&decode(raw, plus)))
}

/// Windows code page 1252; its five holes are the control characters of ISO-8859-1 and vanish in cleaning.
fn windows_1252(byte: u8) -> char {
    const UPPER: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
        '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => UPPER[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(query: &str) -> Result<MetadataUpdate, BadUpdate> {
        MetadataUpdate::parse(query.as_bytes(), b"")
    }

    fn song(query: &str) -> String {
        parse(query).unwrap().title.unwrap().song
    }

    #[test]
    fn titles_are_decoded_whatever_they_are_encoded_in() {
        for (query, expected) in [
            ("mount=/live&mode=updinfo&song=A+-+B", "A - B"),
            ("mount=%2Flive&song=100%25+r%26b", "100% r&b"),
            ("mount=/live&song=Caf%C3%A9", "Café"),
            ("mount=/live&song=Caf%E9", "Café"),
            ("mount=/live&song=Caf%C3%A9&charset=latin1", "CafÃ©"),
            ("mount=/live&song=%93Caf%E9%94&charset=windows-1252", "“Café”"),
            ("mount=/live&song=%80%81&charset=CP1252", "€"),
            ("mount=/live&song=Caf%E9&charset=ISO-8859-1", "Café"),
            ("mount=/live&song=Caf%C3%A9&charset=UTF-8", "Café"),
            ("mount=/live&song=50%", "50%"),
            ("mount=/live&song=a%0d%0ab%00", "ab"),
            ("mount=/live&song=", ""),
            ("mount=/live&song=Café", "Café"),
            ("mount=/live&song=first&song=second", "first"),
            ("year=1999&tracknumber=3&mount=/live&song=x&encoder=y&lonely", "x"),
        ] {
            assert_eq!(song(query), expected, "{query}");
        }
    }

    #[test]
    fn artist_and_title_are_joined_when_there_is_no_song() {
        for (query, expected, artist, title) in [
            ("artist=A&title=B", "A - B", Some("A"), Some("B")),
            ("title=B", "B", None, Some("B")),
            ("artist=A", "A", Some("A"), None),
            ("artist=&title=B", "B", None, Some("B")),
            ("artist=&title=", "", None, None),
            ("artist=A&title=B&song=S", "S", None, None),
            ("artist=A&title=B&song=", "", None, None),
        ] {
            let update = parse(&format!("mount=/live&mode=updinfo&{query}"))
                .unwrap()
                .title
                .unwrap();
            let parts = (
                update.song.as_str(),
                update.artist.as_deref(),
                update.title.as_deref(),
            );
            assert_eq!(parts, (expected, artist, title), "{query}");
        }
    }

    #[test]
    fn a_missing_parameter_is_named() {
        for (query, error) in [
            ("", BadUpdate::Missing("mount")),
            ("song=x", BadUpdate::Missing("mount")),
            ("mount=/live", BadUpdate::Missing("song")),
            (
                "mount=/live&mode=updinfo&charset=utf-8",
                BadUpdate::Missing("song"),
            ),
            ("mount=/live&mode=viewxml&song=x", BadUpdate::NoSuchAction),
        ] {
            assert_eq!(parse(query), Err(error), "{query}");
        }
        assert!(matches!(
            parse("mount=/admin&song=x"),
            Err(BadUpdate::BadMount(_))
        ));
    }

    #[test]
    fn the_mount_may_arrive_unencoded() {
        for (query, mount, literal) in [
            ("mount=/a/b.mp3&song=x", "/a/b.mp3", None),
            ("mount=/a b&song=x", "/a b", None),
            ("mount=/ü&song=x", "/ü", None),
            ("mount=%2F%C3%BC&song=x", "/ü", None),
            ("mount=/a+b&song=x", "/a b", Some("/a+b")),
        ] {
            let update = parse(query).unwrap();
            assert_eq!(update.mount.as_str(), mount, "{query}");
            assert_eq!(
                update.literal_mount.as_ref().map(MountName::as_str),
                literal,
                "{query}"
            );
        }
    }

    #[test]
    fn forms_and_urls_are_read_too() {
        let update =
            MetadataUpdate::parse(b"mount=/live", b"mode=updinfo&song=A+B&url=http%3A%2F%2Fx%2F\r\n");
        let update = update.unwrap();
        assert_eq!(update.title.unwrap().song, "A B");
        assert_eq!(update.url.as_deref(), Some("http://x/"));
        let only_url = parse("mount=/live&url=http://x/").unwrap();
        assert_eq!(
            (only_url.title, only_url.url.as_deref()),
            (None, Some("http://x/"))
        );
    }

    #[test]
    fn long_titles_are_cut_on_a_character() {
        let song = song(&format!("mount=/live&song=x{}", "%C3%A4".repeat(3000)));
        assert_eq!(song.len(), text::TITLE_MAX - 1);
    }

    #[test]
    fn shoutcast_updates_bring_their_password() {
        let default = MountName::parse("/stream").unwrap();
        let parse = |query: &str| ShoutcastUpdate::parse(query.as_bytes(), b"", &default);
        let update = parse("mode=updinfo&pass=p%26w&song=A").unwrap();
        assert_eq!(
            (update.password.as_str(), update.update.mount.as_str()),
            ("p&w", "/stream")
        );
        assert!(!format!("{update:?}").contains("p&w"));
        assert_eq!(
            parse("pass=p&song=A&mount=/live").unwrap().update.mount.as_str(),
            "/live"
        );
        assert_eq!(parse("song=A"), Err(BadUpdate::NoPassword));
        assert_eq!(parse("pass=p"), Err(BadUpdate::Missing("song")));
    }

    #[test]
    fn every_case_has_its_answer() {
        let xml = "text/xml; charset=utf-8";
        for (answer, status, kind, part) in [
            (
                done(),
                200,
                xml,
                "<message>Metadata update successful</message><return>1</return>",
            ),
            (
                no_such_mount(),
                404,
                xml,
                "<message>No such mount</message><return>0</return>",
            ),
            (forbidden(), 403, xml, "<return>0</return>"),
            (unauthorized(), 401, "text/plain; charset=utf-8", "Unauthorized"),
            (BadUpdate::Missing("mount").into(), 400, xml, "mount"),
            (
                BadUpdate::NoSuchAction.into(),
                200,
                xml,
                "<message>No such action</message><return>0</return>",
            ),
            (
                BadUpdate::NoPassword.into(),
                401,
                "text/plain; charset=utf-8",
                "Unauthorized",
            ),
            (done_page(), 200, "text/html; charset=utf-8", "<html>"),
        ] {
            assert_eq!(answer.status, status);
            assert_eq!(answer.headers["content-type"], kind);
            assert!(
                std::str::from_utf8(&answer.body).unwrap().contains(part),
                "{part}"
            );
        }
        assert_eq!(
            unauthorized().headers["www-authenticate"],
            "Basic realm=\"TinyIce\""
        );
    }

    proptest! {
        #[test]
        fn any_query_is_read_without_panic(
            query in proptest::collection::vec(any::<u8>(), 0..200),
            charset in prop_oneof!["latin1", "cp1252", "utf-8", "x"],
        ) {
            let mut full = format!("mount=/m&charset={charset}&song=").into_bytes();
            full.extend_from_slice(&query);
            let song = MetadataUpdate::parse(&full, &query).unwrap().title.unwrap().song;
            prop_assert!(song.len() <= text::TITLE_MAX && !song.chars().any(char::is_control));
        }
    }
}
