//! Directories learn of public mounts, and only of those.

use std::{sync::Arc, time::Duration};

use mount::{Claim, Stopped};
use observe::Capture;
use relay::{Announcing, report};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use crate::world::{Act, Server, World, client, frame, mp3, name, send, until};

const SECOND: Duration = Duration::from_secs(1);
const LISTED: &str = "HTTP/1.1 200 OK\r\nYPResponse: 1\r\nSID: 77\r\nTouchFreq: 200\r\n\r\n";
const REFUSED: &str = "HTTP/1.1 200 OK\r\nYPResponse: 0\r\nYPMessage: go away\r\n\r\n";

/// The task that reports, and what it is told.
struct Reporting {
    announcing: watch::Sender<Arc<Announcing>>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

fn announcing(directories: &[&Server], base: &str) -> Announcing {
    Announcing {
        client: client(&["127.0.0.1"]),
        directories: directories
            .iter()
            .map(|server| server.url("/cgi-bin/yp-cgi").parse().unwrap())
            .collect(),
        base: base.into(),
        page_title: "TinyIce".into(),
    }
}

impl Reporting {
    fn start(world: &World, directories: &[&Server]) -> Self {
        let announcing = watch::Sender::new(Arc::new(announcing(directories, "http://radio.example:8000")));
        let (stop, stopped) = oneshot::channel();
        let until = async move {
            let _ = stopped.await;
        };
        let task = tokio::spawn(report(Arc::clone(&world.mounts), announcing.subscribe(), until));
        Self {
            announcing,
            stop: Some(stop),
            task,
        }
    }

    fn tell(&self, announcing: Announcing) {
        self.announcing.send_replace(Arc::new(announcing));
    }

