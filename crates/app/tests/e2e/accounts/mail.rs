//! Mail about people who ask for an account, taken by a real mail server.

use std::{
    io::{self, Read as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};

use super::{
    PASSWORD,
    providers::{Provider, Traveller, known, person},
};
use crate::harness::{Client, Folder, Program, Server, Setup, installed, until};

/// A mail server that prints what it gets.
struct Post {
    program: Program,
    address: SocketAddr,
    folder: Folder,
}

impl Post {
    /// Starts it, with a certificate of its own unless it is to be without TLS; nothing where it is not installed.
    fn start(has_tls: bool) -> Option<Self> {
        if !installed(&["aiosmtpd"]) {
            return None;
        }
        let folder = Folder::new();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let certificate = folder.write("certificate.pem", pem("CERTIFICATE", cert.der()));
        let key = folder.write("key.pem", pem("PRIVATE KEY", signing_key.serialized_der()));
        let address = SocketAddr::from(([127, 0, 0, 1], Server::free_port()));
        let mut command = Command::new("aiosmtpd");
        command
            .args(["--nosetuid", "--listen", &address.to_string()])
            .env("PYTHONUNBUFFERED", "1");
        if has_tls {
            command.arg("--tlscert").arg(certificate).arg("--tlskey").arg(key);
        }
        let mut program = Program::start(&mut command);
        until("the mail server listens", || {
            assert!(program.is_running(), "{}", program.output());
            TcpStream::connect(address).ok()
        });
        Some(Self {
            program,
            address,
            folder,
        })
    }

    /// The setup of a server that sends mail by it, and trusts it or not.
    fn used(&self, setup: Setup, is_trusted: bool) -> Setup {
        let setup = setup.set("smtp", smtp(self.address));
        if !is_trusted {
            return setup;
        }
        let certificate = self.folder.file("certificate.pem");
        setup.variable("SSL_CERT_FILE", certificate.to_str().expect("a plain path"))
    }

    /// Waits for a mail with this text and gives everything that came so far.
    fn wait_for(&self, text: &str) -> String {
        until(&format!("a mail with {text:?}"), || {
            let output = self.program.output();
            let is_there = output
                .split("MESSAGE FOLLOWS")
                .skip(1)
                .any(|mail| mail.contains(text) && mail.contains("END MESSAGE"));
            is_there.then_some(output)
        })
    }

    fn mails(&self) -> usize {
        self.program.output().matches("MESSAGE FOLLOWS").count()
    }
}

/// As programs want it in a file (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines = text
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line).into_owned() + "\n");
    format!(
        "-----BEGIN {label}-----\n{}-----END {label}-----\n",
        lines.collect::<String>()
    )
}

fn smtp(address: SocketAddr) -> Value {
    json!({
        "enabled": true, "host": address.ip().to_string(), "port": address.port(),
        "from": "TinyIce <radio@radio.example>", "username": "", "password": "",
    })
}

fn test(root: &Client, to: &str) -> (u16, Value) {
    let reply = root.call("POST", "/api/settings/smtp-test", &json!({ "to": to }));
    (reply.status(), reply.json())
}

#[test]
fn who_asks_for_an_account_is_told_to_the_superadmins_once() {
    let Some(post) = Post::start(true) else { return };
    let Some(provider) = Provider::start(&[person("berta")]) else {
        return;
    };
    let server = post
        .used(provider.offered(known()), true)
        .set("base_url", "")
        .start();
    for _ in 0..2 {
        let reply = Traveller::leave(&server, "").sign_in("berta");
        assert!(reply.text().contains("Access Requested"), "{}", reply.text());
    }
    let mail = post.wait_for("berta@radio.example");
    for line in [
        "Subject: [TinyIce] New access request from berta@radio.example",
        "To: root@radio.example",
        "From: TinyIce <radio@radio.example>",
        "Message-ID: <",
        "Date: ",
        "Name of berta",
        "mock",
    ] {
        assert!(mail.contains(line), "{line} in {mail}");
    }
    // The second visit was before this one, and brought no mail.
    let root = Client::login(&server, "root", PASSWORD);
    assert_eq!(
        test(&root, "ops@radio.example"),
        (200, json!({ "status": "sent" }))
    );
    post.wait_for("To: ops@radio.example");
    assert_eq!(post.mails(), 2);
}

#[test]
fn a_trial_mail_says_what_is_wrong() {
    let Some(post) = Post::start(true) else { return };
    let server = post.used(super::setup(), true).start();
    let root = Client::login(&server, "root", PASSWORD);
    assert_eq!(test(&root, "ops@radio.example").0, 200);
    post.wait_for("To: ops@radio.example");
    for to in ["", "nobody", "a@b\r\nBcc: c@d", "a b@radio.example"] {
        assert_eq!(test(&root, to).0, 400, "{to:?}");
    }
    let dj = Client::login(&server, "dj-own", PASSWORD);
    assert_eq!(test(&dj, "ops@radio.example").0, 403);
    assert_eq!(post.mails(), 1);

    // Nobody is there.
    server
        .edit_config(|config| config["smtp"] = smtp(SocketAddr::from(([127, 0, 0, 1], Server::free_port()))));
    assert!(server.reload());
    let (status, answer) = test(&root, "ops@radio.example");
    assert_eq!(status, 502, "{answer}");
    // Mail is off.
    server.edit_config(|config| config["smtp"]["enabled"] = json!(false));
    assert!(server.reload());
    assert_eq!(
        test(&root, "ops@radio.example"),
        (400, json!({ "error": "Mail is not configured" }))
    );
}

#[test]
fn nothing_is_sent_in_the_clear_or_to_whom_nobody_vouches_for() {
    let (Some(plain), Some(unknown)) = (Post::start(false), Post::start(true)) else {
        return;
    };
    for (post, what) in [
        (&plain, "no STARTTLS"),
        (&unknown, "a certificate that nobody signed"),
    ] {
        let server = post.used(super::setup(), false).start();
        let root = Client::login(&server, "root", PASSWORD);
        let (status, answer) = test(&root, "ops@radio.example");
        assert_eq!(status, 502, "{what}: {answer}");
        assert!(
            answer["error"].as_str().is_some_and(|text| !text.is_empty()),
            "{what}: {answer}"
        );
        assert_eq!(post.mails(), 0, "{what}");
    }
}

#[test]
fn nobody_waits_for_a_mail_server_that_says_nothing() {
    let Some(provider) = Provider::start(&[person("berta"), person("carl")]) else {
        return;
    };
    // It takes connections, and that is all.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let server = provider.offered(known()).set("smtp", smtp(address)).start();
    let reply = Traveller::leave(&server, "").sign_in("berta");
    assert!(reply.text().contains("Access Requested"), "{}", reply.text());
    // The mail is still being tried: nothing was said, and nobody has hung up.
    let (mut connection, _) = silent.accept().expect("somebody tries");
    connection.set_nonblocking(true).expect("a socket");
    let heard = connection.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(heard, Err(io::ErrorKind::WouldBlock));
    // And one that is not there costs a line in the log.
    drop(silent);
    let reply = Traveller::leave(&server, "").sign_in("carl");
    assert!(reply.text().contains("Access Requested"), "{}", reply.text());
    let line = server.wait_for_log("Failed to send notification email");
    assert!(line.contains("root@radio.example"), "{line}");
}
