//! Tenants. There is one, which is the server.

use std::time::Instant;

use auth::Action;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::{Answer, Call, Endpoint, Json, NoQuery, Refusal, get, group};

const ONLY: &str = "default";
const PLAN: &str = "enterprise";

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Tenants",
        vec![
            get("/api/tenants", Action::TenantsRead, list).says("The tenants: the server itself"),
            get("/api/tenants/usage", Action::TenantsRead, usage)
                .says("What a tenant uses")
                .fails(404, "There is no such tenant"),
        ],
    )
}

/// A tenant.
#[derive(Debug, Serialize, JsonSchema)]
struct Tenant {
    id: &'static str,
    name: &'static str,
    plan: &'static str,
}

async fn list(_: Call, _: NoQuery, (): ()) -> Answer<Json<Vec<Tenant>>> {
    Ok(Json(vec![Tenant {
        id: ONLY,
        name: "Default",
        plan: PLAN,
    }]))
}

/// Which tenant.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Which {
    /// `default` where nothing is said.
    tenant_id: Option<String>,
}

/// What a tenant uses.
#[derive(Debug, Serialize, JsonSchema)]
struct Usage {
    tenant_id: &'static str,
    plan: &'static str,
    /// Since the server began.
    bytes_in: u64,
    bytes_out: u64,
    current_listeners: u64,
    /// The sum of the most that each live mount had at once.
    peak_listeners: u64,
    /// How long the live mounts have been on air, taken together.
    stream_minutes: u64,
    stream_count: usize,
    /// There is no limit.
    bandwidth_limit_mb: u64,
    over_limit: bool,
}

async fn usage(call: Call, query: Which, (): ()) -> Answer<Json<Usage>> {
    let wanted = query.tenant_id.filter(|id| !id.is_empty());
    if wanted.is_some_and(|id| id != ONLY) {
        return Err(Refusal::missing("Tenant not found"));
    }
    let (mounts, totals) = (
        call.parts.mounts.snapshot(Instant::now()),
        call.parts.mounts.totals(),
    );
    Ok(Json(Usage {
        tenant_id: ONLY,
        plan: PLAN,
        bytes_in: totals.bytes_in,
        bytes_out: totals.bytes_out,
        current_listeners: totals.listeners,
        peak_listeners: totals.listener_peak,
        stream_minutes: mounts.iter().map(|mount| mount.uptime.as_secs()).sum::<u64>() / 60,
        stream_count: mounts.len(),
        bandwidth_limit_mb: 0,
        over_limit: false,
    }))
}
