//! `/debug/tasks`: every task.

use serde_json::json;

use super::{Call, Rendered};
use crate::context::Context;
use crate::table::{Column, Table, secs, tables};

pub(crate) fn render(_: &Context, call: &Call) -> Rendered {
    let mut table = Table::new(
        "tasks",
        &[
            ("id", Column::Number),
            ("name", Column::Text),
            ("state", Column::Text),
            ("age_seconds", Column::Seconds),
            ("since_poll_seconds", Column::Seconds),
            ("busy_seconds", Column::Seconds),
            ("longest_poll_seconds", Column::Seconds),
            ("polls", Column::Number),
            ("subject", Column::Text),
            ("waits_for", Column::Text),
            ("spawned_at", Column::Text),
        ],
    );
    for task in observe::task::list() {
        let waits_for = task
            .waiting_for
            .map(|wait| format!("{} {} at {}", wait.kind.as_str(), wait.name, wait.at));
        table.row([
            json!(task.id),
            json!(task.name),
            json!(task.state.as_str()),
            secs(task.age),
            secs(task.since_poll),
            secs(task.busy),
            secs(task.longest_poll),
            json!(task.polls),
            json!(task.subject.as_deref()),
            json!(waits_for),
            json!(task.spawned_at),
        ]);
    }
    tables(&call.query, &[table])
}
