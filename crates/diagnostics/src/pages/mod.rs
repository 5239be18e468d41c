//! The port's own pages: which there are and where.
//!
//! Contract: a page reads atomics, snapshots and short-held lists; it changes nothing but the log's filter.

mod connections;
pub(crate) mod flight;
pub(crate) mod health;
mod index;
mod locks;
mod log;
mod metrics;
pub(crate) mod system;
mod tasks;
mod threads;

use http::{Method, StatusCode};

use crate::context::Context;
use crate::{Answer, BadQuery, Query};

/// Everything below is a profile.
pub(crate) const PROFILES: &str = "/debug/pprof/";
const EVENTS: &str = "/debug/events";
const METRICS: &str = "/metrics";

/// A request that was let in.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// GET for HEAD.
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Query,
    pub(crate) body: Vec<u8>,
    /// The `Accept` header.
    pub(crate) accept: String,
    /// Whether the client takes gzip.
    pub(crate) gzip: bool,
}

impl Call {
    /// A GET by the port itself.
    pub(crate) fn get(path: &str, query: Query) -> Call {
        Call {
            method: Method::GET,
            path: path.to_owned(),
            query,
            body: Vec::new(),
            accept: String::new(),
            gzip: false,
        }
    }
}

type Rendered = Result<Answer, BadQuery>;

/// A page of the port itself.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) path: &'static str,
    pub(crate) description: &'static str,
    methods: &'static [Method],
    pub(crate) render: fn(&Context, &Call) -> Rendered,
}

impl Own {
    const fn new(
        path: &'static str,
        description: &'static str,
        render: fn(&Context, &Call) -> Rendered,
    ) -> Own {
        Own {
            path,
            description,
            methods: READ,
            render,
        }
    }

    pub(crate) fn is_metrics(&self) -> bool {
        self.path == METRICS
    }
}

const READ: &[Method] = &[Method::GET, Method::HEAD];
const READ_AND_POST: &[Method] = &[Method::GET, Method::HEAD, Method::POST];
const READ_AND_WRITE: &[Method] = &[
    Method::GET,
    Method::HEAD,
    Method::PUT,
    Method::POST,
    Method::DELETE,
];

/// The port's own pages, in the order of the index.
pub(crate) static OWN: [Own; 11] = [
    Own::new("/", "This page", index::render),
    Own::new(
        METRICS,
        "Prometheus text, or OpenMetrics when the scraper asks for it",
        metrics::render,
    ),
    Own::new("/healthz", "The process can answer", health::alive),
    Own::new(
        "/debug/vars",
        "All counters and gauges as one JSON object, as expvar has it",
        metrics::vars,
    ),
    Own {
        methods: READ_AND_WRITE,
        ..Own::new(
            "/debug/log",
            "The log's filter; PUT or POST level=debug and for=10m change it for a while, DELETE undoes that",
            log::render,
        )
    },
    Own::new(
        EVENTS,
        "Flight recorder: the last notable events (n, since, level, name, follow=1, format=json)",
        flight::render,
    ),
    Own::new(
        "/debug/tasks",
        "Every task: what it does, its age, the time it used, its longest poll",
        tasks::render,
    ),
    Own::new(
        "/debug/threads",
        "Every thread: its state and the processor time it used",
        threads::render,
    ),
    Own::new(
        "/debug/locks",
        "Who waits for which lock and who holds it; waits by lock and place",
        locks::render,
    ),
    Own::new(
        "/debug/connections",
        "The connections of this port",
        connections::render,
    ),
    Own::new(
        "/debug/system",
        "The program, its machine and its limits",
        system::render,
    ),
];

/// What a path leads to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// One of the port's own pages.
    Own(&'static Own),
    /// Whether the server is ready to serve.
    Ready,
    /// A page of the program, by its number.
    Page(usize),
    /// Something below [`PROFILES`].
    Profile,
    /// Everything in one file.
    Bundle,
    /// Somewhere else.
    Redirect(&'static str),
}

/// What is at a path.
pub(crate) fn find(context: &Context, path: &str) -> Result<Place, Answer> {
    if let Some(own) = OWN.iter().find(|own| own.path == path) {
        return Ok(Place::Own(own));
    }
    let page = || context.pages.pages.iter().position(|page| page.path == path);
    Ok(match path {
        "/readyz" => Place::Ready,
        "/debug/bundle" => Place::Bundle,
        "/debug" | "/debug/" => Place::Redirect("/"),
        "/debug/pprof" => Place::Redirect(PROFILES),
        _ if path.starts_with(PROFILES) => Place::Profile,
        _ => match page() {
            Some(at) => Place::Page(at),
            None => {
                let reason = "nothing is here: / lists what there is";
                return Err(Answer::refused(StatusCode::NOT_FOUND, reason));
            }
        },
    })
}

/// Refuses methods that a place does not know.
pub(crate) fn check_method(place: &Place, method: &Method) -> Result<(), Answer> {
    let allowed = match place {
        Place::Own(own) => own.methods,
        // Only `symbol` is ever posted to, and it is for the profiles to say so.
        Place::Profile => READ_AND_POST,
        _ => READ,
    };
    if allowed.contains(method) {
        Ok(())
    } else {
        Err(Answer::method_not_allowed(allowed))
    }
}

/// Whether making the answer takes a while, whatever it says.
pub(crate) fn takes_long(place: &Place, call: &Call) -> bool {
    match place {
        Place::Bundle => true,
        Place::Own(own) => follows(own, call),
        Place::Profile => {
            let rest = call.path.strip_prefix(PROFILES).unwrap_or_default();
            matches!(rest, "profile" | "trace") || call.query.get("seconds").is_some()
        }
        Place::Ready | Place::Page(_) | Place::Redirect(_) => false,
    }
}

/// Whether the client wants to see events as they happen.
pub(crate) fn follows(own: &Own, call: &Call) -> bool {
    own.path == EVENTS && call.query.flag("follow") == Ok(true)
}
