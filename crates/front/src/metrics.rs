//! What the front counts: requests, connections, and who was turned away at the door.
//!
//! Contract: every label has a closed set of values, so that no client can make a series, and a combination that
//! never occurred is not exposed. [`ALL`] is for the program to register.

use std::fmt;
use std::ops::Deref;

use http::{Method, StatusCode};
use observe::Value;
use observe::metrics::{
    Counter, Counters, Exposition, Histogram, Histograms, Labels, Metric, Sampled, Table,
};
use observe::span::{Outcome, Span};
use tokio::time::Instant;

use crate::Request;
use crate::head::HeadError;
use crate::route::{IcecastCommand, Page, Registered, Route, normalise};

/// The metrics of this crate.
pub const ALL: &[&dyn Metric] = &[
    &REQUESTS,
    &REQUEST_DURATION,
    &CONNECTIONS,
    &REJECTED,
    &ACCEPT_ERRORS,
];

/// Requests that were answered, taken over or given up.
pub static REQUESTS: Occurred<Counters<(Template, Verb, Class)>> = Occurred {
    name: "tinyice_http_requests_total",
    help: "HTTP requests by route, method and class of the answer's status; none is a connection closed without an \
           answer. Listeners and sources count when they begin.",
    labels: &["route", "method", "status"],
    table: Table::new(Counter::new),
};

/// From the end of the request's head to the last byte of the answer.
pub static REQUEST_DURATION: Occurred<Histograms<Template>> = Occurred {
    name: "tinyice_http_request_duration_seconds",
    help: "From the end of a request's head to the last byte of its answer, by route. Listeners, sources and event \
           streams are not in it.",
    labels: &["route"],
    table: Table::new(|| Histogram::seconds(BOUNDS)),
};

/// In seconds. A password costs a quarter of one, and whoever waits for a relay on demand up to ten.
const BOUNDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

observe::metrics! {
    /// Connections that a task of the front serves.
    pub static CONNECTIONS: Gauge = "tinyice_http_connections":
        "HTTP connections being served: idle ones, requests and sources. Listeners on air are not among them.";
    /// Connections that were closed before they became a request.
    pub static REJECTED: Counters<Rejection> = "tinyice_connections_rejected_total" {"reason"}:
        "Connections turned away before they became a request, by reason.";
    /// Failed accepts.
    pub static ACCEPT_ERRORS: Counter = "tinyice_accept_errors_total":
        "Times that a connection could not be accepted for want of descriptors or memory.";
}

observe::label! {
    /// What a request was about.
    pub enum Template {
        Listener = "listener",
        Source = "source",
        Playlist = "playlist",
        HlsPlaylist = "hls_playlist",
        HlsSegment = "hls_segment",
        Poster = "poster",
        Whep = "whep",
        Whip = "whip",
        Page = "page",
        Player = "player",
        Embed = "embed",
        Favicon = "/favicon.ico",
        Login = "/login",
        Logout = "/logout",
        Setup = "/setup",
        Auth = "/auth",
        Admin = "/admin",
        AdminAction = "/admin/{action}",
        AdminEvents = "/admin/events",
        AdminCgi = "/admin.cgi",
        Metadata = "/admin/metadata",
        Stats = "/admin/stats",
        ListClients = "/admin/listclients",
        ListMounts = "/admin/listmounts",
        KillClient = "/admin/killclient",
        KillSource = "/admin/killsource",
        MoveClients = "/admin/moveclients",
        Fallbacks = "/admin/fallbacks",
        StreamList = "/admin/streamlist.txt",
        Poke = "/admin/!POKE",
        Api = "/api",
        WebRtc = "/webrtc",
        Events = "/events",
        Status = "/status-json.xsl",
        StatusPage = "/status.xsl",
        SevenHtml = "/7.html",
        ShoutcastStats = "/stats",
        Metrics = "/metrics",
        Health = "/healthz",
        Ready = "/readyz",
        Asset = "/assets",
        Branding = "/branding",
        WellKnown = "/.well-known",
        Options = "options",
        MethodNotAllowed = "method_not_allowed",
        NotFound = "not_found",
    }

    /// The methods that somebody here may understand.
    pub enum Verb {
        Get = "GET",
        Head = "HEAD",
        Post = "POST",
        Put = "PUT",
        Patch = "PATCH",
        Delete = "DELETE",
        Source = "SOURCE",
        Options = "OPTIONS",
        Other = "other",
    }

    /// What kind of answer it was.
    pub enum Class {
        Informational = "1xx",
        Success = "2xx",
        Redirection = "3xx",
        ClientError = "4xx",
        ServerError = "5xx",
        None = "none",
    }

    /// Why a connection did not become a request.
    pub enum Rejection {
        Banned = "banned",
        Full = "full",
        BadHead = "bad_head",
        TooLarge = "too_large",
        Unsupported = "unsupported",
        Timeout = "timeout",
    }
}

