//! Relays that pull only while somebody listens.

use std::time::Duration;

use config::Relay;
use relay::Phase;

use crate::world::{Act, OK, Server, World, mp3, name, send, until};

const SECOND: Duration = Duration::from_secs(1);

fn on_demand(server: &Server) -> Relay {
    let mut relay = server.relay("/live");
    relay.on_demand = true;
    relay
}

#[tokio::test(start_paused = true)]
async fn nobody_is_called_until_somebody_listens_and_for_thirty_seconds_after() {
    let server = Server::playing().await;
    let mut world = World::new();
    world.apply(&[on_demand(&server)]).await;
    world.until_phase("/live", Phase::Idle).await;
    world.pass(100 * SECOND).await;
    assert!(server.asked().is_empty());
    for round in 1..=2 {
        world.mounts.ask_for(&name("/live"));
        world.until_phase("/live", Phase::Connected).await;
        let first = world.listener("/live");
        world.pass(100 * SECOND).await;
        let second = world.listener("/live");
        drop(first);
        world.pass(100 * SECOND).await;
        assert_eq!((server.asked().len(), server.open()), (round, 1));
        drop(second);
        let kept = world
            .pass_until("the end", || world.state("/live").phase == Phase::Idle)
            .await;
        assert!(kept >= 29 * SECOND && kept <= 32 * SECOND, "{kept:?}");
        assert!(world.live("/live").is_none(), "nothing is left that looks live");
        until("the connection's end", || (server.open() == 0).then_some(())).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_who_gave_up_ends_the_attempts() {
    let server = Server::start([vec![send("HTTP/1.0 404 Not Found\r\n\r\n")]]).await;
    let mut world = World::new();
    world.apply(&[on_demand(&server)]).await;
    world.until_phase("/live", Phase::Idle).await;
    world.mounts.ask_for(&name("/live"));
    world.until_phase("/live", Phase::Failed).await;
    world.pass(10 * SECOND).await;
    world.mounts.forget_wish(&name("/live"));
    world
        .pass_until("the end", || world.state("/live").phase == Phase::Idle)
        .await;
    let asked = server.asked().len();
    world.pass(300 * SECOND).await;
    assert_eq!(server.asked().len(), asked);
    assert_eq!(world.told("/live"), "idle: 404 Not Found");
}

#[tokio::test(start_paused = true)]
async fn listeners_keep_a_relay_trying_that_lost_its_upstream() {
    let server = Server::start([
        vec![send(OK), send(mp3(50)), Act::Wait(5 * SECOND)],
        vec![send("HTTP/1.0 404 Not Found\r\n\r\n")],
        vec![send(OK), Act::Repeat(mp3(40))],
    ])
    .await;
    let mut world = World::new();
    world.apply(&[on_demand(&server)]).await;
    world.mounts.ask_for(&name("/live"));
    world.until_phase("/live", Phase::Connected).await;
    let listener = world.listener("/live");
    world
        .pass_until("the return", || world.state("/live").reconnects == 1)
        .await;
    assert_eq!(server.asked().len(), 3);
    drop(listener);
}
