//! Single requests and their answers.

use std::net::SocketAddr;

use base64::Engine as _;

use super::{Head, SOURCE_PASSWORD, Wire};

/// An answer with its body.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// Status and headers.
    pub(crate) head: Head,
    /// The whole body.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The status.
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// The value of an `Authorization` header.
pub(crate) fn basic(user: &str, password: &str) -> String {
    let engine = base64::engine::general_purpose::STANDARD;
    format!("Basic {}", engine.encode(format!("{user}:{password}")))
}

/// The header line that opens every mount, with its line end.
pub(crate) fn source_auth() -> String {
    format!("Authorization: {}\r\n", basic("source", SOURCE_PASSWORD))
}

/// Sends one request as it stands and reads the answer. It should ask for `Connection: close`.
pub(crate) fn request(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Reply {
    let mut wire = Wire::connect(address);
    wire.send(bytes);
    let head = wire.head();
    let body = wire.body(&head);
    Reply { head, body }
}

/// `GET` with more header lines (each with its line end). Not for live mounts: their answers never end.
pub(crate) fn get(address: SocketAddr, target: &str, headers: &str) -> Reply {
    let head = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    request(address, head)
}

/// `POST` of a form.
pub(crate) fn post(address: SocketAddr, target: &str, headers: &str, form: &str) -> Reply {
    let length = form.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n{headers}\r\n{form}"
    );
    request(address, head)
}
