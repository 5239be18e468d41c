//! The real server, driven over sockets and by real encoders and players.
//!
//! Contract: every test starts its own server in its own folder on a port that the system chooses, waits for
//! conditions instead of times, and ends what it started. A test of a program that is not installed says
//! `skipped: …` and passes, except where the variable `CI` is set.

#![recursion_limit = "256"]

#[cfg(test)]
mod harness;

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod admin;
#[cfg(test)]
mod api;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod encoders;
#[cfg(test)]
mod events;
#[cfg(test)]
mod fallback;
#[cfg(test)]
mod hot_swap;
#[cfg(test)]
mod life;
#[cfg(test)]
mod liquidsoap;
#[cfg(test)]
mod monitoring;
#[cfg(test)]
mod observability;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod players;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod titles;
