//! Other programs: encoders, players, proxies.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read, Write},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use observe::Mutex;
use rustix::process::{Pid, Signal, kill_process};

use super::until;

/// Whether all of these are installed. Where one is not, says so; in CI that is a failure, because a suite that
/// skips everything is green too.
pub(crate) fn installed(programs: &[&str]) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&folders).collect();
    folders.push("/usr/sbin".into());
    for program in programs {
        if !folders.iter().any(|folder| folder.join(program).is_file()) {
            assert!(std::env::var_os("CI").is_none(), "{program} is not installed");
            println!("skipped: {program} is not installed");
            return false;
        }
    }
    true
}

/// A child process. Dropping it kills it.
pub(crate) struct Program {
    name: String,
    child: Child,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Program {
    /// Starts a command whose output is collected. Its standard input is empty unless the command says otherwise.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::spawn(command.stdin(Stdio::null()))
    }

    /// Starts a command whose standard input the test writes.
    pub(crate) fn start_fed(command: &mut Command) -> (Self, ChildStdin) {
        let mut program = Self::spawn(command.stdin(Stdio::piped()));
        let stdin = program.child.stdin.take().unwrap();
        (program, stdin)
    }

    fn spawn(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let output = Arc::new(Mutex::new("program.output", String::new()));
        let readers = vec![
            collect(child.stdout.take().unwrap(), &output),
            collect(child.stderr.take().unwrap(), &output),
        ];
        Self {
            name,
            child,
            output,
            readers,
        }
    }

    /// What it has written, to both of its outputs.
    pub(crate) fn output(&self) -> String {
        self.output.lock().clone()
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end by itself; gives its status and everything that it wrote.
    pub(crate) fn wait(&mut self) -> (ExitStatus, String) {
        let what = format!("the end of {}", self.name);
        let status = until(&what, || self.child.try_wait().unwrap());
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        (status, self.output())
    }

    /// Asks it to end, and waits.
    pub(crate) fn terminate(&mut self) -> (ExitStatus, String) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).unwrap();
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::TERM);
        self.wait()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- output of {} ---\n{}", self.name, self.output());
        }
    }
}

fn collect(from: impl Read + Send + 'static, into: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let _ = writeln!(into.lock(), "{}", String::from_utf8_lossy(&line));
        }
    })
}

/// `ffmpeg` with the options that every use needs; only errors are written.
pub(crate) fn ffmpeg(args: &[&str]) -> Command {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-nostdin", "-hide_banner", "-v", "error"])
        .args(args);
    command
}

/// Decodes so many seconds of a URL with ffmpeg, which must find nothing to complain about.
pub(crate) fn decode(url: &str, seconds: u32) {
    let seconds = seconds.to_string();
    let mut program = Program::start(&mut ffmpeg(&["-i", url, "-t", &seconds, "-f", "null", "-"]));
    let (status, output) = program.wait();
    assert!(
        status.success() && output.is_empty(),
        "ffmpeg cannot decode {url}: {status}\n{output}"
    );
}

/// Writes bytes at a steady pace, as a live encoder would.
pub(crate) struct Pacer {
    /// Bytes a second.
    pub(crate) rate: usize,
    /// How much is written at once.
    pub(crate) piece: usize,
}

impl Pacer {
    /// Writes all of it, unless the reader goes away.
    pub(crate) fn write(&self, bytes: &[u8], mut to: impl Write) {
        let began = Instant::now();
        for (index, piece) in bytes.chunks(self.piece).enumerate() {
            let due = Duration::from_secs_f64((index * self.piece) as f64 / self.rate as f64);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            if to.write_all(piece).and_then(|()| to.flush()).is_err() {
                return;
            }
        }
    }
}
