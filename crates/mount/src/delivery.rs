//! What mounts need of delivery, so that their rules can be tested without sockets.

use std::sync::Arc;

use fanout::{Admission, Fanout, Home, Leave, Presence};

/// The delivery threads, or what stands for them in a test.
pub trait Delivery: Send + Sync {
    /// Takes a listener over.
    fn admit(&self, admission: Admission);
    /// Applies the routing of a home to its listeners.
    fn reroute(&self, home: &Arc<Home>);
    /// Gives all listeners of one home to another.
    fn rehome(&self, from: u64, to: &Arc<Home>, name: &Arc<String>);
    /// Closes whoever matches.
    fn close(&self, whom: Box<dyn Fn(&Presence) -> bool + Send + Sync>, leave: Leave);
}

impl Delivery for Fanout {
    fn admit(&self, admission: Admission) {
        Self::admit(self, admission);
    }

    fn reroute(&self, home: &Arc<Home>) {
        Self::reroute(self, home);
    }

    fn rehome(&self, from: u64, to: &Arc<Home>, name: &Arc<String>) {
        Self::rehome(self, from, to, name);
    }

    fn close(&self, whom: Box<dyn Fn(&Presence) -> bool + Send + Sync>, leave: Leave) {
        Self::close(self, whom, leave);
    }
}
