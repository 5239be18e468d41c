//! Elements of EBML (RFC 8794) and blocks of Matroska (RFC 9559 section 10).
//!
//! Contract: no size is believed before it was compared with a limit or with the bytes that are there.

/// Identifiers, with their length marks.
pub(super) mod id {
    pub(in crate::matroska) const EBML: u32 = 0x1a45_dfa3;
    pub(in crate::matroska) const SEGMENT: u32 = 0x1853_8067;
    pub(in crate::matroska) const INFO: u32 = 0x1549_a966;
    pub(in crate::matroska) const TIMESTAMP_SCALE: u32 = 0x2a_d7b1;
    pub(in crate::matroska) const TRACKS: u32 = 0x1654_ae6b;
    pub(in crate::matroska) const TRACK_ENTRY: u32 = 0xae;
    pub(in crate::matroska) const TRACK_NUMBER: u32 = 0xd7;
    pub(in crate::matroska) const TRACK_TYPE: u32 = 0x83;
    pub(in crate::matroska) const CODEC_ID: u32 = 0x86;
    pub(in crate::matroska) const AUDIO: u32 = 0xe1;
    pub(in crate::matroska) const SAMPLING_FREQUENCY: u32 = 0xb5;
    pub(in crate::matroska) const CHANNELS: u32 = 0x9f;
    pub(in crate::matroska) const TAGS: u32 = 0x1254_c367;
    pub(in crate::matroska) const CLUSTER: u32 = 0x1f43_b675;
    pub(in crate::matroska) const TIMESTAMP: u32 = 0xe7;
    pub(in crate::matroska) const SIMPLE_BLOCK: u32 = 0xa3;
    pub(in crate::matroska) const BLOCK_GROUP: u32 = 0xa0;
    pub(super) const BLOCK: u32 = 0xa1;
    pub(super) const REFERENCE_BLOCK: u32 = 0xfb;
    pub(super) const VOID: u32 = 0xec;
    pub(super) const CRC_32: u32 = 0xbf;
}

/// Longest identifier and size together.
pub(super) const LONGEST_HEAD: usize = 12;

/// Identifier and size of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: u32,
    /// Nothing when the size is unknown.
    pub(super) size: Option<u64>,
    /// Length of identifier and size.
    pub(super) len: usize,
}

/// What stands at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// An element.
    Head(Head),
    /// The beginning of an element's head.
    Partial,
    /// Something else.
    Other,
}

impl Head {
    /// Length of the element with its head, when its size is known and it is no longer than `limit`.
    pub(super) fn whole(&self, limit: u64) -> Option<usize> {
        let length = self
            .size?
            .checked_add(self.len as u64)
            .filter(|&it| it <= limit)?;
        usize::try_from(length).ok()
    }

    /// Whether the element may stand anywhere and means nothing.
    pub(super) fn is_global(&self) -> bool {
        matches!(self.id, id::VOID | id::CRC_32)
    }
}

/// Reads the head of an element.
pub(super) fn head(bytes: &[u8]) -> Start {
    let Some(&first) = bytes.first() else {
        return Start::Partial;
    };
    let id_len = first.leading_zeros() as usize + 1;
    if id_len > 4 {
        return Start::Other;
    }
    let Some(id) = bytes.get(..id_len) else {
        return Start::Partial;
    };
    let id = id.iter().fold(0, |id, &byte| id << 8 | u32::from(byte));
    let Some(&first) = bytes.get(id_len) else {
        return Start::Partial;
    };
    let size_len = first.leading_zeros() as usize + 1;
    if size_len > 8 {
        return Start::Other;
    }
    let Some(size) = bytes.get(id_len..id_len + size_len) else {
        return Start::Partial;
    };
    let size = unsigned(size) & mask(size_len);
    // RFC 8794 section 6.2: all bits set means unknown.
    Start::Head(Head {
        id,
        size: Some(size).filter(|&it| it != mask(size_len)),
        len: id_len + size_len,
    })
}

/// The value bits of a variable-size integer of one to eight bytes.
const fn mask(len: usize) -> u64 {
    (1 << (7 * len)) - 1
}

