//! Pages through the endpoint that serves them, over mounts without sockets.

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use auth::{Auth, Presented, SetupToken, SignIn};
use config::{Role, User};
use fanout::{Admission, Home, Leave, Presence};
use front::{Target, framing::Framing, head::Version};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use media::{Format, Frames, Unit};
use mount::{Claim, Delivery, Mounts, Offer, Owner, Protocol, Settings, Station, Title};
use tokio::runtime::Runtime;

use super::*;
use crate::{Administer, Parts, Refusal, Signin};

struct Nowhere;

impl Delivery for Nowhere {
    fn admit(&self, _: Admission) {}
    fn reroute(&self, _: &Arc<Home>) {}
    fn rehome(&self, _: u64, _: &Arc<Home>, _: &Arc<String>) {}
    fn close(&self, _: Box<dyn Fn(&Presence) -> bool + Send + Sync>, _: Leave) {}
}

type Change<'a> = Box<dyn FnOnce(&mut Config) -> Result<(), Refusal> + 'a>;

impl Administer for Nowhere {
    fn change(&self, _: Change<'_>) -> Result<(), Refusal> {
        Err(Refusal::failed("nothing is saved"))
    }

    fn reload(&self) -> tokio::sync::oneshot::Receiver<Result<Vec<String>, String>> {
        tokio::sync::oneshot::channel().1
    }

    fn hot_swap(&self, _: Option<Duration>) -> Result<(), String> {
        Err("not in this test".to_owned())
    }
}

struct World {
    api: Api,
    mounts: Arc<Mounts>,
    /// Webhooks have tasks, though there are none.
    runtime: Runtime,
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn name(text: &str) -> MountName {
    MountName::parse(text).unwrap()
}

impl World {
    fn new(change: impl FnOnce(&mut Config, &mut Settings)) -> Self {
        let mut config = Config::default();
        let mut settings = Settings::default();
        change(&mut config, &mut settings);
        let config = Arc::new(config);
        let mounts = Mounts::new(Arc::new(Nowhere), settings, Instant::now());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _inside = runtime.enter();
        let client = outbound::Client::new(outbound::Policy::new(&[]), "test".parse().unwrap());
        let facts = webhook::Facts {
            hostname: String::new(),
            base_url: String::new(),
            version: String::new(),
        };
        let signin = Signin {
            passkeys: signin::Passkeys::new(signin::RelyingParty::from_config(&config)),
            oidc: signin::Oidc::new(client.clone()),
            mailer: signin::Mailer::default(),
        };
        let api = Api::new(Parts {
            config: Arc::new(ArcSwap::new(Arc::clone(&config))),
            mounts: Arc::clone(&mounts),
            auth: Arc::new(Auth::start(config).unwrap()),
            began: Timestamp::UNIX_EPOCH,
            setup: Arc::new(SetupToken::none()),
            administer: Arc::new(Nowhere),
            ready: Box::new(|| Ok(())),
            runtime: Box::new(crate::Runtime::default),
            store: None,
            geo: Arc::default(),
            webhooks: webhook::Webhooks::start(client, facts, Vec::new(), Arc::new(()), Vec::new()),
            relays: relay::Board::default(),
            signin,
        });
        drop(_inside);
        Self { api, mounts, runtime }
    }

    /// Visible live mounts, and an account.
    fn live(mounts: &[&str]) -> (Self, Vec<Claim>) {
        let world = Self::new(|config, settings| {
            settings.visible = mounts.iter().map(|mount| name(mount)).collect();
            config
                .users
                .insert("ann".into(), User::new("ann".into(), String::new(), Role::Dj));
        });
        let claims = mounts
            .iter()
            .map(|mount| world.publish(mount, Station::default(), ""))
            .collect();
        (world, claims)
    }

    fn publish(&self, mount: &str, station: Station, title: &str) -> Claim {
        let owner = Owner {
            protocol: Protocol::Icecast,
            label: "192.0.2.1".into(),
            ip: Some(IpAddr::from([192, 0, 2, 1])),
            user_agent: "<b>encoder".into(),
            account: None,
        };
        let offer = Offer {
            owner,
            station,
            content_type: "audio/mpeg".into(),
            format: Format::Mpeg,
        };
        let now = Instant::now();
        let mut claim = self.mounts.claim(&name(mount), offer, now).unwrap();
        claim.push(
            Unit::Frames(Frames {
                bytes: vec![0xff; 100].into(),
                sync: true,
                duration: Duration::from_millis(26),
            }),
            now,
        );
        claim.stream().set_title(Title::whole(title));
        claim
    }

    fn ask(&self, method: &str, target: &str, accept: &str) -> Answer {
        self.ask_with(method, target, &[("accept", accept)])
    }

