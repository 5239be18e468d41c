//! The servers that are compared, and how each is started on a free loopback port.
//!
//! Contract: every contender gets the same mounts, source password, burst and listener limit, logs warnings only,
//! keeps its files in a directory of its own, and ends with the value that stands for it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::Outcome;
use crate::clock::Stamp;
use crate::companion::SELF;
use crate::launch::{AS_CALLER, AS_NOBODY, NOBODY, is_root};

/// The password of every source.
pub(crate) const PASSWORD: &str = "bench-source";
/// Its bcrypt hash, of the least cost that exists: hashing is not what is measured.
const PASSWORD_HASH: &str = "$2a$04$abcdefghijklmnopqrstuusCOkkQJYvLB.2SmSB8uzZzijs0.1Hnu";
/// Accounts with a password, and as many without: many failures of one name slow that name down.
pub(crate) const ACCOUNTS: usize = 20;
/// A hash as costly as those that the server itself makes.
const KNOWN_HASH: &str = "$2b$12$abcdefghijklmnopqrstuuv3nfHchJBQhEab8JL2LpiaSxhYiDMAW";
/// What a new listener gets at once.
const BURST: u64 = 65_536;
/// What a source sends at once: as much as a mount keeps, so that buffers do not grow while listeners are measured.
pub(crate) const PREFILL: u64 = 524_288;
/// How long a server may take to open its port.
const PATIENCE: Duration = Duration::from_secs(15);

/// A server that can be started.
#[derive(Clone, Debug)]
pub(crate) enum Contender {
    /// TinyIce, this one or another program with the same command line and configuration.
    TinyIce { label: String, program: PathBuf },
    /// Icecast 2.
    Icecast { program: PathBuf },
    /// The bare send loop.
    Floor { flush_ms: u64 },
}

/// What a server has to be ready for.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    /// Every mount that gets a source.
    pub(crate) mounts: Vec<String>,
    /// Listeners in all.
    pub(crate) listeners: usize,
    /// Whether clients on this machine are judged like strangers.
    pub(crate) strict: bool,
}

/// A running server; it is killed and its files are removed when this is dropped.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Where its internal port is, if it has one.
    pub(crate) internal: SocketAddr,
    child: Child,
    folder: Folder,
    reloading: Option<Reloading>,
}

/// How a server is made to read its configuration again.
struct Reloading {
    file: &'static str,
    /// Another text of the file each time, with a change that concerns nobody who listens.
    text: Box<dyn Fn(u32) -> String>,
    times: u32,
}

impl Contender {
    /// The name in tables.
    pub(crate) fn label(&self) -> String {
        match self {
            Contender::TinyIce { label, .. } => label.clone(),
            Contender::Icecast { .. } => "icecast".into(),
            Contender::Floor { flush_ms } => format!("floor {flush_ms} ms"),
        }
    }

    /// Whether it is the bare send loop.
    pub(crate) fn is_floor(&self) -> bool {
        matches!(self, Contender::Floor { .. })
    }

