//! `/debug/events`: the flight recorder, and the events as they happen.
//!
//! Contract: a reader that is too slow is told how many events it missed; it never makes the recorder wait.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use jiff::{Timestamp, ToSpan as _};
use observe::{Level, Record};
use tokio::sync::{broadcast, mpsc};

use super::{Call, Rendered};
use crate::answer::{JSON_LINES, TEXT};
use crate::body::Body;
use crate::client::{Client, Served};
use crate::context::Context;
use crate::{Answer, BadQuery, Form, Query, serve};

/// What the recorder holds at most.
const MOST: u64 = 4_096;
/// How many of the past one who follows sees at first.
const BEFORE_FOLLOWING: u64 = 10;

pub(crate) fn render(_: &Context, call: &Call) -> Rendered {
    let choice = Choice::of(&call.query, MOST)?;
    let mut body = String::new();
    for record in choice.last() {
        choice.write(&record, &mut body);
    }
    Ok(Answer::new(choice.content_type(), body))
}

/// Goes on with the events that happen from now on, until the client leaves or the port closes.
pub(crate) fn respond(
    context: &Arc<Context>,
    client: &Arc<Client>,
    call: Call,
    served: Served,
) -> Response<Body> {
    let choice = match Choice::of(&call.query, BEFORE_FOLLOWING) {
        Ok(choice) => choice,
        Err(bad) => return serve::response(bad.into(), false, served),
    };
    let Ok(place) = Arc::clone(&context.followers).try_acquire_owned() else {
        let reason = "enough clients follow the events already";
        let answer = Answer::refused(StatusCode::SERVICE_UNAVAILABLE, reason);
        return serve::response(answer, false, served);
    };
    let content_type = choice.content_type();
    let (sender, body) = Body::parts(served);
    let (client, mut closing) = (Arc::clone(client), context.closing.subscribe());
    let follow = async move {
        let _place = place;
        tokio::select! {
            () = follow(&choice, &sender) => {}
            () = client.gone() => {}
            () = sender.closed() => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    };
    observe::task::spawn("diagnostics-follow", (), follow).detach();
    serve::stream(content_type, body)
}

async fn follow(choice: &Choice, sender: &mpsc::Sender<Bytes>) {
    // Subscribed first, so that nothing falls between the past and the future; what is in both is known by its address.
    let mut feed = observe::subscribe();
    let past = choice.last();
    let mut text = String::new();
    for record in &past {
        choice.write(record, &mut text);
    }
    loop {
        if !text.is_empty() && sender.send(std::mem::take(&mut text).into()).await.is_err() {
            return;
        }
        match feed.recv().await {
            Ok(record) => {
                let known = past.iter().any(|seen| Arc::ptr_eq(seen, &record));
                if !known && choice.takes(&record) {
                    choice.write(&record, &mut text);
                }
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => match choice.form {
                Form::Text => text.push_str(&format!("({missed} events missed)\n")),
                Form::Json => text.push_str(&format!("{{\"missed\":{missed}}}\n")),
            },
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Which events a client wants, and how.
#[derive(Clone, Debug)]
struct Choice {
    form: Form,
    most: usize,
    level: Level,
    since: Option<Timestamp>,
    names: Vec<String>,
}

impl Choice {
    fn of(query: &Query, default: u64) -> Result<Choice, BadQuery> {
        query.only(&["n", "since", "level", "name", "follow", "format"])?;
        query.flag("follow")?;
        let most = query.number("n", 0..=MOST, default)?;
        let level = match query.get("level") {
            None | Some("") => Level::Debug,
            Some(text) => text
                .parse()
                .map_err(|_| BadQuery::new("level is debug, info, warn, error or fatal"))?,
        };
        let names = query.get("name").unwrap_or_default();
        Ok(Choice {
            form: query.form()?,
            most: usize::try_from(most).unwrap_or(usize::MAX),
            level,
            since: since(query)?,
            names: names
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }

    fn takes(&self, record: &Record) -> bool {
        record.level >= self.level
            && self.since.is_none_or(|since| record.time >= since)
            && (self.names.is_empty() || self.names.iter().any(|name| name == record.name))
    }

    /// The newest that it takes, oldest first.
    fn last(&self) -> Vec<Arc<Record>> {
        let mut records = observe::recent();
        records.retain(|record| self.takes(record));
        records.drain(..records.len().saturating_sub(self.most));
        records
    }

    /// One line: as in the log, with the name of the kind of event.
    fn write(&self, record: &Record, out: &mut String) {
        match self.form {
            Form::Text => {
                out.push_str(&record.text());
                out.push('\t');
                out.push_str(record.name);
            }
            Form::Json => {
                let line = record.json();
                let rest = line.strip_prefix('{').unwrap_or(&line);
                out.push_str("{\"event\":\"");
                out.push_str(record.name);
                out.push_str("\",");
                out.push_str(rest);
            }
        }
        out.push('\n');
    }

    fn content_type(&self) -> &'static str {
        match self.form {
            Form::Text => TEXT,
            Form::Json => JSON_LINES,
        }
    }
}

/// A time (`2026-08-10T12:00:00Z`) or how long ago (`10m`).
fn since(query: &Query) -> Result<Option<Timestamp>, BadQuery> {
    let Some(text) = query.get("since").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if let Ok(time) = text.parse() {
        return Ok(Some(time));
    }
    let bad =
        || BadQuery::new("since is a time such as 2026-08-10T12:00:00Z, or how long ago: 90s, 10m, 1h30m");
    let ago = crate::query::parse_duration(text).ok_or_else(bad)?;
    let seconds = i64::try_from(ago.as_secs()).map_err(|_| bad())?;
    let span = 0.seconds().try_seconds(seconds).map_err(|_| bad())?;
    Timestamp::now().checked_sub(span).map(Some).map_err(|_| bad())
}
