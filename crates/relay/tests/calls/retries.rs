//! What fails is said, and tried again with patience.

use std::{sync::Arc, time::Duration};

use config::Relay;
use observe::Capture;
use relay::Phase;

use crate::world::{Act, OK, Server, World, heard, mp3, name, send, until};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_said_and_tried_again() {
    let elsewhere = |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\n\r\n");
    for (answer, expected) in [
        ("HTTP/1.0 401 Unauthorized\r\n\r\n".to_owned(), "401 Unauthorized"),
        ("HTTP/1.1 403 Forbidden\r\n\r\n".into(), "403 Forbidden"),
        (
            "ICY 404 Resource Not Found\r\n\r\n".into(),
            "404 Resource Not Found",
        ),
        ("HTTP/1.1 206\r\n\r\n".into(), "206 Partial Content"),
        ("invalid password\r\n".into(), "the answer is not HTTP (ADDRESS)"),
        (String::new(), "connection closed before an answer (ADDRESS)"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>".into(),
            "the upstream sends text/html, which is not a stream",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: audio/x-mpegurl\r\n\r\n#EXTM3U".into(),
            "the upstream sends audio/x-mpegurl, which is not a stream",
        ),
        (elsewhere("/up"), "more than 10 redirects"),
        (
            elsewhere("http://169.254.169.254/latest/"),
            "169.254.169.254 is a cloud metadata address (only the entry \"169.254.169.254/32\" under \
             \"outbound_allow\" permits it)",
        ),
        (
            elsewhere("http://10.0.0.1/"),
            "10.0.0.1 is a private address (to permit it, list it under \"outbound_allow\")",
        ),
    ] {
        let server = Server::start([vec![send(&answer)]]).await;
        let mut world = World::new();
        world.apply(&[server.relay("/live")]).await;
        world.until_phase("/live", Phase::Failed).await;
        let expected = expected.replace("ADDRESS", &server.address.to_string());
        assert_eq!(world.told("/live"), format!("failed: {expected}"));
        assert!(world.live("/live").is_none(), "{answer}");
        // All of it may be over the next time.
        server.play(vec![send(OK), Act::Hold]);
        let waited = world
            .pass_until("another attempt", || {
                world.state("/live").phase == Phase::Connected
            })
            .await;
        assert!(waited <= 2 * SECOND, "{answer}: {waited:?}");
        assert_eq!(
            world.told("/live"),
            format!("connected: {expected}"),
            "the last error stays"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_followed_and_the_password_stays_behind() {
    let target = Server::playing().await;
    let answer = format!("HTTP/1.1 302 Found\r\nLocation: {}\r\n\r\n", target.url("/real"));
    let server = Server::start([vec![send(answer)]]).await;
    let mut world = World::new();
    let mut relay = server.relay("/live");
    relay.password = "secret".into();
    world.apply(&[relay]).await;
    world.until_phase("/live", Phase::Connected).await;
    assert!(server.asked()[0].head.contains("Authorization"));
    let head = target.asked()[0].head.clone();
    assert!(head.starts_with("GET /real "), "{head}");
    assert!(
        !head.contains("Authorization") && head.contains("X-TinyIce-Relay: this"),
        "{head}"
    );
}

#[tokio::test(start_paused = true)]
async fn inner_addresses_are_not_called_unless_they_are_listed() {
    let server = Server::playing().await;
    let mut world = World::with_policy(&[]);
    world.apply(&[server.relay("/live")]).await;
    world.until_phase("/live", Phase::Failed).await;
    assert_eq!(
        world.told("/live"),
        "failed: 127.0.0.1 is a loopback address (to permit it, list it under \"outbound_allow\")"
    );
    assert!(server.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unusable_address_is_told_without_its_text() {
    let mut world = World::new();
    let mut relay = Relay::new("ftp://u:secret@radio.example/".into(), name("/live"));
    let log = Capture::start();
    world.apply(std::slice::from_ref(&relay)).await;
    assert_eq!(world.told("/live"), "failed: only http and https are possible");
    let lines: Vec<_> = log.records().iter().map(|record| record.json()).collect();
    assert!(
        !lines.is_empty() && lines.iter().all(|line| !line.contains("secret")),
        "{lines:?}"
    );
    // It can be corrected.
    let server = Server::playing().await;
    relay.url = server.url("/up");
    world.apply(&[relay]).await;
    world.until_phase("/live", Phase::Connected).await;
}

#[tokio::test(start_paused = true)]
async fn waits_double_up_to_a_minute_for_an_upstream_that_flaps() {
    // Each time a little audio, which proves nothing.
    let server = Server::start([vec![send(OK), send(mp3(5)), Act::Wait(5 * SECOND)]]).await;
    let mut world = World::new();
    world.apply(&[server.relay("/live")]).await;
    world
        .pass_until("nine attempts", || server.asked().len() == 9)
        .await;
    let asked = server.asked();
    for (n, full) in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
        .into_iter()
        .enumerate()
    {
        let wait = (asked[n + 1].at - asked[n].at).as_secs_f64() - 5.0;
        // A step early or late is the clock of the test.
        assert!(
            wait >= full / 2.0 - 0.5 && wait <= full + 1.0,
            "{n}: {wait} of {full}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn ten_seconds_of_data_are_proof_enough() {
    let refused = vec![send("HTTP/1.0 503 Busy\r\n\r\n")];
    let plays = vec![send(OK), Act::Repeat(mp3(40))];
    let server = Server::start([refused.clone(), refused.clone(), refused, plays]).await;
    let mut world = World::new();
    world.apply(&[server.relay("/live")]).await;
    world
        .pass_until("the connection", || {
            world.state("/live").phase == Phase::Connected
        })
        .await;
    world.pass(12 * SECOND).await;
    // A kick ends the connection like anything else.
    world.mounts.stop_source(&name("/live"), mount::Stopped::Kicked);
    world.until_phase("/live", Phase::Reconnecting).await;
    let waited = world
        .pass_until("the reconnect", || world.state("/live").phase == Phase::Connected)
        .await;
    assert!(waited <= 2 * SECOND, "{waited:?}");
    assert_eq!(world.told("/live"), "connected: ended by an administrator");
}

#[tokio::test(start_paused = true)]
async fn a_silent_upstream_is_found_in_a_minute_and_its_listeners_stay() {
    let audio = mp3(50);
    let server = Server::start([
        vec![send(OK), send(&audio), Act::Hold],
        vec![send(OK), Act::Repeat(mp3(40))],
    ])
    .await;
    let mut world = World::new();
    world.apply(&[server.relay("/live")]).await;
    world.until_phase("/live", Phase::Connected).await;
    let stream = until("audio", || world.live("/live").filter(|it| !heard(it).is_empty())).await;
    let listener = world.listener("/live");
    assert!(world.state("/live").active);
    world.pass(6 * SECOND).await;
    let state = world.state("/live");
    assert_eq!((state.phase, state.active), (Phase::Connected, false));
    let silent = world
        .pass_until("the loss", || world.state("/live").phase != Phase::Connected)
        .await;
    assert!(silent >= 53 * SECOND && silent <= 56 * SECOND, "{silent:?}");
    assert_eq!(world.told("/live"), "reconnecting: the upstream is silent");
    world
        .pass_until("the reconnect", || world.state("/live").reconnects == 1)
        .await;
    let again = world.live("/live").expect("the mount stays");
    assert!(Arc::ptr_eq(&stream, &again));
    assert_eq!(
        world
            .mounts
            .snapshot_one(&name("/live"), tokio::time::Instant::now().into_std())
            .map(|snapshot| snapshot.listeners),
        Some(1)
    );
    until("more audio", || (heard(&again).len() > audio.len()).then_some(())).await;
    drop(listener);
}

#[tokio::test(start_paused = true)]
async fn a_mount_whose_upstream_stays_away_is_removed_after_two_minutes() {
    let server = Server::start([
        vec![send(OK), send(mp3(50)), Act::Wait(15 * SECOND)],
        vec![send("HTTP/1.0 404 Not Found\r\n\r\n")],
    ])
    .await;
    let mut world = World::new();
    world.apply(&[server.relay("/live")]).await;
    world.until_phase("/live", Phase::Connected).await;
    world
        .pass_until("the loss", || world.state("/live").phase == Phase::Failed)
        .await;
    assert_eq!(world.owner("/live"), "relay-pull");
    let kept = world
        .pass_until("the end", || world.live("/live").is_none())
        .await;
    assert!(kept >= 95 * SECOND && kept <= 125 * SECOND, "{kept:?}");
    // It comes back with the next connection.
    server.play(vec![send(OK), Act::Repeat(mp3(40))]);
    let waited = world
        .pass_until("the return", || world.live("/live").is_some())
        .await;
    assert!(waited <= 61 * SECOND, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn endings_are_told_apart_and_logged_once_each() {
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (acts, expected) in [
        (vec![send(OK), send(mp3(5))], "the upstream ended the stream"),
        (
            vec![send(chunks), send("5\r\nab")],
            "the upstream cut the connection",
        ),
        (
            vec![send(chunks), send("oops\r\n")],
            "the upstream sends broken chunks",
        ),
    ] {
        let server = Server::start([acts, vec![send("HTTP/1.0 404 Not Found\r\n\r\n")]]).await;
        let mut world = World::new();
        let log = Capture::start();
        world.apply(&[server.relay("/live")]).await;
        until("the loss", || {
            (world.told("/live") == format!("reconnecting: {expected}")).then_some(())
        })
        .await;
        world
            .pass_until("many attempts", || server.asked().len() >= 7)
            .await;
        assert_eq!(world.told("/live"), "failed: 404 Not Found");
        let records = log.records();
        let told: Vec<_> = records
            .iter()
            // The world of the case before says its farewell in between.
            .filter(|record| record.name.starts_with("relay_") && record.name != "relay_stopped")
            .map(|record| {
                (
                    record.name,
                    record.field("error").and_then(|error| error.as_str()),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("relay_connected", None),
                ("relay_lost", Some(expected)),
                ("relay_failed", Some("404 Not Found")),
            ]
        );
    }
}
