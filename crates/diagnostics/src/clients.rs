//! All connections of the port.
//!
//! Contract: as long as one client is idle or does not read, a new one finds a place.

use std::sync::Arc;

use crate::client::{Client, Limits};

/// The connections.
#[derive(Debug)]
pub(crate) struct Clients {
    most: usize,
    spared: std::time::Duration,
    /// Held to add, remove or copy references, on the port's own thread.
    list: observe::Mutex<Vec<Arc<Client>>>,
}

impl Clients {
    pub(crate) fn new(limits: &Limits) -> Clients {
        Clients {
            most: limits.connections.max(1),
            spared: limits.spared,
            list: observe::Mutex::new("diagnostics connections", Vec::new()),
        }
    }

    /// Takes a client in, if need be in place of the one that has been idle for longest. `false` when all are busy.
    pub(crate) fn admit(&self, client: &Arc<Client>) -> bool {
        let mut list = self.list.lock();
        if list.len() >= self.most {
            let idle = |(at, client): (usize, &Arc<Client>)| Some((client.idle_for()?, at));
            let longest = list.iter().enumerate().filter_map(idle).max();
            match longest {
                Some((idle, at)) if idle >= self.spared => list.swap_remove(at).dismiss(),
                _ => return false,
            }
        }
        list.push(Arc::clone(client));
        true
    }

    /// Takes a client that has ended off the list.
    pub(crate) fn remove(&self, client: &Arc<Client>) {
        self.list.lock().retain(|other| !Arc::ptr_eq(other, client));
    }

    /// The clients now, oldest first.
    pub(crate) fn list(&self) -> Vec<Arc<Client>> {
        let mut list = self.list.lock().clone();
        list.sort_by_key(|client| std::cmp::Reverse(client.age()));
        list
    }

    pub(crate) fn count(&self) -> usize {
        self.list.lock().len()
    }
}
