//! Recognises a stream by its first bytes, because labels are often wrong.
//!
//! Contract: an answer other than [`Sniff::NeedMore`] stays the same when more bytes follow, and
//! [`SNIFF_BYTES`] are always enough.

use memchr::memmem;

use crate::{
    Format,
    adts::AdtsHeader,
    id3::{self, Tag},
    mpeg::MpegHeader,
    mpegts::{PACKET, SYNC},
    scan::FrameHeader,
};

/// With so many bytes there is always an answer.
pub const SNIFF_BYTES: usize = 4096;

/// What the first bytes of a stream say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniff {
    /// The format, and the content type to show to listeners if the source's label was wrong.
    Is(Format, &'static str),
    /// Too few bytes. When no more come, the label decides.
    NeedMore,
    /// Nothing that is known here.
    Unknown,
}

/// Looks at the first bytes of a stream, from its very start.
///
/// ```
/// use media::{Format, Sniff, sniff};
/// assert_eq!(sniff(b"OggS\0\x02"), Sniff::Is(Format::Ogg, "application/ogg"));
/// assert_eq!(sniff(b"Og"), Sniff::NeedMore);
/// ```
#[must_use]
pub fn sniff(first: &[u8]) -> Sniff {
    let first = &first[..first.len().min(SNIFF_BYTES)];
    let full = first.len() == SNIFF_BYTES;
    let answer = match id3::tag(first) {
        // A tag with a picture hides what follows it; nearly always that is MP3.
        Tag::Bytes(len) if len >= SNIFF_BYTES => Sniff::Is(Format::Mpeg, "audio/mpeg"),
        Tag::Bytes(len) => match recognise(first.get(len..).unwrap_or_default(), full) {
            Sniff::NeedMore | Sniff::Unknown if full => Sniff::Is(Format::Mpeg, "audio/mpeg"),
            answer => answer,
        },
        _ => recognise(first, full),
    };
    if answer == Sniff::NeedMore && full {
        Sniff::Unknown
    } else {
        answer
    }
}

/// The marks at the very start. `full`: no more bytes will be looked at.
fn recognise(bytes: &[u8], full: bool) -> Sniff {
    match bytes {
        [b'O', b'g', b'g', b'S', ..] => Sniff::Is(Format::Ogg, "application/ogg"),
        [b'f', b'L', b'a', b'C', ..] => Sniff::Is(Format::Flac, "audio/flac"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => {
            Sniff::Is(Format::Wav, "audio/wav")
        }
        [0x1A, 0x45, 0xDF, 0xA3, ..] => match ebml_type(bytes, full) {
            Some(content_type) => Sniff::Is(Format::Matroska, content_type),
            None => Sniff::NeedMore,
        },
        _ if bytes.len() < 12 => Sniff::NeedMore,
        _ => by_frames(bytes, full),
    }
}

/// Formats that are known by a pattern which repeats itself.
fn by_frames(bytes: &[u8], full: bool) -> Sniff {
    let mut undecided = false;
    // In front one confirmation is enough, as for the framers; further in, where a source was tuned into
    // halfway, two are asked for.
    for at in memchr::memchr2_iter(0xFF, SYNC, bytes) {
        let here = &bytes[at..];
        let confirmations = if at == 0 { 1 } else { 2 };
        let answers = if here[0] == SYNC {
            [
                (packets(here, at), Sniff::Is(Format::MpegTs, "video/mp2t")),
                (Some(false), Sniff::Unknown),
            ]
        } else {
            [
                (
                    frames::<MpegHeader>(here, confirmations),
                    Sniff::Is(Format::Mpeg, "audio/mpeg"),
                ),
                (
                    frames::<AdtsHeader>(here, confirmations),
                    Sniff::Is(Format::Adts, "audio/aac"),
                ),
            ]
        };
        for (answer, format) in answers {
            match answer {
                // What might begin further in front is waited for, so that the answer does not change.
                Some(true) if !undecided => return format,
                Some(false) => {}
                _ => undecided = !full,
            }
        }
    }
    Sniff::NeedMore
}

/// Whether a frame begins here that `confirmations` others follow; None when more bytes must tell.
fn frames<H: FrameHeader>(bytes: &[u8], confirmations: usize) -> Option<bool> {
    let head = |bytes: &[u8]| {
        if bytes.len() < H::LEN {
            None
        } else {
            Some(H::parse(bytes))
        }
    };
    let Some(first) = head(bytes)? else {
        return Some(false);
    };
    let mut rest = &bytes[first.frame_len().min(bytes.len())..];
    for _ in 0..confirmations {
        match head(rest)? {
            Some(next) if next.same_stream(&first) => rest = &rest[next.frame_len().min(rest.len())..],
            _ => return Some(false),
        }
    }
    Some(true)
}

/// Whether transport packets begin here, `at` bytes into the stream.
fn packets(bytes: &[u8], at: usize) -> Option<bool> {
    if at >= PACKET {
        return Some(false);
    }
    for confirmation in 1..=if at == 0 { 2 } else { 4 } {
        if *bytes.get(confirmation * PACKET)? != SYNC {
            return Some(false);
        }
    }
    Some(true)
}

/// The content type of an EBML stream: the DocType says which family, the track list whether there is video.
fn ebml_type(bytes: &[u8], full: bool) -> Option<&'static str> {
    const DOC_TYPE: [u8; 2] = [0x42, 0x82];
    const TRACKS: [u8; 4] = [0x16, 0x54, 0xAE, 0x6B];
    const CLUSTER: [u8; 4] = [0x1F, 0x43, 0xB6, 0x75];
    // The track list stands before the first Cluster.
    let end = memmem::find(bytes, &CLUSTER);
    if end.is_none() && !full {
        return None;
    }
    let head = &bytes[..end.unwrap_or(bytes.len())];
    let webm =
        memmem::find(head, &DOC_TYPE).is_some_and(|at| head[at..].get(3..7) == Some(b"webm".as_slice()));
    let tracks = memmem::find(head, &TRACKS)
        .map(|at| &head[at..])
        .unwrap_or_default();
    // A CodecID element, 0x86, of a length below 128 whose text begins with its kind.
    let has = |kind: &[u8; 2]| {
        memchr::memchr_iter(0x86, tracks).any(|at| tracks[at..].get(2..4) == Some(kind.as_slice()))
    };
    let audio = has(b"A_") && !has(b"V_");
    Some(match (webm, audio) {
        (true, true) => "audio/webm",
        (true, false) => "video/webm",
        (false, true) => "audio/x-matroska",
        (false, false) => "video/x-matroska",
    })
}
