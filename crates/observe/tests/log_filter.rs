//! A filter of an operator, on a program that logs at `info`.

use std::time::Duration;

use observe::log::filter::{self, Current};
use observe::{Capture, Level};

observe::event! {
    struct Detail {} = Debug "filter_detail": "Detail"

    struct Lost {} = Info "source_lost": "Source lost"
}

#[test]
fn an_operator_sees_more_for_a_while() {
    let capture = Capture::start();
    let names = || -> Vec<_> { capture.records().iter().map(|record| record.name).collect() };
    let emit = || {
        observe::emit(Detail {});
        observe::emit(Lost {});
    };
    emit();
    assert_eq!(names(), ["source_lost"]);

    filter::set("observe::log_filter=debug", Some(Duration::from_secs(3600))).unwrap();
    emit();
    assert_eq!(names(), ["log_filter_set", "filter_detail", "source_lost"]);
    let current = filter::current();
    assert_eq!(
        (current.directive.as_deref(), current.base),
        (Some("observe::log_filter=debug"), Level::Info)
    );
    assert!(current.until.is_some());

    // A reload that changes the configured level leaves it in force.
    observe::log::set_level(Level::Error);
    emit();
    assert_eq!(names(), ["filter_detail", "source_lost"]);
    observe::log::set_level(Level::Info);

    let refused = filter::set("observe::log_filter=verbose", None).unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("\"verbose\" is no level; allowed: "),
        "{refused}"
    );
    assert_eq!(filter::current(), current);

    // Its time is over at once; the next event that it would have let through notices.
    filter::set("tinyice::observe::log_filter=debug", Some(Duration::ZERO)).unwrap();
    emit();
    assert_eq!(names(), ["log_filter_ended", "log_filter_set", "source_lost"]);
    let nothing = Current {
        directive: None,
        base: Level::Info,
        until: None,
    };
    assert_eq!(filter::current(), nothing);

    filter::set("filter_detail=debug", None).unwrap();
    assert_eq!(filter::current().until, None);
    emit();
    filter::clear();
    filter::clear();
    emit();
    assert_eq!(
        names(),
        [
            "log_filter_set",
            "filter_detail",
            "source_lost",
            "log_filter_ended",
            "source_lost"
        ]
    );
}
