//! Sends spans and events to an OpenTelemetry collector, as OTLP over HTTP in JSON.
//!
//! Contract: what is sent is what the feeds of `observe` bring; a collector that is slow or gone costs what does not
//! fit into a bounded queue, counted, and nothing else.
//!
//! OpenTelemetry has a Rust library; with its exporter it brings some hundred crates for what is here two JSON
//! documents. JSON is one of the two encodings that every collector has to take (OTLP specification, section
//! "OTLP/HTTP Request").

mod encode;
mod export;
pub mod metrics;

pub use encode::Resource;
pub use export::{Settings, export};
