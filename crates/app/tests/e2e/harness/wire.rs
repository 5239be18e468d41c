//! A connection whose every byte the test decides.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use super::PATIENCE;

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// The status line without its line end.
    pub(crate) line: String,
    /// The number in it.
    pub(crate) status: u16,
    /// Names as they were written, values trimmed.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// Reads a head without its empty line.
    pub(crate) fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let line = lines.next().unwrap_or_default().to_owned();
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let header = |line: &str| {
            let (name, value) = line
                .split_once(':')
                .unwrap_or_else(|| panic!("not a header: {line:?}"));
            (name.to_owned(), value.trim().to_owned())
        };
        Self {
            status: status.unwrap_or_else(|| panic!("not a head: {text:?}")),
            headers: lines.filter(|line| !line.is_empty()).map(header).collect(),
            line,
        }
    }

    /// The value of a header, whatever the case of its name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Whether a header is there under exactly this spelling.
    pub(crate) fn spells(&self, name: &str) -> bool {
        self.headers.iter().any(|(have, _)| have == name)
    }
}

/// A TCP connection to a server. What goes wrong panics, with what was received until then.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    /// Received and not yet asked for.
    early: Vec<u8>,
}

impl Wire {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream =
            TcpStream::connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            early: Vec::new(),
        }
    }

    /// Sends all of it, in one segment if it is short.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes)
            .unwrap_or_else(|error| panic!("send: {error}"));
        self
    }

    /// [`Wire::send`] where the other side may have had enough.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub(crate) fn finish_sending(&mut self) -> &mut Self {
        let _ = self.stream.shutdown(Shutdown::Write);
        self
    }

    /// Reads the head of an answer.
    pub(crate) fn head(&mut self) -> Head {
        let ends = |bytes: &[u8]| bytes.windows(4).position(|four| four == b"\r\n\r\n");
        loop {
            if let Some(end) = ends(&self.early) {
                let text = String::from_utf8(self.early[..end].to_vec()).unwrap();
                self.early.drain(..end + 4);
                return Head::parse(&text);
            }
            assert!(
                self.more(),
                "the connection ended inside a head: {:?}",
                String::from_utf8_lossy(&self.early)
            );
        }
    }

    /// Reads exactly so many bytes.
    pub(crate) fn exact(&mut self, length: usize) -> Vec<u8> {
        while self.early.len() < length {
            assert!(
                self.more(),
                "the connection ended after {} of {length} bytes",
                self.early.len()
            );
        }
        self.early.drain(..length).collect()
    }

    /// Whatever comes next, at least one byte; nothing at the end of the connection.
    pub(crate) fn some(&mut self) -> Vec<u8> {
        if self.early.is_empty() {
            self.more();
        }
        std::mem::take(&mut self.early)
    }

    /// Reads until the other side closes, which it must do in time. A reset counts as closing.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.early)
    }

    /// Reads the body that belongs to a head: by its length, its chunks, or to the end of the connection.
    pub(crate) fn body(&mut self, head: &Head) -> Vec<u8> {
        if head
            .get("Transfer-Encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
        {
            return self.chunks();
        }
        match head.get("Content-Length") {
            Some(length) => self.exact(length.parse().unwrap()),
            None if matches!(head.status, 100..200 | 204 | 304) => Vec::new(),
            None => self.rest(),
        }
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16).unwrap();
            if size == 0 {
                while !self.line().is_empty() {}
                return body;
            }
            body.extend(self.exact(size));
            assert!(self.line().is_empty());
        }
    }

    /// Reads one line, without its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            match self.exact(1)[0] {
                b'\n' => return String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned(),
                byte => line.push(byte),
            }
        }
    }

    /// Whether nothing comes for so long. For statements that something does *not* happen, so keep it short.
    pub(crate) fn stays_silent(&mut self, time: Duration) -> bool {
        if !self.early.is_empty() {
            return false;
        }
        self.stream.set_read_timeout(Some(time)).unwrap();
        let mut byte = [0];
        let silent = matches!(self.stream.peek(&mut byte), Err(error) if is_timeout(&error));
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }

    /// What was received and not yet asked for.
    pub(crate) fn take_early(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.early)
    }

    /// A second handle of the connection, to send while somebody else reads.
    pub(crate) fn try_clone(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// Reads more into the buffer; false at the end of the connection.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.early.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(error) => {
                let have = String::from_utf8_lossy(&self.early[..self.early.len().min(500)]).into_owned();
                panic!("nothing came for {PATIENCE:?} ({error}); before that: {have:?}")
            }
        }
    }
}

/// Whether a read only took too long.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
