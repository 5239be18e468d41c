//! The port: its thread, its addresses and its end.
//!
//! Contract: nothing that the caller's runtime or threads do, not even hanging, keeps the port from answering.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;

use observe::task::TaskHandle;
use observe::thread::ThreadHandle;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::client::Limits;
use crate::context::Context;
use crate::door::{self, Door};
use crate::events::PortFailed;
use crate::page::Pages;

/// How long a caller waits until the addresses have been tried. They are tried without waiting for anything.
const TRIED: Duration = Duration::from_secs(2);
/// Threads for what is outside the lanes.
const MORE_THREADS: usize = 4;
/// Threads that are there from the start: a process that cannot have more threads can still be asked why.
const FIRST_THREADS: usize = 4;
/// How long an idle thread stays: it costs next to nothing, and may not be had again when it is needed.
const KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Where the port is and to whom it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens; an IPv6 address is for IPv6 alone. Without addresses the port is off until
    /// [`Port::rebind`] gives it some.
    pub addresses: Vec<SocketAddr>,
    /// Host names that requests may use, besides IP addresses and `localhost`.
    pub names: Vec<String>,
    /// What clients may take.
    pub limits: Limits,
}

impl Default for Settings {
    /// Port 8081 of this machine alone.
    fn default() -> Settings {
        Settings {
            addresses: vec![
                (Ipv4Addr::LOCALHOST, 8081).into(),
                (Ipv6Addr::LOCALHOST, 8081).into(),
            ],
            names: Vec::new(),
            limits: Limits::default(),
        }
    }
}

enum Command {
    Rebind(Vec<SocketAddr>, blocking::SyncSender<()>),
    Close(Duration),
}

/// The running port. Dropping it closes it at once.
#[derive(Debug)]
pub struct Port {
    context: Arc<Context>,
    commands: mpsc::UnboundedSender<Command>,
    /// Taken by the one who closes the port.
    thread: observe::Mutex<Option<ThreadHandle<()>>>,
    /// Ends when the thread has.
    ended: observe::Mutex<Option<blocking::Receiver<()>>>,
}

impl Port {
    /// Starts the port and returns when each address has been tried once. An address that cannot be opened is an
    /// event, and it is tried again until it is free; so a successor gets it as soon as its predecessor closes.
    #[must_use]
    pub fn start(settings: Settings, pages: Pages) -> Port {
        let context = Arc::new(Context::new(pages, settings.names, settings.limits));
        let (commands, received) = mpsc::unbounded_channel();
        let (tried, wait_tried) = blocking::sync_channel(1);
        let (end, ended) = blocking::sync_channel(1);
        let inner = Arc::clone(&context);
        let thread = observe::thread::spawn("diagnostics", move || {
            let _end: blocking::SyncSender<()> = end;
            run(&inner, settings.addresses, received, &tried);
        });
        match &thread {
            Ok(_) => {
                let _ = wait_tried.recv_timeout(TRIED);
            }
            Err(error) => observe::emit(PortFailed {
                error: &error.to_string(),
            }),
        }
        Port {
            context,
            commands,
            thread: observe::Mutex::new("diagnostics thread", thread.ok()),
            ended: observe::Mutex::new("diagnostics end", Some(ended)),
        }
    }

    /// Listens at these addresses from now on. Those that stay are not interrupted; returns when each new one has
    /// been tried once.
    pub fn rebind(&self, addresses: Vec<SocketAddr>) {
        let (tried, wait_tried) = blocking::sync_channel(1);
        if self.commands.send(Command::Rebind(addresses, tried)).is_ok() {
            let _ = wait_tried.recv_timeout(TRIED);
        }
    }

    /// Answers to these host names from now on, besides IP addresses and `localhost`.
    pub fn rename(&self, names: Vec<String>) {
        *self.context.names.write() = names;
    }

    /// The addresses that are open, with the real port where 0 was asked for.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        let mut bound = self.context.bound.lock().clone();
        bound.sort_unstable();
        bound
    }

    /// Stops listening at once, lets requests that are being answered end for up to `deadline`, and closes the rest.
    /// Blocks until then. `false` if the port had not ended in time, or was closed before.
    pub fn close(&self, deadline: Duration) -> bool {
        let Some(ended) = self.ended.lock().take() else {
            return false;
        };
        let _ = self.commands.send(Command::Close(deadline));
        // The sender is dropped at the end of the thread, without a message.
        let slack = Duration::from_millis(500);
        let in_time = ended.recv_timeout(deadline + slack) == Err(blocking::RecvTimeoutError::Disconnected);
        if in_time && let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
        in_time
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Close(Duration::ZERO));
    }
}

fn run(
    context: &Arc<Context>,
    addresses: Vec<SocketAddr>,
    commands: mpsc::UnboundedReceiver<Command>,
    tried: &blocking::SyncSender<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("diagnostics-job")
        .thread_keep_alive(KEPT)
        .max_blocking_threads(context.threads() + MORE_THREADS)
        .build();
    match runtime {
        Ok(runtime) => {
            for _ in 0..FIRST_THREADS {
                // Long enough that none of them does the work of two.
                drop(runtime.spawn_blocking(|| std::thread::sleep(Duration::from_millis(20))));
            }
            runtime.block_on(supervise(context, addresses, commands, tried));
            // A page that hangs for ever must not keep the program from ending.
            runtime.shutdown_background();
        }
        Err(error) => observe::emit(PortFailed {
            error: &error.to_string(),
        }),
    }
}

async fn supervise(
    context: &Arc<Context>,
    addresses: Vec<SocketAddr>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    tried: &blocking::SyncSender<()>,
) {
    let mut doors = Doors::default();
    doors.set(context, addresses).await;
    let _ = tried.try_send(());
    let deadline = loop {
        match commands.recv().await {
            Some(Command::Rebind(addresses, tried)) => {
                doors.set(context, addresses).await;
                let _ = tried.try_send(());
            }
            Some(Command::Close(deadline)) => break deadline,
            None => break Duration::ZERO,
        }
    };
    doors.set(context, Vec::new()).await;
    let begun = Instant::now();
    context.closing.send_replace(true);
    while context.clients.count() > 0 && begun.elapsed() < deadline {
        sleep(Duration::from_millis(10)).await;
    }
}

/// The tasks of the addresses.
#[derive(Default)]
struct Doors(Vec<(SocketAddr, TaskHandle<()>)>);

impl Doors {
    async fn set(&mut self, context: &Arc<Context>, mut addresses: Vec<SocketAddr>) {
        addresses.sort_unstable();
        addresses.dedup();
        let (stay, go) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(address, _)| addresses.contains(address));
        self.0 = stay;
        let go: Vec<(SocketAddr, TaskHandle<()>)> = go;
        // What goes is closed first: it may be part of what comes (`127.0.0.1` of `0.0.0.0`).
        for (_, door) in go {
            door.abort();
            let _ = door.await;
        }
        for address in addresses {
            if self.0.iter().any(|(open, _)| *open == address) {
                continue;
            }
            let first = Door::open(context, address);
            let serve = door::serve(Arc::clone(context), address, first);
            let task = observe::task::spawn("diagnostics-door", address.to_string(), serve);
            self.0.push((address, task));
        }
    }
}
