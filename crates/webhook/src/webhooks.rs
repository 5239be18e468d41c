//! All hooks.
//!
//! Contract: [`Webhooks::tell`] waits for nothing but short locks and keeps a bounded amount.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use config::Webhook;
use jiff::Timestamp;
use observe::{
    Mutex, RwLock,
    task::{self, TaskHandle},
};
use outbound::Client;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    Backlog, DeliveryRecord, Event, Facts, HookState, Notice, SentRequest, TestOutcome,
    context::Context,
    delivery::Delivery,
    exchange,
    hook::{Hook, Shared, Terms, millis},
    metrics::{DELIVERIES, DROPPED, Outcome},
    request,
    secret::Secrets,
    titles::Titles,
};

/// After a restart an older delivery is of no use to anybody.
const OLDEST: Duration = Duration::from_secs(24 * 3600);
/// After a restart an older track is not playing any more.
const OLDEST_TRACK: Duration = Duration::from_secs(600);

/// All hooks. Clones are the same.
#[derive(Clone)]
pub struct Webhooks(Arc<All>);

struct All {
    shared: Arc<Shared>,
    hooks: RwLock<Vec<Running>>,
    pace: Arc<Pace>,
    /// Tells title changes that came too soon.
    timer: Mutex<Option<TaskHandle<()>>>,
}

struct Running {
    hook: Arc<Hook>,
    task: Option<TaskHandle<()>>,
}

/// Holds back title changes.
struct Pace {
    titles: Mutex<Titles>,
    wake: Notify,
}

