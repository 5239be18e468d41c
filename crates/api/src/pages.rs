//! Pages for people.
//!
//! Contract: pages come from a fixed list; a request's path is never joined to a directory. They run no script but
//! our own, and only `/embed/` can be framed by other sites.

mod accent;
mod account;
mod assets;
mod markdown;
mod reply;
mod stream;
mod views;

use std::time::Instant;

use config::{Config, MountName};
use front::{
    Request, cors,
    route::{Page, Registered, Route, normalise},
};
use http::{Method, StatusCode};
use icecast::{
    playlist,
    status::{StatusQuery, status_tables},
};
use mount::Tuned;

use crate::{Api, Reply, endpoint::Call, not_found, status::parameter};
pub(crate) use account::{
    LoginForm, SetupForm, access, auth_path, login, login_address, logout, missing, setup, setup_done,
};

use accent::Theme;
use reply::{Kind, html, method_not_allowed, redirect};
use stream::Stream;
use views::{
    Documentation, Embed, EmbedOffAir, Explore, Landing, Message, OffAir, Player, Publishing, Site, Status,
    render,
};

/// Characters of a search that count.
const SEARCH: usize = 100;

impl Api {
    pub(crate) fn page(&self, route: Route, request: &Request) -> Reply {
        let visit = Visit {
            api: self,
            request,
            config: &self.parts.config.load_full(),
        };
        if is_document(&route) && !matches!(request.method, Method::GET | Method::HEAD) {
            return method_not_allowed();
        }
        match route {
            Route::Page(page) => visit.page(page),
            Route::Player(mount) => visit.player(&mount),
            Route::Embed(mount) => visit.embed(&mount),
            Route::WebRtcPlayer(mount) => {
                let address = format!("/player{}?mode=webrtc", playlist::encode_mount(&mount));
                redirect(StatusCode::MOVED_PERMANENTLY, &address)
            }
            Route::Reserved(registered) => visit.reserved(registered),
            Route::HlsMaster(_)
            | Route::HlsMedia(_)
            | Route::HlsSegment { .. }
            | Route::Poster(_)
            | Route::Whep { .. }
            | Route::Whip { .. } => missing_across_origins(),
            // The others have their owners elsewhere and do not come here.
            _ => visit.missing(),
        }
    }
}

/// The documentation of the API.
pub(crate) fn documentation(call: &Call) -> Reply {
    let site = site(&call.config(), &call.request);
    let page = Documentation {
        site: &site,
        chapters: &call.documents().chapters,
    };
    html(StatusCode::OK, &site, Kind::Public, render(&page))
}

fn site(config: &Config, request: &Request) -> Site {
    Site {
        title: config.page_title.clone(),
        subtitle: config.page_subtitle.clone(),
        theme: Theme::new(&config.accent_color),
        base: playlist::base(
            &config.base_url,
            request.scheme_https,
            Some(&request.host),
            &config.hostname,
        ),
    }
}

fn missing_page(config: &Config, request: &Request) -> Reply {
    let site = site(config, request);
    let text = "There is nothing at this address. Perhaps it has a typing error, or what was here has gone.";
    let page = Message {
        site: &site,
        heading: "Page not found",
        text,
    };
    html(StatusCode::NOT_FOUND, &site, Kind::Public, render(&page))
}

/// Whether the route is a page or file, which can only be read.
fn is_document(route: &Route) -> bool {
    match route {
        Route::Page(_) | Route::Player(_) | Route::Embed(_) | Route::WebRtcPlayer(_) => true,
        Route::Reserved(registered) => matches!(
            registered,
            Registered::Favicon | Registered::Asset | Registered::StatusPage
        ),
        _ => false,
    }
}

/// 404 where other sites' scripts may read that it is one.
fn missing_across_origins() -> Reply {
    let mut reply = not_found();
    cors::simple(reply.headers_mut());
    reply
}

/// One request for a page.
struct Visit<'a> {
    api: &'a Api,
    request: &'a Request,
    config: &'a Config,
}

