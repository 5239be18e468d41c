//! Raw connections: listening sockets, request heads, body framing, client addresses, answers, hand-over.
//!
//! Contract: a connection is classified here and nowhere else. Heads are read with patience (thirty years of
//! encoders and players), body framing without any; what is not a request never reaches the [`Handler`]. This crate
//! knows nothing of the life of mounts, of audio or of the API.
//!
//! A connection's way: [`Listening`] accepts it, [`head::parse`] makes a [`Request`] of its first bytes, the
//! [`Handler`] gets that and an [`Exchange`], asks [`route::route`] what the request is about, and either answers
//! ([`Exchange::respond`]) or takes the connection over ([`Exchange::into_raw`]).
//!
//! ```no_run
//! use std::sync::Arc;
//! use front::{Exchange, Handler, Handling, Limits, Listening, Outcome, Request, Sockets};
//!
//! struct Hello;
//! impl Handler for Hello {
//!     fn handle<'a>(&'a self, request: Request, exchange: Exchange) -> Handling<'a> {
//!         Box::pin(async move { exchange.respond(front::text(http::StatusCode::OK, request.path())).await })
//!     }
//! }
//!
//! # async fn run() -> std::io::Result<()> {
//! let listening = Listening::bind(&Sockets { host: "0.0.0.0".into(), port: 8000 }).expect("the port is free");
//! front::serve(listening, Arc::new(Hello), Limits::default(), std::future::pending()).await
//! # }
//! ```

mod accept;
mod answer;
mod body;
pub mod client;
mod connection;
pub mod cors;
mod exchange;
pub mod framing;
pub mod head;
mod limits;
pub mod metrics;
pub mod multipart;
mod request;
mod request_id;
pub mod route;
mod sockets;
mod stream;
mod target;
mod unix;
mod wire;

pub use accept::{Handler, Handling, household, serve};
pub use answer::{head_bytes, http_date, text};
pub use body::{BodyError, IncomingBody, Patience};
pub use connection::{Closing, Ends, Phase, converse};
pub use exchange::{Exchange, Outcome, Raw, Responder};
pub use limits::Limits;
pub use request::Request;
pub use request_id::RequestId;
pub use sockets::{BindError, Held, Listening, OpenFiles, Skipped, Sockets, raise_open_files, watch_peer};
pub use stream::{Duplex, Stream};
pub use target::Target;
pub use unix::SocketFiles;
