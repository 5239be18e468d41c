//! `/metrics`: the names that dashboards rely on, and numbers that are true.

use std::collections::HashMap;

use crate::harness::{Capture, Mp3, Server, Source, get, until};

/// Names, types and whether they carry `mount` and `name`, as dashboards of the Go program know them.
const COMPATIBLE: [(&str, &str, bool); 17] = [
    ("tinyice_bandwidth_in_bytes_total", "counter", false),
    ("tinyice_bandwidth_out_bytes_total", "counter", false),
    ("tinyice_listeners_total", "gauge", false),
    ("tinyice_sources_total", "gauge", false),
    ("tinyice_total_dropped_bytes", "counter", false),
    ("tinyice_mem_sys_bytes", "gauge", false),
    ("tinyice_heap_alloc_bytes", "gauge", false),
    ("tinyice_stack_sys_bytes", "gauge", false),
    ("tinyice_num_gc", "counter", false),
    ("tinyice_goroutines", "gauge", false),
    ("tinyice_server_uptime_seconds", "gauge", false),
    ("tinyice_stream_listeners_current", "gauge", true),
    ("tinyice_stream_bytes_in_total", "counter", true),
    ("tinyice_stream_bytes_out_total", "counter", true),
    ("tinyice_stream_bytes_dropped_total", "counter", true),
    ("tinyice_stream_health_ratio", "gauge", true),
    ("tinyice_stream_is_transcoded", "gauge", true),
];

