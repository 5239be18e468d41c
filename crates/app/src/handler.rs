//! Every request: whom it concerns.

use std::{
    net::IpAddr,
    sync::{Arc, Once},
    time::Duration,
};

use config::MountName;
use front::{
    Exchange, Handler, Handling, Request, RequestId,
    route::{self, Route},
};
use http::Method;
use icecast::Answer;
use mount::Tuned;

use crate::{context::Context, ingest, listen, respond};

observe::event! {
    /// A ban at work.
    struct Dropped { ip: IpAddr }
    = Info "connection_dropped": "Dropping connection from banned IP at TCP level"

    /// A request, before anything is done about it. The path alone: queries of old encoders hold passwords.
    struct Received<'a> { method: &'a str, path: &'a str, ip: IpAddr, request_id: &'a RequestId }
    = Debug "request_received": "Request"

    /// A proxy on this machine makes all clients look alike.
    struct ProxyHint {}
    = Warn "proxy_not_trusted":
        "Requests from loopback carry X-Forwarded-For but trusted_proxies is empty: all clients look like loopback"
}

/// A flood of refused connections is one line now and then.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Gives requests to ingest, delivery or the API.
pub(crate) struct Switchboard(pub(crate) Arc<Context>);

impl Handler for Switchboard {
    fn admit(&self, peer: IpAddr) -> bool {
        let gate = self.0.auth.gate();
        let admitted = gate.at_accept(peer) && (gate.is_trusted(peer) || !self.0.auth.is_scanning(peer));
        if !admitted {
            observe::emit_limited(LOG_EVERY, Dropped { ip: peer });
        }
        admitted
    }

    fn connection_limit(&self, peer: IpAddr) -> u32 {
        if self.0.auth.gate().is_whitelisted(peer) {
            return 0;
        }
        self.0.config.load().max_connections_per_ip.unwrap_or(0)
    }

    fn trusts(&self, peer: IpAddr) -> bool {
        self.0.auth.gate().is_trusted(peer)
    }

    fn handle<'a>(&'a self, request: Request, exchange: Exchange) -> Handling<'a> {
        let context = &self.0;
        self.hint_at_proxy(&request);
        observe::emit(Received {
            method: request.method.as_str(),
            path: request.path(),
            ip: request.client,
            request_id: &request.request_id,
        });
        match request.route() {
            Route::Source(mount) => Box::pin(ingest::publish(context, mount, request, exchange)),
            Route::SourceRefused(_) => Box::pin(respond::answer(exchange, Answer::reserved_path())),
            // Behind a proxy the ban could not be seen at the accept.
            _ if self.is_unwelcome(&request) => {
                Box::pin(respond::answer(exchange, Answer::forbidden("Forbidden")))
            }
            Route::Listener(mount) => Box::pin(listen::listen(context, mount, request, exchange)),
            Route::Options(options) => Box::pin(exchange.respond(route::options(options))),
            // Icecast deletes a source there; where there is none, there is nothing.
            Route::MethodNotAllowed(route::ALLOW_MOUNT)
                if request.method == Method::DELETE && self.is_off(request.path()) =>
            {
                Box::pin(respond::answer(exchange, icecast::listener::not_found()))
            }
            Route::MethodNotAllowed(allow) => Box::pin(exchange.respond(route::method_not_allowed(allow))),
            route => Box::pin(context.api.answer(route, request, exchange)),
        }
    }
}

impl Switchboard {
    fn is_off(&self, path: &str) -> bool {
        MountName::parse(path).is_ok_and(|mount| matches!(self.0.mounts.tune(&mount), Tuned::Off { .. }))
    }

    fn is_unwelcome(&self, request: &Request) -> bool {
        self.0.auth.gate().is_banned(request.client) || self.0.auth.is_scanning(request.client)
    }

    fn hint_at_proxy(&self, request: &Request) {
        static HINTED: Once = Once::new();
        let forwarded = request.peer.ip().is_loopback() && request.headers.contains_key("x-forwarded-for");
        if forwarded && !request.via_trusted_proxy && self.0.config.load().trusted_proxies.is_empty() {
            HINTED.call_once(|| observe::emit(ProxyHint {}));
        }
    }
}
