//! What the tests stand on: a server of their own, raw connections, and other programs as children.
//!
//! Contract: everything started here ends when its handle is dropped, and nothing here waits for a time when it
//! could wait for a condition.

mod browser;
mod client;
mod folder;
mod frames;
mod http;
mod icy;
mod listener;
mod ogg;
mod program;
mod server;
mod source;
mod wire;

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

pub(crate) use browser::{Browser, Page};
pub(crate) use client::{As, Client};
pub(crate) use folder::Folder;
pub(crate) use frames::{FRAME, Mp3, numbers};
pub(crate) use http::{Reply, basic, get, post, request, source_auth};
pub(crate) use icy::Interleaved;
pub(crate) use listener::{Capture, Listener};
pub(crate) use ogg::{check_chains, pages};
pub(crate) use program::{Pacer, Program, decode, ffmpeg, installed};
pub(crate) use server::{Server, Setup};
pub(crate) use source::{Feeder, Source};
pub(crate) use wire::{Head, Wire};

/// How long a condition may take on a busy machine before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Opens every mount.
pub(crate) const SOURCE_PASSWORD: &str = "let-me-play";

/// Name and password of the superadmin.
pub(crate) const ADMIN: (&str, &str) = ("admin", "let-me-rule");

/// The bcrypt hash of a password, at the lowest cost there is.
pub(crate) fn hash(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap()
}

fn source_hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| hash(SOURCE_PASSWORD))
}

fn admin_hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| hash(ADMIN.1))
}

/// Waits until `condition` gives something. `what` is for the person who reads that it never did.
pub(crate) fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, condition)
}

/// [`until`] with a patience of its own, for what is known to take long.
pub(crate) fn until_within<T>(patience: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(began.elapsed() < patience, "waited {patience:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
