//! The shipped monitoring: scrape configuration, alerts, dashboard and the documents beside them, held against a
//! live server by the programs that will use them.
//!
//! Contract: a metric that is renamed, removed or added without its documents, a rule without a section in the
//! runbook and a panel without data all fail here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::{
    ADMIN, Capture, Feeder, Folder, Listener, Program, Server, basic, get, installed, post, until,
};

/// How long Prometheus may take to have seen everything: a rate needs two scrapes, and an alert's state one look.
const SCRAPED: Duration = Duration::from_secs(60);

/// What `promtool test rules` runs.
const ALERT_TESTS: [&str; 2] = ["monitoring/alerts.test.yml", "monitoring/alerts-slow.test.yml"];

/// Names of TinyIce (Go) whose ends promise another type than they have. They stay.
const MISNAMED: [&str; 4] = [
    "tinyice_listeners_total",
    "tinyice_num_gc",
    "tinyice_sources_total",
    "tinyice_total_dropped_bytes",
];

/// Metrics that rules may use before the server has them.
const TO_COME: [&str; 1] = ["tinyice_tls_cert_not_after_seconds"];

/// Expressions of the dashboard that return nothing on a server that is well.
const SELDOM: [&str; 1] = ["changes(process_start_time_seconds"];

fn asset(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(asset(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A server with something of everything going on.
struct Station {
    server: Server,
    _feeders: [Feeder; 2],
    _listeners: Vec<Capture>,
}

impl Station {
    fn start() -> Self {
        let server = Server::setup().internal().variable("TINYICE_FAULTS", "1").start();
        // A lock has numbers from the first time that somebody waits for it.
        assert_eq!(
            server.ask("/debug/fault?kind=contention&seconds=120").status(),
            200
        );
        let feeders = [
            Feeder::start(&server, "/live", 'a'),
            Feeder::start(&server, "/other", 'b'),
        ];
        server.wait_for_mount("/live");
        server.wait_for_mount("/other");
        let listeners: Vec<_> = ["/live", "/live", "/other"]
            .map(|mount| Capture::start(&server, mount, "Icy-MetaData: 1\r\n"))
            .into();
        for listener in &listeners {
            listener.wait_for(1);
        }
        let station = Self {
            server,
            _feeders: feeders,
            _listeners: listeners,
        };
        station.stir();
        station
    }

    /// Lets somebody listen for a moment, ask for the status and try a password, so that there are durations to count.
    fn stir(&self) {
        let mut listener = Listener::open(&self.server, "/live", "");
        assert_eq!(listener.head.status, 200);
        assert!(!listener.wire.some().is_empty());
        drop(listener);
        assert_eq!(get(self.server.address(), "/status-json.xsl", "").status(), 200);
        // Loopback is never locked out, and a password that is new is checked.
        static TRIES: AtomicU32 = AtomicU32::new(0);
        let wrong = format!("wrong-{}", TRIES.fetch_add(1, Ordering::Relaxed));
        let headers = format!("Authorization: {}\r\n", basic(ADMIN.0, &wrong));
        assert_eq!(get(self.server.address(), "/admin/stats", &headers).status(), 401);
    }

    fn metrics(&self) -> String {
        let reply = get(self.server.internal(), "/metrics", "");
        assert_eq!(reply.status(), 200, "{reply:?}");
        reply.text()
    }
}

/// What `/metrics` says about one metric.
struct Exposed {
    kind: String,
    labels: BTreeSet<String>,
}

/// Every metric of an exposition in text format, by name.
fn exposed(metrics: &str) -> BTreeMap<String, Exposed> {
    let mut families = BTreeMap::new();
    for line in metrics.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let new = Exposed {
                kind: kind.to_owned(),
                labels: BTreeSet::new(),
            };
            assert!(
                families.insert(name.to_owned(), new).is_none(),
                "{name} comes twice"
            );
        } else if !line.starts_with('#') {
            let name: String = line.chars().take_while(|c| is_name(*c)).collect();
            let family = family(&families, &name).unwrap_or_else(|| panic!("no type: {line}"));
            let family = families.get_mut(&family).unwrap();
            family.labels.extend(label_names(&line[name.len()..]));
        }
    }
    assert!(!families.is_empty());
    families
}

/// The metric that a name belongs to: itself, or the histogram that it is a part of.
fn family(families: &BTreeMap<String, Exposed>, name: &str) -> Option<String> {
    if families.contains_key(name) {
        return Some(name.to_owned());
    }
    let parts = ["_bucket", "_sum", "_count"];
    let base = parts.iter().find_map(|part| name.strip_suffix(part))?;
    let histogram = families.get(base)?.kind == "histogram";
    histogram.then(|| base.to_owned())
}

/// The names in `{a="…",b="…"} 1`, without the bounds of buckets.
fn label_names(sample: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut name = String::new();
    let mut chars = sample.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                names.push(std::mem::take(&mut name));
                while let Some(c) = chars.next() {
                    match c {
                        '\\' => drop(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '}' => break,
            c if is_name(c) => name.push(c),
            _ => {}
        }
    }
    names.retain(|name| name != "le");
    names
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Everything in a text that looks like the name of a metric of ours.
fn names_in(text: &str) -> BTreeSet<&str> {
    text.split(|c| !is_name(c))
        .filter(|word| word.starts_with("tinyice_") || word.starts_with("process_"))
        // `process_*` and the like; and a key of programs that scrape profiles.
        .filter(|word| !word.ends_with('_') && *word != "process_cpu")
        .collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("monitoring/grafana-dashboard.json")).unwrap()
}

/// Every panel, rows included.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let list = |value: &Value| value["panels"].as_array().map(|panels| panels.len()).unwrap_or(0);
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        all.push(panel);
        (0..list(panel)).for_each(|index| all.push(&panel["panels"][index]));
    }
    all
}

