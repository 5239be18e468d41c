//! The debug pages.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Capture, Feeder, Listener, Program, SOURCE_PASSWORD, Server, get, installed, until};

#[test]
fn streams_show_rings_threads_and_the_slowest() {
    let server = Server::setup().internal().start();
    let _feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    let listener = Capture::start(&server, "/live", "User-Agent: reads\r\n");
    listener.wait_for(10_000);
    let page = until("frames that were delivered", || {
        let page = server.ask("/debug/streams?format=json").json();
        let delays = page["delays"].as_array().unwrap();
        let fanout = delays
            .iter()
            .find(|delay| delay["mount"] == "/live" && delay["stage"] == "fanout")?;
        (fanout["frames"].as_u64() > Some(0)).then_some(page)
    });
    let mounts = page["mounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["mount"] == "/live").unwrap();
    assert_eq!(
        (&mount["source"], &mount["listeners"]),
        (&"icecast".into(), &1.into())
    );
    assert!(mount["ring_head"].as_u64().unwrap() > 0, "{mount}");
    assert!(!page["delivery_threads"].as_array().unwrap().is_empty());
    let text = server.ask("/debug/streams").text();
    assert!(text.contains("/live") && text.contains("reads"), "{text}");
}

#[test]
fn a_listener_that_does_not_read_is_told_from_one_that_does() {
    let server = Server::setup().internal().start();
    let _feeder = Feeder::run(
        crate::harness::Source::open(&server, "/live"),
        crate::harness::Mp3::new('a'),
        60.0,
    );
    server.wait_for_mount("/live");
    let _reads = Capture::start(&server, "/live", "User-Agent: reads\r\n");
    let _sleeps = Listener::open(&server, "/live", "User-Agent: sleeps\x1b[31m\r\n");
    let find = |agent: &str| -> Option<Value> {
        let page = server.ask("/debug/listeners?format=json").json();
        let listeners = page["listeners"].as_array()?;
        listeners
            .iter()
            .find(|listener| {
                listener["user_agent"]
                    .as_str()
                    .is_some_and(|text| text.starts_with(agent))
            })
            .cloned()
    };
    let stuck = until("unsent bytes of the one that sleeps", || {
        find("sleeps").filter(|listener| listener["unsent_bytes"].as_u64() > Some(0))
    });
    assert!(stuck["round_trip_seconds"].as_f64() > Some(0.0), "{stuck}");
    until("it is behind", || {
        find("sleeps").filter(|listener| listener["blocked_seconds"].as_f64() > Some(0.0))
    });
    let well = find("reads").unwrap();
    assert_eq!(well["blocked_seconds"], Value::Null, "{well}");
    let text = server.ask("/debug/listeners").text();
    assert!(text.contains("sleeps") && !text.contains('\x1b'), "{text}");
    let id = stuck["id"].as_u64().unwrap();
    let one = server
        .ask(&format!("/debug/listeners?id={id}&format=json"))
        .json();
    assert_eq!(one["listeners"].as_array().unwrap().len(), 1);
}

#[test]
fn the_log_level_changes_without_a_restart_and_falls_back() {
    let server = Server::setup().internal().start();
    let put = |body: &str| {
        crate::harness::request(
            server.internal(),
            format!(
                "PUT /debug/log HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        )
    };
    assert!(server.ask("/debug/log").text().contains("info"));
    let reply = put("level=debug&for=10m");
    assert_eq!(reply.status(), 200, "{}", reply.text());
    until("a debug line", || {
        get(server.address(), "/status-json.xsl", "");
        server
            .log()
            .into_iter()
            .find(|line| line.contains("DEBUG") && line.contains("/status-json.xsl"))
    });
    let wrong = put("level=loud");
    assert_eq!(wrong.status(), 400);
    assert!(wrong.text().contains("debug"), "{}", wrong.text());
    assert_eq!(put("level=info").status(), 200);
}

#[test]
fn the_bundle_has_everything_and_no_secret() {
    if !installed(&["tar"]) {
        return;
    }
    let server = Server::setup().internal().start();
    let _feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    let bundle = server.ask("/debug/bundle");
    assert_eq!(bundle.status(), 200);
    let file = server.folder().write("bundle.tar.gz", &bundle.body);
    let (status, list) = Program::start(Command::new("tar").arg("-tzf").arg(&file)).wait();
    assert!(status.success(), "{list}");
    for part in [
        "metrics",
        "goroutine",
        "heap",
        "mutex",
        "block",
        "profile",
        "events",
        "streams",
        "config",
        "system",
    ] {
        assert!(list.contains(part), "{part} in\n{list}");
    }
    let (status, all) = Program::start(Command::new("tar").arg("-xzOf").arg(&file)).wait();
    assert!(status.success());
    assert!(
        !all.contains("$2b$") && !all.contains(SOURCE_PASSWORD),
        "a secret is in the bundle"
    );
}

#[test]
fn variables_are_json_for_programs() {
    if !installed(&["curl", "jq"]) {
        return;
    }
    let server = Server::setup().internal().start();
    let mut jq = Program::start(Command::new("sh").arg("-c").arg(format!(
        "curl -s http://{}/debug/vars | jq -e '.tinyice_listeners_total == 0 and (.cmdline | length) > 1'",
        server.internal()
    )));
    let (status, output) = jq.wait();
    assert!(status.success(), "{output}");
}

#[test]
fn every_page_of_the_index_answers() {
    let server = Server::setup().internal().start();
    let index = server.ask("/").text();
    let mut seen = 0;
    for link in index.split("href=\"").skip(1) {
        let target = link.split('"').next().unwrap().replace("&amp;", "&");
        if target.contains("profile")
            || target.contains("trace")
            || target.contains("bundle")
            || target.contains("follow")
        {
            continue;
        }
        let reply = server.ask(&target);
        assert!(
            [200, 503].contains(&reply.status()),
            "{target}: {}",
            reply.status()
        );
        seen += 1;
    }
    assert!(seen > 10, "{index}");
    let goroutines = server.ask("/debug/pprof/").text();
    assert!(
        goroutines.contains("goroutine") && goroutines.contains("debug=2"),
        "{goroutines}"
    );
}
