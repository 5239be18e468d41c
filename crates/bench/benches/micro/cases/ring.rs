//! The ring: what a source pays for a frame, and a listener for finding it.
//!
//! The ring is full, as it always is but for the first half minute of a mount: each push drops the oldest.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use ring::{Bell, Entry, Limits, Ring, Rung, Writer};

use super::{Case, Work};

/// An MP3 frame of 128 kbit/s at 44,100 Hz.
const FRAME: usize = 417;
const BURST: u64 = 64 << 10;
const PUSHES: u64 = 512;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "ring/push",
            unit: "frame of 417 B",
            prepare: || push(0),
        },
        Case {
            name: "ring/push-2-bells",
            unit: "frame of 417 B",
            prepare: || push(2),
        },
        Case {
            name: "ring/get",
            unit: "chunk",
            prepare: get,
        },
        Case {
            name: "ring/join",
            unit: "join",
            prepare: join,
        },
    ]
}

/// Counts how often a bell was heard.
struct Ear(AtomicU64);

impl Rung for Ear {
    fn rung(&self, token: u64) {
        self.0.fetch_add(token, Ordering::Relaxed);
    }
}

fn full(now: Instant) -> (Writer, Arc<Ring>, Entry) {
    let (mut writer, ring) = Ring::new(Limits::for_burst(BURST));
    let entry = Entry::frames(Bytes::from(vec![0x55; FRAME]), true);
    while ring.oldest() == 0 {
        writer.push(entry.clone(), now);
    }
    (writer, ring, entry)
}

fn push(bells: u64) -> Work {
    let now = Instant::now();
    let (mut writer, ring, entry) = full(now);
    let ear = Arc::new(Ear(AtomicU64::new(0)));
    let bells: Vec<_> = (0..bells).map(|_| Bell::new(ear.clone(), 1)).collect();
    for bell in &bells {
        ring.attach(bell);
        bell.arm();
    }
    let oldest = ring.oldest();
    writer.push(entry.clone(), now);
    assert_eq!(ring.oldest(), oldest + 1, "the ring is not full");
    assert_eq!(ear.0.load(Ordering::Relaxed), bells.len() as u64);
    Work {
        units: PUSHES,
        bytes: PUSHES * FRAME as u64,
        lap: Box::new(move || {
            for _ in 0..PUSHES {
                for bell in &bells {
                    bell.arm();
                }
                writer.push(black_box(entry.clone()), now);
            }
        }),
    }
}

fn get() -> Work {
    let (writer, ring, entry) = full(Instant::now());
    let (oldest, head) = (ring.oldest(), ring.head());
    assert!((oldest..head).all(|seq| ring.get(seq).is_some_and(|chunk| chunk.bytes == entry.bytes)));
    Work {
        units: head - oldest,
        bytes: 0,
        lap: Box::new(move || {
            // The ring is closed to nobody while its writer lives.
            let _ = &writer;
            for seq in oldest..head {
                black_box(ring.get(black_box(seq)));
            }
        }),
    }
}

fn join() -> Work {
    let now = Instant::now();
    let (writer, ring, _) = full(now);
    let behind = ring.head() - ring.join(BURST, now);
    assert_eq!(behind, BURST / FRAME as u64, "not the burst before the edge");
    Work {
        units: PUSHES,
        bytes: 0,
        lap: Box::new(move || {
            let _ = &writer;
            for _ in 0..PUSHES {
                black_box(ring.join(black_box(BURST), now));
            }
        }),
    }
}
