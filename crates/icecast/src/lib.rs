//! The Icecast protocol as encoders, players, relays, statistics tools and directories see it.
//!
//! Contract: bytes and a clock in, replies and deadlines out. Nothing here opens a socket, spawns a task or
//! panics on input, and whatever a peer sends, the memory kept for it is bounded.
//!
//! | module | speaks with |
//! | --- | --- |
//! | [`source`], [`body`], [`StreamBody`], [`shoutcast`] | encoders that publish |
//! | [`metadata`] | encoders and scripts that change a title |
//! | [`listener`], [`cors`], [`playlist`] | players |
//! | [`status`], [`command`] | statistics tools and administration scripts |
//! | [`relay`] | the upstream server that a relay pulls from |
//! | [`directory`] | stream directories (YP) |
//!
//! ```
//! use icecast::source::{SourceMethod, SourceOffer};
//! let mut headers = http::HeaderMap::new();
//! headers.insert("ice-name", http::HeaderValue::from_static("Example FM"));
//! let offer = SourceOffer::read(SourceMethod::Source, http::Version::HTTP_10, &headers).unwrap();
//! assert_eq!(offer.station.name.as_deref(), Some("Example FM"));
//! assert!(offer.reply_plan().before_body.starts_with(b"HTTP/1.0 200 OK\r\n"));
//! ```

pub mod answer;
pub mod body;
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

mod chunked;
mod dates;
mod head_lines;
mod stream_body;
mod xml;

pub use answer::Answer;
pub use body::{BadChunk, BodyDecoder, Framing, Progress};
pub use station::StationInfo;
pub use stream_body::StreamBody;

/// How the server names itself to players, statistics tools and directories. Tools that look for Icecast find
/// it; people find the product.
pub const SERVER_ID: &str = "Icecast 2.4.4 (TinyIce)";

/// How the server names itself to sources: old encoders compare the whole value.
pub const SOURCE_SERVER_ID: &str = "Icecast 2.4.4";
