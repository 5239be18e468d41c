//! What a relay has to know of the protocol: what an upstream's head says, when to try again, and how relays in a
//! circle are found.
//!
//! Contract: nothing here dials. A relayed stream is never public, an upstream that flaps is asked less and less
//! often, and a stream never comes back to an instance that it has been through.
//!
//! ```
//! use icecast::relay::{Backoff, RelayHead};
//! let mut headers = http::HeaderMap::new();
//! headers.insert("icy-name", http::HeaderValue::from_static("Example FM"));
//! headers.insert("icy-metaint", http::HeaderValue::from_static("16000"));
//! let head = RelayHead::read(&headers);
//! assert_eq!(head.station.name.as_deref(), Some("Example FM"));
//! assert_eq!(head.metaint.unwrap().get(), 16000);
//! assert_eq!(Backoff::default().next(|| 1.0).as_secs(), 1);
//! ```

mod backoff;
mod circle;
mod head;
mod own;

pub use backoff::Backoff;
pub use circle::{Chain, LOOP_HEADER, is_loop, is_relay, loop_detected};
pub use head::RelayHead;
pub use own::OwnAddresses;
