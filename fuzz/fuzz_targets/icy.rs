#![no_main]

use media::icy::{Deinterleaver, Piece, StreamMeta, block, latin1_or_utf8, parse_interval};

/// Audio and texts of a stream that arrives in pushes of `size`.
fn run(interval: u8, size: usize, stream: &[u8]) -> (Vec<u8>, Vec<StreamMeta>) {
    let interval = parse_interval(&format!("{}", u32::from(interval) + 1)).expect("at least 1");
    let mut deinterleaver = Deinterleaver::new(interval);
    let (mut audio, mut texts) = (Vec::new(), Vec::new());
    for push in stream.chunks(size) {
        deinterleaver.push(push, |piece| match piece {
            Piece::Audio(bytes) => audio.extend_from_slice(bytes),
            Piece::Meta(meta) => texts.push(meta),
        });
    }
    (audio, texts)
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (size, stream) = media_fuzz::pushes(input);
    let Some((interval, stream)) = stream.split_first() else {
        return;
    };
    let split = run(*interval, size, stream);
    assert!(split.0.len() <= stream.len());
    assert_eq!(split, run(*interval, stream.len().max(1), stream));

    // Any text makes a sound block, which reads back as a title that begins alike.
    let title = latin1_or_utf8(stream);
    let block = block(&title, None);
    assert_eq!(block.len(), 1 + usize::from(block[0]) * 16);
    assert!(std::str::from_utf8(&block[1..]).is_ok());
    if !title.contains("StreamUrl='") {
        let shown: String = title
            .chars()
            .map(|it| if it.is_control() { ' ' } else { it })
            .collect();
        let read = StreamMeta::parse(&block[1..]).title.expect("there is a title");
        assert!(shown.replace("';", "’;").starts_with(&read), "{read:?}");
    }
});
