//! The task that sends.
//!
//! Contract: at most [`QUEUE`] items of each kind wait. A failed request is tried again after a pause that grows;
//! what a collector refuses for good is dropped.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, header::CONTENT_TYPE};
use observe::{Record, span::Finished};
use outbound::{Client, Limits, Request};
use serde_json::Value;
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    time::Instant,
};
use url::Url;

use crate::{
    Resource, encode,
    metrics::{FAILURES, Fate, ITEMS, Signal},
};

/// Items of each kind that wait for the collector.
const QUEUE: usize = 4_096;
/// Items of one request.
const BATCH: usize = 512;
/// How long the first item waits for company.
const COMPANY: Duration = Duration::from_secs(1);
/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long the end of the program waits for what is left.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Whoever sends a feed of events about failing to send events sends for ever.
const OWN_EVENTS: &str = "otlp_";

observe::event! {
    struct Unreachable<'a> { endpoint: &'a str, error: &'a str }
    = Warn "otlp_unreachable": "The OpenTelemetry collector cannot be reached, trying again: {error}"

    struct Reachable<'a> { endpoint: &'a str }
    = Info "otlp_reachable": "The OpenTelemetry collector takes spans and events again"

    struct Rejected<'a> { endpoint: &'a str, error: &'a str }
    = Warn "otlp_rejected": "The OpenTelemetry collector refuses what it was sent: {error}"
}

/// Where to and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The collector, such as `http://127.0.0.1:4318`; `/v1/traces` and `/v1/logs` are appended.
    pub endpoint: Url,
    /// Who sends.
    pub resource: Resource,
}

struct Pile<T> {
    signal: Signal,
    waiting: VecDeque<Arc<T>>,
    /// When it is sent at the latest, once something waits.
    due: Option<Instant>,
    failures: u32,
}

impl<T> Pile<T> {
    fn new(signal: Signal) -> Self {
        Self {
            signal,
            waiting: VecDeque::new(),
            due: None,
            failures: 0,
        }
    }

    fn add(&mut self, item: Arc<T>) {
        if self.waiting.len() == QUEUE {
            self.waiting.pop_front();
            self.lose(1);
        }
        self.waiting.push_back(item);
        self.due.get_or_insert_with(|| Instant::now() + COMPANY);
        if self.waiting.len() >= BATCH && self.failures == 0 {
            self.due = Some(Instant::now());
        }
    }

    fn lose(&self, items: u64) {
        ITEMS.of((self.signal, Fate::Dropped)).add(items);
    }

    fn batch(&self) -> Vec<Arc<T>> {
        self.waiting.iter().take(BATCH).cloned().collect()
    }

