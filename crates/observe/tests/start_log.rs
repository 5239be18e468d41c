//! A program that starts the log, emits and ends: its files hold what it said.

use std::time::Duration;

use observe::Level;
use observe::log::{Format, Settings};

observe::event! {
    struct Connected { mount: &'static str } = Info "connected": "Source connected"

    struct Refused { user: &'static str } = [Auth] Warn "refused": "Refused"

    struct Detail {} = Debug "detail": "Detail"
}

#[test]
fn events_reach_the_files() {
    let folder = std::env::temp_dir().join(format!("observe-start-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    observe::emit(Connected { mount: "/early" });
    let log = observe::log::start(Settings {
        level: Level::Info,
        format: Format::Text,
        file: Some(folder.join("main.log")),
        auth_file: Some(folder.join("auth.log")),
    })
    .unwrap();
    observe::emit(Connected { mount: "/live" });
    observe::emit(Refused { user: "a\nb" });
    observe::emit(Detail {});
    log.set_level(Level::Debug);
    observe::emit(Detail {});
    log.set_level(Level::Error);
    observe::emit(Connected { mount: "/quiet" });
    assert!(log.flush(Duration::from_secs(30)));

    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let parts = |text: String| -> Vec<Vec<String>> {
        text.lines()
            .map(|line| line.split('\t').skip(1).map(str::to_owned).collect())
            .collect()
    };
    let main = parts(read("main.log"));
    assert_eq!(main.len(), 2, "{main:?}");
    assert_eq!(main[0][0], "INFO");
    assert!(main[0][1].starts_with("tests/start_log.rs:"), "{}", main[0][1]);
    assert_eq!(main[0][2..], ["Source connected", r#"{"mount": "/live"}"#]);
    assert_eq!(
        (main[1][0].as_str(), main[1][2].as_str(), main[1].len()),
        ("DEBUG", "Detail", 3)
    );
    assert_eq!(
        parts(read("auth.log")),
        [["warn", "Refused", r#"{"user": "a\nb"}"#]]
    );
    assert_eq!(observe::event_counts()["connected"], 3);
    assert_eq!(observe::log::dropped_lines(), 0);
    std::fs::remove_dir_all(&folder).unwrap();

    let missing = Settings {
        file: Some(folder.join("gone").join("main.log")),
        ..Settings::default()
    };
    let error = observe::log::start(missing).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot open the log file "),
        "{error}"
    );
}
