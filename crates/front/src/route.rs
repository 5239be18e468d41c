//! What a request is about, from its method and decoded path alone.
//!
//! Contract: a pure function, in one fixed order: the server's own paths first (for every method, so nobody can
//! publish to one), then what is derived from a mount, then sources, then listeners. Prefixes match whole path
//! segments: `/player/x` is a page, `/playerfm` is a mount.

use std::borrow::Cow;

use config::{BadMountName, MountName};
use http::header::{ACCEPT_ENCODING, ALLOW, HeaderValue};
use http::{Method, Response, StatusCode};

use crate::cors::{self, Preflight};

/// Methods of a mount, which is also what `OPTIONS *` announces.
pub const ALLOW_MOUNT: &str = "GET, HEAD, PUT, SOURCE, OPTIONS";
/// Methods of documents that are only read.
pub const ALLOW_READ: &str = "GET, HEAD, OPTIONS";
/// Methods of posters.
pub const ALLOW_POSTER: &str = "GET, HEAD, POST, PUT, OPTIONS";
/// Methods of WHEP and WHIP.
pub const ALLOW_WEBRTC: &str = "POST, PATCH, DELETE, OPTIONS";
/// Methods of the Icecast endpoints; encoders send titles by `POST` only when it is listed.
pub const ALLOW_ICECAST: &str = "GET, HEAD, POST, OPTIONS";

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// One of the server's own addresses, with any method; its owner decides about the method.
    Reserved(Registered),
    /// A page.
    Page(Page),
    /// The player page of a mount.
    Player(MountName),
    /// The old WebRTC player page of a mount, which redirects.
    WebRtcPlayer(MountName),
    /// The small player of a mount for frames on other sites.
    Embed(MountName),
    /// The administration page or one of its sections.
    AdminShell,
    /// An Icecast administration endpoint: 401 without credentials, never a redirect.
    IcecastAdmin(IcecastCommand),
    /// The HLS multivariant playlist.
    HlsMaster(MountName),
    /// The HLS media playlist.
    HlsMedia(MountName),
    /// An HLS segment.
    HlsSegment {
        /// Its mount.
        mount: MountName,
        /// The last part of the path (`segment-12.ts`).
        segment: String,
    },
    /// The poster frame of a video mount, read or uploaded.
    Poster(MountName),
    /// WebRTC playback.
    Whep {
        /// Its mount.
        mount: MountName,
        /// The session, when the path names one.
        session: Option<String>,
    },
    /// WebRTC publishing.
    Whip {
        /// Its mount.
        mount: MountName,
        /// The session, when the path names one.
        session: Option<String>,
    },
    /// An encoder wants to publish.
    Source(MountName),
    /// An encoder wants to publish where it cannot; [`source_refused`] is the answer.
    SourceRefused(BadMountName),
    /// A playlist file that points at a mount.
    Playlist {
        /// Its mount.
        mount: MountName,
        /// Its format.
        kind: PlaylistKind,
    },
    /// Somebody wants to listen.
    Listener(MountName),
    /// An `OPTIONS` request that needs no owner; [`options`] is the answer.
    Options(Options),
    /// 405 with this `Allow` header; [`method_not_allowed`] is the answer.
    MethodNotAllowed(&'static str),
    /// Nothing can be there.
    NotFound,
}

/// The server's own addresses that are not pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the path that it is named after")]
pub enum Registered {
    Favicon,
    Login,
    Logout,
    Setup,
    Auth,
    /// An action or feed below `/admin/`.
    AdminAction,
    /// `/admin.cgi`
    AdminCgi,
    Api,
    /// `/webrtc/…`
    WebRtc,
    Events,
    /// `/status-json.xsl`
    Status,
    /// `/status.xsl`
    StatusPage,
    /// `/7.html`, for monitors of SHOUTcast servers.
    SevenHtml,
    /// `/stats`, for the same.
    ShoutcastStats,
    Metrics,
    Health,
    Ready,
    Asset,
    Branding,
    WellKnown,
}

/// Pages that are not about one mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// `/`
    Landing,
    /// `/explore`
    Explore,
    /// `/developers`
    Developers,
    /// `/kiosk`
    Kiosk,
    /// `/player` without a mount.
    NoPlayer,
    /// `/player-webrtc` without a mount.
    NoWebRtcPlayer,
    /// Below a page's address, where there is no page, or a player of what cannot be a mount: 404 in the page's looks.
    Missing,
}

