//! `/debug/locks`: who waits for what now, who holds it, and the waits so far.

use serde_json::{Value, json};

use super::{Call, Rendered};
use crate::context::Context;
use crate::table::{Column, Table, secs, tables};

pub(crate) fn render(_: &Context, call: &Call) -> Rendered {
    tables(&call.query, &[waiting(), totals(), places()])
}

fn waiting() -> Table {
    let mut table = Table::new(
        "waiting_now",
        &[
            ("kind", Column::Text),
            ("name", Column::Text),
            ("waiting_seconds", Column::Seconds),
            ("waiter", Column::Text),
            ("at", Column::Text),
            ("holder", Column::Text),
            ("held_at", Column::Text),
            ("held_seconds", Column::Seconds),
        ],
    );
    for wait in observe::wait::waiting() {
        let waiter = who(wait.waiter, wait.waiter_name, wait.waiter_subject.as_deref());
        let holder = wait.holder.as_ref();
        table.row([
            json!(wait.kind.as_str()),
            json!(wait.name),
            secs(wait.waiting),
            json!(waiter),
            json!(wait.at),
            json!(holder.map(|holder| who(holder.id, holder.name, holder.subject.as_deref()))),
            json!(holder.map(|holder| &holder.at)),
            holder.and_then(|holder| holder.held).map_or(Value::Null, secs),
        ]);
    }
    table
}

fn totals() -> Table {
    let mut table = Table::new(
        "totals",
        &[
            ("kind", Column::Text),
            ("name", Column::Text),
            ("waits", Column::Number),
            ("waited_seconds", Column::Seconds),
            ("longest_seconds", Column::Seconds),
            ("waiting_now", Column::Number),
        ],
    );
    for total in observe::wait::totals() {
        table.row([
            json!(total.kind.as_str()),
            json!(total.name),
            json!(total.count),
            secs(total.waited),
            secs(total.longest),
            json!(total.waiting_now),
        ]);
    }
    table
}

fn places() -> Table {
    let mut table = Table::new(
        "places",
        &[
            ("kind", Column::Text),
            ("name", Column::Text),
            ("at", Column::Text),
            ("waits", Column::Number),
            ("waited_seconds", Column::Seconds),
        ],
    );
    for place in observe::contentions() {
        table.row([
            json!(place.kind.as_str()),
            json!(place.name),
            json!(place.at),
            json!(place.count),
            secs(place.waited),
        ]);
    }
    table
}

/// The task or thread by number, name and subject.
fn who(id: u64, name: Option<&str>, subject: Option<&str>) -> String {
    let known = [name, subject]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ");
    match id {
        0 => "not registered".to_owned(),
        id => format!("{id} {known}").trim_end().to_owned(),
    }
}
