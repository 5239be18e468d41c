//! Whole connections, byte for byte: over real sockets where the kernel matters, else over pipes on virtual time.

mod door;
mod harness;
mod requests;
mod takeover;
mod timing;
