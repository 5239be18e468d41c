//! Relays and directory reports against servers on loopback sockets, under a clock that the tests turn.
//!
//! Contract: nothing waits for real time. Time passes only where a test says so, and a condition is waited for until
//! it holds.

mod world;

mod circles;
mod demand;
mod listings;
mod ownership;
mod reloads;
mod retries;
mod streams;