impl Template {
    fn of(route: &Route, path: &str) -> Self {
        match route {
            Route::Reserved(registered) => Self::registered(*registered, path),
            Route::Page(Page::Missing) | Route::NotFound => Self::NotFound,
            Route::Page(_) => Self::Page,
            Route::Player(_) | Route::WebRtcPlayer(_) => Self::Player,
            Route::Embed(_) => Self::Embed,
            Route::AdminShell => Self::Admin,
            Route::IcecastAdmin(command) => Self::command(*command),
            Route::HlsMaster(_) | Route::HlsMedia(_) => Self::HlsPlaylist,
            Route::HlsSegment { .. } => Self::HlsSegment,
            Route::Poster(_) => Self::Poster,
            Route::Whep { .. } => Self::Whep,
            Route::Whip { .. } => Self::Whip,
            Route::Source(_) | Route::SourceRefused(_) => Self::Source,
            Route::Playlist { .. } => Self::Playlist,
            Route::Listener(_) => Self::Listener,
            Route::Options(_) => Self::Options,
            Route::MethodNotAllowed(_) => Self::MethodNotAllowed,
        }
    }

    /// Whether such requests change or reveal what is not public.
    fn is_administration(self) -> bool {
        use Template as T;
        matches!(
            self,
            T::Login
                | T::Logout
                | T::Setup
                | T::Auth
                | T::Admin
                | T::AdminAction
                | T::AdminEvents
                | T::AdminCgi
                | T::Metadata
                | T::Stats
                | T::ListClients
                | T::ListMounts
                | T::KillClient
                | T::KillSource
                | T::MoveClients
                | T::Fallbacks
                | T::StreamList
                | T::Poke
                | T::Api
                | T::Metrics
        )
    }

    fn registered(registered: Registered, path: &str) -> Self {
        match registered {
            Registered::Favicon => Self::Favicon,
            Registered::Login => Self::Login,
            Registered::Logout => Self::Logout,
            Registered::Setup => Self::Setup,
            Registered::Auth => Self::Auth,
            Registered::AdminAction if normalise(path) == "/admin/events" => Self::AdminEvents,
            Registered::AdminAction => Self::AdminAction,
            Registered::AdminCgi => Self::AdminCgi,
            Registered::Api => Self::Api,
            Registered::WebRtc => Self::WebRtc,
            Registered::Events => Self::Events,
            Registered::Status => Self::Status,
            Registered::StatusPage => Self::StatusPage,
            Registered::SevenHtml => Self::SevenHtml,
            Registered::ShoutcastStats => Self::ShoutcastStats,
            Registered::Metrics => Self::Metrics,
            Registered::Health => Self::Health,
            Registered::Ready => Self::Ready,
            Registered::Asset => Self::Asset,
            Registered::Branding => Self::Branding,
            Registered::WellKnown => Self::WellKnown,
        }
    }

