//! The tasks that call out for mounts: relays, which pull them from other servers, and directory reports, which
//! announce them.
//!
//! Contract: whatever an upstream or a directory does, nobody here waits for it but the one task that called it.
//! An upstream is never asked more often than its back-off allows, and a mount is fed by its relay only while no
//! other source has it.
//!
//! [`Pulls`] runs one task per relay and restarts only those whose record changed; [`Board`] shows how they are
//! doing. [`report`] is the one task that keeps directories informed.
//!
//! ```no_run
//! # async fn example(mounts: std::sync::Arc<mount::Mounts>, config: config::Config) {
//! use relay::{Board, Pulls, Terms};
//! let client = outbound::Client::new(outbound::Policy::new(&[]), http::HeaderValue::from_static("TinyIce/1.0"));
//! let terms = Terms { client, own: icecast::relay::OwnAddresses::default(), instance: "ab12".into() };
//! let board = Board::default();
//! let mut pulls = Pulls::new(mounts, board.clone(), terms.clone(), tokio::runtime::Handle::current());
//! pulls.apply(&config.relays, terms).await;
//! for (mount, state) in board.states() {
//!     assert_eq!(state.reconnects, 0, "{mount}");
//! }
//! pulls.stop().await;
//! # }
//! ```

mod board;
mod directory;
mod events;
pub mod metrics;
mod pull;
mod pulls;
mod trouble;
mod upstream;

pub use board::{Board, Phase, RelayState};
pub use directory::{Announcing, report};
pub use pulls::{Pulls, Terms};
pub use upstream::{BadUpstream, Upstream};
