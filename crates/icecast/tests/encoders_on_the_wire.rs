//! What encoders send and what they wait for: one head per client and mode, composed after what is known of
//! these programs.
#![allow(
    clippy::unwrap_used,
    reason = "a recorded head that cannot be read is a broken test"
)]

use bytes::BytesMut;
use front::{
    framing::{Decoder, Framing, Piece},
    head::{Head, HeadLimits, Parsed, parse},
};
use http::{HeaderMap, HeaderValue};
use icecast::{
    Answer, cors,
    metadata::MetadataUpdate,
    source::{ReplyPlan, SourceMethod, SourceOffer},
};
use proptest::prelude::*;

/// A request as the front hands it over.
struct Request {
    head: Box<Head>,
    /// What came in the same segment behind the head.
    body: BytesMut,
}

impl Request {
    fn read(bytes: &[u8]) -> Self {
        let limits = HeadLimits {
            bytes: 64 << 10,
            lines: 100,
        };
        let Ok(Parsed::Complete { head, length }) = parse(bytes, limits) else {
            panic!("not a head: {}", bytes.escape_ascii())
        };
        Self {
            head,
            body: BytesMut::from(&bytes[length..]),
        }
    }

    fn plan(&self) -> ReplyPlan {
        let (framed, expects) = (self.head.framing.is_framed(), self.head.expects_continue());
        ReplyPlan::of(self.offer().method, framed, expects)
    }

    fn offer(&self) -> SourceOffer {
        SourceOffer::read(SourceMethod::of(&self.head.method).unwrap(), &self.head.headers)
    }
}

const OK: &str = "HTTP/1.0 200 OK\r\nServer: Icecast 2.4.4\r\nConnection: Keep-Alive\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// One client and what it must get.
struct Client {
    name: &'static str,
    request: &'static str,
    framing: Framing,
    /// What it waits for before it sends.
    before_body: String,
    /// Whether it gets its 200 after the body.
    answered_last: bool,
    station: &'static str,
    content_type: &'static str,
    /// The audio among the bytes after the head.
    audio: &'static str,
}

