//! One Ogg page (RFC 3533 section 6) as a view of its bytes.
//!
//! Contract: a [`Page`] is exactly as long as its segment table says, so no accessor can fail; whether its
//! checksum is right is a separate question ([`Page::is_intact`]).

use super::crc;

/// Length of the fixed part of a page header.
pub(super) const HEAD: usize = 27;

/// Length of the longest page: head, 255 lacing values, 255 segments of 255 bytes.
pub(super) const LONGEST: usize = HEAD + 255 + 255 * 255;

/// The four bytes that every page begins with.
pub(super) const CAPTURE: &[u8; 4] = b"OggS";

/// The granule position of a page on which no packet ends.
pub(super) const NO_GRANULE: u64 = u64::MAX;

/// Flag of a page that begins inside a packet.
pub(super) const CONTINUED: u8 = 1;
/// Flag of the first page of a logical stream.
pub(super) const BOS: u8 = 2;
/// Flag of the last page of a logical stream.
pub(super) const EOS: u8 = 4;

/// A page with all its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page<'a> {
    bytes: &'a [u8],
    segments: usize,
}

/// What stands at the beginning of some bytes.
#[derive(Debug)]
pub(super) enum Start<'a> {
    /// A page; its checksum is not looked at.
    Page(Page<'a>),
    /// The beginning of what may become a page.
    Partial,
    /// Something else.
    Other,
}

impl<'a> Page<'a> {
    /// Looks for a page at the very beginning of `bytes`.
    pub(super) fn at_start_of(bytes: &'a [u8]) -> Start<'a> {
        let known = bytes.len().min(4);
        if bytes[..known] != CAPTURE[..known] || bytes.get(4).is_some_and(|&version| version != 0) {
            return Start::Other;
        }
        // The other five flags are not defined; a page that has them is not one of version 0.
        if bytes.get(5).is_some_and(|&flags| flags > 7) {
            return Start::Other;
        }
        let Some(&segments) = bytes.get(26) else {
            return Start::Partial;
        };
        let segments = usize::from(segments);
        let Some(lacing) = bytes.get(HEAD..HEAD + segments) else {
            return Start::Partial;
        };
        let length = HEAD + segments + lacing.iter().map(|&value| usize::from(value)).sum::<usize>();
        match bytes.get(..length) {
            Some(bytes) => Start::Page(Self { bytes, segments }),
            None => Start::Partial,
        }
    }

    /// Pages that follow one another in `bytes`, up to the first thing that is none.
    pub(super) fn all(mut bytes: &'a [u8]) -> impl Iterator<Item = Self> {
        std::iter::from_fn(move || {
            let Start::Page(page) = Self::at_start_of(bytes) else {
                return None;
            };
            bytes = &bytes[page.bytes.len()..];
            Some(page)
        })
    }

    /// The page itself.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the checksum is right.
    pub(super) fn is_intact(&self) -> bool {
        crc::page(self.bytes) == self.checksum()
    }

    /// Whether the page begins inside a packet.
    pub(super) fn is_continued(&self) -> bool {
        self.bytes[5] & CONTINUED != 0
    }

    /// Whether a logical stream begins here.
    pub(super) fn is_bos(&self) -> bool {
        self.bytes[5] & BOS != 0
    }

    /// Whether the logical stream ends here.
    pub(super) fn is_eos(&self) -> bool {
        self.bytes[5] & EOS != 0
    }

    /// Position at the end of the last packet that ends here, in units of the codec.
    pub(super) fn granule(&self) -> u64 {
        u64::from_le_bytes(self.bytes[6..14].try_into().expect("eight bytes"))
    }

    /// Which logical stream the page belongs to.
    pub(super) fn serial(&self) -> u32 {
        self.word(14)
    }

    /// The checksum as sent.
    pub(super) fn checksum(&self) -> u32 {
        self.word(22)
    }

    /// How many packets end here.
    pub(super) fn packets_ended(&self) -> usize {
        self.lacing().iter().filter(|&&value| value < 255).count()
    }

    /// The packets and parts of packets on this page.
    pub(super) fn packets(&self) -> impl Iterator<Item = Packet<'a>> + use<'a> {
        let mut lacing = self.lacing().iter();
        let mut body = &self.bytes[HEAD + self.segments..];
        let mut begins = !self.is_continued();
        std::iter::from_fn(move || {
            let mut length = 0;
            let mut ends = false;
            let mut any = false;
            for &value in &mut lacing {
                any = true;
                length += usize::from(value);
                if value < 255 {
                    ends = true;
                    break;
                }
            }
            if !any {
                return None;
            }
            let (bytes, rest) = body.split_at(length);
            body = rest;
            let packet = Packet { bytes, begins, ends };
            begins = true;
            Some(packet)
        })
    }

    fn lacing(&self) -> &'a [u8] {
        &self.bytes[HEAD..HEAD + self.segments]
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"))
    }
}

/// A packet, or as much of it as is on one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    /// Its bytes on this page.
    pub(super) bytes: &'a [u8],
    /// Whether it begins on this page.
    pub(super) begins: bool,
    /// Whether it ends on this page.
    pub(super) ends: bool,
}

#[cfg(test)]
mod tests {
    use super::super::testing::page;
    use super::*;

    #[test]
    fn lacing_becomes_packets() {
        let long = vec![9; 255];
        let bytes = page(CONTINUED, 5, 1, 0, &[b"tail", b"", &long]);
        let Start::Page(page) = Page::at_start_of(&bytes) else {
            panic!("a page")
        };
        let packets: Vec<_> = page
            .packets()
            .map(|it| (it.bytes.len(), it.begins, it.ends))
            .collect();
        assert_eq!(packets, [(4, false, true), (0, true, true), (255, true, true)]);
        assert_eq!(page.packets_ended(), 3);

        // Without the terminating zero the last packet goes on.
        let mut open = bytes.clone();
        open[26] -= 1;
        open.remove(HEAD + 3);
        let Start::Page(page) = Page::at_start_of(&open) else {
            panic!("a page")
        };
        assert_eq!(page.packets().last().map(|it| it.ends), Some(false));
        assert!(!page.is_intact());
    }

    #[test]
    fn any_prefix_is_partial() {
        let bytes = page(0, 5, 1, 0, &[b"abc"]);
        for end in 0..bytes.len() {
            assert!(
                matches!(Page::at_start_of(&bytes[..end]), Start::Partial),
                "{end}"
            );
        }
        assert!(matches!(Page::at_start_of(b"OggS\x01"), Start::Other));
        assert!(matches!(Page::at_start_of(b"OgS"), Start::Other));
        assert!(matches!(Page::at_start_of(b"OggS\0\x08"), Start::Other));
    }
}
