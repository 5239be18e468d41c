//! The flight recorder on disk: what happened before something went wrong, for whoever comes later.
//!
//! Contract: by itself it writes at most once a minute, and never on a thread that serves somebody.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use super::recent;

/// Files that are kept in a directory.
const KEPT: usize = 5;
/// The least time between two files that nobody asked for.
const EVERY: Duration = Duration::from_secs(60);
const PREFIX: &str = "flight-";
const SUFFIX: &str = ".jsonl";

crate::event! {
    struct Header<'a> { reason: &'a str, process: u32 => "pid", events: usize }
    = Info "flight_record": "Flight recorder"

    struct Written<'a> { file: std::path::Display<'a>, reason: &'a str }
    = Warn "flight_recorder_written": "The last events before this are in a file"

    struct NotWritten<'a> { directory: std::path::Display<'a>, error: io::Error }
    = Warn "flight_recorder_failed": "The flight recorder could not be written"
}

/// Where the flight recorder goes when something goes wrong; nowhere until this is called.
pub fn set_directory(directory: Option<PathBuf>) {
    DIRECTORY.store(directory.map(Arc::new));
}

static DIRECTORY: ArcSwapOption<PathBuf> = ArcSwapOption::const_empty();

/// Writes the events that are remembered as lines of JSON, as in the log, the reason first. The file is for its owner
/// alone, and the newest five in the directory are kept.
///
/// # Errors
///
/// What the system says.
pub fn write_to(directory: &Path, reason: &str) -> io::Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ").to_string();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let path = directory.join(format!("{PREFIX}{time}-{process}-{count}{SUFFIX}"));
    let mut file = BufWriter::new(create(&path)?);
    let events = recent();
    let header = crate::event::make_record(&Header {
        reason,
        process,
        events: events.len(),
    });
    writeln!(file, "{}", header.json())?;
    for event in events {
        writeln!(file, "{}", event.json())?;
    }
    file.flush()?;
    prune(directory)?;
    Ok(path)
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn prune(directory: &Path) -> io::Result<()> {
    let mut names: Vec<_> = fs::read_dir(directory)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
        .collect();
    // The time is the first part of a name, so this is the order in which they were written.
    names.sort_unstable();
    let surplus = names.len().saturating_sub(KEPT);
    for name in &names[..surplus] {
        fs::remove_file(directory.join(name))?;
    }
    Ok(())
}

/// Writes it into the directory that was set, on this thread, unless that was done less than a minute ago.
pub(crate) fn write_now(reason: &str) {
    if let Some(directory) = DIRECTORY.load_full()
        && due()
    {
        write_and_tell(&directory, reason);
    }
}

/// Like [`write_now`], on a thread of its own.
pub(crate) fn write_soon(reason: &'static str) {
    if let Some(directory) = DIRECTORY.load_full()
        && due()
    {
        let write = move || write_and_tell(&directory, reason);
        // Without a thread there is no file; the events are still in memory.
        let _ = crate::thread::spawn("flight-recorder", write);
    }
}

fn write_and_tell(directory: &Path, reason: &str) {
    match write_to(directory, reason) {
        Ok(file) => crate::emit(Written {
            file: file.display(),
            reason,
        }),
        Err(error) => crate::emit(NotWritten {
            directory: directory.display(),
            error,
        }),
    }
}

fn due() -> bool {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    static LIMIT: Limit = Limit(AtomicU64::new(0));
    LIMIT.permit(START.elapsed())
}

/// The second of the last file plus one, 0 for none.
struct Limit(AtomicU64);

impl Limit {
    fn permit(&self, now: Duration) -> bool {
        let now = now.as_secs() + 1;
        let permit = |last: u64| (last == 0 || now - last.min(now) >= EVERY.as_secs()).then_some(now);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, permit)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);
    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("observe-flight-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }
    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_file_has_the_reason_and_the_events() {
        crate::event! { struct Before { note: &'static str } = Info "test_before": "Before" }
        crate::emit(Before {
            note: "line one\nline two",
        });
        let folder = Folder::new("content");
        let path = write_to(&folder.0, "a \"planted\" reason").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["reason"], "a \"planted\" reason");
        assert_eq!(lines[0]["events"], lines.len() - 1);
        assert!(lines.iter().any(|line| line["note"] == "line one\nline two"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn the_newest_five_are_kept_and_nothing_else_is_touched() {
        let folder = Folder::new("kept");
        fs::write(folder.0.join("flight-plan.txt"), "mine").unwrap();
        let written: Vec<_> = (0..8).map(|_| write_to(&folder.0, "again").unwrap()).collect();
        let newest = written[3..]
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        let mut expected: Vec<_> = newest.chain(["flight-plan.txt".to_owned()]).collect();
        expected.sort();
        assert_eq!(folder.names(), expected);
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let missing = std::env::temp_dir().join("observe-flight-no-such-folder");
        assert_eq!(
            write_to(&missing, "lost").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn once_a_minute_is_enough() {
        let limit = Limit(AtomicU64::new(0));
        let steps = [
            (0, true),
            (1, false),
            (59, false),
            (60, true),
            (100, false),
            (500, true),
        ];
        for (second, expected) in steps {
            assert_eq!(
                limit.permit(Duration::from_secs(second)),
                expected,
                "at {second} s"
            );
        }
    }
}
