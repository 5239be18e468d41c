//! Reporting one mount to one stream directory (YP).
//!
//! Contract: at most one request is under way, a directory that refuses is left alone for long, and a mount that
//! was listed is removed when its source ends.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use icecast::directory::{Entry, Report, Step};
//! let start = Instant::now();
//! let mut report = Report::new(start);
//! let entry = Entry { name: "Example FM", ..Entry::default() };
//! assert_eq!(report.poll(start, &entry), Step::WaitUntil(start + Duration::from_secs(5)));
//! let Step::Post(body) = report.poll(start + Duration::from_secs(5), &entry) else { panic!() };
//! assert!(body.starts_with("action=add&sn=Example+FM&"));
//! ```

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use http::{HeaderMap, StatusCode};
use url::{Host, Url, form_urlencoded};

use crate::text;

/// Longest wait for a directory's answer.
pub const ANSWER_TIME: Duration = Duration::from_secs(15);

/// Content type of the posted bodies.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// From the first data to the first report, and from the listing to the first touch.
const SETTLE: Duration = Duration::from_secs(5);

/// The wait after a refused listing, and after every further one.
const REFUSED: [Duration; 2] = [Duration::from_secs(20 * 60), Duration::from_secs(2 * 60 * 60)];

/// Bounds of the interval that a directory may ask for, and what is used when it asks for none.
const TOUCH_MIN: Duration = Duration::from_secs(30);
const TOUCH_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const TOUCH_DEFAULT: Duration = Duration::from_secs(10 * 60);

/// Names that mean something to a directory; a source's audio info cannot pose as one of them.
const OWN_FIELDS: &[&str] = &[
    "action",
    "sid",
    "sn",
    "genre",
    "cpswd",
    "desc",
    "url",
    "listenurl",
    "type",
    "stype",
    "b",
    "st",
    "listeners",
    "max_listeners",
];

/// What a directory is told of a mount.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entry<'a> {
    /// Station name; may be empty.
    pub name: &'a str,
    /// Genres, with commas between them.
    pub genre: &'a str,
    /// Description; may be empty.
    pub description: &'a str,
    /// The station's web page.
    pub url: &'a str,
    /// Where the stream is played.
    pub listen_url: &'a str,
    /// Content type.
    pub content_type: &'a str,
    /// Codec inside the container (`Opus`), when known.
    pub subtype: &'a str,
    /// Bitrate; empty when unknown.
    pub bitrate: &'a str,
    /// The source's audio info.
    pub audio_info: &'a [(String, String)],
    /// Current song.
    pub song: &'a str,
    /// Listeners now.
    pub listeners: u64,
    /// The limit; `None` for none.
    pub max_listeners: Option<u64>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Post this form now and hand the outcome to [`Report::answered`] or [`Report::failed`].
    Post(String),
    /// Poll again at this time.
    WaitUntil(Instant),
    /// A request is under way; poll again after its outcome.
    AwaitAnswer,
    /// All is said: the mount is gone from the directory.
    Finished,
}

