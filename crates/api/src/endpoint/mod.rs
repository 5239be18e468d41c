//! Endpoints: what each takes and gives, who may call it, and what it does, all said in one place.
//!
//! Contract: a request reaches a handler only through [`answer`], which checks in one order: method, forgery, who asks,
//! what they may, then the body. The table that routes requests is the one that the documentation is made of and that
//! tests walk through, so none of the three can know an endpoint that the others do not.
//!
//! `template` is a path, `content` what goes in and out, `refusal` how "no" is said, `call` what a handler knows,
//! `answer` the order of checks, `pace` how often somebody may call, `openapi` and `docs` the documentation.

mod answer;
mod call;
mod content;
mod docs;
mod openapi;
mod pace;
mod refusal;
mod table;
mod template;

use std::{pin::Pin, sync::Arc};

use auth::Action;
use bytes::Bytes;
use http::{HeaderMap, Method};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

pub(crate) use answer::cookie;
pub(crate) use call::{Call, change_config, mount_name};
pub(crate) use content::{
    AnyJson, Feed, Form, Html, Image, Json, Multipart, Other, Raw, WithHeaders, Written, Yaml, media_type,
    wants_json,
};
pub(crate) use docs::Chapter;
pub(crate) use pace::Pace;
pub use refusal::Refusal;
pub(crate) use table::Table;
pub(crate) use template::Template;

use content::{Answers, Content, Done};

/// What an endpoint comes to.
pub(crate) type Answer<T> = Result<T, Refusal>;

type Running = Pin<Box<dyn Future<Output = Answer<Done>> + Send>>;
type Run = Arc<dyn Fn(Call, Bytes) -> Running + Send + Sync>;
type Describe = fn(&mut SchemaGenerator) -> Option<Schema>;

