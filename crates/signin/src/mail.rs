//! Mail: who asked for an account, and a test.
//!
//! Contract: nothing is sent without TLS, and nobody waits for mail but the one who asked for a test. At most
//! [`MOST_PER_HOUR`] go out in an hour. A failure is one line in the log.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{Config, PendingUser, Role, Smtp};
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use observe::Mutex;

use crate::address::is_mail_address;
use crate::limit::Limit;
use crate::metrics::{MAILS, Mailed};
use crate::random;

/// Mails in an hour, tests included.
pub const MOST_PER_HOUR: usize = 20;
/// Longest wait for a connection to one address of the server, and for each of its answers.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest time for one mail.
const WHOLE: Duration = Duration::from_secs(30);
/// Where TLS begins with the connection (RFC 8314 section 3.3).
const IMPLICIT_TLS: u16 = 465;

observe::event! {
    /// A mail that did not go out.
    struct MailFailed<'a> { to: &'a str, error: &'a str }
    = Warn "mail_failed": "Failed to send notification email"
}

/// Sends mail. Clones share the limit.
#[derive(Clone)]
pub struct Mailer {
    shared: Arc<Shared>,
}

struct Shared {
    /// Held for a look-up.
    rate: Mutex<Limit<()>>,
    /// Authorities that are trusted instead of the machine's, in DER.
    roots: Option<Vec<Vec<u8>>>,
    /// The port on which TLS begins with the connection.
    implicit_tls: u16,
}

/// Why a mail did not go out. The text is for an administrator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MailError {
    /// `smtp` is absent, off or without a host.
    #[error("Mail is not configured")]
    NotConfigured,
    /// The receiver is no address. (400)
    #[error("Invalid address")]
    BadReceiver,
    /// `smtp.from` is no address.
    #[error("The sender in \"smtp\" is not a mail address")]
    BadSender,
    /// Something that would end a header.
    #[error("Line breaks are not allowed in names and addresses")]
    LineBreak,
    /// Over the limit. (429)
    #[error("More than {MOST_PER_HOUR} mails in an hour")]
    TooMany {
        /// When it makes sense to come back.
        retry_after: Duration,
    },
    /// Over the time.
    #[error("The mail server did not finish within 30 s")]
    Timeout,
    /// What the server or the connection said. (502)
    #[error("{0}")]
    Failed(String),
}

impl MailError {
    /// The HTTP status to answer with.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::NotConfigured | Self::BadReceiver | Self::BadSender | Self::LineBreak => 400,
            Self::TooMany { .. } => 429,
            Self::Timeout | Self::Failed(_) => 502,
        }
    }
}

impl Default for Mailer {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Mailer {
    /// A mailer that trusts the machine's certificate authorities, or only those given (in DER).
    #[must_use]
    pub fn new(roots: Option<Vec<Vec<u8>>>) -> Self {
        Self::with_implicit_tls(roots, IMPLICIT_TLS)
    }

    fn with_implicit_tls(roots: Option<Vec<Vec<u8>>>, implicit_tls: u16) -> Self {
        let rate = Limit::new(MOST_PER_HOUR, Duration::from_secs(3600));
        Self {
            shared: Arc::new(Shared {
                rate: Mutex::new("mailer", rate),
                roots,
                implicit_tls,
            }),
        }
    }

    /// Tells every superadmin who has an address that somebody asks for an account. Yields at once.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn notify(&self, config: &Config, pending: &PendingUser) {
        let Some(smtp) = config.smtp.clone().filter(is_usable) else {
            return;
        };
        let receivers = receivers(config);
        if receivers.is_empty() {
            return;
        }
        let letter = Letter::about(pending, &config.base_url);
        let mailer = self.clone();
        let sending = async move {
            for to in receivers {
                if let Err(error) = mailer.deliver(&smtp, &to, &letter).await {
                    observe::emit(MailFailed {
                        to: &to,
                        error: &error.to_string(),
                    });
                }
            }
        };
        observe::task::spawn("mail", (), sending).detach();
    }

