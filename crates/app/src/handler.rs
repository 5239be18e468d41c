//! Every request: whom it concerns.

use std::{net::IpAddr, sync::Arc};

use front::{
    Exchange, Handler, Handling, Request,
    route::{self, Route},
};
use icecast::Answer;

use crate::{context::Context, ingest, listen, respond};

/// Gives requests to ingest, delivery or the API.
pub(crate) struct Switchboard(pub(crate) Arc<Context>);

impl Handler for Switchboard {
    fn admit(&self, peer: IpAddr) -> bool {
        self.0.auth.gate().at_accept(peer)
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
        match request.route() {
            Route::Source(mount) => Box::pin(ingest::publish(context, mount, request, exchange)),
            Route::SourceRefused(_) => Box::pin(respond::answer(exchange, Answer::reserved_path())),
            // Behind a proxy the ban could not be seen at the accept.
            _ if context.auth.gate().is_banned(request.client) => {
                Box::pin(respond::answer(exchange, Answer::forbidden("Forbidden")))
            }
            Route::Listener(mount) => Box::pin(listen::listen(context, mount, request, exchange)),
            Route::Options(options) => Box::pin(exchange.respond(route::options(options))),
            Route::MethodNotAllowed(allow) => Box::pin(exchange.respond(route::method_not_allowed(allow))),
            route => Box::pin(context.api.answer(route, request, exchange)),
        }
    }
}
