//! Copies that browsers and proxies keep, and how they ask whether theirs is still good (RFC 9110 sections 8.8 and 13).

use front::Request;
use http::{HeaderValue, header};
use sha2::{Digest as _, Sha256};

/// The tag of some content.
pub(super) fn tag(content: &[u8]) -> HeaderValue {
    value(&format!("\"{}\"", digest(content)))
}

/// The tag of something that means the same though its bytes may differ.
pub(super) fn weak_tag(content: &[u8]) -> HeaderValue {
    value(&format!("W/\"{}\"", digest(content)))
}

/// Whether whoever asks has it already.
pub(super) fn is_known(request: &Request, tag: &HeaderValue) -> bool {
    let known = request.headers.get_all(header::IF_NONE_MATCH).into_iter();
    known
        .filter_map(|known| known.to_str().ok())
        .any(|known| names(known, tag))
}

/// Whether a list of tags holds this one, weak or not: for reading that makes no difference.
fn names(list: &str, tag: &HeaderValue) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let tag = bare(tag.to_str().unwrap_or_default());
    list.split(',')
        .any(|known| known.trim() == "*" || bare(known) == tag)
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content)[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn value(tag: &str) -> HeaderValue {
    HeaderValue::from_str(tag).expect("quotes and hex digits are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_in_lists() {
        let (strong, weak) = (tag(b"x"), weak_tag(b"x"));
        assert_ne!(strong, tag(b"y"));
        let text = strong.to_str().unwrap();
        for (list, expected) in [
            (text.to_owned(), true),
            (format!("W/{text}"), true),
            (format!("\"a\" , {text}"), true),
            ("*".to_owned(), true),
            ("\"a\"".to_owned(), false),
            (String::new(), false),
            (text.trim_matches('"').to_owned(), false),
        ] {
            assert_eq!(
                (names(&list, &strong), names(&list, &weak)),
                (expected, expected),
                "{list}"
            );
        }
    }
}
