//! The head of a server's answer, as much of it as a listener or source needs.
//! Contract: never reads past the head, so what follows is audio to the byte.

/// The longest head that is read.
pub(crate) const MAX_HEAD: usize = 16 * 1024;

/// A status line and the header fields that change how the body is read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The status code; `ICY 200 OK` counts as well as HTTP.
    pub(crate) status: u16,
    /// Bytes of audio between two metadata blocks, when the server interleaves them.
    pub(crate) metaint: Option<usize>,
    /// Whether the body is in chunks, which a listener here does not undo.
    pub(crate) chunked: bool,
    /// How many bytes the head takes.
    pub(crate) length: usize,
}

/// Reads a head from the beginning of a buffer. None: it is not complete yet. An error says what is wrong.
pub(crate) fn parse_reply(bytes: &[u8]) -> Option<Result<Reply, &'static str>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return (bytes.len() > MAX_HEAD).then_some(Err("head too long"));
    };
    Some(parse_lines(&String::from_utf8_lossy(&bytes[..end]), end + 4))
}

fn parse_lines(head: &str, length: usize) -> Result<Reply, &'static str> {
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split_whitespace().nth(1));
    let status = status
        .and_then(|status| status.parse().ok())
        .ok_or("no status line")?;
    let mut reply = Reply {
        status,
        metaint: None,
        chunked: false,
        length,
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        match name.to_ascii_lowercase().as_str() {
            "icy-metaint" => reply.metaint = value.trim().parse().ok().filter(|&interval| interval > 0),
            "transfer-encoding" => reply.chunked = value.to_ascii_lowercase().contains("chunked"),
            _ => {}
        }
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::{MAX_HEAD, Reply, parse_reply};

    #[test]
    fn heads_of_all_kinds() {
        let plain = b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\n\xFF\xFB";
        let expected = Reply {
            status: 200,
            metaint: None,
            chunked: false,
            length: plain.len() - 2,
        };
        assert_eq!(parse_reply(plain), Some(Ok(expected)));
        let icy = b"ICY 200 OK\r\nIcy-MetaInt: 16000\r\nTransfer-Encoding: Chunked\r\n\r\n";
        let expected = Reply {
            status: 200,
            metaint: Some(16_000),
            chunked: true,
            length: icy.len(),
        };
        assert_eq!(parse_reply(icy), Some(Ok(expected)));
        assert_eq!(parse_reply(&plain[..20]), None);
        assert_eq!(parse_reply(b"\r\n\r\n"), Some(Err("no status line")));
        assert_eq!(parse_reply(&[b'x'; MAX_HEAD + 1]), Some(Err("head too long")));
    }
}
