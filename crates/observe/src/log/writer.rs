//! The writer thread and its queue.
//!
//! Contract: the queue is bounded and handing over never waits; lines that do not fit are counted, and the count
//! becomes a line of its own once there is room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::format::{self, Style};
use super::output::Output;
use super::{Format, OpenError, Settings};
use crate::event::Trail;
use crate::record::Record;

/// How many lines may wait for the disk.
const QUEUE: usize = 8_192;
/// Lines are collected up to this size and written at once.
const BATCH: usize = 64 * 1024;
/// Lost lines are reported at most this often: a report must not add to the congestion.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A file that could not be reopened is tried again this often: the old one may be deleted, and lines in it lost.
const REOPEN_EVERY: Duration = Duration::from_secs(10);

crate::event! {
    struct LinesDropped { dropped: u64 }
    = Warn "log_lines_dropped": "Log lines dropped: the log could not be written in time"

    struct ReopenFailed<'a> { file: std::path::Display<'a>, error: std::io::Error }
    = Error "log_reopen_failed": "Cannot reopen the log file, the old one is kept"
}

enum Message {
    Line(Arc<Record>),
    Flush(Sender<()>),
    /// Only wakes the thread, to look at the flags.
    Wake,
}

#[derive(Debug)]
pub(crate) struct Writer {
    queue: Sender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    reopen: AtomicBool,
    /// Lost lines that no line has reported yet.
    unreported: AtomicU64,
    total: &'static AtomicU64,
}

impl Shared {
    fn lose(&self, lines: u64) {
        self.unreported.fetch_add(lines, Ordering::Relaxed);
        self.total.fetch_add(lines, Ordering::Relaxed);
    }
}

impl Writer {
    pub(crate) fn start(settings: &Settings, dropped: &'static AtomicU64) -> Result<Writer, OpenError> {
        let (writer, thread) = Writer::new(settings, dropped, QUEUE)?;
        crate::thread::spawn("log-writer", move || thread.run()).map_err(|source| OpenError {
            file: settings.file.clone().unwrap_or_default(),
            source,
        })?;
        Ok(writer)
    }

    fn new(
        settings: &Settings,
        dropped: &'static AtomicU64,
        length: usize,
    ) -> Result<(Writer, WriterThread), OpenError> {
        let main = settings
            .file
            .as_deref()
            .map_or_else(|| Ok(Output::stdout()), Output::open)?;
        let auth = settings.auth_file.as_deref().map(Output::open).transpose()?;
        // What goes to a file never comes to the journal.
        let journal = settings.format == Format::Journal && main.is_stdout();
        let style = Style {
            json: settings.format == Format::Json,
            time: !journal,
            auth: false,
            colour: settings.format == Format::Text && main.wants_colour(),
            priority: journal,
        };
        let (queue, lines) = bounded(length);
        let shared = Arc::new(Shared {
            reopen: AtomicBool::new(false),
            unreported: AtomicU64::new(0),
            total: dropped,
        });
        let main = Sink {
            output: main,
            style,
            batch: Vec::new(),
        };
        let auth = auth.map(|output| Sink {
            output,
            style: Style {
                auth: true,
                time: true,
                colour: false,
                priority: false,
                ..style
            },
            batch: Vec::new(),
        });
        let thread = WriterThread {
            lines,
            shared: Arc::clone(&shared),
            main,
            auth,
            reported: None,
            again: None,
        };
        Ok((Writer { queue, shared }, thread))
    }

    pub(crate) fn submit(&self, record: Arc<Record>) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.queue.try_send(Message::Line(record))
        {
            self.shared.lose(1);
        }
    }

    pub(crate) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        // When the queue is full, the thread is awake and will see the flag.
        let _ = self.queue.try_send(Message::Wake);
    }

    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let (done, wait) = bounded(1);
        self.queue.send_deadline(Message::Flush(done), deadline).is_ok()
            && wait.recv_deadline(deadline).is_ok()
    }
}

struct WriterThread {
    lines: Receiver<Message>,
    shared: Arc<Shared>,
    main: Sink,
    auth: Option<Sink>,
    reported: Option<Instant>,
    /// When to try again to reopen the files.
    again: Option<Instant>,
}

struct Sink {
    output: Output,
    style: Style,
    batch: Vec<u8>,
}

impl Sink {
    fn add(&mut self, record: &Record) {
        self.batch
            .extend_from_slice(format::line(record, self.style).as_bytes());
        self.batch.push(b'\n');
    }

    fn write(&mut self) -> u64 {
        let lost = if self.batch.is_empty() {
            0
        } else {
            self.output.write(&self.batch)
        };
        self.batch.clear();
        lost
    }
}

