//! One hook: its queue, what became of its deliveries, and the task that makes them.
//!
//! Contract: whatever the receiver does, only this hook waits for it. The state's lock is held for a few steps at a
//! time and never while something is sent.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use config::Webhook;
use jiff::Timestamp;
use observe::Mutex;
use outbound::Client;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{
    Backlog, DeliveryRecord, Event, Facts, HookState, Status,
    context::{self, Context},
    delivery::Delivery,
    events,
    exchange::{self, Attempt},
    metrics::{DELIVERIES, DROPPED, DURATION, FAILING, Outcome, QUEUED, RETRIES},
    queue::{Left, Next, Queue, Retry},
    request, retry,
    secret::Secrets,
};

/// How many deliveries are remembered.
const REMEMBERED: usize = 100;
/// So many failures in a row…
const FAILURES: u64 = 50;
/// …over so long a time mark a hook.
const FAILING_FOR: Duration = Duration::from_secs(24 * 3600);

/// What all hooks have in common.
pub(crate) struct Shared {
    terms: Mutex<Arc<Terms>>,
    pub(crate) backlog: Arc<dyn Backlog>,
    /// Nothing is tried again any more.
    pub(crate) closing: AtomicBool,
}

/// How to reach others, and what to tell them about us.
pub(crate) struct Terms {
    pub(crate) client: Client,
    pub(crate) facts: Facts,
}

impl Shared {
    pub(crate) fn new(terms: Terms, backlog: Arc<dyn Backlog>) -> Self {
        Self {
            terms: Mutex::new("webhook.terms", Arc::new(terms)),
            backlog,
            closing: AtomicBool::new(false),
        }
    }

    pub(crate) fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.terms.lock())
    }

    pub(crate) fn set_terms(&self, terms: Terms) {
        *self.terms.lock() = Arc::new(terms);
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}

/// One hook.
pub(crate) struct Hook {
    pub(crate) key: String,
    shared: Arc<Shared>,
    wake: Notify,
    state: Mutex<State>,
}

struct State {
    settings: Arc<Webhook>,
    queue: Queue,
    records: VecDeque<DeliveryRecord>,
    health: Health,
    /// The hook was removed.
    ended: bool,
}

#[derive(Default)]
struct Health {
    failures: u64,
    /// The first of them.
    since: Option<(Instant, Timestamp)>,
    marked: bool,
    last_success: Option<Timestamp>,
    last_error: Option<String>,
    dropped: u64,
}

impl State {
    /// Changes the record of a delivery, which may be forgotten already.
    fn note(&mut self, delivery: &Delivery, change: impl FnOnce(&mut DeliveryRecord)) {
        let known = self.records.iter().rposition(|record| record.id == delivery.id);
        let at = known.unwrap_or_else(|| {
            if self.records.len() >= REMEMBERED {
                self.records.pop_front();
            }
            self.records.push_back(DeliveryRecord::new(delivery));
            self.records.len() - 1
        });
        change(&mut self.records[at]);
    }

    fn note_all(&mut self, deliveries: &[Delivery], status: Status) {
        for delivery in deliveries {
            self.note(delivery, |record| {
                record.status = status;
                record.next_attempt = None;
            });
        }
    }
}

impl Health {
    /// Yields whether the hook was marked.
    fn succeeded(&mut self) -> bool {
        let dropped = self.dropped;
        let was_marked = self.marked;
        *self = Self {
            last_success: Some(Timestamp::now()),
            dropped,
            ..Self::default()
        };
        was_marked
    }

    /// Yields whether the hook is marked from now on.
    fn failed(&mut self, error: &str) -> bool {
        let (since, _) = *self
            .since
            .get_or_insert_with(|| (Instant::now(), Timestamp::now()));
        self.failures += 1;
        self.last_error = Some(error.to_owned());
        let due = self.failures >= FAILURES && since.elapsed() >= FAILING_FOR;
        due && !std::mem::replace(&mut self.marked, true)
    }
}

/// What the task does next.
enum Step {
    Send(Delivery, Arc<Webhook>),
    SleepUntil(Instant),
    Sleep,
    End,
}

impl Hook {
    pub(crate) fn new(key: String, settings: Webhook, shared: Arc<Shared>) -> Arc<Self> {
        let state = State {
            settings: Arc::new(settings),
            queue: Queue::default(),
            records: VecDeque::new(),
            health: Health::default(),
            ended: false,
        };
        Arc::new(Self {
            key,
            shared,
            wake: Notify::new(),
            state: Mutex::new("webhook.hook", state),
        })
    }

    pub(crate) fn wants(&self, event: Event) -> bool {
        let state = self.state.lock();
        let settings = &state.settings;
        settings.enabled && settings.events.iter().any(|name| name == event.as_str())
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.state.lock().settings.enabled
    }

