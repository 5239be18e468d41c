//! Answers of the Icecast-compatible administration commands.
//!
//! Contract: tools look at the status and at `<return>`; the messages are Icecast's.

use config::MountName;
use http::{HeaderValue, StatusCode};

use crate::{Answer, status::iceresponse_xml};

/// Content type of every XML answer.
pub const XML: HeaderValue = HeaderValue::from_static("text/xml; charset=utf-8");

/// An `iceresponse` with its status.
#[must_use]
pub fn response(status: StatusCode, message: &str, success: bool) -> Answer {
    Answer::new(status, XML, iceresponse_xml(message, success))
}

/// Answer of `killclient`; a client that is gone is no error of the caller.
#[must_use]
pub fn killclient(id: u64, found: bool) -> Answer {
    let outcome = if found { "removed" } else { "not found" };
    response(StatusCode::OK, &format!("Client {id} {outcome}"), found)
}

/// Answer of `killsource`.
#[must_use]
pub fn killsource() -> Answer {
    response(StatusCode::OK, "Source Removed", true)
}

/// Why `moveclients` moved nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadMove {
    /// The destination is not a mount.
    NoSuchDestination,
    /// Source and destination are the same.
    Identical,
    /// The destination has no source.
    NotRunning,
}

/// Answer of `moveclients`.
#[must_use]
pub fn moveclients(from: &MountName, to: &MountName) -> Answer {
    response(
        StatusCode::OK,
        &format!("Clients moved from {from} to {to}"),
        true,
    )
}

impl From<BadMove> for Answer {
    fn from(bad: BadMove) -> Self {
        let message = match bad {
            BadMove::NoSuchDestination => "No such destination",
            BadMove::Identical => "supplied mountpoints are identical",
            BadMove::NotRunning => "Destination not running",
        };
        response(StatusCode::BAD_REQUEST, message, false)
    }
}

/// Answer of `fallbacks`.
#[must_use]
pub fn fallbacks() -> Answer {
    response(StatusCode::OK, "Fallback configured", true)
}

/// 400 to any command for a mount that is unknown or not live.
#[must_use]
pub fn no_such_source() -> Answer {
    response(StatusCode::BAD_REQUEST, "Source does not exist", false)
}

/// 400 to a command without a parameter it needs.
#[must_use]
pub fn missing(parameter: &str) -> Answer {
    response(
        StatusCode::BAD_REQUEST,
        &format!("Missing parameter: {parameter}"),
        false,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_answer_as_icecast_does() {
        let (a, b) = (MountName::parse("/a").unwrap(), MountName::parse("/b").unwrap());
        for (answer, status, message, code) in [
            (killclient(17, true), 200, "Client 17 removed", 1),
            (killclient(17, false), 200, "Client 17 not found", 0),
            (killsource(), 200, "Source Removed", 1),
            (moveclients(&a, &b), 200, "Clients moved from /a to /b", 1),
            (BadMove::NoSuchDestination.into(), 400, "No such destination", 0),
            (
                BadMove::Identical.into(),
                400,
                "supplied mountpoints are identical",
                0,
            ),
            (BadMove::NotRunning.into(), 400, "Destination not running", 0),
            (fallbacks(), 200, "Fallback configured", 1),
            (no_such_source(), 400, "Source does not exist", 0),
            (missing("mount"), 400, "Missing parameter: mount", 0),
        ] {
            let body = format!(
                "<?xml version=\"1.0\"?>\n<iceresponse><message>{message}</message><return>{code}</return></iceresponse>\n"
            );
            assert_eq!(
                (answer.status.as_u16(), answer.body.as_ref()),
                (status, body.as_bytes())
            );
            assert_eq!(answer.headers["content-type"], "text/xml; charset=utf-8");
        }
    }
}
