//! Metrics: counters, gauges and histograms with resolved handles, and the collectors that read the rest.
//!
//! Contract: counting is one atomic addition on a handle that is known at compile time or was resolved once;
//! nothing on a hot path looks a metric up. A scrape reads atomics and takes no lock that counting takes.
//!
//! A crate lists its own metrics in one file and the program registers them once:
//!
//! ```
//! observe::metrics! {
//!     /// Requests by outcome.
//!     pub static REQUESTS: Counters<Outcome> = "example_requests_total" {"outcome"}: "Requests by outcome.";
//!     /// How long they took.
//!     pub static DURATION: Histogram = "example_request_duration_seconds": "Duration of requests.",
//!         seconds &[0.01, 0.1, 1.0];
//! }
//!
//! observe::label! {
//!     /// How a request ended.
//!     pub enum Outcome { Ok = "ok", Failed = "failed" }
//! }
//!
//! observe::metrics::register(&[&REQUESTS, &DURATION]);
//! REQUESTS.of(Outcome::Ok).add(1);
//! DURATION.observe_duration(std::time::Duration::from_millis(20));
//! let text = observe::metrics::render(observe::metrics::Format::Text);
//! assert!(text.contains("example_requests_total{outcome=\"ok\"} 1\n"));
//! ```

mod exposition;
mod family;
mod macros;
mod negotiation;
mod notation;
mod own;
mod process;
mod registry;
mod runtime;
mod values;

pub use exposition::{Exposition, Family, Format, Kind, Number, Prepared};
pub use family::{Counters, Gauges, Histograms, Label, Labels, Table};
pub use negotiation::{content_type, negotiate, wants_gzip};
pub use own::{
    AllocatorStats, BuildInfo, ProcessTotals, process_totals, register_process, set_allocator, set_build,
    set_prefix,
};
pub use registry::{Exposed, Metric, Named, Sampled, collect_with, register, render};
pub use runtime::{measure_polls, watch_runtime};
pub use values::{Counter, Gauge, Histogram, Snapshot};
