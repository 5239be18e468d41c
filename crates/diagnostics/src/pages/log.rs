//! `/debug/log`: the log's filter.
//!
//! Contract: a filter that is not understood changes nothing and is answered with an example.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use super::{Call, Rendered};
use crate::context::Context;
use crate::{Answer, BadQuery, Form, Query};

/// A filter that is meant to end does so within a week.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
const HINT: &str = "name a level (debug, info, warn, error) or a filter such as tinyice_stream=debug,info: \
    curl -X PUT 'http://localhost:8081/debug/log?level=debug&for=10m'";

pub(crate) fn render(_: &Context, call: &Call) -> Rendered {
    match call.method {
        Method::GET => {}
        Method::DELETE => observe::log::filter::clear(),
        _ => change(call)?,
    }
    let current = observe::log::filter::current();
    let left = current
        .until
        .map(|until| until.saturating_duration_since(Instant::now()).as_secs());
    let base = current.base;
    Ok(match call.query.form()? {
        Form::Text => Answer::text(match (current.directive, left) {
            (None, _) => format!("{base}\n"),
            (Some(directive), None) => {
                format!("{directive}\nuntil it is changed; the configured level is {base}\n")
            }
            (Some(directive), Some(left)) => format!("{directive}\nfor another {left} s, then {base}\n"),
        }),
        Form::Json => Answer::json(&json!({
            "filter": current.directive.unwrap_or_else(|| base.to_string()),
            "configured": base.to_string(),
            "seconds_left": left,
        })),
    })
}

/// Takes the filter from the query, from a form, or from the bare body.
fn change(call: &Call) -> Result<(), BadQuery> {
    call.query.only(&["level", "filter", "for", "format"])?;
    let body = std::str::from_utf8(&call.body).map_err(|_| BadQuery::new("the body is not UTF-8"))?;
    let body = body.trim();
    let form = if ["level=", "filter=", "for="]
        .iter()
        .any(|key| body.starts_with(key))
    {
        let form = Query::parse(body)?;
        form.only(&["level", "filter", "for"])?;
        form
    } else {
        Query::default().with("filter", body)
    };
    let given = |key: &str| {
        let of = |query: &Query| query.get(key).filter(|text| !text.is_empty()).map(str::to_owned);
        of(&call.query).or_else(|| of(&form))
    };
    let directive = given("level")
        .or_else(|| given("filter"))
        .ok_or_else(|| BadQuery::new(HINT))?;
    let length = match call.query.get("for") {
        Some(_) => call.query.duration("for")?,
        None => form.duration("for")?,
    };
    if length.is_some_and(|length| length.is_zero() || length > LONGEST) {
        return Err(BadQuery::new(
            "for is more than nothing and at most a week (168h)",
        ));
    }
    observe::log::filter::set(&directive, length)
        .map_err(|error| BadQuery::new(format!("{error}; {HINT}")))?;
    Ok(())
}
