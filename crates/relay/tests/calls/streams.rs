//! What upstreams of all kinds send arrives as it was: audio to the byte, titles where they belong.

use std::sync::Arc;

use media::{Format, icy};
use relay::Phase;

use crate::world::{Act, Server, World, heard, mp3, send};

/// Audio with a block after every `interval` bytes; the nth is the nth of `titles`, all further ones are empty.
fn interleaved(audio: &[u8], interval: usize, titles: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut titles = titles.iter();
    let mut stream = Vec::new();
    for piece in audio.chunks(interval) {
        stream.extend_from_slice(piece);
        if piece.len() == interval {
            match titles.next() {
                Some((title, url)) => stream.extend_from_slice(&icy::block(title, *url)),
                None => stream.push(0),
            }
        }
    }
    stream
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut coded = Vec::new();
    for chunk in body.chunks(size) {
        coded.extend_from_slice(format!("{:x};x=y\r\n", chunk.len()).as_bytes());
        coded.extend_from_slice(chunk);
        coded.extend_from_slice(b"\r\n");
    }
    coded
}

/// Relays one upstream and waits until all of `audio` is in the ring.
async fn relayed(acts: Vec<Act>, audio: &[u8]) -> (World, Arc<mount::Stream>, Server) {
    let server = Server::start([acts]).await;
    let mut world = World::new();
    world.apply(&[server.relay("/live")]).await;
    world.until_phase("/live", Phase::Connected).await;
    // Framing holds the last frame back until the next one confirms it.
    let enough = audio.len().saturating_sub(417);
    let stream = crate::world::until("the audio", || {
        world.live("/live").filter(|stream| heard(stream).len() >= enough)
    })
    .await;
    (world, stream, server)
}

