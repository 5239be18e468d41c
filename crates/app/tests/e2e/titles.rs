//! Titles, from the encoder's request or the source's own blocks to the metadata between a listener's audio.
//!
//! Contract: the count of 16,000 bytes holds whatever a title contains, and the audio without the blocks is what
//! the source sent.

use std::time::Duration;

use serde_json::json;

use crate::harness::{
    Capture, FRAME, Feeder, Interleaved, Listener, Mp3, Reply, SOURCE_PASSWORD, Server, Source, basic, get,
    hash, numbers, post, source_auth, until,
};

const INTERVAL: usize = 16_000;
const ASK: &str = "Icy-MetaData: 1\r\n";

/// A mount fed far faster than it plays, so that an interval passes in a moment, and somebody who reads titles.
struct Broadcast {
    server: Server,
    _feeder: Feeder,
    listener: Capture,
}

impl Broadcast {
    fn start() -> Self {
        Self::on(Server::start(), "/live")
    }

    fn on(server: Server, mount: &str) -> Self {
        let feeder = Feeder::run(Source::open(&server, mount), Mp3::new('a'), 20.0);
        server.wait_for_mount(mount);
        let listener = Capture::start(&server, mount, ASK);
        assert_eq!(listener.head.get("icy-metaint"), Some("16000"));
        assert!(listener.head.spells("icy-metaint"), "{:?}", listener.head);
        let broadcast = Self {
            server,
            _feeder: feeder,
            listener,
        };
        assert_eq!(
            broadcast.next_title(0),
            "",
            "a mount without a title announces an empty one"
        );
        broadcast
    }

    fn update(&self, query: &str) -> Reply {
        update(
            &self.server,
            &format!("mount=/live&mode=updinfo&{query}"),
            &source_auth(),
        )
    }

    fn heard(&self) -> Interleaved {
        let mut heard = Interleaved::new(INTERVAL);
        heard.push(&self.listener.bytes());
        heard
    }

    /// Waits for one more title than there were.
    fn next_title(&self, before: usize) -> String {
        until("a title between the audio", || {
            self.heard().titles().into_iter().nth(before)
        })
    }
}

fn update(server: &Server, query: &str, headers: &str) -> Reply {
    get(server.address(), &format!("/admin/metadata?{query}"), headers)
}

/// Panics unless the audio is one unbroken row of frames and every block is where it belongs.
fn check_whole(heard: &Interleaved) {
    let frames = numbers(&heard.audio);
    assert!(
        frames.windows(2).all(|pair| pair[0].1 + 1 == pair[1].1),
        "frames are missing: {frames:?}"
    );
    for (index, block) in heard.blocks.iter().enumerate() {
        assert_eq!(block.at, (index + 1) * INTERVAL);
    }
}