    /// Sends a test to `to` and waits for it.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn send_test(&self, config: &Config, to: &str) -> Result<(), MailError> {
        let smtp = config
            .smtp
            .as_ref()
            .filter(|smtp| is_usable(smtp))
            .ok_or(MailError::NotConfigured)?;
        let letter = Letter {
            subject: "[TinyIce] Test".to_owned(),
            body: format!(
                "This is a test. Mail from {} works.\r\n",
                server_name(&config.base_url)
            ),
        };
        self.deliver(smtp, to, &letter).await
    }

    async fn deliver(&self, smtp: &Smtp, to: &str, letter: &Letter) -> Result<(), MailError> {
        let outcome = self.attempt(smtp, to, letter).await;
        let mailed = match &outcome {
            Ok(()) => Mailed::Sent,
            Err(MailError::TooMany { .. }) => Mailed::Held,
            Err(_) => Mailed::Failed,
        };
        MAILS.of(mailed).inc();
        outcome
    }

    async fn attempt(&self, smtp: &Smtp, to: &str, letter: &Letter) -> Result<(), MailError> {
        let message = letter.message(&smtp.from, to)?;
        {
            let (mut rate, now) = (self.shared.rate.lock(), Instant::now());
            if let Some(retry_after) = rate.wait((), now) {
                return Err(MailError::TooMany { retry_after });
            }
            rate.count((), now);
        }
        let sending = async {
            let transport = self.transport(smtp).await?;
            transport
                .send(message)
                .await
                .map_err(|error| MailError::Failed(told(&error)))
        };
        match tokio::time::timeout(WHOLE, Box::pin(sending)).await {
            Ok(outcome) => outcome.map(drop),
            Err(_) => Err(MailError::Timeout),
        }
    }

    async fn transport(&self, smtp: &Smtp) -> Result<AsyncSmtpTransport<Tokio1Executor>, MailError> {
        let (host, shared) = (smtp.host.clone(), self.shared.clone());
        // The machine's authorities are read from files.
        let parameters = tokio::task::spawn_blocking(move || trust(host, shared.roots.as_deref())).await;
        let parameters = parameters.map_err(|error| MailError::Failed(error.to_string()))??;
        let tls = match smtp.port == self.shared.implicit_tls {
            true => Tls::Wrapper(parameters),
            false => Tls::Required(parameters),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
            .port(smtp.port)
            .tls(tls)
            .timeout(Some(CONNECT))
            .hello_name(hello(&smtp.from));
        if !smtp.username.is_empty() {
            builder = builder
                .credentials(Credentials::new(smtp.username.clone(), smtp.password.clone()))
                .authentication(vec![Mechanism::Plain, Mechanism::Login]);
        }
        Ok(builder.build())
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Mailer").finish_non_exhaustive()
    }
}

/// A mail without sender and receiver.
struct Letter {
    subject: String,
    body: String,
}

impl Letter {
    fn about(pending: &PendingUser, base_url: &str) -> Self {
        let place = match base_url {
            "" => "the admin panel, under Pending".to_owned(),
            base => format!("{}/admin/pending", base.trim_end_matches('/')),
        };
        let lines = [
            "Somebody asks for an account.".to_owned(),
            String::new(),
            format!("Name:      {}", pending.name),
            format!("Email:     {}", pending.email),
            format!("Provider:  {}", pending.provider),
            format!("Requested: {}", pending.requested_at),
            String::new(),
            format!("Approve or deny it in {place}"),
            String::new(),
        ];
        Self {
            subject: format!("[TinyIce] New access request from {}", pending.email),
            // What cannot be in a line of ours is caught here for the body and in `message` for the header.
            body: lines.map(|line| line.replace(['\r', '\n'], " ")).join("\r\n"),
        }
    }

    fn message(&self, from: &str, to: &str) -> Result<Message, MailError> {
        if [from, to, &self.subject]
            .iter()
            .any(|text| text.contains(['\r', '\n']))
        {
            return Err(MailError::LineBreak);
        }
        if !is_mail_address(to) {
            return Err(MailError::BadReceiver);
        }
        let to: Address = to.parse().map_err(|_| MailError::BadReceiver)?;
        // The sender may have a name: `TinyIce <radio@radio.example>`.
        let from: Mailbox = from.parse().map_err(|_| MailError::BadSender)?;
        let id = format!("<{}@{}>", random::uuid(), from.email.domain());
        MessageBuilder::new()
            .from(from)
            .to(Mailbox::new(None, to))
            .subject(&self.subject)
            .message_id(Some(id))
            .date_now()
            .header(ContentType::TEXT_PLAIN)
            .body(self.body.clone())
            .map_err(|error| MailError::Failed(error.to_string()))
    }
}

fn is_usable(smtp: &Smtp) -> bool {
    smtp.enabled && !smtp.host.is_empty()
}

/// The first address of each superadmin, each once.
fn receivers(config: &Config) -> Vec<String> {
    let superadmins = config.users.values().filter(|user| user.role == Role::Superadmin);
    let mut receivers: Vec<String> = Vec::new();
    for address in superadmins.filter_map(|user| user.linked_emails.first()) {
        if !receivers.iter().any(|known| known.eq_ignore_ascii_case(address)) {
            receivers.push(address.clone());
        }
    }
    receivers
}

fn trust(host: String, roots: Option<&[Vec<u8>]>) -> Result<TlsParameters, MailError> {
    let failed = |error: lettre::transport::smtp::Error| MailError::Failed(told(&error));
    let mut builder = TlsParameters::builder(host);
    if let Some(roots) = roots {
        builder = builder.certificate_store(CertificateStore::None);
        for root in roots {
            builder = builder.add_root_certificate(Certificate::from_der(root.clone()).map_err(failed)?);
        }
    }
    builder.build().map_err(failed)
}

/// What we call ourselves to the server: the sender's domain, which spam filters like better than an address.
fn hello(from: &str) -> ClientId {
    let sender = from.parse::<Mailbox>().ok();
    sender.map_or_else(ClientId::default, |sender| {
        ClientId::Domain(sender.email.domain().to_owned())
    })
}

fn server_name(base_url: &str) -> &str {
    if base_url.is_empty() {
        "this server"
    } else {
        base_url
    }
}

/// An error with what caused it, in one line.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text.replace(['\r', '\n'], " ")
}
