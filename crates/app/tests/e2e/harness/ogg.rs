//! Ogg as RFC 3533 describes it, for looking at what a listener got.
//!
//! Contract: anything that is not a whole page with a right checksum panics; only the last one may be cut.

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// Begins a logical stream.
    pub(crate) first: bool,
    /// Ends one.
    pub(crate) last: bool,
    /// End position in samples; none where no packet ends.
    pub(crate) granule: Option<i64>,
    /// Which logical stream.
    pub(crate) serial: u32,
    /// Its number in that stream.
    pub(crate) sequence: u32,
    /// The packets' bytes.
    pub(crate) payload: Vec<u8>,
    /// All of it.
    pub(crate) bytes: Vec<u8>,
}

/// The pages in `bytes`.
pub(crate) fn pages(mut bytes: &[u8]) -> Vec<Page> {
    let mut pages: Vec<Page> = Vec::new();
    while let Some(length) = length_of(bytes, pages.len()) {
        let (page, rest) = bytes.split_at(length);
        let number = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().unwrap());
        let mut blank = page.to_vec();
        blank[22..26].fill(0);
        assert_eq!(
            checksum(&blank),
            number(22),
            "page {} has a wrong checksum",
            pages.len()
        );
        let granule = i64::from_le_bytes(page[6..14].try_into().unwrap());
        pages.push(Page {
            first: page[5] & 2 != 0,
            last: page[5] & 4 != 0,
            granule: (granule != -1).then_some(granule),
            serial: number(14),
            sequence: number(18),
            payload: page[27 + usize::from(page[26])..].to_vec(),
            bytes: page.to_vec(),
        });
        bytes = rest;
    }
    pages
}

/// The length of the page at the beginning; none when it is cut.
fn length_of(bytes: &[u8], index: usize) -> Option<usize> {
    let head = bytes.get(..27)?;
    assert_eq!(&head[..4], b"OggS", "no page where page {index} should begin");
    let segments = bytes.get(27..27 + usize::from(head[26]))?;
    let payload: usize = segments.iter().map(|segment| usize::from(*segment)).sum();
    let length = 27 + segments.len() + payload;
    (length <= bytes.len()).then_some(length)
}

/// RFC 3533 section 6: polynomial 0x04c11db7, not reflected, from 0.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 24, |sum, _| {
            let carry = if sum & 0x8000_0000 != 0 { 0x04c1_1db7 } else { 0 };
            sum << 1 ^ carry
        })
    })
}

/// Panics unless the pages are well-formed chained streams: each begins with its own first page, and is numbered
/// from 0 without a gap. Gives the bytes of each chain.
pub(crate) fn check_chains(pages: &[Page]) -> Vec<Vec<u8>> {
    let mut current: Option<(u32, u32)> = None;
    let mut chains: Vec<Vec<u8>> = Vec::new();
    for (index, page) in pages.iter().enumerate() {
        if page.first {
            chains.push(Vec::new());
            assert!(
                index == 0 || pages[index - 1].last,
                "page {index} begins a chain before the last has ended"
            );
            assert_eq!(page.sequence, 0, "page {index}");
        } else {
            let (serial, sequence) = current.expect("it begins with a first page");
            assert_eq!(
                (page.serial, page.sequence),
                (serial, sequence + 1),
                "page {index}"
            );
        }
        current = Some((page.serial, page.sequence));
        chains
            .last_mut()
            .expect("begun above")
            .extend_from_slice(&page.bytes);
    }
    chains
}