fn clients() -> Vec<Client> {
    let base = Client {
        name: "",
        request: "",
        framing: Framing::Absent,
        before_body: OK.to_owned(),
        answered_last: false,
        station: "Example FM",
        content_type: "audio/mpeg",
        audio: "",
    };
    vec![
        Client {
            name: "ffmpeg icecast://",
            request: "PUT /live HTTP/1.1\r\nUser-Agent: Lavf/60.16.100\r\nAccept: */*\r\nExpect: 100-continue\r\n\
                      Connection: close\r\nHost: radio.example:8000\r\nContent-Type: audio/mpeg\r\nIcy-MetaData: 1\r\n\
                      Ice-Name: Example FM\r\nIce-Description: All day\r\nIce-URL: http://example.org\r\n\
                      Ice-Genre: Jazz\r\nIce-Public: 1\r\nAuthorization: Basic c291cmNlOnB3\r\n\r\n",
            before_body: format!("{CONTINUE}{OK}"),
            ..base
        },
        Client {
            name: "ffmpeg -legacy_icecast 1",
            request: "SOURCE /live HTTP/1.1\r\nUser-Agent: Lavf/60.16.100\r\nAccept: */*\r\nConnection: close\r\n\
                      Host: radio.example:8000\r\nContent-Type: audio/mpeg\r\nIce-Name: Example FM\r\n\
                      Ice-Public: 0\r\nAuthorization: Basic c291cmNlOnB3\r\n\r\n\u{1}\u{2}audio",
            audio: "\u{1}\u{2}audio",
            before_body: OK.to_owned(),
            ..base
        },
        Client {
            name: "ffmpeg -method PUT http://, with Expect",
            request: "PUT /live HTTP/1.1\r\nTransfer-Encoding: chunked\r\nUser-Agent: Lavf/60.16.100\r\n\
                      Accept: */*\r\nExpect: 100-continue\r\nConnection: close\r\nHost: radio.example\r\n\
                      Content-Type: audio/aac\r\nIce-Name: Example FM\r\n\r\n",
            framing: Framing::Chunked,
            before_body: CONTINUE.to_owned(),
            answered_last: true,
            content_type: "audio/aac",
            ..base
        },
        Client {
            name: "ffmpeg -method PUT http://, without Expect",
            request: "PUT /live HTTP/1.1\r\nTransfer-Encoding: chunked\r\nUser-Agent: Lavf/60.16.100\r\n\
                      Accept: */*\r\nConnection: close\r\nHost: radio.example\r\nContent-Type: audio/aac\r\n\
                      Ice-Name: Example FM\r\n\r\n5\r\naudio\r\n6\r\n, more\r\n0\r\n\r\n",
            framing: Framing::Chunked,
            before_body: String::new(),
            answered_last: true,
            content_type: "audio/aac",
            audio: "audio, more",
            ..base
        },
        Client {
            name: "chunked PUT through nginx",
            request: "PUT /live HTTP/1.1\r\nHost: radio.example\r\nX-Forwarded-For: 192.0.2.1\r\n\
                      Transfer-Encoding: chunked\r\nConnection: close\r\nice-name: Example FM\r\n\
                      Content-Type: application/ogg\r\n\r\n2\r\n\r\n\r\n3\r\nend\r\n0\r\n\r\n",
            framing: Framing::Chunked,
            before_body: String::new(),
            answered_last: true,
            content_type: "application/ogg",
            audio: "\r\nend",
            ..base
        },
        Client {
            name: "libshout (Mixxx, ezstream, ices, gstreamer)",
            request: "SOURCE /live HTTP/1.0\r\nAuthorization: Basic c291cmNlOnB3\r\nHost: radio.example:8000\r\n\
                      User-Agent: libshout/2.4.6\r\nContent-Type: audio/mpeg\r\nice-public: 1\r\n\
                      ice-name: Example FM\r\nice-url: http://example.org\r\nice-genre: Jazz\r\n\
                      ice-audio-info: bitrate=128;channels=2;samplerate=44100\r\nice-description: All day\r\n\r\n",
            before_body: OK.to_owned(),
            ..base
        },
        Client {
            name: "liquidsoap, SOURCE",
            request: "SOURCE /live HTTP/1.0\r\nAuthorization: Basic c291cmNlOnB3\r\nContent-Type: audio/mpeg\r\n\
                      User-Agent: Liquidsoap/2.2.5 (Unix; OCaml 4.14.0)\r\nice-name: Example FM\r\nice-genre: Jazz\r\n\
                      ice-description: All day\r\nice-url: http://example.org\r\nice-public: 1\r\n\
                      ice-audio-info: quality=2;channels=2;samplerate=44100\r\n\r\n",
            before_body: OK.to_owned(),
            ..base
        },
        Client {
            name: "liquidsoap, SOURCE chunked",
            request: "SOURCE /live HTTP/1.1\r\nHost: radio.example\r\nTransfer-Encoding: chunked\r\n\
                      Content-Type: audio/mpeg\r\nice-name: Example FM\r\n\r\n3\r\nabc\r\n",
            framing: Framing::Chunked,
            before_body: OK.to_owned(),
            audio: "abc",
            ..base
        },
        Client {
            name: "liquidsoap, PUT",
            request: "PUT /live HTTP/1.1\r\nHost: radio.example\r\nExpect: 100-continue\r\n\
                      Content-Type: audio/mpeg\r\nice-name: Example FM\r\n\r\n",
            before_body: format!("{CONTINUE}{OK}"),
            ..base
        },
        Client {
            name: "butt",
            request: "SOURCE /live HTTP/1.0\r\nAuthorization: Basic c291cmNlOnB3\r\nUser-Agent: butt 0.1.40\r\n\
                      Content-Type: audio/mpeg\r\nice-name:Example FM\r\nice-public:1\r\nice-url:http://example.org\r\n\
                      ice-genre:Jazz\r\nice-audio-info: ice-bitrate=128;ice-channels=2;ice-samplerate=44100\r\n\r\n",
            before_body: OK.to_owned(),
            ..base
        },
        Client {
            name: "an encoder with Shoutcast names",
            request: "PUT /live HTTP/1.1\r\nicy-name:Example FM\r\nicy-genre:Jazz\r\nicy-pub:1\r\nicy-br:128\r\n\
                      content-type:audio/mpeg\r\n\r\nhead and audio in one segment",
            before_body: OK.to_owned(),
            audio: "head and audio in one segment",
            ..base
        },
        Client {
            name: "SAM, RadioBOSS, darkice",
            request: "SOURCE /live ICE/1.0\r\ncontent-type: audio/mpeg\r\nAuthorization: Basic c291cmNlOnB3\r\n\
                      ice-name: Example FM\r\nice-url: http://example.org\r\nice-genre: Jazz\r\nice-bitrate: 128\r\n\
                      ice-private: 0\r\nice-public: 1\r\nice-description: All day\r\n\
                      ice-audio-info: ice-samplerate=44100;ice-bitrate=128;ice-channels=2\r\n\r\n",
            before_body: OK.to_owned(),
            ..base
        },
    ]
}

