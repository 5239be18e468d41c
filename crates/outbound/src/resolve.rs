//! From names to addresses.
//!
//! Contract: a lookup never runs on the media path, and lookups that hang hold at most
//! [`SystemResolver::SLOTS`] threads.

use std::{
    io,
    net::{IpAddr, ToSocketAddrs},
    pin::Pin,
    sync::Arc,
};

use observe::wait::{Kind, timed};
use tokio::sync::Semaphore;

/// A lookup under way.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Something that knows the addresses of names.
pub trait Resolve: Send + Sync {
    /// All addresses of `host`, in the order in which they should be tried. Never called for a host
    /// that is an address already.
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a>;
}

/// The resolver of the operating system.
#[derive(Debug, Clone)]
pub struct SystemResolver {
    slots: Arc<Semaphore>,
}

impl SystemResolver {
    /// How many lookups run at once. The system's call cannot be cancelled: a name server that does not
    /// answer would otherwise use up the runtime's blocking threads, which others need too.
    pub const SLOTS: usize = 16;
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(Self::SLOTS)),
        }
    }
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            let slot = self.slots.clone().acquire_owned();
            let slot = timed(Kind::Semaphore, "outbound.resolve", slot)
                .await
                .map_err(io::Error::other)?;
            let host = host.to_owned();
            let lookup = tokio::task::spawn_blocking(move || {
                // The slot is free when the system's call returns, not when the caller stops waiting.
                let _slot = slot;
                let found = (host.as_str(), 0).to_socket_addrs()?;
                Ok(found.map(|addr| addr.ip()).collect())
            });
            lookup.await.map_err(io::Error::other)?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_come_from_the_system() {
        // A literal needs no name server, so this holds on any machine.
        let found = SystemResolver::default().resolve("127.0.0.1").await.unwrap();
        assert_eq!(found, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert!(SystemResolver::default().resolve("not a name").await.is_err());
    }
}
