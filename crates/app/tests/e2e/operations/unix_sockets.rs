//! A server that a proxy on the same machine reaches by a file instead of a port.
//!
//! Contract: a socket that a process left behind is taken over, one in use never is.

use std::{
    io::{Read as _, Write as _},
    os::unix::{fs::FileTypeExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::tinyice;
use crate::harness::{Folder, Mp3, Program, Server, get, hash, installed, numbers, source_auth, until};

/// A folder whose configuration listens there, and on the port of a socket where it says so.
fn folder(host: impl Fn(&str) -> String, port: u16) -> (Folder, PathBuf) {
    let folder = Folder::new();
    let socket = folder.file("http.sock");
    let config = json!({
        "bind_host": host(&format!("unix:{}", socket.display())),
        "port": port.to_string(),
        "metrics_listen": "",
        "setup_complete": true,
        "default_source_password": hash(crate::harness::SOURCE_PASSWORD),
    });
    folder.write("tinyice.json", config.to_string());
    (folder, socket)
}

fn start(folder: &Folder, socket: &Path) -> Program {
    let mut program = Program::start(&mut tinyice(folder.path(), &[]));
    until("a socket that answers", || {
        assert!(program.is_running(), "{}", program.output());
        UnixStream::connect(socket).ok()
    });
    program
}

fn signal(program: &Program, signal: Signal) {
    kill_process(
        Pid::from_raw(i32::try_from(program.pid()).unwrap()).unwrap(),
        signal,
    )
    .unwrap();
}

/// What curl gets by the socket.
fn curl(socket: &Path, path: &str) -> Vec<u8> {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "30", "--unix-socket"])
        .arg(socket)
        .arg(format!("http://radio.example{path}"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

fn status(socket: &Path) -> serde_json::Value {
    serde_json::from_slice(&curl(socket, "/status-json.xsl")).unwrap()
}

/// A source that has its mount.
fn publish(socket: &Path, mount: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    let request = format!(
        "SOURCE {mount} HTTP/1.0\r\nContent-Type: audio/mpeg\r\n{}\r\n",
        source_auth()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head[9..], b"200");
    stream
}

#[test]
fn everything_can_be_done_by_a_unix_socket() {
    if !installed(&["curl"]) {
        return;
    }
    let (folder, socket) = folder(str::to_owned, 8000);
    let mut program = start(&folder, &socket);
    let said = format!("Starting TinyIce on unix:{} (HTTP)", socket.display());
    until("the line that says so", || {
        program.output().contains(&said).then_some(())
    });
    let mut source = publish(&socket, "/live");
    let mut frames = Mp3::new('u');
    source.write_all(&frames.bytes(20_000)).unwrap();
    let listed = until("the mount", || {
        let source = status(&socket)["icestats"]["source"][0].clone();
        source.is_object().then_some(source)
    });
    assert_eq!(listed["mount"], "/live");
    let page = String::from_utf8(curl(&socket, "/status.xsl")).unwrap();
    assert!(page.contains("Mount Point"), "{page}");

    let mut listener = UnixStream::connect(&socket).unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    listener
        .write_all(b"GET /live HTTP/1.0\r\nHost: radio.example\r\n\r\n")
        .unwrap();
    let mut heard = Vec::new();
    let mut piece = [0; 4_096];
    let mut sent_more = false;
    let audio = loop {
        let read = listener.read(&mut piece).unwrap();
        assert!(read > 0, "the listener is left alone");
        heard.extend_from_slice(&piece[..read]);
        let Some(head) = heard.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        if !sent_more {
            sent_more = true;
            source.write_all(&frames.bytes(20_000)).unwrap();
        }
        if heard.len() > head + 30_000 {
            break heard.split_off(head + 4);
        }
    };
    let numbers = numbers(&audio);
    assert!(
        numbers.windows(2).all(|pair| pair[0].1 + 1 == pair[1].1),
        "{numbers:?}"
    );
    let (ended, output) = program.terminate();
    assert!(ended.success(), "{output}");
    assert!(!socket.exists(), "the file goes with the server");
}

#[test]
fn a_socket_file_that_was_left_behind_is_replaced() {
    if !installed(&["curl"]) {
        return;
    }
    let (folder, socket) = folder(str::to_owned, 8000);
    let mut killed = start(&folder, &socket);
    // Not while somebody listens there: the second one gives up and leaves the first alone.
    let (second, output) = super::run(folder.path(), &["-pid-file", "second.pid"]);
    assert_eq!(second.code(), Some(1), "{output}");
    assert!(
        output.contains(&format!("unix:{} is already in use", socket.display())),
        "{output}"
    );
    assert!(status(&socket)["icestats"].is_object());

    signal(&killed, Signal::KILL);
    killed.wait();
    assert!(
        std::fs::symlink_metadata(&socket)
            .unwrap()
            .file_type()
            .is_socket()
    );
    UnixStream::connect(&socket).expect_err("nobody listens there");
    let mut program = start(&folder, &socket);
    assert!(status(&socket)["icestats"].is_object());
    assert!(program.terminate().0.success());

    // What is not a socket is somebody's.
    std::fs::write(&socket, "precious").unwrap();
    let (refused, output) = super::run(folder.path(), &[]);
    assert_eq!(refused.code(), Some(1), "{output}");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
}

#[test]
fn a_socket_stays_when_the_port_beside_it_moves() {
    let (first, second) = (Server::free_port(), Server::free_port());
    let (folder, socket) = folder(|unix| format!("127.0.0.1,{unix}"), first);
    let mut program = start(&folder, &socket);
    let address = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(get(address(first), "/healthz", "").status(), 200);
    let mut source = publish(&socket, "/live");
    let change = |key: &str, value: &str| {
        let file = folder.file("tinyice.json");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        config[key] = json!(value);
        std::fs::write(file, config.to_string()).unwrap();
        signal(&program, Signal::HUP);
    };
    let answers = |socket: &Path| {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.0\r\nHost: h\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 "), "{answer}");
    };
    change("port", &second.to_string());
    until("the new port", || {
        std::net::TcpStream::connect(address(second)).ok()
    });
    until("the end of the old port", || {
        std::net::TcpStream::connect(address(first))
            .is_err()
            .then_some(())
    });
    answers(&socket);
    // A second socket beside the first, and beside the port, neither of which moves.
    let other = folder.file("other.sock");
    let all = format!("127.0.0.1,unix:{},unix:{}", socket.display(), other.display());
    change("bind_host", &all);
    until("the second socket", || UnixStream::connect(&other).ok());
    answers(&socket);
    answers(&other);
    assert_eq!(get(address(second), "/healthz", "").status(), 200);
    // And the port alone.
    change("bind_host", "127.0.0.1");
    until("the end of the sockets", || {
        (!socket.exists() && !other.exists()).then_some(())
    });
    assert_eq!(get(address(second), "/healthz", "").status(), 200);
    // The same port on every address of the machine, and on one again.
    let elsewhere = std::net::SocketAddr::from(([127, 0, 0, 2], second));
    change("bind_host", "0.0.0.0");
    until("another address", || std::net::TcpStream::connect(elsewhere).ok());
    assert_eq!(get(elsewhere, "/healthz", "").status(), 200);
    change("bind_host", "127.0.0.1");
    until("the end of the others", || {
        std::net::TcpStream::connect(elsewhere).is_err().then_some(())
    });
    assert_eq!(get(address(second), "/healthz", "").status(), 200);
    source.write_all(&Mp3::new('u').bytes(10_000)).unwrap();
    let status = get(address(second), "/status-json.xsl", "").json();
    assert_eq!(
        status["icestats"]["source"][0]["mount"], "/live",
        "what came by a socket stays: {status}"
    );
    let (ended, output) = program.terminate();
    assert!(ended.success(), "{output}");
    assert!(!output.contains("Still listening where it was"), "{output}");
}