/// Icecast's administration endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the endpoint that it is named after")]
pub enum IcecastCommand {
    Metadata,
    /// `/admin/stats`: JSON or XML, by the caller.
    Stats,
    /// `/admin/stats.xml`: always XML.
    StatsXml,
    ListClients,
    ListMounts,
    KillClient,
    KillSource,
    MoveClients,
    Fallbacks,
    StreamList,
    /// `/admin/!POKE`, by which libshout asks whether it must authenticate.
    Poke,
}

/// Formats of playlist files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the ending that it is named after")]
pub enum PlaylistKind {
    M3u,
    M3u8,
    Pls,
    Xspf,
}

/// What the answer to an `OPTIONS` request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The `Allow` header.
    pub allow: &'static str,
    /// The cross-origin headers, on public routes.
    pub preflight: Option<Preflight>,
}

/// Actions and feeds below `/admin/`; everything else there is a section of the page.
const ADMIN_ACTIONS: &[&str] = &[
    "add-mount",
    "remove-mount",
    "toggle-mount",
    "toggle-visible",
    "toggle-latency",
    "update-fallback",
    "kick",
    "kick-all-listeners",
    "hotswap",
    "events",
    "history",
    "statistics",
    "insights",
    "traffic",
    "geo",
    "security-stats",
    "transcoder-stats",
    "add-user",
    "remove-user",
    "add-banned-ip",
    "remove-banned-ip",
    "add-whitelisted-ip",
    "remove-whitelisted-ip",
    "clear-auth-lockout",
    "clear-scan-lockout",
    "add-webhook",
    "delete-webhook",
    "add-relay",
    "toggle-relay",
    "restart-relay",
    "delete-relay",
    "add-transcoder",
    "toggle-transcoder",
    "delete-transcoder",
];

/// Says what a request is about; `path` is the percent-decoded path.
#[must_use]
pub fn route(method: &Method, path: &str) -> Route {
    if path == "*" {
        return if method == Method::OPTIONS {
            Route::Options(Options {
                allow: ALLOW_MOUNT,
                preflight: Some(Preflight::Playback),
            })
        } else {
            Route::NotFound
        };
    }
    let source = is_source(method);
    // A player's sloppy path is put right. A source's is refused, since the mount would not be what it asked for.
    let path = if source {
        Cow::Borrowed(path)
    } else {
        normalise(path)
    };
    if let Some(own) = own(method, &path) {
        let put_has_owner = matches!(own, Route::Reserved(Registered::Api)) && method == Method::PUT;
        return if source && !put_has_owner {
            Route::SourceRefused(BadMountName::Reserved)
        } else {
            own
        };
    }
    if source && !(method == Method::PUT && path.ends_with("/poster.jpg")) {
        return match MountName::parse(&path) {
            Ok(_) if path.contains('\u{FFFD}') => {
                Route::SourceRefused(BadMountName::Illegal("a mount name is UTF-8"))
            }
            Ok(mount) => Route::Source(mount),
            Err(error) => Route::SourceRefused(error),
        };
    }
    derived(method, &path).unwrap_or_else(|| of_mount(method, &path))
}

/// The answer to [`Route::Options`].
#[must_use]
pub fn options(options: Options) -> Response<http_body_util::Empty<bytes::Bytes>> {
    let mut response = Response::new(http_body_util::Empty::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(options.allow));
    if options.allow == ALLOW_MOUNT {
        // libshout reads here whether it may send chunked.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity, chunked"));
    }
    if let Some(kind) = options.preflight {
        cors::preflight(kind, headers);
    }
    response
}

/// The answer to [`Route::MethodNotAllowed`]. All such routes are public.
#[must_use]
pub fn method_not_allowed(allow: &'static str) -> Response<http_body_util::Full<bytes::Bytes>> {
    let mut response = crate::text(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allow));
    cors::simple(response.headers_mut());
    response
}

/// The answer to [`Route::SourceRefused`]: encoders know 403 and nothing finer.
#[must_use]
pub fn source_refused() -> Response<http_body_util::Full<bytes::Bytes>> {
    crate::text(StatusCode::FORBIDDEN, "Reserved path")
}

/// Whether the method is one of an encoder.
#[must_use]
pub fn is_source(method: &Method) -> bool {
    method == Method::PUT || method.as_str() == "SOURCE"
}

