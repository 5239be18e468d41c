//! The handshake of a Shoutcast v1 source, on a port of its own.
//!
//! Contract: nothing that a source sends before the handshake is over is lost, and no more than
//! [`HEAD_MAX`] bytes of it are kept beyond what is audio.
//!
//! ```
//! use icecast::shoutcast::{ACCEPTED, Handshake, Step};
//! let mut handshake = Handshake::new();
//! let Ok(Step::Check(credentials)) = handshake.input(b"secret\r\n") else { panic!() };
//! assert_eq!(credentials.password, "secret");
//! assert!(ACCEPTED.starts_with(b"OK2"));
//! handshake.accept().unwrap();
//! let Ok(Step::Ready(source)) = handshake.input(b"icy-name:Example FM\r\n\r\naudio") else { panic!() };
//! assert_eq!(source.early, "audio");
//! ```

use std::{fmt, num::NonZeroU32};

use bytes::Bytes;
use http::header;

use crate::{StationInfo, head_lines, station, text};

/// To be written when the password is right.
pub const ACCEPTED: &[u8] = b"OK2\r\nicy-caps:11\r\n\r\n";

/// To be written when it is wrong, before closing.
pub const REFUSED: &[u8] = b"invalid password\r\n";

/// Longest password line.
const LINE_MAX: usize = 1024;

/// Longest block of header lines.
pub const HEAD_MAX: usize = 16 * 1024;

/// A handshake in progress.
#[derive(Clone, Default)]
pub struct Handshake {
    bytes: Vec<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Password,
    /// The line was handed out; [`Handshake::accept`] goes on.
    Verdict,
    Head,
    Done,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read on.
    NeedMore,
    /// Check the password; then write [`ACCEPTED`] and call [`Handshake::accept`], or write [`REFUSED`], count
    /// the failure and close.
    Check(Credentials),
    /// Audio begins.
    Ready(Box<ShoutcastSource>),
}

/// The password line taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User, when one was given.
    pub user: Option<String>,
    /// Password.
    pub password: String,
    /// Stream number, when one was given.
    pub sid: Option<u32>,
    /// The whole line: passwords may contain colons, so this is worth a try when `password` is wrong.
    pub whole_line: String,
}

/// What the source says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShoutcastSource {
    /// The station.
    pub station: StationInfo,
    /// Content type.
    pub content_type: Option<String>,
    /// Interval of metadata blocks, which hardly any v1 source sends.
    pub metaint: Option<NonZeroU32>,
    /// Audio that came with the head.
    pub early: Bytes,
}

/// The source does not speak Shoutcast v1: close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadHandshake {
    /// The password line or the header lines have no end.
    #[error("handshake too long")]
    TooLong,
}

impl Handshake {
    /// Waits for the password line.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what the source sent.
    ///
    /// # Errors
    /// [`BadHandshake`]: close.
    pub fn input(&mut self, bytes: &[u8]) -> Result<Step, BadHandshake> {
        self.bytes.extend_from_slice(bytes);
        self.step()
    }

    /// The password was right. Hasty sources have sent their lines already, so this may be the last step.
    ///
    /// # Errors
    /// [`BadHandshake`]: close.
    pub fn accept(&mut self) -> Result<Step, BadHandshake> {
        if self.state == State::Verdict {
            self.state = State::Head;
        }
        self.step()
    }

    fn step(&mut self) -> Result<Step, BadHandshake> {
        match self.state {
            State::Password => self.password(),
            State::Head => self.head(),
            State::Verdict | State::Done if self.bytes.len() > HEAD_MAX => Err(BadHandshake::TooLong),
            State::Verdict | State::Done => Ok(Step::NeedMore),
        }
    }

    fn password(&mut self) -> Result<Step, BadHandshake> {
        let Some(end) = self.bytes.iter().take(LINE_MAX).position(|&byte| byte == b'\n') else {
            return if self.bytes.len() < LINE_MAX {
                Ok(Step::NeedMore)
            } else {
                Err(BadHandshake::TooLong)
            };
        };
        let rest = self.bytes.split_off(end + 1);
        let line = std::mem::replace(&mut self.bytes, rest);
        self.state = State::Verdict;
        Ok(Step::Check(Credentials::parse(&text::clean(
            &text::decode(&line),
            LINE_MAX,
        ))))
    }

