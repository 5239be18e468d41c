//! Letters on their own, and sent to a server in this process that speaks SMTP with STARTTLS.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use config::{Config, PendingUser, Role, Smtp, User};
use observe::{Capture, Mutex};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{Letter, MailError, Mailer, receivers};

fn pending(name: &str, email: &str) -> PendingUser {
    PendingUser {
        name: name.into(),
        provider: "google".into(),
        requested_at: "2027-01-15T08:00:00Z".into(),
        ..PendingUser::new("id".into(), email.into())
    }
}

#[test]
fn the_letter() {
    let letter = Letter::about(&pending("A DJ", "dj@radio.example"), "https://radio.example");
    assert_eq!(
        letter.subject,
        "[TinyIce] New access request from dj@radio.example"
    );
    assert_eq!(
        letter.body,
        "Somebody asks for an account.\r\n\r\nName:      A DJ\r\nEmail:     dj@radio.example\r\n\
         Provider:  google\r\nRequested: 2027-01-15T08:00:00Z\r\n\r\n\
         Approve or deny it in https://radio.example/admin/pending\r\n"
    );
    let message = letter
        .message("Radio <radio@radio.example>", "boss@radio.example")
        .unwrap();
    let text = String::from_utf8(message.formatted()).unwrap();
    for part in [
        "From: Radio <radio@radio.example>\r\n",
        "To: boss@radio.example\r\n",
        "Subject: [TinyIce] New access request from dj@radio.example\r\n",
        "Message-ID: <",
        "@radio.example>\r\n",
        "Date: ",
        "Content-Type: text/plain; charset=utf-8\r\n",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn nothing_breaks_a_header() {
    let letter = Letter::about(
        &pending("A\r\nBcc: x@y.example", "dj@radio.example\r\nBcc: x@y.example"),
        "",
    );
    assert!(
        letter.body.contains("Name:      A  Bcc: x@y.example\r\n"),
        "{}",
        letter.body
    );
    let letter_to = |from: &str, to: &str, letter: &Letter| letter.message(from, to).map(drop);
    assert_eq!(
        letter_to("a@b.example", "c@d.example", &letter),
        Err(MailError::LineBreak)
    );
    let letter = Letter::about(&pending("A", "dj@radio.example"), "");
    for (from, to, expected) in [
        (
            "a@b.example\r\nBcc: x@y.example",
            "c@d.example",
            MailError::LineBreak,
        ),
        (
            "a@b.example",
            "c@d.example\nBcc: x@y.example",
            MailError::LineBreak,
        ),
        ("a@b.example", "c d@e.example", MailError::BadReceiver),
        ("a@b.example", "", MailError::BadReceiver),
        ("radio", "c@d.example", MailError::BadSender),
    ] {
        assert_eq!(letter_to(from, to, &letter), Err(expected), "{from:?} {to:?}");
    }
}

#[test]
fn superadmins_get_it_at_their_first_address() {
    let mut config = Config::default();
    config.users.clear();
    for (name, role, addresses) in [
        (
            "a",
            Role::Superadmin,
            &["a@radio.example", "second@radio.example"][..],
        ),
        ("b", Role::Admin, &["b@radio.example"]),
        ("c", Role::Superadmin, &[]),
        ("d", Role::Superadmin, &["A@radio.example"]),
        ("e", Role::Superadmin, &["e@radio.example"]),
    ] {
        let mut user = User::new(name.into(), String::new(), role);
        user.linked_emails = addresses.iter().map(ToString::to_string).collect();
        config.users.insert(name.into(), user);
    }
    assert_eq!(receivers(&config), ["a@radio.example", "e@radio.example"]);
}

/// A mail server that takes everything.
struct Server {
    port: u16,
    /// What clients said, one line each; `TLS` stands where encryption began.
    heard: Arc<Mutex<Vec<String>>>,
    certificate: Vec<u8>,
}

/// What a server offers.
#[derive(Clone, Copy)]
struct Offer {
    starttls: bool,
    implicit: bool,
    auth: &'static str,
    /// Says nothing at all.
    silent: bool,
}

const USUAL: Offer = Offer {
    starttls: true,
    implicit: false,
    auth: "PLAIN LOGIN",
    silent: false,
};

impl Server {
    async fn start(offer: Offer) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            heard: Arc::new(Mutex::new("heard", Vec::new())),
            certificate: certificate.der().to_vec(),
        };
        let heard = server.heard.clone();
        observe::task::spawn("smtp", (), async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (heard, acceptor) = (heard.clone(), acceptor.clone());
                observe::task::spawn("smtp-client", (), async move {
                    welcome(stream, offer, &acceptor, &heard).await
                })
                .detach();
            }
        })
        .detach();
        server
    }

    fn config(&self) -> Config {
        let mut config = Config {
            base_url: "https://radio.example".into(),
            smtp: Some(Smtp {
                enabled: true,
                host: "127.0.0.1".into(),
                port: self.port,
                from: "TinyIce <radio@radio.example>".into(),
                username: "radio".into(),
                password: "p\u{e4}ss".into(),
            }),
            ..Config::default()
        };
        config.users.clear();
        for name in ["one", "two"] {
            let mut user = User::new(name.into(), String::new(), Role::Superadmin);
            user.linked_emails.push(format!("{name}@radio.example"));
            config.users.insert(name.into(), user);
        }
        config
    }

    fn mailer(&self) -> Mailer {
        Mailer::new(Some(vec![self.certificate.clone()]))
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().clone()
    }

    /// What clients said that begins so.
    fn heard_of(&self, start: &str) -> Vec<String> {
        self.heard()
            .into_iter()
            .filter(|line| line.starts_with(start))
            .collect()
    }

    /// Waits until so many mails have arrived.
    async fn has(&self, mails: usize) {
        let arrived = async {
            while self.heard_of("QUIT").len() < mails {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), arrived)
            .await
            .unwrap();
    }
}

