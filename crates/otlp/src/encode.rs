//! The documents that a collector takes (opentelemetry-proto 1.x in the JSON mapping of protobuf: 64-bit numbers are
//! strings, ids are hexadecimal).

use std::sync::Arc;

use observe::{
    Level, Record, Value as Field,
    span::{Finished, Outcome},
};
use serde_json::{Value, json};

/// Who sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// `service.name`.
    pub service: String,
    /// `service.version`.
    pub version: String,
    /// `service.instance.id`: tells processes of one service apart.
    pub instance: String,
}

impl Resource {
    fn json(&self) -> Value {
        json!({
            "attributes": [
                attribute("service.name", text(&self.service)),
                attribute("service.version", text(&self.version)),
                attribute("service.instance.id", text(&self.instance)),
            ]
        })
    }
}

/// The body for `/v1/traces`.
pub(crate) fn traces(resource: &Resource, spans: &[Arc<Finished>]) -> Value {
    let spans: Vec<_> = spans.iter().map(|span| span_json(span)).collect();
    json!({
        "resourceSpans": [{
            "resource": resource.json(),
            "scopeSpans": [{ "scope": { "name": "tinyice" }, "spans": spans }],
        }]
    })
}

/// The body for `/v1/logs`.
pub(crate) fn logs(resource: &Resource, records: &[Arc<Record>]) -> Value {
    let records: Vec<_> = records.iter().map(|record| record_json(record)).collect();
    json!({
        "resourceLogs": [{
            "resource": resource.json(),
            "scopeLogs": [{ "scope": { "name": "tinyice" }, "logRecords": records }],
        }]
    })
}

fn span_json(span: &Finished) -> Value {
    let status = match &span.outcome {
        Outcome::Unset => json!({}),
        Outcome::Ok => json!({ "code": 1 }),
        Outcome::Error(error) => json!({ "code": 2, "message": error }),
    };
    json!({
        "traceId": span.context.trace.to_string(),
        "spanId": span.context.span.to_string(),
        "parentSpanId": span.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        "name": span.name,
        // A server's span: all of them begin with what somebody asked of us.
        "kind": 2,
        "startTimeUnixNano": span.start.to_string(),
        "endTimeUnixNano": span.end.to_string(),
        "attributes": attributes(&span.attributes),
        "status": status,
    })
}

fn record_json(record: &Record) -> Value {
    let nanos = record.time.as_nanosecond().max(0).to_string();
    let mut attributes = attributes(&record.fields);
    attributes.push(attribute("event.name", text(record.name)));
    attributes.push(attribute("code.location", text(&record.caller_text())));
    let mut json = json!({
        "timeUnixNano": nanos,
        "observedTimeUnixNano": nanos,
        "severityNumber": severity(record.level),
        "severityText": record.level.as_str(),
        "body": text(&record.message),
        "attributes": attributes,
    });
    if let Some(context) = record.span {
        json["traceId"] = context.trace.to_string().into();
        json["spanId"] = context.span.to_string().into();
    }
    json
}

/// The first number of each range (OpenTelemetry Logs Data Model, "Field: SeverityNumber").
fn severity(level: Level) -> u8 {
    match level {
        Level::Debug => 5,
        Level::Info => 9,
        Level::Warn => 13,
        Level::Error => 17,
        Level::Fatal => 21,
    }
}

fn attributes(fields: &[(&'static str, Field)]) -> Vec<Value> {
    fields
        .iter()
        .filter_map(|(key, value)| Some(attribute(key, field(value)?)))
        .collect()
}

fn attribute(key: &str, value: Value) -> Value {
    json!({ "key": key, "value": value })
}

fn text(text: &str) -> Value {
    json!({ "stringValue": text })
}

fn field(value: &Field) -> Option<Value> {
    Some(match value {
        Field::Absent => return None,
        Field::Bool(value) => json!({ "boolValue": value }),
        Field::Signed(value) => json!({ "intValue": value.to_string() }),
        // The number has 63 bits there; what is larger is told as text.
        Field::Unsigned(value) if i64::try_from(*value).is_err() => text(&value.to_string()),
        Field::Unsigned(value) => json!({ "intValue": value.to_string() }),
        Field::Float(value) => json!({ "doubleValue": value }),
        other => match other.as_str() {
            Some(value) => text(value),
            None => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use observe::{Capture, span::Span};

    use super::*;

    fn resource() -> Resource {
        Resource {
            service: "tinyice".into(),
            version: "1".into(),
            instance: "x".into(),
        }
    }

    observe::event! {
        struct Happened<'a> { mount: &'a str, bytes: u64, delta: i64, live: bool, ratio: std::time::Duration, none: Option<&'a str> }
        = Warn "test_otlp": "It happened to {mount}"
    }

    #[test]
    fn a_span_and_its_events_share_their_ids() {
        let capture = Capture::start();
        let span = Span::start("source", [("mount", Field::text("/live"))]);
        let context = span.context();
        span.run(|| {
            observe::emit(Happened {
                mount: "/li\"ve",
                bytes: u64::MAX,
                delta: -1,
                live: true,
                ratio: std::time::Duration::from_millis(1500),
                none: None,
            });
        });
        span.end(Outcome::Error("lost".into()));
        let records = capture.records();
        let logs = logs(&resource(), &records);
        let record = &logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        assert_eq!(record["traceId"], context.trace.to_string());
        assert_eq!(
            (&record["severityNumber"], &record["severityText"]),
            (&13.into(), &"WARN".into())
        );
        assert_eq!(record["body"]["stringValue"], "It happened to /li\"ve");
        let find = |key: &str| {
            let all = record["attributes"].as_array().unwrap();
            all.iter()
                .find(|attribute| attribute["key"] == key)
                .map(|attribute| attribute["value"].clone())
        };
        assert_eq!(
            find("bytes"),
            Some(json!({ "stringValue": "18446744073709551615" }))
        );
        assert_eq!(find("delta"), Some(json!({ "intValue": "-1" })));
        assert_eq!(find("live"), Some(json!({ "boolValue": true })));
        assert_eq!(find("ratio"), Some(json!({ "doubleValue": 1.5 })));
        assert_eq!(find("none"), None);
        let ended = observe::span::recent();
        let ended: Vec<_> = ended.into_iter().filter(|span| span.context == context).collect();
        let traces = traces(&resource(), &ended);
        let span = &traces["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(
            (&span["name"], &span["status"]["code"]),
            (&"source".into(), &2.into())
        );
        assert_eq!(span["traceId"], context.trace.to_string());
        assert_eq!(span["parentSpanId"], "");
        assert!(
            span["startTimeUnixNano"]
                .as_str()
                .unwrap()
                .parse::<u64>()
                .unwrap()
                > 0
        );
    }
}
