//! One listener: connects, asks for a mount, reads and keeps count.
//! Contract: an ordinary listener reads whatever is there whenever it is told to, so what it measures is the
//! server's doing; slow and dead readers measure nothing and only burden the server.

use std::io::{self, Read, Write};

use mio::net::TcpStream;

use crate::clock::Stamp;
use crate::frames::{Bitrate, Findings, Inspector};
use crate::histogram::Histogram;
use crate::icy::{Blocks, Stripper};
use crate::reply::parse_reply;

/// How a listener reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Everything at once.
    Ordinary,
    /// Half of the bitrate.
    Slow,
    /// Nothing after the first audio.
    Dead,
}

/// Why a listener is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Before it heard anything.
    Refused(String),
    /// After it heard something.
    Dropped,
}

/// What a sampled listener adds up for its crowd.
#[derive(Default)]
pub(crate) struct Sample {
    /// Source write to listener read, by frame.
    pub(crate) delay: Histogram,
    /// Gaps and damage.
    pub(crate) findings: Findings,
    /// Metadata blocks.
    pub(crate) blocks: Blocks,
}

/// A connection and its counters.
pub(crate) struct Listener {
    pub(crate) stream: TcpStream,
    pub(crate) pace: Pace,
    pub(crate) opened: Stamp,
    pub(crate) first_audio: Option<Stamp>,
    /// Whether its place had been somebody's who hung up and came back.
    pub(crate) returned: bool,
    /// Bytes and readings since the window was opened.
    pub(crate) bytes: u64,
    pub(crate) reads: u64,
    stage: Stage,
    last: Stamp,
    longest_silence: u64,
    /// How many bytes a slow reader may still read.
    credit: usize,
    probe: Option<Box<Probe>>,
}

enum Stage {
    Connecting { request: Vec<u8> },
    Head { bytes: Vec<u8> },
    Body,
}

/// Looks into the stream of a sampled listener.
struct Probe {
    inspector: Inspector,
    stripper: Option<Stripper>,
}

impl Listener {
    /// A listener on a socket that is connecting; `probe` samples a stream of that bitrate.
    pub(crate) fn new(
        stream: TcpStream,
        request: Vec<u8>,
        pace: Pace,
        probe: Option<Bitrate>,
        now: Stamp,
    ) -> Listener {
        let probe = probe.map(|bitrate| {
            Box::new(Probe {
                inspector: Inspector::new(bitrate),
                stripper: None,
            })
        });
        Listener {
            stream,
            pace,
            opened: now,
            first_audio: None,
            returned: false,
            bytes: 0,
            reads: 0,
            stage: Stage::Connecting { request },
            last: now,
            longest_silence: 0,
            // Enough for the head of the answer.
            credit: 4096,
            probe,
        }
    }

    /// The same listener, come back or here for the first time.
    pub(crate) fn returned(self, returned: bool) -> Listener {
        Listener { returned, ..self }
    }

    /// Handles readiness. `closing` says that the peer has ended its side.
    pub(crate) fn ready(
        &mut self,
        closing: bool,
        scratch: &mut [u8],
        sample: &mut Sample,
    ) -> Result<(), End> {
        if let Stage::Connecting { .. } = self.stage {
            self.ask()?;
        }
        match (&self.stage, self.pace) {
            (Stage::Connecting { .. }, _) => Ok(()),
            (_, Pace::Ordinary) => self.drain(closing, scratch, sample),
            (_, Pace::Slow) => Ok(()),
            (Stage::Body, Pace::Dead) if closing => Err(End::Dropped),
            (Stage::Body, Pace::Dead) if self.first_audio.is_some() => Ok(()),
            (_, Pace::Dead) => {
                let sip = scratch.len().min(1024);
                self.drain(closing, &mut scratch[..sip], sample)
            }
        }
    }

    /// Lets a slow reader read what it has earned since the last time.
    pub(crate) fn sip(&mut self, earned: usize, scratch: &mut [u8], sample: &mut Sample) -> Result<(), End> {
        // Unused credit does not pile up, or a starved slow reader would turn into a fast one.
        self.credit = (self.credit + earned).min(scratch.len()).min(4 * earned + 4096);
        if self.credit == 0 || matches!(self.stage, Stage::Connecting { .. }) {
            return Ok(());
        }
        let credit = self.credit;
        let read = self.read(&mut scratch[..credit], sample)?;
        self.credit -= read.unwrap_or(0);
        Ok(())
    }

