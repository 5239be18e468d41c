//! One plain HTTP request to the server on this machine.
//!
//! Contract: bounded in time and size, and blocking: subcommands have no runtime.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    time::{Duration, Instant},
};

use config::{Config, Endpoint};

const LARGEST: u64 = 8 * 1024 * 1024;

/// Asks for a path. Gives the status and the body.
pub(super) fn get(address: SocketAddr, path: &str, patience: Duration) -> io::Result<(u16, String)> {
    let deadline = Instant::now() + patience;
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_write_timeout(Some(patience))?;
    // HTTP/1.0: the body ends with the connection, so nothing has to be de-chunked.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nUser-Agent: tinyice\r\n\r\n");
    // In one piece: whoever answers after the first line may be gone before the last.
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk)? {
            0 => break,
            count => answer.extend_from_slice(&chunk[..count]),
        }
        if answer.len() as u64 > LARGEST {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = answer
        .split_once("\r\n\r\n")
        .map_or("", |(_, body)| body)
        .to_owned();
    status
        .map(|status| (status, body))
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Where the internal port of a server with this configuration answers.
pub(super) fn internal(config: &Config) -> Vec<SocketAddr> {
    config.metrics_listen.iter().flat_map(reachable).collect()
}

/// Where its public port answers.
pub(super) fn public(config: &Config) -> Vec<SocketAddr> {
    let hosts = config
        .bind_host
        .split(',')
        .map(str::trim)
        .filter(|host| !host.starts_with("unix:"));
    hosts
        .flat_map(|host| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let host = (!host.is_empty()).then(|| host.to_owned());
            reachable(&Endpoint {
                host,
                port: config.port,
            })
        })
        .collect()
}

/// A wildcard is reached by the loopback addresses.
fn reachable(endpoint: &Endpoint) -> Vec<SocketAddr> {
    let hosts: &[&str] = match endpoint.host.as_deref() {
        None | Some("0.0.0.0" | "::") => &["127.0.0.1", "::1"],
        Some(host) => &[host],
    };
    let resolve = |host: &&str| (*host, endpoint.port).to_socket_addrs();
    hosts
        .iter()
        .filter_map(|host| resolve(host).ok())
        .flatten()
        .collect()
}
