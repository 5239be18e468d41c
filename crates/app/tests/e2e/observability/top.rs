//! `tinyice top`.

use std::process::Command;

use crate::harness::{Capture, Feeder, Program, Server, until};

#[test]
fn top_shows_mounts_and_rates_of_the_running_server() {
    let server = Server::setup().internal().start();
    let _feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    let listener = Capture::start(&server, "/live", "");
    listener.wait_for(5_000);
    let internal = server.internal().to_string();
    let block = until("a look with a rate", || {
        let mut top = Program::start(
            Command::new(env!("CARGO_BIN_EXE_tinyice"))
                .args([
                    "-config",
                    "nothing.json",
                    "-metrics-listen",
                    &internal,
                    "top",
                    "1",
                    "1",
                ])
                .current_dir(server.folder().path()),
        );
        let (status, output) = top.wait();
        assert!(status.success(), "{output}");
        let row = output.lines().find(|line| line.starts_with("/live"))?;
        let cells: Vec<_> = row.split_whitespace().collect();
        (cells[2] == "1" && cells[3].parse::<f64>().unwrap() > 60.0).then_some(output.clone())
    });
    assert!(block.contains("listeners 1 "), "{block}");
    assert!(block.contains("lag p50"), "{block}");
}

#[test]
fn without_a_server_top_says_where_it_looked() {
    let server = Server::start();
    let port = Server::free_port();
    let mut top = Program::start(
        Command::new(env!("CARGO_BIN_EXE_tinyice"))
            .args([
                "-config",
                "nothing.json",
                "-metrics-listen",
                &format!("127.0.0.1:{port}"),
                "top",
            ])
            .current_dir(server.folder().path()),
    );
    let (status, output) = top.wait();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains(&format!("127.0.0.1:{port}")), "{output}");
}
