//! A source's request: what it offers, how its body is framed, and which bytes it gets when.
//!
//! Contract: a [`SourceOffer`] says everything that later code needs, so nobody looks into the headers again;
//! the [`ReplyPlan`] is complete: beyond it nothing is ever written to a source.

mod offer;
mod reply;

pub use offer::{AfterRefusal, SourceMethod, SourceOffer};
pub use reply::ReplyPlan;

use std::time::Duration;

/// A source that sent its head but no audio for this long is probably held up by request buffering in a
/// reverse proxy: worth one warning in the log.
pub const FIRST_AUDIO_PATIENCE: Duration = Duration::from_secs(10);

/// A refused source may already be sending: read at most this much before closing, so that it sees the answer
/// instead of a reset.
pub const DRAIN_BYTES: usize = 64 * 1024;

/// And at most for this long.
pub const DRAIN_TIME: Duration = Duration::from_secs(1);