/// Resolves empty, `.` and `..` segments and drops a slash at the end.
#[must_use]
pub fn normalise(path: &str) -> Cow<'_, str> {
    let clean = path.starts_with('/')
        && (path.len() == 1
            || path[1..]
                .split('/')
                .all(|segment| !matches!(segment, "" | "." | "..")));
    if clean {
        return Cow::Borrowed(path);
    }
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    Cow::Owned(format!("/{}", segments.join("/")))
}

/// The server's own paths.
fn own(method: &Method, path: &str) -> Option<Route> {
    use Route::{Page as OnPage, Reserved};
    match path {
        "/" => return Some(OnPage(Page::Landing)),
        "/favicon.ico" => return Some(Reserved(Registered::Favicon)),
        "/admin.cgi" => return Some(Reserved(Registered::AdminCgi)),
        "/events" => return Some(public_document(method, Registered::Events)),
        "/status-json.xsl" => return Some(public_document(method, Registered::Status)),
        "/status.xsl" => return Some(Reserved(Registered::StatusPage)),
        "/7.html" => return Some(public_document(method, Registered::SevenHtml)),
        "/stats" => return Some(public_document(method, Registered::ShoutcastStats)),
        "/metrics" => return Some(Reserved(Registered::Metrics)),
        "/healthz" => return Some(Reserved(Registered::Health)),
        "/readyz" => return Some(Reserved(Registered::Ready)),
        _ => {}
    }
    let (first, rest) = path
        .strip_prefix('/')?
        .split_once('/')
        .unwrap_or((&path[1..], ""));
    let page = |page| OnPage(if rest.is_empty() { page } else { Page::Missing });
    Some(match first {
        "login" => Reserved(Registered::Login),
        "logout" => Reserved(Registered::Logout),
        "setup" => Reserved(Registered::Setup),
        "auth" => Reserved(Registered::Auth),
        "admin" => admin(method, rest),
        "api" => Reserved(Registered::Api),
        "explore" => page(Page::Explore),
        "developers" => page(Page::Developers),
        "kiosk" => page(Page::Kiosk),
        "player" if rest.is_empty() => OnPage(Page::NoPlayer),
        "player" => playable(&path["/player".len()..]).map_or(OnPage(Page::Missing), Route::Player),
        "player-webrtc" if rest.is_empty() => OnPage(Page::NoWebRtcPlayer),
        "player-webrtc" => {
            playable(&path["/player-webrtc".len()..]).map_or(OnPage(Page::Missing), Route::WebRtcPlayer)
        }
        "embed" => playable(&path["/embed".len()..]).map_or(OnPage(Page::Missing), Route::Embed),
        "assets" => Reserved(Registered::Asset),
        "branding" => Reserved(Registered::Branding),
        "webrtc" => Reserved(Registered::WebRtc),
        ".well-known" => Reserved(Registered::WellKnown),
        _ => return None,
    })
}

fn public_document(method: &Method, registered: Registered) -> Route {
    if method == Method::OPTIONS {
        let kind = match registered {
            Registered::Events => Preflight::Events,
            _ => Preflight::Playback,
        };
        return Route::Options(Options {
            allow: ALLOW_READ,
            preflight: Some(kind),
        });
    }
    Route::Reserved(registered)
}

fn admin(method: &Method, rest: &str) -> Route {
    let command = match rest {
        "metadata" => IcecastCommand::Metadata,
        "stats" => IcecastCommand::Stats,
        "stats.xml" => IcecastCommand::StatsXml,
        "listclients" => IcecastCommand::ListClients,
        "listmounts" => IcecastCommand::ListMounts,
        "killclient" => IcecastCommand::KillClient,
        "killsource" => IcecastCommand::KillSource,
        "moveclients" => IcecastCommand::MoveClients,
        "fallbacks" => IcecastCommand::Fallbacks,
        "streamlist.txt" => IcecastCommand::StreamList,
        "!POKE" => IcecastCommand::Poke,
        _ if ADMIN_ACTIONS.contains(&rest)
            || rest == "golive/chunk"
            || rest.starts_with("player/")
            || rest.starts_with("autodj/") =>
        {
            return Route::Reserved(Registered::AdminAction);
        }
        _ => return Route::AdminShell,
    };
    if method == Method::OPTIONS {
        return Route::Options(Options {
            allow: ALLOW_ICECAST,
            preflight: None,
        });
    }
    Route::IcecastAdmin(command)
}

