//! Sources that send something else than they say, or not as they should.

use std::time::{Duration, Instant};

use crate::harness::{
    Capture, Folder, Listener, Mp3, Program, Server, Source, ffmpeg, installed, numbers, source_auth, until,
};

use super::Bystander;

/// Bytes without any order, the same each time.
fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

#[test]
fn a_source_without_a_pace_is_slowed_down() {
    let server = Server::start();
    let bystander = Bystander::start(&server);
    let audio = Mp3::new('f').bytes(1 << 20);
    let mut source = Source::open(&server, "/flood");
    let began = Instant::now();
    for _ in 0..48 {
        source.send(&audio);
    }
    // The kernel's buffers on the way hold 10 MB at most; the rest went at 20 MB a second.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1_200), "{took:?}");
    let line = server.wait_for_log("Source sends faster than 160 Mbit/s");
    assert!(line.contains("WARN") && line.contains("/flood"), "{line}");
    bystander.check_unharmed(&server);
}

#[test]
fn broken_chunks_end_their_source_alone() {
    let server = Server::setup().set("source_grace_seconds", 1).start();
    let bystander = Bystander::start(&server);
    let broken: [&[u8]; 9] = [
        b"xyz\r\n",
        b"-5\r\nabcde\r\n",
        b"+5\r\nabcde\r\n",
        b"0x5\r\nabcde\r\n",
        b"\r\n\r\n",
        b"FFFFFFFFFFFFFFFFF\r\nabcde",
        b"5\r\nabcdeX\r\n",
        &[b'5'; 100_000],
        &[b"5;".as_slice(), &[b'x'; 70_000]].concat(),
    ];
    let audio = Mp3::new('a').bytes(20_000);
    let on_air = broken.iter().enumerate().map(|(index, broken)| {
        let (method, mount) = (["SOURCE", "PUT"][index % 2], format!("/broken{index}"));
        let mut wire = server.connect();
        wire.send(format!(
            "{method} {mount} HTTP/1.1\r\nHost: h\r\n{}Content-Type: audio/mpeg\r\nTransfer-Encoding: chunked\r\n\r\n",
            source_auth()
        ));
        for piece in audio.chunks(1_000) {
            wire.send(chunk(piece));
        }
        server.wait_for_mount(&mount);
        let listener = Capture::start(&server, &mount, "");
        listener.wait_for(10_000);
        (mount, wire, listener, broken)
    });
    let mut ended = Vec::new();
    for (mount, mut wire, listener, broken) in on_air.collect::<Vec<_>>() {
        // The server may have had enough in the middle of this.
        let _ = wire.try_send(broken);
        let _ = wire.rest();
        ended.push((mount, listener));
    }
    for (mount, listener) in ended {
        let heard = listener.wait_for_end();
        assert!(
            !heard.is_empty() && audio.ends_with(&heard),
            "{mount}: no byte of the framing gets through"
        );
        server.wait_for_no_mount(&mount);
    }
    assert_eq!(server.log_with("\"reason\": \"bad framing\"").len(), broken.len());
    bystander.check_unharmed(&server);
}

#[test]
fn noise_reaches_nobody_whatever_it_is_called() {
    let server = Server::setup().set("source_grace_seconds", 0).start();
    let bystander = Bystander::start(&server);
    let kinds: [(&str, &[u8]); 8] = [
        ("audio/mpeg", &[0xff, 0xfb, 0x90, 0x00]),
        ("audio/aac", &[0xff, 0xf1, 0x50, 0x80, 0x19, 0x1f, 0xfc]),
        ("application/ogg", b"OggS\0\x02"),
        (
            "audio/ogg; codecs=opus",
            b"OggS\0\x02\0\0\0\0\0\0\0\0\x01\x02\x03\x04\0\0\0\0\0\0\0\0\x01\x13OpusHead",
        ),
        ("audio/flac", b"fLaC\0\0\0\x22"),
        ("audio/wav", b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0"),
        (
            "audio/webm",
            &[0x1a, 0x45, 0xdf, 0xa3, 0x9f, 0x42, 0x86, 0x81, 0x01],
        ),
        ("video/mp2t", &[0x47, 0x40, 0x00, 0x10]),
    ];
    for (index, (kind, magic)) in kinds.into_iter().enumerate() {
        // Once without and once with a beginning that looks right.
        for (half, magic) in [(0, &[][..]), (1, magic)] {
            let mount = format!("/noise{index}-{half}");
            let mut source = Source::with(&server, &mount, &format!("Content-Type: {kind}\r\n"));
            source.send(magic);
            server.wait_for_mount(&mount);
            let listener = Capture::start(&server, &mount, "");
            source.send(noise(200_000, 0x9e37_79b9_7f4a_7c15 + index as u64));
            let read = || {
                server
                    .status_of(&mount)
                    .map(|_| server.admin(&format!("stats?mount={mount}")).text())
            };
            until("all of it read", || {
                let total = read()?
                    .split_once("<total_bytes_read>")?
                    .1
                    .split('<')
                    .next()?
                    .parse::<usize>()
                    .ok()?;
                (total >= 200_000).then_some(())
            });
            drop(source);
            let heard = listener.wait_for_end();
            check_harmless(kind, &heard);
            server.wait_for_no_mount(&mount);
        }
    }
    bystander.check_unharmed(&server);
}

/// What reaches listeners of noise is nothing, or what a decoder knows as a beginning.
fn check_harmless(kind: &str, heard: &[u8]) {
    let beginning: &[u8] = match kind {
        "audio/flac" => b"fLaC",
        "audio/wav" => b"RIFF",
        "audio/webm" => &[0x1a, 0x45, 0xdf, 0xa3],
        _ => b"",
    };
    let fine = heard.is_empty() || !beginning.is_empty() && heard.starts_with(beginning);
    assert!(
        fine,
        "{kind}: {} bytes, {:02x?}…",
        heard.len(),
        &heard[..heard.len().min(64)]
    );
}

#[test]
fn noise_between_frames_is_left_out() {
    let server = Server::setup().set("source_grace_seconds", 0).start();
    let bystander = Bystander::start(&server);
    let mut source = Source::open(&server, "/live");
    let mut frames = Mp3::new('a');
    source.send(frames.bytes(10_000));
    server.wait_for_mount("/live");
    let listener = Capture::start(&server, "/live", "");
    listener.wait_for(4_000);
    for round in 0..20 {
        source.send(noise(3_000, 77 + round));
        source.send(frames.bytes(10_000));
    }
    drop(source);
    let heard = numbers(&listener.wait_for_end());
    let last = heard.last().unwrap().1;
    assert!(
        heard.windows(2).all(|pair| pair[0].1 < pair[1].1),
        "in order: {heard:?}"
    );
    // Where the noise begins or ends, a frame may be taken for noise.
    let lost = last - heard[0].1 + 1 - u32::try_from(heard.len()).unwrap();
    assert!(last > 400 && lost <= 40, "{lost} of {last} are lost");
    bystander.check_unharmed(&server);
}

/// A name, how it is encoded, what it is called, what it is, and how that begins.
type Mislabelled<'a> = (&'a str, &'a [&'a str], &'a str, &'a str, &'a [u8]);

