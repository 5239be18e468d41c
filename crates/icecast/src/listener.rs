//! The answer that a listener gets before the audio.
//!
//! Contract: `icy-*` names are lower case and no transfer coding is ever announced, because old players and
//! hardware radios compare names byte by byte and count the metadata interval over raw bytes.

use std::{borrow::Cow, num::NonZeroU32};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use media::Format;

use crate::{Answer, SERVER_ID, StationInfo, cors, dates, relay, text};

/// Audio bytes between two metadata blocks.
pub const METAINT: NonZeroU32 = NonZeroU32::new(16_000).expect("a positive constant");

/// Which mount feeds the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FedBy {
    /// The mount that was asked for.
    Primary,
    /// Its fallback.
    Fallback,
}

/// What becomes of the connection after the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AfterHead {
    /// Audio until the connection closes: the answer to `GET`.
    Stream,
    /// Nothing, and the next request may follow: the answer to `HEAD`.
    KeepAlive,
    /// Nothing, and the connection closes: the answer to `HEAD` from a client that asked for that.
    Close,
}

/// Everything that the head of a stream tells.
#[derive(Debug, Clone, Copy)]
pub struct ListenerHead<'a> {
    /// Whether the request was HTTP/1.0.
    pub http_10: bool,
    /// The mount's type.
    pub content_type: &'a str,
    /// The mount's description.
    pub station: &'a StationInfo,
    /// The station name where the stream has none.
    pub page_title: &'a str,
    /// The promised metadata interval: [`METAINT`] when [`wants_icy`] and [`offers_icy`] both say so.
    pub metaint: Option<NonZeroU32>,
    /// Which mount feeds the listener.
    pub fed_by: FedBy,
    /// The instances that the stream came through, for a listener that is a relay itself
    /// ([`Chain::through`](crate::relay::Chain::through)).
    pub chain: Option<&'a str>,
    /// The number under which the log knows the request.
    pub request_id: Option<&'a str>,
    /// The time of the answer.
    pub date: Timestamp,
}

/// Whether the request asks for in-band metadata: the value must be exactly `1`.
#[must_use]
pub fn wants_icy(headers: &HeaderMap) -> bool {
    headers
        .get("icy-metadata")
        .is_some_and(|value| value.as_bytes().trim_ascii() == b"1")
}

/// Whether metadata blocks may be put between the bytes of this format; Ogg and EBML carry their own tags.
#[must_use]
pub fn offers_icy(format: Format) -> bool {
    !matches!(format, Format::Ogg | Format::Matroska)
}

/// The metadata interval of a new listener.
#[must_use]
pub fn metaint(headers: &HeaderMap, format: Format) -> Option<NonZeroU32> {
    (wants_icy(headers) && offers_icy(format)).then_some(METAINT)
}

impl ListenerHead<'_> {
    /// The head as it goes over an HTTP/1 connection.
    #[must_use]
    pub fn to_bytes(&self, after: AfterHead) -> Bytes {
        let version = if self.http_10 { "HTTP/1.0" } else { "HTTP/1.1" };
        let mut head = String::with_capacity(1024);
        head.push_str(version);
        head.push_str(" 200 OK\r\n");
        let mut line = |name: &str, value: &str| {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        };
        self.each(|name, value| line(name, &value));
        let connection = if after == AfterHead::KeepAlive {
            "keep-alive"
        } else {
            "close"
        };
        line("Connection", connection);
        head.push_str("\r\n");
        Bytes::from(head)
    }

    /// The head's headers for HTTP/2, which has no connection-level ones.
    #[must_use]
    pub fn to_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(24);
        self.each(|name, value| {
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
                headers.insert(name, value);
            }
        });
        headers
    }

    fn each(&self, mut put: impl FnMut(&'static str, Cow<'_, str>)) {
        let clean = |value: &str| text::clean(value, text::VALUE_MAX);
        let station = self.station;
        let name = station.name.as_deref().map(clean).filter(|name| !name.is_empty());
        let fixed = Cow::Borrowed;
        put("Content-Type", clean(self.content_type).into());
        put("Server", fixed(SERVER_ID));
        put("Date", dates::http(self.date).into());
        put("Cache-Control", fixed("no-cache, no-store, must-revalidate"));
        put("Pragma", fixed("no-cache"));
        put("Expires", fixed("Mon, 26 Jul 1997 05:00:00 GMT"));
        put("Accept-Ranges", fixed("none"));
        put("X-Accel-Buffering", fixed("no"));
        put(
            "X-Stream-Status",
            fixed(match self.fed_by {
                FedBy::Primary => "primary",
                FedBy::Fallback => "fallback",
            }),
        );
        put("Access-Control-Allow-Origin", fixed(cors::HEADERS[0].1));
        put("Access-Control-Expose-Headers", fixed(cors::HEADERS[1].1));
        put("icy-name", name.unwrap_or_else(|| clean(self.page_title)).into());
        for (header, value) in [
            ("icy-description", &station.description),
            ("icy-genre", &station.genre),
            ("icy-url", &station.url),
            ("icy-br", &station.bitrate),
            ("ice-audio-info", &station.raw_audio_info),
        ] {
            if let Some(value) = value.as_deref().map(clean).filter(|value| !value.is_empty()) {
                put(header, value.into());
            }
        }
        put(
            "icy-pub",
            fixed(if station.public == Some(true) { "1" } else { "0" }),
        );
        if let Some(metaint) = self.metaint {
            put("icy-metaint", metaint.to_string().into());
        }
        if let Some(chain) = self.chain {
            put(relay::LOOP_HEADER, clean(chain).into());
        }
        if let Some(id) = self.request_id {
            put("X-Request-Id", clean(id).into());
        }
    }
}

