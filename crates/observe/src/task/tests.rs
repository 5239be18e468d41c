use super::*;
use crate::record::Capture;
use crate::value::Value;
use tokio::sync::oneshot;

fn find(id: u64) -> Option<TaskInfo> {
    list().into_iter().find(|task| task.id == id)
}

#[tokio::test]
async fn a_task_is_listed_while_it_lives() {
    let (ready, wait) = oneshot::channel();
    let task = spawn("test-task", "/live", async {
        (wait.await.unwrap(), current_id())
    });
    let info = find(task.id()).unwrap();
    assert_eq!(
        (info.name, info.subject.as_deref(), info.polls),
        ("test-task", Some("/live"), 0)
    );
    assert!(
        info.spawned_at.starts_with("task/tests.rs:"),
        "{}",
        info.spawned_at
    );
    tokio::task::yield_now().await;
    let info = find(task.id()).unwrap();
    assert_eq!((info.polls, info.running), (1, false));
    ready.send(7).unwrap();
    let id = task.id();
    assert_eq!(task.await, Ok((7, id)));
    assert!(find(id).is_none());
    assert_eq!(current_id(), 0);
}

#[tokio::test]
async fn an_aborted_task_leaves_the_list() {
    let task = spawn("test-aborted", None::<&str>, std::future::pending::<()>());
    let id = task.id();
    tokio::task::yield_now().await;
    task.abort();
    assert_eq!(task.await, Err(TaskEnd::Aborted));
    assert!(find(id).is_none());
}

#[test]
fn a_guarded_panic_stays_inside() {
    let end: Result<(), _> = guard("test-guard", "/x", || panic!("inside"));
    assert_eq!(end, Err(TaskEnd::Panicked("inside".into())));
    assert!(
        panics()
            .iter()
            .any(|panic| panic.name == "test-guard" && panic.at.starts_with("task/tests.rs:"))
    );
    assert_eq!((guard("test-guard", (), || 4), current_id()), (Ok(4), 0));
}

#[tokio::test]
async fn a_panic_is_an_event_and_an_entry() {
    let capture = Capture::start();
    let task = spawn("test-panic", "/broken", async { panic!("frame {} is gone", 3) });
    let id = task.id();
    let end: Result<(), _> = task.await;
    assert_eq!(end, Err(TaskEnd::Panicked("frame 3 is gone".into())));
    let records = capture.records();
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(
        (record.level, record.name),
        (crate::Level::Error, "task_panicked")
    );
    assert_eq!(record.message, "Task test-panic panicked: frame 3 is gone");
    assert_eq!(record.field("subject"), Some(&Value::text("/broken")));
    assert!(
        record
            .field("at")
            .unwrap()
            .as_str()
            .unwrap()
            .starts_with("task/tests.rs:")
    );
    let panic = panics().into_iter().find(|panic| panic.id == id).unwrap();
    assert_eq!(
        (panic.name, panic.message.as_str()),
        ("test-panic", "frame 3 is gone")
    );
    assert!(find(id).is_none());
}

/// The functions and lines of a stack. Debug information that has only lines leaves the names of inlined functions
/// out, so the awaits are found by their lines.
fn places(stack: &[u64]) -> Vec<String> {
    let named = stack.iter().flat_map(|&frame| profile::symbols::name(frame));
    named
        .map(|named| format!("{} {}:{}", named.function, named.short_file(), named.line))
        .collect()
}

const OUTER: u32 = line!() + 2;
async fn planted_outer(wait: oneshot::Receiver<u8>) -> Option<u8> {
    let answer = planted_inner(wait).await;
    std::hint::black_box(answer)
}

const INNER: u32 = line!() + 2;
async fn planted_inner(wait: oneshot::Receiver<u8>) -> Option<u8> {
    let answer = wait.await.ok();
    std::hint::black_box(answer)
}

async fn planted_both(wait: oneshot::Receiver<u8>, listener: tokio::net::TcpListener) {
    tokio::select! {
        answer = planted_inner(wait) => assert!(answer.is_none()),
        accepted = listener.accept() => drop(accepted),
    }
}

