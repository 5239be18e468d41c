//! The metrics of sources and listeners, and where the time of a mount's frames goes.
//!
//! Contract: label values are closed sets. What is counted per mount lives in the mount, so it goes on over
//! reconnects.

use fanout::Leave;
use observe::metrics::{Counter, Histogram, Metric};

use crate::Protocol;

observe::label! {
    /// What became of a source's request.
    pub enum SourceResult {
        /// It is on air.
        Ok = "ok",
        /// Its password is wrong, or it has too many tries behind it.
        Auth = "auth",
        /// Another source has the mount, or the server has all the sources it may have.
        Busy = "busy",
        /// The mount takes no sources.
        Disabled = "disabled",
        /// What it sends cannot be served.
        BadFormat = "bad_format",
    }

    /// Why a source is gone.
    pub enum SourceEnd {
        /// It said so, or closed the connection.
        Closed = "closed",
        /// The connection broke.
        Lost = "lost",
        /// It sent nothing for too long.
        Silent = "silent",
        /// What it sent could not be read.
        BadFormat = "bad_format",
        /// An administrator ended it.
        Kicked = "kicked",
        /// The mount was disabled or deleted.
        Disabled = "disabled",
        /// It came back, or another took its place.
        Replaced = "replaced",
        /// The server ended.
        Shutdown = "shutdown",
        /// Its task failed.
        Aborted = "aborted",
        /// Anything else.
        Other = "other",
    }

    /// How a listener is served.
    pub enum ListenerProtocol { Http = "http" }

    /// What became of a listener's request.
    pub enum ListenerResult {
        /// It listens.
        Ok = "ok",
        /// There is no such mount, or nothing to listen to.
        NotFound = "not_found",
        /// The mount takes no listeners.
        Disabled = "disabled",
        /// A limit of listeners is reached.
        Full = "full",
        /// A relay that would listen to itself.
        Loop = "loop",
        /// Its connection could not be taken over.
        Error = "error",
    }
}

impl SourceEnd {
    /// From the reason in the log.
    pub(crate) fn of(reason: &str) -> Self {
        match reason {
            "end of stream" | "closed by source" | "closed by upstream" => Self::Closed,
            "reset by source" | "source unreachable" | "read error" => Self::Lost,
            "silent" => Self::Silent,
            "bad framing" => Self::BadFormat,
            "kicked" => Self::Kicked,
            "disabled" => Self::Disabled,
            "replaced" => Self::Replaced,
            "shutdown" => Self::Shutdown,
            "aborted" => Self::Aborted,
            _ => Self::Other,
        }
    }
}

observe::metrics! {
    /// Requests of sources.
    pub static SOURCE_CONNECTS: Counters<(Protocol, SourceResult)> =
        "tinyice_source_connects_total" {"protocol", "result"}: "Requests of sources, by what became of them.";
    /// Sources that went.
    pub static SOURCE_DISCONNECTS: Counters<SourceEnd> =
        "tinyice_source_disconnects_total" {"reason"}: "Sources that went, by reason.";
    /// Requests of listeners.
    pub static LISTENER_CONNECTS: Counters<(ListenerProtocol, ListenerResult)> =
        "tinyice_listener_connects_total" {"protocol", "result"}: "Requests of listeners, by what became of them.";
    /// Listeners that went.
    pub static LISTENER_DISCONNECTS: Counters<Leave> =
        "tinyice_listener_disconnects_total" {"reason"}: "Listeners that went, by reason.";
    /// How long listeners stayed.
    pub static LISTENER_SESSIONS: Histogram = "tinyice_listener_session_seconds": "How long listeners stayed.",
        seconds &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 43_200.0, 86_400.0];
}

/// Everything that this crate counts.
pub static ALL: &[&dyn Metric] = &[
    &SOURCE_CONNECTS,
    &SOURCE_DISCONNECTS,
    &LISTENER_CONNECTS,
    &LISTENER_DISCONNECTS,
    &LISTENER_SESSIONS,
];

/// What a mount counts of its sources' bytes.
#[derive(Debug)]
pub struct IntakeMeter {
    /// Time between two arrivals of whole frames: the jitter of the source and its network.
    pub gaps: Histogram,
    /// Times that framing was lost and found again.
    pub resyncs: Counter,
    /// Bytes that belong to no frame.
    pub bad_bytes: Counter,
}

impl Default for IntakeMeter {
    fn default() -> Self {
        Self {
            gaps: Histogram::seconds(&[0.01, 0.03, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0]),
            resyncs: Counter::new(),
            bad_bytes: Counter::new(),
        }
    }
}