    /// Adds what is to be delivered.
    pub(crate) fn add(&self, delivery: Delivery) {
        // What is saved first cannot be removed before.
        let bytes = delivery.to_bytes(&self.key);
        self.shared.backlog.save(&delivery.id, bytes);
        let left = self.with_state(|state| {
            state.note(&delivery, |_| ());
            let left = state.queue.push(delivery, Instant::now());
            state.note_all(&left.dropped, Status::Dropped);
            state.note_all(&left.superseded, Status::Superseded);
            state.health.dropped += left.dropped.len() as u64;
            left
        });
        let Left { dropped, superseded } = left;
        self.lose(&dropped, "too many wait");
        for delivery in superseded {
            self.superseded(&delivery);
        }
        self.wake.notify_one();
    }

    /// Takes other settings.
    pub(crate) fn apply(&self, settings: Webhook) {
        let lost = self.with_state(|state| {
            if *state.settings == settings {
                return Vec::new();
            }
            let enabled = settings.enabled;
            state.settings = Arc::new(settings);
            if enabled {
                state.queue.hurry(Instant::now());
                return Vec::new();
            }
            let lost = state.queue.clear();
            state.note_all(&lost, Status::Dropped);
            state.health.dropped += lost.len() as u64;
            lost
        });
        self.lose(&lost, "the webhook was disabled");
        self.wake.notify_one();
    }

