//! What the running server shows of itself: its metrics, its pages on the internal port, its watchdog.
//!
//! Contract: the port is open before the first connection is taken and answers until the very end; nothing of the
//! media path ever waits for it.

#[cfg(debug_assertions)]
mod faults;
mod metrics;
mod pages;
mod watching;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use config::{Config, Endpoint};
use diagnostics::{Answer, BadQuery, Limits, Page, Pages, Port, Query, Settings};
use fanout::Fanout;
use http::HeaderValue;
use observe::{
    metrics::{AllocatorStats, BuildInfo},
    task::{self, TaskHandle},
    watchdog::Watchdog,
};
use tokio::{runtime::Handle, sync::watch};

use crate::{calls, cli, context::Context};

pub(crate) use metrics::{Reload, count_reload};

/// What is left for a collector has this long.
const LAST_EXPORT: Duration = Duration::from_secs(3);

/// Requests that are under way have this long when the port closes.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

observe::event! {
    /// A host name in `metrics_listen` means nothing here.
    struct NoAddress<'a> { host: &'a str, error: &'a str }
    = Error "internal_port_no_address": "The internal port cannot listen on {host}: {error}"
}

/// The open internal port.
pub(crate) struct Telemetry {
    port: Port,
    _watchdog: Option<Watchdog>,
    collector: watch::Sender<Option<otlp::Settings>>,
    stop: watch::Sender<bool>,
    exporting: Option<TaskHandle<()>>,
}

impl Telemetry {
    /// Registers what is measured and opens the port. Called on the main runtime.
    pub(crate) fn start(context: &Arc<Context>, fanout: &Arc<Fanout>, config: &Config) -> Self {
        let runtime = Handle::current();
        observe::metrics::set_prefix("tinyice");
        observe::metrics::set_build(BuildInfo {
            version: cli::VERSION,
            commit: cli::COMMIT,
            rustc: cli::COMPILER,
            target: cli::TARGET,
        });
        observe::metrics::set_allocator(allocator);
        observe::metrics::register_process();
        observe::metrics::watch_runtime(runtime.clone());
        metrics::register(context, fanout);
        metrics::note_load(true);
        observe::record::set_directory(Some(config.data_dir.clone()));
        let watchdog = watching::start(&runtime, &context.mounts, fanout);
        let (stop, stopped) = watch::channel(false);
        let (collector, collected) = watch::channel(collector_of(config, context));
        let client =
            outbound::Client::new(outbound::Policy::new(&[]), HeaderValue::from_static(calls::AGENT));
        let exporting = task::spawn("otlp", (), otlp::export(client, collected, stopped));
        let settings = Settings {
            addresses: addresses(config),
            names: names(config),
            limits: Limits::default(),
        };
        Self {
            port: Port::start(settings, pages(&runtime, context, fanout)),
            _watchdog: watchdog,
            collector,
            stop,
            exporting: Some(exporting),
        }
    }

    /// Listens where the configuration says now.
    pub(crate) fn follow(&self, context: &Context) {
        let config = &context.config.load();
        let collector = collector_of(config, context);
        self.collector.send_if_modified(|present| {
            let changed = *present != collector;
            *present = collector;
            changed
        });
        self.port.rename(names(config));
        self.port.rebind(addresses(config));
    }

    /// Sends what is left to the collector and closes the port: the last thing that happens.
    pub(crate) async fn finish(mut self) {
        self.stop.send_replace(true);
        if let Some(exporting) = self.exporting.take() {
            // It gives up by itself before this; a panic in it has been reported.
            let _ = tokio::time::timeout(LAST_EXPORT, exporting).await;
        }
    }

    /// Leaves the port to a successor.
    pub(crate) fn close(&self) {
        self.port.close(LAST_ANSWERS);
    }
}

