use super::*;

fn get(path: &str, query: &str) -> Answer {
    answer(path, &Query::parse(query).unwrap(), &Method::GET, b"", &|| false)
}

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

#[test]
fn unknown_profiles_and_parameters_are_refused() {
    let cases = [
        ("nothing", "", 404, "Unknown profile"),
        ("heap/x", "", 404, "Unknown profile"),
        ("heap", "debug=x", 400, "debug is a whole number from 0 to 99"),
        ("mutex", "debug=-1", 400, "debug is a whole number from 0 to 99"),
        (
            "mutex",
            "seconds=x",
            400,
            "seconds is a number of seconds, at most 600",
        ),
        (
            "block",
            "seconds=601",
            400,
            "seconds is a number of seconds, at most 600",
        ),
        ("profile", "hz=0", 400, "hz is a whole number from 1 to 1000"),
        (
            "profile",
            "herz=5",
            400,
            "unknown parameter \"herz\"; there are: seconds, hz, debug, gc",
        ),
        (
            "goroutine",
            "seconds=1&debug=2",
            400,
            "a difference of tasks has no text form",
        ),
        (
            "trace",
            "seconds=1e9",
            400,
            "seconds is a number of seconds, at most 600",
        ),
        (
            "cmdline",
            "a=1",
            400,
            "unknown parameter \"a\": there are none here",
        ),
    ];
    for (path, query, status, start) in cases {
        let answer = get(path, query);
        assert_eq!(answer.status, status, "{path}?{query}");
        assert!(
            text(&answer).starts_with(start),
            "{path}?{query}: {}",
            text(&answer)
        );
        assert_eq!(answer.content_type, "text/plain; charset=utf-8");
    }
}

#[test]
fn only_symbol_takes_a_body() {
    let post = |path| answer(path, &Query::default(), &Method::POST, b"0x1", &|| false);
    assert_eq!(post("heap").status, 405);
    assert_eq!(post("symbol").status, 200);
}

#[test]
fn binary_forms_are_attachments_and_text_forms_are_text() {
    for name in ["mutex", "block", "goroutine", "threadcreate"] {
        let binary = get(name, "gc=1");
        assert_eq!(binary.content_type, "application/octet-stream", "{name}");
        let headers = format!("{:?}", binary.headers);
        assert!(
            headers.contains(&format!("attachment; filename=\\\"{name}\\\"")),
            "{headers}"
        );
        for debug in ["debug=1", "debug=2"] {
            let answer = get(name, debug);
            assert_eq!(
                (answer.status.as_u16(), &*answer.content_type),
                (200, "text/plain; charset=utf-8")
            );
        }
    }
}

#[test]
fn text_forms_start_as_those_of_go() {
    let cases = [
        (
            "mutex",
            "--- mutex:\ncycles/second=1000000000\nsampling period=1\n",
        ),
        (
            "block",
            "--- contention:\ncycles/second=1000000000\nsampling period=1\n",
        ),
        ("goroutine", "goroutine profile: total "),
        ("threadcreate", "threadcreate profile: total "),
    ];
    for (name, start) in cases {
        let answer = get(name, "debug=1");
        assert!(text(&answer).starts_with(start), "{name}: {}", text(&answer));
    }
}

#[test]
fn a_difference_ends_when_nobody_waits_for_it() {
    let asked = std::cell::Cell::new(0);
    let cancelled = || {
        asked.set(asked.get() + 1);
        asked.get() > 2
    };
    let query = Query::parse("seconds=600").unwrap();
    let answer = answer("mutex", &query, &Method::GET, b"", &cancelled);
    assert_eq!((answer.status.as_u16(), asked.get()), (408, 3));
}

#[test]
fn the_index_lists_every_profile() {
    let answer = get("", "");
    assert_eq!(answer.content_type, "text/html; charset=utf-8");
    let html = text(&answer);
    for name in [
        "allocs",
        "block",
        "cmdline",
        "goroutine",
        "heap",
        "mutex",
        "profile",
        "symbol",
        "threadcreate",
        "trace",
    ] {
        assert!(html.contains(&format!("<a href=\"{name}\">{name}</a>")), "{name}");
    }
    assert!(html.contains("ui.perfetto.dev") && html.contains("chrome://tracing"));
    assert!(html.contains("<a href=\"goroutine?debug=2\">each</a>"));
}