async fn welcome(
    stream: TcpStream,
    offer: Offer,
    acceptor: &TlsAcceptor,
    heard: &Mutex<Vec<String>>,
) -> Option<()> {
    if offer.silent {
        return std::future::pending().await;
    }
    let mut stream = BufReader::new(stream);
    if !offer.implicit {
        stream.write_all(b"220 mail.radio.example\r\n").await.ok()?;
        talk(&mut stream, offer, heard).await?;
    }
    let stream = acceptor.accept(stream.into_inner()).await.ok()?;
    heard.lock().push("TLS".into());
    let mut stream = BufReader::new(stream);
    if offer.implicit {
        stream.write_all(b"220 mail.radio.example\r\n").await.ok()?;
    }
    let offer = Offer {
        starttls: false,
        ..offer
    };
    talk(&mut stream, offer, heard).await
}

/// Talks until the client is gone, or wants TLS.
async fn talk(
    stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>,
    offer: Offer,
    heard: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut in_letter = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        heard.lock().push(line.to_owned());
        let verb = line.split(' ').next().unwrap_or_default();
        let answer = match verb {
            "." => {
                in_letter = false;
                "250 kept".to_owned()
            }
            _ if in_letter => continue,
            "EHLO" => {
                let starttls = if offer.starttls { "250-STARTTLS\r\n" } else { "" };
                format!(
                    "250-mail.radio.example\r\n{starttls}250-8BITMIME\r\n250 AUTH {}",
                    offer.auth
                )
            }
            "STARTTLS" => {
                stream.write_all(b"220 go\r\n").await.ok()?;
                return Some(());
            }
            "AUTH" if line == "AUTH LOGIN" => "334 VXNlcm5hbWU6".to_owned(),
            "AUTH" => "235 welcome".to_owned(),
            "MAIL" | "RCPT" => "250 ok".to_owned(),
            "DATA" => {
                in_letter = true;
                "354 go on".to_owned()
            }
            "QUIT" => "221 bye".to_owned(),
            // The two lines of LOGIN.
            user if user == STANDARD.encode("radio") => "334 UGFzc3dvcmQ6".to_owned(),
            password if password == STANDARD.encode("p\u{e4}ss") => "235 welcome".to_owned(),
            _ => "500 what".to_owned(),
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
    }
}