fn percent(text: &[u8]) -> String {
    text.iter().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn titles_of_every_kind_arrive_between_the_audio() {
    let broadcast = Broadcast::start();
    let songs = [
        ("Artist - Title", "Artist - Title"),
        (r#"She said "yes"; it's 'fine'"#, r#"She said "yes"; it's 'fine'"#),
        ("one';two", "one’;two"),
        (
            "a';StreamUrl='http://evil.example/",
            "a’;StreamUrl='http://evil.example/",
        ),
        ("Rock 'n' Roll'", "Rock 'n' Roll'"),
        ("🎵 Ελλάδα 日本語", "🎵 Ελλάδα 日本語"),
        (r"back\slash %41 & more = less", r"back\slash %41 & more = less"),
        ("12", "12"),
    ];
    for (index, (song, expected)) in songs.into_iter().enumerate() {
        let reply = broadcast.update(&format!("song={}", percent(song.as_bytes())));
        assert_eq!(reply.status(), 200, "{reply:?}");
        assert_eq!(reply.head.get("Content-Type"), Some("text/xml; charset=utf-8"));
        assert_eq!(
            reply.text(),
            "<?xml version=\"1.0\"?>\n<iceresponse><message>Metadata update successful</message>\
             <return>1</return></iceresponse>\n"
        );
        assert_eq!(broadcast.next_title(index + 1), expected);
        assert_eq!(broadcast.server.title_of("/live"), song);
    }
    let heard = broadcast.heard();
    check_whole(&heard);
    assert_eq!(
        heard.titles().len(),
        songs.len() + 1,
        "a title that did not change is not said again"
    );
}

#[test]
fn encodings_and_parameters_that_encoders_use_are_understood() {
    let broadcast = Broadcast::start();
    let updates = [
        ("song=Caf%E9+del+Mar", "Café del Mar"),
        ("song=Caf%C3%A9", "Café"),
        ("song=%C3%A9&charset=ISO-8859-1", "Ã©"),
        ("artist=Bj%F6rk&title=J%F3ga", "Björk - Jóga"),
        ("title=Alone", "Alone"),
        ("song=a%0D%0Ab%00c%1B%7F", "abc"),
        ("song=++Trimmed++&album=x&year=1999&unknown", "Trimmed"),
        ("song=", ""),
    ];
    for (index, (query, expected)) in updates.into_iter().enumerate() {
        assert_eq!(broadcast.update(query).status(), 200, "{query}");
        assert_eq!(broadcast.next_title(index + 1), expected, "{query}");
        let status = broadcast.server.status_of("/live").unwrap();
        assert_eq!(
            status["yp_currently_playing"].as_str().unwrap_or_default(),
            expected,
            "{query}"
        );
    }
    check_whole(&broadcast.heard());
}

#[test]
fn a_title_that_is_too_long_is_cut_between_characters() {
    let broadcast = Broadcast::start();
    let long = [
        ("é".repeat(2_500), 2),
        ("🎵".repeat(1_250), 4),
        ("x".repeat(5_000), 1),
    ];
    for (index, (song, width)) in long.iter().enumerate() {
        let form = format!("mount=%2Flive&mode=updinfo&song={}", percent(song.as_bytes()));
        let reply = post(
            broadcast.server.address(),
            "/admin/metadata",
            &source_auth(),
            &form,
        );
        assert_eq!(reply.status(), 200, "{reply:?}");
        let title = broadcast.next_title(index + 1);
        assert!(song.starts_with(&title));
        // The block also holds `StreamTitle='';`.
        let room = 4_080 - 15;
        assert!(
            title.len() <= room && title.len() > room - width,
            "cut to {} bytes",
            title.len()
        );
    }
    check_whole(&broadcast.heard());
}

#[test]
fn a_link_goes_with_the_title() {
    let broadcast = Broadcast::start();
    let url = percent(b"http://example.org/it's?a=1");
    assert_eq!(broadcast.update(&format!("song=With&url={url}")).status(), 200);
    assert_eq!(broadcast.next_title(1), "With");
    let block = broadcast
        .heard()
        .blocks
        .into_iter()
        .rfind(|block| !block.text.is_empty())
        .unwrap();
    assert_eq!(
        String::from_utf8(block.text).unwrap(),
        "StreamTitle='With';StreamUrl='http://example.org/it%27s?a=1';"
    );
}

#[test]
fn a_newcomer_hears_the_current_title_first() {
    let broadcast = Broadcast::start();
    assert_eq!(broadcast.update("song=Now").status(), 200);
    broadcast.next_title(1);
    // Past the burst of a newcomer, so that nothing before the title is left to be heard.
    let past = broadcast.listener.len() + 3 * 65_536;
    broadcast.listener.wait_for(past);
    for ask in [
        "Icy-MetaData: 1\r\n",
        "icy-metadata:1\r\n",
        "ICY-METADATA:   1\r\n",
    ] {
        let newcomer = Capture::start(&broadcast.server, "/live", ask);
        let mut heard = Interleaved::new(INTERVAL);
        heard.push(&newcomer.wait_for(6 * INTERVAL));
        assert_eq!(heard.titles(), ["Now"]);
        assert_eq!(
            (heard.blocks[0].at, heard.blocks[0].title().as_deref()),
            (INTERVAL, Some("Now"))
        );
        check_whole(&heard);
    }
}

#[test]
fn blocks_come_only_to_those_who_ask_and_never_into_ogg() {
    let server = Server::start();
    let _feeder = Feeder::run(Source::open(&server, "/mp3"), Mp3::new('a'), 20.0);
    let _ogg = Source::with(&server, "/ogg", "Content-Type: application/ogg\r\n");
    let _webm = Source::with(&server, "/webm", "Content-Type: video/webm\r\n");
    server.wait_for_mount("/mp3");
    for (mount, ask) in [
        ("/mp3", ""),
        ("/mp3", "Icy-MetaData: 0\r\n"),
        ("/mp3", "Icy-MetaData: yes\r\n"),
        ("/mp3", "Icy-MetaData: 11\r\n"),
        ("/ogg", ASK),
        ("/webm", ASK),
    ] {
        let listener = Listener::open(&server, mount, ask);
        assert_eq!(listener.head.status, 200, "{mount} {ask}");
        assert_eq!(listener.head.get("icy-metaint"), None, "{mount} {ask}");
    }
    let plain = Capture::start(&server, "/mp3", "");
    let frames = numbers(&plain.wait_for(5 * INTERVAL));
    assert!(frames.windows(2).all(|pair| pair[0].1 + 1 == pair[1].1));
}

#[test]
fn a_title_belongs_to_a_place_in_the_audio() {
    let server = Server::start();
    let mut frames = Mp3::new('a');
    let mut source = Source::open(&server, "/live");
    let live = Capture::start(&server, "/live", "");
    let mut sent = 0;
    for (title, audio) in [("one", 30_000), ("two", 30_000)] {
        let reply = update(&server, &format!("mount=/live&song={title}"), &source_auth());
        assert_eq!(reply.status(), 200);
        let bytes = frames.bytes(audio);
        source.send(&bytes);
        sent += bytes.len();
        // The last frame may wait for the next one.
        live.wait_for(sent - 2 * FRAME);
    }
    // Both runs are inside the burst.
    let late = Capture::start(&server, "/live", ASK);
    let bytes = frames.bytes(20_000);
    source.send(&bytes);
    live.wait_for(sent + bytes.len() - 2 * FRAME);
    let mut heard = Interleaved::new(INTERVAL);
    heard.push(&late.wait_for(sent + bytes.len() - 2 * FRAME));
    let titles: Vec<_> = heard
        .blocks
        .iter()
        .map(|block| (block.at, block.title()))
        .collect();
    let title = |at: usize, text: &str| (at * INTERVAL, Some(text.to_owned()));
    assert_eq!(
        titles[..3],
        [title(1, "one"), title(2, "two"), (3 * INTERVAL, None)]
    );
    check_whole(&heard);
}

#[test]
fn the_count_goes_on_through_a_fallback() {
    let server = Server::setup()
        .set("fallback_mounts", json!({ "/live": "/backup" }))
        .set("source_grace_seconds", 0)
        .start();
    let backup = Feeder::run(Source::open(&server, "/backup"), Mp3::new('b'), 20.0);
    let live = Feeder::run(Source::open(&server, "/live"), Mp3::new('a'), 20.0);
    for (mount, song) in [("live", "first"), ("backup", "second")] {
        assert_eq!(
            update(&server, &format!("mount=/{mount}&song={song}"), &source_auth()).status(),
            200
        );
    }
    let listener = Capture::start(&server, "/live", ASK);
    listener.wait_for(10 * INTERVAL + 5_000);
    drop(live);
    let heard = until("the title of the fallback", || {
        let mut heard = Interleaved::new(INTERVAL);
        heard.push(&listener.bytes());
        let there = heard.titles().iter().any(|title| title == "second") && heard.blocks.len() > 20;
        there.then_some(heard)
    });
    assert_eq!(heard.titles().last().map(String::as_str), Some("second"));
    for (index, block) in heard.blocks.iter().enumerate() {
        assert_eq!(block.at, (index + 1) * INTERVAL);
    }
    // Whole frames of one, then whole frames of the other.
    let frames = numbers(&heard.audio);
    let moved = frames.iter().position(|frame| frame.0 == 'b').unwrap();
    for run in [&frames[..moved], &frames[moved..]] {
        assert!(
            run.windows(2)
                .all(|pair| pair[0].0 == pair[1].0 && pair[0].1 + 1 == pair[1].1),
            "{run:?}"
        );
    }
    drop(backup);
}

#[test]
fn titles_inside_a_source_are_taken_out_and_passed_on() {
    let server = Server::start();
    let headers = "Content-Type: audio/mpeg\r\nicy-metaint: 8000\r\n";
    let mut source = Source::with(&server, "/live", headers);
    let mut audio = Mp3::new('a').bytes(160_000);
    audio.truncate(160_000);
    let listener = Capture::start(&server, "/live", ASK);
    for (index, interval) in audio.chunks(8_000).enumerate() {
        source.send(interval);
        let text = match index {
            4 => "StreamTitle='It's; me';StreamUrl='http://example.org/';".as_bytes(),
            9 => b"StreamTitle='Caf\xe9';",
            _ => b"",
        };
        let mut block = vec![text.len().div_ceil(16) as u8];
        block.extend(text);
        block.resize(1 + 16 * usize::from(block[0]), 0);
        source.send(&block);
    }
    let mut heard = Interleaved::new(INTERVAL);
    heard.push(&listener.wait_for(160_000 - 2 * FRAME));
    check_whole(&heard);
    assert_eq!(heard.titles(), ["", "It's; me", "Café"]);
    assert_eq!(server.title_of("/live"), "Café");
}

#[test]
fn the_shoutcast_form_of_an_update_works() {
    let server = Server::start();
    let _default = Source::open(&server, "/stream");
    let _live = Source::open(&server, "/live");
    let call = |query: &str| get(server.address(), &format!("/admin.cgi?{query}"), "");
    let reply = call(&format!("mode=updinfo&pass={SOURCE_PASSWORD}&song=Old+school"));
    assert_eq!(reply.status(), 200, "{reply:?}");
    assert!(
        reply
            .head
            .get("Content-Type")
            .is_some_and(|kind| kind.starts_with("text/html")),
        "{reply:?}"
    );
    server.wait_for_title("/stream", "Old school");
    let reply = call(&format!(
        "pass={SOURCE_PASSWORD}&mode=updinfo&mount=/live&song=Other"
    ));
    assert_eq!(reply.status(), 200, "{reply:?}");
    server.wait_for_title("/live", "Other");
    for (query, status) in [
        ("mode=updinfo&pass=wrong&song=x", 401),
        ("mode=updinfo&song=x", 401),
        (
            &format!("mode=updinfo&pass={SOURCE_PASSWORD}&mount=/nobody&song=x"),
            404,
        ),
    ] {
        assert_eq!(call(query).status(), status, "{query}");
    }
    assert_eq!(server.title_of("/stream"), "Old school");
}

#[test]
fn who_may_not_change_a_title_does_not() {
    let user = |name: &str, mounts| {
        json!({
            "username": name, "password": hash("pw"), "role": "dj", "mounts": mounts,
        })
    };
    let server = Server::setup()
        .set(
            "users",
            json!({
                "owner": user("owner", json!({ "/live": hash("own-mount") })),
                "other": user("other", json!({ "/other": hash("other-mount") })),
            }),
        )
        .set(
            "advanced_mounts",
            json!({ "/advanced": { "password": hash("advanced") } }),
        )
        .start();
    let _live = {
        let mut wire = server.connect();
        wire.send(format!(
            "SOURCE /live HTTP/1.0\r\nAuthorization: {}\r\n\r\n",
            basic("source", "own-mount")
        ));
        assert_eq!(wire.head().status, 200);
        wire
    };
    let _advanced = {
        let mut wire = server.connect();
        wire.send(format!(
            "SOURCE /advanced HTTP/1.0\r\nAuthorization: {}\r\n\r\n",
            basic("", "advanced")
        ));
        assert_eq!(wire.head().status, 200);
        wire
    };
    let _default = Source::open(&server, "/default");
    let header = |user: &str, password: &str| format!("Authorization: {}\r\n", basic(user, password));
    for (mount, headers, status) in [
        ("/live", String::new(), 401),
        ("/live", header("source", "wrong"), 401),
        ("/live", source_auth(), 401),
        ("/live", header("other", "pw"), 403),
        ("/live", header("owner", "wrong"), 401),
        ("/live", header("owner", "pw"), 200),
        ("/live", header("anything", "own-mount"), 200),
        ("/advanced", header("source", "advanced"), 200),
        ("/default", source_auth(), 200),
        ("/nobody", source_auth(), 404),
    ] {
        let song = format!("{mount}-{status}");
        let reply = update(
            &server,
            &format!("mount={mount}&mode=updinfo&song={song}"),
            &headers,
        );
        assert_eq!(reply.status(), status, "{mount} {headers} {reply:?}");
        assert_eq!(server.title_of(mount) == song, status == 200, "{mount} {headers}");
        let challenge = reply.head.get("WWW-Authenticate");
        assert_eq!(
            challenge,
            (status == 401).then_some("Basic realm=\"TinyIce\""),
            "{reply:?}"
        );
    }
    assert_eq!(
        update(&server, "mode=updinfo&song=x", &source_auth()).status(),
        400
    );
    let reply = update(&server, "mount=/default&mode=other&song=x", &source_auth());
    assert!(
        reply
            .text()
            .contains("<message>No such action</message><return>0</return>"),
        "{reply:?}"
    );
}

#[test]
fn good_passwords_never_lock_an_encoder_out_and_wrong_ones_do() {
    let server = Server::setup().strict_loopback().start();
    let _live = Source::open(&server, "/live");
    for number in 0..20 {
        let reply = update(
            &server,
            &format!("mount=/live&mode=updinfo&song={number}"),
            &source_auth(),
        );
        assert_eq!(reply.status(), 200);
        // An encoder that asks first, as libshout does.
        assert_eq!(
            update(&server, "mount=/live&mode=updinfo&song=x", "").status(),
            401
        );
    }
    let wrong = format!("Authorization: {}\r\n", basic("source", "wrong"));
    for _ in 0..5 {
        assert_eq!(
            update(&server, "mount=/live&mode=updinfo&song=x", &wrong).status(),
            401
        );
    }
    // The lockout answers like a wrong password, also to the right one.
    assert_eq!(
        update(&server, "mount=/live&mode=updinfo&song=x", &source_auth()).status(),
        401
    );
    assert_eq!(server.title_of("/live"), "19");
    // Playback goes on.
    let listener = Listener::open(&server, "/live", "");
    assert_eq!(listener.head.status, 200);
    let mut wire = listener.wire;
    assert!(
        wire.stays_silent(Duration::from_millis(200)),
        "there is no audio, and nothing else is said"
    );
}
