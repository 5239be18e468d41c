//! The pages where people sign in, set the server up, and find themselves signed in.
//!
//! Contract: what a form brought in comes back escaped, a password never; and nobody but the person who asks gets to
//! see these pages or learns their addresses.

use std::{collections::BTreeSet, time::Instant};

use askama::Template;
use auth::{Action, Caller, Identified, Presented};
use config::{Config, MountName};
use front::Request;
use http::{HeaderValue, Method, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    Visit,
    reply::{Kind, html, method_not_allowed, redirect},
    site,
    views::{Publishing, Site, render},
};
use crate::{
    Api, Parts, Reply,
    endpoint::{Call, Refusal, cookie, wants_json},
};

/// Where browsers go that want nowhere else.
const HOME: &str = "/admin";
/// Sections of the administration, each an address of the same page.
const SECTIONS: [&str; 13] = [
    "streams",
    "autodj",
    "studio",
    "golive",
    "relays",
    "transcoders",
    "users",
    "pending",
    "security",
    "tokens",
    "webhooks",
    "settings",
    "account",
];

/// What browsers escape in a part of a path, and more.
const SEGMENT: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// What the login page begins with.
#[derive(Debug, Default)]
pub(crate) struct LoginForm<'a> {
    /// Where to go afterwards; a path of this server.
    pub(crate) next: &'a str,
    /// The name that was typed.
    pub(crate) user: &'a str,
    /// Why it did not work.
    pub(crate) problem: &'a str,
    /// Something else that is to be known.
    pub(crate) notice: &'a str,
}

/// The login page.
pub(crate) fn login(call: &Call, status: StatusCode, form: &LoginForm<'_>) -> Reply {
    let config = call.config();
    let site = site(&config, &call.request);
    let page = Login {
        site: &site,
        next: form.next,
        user: form.user,
        problem: form.problem,
        notice: form.notice,
        passkeys: call.parts.signin.passkeys.is_configured(),
        providers: &providers(&config, form.next),
    };
    html(status, &site, Kind::Private, render(&page))
}

/// A question before somebody is signed out who came from elsewhere.
pub(crate) fn logout(call: &Call, user: &str, csrf: &str) -> Reply {
    let site = site(&call.config(), &call.request);
    let page = Logout {
        site: &site,
        user,
        csrf,
    };
    html(StatusCode::OK, &site, Kind::Private, render(&page))
}

/// What came of a sign-in elsewhere that was none.
pub(crate) fn access(call: &Call, status: StatusCode, heading: &str, text: &str) -> Reply {
    let site = site(&call.config(), &call.request);
    let page = Access {
        site: &site,
        heading,
        text,
    };
    html(status, &site, Kind::Private, render(&page))
}

/// What the setup page begins with.
#[derive(Debug, Default)]
pub(crate) struct SetupForm<'a> {
    /// The token that was typed, where it was right.
    pub(crate) token: &'a str,
    /// The name that was typed.
    pub(crate) user: &'a str,
    /// Why it did not work.
    pub(crate) problem: &'a str,
}

/// The setup page.
pub(crate) fn setup(call: &Call, status: StatusCode, form: &SetupForm<'_>) -> Reply {
    let site = site(&call.config(), &call.request);
    let page = Setup {
        publishing: &Publishing::new(&site.base, true),
        site: &site,
        token: form.token,
        user: form.user,
        problem: form.problem,
    };
    html(status, &site, Kind::Private, render(&page))
}

