//! How mounts live and end: sources that blink, fall silent, are replaced or refused, and listeners that are too
//! many or unwanted.
//!
//! Contract: what a listener gets is whole frames in the order of the source, and its connection ends when the
//! rules say so and never otherwise.

use std::{
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::harness::{Capture, FRAME, Feeder, Listener, Mp3, Server, Setup, Source, get, numbers, until};

/// Sends as many frames as give a listener something to hear, and waits until the mount is live.
fn on_air(server: &Server, mount: &str, frames: &mut Mp3) -> (Source, Vec<u8>) {
    let mut source = Source::open(server, mount);
    let sent = frames.bytes(20_000);
    source.send(&sent);
    server.wait_for_mount(mount);
    (source, sent)
}

/// Panics unless `heard` is the end of `sent`, from the beginning of a frame on.
fn check_end_of(sent: &[u8], heard: &[u8]) {
    assert!(
        !heard.is_empty() && heard.len().is_multiple_of(FRAME),
        "{} bytes",
        heard.len()
    );
    assert!(
        sent.ends_with(heard),
        "heard {:?}\nof {:?}",
        numbers(heard),
        numbers(sent)
    );
}

fn listeners_of(server: &Server, mount: &str) -> i64 {
    server.status_of(mount).unwrap()["listeners"].as_i64().unwrap()
}

#[test]
fn a_source_that_blinks_keeps_its_listeners() {
    let server = Server::setup().set("source_grace_seconds", 60).start();
    let (source, mut sent) = on_air(&server, "/live", &mut Mp3::new('a'));
    let listener = Capture::start(&server, "/live", "");
    listener.wait_for(10_000);
    assert_eq!(
        server
            .admin("metadata?mount=/live&mode=updinfo&song=Still%20here")
            .status(),
        200
    );

    drop(source);
    server.wait_for_log("Source disconnected");
    assert_eq!(listeners_of(&server, "/live"), 1, "the mount waits");
    assert_eq!(
        Listener::open(&server, "/live", "").head.status,
        200,
        "and can be joined"
    );

    let mut again = Source::open(&server, "/live");
    let more = Mp3::new('b').bytes(30_000);
    again.send(&more);
    sent.extend(more);
    let due = sent.len();
    let heard = until("everything that was sent", || {
        let heard = listener.bytes();
        sent.ends_with(&heard).then_some(heard)
    });
    assert!(
        heard.len() > due - 20_000,
        "the connection heard both sources: {}",
        heard.len()
    );
    check_end_of(&sent, &heard);
    assert!(!listener.has_ended());
    assert_eq!(server.title_of("/live"), "Still here");
    assert_eq!(
        server.status_of("/live").unwrap()["listener_peak"],
        2,
        "counters survive"
    );
}

#[test]
fn the_end_of_a_source_is_audio() {
    for grace in [0, 1] {
        let server = Server::setup().set("source_grace_seconds", grace).start();
        let mut frames = Mp3::new('a');
        let (mut source, mut sent) = on_air(&server, "/live", &mut frames);
        let listener = Capture::start(&server, "/live", "");
        listener.wait_for(10_000);
        let last = frames.bytes(5_000);
        source.send(&last);
        sent.extend(last);
        drop(source);
        let heard = listener.wait_for_end();
        check_end_of(&sent, &heard);
        server.wait_for_no_mount("/live");
        let gone = get(server.address(), "/live", "");
        assert_eq!((gone.status(), gone.text().trim()), (404, "404 page not found"));
        let second = on_air(&server, "/live", &mut Mp3::new('b'));
        let status = server.status_of("/live").unwrap();
        assert_eq!(
            (&status["listener_peak"], &status["title"]),
            (&json!(0), &json!("")),
            "nothing survives the end"
        );
        drop(second);
    }
}

#[test]
fn listeners_are_kicked_one_by_one() {
    let server = Server::start();
    let _feeder = Feeder::start(&server, "/live", 'a');
    let _other = Feeder::start(&server, "/other", 'b');
    server.wait_for_mount("/live");
    server.wait_for_mount("/other");
    let staying = Capture::start(&server, "/other", "");
    let leaving: Vec<_> = (0..3).map(|_| Capture::start(&server, "/live", "")).collect();
    until("three listeners", || {
        (listeners_of(&server, "/live") == 3).then_some(())
    });

    let clients = server.admin("listclients?mount=/live").text();
    let ids: Vec<&str> = clients
        .split("<ID>")
        .skip(1)
        .filter_map(|rest| rest.split('<').next())
        .collect();
    assert_eq!(ids.len(), 3, "{clients}");
    let foreign = server.admin(&format!("killclient?mount=/other&id={}", ids[0]));
    assert!(
        foreign.text().contains("not found"),
        "ids count on their own mount only: {}",
        foreign.text()
    );
    for (id, left) in ids.iter().zip([2, 1, 0]) {
        let answer = server.admin(&format!("killclient?mount=/live&id={id}"));
        assert_eq!(answer.status(), 200);
        assert!(answer.text().contains(&format!(
            "<message>Client {id} removed</message><return>1</return>"
        )));
        until("its connection closed", || {
            (leaving.iter().filter(|listener| !listener.has_ended()).count() == left).then_some(())
        });
    }
    let again = server.admin(&format!("killclient?mount=/live&id={}", ids[0]));
    assert_eq!(again.status(), 200);
    assert!(again.text().contains(&format!(
        "<message>Client {} not found</message><return>0</return>",
        ids[0]
    )));
    for listener in &leaving {
        numbers(&listener.bytes());
    }
    assert_eq!(listeners_of(&server, "/live"), 0, "and the source goes on");
    staying.wait_for(staying.len() + 10_000);
}

#[test]
fn a_killed_source_leaves_at_once() {
    let server = Server::setup().set("source_grace_seconds", 60).start();
    let (mut source, sent) = on_air(&server, "/live", &mut Mp3::new('a'));
    let listener = Capture::start(&server, "/live", "");
    listener.wait_for(10_000);
    let answer = server.admin("killsource?mount=/live");
    assert!(
        answer
            .text()
            .contains("<message>Source Removed</message><return>1</return>"),
        "{}",
        answer.text()
    );
    assert!(source.wire.rest().is_empty(), "nothing is written to a source");
    check_end_of(&sent, &listener.wait_for_end());
    assert!(server.status_of("/live").is_none(), "there is no grace for it");
    assert_eq!(server.admin("killsource?mount=/live").status(), 400);
    Source::open(&server, "/live");
}

#[test]
fn a_disabled_mount_is_closed_to_both_sides() {
    let server = Server::setup()
        .set("fallback_mounts", json!({ "/backed": "/other" }))
        .start();
    let (mut source, _) = on_air(&server, "/live", &mut Mp3::new('a'));
    let (mut backed, _) = on_air(&server, "/backed", &mut Mp3::new('b'));
    let _other = Feeder::start(&server, "/other", 'c');
    server.wait_for_mount("/other");
    let listener = Capture::start(&server, "/live", "");
    let moved = Capture::start(&server, "/backed", "");
    listener.wait_for(10_000);
    moved.wait_for(10_000);

    server.edit_config(|config| config["disabled_mounts"] = json!({ "/live": true, "/backed": true }));
    assert!(server.reload());
    assert!(
        source.wire.rest().is_empty() && backed.wire.rest().is_empty(),
        "both sources are cut"
    );
    numbers(&listener.wait_for_end());
    for mount in ["/live", "/backed"] {
        let refused = get(server.address(), mount, "");
        assert_eq!(
            (refused.status(), refused.text().trim()),
            (403, "Forbidden"),
            "{mount}"
        );
        let refused = Source::try_with(&server, mount, "").err().unwrap();
        assert_eq!(
            (refused.status(), refused.text().trim()),
            (403, "Forbidden"),
            "{mount}"
        );
    }
    until("the listener with a fallback on it", || {
        numbers(&moved.bytes())
            .iter()
            .any(|(mark, _)| *mark == 'c')
            .then_some(())
    });

    server.edit_config(|config| config["disabled_mounts"] = json!({ "/live": false }));
    assert!(server.reload());
    let _back = on_air(&server, "/live", &mut Mp3::new('d'));
    assert_eq!(Listener::open(&server, "/live", "").head.status, 200);
}

fn two_mounts(setup: Setup) -> (Server, [Feeder; 2]) {
    let server = setup.start();
    let feeders = [
        Feeder::start(&server, "/a", 'a'),
        Feeder::start(&server, "/b", 'b'),
    ];
    server.wait_for_mount("/a");
    server.wait_for_mount("/b");
    (server, feeders)
}

fn check_full(server: &Server, mount: &str) {
    let full = get(server.address(), mount, "");
    assert_eq!(
        (full.status(), full.text().trim()),
        (503, "Server Full"),
        "{mount}"
    );
    assert_eq!(full.head.get("Retry-After"), Some("30"));
    assert_eq!(full.head.get("Access-Control-Allow-Origin"), Some("*"));
}

#[test]
fn the_limit_of_listeners_is_the_servers() {
    let (server, _feeders) = two_mounts(Server::setup().set("max_listeners", 10).strict_loopback());
    let mut listeners: Vec<_> = (0..10)
        .map(|index| Listener::open(&server, ["/a", "/b"][index % 2], ""))
        .collect();
    assert!(listeners.iter().all(|listener| listener.head.status == 200));
    check_full(&server, "/a");
    check_full(&server, "/b");
    let probe = format!(
        "HEAD /a HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        server.address()
    );
    let mut wire = server.connect();
    wire.send(probe);
    assert_eq!(wire.head().status, 200, "a probe is no listener");

    drop(listeners.pop());
    until("the free place", || {
        (Listener::open(&server, "/a", "").head.status == 200).then_some(())
    });
    server.edit_config(|config| config["max_listeners"] = json!(-1));
    assert!(server.reload());
    let more: Vec<_> = (0..20).map(|_| Listener::open(&server, "/a", "")).collect();
    assert!(
        more.iter().all(|listener| listener.head.status == 200),
        "negative is no limit"
    );
}

#[test]
fn a_mount_and_an_address_may_have_limits_of_their_own() {
    let setup = Server::setup().set("advanced_mounts", json!({ "/a": { "max_listeners": 2 } }));
    let (server, _feeders) = two_mounts(setup.strict_loopback());
    let _two = [
        Capture::start(&server, "/a", ""),
        Capture::start(&server, "/a", ""),
    ];
    check_full(&server, "/a");
    let _other = Capture::start(&server, "/b", "");
    let limit = server.admin("stats?mount=/a").text();
    assert!(limit.contains("<max_listeners>2</max_listeners>"), "{limit}");

    let (server, _feeders) = two_mounts(Server::setup().set("max_listeners_per_ip", 3).strict_loopback());
    let _three: Vec<_> = ["/a", "/b", "/a"]
        .iter()
        .map(|mount| Capture::start(&server, mount, ""))
        .collect();
    check_full(&server, "/b");
}

#[test]
fn those_on_the_white_list_always_fit() {
    // Loopback is on it as long as there is no proxy.
    let (server, _feeders) = two_mounts(Server::setup().set("max_listeners", 1));
    let _all: Vec<_> = (0..5).map(|_| Capture::start(&server, "/a", "")).collect();
    assert_eq!(listeners_of(&server, "/a"), 5, "they are counted all the same");
}

#[test]
fn there_may_be_a_limit_of_sources() {
    let server = Server::setup().set("max_sources", 1).start();
    let (source, _) = on_air(&server, "/a", &mut Mp3::new('a'));
    assert_eq!(Source::try_with(&server, "/b", "").err().unwrap().status(), 503);
    drop(source);
    until("the free place", || Source::try_with(&server, "/b", "").ok());
}

#[test]
fn only_one_of_two_sources_gets_the_mount() {
    let server = Server::start();
    for round in 0..8 {
        let mount = format!("/race{round}");
        let start = Arc::new(Barrier::new(2));
        let attempts = ['a', 'b'].map(|mark| {
            let (start, mount) = (Arc::clone(&start), mount.clone());
            let mut wire = server.connect();
            std::thread::spawn(move || {
                let audio = Mp3::new(mark).bytes(20_000);
                start.wait();
                // Head and audio in one go: the loser's bytes are under way when the decision is made.
                let head = format!("SOURCE {mount} HTTP/1.0\r\n{}\r\n", crate::harness::source_auth());
                wire.send([head.as_bytes(), &audio].concat());
                (mark, wire.head().status, wire)
            })
        });
        let attempts = attempts.map(|attempt| attempt.join().unwrap());
        let mut statuses = [attempts[0].1, attempts[1].1];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 403], "{mount}");
        let winner = attempts.iter().find(|attempt| attempt.1 == 200).unwrap().0;
        server.wait_for_mount(&mount);
        let listener = Capture::start(&server, &mount, "");
        let heard = numbers(&listener.wait_for(10_000));
        assert!(
            heard.iter().all(|(mark, _)| *mark == winner),
            "{mount}: {heard:?}"
        );
    }
}