    /// Ends the hook for good.
    pub(crate) fn end(&self) {
        let lost = self.with_state(|state| {
            state.ended = true;
            if std::mem::take(&mut state.health.marked) {
                FAILING.add(-1.0);
            }
            state.queue.clear()
        });
        self.lose(&lost, "the webhook was removed");
        self.wake.notify_one();
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// The last deliveries, newest first.
    pub(crate) fn records(&self) -> Vec<DeliveryRecord> {
        self.state.lock().records.iter().rev().cloned().collect()
    }

    pub(crate) fn state(&self) -> HookState {
        let state = self.state.lock();
        let health = &state.health;
        HookState {
            id: self.key.clone(),
            failing: health.marked,
            failures_in_a_row: health.failures,
            failing_since: health.since.map(|(_, at)| context::rfc3339(at)),
            last_success: health.last_success.map(context::rfc3339),
            last_error: health.last_error.clone(),
            queued: state.queue.len(),
            dropped: health.dropped,
        }
    }

    /// Delivers until the hook ends, or until nothing new is left when the server does.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            match self.step() {
                Step::Send(delivery, settings) => self.deliver(delivery, &settings).await,
                Step::SleepUntil(at) => {
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = sleep_until(at) => {}
                    }
                }
                Step::Sleep => self.wake.notified().await,
                Step::End => return,
            }
        }
    }

    fn step(&self) -> Step {
        let closing = self.shared.is_closing();
        let mut state = self.state.lock();
        if state.ended {
            return Step::End;
        }
        match state.queue.next(Instant::now(), closing) {
            Next::Send(delivery) => Step::Send(delivery, Arc::clone(&state.settings)),
            Next::At(_) | Next::Nothing if closing => Step::End,
            Next::At(at) => Step::SleepUntil(at),
            Next::Nothing => Step::Sleep,
        }
    }

    async fn deliver(&self, delivery: Delivery, settings: &Webhook) {
        let terms = self.shared.terms();
        if delivery.attempts > 0 {
            RETRIES.inc();
        }
        let context = Context {
            facts: &terms.facts,
            event: delivery.event,
            at: delivery.at,
            payload: &delivery.payload,
        };
        // The template is somebody's program; should it break ours, only this delivery is lost.
        let built = observe::task::guard("webhook", self.key.as_str(), || {
            request::build(settings, &context, &delivery.id, Timestamp::now())
        });
        let built = match built {
            Ok(Ok(built)) => built,
            Ok(Err(error)) => {
                return self.give_up(&delivery, settings, None, &error.to_string(), Outcome::Template);
            }
            Err(_) => {
                let error = "the template could not be rendered";
                return self.give_up(&delivery, settings, None, error, Outcome::Template);
            }
        };
        for what in &built.warnings {
            observe::emit(events::LeftOut {
                hook: &self.key,
                name: &settings.name,
                event: delivery.event.as_str(),
                what,
            });
        }
        let secrets = Secrets::of(settings);
        let attempt = exchange::attempt(&terms.client, built.request, &secrets, true).await;
        DURATION.observe_duration(attempt.duration);
        match &attempt.error {
            None => self.delivered(&delivery, settings, &attempt),
            Some(error) => self.failed(&delivery, settings, &attempt, error),
        }
    }

    fn delivered(&self, delivery: &Delivery, settings: &Webhook, attempt: &Attempt) {
        let (known, recovered) = self.with_state(|state| {
            let known = state.queue.remove(&delivery.id).is_some();
            state.note(delivery, |record| {
                record.attempts = delivery.attempts + 1;
                record.status = Status::Delivered;
                record.error = None;
                record.next_attempt = None;
                measured(record, attempt);
            });
            (known, state.health.succeeded())
        });
        self.shared.backlog.remove(&delivery.id);
        count(known, Outcome::Delivered);
        observe::emit(events::Delivered {
            hook: &self.key,
            name: &settings.name,
            event: delivery.event.as_str(),
            delivery: &delivery.id,
            status: attempt.status.unwrap_or_default(),
            attempts: delivery.attempts + 1,
            duration: attempt.duration,
        });
        if recovered {
            FAILING.add(-1.0);
            observe::emit(events::Recovered {
                hook: &self.key,
                name: &settings.name,
            });
        }
    }

    fn failed(&self, delivery: &Delivery, settings: &Webhook, attempt: &Attempt, error: &str) {
        let attempts = delivery.attempts + 1;
        let wait = retry::delay(attempts, attempt.retry_after, fastrand::f64());
        let Some(wait) = wait.filter(|_| attempt.worth_repeating) else {
            let outcome = if attempt.refused {
                Outcome::Refused
            } else {
                Outcome::Failed
            };
            return self.give_up(delivery, settings, Some(attempt), error, outcome);
        };
        let retry = self.with_state(|state| {
            let retry = state.queue.retry(&delivery.id, Instant::now() + wait);
            state.note(delivery, |record| {
                record.attempts = attempts;
                record.error = Some(error.to_owned());
                measured(record, attempt);
                match retry {
                    Retry::Waits(_) => {
                        record.status = Status::Retrying;
                        let at = Timestamp::now().saturating_add(wait).unwrap_or(Timestamp::MAX);
                        record.next_attempt = Some(context::rfc3339(at));
                    }
                    Retry::Superseded => record.status = Status::Superseded,
                    Retry::Gone => record.status = Status::Dropped,
                }
            });
            retry
        });
        self.count_failure(settings, error);
        match retry {
            Retry::Waits(delivery) => {
                let bytes = delivery.to_bytes(&self.key);
                self.shared.backlog.save(&delivery.id, bytes);
                observe::emit(events::WillRetry {
                    hook: &self.key,
                    name: &settings.name,
                    event: delivery.event.as_str(),
                    delivery: &delivery.id,
                    error,
                    attempts,
                    wait,
                });
            }
            Retry::Superseded => self.superseded(delivery),
            // It is counted already.
            Retry::Gone => {}
        }
    }

    fn give_up(
        &self,
        delivery: &Delivery,
        settings: &Webhook,
        attempt: Option<&Attempt>,
        error: &str,
        outcome: Outcome,
    ) {
        let known = self.with_state(|state| {
            let known = state.queue.remove(&delivery.id).is_some();
            state.note(delivery, |record| {
                record.attempts = delivery.attempts + u32::from(attempt.is_some());
                record.status = Status::Failed;
                record.error = Some(error.to_owned());
                record.next_attempt = None;
                if let Some(attempt) = attempt {
                    measured(record, attempt);
                }
            });
            known
        });
        self.shared.backlog.remove(&delivery.id);
        count(known, outcome);
        observe::emit(events::GivenUp {
            hook: &self.key,
            name: &settings.name,
            event: delivery.event.as_str(),
            delivery: &delivery.id,
            error,
            attempts: delivery.attempts + u32::from(attempt.is_some()),
        });
        self.count_failure(settings, error);
    }

    fn count_failure(&self, settings: &Webhook, error: &str) {
        let failures = {
            let mut state = self.state.lock();
            let marked = !state.ended && state.health.failed(error);
            marked.then_some(state.health.failures)
        };
        if let Some(failures) = failures {
            FAILING.add(1.0);
            observe::emit(events::Failing {
                hook: &self.key,
                name: &settings.name,
                failures,
                error,
            });
        }
    }

    fn superseded(&self, delivery: &Delivery) {
        self.shared.backlog.remove(&delivery.id);
        DELIVERIES.of(Outcome::Superseded).inc();
    }

    /// Takes note of deliveries that never were made.
    fn lose(&self, lost: &[Delivery], reason: &str) {
        if lost.is_empty() {
            return;
        }
        for delivery in lost {
            self.shared.backlog.remove(&delivery.id);
        }
        DROPPED.add(lost.len() as u64);
        DELIVERIES.of(Outcome::Dropped).add(lost.len() as u64);
        let settings = Arc::clone(&self.state.lock().settings);
        let dropped = events::Dropped {
            hook: &self.key,
            name: &settings.name,
            count: lost.len(),
            reason,
        };
        observe::emit_limited(Duration::from_secs(60), dropped);
    }

    /// Changes the state and keeps the gauge of the queues right.
    fn with_state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let before = state.queue.len();
        let result = change(&mut state);
        #[allow(clippy::cast_precision_loss, reason = "a queue is short")]
        let grown = state.queue.len() as f64 - before as f64;
        if grown != 0.0 {
            QUEUED.add(grown);
        }
        result
    }
}

/// One that left the queue meanwhile, because the hook was disabled or removed, is counted already.
fn count(known: bool, outcome: Outcome) {
    if known {
        DELIVERIES.of(outcome).inc();
    }
}

fn measured(record: &mut DeliveryRecord, attempt: &Attempt) {
    record.http_status = attempt.status;
    record.duration_ms = millis(attempt.duration);
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
