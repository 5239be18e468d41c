//! What is counted about relays and directory reports.
//!
//! Contract: labels say how something ended, never with whom: upstreams and directories are without bound.

use http::{HeaderMap, StatusCode};
use icecast::directory;
use observe::metrics::Metric;

use crate::trouble::Trouble;

/// The metrics of this crate.
pub const ALL: &[&dyn Metric] = &[&PULLS, &REPORTS];

observe::metrics! {
    /// Attempts of relays.
    pub static PULLS: Counters<Pulled> = "tinyice_relay_pulls_total" {"result"}:
        "Attempts of relays to pull their mount, by result. A connection that is lost later is not counted again.";
    /// Reports to directories.
    pub static REPORTS: Counters<Reported> = "tinyice_directory_reports_total" {"result"}:
        "Reports to stream directories by result.";
}

observe::label! {
    /// How a relay's attempt ended.
    pub enum Pulled {
        Connected = "connected",
        Unreachable = "unreachable",
        Status = "status",
        NotAStream = "not_a_stream",
        Loop = "loop",
        InUse = "in_use",
        Disabled = "disabled",
        TooManySources = "too_many_sources",
        Stopped = "stopped",
    }

    /// What a directory made of a report.
    pub enum Reported {
        Ok = "ok",
        Refused = "refused",
        Failed = "failed",
    }
}

impl From<&Trouble> for Pulled {
    fn from(trouble: &Trouble) -> Self {
        match trouble {
            Trouble::Unreachable(_) | Trouble::Lost(_) => Self::Unreachable,
            Trouble::Status(_) => Self::Status,
            Trouble::Document(_) => Self::NotAStream,
            Trouble::Ourselves | Trouble::Circle => Self::Loop,
            Trouble::MountInUse => Self::InUse,
            Trouble::MountDisabled => Self::Disabled,
            Trouble::TooManySources => Self::TooManySources,
            Trouble::Stopped(_) => Self::Stopped,
        }
    }
}

impl Reported {
    pub(crate) fn of(outcome: &Result<(StatusCode, HeaderMap), String>) -> Self {
        match outcome {
            Ok((status, headers)) if directory::is_success(*status, headers) => Self::Ok,
            Ok(_) => Self::Refused,
            Err(_) => Self::Failed,
        }
    }
}