    fn ask_with(&self, method: &str, target: &str, fields: &[(&'static str, &str)]) -> Answer {
        let mut headers = http::HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, value.parse().unwrap());
        }
        let request = Request {
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            version: Version::Http11,
            target: Target::parse(target.as_bytes()).unwrap(),
            headers,
            framing: Framing::from_headers(&http::HeaderMap::new()).unwrap(),
            peer: ([192, 0, 2, 9], 5).into(),
            local: ([192, 0, 2, 1], 8000).into(),
            client: IpAddr::from([192, 0, 2, 9]),
            via_trusted_proxy: false,
            scheme_https: false,
            host: "radio.example:8000".into(),
            id: 1,
            request_id: front::RequestId::random(),
        };
        let reply = match request.route() {
            Route::AdminShell => self.runtime.block_on(self.api.administration(&request)),
            route => self.api.page(route, &request),
        };
        let (parts, body) = reply.into_parts();
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(Ok(body)) = std::pin::pin!(body.collect()).poll(&mut cx) else {
            panic!("a full body is there at once");
        };
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        }
    }

    fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, "text/html")
    }

    /// The cookie of somebody who signed in.
    fn sign_in(&self, user: &str) -> String {
        let presented = Presented {
            ip: IpAddr::from([192, 0, 2, 9]),
            authorization: None,
            sid: None,
            user_agent: "",
        };
        let begun = self
            .api
            .parts
            .auth
            .start_session(user, SignIn::Password, &presented)
            .unwrap();
        format!("sid={}", begun.sid)
    }
}

#[test]
fn addresses_answer_as_promised() {
    let world = World::new(|_, settings| {
        settings.known.insert(name("/later"));
        settings.disabled.insert(name("/shut"));
        settings.fallbacks.insert(name("/later2"), name("/live"));
    });
    let _claim = world.publish("/live", Station::default(), "");
    for (method, target, status, location) in [
        ("GET", "/", 200, ""),
        ("HEAD", "/", 200, ""),
        ("POST", "/", 405, ""),
        ("DELETE", "/", 405, ""),
        ("GET", "/explore", 200, ""),
        ("POST", "/explore", 405, ""),
        ("GET", "/explore/x", 404, ""),
        ("GET", "/player", 307, "/"),
        ("GET", "/player/", 307, "/"),
        ("GET", "/player/live", 200, ""),
        ("HEAD", "/player/live", 200, ""),
        ("POST", "/player/live", 405, ""),
        ("GET", "/player//live?x=1", 301, "/player/live?x=1"),
        ("GET", "/player/later", 404, ""),
        ("GET", "/player/later2", 200, ""),
        ("GET", "/player/shut", 404, ""),
        ("GET", "/player/never", 404, ""),
        ("GET", "/player/live/video", 404, ""),
        ("GET", "/player/live/_pcm", 404, ""),
        ("GET", "/embed/live", 200, ""),
        ("GET", "/embed/never", 404, ""),
        (
            "GET",
            "/player-webrtc/a%20b%3F",
            301,
            "/player/a%20b%3F?mode=webrtc",
        ),
        ("GET", "/player-webrtc/", 303, "/explore"),
        ("GET", "/status.xsl", 200, ""),
        ("POST", "/status.xsl", 405, ""),
        ("GET", "/developers", 404, ""),
        ("GET", "/kiosk", 404, ""),
        ("GET", "/favicon.ico", 200, ""),
        ("POST", "/favicon.ico", 405, ""),
        ("GET", "/assets/x.css", 404, ""),
        ("GET", "/admin", 303, "/login"),
        ("GET", "/admin/", 303, "/login?next=%2Fadmin%2F"),
        (
            "HEAD",
            "/admin/streams?a=%20b",
            303,
            "/login?next=%2Fadmin%2Fstreams%3Fa%3D%2520b",
        ),
        ("POST", "/admin", 405, ""),
        (
            "GET",
            "/admin/autodj/studio?mount=/a",
            301,
            "/admin/studio?mount=/a",
        ),
        ("GET", "/admin/nothing", 404, ""),
        ("GET", "/admin/streams/x", 404, ""),
        ("GET", "/login/x", 404, ""),
        ("GET", "/setup/x", 404, ""),
        ("GET", "/auth/", 404, ""),
        ("GET", "/.well-known/x", 404, ""),
        ("GET", "/events", 404, ""),
        ("GET", "/metrics", 404, ""),
        ("GET", "/branding/logo", 404, ""),
        ("GET", "/live/playlist.m3u8", 404, ""),
    ] {
        let answer = world.ask(method, target, "text/html");
        assert_eq!(
            (answer.status, answer.header("location")),
            (status, location),
            "{method} {target}"
        );
        assert_eq!(
            answer.header("x-content-type-options"),
            "nosniff",
            "{method} {target}"
        );
        let allow = if status == 405 { "GET, HEAD" } else { "" };
        assert_eq!(answer.header("allow"), allow, "{method} {target}");
    }
}