impl WriterThread {
    /// Ends when the last handle is gone and the queue is written.
    fn run(mut self) {
        loop {
            match self.lines.recv_timeout(REPORT_EVERY) {
                Ok(message) => self.round(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            self.report(now);
            self.reopen_again(now);
        }
    }

    /// Takes what is queued, up to one batch, and writes it.
    fn round(&mut self, first: Message) {
        if self.shared.reopen.swap(false, Ordering::Acquire) {
            self.reopen();
        }
        let mut flushed = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(record) => match &mut self.auth {
                    Some(auth) if record.trail == Trail::Auth => auth.add(&record),
                    _ => self.main.add(&record),
                },
                Message::Flush(done) => flushed.push(done),
                Message::Wake => {}
            }
            let full = self.main.batch.len() + self.auth.as_ref().map_or(0, |auth| auth.batch.len()) >= BATCH;
            next = if full { None } else { self.lines.try_recv().ok() };
        }
        self.write();
        for done in flushed {
            let _ = done.try_send(());
        }
    }

    fn write(&mut self) {
        let lost = self.main.write() + self.auth.as_mut().map_or(0, Sink::write);
        if lost > 0 {
            self.shared.lose(lost);
        }
    }

    fn reopen(&mut self) {
        self.again = None;
        for error in self.try_reopen() {
            self.again = Some(Instant::now() + REOPEN_EVERY);
            crate::emit(ReopenFailed {
                file: error.file.display(),
                error: error.source,
            });
        }
    }

    /// Tries what failed before, without telling it once more.
    fn reopen_again(&mut self, now: Instant) {
        if self.again.is_some_and(|at| at <= now) {
            let failed = !self.try_reopen().is_empty();
            self.again = failed.then(|| now + REOPEN_EVERY);
        }
    }

    fn try_reopen(&mut self) -> Vec<OpenError> {
        let sinks = [Some(&mut self.main), self.auth.as_mut()].into_iter().flatten();
        sinks.filter_map(|sink| sink.output.reopen().err()).collect()
    }

