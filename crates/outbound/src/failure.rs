//! Why a request brought no answer.
//!
//! Contract: the text is short, made for an operator and free of credentials; what to do about it is
//! in the variant and in [`Failure::is_lasting`].

use std::{fmt, io, net::SocketAddr, time::Duration};

use crate::{BadHead, Refused};

/// Why a request brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The policy does not let it out: change the URL or the allow list.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The host's name could not be looked up.
    #[error("cannot look up {host}: {reason}")]
    Resolve {
        /// The host as the URL has it.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// No address of the host took the connection.
    #[error("{} ({addr})", plain(.error))]
    Connect {
        /// The address whose error tells most.
        addr: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The TLS handshake failed, most often because the certificate does not hold.
    #[error("TLS with {host}: {reason}")]
    Tls {
        /// The host as the URL has it.
        host: String,
        /// What is wrong, in words.
        reason: String,
    },
    /// A phase took longer than its limit.
    #[error("{phase} within {} s ({at})", .after.as_secs_f64())]
    Timeout {
        /// Which phase.
        phase: Phase,
        /// Its limit.
        after: Duration,
        /// Host or address that kept us waiting.
        at: String,
    },
    /// The connection broke before the response head was complete.
    #[error("{} before an answer ({addr})", plain(.error))]
    Broken {
        /// The peer.
        addr: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The peer answered something that is not HTTP.
    #[error("{bad} ({addr})")]
    BadHead {
        /// The peer.
        addr: SocketAddr,
        /// What is wrong with the head.
        bad: BadHead,
    },
    /// One redirect too many.
    #[error("more than {limit} redirects")]
    TooManyRedirects {
        /// How many were allowed.
        limit: u8,
    },
    /// The redirect's target is not a URL.
    #[error("redirected to something that is not a URL")]
    BadRedirect,
    /// A redirect from https to http; following it would give up what https promised.
    #[error("redirected from https to http ({host})")]
    Downgrade {
        /// Where it would lead.
        host: String,
    },
}

/// The phase that a time limit belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Looking up the name.
    Resolve,
    /// Connecting, over all addresses.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Sending the request and waiting for the complete response head.
    Head,
    /// The exchange as a whole.
    Whole,
}

impl Failure {
    /// Whether a later attempt can only succeed after somebody changed a setting, here or upstream.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Refused(_) | Self::TooManyRedirects { .. } | Self::BadRedirect | Self::Downgrade { .. } => {
                true
            }
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Timeout { .. }
            | Self::Broken { .. }
            | Self::BadHead { .. } => false,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "name not looked up",
            Self::Connect => "no connection",
            Self::Tls => "TLS handshake not finished",
            Self::Head => "no answer",
            Self::Whole => "not finished",
        })
    }
}

/// A system error without its number.
pub(crate) fn plain(error: &io::Error) -> String {
    use io::ErrorKind as Kind;
    let known = match error.kind() {
        Kind::ConnectionRefused => "connection refused",
        Kind::ConnectionReset => "connection reset",
        Kind::ConnectionAborted => "connection aborted",
        Kind::BrokenPipe | Kind::UnexpectedEof => "connection closed",
        Kind::HostUnreachable => "host unreachable",
        Kind::NetworkUnreachable => "network unreachable",
        Kind::TimedOut => "connection timed out",
        _ => {
            let text = error.to_string();
            return text.split(" (os error").next().unwrap_or_default().to_owned();
        }
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_for_operators() {
        let addr: SocketAddr = "192.0.2.1:8000".parse().unwrap();
        let secs = Duration::from_secs;
        for (failure, expected, lasting) in [
            (
                Failure::Connect {
                    addr,
                    error: io::Error::from_raw_os_error(111),
                },
                "connection refused (192.0.2.1:8000)",
                false,
            ),
            (
                Failure::Connect {
                    addr,
                    error: io::Error::from_raw_os_error(13),
                },
                "Permission denied (192.0.2.1:8000)",
                false,
            ),
            (
                Failure::Broken {
                    addr,
                    error: io::ErrorKind::UnexpectedEof.into(),
                },
                "connection closed before an answer (192.0.2.1:8000)",
                false,
            ),
            (
                Failure::Timeout {
                    phase: Phase::Head,
                    after: secs(15),
                    at: addr.to_string(),
                },
                "no answer within 15 s (192.0.2.1:8000)",
                false,
            ),
            (
                Failure::Timeout {
                    phase: Phase::Resolve,
                    after: secs(10),
                    at: "radio.example".into(),
                },
                "name not looked up within 10 s (radio.example)",
                false,
            ),
            (
                Failure::BadHead {
                    addr,
                    bad: BadHead::TooLong,
                },
                "response head too long (192.0.2.1:8000)",
                false,
            ),
            (
                Failure::TooManyRedirects { limit: 10 },
                "more than 10 redirects",
                true,
            ),
            (Refused::NoHost.into(), "host missing", true),
        ] {
            assert_eq!(failure.to_string(), expected);
            assert_eq!(failure.is_lasting(), lasting, "{expected}");
        }
    }
}
