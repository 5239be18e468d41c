//! The parts of the running server: how they are made, what runs beside the front, and how they end.
//!
//! Contract: whatever is started here is ended by [`Server::shut_down`], in an order that tells listeners the truth.

use std::{
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use api::{Api, Parts, Signin};
use arc_swap::ArcSwap;
use auth::{Auth, SetupToken};
use config::Loaded;
use fanout::{Departure, Fanout};
use http::HeaderValue;
use jiff::Timestamp;
use mount::{Delivery, Mounts, Stopped};
use observe::{Mutex, log::LogHandle, task};
use outbound::{Client, Policy};
use signin::{Mailer, Oidc, Passkeys, RelyingParty};
use tokio::sync::{mpsc, oneshot, watch};
use webhook::Webhooks;

use super::{Invocation, StartError, system};
use crate::{
    calls,
    chronicle::{self, Undelivered},
    configuration::{Administrator, Configuration},
    context::{Context, Order},
    doors::Doors,
    hot_swap::{self, SwapFailed, Swapping},
    settings, shoutcast,
    signals::Signals,
    source_thread::SourceThread,
};

/// All of a shutdown takes at most this long.
pub(super) const SHUTDOWN: Duration = Duration::from_secs(10);

/// What listeners are due gets this much of it.
const LAST_BYTES: Duration = Duration::from_secs(3);

/// What is still to be told and written gets this much, each.
const LAST_NEWS: Duration = Duration::from_secs(2);

/// A listener that takes nothing for this long is dropped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

observe::event! {
    /// Not everything ended in time.
    pub(super) struct ShutdownFailed<'a> { error: &'a str }
    = Warn "shutdown_failed": "Graceful shutdown failed: {error}"

    /// The end.
    pub(super) struct HasStopped {}
    = Info "stopped": "TinyIce stopped"

    /// One task or thread, on request.
    struct TaskDump<'a> { task: &'a str }
    = Info "task_dump": "{task}"
}

/// What is told of listeners that delivery let go.
enum Parting {
    /// One of them left.
    Listener(Departure),
    /// Everything before this has been told.
    All(oneshot::Sender<()>),
}

/// The parts of the running server.
pub(super) struct Server {
    pub(super) context: Arc<Context>,
    pub(super) configuration: Arc<Configuration>,
    pub(super) fanout: Arc<Fanout>,
    partings: mpsc::UnboundedSender<Parting>,
    departures: Mutex<Option<mpsc::UnboundedReceiver<Parting>>>,
}

