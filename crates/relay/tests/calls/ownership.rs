//! A relay and other sources on one mount: never two at a time, and nobody is shut out by one that is not there.

use std::time::Duration;

use mount::Stopped;
use relay::Phase;

use crate::world::{Act, OK, Server, World, frame, heard, mp3, name, send, until};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_mount_in_use_is_waited_for_and_the_upstream_left_alone() {
    let server = Server::playing().await;
    let mut world = World::new();
    world.wait_long_for_sources();
    let mut encoder = world.encoder("/live");
    world.apply(&[server.relay("/live")]).await;
    world.until_phase("/live", Phase::Failed).await;
    assert_eq!(world.told("/live"), "failed: mount in use");
    for _ in 0..150 {
        frame(&mut encoder);
        world.pass(SECOND).await;
    }
    // It may come back, and shall not be kept out then.
    encoder.release("test");
    world.pass(60 * SECOND).await;
    assert_eq!(
        (world.owner("/live").as_str(), server.asked().len()),
        ("encoder", 0)
    );
    // When the mount is free the relay is there at once.
    world.mounts.stop_source(&name("/live"), Stopped::Silent);
    world.until_phase("/live", Phase::Connected).await;
    assert_eq!(world.owner("/live"), "relay-pull");
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_away_blocks_nobody() {
    let server = Server::start([
        vec![send(OK), send(mp3(50)), Act::Wait(SECOND)],
        vec![send("HTTP/1.0 404 Not Found\r\n\r\n")],
    ])
    .await;
    let mut world = World::new();
    world.apply(&[server.relay("/live")]).await;
    world.until_phase("/live", Phase::Connected).await;
    world
        .pass_until("the loss", || world.state("/live").phase == Phase::Failed)
        .await;
    let encoder = world.encoder("/live");
    server.play(vec![send(OK), Act::Repeat(mp3(40))]);
    world
        .pass_until("the wait", || world.told("/live") == "failed: mount in use")
        .await;
    assert_eq!(world.owner("/live"), "encoder");
    world.mounts.stop_source(&name("/live"), Stopped::Kicked);
    world.until_phase("/live", Phase::Connected).await;
    drop(encoder);
    assert_eq!(world.owner("/live"), "relay-pull");
}

#[tokio::test(start_paused = true)]
async fn an_encoder_is_refused_while_the_relay_is_connected() {
    let server = Server::playing().await;
    let mut world = World::new();
    world.apply(&[server.relay("/live")]).await;
    world.until_phase("/live", Phase::Connected).await;
    let offer = mount::Offer {
        owner: mount::Owner {
            protocol: mount::Protocol::Icecast,
            label: "encoder".into(),
            ip: None,
            user_agent: String::new(),
            account: None,
        },
        station: mount::Station::default(),
        content_type: "audio/mpeg".into(),
        format: media::Format::Mpeg,
    };
    let refused = world
        .mounts
        .claim(&name("/live"), offer, tokio::time::Instant::now().into_std());
    assert_eq!(
        refused.err(),
        Some(mount::ClaimError::Busy {
            existing: "relay-pull".into()
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_ends_takes_its_mount_along() {
    let server = Server::playing().await;
    let mut world = World::new();
    for connected in [true, false] {
        world.apply(&[server.relay("/live")]).await;
        world.until_phase("/live", Phase::Connected).await;
        until("audio", || world.live("/live").filter(|it| !heard(it).is_empty())).await;
        if !connected {
            // The mount is kept for the relay's return, and goes all the same.
            server.play(vec![send("HTTP/1.0 404 Not Found\r\n\r\n")]);
            world.pulls.restart(&name("/live")).await;
            world.until_phase("/live", Phase::Failed).await;
            assert!(world.live("/live").is_some());
        }
        let mut disabled = server.relay("/live");
        disabled.enabled = false;
        world.apply(&[disabled]).await;
        assert!(world.live("/live").is_none(), "{connected}");
        assert!(world.board.states().is_empty());
        until("the connection's end", || (server.open() == 0).then_some(())).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_encoder_on_the_mount_survives_the_end_of_a_waiting_relay() {
    let server = Server::playing().await;
    let mut world = World::new();
    let encoder = world.encoder("/live");
    world.apply(&[server.relay("/live")]).await;
    world.until_phase("/live", Phase::Failed).await;
    world.apply(&[]).await;
    assert_eq!(world.owner("/live"), "encoder");
    assert!(server.asked().is_empty());
    drop(encoder);
}

#[tokio::test(start_paused = true)]
async fn a_disabled_mount_is_not_pulled() {
    let server = Server::playing().await;
    let mut world = World::new();
    world.apply(&[server.relay("/live")]).await;
    world.until_phase("/live", Phase::Connected).await;
    let mut settings = mount::Settings::clone(&world.mounts.settings());
    settings.disabled.insert(name("/live"));
    world
        .mounts
        .apply(settings.clone(), tokio::time::Instant::now().into_std());
    world
        .pass_until("the refusal", || {
            world.told("/live") == "failed: the mount is disabled"
        })
        .await;
    let asked = server.asked().len();
    world.pass(100 * SECOND).await;
    assert_eq!(server.asked().len(), asked);
    settings.disabled.clear();
    world
        .mounts
        .apply(settings, tokio::time::Instant::now().into_std());
    world
        .pass_until("the return", || world.state("/live").phase == Phase::Connected)
        .await;
}
