//! No template takes more than its share, and none breaks the server.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use webhook::template::{Limits, Template};

fn data() -> Value {
    json!({"Title": "x".repeat(1000), "Mount": "/live", "List": [1, 2, 3], "Float": 0.5, "Obj": {"a": "b"}})
}

/// Renders with the limits of deliveries; the error without its line.
fn failure(template: &str) -> String {
    let limits = Limits::default();
    let began = Instant::now();
    let rendered = Template::parse(template).unwrap().render_json(&data(), limits);
    // Generous, for machines that are busy with other things.
    assert!(
        began.elapsed() < limits.time + Duration::from_secs(5),
        "{template}"
    );
    rendered.unwrap_err().reason
}

#[test]
fn limits_are_reached() {
    let doubling = format!("{{{{$x := .Title}}}}{}", "{{$x = print $x $x}}".repeat(40));
    let many = "{{$x := printf \"%200000d\" 1}}".repeat(1000);
    let replaced = "{{$x := printf \"%100000d\" 1}}{{replace \" \" $x $x}}";
    for (template, expected) in [
        (
            "{{range 1000000000}}{{.}}{{end}}",
            "more than 262144 bytes of output",
        ),
        (
            "{{range 9000000000000000000}}{{end}}",
            "not finished within 100 ms",
        ),
        (
            "{{range 1000000000}}{{range 1000000000}}{{end}}{{end}}",
            "not finished within 100 ms",
        ),
        (
            "{{define \"a\"}}{{template \"a\" .}}{{end}}{{template \"a\" .}}",
            "nested too deeply",
        ),
        (
            "{{define \"a\"}}{{if 1}}{{with 1}}{{template \"b\" (print (print .))}}{{end}}{{end}}{{end}}\
             {{define \"b\"}}{{range 3}}{{template \"a\" .}}{{end}}{{end}}{{template \"a\" .}}",
            "nested too deeply",
        ),
        (&doubling, "the text gets too long"),
        (&many, "the text gets too long"),
        (replaced, "the text gets too long"),
        ("{{printf \"%1000000d\" 1}}", "the text gets too long"),
        (
            "{{printf \"%.1000000f%.1000000f%.1000000f\" 1.0 1.0 1.0}}",
            "the text gets too long",
        ),
        (
            "{{printf \"%*d%*d%*d%*d\" 900000 1 900000 1 900000 1 900000 1}}",
            "the text gets too long",
        ),
    ] {
        assert_eq!(failure(template), expected, "{template:.80}");
    }
}

#[test]
fn nesting_is_bounded_when_parsed() {
    for (open, close) in [
        ("{{if 1}}", "{{end}}"),
        ("{{with 1}}", "{{end}}"),
        ("{{range 1}}", "{{end}}"),
        ("{{block \"a\" .}}", "{{end}}"),
        ("{{if 1}}{{else}}", "{{end}}"),
    ] {
        let fits = format!("{}x{}", open.repeat(50), close.repeat(50));
        assert!(Template::parse(&fits).is_ok() || open.contains("block"), "{open}");
        let bad = Template::parse(&format!("{}{}", open.repeat(10_000), close.repeat(10_000))).unwrap_err();
        assert_eq!(bad.reason, "nested too deeply", "{open}");
    }
    let chain = "{{if 0}}".to_owned() + &"{{else if 0}}".repeat(10_000) + "{{end}}";
    assert_eq!(Template::parse(&chain).unwrap_err().reason, "nested too deeply");
    let parens = format!("{{{{{}1{}}}}}", "(".repeat(10_000), ")".repeat(10_000));
    assert_eq!(Template::parse(&parens).unwrap_err().reason, "nested too deeply");
    let parens = format!("{{{{{}1{}}}}}", "(".repeat(50), ")".repeat(50));
    let rendered = Template::parse(&parens)
        .unwrap()
        .render_json(&data(), Limits::default());
    assert_eq!(rendered.unwrap(), "1");
    assert_eq!(
        Template::parse(&"x".repeat(300_000)).unwrap_err().reason,
        "the template is too long"
    );
}

/// Every beginning of every recorded template, and each with one piece cut out.
#[test]
fn mutilated_templates_never_panic() {
    let table: Value = serde_json::from_str(include_str!("go_templates.json")).unwrap();
    let mut parsed = 0;
    for row in table["rows"].as_array().unwrap() {
        let template = row["template"].as_str().unwrap();
        for (at, c) in template.char_indices() {
            let without = format!("{}{}", &template[..at], &template[at + c.len_utf8()..]);
            for source in [&template[..at], &without] {
                if let Ok(template) = Template::parse(source) {
                    parsed += 1;
                    let _ = template.render_json(&table["data"], Limits::default());
                }
            }
        }
    }
    assert!(parsed > 5000, "{parsed}");
}

#[test]
fn functions_of_our_own() {
    let values =
        json!({"Title": "Grüße an 🎵 alle", "Empty": "", "Zero": 0, "At": "2026-03-05T07:08:09Z", "Unix": 0});
    for (template, expected) in [
        (
            "{{default \"x\" .Empty}} {{.Title | default \"x\" | lower}} {{default \"x\" .Nope}} {{default 5 .Zero}}",
            "x grüße an 🎵 alle x 5",
        ),
        (
            "{{truncate 5 .Title}}|{{truncate 16 .Title}}|{{truncate 0 .Title}}|{{truncate 1 .Title}}|{{truncate -1 .Title}}",
            "Grüß…|Grüße an 🎵 alle||…|",
        ),
        ("{{.Nope | truncate 5}}|{{truncate 2 123}}", "|1…"),
        (
            "{{replace \"e\" \"\" .Title}}|{{replace \"\" \"x\" .Title}}|{{.Title | replace \"🎵\" \"&\" | html}}",
            "Grüß an 🎵 all|Grüße an 🎵 alle|Grüße an &amp; alle",
        ),
        (
            "{{date \"02.01.2006 15:04\" .At}} {{.Unix | date \"2006\"}} {{date \"2006\" .Nope}}|",
            "05.03.2026 07:08 1970 |",
        ),
        ("{{slice .Title 0 3}}", "Gr\u{fffd}"),
    ] {
        let rendered = Template::parse(template)
            .unwrap()
            .render_json(&values, Limits::default());
        assert_eq!(rendered.as_deref(), Ok(expected), "{template}");
    }
    for (template, expected) in [
        (
            "{{date \"2006\" .Title}}",
            "line 1: \"Grüße an 🎵 alle\" is no time in RFC 3339",
        ),
        (
            "\n{{truncate .Title 5}}",
            "line 2: truncate needs a number of characters first",
        ),
        (
            "{{urlencode .}}",
            "line 1: a text was wanted, not a map[string]interface {}",
        ),
        (
            "{{replace 1 2}}",
            "line 1: wrong number of arguments: 3 wanted, 2 given",
        ),
    ] {
        let rendered = Template::parse(template)
            .unwrap()
            .render_json(&values, Limits::default());
        assert_eq!(rendered.unwrap_err().to_string(), expected);
    }
}
