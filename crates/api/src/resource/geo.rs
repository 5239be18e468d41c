//! Where listeners are.

use auth::Action;
use config::MountName;
use schemars::JsonSchema;
use serde::Serialize;

use super::{stats::may_see, streams::OneMount};
use crate::{
    endpoint::{Answer, Call, Endpoint, Json, get, group},
    events::{ATTRIBUTION, Here, Places},
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Statistics",
        vec![
            get("/api/geo", Action::StatisticsRead, places)
                .says("Where the listeners of a mount, or of all one's mounts, are")
                .details("The attribution must be shown wherever the places are."),
            get("/admin/geo", Action::StatisticsRead, places)
                .says("The same at its old address")
                .refuses_in_json(),
        ],
    )
}

/// Where listeners are.
#[derive(Debug, Serialize, JsonSchema)]
struct Map {
    /// Most listeners first.
    countries: Vec<Here>,
    /// Listeners whose place is known.
    total: u64,
    attribution: &'static str,
}

async fn places(call: Call, query: OneMount, (): ()) -> Answer<Json<Map>> {
    let only = match query.mount.as_str() {
        "" => None,
        text => Some(call.mount(text)?),
    };
    let parts = std::sync::Arc::clone(&call.parts);
    let now = tokio::time::Instant::now().into_std();
    let places = call.feeds.map.fresh(now, move || Places::look(&parts)).await;
    let is_shown = |mount: &str| match &only {
        Some(only) => only.as_str() == mount,
        None => MountName::parse_internal(mount).is_ok_and(|mount| may_see(&call, &mount)),
    };
    let countries = places.seen_by(is_shown);
    Ok(Json(Map {
        total: countries.iter().map(|here| here.listeners).sum(),
        countries,
        attribution: ATTRIBUTION,
    }))
}