    /// Starts it and waits until its port is open.
    pub(crate) fn start(&self, demand: &Demand) -> Outcome<Server> {
        let folder = Folder::new()?;
        let (port, internal) = (free_port()?, free_port()?);
        let mut user = AS_CALLER;
        let mut words: Vec<String> = Vec::new();
        let (mounts, data_dir) = (demand.clone(), folder.path.clone());
        let reloading = match self {
            Contender::TinyIce { program, .. } => {
                let file = folder.write(
                    "tinyice.json",
                    &tinyice_config(demand, port, internal, &folder.path),
                )?;
                let program = program
                    .canonicalize()
                    .map_err(|error| format!("{}: {error}", program.display()))?;
                words.push(program.display().to_string());
                words.extend(["-config".into(), file, "-port".into(), port.to_string()]);
                words.extend(["-host", "127.0.0.1", "-log-level", "warn"].map(str::to_owned));
                let text = move |time: u32| {
                    let mut demand = mounts.clone();
                    demand.mounts.push(format!("/added-{time}"));
                    tinyice_config(&demand, port, internal, &data_dir)
                };
                Some(Reloading {
                    file: "tinyice.json",
                    text: Box::new(text),
                    times: 0,
                })
            }
            Contender::Icecast { program } => {
                let file = folder.write("icecast.xml", &icecast_config(demand, port, &folder.path))?;
                // Icecast refuses to run as root.
                user = AS_NOBODY;
                folder.give_away()?;
                words.extend([program.display().to_string(), "-c".into(), file]);
                let text = move |time: u32| {
                    let mut demand = mounts.clone();
                    demand.listeners += time as usize;
                    icecast_config(&demand, port, &data_dir)
                };
                Some(Reloading {
                    file: "icecast.xml",
                    text: Box::new(text),
                    times: 0,
                })
            }
            Contender::Floor { flush_ms } => {
                words.extend([SELF, "floor"].map(str::to_owned));
                words.extend([format!("--port={port}"), format!("--flush={flush_ms}")]);
                None
            }
        };
        let log = File::create(folder.path.join("output.log"))?;
        let child = Command::new(SELF)
            .args(["launch", user])
            .args(words)
            .current_dir(&folder.path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Server {
            address,
            internal: SocketAddr::from((Ipv4Addr::LOCALHOST, internal)),
            child,
            folder,
            reloading,
        };
        server.wait_until_open()?;
        Ok(server)
    }
}

impl Server {
    /// The process to account for.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Changes something that concerns no listener and has the configuration read again. The floor has none.
    pub(crate) fn reload(&mut self) -> Outcome<()> {
        let Some(reloading) = &mut self.reloading else {
            return Ok(());
        };
        reloading.times += 1;
        self.folder
            .write(reloading.file, &(reloading.text)(reloading.times))?;
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP)?;
        Ok(())
    }

    /// What the server says of itself, if it says anything.
    pub(crate) fn metrics(&self) -> Option<String> {
        let answer = scrape(self.internal, "").ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    }

    /// An error with the end of what the server has said.
    pub(crate) fn explain(&self, error: &dyn std::fmt::Display) -> Box<dyn std::error::Error> {
        let mut said = String::new();
        for name in ["output.log", "error.log"] {
            said += &fs::read_to_string(self.folder.path.join(name)).unwrap_or_default();
        }
        let lines: Vec<&str> = said.lines().collect();
        let tail = lines[lines.len().saturating_sub(8)..].join("\n  ");
        format!("{error}; the server said:\n  {tail}").into()
    }

