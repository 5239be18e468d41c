//! Everything that is answered and over: pages, playlists, status documents, administration.
//!
//! Contract: no business rule lives here. An endpoint parses, asks the crate that knows, and renders. Whoever
//! may not do something gets an answer that says so, never a redirect that a tool would follow.

mod administration;
mod endpoint;
mod events;
mod health;
mod metadata;
pub mod metrics;
mod pages;
mod playlists;
mod resource;
mod scrape;
mod shoutcast;
mod status;

pub use endpoint::Refusal;
pub use events::Runtime;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use auth::{Auth, Credentials, SetupToken};
use config::Config;
use front::{
    BodyError, Exchange, Outcome, Request,
    route::{Registered, Route},
};
use geo::Geo;
use http::{Method, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::Full;
use icecast::Answer;
use jiff::Timestamp;
use mount::Mounts;
use observe::Mutex;
use store::Store;
use tokio::sync::oneshot;
use webhook::Webhooks;

use endpoint::{Documents, Pace, Table};

/// Forms of the Icecast endpoints are small.
const FORM_BYTES: usize = 64 << 10;

/// A change of the configuration, which may refuse to be made.
pub type Change<'a> = Box<dyn FnOnce(&mut Config) -> Result<(), Refusal> + 'a>;

/// What endpoints change that has to be saved.
pub trait Administer: Send + Sync {
    /// Changes the configuration, saves it and puts it in force. Waits for the disk, so not on the runtime.
    ///
    /// # Errors
    /// What the change itself refuses, or that it could not be saved; nothing has changed then.
    fn change(&self, change: Change<'_>) -> Result<(), Refusal>;

    /// Reads the configuration again. Gives the keys that changed, or what is wrong with it.
    fn reload(&self) -> oneshot::Receiver<Result<Vec<String>, String>>;

    /// Begins a hot swap: a successor takes the sockets over, this process drains.
    ///
    /// # Errors
    /// The text says why it is not possible here or now.
    fn hot_swap(&self, drain: Option<Duration>) -> Result<(), String>;
}

/// What the endpoints ask.
pub struct Parts {
    /// The configuration in force.
    pub config: Arc<ArcSwap<Config>>,
    /// Mounts and listeners.
    pub mounts: Arc<Mounts>,
    /// Who may do what.
    pub auth: Arc<Auth>,
    /// When the process began.
    pub began: Timestamp,
    /// The open setup, if it is.
    pub setup: Arc<SetupToken>,
    /// Changes that are saved.
    pub administer: Arc<dyn Administer>,
    /// Whether the server is ready for traffic.
    pub ready: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// How the process is doing.
    pub runtime: Box<dyn Fn() -> Runtime + Send + Sync>,
    /// Songs, statistics and the audit trail; nothing where the database cannot be used.
    pub store: Option<Store>,
    /// Where addresses are; nothing where no file says so.
    pub geo: Arc<ArcSwapOption<Geo>>,
    /// Who is told what happens.
    pub webhooks: Webhooks,
    /// How relays are doing.
    pub relays: relay::Board,
    /// Sign-in without our password.
    pub signin: Signin,
}

/// Sign-in with what others vouch for.
pub struct Signin {
    /// Passkeys.
    pub passkeys: signin::Passkeys,
    /// Outside providers.
    pub oidc: signin::Oidc,
    /// Mail about people who ask for an account.
    pub mailer: signin::Mailer,
}

/// The endpoints.
pub struct Api {
    parts: Arc<Parts>,
    feeds: Arc<events::Feeds>,
    table: Arc<Table>,
    /// The description of the table, made when it is first asked for.
    documents: Arc<OnceLock<Documents>>,
    paces: Paces,
}

/// How often callers may call.
struct Paces {
    /// Accounts that change something.
    changes: Mutex<Pace<String>>,
    /// Accounts that look at something.
    reads: Mutex<Pace<String>>,
    /// Addresses that nobody signed in from.
    public: Mutex<Pace<String>>,
}

type Reply = Response<Full<bytes::Bytes>>;

impl Api {
    /// Endpoints over these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let parts = Arc::new(parts);
        Self {
            feeds: events::feeds(&parts),
            parts,
            table: Arc::new(Table::new(resource::all())),
            documents: Arc::default(),
            paces: Paces {
                changes: Mutex::new("api.pace.changes", Pace::new(20)),
                reads: Mutex::new("api.pace.reads", Pace::new(100)),
                public: Mutex::new("api.pace.public", Pace::new(20)),
            },
        }
    }

    /// What every request may ask, for tasks that work beside them.
    #[must_use]
    pub fn parts(&self) -> Arc<Parts> {
        Arc::clone(&self.parts)
    }

    /// Answers a request that is neither a source nor a listener.
    pub async fn answer(&self, route: Route, request: Request, mut exchange: Exchange) -> Outcome {
        if route == Route::Reserved(Registered::Events) && !request.is_source() {
            // Boxed, so that other answers do not carry the space of one that goes on for hours.
            return Box::pin(self.public_events(&request, exchange)).await;
        }
        if is_of_table(&route) && self.has_endpoint(&request)
            || matches!(route, Route::Reserved(Registered::Api))
        {
            return Box::pin(self.endpoint(request, exchange)).await;
        }
        let form = match self.form(&route, &request, &mut exchange).await {
            Ok(form) => form,
            Err(error) => return exchange.respond(error.answer()).await,
        };
        let reply = self.reply(route, &request, &form).await;
        exchange.respond(reply).await
    }

    /// The form body of those endpoints that take one.
    async fn form(
        &self,
        route: &Route,
        request: &Request,
        exchange: &mut Exchange,
    ) -> Result<Vec<u8>, BodyError> {
        let takes_form = matches!(
            route,
            Route::IcecastAdmin(_) | Route::Reserved(Registered::AdminCgi)
        );
        if !takes_form || request.method != Method::POST {
            return Ok(Vec::new());
        }
        exchange.read_body(FORM_BYTES).await.map(|body| body.to_vec())
    }

    async fn reply(&self, route: Route, request: &Request, form: &[u8]) -> Reply {
        if request.is_source() {
            return plain(Answer::reserved_path());
        }
        match route {
            Route::Reserved(Registered::Status) => self.status(request).await,
            Route::Reserved(Registered::SevenHtml) => self.seven_html(request),
            Route::Reserved(Registered::ShoutcastStats) => self.shoutcast_stats(request),
            Route::Reserved(Registered::AdminCgi) => self.shoutcast_metadata(request, form).await,
            Route::Reserved(Registered::Metrics) => self.scrape(request).await,
            Route::Reserved(Registered::Health) => health::alive(),
            Route::Reserved(Registered::Ready) => health::ready((self.parts.ready)()),
            Route::IcecastAdmin(command) => self.administer(command, request, form).await,
            Route::AdminShell => self.administration(request).await,
            Route::Playlist { mount, kind } => self.playlist(&mount, kind, request),
            route => self.page(route, request),
        }
    }

    fn credentials(request: &Request) -> Option<Credentials> {
        request
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| Credentials::from_basic(value.as_bytes()))
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// Whether the table may have an endpoint for it; what it has not is a page.
fn is_of_table(route: &Route) -> bool {
    matches!(
        route,
        Route::Reserved(
            Registered::Login
                | Registered::Logout
                | Registered::Setup
                | Registered::Auth
                | Registered::AdminAction
                | Registered::Branding
                | Registered::WebRtc
        )
    )
}

/// A protocol answer as a response.
fn plain(answer: Answer) -> Reply {
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

/// 404 in plain text.
fn not_found() -> Reply {
    front::text(StatusCode::NOT_FOUND, "404 page not found\n")
}
