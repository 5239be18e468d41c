//! Keeps stream directories (YP) informed of public mounts.
//!
//! Contract: one report per directory and stream, one request at a time in each; a directory that is slow or gone
//! delays nobody else. What was listed is removed when its stream ends, when reporting is switched off, and as far as
//! two seconds allow at the shutdown.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use config::MountName;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use icecast::{
    directory::{Entry, FORM, NotPublic, Report, Step, check_public},
    playlist,
};
use mount::{MountSnapshot, Mounts};
use observe::task;
use outbound::{Client, Limits, Request};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep_until, timeout},
};
use url::Url;

use crate::{
    events,
    metrics::{REPORTS, Reported},
};

/// What a shutdown may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// How often a public mount without data is looked at; its first data is not announced.
const LOOK: Duration = Duration::from_secs(1);

/// How long nothing may happen at most; a new song is not worth a report of its own.
const PERIOD: Duration = Duration::from_secs(60);

/// What directories are told, and by whom.
#[derive(Debug, Clone)]
pub struct Announcing {
    /// Dials, with the rules of where to.
    pub client: Client,
    /// The directories; none switches reporting off.
    pub directories: Vec<Url>,
    /// Where mounts are found from outside: origin without a trailing slash.
    pub base: String,
    /// The name of stations that have none.
    pub page_title: String,
}

/// Reports until `stop` resolves. A change of `announcing` counts at once.
pub async fn report(
    mounts: Arc<Mounts>,
    mut announcing: watch::Receiver<Arc<Announcing>>,
    stop: impl Future<Output = ()>,
) {
    let (answers, mut answered) = mpsc::unbounded_channel();
    let mut reports = Reports {
        mounts,
        announcing: Arc::clone(&announcing.borrow_and_update()),
        is_on: false,
        pointless: None,
        listed: HashMap::new(),
        answers,
    };
    reports.judge();
    let mut changes = reports.mounts.changes();
    let mut stop = std::pin::pin!(stop);
    // Closed when whoever configures is gone, which is at the end.
    let mut is_steady = false;
    loop {
        changes.borrow_and_update();
        let next = reports.round(now());
        tokio::select! {
            () = &mut stop => break,
            Some(answer) = answered.recv() => reports.take(answer, now()),
            changed = announcing.changed(), if !is_steady => match changed {
                Ok(()) => {
                    reports.announcing = Arc::clone(&announcing.borrow_and_update());
                    reports.judge();
                }
                Err(_) => is_steady = true,
            },
            _ = changes.changed() => {}
            () = sleep_until(next.into()) => {}
        }
    }
    reports.is_on = false;
    let farewell = async {
        loop {
            reports.round(now());
            if reports.listed.is_empty() {
                return;
            }
            if let Some(answer) = answered.recv().await {
                reports.take(answer, now());
            }
        }
    };
    // Whatever is still listed then will be dropped by the directory for want of touches.
    let _ = timeout(FAREWELL, farewell).await;
}

/// One stream in one directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    directory: Url,
    mount: MountName,
    listen_url: String,
    /// A mount's next source is another listing.
    stream: u64,
}

struct Reports {
    mounts: Arc<Mounts>,
    announcing: Arc<Announcing>,
    is_on: bool,
    /// Why reporting is of no use, so that it is said once.
    pointless: Option<NotPublic>,
    listed: HashMap<Key, Listed>,
    answers: mpsc::UnboundedSender<Answered>,
}

struct Listed {
    report: Report,
    /// The last failure, so that each is logged once.
    failure: Option<String>,
}

struct Answered {
    key: Key,
    outcome: Result<(StatusCode, HeaderMap), String>,
}

impl Reports {
    /// Decides whether there is anything to do; says why not when there should be.
    fn judge(&mut self) {
        let announcing = &self.announcing;
        let pointless = match announcing.directories.as_slice() {
            [] => None,
            _ => check_public(&format!("{}/", announcing.base)).err(),
        };
        if let Some(reason) = pointless.filter(|_| pointless != self.pointless) {
            observe::emit(events::DirectoryPointless {
                error: &reason.to_string(),
            });
        }
        self.is_on = !announcing.directories.is_empty() && pointless.is_none();
        self.pointless = pointless;
    }

