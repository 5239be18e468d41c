//! Whole exchanges over loopback sockets.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod guard;
mod https;
mod upstream;
mod upstreams;