impl Webhooks {
    /// Starts a task for each hook, on the present runtime. `left` is what `backlog` holds from the last time.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(
        client: Client,
        facts: Facts,
        hooks: Vec<Webhook>,
        backlog: Arc<dyn Backlog>,
        left: Vec<(String, Vec<u8>)>,
    ) -> Self {
        let pace = Arc::new(Pace {
            titles: Mutex::new("webhook.titles", Titles::default()),
            wake: Notify::new(),
        });
        let all = Arc::new(All {
            shared: Arc::new(Shared::new(Terms { client, facts }, backlog)),
            hooks: RwLock::new("webhook.hooks", Vec::new()),
            pace: Arc::clone(&pace),
            timer: Mutex::new("webhook.timer", None),
        });
        all.apply(hooks);
        all.restore(left);
        let timer = task::spawn("webhook-titles", (), tell_late(pace, Arc::downgrade(&all)));
        *all.timer.lock() = Some(timer);
        Self(all)
    }

    /// Takes another configuration: new hooks start, those that are gone end, and those that changed are tried again
    /// at once with what they still have to be told.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn reload(&self, client: Client, facts: Facts, hooks: Vec<Webhook>) {
        self.0.shared.set_terms(Terms { client, facts });
        self.0.apply(hooks);
    }

    /// Tells all enabled hooks that want to know.
    pub fn tell(&self, notice: Notice) {
        let all = &*self.0;
        match (&notice, notice.mount()) {
            (Notice::MetadataUpdate { .. }, Some(mount)) => {
                // Under the lock nobody else can put a newer title before this one.
                let mut titles = all.pace.titles.lock();
                let mount = mount.to_owned();
                if let Some(notice) = titles.offer(&mount, notice, Instant::now()) {
                    all.spread(&notice);
                } else {
                    all.pace.wake.notify_one();
                }
            }
            (Notice::SourceDisconnect { .. }, Some(mount)) => {
                let mut titles = all.pace.titles.lock();
                if let Some(late) = titles.forget(mount) {
                    all.spread(&late);
                }
                all.spread(&notice);
            }
            _ => all.spread(&notice),
        }
    }

    /// Sends a sample of `event` to `hook`, which need not be a stored or enabled one, and waits for the outcome, at
    /// most ten seconds.
    pub async fn test(&self, hook: &Webhook, event: Event) -> TestOutcome {
        let terms = self.0.shared.terms();
        let now = Timestamp::now();
        let delivery = Delivery::new(&Notice::sample(event), now);
        let failed = |error: String| TestOutcome {
            status: "failed",
            event,
            http_status: None,
            duration_ms: 0,
            request: None,
            response_body: String::new(),
            error: Some(error),
        };
        let context = Context {
            facts: &terms.facts,
            event,
            at: now,
            payload: &delivery.payload,
        };
        let built = task::guard("webhook", hook.id.as_str(), || {
            request::build(hook, &context, &delivery.id, now)
        });
        let built = match built {
            Ok(Ok(built)) => built,
            Ok(Err(error)) => return failed(error.to_string()),
            Err(_) => return failed("the template could not be rendered".to_owned()),
        };
        let secrets = Secrets::of(hook);
        let shown = SentRequest {
            method: built.request.method.to_string(),
            url: outbound::masked(&built.request.url).to_string(),
            headers: request::shown_headers(&built.request).into_iter().collect(),
            body: secrets.hide(&String::from_utf8_lossy(&built.request.body)),
        };
        let attempt = exchange::attempt(&terms.client, built.request, &secrets, false).await;
        let warnings = built.warnings.join("; ");
        TestOutcome {
            status: if attempt.error.is_none() { "ok" } else { "failed" },
            event,
            http_status: attempt.status,
            duration_ms: millis(attempt.duration),
            request: Some(shown),
            response_body: attempt.answer,
            error: attempt.error.or((!warnings.is_empty()).then_some(warnings)),
        }
    }

    /// The last 100 deliveries of a hook, newest first; nothing if there is no such hook.
    #[must_use]
    pub fn deliveries(&self, id: &str) -> Option<Vec<DeliveryRecord>> {
        self.0.find(id).map(|hook| hook.records())
    }

    /// How a hook is doing; nothing if there is no such hook.
    #[must_use]
    pub fn state(&self, id: &str) -> Option<HookState> {
        self.0.find(id).map(|hook| hook.state())
    }

    /// How all hooks are doing, in the order of the configuration.
    #[must_use]
    pub fn states(&self) -> Vec<HookState> {
        let hooks = self.0.hooks.read();
        hooks.iter().map(|running| running.hook.state()).collect()
    }

    /// Tries until `deadline` to deliver what has not been tried yet. What remains, and what is told from now on,
    /// stays in the backlog.
    pub async fn finish(&self, deadline: Instant) {
        let all = &*self.0;
        if let Some(timer) = all.timer.lock().take() {
            timer.abort();
        }
        let late = all.pace.titles.lock().flush(Instant::now());
        late.iter().for_each(|notice| all.spread(notice));
        all.shared.closing.store(true, Ordering::Relaxed);
        let tasks: Vec<_> = {
            let mut hooks = all.hooks.write();
            hooks.iter().for_each(|running| running.hook.wake());
            hooks
                .iter_mut()
                .filter_map(|running| running.task.take())
                .collect()
        };
        for mut task in tasks {
            if timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

impl All {
    fn spread(&self, notice: &Notice) {
        let now = Timestamp::now();
        for running in self.hooks.read().iter() {
            if running.hook.wants(notice.event()) {
                running.hook.add(Delivery::new(notice, now));
            }
        }
    }

    fn find(&self, id: &str) -> Option<Arc<Hook>> {
        let hooks = self.hooks.read();
        let found = hooks.iter().find(|running| running.hook.key == id);
        found.map(|running| Arc::clone(&running.hook))
    }

    fn apply(&self, records: Vec<Webhook>) {
        let mut hooks = self.hooks.write();
        let mut before = std::mem::take(&mut *hooks);
        let mut seen = BTreeSet::new();
        for (index, record) in records.into_iter().enumerate() {
            // Somebody may have copied an entry of the file with its id.
            let key = match seen.insert(record.id.clone()) && !record.id.is_empty() {
                true => record.id.clone(),
                false => format!("#{index}"),
            };
            let known = before.iter().position(|running| running.hook.key == key);
            let running = match known {
                Some(at) => {
                    let running = before.swap_remove(at);
                    running.hook.apply(record);
                    running
                }
                None => Running::start(Hook::new(key, record, Arc::clone(&self.shared))),
            };
            hooks.push(running);
        }
        drop(hooks);
        for running in before {
            running.hook.end();
        }
    }

    /// Takes up what was not delivered before the restart.
    fn restore(&self, left: Vec<(String, Vec<u8>)>) {
        let now = Timestamp::now();
        let mut restored = Vec::new();
        for (key, value) in left {
            match Delivery::of_bytes(&key, &value) {
                Some((hook, delivery)) => restored.push((hook, delivery)),
                None => self.shared.backlog.remove(&key),
            }
        }
        restored.sort_by_key(|(_, delivery)| delivery.order());
        for (hook, delivery) in restored {
            let oldest = match delivery.event {
                Event::NowPlaying => OLDEST_TRACK,
                _ => OLDEST,
            };
            let age = Duration::try_from(now.duration_since(delivery.at)).unwrap_or_default();
            match self.find(&hook).filter(|hook| hook.is_enabled() && age <= oldest) {
                Some(hook) => hook.add(delivery),
                None => {
                    self.shared.backlog.remove(&delivery.id);
                    DROPPED.inc();
                    DELIVERIES.of(Outcome::Dropped).inc();
                }
            }
        }
    }
}

impl Running {
    fn start(hook: Arc<Hook>) -> Self {
        let task = task::spawn("webhook", hook.key.as_str(), Arc::clone(&hook).run());
        Self {
            hook,
            task: Some(task),
        }
    }
}

impl Drop for All {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.get_mut().take() {
            timer.abort();
        }
        for running in self.hooks.get_mut() {
            if let Some(task) = running.task.take() {
                task.abort();
            }
        }
    }
}

/// Tells title changes when their time has come.
async fn tell_late(pace: Arc<Pace>, all: Weak<All>) {
    loop {
        let due = pace.titles.lock().next_due();
        match due {
            None => pace.wake.notified().await,
            Some(at) => tokio::select! {
                () = pace.wake.notified() => {}
                () = sleep_until(at) => {}
            },
        }
        let Some(all) = all.upgrade() else { return };
        let mut titles = pace.titles.lock();
        for notice in titles.due(Instant::now()) {
            all.spread(&notice);
        }
    }
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hooks = self.0.hooks.read();
        let keys: Vec<_> = hooks.iter().map(|running| &running.hook.key).collect();
        f.debug_struct("Webhooks")
            .field("hooks", &keys)
            .finish_non_exhaustive()
    }
}
