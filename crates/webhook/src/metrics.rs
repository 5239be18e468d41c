//! What is counted about hooks.
//!
//! Contract: labels say how it ended, never where it went: addresses of hooks are secrets.

use observe::metrics::Metric;

/// The metrics of this crate.
pub const ALL: &[&dyn Metric] = &[&DELIVERIES, &RETRIES, &DROPPED, &QUEUED, &FAILING, &DURATION];

observe::metrics! {
    /// Deliveries by how they ended.
    pub static DELIVERIES: Counters<Outcome> = "tinyice_webhook_deliveries_total" {"result"}:
        "Webhook deliveries by how they ended: delivered; failed after the last attempt or for a reason that lasts; \
         refused by the address rules; template error; superseded by a newer track; dropped unsent.";
    /// Attempts after the first.
    pub static RETRIES: Counter = "tinyice_webhook_retries_total":
        "Webhook attempts that had to be repeated.";
    /// Deliveries lost unsent.
    pub static DROPPED: Counter = "tinyice_webhook_dropped_total":
        "Webhook deliveries dropped because too many waited, because they were too old after a restart, or because the \
         webhook was disabled or removed.";
    /// Deliveries that wait.
    pub static QUEUED: Gauge = "tinyice_webhook_queue":
        "Webhook deliveries that wait, those to be repeated included.";
    /// Hooks that never work.
    pub static FAILING: Gauge = "tinyice_webhook_failing":
        "Webhooks that failed fifty times in a row over a day or more.";
    /// How long attempts took.
    pub static DURATION: Histogram = "tinyice_webhook_duration_seconds":
        "One attempt of a webhook delivery, from the look-up of the name to the answer or failure.",
        seconds &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
}

observe::label! {
    /// How a delivery ended.
    pub enum Outcome {
        Delivered = "delivered",
        Failed = "failed",
        Refused = "refused",
        Template = "template",
        Superseded = "superseded",
        Dropped = "dropped",
    }
}