    /// Settles what became of the first `count` items.
    fn settle(&mut self, count: usize, sent: Sent) {
        let now = Instant::now();
        match sent {
            Sent::Taken | Sent::Refused => {
                let count = count.min(self.waiting.len());
                self.waiting.drain(..count);
                self.failures = 0;
                let fate = if sent == Sent::Taken {
                    Fate::Sent
                } else {
                    Fate::Dropped
                };
                ITEMS.of((self.signal, fate)).add(count as u64);
                self.due = (!self.waiting.is_empty()).then_some(now);
            }
            Sent::Failed => {
                FAILURES.of(self.signal).inc();
                self.failures = (self.failures + 1).min(10);
                let pause = Duration::from_secs(1 << self.failures.min(6)).min(LONGEST_PAUSE);
                self.due = Some(now + pause);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Taken,
    Refused,
    Failed,
}

/// Sends until `stopped` says so, then what is left. Settings may change meanwhile; without any, nothing is kept.
pub async fn export(
    client: Client,
    mut settings: watch::Receiver<Option<Settings>>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let present = settings.borrow_and_update().clone();
        let Some(present) = present else {
            tokio::select! {
                changed = settings.changed() => if changed.is_err() { return },
                () = end(&mut stopped) => return,
            }
            continue;
        };
        let client = client
            .clone()
            .with_policy(outbound::Policy::new(&allowed(&present.endpoint)));
        let mut exporter = Exporter {
            client,
            settings: present,
            spans: Pile::new(Signal::Traces),
            records: Pile::new(Signal::Logs),
            reachable: true,
        };
        if exporter.run(&mut settings, &mut stopped).await {
            return;
        }
    }
}

/// The end of the program, or of whoever could tell of it.
async fn end(stopped: &mut watch::Receiver<bool>) {
    // The guard that this gives must not live into what follows.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// The collector is the operator's choice, so its address is open whatever network it is in; nothing else is.
fn allowed(endpoint: &Url) -> Vec<outbound::Allow> {
    endpoint
        .host_str()
        .and_then(|host| host.parse().ok())
        .into_iter()
        .collect()
}

struct Exporter {
    client: Client,
    settings: Settings,
    spans: Pile<Finished>,
    records: Pile<Record>,
    reachable: bool,
}

impl Exporter {
    /// Sends until the settings change (false) or the end has come (true).
    async fn run(
        &mut self,
        settings: &mut watch::Receiver<Option<Settings>>,
        stopped: &mut watch::Receiver<bool>,
    ) -> bool {
        let (mut spans, mut records) = (observe::span::subscribe(), observe::subscribe());
        loop {
            let due = [self.spans.due, self.records.due].into_iter().flatten().min();
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                span = spans.recv() => match span {
                    Ok(span) => self.spans.add(span),
                    Err(RecvError::Lagged(missed)) => self.spans.lose(missed),
                    // The feeds are statics; they never end.
                    Err(RecvError::Closed) => return true,
                },
                record = records.recv() => match record {
                    Ok(record) if record.name.starts_with(OWN_EVENTS) => {}
                    Ok(record) => self.records.add(record),
                    Err(RecvError::Lagged(missed)) => self.records.lose(missed),
                    Err(RecvError::Closed) => return true,
                },
                () = wait => self.send_due(Instant::now()).await,
                changed = settings.changed() => {
                    self.send_rest().await;
                    return changed.is_err();
                }
                () = end(stopped) => {
                    // Sessions that end with the program are worth waiting for.
                    while let Ok(span) = spans.try_recv() {
                        self.spans.add(span);
                    }
                    while let Ok(record) = records.try_recv() {
                        self.records.add(record);
                    }
                    self.send_rest().await;
                    return true;
                }
            }
        }
    }

    async fn send_due(&mut self, now: Instant) {
        if self.spans.due.is_some_and(|due| due <= now) {
            self.send_spans().await;
        }
        if self.records.due.is_some_and(|due| due <= now) {
            self.send_records().await;
        }
    }

    async fn send_rest(&mut self) {
        let rest = async {
            while !self.spans.waiting.is_empty() && self.spans.failures == 0 {
                self.send_spans().await;
            }
            while !self.records.waiting.is_empty() && self.records.failures == 0 {
                self.send_records().await;
            }
        };
        // What a collector does not take by then is lost, and counted.
        let _ = tokio::time::timeout(LAST_WORDS, rest).await;
        self.spans.lose(self.spans.waiting.len() as u64);
        self.records.lose(self.records.waiting.len() as u64);
    }

    async fn send_spans(&mut self) {
        let batch = self.spans.batch();
        let body = encode::traces(&self.settings.resource, &batch);
        let sent = self.send("v1/traces", &body).await;
        self.spans.settle(batch.len(), sent);
    }

    async fn send_records(&mut self) {
        let batch = self.records.batch();
        let body = encode::logs(&self.settings.resource, &batch);
        let sent = self.send("v1/logs", &body).await;
        self.records.settle(batch.len(), sent);
    }

    async fn send(&mut self, path: &str, body: &Value) -> Sent {
        let endpoint = outbound::masked(&self.settings.endpoint).to_string();
        let mut url = self.settings.endpoint.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}"));
        let mut request = Request::get(url, Limits::webhook());
        request.method = Method::POST;
        request.body = Bytes::from(body.to_string());
        let request = request.with(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let (sent, error) = match self.client.send(request).await {
            Ok(response) if response.status.is_success() => (Sent::Taken, String::new()),
            // These ask for another try (OTLP specification, "Failures").
            Ok(response) if matches!(response.status.as_u16(), 429 | 502 | 503 | 504) => {
                (Sent::Failed, format!("status {}", response.status))
            }
            Ok(response) => (Sent::Refused, format!("status {}", response.status)),
            Err(failure) => (Sent::Failed, failure.to_string()),
        };
        match sent {
            Sent::Taken if !self.reachable => {
                self.reachable = true;
                observe::emit(Reachable { endpoint: &endpoint });
            }
            Sent::Failed if self.reachable => {
                self.reachable = false;
                observe::emit(Unreachable {
                    endpoint: &endpoint,
                    error: &error,
                });
            }
            Sent::Refused => observe::emit_limited(
                Duration::from_secs(60),
                Rejected {
                    endpoint: &endpoint,
                    error: &error,
                },
            ),
            _ => {}
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pile_is_bounded_and_counts_what_it_loses() {
        let dropped = ITEMS.of((Signal::Traces, Fate::Dropped));
        let sent = ITEMS.of((Signal::Traces, Fate::Sent));
        let before = (dropped.get(), sent.get());
        let mut pile = Pile::new(Signal::Traces);
        for number in 0..QUEUE + 3 {
            pile.add(Arc::new(number));
        }
        assert_eq!((pile.waiting.len(), dropped.get() - before.0), (QUEUE, 3));
        assert_eq!(*pile.batch()[0], 3);
        pile.settle(BATCH, Sent::Failed);
        assert_eq!((pile.waiting.len(), pile.failures), (QUEUE, 1));
        assert!(pile.due.unwrap() > Instant::now(), "a pause after a failure");
        pile.settle(BATCH, Sent::Taken);
        assert_eq!((pile.waiting.len(), pile.failures), (QUEUE - BATCH, 0));
        pile.settle(BATCH, Sent::Refused);
        assert_eq!(sent.get() - before.1, BATCH as u64);
        assert_eq!(dropped.get() - before.0, 3 + BATCH as u64);
    }
}
