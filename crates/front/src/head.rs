//! Request heads: request line and header lines.
//!
//! Contract: patient with form, strict with everything that decides where a request ends. No input panics, and any
//! way of cutting the same bytes into reads gives the same request.
//!
//! Patience means: `ICE/1.0` and `ICY/1.0` for a version, bare LF line ends, no space after a colon, bytes outside
//! ASCII in target and values, control characters in values (they become spaces), folded values, and header lines
//! whose name no other program would accept (they are dropped). It ends at the fields of `STRICT`.

use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION,
};
use http::{Method, StatusCode};

use crate::Target;
use crate::framing::Framing;

/// Fields that decide about framing, identity or the connection: anything odd about them is an error.
const STRICT: [&str; 5] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "host",
    "expect",
];

/// The protocol version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `HTTP/1.0`
    Http10,
    /// `HTTP/1.1` (and later minor versions)
    Http11,
    /// `ICE/1.0` or `ICY/1.0`: HTTP/1.0 under another name, by old encoders.
    Ice10,
}

/// A parsed request head.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// The method; `SOURCE` is an extension method.
    pub method: Method,
    /// The request target.
    pub target: Target,
    /// The protocol version.
    pub version: Version,
    /// The header fields; values may hold any bytes but control characters.
    pub headers: HeaderMap,
    /// What the head says about the body.
    pub framing: Framing,
}

/// The result of [`parse`].
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    /// The head is not complete.
    Partial,
    /// A head.
    Complete {
        /// The head.
        head: Box<Head>,
        /// How many bytes it took, with empty lines before it; the body begins behind them.
        length: usize,
    },
}

/// How large a head may be.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// In bytes, with the empty line at its end.
    pub bytes: usize,
    /// In header lines.
    pub lines: usize,
}

/// Why a head cannot be served. The connection closes after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// Not HTTP, or HTTP that could be read in two ways; the text says what.
    #[error("Bad request: {0}")]
    Malformed(&'static str),
    /// Too many bytes or lines.
    #[error("Request header too large")]
    TooLarge,
    /// A version of HTTP that is not spoken here.
    #[error("HTTP version not supported")]
    Version,
    /// A transfer coding other than `chunked`.
    #[error("Transfer coding not supported")]
    UnknownCoding,
}

impl HeadError {
    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
        }
    }
}

/// Parses the head at the start of `bytes`.
///
/// # Errors
/// See [`HeadError`]; more bytes would not help.
pub fn parse(bytes: &[u8], limits: HeadLimits) -> Result<Parsed, HeadError> {
    let blank = blank_lines(bytes);
    let bytes = &bytes[blank..];
    if bytes
        .first()
        .is_some_and(|&first| first != b'\r' && !is_token(first))
    {
        return Err(HeadError::Malformed("not an HTTP request"));
    }
    let Some(end) = end_of_head(bytes, 0) else {
        return if bytes.len() >= limits.bytes {
            Err(HeadError::TooLarge)
        } else {
            Ok(Parsed::Partial)
        };
    };
    if end > limits.bytes {
        return Err(HeadError::TooLarge);
    }
    let head = parse_complete(&bytes[..end], limits)?;
    Ok(Parsed::Complete {
        head: Box::new(head),
        length: blank + end,
    })
}

/// How many bytes of empty lines come before a head; they are to be skipped (RFC 9112 section 2.2).
#[must_use]
pub fn blank_lines(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match &bytes[at..] {
            [b'\n', ..] => at += 1,
            [b'\r', b'\n', ..] => at += 2,
            _ => return at,
        }
    }
}

/// Where the head ends, if its end is in `bytes`: just behind the first empty line. The first `seen` bytes were
/// searched before without success.
#[must_use]
pub fn end_of_head(bytes: &[u8], seen: usize) -> Option<usize> {
    // The end may have begun in what was seen: LF, then CR and LF.
    let from = seen.saturating_sub(2);
    memchr::memchr_iter(b'\n', bytes.get(from..)?).find_map(|at| match &bytes[from + at + 1..] {
        [b'\n', ..] => Some(from + at + 2),
        [b'\r', b'\n', ..] => Some(from + at + 3),
        _ => None,
    })
}

