//! What became of spans and events on their way to the collector.

use observe::metrics::Metric;

observe::label! {
    /// What is sent.
    pub enum Signal { Traces = "traces", Logs = "logs" }

    /// What became of it.
    pub enum Fate {
        /// The collector has it.
        Sent = "sent",
        /// It did not fit while the collector was away.
        Dropped = "dropped",
    }
}

observe::metrics! {
    /// Spans and events.
    pub static ITEMS: Counters<(Signal, Fate)> = "tinyice_otlp_items_total" {"signal", "result"}:
        "Spans and log records for the OpenTelemetry collector, by what became of them.";
    /// Failed requests.
    pub static FAILURES: Counters<Signal> = "tinyice_otlp_failures_total" {"signal"}:
        "Requests to the OpenTelemetry collector that failed and are tried again.";
}

/// Everything that this crate counts.
pub static ALL: &[&dyn Metric] = &[&ITEMS, &FAILURES];
