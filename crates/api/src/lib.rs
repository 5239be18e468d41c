//! Everything that is answered and over: pages, playlists, status documents, administration.
//!
//! Contract: no business rule lives here. An endpoint parses, asks the crate that knows, and renders. Whoever
//! may not do something gets an answer that says so, never a redirect that a tool would follow.

mod administration;
mod events;
mod health;
mod hot_swap;
mod metadata;
pub mod metrics;
mod pages;
mod playlists;
mod scrape;
mod status;

pub use events::Runtime;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use auth::{Auth, Credentials, SetupToken};
use config::{Config, MountName};
use front::{
    BodyError, Exchange, Outcome, Request,
    route::{Registered, Route},
};
use http::{Method, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::Full;
use icecast::Answer;
use jiff::Timestamp;
use mount::Mounts;

/// Forms of the Icecast endpoints are small.
const FORM_BYTES: usize = 64 << 10;

/// What endpoints change that has to be saved.
pub trait Administer: Send + Sync {
    /// Sets or removes the fallback of a mount, for good.
    ///
    /// # Errors
    /// The text says why it could not be saved; nothing has changed then.
    fn set_fallback(&self, mount: &MountName, fallback: Option<&MountName>) -> Result<(), String>;

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
    pub administer: Box<dyn Administer>,
    /// Whether the server is ready for traffic.
    pub ready: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// The endpoints.
pub struct Api {
    parts: Parts,
    feeds: Arc<events::Feeds>,
}

type Reply = Response<Full<bytes::Bytes>>;

impl Api {
    /// Endpoints over these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let feeds = events::feeds(&parts, Runtime::default);
        Self { parts, feeds }
    }

    /// The same with event feeds that know how the process is doing.
    #[must_use]
    pub fn with_runtime(self, runtime: impl Fn() -> Runtime + Send + Sync + 'static) -> Self {
        let feeds = events::feeds(&self.parts, runtime);
        Self { feeds, ..self }
    }

    /// Answers a request that is neither a source nor a listener.
    pub async fn answer(&self, route: Route, request: Request, mut exchange: Exchange) -> Outcome {
        if route == Route::Reserved(Registered::Events) && !request.is_source() {
            // Boxed, so that other answers do not carry the space of one that goes on for hours.
            return Box::pin(self.public_events(&request, exchange)).await;
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
            Route::Reserved(Registered::AdminCgi) => self.shoutcast_metadata(request, form).await,
            Route::Reserved(Registered::Metrics) => self.scrape(request).await,
            Route::Reserved(Registered::Health) => health::alive(),
            Route::Reserved(Registered::Ready) => health::ready((self.parts.ready)()),
            Route::Reserved(Registered::AdminAction) if request.path() == "/admin/hotswap" => {
                self.hot_swap(request).await
            }
            Route::IcecastAdmin(command) => self.administer(command, request, form).await,
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
