//! Trying webhooks out: what can stand in one, what came of a test, what was delivered.

use std::{collections::BTreeMap, time::Duration};

use auth::Action;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::AuditAction;
use webhook::{DeliveryRecord, Event, Problem, TestOutcome};

use super::webhooks::{MASK, Which, bad, missing};
use crate::endpoint::{Answer, Call, Endpoint, Json, NoQuery, get, post};

/// The longest that a test waits.
const TEST: Duration = Duration::from_secs(10);

/// Part of the endpoints of webhooks.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        get("/api/webhooks/meta", Action::WebhooksRead, meta)
            .says("What can stand in a webhook: events with samples, names and functions in templates, presets"),
        post("/api/webhooks/test", Action::WebhookTest, test)
            .says("Send a webhook a sample")
            .details(
                "Also where it is disabled or not subscribed. The answer has what was sent and what came back; with \
                 `async=1` it does not wait for that.",
            )
            .fails(404, "There is no such webhook"),
        get("/api/webhooks/deliveries", Action::WebhooksRead, deliveries)
            .says("The last 100 deliveries of a webhook, newest first")
            .fails(404, "There is no such webhook"),
    ]
}

/// What can stand in a webhook.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
struct Meta(#[schemars(with = "MetaShape")] webhook::Meta);

#[derive(JsonSchema)]
#[schemars(rename = "WebhookMeta")]
#[allow(dead_code, reason = "it is the schema of another crate's type")]
struct MetaShape {
    /// What webhooks can be told about.
    events: Vec<EventShape>,
    /// Names in templates that every event has.
    global_placeholders: Vec<String>,
    /// Ready-made webhooks.
    presets: Vec<PresetShape>,
    /// Functions in templates, besides those of the language.
    funcs: Vec<FunctionShape>,
}

#[derive(JsonSchema)]
#[schemars(rename = "WebhookEvent")]
#[allow(dead_code, reason = "it is the schema of another crate's type")]
struct EventShape {
    name: String,
    description: String,
    /// A payload.
    sample: BTreeMap<String, serde_json::Value>,
    /// Names in templates.
    placeholders: Vec<String>,
}

#[derive(JsonSchema)]
#[schemars(rename = "WebhookPreset")]
#[allow(dead_code, reason = "it is the schema of another crate's type")]
struct PresetShape {
    id: String,
    name: String,
    description: String,
    url_hint: String,
    events: Vec<String>,
    method: String,
    content_type: String,
    #[schemars(default)]
    headers: BTreeMap<String, String>,
    body: String,
}

#[derive(JsonSchema)]
#[schemars(rename = "WebhookFunction")]
#[allow(dead_code, reason = "it is the schema of another crate's type")]
struct FunctionShape {
    name: String,
    description: String,
    example: String,
}

async fn meta(_: Call, _: NoQuery, (): ()) -> Answer<Json<Meta>> {
    Ok(Json(Meta(webhook::meta())))
}

/// What to test.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Test {
    /// Required.
    id: String,
    /// `now_playing` where nothing is said.
    event: Option<String>,
    /// `1` not to wait for the outcome.
    #[serde(rename = "async")]
    asynchronous: Option<String>,
}

/// What came of a test.
#[derive(Debug, Serialize, JsonSchema)]
struct Tested {
    /// `ok`, `failed`, or `queued` where nobody waited.
    status: &'static str,
    event: &'static str,
    /// Of the answer, if one came.
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    /// What was sent, without its secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Sent>,
    /// The first 4 KiB of what came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_body: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Sent {
    method: String,
    url: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// A header field with the placeholder that the API has for secrets.
fn as_shown((name, value): (String, String)) -> (String, String) {
    if value == webhook::MASK {
        (name, MASK.to_owned())
    } else {
        (name, value)
    }
}

impl Tested {
    fn without_outcome(status: &'static str, event: Event, error: Option<String>) -> Self {
        Self {
            status,
            event: event.as_str(),
            http_status: None,
            duration_ms: None,
            request: None,
            response_body: None,
            error,
        }
    }
}

impl From<TestOutcome> for Tested {
    fn from(outcome: TestOutcome) -> Self {
        let sent = outcome.request.map(|sent| Sent {
            method: sent.method,
            url: sent.url,
            headers: sent.headers.into_iter().map(as_shown).collect(),
            body: sent.body,
        });
        Self {
            status: outcome.status,
            event: outcome.event.as_str(),
            http_status: outcome.http_status,
            duration_ms: Some(outcome.duration_ms),
            request: sent,
            response_body: Some(outcome.response_body),
            error: outcome.error,
        }
    }
}

async fn test(call: Call, query: Test, (): ()) -> Answer<Json<Tested>> {
    let id = Which { id: query.id }.id()?;
    let event = match query.event.as_deref() {
        None | Some("") => Event::NowPlaying,
        Some(name) => name
            .parse()
            .map_err(|_| bad(Problem::UnknownEvent(name.chars().take(64).collect())))?,
    };
    let config = call.config();
    let hook = config
        .webhooks
        .iter()
        .find(|hook| hook.id == id)
        .ok_or_else(missing)?
        .clone();
    call.audit(AuditAction::WebhookTested, "webhook", &id, event.as_str());
    let webhooks = call.parts.webhooks.clone();
    let testing = async move { webhooks.test(&hook, event).await };
    if matches!(query.asynchronous.as_deref(), Some("1" | "true")) {
        observe::task::spawn("webhook-test", (), async { drop(testing.await) }).detach();
        return Ok(Json(Tested::without_outcome("queued", event, None)));
    }
    let tested = match tokio::time::timeout(TEST, testing).await {
        Ok(outcome) => Tested::from(outcome),
        Err(_) => Tested::without_outcome("failed", event, Some("no answer within 10 seconds".to_owned())),
    };
    Ok(Json(tested))
}

/// A delivery.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
struct Delivery(#[schemars(with = "DeliveryShape")] DeliveryRecord);

#[derive(JsonSchema)]
#[schemars(rename = "WebhookDelivery")]
#[allow(dead_code, reason = "it is the schema of another crate's type")]
struct DeliveryShape {
    /// As in `X-TinyIce-Delivery`.
    id: String,
    event: String,
    #[schemars(default)]
    mount: String,
    /// RFC 3339.
    timestamp: String,
    /// `queued`, `retrying`, `delivered`, `failed`, `superseded` or `dropped`.
    status: String,
    attempts: u32,
    /// Of the last answer.
    http_status: Option<u16>,
    /// Of the last attempt.
    duration_ms: u64,
    /// Of the last attempt.
    #[schemars(default)]
    error: String,
    /// RFC 3339.
    #[schemars(default)]
    next_attempt: String,
}

async fn deliveries(call: Call, query: Which, (): ()) -> Answer<Json<Vec<Delivery>>> {
    let id = query.id()?;
    let deliveries = call.parts.webhooks.deliveries(&id).ok_or_else(missing)?;
    Ok(Json(deliveries.into_iter().map(Delivery).collect()))
}
