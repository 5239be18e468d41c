//! Players: what they get when they join late, and what they ask before.
//!
//! Contract: from its first byte on, a late listener's stream is one that a decoder has nothing to say against.

use std::{process::Command, thread, time::Duration};

use crate::harness::{
    Capture, Folder, Listener, Pacer, Program, SOURCE_PASSWORD, Server, Source, Wire, check_chains, decode,
    ffmpeg, installed, pages, until,
};

/// Sound that does not compress away.
const NOISE: &str = "anoisesrc=color=pink:amplitude=0.3:sample_rate=48000";

/// A format as an encoder sends it.
struct Format {
    mount: &'static str,
    content_type: &'static str,
    options: &'static [&'static str],
    /// What the first bytes of a listener look like.
    begins: fn(&[u8]) -> bool,
}

const FORMATS: &[Format] = &[
    Format {
        mount: "/live.mp3",
        content_type: "audio/mpeg",
        options: &["-c:a", "libmp3lame", "-b:a", "128k", "-f", "mp3"],
        begins: |bytes| bytes[0] == 0xff && bytes[1] & 0xfe == 0xfa,
    },
    Format {
        mount: "/live.aac",
        content_type: "audio/aac",
        options: &["-c:a", "aac", "-b:a", "128k", "-f", "adts"],
        begins: |bytes| bytes[0] == 0xff && bytes[1] & 0xf6 == 0xf0,
    },
    Format {
        mount: "/opus.ogg",
        content_type: "application/ogg",
        options: &["-c:a", "libopus", "-b:a", "128k", "-f", "ogg"],
        begins: |bytes| bytes.starts_with(b"OggS") && bytes[28..].starts_with(b"OpusHead"),
    },
    Format {
        mount: "/vorbis.ogg",
        content_type: "audio/ogg",
        options: &["-c:a", "libvorbis", "-b:a", "128k", "-f", "ogg"],
        begins: |bytes| bytes.starts_with(b"OggS") && bytes[28..].starts_with(b"\x01vorbis"),
    },
    Format {
        mount: "/flac.ogg",
        content_type: "audio/ogg; codecs=flac",
        options: &["-c:a", "flac", "-f", "ogg"],
        begins: |bytes| bytes.starts_with(b"OggS") && bytes[28..].starts_with(b"\x7fFLAC"),
    },
    Format {
        mount: "/live.flac",
        content_type: "audio/flac",
        options: &["-c:a", "flac", "-f", "flac"],
        begins: |bytes| bytes.starts_with(b"fLaC"),
    },
    Format {
        mount: "/live.wav",
        content_type: "audio/wav",
        options: &["-c:a", "pcm_s16le", "-f", "wav"],
        begins: |bytes| bytes.starts_with(b"RIFF\xff\xff\xff\xffWAVE"),
    },
    Format {
        mount: "/live.webm",
        content_type: "audio/webm",
        options: &[
            "-c:a",
            "libopus",
            "-b:a",
            "128k",
            "-f",
            "webm",
            "-cluster_time_limit",
            "500",
        ],
        begins: |bytes| bytes.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]),
    },
    Format {
        mount: "/live.ts",
        content_type: "video/mp2t",
        options: &["-c:a", "aac", "-b:a", "128k", "-f", "mpegts"],
        begins: |bytes| bytes[0] == 0x47 && bytes[188] == 0x47,
    },
];

/// Bytes after which the beginning of a stream is no longer in the burst of these servers.
const LATE: usize = 64_000;

fn server() -> Server {
    Server::setup()
        .set("default_burst_size", 16_384)
        .set("source_grace_seconds", 0)
        .start()
}

/// Publishes noise in real time.
fn publish(server: &Server, format: &Format) -> Program {
    let mut command = ffmpeg(&["-re", "-f", "lavfi", "-i", NOISE, "-t", "60", "-ac", "2"]);
    command
        .args(format.options)
        .args(["-flush_packets", "1", "-content_type", format.content_type])
        .arg(server.publish_url(format.mount));
    Program::start(&mut command)
}

/// Gives somebody who was there before until a stream has moved on so far that a newcomer misses the beginning.
fn wait_until_late(server: &Server, mount: &str) {
    server.wait_for_mount(mount);
    let first = Capture::start(server, mount, "");
    first.wait_for(LATE);
}

