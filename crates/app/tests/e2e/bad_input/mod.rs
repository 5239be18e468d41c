//! What must do no harm: broken requests, broken streams, clients that never speak or never read.
//!
//! Contract: whatever one connection does, the server goes on serving the others and nothing in it panics.

mod connections;
mod names;
mod streams;

use crate::harness::{Capture, Feeder, Mp3, Server, Source, numbers};

/// A mount that others listen to while the test misbehaves.
struct Bystander {
    _feeder: Feeder,
    listener: Capture,
}

impl Bystander {
    fn start(server: &Server) -> Self {
        let feeder = Feeder::start(server, "/bystander", 'z');
        server.wait_for_mount("/bystander");
        Self {
            _feeder: feeder,
            listener: Capture::start(server, "/bystander", ""),
        }
    }

    /// Panics unless it still hears every frame, the server takes a new source and listener, and nothing panicked.
    fn check_unharmed(&self, server: &Server) {
        self.listener.wait_for(self.listener.len() + 4_000);
        let frames = numbers(&self.listener.bytes());
        assert!(
            frames.windows(2).all(|pair| pair[0].1 + 1 == pair[1].1),
            "frames are missing: {frames:?}"
        );
        let mut source = Source::open(server, "/proof");
        source.send(Mp3::new('p').bytes(10_000));
        server.wait_for_mount("/proof");
        Capture::start(server, "/proof", "").wait_for(4_000);
        server.admin("killsource?mount=/proof");
        let panics = server.log_with("panicked");
        assert!(panics.is_empty(), "{panics:?}");
    }
}
