//! Delivery: the threads that write to listeners, and nothing else.
//!
//! Contract: a delivery thread waits for nothing but its sockets and its clock. It takes no lock that anyone
//! holds, and per listener and flush it allocates nothing.
//!
//! A listener is a socket and a position in a ring. It is admitted with its response head already made;
//! head, burst, catching up and live edge are one and the same state here: write from the position until the
//! socket takes no more or the edge is reached. Readiness is edge-triggered, so a listener that keeps up
//! costs one `send` per flush and no other system call.
//!
//! Which ring feeds a listener is not decided here: a [`Home`] (the mount that the listener asked for) carries
//! a [`Routing`], an ordered list of [`Feed`]s; threads apply it when told that it changed.

mod feed;
mod inbox;
mod inspect;
mod meter;
mod pace;
mod position;
mod presence;
mod seat;
mod tcp_info;
mod threads;
mod wire;
mod worker;

pub use feed::{Feed, FeedCounters, Home, Otherwise, Routing};
pub use inspect::{Inspect, Inspection, ListenerView};
pub use meter::{Delays, WorkerMeter};
pub use position::Interleave;
pub use presence::{Departure, Leave, Presence};
pub use seat::{Full, Seat, Seating};
pub use tcp_info::TcpInfo;
pub use threads::{Admission, Fanout, Settings};
pub use wire::Wire;