/// A big-endian number of any length; of more than eight bytes the last eight count.
pub(super) fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// A float of four or eight bytes.
pub(super) fn float(bytes: &[u8]) -> Option<f64> {
    match bytes.len() {
        4 => Some(f64::from(f32::from_be_bytes(bytes.try_into().ok()?))),
        8 => Some(f64::from_be_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

/// The elements inside an element, with their content, as far as they are whole.
pub(super) fn children(mut bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let Start::Head(head) = head(bytes) else {
            return None;
        };
        let element = bytes.get(..head.whole(bytes.len() as u64)?)?;
        bytes = &bytes[element.len()..];
        Some((head.id, &element[head.len..]))
    })
}

/// What the head of a block tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) track: u64,
    /// Ticks from the Timestamp of the Cluster.
    pub(super) time: i16,
    pub(super) keyframe: bool,
}

impl Block {
    /// Reads the content of a SimpleBlock or BlockGroup.
    pub(super) fn read(id: u32, content: &[u8]) -> Option<Self> {
        if id != id::BLOCK_GROUP {
            return Self::simple(content);
        }
        let mut block = None;
        let mut refers = false;
        for (id, content) in children(content) {
            match id {
                id::BLOCK => block = Self::simple(content),
                id::REFERENCE_BLOCK => refers = true,
                _ => {}
            }
        }
        // In a group nothing but the absence of a reference makes a keyframe.
        block.map(|block| Self {
            keyframe: !refers,
            ..block
        })
    }

    fn simple(content: &[u8]) -> Option<Self> {
        let len = content.first()?.leading_zeros() as usize + 1;
        let (track, rest) = content.split_at_checked(len).filter(|_| len <= 8)?;
        let [high, low, flags, ..] = rest else { return None };
        Some(Self {
            track: unsigned(track) & mask(len),
            time: i16::from_be_bytes([*high, *low]),
            keyframe: flags & 0x80 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn heads() {
        let check = |bytes: &[u8], expected: Start| assert_eq!(head(bytes), expected, "{bytes:x?}");
        let element = |id, size, len| Start::Head(Head { id, size, len });
        check(&[0xe7, 0x81, 5], element(0xe7, Some(1), 2));
        check(&[0x1f, 0x43, 0xb6, 0x75, 0xff], element(id::CLUSTER, None, 5));
        check(&CLUSTER_8, element(id::CLUSTER, None, 12));
        check(&[0x42, 0x86, 0x40, 0x02], element(0x4286, Some(2), 4));
        check(
            &[0xec, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe],
            element(id::VOID, Some((1 << 56) - 2), 9),
        );
        check(&[], Start::Partial);
        check(&[0x1f, 0x43], Start::Partial);
        check(&[0xe7], Start::Partial);
        check(&[0xe7, 0x40], Start::Partial);
        check(&[0x08, 0, 0, 0, 0], Start::Other);
        check(&[0xe7, 0x00], Start::Other);
    }

    const CLUSTER_8: [u8; 12] = super::super::CLUSTER;

    #[test]
    fn blocks() {
        let block = |track, time, keyframe| {
            Some(Block {
                track,
                time,
                keyframe,
            })
        };
        assert_eq!(
            Block::read(id::SIMPLE_BLOCK, &[0x81, 0xff, 0xfe, 0x80, 9]),
            block(1, -2, true)
        );
        assert_eq!(
            Block::read(id::SIMPLE_BLOCK, &[0x41, 0x02, 0, 7, 0]),
            block(0x102, 7, false)
        );
        assert_eq!(Block::read(id::SIMPLE_BLOCK, &[0x81, 0, 0]), None);
        assert_eq!(
            Block::read(id::BLOCK_GROUP, &[0xa1, 0x84, 0x82, 0, 1, 0]),
            block(2, 1, true)
        );
        let with_reference = [0xa1, 0x84, 0x82, 0, 1, 0, 0xfb, 0x81, 1];
        assert_eq!(Block::read(id::BLOCK_GROUP, &with_reference), block(2, 1, false));
        assert_eq!(Block::read(id::BLOCK_GROUP, &[]), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Start::Head(head) = head(&bytes) {
                prop_assert!(head.len <= LONGEST_HEAD && head.len <= bytes.len());
            }
            prop_assert!(children(&bytes).map(|(_, content)| content.len()).sum::<usize>() <= bytes.len());
            let _ = (Block::read(id::SIMPLE_BLOCK, &bytes), Block::read(id::BLOCK_GROUP, &bytes), float(&bytes));
        }
    }
}
