//! A port to ask and a client that shows the bytes.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use diagnostics::{Answer, Cancelled, Limits, Page, Pages, Port, Query, Settings};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn page(
    path: &'static str,
    render: impl Fn(&Query, &Cancelled) -> Answer + Send + Sync + 'static,
) -> Page {
    Page {
        path: path.into(),
        title: "A title".into(),
        description: "What it <shows>".into(),
        render: Arc::new(render),
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        addresses: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        names: vec!["radio.example.com".to_owned()],
        limits: Limits::default(),
    }
}

pub(crate) fn start(pages: Pages) -> (Port, SocketAddr) {
    start_with(settings(), pages)
}

pub(crate) fn start_with(settings: Settings, pages: Pages) -> (Port, SocketAddr) {
    let port = Port::start(settings, pages);
    let address = port.local_addresses()[0];
    (port, address)
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// A keep-alive connection.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).expect("the port is open");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("the socket is open");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("the socket is open");
        stream.set_nodelay(true).expect("the socket is open");
        Connection(BufReader::new(stream))
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.0.get_mut()
    }

    pub(crate) fn send(&mut self, request: &str) {
        self.stream()
            .write_all(request.as_bytes())
            .expect("the port reads");
    }

    /// Whether the server has closed it.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        matches!(self.0.read(&mut byte), Ok(0))
            || matches!(self.0.read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset)
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the port answers");
        line
    }

    /// One response; `None` when the connection ended instead.
    pub(crate) fn reply(&mut self, head_only: bool) -> Option<Reply> {
        let mut reply = Reply::default();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim().is_empty() {
                break;
            }
            reply.head.push_str(&line);
        }
        reply.status = reply.head.get(9..12)?.parse().ok()?;
        if head_only {
            return Some(reply);
        }
        if reply.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = usize::from_str_radix(self.line().trim(), 16).ok()?;
                let mut chunk = vec![0; size + 2];
                self.0.read_exact(&mut chunk).ok()?;
                reply.body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = reply.header("content-length") {
            reply.body = vec![0; length.parse().ok()?];
            self.0.read_exact(&mut reply.body).ok()?;
        } else {
            self.0.read_to_end(&mut reply.body).ok()?;
        }
        Some(reply)
    }
}

/// One request on a connection of its own; `headers` end with `\r\n` each.
pub(crate) fn ask(address: SocketAddr, method: &str, target: &str, headers: &str, body: &str) -> Reply {
    let mut connection = Connection::open(address);
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let host = if headers.starts_with("Host:") {
        ""
    } else {
        "Host: localhost\r\n"
    };
    connection.send(&format!(
        "{method} {target} HTTP/1.1\r\n{host}{headers}{length}\r\n{body}"
    ));
    connection
        .reply(method == "HEAD")
        .unwrap_or_else(|| panic!("no answer to {method} {target}"))
}

pub(crate) fn get(address: SocketAddr, target: &str) -> Reply {
    ask(address, "GET", target, "", "")
}

/// Waits for something that another thread does.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether an event of this kind with this text in its line is in the flight recorder.
pub(crate) fn happened(name: &str, text: &str) -> bool {
    observe::recent()
        .iter()
        .any(|record| record.name == name && record.json().contains(text))
}
