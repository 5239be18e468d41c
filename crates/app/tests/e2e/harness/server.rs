//! The server under test: the real binary in a folder of its own.

use std::{
    io::{BufRead as _, BufReader, Read},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use observe::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};

use super::{ADMIN, Folder, PATIENCE, Reply, Wire, admin_hash, basic, get, source_hash, until};

/// What a server is to be started with.
#[derive(Clone)]
pub(crate) struct Setup {
    config: Map<String, Value>,
    port: u16,
    args: Vec<String>,
    variables: Vec<(String, String)>,
}

/// A server that gave up at the start.
#[derive(Debug)]
pub(crate) struct NotStarted {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// What it said.
    pub(crate) log: Vec<String>,
}

impl Setup {
    fn new() -> Self {
        let config = json!({
            "bind_host": "127.0.0.1",
            "metrics_listen": "",
            "setup_complete": true,
            "default_source_password": source_hash(),
            "users": {
                ADMIN.0: { "username": ADMIN.0, "password": admin_hash(), "role": "superadmin", "mounts": {} }
            },
        });
        let Value::Object(config) = config else {
            unreachable!()
        };
        Self {
            config,
            port: 0,
            args: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// Sets a top-level key of the configuration file.
    #[must_use]
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config.insert(key.to_owned(), value.into());
        self
    }

    /// The value of a top-level key, as it is set by now.
    pub(crate) fn get(&self, key: &str) -> Value {
        self.config.get(key).cloned().unwrap_or_default()
    }

    /// Loopback is always exempt from lockouts and bans, unless there is a proxy.
    #[must_use]
    pub(crate) fn strict_loopback(self) -> Self {
        self.set("trusted_proxies", json!(["192.0.2.1"]))
    }

    /// A port that must be known beforehand, see [`Server::free_port`].
    #[must_use]
    pub(crate) fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Opens the internal port, see [`Server::internal`].
    #[must_use]
    pub(crate) fn internal(self) -> Self {
        self.set("metrics_listen", "127.0.0.1:0")
    }

    /// One more variable of the environment.
    #[must_use]
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// One more argument, behind `-config`, `-host` and `-port`. With `-log-file` the lines of that file are not
    /// those of [`Server::log`].
    #[must_use]
    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Starts the server, which must succeed.
    pub(crate) fn start(self) -> Server {
        self.try_start()
            .unwrap_or_else(|failed| panic!("{}:\n{}", failed.status, failed.log.join("\n")))
    }

    /// Starts the server and waits until it listens or ends.
    pub(crate) fn try_start(self) -> Result<Server, NotStarted> {
        let folder = Folder::new();
        let config = folder.write(
            "tinyice.json",
            serde_json::to_string_pretty(&self.config).unwrap(),
        );
        self.run_in(folder, &config)
    }

    /// Runs the server in a folder that has its configuration.
    fn run_in(self, folder: Folder, config: &Path) -> Result<Server, NotStarted> {
        let log_file = self.args.windows(2).find(|pair| pair[0] == "-log-file");
        let log_file = log_file.map(|pair| folder.file(&pair[1]));
        let mut child = Command::new(env!("CARGO_BIN_EXE_tinyice"))
            .arg("-config")
            .arg(config)
            .args(["-host", "127.0.0.1", "-port", &self.port.to_string()])
            .args(&self.args)
            .envs(self.variables.clone())
            .env_remove("NOTIFY_SOCKET")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new("server.log", Vec::new()));
        collect(child.stdout.take().unwrap(), &log);
        collect(child.stderr.take().unwrap(), &log);
        let mut server = Server {
            child,
            port: 0,
            log,
            folder: Some(folder),
            setup: self,
        };
        let began = Instant::now();
        loop {
            let mut lines = server.log();
            let file = log_file
                .as_ref()
                .and_then(|file| std::fs::read_to_string(file).ok());
            lines.extend(file.unwrap_or_default().lines().map(str::to_owned));
            if let Some(port) = lines.iter().find_map(|line| port_in(line)) {
                server.port = port;
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait().unwrap() {
                // The readers may be a moment behind the end of the process.
                std::thread::sleep(Duration::from_millis(100));
                return Err(NotStarted {
                    status,
                    log: server.log(),
                });
            }
            assert!(
                began.elapsed() < PATIENCE,
                "does not listen:\n{}",
                lines.join("\n")
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The port in the line that says where the server listens.
fn port_in(line: &str) -> Option<u16> {
    let (_, address) = line.split_once("Starting TinyIce on ")?;
    let (_, port) = address.split_once(':')?;
    port.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn collect(from: impl Read + Send + 'static, into: &Arc<Mutex<Vec<String>>>) {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            into.lock().push(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

/// A running server. Dropping it ends it; in a test that failed its log is printed.
pub(crate) struct Server {
    child: Child,
    port: u16,
    log: Arc<Mutex<Vec<String>>>,
    /// Gone only after a restart, when it is the next server's.
    folder: Option<Folder>,
    setup: Setup,
}

impl Server {
    /// A server with nothing special. Loopback is exempt from lockouts and bans in it.
    pub(crate) fn start() -> Self {
        Self::setup().start()
    }

    /// Ends it as an operator would and starts it again in the same folder.
    pub(crate) fn restart(mut self) -> Self {
        self.signal(Signal::TERM);
        super::until("the server ends", || self.child.try_wait().unwrap());
        let folder = self.folder.take().expect("a server that runs has a folder");
        let config = folder.file("tinyice.json");
        let setup = self.setup.clone();
        setup
            .run_in(folder, &config)
            .unwrap_or_else(|failed| panic!("{}:\n{}", failed.status, failed.log.join("\n")))
    }

    /// A server to be configured first.
    pub(crate) fn setup() -> Setup {
        Setup::new()
    }

    /// A port that was free a moment ago, for settings that do not take 0. It is below those that the system gives to
    /// outgoing connections, so that none of these takes it meanwhile, and no other test gets the same.
    pub(crate) fn free_port() -> u16 {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let first = u16::try_from(std::process::id() % 1_000).unwrap() * 10;
        let mut ports =
            std::iter::repeat_with(|| 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000);
        ports
            .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
            .unwrap()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Where its internal port is, for a server whose setup asked for one.
    pub(crate) fn internal(&self) -> SocketAddr {
        let line = self.wait_for_log("Internal port open at ");
        let (_, address) = line.split_once("Internal port open at ").unwrap();
        let end = address
            .find(|c: char| !c.is_ascii_digit() && !".:[]".contains(c))
            .unwrap_or(address.len());
        address[..end].parse().unwrap_or_else(|_| panic!("{line}"))
    }

    /// Asks the internal port.
    pub(crate) fn ask(&self, target: &str) -> Reply {
        get(self.internal(), target, "")
    }

    /// One sample of the metrics, by its whole name with labels; nothing when it is not there.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let reply = self.ask("/metrics");
        assert_eq!(reply.status(), 200, "{reply:?}");
        reply
            .text()
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// The port of it.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// The URL by which ffmpeg publishes.
    pub(crate) fn publish_url(&self, mount: &str) -> String {
        format!(
            "icecast://source:{}@{}{mount}",
            super::SOURCE_PASSWORD,
            self.address()
        )
    }

    /// A raw connection.
    pub(crate) fn connect(&self) -> Wire {
        Wire::connect(self.address())
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder it works in.
    pub(crate) fn folder(&self) -> &Folder {
        self.folder.as_ref().expect("a server that runs has a folder")
    }

    /// The configuration file.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder().file("tinyice.json")
    }

    /// The configuration file's content.
    pub(crate) fn config(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.config_path()).unwrap()).unwrap()
    }

    /// Changes the configuration file; [`Server::reload`] makes it count.
    pub(crate) fn edit_config(&self, edit: impl FnOnce(&mut Value)) {
        let mut config = self.config();
        edit(&mut config);
        self.folder()
            .write("tinyice.json", serde_json::to_string_pretty(&config).unwrap());
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// SIGHUP, then waits for the verdict: whether the file was taken.
    pub(crate) fn reload(&self) -> bool {
        let before = self.log().len();
        self.signal(Signal::HUP);
        until("the verdict on a reload", || {
            self.log()[before..].iter().find_map(|line| {
                if line.contains("Configuration reloaded successfully") {
                    return Some(true);
                }
                line.contains("Failed to reload config").then_some(false)
            })
        })
    }

    /// Every line it has written.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    /// The lines with this text.
    pub(crate) fn log_with(&self, text: &str) -> Vec<String> {
        self.log()
            .into_iter()
            .filter(|line| line.contains(text))
            .collect()
    }

    /// Waits until a line with this text is there, also an earlier one.
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        until(&format!("log line with {text:?}"), || {
            self.log_with(text).into_iter().next()
        })
    }

    /// The entry of a mount in the public status document.
    pub(crate) fn status_of(&self, mount: &str) -> Option<Value> {
        let reply = get(self.address(), "/status-json.xsl", "");
        assert_eq!(reply.status(), 200, "{reply:?}");
        let sources = reply.json()["icestats"]["source"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        sources.into_iter().find(|source| source["mount"] == mount)
    }

    /// The title of a mount in the public status document; empty when it is not live.
    pub(crate) fn title_of(&self, mount: &str) -> String {
        let status = self.status_of(mount).unwrap_or_default();
        status["title"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a mount is live.
    pub(crate) fn wait_for_mount(&self, mount: &str) {
        until(&format!("{mount} live"), || self.status_of(mount));
    }

    /// Waits until a mount is gone. A source that broke off keeps it for `source_grace_seconds`.
    pub(crate) fn wait_for_no_mount(&self, mount: &str) {
        until(&format!("{mount} gone"), || {
            self.status_of(mount).is_none().then_some(())
        });
    }

    /// Waits until a mount has this title.
    pub(crate) fn wait_for_title(&self, mount: &str, title: &str) {
        until(
            &format!("title {title:?} on {mount}, has {:?}", self.title_of(mount)),
            || (self.title_of(mount) == title).then_some(()),
        );
    }

    /// The header line of the superadmin, with its line end.
    pub(crate) fn admin_auth() -> String {
        format!("Authorization: {}\r\n", basic(ADMIN.0, ADMIN.1))
    }

    /// Sends a command of the Icecast endpoints (`killsource?mount=/a`) as the superadmin.
    pub(crate) fn admin(&self, command: &str) -> Reply {
        get(self.address(), &format!("/admin/{command}"), &Self::admin_auth())
    }

    /// SIGTERM, then waits for the end.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        until("the end of the server", || self.child.try_wait().unwrap())
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.is_running() {
            self.signal(Signal::TERM);
            let began = Instant::now();
            while self.is_running() && began.elapsed() < Duration::from_secs(12) {
                std::thread::sleep(Duration::from_millis(5));
            }
            // Not at all, if it ended as told.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            println!(
                "--- log of the server on port {} ---\n{}",
                self.port,
                self.log().join("\n")
            );
        }
    }
}
