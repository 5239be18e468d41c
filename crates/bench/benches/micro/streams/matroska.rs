//! WebM (RFC 9559) as live encoders send it: Segment and Clusters of unknown size.

use std::time::Duration;

use media::Format;

use super::{Stream, noise};

const CLUSTERS: u32 = 12;
/// Segment and Cluster are told apart by their identifiers; this is their size.
const UNKNOWN: [u8; 8] = [1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

/// Opus of 64 kbit/s, a Cluster a second.
pub(crate) fn audio() -> Stream {
    let blocks = |_| {
        (0..50_u16)
            .map(|n| (1, n * 20, true, 160))
            .collect::<Vec<(u8, u16, bool, usize)>>()
    };
    stream(&[(1, 2, "A_OPUS")], "Opus", blocks, 20)
}

/// The same with VP8 of 25 pictures a second and 0.5 Mbit/s, whose keyframes begin the Clusters.
pub(crate) fn video() -> Stream {
    let blocks = |_| {
        let mut blocks = Vec::new();
        for picture in 0..25 {
            let key = picture == 0;
            let len = if key { 12_000 } else { 2_000 };
            blocks.push((2, picture * 40, key, len));
            blocks.push((1, picture * 40, true, 160));
            blocks.push((1, picture * 40 + 20, true, 160));
        }
        blocks
    };
    stream(&[(1, 2, "A_OPUS"), (2, 1, "V_VP8")], "VP8", blocks, 20)
}

fn stream(
    tracks: &[(u8, u8, &str)],
    codec: &'static str,
    blocks: impl Fn(u32) -> Vec<(u8, u16, bool, usize)>,
    last: u64,
) -> Stream {
    let entries: Vec<_> = tracks
        .iter()
        .map(|&(number, kind, codec)| {
            let fields = [
                element(&[0xD7], &[number]),
                element(&[0x83], &[kind]),
                element(&[0x86], codec.as_bytes()),
            ];
            element(&[0xAE], &fields.concat())
        })
        .collect();
    let head = [
        element(&[0x1A, 0x45, 0xDF, 0xA3], &element(&[0x42, 0x82], b"webm")),
        vec![0x18, 0x53, 0x80, 0x67],
        UNKNOWN.to_vec(),
        // Ticks of a millisecond.
        element(
            &[0x15, 0x49, 0xA9, 0x66],
            &element(&[0x2A, 0xD7, 0xB1], &[0x0F, 0x42, 0x40]),
        ),
        element(&[0x16, 0x54, 0xAE, 0x6B], &entries.concat()),
    ]
    .concat();
    let mut parts = Vec::new();
    for cluster in 0..CLUSTERS {
        for (n, (track, time, key, len)) in blocks(cluster).into_iter().enumerate() {
            let mut part = Vec::new();
            if n == 0 {
                part.extend([0x1F, 0x43, 0xB6, 0x75]);
                part.extend(UNKNOWN);
                part.extend([0xE7, 0x88]);
                part.extend((u64::from(cluster) * 1000).to_be_bytes());
            }
            let [high, low] = time.to_be_bytes();
            let seed = cluster * 1000 + n as u32;
            let content = [
                vec![0x80 | track, high, low, u8::from(key) << 7],
                noise(seed, len - 4),
            ];
            part.extend(element(&[0xA3], &content.concat()));
            parts.push(part);
        }
    }
    Stream {
        format: Format::Matroska,
        head,
        parts,
        codec: Some(codec),
        // The last block's own time is not known.
        duration: Some(Duration::from_millis(u64::from(CLUSTERS) * 1000 - last)),
    }
}

fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
    // A size of two bytes reaches to 16,382.
    let size = u16::try_from(content.len()).expect("small elements") | 0x4000;
    [id, &size.to_be_bytes(), content].concat()
}