/// Every expression of the dashboard as Grafana would send it for one server and all of its mounts.
fn dashboard_queries(instance: &str) -> Vec<String> {
    let dashboard = dashboard();
    let panels = panels(&dashboard);
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let annotations = dashboard["annotations"]["list"].as_array().unwrap().iter();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let queries = targets
        .map(|target| target["expr"].as_str().unwrap())
        .chain(annotations.filter_map(|annotation| annotation["expr"].as_str()))
        .map(str::to_owned);
    // `label_values(selector, label)`: there must be something to choose.
    let choices = variables
        .iter()
        .filter_map(|variable| variable["query"]["query"].as_str())
        .map(|query| {
            let inner = query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')'));
            let (selector, label) = inner.unwrap().rsplit_once(',').unwrap();
            format!("group by ({label}) ({selector})")
        });
    let fill = |query: String| {
        let query = query
            .replace("$__rate_interval", "1m")
            .replace("$instance", instance)
            .replace("$mount", ".+");
        assert!(!query.contains('$'), "an unknown variable: {query}");
        query
    };
    queries.chain(choices).map(fill).collect()
}

fn compatible_queries() -> Vec<String> {
    let text = read("monitoring/compat-queries.txt");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// The values behind `key:` in a file of rules or tests.
fn yaml_values(text: &str, key: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim_start_matches([' ', '-']));
    lines
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
        .map(|value| value.trim().to_owned())
        .collect()
}

/// The shipped configuration with the address of one server in it, and without its patience.
struct Prometheus {
    program: Program,
    address: SocketAddr,
    _folder: Folder,
}

impl Prometheus {
    fn start(target: SocketAddr) -> Self {
        let shipped = read("monitoring/prometheus.yml");
        assert_eq!(shipped.matches("\"127.0.0.1:8081\"").count(), 1);
        let lines = shipped.lines().map(|line| {
            let key = line.trim_start().split(':').next().unwrap_or_default();
            let indent = &line[..line.len() - line.trim_start().len()];
            match key {
                "scrape_interval" | "scrape_timeout" | "evaluation_interval" => {
                    format!("{indent}{key}: 1s\n")
                }
                _ => format!("{line}\n"),
            }
        });
        let config: String = lines.collect();
        let folder = Folder::new();
        let config = folder.write(
            "prometheus.yml",
            config.replace("127.0.0.1:8081", &target.to_string()),
        );
        folder.write("alerts.yml", read("monitoring/alerts.yml"));
        let mut program = Program::start(
            Command::new("prometheus")
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", folder.file("data").display()))
                .arg("--web.listen-address=127.0.0.1:0"),
        );
        let address = until("the port of Prometheus", || {
            assert!(program.is_running(), "{}", program.output());
            let output = program.output();
            let line = output.lines().find(|line| line.contains("\"Listening on\""))?;
            let (_, address) = line.split_once(" address=")?;
            address.split_whitespace().next()?.parse().ok()
        });
        let prometheus = Self {
            program,
            address,
            _folder: folder,
        };
        until("Prometheus ready", || {
            (get(address, "/-/ready", "").status() == 200).then_some(())
        });
        prometheus
    }