#[test]
fn every_format_decodes_for_those_who_join_late() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let server = server();
    thread::scope(|scope| {
        for format in FORMATS {
            let server = &server;
            scope.spawn(move || {
                let _encoder = publish(server, format);
                wait_until_late(server, format.mount);
                let late = Capture::start(server, format.mount, "");
                assert_eq!(late.head.get("Content-Type"), Some(format.content_type));
                let first = late.wait_for(1_000);
                assert!(
                    (format.begins)(&first),
                    "{} begins with {:02x?}",
                    format.mount,
                    &first[..64]
                );
                decode(&server.url(format.mount), 10);
            });
        }
    });
}

#[test]
fn a_late_ogg_listener_gets_streams_of_its_own_from_the_beginning_of_time() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let (server, folder) = (server(), Folder::new());
    for format in FORMATS.iter().filter(|format| format.mount.ends_with(".ogg")) {
        let mount = format.mount;
        let file = folder.file(&mount[1..]);
        let mut command = ffmpeg(&["-f", "lavfi", "-i", NOISE, "-t", "120", "-ac", "2"]);
        assert!(
            Program::start(command.args(format.options).arg(&file))
                .wait()
                .0
                .success()
        );
        let sent = std::fs::read(file).unwrap();
        let (two_minutes, rest) = sent.split_at(sent.len() * 9 / 10);
        // No encoder sends that fast, but the server cannot know.
        let mut source = Source::with(
            &server,
            mount,
            &format!("Content-Type: {}\r\n", format.content_type),
        );
        let first = Capture::start(&server, mount, "");
        let mut length = 0;
        for piece in two_minutes.chunks(64 << 10) {
            source.send(piece);
            length += piece.len();
            // In step with a listener, whom the ring must not overtake.
            until("the first listener following", || {
                (first.len() + (192 << 10) > length).then_some(())
            });
        }
        let listeners = [(); 2].map(|()| Capture::start(&server, mount, ""));
        source.send(rest);
        drop(source);
        let serials = listeners.map(|listener| {
            let got = listener.wait_for_end();
            // Numbers, checksums and first pages are checked on the way.
            let pages = pages(&got);
            assert_eq!(check_chains(&pages).len(), 1, "{mount}");
            let granules: Vec<_> = pages.iter().filter_map(|page| page.granule).collect();
            assert!(granules.is_sorted(), "{mount}: {granules:?}");
            // A player would fill what lies before the first page with silence.
            let first = granules.iter().find(|granule| **granule > 0).unwrap();
            assert!(*first <= 2 * 48_000, "{mount} begins at {first}");
            decode(&folder.write("late.ogg", got).display().to_string(), 600);
            pages[0].serial
        });
        assert_ne!(serials[0], serials[1], "{mount}");
    }
}

#[test]
fn mpg123_decodes_from_a_frame_on() {
    if !installed(&["ffmpeg", "mpg123"]) {
        return;
    }
    let server = server();
    let _encoder = publish(&server, &FORMATS[0]);
    wait_until_late(&server, "/live.mp3");
    let mut command = Command::new("mpg123");
    command
        .args(["-q", "-t", "-n", "200"])
        .arg(server.url("/live.mp3"));
    let (status, output) = Program::start(&mut command).wait();
    assert!(status.success() && output.is_empty(), "{status}\n{output}");
}

