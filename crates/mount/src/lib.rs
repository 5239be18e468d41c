//! Mounts: who may be the source, what its listeners hear when it goes, and how healthy it is.
//!
//! Contract: at most one [`Claim`] per mount is alive, and only a claim can write. Every decision takes the time
//! as an argument, so all of it runs under a simulated clock; nothing here knows HTTP, sockets or codecs.
//!
//! [`Mounts`] is the registry. A source calls [`Mounts::claim`] and pushes units; a listener is resolved by
//! [`Mounts::tune`] and given to delivery by [`Mounts::enter`]. [`Mounts::tick`] does what is due (grace and
//! settle times, health), and tells when it wants to be called next.

mod allowance;
mod claim;
mod delivery;
mod events;
mod fallback;
mod health;
mod intake;
mod listeners;
mod meters;
pub mod metrics;
mod mounts;
mod settings;
mod snapshot;
mod state;
mod station;
mod stream;
mod title;
mod witness;

pub use claim::{Claim, Stopped};
pub use delivery::Delivery;
pub use health::Health;
pub use intake::Intake;
pub use listeners::{Entrance, Refused};
pub use meters::MountMeter;
pub use mounts::{ClaimError, Mounts, Offer, Tuned};
pub use settings::{MountSettings, Settings};
pub use snapshot::{MountSnapshot, Totals};
pub use station::{Owner, Protocol, Station};
pub use stream::Stream;
pub use title::Title;
pub use witness::{Happening, Witness};
