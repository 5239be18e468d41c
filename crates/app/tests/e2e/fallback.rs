//! Where listeners go while their mount has no source, and when they come back.
//!
//! Contract: a move is heard as nothing but other audio: whole frames, one connection, an unbroken count of
//! metadata blocks.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::harness::{
    Capture, FRAME, Feeder, Folder, Interleaved, Listener, Mp3, Pacer, Program, Server, Source, ffmpeg, get,
    installed, numbers, until,
};

/// How long a move may take: it should be a tenth of a second, but the machine may be busy.
const AT_ONCE: Duration = Duration::from_secs(2);

const SETTLE: Duration = Duration::from_secs(2);

fn server(fallbacks: serde_json::Value) -> Server {
    Server::setup()
        .set("fallback_mounts", fallbacks)
        .set("fallback_settle_seconds", SETTLE.as_secs())
        .start()
}

/// Publishes and waits until the mount is live.
fn feed(server: &Server, mount: &str, mark: char) -> Feeder {
    let feeder = Feeder::start(server, mount, mark);
    server.wait_for_mount(mount);
    feeder
}

/// The mark of every frame, each change once.
fn marks(bytes: &[u8]) -> String {
    let mut marks: Vec<_> = numbers(bytes).into_iter().map(|(mark, _)| mark).collect();
    marks.dedup();
    marks.into_iter().collect()
}

/// Waits until a listener has heard these sources one after the other, and gives all that it heard.
fn wait_for_marks(listener: &Capture, expected: &str) -> Vec<u8> {
    until(
        &format!("sources {expected}, heard {}", marks(&listener.bytes())),
        || {
            let bytes = listener.bytes();
            let heard = marks(&bytes);
            assert!(
                !listener.has_ended() && expected.starts_with(&heard),
                "{heard} instead of {expected}"
            );
            (heard == expected).then_some(bytes)
        },
    )
}

/// Panics when frames of one source are not in order. At a move some may be left out or, by the burst, come again.
fn check_order(bytes: &[u8]) {
    let frames = numbers(bytes);
    for pair in frames.windows(2) {
        let ((mark, number), (next_mark, next)) = (pair[0], pair[1]);
        assert!(mark != next_mark || number + 1 == next, "{pair:?}");
    }
}

#[test]
fn listeners_hear_the_fallback_at_once_and_return_when_it_has_settled() {
    let server = server(json!({ "/a": "/b" }));
    let _b = feed(&server, "/b", 'b');
    let a = feed(&server, "/a", 'a');
    let listener = Capture::start(&server, "/a", "");
    assert_eq!(listener.head.get("X-Stream-Status"), Some("primary"));
    listener.wait_for(20_000);

    drop(a);
    let ended = Instant::now();
    wait_for_marks(&listener, "ab");
    assert!(ended.elapsed() < AT_ONCE, "{:?}", ended.elapsed());
    server.wait_for_log("Primary stream down, falling back");
    assert_eq!(
        server.status_of("/b").unwrap()["listeners"],
        1,
        "counted where it is fed"
    );

    let back = Instant::now();
    let _a = feed(&server, "/a", 'c');
    let fresh = Capture::start(&server, "/a", "");
    assert_eq!(
        fresh.head.get("X-Stream-Status"),
        Some("primary"),
        "who comes now needs no fallback"
    );
    let bytes = wait_for_marks(&listener, "abc");
    assert!(back.elapsed() >= SETTLE, "{:?}", back.elapsed());
    check_order(&bytes);
    server.wait_for_log("Primary stream stable, recovering from fallback");
}

