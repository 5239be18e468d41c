//! Reads the body of a response.
//!
//! Contract: what comes out is the body and nothing else, whatever the framing; a body that ends before
//! its announced end is an error and never looks complete.

use std::{fmt, io, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, header};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    time::{Instant, timeout_at},
};

use crate::{BadHead, chunked::Chunked};

/// Bytes read at once where they have to pass through a buffer of ours.
const PIECE: usize = 16 * 1024;

/// A connection, plain or TLS.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// How a body's end is known (RFC 9112 section 6.3).
#[derive(Debug)]
pub(crate) enum Framing {
    Chunked(Chunked),
    Length(u64),
    UntilClose,
}

impl Framing {
    /// What the head says about the body of the response to a `method` request.
    ///
    /// # Errors
    /// [`BadHead::TransferCoding`] for codings other than chunked.
    pub(crate) fn of(method: &Method, status: StatusCode, headers: &HeaderMap) -> Result<Self, BadHead> {
        if method == Method::HEAD || status.is_informational() || matches!(status.as_u16(), 204 | 304) {
            return Ok(Self::Length(0));
        }
        let mut chunked = false;
        for value in headers.get_all(header::TRANSFER_ENCODING) {
            for coding in value.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii) {
                match coding {
                    _ if coding.is_empty() || coding.eq_ignore_ascii_case(b"identity") => {}
                    _ if coding.eq_ignore_ascii_case(b"chunked") && !chunked => chunked = true,
                    _ => return Err(BadHead::TransferCoding),
                }
            }
        }
        if chunked {
            return Ok(Self::Chunked(Chunked::new()));
        }
        // Live streams come with lengths such as -1. One that makes no sense, or several that differ,
        // count as none: the connection carries nothing after the body that could be mistaken for it.
        let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter().map(|value| {
            let text = value.to_str().ok()?.trim();
            text.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| text.parse::<u64>().ok())?
        });
        match lengths.next() {
            Some(Some(length)) if lengths.all(|other| other == Some(length)) => Ok(Self::Length(length)),
            _ => Ok(Self::UntilClose),
        }
    }
}

/// The body of a response. Dropping it closes the connection.
pub struct ResponseBody {
    stream: Box<dyn Transport>,
    /// Bytes that arrived but are not read yet: the rest of the head's last read, or coded chunks.
    held: BytesMut,
    framing: Framing,
    silence: Option<Duration>,
    deadline: Option<Instant>,
}

/// The beginning of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The bytes.
    pub bytes: Bytes,
    /// Whether they are the whole body.
    pub is_complete: bool,
}

impl ResponseBody {
    pub(crate) fn new(stream: Box<dyn Transport>, held: BytesMut, framing: Framing) -> Self {
        Self {
            stream,
            held,
            framing,
            silence: None,
            deadline: None,
        }
    }

    pub(crate) fn limit(&mut self, silence: Option<Duration>, deadline: Option<Instant>) {
        (self.silence, self.deadline) = (silence, deadline);
    }