#[tokio::test]
async fn every_superadmin_is_told_over_tls() {
    let server = Server::start(USUAL).await;
    server
        .mailer()
        .notify(&server.config(), &pending("M\u{fc}ller", "dj@radio.example"));
    server.has(2).await;
    let heard = server.heard();
    let plain = STANDARD.encode("\0radio\0p\u{e4}ss");
    assert_eq!(
        heard[..7],
        [
            "EHLO radio.example",
            "STARTTLS",
            "TLS",
            "EHLO radio.example",
            &format!("AUTH PLAIN {plain}"),
            "MAIL FROM:<radio@radio.example>",
            "RCPT TO:<one@radio.example>",
        ]
    );
    assert_eq!(
        server.heard_of("RCPT"),
        ["RCPT TO:<one@radio.example>", "RCPT TO:<two@radio.example>"]
    );
    assert_eq!(server.heard_of("Subject:").len(), 2);
    assert_eq!(server.heard_of("Email:"), ["Email:     dj@radio.example"; 2]);
    assert!(
        heard.contains(&"Approve or deny it in https://radio.example/admin/pending".to_owned()),
        "{heard:?}"
    );
    assert_eq!(server.heard_of("Name:"), ["Name:      M=C3=BCller"; 2]);
}

#[tokio::test]
async fn tests_are_waited_for() {
    let server = Server::start(USUAL).await;
    assert_eq!(
        server
            .mailer()
            .send_test(&server.config(), "boss@radio.example")
            .await,
        Ok(())
    );
    assert_eq!(server.heard_of("RCPT"), ["RCPT TO:<boss@radio.example>"]);
    assert_eq!(
        server.heard_of("This is"),
        ["This is a test. Mail from https://radio.example works."]
    );
}

#[tokio::test]
async fn servers_that_know_only_login() {
    let server = Server::start(Offer {
        auth: "LOGIN",
        ..USUAL
    })
    .await;
    assert_eq!(
        server
            .mailer()
            .send_test(&server.config(), "boss@radio.example")
            .await,
        Ok(())
    );
    assert_eq!(server.heard_of("AUTH"), ["AUTH LOGIN"]);
}

#[tokio::test]
async fn without_a_name_there_is_no_login() {
    let server = Server::start(USUAL).await;
    let mut config = server.config();
    config.smtp.as_mut().unwrap().username.clear();
    assert_eq!(
        server.mailer().send_test(&config, "boss@radio.example").await,
        Ok(())
    );
    assert_eq!(server.heard_of("AUTH"), [""; 0]);
}

#[tokio::test]
async fn tls_from_the_first_byte() {
    let server = Server::start(Offer {
        implicit: true,
        starttls: false,
        ..USUAL
    })
    .await;
    let mailer = Mailer::with_implicit_tls(Some(vec![server.certificate.clone()]), server.port);
    assert_eq!(
        mailer.send_test(&server.config(), "boss@radio.example").await,
        Ok(())
    );
    assert_eq!(server.heard()[..2], ["TLS", "EHLO radio.example"]);
    assert_eq!(Mailer::default().shared.implicit_tls, 465);
}