#[test]
fn a_dump_shows_awaits_and_does_not_wait_for_a_stuck_worker() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (answer, wait) = oneshot::channel();
    let parked = spawn_on(runtime.handle(), "test-parked", "/live", planted_outer(wait));
    let (other, wait) = oneshot::channel();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let both = spawn_on(runtime.handle(), "test-both", (), planted_both(wait, listener));
    let (release, released) = std::sync::mpsc::channel::<()>();
    let stuck = spawn_on(runtime.handle(), "test-stuck", (), async move {
        assert!(released.recv().is_err())
    });
    let ready = || {
        let polled = |id| find(id).is_some_and(|info| info.polls == 1 && !info.running);
        polled(parked.id()) && polled(both.id()) && find(stuck.id()).is_some_and(|info| info.running)
    };
    while !ready() {
        std::thread::yield_now();
    }
    let dump = loop {
        match dump(Duration::from_secs(60)) {
            Ok(dump) => break dump,
            Err(DumpFailed::Busy) => std::thread::yield_now(),
        }
    };
    let of = |id| dump.iter().find(|stack| stack.task.id == id).unwrap();
    assert!(!of(stuck.id()).answered && of(stuck.id()).task.state == State::Running);
    assert_eq!(of(stuck.id()).task.thread.is_some(), cfg!(target_os = "linux"));
    let (one, two) = (of(parked.id()), of(both.id()));
    assert!(one.answered && two.answered);
    if !profile::stack::capture().frames().is_empty() {
        assert_eq!((one.stacks.len(), two.stacks.len()), (1, 2));
        let of_one = places(&one.stacks[0]);
        let at = |part: &str| of_one.iter().position(|place| place.contains(part));
        let (inner, outer) = (format!("task/tests.rs:{INNER}"), format!("task/tests.rs:{OUTER}"));
        assert!(at(&inner).is_some() && at(&inner) < at(&outer), "{of_one:?}");
        assert!(at("worker").is_none() && at("harness").is_none(), "{of_one:?}");
        let mut of_two: Vec<_> = two.stacks.iter().map(|stack| places(stack).join(" ")).collect();
        of_two.sort_by_key(|places| places.contains(&inner));
        assert!(
            of_two[0].contains("accept") && of_two[1].contains(&inner),
            "{of_two:?}"
        );
    }
    // The polls of the dump are not the task's own.
    let info = find(parked.id()).unwrap();
    assert_eq!(info.polls, 1);
    assert!(info.since_poll >= one.task.since_poll);
    // What a dump was told through is still good to wake the task.
    answer.send(7).unwrap();
    assert_eq!(runtime.block_on(parked), Ok(Some(7)));
    drop((other, release));
    runtime.block_on(both).unwrap();
    runtime.block_on(stuck).unwrap();
}

#[test]
fn a_dump_of_many_tasks_misses_none() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..1_000)
        .map(|_| spawn_on(runtime.handle(), "test-crowd", (), std::future::pending::<()>()))
        .collect();
    let (first, last) = (tasks[0].id(), tasks[999].id());
    while list()
        .iter()
        .any(|info| info.name == "test-crowd" && info.polls == 0)
    {
        std::thread::yield_now();
    }
    let dump = loop {
        match dump(Duration::from_secs(60)) {
            Ok(dump) => break dump,
            Err(DumpFailed::Busy) => std::thread::yield_now(),
        }
    };
    let crowd: Vec<_> = dump
        .iter()
        .filter(|stack| stack.task.name == "test-crowd")
        .collect();
    assert_eq!(crowd.len(), 1_000);
    assert!(
        crowd
            .iter()
            .all(|stack| stack.answered && (first..=last).contains(&stack.task.id))
    );
    tasks.iter().for_each(TaskHandle::abort);
    for task in tasks {
        assert_eq!(runtime.block_on(task), Err(TaskEnd::Aborted));
    }
}