/// The end of the setup, with the passwords that were made.
pub(crate) fn setup_done(call: &Call, user: &str, default_source: Option<&str>, live: Option<&str>) -> Reply {
    let site = site(&call.config(), &call.request);
    let password = |id, label, text: Option<&str>| {
        text.map(|text| Password {
            id,
            label,
            text: text.to_owned(),
        })
    };
    let page = SetupDone {
        publishing: &Publishing::new(&site.base, false),
        site: &site,
        user,
        passwords: &[
            password("live-password", "Password of the mount /live", live),
            password(
                "source-password",
                "Password of all mounts without one of their own",
                default_source,
            ),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>(),
        passkeys: call.parts.signin.passkeys.is_configured(),
    };
    html(StatusCode::OK, &site, Kind::Private, render(&page))
}

/// 404 as a page.
pub(crate) fn missing(call: &Call) -> Reply {
    super::missing_page(&call.config(), &call.request)
}

impl Api {
    /// The administration page, for those who are signed in.
    pub(crate) async fn administration(&self, request: &Request) -> Reply {
        let section = request
            .path()
            .trim_end_matches('/')
            .strip_prefix("/admin")
            .unwrap_or_default();
        let config = self.parts.config.load_full();
        if !section.is_empty() && !SECTIONS.contains(&section.trim_start_matches('/')) {
            let visit = Visit {
                api: self,
                request,
                config: &config,
            };
            return private(visit.missing());
        }
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return private(method_not_allowed());
        }
        let agent = request.header_text("user-agent").unwrap_or_default();
        let presented = Presented {
            ip: request.client,
            authorization: request
                .headers
                .get(header::AUTHORIZATION)
                .map(HeaderValue::as_bytes),
            sid: cookie(request, "sid"),
            user_agent: &agent,
        };
        let refusal = match self.parts.auth.identify(&presented).await {
            Identified::Caller(caller) if auth::permits(&caller, Action::Dashboard, None) => {
                return admin(&self.parts, &config, request, &caller);
            }
            Identified::Caller(_) => Refusal::forbidden(),
            Identified::Anonymous | Identified::Wrong if !wants_json(&request.headers) => {
                return private(redirect(StatusCode::SEE_OTHER, &login_address(request)));
            }
            Identified::Anonymous | Identified::Wrong => Refusal::unauthorized(),
            Identified::LockedOut(locked) => Refusal::too_many(locked.to_string(), locked.wait()),
            Identified::Busy => Refusal::unavailable("Too many sign-ins are waiting; try again shortly"),
        };
        let reply = if wants_json(&request.headers) {
            refusal.json()
        } else {
            refusal.plain()
        };
        private(reply)
    }
}

/// The address of a provider's sign-in, and the path of the cookies that belong to it.
pub(crate) fn auth_path(id: &str) -> String {
    format!("/auth/{}", utf8_percent_encode(id, &SEGMENT))
}

/// Where to sign in before going on to what was asked for.
pub(crate) fn login_address(request: &Request) -> String {
    let mut wanted = request.target.uri().path().to_owned();
    if let Some(query) = request.query() {
        wanted.push('?');
        wanted.push_str(query);
    }
    match auth::safe_next(&wanted) {
        HOME => "/login".to_owned(),
        next => format!("/login?next={}", encode(next)),
    }
}

fn admin(parts: &Parts, config: &Config, request: &Request, caller: &Caller) -> Reply {
    let site = site(config, request);
    let csrf = caller
        .session()
        .map(|session| session.csrf.as_str())
        .unwrap_or_default();
    let passkeys = parts.signin.passkeys.is_configured();
    let mounts: Vec<&MountName> = caller
        .account
        .mounts
        .iter()
        .filter(|mount| caller.has_access(mount))
        .collect();
    let data = json!({
        "csrfToken": csrf,
        "version": env!("CARGO_PKG_VERSION"),
        "pageTitle": config.page_title,
        "pageSubtitle": config.page_subtitle,
        "branding": {
            "logoUrl": (!config.logo_path.is_empty()).then_some("/branding/logo"),
            "accentColor": config.accent_color,
            "landingMarkdown": config.landing_markdown,
        },
        "passkeysEnabled": passkeys,
        "oidcProviders": config.oidc_providers.iter().filter(|provider| provider.enabled)
            .map(|provider| json!({ "id": provider.id, "name": provider.name, "icon": provider.icon }))
            .collect::<Vec<_>>(),
        "user": { "username": caller.account.name, "role": caller.account.role.as_str() },
        "mounts": usable(parts, config, caller).iter().map(|mount| mount.as_str()).collect::<Vec<_>>(),
    });
    let page = Admin {
        site: &site,
        csrf,
        data: &embedded(&data),
        user: &caller.account.name,
        role: caller.account.role.as_str(),
        mounts: &mounts,
        passkeys: passkeys && !csrf.is_empty(),
    };
    html(StatusCode::OK, &site, Kind::Private, render(&page))
}

