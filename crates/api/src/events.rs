//! Event feeds: what is on air, told while it changes (Server-Sent Events).
//!
//! Contract: however many feeds are open, mounts are looked at once per tick and each is serialised once; feeds with
//! the same view send one shared piece of memory. A reader that cannot keep up misses bursts, never delays anybody,
//! and is told the newest state when it reads again.
//!
//! `tick` is a look at all mounts, `view` what a reader asked for, `group` those with the same view and what they
//! have been told; `public` and `admin` write a group's bursts; `feeds` has the subscribers and the task; `stream` is
//! a feed as the body of an answer; `beside` finds out what takes longer than a tick, such as the `places` of
//! listeners.

mod admin;
mod beside;
mod burst;
mod feeds;
mod group;
mod places;
mod public;
mod stream;
mod tick;
mod view;

use std::time::{Duration, Instant};

use front::{Exchange, Outcome, Request, cors, route};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Empty;

pub(crate) use admin::span;
pub(crate) use feeds::{Feeds, Full, Limits};
pub(crate) use places::{ATTRIBUTION, Here, Places};
pub(crate) use public::bitrate;
pub use tick::Runtime;

use crate::{Api, Parts, Reply, metrics::Feed};
pub(crate) use stream::{EventStream, Opened};
use tick::Reading;
pub(crate) use view::{Audience, Scope, Selection, View};

/// How often mounts are looked at.
const TICK: Duration = Duration::from_millis(500);
/// When whoever was refused a feed may ask again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("30");
/// What of a feed may wait in the system for a slow reader; more would be old news.
const UNSENT: u32 = 16 << 10;

impl Api {
    /// Answers `/events`.
    pub(crate) async fn public_events(&self, request: &Request, exchange: Exchange) -> Outcome {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return exchange
                .respond(route::method_not_allowed(route::ALLOW_READ))
                .await;
        }
        let view = match View::parse(request.query().unwrap_or_default(), Feed::Public) {
            Ok(view) => view,
            Err(why) => return exchange.respond(refusal(StatusCode::BAD_REQUEST, &why)).await,
        };
        if request.method == Method::HEAD {
            return exchange.respond(feed(Empty::new())).await;
        }
        let selection = Selection {
            audience: Audience::Public,
            view,
        };
        match self.feeds.subscribe(selection, request.client) {
            Ok((subscription, beginning)) => {
                exchange.limit_unsent(UNSENT);
                let stream = EventStream::new(subscription, beginning, exchange.closing());
                exchange.respond(feed(stream)).await
            }
            Err(full) => exchange.respond(no_room(full)).await,
        }
    }
}

/// The feeds over these parts.
pub(crate) fn feeds(parts: &std::sync::Arc<Parts>) -> std::sync::Arc<Feeds> {
    let parts = std::sync::Arc::clone(parts);
    let (map, sums) = (
        beside::Look::<Places>::new(),
        parts.store.clone().map(beside::Sums::new),
    );
    Feeds::new(Limits::default(), std::sync::Arc::clone(&map), move || {
        // The clock of the task, which tests can turn.
        let now: Instant = tokio::time::Instant::now().into_std();
        let time = jiff::Timestamp::now();
        let those = std::sync::Arc::clone(&parts);
        Reading {
            places: map.last(now, move || Places::look(&those)),
            sums: sums.clone(),
            now,
            time,
            uptime: time.duration_since(parts.began).unsigned_abs(),
            mounts: parts.mounts.snapshot(now),
            totals: parts.mounts.totals(),
            config: parts.config.load_full(),
            runtime: (parts.runtime)(),
        }
    })
}

/// An answer that is a feed for one account: no other site may read it.
pub(crate) fn private_feed<B>(body: B) -> Response<B> {
    let mut response = feed(body);
    response.headers_mut().remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    response
}

/// An answer that is a feed.
fn feed<B>(body: B) -> Response<B> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    // Reverse proxies collect answers otherwise until a buffer is full.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    cors::simple(headers);
    response
}

fn no_room(full: Full) -> Reply {
    let why = match full {
        Full::Client => "Too many event feeds from your address",
        Full::Server => "Too many event feeds",
    };
    let mut reply = refusal(StatusCode::SERVICE_UNAVAILABLE, why);
    reply.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    reply
}

fn refusal(status: StatusCode, why: &str) -> Reply {
    let mut reply = front::text(status, &format!("{why}\n"));
    let headers = reply.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    cors::simple(headers);
    reply
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod world;
