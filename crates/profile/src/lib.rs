//! Profiles of the running process: processor time, heap, stacks of threads, in pprof's format.
//!
//! Contract: what runs inside a signal handler or on a thread that is being measured copies registers and stack and
//! nothing else; unwinding and naming happen on the thread that asked.

mod allocator;
pub mod awaits;
pub mod cpu;
pub mod encode;
pub mod heap;
mod image;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod linux;
mod model;
mod modules;
pub mod process;
pub mod stack;
pub mod symbols;
pub mod threads;

pub use allocator::Allocator;
pub use model::{Frame, Profile, Sample, ValueType};
pub use symbols::resolve;

/// Whether stacks of other threads and processor time can be had on this platform.
pub const SUPPORTED: bool = cfg!(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
));