    /// Forgets what was counted so far; the window begins.
    pub(crate) fn open_window(&mut self, now: Stamp) {
        (self.bytes, self.reads, self.longest_silence) = (0, 0, 0);
        self.last = now;
        if let Some(probe) = &mut self.probe {
            probe.inspector.take();
            if let Some(stripper) = &mut probe.stripper {
                stripper.take();
            }
        }
    }

    /// The longest time without a byte since the window was opened, the current silence included.
    pub(crate) fn longest_silence(&self, now: Stamp) -> u64 {
        self.longest_silence
            .max(now.since(self.last.max(self.opened)).as_nanos() as u64)
    }

    /// Moves the findings of a sampled listener to its crowd's.
    pub(crate) fn settle(&mut self, sample: &mut Sample) {
        if let Some(probe) = &mut self.probe {
            sample.findings.absorb(&probe.inspector.take());
            if let Some(stripper) = &mut probe.stripper {
                let blocks = stripper.take();
                sample.blocks.titles += blocks.titles;
                sample.blocks.wrong += blocks.wrong;
            }
        }
    }

    fn ask(&mut self) -> Result<(), End> {
        let Stage::Connecting { request } = &self.stage else {
            return Ok(());
        };
        match self.stream.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Err(refused(&error)),
        }
        match self.stream.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
            Err(error) => return Err(refused(&error)),
        }
        match (&self.stream).write(request) {
            // A request of a few hundred bytes always fits into the empty buffer of a new connection.
            Ok(written) if written == request.len() => {
                self.stage = Stage::Head { bytes: Vec::new() };
                Ok(())
            }
            Ok(_) => Err(End::Refused("request did not fit".into())),
            Err(error) => Err(refused(&error)),
        }
    }

    fn drain(&mut self, closing: bool, scratch: &mut [u8], sample: &mut Sample) -> Result<(), End> {
        let full = scratch.len();
        loop {
            match self.read(scratch, sample)? {
                None => return Ok(()),
                // epoll(7): less than was asked for means empty, and a later byte or end makes a new event.
                Some(read) if read < full && !closing => return Ok(()),
                Some(_) if self.pace == Pace::Dead && self.first_audio.is_some() => return Ok(()),
                Some(_) => {}
            }
        }
    }

    /// One read; none when there is nothing to read now.
    fn read(&mut self, scratch: &mut [u8], sample: &mut Sample) -> Result<Option<usize>, End> {
        let read = match self.stream.read(scratch) {
            Ok(0) => Err("closed before audio".to_owned()),
            Ok(read) => Ok(read),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Some(0)),
            Err(error) => Err(error.kind().to_string()),
        };
        match read {
            Ok(read) => {
                self.accept(&scratch[..read], Stamp::now(), sample)
                    .map_err(End::Refused)?;
                Ok(Some(read))
            }
            Err(_) if self.first_audio.is_some() => Err(End::Dropped),
            Err(reason) => Err(End::Refused(reason)),
        }
    }

    fn accept(&mut self, bytes: &[u8], now: Stamp, sample: &mut Sample) -> Result<(), String> {
        let Stage::Head { bytes: head } = &mut self.stage else {
            self.hear(bytes, now, sample);
            return Ok(());
        };
        head.extend_from_slice(bytes);
        let Some(reply) = parse_reply(head) else {
            return Ok(());
        };
        let reply = reply?;
        if reply.status != 200 {
            return Err(format!("status {}", reply.status));
        }
        if reply.chunked {
            return Err("chunked answer".into());
        }
        if let Some(probe) = &mut self.probe {
            probe.stripper = reply.metaint.map(Stripper::new);
        }
        let head = std::mem::take(head);
        self.stage = Stage::Body;
        self.hear(&head[reply.length..], now, sample);
        Ok(())
    }

    fn hear(&mut self, bytes: &[u8], now: Stamp, sample: &mut Sample) {
        if bytes.is_empty() {
            return;
        }
        if self.first_audio.is_none() {
            self.first_audio = Some(now);
        } else {
            self.longest_silence = self.longest_silence.max(now.since(self.last).as_nanos() as u64);
        }
        self.last = now;
        self.bytes += bytes.len() as u64;
        self.reads += 1;
        let Some(probe) = self.probe.as_deref_mut() else {
            return;
        };
        let opened = self.opened;
        let Probe { inspector, stripper } = probe;
        let mut listen = |audio: &[u8]| {
            inspector.read(audio, |written| {
                // Frames from before this listener came are its burst; their age is not a delay.
                if written >= opened {
                    sample.delay.add(now.since(written).as_nanos() as u64);
                }
            });
        };
        match stripper {
            Some(stripper) => stripper.read(bytes, listen),
            None => listen(bytes),
        }
    }
}