#[test]
fn an_encoder_that_comes_back_replaces_its_dead_self() {
    let server = Server::start();
    let agent = "User-Agent: butt 1.40\r\nContent-Type: audio/mpeg\r\n";
    let mut old = Source::with(&server, "/live", agent);
    let sent = Mp3::new('a').bytes(20_000);
    old.send(&sent);
    let began = Instant::now();
    server.wait_for_mount("/live");
    let listener = Capture::start(&server, "/live", "");
    let busy = Source::try_with(&server, "/live", agent).err().unwrap();
    assert_eq!(
        (busy.status(), busy.text().trim()),
        (403, "Mount already has an active source")
    );
    server.wait_for_log("Source rejected: mount already has an active source");

    let mut new = until("the return after 5 s of silence", || {
        let other = Source::try_with(&server, "/live", "User-Agent: somebody else\r\n")
            .err()
            .unwrap();
        assert_eq!(other.status(), 403, "nobody else gets the mount");
        Source::try_with(&server, "/live", agent).ok()
    });
    assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(old.wire.rest().is_empty(), "the old connection is closed");
    new.send(Mp3::new('b').bytes(20_000));
    until("the new source on the air", || {
        let next = Capture::start(&server, "/live", "");
        let heard = next.wait_for(FRAME);
        numbers(&heard)
            .first()
            .is_some_and(|(mark, _)| *mark == 'b')
            .then_some(())
    });
    // Whether the old listener was kept or let go, it heard nothing but frames.
    numbers(&listener.bytes());
}

