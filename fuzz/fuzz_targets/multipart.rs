#![no_main]

use bytes::Bytes;
use front::multipart::{Part, boundary, parts};

/// A form as curl writes it.
fn written(parts: &[Part], boundary: &str) -> Bytes {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        body.extend_from_slice(format!("Content-Disposition: form-data; name=\"{}\"", escaped(&part.name)).as_bytes());
        if let Some(file) = &part.file_name {
            body.extend_from_slice(format!("; filename=\"{}\"", escaped(file)).as_bytes());
        }
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(&part.bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body.into()
}

// The first line of an input is the boundary.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (line, body) = match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &b""[..]),
    };
    let Ok(line) = std::str::from_utf8(line) else { return };
    let Some(boundary) = boundary(&format!("multipart/form-data; boundary={line}")) else {
        return;
    };
    let body = Bytes::copy_from_slice(body);
    let Some(read) = parts(&body, &boundary) else { return };
    assert!(read.iter().map(|part| part.bytes.len()).sum::<usize>() <= body.len());
    // What was understood is understood the same when it is written again.
    assert_eq!(parts(&written(&read, &boundary), &boundary), Some(read));
});
