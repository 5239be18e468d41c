//! Becomes a server: gives up root, ties its life to the parent's, then executes the server's program.
//! Contract: single-threaded until the execution, because identity and death signal belong to a thread.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Gid, Resource, Rlimit, Signal, Uid};

use crate::Outcome;

/// The user and group that own nothing, by the number common to all distributions.
pub(crate) const NOBODY: u32 = 65_534;

/// The word that asks for the unprivileged user.
pub(crate) const AS_NOBODY: &str = "nobody";

/// The word that keeps the user.
pub(crate) const AS_CALLER: &str = "caller";

/// Runs `launch nobody|caller PROGRAM [WORD]...`; returns only when that fails.
pub(crate) fn run(mut words: impl Iterator<Item = OsString>) -> Outcome<()> {
    let user = words.next().unwrap_or_default();
    let program = words.next().ok_or("launch: no program")?;
    raise_descriptor_limit();
    if user == AS_NOBODY && is_root() {
        let group = Gid::from_raw(NOBODY);
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_gid(group)?;
        rustix::thread::set_thread_uid(Uid::from_raw(NOBODY))?;
    }
    // A change of user clears the death signal, so this comes after it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Err(Command::new(program).args(words).exec().into())
}

/// Whether this process may become another user.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Raises the soft limit of open files to the hard one and returns it.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Going on with the old limit is possible; what does not fit is then reported as refused.
    let reached = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    reached.unwrap_or(u64::MAX)
}