#[test]
fn the_newest_source_wins_where_that_is_wanted() {
    let server = Server::setup().set("source_takeover", true).start();
    let (mut old, _) = on_air(&server, "/live", &mut Mp3::new('a'));
    let _new = Source::with(&server, "/live", "User-Agent: another\r\n");
    assert!(old.wire.rest().is_empty());
}

#[test]
fn a_silent_source_is_given_up() {
    let server = Server::setup()
        .set("source_timeout_seconds", 2)
        .set("source_grace_seconds", 0)
        .set(
            "advanced_mounts",
            json!({ "/patient": { "source_timeout_seconds": 60 } }),
        )
        .start();
    let mut frames = Mp3::new('a');
    let (mut silent, _) = on_air(&server, "/silent", &mut frames);
    let (mut patient, _) = on_air(&server, "/patient", &mut Mp3::new('b'));
    let _talks = Feeder::start(&server, "/talks", 'c');
    let began = Instant::now();
    silent.send(frames.bytes(1_000));
    let listener = Capture::start(&server, "/silent", "");
    assert!(silent.wire.rest().is_empty());
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    numbers(&listener.wait_for_end());
    server.wait_for_no_mount("/silent");
    assert!(server.status_of("/talks").is_some() && server.status_of("/patient").is_some());
    patient.send(Mp3::new('b').bytes(1_000));
}