#[test]
fn names_types_and_labels_are_those_that_dashboards_know() {
    let server = Server::setup().internal().start();
    let mut source = Source::with(
        &server,
        "/live",
        "Content-Type: audio/mpeg\r\nIce-Name: A \"good\" one\\\r\n",
    );
    source.send(Mp3::new('a').bytes(20_000));
    server.wait_for_mount("/live");
    let reply = server.ask("/metrics");
    assert_eq!(
        reply.head.get("content-type").unwrap(),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = reply.text();
    for (name, kind, of_mount) in COMPATIBLE {
        assert!(
            text.contains(&format!("\n# TYPE {name} {kind}\n")),
            "{name} {kind}"
        );
        let series = if of_mount {
            format!("\n{name}{{mount=\"/live\",name=\"A \\\"good\\\" one\\\\\"}} ")
        } else {
            format!("\n{name} ")
        };
        assert!(text.contains(&series), "{series} in\n{text}");
    }
}

#[test]
fn counts_are_true_and_go_on_over_a_reconnect() {
    let server = Server::setup().internal().set("source_grace_seconds", 0).start();
    let (mut sent, mut before) = (0, 0.0);
    for name in ["first", "second"] {
        let headers = format!("Content-Type: audio/mpeg\r\nIce-Name: {name}\r\n");
        let mut source = Source::with(&server, "/live", &headers);
        let audio = Mp3::new('a').bytes(30_000);
        source.send(&audio);
        sent += audio.len();
        let series = format!("tinyice_stream_bytes_in_total{{mount=\"/live\",name=\"{name}\"}}");
        until("all bytes counted", || {
            (server.metric(&series) == Some(sent as f64)).then_some(())
        });
        let listener = Capture::start(&server, "/live", "");
        listener.wait_for(20_000);
        until("the listener", || {
            (server.metric("tinyice_listeners_total") == Some(1.0)).then_some(())
        });
        let out = until("bytes to the listener", || {
            let series = format!("tinyice_stream_bytes_out_total{{mount=\"/live\",name=\"{name}\"}}");
            server.metric(&series).filter(|out| *out >= before + 20_000.0)
        });
        before = out;
        drop(listener);
        drop(source);
        server.wait_for_no_mount("/live");
        // The mount is still there, under the name it had last, with everything that it counted.
        assert_eq!(server.metric(&series), Some(sent as f64));
        let gone = format!("tinyice_stream_listeners_current{{mount=\"/live\",name=\"{name}\"}}");
        until("no listener", || {
            (server.metric(&gone) == Some(0.0)).then_some(())
        });
    }
    assert_eq!(
        server.metric("tinyice_bandwidth_in_bytes_total"),
        Some(sent as f64)
    );
    assert_eq!(server.metric("tinyice_sources_total"), Some(0.0));
    let one = |series: &str, expected| assert_eq!(server.metric(series), Some(expected), "{series}");
    one(
        "tinyice_source_connects_total{protocol=\"icecast\",result=\"ok\"}",
        2.0,
    );
    one("tinyice_source_disconnects_total{reason=\"closed\"}", 2.0);
    one(
        "tinyice_listener_connects_total{protocol=\"http\",result=\"ok\"}",
        2.0,
    );
    until("both sessions", || {
        (server.metric("tinyice_listener_session_seconds_count") == Some(2.0)).then_some(())
    });
    one("tinyice_listener_first_byte_seconds_count", 2.0);
}

#[test]
fn refusals_are_counted_by_their_reason() {
    let server = Server::setup().internal().start();
    let mut source = Source::open(&server, "/live");
    source.send(Mp3::new('a').bytes(2_000));
    server.wait_for_mount("/live");
    assert!(Source::try_with(&server, "/live", "").is_err());
    let wrong = crate::harness::request(
        server.address(),
        "SOURCE /x HTTP/1.0\r\nAuthorization: Basic c291cmNlOndyb25n\r\n\r\n",
    );
    assert_eq!(wrong.status(), 401);
    assert_eq!(get(server.address(), "/nothing.mp3", "").status(), 404);
    for series in [
        "tinyice_source_connects_total{protocol=\"icecast\",result=\"busy\"}",
        "tinyice_source_connects_total{protocol=\"icecast\",result=\"auth\"}",
        "tinyice_listener_connects_total{protocol=\"http\",result=\"not_found\"}",
    ] {
        assert_eq!(server.metric(series), Some(1.0), "{series}");
    }
}

#[test]
fn the_delay_budget_says_where_time_goes() {
    let server = Server::setup().internal().start();
    let feeder = crate::harness::Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    let _listener = Capture::start(&server, "/live", "");
    for stage in ["ingest", "framing", "ring", "fanout"] {
        let series = format!("tinyice_stream_delay_seconds_count{{mount=\"/live\",stage=\"{stage}\"}}");
        until(&series, || server.metric(&series).filter(|count| *count >= 20.0));
    }
    let lag = |bound: &str| {
        server
            .metric(&format!("tinyice_delivery_lag_seconds_bucket{{le=\"{bound}\"}}"))
            .unwrap()
    };
    assert!(lag("+Inf") >= 20.0);
    // One listener gets its frames at once; half of them within a tenth of a second holds on any machine.
    assert!(
        lag("0.1") * 2.0 >= lag("+Inf"),
        "{} of {}",
        lag("0.1"),
        lag("+Inf")
    );
    drop(feeder);
}

#[test]
fn a_name_cannot_break_the_text_or_grow_without_bound() {
    let server = Server::setup().internal().start();
    let name = format!("x\\\"}} 1 # {{le=\"{}", "long".repeat(200));
    let headers = format!("Content-Type: audio/mpeg\r\nIce-Name: {name}\r\n");
    let mut source = Source::with(&server, "/live", &headers);
    source.send(Mp3::new('a').bytes(4_000));
    server.wait_for_mount("/live");
    let text = server.ask("/metrics").text();
    let mut seen: HashMap<&str, u32> = HashMap::new();
    for line in text.lines().filter(|line| line.contains("mount=\"/live\",name=")) {
        let (name, _) = line.split_once('{').unwrap();
        *seen.entry(name).or_default() += 1;
        let (labels, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(labels.len() < 300, "{line}");
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
    assert!(seen.values().all(|count| *count == 1), "{seen:?}");
}

#[test]
fn scrapers_get_the_format_that_they_ask_for() {
    let server = Server::setup().internal().start();
    let accept =
        "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2\r\n";
    let open = get(server.internal(), "/metrics", accept);
    assert_eq!(
        open.head.get("content-type").unwrap(),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(open.text().ends_with("# EOF\n"));
    let packed = get(server.internal(), "/metrics", "Accept-Encoding: gzip\r\n");
    assert_eq!(packed.head.get("content-encoding").unwrap(), "gzip");
    assert_eq!(packed.body[..2], [0x1f, 0x8b]);
}

#[test]
fn a_reload_is_counted_whether_it_worked_or_not() {
    let server = Server::setup().internal().start();
    assert_eq!(server.metric("tinyice_config_last_reload_successful"), Some(1.0));
    let first = server
        .metric("tinyice_config_last_reload_success_timestamp_seconds")
        .unwrap();
    server.edit_config(|config| config["max_listeners"] = "many".into());
    assert!(!server.reload());
    assert_eq!(server.metric("tinyice_config_last_reload_successful"), Some(0.0));
    server.edit_config(|config| config["max_listeners"] = 7.into());
    assert!(server.reload());
    assert_eq!(server.metric("tinyice_config_last_reload_successful"), Some(1.0));
    assert!(
        server
            .metric("tinyice_config_last_reload_success_timestamp_seconds")
            .unwrap()
            > first
    );
    assert_eq!(
        server.metric("tinyice_config_reloads_total{result=\"refused\"}"),
        Some(1.0)
    );
}