impl Visit<'_> {
    fn page(&self, page: Page) -> Reply {
        match page {
            Page::Landing => self.landing(),
            Page::Explore => self.explore(),
            Page::NoPlayer => redirect(StatusCode::TEMPORARY_REDIRECT, "/"),
            Page::NoWebRtcPlayer => redirect(StatusCode::SEE_OTHER, "/explore"),
            Page::Developers | Page::Kiosk | Page::Missing => self.missing_page(),
        }
    }

    fn reserved(&self, registered: Registered) -> Reply {
        match registered {
            Registered::Favicon => assets::favicon(),
            Registered::StatusPage => self.status(),
            Registered::Asset => assets::answer(self.request.path()),
            Registered::AdminAction if self.request.path() == "/admin/autodj/studio" => {
                let query = self
                    .request
                    .query()
                    .map(|query| format!("?{query}"))
                    .unwrap_or_default();
                redirect(StatusCode::MOVED_PERMANENTLY, &format!("/admin/studio{query}"))
            }
            // The endpoints have been looked through already.
            Registered::Login
            | Registered::Logout
            | Registered::Setup
            | Registered::Auth
            | Registered::Api
            | Registered::AdminAction => self.missing(),
            Registered::Events | Registered::WebRtc => missing_across_origins(),
            Registered::AdminCgi
            | Registered::Status
            | Registered::SevenHtml
            | Registered::ShoutcastStats
            | Registered::Metrics
            | Registered::Health
            | Registered::Ready
            | Registered::Branding
            | Registered::WellKnown => not_found(),
        }
    }

    /// Icecast's page for people, in our looks.
    fn status(&self) -> Reply {
        let site = self.site();
        let mount = parameter(self.request.query().unwrap_or_default(), "mount");
        let query = StatusQuery {
            mount: mount.as_deref(),
            ..StatusQuery::default()
        };
        let page = Status {
            site: &site,
            tables: &status_tables(&self.api.server_status(self.config), &query),
        };
        html(StatusCode::OK, &site, Kind::Public, render(&page))
    }

    fn landing(&self) -> Reply {
        let site = self.site();
        let about = match self.config.landing_markdown.trim() {
            "" => String::new(),
            text => markdown::render(text),
        };
        let page = Landing {
            site: &site,
            streams: &self.streams(),
            about: &about,
            publishing: &self.publishing(&site),
        };
        html(StatusCode::OK, &site, Kind::Public, render(&page))
    }

    fn explore(&self) -> Reply {
        let site = self.site();
        let search = parameter(self.request.query().unwrap_or_default(), "q").unwrap_or_default();
        let search: String = search.trim().chars().take(SEARCH).collect();
        let mut streams = self.streams();
        streams.retain(|stream| stream.matches(&search));
        let publishing = self.publishing(&site);
        let page = Explore {
            site: &site,
            streams: &streams,
            search: &search,
            publishing: &publishing,
        };
        html(StatusCode::OK, &site, Kind::Public, render(&page))
    }

    fn player(&self, mount: &MountName) -> Reply {
        if let Some(clean) = self.clean_address("/player", mount) {
            return redirect(StatusCode::MOVED_PERMANENTLY, &clean);
        }
        let site = self.site();
        match self.tune(mount) {
            Found::Stream(stream) => html(
                StatusCode::OK,
                &site,
                Kind::Public,
                render(&Player {
                    site: &site,
                    stream: &stream,
                }),
            ),
            Found::OffAir => {
                let page = OffAir {
                    site: &site,
                    mount: mount.as_str(),
                };
                html(StatusCode::NOT_FOUND, &site, Kind::Public, render(&page))
            }
            Found::Nothing => self.missing_page(),
        }
    }

    fn embed(&self, mount: &MountName) -> Reply {
        let site = self.site();
        let theme = parameter(self.request.query().unwrap_or_default(), "theme");
        let colours = match theme.as_deref() {
            Some("light") => "light",
            Some("dark") => "dark",
            _ => "auto",
        };
        match self.tune(mount) {
            Found::Stream(stream) => {
                let page = Embed {
                    site: &site,
                    stream: &stream,
                    colours,
                };
                html(StatusCode::OK, &site, Kind::Embedded, render(&page))
            }
            // In a frame on another site there is no room for more, and nobody to tell it.
            Found::OffAir | Found::Nothing => {
                let page = EmbedOffAir {
                    site: &site,
                    mount: mount.as_str(),
                    colours,
                };
                html(StatusCode::NOT_FOUND, &site, Kind::Embedded, render(&page))
            }
        }
    }

    fn missing(&self) -> Reply {
        if self.wants_html() {
            self.missing_page()
        } else {
            not_found()
        }
    }

    fn missing_page(&self) -> Reply {
        missing_page(self.config, self.request)
    }

    fn site(&self) -> Site {
        site(self.config, self.request)
    }

    fn publishing(&self, site: &Site) -> Publishing {
        Publishing::new(&site.base, self.api.parts.setup.reveal().is_some())
    }

    /// The streams that the public may find.
    fn streams(&self) -> Vec<Stream> {
        let snapshot = self.api.parts.mounts.snapshot(Instant::now());
        let listed = snapshot
            .iter()
            .filter(|mount| mount.visible && !mount.name.is_internal());
        listed.map(|mount| Stream::new(&mount.name, mount)).collect()
    }

    fn tune(&self, mount: &MountName) -> Found {
        let mounts = &self.api.parts.mounts;
        if mount.is_internal() {
            return Found::Nothing;
        }
        match mounts.tune(mount) {
            Tuned::On { stream, .. } => match mounts.snapshot_one(stream.mount(), Instant::now()) {
                Some(snapshot) => Found::Stream(Box::new(Stream::new(mount, &snapshot))),
                // It ended between the two looks.
                None => Found::OffAir,
            },
            Tuned::Off { known: true } => Found::OffAir,
            Tuned::Off { known: false } | Tuned::Disabled => Found::Nothing,
        }
    }

    /// Where a page really is, if it was asked for by a sloppy path (`/player//live`).
    fn clean_address(&self, page: &str, mount: &MountName) -> Option<String> {
        let path = self.request.path();
        if normalise(path) == path {
            return None;
        }
        let query = self
            .request
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        Some(format!("{page}{}{query}", playlist::encode_mount(mount)))
    }

    fn wants_html(&self) -> bool {
        self.request
            .header_text("accept")
            .is_some_and(|accept| accept.contains("text/html"))
    }
}

/// What the player of a mount can show.
enum Found {
    Stream(Box<Stream>),
    /// The mount may come back.
    OffAir,
    Nothing,
}

#[cfg(test)]
mod tests;
