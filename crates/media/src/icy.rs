//! Metadata between the audio, as Shoutcast invented it: after every interval one byte that counts sixteen-byte
//! groups, then the text `StreamTitle='…';StreamUrl='…';`, padded with zeros.
//!
//! Contract: a block is at most 4,080 bytes and valid UTF-8, and nothing inside a title can end it early.
//! Reading never holds audio back.
//!
//! ```
//! use media::icy::{self, Deinterleaver, Piece};
//! let interval = icy::parse_interval("4").expect("a usable interval");
//! let mut stream = b"abcd".to_vec();
//! stream.extend_from_slice(&icy::block("Artist - Title", None));
//! let mut titles = Vec::new();
//! Deinterleaver::new(interval).push(&stream, |piece| {
//!     if let Piece::Meta(meta) = piece {
//!         titles.extend(meta.title);
//!     }
//! });
//! assert_eq!(titles, ["Artist - Title"]);
//! ```

use std::num::NonZeroUsize;

use bytes::Bytes;
use memchr::memmem;

/// Audio bytes between two blocks of our own streams.
pub const INTERVAL: usize = 16_000;

/// Text that fits into a block.
const MAX_TEXT: usize = 255 * 16;
/// Largest interval that is believed of an upstream.
const MAX_INTERVAL: usize = 1 << 20;
const TITLE: &str = "StreamTitle='";
const URL: &str = "StreamUrl='";
const END: &str = "';";

/// The block that announces a title: its length byte and the padded text.
#[must_use]
pub fn block(title: &str, url: Option<&str>) -> Bytes {
    let url = url
        .map(|url| [URL, &clean_url(url), END].concat())
        .unwrap_or_default();
    // The title matters more, and half an address is of no use to anybody.
    let url = if url.len() > MAX_TEXT / 2 {
        String::new()
    } else {
        url
    };
    let title = clean_title(title);
    let room = MAX_TEXT - TITLE.len() - END.len() - url.len();
    let cut = (0..=room.min(title.len()))
        .rev()
        .find(|at| title.is_char_boundary(*at))
        .unwrap_or(0);
    let title = &title[..cut];
    let text = [TITLE, title, END, &url].concat();
    let groups = text.len().div_ceil(16);
    let mut block = Vec::with_capacity(1 + groups * 16);
    block.push(groups as u8);
    block.extend_from_slice(text.as_bytes());
    block.resize(1 + groups * 16, 0);
    block.into()
}

fn clean_title(title: &str) -> String {
    let printable: String = title
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it })
        .collect();
    printable.replace(END, "’;")
}

fn clean_url(url: &str) -> String {
    url.chars()
        .filter(|it| !it.is_control())
        .collect::<String>()
        .replace('\'', "%27")
}

/// The value of an `icy-metaint` header; None when it makes no sense and counts as absent.
#[must_use]
pub fn parse_interval(value: &str) -> Option<NonZeroUsize> {
    let interval: NonZeroUsize = value.trim().parse().ok()?;
    (interval.get() <= MAX_INTERVAL).then_some(interval)
}

/// What a stream with metadata consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Audio, as much of an interval as has arrived.
    Audio(&'a [u8]),
    /// A block with text.
    Meta(StreamMeta),
}

/// The text of a block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamMeta {
    /// The title; empty when the stream says that there is none now.
    pub title: Option<String>,
    /// The address that goes with the title.
    pub url: Option<String>,
}

/// Takes audio and metadata apart.
#[derive(Debug)]
pub struct Deinterleaver {
    interval: NonZeroUsize,
    state: State,
    text: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// So many bytes of audio to the next length byte; not 0.
    Audio(usize),
    Length,
    /// So many bytes of text to the end of the block; not 0.
    Text(usize),
}

impl Deinterleaver {
    /// For a stream with a block after each `interval` bytes of audio.
    #[must_use]
    pub fn new(interval: NonZeroUsize) -> Self {
        Self {
            interval,
            state: State::Audio(interval.get()),
            text: Vec::new(),
        }
    }

