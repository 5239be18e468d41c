#![doc = include_str!("../README.md")]

mod answer;
mod body;
mod bundle;
mod cancel;
mod client;
mod clients;
mod context;
mod door;
mod encoding;
mod events;
mod host;
mod html;
mod lane;
mod page;
mod pages;
mod port;
mod pprof;
mod query;
mod serve;
mod spare;
mod table;

pub use answer::Answer;
pub use cancel::Cancelled;
pub use client::Limits;
pub use page::{Page, Pages, Render};
pub use port::{Port, Settings};
pub use query::{BadQuery, Form, Query};
pub use table::{Column, Table, printable, secs, tables};
