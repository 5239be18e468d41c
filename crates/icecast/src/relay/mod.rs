//! One relay's conversation with its upstream: request, answer, redirects, and when to try again.
//!
//! Contract: the shell dials, this decides. A password never leaves the origin it was given for and never shows
//! up in a log; an upstream that flaps is asked less and less often.
//!
//! ```
//! use icecast::relay::{Attempt, Identity, Step, Upstream};
//! let upstream = Upstream::parse("http://upstream.example:8000/live", Some("secret")).unwrap();
//! let identity = Identity { version: "1.0".into(), instance: "ab12".into() };
//! let mut attempt = Attempt::new(&upstream, identity);
//! // Connect to attempt.origin(), write attempt.request(), then feed what arrives:
//! let step = attempt.input(b"ICY 200 OK\r\nicy-name:Example FM\r\nicy-metaint:16000\r\n\r\naudio").unwrap();
//! let Step::Accepted(accepted) = step else { panic!() };
//! assert_eq!(accepted.head.metaint.unwrap().get(), 16000);
//! assert_eq!(accepted.early, "audio");
//! ```

mod attempt;
mod backoff;
mod head;
mod own;
mod upstream;

pub use attempt::{Accepted, Attempt, Identity, RelayHead, Step};
pub use backoff::Backoff;
pub use own::{OwnAddresses, is_loop, loop_detected};
pub use upstream::{BadUpstream, Origin, Upstream};

use std::time::Duration;

use http::StatusCode;

/// Longest wait for a TCP connection.
pub const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Longest TLS handshake.
pub const TLS_TIME: Duration = Duration::from_secs(10);

/// Longest wait for a complete response head.
pub const HEAD_TIME: Duration = Duration::from_secs(15);

/// Without a byte for this long the upstream counts as gone.
pub const SILENCE: Duration = Duration::from_secs(60);

/// Most redirects followed in one attempt.
pub const REDIRECTS_MAX: usize = 10;

/// Carries the instance id of a relay, so that relays in a circle notice.
pub const LOOP_HEADER: &str = "X-TinyIce-Relay";

/// Why an attempt failed. Every case is retried with [`Backoff`]; the text is what an operator reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The upstream refused or has no stream.
    #[error("{}", status_text(*.0))]
    Status(StatusCode),
    /// The answer is neither HTTP nor ICY.
    #[error("the upstream does not answer with HTTP or ICY")]
    NotHttp,
    /// The response head has no end.
    #[error("the upstream's response head is too long")]
    HeadTooLong,
    /// A redirect without a usable target.
    #[error("the upstream redirects to nowhere: {0}")]
    BadRedirect(String),
    /// Redirected too often.
    #[error("the upstream redirects in circles")]
    TooManyRedirects,
    /// The connection ended before the head was complete.
    #[error("the upstream closed the connection before it answered")]
    ClosedEarly,
    /// The upstream is this server.
    #[error("the upstream is this server itself")]
    Ourselves,
    /// Another source has the mount; wait until it is free.
    #[error("mount in use")]
    MountInUse,
}

fn status_text(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_str()),
        None => status.as_str().to_owned(),
    }
}