    fn wait_until_open(&mut self) -> Outcome<()> {
        let begun = Stamp::now();
        while TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.explain(&format!("ended with {status}")));
            }
            if Stamp::now().since(begun) > PATIENCE {
                return Err(self.explain(&"did not open its port"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process has already been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory that is removed when dropped.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> Outcome<Folder> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tinyice-bench-{}-{number}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Folder { path })
    }

    /// Writes a file and returns its path.
    fn write(&self, name: &str, text: &str) -> Outcome<String> {
        let path = self.path.join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    /// Lets the unprivileged user write here; without root it is the caller's own.
    fn give_away(&self) -> Outcome<()> {
        if is_root() {
            chown(&self.path, Some(NOBODY), Some(NOBODY))?;
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is a few small files in the directory for temporary ones.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// One scrape of an internal port, with further lines for the request's head.
pub(crate) fn scrape(internal: SocketAddr, header: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(internal)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: {internal}\r\nConnection: close\r\n{header}\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err(std::io::Error::other("the server refuses to be scraped"));
    }
    Ok(answer)
}

fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn tinyice_config(demand: &Demand, port: u16, internal: u16, folder: &Path) -> String {
    let mount = json!({ "password": PASSWORD_HASH, "burst_size": BURST });
    let mounts: Map<String, Value> = demand
        .mounts
        .iter()
        .map(|name| (name.clone(), mount.clone()))
        .collect();
    let visible: Map<String, Value> = demand
        .mounts
        .iter()
        .map(|name| (name.clone(), true.into()))
        .collect();
    let mut config = json!({
        "bind_host": "127.0.0.1",
        "port": port.to_string(),
        "hostname": "localhost",
        "data_dir": folder.display().to_string(),
        // Loopback is exempt from limits by address as long as no proxy is trusted.
        "trusted_proxies": if demand.strict { vec!["192.0.2.1"] } else { Vec::new() },
        "max_listeners": -1,
        "max_connections_per_ip": 0,
        "default_source_password": PASSWORD_HASH,
        "advanced_mounts": mounts,
        "visible_mounts": visible,
        "admin_user": "admin",
        "admin_password": PASSWORD_HASH,
        "setup_complete": true,
        "users": {
            "admin": { "username": "admin", "password": PASSWORD_HASH, "role": "superadmin", "mounts": {} },
        },
        "directory_listing": false,
        "metrics_listen": format!("127.0.0.1:{internal}"),
        "geoip": { "enabled": false },
    });
    for number in 0..ACCOUNTS {
        for (kind, hash) in [("known", KNOWN_HASH), ("passwordless", "")] {
            let name = format!("{kind}-{number}");
            config["users"][&name] =
                json!({ "username": name, "password": hash, "role": "dj", "mounts": {} });
        }
    }
    config.to_string()
}

fn icecast_config(demand: &Demand, port: u16, folder: &Path) -> String {
    let clients = demand.listeners + demand.mounts.len() + 100;
    let sources = demand.mounts.len() + 10;
    let folder = folder.display();
    format!(
        "<icecast>
  <limits>
    <clients>{clients}</clients>
    <sources>{sources}</sources>
    <queue-size>524288</queue-size>
    <client-timeout>30</client-timeout>
    <header-timeout>15</header-timeout>
    <source-timeout>10</source-timeout>
    <burst-size>{BURST}</burst-size>
  </limits>
  <authentication>
    <source-password>{PASSWORD}</source-password>
    <admin-user>admin</admin-user>
    <admin-password>{PASSWORD}</admin-password>
  </authentication>
  <hostname>localhost</hostname>
  <listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
  <fileserve>0</fileserve>
  <paths>
    <basedir>{folder}</basedir>
    <logdir>{folder}</logdir>
    <webroot>{folder}</webroot>
    <adminroot>{folder}</adminroot>
  </paths>
  <logging>
    <accesslog>access.log</accesslog>
    <errorlog>error.log</errorlog>
    <loglevel>2</loglevel>
  </logging>
  <security><chroot>0</chroot></security>
</icecast>
"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Contender, Demand, Folder, icecast_config, tinyice_config};

    fn demand() -> Demand {
        Demand {
            mounts: vec!["/a".into(), "/b".into()],
            listeners: 50,
            strict: false,
        }
    }

    #[test]
    fn configurations_hold_what_the_load_needs() {
        let text = tinyice_config(&demand(), 4000, 4001, Path::new("/tmp/x"));
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&config["port"], &config["max_listeners"]),
            (&"4000".into(), &(-1).into())
        );
        assert_eq!(config["advanced_mounts"]["/b"]["burst_size"], 65_536);
        let text = icecast_config(&demand(), 4000, Path::new("/tmp/x"));
        for part in ["<clients>152<", "<sources>12<", "<port>4000<", "<logdir>/tmp/x<"] {
            assert!(text.contains(part), "{part}");
        }
    }

    #[test]
    fn a_folder_goes_with_its_value() {
        let folder = Folder::new().unwrap();
        let path = folder.path.clone();
        folder.write("x", "y").unwrap();
        assert!(path.join("x").exists());
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let contender = Contender::TinyIce {
            label: "t".into(),
            program: "/no/such/program".into(),
        };
        let error = contender.start(&demand()).err().unwrap().to_string();
        assert!(error.contains("/no/such/program"), "{error}");
    }
}
