//! Who may do what: passwords, bans, lockouts.
//!
//! Contract: everything that puts bytes on a mount or changes the server asks here, and what is not proven is
//! refused. This crate decides and writes the authentication trail; it never renders an answer.

mod auth;
mod credentials;
mod gate;
mod locked_out;
mod lockout;
pub mod metrics;
mod password;
mod scan;
mod setup;
mod source;
mod table;
mod trail;

pub use auth::{Account, Auth, Protocol, SourceVerdict, Verdict};
pub use credentials::Credentials;
pub use gate::Gate;
pub use lockout::{Failure, Locked, Lockouts};
pub use password::{Busy, HashError, PasswordCheck, PoolSettings};
pub use scan::Scans;
pub use setup::SetupToken;
pub use source::source_hashes;
