//! The event feed of accounts.

use std::collections::BTreeSet;

use auth::Action;
use config::MountName;
use http::{HeaderValue, StatusCode, header};

use crate::{
    endpoint::{Answer, Call, Endpoint, Feed, NoQuery, Refusal, get, group},
    events::{Audience, Full, Opened, Scope, Selection, View},
    metrics,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Events",
        vec![
            get("/admin/events", Action::FeedRead, follow)
                .says("What happens, as it happens (Server-Sent Events)")
                .details(
                    "`mount=` (may be repeated) names the mounts, `events=` a list of message, stats, stream, autodj, geo, \
                     gone and system, `interval=` the least time between two bursts in milliseconds (500 to 60000). \
                     Accounts other than superadmins are told of their own mounts. The feed ends within 10 seconds of \
                     the end of the session or token that opened it.",
                )
                .fails(503, "There are too many feeds"),
        ],
    )
}

async fn follow(call: Call, _: NoQuery, (): ()) -> Answer<Feed> {
    let query = call.request.query().unwrap_or_default();
    let view = View::parse(query, metrics::Feed::Admin).map_err(Refusal::bad)?;
    let caller = call.caller()?.clone();
    let audience = Audience::Account(scope(&call));
    let scope = scope_of(&caller);
    let (subscription, beginning) = call
        .feeds
        .subscribe(Selection { audience, view }, call.ip())
        .map_err(no_room)?;
    let auth = call.parts.auth.clone();
    let still_valid = Box::new(move || {
        // Other rights are another feed: the client comes back for it.
        auth.still_valid(&caller)
            .is_some_and(|now| scope_of(&now) == scope)
    });
    Ok(Feed(Opened {
        subscription,
        beginning,
        still_valid,
    }))
}

fn scope(call: &Call) -> Scope {
    call.who
        .as_ref()
        .map_or_else(|| Scope::Mounts(BTreeSet::new()), scope_of)
}

/// The mounts that somebody may be told of.
fn scope_of(caller: &auth::Caller) -> Scope {
    if let auth::Proof::Token(token) = &caller.proof
        && let Some(mounts) = &token.mounts
    {
        let own = |mount: &&MountName| caller.account.has_access(mount);
        return Scope::Mounts(mounts.iter().filter(own).cloned().collect());
    }
    if caller.account.is_superadmin() {
        Scope::Server
    } else {
        Scope::Mounts(caller.account.mounts.clone())
    }
}

fn no_room(full: Full) -> Refusal {
    let text = match full {
        Full::Client => "Too many event feeds from your address",
        Full::Server => "Too many event feeds",
    };
    let wait = HeaderValue::from_static("30");
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text).header(header::RETRY_AFTER, wait)
}
