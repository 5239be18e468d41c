//! Titles in Vorbis comments (Vorbis I section 5), which Opus, FLAC, Speex and Theora share.
//!
//! Contract: at most 64 KiB of a block are read, whatever lengths it claims.

use crate::TrackTitle;

/// Bytes of comments that are looked at.
pub(crate) const LIMIT: usize = 64 * 1024;

/// Longest artist or title, in bytes.
const LONGEST_VALUE: usize = 512;

/// Artist and title of a comment block (without the packet's magic), if either has text.
pub(crate) fn track_title(block: &[u8]) -> Option<TrackTitle> {
    let mut rest = &block[..block.len().min(LIMIT)];
    counted(&mut rest)?;
    let fields = word(&mut rest)?;
    let mut found = TrackTitle::default();
    for _ in 0..fields {
        let Some(field) = counted(&mut rest) else { break };
        let Some(equals) = memchr::memchr(b'=', field) else {
            continue;
        };
        let (name, value) = (&field[..equals], &field[equals + 1..]);
        let slot = if name.eq_ignore_ascii_case(b"ARTIST") {
            &mut found.artist
        } else if name.eq_ignore_ascii_case(b"TITLE") {
            &mut found.title
        } else {
            continue;
        };
        if slot.is_none() {
            *slot = clean(value);
        }
    }
    (found != TrackTitle::default()).then_some(found)
}

/// Printable text without surrounding space; nothing when nothing is left.
fn clean(value: &[u8]) -> Option<String> {
    let text: String = String::from_utf8_lossy(value)
        .chars()
        .filter(|it| !it.is_control())
        .collect();
    let text = text.trim();
    let end = (0..=LONGEST_VALUE.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0);
    let text = text[..end].trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

fn word(rest: &mut &[u8]) -> Option<u32> {
    let (word, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_le_bytes(*word))
}

fn counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(word(rest)?).ok()?;
    let (value, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::comments;
    use super::*;

    fn check(fields: &[&str], artist: Option<&str>, title: Option<&str>) {
        let expected = TrackTitle {
            artist: artist.map(str::to_owned),
            title: title.map(str::to_owned),
        };
        let expected = (expected != TrackTitle::default()).then_some(expected);
        assert_eq!(track_title(&comments(fields)), expected, "{fields:?}");
    }

    #[test]
    fn titles() {
        check(&["ARTIST=Nina", "TITLE=Song"], Some("Nina"), Some("Song"));
        check(&["title= Söng \r\n", "album=x"], None, Some("Söng"));
        check(&["Artist=a", "artist=b", "TiTlE=x=y"], Some("a"), Some("x=y"));
        check(&["ARTIST=", "TITLE= ", "no equals"], None, None);
        check(&["ARTIST=", "ARTIST=second"], Some("second"), None);
        check(&[], None, None);
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let title = format!("TITLE=a{}", "é".repeat(400));
        let found = track_title(&comments(&[&title])).and_then(|it| it.title).unwrap();
        assert_eq!(found.len(), 511);
    }

    #[test]
    fn lengths_that_lie_end_the_block() {
        let mut block = comments(&["TITLE=kept", "ARTIST=lost"]);
        let at = block.len() - "ARTIST=lost".len() - 4;
        block[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(
            track_title(&block).and_then(|it| it.title).as_deref(),
            Some("kept")
        );
        assert_eq!(track_title(&[0xff; 40]), None);
    }

    proptest! {
        #[test]
        fn never_panics(block in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = track_title(&block);
        }
    }
}