/// What is derived from a mount by an ending of the path.
fn derived(method: &Method, path: &str) -> Option<Route> {
    let found =
        |mount: &str, make: &dyn Fn(MountName) -> Route| playable(mount).map_or(Route::NotFound, make);
    let read = |mount: &str, make: &dyn Fn(MountName) -> Route| match *method {
        Method::GET | Method::HEAD => found(mount, make),
        Method::OPTIONS => Route::Options(Options {
            allow: ALLOW_READ,
            preflight: Some(Preflight::Playback),
        }),
        _ => Route::MethodNotAllowed(ALLOW_READ),
    };
    if let Some(mount) = path.strip_suffix("/master.m3u8") {
        return Some(read(mount, &Route::HlsMaster));
    }
    if let Some(mount) = path.strip_suffix("/playlist.m3u8") {
        return Some(read(mount, &Route::HlsMedia));
    }
    if path.ends_with(".ts")
        && let Some(at) = path.rfind("/segment-")
    {
        let segment = &path[at + 1..];
        if segment.contains('/') {
            return Some(Route::NotFound);
        }
        return Some(read(&path[..at], &|mount| Route::HlsSegment {
            mount,
            segment: segment.to_owned(),
        }));
    }
    if let Some(mount) = path.strip_suffix("/poster.jpg") {
        return Some(match *method {
            Method::GET | Method::HEAD | Method::POST | Method::PUT => found(mount, &Route::Poster),
            Method::OPTIONS => Route::Options(Options {
                allow: ALLOW_POSTER,
                preflight: Some(Preflight::Playback),
            }),
            _ => Route::MethodNotAllowed(ALLOW_POSTER),
        });
    }
    if let Some(route) = webrtc(method, path) {
        return Some(route);
    }
    let (mount, ending) = path.rsplit_once('.')?;
    let kind = match ending {
        "m3u" => PlaylistKind::M3u,
        "m3u8" => PlaylistKind::M3u8,
        "pls" => PlaylistKind::Pls,
        "xspf" => PlaylistKind::Xspf,
        _ => return None,
    };
    Some(read(mount, &|mount| Route::Playlist { mount, kind }))
}

/// WHEP (`/m/whep`) and WHIP (`/m/whip`) endpoints, and their sessions one segment deeper. Only `/m/whep` is a
/// reserved name, so with the methods of players and encoders the others are mounts.
fn webrtc(method: &Method, path: &str) -> Option<Route> {
    let (parent, last) = path.rsplit_once('/')?;
    let (mount, endpoint, session) = match last {
        "whep" | "whip" => (parent, last, None),
        session => {
            let (mount, endpoint) = parent
                .rsplit_once('/')
                .filter(|(_, end)| matches!(*end, "whep" | "whip"))?;
            (mount, endpoint, Some(session))
        }
    };
    let certain = endpoint == "whep" && session.is_none();
    let mount = match (*method == Method::GET || *method == Method::HEAD, playable(mount)) {
        (true, _) if certain => return Some(Route::MethodNotAllowed(ALLOW_WEBRTC)),
        (true, _) => return None,
        (false, None) => return Some(Route::NotFound),
        (false, Some(mount)) => mount,
    };
    let session = session.map(str::to_owned);
    Some(match *method {
        Method::POST | Method::PATCH | Method::DELETE if endpoint == "whep" => Route::Whep { mount, session },
        Method::POST | Method::PATCH | Method::DELETE => Route::Whip { mount, session },
        Method::OPTIONS => Route::Options(Options {
            allow: ALLOW_WEBRTC,
            preflight: Some(Preflight::WebRtc),
        }),
        _ => Route::MethodNotAllowed(ALLOW_WEBRTC),
    })
}

fn of_mount(method: &Method, path: &str) -> Route {
    match *method {
        Method::GET | Method::HEAD => playable(path).map_or(Route::NotFound, Route::Listener),
        Method::OPTIONS => Route::Options(Options {
            allow: ALLOW_MOUNT,
            preflight: Some(Preflight::Playback),
        }),
        _ => Route::MethodNotAllowed(ALLOW_MOUNT),
    }
}

/// A mount that can be played: a source's, or the video companion that the server made of one.
fn playable(path: &str) -> Option<MountName> {
    let video = path
        .strip_suffix("/video")
        .and_then(|mount| MountName::parse(mount).ok());
    match video {
        Some(_) => MountName::parse_internal(path).ok(),
        None => MountName::parse(path).ok(),
    }
}

#[cfg(test)]
mod tests;