fn is_token(byte: u8) -> bool {
    // RFC 9110 section 5.6.2.
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn parse_complete(bytes: &[u8], limits: HeadLimits) -> Result<Head, HeadError> {
    let mut lines = bytes
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let (method, target, version) = parse_request_line(lines.next().unwrap_or_default())?;
    let lines: Vec<&[u8]> = lines.take_while(|line| !line.is_empty()).collect();
    if lines.len() > limits.lines {
        return Err(HeadError::TooLarge);
    }
    let headers = parse_fields(&lines)?;
    if headers.get_all(HOST).iter().count() > 1 {
        return Err(HeadError::Malformed("more than one Host"));
    }
    let framing = Framing::from_headers(&headers)?;
    Ok(Head {
        method,
        target,
        version,
        headers,
        framing,
    })
}

fn parse_request_line(line: &[u8]) -> Result<(Method, Target, Version), HeadError> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadError::Malformed("bad request line"));
    };
    let version = match version {
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Version::Http11,
        b"ICE/1.0" | b"ICY/1.0" => Version::Ice10,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => return Err(HeadError::Version),
        _ => return Err(HeadError::Malformed("bad request line")),
    };
    let method = Method::from_bytes(method).map_err(|_| HeadError::Malformed("bad method"))?;
    if target.iter().any(u8::is_ascii_control) {
        return Err(HeadError::Malformed("bad request target"));
    }
    let target = Target::parse(target).ok_or(HeadError::Malformed("bad request target"))?;
    Ok((method, target, version))
}

fn parse_fields(lines: &[&[u8]]) -> Result<HeaderMap, HeadError> {
    let mut headers = HeaderMap::with_capacity(lines.len());
    let mut lines = lines.iter().copied().peekable();
    while let Some(line) = lines.next() {
        if starts_blank(line) {
            return Err(HeadError::Malformed("white space before the first header"));
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            return Err(HeadError::Malformed("header line without a colon"));
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let mut value = value.to_vec();
        let mut folded = false;
        // RFC 9112 section 5.2: a line that begins with white space continues the value.
        while let Some(more) = lines.next_if(|line| starts_blank(line)) {
            folded = true;
            value.push(b' ');
            value.extend_from_slice(more.trim_ascii());
        }
        if name.contains(&0) || value.contains(&0) || name.contains(&b'\r') || value.contains(&b'\r') {
            return Err(HeadError::Malformed("NUL or bare CR in a header"));
        }
        let odd = folded || value.iter().any(|&byte| byte.is_ascii_control() && byte != b'\t');
        let bare: Vec<u8> = name.iter().copied().filter(|&byte| is_token(byte)).collect();
        if STRICT
            .iter()
            .any(|strict| bare.eq_ignore_ascii_case(strict.as_bytes()))
            && (odd || bare != name)
        {
            return Err(HeadError::Malformed("bad framing header"));
        }
        for byte in value.iter_mut().filter(|byte| byte.is_ascii_control()) {
            *byte = b' ';
        }
        let field = HeaderName::from_bytes(name.trim_ascii())
            .ok()
            .zip(HeaderValue::from_bytes(value.trim_ascii()).ok());
        if let Some((name, mut value)) = field {
            // Then no debug print of a request shows it.
            value.set_sensitive(matches!(name, AUTHORIZATION | PROXY_AUTHORIZATION | COOKIE));
            headers.append(name, value);
        }
    }
    Ok(headers)
}

fn starts_blank(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

impl Head {
    /// Whether the client wants to send further requests on the connection.
    #[must_use]
    pub fn wants_keep_alive(&self) -> bool {
        match self.version {
            Version::Http11 => !has_token(&self.headers, &CONNECTION, "close"),
            Version::Http10 | Version::Ice10 => {
                has_token(&self.headers, &CONNECTION, "keep-alive")
                    // RFC 9112 section 6.1: with HTTP/1.0 nobody can be sure where a chunked body ends.
                    && self.framing != Framing::Chunked
            }
        }
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.version == Version::Http11 && has_token(&self.headers, &EXPECT, "100-continue")
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests;