/// The mounts that the caller can choose from: its own, and what it has access to of those that are configured or live.
fn usable(parts: &Parts, config: &Config, caller: &Caller) -> BTreeSet<MountName> {
    let live = parts.mounts.snapshot(Instant::now());
    let mounts = config
        .mounts
        .keys()
        .chain(config.advanced_mounts.keys())
        .chain(config.users.values().flat_map(|user| user.mounts.keys()))
        .chain(config.relays.iter().map(|relay| &relay.mount))
        .chain(live.iter().map(|mount| &mount.name));
    mounts
        .filter(|mount| !mount.is_internal() && caller.has_access(mount))
        .cloned()
        .collect()
}

/// JSON that can stand in a script element: nothing in it ends the element, begins another one, or a line where
/// scripts of old take it for one.
fn embedded(value: &Value) -> String {
    let mut safe = String::new();
    for letter in value.to_string().chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                safe.push_str(&format!("\\u{:04x}", u32::from(letter)))
            }
            letter => safe.push(letter),
        }
    }
    safe
}

fn encode(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The buttons of outside providers.
fn providers(config: &Config, next: &str) -> Vec<Provider> {
    let query = if next.is_empty() || next == HOME {
        String::new()
    } else {
        format!("?next={}", encode(next))
    };
    let enabled = config.oidc_providers.iter().filter(|provider| provider.enabled);
    enabled
        .map(|provider| Provider {
            name: if provider.name.is_empty() {
                &provider.id
            } else {
                &provider.name
            }
            .clone(),
            address: format!("{}{query}", auth_path(&provider.id)),
        })
        .collect()
}

fn private(mut reply: Reply) -> Reply {
    let no_store = HeaderValue::from_static("no-store");
    reply.headers_mut().insert(header::CACHE_CONTROL, no_store);
    reply
}

#[derive(Debug, Template)]
#[template(path = "login.html")]
struct Login<'a> {
    site: &'a Site,
    next: &'a str,
    user: &'a str,
    problem: &'a str,
    notice: &'a str,
    passkeys: bool,
    providers: &'a [Provider],
}

/// A way in by somebody else's account.
#[derive(Debug)]
struct Provider {
    name: String,
    address: String,
}

#[derive(Debug, Template)]
#[template(path = "logout.html")]
struct Logout<'a> {
    site: &'a Site,
    user: &'a str,
    csrf: &'a str,
}

#[derive(Debug, Template)]
#[template(path = "access.html")]
struct Access<'a> {
    site: &'a Site,
    heading: &'a str,
    text: &'a str,
}

#[derive(Debug, Template)]
#[template(path = "setup.html")]
struct Setup<'a> {
    site: &'a Site,
    publishing: &'a Publishing,
    token: &'a str,
    user: &'a str,
    problem: &'a str,
}

#[derive(Debug, Template)]
#[template(path = "setup_done.html")]
struct SetupDone<'a> {
    site: &'a Site,
    publishing: &'a Publishing,
    user: &'a str,
    passwords: &'a [Password],
    passkeys: bool,
}

/// A password that is shown once.
#[derive(Debug)]
struct Password {
    id: &'static str,
    label: &'static str,
    text: String,
}

#[derive(Debug, Template)]
#[template(path = "admin.html")]
struct Admin<'a> {
    site: &'a Site,
    csrf: &'a str,
    /// JSON that is safe in a script element.
    data: &'a str,
    user: &'a str,
    role: &'a str,
    mounts: &'a [&'a MountName],
    passkeys: bool,
}

