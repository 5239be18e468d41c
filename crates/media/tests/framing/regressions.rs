//! Inputs that once broke a parser. Each file in `tests/regressions/` is named `<format>-<what was wrong>`.

use std::path::Path;

use media::Format;

use super::{check_splits, cut};

#[test]
fn what_broke_once_does_not_break_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    let files = std::fs::read_dir(&folder).expect("the folder of regressions");
    for file in files {
        let path = file.expect("a directory entry").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name in UTF-8");
        let stream = std::fs::read(&path).expect("a readable file");
        match name.split('-').next() {
            Some("README.md") => {}
            Some("mpeg") => drop(check_splits(Format::Mpeg, &stream)),
            Some("adts") => drop(check_splits(Format::Adts, &stream)),
            Some("flac") => drop(check_splits(Format::Flac, &stream)),
            Some("wav") => drop(check_splits(Format::Wav, &stream)),
            Some("mpegts") => drop(check_splits(Format::MpegTs, &stream)),
            Some("ogg") => drop(cut(Format::Ogg, stream.chunks(7))),
            Some("matroska") => drop(cut(Format::Matroska, stream.chunks(7))),
            Some("sniff") => super::sniffing::check_prefixes(&stream),
            _ => panic!("{name} does not say which parser it is for"),
        }
    }
}