/// Nothing is said beyond the greeting: no password, no address.
#[tokio::test]
async fn nothing_goes_out_without_tls() {
    let server = Server::start(Offer {
        starttls: false,
        ..USUAL
    })
    .await;
    let outcome = server
        .mailer()
        .send_test(&server.config(), "boss@radio.example")
        .await;
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains("STARTTLS"), "{error}");
    assert_eq!(error.status(), 502);
    assert!(
        server
            .heard()
            .iter()
            .all(|line| line.starts_with("EHLO") || line == "QUIT"),
        "{:?}",
        server.heard()
    );

    // Neither to a server that cannot say who it is.
    let server = Server::start(USUAL).await;
    let stranger = Server::start(USUAL).await;
    let outcome = stranger
        .mailer()
        .send_test(&server.config(), "boss@radio.example")
        .await;
    assert!(matches!(outcome, Err(MailError::Failed(_))), "{outcome:?}");
    assert!(server.heard_of("AUTH").is_empty() && server.heard_of("MAIL").is_empty());
}

#[tokio::test]
async fn a_failure_is_one_line_and_delays_nobody() {
    let server = Server::start(Offer {
        starttls: false,
        ..USUAL
    })
    .await;
    let capture = Capture::start();
    server
        .mailer()
        .notify(&server.config(), &pending("A DJ", "dj@radio.example"));
    assert!(server.heard().is_empty());
    let mut records = Vec::new();
    let said = async {
        while records.len() < 2 {
            tokio::task::yield_now().await;
            records.extend(capture.records());
        }
    };
    tokio::time::timeout(Duration::from_secs(20), said).await.unwrap();
    let text = records[0].text();
    assert!(text.contains("Failed to send notification email"), "{text}");
    assert_eq!(records[0].level, observe::Level::Warn);
    let field = |record: usize, key: &str| match records[record].field(key) {
        Some(observe::Value::Text(text)) => text.to_string(),
        other => format!("{other:?}"),
    };
    assert_eq!(
        (field(0, "to"), field(1, "to")),
        ("one@radio.example".into(), "two@radio.example".into())
    );
    assert!(field(0, "error").contains("STARTTLS"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn silent_servers_are_given_up() {
    let server = Server::start(Offer {
        silent: true,
        ..USUAL
    })
    .await;
    let began = tokio::time::Instant::now();
    let outcome = server
        .mailer()
        .send_test(&server.config(), "boss@radio.example")
        .await;
    assert_eq!(outcome, Err(MailError::Timeout));
    assert!(
        (30..32).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn twenty_mails_an_hour() {
    let server = Server::start(USUAL).await;
    let (mailer, config) = (server.mailer(), server.config());
    for n in 0..20 {
        assert_eq!(
            mailer.clone().send_test(&config, "boss@radio.example").await,
            Ok(()),
            "{n}"
        );
    }
    let error = mailer.send_test(&config, "boss@radio.example").await.unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.status()),
        ("More than 20 mails in an hour", 429)
    );
    let MailError::TooMany { retry_after } = error else {
        unreachable!("it is")
    };
    assert!(retry_after > Duration::from_secs(3500), "{retry_after:?}");
    assert_eq!(server.heard_of("MAIL").len(), 20);
}

#[tokio::test]
async fn without_a_server_nothing_happens() {
    let server = Server::start(USUAL).await;
    let config = server.config();
    let without = [
        Config {
            smtp: None,
            ..config.clone()
        },
        Config {
            smtp: config.smtp.clone().map(|smtp| Smtp {
                enabled: false,
                ..smtp
            }),
            ..config.clone()
        },
        Config {
            smtp: config.smtp.clone().map(|smtp| Smtp {
                host: String::new(),
                ..smtp
            }),
            ..config.clone()
        },
    ];
    for config in without {
        let outcome = server.mailer().send_test(&config, "boss@radio.example").await;
        assert_eq!(outcome, Err(MailError::NotConfigured));
        server.mailer().notify(&config, &pending("A", "dj@radio.example"));
    }
    let outcome = server.mailer().send_test(&config, "boss").await;
    assert_eq!(
        (outcome.clone(), outcome.unwrap_err().status()),
        (Err(MailError::BadReceiver), 400)
    );
    assert!(server.heard().is_empty());
}
