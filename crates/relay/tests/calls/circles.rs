//! No stream comes back to where it was.

use relay::Phase;

use crate::world::{Act, Server, World, mp3, name, send, until};

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_this_server_is_not_called() {
    let server = Server::playing().await;
    let mut world = World::new();
    world.terms.own.listening.push(server.address);
    world.apply(&[server.relay("/live")]).await;
    world.until_phase("/live", Phase::Failed).await;
    assert_eq!(world.told("/live"), "failed: the upstream is this server itself");
    assert!(server.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_been_here_is_refused() {
    for (answer, expected) in [
        (
            "HTTP/1.1 508 Loop Detected\r\n\r\n".to_owned(),
            "failed: the upstream relays this server's own stream",
        ),
        (
            "HTTP/1.1 200 OK\r\nX-TinyIce-Relay: other, this\r\n\r\n".into(),
            "failed: the upstream relays this server's own stream",
        ),
        (
            format!("HTTP/1.1 200 OK\r\nX-TinyIce-Relay: {}\r\n\r\n", "x, ".repeat(20)),
            "failed: the upstream relays this server's own stream",
        ),
    ] {
        let server = Server::start([vec![send(answer), send(mp3(10)), Act::Hold]]).await;
        let mut world = World::new();
        world.apply(&[server.relay("/live")]).await;
        world.until_phase("/live", Phase::Failed).await;
        assert_eq!(world.told("/live"), expected);
        assert!(world.live("/live").is_none());
        until("the connection's end", || (server.open() == 0).then_some(())).await;
    }
}

#[tokio::test(start_paused = true)]
async fn relays_of_a_relayed_stream_learn_where_it_has_been() {
    let head = "HTTP/1.1 200 OK\r\nX-TinyIce-Relay: second, first\r\n\r\n";
    let server = Server::start([vec![send(head), send(mp3(10)), Act::Hold]]).await;
    let mut world = World::new();
    world.apply(&[server.relay("/live")]).await;
    world.until_phase("/live", Phase::Connected).await;
    let chain = world.board.chain(&name("/live"));
    assert_eq!(chain.through("this"), "this, second, first");
    assert_eq!(world.board.chain(&name("/other")).through("this"), "this");
}