fn refused(error: &io::Error) -> End {
    End::Refused(error.kind().to_string())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::{End, Listener, Pace, Sample};
    use crate::clock::Stamp;
    use crate::frames::{Bitrate, write_frame};

    const REQUEST: &[u8] = b"GET /m HTTP/1.0\r\n\r\n";

    /// A listener and the server's end of its connection.
    fn pair(pace: Pace, probe: Option<Bitrate>) -> (Listener, TcpStream) {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let (peer, _) = server.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = mio::net::TcpStream::from_std(stream);
        (
            Listener::new(stream, REQUEST.to_vec(), pace, probe, Stamp::now()),
            peer,
        )
    }

    /// Lets the listener read until it has what the condition asks for or is over.
    fn until(
        listener: &mut Listener,
        sample: &mut Sample,
        done: impl Fn(&Listener) -> bool,
    ) -> Result<(), End> {
        let mut scratch = [0; 4096];
        while !done(listener) {
            listener.ready(false, &mut scratch, sample)?;
            std::thread::yield_now();
        }
        Ok(())
    }

    #[test]
    fn audio_is_counted_and_burst_frames_have_no_delay() {
        let bitrate: Bitrate = "128".parse().unwrap();
        let (mut listener, mut peer) = pair(Pace::Ordinary, Some(bitrate));
        let mut sample = Sample::default();
        let mut answer = b"HTTP/1.0 200 OK\r\n\r\n".to_vec();
        let head = answer.len() as u64;
        write_frame(bitrate, 0, Stamp(0), &mut answer);
        write_frame(bitrate, 1, Stamp::now(), &mut answer);
        peer.write_all(&answer).unwrap();
        let body = answer.len() as u64 - head;
        until(&mut listener, &mut sample, |listener| listener.bytes == body).unwrap();
        let mut asked = [0; REQUEST.len()];
        peer.read_exact(&mut asked).unwrap();
        listener.settle(&mut sample);
        assert_eq!(asked, REQUEST);
        assert_eq!((sample.findings.frames, sample.delay.total()), (2, 1));
        drop(peer);
        assert_eq!(until(&mut listener, &mut sample, |_| false), Err(End::Dropped));
    }

    #[test]
    fn refusals_have_reasons() {
        for (answer, reason) in [
            ("HTTP/1.1 503 Full\r\n\r\n", "status 503"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "chunked answer",
            ),
            ("\r\n\r\n", "no status line"),
        ] {
            let (mut listener, mut peer) = pair(Pace::Ordinary, None);
            peer.write_all(answer.as_bytes()).unwrap();
            let end = until(&mut listener, &mut Sample::default(), |_| false);
            assert_eq!(end, Err(End::Refused(reason.into())));
        }
    }

    #[test]
    fn slow_readers_take_what_they_earned_and_dead_ones_nothing() {
        let answer = [&b"HTTP/1.0 200 OK\r\n\r\n"[..], &[b'x'; 20_000]].concat();
        let (mut slow, mut peer) = pair(Pace::Slow, None);
        peer.write_all(&answer).unwrap();
        let (mut scratch, mut sample) = ([0; 65_536], Sample::default());
        slow.ready(false, &mut scratch, &mut sample).unwrap();
        while slow.bytes == 0 {
            slow.sip(0, &mut scratch, &mut sample).unwrap();
        }
        let first = slow.bytes;
        assert!(first <= 4096, "{first} bytes before anything was earned");
        while slow.bytes < first + 100 {
            slow.sip(100, &mut scratch, &mut sample).unwrap();
        }
        assert!(slow.bytes <= first + 4096 + 400);

        let (mut dead, mut peer) = pair(Pace::Dead, None);
        peer.write_all(&answer).unwrap();
        until(&mut dead, &mut sample, |dead| dead.first_audio.is_some()).unwrap();
        let taken = dead.bytes;
        dead.ready(false, &mut scratch, &mut sample).unwrap();
        assert_eq!(dead.bytes, taken);
        assert_eq!(dead.ready(true, &mut scratch, &mut sample), Err(End::Dropped));
    }
}
