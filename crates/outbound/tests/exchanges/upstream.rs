//! Servers and names for the tests.

use std::{collections::HashMap, io, net::IpAddr, sync::Arc};

use outbound::{Client, Failure, Limits, Policy, Request, Resolve, Resolving, Response};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// A server on loopback that gives each connection the next of its answers.
pub(crate) struct Upstream {
    pub(crate) port: u16,
    asked: watch::Receiver<Vec<String>>,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Serves `answers`, in which `PORT` stands for the server's own port.
    pub(crate) async fn start(answers: &[&str]) -> Self {
        Self::start_tls(answers, None).await
    }

    pub(crate) async fn start_tls(answers: &[&str], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (log, asked) = watch::channel(Vec::new());
        let answers: Vec<_> = answers
            .iter()
            .map(|answer| answer.replace("PORT", &port.to_string()))
            .collect();
        let task = tokio::spawn(async move {
            for answer in answers {
                let (stream, _) = listener.accept().await.unwrap();
                match &tls {
                    None => serve(stream, &answer, &log).await,
                    // A client that refuses the certificate ends the handshake.
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => serve(stream, &answer, &log).await,
                        Err(_) => continue,
                    },
                }
            }
        });
        Self { port, asked, task }
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    pub(crate) fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.port)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &str,
    log: &watch::Sender<Vec<String>>,
) {
    let mut request = Vec::new();
    while !is_whole(&String::from_utf8_lossy(&request)) {
        if stream.read_buf(&mut request).await.unwrap() == 0 {
            break;
        }
    }
    log.send_modify(|log| log.push(String::from_utf8(request).unwrap()));
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

/// Names with fixed addresses; keeps what was looked up.
#[derive(Default)]
pub(crate) struct Names {
    known: HashMap<String, Vec<IpAddr>>,
    asked: watch::Sender<Vec<String>>,
}

impl Names {
    pub(crate) fn new(known: &[(&str, &[&str])]) -> Arc<Self> {
        let addrs = |addrs: &[&str]| addrs.iter().map(|addr| addr.parse().unwrap()).collect();
        let known = known
            .iter()
            .map(|(name, found)| ((*name).to_owned(), addrs(found)))
            .collect();
        Arc::new(Self {
            known,
            asked: watch::Sender::default(),
        })
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        self.asked.send_modify(|asked| asked.push(host.to_owned()));
        let found = self
            .known
            .get(host)
            .cloned()
            .ok_or_else(|| io::Error::other("no such name"));
        Box::pin(async move { found })
    }
}

/// A client with an allow list and names.
pub(crate) fn client(allow: &[&str], names: &Arc<Names>) -> Client {
    let allow: Vec<_> = allow.iter().map(|entry| entry.parse().unwrap()).collect();
    Client::new(Policy::new(&allow), "TinyIce/test".parse().unwrap()).with_resolver(names.clone())
}

/// Fetches `url` with a client that may go to 127.0.0.1 and knows no names.
pub(crate) async fn fetch(url: &str) -> Result<Response, Failure> {
    let names = Names::new(&[]);
    client(&["127.0.0.1/32"], &names)
        .send(Request::get(url.parse().unwrap(), Limits::relay()))
        .await
}

/// Status and body as text, or the failure.
pub(crate) async fn told(outcome: Result<Response, Failure>) -> String {
    match outcome {
        Err(failure) => format!("failed: {failure}"),
        Ok(mut response) => {
            let body = match response.body.read_limited(1 << 20).await {
                Ok(excerpt) => String::from_utf8_lossy(&excerpt.bytes).into_owned(),
                Err(error) => format!("broken: {:?}", error.kind()),
            };
            format!("{}: {body}", response.status_text())
        }
    }
}
