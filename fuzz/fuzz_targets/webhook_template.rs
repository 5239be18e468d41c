#![no_main]

use webhook::template::{Limits, Template};

// Whatever the template is, it is refused with a line of its own or rendered within the limits.
libfuzzer_sys::fuzz_target!(|input: &str| {
    let values = serde_json::json!({
        "Event": "now_playing", "Mount": "/live", "Title": "Say \"Hi\" <b> \\ 🎵", "Empty": "", "duration_seconds": 285.4,
        "bitrate": 320, "yes": true, "List": ["a", 1, 2.5, null], "Obj": {"a": "b", "n": {"k": 1}},
    });
    match Template::parse(input) {
        Ok(template) => {
            let limits = Limits::default();
            if let Ok(text) = template.render_json(&values, limits) {
                assert!(text.len() <= limits.output);
            }
        }
        Err(bad) => assert!((1..=input.matches('\n').count() + 1).contains(&bad.line), "{bad}"),
    }
});
