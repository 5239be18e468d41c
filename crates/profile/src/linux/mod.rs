//! What only Linux offers: timers on a thread's processor time, signals to one thread, `/proc/self`.
//!
//! Contract: reading order is `signal` (what happens on the interrupted thread), `unwind` (what becomes of the copy),
//! `task` (which threads there are); nothing else in the crate calls the system directly.

pub(crate) mod signal;
pub(crate) mod task;
pub(crate) mod timer;
pub(crate) mod unwind;
