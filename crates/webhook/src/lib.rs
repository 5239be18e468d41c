//! Tells other programs what happens: HTTP requests to the addresses under `webhooks` in the configuration.
//!
//! Contract: whoever tells something never waits, whatever receivers do; each hook has a task and a bounded queue of
//! its own. No address, header value or secret of a hook gets into a log, a metric or a record.
//!
//! The server says what happened with a [`Notice`]; each hook that wants that [`Event`] gets one delivery, rendered
//! by its template when it is sent. A delivery keeps its id over all attempts and, by a [`Backlog`], over a restart.
//! [`check()`] says whether a hook may be stored, [`meta()`] what can stand in one.
//!
//! ```no_run
//! # async fn example(client: outbound::Client, hooks: Vec<config::Webhook>) {
//! use std::{sync::Arc, time::Duration};
//! use webhook::{Event, Facts, Notice, Webhooks};
//!
//! let facts = Facts { hostname: "radio.example".into(), ..Facts::default() };
//! let webhooks = Webhooks::start(client, facts, hooks, Arc::new(()), Vec::new());
//! webhooks.tell(Notice::sample(Event::SourceConnect));
//! webhooks.finish(tokio::time::Instant::now() + Duration::from_secs(5)).await;
//! # }
//! ```
//!
//! Reading order: `event`, `notice` (what is told), `context`, `template`, `request`, `signature` (how it is said),
//! `delivery`, `queue`, `titles`, `retry`, `exchange`, `hook`, `webhooks` (how it gets there), `record` (what can be
//! seen of it), then `check`, `preset`, `meta` and `secret` for those who write hooks.

mod check;
mod context;
mod delivery;
mod event;
mod events;
mod exchange;
mod hook;
mod meta;
pub mod metrics;
mod notice;
mod preset;
mod queue;
mod record;
mod request;
mod retry;
mod secret;
mod signature;
pub mod template;
mod titles;
mod webhooks;

pub use check::{Problem, check};
pub use context::Facts;
pub use delivery::Backlog;
pub use event::{Event, UnknownEvent};
pub use meta::{EventMeta, FunctionMeta, Meta, meta};
pub use notice::{Notice, Payload};
pub use preset::{Preset, presets};
pub use record::{DeliveryRecord, HookState, SentRequest, Status, TestOutcome};
pub use secret::{MASK, is_secret_header, mask, unmask};
pub use signature::sign;
pub use webhooks::Webhooks;