#[tokio::test(start_paused = true)]
async fn upstreams_of_all_kinds_are_passed_on_to_the_byte() {
    let audio = mp3(50);
    let titles = [("Alpha - Beta", None), ("It's; me", Some("http://site.example/"))];
    let plain = interleaved(&audio, 1000, &titles);
    for (kind, head, body) in [
        (
            "icecast",
            "HTTP/1.0 200 OK\r\nServer: Icecast 2.4.4\r\nContent-Type: audio/mpeg\r\nicy-br:128\r\nicy-pub:1\r\n\
             icy-name:Example FM\r\nicy-metaint:1000\r\n\r\n",
            plain.clone(),
        ),
        (
            "shoutcast",
            "ICY 200 OK\r\nicy-notice1:<BR>This stream requires a player<BR>\r\nicy-name:Example FM\r\nicy-br:128\r\n\
             content-type:audio/mpeg\r\nicy-metaint:1000\r\n\r\n",
            plain.clone(),
        ),
        (
            "bare line feeds",
            "ICY 200 OK\nicy-name:Example FM\nicy-br:128\nicy-metaint:1000\n\n",
            plain.clone(),
        ),
        (
            "chunks with blocks across them",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: audio/mpeg\r\nicy-name: Example FM\r\n\
             ice-bitrate: 128\r\nicy-metaint: 1000\r\n\r\n",
            chunked(&plain, 77),
        ),
    ] {
        let (world, stream, _server) = relayed(vec![send(head), send(&body), Act::Hold], &audio).await;
        let heard = heard(&stream);
        assert_eq!(heard, audio[..heard.len()], "{kind}");
        assert_eq!(stream.content_type(), "audio/mpeg", "{kind}");
        let station = stream.station();
        assert_eq!(station.name.as_deref(), Some("Example FM"), "{kind}");
        assert_eq!(station.bitrate.as_deref(), Some("128"), "{kind}");
        assert!(!station.public, "{kind}");
        let title = stream.title();
        assert_eq!(
            (title.text.as_str(), title.url.as_deref()),
            ("It's; me", Some("http://site.example/")),
            "{kind}"
        );
        assert_eq!(world.owner("/live"), "relay-pull");
        let state = world.state("/live");
        assert!(state.active && state.last_connected.is_some(), "{kind}");
        assert!(state.bytes_in as usize >= plain.len(), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn titles_are_cleared_and_charsets_guessed() {
    let audio = mp3(8);
    for (last, title) in [
        (&b"StreamTitle='';"[..], ""),
        (b"StreamTitle='Caf\xe9';", "Café"),
        (b"StreamTitle='Caf\xc3\xa9';StreamUrl='';", "Café"),
    ] {
        let mut body = interleaved(&audio[..2000], 1000, &[("before", None)]);
        body.truncate(body.len() - 1);
        let blocks = last.len().div_ceil(16);
        body.push(blocks as u8);
        body.extend_from_slice(last);
        body.resize(body.len() + blocks * 16 - last.len(), 0);
        body.extend_from_slice(&audio[2000..2900]);
        let head = "ICY 200 OK\r\nicy-metaint:1000\r\n\r\n";
        let (_world, stream, _server) =
            relayed(vec![send(head), send(&body), Act::Hold], &audio[..2900]).await;
        assert_eq!(stream.title().text, title);
    }
}

#[tokio::test(start_paused = true)]
async fn an_interval_of_nonsense_is_no_interval() {
    let audio = mp3(20);
    for interval in ["0", "-1", "1048577", "x"] {
        let head = format!("ICY 200 OK\r\nicy-metaint:{interval}\r\n\r\n");
        let (_world, stream, _server) = relayed(vec![send(head), send(&audio), Act::Hold], &audio).await;
        let heard = heard(&stream);
        assert_eq!(heard, audio[..heard.len()], "{interval}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_of_an_interval_is_not_held_back() {
    let audio = mp3(20);
    let head = "ICY 200 OK\r\nicy-metaint:16000\r\n\r\n";
    let (_world, stream, _server) = relayed(vec![send(head), send(&audio), Act::Hold], &audio).await;
    assert!(heard(&stream).len() < 16_000);
}

#[tokio::test(start_paused = true)]
async fn the_request_says_who_asks_and_for_what() {
    let server = Server::playing().await;
    let mut world = World::new();
    let mut relay = server.relay("/live");
    relay.url = server.url("/a%20b/;stream?x=y#z");
    relay.password = "secret".into();
    world.apply(&[relay]).await;
    world.until_phase("/live", Phase::Connected).await;
    let head = server.asked()[0].head.clone();
    assert_eq!(head.lines().next(), Some("GET /a%20b/;stream?x=y HTTP/1.1"));
    for line in [
        &format!("Host: {}", server.address),
        "User-Agent: TinyIce/1.0",
        "Accept: */*",
        "Icy-MetaData: 1",
        "X-TinyIce-Relay: this",
        "Authorization: Basic c291cmNlOnNlY3JldA==",
        "Connection: close",
    ] {
        assert!(head.lines().any(|it| it == line), "{line} in {head}");
    }
    assert_eq!(
        world.state("/live").url,
        format!("http://{}/a%20b/;stream?***", server.address)
    );
}

/// The CRC of Ogg (RFC 3533 section 6): polynomial 0x04c11db7, neither reflected nor inverted.
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    })
}

fn page(flags: u8, granule: u64, sequence: u32, packet: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(flags);
    page.extend(granule.to_le_bytes());
    page.extend(77_u32.to_le_bytes());
    page.extend(sequence.to_le_bytes());
    page.extend([0; 4]);
    assert!(packet.len() < 255, "one lacing value is enough here");
    page.extend([1, packet.len() as u8]);
    page.extend_from_slice(packet);
    let crc = crc(&page);
    page[22..26].copy_from_slice(&crc.to_le_bytes());
    page
}

/// An Opus stream: two header pages and `count` pages of 20 ms.
fn opus(comments: &[&str], count: u64) -> Vec<u8> {
    let mut tags = b"OpusTags\x04\0\0\0Test".to_vec();
    tags.extend((comments.len() as u32).to_le_bytes());
    for comment in comments {
        tags.extend((comment.len() as u32).to_le_bytes());
        tags.extend_from_slice(comment.as_bytes());
    }
    let mut stream = page(2, 0, 0, b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0");
    stream.extend(page(0, 0, 1, &tags));
    for n in 0..count {
        stream.extend(page(0, (n + 1) * 960, n as u32 + 2, &[0xfc, n as u8, 2, 3]));
    }
    stream
}

#[tokio::test(start_paused = true)]
async fn ogg_is_recognised_under_a_wrong_label_and_its_comments_are_the_title() {
    for label in ["application/ogg", "audio/mpeg"] {
        let head = format!("HTTP/1.0 200 OK\r\nContent-Type: {label}\r\n\r\n");
        let stream = opus(&["TITLE=Beta", "artist=Alpha"], 100);
        let acts = vec![send(head), send(&stream), Act::Hold];
        let server = Server::start([acts]).await;
        let mut world = World::new();
        world.apply(&[server.relay("/live")]).await;
        let stream = crate::world::until("the title", || {
            world
                .live("/live")
                .filter(|stream| stream.title().text == "Alpha - Beta")
        })
        .await;
        assert_eq!(
            (stream.format(), stream.content_type()),
            (Format::Ogg, "application/ogg"),
            "{label}"
        );
        let newest = crate::world::until("a page", || stream.feed().ring.newest()).await;
        let preamble = newest.preamble.clone().expect("late joiners get the header");
        assert!(preamble.bytes.starts_with(b"OggS"), "{label}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrongly_labelled_stream_goes_on_after_a_reconnect() {
    let stream = opus(&["TITLE=Beta"], 100);
    let play = |then: Act| {
        vec![
            send("ICY 200 OK\r\ncontent-type:audio/mpeg\r\n\r\n"),
            send(&stream),
            then,
        ]
    };
    let server = Server::start([
        play(Act::Wait(std::time::Duration::from_secs(20))),
        play(Act::Hold),
    ])
    .await;
    let mut world = World::new();
    world.apply(&[server.relay("/live")]).await;
    let first = crate::world::until("the stream", || {
        world
            .live("/live")
            .filter(|stream| stream.format() == Format::Ogg)
    })
    .await;
    world
        .pass_until("the reconnect", || world.state("/live").reconnects == 1)
        .await;
    let second = world.live("/live").expect("the mount stays");
    assert!(Arc::ptr_eq(&first, &second), "listeners stay");
}