impl Server {
    pub(super) async fn build(
        invocation: &Invocation,
        loaded: Loaded,
        setup: Arc<SetupToken>,
        orders: mpsc::Sender<Order>,
        log: LogHandle,
    ) -> Result<Self, StartError> {
        let now = Instant::now();
        let (configuration, config) = Configuration::new(loaded, invocation.overrides.clone());
        let configuration = Arc::new(configuration);
        let (partings, departures) = mpsc::unbounded_channel();
        let left = partings.clone();
        let fanout = Fanout::start(&fanout::Settings {
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            write_timeout: WRITE_TIMEOUT,
            // The receiver is only gone when the process ends.
            departures: Arc::new(move |departure| drop(left.send(Parting::Listener(departure)))),
        })
        .map_err(system("cannot start delivery"))?;
        let fanout = Arc::new(fanout);
        let delivery: Arc<dyn Delivery> = Arc::clone(&fanout) as Arc<dyn Delivery>;
        let mounts = Mounts::new(delivery, settings::of_mounts(&config), now);
        let config = Arc::new(config);
        let auth = Auth::start(Arc::clone(&config)).map_err(system("cannot start password checks"))?;
        let auth = Arc::new(auth);
        let config = Arc::new(ArcSwap::new(config));
        let hasty = Arc::clone(&config);
        let sources = SourceThread::start(move || hasty.load().low_latency_mode)
            .map_err(system("cannot start the thread of sources"))?;
        let store = chronicle::open(&config.load());
        let client = Client::new(Policy::new(&[]), HeaderValue::from_static(calls::AGENT));
        let webhooks = Webhooks::start(
            calls::of_webhooks(&client, &config.load()),
            calls::facts(&config.load()),
            config.load().webhooks.clone(),
            Arc::new(Undelivered(store.clone())),
            chronicle::undelivered(store.as_ref()).await,
        );
        chronicle::connect(&mounts, &auth, store.as_ref(), &webhooks).await;
        let relays = relay::Board::default();
        let context = Arc::new_cyclic(|weak: &Weak<Context>| Context {
            config: Arc::clone(&config),
            mounts: Arc::clone(&mounts),
            sources,
            auth: Arc::clone(&auth),
            api: Api::new(Parts {
                config: Arc::clone(&config),
                mounts,
                auth,
                began: Timestamp::now(),
                setup,
                administer: Arc::new(Administrator(Arc::clone(&configuration), Weak::clone(weak))),
                ready: Box::new({
                    let (context, store) = (Weak::clone(weak), store.clone());
                    move || match context.upgrade() {
                        Some(context) if !context.stopping.load(Ordering::Relaxed) => {
                            if let Some(what) = observe::watchdog::stuck() {
                                return Err(format!("watchdog: {what}"));
                            }
                            // Who started without a database was told so and goes on without; one that fails is news.
                            if store.as_ref().is_some_and(|store| !store.is_writable()) {
                                return Err("database: the last writes did not reach the file".to_owned());
                            }
                            Ok(())
                        }
                        _ => Err("shutting down".to_owned()),
                    }
                }),
                runtime: Box::new(runtime),
                store,
                geo: Arc::default(),
                webhooks,
                relays: relays.clone(),
                signin: Signin {
                    passkeys: Passkeys::new(RelyingParty::from_config(&config.load())),
                    oidc: Oidc::new(client),
                    mailer: Mailer::new(None),
                },
            }),
            reloaded: watch::Sender::new(0),
            orders,
            log: ArcSwap::from_pointee(log),
            stopping: AtomicBool::new(false),
            relays,
            instance: instance(),
        });
        Ok(Self {
            context,
            configuration,
            fanout,
            partings,
            departures: Mutex::new("server.departures", Some(departures)),
        })
    }

    /// Starts everything that runs beside the front.
    pub(super) fn spawn_tasks(&self) {
        let mounts = &self.context.mounts;
        task::spawn("mounts", (), Arc::clone(mounts).run()).detach();
        if let Some(mut departures) = self.departures.lock().take() {
            let mounts = Arc::clone(mounts);
            task::spawn("departures", (), async move {
                while let Some(parting) = departures.recv().await {
                    match parting {
                        Parting::Listener(departure) => mounts.left(&departure, Instant::now()),
                        // Whoever asked may have lost patience.
                        Parting::All(seen) => drop(seen.send(())),
                    }
                }
            })
            .detach();
        }
        chronicle::keep(&self.context);
        let (context, configuration) = (Arc::clone(&self.context), Arc::clone(&self.configuration));
        task::spawn("sweep", (), async move {
            loop {
                tokio::time::sleep(Duration::from_secs(60)).await;
                context.auth.sweep();
                let (context, configuration) = (Arc::clone(&context), Arc::clone(&configuration));
                // The disk may take its time; a panic has been reported where it happened.
                let _ = tokio::task::spawn_blocking(move || configuration.purge(&context)).await;
            }
        })
        .detach();
    }

    pub(super) fn reopen_logs(&self) {
        self.context.log.load().reopen();
    }

    /// Writes down what every task and thread is doing, for a person who has nothing else.
    pub(super) fn dump(&self) {
        for task in task::list() {
            observe::emit(TaskDump {
                task: &format!("{task:?}"),
            });
        }
        for thread in observe::thread::list() {
            observe::emit(TaskDump {
                task: &format!("{thread:?}"),
            });
        }
    }

