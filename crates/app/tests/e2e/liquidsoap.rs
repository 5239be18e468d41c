//! Liquidsoap, which publishes in five ways and changes titles all the time.
//!
//! Contract: it gets its 200 or 100 each time, every title arrives, and nothing it does counts as an attack.

use std::{process::Command, thread, time::Duration};

use serde_json::json;

use crate::harness::{
    Capture, Folder, Interleaved, Program, SOURCE_PASSWORD, Server, get, installed, until, until_within,
};

/// Runs a script. The program refuses to be root, which tests in containers are.
fn liquidsoap(folder: &Folder, script: &str) -> Program {
    let script = format!(
        "settings.init.allow_root.set(true)\nsettings.log.stdout.set(true)\nsettings.log.file.set(false)\n{script}"
    );
    let script = folder.write("radio.liq", script);
    Program::start(
        Command::new("liquidsoap")
            .arg(script)
            .current_dir(folder.path())
            .env("HOME", folder.path()),
    )
}

/// A source whose title changes every two seconds: `Song 1`, `Song 2`…
const CHANGING: &str = "number = ref(0)
radio = insert_metadata(noise())
thread.run(every=2., fun () -> begin
  number := !number + 1
  radio.insert_metadata([(\"artist\", \"Björk\"), (\"title\", \"Song #{!number}\")])
end)
";

#[test]
fn it_publishes_and_changes_titles_without_end() {
    if !installed(&["liquidsoap"]) {
        return;
    }
    let (server, folder) = (Server::setup().strict_loopback().start(), Folder::new());
    let ways = [
        ("/source", "source", false),
        ("/put", "put", false),
        ("/source-c", "source", true),
        ("/put-c", "put", true),
    ];
    let outputs = ways.map(|(mount, method, chunked)| {
        format!(
            "output.icecast(%mp3(bitrate=128), host=\"127.0.0.1\", port={port}, password=\"{SOURCE_PASSWORD}\", \
             mount=\"{mount}\", method=\"{method}\", chunked={chunked}, name=\"Liquid\", radio)\n",
            port = server.port(),
        )
    });
    let encoder = liquidsoap(&folder, &format!("{CHANGING}{}", outputs.concat()));
    thread::scope(|scope| {
        for (mount, ..) in ways {
            let server = &server;
            scope.spawn(move || {
                until_within(Duration::from_secs(60), mount, || server.status_of(mount));
                let listener = Capture::start(server, mount, "Icy-MetaData: 1\r\n");
                assert_eq!(listener.head.get("icy-name"), Some("Liquid"), "{mount}");
                let heard = until_within(Duration::from_secs(60), "six titles between the audio", || {
                    assert!(!listener.has_ended(), "{mount} ended");
                    let mut heard = Interleaved::new(16_000);
                    heard.push(&listener.bytes());
                    (heard
                        .titles()
                        .iter()
                        .filter(|title| title.contains("Song "))
                        .count()
                        >= 6)
                        .then_some(heard)
                });
                let titles: Vec<_> = heard
                    .titles()
                    .into_iter()
                    .filter(|title| !title.is_empty())
                    .collect();
                let numbers: Vec<u32> = titles
                    .iter()
                    .map(|title| title.strip_prefix("Björk - Song ").unwrap().parse().unwrap())
                    .collect();
                assert!(
                    numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]),
                    "{mount}: {titles:?}"
                );
                assert_eq!(heard.audio[..2], [0xff, 0xfb], "{mount} begins with a frame");
            });
        }
    });
    assert!(server.log_with("lockout").is_empty());
    let output = encoder.output();
    assert!(
        !output.contains("401") && !output.contains("Connection failed"),
        "{output}"
    );
}

#[test]
fn it_publishes_the_shoutcast_way() {
    if !installed(&["liquidsoap"]) {
        return;
    }
    // It sends audio to the port after the one to which it sends titles.
    let server = until("two ports in a row", || {
        let port = Server::free_port().checked_sub(1)?;
        let shoutcast = json!({ "port": (port + 1).to_string(), "mount": "/stream" });
        Server::setup()
            .strict_loopback()
            .port(port)
            .set("shoutcast", shoutcast)
            .try_start()
            .ok()
    });
    let folder = Folder::new();
    let output = format!(
        "output.shoutcast(%mp3(bitrate=128), host=\"127.0.0.1\", port={}, password=\"{SOURCE_PASSWORD}\", \
         name=\"Old\", genre=\"Rock\", radio)\n",
        server.port(),
    );
    let _encoder = liquidsoap(&folder, &format!("{CHANGING}{output}"));
    until_within(Duration::from_secs(60), "/stream live", || {
        server.status_of("/stream")
    });
    let listener = Capture::start(&server, "/stream", "");
    assert_eq!(
        (listener.head.get("icy-name"), listener.head.get("icy-br")),
        (Some("Old"), Some("128"))
    );
    assert_eq!(listener.wait_for(30_000)[..2], [0xff, 0xfb]);
    until("titles by /admin.cgi", || {
        server
            .title_of("/stream")
            .contains("Björk - Song 3")
            .then_some(())
    });
    assert_eq!(get(server.address(), "/stream.m3u", "").status(), 200);
}