    fn api(&self, path: &str) -> Value {
        let reply = get(self.address, &format!("/api/v1/{path}"), "");
        assert_eq!(reply.status(), 200, "{reply:?}");
        reply.json()["data"].take()
    }

    /// The values of an expression, which must be one. What is not a number is left out.
    fn query(&self, query: &str) -> Vec<f64> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let reply = post(self.address, "/api/v1/query", "", &format!("query={encoded}"));
        assert_eq!(reply.status(), 200, "{query}: {}", reply.text());
        let samples = reply.json()["data"]["result"].take();
        let samples = samples.as_array().unwrap().iter();
        samples
            .map(|sample| sample["value"][1].as_str().unwrap().parse().unwrap())
            .filter(|value: &f64| !value.is_nan())
            .collect()
    }
}

#[test]
fn the_exposition_is_as_prometheus_likes_it() {
    if !installed(&["promtool"]) {
        return;
    }
    let station = Station::start();
    let (mut promtool, mut stdin) = Program::start_fed(Command::new("promtool").args(["check", "metrics"]));
    stdin.write_all(station.metrics().as_bytes()).unwrap();
    drop(stdin);
    let (status, output) = promtool.wait();
    // 3: there are remarks. 1 would be an exposition that cannot be read.
    assert!(matches!(status.code(), Some(0 | 3)), "{status}: {output}");
    let remarks = output
        .lines()
        .filter(|line| !MISNAMED.contains(&line.split(' ').next().unwrap_or_default()));
    assert_eq!(remarks.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn prometheus_sees_what_the_dashboards_ask_for() {
    if !installed(&["prometheus"]) {
        return;
    }
    let station = Station::start();
    let target = station.server.internal();
    let mut prometheus = Prometheus::start(target);

    let queries = dashboard_queries(&target.to_string());
    assert!(queries.len() > 50, "{queries:#?}");
    for seldom in SELDOM {
        assert_eq!(
            queries.iter().filter(|query| query.starts_with(seldom)).count(),
            1,
            "{seldom}"
        );
    }
    let (seldom, mut wanting): (Vec<_>, Vec<_>) = queries
        .into_iter()
        .partition(|query| SELDOM.iter().any(|seldom| query.starts_with(seldom)));
    wanting.extend(compatible_queries());
    let began = Instant::now();
    while !wanting.is_empty() {
        assert!(began.elapsed() < SCRAPED, "no data for {wanting:#?}");
        station.stir();
        wanting.retain(|query| prometheus.query(query).is_empty());
        std::thread::sleep(Duration::from_millis(250));
    }
    for query in seldom {
        prometheus.query(&query);
    }

    let targets = prometheus.api("targets?state=active");
    assert_eq!(targets["activeTargets"].as_array().unwrap().len(), 1);
    assert_eq!(targets["activeTargets"][0]["health"], "up", "{targets:#}");
    assert_eq!(targets["activeTargets"][0]["lastError"], "", "{targets:#}");

    let rules: Vec<Value> = until("every rule evaluated", || {
        let groups = prometheus.api("rules");
        let groups = groups["groups"].as_array()?.clone();
        let rules = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default());
        let rules: Vec<Value> = rules.collect();
        rules.iter().all(|rule| rule["health"] == "ok").then_some(rules)
    });
    let names: BTreeSet<_> = rules.iter().map(|rule| rule["name"].as_str().unwrap()).collect();
    let shipped = yaml_values(&read("monitoring/alerts.yml"), "alert");
    assert_eq!(names, shipped.iter().map(String::as_str).collect());
    assert!(prometheus.program.is_running());
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    let alerts = read("monitoring/alerts.yml");
    let tests: String = ALERT_TESTS.map(read).concat();
    let tested = yaml_values(&tests, "alertname");
    let fired = yaml_values(&tests, "runbook");
    for alert in yaml_values(&alerts, "alert") {
        assert!(
            tested.iter().filter(|name| **name == alert).count() >= 2,
            "{alert} is tested with the fault and without it"
        );
        assert!(
            fired.iter().any(|link| link.ends_with(&alert.to_lowercase())),
            "{alert} fires in a test"
        );
    }
    if !installed(&["promtool"]) {
        return;
    }
    for (words, file) in [
        (["check", "config"], "monitoring/prometheus.yml"),
        (["check", "rules"], "monitoring/alerts.yml"),
        (["test", "rules"], ALERT_TESTS[0]),
        (["test", "rules"], ALERT_TESTS[1]),
    ] {
        let (status, output) = Program::start(Command::new("promtool").args(words).arg(asset(file))).wait();
        assert!(status.success(), "{file}: {output}");
    }
}

#[test]
fn every_name_that_is_used_is_exposed() {
    let live = exposed(&Station::start().metrics());
    for name in TO_COME {
        assert!(
            !live.contains_key(name),
            "{name} is there: take it out of the list, and out of the remarks in alerts.yml and the documents"
        );
    }
    let files = [
        "monitoring/alerts.yml",
        ALERT_TESTS[0],
        ALERT_TESTS[1],
        "monitoring/compat-queries.txt",
        "monitoring/grafana-dashboard.json",
        "monitoring/README.md",
        "docs/observability.md",
        "docs/runbook.md",
    ];
    let mut unknown = Vec::new();
    for file in files {
        let text = read(file);
        let names = names_in(&text).into_iter();
        unknown.extend(
            names
                .filter(|name| !TO_COME.contains(name))
                .filter(|name| family(&live, name).is_none())
                .map(|name| format!("{file}: {name}")),
        );
    }
    assert!(unknown.is_empty(), "not in /metrics: {unknown:#?}");
}

#[test]
fn every_metric_is_described_as_it_is() {
    let live = exposed(&Station::start().metrics());
    let text = read("docs/observability.md");
    let mut described = BTreeMap::new();
    for line in text.lines() {
        // | `name` | type | labels | meaning |
        let columns: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, ..] = columns[..] else {
            continue;
        };
        let name = name.trim_matches('`');
        if names_in(name).contains(name) {
            let labels: BTreeSet<_> = labels
                .split(',')
                .map(|label| label.trim().trim_matches('`').to_owned())
                .filter(|label| !label.is_empty())
                .collect();
            assert!(
                described
                    .insert(name.to_owned(), (kind.to_owned(), labels))
                    .is_none(),
                "{name} is described twice"
            );
        }
    }
    let mut wrong = Vec::new();
    for (name, metric) in &live {
        match described.get(name) {
            None => wrong.push(format!("{name} is not described")),
            Some((kind, _)) if *kind != metric.kind => {
                wrong.push(format!("{name} is a {}, described as {kind}", metric.kind));
            }
            Some((_, labels)) if !metric.labels.is_empty() && *labels != metric.labels => {
                wrong.push(format!(
                    "{name} has the labels {:?}, described as {labels:?}",
                    metric.labels
                ));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_dashboard_can_be_imported() {
    let dashboard = dashboard();
    // With inputs, provisioning from a file fails; a variable works in every way of importing.
    assert!(dashboard.get("__inputs").is_none());
    assert_eq!(dashboard["id"], Value::Null);
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: Vec<_> = variables.iter().map(|variable| &variable["name"]).collect();
    assert_eq!(variables, ["datasource", "instance", "mount"]);

    let panels = panels(&dashboard);
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    let rows: Vec<_> = panels
        .iter()
        .filter(|panel| panel["type"] == "row")
        .map(|row| row["title"].as_str().unwrap())
        .collect();
    assert_eq!(
        rows,
        ["Overview", "Streams", "Delivery", "Resources", "Control plane"]
    );

    let mut taken = BTreeSet::new();
    for panel in &panels {
        let title = panel["title"].as_str().unwrap();
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title} is too wide");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{title} lies on another panel");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(panel["description"].is_string(), "{title}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}");
        let targets = panel["targets"].as_array().unwrap();
        let letters: BTreeSet<_> = targets
            .iter()
            .map(|target| target["refId"].as_str().unwrap())
            .collect();
        assert_eq!(letters.len(), targets.len(), "{title}");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            assert_ne!(target["legendFormat"], "", "{title}");
        }
    }
}

#[test]
fn every_alert_has_its_section_in_the_runbook() {
    let alerts = read("monitoring/alerts.yml");
    let names = yaml_values(&alerts, "alert");
    let links = yaml_values(&alerts, "runbook");
    let expected = names
        .iter()
        .map(|name| format!("docs/runbook.md#{}", name.to_lowercase()));
    assert_eq!(
        links,
        expected.collect::<Vec<_>>(),
        "each alert links to its own section"
    );
    let runbook = read("docs/runbook.md");
    let sections = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    let sections: BTreeSet<_> = sections.filter(|title| title.starts_with("TinyIce")).collect();
    assert_eq!(sections, names.iter().map(String::as_str).collect());
}
