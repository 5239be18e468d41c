//! Relays and directory reports against servers on loopback sockets, under a clock that the tests turn.
//!
//! Contract: nothing waits for real time, except where a real server does. Time passes only where a test says so, and
//! a condition is waited for until it holds.

#[cfg(test)]
mod world;

#[cfg(test)]
mod circles;
#[cfg(test)]
mod demand;
#[cfg(test)]
mod icecast;
#[cfg(test)]
mod listings;
#[cfg(test)]
mod ownership;
#[cfg(test)]
mod reloads;
#[cfg(test)]
mod retries;
#[cfg(test)]
mod streams;
