#![no_main]

use icecast::{metadata::MetadataUpdate, shoutcast::Handshake};

// What encoders send beside audio: titles in any charset, and the handshake of the old protocol.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (size, input) = media_fuzz::pushes(input);
    let half = input.len() / 2;
    if let Ok(update) = MetadataUpdate::parse(&input[..half], &input[half..])
        && let Some(title) = update.title
    {
        assert!(!title.song.chars().any(char::is_control));
    }
    let mut handshake = Handshake::new();
    for push in input.chunks(size) {
        if handshake.input(push).is_err() {
            return;
        }
        // Whatever the password was, take it: the header lines are parsed too.
        if handshake.accept().is_err() {
            return;
        }
    }
});
