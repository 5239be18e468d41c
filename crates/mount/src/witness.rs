//! Who else is told what happens to mounts: history, webhooks.
//!
//! Contract: a witness is called on the media path. It returns at once; what it has to do it does elsewhere.

use std::{fmt, sync::OnceLock, time::Duration};

use config::MountName;

use crate::{Owner, Station, Title};

/// Something that happened to a mount.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the fields are what their types say")]
pub enum Happening<'a> {
    /// A source is on air.
    SourceConnected {
        mount: &'a MountName,
        owner: &'a Owner,
        station: &'a Station,
    },
    /// It went.
    SourceDisconnected {
        mount: &'a MountName,
        owner: &'a Owner,
        station: &'a Station,
        reason: &'a str,
        connected: Duration,
    },
    /// Another title plays.
    TitleChanged {
        mount: &'a MountName,
        title: &'a Title,
        station: &'a Station,
    },
    /// A listener came.
    ListenerConnected {
        mount: &'a MountName,
        user_agent: &'a str,
    },
    /// So many listeners hear another mount instead.
    FallbackBegun {
        mount: &'a MountName,
        fallback: &'a MountName,
        listeners: u64,
    },
    /// So many hear their own again.
    FallbackEnded { mount: &'a MountName, listeners: u64 },
    /// Nothing has come for a while.
    Silent { mount: &'a MountName, silence: Duration },
    /// Something comes again.
    Recovered { mount: &'a MountName },
}

/// Is told what happens to mounts.
pub trait Witness: Send + Sync {
    /// Takes note, at once.
    fn saw(&self, happening: Happening<'_>);
}

/// The place of the witness, empty until there is one.
#[derive(Default)]
pub(crate) struct Stand(OnceLock<Box<dyn Witness>>);

impl Stand {
    pub(crate) fn call(&self, witness: Box<dyn Witness>) {
        // The first one stays: there is one wiring of the server.
        let _ = self.0.set(witness);
    }

    pub(crate) fn tell(&self, happening: Happening<'_>) {
        if let Some(witness) = self.0.get() {
            witness.saw(happening);
        }
    }
}

impl fmt::Debug for Stand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stand").field(&self.0.get().is_some()).finish()
    }
}