    fn command(command: IcecastCommand) -> Self {
        match command {
            IcecastCommand::Metadata => Self::Metadata,
            IcecastCommand::Stats | IcecastCommand::StatsXml => Self::Stats,
            IcecastCommand::ListClients => Self::ListClients,
            IcecastCommand::ListMounts => Self::ListMounts,
            IcecastCommand::KillClient => Self::KillClient,
            IcecastCommand::KillSource => Self::KillSource,
            IcecastCommand::MoveClients => Self::MoveClients,
            IcecastCommand::Fallbacks => Self::Fallbacks,
            IcecastCommand::StreamList => Self::StreamList,
            IcecastCommand::Poke => Self::Poke,
        }
    }
}

impl Verb {
    fn of(method: &Method) -> Self {
        match method.as_str() {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "SOURCE" => Self::Source,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }
}

impl Class {
    fn of(status: StatusCode) -> Self {
        match status.as_u16() / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            // What is beyond 599 is nobody's but ours.
            _ => Self::ServerError,
        }
    }
}

impl From<HeadError> for Rejection {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Malformed(_) => Self::BadHead,
            HeadError::TooLarge => Self::TooLarge,
            HeadError::Version | HeadError::UnknownCoding => Self::Unsupported,
        }
    }
}

/// Values by labels, of which only those that have counted are exposed.
pub struct Occurred<T> {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    table: T,
}

impl<T> Deref for Occurred<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.table
    }
}

impl<T> fmt::Debug for Occurred<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Occurred({})", self.name)
    }
}

/// Whether a value has counted anything.
trait Counted: Sampled {
    fn has_counted(&self) -> bool;
}

impl Counted for Counter {
    fn has_counted(&self) -> bool {
        self.get() > 0
    }
}

impl Counted for Histogram {
    fn has_counted(&self) -> bool {
        self.snapshot().count() > 0
    }
}

impl<L: Labels, V: Counted + Send + Sync> Metric for Occurred<Table<L, V>> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn expose(&self, out: &mut Exposition) {
        let mut family = out.family(self.name, V::KIND, self.help);
        for (index, value) in self.table.all().iter().enumerate() {
            if value.has_counted() {
                let pairs: Vec<_> = self.labels.iter().copied().zip(L::values(index)).collect();
                value.sample(&mut family, &pairs);
            }
        }
    }
}

/// A connection that is being served.
#[derive(Debug)]
pub(crate) struct Presence(());

impl Presence {
    pub(crate) fn new() -> Self {
        CONNECTIONS.add(1.0);
        Self(())
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        CONNECTIONS.add(-1.0);
    }
}

/// Counts one request, whatever becomes of it.
#[derive(Debug)]
pub(crate) struct Tally {
    template: Template,
    verb: Verb,
    began: Instant,
    is_counted: bool,
    /// What the request was, for those that change or reveal something.
    span: Option<Span>,
}

impl Tally {
    pub(crate) fn new(request: &Request) -> Self {
        let template = Template::of(&request.route(), request.path());
        let verb = Verb::of(&request.method);
        let span = template.is_administration().then(|| {
            // Never the target itself: its query may hold a password.
            let fields = [
                ("route", Value::text(template.as_str())),
                ("method", Value::text(verb.as_str())),
                ("ip", Value::text(&request.client.to_string())),
                ("request_id", Value::text(&request.request_id.to_string())),
            ];
            Span::start("request", fields)
        });
        Self {
            template,
            verb,
            began: Instant::now(),
            is_counted: false,
            span,
        }
    }

    pub(crate) fn span(&self) -> Option<Span> {
        self.span.clone()
    }

    /// The answer begins.
    pub(crate) fn begin(&mut self, status: StatusCode) {
        self.count(Class::of(status));
        if let Some(span) = &self.span {
            span.set("status", Value::Unsigned(status.as_u16().into()));
        }
    }

    /// The answer is written. Not for answers that go on for as long as somebody reads them.
    pub(crate) fn finish(mut self) {
        REQUEST_DURATION
            .of(self.template)
            .observe_duration(self.began.elapsed());
        if let Some(span) = self.span.take() {
            span.end(Outcome::Ok);
        }
    }

