//! The port answers whatever its clients, its pages and the rest of the program do.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use diagnostics::{Answer, Limits, Pages, Settings};
use support::{Connection, get, page, settings, start, start_with, until};

#[test]
fn a_blocked_main_runtime_does_not_matter() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let (_port, address) = runtime.block_on(async { start(Pages::new("Radio")) });
    let lock = Arc::new(observe::Mutex::new("test-deadlock", ()));
    let guard = lock.lock();
    for _ in 0..2 {
        let lock = Arc::clone(&lock);
        observe::task::spawn_on(runtime.handle(), "test-stuck", (), async move {
            drop(lock.lock());
        })
        .detach();
    }
    until("both workers hang", || observe::lock_waiters().len() == 2);
    for target in [
        "/metrics",
        "/healthz",
        "/readyz",
        "/debug/tasks",
        "/debug/pprof/goroutine?debug=2",
    ] {
        let begun = Instant::now();
        assert_eq!(get(address, target).status, 200, "{target}");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{target} took {:?}",
            begun.elapsed()
        );
    }
    let locks = get(address, "/debug/locks");
    assert!(
        locks.text().contains("test-deadlock") && locks.text().contains("test-stuck"),
        "{}",
        locks.text()
    );
    drop(guard);
    runtime.shutdown_background();
}

#[test]
fn a_page_that_hangs_fills_its_own_lane_alone() {
    let (release, hold) = mpsc::channel::<()>();
    let hold = observe::Mutex::new("test-hang", hold);
    let hung = page("/hung", move |_, _| {
        let _ = hold.lock().recv();
        Answer::text("late")
    });
    let (_port, address) = start(Pages::new("Radio").page(hung));
    let mut waiting: Vec<_> = (0..4)
        .map(|_| {
            let mut connection = Connection::open(address);
            connection.send("GET /hung HTTP/1.1\r\nHost: localhost\r\n\r\n");
            connection
        })
        .collect();
    for target in ["/metrics", "/healthz", "/debug/tasks", "/"] {
        let begun = Instant::now();
        assert_eq!(get(address, target).status, 200, "{target}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{target}");
    }
    for connection in &mut waiting {
        let reply = connection.reply(false).unwrap();
        assert_eq!(reply.status, 503, "{}", reply.text());
    }
    assert!(support::happened("internal_page_stuck", "/hung"));
    drop(release);
}

#[test]
fn a_check_that_hangs_is_named() {
    let (release, hold) = mpsc::channel::<()>();
    let hold = observe::Mutex::new("test-check", hold);
    let pages = Pages::new("Radio")
        .check("listeners", || Ok(()))
        .check("database", move || {
            let _ = hold.lock().recv();
            Ok(())
        });
    let (_port, address) = start(pages);
    let reply = get(address, "/readyz");
    assert_eq!(
        (reply.status, reply.text()),
        (503, "not ready: database: no answer within 3s\n")
    );
    assert_eq!(get(address, "/healthz").status, 200);
    drop(release);
}