#[test]
fn pages_allow_only_what_they_need() {
    let (world, _claims) = World::live(&["/live"]);
    let cookie = world.sign_in("ann");
    for (target, ancestors, frame, cache, referrer) in [
        (
            "/",
            "'none'",
            "DENY",
            "no-cache",
            "strict-origin-when-cross-origin",
        ),
        (
            "/explore",
            "'none'",
            "DENY",
            "no-cache",
            "strict-origin-when-cross-origin",
        ),
        (
            "/player/live",
            "'none'",
            "DENY",
            "no-cache",
            "strict-origin-when-cross-origin",
        ),
        (
            "/player/none",
            "'none'",
            "DENY",
            "no-cache",
            "strict-origin-when-cross-origin",
        ),
        (
            "/embed/live",
            "*",
            "",
            "no-cache",
            "strict-origin-when-cross-origin",
        ),
        (
            "/embed/none",
            "*",
            "",
            "no-cache",
            "strict-origin-when-cross-origin",
        ),
        ("/admin", "'none'", "DENY", "no-store", "no-referrer"),
    ] {
        let answer = world.ask_with("GET", target, &[("accept", "text/html"), ("cookie", &cookie)]);
        let policy = answer.header("content-security-policy");
        for directive in [
            "default-src 'self'",
            "script-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.split("; ").any(|it| it == directive), "{target}: {policy}");
        }
        assert!(
            policy.ends_with(&format!("frame-ancestors {ancestors}")),
            "{target}: {policy}"
        );
        let headers = ["x-frame-options", "cache-control", "referrer-policy"].map(|name| answer.header(name));
        assert_eq!(headers, [frame, cache, referrer], "{target}");
        assert_eq!(
            answer.header("content-type"),
            "text/html; charset=utf-8",
            "{target}"
        );
        // The policy forbids them, so a page that had one would be broken.
        for forbidden in [" style=", " onclick=", "<script>"] {
            assert!(!answer.body.contains(forbidden), "{target}: {forbidden}");
        }
        assert_eq!(answer.body.matches("<style>").count(), 1, "{target}");
        let style = answer
            .body
            .split("<style>")
            .nth(1)
            .and_then(|rest| rest.split("</style>").next());
        assert_eq!(style, Some(&*Theme::new("#ff6600").css), "{target}");
        assert!(policy.contains(&Theme::new("#ff6600").hash), "{target}");
    }
}

#[test]
fn what_strangers_write_is_text() {
    let evil = "</title><script>alert(1)</script>\"'><img src=x onerror=y>";
    let world = World::new(|config, settings| {
        config.page_title = evil.into();
        config.page_subtitle = evil.into();
        config.landing_markdown = evil.into();
        config.accent_color = "red;}</style><script>".into();
        settings.visible.insert(name("/\"><script>x"));
    });
    let station = Station {
        name: Some(evil.into()),
        description: Some(evil.into()),
        genre: Some(evil.into()),
        url: Some("javascript:alert(1)".into()),
        bitrate: Some(evil.into()),
        ..Station::default()
    };
    let _claim = world.publish("/\"><script>x", station, evil);
    let mount = "%22%3E%3Cscript%3Ex";
    for target in [
        "/".to_owned(),
        "/explore".to_owned(),
        format!("/explore?q={mount}"),
        "/explore?q=%3Cscript%3Ey".to_owned(),
        format!("/player/{mount}"),
        format!("/embed/{mount}"),
        "/embed/%3Cscript%3Enone".to_owned(),
    ] {
        let body = world.get(&target).body;
        assert_eq!(body.matches("<script").count(), 1, "{target}");
        assert!(body.contains("<script src=\"/assets/site."), "{target}");
        for forbidden in ["<img", "javascript:", "\"><script"] {
            assert!(!body.contains(forbidden), "{target}: {forbidden}");
        }
    }
    // What is pasted elsewhere is HTML there, so it is escaped twice here.
    let player = world.get(&format!("/player/{mount}")).body;
    assert!(player.contains("title=&#34;&#38;#60;/title&#38;#62;"), "{player}");
}