    /// Reads what has arrived of the body into `buf`, waiting for at least one byte. Yields 0 at the
    /// body's end, and for an empty `buf`. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// `TimedOut` when the peer was silent for [`Limits::silence`](crate::Limits) or the exchange's time
    /// is up, `UnexpectedEof` when the connection ended before the body (or, under TLS, without saying
    /// so: it may have been cut), `InvalidData` when the chunked
    /// coding is broken, or what the connection says.
    pub async fn next(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let silent_at = self.silence.map(|silence| Instant::now() + silence);
        let at = match (silent_at, self.deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let Some(at) = at else { return self.read(buf).await };
        timeout_at(at, self.read(buf)).await.unwrap_or_else(|_| {
            let text = match self.deadline {
                Some(deadline) if deadline == at => "not finished in time",
                _ => "no data",
            };
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
    }

    /// Reads at most `max` bytes of the body.
    ///
    /// # Errors
    /// As [`ResponseBody::next`].
    pub async fn read_limited(&mut self, max: usize) -> io::Result<Excerpt> {
        let mut bytes = BytesMut::new();
        let mut piece = vec![0; PIECE];
        loop {
            // One byte more than wanted tells whether there is more.
            let room = (max - bytes.len()).saturating_add(1).min(PIECE);
            let n = self.next(&mut piece[..room]).await?;
            let wanted = n.min(max - bytes.len());
            bytes.extend_from_slice(&piece[..wanted]);
            if n == 0 || n > wanted {
                return Ok(Excerpt {
                    bytes: bytes.freeze(),
                    is_complete: n == 0,
                });
            }
        }
    }

    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.framing {
            Framing::UntilClose => read_plain(&mut self.stream, &mut self.held, buf).await,
            Framing::Length(left) => {
                let room = usize::try_from(*left).map_or(buf.len(), |left| buf.len().min(left));
                if room == 0 {
                    return Ok(0);
                }
                let n = read_plain(&mut self.stream, &mut self.held, &mut buf[..room]).await?;
                *left -= n as u64;
                if n == 0 {
                    Err(io::ErrorKind::UnexpectedEof.into())
                } else {
                    Ok(n)
                }
            }
            Framing::Chunked(chunked) => loop {
                let broken = |bad| io::Error::new(io::ErrorKind::InvalidData, bad);
                let step = chunked.decode(&self.held, buf).map_err(broken)?;
                self.held.advance(step.taken);
                if step.written > 0 || chunked.is_at_end() || buf.is_empty() {
                    return Ok(step.written);
                }
                self.held.reserve(PIECE);
                if self.stream.read_buf(&mut self.held).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            },
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("framing", &self.framing)
            .finish_non_exhaustive()
    }
}

/// Reads what is held, then straight from the stream.
async fn read_plain(stream: &mut dyn Transport, held: &mut BytesMut, buf: &mut [u8]) -> io::Result<usize> {
    if held.is_empty() {
        *held = BytesMut::new();
        return stream.read(buf).await;
    }
    let n = held.len().min(buf.len());
    held.split_to(n).copy_to_slice(&mut buf[..n]);
    Ok(n)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use tokio::{
        io::{AsyncWriteExt, DuplexStream, duplex},
        time::sleep,
    };

    use super::*;

    fn framing(method: &Method, status: u16, headers: &[(&'static str, &'static str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        match Framing::of(method, StatusCode::from_u16(status).unwrap(), &map) {
            Ok(Framing::Chunked(_)) => "chunked".into(),
            Ok(Framing::Length(n)) => n.to_string(),
            Ok(Framing::UntilClose) => "until close".into(),
            Err(bad) => bad.to_string(),
        }
    }

    #[test]
    fn the_end_of_a_body() {
        const LENGTH: &str = "content-length";
        const CODING: &str = "transfer-encoding";
        let get = &Method::GET;
        assert_eq!(framing(get, 200, &[]), "until close");
        assert_eq!(framing(get, 200, &[(LENGTH, "5")]), "5");
        assert_eq!(framing(get, 200, &[(LENGTH, "5"), (LENGTH, "5")]), "5");
        assert_eq!(framing(get, 200, &[(LENGTH, "5"), (LENGTH, "6")]), "until close");
        for odd in ["-1", "+5", "", "x", "99999999999999999999999"] {
            assert_eq!(framing(get, 200, &[(LENGTH, odd)]), "until close", "{odd}");
        }
        assert_eq!(
            framing(get, 200, &[(CODING, "Chunked"), (LENGTH, "5")]),
            "chunked"
        );
        assert_eq!(framing(get, 200, &[(CODING, "identity, chunked")]), "chunked");
        assert_eq!(framing(get, 200, &[(CODING, "identity")]), "until close");
        for odd in ["gzip, chunked", "chunked, chunked", "chunked, gzip", "x"] {
            assert_eq!(
                framing(get, 200, &[(CODING, odd)]),
                "transfer coding not understood",
                "{odd}"
            );
        }
        assert_eq!(framing(&Method::HEAD, 200, &[(LENGTH, "5")]), "0");
        assert_eq!(framing(get, 204, &[(CODING, "chunked")]), "0");
        assert_eq!(framing(get, 304, &[(LENGTH, "5")]), "0");
    }

    fn body(held: &[u8], framing: Framing) -> (ResponseBody, DuplexStream) {
        let (ours, theirs) = duplex(1024);
        (
            ResponseBody::new(Box::new(ours), BytesMut::from(held), framing),
            theirs,
        )
    }

    /// Reads the whole body through a buffer of `room` bytes.
    async fn whole(body: &mut ResponseBody, room: usize) -> Result<Vec<u8>, io::ErrorKind> {
        let mut buf = vec![0; room];
        let mut all = Vec::new();
        loop {
            match body.next(&mut buf).await {
                Ok(0) => return Ok(all),
                Ok(n) => all.extend_from_slice(&buf[..n]),
                Err(error) => return Err(error.kind()),
            }
        }
    }

    #[tokio::test]
    async fn bodies_end_where_they_should() {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        let chunked = || Framing::Chunked(Chunked::new());
        for room in [1, 3, 100] {
            for (held, sent, framing, expected) in [
                ("ab", "cd", Framing::UntilClose, Ok("abcd")),
                ("", "", Framing::UntilClose, Ok("")),
                ("ab", "cdef", Framing::Length(3), Ok("abc")),
                ("abcd", "", Framing::Length(3), Ok("abc")),
                ("ab", "c", Framing::Length(4), Err(UnexpectedEof)),
                ("ab", "", Framing::Length(0), Ok("")),
                ("3\r\nab", "c\r\n0\r\n\r\nmore", chunked(), Ok("abc")),
                ("", "3\r\nabc\r\n", chunked(), Err(UnexpectedEof)),
                ("3\r\nab", "", chunked(), Err(UnexpectedEof)),
                ("3\r\nabcd", "", chunked(), Err(InvalidData)),
            ] {
                let (mut body, mut peer) = body(held.as_bytes(), framing);
                peer.write_all(sent.as_bytes()).await.unwrap();
                drop(peer);
                let expected = expected.map(|text: &str| text.as_bytes().to_vec());
                assert_eq!(whole(&mut body, room).await, expected, "{held} {sent}");
                if expected.is_ok() {
                    assert_eq!(body.next(&mut [0; 1]).await.unwrap(), 0);
                }
            }
        }
    }

    #[tokio::test]
    async fn excerpts_say_whether_there_is_more() {
        for (max, bytes, is_complete) in [
            (0, "", false),
            (5, "01234", false),
            (10, "0123456789", true),
            (99, "0123456789", true),
        ] {
            let (mut body, peer) = body(b"0123456789", Framing::UntilClose);
            drop(peer);
            let bytes = Bytes::from_static(bytes.as_bytes());
            assert_eq!(
                body.read_limited(max).await.unwrap(),
                Excerpt { bytes, is_complete },
                "{max}"
            );
        }
        let (mut body, _peer) = body(b"", Framing::Length(0));
        assert_eq!(
            body.read_limited(0).await.unwrap(),
            Excerpt {
                bytes: Bytes::new(),
                is_complete: true
            }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_found() {
        let start = Instant::now();
        let (mut body, mut peer) = body(b"", Framing::UntilClose);
        body.limit(Some(Duration::from_secs(60)), None);
        let reader = async {
            let mut buf = [0; 8];
            assert_eq!(body.next(&mut buf).await.unwrap(), 1);
            body.next(&mut buf).await.unwrap_err()
        };
        let writer = async {
            sleep(Duration::from_secs(59)).await;
            peer.write_all(b"x").await.unwrap();
        };
        let (error, ()) = tokio::join!(reader, writer);
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (io::ErrorKind::TimedOut, "no data")
        );
        assert_eq!(start.elapsed().as_secs(), 59 + 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_does_not_outlast_the_deadline() {
        let start = Instant::now();
        let (mut body, mut peer) = body(b"", Framing::UntilClose);
        body.limit(
            Some(Duration::from_secs(60)),
            Some(start + Duration::from_secs(10)),
        );
        let writer = async {
            loop {
                sleep(Duration::from_secs(3)).await;
                if peer.write_all(b"x").await.is_err() {
                    return;
                }
            }
        };
        let reader = async {
            let error = body.read_limited(100).await.unwrap_err();
            drop(body);
            error
        };
        let (error, ()) = tokio::join!(reader, writer);
        assert_eq!(error.to_string(), "not finished in time");
    }
}
