//! What is counted about requests to others.
//!
//! Contract: labels say how a request ended, never where it went: hosts are an operator's business and without bound.

use observe::metrics::Metric;

use crate::{Failure, Response};

/// The metrics of this crate.
pub const ALL: &[&dyn Metric] = &[&REQUESTS, &REQUEST_DURATION];

observe::metrics! {
    /// Requests to relays' upstreams, directories and whoever else is called.
    pub static REQUESTS: Counters<Outcome> = "tinyice_outbound_requests_total" {"result"}:
        "Requests to other servers by result: ok is an answer below 400, redirects followed.";
    /// How long answers took.
    pub static REQUEST_DURATION: Histogram = "tinyice_outbound_request_duration_seconds":
        "From a request to another server to the head of its last answer, or to the failure.",
        seconds &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
}

observe::label! {
    /// How a request ended.
    pub enum Outcome {
        Ok = "ok",
        Status = "status",
        Policy = "policy",
        Resolve = "resolve",
        Connect = "connect",
        Tls = "tls",
        Timeout = "timeout",
        Broken = "broken",
        Redirect = "redirect",
    }
}

impl Outcome {
    pub(crate) fn of(outcome: &Result<Response, Failure>) -> Self {
        match outcome {
            Ok(response) if response.status.as_u16() < 400 => Self::Ok,
            Ok(_) => Self::Status,
            Err(failure) => Self::from(failure),
        }
    }
}

impl From<&Failure> for Outcome {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Refused(_) => Self::Policy,
            Failure::Resolve { .. } => Self::Resolve,
            Failure::Connect { .. } => Self::Connect,
            Failure::Tls { .. } => Self::Tls,
            Failure::Timeout { .. } => Self::Timeout,
            Failure::Broken { .. } | Failure::BadHead { .. } => Self::Broken,
            Failure::TooManyRedirects { .. } | Failure::BadRedirect | Failure::Downgrade { .. } => {
                Self::Redirect
            }
        }
    }
}
