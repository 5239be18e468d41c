//! Everything a `SOURCE` or `PUT` request says.

use std::num::NonZeroU32;

use http::{HeaderMap, Method, Version, header};

use crate::{
    StationInfo,
    body::{BadFraming, Framing, content_length},
    source::ReplyPlan,
    station, text,
};

/// Which of the two methods a source used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceMethod {
    /// Icecast's own method.
    Source,
    /// HTTP's.
    Put,
}

/// What the connection is good for after the source was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterRefusal {
    /// The next request may follow: the body was declared empty.
    Reuse,
    /// Audio may follow: drain ([`super::DRAIN_BYTES`], [`super::DRAIN_TIME`]) and close.
    DrainAndClose,
}

/// A source's request, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOffer {
    /// Which method was used.
    pub method: SourceMethod,
    /// What the source says of the station.
    pub station: StationInfo,
    /// The declared type, which may be missing or wrong.
    pub content_type: Option<String>,
    /// The encoder.
    pub user_agent: Option<String>,
    /// Interval of the metadata blocks that the source interleaves; they must be removed.
    pub metaint: Option<NonZeroU32>,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the source waits for `100 Continue` before it sends.
    pub expects_continue: bool,
    declared_empty: bool,
    persistent: bool,
}

impl SourceMethod {
    /// `None` for every other method.
    #[must_use]
    pub fn of(method: &Method) -> Option<Self> {
        match method.as_str() {
            "SOURCE" => Some(Self::Source),
            "PUT" => Some(Self::Put),
            _ => None,
        }
    }
}

impl SourceOffer {
    /// Reads a request. `ICE/1.0` requests are HTTP/1.0.
    ///
    /// # Errors
    /// [`BadFraming`]: answer 400 ([`crate::Answer::bad_framing`]) and close.
    pub fn read(method: SourceMethod, version: Version, headers: &HeaderMap) -> Result<Self, BadFraming> {
        let declared = Framing::of_request(headers)?;
        let framing = if version >= Version::HTTP_2 {
            Framing::Frames
        } else {
            declared
        };
        // RFC 9110 section 10.1.1: an expectation in HTTP/1.0 is ignored. HTTP/2 has its own flow.
        let expects_continue = version == Version::HTTP_11
            && text::header(headers, header::EXPECT)
                .is_some_and(|value| value.to_ascii_lowercase().contains("100-continue"));
        Ok(Self {
            method,
            station: StationInfo::from_headers(headers),
            content_type: text::header(headers, header::CONTENT_TYPE),
            user_agent: text::header(headers, header::USER_AGENT),
            metaint: station::metaint(headers),
            framing,
            expects_continue,
            declared_empty: declared == Framing::Unframed && content_length(headers)? == Some(0),
            persistent: persistent(version, headers),
        })
    }

    /// Which bytes the source gets when it is accepted.
    #[must_use]
    pub fn reply_plan(&self) -> ReplyPlan {
        ReplyPlan::of(self.method, self.framing, self.expects_continue)
    }

    /// What to do with the connection when the source is refused. libshout asks first without credentials,
    /// with an empty body, and comes back on the same connection.
    #[must_use]
    pub fn after_refusal(&self) -> AfterRefusal {
        if self.framing == Framing::Frames || self.declared_empty && self.persistent {
            AfterRefusal::Reuse
        } else {
            AfterRefusal::DrainAndClose
        }
    }
}

/// Whether the connection outlives the request by the rules of its version (RFC 9112 section 9.3).
fn persistent(version: Version, headers: &HeaderMap) -> bool {
    let mentions = |option: &str| {
        headers.get_all(header::CONNECTION).iter().any(|value| {
            value
                .as_bytes()
                .split(|&byte| byte == b',')
                .any(|part| part.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
        })
    };
    !mentions("close") && (version >= Version::HTTP_11 || mentions("keep-alive"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head_lines;

    fn read(method: SourceMethod, version: Version, head: &str) -> SourceOffer {
        SourceOffer::read(method, version, &head_lines::parse(head.as_bytes())).unwrap()
    }

    #[test]
    fn only_two_methods_publish() {
        for (name, method) in [
            ("SOURCE", Some(SourceMethod::Source)),
            ("PUT", Some(SourceMethod::Put)),
            ("GET", None),
            ("source", None),
            ("POST", None),
        ] {
            assert_eq!(
                SourceMethod::of(&Method::from_bytes(name.as_bytes()).unwrap()),
                method,
                "{name}"
            );
        }
    }

    #[test]
    fn an_expectation_counts_in_http_1_1_only() {
        for (version, head, expects) in [
            (Version::HTTP_11, "Expect: 100-continue", true),
            (Version::HTTP_11, "Expect: 100-Continue", true),
            (Version::HTTP_11, "", false),
            (Version::HTTP_10, "Expect: 100-continue", false),
            (Version::HTTP_2, "Expect: 100-continue", false),
        ] {
            assert_eq!(
                read(SourceMethod::Put, version, head).expects_continue,
                expects,
                "{version:?} {head}"
            );
        }
    }

    #[test]
    fn only_a_declared_empty_body_leaves_the_connection_usable() {
        use AfterRefusal::{DrainAndClose, Reuse};
        for (version, head, after) in [
            (
                Version::HTTP_10,
                "Content-Length: 0\nConnection: Keep-Alive",
                Reuse,
            ),
            (Version::HTTP_10, "Content-Length: 0", DrainAndClose),
            (Version::HTTP_10, "Connection: Keep-Alive", DrainAndClose),
            (Version::HTTP_11, "Content-Length: 0", Reuse),
            (
                Version::HTTP_11,
                "Content-Length: 0\nConnection: Upgrade, Close",
                DrainAndClose,
            ),
            (Version::HTTP_11, "", DrainAndClose),
            (Version::HTTP_11, "Content-Length: 5", DrainAndClose),
            (Version::HTTP_11, "Transfer-Encoding: chunked", DrainAndClose),
            (Version::HTTP_2, "", Reuse),
        ] {
            assert_eq!(
                read(SourceMethod::Source, version, head).after_refusal(),
                after,
                "{version:?} {head}"
            );
        }
    }

    #[test]
    fn http_2_frames_the_body_itself() {
        assert_eq!(
            read(SourceMethod::Put, Version::HTTP_2, "Content-Length: 9").framing,
            Framing::Frames
        );
    }

    #[test]
    fn smuggled_bodies_are_refused() {
        let headers = head_lines::parse(b"Content-Length: 4\nTransfer-Encoding: chunked");
        assert_eq!(
            SourceOffer::read(SourceMethod::Put, Version::HTTP_11, &headers),
            Err(BadFraming::Both)
        );
    }
}
