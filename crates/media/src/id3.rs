//! ID3v2 tags, which sources leave in front of files and between them.
//!
//! Contract: only the length is read, and a length that no sane tag has is not believed, because skipping it
//! would silence the stream.

/// Longest tag that is skipped as a whole (cover pictures are the bulk of it).
const MAX_TAG: usize = 4 << 20;

/// What the bytes at a frame boundary say of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    /// A tag of so many bytes, its head included.
    Bytes(usize),
    /// It may be one; the head is not complete.
    NeedMore,
    /// No tag.
    No,
}

/// Looks for a tag at the start of `bytes` (id3v2.4.0-structure, section 3.1).
pub(crate) fn tag(bytes: &[u8]) -> Tag {
    let known = bytes.len().min(3);
    if bytes[..known] != b"ID3"[..known] {
        return Tag::No;
    }
    let [_, _, _, major, revision, flags, size @ ..] = bytes else {
        return Tag::NeedMore;
    };
    if !(2..=4).contains(major) || *revision == 0xFF || flags & 0x0F != 0 {
        return Tag::No;
    }
    let Some(size) = size.first_chunk::<4>() else {
        return Tag::NeedMore;
    };
    if size.iter().any(|byte| byte & 0x80 != 0) {
        return Tag::No;
    }
    let body = size.iter().fold(0, |sum, byte| sum << 7 | usize::from(*byte));
    let footer = if *major == 4 && flags & 0x10 != 0 { 10 } else { 0 };
    match 10 + body + footer {
        total if total <= MAX_TAG => Tag::Bytes(total),
        _ => Tag::No,
    }
}

#[cfg(test)]
mod tests {
    use super::{Tag, tag};

    #[test]
    fn tags_are_measured() {
        let check = |bytes: &[u8], expected: Tag| assert_eq!(tag(bytes), expected, "{bytes:x?}");
        check(b"", Tag::NeedMore);
        check(b"I", Tag::NeedMore);
        check(b"ID3\x04\x00", Tag::NeedMore);
        check(b"ID3\x04\x00\x00\x00\x00\x02", Tag::NeedMore);
        check(b"ID3\x04\x00\x00\x00\x00\x02\x01", Tag::Bytes(10 + 257));
        check(b"ID3\x04\x00\x10\x00\x00\x00\x05", Tag::Bytes(25));
        check(b"ID3\x04\x00\x00\x00\x00\x80\x00", Tag::No);
        check(b"ID3\x04\x00\x00\x7F\x7F\x7F\x7F", Tag::No);
        check(b"ID3\x09\x00\x00\x00\x00\x00\x00", Tag::No);
        check(b"\xFF\xFB", Tag::No);
    }
}
