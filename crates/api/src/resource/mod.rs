//! What can be asked of the server, one file a resource.
//!
//! Contract: a handler parses, asks the crate that knows, and renders; every rule lives in that crate. Everything
//! that can be asked is in [`all`], and nothing else is.

mod audit;
mod autodj;
mod branding;
mod cookie;
mod documentation;
mod etag;
mod feed;
mod forms;
mod geo;
mod history;
mod listeners;
mod login;
mod logo;
mod mail;
mod me;
mod passkeys;
mod pending;
mod provider_settings;
mod providers;
mod public;
mod relays;
mod security;
mod settings;
mod setup;
mod sheet;
mod stats;
mod streams;
mod system;
mod tenants;
mod tokens;
mod transcoders;
mod users;
mod webhook_trials;
mod webhooks;
mod webrtc;

use crate::endpoint::Endpoint;

/// All endpoints, in the order of the documentation.
pub(crate) fn all() -> Vec<Endpoint> {
    [
        streams::endpoints(),
        listeners::endpoints(),
        relays::endpoints(),
        transcoders::endpoints(),
        autodj::endpoints(),
        feed::endpoints(),
        system::endpoints(),
        settings::endpoints(),
        branding::endpoints(),
        security::endpoints(),
        audit::endpoints(),
        stats::endpoints(),
        history::endpoints(),
        geo::endpoints(),
        webhooks::endpoints(),
        public::endpoints(),
        tenants::endpoints(),
        webrtc::endpoints(),
        login::endpoints(),
        setup::endpoints(),
        me::endpoints(),
        tokens::endpoints(),
        users::endpoints(),
        pending::endpoints(),
        passkeys::endpoints(),
        providers::endpoints(),
        provider_settings::endpoints(),
        mail::endpoints(),
        documentation::endpoints(),
        forms::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
