//! The forms in which a client takes an answer.
//!
//! Contract: an answer that is compressed says so, and only text is.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderMap, HeaderValue};

use crate::Answer;

/// Shorter answers fit into one packet anyway.
const WORTH: usize = 1_024;

/// Whether the client would rather have JSON than text, where there is both.
pub(crate) fn prefers_json(headers: &HeaderMap) -> bool {
    let accept = joined(headers, header::ACCEPT);
    accept.contains("application/json") && !accept.contains("text/html")
}

/// All values of a header as one list.
pub(crate) fn joined(headers: &HeaderMap, name: header::HeaderName) -> String {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values.collect::<Vec<_>>().join(", ")
}

/// The answer as a client gets it that takes gzip.
pub(crate) fn compress(mut answer: Answer) -> Answer {
    let text = answer.content_type.starts_with("text/") || answer.content_type.starts_with("application/");
    let binary = answer.content_type == crate::answer::BINARY;
    let done = answer
        .headers
        .iter()
        .any(|(name, _)| *name == header::CONTENT_ENCODING);
    if !text || binary || done || answer.body.len() < WORTH {
        return answer;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(answer.body.len() / 4), Compression::fast());
    let compressed = encoder.write_all(&answer.body).and_then(|()| encoder.finish());
    if let Ok(compressed) = compressed {
        answer.body = compressed;
        answer = answer.with_header(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn json_is_preferred_by_programs_only() {
        let cases = [
            ("application/json", true),
            ("application/json, */*;q=0.1", true),
            ("text/html,application/xhtml+xml,application/json;q=0.9", false),
            ("*/*", false),
        ];
        for (accept, expected) in cases {
            let headers = [(header::ACCEPT, HeaderValue::from_static(accept))]
                .into_iter()
                .collect();
            assert_eq!(prefers_json(&headers), expected, "{accept}");
        }
    }

    #[test]
    fn long_text_is_compressed_and_the_rest_is_not() {
        let text = "a line of text\n".repeat(200);
        let compressed = compress(Answer::text(text.clone()));
        let mut again = String::new();
        flate2::read::GzDecoder::new(&*compressed.body)
            .read_to_string(&mut again)
            .unwrap();
        assert_eq!(again, text);
        assert_eq!(compressed.headers.len(), 1);
        assert_eq!(compress(compressed.clone()), compressed);
        for plain in [Answer::text("short"), Answer::attachment("heap", vec![0; 4_096])] {
            assert_eq!(compress(plain.clone()), plain);
        }
    }
}
