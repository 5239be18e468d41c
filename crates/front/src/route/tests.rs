use super::*;
use proptest::prelude::*;

fn at(method: &str, path: &str) -> Route {
    route(&Method::from_bytes(method.as_bytes()).expect("a method"), path)
}

fn mount(name: &str) -> MountName {
    MountName::parse_internal(name).expect("a mount name")
}

#[test]
fn sources_publish_to_mounts_and_to_nothing_else() {
    for method in ["SOURCE", "PUT"] {
        for path in [
            "/live",
            "/playerfm",
            "/eventsradio",
            "/adminradio",
            "/api2",
            "/a/b",
            "/live.mp3",
            "/x/whip",
            "/Ünï",
        ] {
            assert_eq!(at(method, path), Route::Source(mount(path)), "{method} {path}");
        }
        for path in [
            "/",
            "/admin",
            "/admin/",
            "/admin/x",
            "/admin/metadata",
            "/admin.cgi",
            "/login",
            "/setup/complete",
            "/player",
            "/player/x",
            "/player/x.m3u",
            "/player-webrtc/x",
            "/embed/x",
            "/webrtc/offer",
            "/events",
            "/status-json.xsl",
            "/status.xsl",
            "/7.html",
            "/stats",
            "/metrics",
            "/healthz",
            "/readyz",
            "/assets/x.js",
            "/branding/logo",
            "/favicon.ico",
            "/.well-known/acme-challenge/x",
            "/explore",
            "/developers",
            "/kiosk",
            "/x.m3u",
            "/x.m3u8",
            "/x.pls",
            "/x.xspf",
            "/x/video",
            "/x/_pcm",
            "/x/whep",
            "/x/playlist.m3u8",
            "/x/master.m3u8",
            "/x/segment-1.ts",
        ] {
            assert_eq!(
                at(method, path),
                Route::SourceRefused(BadMountName::Reserved),
                "{method} {path}"
            );
        }
        let long = format!("/{}", "a".repeat(255));
        for path in [
            "/a//b",
            "//admin",
            "/a/",
            "/./a",
            "/a/../b",
            "/a/..",
            "/a\\b",
            "/a\u{7}",
            "/a\0",
            "/\u{FFFD}",
            &long,
        ] {
            assert!(
                matches!(at(method, path), Route::SourceRefused(BadMountName::Illegal(_))),
                "{method} {path}: {:?}",
                at(method, path)
            );
        }
    }
    assert_eq!(
        at("SOURCE", "/x/poster.jpg"),
        Route::SourceRefused(BadMountName::Reserved)
    );
    assert_eq!(
        at("SOURCE", "/api/streams"),
        Route::SourceRefused(BadMountName::Reserved)
    );
}

#[test]
fn put_reaches_its_other_owners() {
    assert_eq!(at("PUT", "/api/streams/live"), Route::Reserved(Registered::Api));
    assert_eq!(at("PUT", "/x/poster.jpg"), Route::Poster(mount("/x")));
}