#[cfg(test)]
mod tests {
    use config::OidcProvider;

    use super::{super::accent::Theme, *};

    const EVIL: &str = "</script><script>alert(1)</script>\"'><img src=x onerror=y>\u{2028}&amp;";

    fn evil_site() -> Site {
        Site {
            title: EVIL.into(),
            subtitle: EVIL.into(),
            theme: Theme::new("#ff6600"),
            base: "http://radio.example:8000".into(),
        }
    }

    fn provider(id: &str, name: &str, enabled: bool) -> OidcProvider {
        OidcProvider {
            name: name.into(),
            icon: String::new(),
            enabled,
            ..OidcProvider::new(id.into())
        }
    }

    #[test]
    fn what_strangers_write_is_text() {
        let site = evil_site();
        let publishing = Publishing::new(&site.base, true);
        let config = Config {
            oidc_providers: vec![provider(EVIL, EVIL, true)],
            ..Config::default()
        };
        let data = embedded(&json!({ "a": EVIL }));
        let mount = MountName::parse("/\"><script>x").unwrap();
        let pages = [
            render(&Login {
                site: &site,
                next: EVIL,
                user: EVIL,
                problem: EVIL,
                notice: EVIL,
                passkeys: true,
                providers: &providers(&config, EVIL),
            }),
            render(&Logout {
                site: &site,
                user: EVIL,
                csrf: EVIL,
            }),
            render(&Access {
                site: &site,
                heading: EVIL,
                text: EVIL,
            }),
            render(&Setup {
                site: &site,
                publishing: &publishing,
                token: EVIL,
                user: EVIL,
                problem: EVIL,
            }),
            render(&SetupDone {
                site: &site,
                publishing: &publishing,
                user: EVIL,
                passwords: &[Password {
                    id: "a",
                    label: "b",
                    text: EVIL.into(),
                }],
                passkeys: true,
            }),
            render(&Admin {
                site: &site,
                csrf: EVIL,
                data: &data,
                user: EVIL,
                role: "dj",
                mounts: &[&mount],
                passkeys: true,
            }),
        ];
        for page in pages {
            let of_data = usize::from(page.contains("application/json"));
            assert_eq!(page.matches("<script").count(), 2 + of_data, "{page}");
            assert_eq!(page.matches("<script src=\"/assets/").count(), 2, "{page}");
            // The policy forbids them, so a page that had one would be broken.
            for forbidden in ["<img", "\"><script", " style=", " onclick=", "<script>"] {
                assert!(!page.contains(forbidden), "{forbidden}: {page}");
            }
            assert!(
                page.contains("<meta name=\"referrer\" content=\"same-origin\">"),
                "{page}"
            );
        }
    }

    #[test]
    fn data_for_the_script_is_still_json() {
        let text = embedded(&json!({ "a": EVIL, "b": [1, null] }));
        assert!(!text.contains(['<', '>', '&', '\u{2028}']), "{text}");
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!({ "a": EVIL, "b": [1, null] })
        );
    }

    #[test]
    fn providers_keep_where_to_go() {
        let config = Config {
            oidc_providers: vec![
                provider("google", "Google", true),
                provider("a b", "", true),
                provider("x", "", false),
            ],
            ..Config::default()
        };
        for (next, expected) in [
            ("/admin", ["Google /auth/google", "a b /auth/a%20b"]),
            (
                "/kiosk?a=1&b",
                [
                    "Google /auth/google?next=%2Fkiosk%3Fa%3D1%26b",
                    "a b /auth/a%20b?next=%2Fkiosk%3Fa%3D1%26b",
                ],
            ),
        ] {
            let found: Vec<_> = providers(&config, next)
                .into_iter()
                .map(|provider| format!("{} {}", provider.name, provider.address))
                .collect();
            assert_eq!(found, expected, "{next}");
        }
    }
}
