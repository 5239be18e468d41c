//! What is measured.
//!
//! Contract: a case looks once at what its work produces before it is measured, so that it does not measure
//! an error path; and every lap does the same as the lap before.

mod delivery;
mod framers;
mod icy;
mod ring;
mod sniffing;

/// One thing to measure.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What times and instructions are counted for.
    pub(crate) unit: &'static str,
    /// Makes everything that is needed and checks it. Panics when the case makes no sense.
    pub(crate) prepare: fn() -> Work,
}

/// A case that is ready to run.
pub(crate) struct Work {
    /// Units in one lap.
    pub(crate) units: u64,
    /// Bytes of media in one lap; 0 where a rate makes no sense.
    pub(crate) bytes: u64,
    /// What is measured.
    pub(crate) lap: Box<dyn FnMut()>,
}

/// All cases, in the order of the table.
pub(crate) fn all() -> Vec<Case> {
    [
        ring::cases(),
        delivery::cases(),
        framers::cases(),
        sniffing::cases(),
        icy::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