#[test]
fn every_kind_of_path_finds_its_route() {
    use IcecastCommand as Command;
    use PlaylistKind::{M3u, M3u8, Pls, Xspf};
    let whep = |session: Option<&str>| Route::Whep {
        mount: mount("/x"),
        session: session.map(str::to_owned),
    };
    let playlist = |name, kind| Route::Playlist {
        mount: mount(name),
        kind,
    };
    let segment = |name, segment: &str| Route::HlsSegment {
        mount: mount(name),
        segment: segment.to_owned(),
    };
    let cases = [
        ("GET", "/", Route::Page(Page::Landing)),
        ("GET", "//", Route::Page(Page::Landing)),
        ("GET", "/explore", Route::Page(Page::Explore)),
        ("GET", "/explore/", Route::Page(Page::Explore)),
        ("GET", "/explore/x", Route::Page(Page::Missing)),
        ("GET", "/developers", Route::Page(Page::Developers)),
        ("GET", "/kiosk", Route::Page(Page::Kiosk)),
        ("GET", "/player/", Route::Page(Page::NoPlayer)),
        ("GET", "/player", Route::Page(Page::NoPlayer)),
        ("GET", "/player-webrtc/", Route::Page(Page::NoWebRtcPlayer)),
        ("GET", "/embed", Route::Page(Page::Missing)),
        ("GET", "/player/live", Route::Player(mount("/live"))),
        ("GET", "/player//live", Route::Player(mount("/live"))),
        ("GET", "/player/a/b", Route::Player(mount("/a/b"))),
        ("GET", "/player/admin", Route::Page(Page::Missing)),
        ("GET", "/player-webrtc/live", Route::WebRtcPlayer(mount("/live"))),
        ("GET", "/embed/live", Route::Embed(mount("/live"))),
        ("GET", "/playerfm", Route::Listener(mount("/playerfm"))),
        ("GET", "/login", Route::Reserved(Registered::Login)),
        ("POST", "/login", Route::Reserved(Registered::Login)),
        ("GET", "/logout", Route::Reserved(Registered::Logout)),
        ("POST", "/setup/complete", Route::Reserved(Registered::Setup)),
        ("GET", "/auth/google/callback", Route::Reserved(Registered::Auth)),
        ("DELETE", "/api/x", Route::Reserved(Registered::Api)),
        ("OPTIONS", "/api/x", Route::Reserved(Registered::Api)),
        ("POST", "/webrtc/offer", Route::Reserved(Registered::WebRtc)),
        ("GET", "/events", Route::Reserved(Registered::Events)),
        ("GET", "/events/x", Route::Listener(mount("/events/x"))),
        ("GET", "/status-json.xsl", Route::Reserved(Registered::Status)),
        ("GET", "/status.xsl", Route::Reserved(Registered::StatusPage)),
        ("GET", "/7.html", Route::Reserved(Registered::SevenHtml)),
        ("GET", "/stats", Route::Reserved(Registered::ShoutcastStats)),
        ("GET", "/stats/x", Route::Listener(mount("/stats/x"))),
        ("GET", "/metrics", Route::Reserved(Registered::Metrics)),
        ("GET", "/healthz", Route::Reserved(Registered::Health)),
        ("GET", "/readyz", Route::Reserved(Registered::Ready)),
        ("GET", "/assets/app.js", Route::Reserved(Registered::Asset)),
        ("GET", "/branding/logo", Route::Reserved(Registered::Branding)),
        ("GET", "/favicon.ico", Route::Reserved(Registered::Favicon)),
        ("GET", "/.well-known/x", Route::Reserved(Registered::WellKnown)),
        ("GET", "/admin.cgi", Route::Reserved(Registered::AdminCgi)),
        ("GET", "/admin", Route::AdminShell),
        ("GET", "/admin/", Route::AdminShell),
        ("GET", "/admin/streams", Route::AdminShell),
        ("GET", "/admin/golive", Route::AdminShell),
        ("GET", "/admin/playlist.m3u8", Route::AdminShell),
        (
            "POST",
            "/admin/golive/chunk",
            Route::Reserved(Registered::AdminAction),
        ),
        ("POST", "/admin/kick", Route::Reserved(Registered::AdminAction)),
        ("GET", "/admin/events", Route::Reserved(Registered::AdminAction)),
        (
            "POST",
            "/admin/autodj/skip",
            Route::Reserved(Registered::AdminAction),
        ),
        ("GET", "/admin/autodj", Route::AdminShell),
        ("GET", "/admin/metadata", Route::IcecastAdmin(Command::Metadata)),
        ("POST", "/admin/metadata", Route::IcecastAdmin(Command::Metadata)),
        ("GET", "/admin/stats", Route::IcecastAdmin(Command::Stats)),
        ("GET", "/admin/stats.xml", Route::IcecastAdmin(Command::StatsXml)),
        (
            "GET",
            "/admin/listclients",
            Route::IcecastAdmin(Command::ListClients),
        ),
        (
            "GET",
            "/admin/streamlist.txt",
            Route::IcecastAdmin(Command::StreamList),
        ),
        ("GET", "/admin/!POKE", Route::IcecastAdmin(Command::Poke)),
        ("GET", "/live/master.m3u8", Route::HlsMaster(mount("/live"))),
        ("HEAD", "/live/master.m3u8", Route::HlsMaster(mount("/live"))),
        ("GET", "/a/b/playlist.m3u8", Route::HlsMedia(mount("/a/b"))),
        (
            "GET",
            "/live/video/playlist.m3u8",
            Route::HlsMedia(mount("/live/video")),
        ),
        ("POST", "/live/playlist.m3u8", Route::MethodNotAllowed(ALLOW_READ)),
        ("GET", "/playlist.m3u8", Route::NotFound),
        ("GET", "/live/segment-12.ts", segment("/live", "segment-12.ts")),
        (
            "GET",
            "/segment-a/segment-12.ts",
            segment("/segment-a", "segment-12.ts"),
        ),
        ("GET", "/segment-1.ts", Route::NotFound),
        ("GET", "/a/segment-1/x.ts", Route::NotFound),
        ("GET", "/a.ts", Route::Listener(mount("/a.ts"))),
        ("GET", "/x/poster.jpg", Route::Poster(mount("/x"))),
        ("POST", "/x/poster.jpg", Route::Poster(mount("/x"))),
        ("DELETE", "/x/poster.jpg", Route::MethodNotAllowed(ALLOW_POSTER)),
        ("POST", "/x/whep", whep(None)),
        ("DELETE", "/x/whep/s1", whep(Some("s1"))),
        ("PATCH", "/x/whep/s1", whep(Some("s1"))),
        ("GET", "/x/whep", Route::MethodNotAllowed(ALLOW_WEBRTC)),
        ("GET", "/x/whep/s1", Route::Listener(mount("/x/whep/s1"))),
        ("POST", "/whep", Route::NotFound),
        (
            "POST",
            "/x/whip",
            Route::Whip {
                mount: mount("/x"),
                session: None,
            },
        ),
        (
            "DELETE",
            "/x/whip/s",
            Route::Whip {
                mount: mount("/x"),
                session: Some("s".to_owned()),
            },
        ),
        ("GET", "/x/whip", Route::Listener(mount("/x/whip"))),
        ("GET", "/x.m3u", playlist("/x", M3u)),
        ("GET", "/x.m3u8", playlist("/x", M3u8)),
        ("GET", "/x.mp3.pls", playlist("/x.mp3", Pls)),
        ("HEAD", "/x.xspf", playlist("/x", Xspf)),
        ("GET", "/.m3u", Route::NotFound),
        ("GET", "/x/_pcm.m3u", Route::NotFound),
        ("GET", "/live", Route::Listener(mount("/live"))),
        ("HEAD", "/live", Route::Listener(mount("/live"))),
        ("GET", "/live/", Route::Listener(mount("/live"))),
        ("GET", "//live", Route::Listener(mount("/live"))),
        ("GET", "/./a/../live", Route::Listener(mount("/live"))),
        ("GET", "/../../live", Route::Listener(mount("/live"))),
        ("GET", "/live/..", Route::Page(Page::Landing)),
        (
            "GET",
            "/x/../admin/metadata",
            Route::IcecastAdmin(Command::Metadata),
        ),
        ("GET", "/x/video", Route::Listener(mount("/x/video"))),
        ("GET", "/x/_pcm", Route::NotFound),
        ("GET", "/x/_pcm/video", Route::NotFound),
        ("GET", "/admin/video", Route::AdminShell),
        ("GET", "/a\\b", Route::NotFound),
        ("GET", "/a\0", Route::NotFound),
        ("DELETE", "/live", Route::MethodNotAllowed(ALLOW_MOUNT)),
        ("POST", "/live", Route::MethodNotAllowed(ALLOW_MOUNT)),
        ("get", "/live", Route::MethodNotAllowed(ALLOW_MOUNT)),
        ("GET", "*", Route::NotFound),
        ("SOURCE", "*", Route::NotFound),
    ];
    for (method, path, expected) in cases {
        assert_eq!(at(method, path), expected, "{method} {path}");
    }
}