#[test]
fn a_source_that_flaps_does_not_draw_listeners_back() {
    const SETTLE: Duration = Duration::from_secs(3);
    let server = Server::setup()
        .set("fallback_mounts", json!({ "/a": "/b" }))
        .set("fallback_settle_seconds", SETTLE.as_secs())
        .start();
    let _b = feed(&server, "/b", 'b');
    drop(feed(&server, "/a", 'a'));
    // The mount was live only before anybody listened.
    server.wait_for_no_mount("/a");
    let listener = Capture::start(&server, "/a", "");
    assert_eq!(listener.head.get("X-Stream-Status"), Some("fallback"));
    let began = Instant::now();
    while began.elapsed() < SETTLE + Duration::from_secs(1) {
        let up = Instant::now();
        let flap = feed(&server, "/a", 'a');
        listener.wait_for(listener.len() + 8_000);
        drop(flap);
        server.wait_for_no_mount("/a");
        assert!(
            up.elapsed() < SETTLE,
            "the machine is too slow to flap: {:?}",
            up.elapsed()
        );
    }
    assert_eq!(marks(&listener.bytes()), "b");
    check_order(&listener.bytes());
    let _steady = feed(&server, "/a", 'c');
    wait_for_marks(&listener, "bc");
}

#[test]
fn without_a_settle_time_the_return_is_at_once() {
    let server = Server::setup()
        .set("fallback_mounts", json!({ "/a": "/b" }))
        .set("fallback_settle_seconds", 0)
        .start();
    let _b = feed(&server, "/b", 'b');
    let listener = Capture::start(&server, "/a", "");
    listener.wait_for(10_000);
    let _a = feed(&server, "/a", 'a');
    let began = Instant::now();
    wait_for_marks(&listener, "ba");
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

#[test]
fn a_dead_mount_with_a_live_fallback_plays() {
    let server = server(json!({ "/a": "/b" }));
    assert_eq!(get(server.address(), "/a", "").status(), 404);
    let _b = feed(&server, "/b", 'b');
    let listener = Listener::open(&server, "/a", "");
    assert_eq!(
        (listener.head.status, listener.head.get("X-Stream-Status")),
        (200, Some("fallback"))
    );
    let mut probe = server.connect();
    probe.send("HEAD /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let head = probe.head();
    assert_eq!(
        (head.status, head.get("X-Stream-Status")),
        (200, Some("fallback"))
    );
    let playlist = get(server.address(), "/a.m3u", "");
    assert_eq!(playlist.status(), 200);
    assert!(
        playlist.text().ends_with("/a\n"),
        "the bookmark stays on the mount itself: {}",
        playlist.text()
    );
}

#[test]
fn chains_are_followed_to_the_first_live_mount() {
    let server = server(json!({ "/a": "/b", "/b": "/c", "/c": "/d" }));
    let _d = feed(&server, "/d", 'd');
    let a = feed(&server, "/a", 'a');
    let listener = Capture::start(&server, "/a", "");
    listener.wait_for(10_000);
    drop(a);
    wait_for_marks(&listener, "ad");
    let _c = feed(&server, "/c", 'c');
    wait_for_marks(&listener, "adc");
    let b = feed(&server, "/b", 'b');
    wait_for_marks(&listener, "adcb");
    drop(b);
    check_order(&wait_for_marks(&listener, "adcbc"));
}

#[test]
fn loops_are_refused_and_never_followed() {
    let server = server(json!({ "/a": "/b", "/b": "/c" }));
    for (mount, fallback) in [("/c", "/a"), ("/b", "/a"), ("/a", "/a")] {
        let answer = server.admin(&format!("fallbacks?mount={mount}&fallback={fallback}"));
        assert_eq!(answer.status(), 400, "{mount} to {fallback}: {}", answer.text());
        assert!(answer.text().contains("loop") && answer.text().contains("<return>0</return>"));
    }
    assert_eq!(
        server.config()["fallback_mounts"],
        json!({ "/a": "/b", "/b": "/c" }),
        "and nothing was saved"
    );

    // A file may hold one all the same.
    server.edit_config(|config| config["fallback_mounts"] = json!({ "/a": "/b", "/b": "/a" }));
    assert!(server.reload());
    server.wait_for_log("the fallbacks form a loop");
    assert_eq!(get(server.address(), "/a", "").status(), 404);
    let b = feed(&server, "/b", 'b');
    let listener = Capture::start(&server, "/a", "");
    listener.wait_for(10_000);
    drop(b);
    server.wait_for_log("Source disconnected");
    let _a = feed(&server, "/a", 'a');
    wait_for_marks(&listener, "ba");
}

/// ADTS frames of low complexity AAC, 44,100 Hz, stereo, valid as far as headers go.
fn adts(count: usize) -> Vec<u8> {
    const LENGTH: usize = 200;
    let mut frame = [0x55; LENGTH];
    frame[..7].copy_from_slice(&[
        0xff,
        0xf1,
        0x50,
        0x80,
        (LENGTH >> 3) as u8,
        ((LENGTH & 7) << 5) as u8 | 0x1f,
        0xfc,
    ]);
    frame.repeat(count)
}

#[test]
fn a_fallback_of_another_format_is_no_fallback_for_those_who_listen() {
    let server = server(json!({ "/a": "/b" }));
    let mut other = Source::with(&server, "/b", "Content-Type: audio/aac\r\n");
    other.send(adts(200));
    server.wait_for_mount("/b");
    let a = feed(&server, "/a", 'a');
    let listener = Capture::start(&server, "/a", "");
    listener.wait_for(10_000);
    drop(a);
    server.wait_for_log("Fallback has another format, listeners cannot be moved to it");
    other.send(adts(200));
    let fresh = Listener::open(&server, "/a", "");
    assert_eq!(
        (fresh.head.status, fresh.head.get("Content-Type")),
        (200, Some("audio/aac"))
    );

    // The connection was held for the return of something that it can play.
    let _a = feed(&server, "/a", 'c');
    check_order(&wait_for_marks(&listener, "ac"));
    assert_eq!(
        server.log_with("Fallback has another format").len(),
        1,
        "said once"
    );
}

#[test]
fn the_count_of_metadata_blocks_goes_on_over_moves() {
    let server = server(json!({ "/a": "/b" }));
    let fast = |mount: &str, mark| {
        let feeder = Feeder::run(Source::open(&server, mount), Mp3::new(mark), 8.0);
        server.wait_for_mount(mount);
        let update = format!("metadata?mount={mount}&mode=updinfo&song=Song%20of%20{mark}");
        assert_eq!(server.admin(&update).status(), 200);
        feeder
    };
    let _b = fast("/b", 'b');
    let a = fast("/a", 'a');
    let listener = Capture::start(&server, "/a", "Icy-MetaData: 1\r\n");
    let heard = || {
        let mut heard = Interleaved::new(16_000);
        heard.push(&listener.bytes());
        heard
    };
    let wait_for_title = |title: &str| {
        until(&format!("{title}, heard {:?}", heard().titles()), || {
            (heard().titles().last()? == title).then_some(())
        });
    };
    wait_for_title("Song of a");
    drop(a);
    wait_for_title("Song of b");
    let _a = fast("/a", 'c');
    wait_for_title("Song of c");
    let heard = heard();
    check_order(&heard.audio);
    assert_eq!(marks(&heard.audio), "abc");
    for (index, block) in heard.blocks.iter().enumerate() {
        assert_eq!(block.at, (index + 1) * 16_000);
    }
}

#[test]
fn who_finds_no_place_on_the_fallback_is_let_go_without_a_word() {
    let server = Server::setup()
        .set("fallback_mounts", json!({ "/a": "/b" }))
        .set("advanced_mounts", json!({ "/b": { "max_listeners": 1 } }))
        .strict_loopback()
        .start();
    let _b = feed(&server, "/b", 'b');
    let a = feed(&server, "/a", 'a');
    let listeners = [(); 2].map(|()| Capture::start(&server, "/a", ""));
    for listener in &listeners {
        listener.wait_for(10_000);
    }
    drop(a);
    let gone = until("one of them let go", || {
        listeners.iter().find(|listener| listener.has_ended())
    });
    assert_eq!(marks(&gone.bytes()), "a");
    assert_eq!(gone.len() % FRAME, 0, "the last byte is audio");
    let stays = until("the other on the fallback", || {
        listeners.iter().find(|listener| marks(&listener.bytes()) == "ab")
    });
    assert!(!stays.has_ended());
}

#[test]
fn clients_are_moved_by_hand() {
    let server = server(json!({ "/known": "/b" }));
    let _a = feed(&server, "/a", 'a');
    let _b = feed(&server, "/b", 'b');
    let listener = Capture::start(&server, "/a", "");
    listener.wait_for(10_000);
    for (query, message) in [
        ("mount=/a&destination=/a", "supplied mountpoints are identical"),
        ("mount=/a&destination=/nowhere", "No such destination"),
        ("mount=/a&destination=/known", "Destination not running"),
        ("mount=/nowhere&destination=/b", "Source does not exist"),
    ] {
        let answer = server.admin(&format!("moveclients?{query}"));
        assert_eq!(answer.status(), 400, "{query}");
        assert!(
            answer
                .text()
                .contains(&format!("<message>{message}</message><return>0</return>")),
            "{query}"
        );
    }
    let answer = server.admin("moveclients?mount=/a&destination=/b");
    assert_eq!(answer.status(), 200);
    assert!(
        answer
            .text()
            .contains("<message>Clients moved from /a to /b</message><return>1</return>")
    );
    check_order(&wait_for_marks(&listener, "ab"));
}

/// Two tones of a real encoder, one after the other, without a word from the decoder.
#[test]
fn a_decoder_does_not_notice_the_move() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let server = server(json!({ "/a": "/b" }));
    let folder = Folder::new();
    let tone = |hertz: u32| {
        let file = folder.file(&format!("{hertz}.mp3"));
        let input = format!("sine=frequency={hertz}:sample_rate=44100:duration=20");
        let encode = [
            "-f",
            "lavfi",
            "-i",
            &input,
            "-ac",
            "2",
            "-c:a",
            "libmp3lame",
            "-b:a",
            "128k",
        ];
        // The decoder of the whole capture would rightly miss the bits that a frame borrowed from the one before.
        let plain = [
            "-reservoir",
            "0",
            "-write_xing",
            "0",
            "-id3v2_version",
            "0",
            "-f",
            "mp3",
        ];
        let mut encoder = Program::start(ffmpeg(&encode).args(plain).arg(&file).stdin(Stdio::null()));
        let (status, output) = encoder.wait();
        assert!(status.success(), "{output}");
        std::fs::read(file).unwrap()
    };
    let play = |mount: &'static str, audio: Vec<u8>| {
        let source = Source::open(&server, mount);
        let stream = source.wire.try_clone();
        let stop = source.wire.try_clone();
        let thread = std::thread::spawn(move || {
            let _source = source;
            Pacer {
                rate: 32_000,
                piece: 4_000,
            }
            .write(&audio, stream);
        });
        (stop, thread)
    };
    let (stop_b, b) = play("/b", tone(880));
    let (stop_a, a) = play("/a", tone(440));
    server.wait_for_mount("/a");
    server.wait_for_mount("/b");
    let listener = Capture::start(&server, "/a", "");
    listener.wait_for(60_000);
    stop_a.shutdown(std::net::Shutdown::Both).unwrap();
    a.join().unwrap();
    let at_end = listener.len();
    listener.wait_for(at_end + 100_000);
    stop_b.shutdown(std::net::Shutdown::Both).unwrap();
    b.join().unwrap();

    let heard = folder.write("heard.mp3", listener.bytes());
    let heard = heard.to_string_lossy();
    let mut decoder = Program::start(&mut ffmpeg(&["-f", "mp3", "-i", &heard, "-f", "null", "-"]));
    let (status, output) = decoder.wait();
    assert!(status.success() && output.is_empty(), "{status}\n{output}");
    // Both tones are in it: what a filter leaves of one is far above silence.
    for hertz in [440, 880] {
        let filter = format!("bandpass=frequency={hertz}:width_type=h:width=20,volumedetect");
        let args = [
            "-nostdin",
            "-hide_banner",
            "-f",
            "mp3",
            "-i",
            &heard,
            "-af",
            &filter,
            "-f",
            "null",
            "-",
        ];
        let (_, output) = Program::start(std::process::Command::new("ffmpeg").args(args)).wait();
        let level = output
            .split_once("max_volume: ")
            .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        let level: f64 = level.unwrap_or_else(|| panic!("{output}"));
        assert!(level > -30.0, "{hertz} Hz at {level} dB");
    }
}