    /// Starts a successor. Gives its process id when it is ready.
    pub(super) async fn swap(&self, doors: &Doors, shoutcast: &shoutcast::Port) -> Option<u32> {
        observe::emit(Swapping {});
        let handles = doors.handles().and_then(|http| Ok((http, shoutcast.handles()?)));
        let started = match handles {
            Ok((http, shoutcast)) => {
                tokio::task::spawn_blocking(move || hot_swap::start(http, shoutcast)).await
            }
            Err(error) => Ok(Err(error)),
        };
        match started.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(pid) => Some(pid),
            Err(error) => {
                observe::emit(SwapFailed {
                    error: &error.to_string(),
                });
                None
            }
        }
    }

    /// Waits until nobody is here any more, or the time is up, or the operator says so, and ends.
    pub(super) async fn drain(
        &self,
        time: Duration,
        stop: watch::Sender<bool>,
        calls: task::TaskHandle<()>,
        mut signals: Signals,
    ) -> Result<u8, StartError> {
        let empty = async {
            loop {
                let totals = self.context.mounts.totals();
                if totals.listeners == 0 && totals.sources == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::select! {
            () = empty => {}
            () = tokio::time::sleep(time) => {}
            _ = signals.next_end() => {}
        }
        self.context.stopping.store(true, Ordering::Relaxed);
        if tokio::time::timeout(SHUTDOWN, self.shut_down(stop, None, calls))
            .await
            .is_err()
        {
            observe::emit(ShutdownFailed {
                error: "connections were still open after 10 s",
            });
        }
        observe::emit(HasStopped {});
        self.context.log.load().flush(Duration::from_secs(2));
        Ok(0)
    }

    /// Ends everything in order: no new connections, what listeners are due, sources, running requests.
    pub(super) async fn shut_down(
        &self,
        stop: watch::Sender<bool>,
        doors: Option<Doors>,
        calls: task::TaskHandle<()>,
    ) {
        stop.send_replace(true);
        let fanout = Arc::clone(&self.fanout);
        let deadline = Instant::now() + LAST_BYTES;
        // Before the sources end, so that listeners are told the true reason.
        fanout.begin_finish(deadline);
        let delivery = tokio::task::spawn_blocking(move || fanout.finish(deadline));
        self.context.mounts.stop_all(Stopped::Shutdown);
        let closed = async {
            if let Some(doors) = doors {
                doors.close(SHUTDOWN - LAST_BYTES).await;
            }
        };
        // A panic in any of them has been reported where it happened.
        let _ = tokio::join!(delivery, closed, calls);
        let context = Arc::clone(&self.context);
        let _ = tokio::task::spawn_blocking(move || context.sources.finish()).await;
        let parts = self.context.api.parts();
        parts
            .webhooks
            .finish(tokio::time::Instant::now() + LAST_NEWS)
            .await;
        if let Some(store) = &parts.store {
            chronicle::keep_token_uses(&self.context.auth, store);
            // What does not reach the disk in this time is lost; the end does not wait for a broken one.
            let _ = tokio::time::timeout(LAST_NEWS, store.close()).await;
        }
        let (all, seen) = oneshot::channel();
        if self.partings.send(Parting::All(all)).is_ok() {
            // An error means that the task which tells of listeners is gone, and with it what it had to tell.
            let _ = seen.await;
        }
    }
}

/// The process in the numbers that the event feed has.
fn runtime() -> api::Runtime {
    let totals = observe::metrics::process_totals();
    api::Runtime {
        goroutines: totals.alive,
        memory: totals.obtained,
        heap_alloc: totals.live,
        stack_sys: totals.stacks,
        sys_ram: totals.obtained,
        num_gc: totals.reclaimed,
    }
}

/// Names this process to relays; it only has to differ from others.
fn instance() -> String {
    format!("{:016x}", fastrand::u64(..))
}