#[test]
fn options_are_answered_with_what_is_allowed() {
    for (path, allow, preflight) in [
        ("*", ALLOW_MOUNT, Some(Preflight::Playback)),
        ("/live", ALLOW_MOUNT, Some(Preflight::Playback)),
        ("/a\\b", ALLOW_MOUNT, Some(Preflight::Playback)),
        ("/live/playlist.m3u8", ALLOW_READ, Some(Preflight::Playback)),
        ("/live.pls", ALLOW_READ, Some(Preflight::Playback)),
        ("/live/poster.jpg", ALLOW_POSTER, Some(Preflight::Playback)),
        ("/live/whep", ALLOW_WEBRTC, Some(Preflight::WebRtc)),
        ("/live/whep/s", ALLOW_WEBRTC, Some(Preflight::WebRtc)),
        ("/events", ALLOW_READ, Some(Preflight::Events)),
        ("/status-json.xsl", ALLOW_READ, Some(Preflight::Playback)),
        ("/7.html", ALLOW_READ, Some(Preflight::Playback)),
        ("/stats", ALLOW_READ, Some(Preflight::Playback)),
        ("/admin/metadata", ALLOW_ICECAST, None),
    ] {
        assert_eq!(
            at("OPTIONS", path),
            Route::Options(Options { allow, preflight }),
            "{path}"
        );
        let response = options(Options { allow, preflight });
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(response.headers()[ALLOW], allow);
        assert_eq!(
            response.headers().contains_key("access-control-allow-origin"),
            preflight.is_some()
        );
        assert_eq!(
            response.headers().contains_key(ACCEPT_ENCODING),
            allow == ALLOW_MOUNT
        );
    }
    assert!(ALLOW_ICECAST.contains("POST"));
}

#[test]
fn refused_methods_name_the_allowed_ones_to_any_origin() {
    let response = method_not_allowed(ALLOW_MOUNT);
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()[ALLOW], ALLOW_MOUNT);
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
}

proptest! {
    #[test]
    fn every_path_has_a_route_and_sloppiness_does_not_change_it(
        segments in proptest::collection::vec(
            prop_oneof![
                Just("admin".to_owned()), Just("whep".to_owned()), Just("video".to_owned()), Just("x.m3u".to_owned()),
                Just("segment-1.ts".to_owned()), Just("player".to_owned()), "[a-z.]{1,3}", "\\PC{0,3}",
            ],
            0..5,
        ),
        method in prop_oneof![Just("GET"), Just("SOURCE"), Just("PUT"), Just("OPTIONS"), Just("POST")],
    ) {
        let path = format!("/{}", segments.join("/"));
        let route = at(method, &path);
        if method == "GET" {
            prop_assert_eq!(&route, &at("GET", &format!("/.{}//", path)));
        } else if let Route::Source(name) = &route {
            // What can be published can be heard, at exactly the same path.
            prop_assert_eq!(at("GET", &path), Route::Listener(name.clone()));
        }
    }
}
