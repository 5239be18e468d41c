//! What can be seen of hooks: deliveries, their state, and the outcome of a test.
//!
//! Contract: nothing here holds an address, the value of a header or a secret, except that a test shows its request,
//! with what is secret masked.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Event, context, delivery::Delivery};

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It waits for its first attempt.
    Queued,
    /// It failed and will be tried again.
    Retrying,
    /// The hook took it.
    Delivered,
    /// It is given up.
    Failed,
    /// A newer track made it pointless.
    Superseded,
    /// It was never sent.
    Dropped,
}

/// One delivery of a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeliveryRecord {
    /// `X-TinyIce-Delivery`.
    pub id: String,
    /// What it tells.
    pub event: Event,
    /// The mount that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// When it happened, RFC 3339.
    pub timestamp: String,
    /// Where it stands.
    pub status: Status,
    /// Attempts so far.
    pub attempts: u32,
    /// The last answer.
    pub http_status: Option<u16>,
    /// How long the last attempt took.
    pub duration_ms: u64,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it is tried again, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<String>,
}

impl DeliveryRecord {
    pub(crate) fn new(delivery: &Delivery) -> Self {
        Self {
            id: delivery.id.clone(),
            event: delivery.event,
            mount: delivery.mount().map(str::to_owned),
            timestamp: context::rfc3339(delivery.at),
            status: Status::Queued,
            attempts: delivery.attempts,
            http_status: None,
            duration_ms: 0,
            error: None,
            next_attempt: None,
        }
    }
}

/// How a hook is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HookState {
    /// Of the hook.
    pub id: String,
    /// Whether it failed 50 times in a row over a day.
    pub failing: bool,
    /// Attempts since the last success.
    pub failures_in_a_row: u64,
    /// The first of them, RFC 3339.
    pub failing_since: Option<String>,
    /// RFC 3339.
    pub last_success: Option<String>,
    /// Why the last failure was one.
    pub last_error: Option<String>,
    /// Deliveries that wait.
    pub queued: usize,
    /// Deliveries lost unsent since the server started.
    pub dropped: u64,
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TestOutcome {
    /// `ok` or `failed`.
    pub status: &'static str,
    /// What it told.
    pub event: Event,
    /// The answer.
    pub http_status: Option<u16>,
    /// How long it took.
    pub duration_ms: u64,
    /// What was sent; nothing if there was nothing to send.
    pub request: Option<SentRequest>,
    /// The first 4 KiB.
    pub response_body: String,
    /// Why it failed.
    pub error: Option<String>,
}

/// A request as it may be shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SentRequest {
    /// HTTP method.
    pub method: String,
    /// Without credentials.
    pub url: String,
    /// With secrets masked.
    pub headers: BTreeMap<String, String>,
    /// As it was sent.
    pub body: String,
}
