//! A source's request: what it offers and which bytes it gets when.
//!
//! Contract: a [`SourceOffer`] says everything of the stream that later code needs, so nobody looks into the headers
//! again; the [`ReplyPlan`] is complete: beyond it nothing is ever written to a source.

mod offer;
mod reply;

pub use offer::{SourceMethod, SourceOffer};
pub use reply::ReplyPlan;

use std::time::Duration;

/// A source that sent its head but no audio for this long is probably held up by request buffering in a
/// reverse proxy: worth one warning in the log.
pub const FIRST_AUDIO_PATIENCE: Duration = Duration::from_secs(10);
