//! Receivers, names and time for the tests.

use std::{collections::HashMap, io, net::IpAddr, sync::Arc, time::Duration};

use config::Webhook;
use outbound::{Client, Policy, Resolve, Resolving};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use webhook::{Backlog, Event, Facts, Notice, Webhooks};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request(String);

impl Request {
    pub(crate) fn line(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let head = self.0.split("\r\n\r\n").next()?;
        head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn delivery(&self) -> &str {
        self.header("X-TinyIce-Delivery").unwrap()
    }

    pub(crate) fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

/// A receiver on loopback. It gives each request the next of its answers and goes on with the last one; an empty
/// answer is none at all.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    asked: watch::Receiver<Vec<Request>>,
    answers: watch::Sender<Vec<String>>,
    task: JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn start(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (log, asked) = watch::channel(Vec::new());
        let answers: watch::Sender<Vec<String>> =
            watch::Sender::new(answers.iter().map(|answer| (*answer).to_owned()).collect());
        let script = answers.clone();
        let task = tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let Some(request) = read(&mut stream).await else {
                    continue;
                };
                let answer = script.borrow().first().cloned().unwrap();
                script.send_if_modified(|answers| {
                    if answers.len() > 1 {
                        answers.remove(0);
                    }
                    false
                });
                log.send_modify(|log| log.push(request));
                match answer.is_empty() {
                    true => kept.push(stream),
                    false => {
                        let _ = stream.write_all(answer.as_bytes()).await;
                        let _ = stream.shutdown().await;
                    }
                }
            }
        });
        Self {
            port,
            asked,
            answers,
            task,
        }
    }

    pub(crate) fn answer_from_now_on(&self, answer: &str) {
        self.answers.send_replace(vec![answer.to_owned()]);
    }

    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.borrow().clone()
    }

    pub(crate) async fn asked_times(&self, times: usize) -> Vec<Request> {
        until(|| self.asked.borrow().len() >= times).await;
        self.asked()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= head.len() + 4 + length {
                return Some(Request(text));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

pub(crate) fn status(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Names with fixed addresses, one after the other.
pub(crate) struct Names(HashMap<String, watch::Sender<Vec<IpAddr>>>);

impl Names {
    pub(crate) fn new(names: &[(&str, &[&str])]) -> Arc<Self> {
        let names = names.iter().map(|(name, addrs)| {
            let addrs = addrs.iter().map(|addr| addr.parse().unwrap()).collect();
            ((*name).to_owned(), watch::Sender::new(addrs))
        });
        Arc::new(Self(names.collect()))
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        let found = self.0.get(host).map(|addrs| {
            let found = addrs.borrow()[0];
            addrs.send_if_modified(|addrs| {
                if addrs.len() > 1 {
                    addrs.remove(0);
                }
                false
            });
            vec![found]
        });
        let found = found.ok_or_else(|| io::Error::other("no such name"));
        Box::pin(async move { found })
    }
}

/// A client that may go where `allow` says.
pub(crate) fn client(allow: &[&str]) -> Client {
    let allow: Vec<_> = allow.iter().map(|entry| entry.parse().unwrap()).collect();
    Client::new(Policy::for_webhooks(&allow), "TinyIce/test".parse().unwrap()).with_resolver(Names::new(&[]))
}

pub(crate) fn facts() -> Facts {
    Facts {
        hostname: "radio.example".to_owned(),
        base_url: "https://radio.example".to_owned(),
        version: "1.0".to_owned(),
    }
}

/// Hooks that may go to 127.0.0.1.
pub(crate) fn start(hooks: &[Webhook]) -> Webhooks {
    Webhooks::start(
        client(&["127.0.0.1/32"]),
        facts(),
        hooks.to_vec(),
        Arc::new(()),
        Vec::new(),
    )
}

pub(crate) fn hook(id: &str, url: String, events: &[Event]) -> Webhook {
    let mut hook = Webhook::new(id.to_owned(), url);
    hook.events = events.iter().map(|event| event.as_str().to_owned()).collect();
    hook
}

pub(crate) fn connect(mount: &str) -> Notice {
    let mut notice = Notice::sample(Event::SourceConnect);
    if let Notice::SourceConnect { mount: present, .. } = &mut notice {
        mount.clone_into(present);
    }
    notice
}

pub(crate) fn track(on: &str, named: &str) -> Notice {
    let mut notice = Notice::sample(Event::NowPlaying);
    if let Notice::NowPlaying { mount, title, .. } = &mut notice {
        on.clone_into(mount);
        named.clone_into(title);
    }
    notice
}

pub(crate) fn title(named: &str) -> Notice {
    let mut notice = Notice::sample(Event::MetadataUpdate);
    if let Notice::MetadataUpdate { song, .. } = &mut notice {
        named.clone_into(song);
    }
    notice
}

/// Waits until something is so. Sockets take real time, so the clock is not paused here.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(std::time::Instant::now() < patience, "it did not happen");
        tokio::task::yield_now().await;
    }
}

/// Lets time pass at once.
pub(crate) async fn skip(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// A backlog in memory.
#[derive(Default)]
pub(crate) struct Kept(watch::Sender<HashMap<String, Vec<u8>>>);

impl Kept {
    pub(crate) fn left(&self) -> Vec<(String, Vec<u8>)> {
        let kept = self.0.borrow();
        kept.iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

impl Backlog for Kept {
    fn save(&self, key: &str, value: Vec<u8>) {
        self.0.send_modify(|kept| {
            kept.insert(key.to_owned(), value);
        });
    }

    fn remove(&self, key: &str) {
        self.0.send_modify(|kept| {
            kept.remove(key);
        });
    }
}