    fn stop(&mut self) {
        self.stop.take();
    }
}

/// A source that sends all the while.
async fn play(world: &World, claim: &mut Claim, seconds: u32) {
    for _ in 0..seconds {
        frame(claim);
        world.pass(SECOND).await;
    }
}

/// The posts that a directory got: seconds since the first, action and fields.
fn posts(server: &Server) -> Vec<(u64, String)> {
    let asked = server.asked();
    let first = asked.first().map(|asked| asked.at);
    asked
        .iter()
        .map(|asked| {
            let seconds = (asked.at - first.unwrap_or(asked.at)).as_millis();
            ((seconds as u64 + 500) / 1000, asked.body.clone())
        })
        .collect()
}

fn actions(server: &Server) -> Vec<String> {
    let action = |body: &String| body.split('&').next().unwrap_or_default().replace("action=", "");
    posts(server).iter().map(|(_, body)| action(body)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_public_mount_is_added_touched_and_removed() {
    let directory = Server::start([vec![send(LISTED)]]).await;
    let world = World::new();
    let _reporting = Reporting::start(&world, &[&directory]);
    let mut claim = world.encoder("/live");
    world.pass(20 * SECOND).await;
    assert!(
        directory.asked().is_empty(),
        "without data there is nothing to list"
    );
    frame(&mut claim);
    let waited = world
        .pass_until("the add", || !directory.asked().is_empty())
        .await;
    assert!(waited >= 4 * SECOND && waited <= 8 * SECOND, "{waited:?}");
    claim.stream().set_title(mount::Title::whole("A - B"));
    let listener = world.listener("/live");
    play(&world, &mut claim, 210).await;
    drop(listener);
    world.mounts.stop_source(&name("/live"), Stopped::Kicked);
    until("the removal", || (directory.asked().len() == 4).then_some(())).await;
    let posts = posts(&directory);
    let near = |seconds: u64, wanted: u64| seconds.abs_diff(wanted) <= 1;
    let add = "action=add&sn=TinyIce&genre=&cpswd=&desc=&url=&listenurl=http%3A%2F%2Fradio.example%3A8000%2Flive\
               &type=audio%2Fmpeg&stype=&b=";
    assert_eq!(posts[0].1, add);
    let touch = "action=touch&sid=77&st=A+-+B&listeners=1&max_listeners=100&stype=";
    assert_eq!(
        (posts[1].1.as_str(), near(posts[1].0, 5)),
        (touch, true),
        "{posts:?}"
    );
    assert_eq!(
        (posts[2].1.as_str(), near(posts[2].0, 205)),
        (touch, true),
        "{posts:?}"
    );
    assert_eq!(posts[3].1, "action=remove&sid=77");
    let head = directory.asked()[0].head.clone();
    assert!(head.starts_with("POST /cgi-bin/yp-cgi HTTP/1.1\r\n"), "{head}");
    for line in [
        "Content-Type: application/x-www-form-urlencoded",
        "User-Agent: Icecast 2.4.4 (TinyIce)",
    ] {
        assert!(head.lines().any(|it| it == line), "{line} in {head}");
    }
}

#[tokio::test(start_paused = true)]
async fn mounts_that_are_not_public_are_nobodys_business() {
    let directory = Server::start([vec![send(LISTED)]]).await;
    let upstream = Server::playing().await;
    let mut world = World::new();
    let _reporting = Reporting::start(&world, &[&directory]);
    // An upstream's wish to be listed is the upstream's.
    upstream.play(vec![
        send("ICY 200 OK\r\nicy-pub:1\r\n\r\n"),
        Act::Repeat(mp3(40)),
    ]);
    world.apply(&[upstream.relay("/relayed")]).await;
    let mut claim = world.encoder("/live");
    let offer = mount::Offer {
        owner: mount::Owner::clone(&claim.stream().owner()),
        station: mount::Station::default(),
        content_type: "audio/mpeg".into(),
        format: media::Format::Mpeg,
    };
    let now = Instant::now().into_std();
    let mut private = world.mounts.claim(&name("/private"), offer, now).unwrap();
    for _ in 0..30 {
        frame(&mut private);
        play(&world, &mut claim, 1).await;
    }
    assert_eq!(actions(&directory), ["add", "touch"]);
}

#[tokio::test(start_paused = true)]
async fn a_blink_of_the_source_is_no_news_and_its_successor_is() {
    let directory = Server::start([vec![send(LISTED)]]).await;
    let world = World::new();
    world.wait_long_for_sources();
    let _reporting = Reporting::start(&world, &[&directory]);
    let mut claim = world.encoder("/live");
    play(&world, &mut claim, 12).await;
    claim.release("test");
    world.pass(2 * SECOND).await;
    let mut claim = world.encoder("/live");
    play(&world, &mut claim, 12).await;
    assert_eq!(actions(&directory), ["add", "touch"]);
    world.mounts.stop_source(&name("/live"), Stopped::Kicked);
    drop(claim);
    let mut claim = world.encoder("/live");
    play(&world, &mut claim, 12).await;
    assert_eq!(actions(&directory), ["add", "touch", "remove", "add", "touch"]);
}

#[tokio::test(start_paused = true)]
async fn each_directory_has_reports_of_its_own_and_a_hanging_one_delays_nobody() {
    let hanging = Server::start([vec![Act::Hold]]).await;
    let refusing = Server::start([vec![send(REFUSED)]]).await;
    let working = Server::start([vec![send(LISTED)]]).await;
    let world = World::new();
    let log = Capture::start();
    let _reporting = Reporting::start(&world, &[&hanging, &refusing, &working]);
    let mut claim = world.encoder("/live");
    play(&world, &mut claim, 1500).await;
    assert_eq!(
        actions(&hanging),
        ["add", "add"],
        "given up after 15 s, again after 20 minutes"
    );
    assert_eq!(actions(&refusing), ["add", "add"]);
    assert_eq!(actions(&working).len(), 9, "{:?}", posts(&working));
    let address = hanging.address.ip().to_string();
    let records = log.records();
    let told: Vec<_> = records
        .iter()
        .filter(|record| record.name.starts_with("directory_"))
        .map(|record| {
            let directory = record.field("directory").and_then(|it| it.as_str());
            (
                record.name,
                directory == Some(&address),
                record.message.clone().into_owned(),
            )
        })
        .collect();
    for name in ["directory_listed", "directory_refused", "directory_failed"] {
        let lines: Vec<_> = told.iter().filter(|(it, ..)| *it == name).collect();
        assert_eq!(lines.len(), 1, "{told:?}");
    }
    assert!(
        told.iter()
            .any(|(.., message)| message == "Directory refuses: go away")
    );
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_listing_is_added_again() {
    let forgets = vec![send(
        "HTTP/1.1 200 OK\r\nYPResponse: 0\r\nYPMessage: unknown sid\r\n\r\n",
    )];
    let directory = Server::start([vec![send(LISTED)], forgets, vec![send(LISTED)]]).await;
    let world = World::new();
    let _reporting = Reporting::start(&world, &[&directory]);
    let mut claim = world.encoder("/live");
    play(&world, &mut claim, 25).await;
    assert_eq!(actions(&directory), ["add", "touch", "add", "touch"]);
}

#[tokio::test(start_paused = true)]
async fn reporting_is_switched_and_moved_by_a_reload() {
    let (old, new) = (
        Server::start([vec![send(LISTED)]]).await,
        Server::start([vec![send(LISTED)]]).await,
    );
    let world = World::new();
    let reporting = Reporting::start(&world, &[]);
    let mut claim = world.encoder("/live");
    play(&world, &mut claim, 12).await;
    assert!(old.asked().is_empty());
    reporting.tell(announcing(&[&old], "http://radio.example:8000"));
    play(&world, &mut claim, 12).await;
    assert_eq!(actions(&old), ["add", "touch"]);
    // The same again is no change.
    reporting.tell(announcing(&[&old], "http://radio.example:8000"));
    play(&world, &mut claim, 12).await;
    assert_eq!(actions(&old), ["add", "touch"]);
    reporting.tell(announcing(&[&new], "http://radio.example:8000"));
    play(&world, &mut claim, 12).await;
    assert_eq!(actions(&old), ["add", "touch", "remove"]);
    assert_eq!(actions(&new), ["add", "touch"]);
    reporting.tell(announcing(&[&new], "https://www.radio.example"));
    play(&world, &mut claim, 12).await;
    assert_eq!(actions(&new), ["add", "touch", "remove", "add", "touch"]);
    reporting.tell(announcing(&[], "https://www.radio.example"));
    play(&world, &mut claim, 2).await;
    assert_eq!(actions(&new).last().map(String::as_str), Some("remove"));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_nobody_else_can_reach_is_said_once_and_not_reported() {
    let directory = Server::start([vec![send(LISTED)]]).await;
    let world = World::new();
    let log = Capture::start();
    let reporting = Reporting::start(&world, &[]);
    let mut claim = world.encoder("/live");
    for base in [
        "http://localhost:8000",
        "http://localhost:8000",
        "http://10.0.0.1:8000",
        "",
    ] {
        reporting.tell(announcing(&[&directory], base));
        play(&world, &mut claim, 12).await;
    }
    assert!(directory.asked().is_empty());
    let records = log.records();
    let told: Vec<_> = records
        .iter()
        .filter(|record| record.name == "directory_pointless")
        .map(|record| record.message.to_string())
        .collect();
    assert_eq!(
        told,
        [
            "Directory reporting is on, but \"hostname\" or \"base_url\" is only reachable locally; directories \
             cannot list it",
            "Directory reporting is on, but directory reporting needs a public \"hostname\" or \"base_url\"",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_removes_what_is_listed_and_waits_two_seconds_at_most() {
    let directory = Server::start([vec![send(LISTED)]]).await;
    let stuck = Server::start([vec![send(LISTED)], vec![Act::Hold]]).await;
    let world = World::new();
    let mut reporting = Reporting::start(&world, &[&directory, &stuck]);
    let mut claim = world.encoder("/live");
    play(&world, &mut claim, 12).await;
    reporting.stop();
    let waited = world.pass_until("the end", || reporting.task.is_finished()).await;
    assert_eq!(actions(&directory), ["add", "touch", "remove"]);
    assert!(waited <= 3 * SECOND, "{waited:?}");
    // Nobody was waited for who had nothing to say.
    let mut reporting = Reporting::start(&world, &[&directory]);
    reporting.stop();
    until("the end", || reporting.task.is_finished().then_some(())).await;
}
