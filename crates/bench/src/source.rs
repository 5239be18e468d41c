//! The `source` command: sends stamped test frames at the pace of their media time, one source for each mount.
//! Contract: a frame carries the time at which its write began, so that a server that makes a source wait shows
//! up in the delays of the frames that waited.

use std::io::{BufRead, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::args::Args;
use crate::clock::Stamp;
use crate::frames::{Bitrate, media_nanos, write_frame};
use crate::launch::raise_descriptor_limit;
use crate::mounts::Mounts;
use crate::reply::parse_reply;
use crate::{Outcome, say};

/// The line that says that every source was accepted.
pub(crate) const READY: &str = "ready";

/// With seconds: all sources hang up and come back after that time, going on where they were.
pub(crate) const BLINK: &str = "blink";

/// How long a server may take for an answer or for a write.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to send and where.
struct Plan {
    target: SocketAddr,
    mounts: Mounts,
    bitrate: Bitrate,
    authorization: String,
    method: String,
    prefill: u64,
    titles: Option<f64>,
    seconds: Option<f64>,
}

/// One accepted source.
struct Source {
    stream: TcpStream,
    /// The number of the next frame.
    next: u64,
    /// When frame 0 was due, in media time before any prefill.
    epoch: Stamp,
}

/// Runs the command.
pub(crate) fn run(args: &mut Args) -> Outcome<()> {
    let plan = read_plan(args)?;
    args.finish()?;
    raise_descriptor_limit();
    let mut sources = Vec::new();
    for name in plan.mounts.names() {
        let stream = connect(&plan, &name).map_err(|error| format!("source of {name}: {error}"))?;
        let mut source = Source {
            stream,
            next: 0,
            epoch: Stamp::now(),
        };
        prefill(&plan, &mut source)?;
        sources.push(source);
    }
    // Sources begin spread over one frame's time, as independent encoders would be.
    let start = Stamp::now();
    let count = sources.len() as u64;
    for (index, source) in (0..).zip(&mut sources) {
        let phase = Duration::from_nanos(media_nanos(1) * index / count);
        source.epoch = Stamp(start.after(phase).0.saturating_sub(media_nanos(source.next)));
    }
    say(&format!("{READY}\n"))?;
    let ended = Arc::new(AtomicBool::new(false));
    let (order, orders) = mpsc::channel();
    if let Some(seconds) = plan.titles {
        change_titles(&plan, Duration::from_secs_f64(seconds), Arc::clone(&ended));
    }
    if plan.seconds.is_none() {
        watch_input(Arc::clone(&ended), order);
    }
    let until = plan
        .seconds
        .map(|seconds| start.after(Duration::from_secs_f64(seconds)));
    stream(&plan, &mut sources, until, &ended, &orders)
}

fn read_plan(args: &mut Args) -> Outcome<Plan> {
    let password: String = args.take("password", String::new())?;
    Ok(Plan {
        target: args.find("to")?.ok_or("source: --to HOST:PORT is missing")?,
        mounts: Mounts {
            base: args.take("mount", "/bench".to_owned())?,
            count: args.take("mounts", 1)?,
        },
        bitrate: args.take("bitrate", "128".parse()?)?,
        authorization: format!("Basic {}", STANDARD.encode(format!("source:{password}"))),
        method: args.take("method", "PUT".to_owned())?,
        prefill: args.take("prefill", 0)?,
        titles: args.find("titles")?,
        seconds: args.find("seconds")?,
    })
}

fn connect(plan: &Plan, mount: &str) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(plan.target)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (start, wait) = match plan.method.as_str() {
        "PUT" => (format!("PUT {mount} HTTP/1.1"), "Expect: 100-continue\r\n"),
        "SOURCE" => (format!("SOURCE {mount} HTTP/1.0"), ""),
        other => return Err(format!("--method {other}: use PUT or SOURCE").into()),
    };
    write!(
        stream,
        "{start}\r\nHost: {}\r\nAuthorization: {}\r\nUser-Agent: bench\r\nContent-Type: audio/mpeg\r\n\
         Ice-Name: bench\r\nIce-Public: 0\r\nIce-Bitrate: {}\r\n{wait}\r\n",
        plan.target,
        plan.authorization,
        plan.bitrate.kbit()
    )?;
    match read_status(&mut stream)? {
        100 | 200 => Ok(stream),
        status => Err(format!("refused with status {status}").into()),
    }
}

fn read_status(stream: &mut TcpStream) -> Outcome<u16> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Err("closed without an answer".into());
        }
        head.extend_from_slice(&piece[..read]);
        if let Some(reply) = parse_reply(&head) {
            return Ok(reply?.status);
        }
    }
}

/// Sends what a server keeps for new listeners at once, so that a comparison need not wait for it to play.
fn prefill(plan: &Plan, source: &mut Source) -> Outcome<()> {
    let mut out = Vec::new();
    while plan.bitrate.offset(source.next) < plan.prefill {
        write_frame(plan.bitrate, source.next, Stamp::now(), &mut out);
        source.next += 1;
    }
    source.stream.write_all(&out)?;
    Ok(())
}