/// One thing that can be asked of the server over HTTP.
#[derive(Clone)]
pub(crate) struct Endpoint {
    method: Method,
    template: Template,
    /// What it is in the table of who may do what.
    action: Action,
    tag: &'static str,
    summary: &'static str,
    details: &'static str,
    /// Whether it changes something, so that a foreign page must not be able to send it.
    changes: bool,
    /// Whether it must answer in plain text when it refuses.
    plain: bool,
    /// Whether it shows people a page when it refuses, and programs JSON.
    pages: bool,
    /// Whether `PATCH` does the same; [`group`] makes that endpoint.
    has_patch: bool,
    /// Part of the old interface; the documentation says so, and so does the answer.
    deprecated: bool,
    /// Statuses beyond those that its kind implies, with what they mean.
    fails: Vec<(u16, &'static str)>,
    query: Option<Describe>,
    limit: usize,
    takes: (&'static str, bool, Describe),
    gives: (u16, &'static str, Describe),
    run: Run,
}

impl Endpoint {
    /// An endpoint; `Q` is its query, `B` its body and `R` what it answers. Those that are not read with `GET` change
    /// something unless [`Endpoint::reads`] says otherwise.
    fn new<Q, B, R, F, T>(method: Method, path: &'static str, action: Action, handler: F) -> Self
    where
        Q: DeserializeOwned + JsonSchema + Send + 'static,
        B: Content,
        R: Answers,
        F: Fn(Call, Q, B) -> T + Clone + Send + Sync + 'static,
        T: Future<Output = Answer<R>> + Send + 'static,
    {
        // The text that people know from these two.
        let is_terse = path.starts_with("/setup/") || path.starts_with("/api/pending-users/");
        let run = move |call: Call, bytes: Bytes| -> Running {
            let handler = handler.clone();
            Box::pin(async move {
                let query = serde_urlencoded::from_str(call.request.query().unwrap_or_default());
                let query: Q = query.map_err(|error| Refusal::bad(format!("Invalid query: {error}")))?;
                let body = B::read(&call.request.headers, bytes).map_err(|refusal| match refusal.text() {
                    "Invalid request body" if is_terse => Refusal::bad("Invalid request"),
                    _ => refusal,
                })?;
                handler(call, query, body).await.map(R::done)
            })
        };
        Self {
            changes: method != Method::GET,
            method,
            template: Template(path),
            action,
            tag: "",
            summary: "",
            details: "",
            plain: !path.starts_with("/api/") && !path.starts_with("/setup/"),
            pages: false,
            has_patch: false,
            deprecated: false,
            fails: Vec::new(),
            query: Some(|generator| Some(generator.subschema_for::<Q>())),
            limit: B::LIMIT,
            takes: (B::MEDIA, B::IS_FORM, B::describe),
            gives: (R::STATUS, R::MEDIA, R::describe),
            run: Arc::new(run),
        }
    }

    /// One line for the documentation.
    pub(crate) fn says(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// What one line has no room for.
    pub(crate) fn details(mut self, details: &'static str) -> Self {
        self.details = details;
        self
    }

    /// A status that it may answer with beside those that every endpoint of its kind has.
    pub(crate) fn fails(mut self, status: u16, meaning: &'static str) -> Self {
        self.fails.push((status, meaning));
        self
    }

    /// It changes nothing though it is a `POST`, or is meant to be called by anybody's page.
    pub(crate) fn reads(mut self) -> Self {
        self.changes = false;
        self
    }

    /// It refuses in JSON though it is not below `/api/`.
    pub(crate) fn refuses_in_json(mut self) -> Self {
        self.plain = false;
        self
    }

    /// It shows a page when it refuses, and JSON to whoever asks for that.
    pub(crate) fn refuses_in_pages(mut self) -> Self {
        self.pages = true;
        self
    }

    /// `PATCH` does the same, for clients that know it under this name.
    pub(crate) fn and_patch(mut self) -> Self {
        self.has_patch = true;
        self
    }

    /// Scripts of old installations call it; there is something better.
    pub(crate) fn deprecated(mut self) -> Self {
        self.deprecated = true;
        self
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.template.0)
    }
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $name:ident = $method:ident)+) => {$(
        $(#[$doc])*
        pub(crate) fn $name<Q, B, R, F, T>(path: &'static str, action: Action, handler: F) -> Endpoint
        where
            Q: DeserializeOwned + JsonSchema + Send + 'static,
            B: Content,
            R: Answers,
            F: Fn(Call, Q, B) -> T + Clone + Send + Sync + 'static,
            T: Future<Output = Answer<R>> + Send + 'static,
        {
            Endpoint::new(Method::$method, path, action, handler)
        }
    )+};
}

verbs! {
    /// An endpoint that is read.
    get = GET
    /// An endpoint that is posted to.
    post = POST
    /// An endpoint that changes a thing.
    put = PUT
    /// An endpoint that changes parts of a thing, where `PUT` does something else; see [`Endpoint::and_patch`].
    patch = PATCH
    /// An endpoint that removes a thing.
    delete = DELETE
}

/// The documentation, made once.
pub(crate) struct Documents {
    pub(crate) json: Bytes,
    pub(crate) yaml: Bytes,
    pub(crate) chapters: Vec<Chapter>,
}

impl Documents {
    pub(crate) fn new(table: &Table) -> Self {
        let document = openapi::document(table);
        Self {
            yaml: openapi::yaml(&document).into(),
            chapters: docs::chapters(table, &document),
            json: format!("{document:#}\n").into(),
        }
    }
}

/// The endpoints of one resource.
pub(crate) fn group(tag: &'static str, endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    let with_patch = |endpoint: Endpoint| {
        let endpoint = Endpoint { tag, ..endpoint };
        let patch = endpoint.has_patch.then(|| Endpoint {
            method: Method::PATCH,
            summary: "The same as PUT",
            ..endpoint.clone()
        });
        std::iter::once(endpoint).chain(patch)
    };
    endpoints.into_iter().flat_map(with_patch).collect()
}

/// No query parameters; those that come are ignored.
#[derive(Debug, serde::Deserialize, JsonSchema)]
pub(crate) struct NoQuery {}

/// `{"status":"…"}`
#[derive(Debug, serde::Serialize, JsonSchema)]
pub(crate) struct Status {
    status: &'static str,
}

/// The answer of most changes.
pub(crate) fn status(status: &'static str) -> Json<Status> {
    Json(Status { status })
}

/// The header fields of an answer below `/api/` and `/admin/`: nobody keeps it, nobody guesses its type.
fn guard(headers: &mut HeaderMap) {
    use http::{HeaderValue, header};
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}
