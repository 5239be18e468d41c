//! The `floor` command: the least a server can do for its listeners, as a mark to measure others against.
//!
//! Contract: one `send` per listener and flush, straight from one buffer for each mount; no burst, no metadata, no
//! time-outs, no checks. A listener that cannot take its bytes keeps its place until the buffer has moved on.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};

use crate::Outcome;
use crate::args::Args;
use crate::clock::Stamp;
use crate::launch::raise_descriptor_limit;

/// What is kept for listeners that are behind.
const KEEP: usize = 128 * 1024;
const LISTENING: Token = Token(usize::MAX);

/// The bytes of one mount and who listens to them.
#[derive(Default)]
struct Feed {
    bytes: Vec<u8>,
    /// Position in the stream of the first byte kept.
    base: u64,
    listeners: Vec<Seat>,
}

/// A listener and the position in the stream that it has reached.
struct Seat {
    stream: TcpStream,
    at: u64,
}

/// A connection that epoll watches: one that has not finished its request, or a source.
struct Guest {
    stream: TcpStream,
    head: Vec<u8>,
    /// The mount, once it is a source.
    feed: Option<usize>,
}

struct Floor {
    poll: Poll,
    listening: TcpListener,
    guests: Slab<Guest>,
    names: HashMap<String, usize>,
    feeds: Vec<Feed>,
    scratch: Vec<u8>,
}

/// Runs the command; ends with the process.
pub(crate) fn run(args: &mut Args) -> Outcome<()> {
    let port: u16 = args.take("port", 0)?;
    let flush: u64 = args.take("flush", 250)?;
    args.finish()?;
    if flush == 0 {
        return Err("floor: --flush must be above zero".into());
    }
    raise_descriptor_limit();
    let mut floor = Floor::new(listen(port)?)?;
    floor.serve(Duration::from_millis(flush))?;
    Ok(())
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(4096)?;
    Ok(TcpListener::from_std(socket.into()))
}