    /// Looks at all mounts and posts what is due. Says when to look again.
    fn round(&mut self, now: Instant) -> Instant {
        let mut next = now + PERIOD;
        let public = self.public(now, &mut next);
        for key in public.keys() {
            self.listed.entry(key.clone()).or_insert_with(|| Listed {
                report: Report::new(now),
                failure: None,
            });
        }
        let mut due = Vec::new();
        let limit = self.mounts.settings().max_listeners;
        let page_title = &self.announcing.page_title;
        self.listed.retain(|key, listed| {
            let bitrate;
            let entry = match public.get(key) {
                Some(snapshot) => {
                    bitrate = snapshot.bitrate.clone().unwrap_or_default();
                    entry(snapshot, key, page_title, &bitrate, limit)
                }
                None => {
                    listed.report.end();
                    Entry::default()
                }
            };
            match listed.report.poll(now, &entry) {
                Step::Post(form) => due.push((key.clone(), form)),
                Step::WaitUntil(at) => next = next.min(at),
                Step::AwaitAnswer => {}
                Step::Finished => return false,
            }
            true
        });
        for (key, form) in due {
            self.post(key, form);
        }
        next
    }

    /// The streams that belong into directories.
    fn public(&self, now: Instant, next: &mut Instant) -> HashMap<Key, MountSnapshot> {
        let mut public = HashMap::new();
        if !self.is_on {
            return public;
        }
        let directories: HashSet<&Url> = self.announcing.directories.iter().collect();
        for snapshot in self.mounts.snapshot(now) {
            // A disabled mount has no live stream.
            let Some(stream) = self.mounts.live(&snapshot.name) else {
                continue;
            };
            if !snapshot.station.public || snapshot.name.is_internal() {
                continue;
            }
            if stream.bytes_in() == 0 {
                *next = (*next).min(now + LOOK);
                continue;
            }
            for directory in &directories {
                let key = Key {
                    directory: (*directory).clone(),
                    mount: snapshot.name.clone(),
                    listen_url: format!(
                        "{}{}",
                        self.announcing.base,
                        playlist::encode_mount(&snapshot.name)
                    ),
                    stream: stream.feed().id,
                };
                public.insert(key, snapshot.clone());
            }
        }
        public
    }

    fn post(&self, key: Key, form: String) {
        let request = Request {
            method: Method::POST,
            url: key.directory.clone(),
            headers: HeaderMap::from_iter([
                (header::CONTENT_TYPE, HeaderValue::from_static(FORM)),
                (header::USER_AGENT, HeaderValue::from_static(icecast::SERVER_ID)),
            ]),
            body: Bytes::from(form),
            limits: Limits::directory(),
        };
        let (client, answers) = (self.announcing.client.clone(), self.answers.clone());
        let subject = key.mount.to_string();
        let exchange = async move {
            let outcome = match client.send(request).await {
                Ok(response) => Ok((response.status, response.headers)),
                Err(failure) => Err(failure.to_string()),
            };
            // Nobody is left to hear it after the farewell.
            let _ = answers.send(Answered { key, outcome });
        };
        task::spawn("directory-post", subject, exchange).detach();
    }

    fn take(&mut self, answer: Answered, now: Instant) {
        let Answered { key, outcome } = answer;
        REPORTS.of(Reported::of(&outcome)).inc();
        let Some(listed) = self.listed.get_mut(&key) else {
            return;
        };
        let (mount, directory) = (key.mount.as_str(), key.directory.host_str().unwrap_or_default());
        match outcome {
            Ok((status, headers)) => {
                let was_listed = listed.report.is_listed();
                listed.failure = None;
                if let Some(message) = listed.report.answered(now, status, &headers) {
                    observe::emit(events::DirectoryRefused {
                        mount,
                        directory,
                        message: &message,
                    });
                }
                if listed.report.is_listed() && !was_listed {
                    observe::emit(events::DirectoryListed { mount, directory });
                }
            }
            Err(error) => {
                listed.report.failed(now);
                if listed.failure.as_ref() != Some(&error) {
                    observe::emit(events::DirectoryFailed {
                        mount,
                        directory,
                        error: &error,
                    });
                    listed.failure = Some(error);
                }
            }
        }
    }
}

fn entry<'a>(
    snapshot: &'a MountSnapshot,
    key: &'a Key,
    page_title: &'a str,
    bitrate: &'a str,
    server_limit: Option<u64>,
) -> Entry<'a> {
    let station = &snapshot.station;
    Entry {
        name: station.name.as_deref().unwrap_or(page_title),
        genre: station.genre.as_deref().unwrap_or_default(),
        description: station.description.as_deref().unwrap_or_default(),
        url: station.url.as_deref().unwrap_or_default(),
        listen_url: &key.listen_url,
        content_type: &snapshot.content_type,
        subtype: snapshot.facts.codec.unwrap_or_default(),
        bitrate,
        audio_info: &station.audio_facts,
        song: &snapshot.title.text,
        listeners: snapshot.listeners,
        max_listeners: snapshot.max_listeners.or(server_limit),
    }
}

/// The clock of the timers, which tests can turn.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