    fn head(&mut self) -> Result<Step, BadHandshake> {
        let Some((head_end, audio_start)) = empty_line(&self.bytes) else {
            return if self.bytes.len() < HEAD_MAX {
                Ok(Step::NeedMore)
            } else {
                Err(BadHandshake::TooLong)
            };
        };
        if head_end > HEAD_MAX {
            return Err(BadHandshake::TooLong);
        }
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        self.state = State::Done;
        let headers = head_lines::parse(&bytes[..head_end]);
        Ok(Step::Ready(Box::new(ShoutcastSource {
            station: StationInfo::from_headers(&headers),
            content_type: text::header(&headers, header::CONTENT_TYPE),
            metaint: station::metaint(&headers),
            early: bytes.slice(audio_start..),
        })))
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// `pass`, `user:pass`, `user:pass:#sid`.
    fn parse(line: &str) -> Self {
        let (login, sid) = match line.rsplit_once(":#") {
            Some((login, sid)) => match sid.parse() {
                Ok(sid) => (login, Some(sid)),
                Err(_) => (line, None),
            },
            None => (line, None),
        };
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (Some(user.to_owned()).filter(|user| !user.is_empty()), password),
            None => (None, login),
        };
        Self {
            user,
            password: password.to_owned(),
            sid,
            whole_line: line.to_owned(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("sid", &self.sid)
            .finish_non_exhaustive()
    }
}

/// Where the head ends and where audio begins.
fn empty_line(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut start = 0;
    while let Some(at) = bytes[start..].iter().position(|&byte| byte == b'\n') {
        let end = start + at;
        if matches!(&bytes[start..end], b"" | b"\r") {
            return Some((start, end + 1));
        }
        start = end + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_password_line_has_three_forms() {
        for (line, user, password, sid) in [
            ("pw\r\n", None, "pw", None),
            ("pw\n", None, "pw", None),
            ("dj:pw\r\n", Some("dj"), "pw", None),
            (":pw\r\n", None, "pw", None),
            ("dj:pw:#2\r\n", Some("dj"), "pw", Some(2)),
            ("pw:#1\r\n", None, "pw", Some(1)),
            ("dj:p:w\r\n", Some("dj"), "p:w", None),
            ("dj:pw:#x\r\n", Some("dj"), "pw:#x", None),
            ("\r\n", None, "", None),
        ] {
            let Ok(Step::Check(credentials)) = Handshake::new().input(line.as_bytes()) else {
                panic!("{line}")
            };
            assert_eq!(credentials.user.as_deref(), user, "{line:?}");
            assert_eq!(
                (credentials.password.as_str(), credentials.sid),
                (password, sid),
                "{line:?}"
            );
            assert_eq!(credentials.whole_line, line.trim_end(), "{line:?}");
            assert!(!format!("{credentials:?}").contains("pw"));
        }
    }

    const LINES: &[u8] =
        b"icy-name:Example FM\r\nicy-genre:Jazz\r\nicy-url:http://x/\r\nicy-pub:1\r\nicy-br:128\r\n\
                           content-type:audio/mpeg\r\n\r\n\xff\xfb\r\n\r\naudio";

    fn check_ready(step: Step) {
        let Step::Ready(source) = step else {
            panic!("{step:?}")
        };
        assert_eq!(source.station.name.as_deref(), Some("Example FM"));
        assert_eq!(source.station.bitrate_kbps(), Some(128));
        assert_eq!(source.station.public, Some(true));
        assert_eq!(source.content_type.as_deref(), Some("audio/mpeg"));
        assert_eq!(source.early.as_ref(), b"\xff\xfb\r\n\r\naudio");
    }

    #[test]
    fn a_patient_and_a_hasty_source_are_understood() {
        let mut patient = Handshake::new();
        assert!(matches!(patient.input(b"pw\r\n"), Ok(Step::Check(_))));
        assert_eq!(patient.accept(), Ok(Step::NeedMore));
        check_ready(patient.input(LINES).unwrap());

        let mut hasty = Handshake::new();
        assert!(matches!(
            hasty.input(&[b"pw\r\n", LINES].concat()),
            Ok(Step::Check(_))
        ));
        check_ready(hasty.accept().unwrap());
    }

    #[test]
    fn handshakes_are_bounded() {
        assert_eq!(
            Handshake::new().input(&[b'a'; LINE_MAX]),
            Err(BadHandshake::TooLong)
        );
        let mut impatient = Handshake::new();
        assert!(impatient.input(b"pw\r\n").is_ok());
        assert_eq!(impatient.input(&[b'a'; HEAD_MAX + 1]), Err(BadHandshake::TooLong));
        let mut endless = Handshake::new();
        assert!(endless.input(b"pw\r\n").is_ok() && endless.accept().is_ok());
        assert_eq!(
            endless.input(&b"icy-name:x\r\n".repeat(HEAD_MAX / 12 + 1)),
            Err(BadHandshake::TooLong)
        );
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_source(step in 1usize..40) {
            let mut handshake = Handshake::new();
            prop_assert!(matches!(handshake.input(b"pw\r\n"), Ok(Step::Check(_))));
            prop_assert_eq!(handshake.accept(), Ok(Step::NeedMore));
            let mut fed = 0;
            for piece in LINES.chunks(step) {
                fed += piece.len();
                if let Step::Ready(mut source) = handshake.input(piece).unwrap() {
                    source.early = [&source.early, &LINES[fed..]].concat().into();
                    check_ready(Step::Ready(source));
                    return Ok(());
                }
            }
            prop_assert!(false, "never ready");
        }

        #[test]
        fn any_bytes_are_taken_without_panic(pieces in proptest::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut handshake = Handshake::new();
            for piece in &pieces {
                match handshake.input(piece) {
                    Ok(Step::Check(_)) => { let _ = handshake.accept(); }
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
    }
}
