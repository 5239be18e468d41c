//! Containers and framing: what a mount needs to know of the bytes it carries. No I/O, no clock.
//!
//! Contract: nothing here panics on input, and memory per stream is bounded whatever arrives.
//!
//! A source's bytes go through a [`Framer`], which cuts them into [`Unit`]s: whole frames or pages that a
//! listener may start with, the stream header that must come before them, and titles found inside.
//!
//! ```
//! use media::{Format, Framer, Unit};
//! let mut framer = Framer::new(Format::Opaque);
//! let mut units = Vec::new();
//! framer.push(b"any bytes", &mut units);
//! assert!(matches!(&units[0], Unit::Frames(frames) if frames.sync));
//! ```

pub mod icy;
pub mod ogg;

mod adts;
mod batch;
mod buffer;
mod flac;
mod format;
mod framer;
mod id3;
mod matroska;
mod mpeg;
mod mpegts;
mod opaque;
mod playtime;
mod scan;
mod sniff;
mod unit;
mod wav;

pub use format::Format;
pub use framer::Framer;
pub use sniff::{SNIFF_BYTES, Sniff, sniff};
pub use unit::{Frames, Header, StreamFacts, TrackTitle, Unit};
