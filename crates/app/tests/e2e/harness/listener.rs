//! Listeners: read by the test itself, or in the background.

use std::{
    io::Read as _,
    net::Shutdown,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use observe::Mutex;

use super::{Head, Server, Wire, until};

/// A listener that reads when the test does.
pub(crate) struct Listener {
    /// The answer.
    pub(crate) head: Head,
    /// The audio behind it.
    pub(crate) wire: Wire,
}

impl Listener {
    /// Opens a mount, with more header lines (each with its line end). Any status is fine here.
    pub(crate) fn open(server: &Server, mount: &str, headers: &str) -> Self {
        let mut wire = server.connect();
        wire.send(format!(
            "GET {mount} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"
        ));
        Self {
            head: wire.head(),
            wire,
        }
    }

    /// Reads everything from here on in the background.
    pub(crate) fn capture(mut self) -> Capture {
        assert_eq!(self.head.status, 200, "{:?}", self.head);
        let shared = Arc::new(Shared {
            bytes: Mutex::new("capture.bytes", Vec::new()),
            ended: AtomicBool::new(false),
        });
        let stream = self.wire.try_clone();
        let thread = std::thread::spawn({
            let (shared, mut stream) = (Arc::clone(&shared), self.wire.try_clone());
            move || {
                // What came in one segment with the head.
                shared.bytes.lock().extend(self.wire.take_early());
                // A test that waits for silence has its own patience; this thread ends with the handle.
                stream.set_read_timeout(None).unwrap();
                let mut buffer = vec![0; 64 << 10];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    shared.bytes.lock().extend_from_slice(&buffer[..read]);
                }
                shared.ended.store(true, Ordering::Release);
            }
        });
        Capture {
            head: self.head,
            shared,
            stream,
            thread: Some(thread),
        }
    }
}

struct Shared {
    bytes: Mutex<Vec<u8>>,
    ended: AtomicBool,
}

/// A listener whose bytes pile up in the background.
pub(crate) struct Capture {
    /// The answer.
    pub(crate) head: Head,
    shared: Arc<Shared>,
    stream: std::net::TcpStream,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Listens to a mount, with more header lines. The mount must answer 200.
    pub(crate) fn start(server: &Server, mount: &str, headers: &str) -> Self {
        Listener::open(server, mount, headers).capture()
    }

    /// What has come until now.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.shared.bytes.lock().clone()
    }

    /// How much has come until now.
    pub(crate) fn len(&self) -> usize {
        self.shared.bytes.lock().len()
    }

    /// Whether the server closed the connection.
    pub(crate) fn has_ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// Waits until so much has come, and gives all of it.
    pub(crate) fn wait_for(&self, length: usize) -> Vec<u8> {
        until(&format!("{length} bytes of a stream, has {}", self.len()), || {
            assert!(
                self.len() >= length || !self.has_ended(),
                "ended after {} of {length} bytes",
                self.len()
            );
            (self.len() >= length).then(|| self.bytes())
        })
    }

    /// Waits until the server closes the connection, and gives everything that came.
    pub(crate) fn wait_for_end(&self) -> Vec<u8> {
        until("the end of a stream", || self.has_ended().then(|| self.bytes()))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