#[test]
fn bytes_count_more_than_labels() {
    if !installed(&["ffmpeg"]) {
        return;
    }
    let server = Server::start();
    let folder = Folder::new();
    let cases: [Mislabelled<'_>; 6] = [
        (
            "opus",
            &["-c:a", "libopus", "-b:a", "96k", "-f", "ogg"],
            "audio/mpeg",
            "application/ogg",
            b"OggS",
        ),
        (
            "flac",
            &["-c:a", "flac", "-f", "flac"],
            "audio/mpeg",
            "audio/flac",
            b"fLaC",
        ),
        (
            "aac",
            &["-c:a", "aac", "-b:a", "96k", "-f", "adts"],
            "audio/mpeg",
            "audio/aac",
            &[0xff, 0xf1],
        ),
        (
            "mp3",
            &["-c:a", "libmp3lame", "-b:a", "96k", "-f", "mp3"],
            "application/ogg",
            "audio/mpeg",
            &[0xff, 0xfb],
        ),
        (
            "wav",
            &["-c:a", "pcm_s16le", "-f", "wav"],
            "audio/mpeg",
            "audio/wav",
            b"RIFF",
        ),
        (
            "webm",
            &["-c:a", "libopus", "-f", "webm"],
            "audio/mpeg",
            "audio/webm",
            &[0x1a, 0x45, 0xdf, 0xa3],
        ),
    ];
    for (name, encoding, label, kind, beginning) in cases {
        let file = folder.file(name);
        let input = [
            "-f",
            "lavfi",
            "-i",
            "anoisesrc=duration=6:amplitude=0.5:sample_rate=48000:seed=1",
            "-ac",
            "2",
        ];
        let (status, output) = Program::start(ffmpeg(&input).args(encoding).arg(&file)).wait();
        assert!(status.success(), "{output}");
        let mount = format!("/{name}");
        let mut source = Source::with(&server, &mount, &format!("Content-Type: {label}\r\n"));
        source.send(std::fs::read(file).unwrap());
        until(&format!("{name} seen for what it is"), || {
            (server.status_of(&mount)?["server_type"] == kind).then_some(())
        });
        let warned = server.wait_for_log("Source labels its stream wrongly, serving what the bytes are");
        assert!(!warned.is_empty());
        let mut listener = Listener::open(&server, &mount, "");
        assert_eq!(
            (listener.head.status, listener.head.get("Content-Type")),
            (200, Some(kind)),
            "{name}"
        );
        let heard = listener.wire.exact(beginning.len());
        assert_eq!(heard, beginning, "{name}");
    }
    assert_eq!(
        server.log_with("Source labels its stream wrongly").len(),
        cases.len(),
        "said once each"
    );
}

#[test]
fn a_source_may_be_slow() {
    let server = Server::start();
    let bystander = Bystander::start(&server);
    let audio = Mp3::new('a').bytes(10_000);
    let mut source = Source::open(&server, "/slow");
    server.wait_for_mount("/slow");
    let listener = Capture::start(&server, "/slow", "");
    for byte in &audio[..5] {
        source.send([*byte]);
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(server.status_of("/slow").is_some() && !listener.has_ended());
    for piece in audio[5..].chunks(7) {
        source.send(piece);
    }
    // The last frame is only certain when the next one comes.
    let heard = listener.wait_for(audio.len() - 417);
    assert!(audio.starts_with(&heard), "cut differently, but the same");
    bystander.check_unharmed(&server);
}