#[test]
fn every_encoder_gets_what_it_waits_for_and_loses_no_byte() {
    for client in clients() {
        let mut request = Request::read(client.request.as_bytes());
        let name = client.name;
        let offer = request.offer();
        assert_eq!(request.head.target.path(), "/live", "{name}");
        assert_eq!(request.head.framing, client.framing, "{name}");
        assert_eq!(offer.station.name.as_deref(), Some(client.station), "{name}");
        assert_eq!(offer.content_type.as_deref(), Some(client.content_type), "{name}");
        let plan = request.plan();
        assert_eq!(
            std::str::from_utf8(plan.before_body),
            Ok(client.before_body.as_str()),
            "{name}"
        );
        assert_eq!(plan.after_body.is_some(), client.answered_last, "{name}");
        let mut decoder = Decoder::for_source(request.head.framing);
        let mut audio = Vec::new();
        while let Piece::Data(bytes) = decoder.decode(&mut request.body).unwrap() {
            audio.extend_from_slice(&bytes);
        }
        assert_eq!(String::from_utf8(audio).as_deref(), Ok(client.audio), "{name}");
    }
}

#[test]
fn bitrates_are_found_wherever_the_encoder_puts_them() {
    for (name, kbps) in [
        ("libshout (Mixxx, ezstream, ices, gstreamer)", Some(128)),
        ("liquidsoap, SOURCE", None),
        ("butt", Some(128)),
        ("an encoder with Shoutcast names", Some(128)),
        ("SAM, RadioBOSS, darkice", Some(128)),
    ] {
        let clients = clients();
        let client = clients.iter().find(|client| client.name == name).unwrap();
        let offer = Request::read(client.request.as_bytes()).offer();
        assert_eq!(offer.station.bitrate_kbps(), kbps, "{name}");
        assert_eq!(offer.station.public, Some(true), "{name}");
    }
}

#[test]
fn libshout_may_ask_first_and_come_back_on_the_same_connection() {
    let options = Request::read(
        b"OPTIONS * HTTP/1.1\r\nHost: radio.example\r\nConnection: Upgrade\r\nUpgrade: TLS/1.0, HTTP/1.1\r\n\r\n",
    );
    assert_eq!(SourceMethod::of(&options.head.method), None);
    let answer = cors::options();
    assert_eq!(answer.status, 204);
    let allow = answer.headers["allow"].to_str().unwrap();
    assert!(
        ["SOURCE", "PUT", "GET"]
            .iter()
            .all(|method| allow.contains(method))
    );
    assert!(
        answer.headers["accept-encoding"]
            .to_str()
            .unwrap()
            .contains("chunked")
    );

    let probe = Request::read(
        b"SOURCE /live HTTP/1.0\r\nHost: radio.example\r\nUser-Agent: libshout/2.4.6\r\nContent-Type: audio/mpeg\r\n\
          Content-Length: 0\r\nConnection: Keep-Alive\r\n\r\n",
    );
    // Nothing follows that could be audio, so the next request may come on this connection.
    assert_eq!(probe.head.framing, Framing::Empty);
    assert!(probe.head.wants_keep_alive());
    let refusal = Answer::unauthorized_source();
    assert_eq!(refusal.status, 401);
    assert_eq!(
        refusal.headers["content-length"],
        refusal.body.len().to_string().as_str()
    );
    assert_eq!(refusal.headers["www-authenticate"], "Basic realm=\"Icecast\"");
    // Accepted with credentials, the same empty length means an endless body.
    let mut early = BytesMut::from("audio");
    assert_eq!(
        Decoder::for_source(probe.head.framing).decode(&mut early),
        Ok(Piece::Data("audio".into()))
    );
    let plan = probe.plan();
    assert_eq!(plan.after_body, None);

    // `GET /admin/!POKE` must end in 401, not on a login page.
    assert_eq!(Answer::unauthorized_admin().status, 401);
    assert!(
        Answer::unauthorized_admin()
            .headers
            .contains_key("www-authenticate")
    );
}

#[test]
fn liquidsoap_metadata_is_understood_with_all_its_tags() {
    let request = Request::read(
        b"GET /admin/metadata?mode=updinfo&mount=%2Flive&charset=UTF-8&song=A%20-%20B&year=1999&tracknumber=3&\
          on_air=2025%2F09%2F02&filename=%2Fm%2Fa.mp3 HTTP/1.0\r\nUser-Agent: Liquidsoap/2.2.5\r\n\r\n",
    );
    let query = request.head.target.query().unwrap();
    let update = MetadataUpdate::parse(query.as_bytes(), b"").unwrap();
    assert_eq!(
        (update.mount.as_str(), update.title.unwrap().song.as_str()),
        ("/live", "A - B")
    );
}

proptest! {
    #[test]
    fn any_headers_are_read_without_panic(
        values in proptest::collection::vec(proptest::collection::vec(1u8..=255, 0..700), 6),
    ) {
        let names = ["ice-name", "ice-audio-info", "icy-metaint", "content-type", "user-agent", "icy-pub"];
        let mut headers = HeaderMap::new();
        for (name, value) in names.into_iter().zip(&values) {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.insert(name, value);
            }
        }
        let name = SourceOffer::read(SourceMethod::Put, &headers).station.name.unwrap_or_default();
        prop_assert!(name.len() <= 512 && !name.chars().any(char::is_control));
    }
}