#[test]
fn the_list_shows_what_is_visible() {
    let world = World::new(|config, settings| {
        config.page_title = "Radio".into();
        settings.visible.extend(["/a", "/b"].map(name));
    });
    assert!(world.get("/").body.contains("Nothing is on air right now"));
    let station = Station {
        name: Some("First FM".into()),
        genre: Some("Jazz".into()),
        ..Station::default()
    };
    let _a = world.publish("/a", station, "Artist - Song");
    let _b = world.publish("/b", Station::default(), "");
    let _c = world.publish("/c", Station::default(), "");
    for (target, shown, hidden) in [
        (
            "/",
            &[
                "First FM",
                "Artist - Song",
                "Jazz",
                "data-mount=\"/b\"",
                "/a.m3u",
                "/player/a",
            ][..],
            &["/c", "Nothing is"][..],
        ),
        ("/explore", &["First FM", "data-mount=\"/b\""], &["/c"]),
        (
            "/explore?q=song",
            &["First FM", "Found on air: 1"],
            &["data-mount=\"/b\""],
        ),
        (
            "/explore?q=nowhere",
            &["Nothing on air matches", "nowhere"],
            &["First FM"],
        ),
        (
            "/player/c",
            &["data-mount=\"/c\"", "http://radio.example:8000/c"],
            &[],
        ),
    ] {
        let body = world.get(target).body;
        for text in shown {
            assert!(body.contains(text), "{target} shows {text}");
        }
        for text in hidden {
            assert!(!body.contains(text), "{target} does not show {text}");
        }
    }
}

#[test]
fn a_stand_in_is_named() {
    let world = World::new(|_, settings| _ = settings.fallbacks.insert(name("/a"), name("/b")));
    let _claim = world.publish(
        "/b",
        Station {
            name: Some("B".into()),
            ..Station::default()
        },
        "",
    );
    let body = world.get("/player/a").body;
    assert!(
        body.contains("src=\"/a\"") && body.contains("/a is off air; /b is playing in its place"),
        "{body}"
    );
}

#[test]
fn the_administration_is_for_those_who_are_signed_in() {
    let evil = "</script><script>alert(1)</script>";
    let world = World::new(|config, _| {
        config.page_title = evil.into();
        config.landing_markdown = evil.into();
        let mut user = User::new("a<b>".into(), String::new(), Role::Dj);
        user.mounts.insert(name("/\"><script>x"), String::new());
        config.users.insert("a<b>".into(), user);
    });
    let cookie = world.sign_in("a<b>");
    for (target, fields, status, content_type, text) in [
        (
            "/admin",
            &[("accept", "text/html"), ("cookie", &*cookie)][..],
            200,
            "text/html; charset=utf-8",
            "a&#60;b&#62;",
        ),
        (
            "/admin/users",
            &[("cookie", &*cookie)],
            200,
            "text/html; charset=utf-8",
            "\\u003c/script\\u003e",
        ),
        (
            "/admin",
            &[("accept", "application/json")],
            401,
            "application/json",
            "{\"error\":\"Unauthorized\"}",
        ),
        (
            "/admin",
            &[("accept", "*/*")],
            303,
            "text/plain; charset=utf-8",
            "",
        ),
        (
            "/admin",
            &[("cookie", "sid=x")],
            303,
            "text/plain; charset=utf-8",
            "",
        ),
        (
            "/admin",
            &[("authorization", "Bearer x"), ("cookie", &*cookie)],
            303,
            "text/plain; charset=utf-8",
            "",
        ),
    ] {
        let answer = world.ask_with("GET", target, fields);
        let seen = (
            answer.status,
            answer.header("content-type"),
            answer.header("cache-control"),
        );
        assert_eq!(seen, (status, content_type, "no-store"), "{target} {fields:?}");
        assert!(answer.body.contains(text), "{target} {fields:?}: {}", answer.body);
        let scripts = if status == 200 { 3 } else { 0 };
        assert_eq!(
            answer.body.matches("<script").count(),
            scripts,
            "{target} {fields:?}: {}",
            answer.body
        );
    }
    let body = world.ask_with("GET", "/admin", &[("cookie", &cookie)]).body;
    let data = body
        .split("id=\"page-data\">")
        .nth(1)
        .and_then(|rest| rest.split("</script>").next());
    let data: serde_json::Value = serde_json::from_str(data.unwrap()).unwrap();
    assert_eq!(
        data["user"],
        serde_json::json!({ "username": "a<b>", "role": "dj" })
    );
    assert_eq!(data["mounts"], serde_json::json!(["/\"><script>x"]));
    let csrf = data["csrfToken"].as_str().unwrap();
    assert_eq!(csrf.len(), 64);
    assert!(body.contains(&format!("<meta name=\"csrf-token\" content=\"{csrf}\">")));
}

#[test]
fn encoders_are_told_where_to_go() {
    for (base, host, port) in [
        ("http://radio.example:8000", "radio.example", "8000"),
        ("http://radio.example", "radio.example", "80"),
        ("https://radio.example", "radio.example", "443"),
        ("http://[2001:db8::1]:8000", "[2001:db8::1]", "8000"),
        ("http://[2001:db8::1]", "[2001:db8::1]", "80"),
    ] {
        let publishing = Publishing::new(base, false);
        assert_eq!((&*publishing.host, &*publishing.port), (host, port), "{base}");
    }
}
