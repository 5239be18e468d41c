//! The Icecast protocol as encoders, players, relays, statistics tools and directories see it.
//!
//! Contract: bytes and a clock in, replies and deadlines out. Nothing here opens a socket, spawns a task or
//! panics on input, and whatever a peer sends, the memory kept for it is bounded.
//!
//! | module | speaks with |
//! | --- | --- |
//! | [`source`], [`shoutcast`] | encoders that publish |
//! | [`metadata`] | encoders and scripts that change a title |
//! | [`listener`], [`cors`], [`playlist`] | players |
//! | [`status`], [`command`] | statistics tools and administration scripts |
//! | [`relay`] | the upstream server that a relay pulls from |
//! | [`directory`] | stream directories (YP) |
//!
//! ```
//! use icecast::source::{ReplyPlan, SourceMethod, SourceOffer};
//! let mut headers = http::HeaderMap::new();
//! headers.insert("ice-name", http::HeaderValue::from_static("Example FM"));
//! let offer = SourceOffer::read(SourceMethod::Source, &headers);
//! assert_eq!(offer.station.name.as_deref(), Some("Example FM"));
//! assert!(ReplyPlan::of(offer.method, false, false).before_body.starts_with(b"HTTP/1.0 200 OK\r\n"));
//! ```

pub mod answer;
pub mod command;
pub mod cors;
pub mod directory;
pub mod listener;
pub mod metadata;
pub mod playlist;
pub mod relay;
pub mod shoutcast;
pub mod source;
pub mod station;
pub mod status;
pub mod text;

mod dates;
mod head_lines;
mod xml;

pub use answer::Answer;
pub use station::StationInfo;

/// How the server names itself to players, statistics tools and directories. Tools that look for Icecast find
/// it; people find the product.
pub const SERVER_ID: &str = "Icecast 2.4.4 (TinyIce)";

/// How the server names itself to sources: old encoders compare the whole value.
pub const SOURCE_SERVER_ID: &str = "Icecast 2.4.4";
