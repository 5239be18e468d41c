//! What the API counts.
//!
//! Contract: labels are closed sets. [`ALL`] is for the program to register.

use observe::metrics::Metric;

observe::metrics! {
    /// Open feeds.
    pub static SSE_SUBSCRIBERS: Gauges<Feed> = "tinyice_sse_subscribers" {"feed"}:
        "Open event feeds (Server-Sent Events), by feed.";
    /// Bursts that somebody was too slow for.
    pub static SSE_SKIPPED_TICKS: Counters<Feed> = "tinyice_sse_skipped_ticks_total" {"feed"}:
        "Bursts of event feeds that were not sent because the reader had not taken an earlier one yet, by feed.";
}

observe::label! {
    /// A kind of feed.
    pub enum Feed {
        /// `/events`
        Public = "public",
        /// `/admin/events`
        Admin = "admin",
    }
}

/// The metrics of this crate.
pub const ALL: &[&dyn Metric] = &[&SSE_SUBSCRIBERS, &SSE_SKIPPED_TICKS];