fn allocator() -> Option<AllocatorStats> {
    let stats = profile::heap::stats()?;
    Some(AllocatorStats {
        allocated: stats.allocated,
        active: stats.active,
        resident: stats.resident,
        mapped: stats.mapped,
        retained: stats.retained,
        metadata: stats.metadata,
        purges: profile::heap::purge_passes(),
    })
}

/// Where spans and events go, if anywhere.
fn collector_of(config: &Config, context: &Context) -> Option<otlp::Settings> {
    // The key was checked when the file was read; empty is off.
    let endpoint = config.otlp_endpoint.parse().ok()?;
    let resource = otlp::Resource {
        service: "tinyice".to_owned(),
        version: cli::VERSION.to_owned(),
        instance: context.instance.clone(),
    };
    Some(otlp::Settings { endpoint, resource })
}

/// Where the port listens. A port without a host is on every interface, as it always was.
fn addresses(config: &Config) -> Vec<SocketAddr> {
    let resolve = |endpoint: &Endpoint| -> Vec<SocketAddr> {
        let Some(host) = endpoint.host.as_deref() else {
            let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
            return any.map(|ip| SocketAddr::new(ip, endpoint.port)).to_vec();
        };
        match (host, endpoint.port).to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                observe::emit(NoAddress {
                    host,
                    error: &error.to_string(),
                });
                Vec::new()
            }
        }
    };
    config.metrics_listen.iter().flat_map(resolve).collect()
}

/// Names that a browser or a scraper may call the port by: the server's own and those it is told to listen on.
fn names(config: &Config) -> Vec<String> {
    let hosts = config
        .metrics_listen
        .iter()
        .filter_map(|endpoint| endpoint.host.clone());
    hosts
        .chain([config.hostname.clone()])
        .filter(|name| !name.is_empty())
        .collect()
}

fn pages(runtime: &Handle, context: &Arc<Context>, fanout: &Arc<Fanout>) -> Pages {
    let ready = {
        let context = Arc::clone(context);
        move || match context.stopping.load(Ordering::Relaxed) {
            true => Err("shutting down".to_owned()),
            false => Ok(()),
        }
    };
    let configuration = {
        let config = Arc::clone(&context.config);
        move || {
            let mut tree = config.load().to_value();
            config::mask(&mut tree);
            tree
        }
    };
    let streams = {
        let (mounts, fanout) = (Arc::clone(&context.mounts), Arc::clone(fanout));
        move |query: &Query| pages::streams(&mounts, &fanout, query)
    };
    let listeners = {
        let fanout = Arc::clone(fanout);
        move |query: &Query| pages::listeners(&fanout, query)
    };
    let pages = Pages::new("TinyIce")
        .about("version", cli::version_line())
        .check("server", ready)
        .check("watchdog", || match observe::watchdog::stuck() {
            Some(what) => Err(what),
            None => Ok(()),
        })
        .config(configuration)
        .page(page(
            "/debug/streams",
            "Streams",
            "Every mount with its ring and delays, every delivery thread, the slowest listeners",
            streams,
        ))
        .page(page(
            "/debug/listeners",
            "Listeners",
            "Why is this listener breaking up? Lag, blocked time, round trip, retransmits, unsent bytes",
            listeners,
        ));
    #[cfg(debug_assertions)]
    if faults::are_wanted() {
        let (runtime, mounts, fanout) = (runtime.clone(), Arc::clone(&context.mounts), Arc::clone(fanout));
        return pages.page(page(
            "/debug/fault",
            "Faults",
            "Plants a fault (a build for tests)",
            move |query: &Query| faults::plant(&runtime, &mounts, &fanout, query),
        ));
    }
    let _ = runtime;
    pages
}

fn page(
    path: &'static str,
    title: &'static str,
    description: &'static str,
    render: impl Fn(&Query) -> Result<Answer, BadQuery> + Send + Sync + 'static,
) -> Page {
    Page {
        path: path.into(),
        title: title.into(),
        description: description.into(),
        render: Arc::new(move |query, _| render(query).unwrap_or_else(Answer::from)),
    }
}