/// The state of one mount in one directory.
#[derive(Debug, Clone)]
pub struct Report {
    state: State,
    /// The source has ended.
    ended: bool,
    /// Refused listings in a row.
    refusals: usize,
    /// The directory's last message, so that each is logged once.
    message: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    AddAt(Instant),
    Adding,
    TouchAt { at: Instant, listing: Listing },
    Touching(Listing),
    Removing,
    Finished,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Listing {
    sid: String,
    touch_every: Duration,
}

impl Report {
    /// The mount's source has its first data.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::AddAt(now + SETTLE),
            ended: false,
            refusals: 0,
            message: String::new(),
        }
    }

    /// Whether the directory lists the mount.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        matches!(self.state, State::TouchAt { .. } | State::Touching(_))
    }

    /// The source has ended, or the mount shall not be listed any more. Poll at once: a removal may be due.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// What to do now.
    pub fn poll(&mut self, now: Instant, entry: &Entry<'_>) -> Step {
        let (state, step) = match std::mem::replace(&mut self.state, State::Finished) {
            State::AddAt(_) if self.ended => (State::Finished, Step::Finished),
            State::AddAt(at) if now < at => (State::AddAt(at), Step::WaitUntil(at)),
            State::AddAt(_) => (State::Adding, Step::Post(add_form(entry))),
            State::TouchAt { listing, .. } if self.ended => {
                (State::Removing, Step::Post(remove_form(&listing.sid)))
            }
            State::TouchAt { at, listing } if now < at => {
                (State::TouchAt { at, listing }, Step::WaitUntil(at))
            }
            State::TouchAt { listing, .. } => {
                let form = touch_form(&listing.sid, entry);
                (State::Touching(listing), Step::Post(form))
            }
            state @ (State::Adding | State::Touching(_) | State::Removing) => (state, Step::AwaitAnswer),
            State::Finished => (State::Finished, Step::Finished),
        };
        self.state = state;
        step
    }

    /// The directory answered. Gives its message when that is worth a line in the log.
    pub fn answered(&mut self, now: Instant, status: StatusCode, headers: &HeaderMap) -> Option<String> {
        let success = is_success(status, headers);
        let seconds = |name: &str| text::header(headers, name)?.parse().ok().map(Duration::from_secs);
        let asked = seconds("touchfreq").map(|every| every.clamp(TOUCH_MIN, TOUCH_MAX));
        match std::mem::replace(&mut self.state, State::Finished) {
            State::Adding => match text::header(headers, "sid").filter(|_| success) {
                Some(sid) => {
                    self.refusals = 0;
                    let listing = Listing {
                        sid,
                        touch_every: asked.unwrap_or(TOUCH_DEFAULT),
                    };
                    self.state = State::TouchAt {
                        at: now + SETTLE,
                        listing,
                    };
                }
                None => self.refused(now),
            },
            State::Touching(mut listing) if success => {
                listing.touch_every = asked.unwrap_or(listing.touch_every);
                self.state = State::TouchAt {
                    at: now + listing.touch_every,
                    listing,
                };
            }
            // The directory forgot the listing: begin anew.
            State::Touching(_) => self.state = State::AddAt(now + SETTLE),
            State::Removing => {}
            waiting => self.state = waiting,
        }
        if success {
            self.message.clear();
            return None;
        }
        let message = text::header(headers, "ypmessage").unwrap_or_else(|| format!("status {status}"));
        (message != self.message).then(|| {
            self.message.clone_from(&message);
            message
        })
    }

    /// The directory could not be reached or did not answer in time.
    pub fn failed(&mut self, now: Instant) {
        match std::mem::replace(&mut self.state, State::Finished) {
            State::Adding => self.refused(now),
            State::Touching(_) => self.state = State::AddAt(now + SETTLE),
            State::Removing => {}
            waiting => self.state = waiting,
        }
    }

    fn refused(&mut self, now: Instant) {
        let wait = REFUSED[self.refusals.min(REFUSED.len() - 1)];
        self.refusals += 1;
        self.state = State::AddAt(now + wait);
    }
}

/// Why a stream's address is of no use to the public. Warn once, report nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotPublic {
    /// No host name is configured.
    #[error("directory reporting needs a public \"hostname\" or \"base_url\"")]
    NoHost,
    /// The name or address is only known here.
    #[error("\"hostname\" or \"base_url\" is only reachable locally; directories cannot list it")]
    Local,
}

/// Whether a directory accepted what it was told.
#[must_use]
pub fn is_success(status: StatusCode, headers: &HeaderMap) -> bool {
    let accepted = matches!(status, StatusCode::OK | StatusCode::CREATED);
    accepted && text::header(headers, "ypresponse").is_some_and(|response| response == "1")
}

/// Whether others could play a stream at this address.
///
/// # Errors
/// [`NotPublic`] is the text for the log.
pub fn check_public(listen_url: &str) -> Result<(), NotPublic> {
    let url = Url::parse(listen_url).map_err(|_| NotPublic::NoHost)?;
    let local = match url.host().ok_or(NotPublic::NoHost)? {
        Host::Domain("") => return Err(NotPublic::NoHost),
        Host::Domain(name) => is_local_name(name),
        Host::Ipv4(ip) => is_local_address(ip.into()),
        Host::Ipv6(ip) => is_local_address(ip.into()),
    };
    if local { Err(NotPublic::Local) } else { Ok(()) }
}

fn is_local_name(name: &str) -> bool {
    const LOCAL_ENDINGS: &[&str] = &[
        "localhost",
        "local",
        "lan",
        "internal",
        "localdomain",
        "home.arpa",
    ];
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    // A name without a dot only resolves in somebody's own network.
    !name.contains('.')
        || LOCAL_ENDINGS.iter().any(|ending| {
            name.strip_suffix(ending)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
}

fn is_local_address(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            // RFC 6598: 100.64.0.0/10 stands behind a provider's NAT.
            let shared = a == 100 && b & 0xc0 == 64;
            ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || a == 0
                || shared
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
        }
    }
}

/// Directories take genres that are separated by spaces: `Hip Hop, Jazz` is `Hip-Hop Jazz`.
#[must_use]
pub fn normalize_genre(genre: &str) -> String {
    let genres = genre
        .split(',')
        .map(|one| one.split_whitespace().collect::<Vec<_>>().join("-"));
    genres.filter(|one| !one.is_empty()).collect::<Vec<_>>().join(" ")
}

