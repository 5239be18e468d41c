use super::*;
use crate::record::Capture;
use crate::value::Value;
use crate::{Mutex, Record};

static PLANTED: Mutex<()> = Mutex::new("test-watched-lock", ());

#[inline(never)]
fn planted_block() {
    drop(PLANTED.lock());
}

fn text<'a>(record: &'a Record, key: &str) -> &'a str {
    record.field(key).and_then(Value::as_str).unwrap_or_default()
}

/// Looks until the records so far are enough.
fn look_until(rounds: &mut Rounds, enough: impl Fn(&[Arc<Record>]) -> bool) -> Vec<Arc<Record>> {
    let capture = Capture::start();
    let mut records = Vec::new();
    while !enough(&records) {
        rounds.look(Instant::now());
        records.extend(capture.records());
        std::thread::yield_now();
    }
    records
}

fn tripped<'a>(records: &'a [Arc<Record>], check: &str, subject: &str) -> Option<&'a Record> {
    let found = records.iter().find(|record| {
        record.name == "watchdog_tripped"
            && text(record, "check") == check
            && text(record, "subject").contains(subject)
    });
    found.map(|record| &**record)
}

#[test]
fn a_blocked_runtime_its_task_and_the_lock_are_named() {
    let guard = PLANTED.lock();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let heart = heart::start(runtime.handle());
    let task = task::spawn_on(runtime.handle(), "test-blocked", "/live", async {
        planted_block()
    });
    let id = task.id();
    let driver = thread::spawn("test-runtime", move || runtime.block_on(task)).unwrap();
    let limit = Duration::from_millis(20);
    let limits = Limits {
        runtime: limit,
        poll: limit,
        lock: limit,
        ready: limit,
    };
    let mut rounds = Rounds::new(limits, heart, Answers::default());
    let name = format!("task {id} test-blocked /live");
    let trips_before = trips();
    let records = look_until(&mut rounds, |records| {
        tripped(records, POLL, &name).is_some()
            && tripped(records, LOCK, "lock test-watched-lock").is_some()
            && tripped(records, RUNTIME, "main runtime").is_some()
    });
    let poll = tripped(&records, POLL, &name).unwrap();
    assert!(poll.message.contains("holds its worker for"), "{}", poll.message);
    let lock = tripped(&records, LOCK, "lock test-watched-lock").unwrap();
    let waiter = format!("1 wait, the first is {id} test-blocked at watchdog/tests.rs:");
    assert!(lock.message.contains(&waiter), "{}", lock.message);
    assert!(
        lock.message
            .contains("held by an unnamed thread at watchdog/tests.rs:"),
        "{}",
        lock.message
    );
    let runtime = tripped(&records, RUNTIME, "main runtime").unwrap();
    assert!(text(runtime, "problem").contains(&name), "{}", runtime.message);
    if !profile::stack::capture().frames().is_empty() {
        for record in [poll, lock, runtime] {
            assert!(
                text(record, "stack").contains("planted_block"),
                "{}",
                text(record, "stack")
            );
        }
    }
    // Each once, and counted.
    assert_eq!(
        records
            .iter()
            .filter(|record| text(record, "subject") == name)
            .count(),
        1
    );
    for (check, before) in trips_before
        .into_iter()
        .filter(|(check, _)| [POLL, LOCK, RUNTIME].contains(check))
    {
        assert!(
            trips().iter().any(|(name, now)| *name == check && *now > before),
            "{check}"
        );
    }
    assert!(rounds.ledger.stuck(Instant::now(), limit).is_some());
    drop(guard);
    driver.join().unwrap().unwrap();
    let recovered = |records: &[Arc<Record>]| {
        let of = |subject: &str| {
            records
                .iter()
                .any(|record| record.name == "watchdog_recovered" && text(record, "subject") == subject)
        };
        of(&name) && of("lock test-watched-lock") && of("main runtime")
    };
    look_until(&mut rounds, recovered);
}

#[test]
fn a_registered_check_is_told_counted_and_survives_a_panic() {
    let heart = heart::ended();
    let answers = Answers::default();
    let mut rounds = Rounds::new(Limits::default(), heart, Arc::clone(&answers));
    check("test-panicking", || panic!("planted"));
    check("test-silent", || {
        vec![Finding::new("/quiet", "the source is silent")]
    });
    ask(&answers);
    let records = look_until(&mut rounds, |records| {
        records
            .iter()
            .any(|record| text(record, "check") == "test-silent")
    });
    let warned = records
        .iter()
        .find(|record| text(record, "check") == "test-silent")
        .unwrap();
    assert_eq!((warned.name, warned.level), ("watchdog_warned", Level::Warn));
    assert_eq!(warned.message, "/quiet: the source is silent");
    // Another test's watchdog may have found it too.
    let counted = || {
        trips()
            .into_iter()
            .find(|trips| trips.0 == "test-silent")
            .unwrap()
            .1
    };
    let before = counted();
    assert!(before > 0);
    check("test-silent", Vec::new);
    assert!(counted() >= before);
    check("test-panicking", Vec::new);
    ask(&answers);
    look_until(&mut rounds, |records| {
        let recovered = |record: &Arc<Record>| {
            record.name == "watchdog_recovered" && text(record, "check") == "test-silent"
        };
        records.iter().any(recovered)
    });
}

/// A check that hangs with what it looks at is found like any loop that does not come round.
#[test]
fn a_check_that_hangs_does_not_stop_the_watchdog() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    static HELD: Mutex<()> = Mutex::new("test-held-from-checks", ());
    let guard = HELD.lock();
    check("test-hanging", || {
        drop(HELD.lock());
        Vec::new()
    });
    let limits = Limits {
        lock: Duration::from_millis(20),
        ..Limits::default()
    };
    let watchdog = start(runtime.handle(), limits).unwrap();
    let told = || {
        let records = crate::recent();
        tripped(&records, LOCK, "lock test-held-from-checks").map(|record| record.message.to_string())
    };
    let message = loop {
        match told() {
            Some(message) => break message,
            None => std::thread::yield_now(),
        }
    };
    assert!(
        message.contains("watchdog-checks at watchdog/tests.rs:"),
        "{message}"
    );
    check("test-hanging", Vec::new);
    drop((guard, watchdog));
}

#[test]
fn a_crowd_is_told_in_part() {
    let lasting = |seconds| Finding::new(format!("{seconds}"), "x").lasting(Duration::from_secs(seconds));
    let findings = (0..100).map(|seconds| ("crowd", lasting(seconds)));
    let told = bounded(findings.chain([("other", lasting(1))]).collect());
    let subjects: Vec<_> = told.iter().map(|(_, finding)| &*finding.subject).collect();
    assert_eq!(subjects, ["99", "98", "97", "96", "95", "94", "93", "92", "1"]);
}

#[test]
fn it_starts_and_ends() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let before = heartbeat().snapshot().count();
    let watchdog = start(runtime.handle(), Limits::default()).unwrap();
    while heartbeat().snapshot().count() == before || STATUS.load().is_none() {
        std::thread::yield_now();
    }
    let id = watchdog.thread.id();
    drop(watchdog);
    let listed = || thread::list().iter().any(|thread| thread.name == "watchdog");
    while listed() {
        std::thread::yield_now();
    }
    assert_ne!(id, std::thread::current().id());
}
