//! Header lines as radio software writes them, made into a header map.
//!
//! Contract: what cannot be a header is skipped, never an error; callers bound the size.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Most header lines kept of one head.
pub(crate) const LINES_MAX: usize = 100;

/// Takes lines that end in CRLF or bare LF, with or without a space after the colon, in any encoding.
pub(crate) fn parse(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|&byte| byte == b'\n').take(LINES_MAX) {
        if let Some((name, value)) = header(line) {
            headers.append(name, value);
        }
    }
    headers
}

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = HeaderName::from_bytes(line[..colon].trim_ascii()).ok()?;
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sloppy_lines_are_read_and_broken_ones_skipped() {
        let headers = parse(b"icy-name:x\r\nIce-Genre :  y \nno colon\n: z\nbad name: q\nraw: \xff\r\n\r\n");
        assert_eq!(headers["icy-name"], "x");
        assert_eq!(headers["ice-genre"], "y");
        assert_eq!(headers["raw"].as_bytes(), b"\xff");
        assert_eq!(headers.len(), 3);
    }
}