fn stream(
    plan: &Plan,
    sources: &mut [Source],
    until: Option<Stamp>,
    ended: &AtomicBool,
    orders: &Receiver<Duration>,
) -> Outcome<()> {
    let mut frame = Vec::new();
    loop {
        let mut next_due = Stamp::now().after(Duration::from_millis(100));
        for source in sources.iter_mut() {
            loop {
                let due = source.epoch.after(Duration::from_nanos(media_nanos(source.next)));
                let now = Stamp::now();
                if due > now {
                    next_due = next_due.min(due);
                    break;
                }
                frame.clear();
                write_frame(plan.bitrate, source.next, now, &mut frame);
                source
                    .stream
                    .write_all(&frame)
                    .map_err(|error| format!("source lost: {error}"))?;
                source.next += 1;
            }
        }
        let now = Stamp::now();
        if ended.load(Ordering::Relaxed) || until.is_some_and(|until| now >= until) {
            return Ok(());
        }
        if let Ok(silence) = orders.try_recv() {
            blink(plan, sources, silence)?;
            continue;
        }
        thread::sleep(next_due.since(now));
    }
}

/// Hangs up, waits and comes back; the stream goes on with the frame that was next.
fn blink(plan: &Plan, sources: &mut [Source], silence: Duration) -> Outcome<()> {
    let began = Stamp::now();
    for source in sources.iter() {
        source.stream.shutdown(Shutdown::Both)?;
    }
    thread::sleep(silence);
    for (index, source) in sources.iter_mut().enumerate() {
        let name = plan.mounts.name(index);
        source.stream =
            connect(plan, &name).map_err(|error| format!("source of {name} came back: {error}"))?;
        source.epoch = source.epoch.after(Stamp::now().since(began));
    }
    Ok(())
}

fn watch_input(ended: Arc<AtomicBool>, order: Sender<Duration>) {
    // This thread ends with the input, and the process soon after it.
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            // Only this program gives orders, and the reader outlives the sources.
            if let Some(Ok(seconds)) = line.strip_prefix(BLINK).map(|seconds| seconds.trim().parse()) {
                let _ = order.send(Duration::from_secs_f64(seconds));
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
}

/// Sets another title on every mount from time to time. A server without that call only ignores it.
fn change_titles(plan: &Plan, every: Duration, ended: Arc<AtomicBool>) {
    let (target, authorization, names) = (plan.target, plan.authorization.clone(), plan.mounts.names());
    // Apart from the frames, which must not wait for an answer; ends with the process.
    thread::spawn(move || {
        for number in 1u64.. {
            for name in &names {
                let request = format!(
                    "GET /admin/metadata?mode=updinfo&mount={name}&song=bench%20{number} HTTP/1.0\r\n\
                     Host: {target}\r\nAuthorization: {authorization}\r\nUser-Agent: bench\r\n\r\n"
                );
                // A title that does not arrive shows as missing in the listeners' reports.
                let _ = send(target, &request);
            }
            thread::sleep(every);
            if ended.load(Ordering::Relaxed) {
                break;
            }
        }
    });
}

fn send(target: SocketAddr, request: &str) -> Outcome<()> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    read_status(&mut stream)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use crate::args::Args;
    use crate::frames::Inspector;

    #[test]
    fn a_source_authenticates_waits_and_sends_whole_frames() {
        for (method, start, answer) in [
            ("PUT", "PUT /m HTTP/1.1\r\n", "HTTP/1.1 100 Continue\r\n\r\n"),
            ("SOURCE", "SOURCE /m HTTP/1.0\r\n", "HTTP/1.0 200 OK\r\n\r\n"),
        ] {
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            let target = server.local_addr().unwrap();
            let serving = std::thread::spawn(move || {
                let (mut peer, _) = server.accept().unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") {
                    peer.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                peer.write_all(answer.as_bytes()).unwrap();
                let mut body = Vec::new();
                peer.read_to_end(&mut body).unwrap();
                (String::from_utf8(head).unwrap(), body)
            });
            let flags = format!(
                "--to {target} --mount /m --password pw --method {method} --prefill 10000 --seconds 0"
            );
            let mut args = Args::parse(flags.split(' ').map(str::to_owned)).unwrap();
            super::run(&mut args).unwrap();
            let (head, body) = serving.join().unwrap();
            assert!(head.starts_with(start), "{head}");
            assert!(
                head.contains("\r\nAuthorization: Basic c291cmNlOnB3\r\n"),
                "{head}"
            );
            let mut inspector = Inspector::new("128".parse().unwrap());
            inspector.read(&body, |_| ());
            let findings = inspector.take();
            assert!(
                findings.frames >= 24 && findings.corrupt + findings.gaps == 0,
                "{findings:?}"
            );
        }
    }
}
