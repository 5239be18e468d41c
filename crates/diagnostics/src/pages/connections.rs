//! `/debug/connections`: who is connected to this port.

use serde_json::json;

use super::{Call, Rendered};
use crate::context::Context;
use crate::table::{Column, Table, secs, tables};

pub(crate) fn render(context: &Context, call: &Call) -> Rendered {
    let mut table = Table::new(
        "connections",
        &[
            ("peer", Column::Text),
            ("state", Column::Text),
            ("for_seconds", Column::Seconds),
            ("age_seconds", Column::Seconds),
        ],
    );
    for client in context.clients.list() {
        let (state, since) = client.state();
        table.row([
            json!(client.peer().to_string()),
            json!(state),
            secs(since),
            secs(client.age()),
        ]);
    }
    tables(&call.query, &[table])
}