    fn count(&mut self, class: Class) {
        if !std::mem::replace(&mut self.is_counted, true) {
            REQUESTS.of((self.template, self.verb, class)).inc();
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.count(Class::None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::route;
    use observe::metrics::{Format, Label as _, render};
    use std::time::Duration;

    #[test]
    fn requests_are_grouped_by_template() {
        for (method, path, template) in [
            ("GET", "/live.mp3", "listener"),
            ("PUT", "/live.mp3", "source"),
            ("SOURCE", "/admin", "source"),
            ("GET", "/live.m3u", "playlist"),
            ("GET", "/live/master.m3u8", "hls_playlist"),
            ("GET", "/live/segment-7.ts", "hls_segment"),
            ("GET", "/live/poster.jpg", "poster"),
            ("POST", "/live/whep", "whep"),
            ("DELETE", "/live/whip/abc", "whip"),
            ("GET", "/", "page"),
            ("GET", "/player/live", "player"),
            ("GET", "/embed/live", "embed"),
            ("GET", "/explore/x", "not_found"),
            ("GET", "/admin/streams", "/admin"),
            ("POST", "/admin/kick", "/admin/{action}"),
            ("GET", "/admin/events", "/admin/events"),
            ("GET", "//admin//events/", "/admin/events"),
            ("GET", "/admin/metadata", "/admin/metadata"),
            ("GET", "/admin/stats.xml", "/admin/stats"),
            ("GET", "/api/streams", "/api"),
            ("GET", "/status-json.xsl", "/status-json.xsl"),
            ("GET", "/status.xsl", "/status.xsl"),
            ("GET", "/7.html", "/7.html"),
            ("GET", "/stats", "/stats"),
            ("OPTIONS", "/live", "options"),
            ("DELETE", "/live", "method_not_allowed"),
            ("GET", "*", "not_found"),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let found = Template::of(&route(&method, path), path);
            assert_eq!(found.as_str(), template, "{method} {path}");
        }
    }

    #[test]
    fn methods_and_statuses_are_closed_sets() {
        for (method, verb) in [
            ("GET", "GET"),
            ("SOURCE", "SOURCE"),
            ("get", "other"),
            ("BREW", "other"),
            ("PROPFIND", "other"),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            assert_eq!(Verb::of(&method).as_str(), verb);
        }
        for (status, class) in [
            (101, "1xx"),
            (204, "2xx"),
            (304, "3xx"),
            (499, "4xx"),
            (999, "5xx"),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(Class::of(status).as_str(), class);
        }
    }

    #[test]
    fn only_what_occurred_is_exposed() {
        static SEEN: Occurred<Counters<(Verb, Class)>> = Occurred {
            name: "test_front_occurred_total",
            help: "A test.",
            labels: &["method", "status"],
            table: Table::new(Counter::new),
        };
        static TIMES: Occurred<Histograms<Verb>> = Occurred {
            name: "test_front_occurred_seconds",
            help: "A test.",
            labels: &["method"],
            table: Table::new(|| Histogram::seconds(BOUNDS)),
        };
        SEEN.of((Verb::Put, Class::ServerError)).add(2);
        TIMES.of(Verb::Delete).observe_duration(Duration::from_millis(7));
        observe::metrics::register(&[&SEEN, &TIMES]);
        let text = render(Format::Text);
        let lines = |name: &str| {
            text.lines()
                .filter(|line| line.starts_with(name))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            lines("test_front_occurred_total"),
            ["test_front_occurred_total{method=\"PUT\",status=\"5xx\"} 2"]
        );
        let times = lines("test_front_occurred_seconds");
        assert!(
            times.iter().all(|line| line.contains("method=\"DELETE\"")),
            "{times:?}"
        );
        assert!(
            times.contains(&"test_front_occurred_seconds_count{method=\"DELETE\"} 1".to_owned()),
            "{times:?}"
        );
    }

    #[test]
    fn the_most_series_are_bounded() {
        let most = Template::VALUES.len() * Verb::VALUES.len() * Class::VALUES.len();
        assert_eq!(<(Template, Verb, Class)>::COUNT, most);
        assert!(most < 3_000, "{most}");
    }
}