/// 404 to a listener of a mount that is not live and has no live fallback.
#[must_use]
pub fn not_found() -> Answer {
    refusal(StatusCode::NOT_FOUND, "404 page not found")
}

/// 403 to a listener of a disabled mount.
#[must_use]
pub fn forbidden() -> Answer {
    refusal(StatusCode::FORBIDDEN, "Forbidden")
}

/// 503 to a listener beyond a limit.
#[must_use]
pub fn full() -> Answer {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "Server Full")
        .with(header::RETRY_AFTER, HeaderValue::from_static("30"))
}

fn refusal(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Answer::text(status, text);
    cors::add_to(&mut answer.headers);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head<'a>(station: &'a StationInfo) -> ListenerHead<'a> {
        ListenerHead {
            http_10: false,
            content_type: "audio/mpeg",
            station,
            page_title: "TinyIce",
            metaint: None,
            fed_by: FedBy::Primary,
            chain: None,
            request_id: None,
            date: "2025-09-02T08:00:00Z".parse().unwrap(),
        }
    }

    fn text_of(head: &ListenerHead<'_>, after: AfterHead) -> String {
        String::from_utf8(head.to_bytes(after).to_vec()).unwrap()
    }

    #[test]
    fn a_described_stream_is_told_in_full() {
        let station = StationInfo {
            name: Some("Example FM".into()),
            description: Some("All day".into()),
            genre: Some("Jazz".into()),
            url: Some("http://example.org/".into()),
            public: Some(true),
            bitrate: Some("128".into()),
            raw_audio_info: Some("ice-bitrate=128".into()),
            ..StationInfo::default()
        };
        let full = ListenerHead {
            metaint: Some(METAINT),
            fed_by: FedBy::Fallback,
            ..head(&station)
        };
        assert_eq!(
            text_of(&full, AfterHead::Stream),
            "HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nServer: Icecast 2.4.4 (TinyIce)\r\n\
             Date: Tue, 02 Sep 2025 08:00:00 GMT\r\nCache-Control: no-cache, no-store, must-revalidate\r\n\
             Pragma: no-cache\r\nExpires: Mon, 26 Jul 1997 05:00:00 GMT\r\nAccept-Ranges: none\r\n\
             X-Accel-Buffering: no\r\nX-Stream-Status: fallback\r\nAccess-Control-Allow-Origin: *\r\n\
             Access-Control-Expose-Headers: icy-br, icy-description, icy-genre, icy-metaint, icy-name, icy-pub, \
             icy-url, content-range\r\nicy-name: Example FM\r\nicy-description: All day\r\nicy-genre: Jazz\r\n\
             icy-url: http://example.org/\r\nicy-br: 128\r\nice-audio-info: ice-bitrate=128\r\nicy-pub: 1\r\n\
             icy-metaint: 16000\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let station = StationInfo {
            description: Some(String::new()),
            ..StationInfo::default()
        };
        let text = text_of(&head(&station), AfterHead::Stream);
        assert!(text.contains("\r\nicy-name: TinyIce\r\n") && text.contains("\r\nicy-pub: 0\r\n"));
        for absent in [
            "icy-br",
            "icy-genre",
            "icy-url",
            "icy-description",
            "icy-metaint",
            "ice-audio-info",
        ] {
            assert!(!text.contains(&format!("\r\n{absent}:")), "{absent}");
        }
    }

    #[test]
    fn the_version_follows_the_request_and_head_keeps_the_connection() {
        let station = StationInfo::default();
        let old = ListenerHead {
            http_10: true,
            ..head(&station)
        };
        assert!(text_of(&old, AfterHead::Stream).starts_with("HTTP/1.0 200 OK\r\n"));
        for (after, connection) in [
            (AfterHead::Stream, "close"),
            (AfterHead::KeepAlive, "keep-alive"),
            (AfterHead::Close, "close"),
        ] {
            let text = text_of(&head(&station), after);
            assert!(
                text.ends_with(&format!("\r\nConnection: {connection}\r\n\r\n")),
                "{after:?}"
            );
            let lower = text.to_ascii_lowercase();
            assert!(!lower.contains("transfer-encoding") && !lower.contains("content-length"));
        }
    }

    #[test]
    fn values_cannot_break_the_head_and_stay_utf8() {
        let station = StationInfo {
            name: Some("Ünï\r\nSet-Cookie: x\u{0}".into()),
            genre: Some("\r\n".into()),
            ..StationInfo::default()
        };
        let evil = ListenerHead {
            content_type: "audio/mpeg\r\nX: y",
            ..head(&station)
        };
        let text = text_of(&evil, AfterHead::Stream);
        assert!(text.contains("\r\nicy-name: ÜnïSet-Cookie: x\r\n"));
        assert!(
            !text.contains("\r\nX: y") && !text.contains("\r\nSet-Cookie") && !text.contains("icy-genre: ")
        );
    }

    #[test]
    fn http_2_gets_the_same_without_connection_headers() {
        let station = StationInfo {
            name: Some("Ünï".into()),
            ..StationInfo::default()
        };
        let headers = head(&station).to_headers();
        assert_eq!(headers["icy-name"].as_bytes(), "Ünï".as_bytes());
        assert_eq!(headers["content-type"], "audio/mpeg");
        assert!(!headers.contains_key("connection"));
    }

    #[test]
    fn in_band_metadata_is_offered_when_asked_for_and_possible() {
        for (value, wants) in [
            ("1", true),
            (" 1 ", true),
            ("0", false),
            ("01", false),
            ("yes", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(
                "Icy-MetaData".parse::<HeaderName>().unwrap(),
                value.parse().unwrap(),
            );
            assert_eq!(wants_icy(&headers), wants, "{value:?}");
            assert_eq!(metaint(&headers, Format::Mpeg).is_some(), wants, "{value:?}");
            assert_eq!(metaint(&headers, Format::Ogg), None);
        }
        assert!(!wants_icy(&HeaderMap::new()));
        assert!(offers_icy(Format::Adts) && offers_icy(Format::Opaque) && !offers_icy(Format::Matroska));
    }

    #[test]
    fn a_relay_is_told_where_the_stream_has_been() {
        let station = StationInfo::default();
        assert!(!text_of(&head(&station), AfterHead::Stream).contains(relay::LOOP_HEADER));
        let relayed = ListenerHead {
            chain: Some("ab12, cd34"),
            ..head(&station)
        };
        let chain = relay::Chain::read(&relayed.to_headers());
        assert!(chain.leads_back_to("cd34") && chain.leads_back_to("ab12") && !chain.leads_back_to("ef56"));
    }

    #[test]
    fn refusals_are_readable_across_origins() {
        for (answer, status, body) in [
            (not_found(), 404, "404 page not found"),
            (forbidden(), 403, "Forbidden"),
            (full(), 503, "Server Full"),
        ] {
            assert_eq!(
                (answer.status.as_u16(), answer.body.as_ref()),
                (status, body.as_bytes())
            );
            assert_eq!(answer.headers["access-control-allow-origin"], "*");
        }
        assert_eq!(full().headers["retry-after"], "30");
    }
}