fn add_form(entry: &Entry<'_>) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("action", "add")
        .append_pair("sn", entry.name)
        .append_pair("genre", &normalize_genre(entry.genre))
        .append_pair("cpswd", "")
        .append_pair("desc", entry.description)
        .append_pair("url", entry.url)
        .append_pair("listenurl", entry.listen_url)
        .append_pair("type", entry.content_type)
        .append_pair("stype", entry.subtype)
        .append_pair("b", entry.bitrate);
    for (key, value) in entry.audio_info {
        if !OWN_FIELDS.contains(&key.as_str()) {
            form.append_pair(key, value);
        }
    }
    form.finish()
}

fn touch_form(sid: &str, entry: &Entry<'_>) -> String {
    let max_listeners = entry
        .max_listeners
        .map_or_else(|| "unlimited".to_owned(), |max| max.to_string());
    form_urlencoded::Serializer::new(String::new())
        .append_pair("action", "touch")
        .append_pair("sid", sid)
        .append_pair("st", entry.song)
        .append_pair("listeners", &entry.listeners.to_string())
        .append_pair("max_listeners", &max_listeners)
        .append_pair("stype", entry.subtype)
        .finish()
}

fn remove_form(sid: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("action", "remove")
        .append_pair("sid", sid)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head_lines;

    /// Plays a script against a report: `tick N` lets N seconds pass, `answer`/`fail`/`end` do what they say. Gives
    /// one line per poll.
    fn play(script: &[&str]) -> Vec<String> {
        let start = Instant::now();
        let mut now = start;
        let mut report = Report::new(start);
        let entry = Entry {
            song: "A - B",
            listeners: 3,
            ..Entry::default()
        };
        let mut lines = Vec::new();
        for line in script {
            let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
            match verb {
                "tick" => now += Duration::from_secs(rest.parse().unwrap()),
                "answer" => {
                    let (status, head) = rest.split_once(' ').unwrap();
                    let headers = head_lines::parse(head.replace(", ", "\n").as_bytes());
                    let status = StatusCode::from_bytes(status.as_bytes()).unwrap();
                    if let Some(message) = report.answered(now, status, &headers) {
                        lines.push(format!("log {message}"));
                    }
                }
                "fail" => report.failed(now),
                "end" => report.end(),
                _ => panic!("{line}"),
            }
            if verb != "end" || rest != "silently" {
                lines.push(match report.poll(now, &entry) {
                    Step::Post(form) => form.split('&').take(2).collect::<Vec<_>>().join("&"),
                    Step::WaitUntil(at) => format!("wait {}", (at - now).as_secs()),
                    Step::AwaitAnswer => "await".into(),
                    Step::Finished => "finished".into(),
                });
            }
        }
        lines
    }

    const ADDED: &str = "answer 200 YPResponse: 1, SID: 77, TouchFreq: 200";

    #[test]
    fn a_listing_is_added_touched_and_removed() {
        let script = [
            "tick 0",
            "tick 5",
            "tick 1",
            ADDED,
            "tick 5",
            "answer 201 YPResponse: 1",
            "tick 199",
            "tick 1",
            "answer 200 YPResponse: 1, TouchFreq: 1",
            "end",
            "answer 200 YPResponse: 1",
            "tick 9",
        ];
        assert_eq!(
            play(&script),
            [
                "wait 5",
                "action=add&sn=",
                "await",
                "wait 5",
                "action=touch&sid=77",
                "wait 200",
                "wait 1",
                "action=touch&sid=77",
                "wait 30",
                "action=remove&sid=77",
                "finished",
                "finished",
            ]
        );
    }

    #[test]
    fn a_lost_listing_is_added_again() {
        for lost in [
            "answer 200 YPResponse: 0",
            "answer 200 x: y",
            "answer 404 YPResponse: 1",
            "fail",
        ] {
            let lines = play(&["tick 5", ADDED, "tick 5", lost, "tick 5", ADDED, "tick 5"]);
            let posts: Vec<_> = lines.iter().filter(|line| line.starts_with("action")).collect();
            assert_eq!(
                posts,
                [
                    "action=add&sn=",
                    "action=touch&sid=77",
                    "action=add&sn=",
                    "action=touch&sid=77"
                ],
                "{lost}"
            );
        }
    }

    #[test]
    fn a_refusing_directory_is_left_alone_and_quoted_once() {
        let no = "answer 200 YPResponse: 0, YPMessage: go away";
        assert_eq!(
            play(&[
                "tick 5",
                no,
                "tick 1200",
                no,
                "tick 7200",
                "fail",
                "tick 7200",
                ADDED,
                "tick 5",
                "fail",
                "tick 5",
                "fail"
            ]),
            [
                "action=add&sn=",
                "log go away",
                "wait 1200",
                "action=add&sn=",
                "wait 7200",
                "action=add&sn=",
                "wait 7200",
                "action=add&sn=",
                "wait 5",
                "action=touch&sid=77",
                "wait 5",
                "action=add&sn=",
                "wait 1200",
            ]
        );
        // Success without an id cannot be touched or removed.
        assert_eq!(play(&["tick 5", "answer 200 YPResponse: 1"])[1], "wait 1200");
        assert_eq!(
            play(&["tick 5", "answer 500 a: b"])[1],
            "log status 500 Internal Server Error"
        );
    }

    #[test]
    fn an_end_in_the_middle_of_a_request_still_removes() {
        assert_eq!(play(&["end"]), ["finished"]);
        assert_eq!(
            play(&["tick 5", "end", ADDED, "fail"]),
            ["action=add&sn=", "await", "action=remove&sid=77", "finished"]
        );
        assert_eq!(
            play(&["tick 5", "end", "fail"]),
            ["action=add&sn=", "await", "finished"]
        );
        assert_eq!(
            play(&["tick 5", ADDED, "tick 5", "end", "answer 200 YPResponse: 1"])[3..],
            ["await", "action=remove&sid=77"]
        );
        // A stray outcome changes nothing.
        assert_eq!(play(&["fail", ADDED]), ["wait 5", "wait 5"]);
    }

    #[test]
    fn forms_have_icecasts_field_names() {
        let audio_info = [
            ("ice-samplerate".into(), "48000".into()),
            ("sid".to_owned(), "1".to_owned()),
        ];
        let entry = Entry {
            name: "Example & Söhne",
            genre: "Hip Hop, Jazz",
            description: "",
            url: "http://example.org/",
            listen_url: "http://radio.example.org:8000/live",
            content_type: "application/ogg",
            subtype: "Opus",
            bitrate: "96",
            audio_info: &audio_info,
            song: "A - B",
            listeners: 3,
            max_listeners: None,
        };
        assert_eq!(
            add_form(&entry),
            "action=add&sn=Example+%26+S%C3%B6hne&genre=Hip-Hop+Jazz&cpswd=&desc=&url=http%3A%2F%2Fexample.org%2F\
             &listenurl=http%3A%2F%2Fradio.example.org%3A8000%2Flive&type=application%2Fogg&stype=Opus&b=96\
             &ice-samplerate=48000"
        );
        assert_eq!(
            touch_form("77", &entry),
            "action=touch&sid=77&st=A+-+B&listeners=3&max_listeners=unlimited&stype=Opus"
        );
        let limited = Entry {
            max_listeners: Some(50),
            ..entry
        };
        assert!(touch_form("77", &limited).contains("&max_listeners=50&"));
        assert_eq!(remove_form("7 7"), "action=remove&sid=7+7");
    }

    #[test]
    fn genres_are_separated_by_spaces() {
        for (sent, normal) in [
            ("Jazz", "Jazz"),
            ("Hip Hop", "Hip-Hop"),
            ("Hip  Hop,Jazz , ,Blues", "Hip-Hop Jazz Blues"),
            ("", ""),
        ] {
            assert_eq!(normalize_genre(sent), normal, "{sent}");
        }
    }

    #[test]
    fn only_public_addresses_are_reported() {
        for (url, expected) in [
            ("http://radio.example.org:8000/live", Ok(())),
            ("https://8.8.8.8/live", Ok(())),
            ("http://[2001:4860::1]/live", Ok(())),
            ("http://:8000/live", Err(NotPublic::NoHost)),
            ("/live", Err(NotPublic::NoHost)),
            ("http://localhost:8000/live", Err(NotPublic::Local)),
            ("http://x.localhost./live", Err(NotPublic::Local)),
            ("http://studio/live", Err(NotPublic::Local)),
            ("http://pi.local/live", Err(NotPublic::Local)),
            ("http://10.0.0.1/live", Err(NotPublic::Local)),
            ("http://127.0.0.1/live", Err(NotPublic::Local)),
            ("http://100.64.0.1/live", Err(NotPublic::Local)),
            ("http://169.254.1.1/live", Err(NotPublic::Local)),
            ("http://[::1]/live", Err(NotPublic::Local)),
            ("http://[fd00::1]/live", Err(NotPublic::Local)),
            ("http://[::ffff:192.168.1.1]/live", Err(NotPublic::Local)),
        ] {
            assert_eq!(check_public(url), expected, "{url}");
        }
    }
}
