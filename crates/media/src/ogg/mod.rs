//! Ogg (RFC 3533): cutting a source's bytes into pages, and rewriting pages for one listener.
//!
//! Contract: what [`OggFramer`] emits is made of whole pages with right checksums, headers before data; what
//! [`Rewriter`] writes is one or more complete, well-formed chained streams, wherever the listener joined.
//!
//! ```
//! use media::ogg::{OggFramer, Rewriter};
//! let mut framer = OggFramer::new();
//! let mut units = Vec::new();
//! framer.push(b"OggS...", &mut units);
//! assert!(units.is_empty(), "a page is not there before all of it is");
//!
//! let mut rewriter = Rewriter::new(7);
//! let mut out = Vec::new();
//! rewriter.rewrite(b"", &mut out);
//! assert!(out.is_empty() && !rewriter.is_open());
//! ```

mod clock;
pub(crate) mod comments;
mod crc;
mod framer;
mod headers;
mod page;
mod rewriter;
#[cfg(test)]
mod testing;

pub use framer::OggFramer;
pub use rewriter::Rewriter;

/// Logical streams of one chain that are followed; pages of further ones are dropped.
const MAX_STREAMS: usize = 16;