impl Floor {
    fn new(mut listening: TcpListener) -> io::Result<Floor> {
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listening, LISTENING, Interest::READABLE)?;
        let (names, feeds) = (HashMap::new(), Vec::new());
        Ok(Floor {
            poll,
            listening,
            guests: Slab::new(),
            names,
            feeds,
            scratch: vec![0; 64 * 1024],
        })
    }

    fn serve(&mut self, flush: Duration) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut deadline = Stamp::now().after(flush);
        loop {
            match self.poll.poll(&mut events, Some(deadline.since(Stamp::now()))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENING => self.accept(),
                    Token(guest) => self.attend(guest),
                }
            }
            let now = Stamp::now();
            if now >= deadline {
                self.feeds.iter_mut().for_each(Feed::flush);
                deadline = deadline.after(flush);
                // A flush that took longer than its interval must not be followed by another at once.
                if deadline <= now {
                    deadline = now.after(flush);
                }
            }
        }
    }

    fn accept(&mut self) {
        // Ends at would-block; any other error concerns one connection or shows as missing listeners.
        while let Ok((stream, _)) = self.listening.accept() {
            let entry = self.guests.vacant_entry();
            let token = Token(entry.key());
            let guest = entry.insert(Guest {
                stream,
                head: Vec::new(),
                feed: None,
            });
            if self
                .poll
                .registry()
                .register(&mut guest.stream, token, Interest::READABLE)
                .is_err()
            {
                self.guests.remove(token.0);
            }
        }
    }

    fn attend(&mut self, key: usize) {
        loop {
            let Some(guest) = self.guests.get_mut(key) else {
                return;
            };
            match guest.stream.read(&mut self.scratch) {
                Ok(read) if read > 0 => {
                    if let Some(feed) = guest.feed {
                        self.feeds[feed].bytes.extend_from_slice(&self.scratch[..read]);
                    } else {
                        guest.head.extend_from_slice(&self.scratch[..read]);
                        self.classify(key);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => {
                    self.guests.remove(key);
                    return;
                }
            }
        }
    }

    /// Makes a source or a listener of a guest whose request is complete.
    fn classify(&mut self, key: usize) {
        let guest = &mut self.guests[key];
        let Some(end) = guest.head.windows(4).position(|window| window == b"\r\n\r\n") else {
            return;
        };
        let rest = guest.head.split_off(end + 4);
        let head = String::from_utf8_lossy(&std::mem::take(&mut guest.head)).into_owned();
        let mut words = head.split_whitespace();
        let (method, mount) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match method {
            "PUT" | "SOURCE" => {
                let waits = head.to_ascii_lowercase().contains("100-continue");
                let answer = if waits {
                    "HTTP/1.1 100 Continue\r\n\r\n"
                } else {
                    "HTTP/1.0 200 OK\r\n\r\n"
                };
                // A source that does not get its answer gives up by itself.
                let _ = guest.stream.write(answer.as_bytes());
                let feed = *self.names.entry(mount.to_owned()).or_insert_with(|| {
                    self.feeds.push(Feed::default());
                    self.feeds.len() - 1
                });
                self.feeds[feed].bytes.extend_from_slice(&rest);
                guest.feed = Some(feed);
            }
            "GET" => {
                let mut guest = self.guests.remove(key);
                let Some(&feed) = self.names.get(mount) else {
                    let _ = guest.stream.write(b"HTTP/1.0 404 Not Found\r\n\r\n");
                    return;
                };
                let _ = guest
                    .stream
                    .write(b"HTTP/1.0 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n");
                // From here on nobody looks at this socket but the flush.
                if self.poll.registry().deregister(&mut guest.stream).is_ok() {
                    let feed = &mut self.feeds[feed];
                    let at = feed.head();
                    feed.listeners.push(Seat {
                        stream: guest.stream,
                        at,
                    });
                }
            }
            _ => {
                self.guests.remove(key);
            }
        }
    }
}

impl Feed {
    fn head(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    fn flush(&mut self) {
        let (head, base, bytes) = (self.head(), self.base, &self.bytes);
        self.listeners.retain_mut(|seat| {
            // Who fell out of the buffer goes on at its oldest byte.
            let from = (seat.at.max(base) - base) as usize;
            if from == bytes.len() {
                return true;
            }
            match seat.stream.write(&bytes[from..]) {
                Ok(sent) => {
                    seat.at = base + (from + sent) as u64;
                    sent > 0 && seat.at <= head
                }
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            }
        });
        if self.bytes.len() > 2 * KEEP {
            let gone = self.bytes.len() - KEEP;
            self.bytes.drain(..gone);
            self.base += gone as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::{Floor, KEEP, listen};

    #[test]
    fn listeners_get_the_bytes_that_come_after_them() {
        let listening = listen(0).unwrap();
        let address = listening.local_addr().unwrap();
        // The loop runs until the test process ends.
        std::thread::spawn(move || Floor::new(listening).unwrap().serve(Duration::from_millis(5)));
        let mut source = TcpStream::connect(address).unwrap();
        source.write_all(b"SOURCE /m HTTP/1.0\r\n\r\nbefore").unwrap();
        let mut answer = [0; 19];
        source.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.0 200 OK\r\n\r\n");

        let mut lost = TcpStream::connect(address).unwrap();
        lost.write_all(b"GET /other HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        lost.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.0 404"), "{text}");

        let mut listener = TcpStream::connect(address).unwrap();
        listener.write_all(b"GET /m HTTP/1.0\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            listener.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        // More than is kept, so that the buffer moves on below a listener that reads in time.
        let piece: Vec<u8> = (0..=250).collect();
        let mut heard = vec![0; piece.len()];
        for _ in 0..3 * KEEP / piece.len() / 100 {
            source.write_all(&piece.repeat(100)).unwrap();
            for _ in 0..100 {
                listener.read_exact(&mut heard).unwrap();
                assert_eq!(heard, piece);
            }
        }
    }
}