#[test]
fn a_listener_after_a_chained_change_gets_the_new_set_up() {
    if !installed(&["ffmpeg", "curl"]) {
        return;
    }
    let (server, folder) = (server(), Folder::new());
    // Different in everything that the set-up says.
    let parts = [("First", "44100", "2"), ("Second", "22050", "1")].map(|(title, rate, channels)| {
        let file = folder.file(&format!("{title}.ogg"));
        let mut command = ffmpeg(&[
            "-f",
            "lavfi",
            "-i",
            NOISE,
            "-t",
            "10",
            "-c:a",
            "libvorbis",
            "-q:a",
            "6",
        ]);
        command
            .args([
                "-ar",
                rate,
                "-ac",
                channels,
                "-metadata",
                &format!("title={title}"),
            ])
            .arg(&file);
        assert!(Program::start(&mut command).wait().0.success());
        std::fs::read(file).unwrap()
    });
    let sent = parts.concat();
    let mut command = Command::new("curl");
    command
        .args(["-sS", "-T", "-", "-H", "Content-Type: application/ogg", "-u"])
        .args([&format!("source:{SOURCE_PASSWORD}"), &server.url("/live.ogg")]);
    let (_curl, stdin) = Program::start_fed(&mut command);
    thread::scope(|scope| {
        // Faster than it plays, so that nobody has to wait for a song.
        scope.spawn(|| {
            Pacer {
                rate: 60_000,
                piece: 3_000,
            }
            .write(&sent, stdin)
        });
        server.wait_for_mount("/live.ogg");
        let from_start = Capture::start(&server, "/live.ogg", "");
        server.wait_for_title("/live.ogg", "Second");
        from_start.wait_for(parts[0].len() + 40_000);
        let late = Capture::start(&server, "/live.ogg", "");
        let late = late.wait_for_end();
        let early = from_start.wait_for_end();
        assert_eq!(
            (
                check_chains(&pages(&early)).len(),
                check_chains(&pages(&late)).len()
            ),
            (2, 1)
        );
        let set_up = pages(&late).swap_remove(0).payload;
        // The identification header of Vorbis: 7 bytes of name, 4 of version, the channels, the rate.
        assert_eq!((set_up[11], &set_up[12..16]), (1, &22_050_u32.to_le_bytes()[..]));
        decode(&folder.write("late.ogg", late).display().to_string(), 60);
    });
}

#[test]
fn curl_gets_a_stream_that_begins_with_a_frame() {
    if !installed(&["ffmpeg", "curl"]) {
        return;
    }
    let server = server();
    let _encoder = publish(&server, &FORMATS[0]);
    wait_until_late(&server, "/live.mp3");
    let folder = Folder::new();
    let file = folder.file("got.mp3");
    for (version, line) in [("--http1.1", "HTTP/1.1 200 OK"), ("--http1.0", "HTTP/1.0 200 OK")] {
        let mut command = Command::new("curl");
        command
            .args(["-sS", version, "--max-time", "1", "-D", "-", "-o"])
            .arg(&file)
            .arg(server.url("/live.mp3"));
        let (_, output) = Program::start(&mut command).wait();
        assert!(output.starts_with(line), "{output}");
        assert!((FORMATS[0].begins)(&std::fs::read(&file).unwrap()));
    }
}

#[test]
fn the_answer_to_a_listener_is_one_that_old_radios_understand() {
    let server = Server::start();
    let _source = Source::with(
        &server,
        "/live",
        "Content-Type: audio/mpeg\r\nice-name: Name\r\nice-bitrate: 128\r\n",
    );
    for (request, line) in [
        ("GET /live HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK"),
        ("GET /live HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK"),
        ("GET /live HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK"),
        (
            "GET /live HTTP/1.1\r\nHost: x\r\nRange: bytes=0-99\r\nIf-Range: x\r\n\r\n",
            "HTTP/1.1 200 OK",
        ),
        (
            "GET /live HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n",
            "HTTP/1.1 200 OK",
        ),
        (
            "GET /live?x=y HTTP/1.1\r\nHost: x\r\nAuthorization: Basic eDp5\r\n\r\n",
            "HTTP/1.1 200 OK",
        ),
        (
            "GET http://radio.example/live HTTP/1.1\r\nHost: x\r\n\r\n",
            "HTTP/1.1 200 OK",
        ),
        ("GET /live HTTP/1.0\nicy-metadata:1\n\n", "HTTP/1.0 200 OK"),
    ] {
        let mut wire = server.connect();
        // The head comes at once: there is no audio here.
        let head = wire.send(request).head();
        assert_eq!(head.line, line, "{request:?}");
        for (name, value) in [
            ("Content-Type", "audio/mpeg"),
            ("Cache-Control", "no-cache, no-store, must-revalidate"),
            ("Server", "Icecast 2.4.4 (TinyIce)"),
            ("Pragma", "no-cache"),
            ("Expires", "Mon, 26 Jul 1997 05:00:00 GMT"),
            ("X-Accel-Buffering", "no"),
            ("X-Stream-Status", "primary"),
            ("Accept-Ranges", "none"),
            ("Connection", "close"),
            ("Access-Control-Allow-Origin", "*"),
            ("icy-name", "Name"),
            ("icy-br", "128"),
            ("icy-pub", "0"),
        ] {
            assert_eq!(head.get(name), Some(value), "{request:?} {name}");
            assert!(head.spells(name), "{name} in {head:?}");
        }
        for absent in ["Transfer-Encoding", "Content-Length", "Content-Range"] {
            assert_eq!(head.get(absent), None, "{request:?}");
        }
        assert!(head.get("Date").is_some());
    }
}

