//! What the log says about hooks: which and why, never where to or with what.

use std::time::Duration;

observe::event! {
    /// A hook took a delivery.
    pub(crate) struct Delivered<'a> {
        hook: &'a str, name: &'a str, event: &'a str, delivery: &'a str, status: u16, attempts: u32, duration: Duration,
    }
    = Debug "webhook_delivered": "Webhook delivered"

    /// A hook did not take a delivery and will be asked again.
    pub(crate) struct WillRetry<'a> {
        hook: &'a str, name: &'a str, event: &'a str, delivery: &'a str, error: &'a str, attempts: u32, wait: Duration,
    }
    = Warn "webhook_retry": "Webhook failed, trying again: {error}"

    /// A hook did not take a delivery.
    pub(crate) struct GivenUp<'a> {
        hook: &'a str, name: &'a str, event: &'a str, delivery: &'a str, error: &'a str, attempts: u32,
    }
    = Warn "webhook_failed": "Webhook failed: {error}"

    /// A part of a request had to be left out.
    pub(crate) struct LeftOut<'a> { hook: &'a str, name: &'a str, event: &'a str, what: &'a str }
    = Warn "webhook_header_left_out": "Webhook {what}"

    /// Deliveries were lost.
    pub(crate) struct Dropped<'a> { hook: &'a str, name: &'a str, count: usize, reason: &'a str }
    = Warn "webhook_dropped": "Webhook deliveries dropped: {reason}"

    /// A hook never works.
    pub(crate) struct Failing<'a> { hook: &'a str, name: &'a str, failures: u64, error: &'a str }
    = Error "webhook_failing": "Webhook has failed for a day"

    /// A hook works again.
    pub(crate) struct Recovered<'a> { hook: &'a str, name: &'a str }
    = Info "webhook_recovered": "Webhook works again"
}
