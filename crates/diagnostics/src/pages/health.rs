//! `/healthz` and `/readyz`, as they are on the public port.
//!
//! Contract: a check that hangs makes the server not ready and is named; it does not make this page hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Call, Rendered};
use crate::context::Context;
use crate::lane::Undone;
use crate::{Answer, Cancelled, Form};

/// The process can answer.
pub(crate) fn alive(_: &Context, call: &Call) -> Rendered {
    Ok(match call.query.form()? {
        Form::Text => Answer::text("ok\n"),
        Form::Json => Answer::json(&json!({"ok": true})),
    })
}

/// The process can serve; if not, the first failing check is named.
pub(crate) async fn ready(context: &Arc<Context>, call: &Call) -> Answer {
    let form = match call.query.form() {
        Ok(form) => form,
        Err(bad) => return bad.into(),
    };
    // The check that is being made, so that one that never ends can be named.
    let current = Arc::new(AtomicUsize::new(0));
    let (inner, at) = (Arc::clone(context), Arc::clone(&current));
    let work = move |_: &Cancelled| {
        let check = |(number, check): (usize, &crate::page::Check)| {
            at.store(number, Ordering::Relaxed);
            (check.name, (check.run)())
        };
        inner
            .pages
            .checks
            .iter()
            .enumerate()
            .map(check)
            .collect::<Vec<_>>()
    };
    let hanging = || {
        let at = current.load(Ordering::Relaxed);
        context.pages.checks.get(at).map_or("checks", |check| check.name)
    };
    let lane = &context.lanes.checks;
    let results = match lane.run(&call.path, &Cancelled::new(), work).await {
        Ok(results) => results,
        Err(Undone::Stuck(limit)) => vec![(hanging(), Err(format!("no answer within {limit:?}")))],
        Err(Undone::Panicked(message)) => vec![(hanging(), Err(message))],
        Err(busy) => vec![("checks", Err(busy.to_string()))],
    };
    report(&results, form)
}

fn report(results: &[(&'static str, Result<(), String>)], form: Form) -> Answer {
    let failing = results
        .iter()
        .find_map(|(name, result)| result.as_ref().err().map(|reason| (*name, reason)));
    let answer = match form {
        Form::Text => Answer::text(match failing {
            None => "ready\n".to_owned(),
            Some((name, reason)) => format!("not ready: {name}: {}\n", reason.trim()),
        }),
        Form::Json => {
            let state = |result: &Result<(), String>| match result {
                Ok(()) => json!("ok"),
                Err(reason) => json!(reason),
            };
            let checks = results
                .iter()
                .map(|(name, result)| ((*name).to_owned(), state(result)));
            let checks = Value::Object(checks.collect::<Map<_, _>>());
            let name = failing.map(|(name, _)| name);
            Answer::json(&json!({"ready": failing.is_none(), "failing": name, "checks": checks}))
        }
    };
    match failing {
        None => answer,
        Some(_) => answer.with_status(StatusCode::SERVICE_UNAVAILABLE),
    }
}
