//! A panic leaves the events before it on disk, once a directory is set. A process of its own, because the directory
//! and the once-a-minute limit are the process's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn lines(folder: &Folder) -> Vec<Vec<serde_json::Value>> {
    let files = std::fs::read_dir(&folder.0).unwrap();
    let text =
        |file: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(file.unwrap().path()).unwrap();
    let line = |line: &str| serde_json::from_str(line).ok();
    files
        .map(text)
        .map(|text| text.lines().filter_map(line).collect())
        .collect()
}

#[test]
fn a_panic_is_written_once_a_minute_and_only_when_a_directory_is_set() {
    let folder = Folder(std::env::temp_dir().join(format!("observe-panic-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let panic = |message: &'static str| {
        let thread = observe::thread::spawn("planted", move || panic!("{message}")).unwrap();
        assert!(thread.join().is_err());
    };
    panic("before");
    assert!(lines(&folder).is_empty());
    observe::record::set_directory(Some(folder.0.clone()));
    panic("planted one");
    // It is written by a thread of its own, complete when that has told of it.
    while !observe::recent()
        .iter()
        .any(|record| record.name == "flight_recorder_written")
    {
        std::thread::yield_now();
    }
    panic("planted two");
    let files = lines(&folder);
    assert_eq!(files.len(), 1);
    assert_eq!(files[0][0]["reason"], "panic");
    let panics: Vec<_> = files[0]
        .iter()
        .filter_map(|line| line["error"].as_str())
        .collect();
    assert_eq!(panics, ["before", "planted one"]);
    assert_eq!(observe::task::panic_count(), 3);
}