#[test]
fn a_page_that_panics_is_an_error_and_an_event() {
    let bad = page("/bad", |_, _| panic!("no such luck"));
    let (_port, address) = start(Pages::new("Radio").page(bad));
    let mut connection = Connection::open(address);
    for _ in 0..3 {
        connection.send("GET /bad HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let reply = connection.reply(false).unwrap();
        assert_eq!(reply.status, 500);
        assert!(reply.text().contains("no such luck"));
    }
    assert!(support::happened("internal_page_failed", "/bad"));
    assert!(support::happened("task_panicked", "no such luck"));
}

#[test]
fn a_client_that_leaves_ends_the_work() {
    let ended = Arc::new(AtomicBool::new(false));
    let begun = Arc::new(AtomicBool::new(false));
    let (tell_begin, tell_end) = (Arc::clone(&begun), Arc::clone(&ended));
    let long = page("/long", move |_, cancelled| {
        tell_begin.store(true, Ordering::Relaxed);
        while !cancelled.is_set() {
            std::thread::sleep(Duration::from_millis(2));
        }
        tell_end.store(true, Ordering::Relaxed);
        Answer::text("nobody reads this")
    });
    let (_port, address) = start(Pages::new("Radio").page(long));
    let mut connection = Connection::open(address);
    // A request behind the first must not hide that the client is gone.
    connection.send("GET /long HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    until("the work begins", || begun.load(Ordering::Relaxed));
    let left = Instant::now();
    drop(connection);
    until("the work ends", || ended.load(Ordering::Relaxed));
    assert!(
        left.elapsed() < Duration::from_secs(8),
        "it was the time limit that ended it"
    );
}

#[test]
fn a_profile_ends_when_its_client_leaves() {
    let (_port, address) = start(Pages::new("Radio"));
    let mut connection = Connection::open(address);
    connection.send("GET /debug/pprof/profile?seconds=30 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    until("it is being made", || {
        get(address, "/debug/connections").text().contains("served")
    });
    drop(connection);
    // A second one is refused for as long as the first one goes on.
    let begun = Instant::now();
    until("another one can be made", || {
        get(address, "/debug/pprof/profile?seconds=0.1").status == 200
    });
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn ten_thousand_requests_on_one_connection() {
    let (_port, address) = start(Pages::new("Radio"));
    let mut connection = Connection::open(address);
    for number in 0..10_000 {
        connection.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let reply = connection
            .reply(false)
            .unwrap_or_else(|| panic!("no answer {number}"));
        assert_eq!((reply.status, reply.text()), (200, "ok\n"));
    }
}

#[test]
fn pipelined_requests_and_junk_are_answered_in_order() {
    let (_port, address) = start(Pages::new("Radio"));
    let mut connection = Connection::open(address);
    let one = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    connection.send(&format!("{}\x00\x01junk junk\r\n\r\n{one}", one.repeat(50)));
    for _ in 0..50 {
        assert_eq!(connection.reply(false).unwrap().status, 200);
    }
    assert_eq!(connection.reply(false).map(|reply| reply.status), Some(400));
    assert!(connection.is_closed());
    assert_eq!(get(address, "/healthz").status, 200);
}

#[test]
fn silent_clients_make_room_for_one_who_asks() {
    let limits = Limits {
        spared: Duration::from_millis(50),
        ..Limits::default()
    };
    let settings = Settings { limits, ..settings() };
    let (_port, address) = start_with(settings, Pages::new("Radio"));
    let mut silent: Vec<_> = (0..64)
        .map(|number| {
            let mut connection = Connection::open(address);
            // Half of them are slow with their request, the others say nothing.
            if number % 2 == 0 {
                connection.send("GET /healthz HT");
            }
            connection
        })
        .collect();
    std::thread::sleep(Duration::from_millis(100));
    for _ in 0..10 {
        assert_eq!(get(address, "/metrics").status, 200);
    }
    assert!(silent[0].is_closed() || silent[1].is_closed());
}

#[test]
fn silent_clients_are_sent_away_in_time() {
    let limits = Limits {
        idle: Duration::from_millis(300),
        head: Duration::from_millis(100),
        body: Duration::from_millis(100),
        ..Limits::default()
    };
    let settings = Settings { limits, ..settings() };
    let (_port, address) = start_with(settings, Pages::new("Radio"));
    let begun = Instant::now();
    let mut idle = Connection::open(address);
    let mut head = Connection::open(address);
    head.send("GET /healthz HTTP/1.1\r\nHost:");
    let mut body = Connection::open(address);
    body.send("PUT /debug/log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nle");
    assert_eq!(body.reply(false).unwrap().status, 408);
    assert!(head.is_closed());
    assert!(idle.is_closed());
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[test]
fn too_many_busy_clients_are_told_so() {
    let (release, hold) = mpsc::channel::<()>();
    let hold = observe::Mutex::new("test-busy", hold);
    let busy = page("/busy", move |_, _| {
        let _ = hold.lock().recv();
        Answer::text("")
    });
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let settings = Settings { limits, ..settings() };
    let (_port, address) = start_with(settings, Pages::new("Radio").page(busy));
    let mut clients: Vec<_> = (0..2).map(|_| Connection::open(address)).collect();
    for client in &mut clients {
        client.send("GET /busy HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    let mut third = Connection::open(address);
    third.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let reply = third.reply(false).unwrap();
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    drop(release);
    until("there is room again", || get(address, "/healthz").status == 200);
}

#[test]
fn slow_readers_do_not_hold_up_others() {
    let large = "x".repeat(8 << 20);
    let pages = Pages::new("Radio").page(page("/large", move |_, _| Answer::text(large.clone())));
    let limits = Limits {
        stalled: Duration::from_millis(200),
        ..Limits::default()
    };
    let settings = Settings { limits, ..settings() };
    let (_port, address) = start_with(settings, pages);
    let _readers: Vec<_> = (0..8)
        .map(|_| {
            let mut connection = Connection::open(address);
            connection.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
            connection
        })
        .collect();
    until("they do not read", || {
        get(address, "/debug/connections").text().contains("unread")
    });
    assert_eq!(get(address, "/metrics").status, 200);
    until("they are sent away", || {
        !get(address, "/debug/connections").text().contains("unread")
    });
}
