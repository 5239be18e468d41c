//! What a server says about itself: typed events, log files, named tasks, threads and locks.
//!
//! Contract: nothing here ever waits for a disk, a terminal or a slow reader; what does not fit is dropped and
//! counted. This crate knows no other crate of the workspace and can serve any program.
//!
//! ```
//! use std::net::IpAddr;
//!
//! observe::event! {
//!     /// An encoder took a mount.
//!     pub struct SourceConnected<'a> { mount: &'a str, ip: IpAddr, ua: &'a str => "user_agent" }
//!     = Info "source_connected": "Source connected"
//! }
//!
//! observe::emit(SourceConnected { mount: "/live", ip: [203, 0, 113, 9].into(), ua: "butt 1.40" });
//! assert_eq!(observe::event_counts()["source_connected"], 1);
//! ```

mod event;
mod event_macro;
mod lock;
pub mod log;
pub mod metrics;
pub mod record;
pub mod span;
pub mod task;
pub mod thread;
pub mod trace;
mod value;
pub mod wait;
pub mod watchdog;

/// Whether anything is counted: false only in a build that measures what counting costs.
pub const ENABLED: bool = !cfg!(feature = "off");

pub use event::{Counter, Event, Level, Trail, UnknownLevel, emit, emit_limited};
pub use lock::{
    HeldLock, LockStats, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Waiter, held_locks,
    lock_totals, lock_waiters, locks,
};
pub use record::{Capture, Record, event_counts, recent, subscribe};
pub use value::{Field, Fields, Value};
pub use wait::{Contention, contentions};

/// What the `event!` macro expands to; not for direct use.
#[doc(hidden)]
pub mod macro_support {
    pub use crate::value::{ByDisplay, ByField, ByOption, Probe};
}
