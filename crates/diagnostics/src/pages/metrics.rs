//! `/metrics`, and the same as `/debug/vars`.
//!
//! Contract: the content is the registry's; here it only gets its form.

use observe::metrics::{Format, content_type, negotiate, render as render_metrics};
use serde_json::{Map, Value, json};

use super::{Call, Rendered};
use crate::Answer;
use crate::context::Context;

pub(crate) fn render(_: &Context, call: &Call) -> Rendered {
    let accept = (!call.accept.is_empty()).then_some(call.accept.as_str());
    let format = match call.query.get("format") {
        Some("openmetrics") => Format::OpenMetrics,
        _ => negotiate(accept),
    };
    Ok(Answer::new(content_type(format), render_metrics(format)))
}

/// As expvar has it: `cmdline` and `memstats` beside what the program counts.
pub(crate) fn vars(_: &Context, _: &Call) -> Rendered {
    let mut vars = Map::new();
    let arguments: Vec<_> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    vars.insert("cmdline".to_owned(), json!(arguments));
    vars.insert("memstats".to_owned(), memory());
    match serde_json::from_str(&render_metrics(Format::Json)) {
        Ok(Value::Object(metrics)) => vars.extend(metrics),
        // Better the rest than nothing.
        _ => {
            vars.insert("error".to_owned(), json!("the metrics are not well-formed JSON"));
        }
    }
    Ok(Answer::json(&Value::Object(vars)))
}

/// The keys of Go's `runtime.MemStats` that mean something here, in bytes.
fn memory() -> Value {
    let heap = profile::heap::stats();
    let status = super::system::status_kilobytes;
    let kilobytes = |key| status(key).map(|kilobytes| kilobytes * 1024);
    json!({
        "Alloc": heap.map(|heap| heap.allocated),
        "HeapAlloc": heap.map(|heap| heap.allocated),
        "HeapInuse": heap.map(|heap| heap.active),
        "HeapSys": heap.map(|heap| heap.mapped),
        "HeapIdle": heap.map(|heap| heap.mapped.saturating_sub(heap.active)),
        "HeapReleased": heap.map(|heap| heap.retained),
        "OtherSys": heap.map(|heap| heap.metadata),
        "Sys": kilobytes("VmRSS"),
        "StackSys": kilobytes("VmStk"),
        "NumGC": profile::heap::purge_passes(),
    })
}
