//! What templates print is what the language's original implementation prints. `go_templates.json` holds its results.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use webhook::template::{Limits, Template};

/// Where ours does more than the original, which fails there: missing values and numbers are taken as texts.
const BETTER: &[(&str, &str)] = &[
    ("{{urlencode .Missing}}", ""),
    ("{{urlencode .bitrate}}", "320"),
    ("{{urlencode 5}}", "5"),
    ("{{lower .Missing}}", ""),
    ("{{upper .Zero}}", "0"),
];

const LIMITS: Limits = Limits {
    output: 256 * 1024,
    time: Duration::from_secs(10),
};

fn render(template: &str, data: &Value) -> Result<String, String> {
    let template = Template::parse(template).map_err(|bad| bad.to_string())?;
    template
        .render_json(data, LIMITS)
        .map_err(|error| error.to_string())
}

#[test]
fn recorded_results() {
    let table: Value = serde_json::from_str(include_str!("go_templates.json")).unwrap();
    let rows = table["rows"].as_array().unwrap();
    assert!(rows.len() >= 400, "{}", rows.len());
    let better: BTreeMap<_, _> = BETTER.iter().copied().collect();
    let mut used = 0;
    let mut wrong = Vec::new();
    for row in rows {
        let template = row["template"].as_str().unwrap();
        let got = render(template, &table["data"]);
        if let Some(expected) = better.get(template) {
            used += 1;
            assert_eq!(row["error"], "run", "{template}");
            assert_eq!(got.as_deref(), Ok(*expected), "{template}");
            continue;
        }
        let fits = match row["error"].as_str() {
            None => got.as_deref() == Ok(row["output"].as_str().unwrap_or_default()),
            Some("parse") => {
                Template::parse(template).is_err_and(|bad| Some(bad.line as u64) == row["line"].as_u64())
            }
            Some(_) => {
                let line = format!("line {}: ", row["line"]);
                got.as_ref().is_err_and(|error| error.starts_with(&line))
            }
        };
        if !fits {
            wrong.push(format!("{template}\n  got      {got:?}\n  expected {row}"));
        }
    }
    assert_eq!(used, BETTER.len());
    assert!(wrong.is_empty(), "{}\n{} wrong", wrong.join("\n"), wrong.len());
}
