//! Why a relay is not connected.

use mount::{ClaimError, Stopped};
use outbound::Failure;

/// Why a relay is not connected; the text is what an operator reads.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The upstream cannot be reached.
    #[error(transparent)]
    Unreachable(#[from] Failure),
    /// The upstream refuses or has no stream.
    #[error("{0}")]
    Status(String),
    /// The upstream answers with something else.
    #[error("the upstream sends {0}, which is not a stream")]
    Document(String),
    /// The address is ours.
    #[error("the upstream is this server itself")]
    Ourselves,
    /// The stream has been here before.
    #[error("the upstream relays this server's own stream")]
    Circle,
    /// Somebody else feeds the mount; it will tell when it is free.
    #[error("mount in use")]
    MountInUse,
    /// The mount takes no source.
    #[error("the mount is disabled")]
    MountDisabled,
    /// The server takes no further source.
    #[error("too many sources")]
    TooManySources,
    /// The mount was taken away.
    #[error("{}", stopped(*.0))]
    Stopped(Stopped),
    /// The connection ended.
    #[error("{0}")]
    Lost(&'static str),
}

fn stopped(reason: Stopped) -> &'static str {
    match reason {
        Stopped::Disabled => "the mount is disabled",
        Stopped::Replaced => "mount in use",
        Stopped::Silent => "the upstream sends no audio",
        _ => "ended by an administrator",
    }
}

impl From<ClaimError> for Trouble {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Disabled => Self::MountDisabled,
            ClaimError::TooManySources => Self::TooManySources,
            _ => Self::MountInUse,
        }
    }
}
