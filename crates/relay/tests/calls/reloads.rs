//! A new configuration touches only what it changes.

use std::{sync::Arc, time::Duration};

use relay::Phase;

use crate::world::{Act, OK, Server, World, client, heard, name, send, until};

#[tokio::test(start_paused = true)]
async fn only_the_relay_that_changed_restarts_and_its_listeners_stay() {
    let (a, b) = (Server::playing().await, Server::playing().await);
    let mut world = World::new();
    let mut records = vec![a.relay("/a"), b.relay("/b")];
    world.apply(&records).await;
    world.until_phase("/a", Phase::Connected).await;
    world.until_phase("/b", Phase::Connected).await;
    let stream = until("audio", || world.live("/b").filter(|it| !heard(it).is_empty())).await;
    let listener = world.listener("/b");

    world.apply(&records).await;
    world.pass(Duration::from_secs(5)).await;
    assert_eq!((a.asked().len(), b.asked().len()), (1, 1), "an unchanged file");

    records[1].password = "new".into();
    world.apply(&records).await;
    world.until_phase("/b", Phase::Connected).await;
    assert_eq!((a.asked().len(), b.asked().len()), (1, 2));
    assert!(b.asked()[1].head.contains("Authorization"));
    until("the old connection's end", || (b.open() == 1).then_some(())).await;
    assert!(Arc::ptr_eq(&stream, &world.live("/b").expect("the mount stays")));
    drop(listener);

    records.reverse();
    world.apply(&records).await;
    assert_eq!(
        (a.asked().len(), b.asked().len()),
        (1, 2),
        "the order means nothing"
    );

    records.remove(0);
    world.apply(&records).await;
    assert!(world.live("/b").is_none() && world.live("/a").is_some());
    assert_eq!(world.board.states().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn new_rules_are_tried_at_once_and_cut_nobody() {
    let (a, b) = (Server::playing().await, Server::playing().await);
    let mut world = World::new();
    let records = [a.relay("/a")];
    world.apply(&records).await;
    world.until_phase("/a", Phase::Connected).await;
    // The list is shorter: what stands, stands; what comes, is refused.
    world.terms.client = client(&[]);
    let records = [records[0].clone(), b.relay("/b")];
    world.apply(&records).await;
    world.until_phase("/b", Phase::Failed).await;
    // The long wait is not waited for.
    world.pass(Duration::from_secs(300)).await;
    assert_eq!(a.asked().len(), 1);
    world.terms.client = client(&["127.0.0.1"]);
    world.apply(&records).await;
    world.until_phase("/b", Phase::Connected).await;
}

#[tokio::test(start_paused = true)]
async fn of_two_relays_for_one_mount_the_first_counts() {
    let (a, b) = (Server::playing().await, Server::playing().await);
    let mut world = World::new();
    world.apply(&[a.relay("/live"), b.relay("/live")]).await;
    world.until_phase("/live", Phase::Connected).await;
    world.pass(Duration::from_secs(5)).await;
    assert_eq!((a.asked().len(), b.asked().len()), (1, 0));
    world.apply(&[b.relay("/live")]).await;
    world.until_phase("/live", Phase::Connected).await;
    until("the old connection's end", || (a.open() == 0).then_some(())).await;
    assert_eq!(b.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restart_connects_anew_and_an_end_ends_everything() {
    let a = Server::playing().await;
    let hanging = Server::start([vec![Act::Hold]]).await;
    let refusing = Server::start([vec![send(OK)], vec![send("HTTP/1.0 404 No\r\n\r\n")]]).await;
    let mut world = World::new();
    world
        .apply(&[
            a.relay("/a"),
            hanging.relay("/hanging"),
            refusing.relay("/refusing"),
        ])
        .await;
    world.until_phase("/a", Phase::Connected).await;
    until("the request", || (hanging.asked().len() == 1).then_some(())).await;
    assert!(world.pulls.restart(&name("/a")).await);
    assert!(!world.pulls.restart(&name("/nothing")).await);
    world.until_phase("/a", Phase::Connected).await;
    assert_eq!(a.asked().len(), 2);
    // Connected, connecting and waiting: all end without any time passing.
    world.pulls.stop().await;
    until("the ends", || (a.open() + hanging.open() == 0).then_some(())).await;
    assert!(world.board.states().is_empty());
    world.pass(Duration::from_secs(100)).await;
    assert_eq!((a.asked().len(), hanging.asked().len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_of_the_mounts_ends_relays_too() {
    let a = Server::playing().await;
    let mut world = World::new();
    world.apply(&[a.relay("/a")]).await;
    world.until_phase("/a", Phase::Connected).await;
    world.mounts.stop_all(mount::Stopped::Shutdown);
    until("the connection's end", || (a.open() == 0).then_some(())).await;
    world.pass(Duration::from_secs(100)).await;
    assert_eq!(a.asked().len(), 1);
}
