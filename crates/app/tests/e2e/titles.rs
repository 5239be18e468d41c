//! Titles.

use crate::harness::{Capture, Feeder, Server, numbers};

#[test]
fn smoke() {
    let server = Server::start();
    let _feeder = Feeder::start(&server, "/a", 'a');
    server.wait_for_mount("/a");
    let capture = Capture::start(&server, "/a", "");
    let got = numbers(&capture.wait_for(20_000));
    assert!(got.windows(2).all(|pair| pair[0].1 + 1 == pair[1].1));
}