    /// Takes the next bytes of the stream; `sink` gets the pieces in their order.
    pub fn push(&mut self, bytes: &[u8], mut sink: impl FnMut(Piece<'_>)) {
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            match self.state {
                State::Audio(left) => {
                    let (audio, tail) = rest.split_at(left.min(rest.len()));
                    rest = tail;
                    self.state = match left - audio.len() {
                        0 => State::Length,
                        left => State::Audio(left),
                    };
                    sink(Piece::Audio(audio));
                }
                State::Length => {
                    rest = &rest[1..];
                    self.state = match usize::from(first) * 16 {
                        0 => State::Audio(self.interval.get()),
                        len => State::Text(len),
                    };
                }
                State::Text(left) => {
                    let (text, tail) = rest.split_at(left.min(rest.len()));
                    rest = tail;
                    self.text.extend_from_slice(text);
                    if left > text.len() {
                        self.state = State::Text(left - text.len());
                        continue;
                    }
                    self.state = State::Audio(self.interval.get());
                    let meta = StreamMeta::parse(&self.text);
                    self.text.clear();
                    if meta != StreamMeta::default() {
                        sink(Piece::Meta(meta));
                    }
                }
            }
        }
    }
}

impl StreamMeta {
    /// Reads the text of a block, padding included. What is not there stays None.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let end = text
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        let text = &text[..end];
        let url_at = memmem::rfind(text, URL.as_bytes());
        let (head, url) = match url_at {
            Some(at) => (&text[..at], Some(&text[at + URL.len()..])),
            None => (text, None),
        };
        let title = memmem::find(head, TITLE.as_bytes()).map(|at| &head[at + TITLE.len()..]);
        Self {
            title: title.map(value),
            url: url.map(value),
        }
    }
}

/// The value at the start of `text`. Apostrophes are not escaped, so its end is the first `';` behind which
/// nothing comes or another `key='`; without any, the block was cut off and all of it belongs to the value.
fn value(text: &[u8]) -> String {
    let end = memmem::find_iter(text, END)
        .find(|at| is_end(&text[at + END.len()..]))
        .or_else(|| memmem::rfind(text, END.as_bytes()))
        .unwrap_or_else(|| text.strip_suffix(b"'").unwrap_or(text).len());
    latin1_or_utf8(&text[..end])
}

fn is_end(rest: &[u8]) -> bool {
    let rest = rest.trim_ascii();
    let key = rest
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
        .count();
    rest.is_empty() || (key > 0 && rest[key..].starts_with(b"='"))
}

