//! Traces and logs for an OpenTelemetry collector.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use observe::Mutex;
use serde_json::Value;

use crate::harness::{Capture, Feeder, Server, until};

/// Takes what a collector takes and keeps it.
struct Collector {
    address: String,
    taken: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let taken = Arc::new(Mutex::new("collector.taken", Vec::new()));
        let kept = Arc::clone(&taken);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if let Some(request) = take(stream) {
                    kept.lock().push(request);
                }
            }
        });
        Self { address, taken }
    }

    /// Every element of a kind, such as `spans` below `/v1/traces`.
    fn all(&self, path: &str, pointer: &str) -> Vec<Value> {
        let taken = self.taken.lock();
        let bodies = taken.iter().filter(|(to, _)| to == path);
        bodies
            .flat_map(|(_, body)| {
                body.pointer(pointer)
                    .and_then(Value::as_array)
                    .cloned()
                    .unwrap_or_default()
            })
            .collect()
    }
}

fn take(mut stream: TcpStream) -> Option<(String, Value)> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let path = first.strip_prefix("POST ")?.split(' ').next()?.to_owned();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        .ok()?;
    Some((path, serde_json::from_slice(&body).ok()?))
}

const SPANS: &str = "/resourceSpans/0/scopeSpans/0/spans";
const RECORDS: &str = "/resourceLogs/0/scopeLogs/0/logRecords";

#[test]
fn a_source_session_is_a_span_and_its_log_lines_carry_its_id() {
    let collector = Collector::start();
    let server = Server::setup()
        .set("otlp_endpoint", format!("http://{}", collector.address))
        .start();
    let feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    drop(feeder);
    server.wait_for_log("Source disconnected");
    let span = until("the span of the session", || {
        collector
            .all("/v1/traces", SPANS)
            .into_iter()
            .find(|span| span["name"] == "source")
    });
    let trace = span["traceId"].as_str().unwrap();
    assert_eq!(trace.len(), 32);
    let times = ["startTimeUnixNano", "endTimeUnixNano"]
        .map(|key| span[key].as_str().unwrap().parse::<u64>().unwrap());
    assert!(times[0] < times[1], "{span}");
    for message in ["Source connected", "Source disconnected"] {
        let record = until(message, || {
            let mut all = collector.all("/v1/logs", RECORDS).into_iter();
            all.find(|record| record["body"]["stringValue"] == message)
        });
        assert_eq!(record["traceId"], trace, "{record}");
    }
}

#[test]
fn a_collector_that_is_away_disturbs_nothing_and_gets_the_rest_later() {
    // Somebody answers there, and hangs up at once.
    let broken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = broken.local_addr().unwrap();
    std::thread::spawn(move || broken.incoming().for_each(drop));
    let server = Server::setup()
        .internal()
        .set("otlp_endpoint", format!("http://{address}"))
        .start();
    server.wait_for_log("collector cannot be reached");
    let _feeder = Feeder::start(&server, "/live", 'a');
    server.wait_for_mount("/live");
    let failures = "tinyice_otlp_failures_total{signal=\"logs\"}";
    until("failures are counted", || {
        server.metric(failures).filter(|count| *count >= 1.0)
    });
    let collector = Collector::start();
    server.edit_config(|config| config["otlp_endpoint"] = format!("http://{}", collector.address).into());
    assert!(server.reload());
    until("the new collector", || {
        drop(Capture::start(&server, "/live", ""));
        let records = collector.all("/v1/logs", RECORDS);
        records
            .iter()
            .any(|record| record["body"]["stringValue"] == "Listener connected")
            .then_some(())
    });
}
