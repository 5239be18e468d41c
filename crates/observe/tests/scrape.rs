//! A program that registers everything and is scraped.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what fails here fails the test, and what is skipped is told"
)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use observe::metrics::{self, AllocatorStats, BuildInfo, Format, Kind};

observe::label! {
    /// How a request ended.
    enum Outcome { Ok = "ok", Failed = "failed" }

    /// One of many.
    enum Route { A = "a", B = "b", C = "c", D = "d", E = "e", F = "f", G = "g", H = "h", I = "i" }
}

observe::metrics! {
    /// Few series.
    static REQUESTS: Counters<Outcome> = "tinyice_requests_total" {"outcome"}: "Requests by outcome.";
    /// Many series.
    static ROUTES: Counters<(Route, Route)> = "tinyice_routes_total" {"from", "to"}: "Routes taken.";
    /// Durations.
    static DURATION: Histogram = "tinyice_request_duration_seconds": "Duration of requests.",
        seconds &[0.01, 0.1, 1.0];
}

/// The names that existing dashboards know, some of which no tool would choose today.
const FAMILIAR: [&str; 6] = [
    "tinyice_mem_sys_bytes",
    "tinyice_heap_alloc_bytes",
    "tinyice_stack_sys_bytes",
    "tinyice_num_gc",
    "tinyice_goroutines",
    "tinyice_server_uptime_seconds",
];

const NASTY: [&str; 6] = [
    "/plain",
    "/quote\"back\\slash",
    "/line\nfeed\r\t",
    "/escape\u{1b}[31m\u{7f}\u{9b}\u{2028}\u{202e}",
    "/ünïcode 😀 {a=\"b\"} 5",
    "",
];

fn start() {
    metrics::set_prefix("tinyice");
    metrics::set_build(BuildInfo {
        version: "1.2.3",
        commit: "abc",
        rustc: "1.95",
        target: "x86_64",
    });
    metrics::set_allocator(|| {
        // Its figures fall: the purges must not.
        static ASKED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(100);
        Some(AllocatorStats {
            allocated: 1 << 20,
            purges: ASKED.fetch_sub(1, std::sync::atomic::Ordering::Relaxed),
            ..AllocatorStats::default()
        })
    });
    metrics::register_process();
    metrics::register_process();
    metrics::register(&[&REQUESTS, &ROUTES, &DURATION]);
    metrics::register(&[&REQUESTS]);
    metrics::collect_with(|out| {
        let mut family = out.family("tinyice_stream_health_ratio", Kind::Gauge, "Health.");
        for mount in NASTY {
            family.sample(&[("mount", mount), ("name", &mount.repeat(99))], 1.0);
        }
    });
    observe::watchdog::check("test", Vec::new);
    observe::task::guard("test-panic", (), || panic!("on purpose")).unwrap_err();
}

fn families(text: &str, kind: &str) -> Vec<String> {
    let line = |line: &str| {
        let (name, found) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        (found == kind).then(|| name.to_owned())
    };
    text.lines().filter_map(line).collect()
}

fn values(text: &str) -> BTreeMap<&str, f64> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(series, value)| (series, value.parse().unwrap()))
        .collect()
}

#[test]
fn everything_is_exposed() {
    start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    metrics::watch_runtime(runtime.handle().clone());
    REQUESTS.of(Outcome::Failed).add(3);
    ROUTES.of((Route::B, Route::I)).inc();
    DURATION.observe_duration(std::time::Duration::from_millis(50));
    let first = metrics::render(Format::Text);
    let found = values(&first);
    for (series, value) in [
        ("tinyice_requests_total{outcome=\"ok\"}", 0.0),
        ("tinyice_requests_total{outcome=\"failed\"}", 3.0),
        ("tinyice_routes_total{from=\"b\",to=\"i\"}", 1.0),
        ("tinyice_request_duration_seconds_bucket{le=\"0.1\"}", 1.0),
        (
            "tinyice_build_info{version=\"1.2.3\",commit=\"abc\",rustc=\"1.95\",target=\"x86_64\"}",
            1.0,
        ),
        ("tinyice_events_total{event=\"task_panicked\"}", 1.0),
        ("tinyice_task_panics_total", 1.0),
        ("tinyice_watchdog_trips_total{check=\"runtime\"}", 0.0),
        ("tinyice_watchdog_trips_total{check=\"test\"}", 0.0),
        ("tinyice_allocator_allocated_bytes", 1_048_576.0),
        ("tinyice_heap_alloc_bytes", 1_048_576.0),
        ("tinyice_num_gc", 100.0),
        ("tinyice_log_dropped_lines_total", 0.0),
        ("tinyice_runtime_workers", 1.0),
        ("tinyice_runtime_heartbeat_seconds_count", 0.0),
    ] {
        assert_eq!(found.get(series), Some(&value), "{series} in\n{first}");
    }
    assert_eq!(
        first.matches("\ntinyice_routes_total{").count(),
        1,
        "idle series of a large table"
    );
    for name in FAMILIAR {
        assert!(found.contains_key(name), "{name} in\n{first}");
    }
    #[cfg(target_os = "linux")]
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
        "process_threads",
        "process_network_receive_bytes_total",
        "process_network_transmit_bytes_total",
    ] {
        assert!(found.contains_key(name), "{name} in\n{first}");
    }

    let second = metrics::render(Format::Text);
    let now = values(&second);
    for counter in families(&first, "counter")
        .into_iter()
        .chain(families(&first, "histogram"))
    {
        for (series, before) in found.iter().filter(|(series, _)| series.starts_with(&counter)) {
            assert!(now[series] >= *before, "{series} fell");
        }
    }

    let json: serde_json::Value = serde_json::from_str(&metrics::render(Format::Json)).unwrap();
    assert_eq!(json["tinyice_requests_total"]["outcome=failed"], 3);
    assert_eq!(json["tinyice_request_duration_seconds"]["count"], 1);
    assert_eq!(
        json["tinyice_stream_health_ratio"].as_object().unwrap().len(),
        NASTY.len()
    );

    let openmetrics = metrics::render(Format::OpenMetrics);
    assert!(
        openmetrics.contains("# TYPE tinyice_requests counter\n"),
        "{openmetrics}"
    );
    assert!(
        openmetrics.contains("# TYPE tinyice_num_gc unknown\n"),
        "{openmetrics}"
    );
    assert!(openmetrics.ends_with("\n# EOF\n"));
    // For a look with other parsers.
    if let Some(folder) = std::env::var_os("KEEP_SCRAPES") {
        let folder = std::path::Path::new(&folder);
        std::fs::write(folder.join("metrics.txt"), &second).unwrap();
        std::fs::write(folder.join("openmetrics.txt"), &openmetrics).unwrap();
    }
    check_with_promtool(&second);
}

/// `promtool check metrics` has nothing to say but about the familiar names.
fn check_with_promtool(text: &str) {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match promtool {
        Ok(promtool) => promtool,
        Err(error) if std::env::var_os("CI").is_none() => {
            return println!("skipped: promtool does not run: {error}");
        }
        Err(error) => panic!("promtool does not run: {error}"),
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let complaints: Vec<_> = said
        .lines()
        .filter(|line| !line.is_empty() && !FAMILIAR.iter().any(|name| line.starts_with(name)))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}\n{text}");
    // 3 is for remarks about names.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{:?}", output.status);
}