/// Text of unknown encoding: UTF-8 if it is valid, else ISO-8859-1.
#[must_use]
pub fn latin1_or_utf8(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Deinterleaver, INTERVAL, Piece, StreamMeta, block, latin1_or_utf8, parse_interval};

    fn text(block: &[u8]) -> String {
        assert_eq!(block.len(), 1 + usize::from(block[0]) * 16);
        let text = str::from_utf8(&block[1..]).expect("blocks are UTF-8");
        text.trim_end_matches('\0').to_owned()
    }

    #[test]
    fn blocks_hold_titles() {
        let check = |title: &str, url: Option<&str>, expected: &str| {
            assert_eq!(text(&block(title, url)), expected);
        };
        check("", None, "StreamTitle='';");
        check("A - B", None, "StreamTitle='A - B';");
        check(
            "It's",
            Some("http://x/?a=1"),
            "StreamTitle='It's';StreamUrl='http://x/?a=1';",
        );
        check("It'; me\r\n\u{85}!", None, "StreamTitle='It’; me   !';");
        check(
            "x",
            Some("http://x/';\n"),
            "StreamTitle='x';StreamUrl='http://x/%27;';",
        );
        check("x", Some(""), "StreamTitle='x';StreamUrl='';");
        check("x", Some(&"u".repeat(3000)), "StreamTitle='x';");
    }

    #[test]
    fn long_titles_are_cut_between_characters() {
        for prefix in ["", "a", "aa", "aaa"] {
            let title = prefix.to_owned() + &"€😀".repeat(1000);
            for url in [None, Some("http://example.org/")] {
                let text = text(&block(&title, url));
                assert!(text.len() <= 4080 && text.len() > 4080 - 4, "{}", text.len());
                let meta = StreamMeta::parse(text.as_bytes());
                assert!(title.starts_with(&meta.title.expect("a title")));
                assert_eq!(meta.url.as_deref(), url);
            }
        }
    }

    #[test]
    fn texts_are_understood() {
        let check = |text: &[u8], title: Option<&str>, url: Option<&str>| {
            let expected = StreamMeta {
                title: title.map(str::to_owned),
                url: url.map(str::to_owned),
            };
            assert_eq!(
                StreamMeta::parse(text),
                expected,
                "{}",
                String::from_utf8_lossy(text)
            );
        };
        check(b"StreamTitle='A - B';\0\0", Some("A - B"), None);
        check(b"StreamTitle='';\0\0", Some(""), None);
        check(b"StreamTitle='A';StreamUrl='';", Some("A"), Some(""));
        check(
            b"StreamTitle='It's; me';StreamUrl='http://x/';",
            Some("It's; me"),
            Some("http://x/"),
        );
        check(b"StreamTitle='It'; me';", Some("It'; me"), None);
        check(
            b"StreamTitle='It'; me';StreamUrl='u';",
            Some("It'; me"),
            Some("u"),
        );
        check(
            b"StreamTitle='A';adw_ad='true';durationMilliseconds='0';",
            Some("A"),
            None,
        );
        check(
            b"StreamTitle='A';StreamUrl='u';adw_ad='true';",
            Some("A"),
            Some("u"),
        );
        check(b"StreamTitle='A'; StreamUrl='u'; ", Some("A"), Some("u"));
        check(b"StreamUrl='u';", None, Some("u"));
        check(b"StreamTitle='cut of", Some("cut of"), None);
        check(b"StreamTitle='A'", Some("A"), None);
        check(b"StreamTitle='K\xF6ln';", Some("Köln"), None);
        check("StreamTitle='Köln';".as_bytes(), Some("Köln"), None);
        check(b"anything else", None, None);
        check(b"", None, None);
    }

    #[test]
    fn audio_and_text_come_apart_however_the_stream_is_cut() {
        let interval = parse_interval("7").expect("an interval");
        let audio: Vec<u8> = (0..40).collect();
        let mut stream = Vec::new();
        for (at, part) in audio.chunks(7).enumerate() {
            stream.extend_from_slice(part);
            match at {
                1 => stream.extend_from_slice(&block("One", Some("u"))),
                3 => stream.extend_from_slice(&block("", None)),
                _ if part.len() == 7 => stream.push(0),
                _ => {}
            }
        }
        for size in 1..=stream.len() {
            let mut deinterleaver = Deinterleaver::new(interval);
            let (mut found, mut titles) = (Vec::new(), Vec::new());
            for push in stream.chunks(size) {
                let before = found.len();
                deinterleaver.push(push, |piece| match piece {
                    Piece::Audio(audio) => {
                        assert!(!audio.is_empty());
                        found.extend_from_slice(audio);
                    }
                    Piece::Meta(meta) => titles.push((found.len(), meta.title)),
                });
                assert!(found.len() - before <= push.len());
            }
            assert_eq!(found, audio);
            assert_eq!(titles, [(14, Some("One".to_owned())), (28, Some(String::new()))]);
        }
    }

    #[test]
    fn intervals_are_limited() {
        let check = |value: &str, expected: Option<usize>| {
            assert_eq!(parse_interval(value).map(usize::from), expected, "{value}");
        };
        check("16000", Some(INTERVAL));
        check(" 8192 ", Some(8192));
        check("1048576", Some(1_048_576));
        check("1048577", None);
        check("0", None);
        check("-1", None);
        check("none", None);
        check("99999999999999999999999", None);
    }

    #[test]
    fn every_byte_string_is_text() {
        assert_eq!(latin1_or_utf8(b"caf\xE9"), "café");
        assert_eq!(latin1_or_utf8("café €".as_bytes()), "café €");
        assert_eq!(latin1_or_utf8(b""), "");
    }
}