#[test]
fn players_may_ask_before_they_listen() {
    let server = Server::start();
    let _source = Source::open(&server, "/live");
    let mut wire = server.connect();
    let mut ask = |request: &str| {
        wire.send(format!("{request}\r\nHost: x\r\n\r\n"));
        let head = wire.head();
        // All on one connection: an answer with a body that was not announced would be found here.
        if !request.starts_with("HEAD") {
            wire.body(&head);
        }
        head
    };
    let listener = Listener::open(&server, "/live", "Icy-MetaData: 1\r\n").head;
    let probe = ask("HEAD /live HTTP/1.1\r\nIcy-MetaData: 1");
    assert_eq!(probe.status, 200);
    for (name, value) in &listener.headers {
        if !["Date", "Connection", "X-Request-Id"].contains(&name.as_str()) {
            assert_eq!(probe.get(name), Some(value.as_str()), "HEAD has {probe:?}");
        }
    }
    assert_eq!(ask("HEAD /nobody HTTP/1.1").status, 404);
    let allowed = "GET, HEAD, PUT, SOURCE, OPTIONS";
    for target in ["*", "/live", "/nobody"] {
        let head = ask(&format!("OPTIONS {target} HTTP/1.1"));
        assert_eq!(
            (head.status, head.get("Allow")),
            (204, Some(allowed)),
            "OPTIONS {target}"
        );
    }
    for (request, status) in [
        ("DELETE /live", 405),
        ("PATCH /live", 405),
        ("POST /live", 405),
        ("BREW /live", 405),
    ] {
        let head = ask(&format!("{request} HTTP/1.1\r\nContent-Length: 0"));
        assert_eq!(
            (head.status, head.get("Allow")),
            (status, Some(allowed)),
            "{request}"
        );
    }
    // Probes are no listeners, and none of this has touched the source.
    until("the one listener gone", || {
        (server.status_of("/live").unwrap()["listeners"] == 0).then_some(())
    });
}

#[test]
fn a_browser_on_another_page_may_read_titles() {
    let server = Server::start();
    let _source = Source::open(&server, "/live");
    let preflight = |wire: &mut Wire| {
        wire.send(
            "OPTIONS /live HTTP/1.1\r\nHost: x\r\nOrigin: https://radio.example\r\n\
             Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: icy-metadata\r\n\r\n",
        );
        wire.head()
    };
    let mut wire = server.connect();
    let head = preflight(&mut wire);
    assert_eq!(head.status, 204);
    let words = |name: &str| -> Vec<String> {
        let value = head.get(name).unwrap_or_else(|| panic!("no {name} in {head:?}"));
        value.split(", ").map(str::to_lowercase).collect()
    };
    assert_eq!(head.get("Access-Control-Allow-Origin"), Some("*"));
    assert!(words("Access-Control-Allow-Methods").contains(&"get".to_owned()));
    for header in ["icy-metadata", "range"] {
        assert!(words("Access-Control-Allow-Headers").contains(&header.to_owned()));
    }
    assert_eq!(head.get("Access-Control-Max-Age"), Some("300"));
    // The same connection then carries the request, as it does in a browser.
    wire.send("GET /live HTTP/1.1\r\nHost: x\r\nOrigin: https://radio.example\r\nIcy-MetaData: 1\r\n\r\n");
    let head = wire.head();
    assert_eq!((head.status, head.get("icy-metaint")), (200, Some("16000")));
    assert_eq!(head.get("Access-Control-Allow-Origin"), Some("*"));
    let exposed = head.get("Access-Control-Expose-Headers").unwrap();
    assert!(exposed.split(", ").any(|name| name == "icy-metaint"), "{exposed}");
    assert_eq!(
        Listener::open(&server, "/nobody", "")
            .head
            .get("Access-Control-Allow-Origin"),
        Some("*")
    );
    assert!(wire.stays_silent(Duration::from_millis(50)));
}