    /// Says how many lines were lost, past the queue because that may be full.
    fn report(&mut self, now: Instant) {
        if self
            .reported
            .is_some_and(|at| now.saturating_duration_since(at) < REPORT_EVERY)
        {
            return;
        }
        let dropped = self.shared.unreported.swap(0, Ordering::Relaxed);
        if dropped == 0 {
            return;
        }
        self.reported = Some(now);
        let record = crate::event::make_record(&LinesDropped { dropped });
        self.main.add(&record);
        if self.main.write() > 0 {
            // The disk is still full: say it again later, without counting the report itself as a lost line.
            self.shared.unreported.fetch_add(dropped, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;
    use std::fs;
    use std::path::PathBuf;

    static DROPPED: AtomicU64 = AtomicU64::new(0);

    struct Folder(PathBuf);
    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("observe-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
        fn read(&self, file: &str) -> String {
            fs::read_to_string(self.0.join(file)).unwrap()
        }
    }
    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn settings(folder: &Folder) -> Settings {
        let file = |name| Some(folder.0.join(name));
        Settings {
            format: Format::Json,
            file: file("main"),
            auth_file: file("auth"),
            ..Settings::default()
        }
    }

    fn line(message: &str) -> Arc<Record> {
        Arc::new(record(message, &[]))
    }

    impl WriterThread {
        fn drain(&mut self) {
            while let Ok(message) = self.lines.try_recv() {
                self.round(message);
            }
        }
    }

    #[test]
    fn authentication_has_its_own_file() {
        let folder = Folder::new("auth");
        let (writer, mut thread) = Writer::new(&settings(&folder), &DROPPED, 8).unwrap();
        writer.submit(line("one"));
        writer.submit(Arc::new(Record {
            trail: Trail::Auth,
            ..record("two", &[])
        }));
        thread.drain();
        let (main, auth) = (folder.read("main"), folder.read("auth"));
        assert!(
            main.starts_with(r#"{"level":"INFO","#) && main.ends_with("\"msg\":\"one\"}\n"),
            "{main}"
        );
        assert!(main.contains("\"caller\":") && !main.contains("two"), "{main}");
        assert!(
            auth.starts_with(r#"{"level":"info","#) && auth.ends_with("\"msg\":\"two\"}\n"),
            "{auth}"
        );
        assert!(!auth.contains("caller"), "{auth}");
    }

    #[test]
    fn without_a_file_of_its_own_authentication_goes_to_the_main_log() {
        let folder = Folder::new("one-file");
        let settings = Settings {
            auth_file: None,
            ..settings(&folder)
        };
        let (writer, mut thread) = Writer::new(&settings, &DROPPED, 8).unwrap();
        writer.submit(Arc::new(Record {
            trail: Trail::Auth,
            ..record("two", &[])
        }));
        thread.drain();
        assert!(folder.read("main").starts_with(r#"{"level":"INFO","#));
    }

    #[test]
    fn files_have_a_time_of_their_own() {
        let folder = Folder::new("journal");
        let settings = Settings {
            format: Format::Journal,
            ..settings(&folder)
        };
        let (writer, mut thread) = Writer::new(&settings, &DROPPED, 8).unwrap();
        writer.submit(line("one"));
        thread.drain();
        let (main, auth) = (
            folder.read("main"),
            Style {
                auth: true,
                ..Style::TEXT
            },
        );
        assert!(main.starts_with("20") && main.contains("\tINFO\t"), "{main}");
        assert_eq!(thread.auth.map(|sink| sink.style), Some(auth));
        let settings = Settings {
            file: None,
            ..settings
        };
        let (_writer, thread) = Writer::new(&settings, &DROPPED, 8).unwrap();
        let on_stdout = Style {
            time: false,
            priority: true,
            ..Style::TEXT
        };
        assert_eq!(thread.main.style, on_stdout);
        assert_eq!(thread.auth.map(|sink| sink.style), Some(auth));
    }

    #[cfg(unix)]
    #[test]
    fn new_files_are_closed_to_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new("mode");
        let _writer = Writer::new(&settings(&folder), &DROPPED, 8).unwrap();
        for file in ["main", "auth"] {
            let mode = fs::metadata(folder.0.join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7117, 0, "{file} has mode {mode:o}");
        }
    }

    #[test]
    fn a_full_queue_drops_lines_and_says_so_once() {
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        let folder = Folder::new("full");
        let (writer, mut thread) = Writer::new(&settings(&folder), &DROPPED, 2).unwrap();
        for number in 0..5 {
            writer.submit(line(&format!("line {number}")));
        }
        thread.drain();
        let now = Instant::now();
        thread.report(now);
        writer.submit(line("after"));
        thread.drain();
        writer.shared.lose(1);
        thread.report(now + REPORT_EVERY / 2);
        let text = folder.read("main");
        let messages: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| format!("{} {}", line["msg"].as_str().unwrap(), line["dropped"]))
            .collect();
        let report = "Log lines dropped: the log could not be written in time 3";
        assert_eq!(messages, ["line 0 null", "line 1 null", report, "after null"]);
        assert_eq!(DROPPED.load(Ordering::Relaxed), 4);
        thread.report(now + REPORT_EVERY);
        assert!(folder.read("main").ends_with("\"dropped\":1}\n"));
    }

    #[test]
    fn files_are_reopened_after_a_rotation() {
        let folder = Folder::new("rotate");
        let (writer, mut thread) = Writer::new(&settings(&folder), &DROPPED, 8).unwrap();
        writer.submit(line("before"));
        thread.drain();
        fs::rename(folder.0.join("main"), folder.0.join("main.1")).unwrap();
        writer.reopen();
        writer.submit(line("after"));
        thread.drain();
        assert!(folder.read("main.1").contains("before"));
        assert!(folder.read("main").contains("after"));
    }

    #[test]
    fn a_removed_folder_stops_nothing() {
        let folder = Folder::new("removed");
        let (writer, mut thread) = Writer::new(&settings(&folder), &DROPPED, 8).unwrap();
        fs::remove_dir_all(&folder.0).unwrap();
        let capture = crate::Capture::start();
        writer.reopen();
        writer.submit(line("lost in the old file"));
        thread.drain();
        let names: Vec<_> = capture.records().iter().map(|record| record.name).collect();
        assert_eq!(names, ["log_reopen_failed", "log_reopen_failed"]);
        let now = Instant::now();
        thread.reopen_again(now + REOPEN_EVERY);
        assert!(thread.again.is_some() && capture.records().is_empty());
        fs::create_dir_all(&folder.0).unwrap();
        thread.reopen_again(now + REOPEN_EVERY * 3);
        assert!(thread.again.is_none());
        writer.submit(line("back"));
        thread.drain();
        assert!(folder.read("main").contains("back"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_once_there_is_room() {
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        let folder = Folder::new("full-disk");
        std::os::unix::fs::symlink("/dev/full", folder.0.join("main")).unwrap();
        let (writer, mut thread) = Writer::new(&settings(&folder), &DROPPED, 8).unwrap();
        for number in 0..3 {
            writer.submit(line(&format!("line {number}")));
        }
        thread.drain();
        let now = Instant::now();
        thread.report(now);
        assert_eq!(DROPPED.load(Ordering::Relaxed), 3);
        fs::remove_file(folder.0.join("main")).unwrap();
        writer.reopen();
        writer.submit(line("after"));
        thread.drain();
        thread.report(now + REPORT_EVERY);
        let text = folder.read("main");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(
            lines[0].contains("after") && lines[1].ends_with("\"dropped\":3}"),
            "{text}"
        );
    }

    #[test]
    fn flush_waits_for_the_file() {
        let folder = Folder::new("flush");
        let writer = Writer::start(&settings(&folder), &DROPPED).unwrap();
        for number in 0..1_000 {
            writer.submit(line(&number.to_string()));
        }
        assert!(writer.flush(Duration::from_secs(30)));
        assert_eq!(folder.read("main").lines().count(), 1_000);
    }

    #[test]
    fn flush_gives_up_in_time() {
        let folder = Folder::new("flush-stuck");
        let (writer, _thread) = Writer::new(&settings(&folder), &DROPPED, 1).unwrap();
        writer.submit(line("fills the queue"));
        assert!(!writer.flush(Duration::ZERO));
    }
}
