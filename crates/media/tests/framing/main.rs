//! Framing as a source's connection sees it: bytes in, units out.

mod clips;
mod damage;
mod random;
mod regressions;
mod sniffing;

use std::{path::Path, time::Duration};

use media::{Format, Framer, StreamFacts, TrackTitle, Unit};

/// Everything a framer made of a stream.
#[derive(Debug, Default, Clone, PartialEq)]
struct Cut {
    bytes: Vec<u8>,
    /// Where units begin, and whether a listener can start there.
    units: Vec<(usize, bool)>,
    /// Headers and the position in `bytes` at which they stand.
    headers: Vec<(usize, Vec<u8>)>,
    titles: Vec<TrackTitle>,
    facts: Vec<StreamFacts>,
    duration: Duration,
    bad_bytes: u64,
    resyncs: u64,
}

impl Cut {
    fn take(&mut self, units: Vec<Unit>) {
        for unit in units {
            match unit {
                Unit::Frames(frames) => {
                    assert!(!frames.bytes.is_empty());
                    self.units.push((self.bytes.len(), frames.sync));
                    self.bytes.extend_from_slice(&frames.bytes);
                    self.duration += frames.duration;
                }
                Unit::Header(header) => self.headers.push((self.bytes.len(), header.bytes.to_vec())),
                Unit::Title(title) => self.titles.push(title),
                Unit::Facts(facts) => self.facts.push(facts),
            }
        }
    }

    /// The same without what depends on the pushes: where units begin.
    fn content(&self) -> Self {
        Self {
            units: Vec::new(),
            ..self.clone()
        }
    }
}

/// Runs pushes through a framer.
fn cut<'a>(format: Format, pushes: impl IntoIterator<Item = &'a [u8]>) -> Cut {
    let mut framer = Framer::new(format);
    assert_eq!(framer.format(), format);
    let mut cut = Cut::default();
    for push in pushes {
        let mut units = Vec::new();
        framer.push(push, &mut units);
        cut.take(units);
    }
    let mut units = Vec::new();
    framer.finish(&mut units);
    cut.take(units);
    cut.bad_bytes = framer.bad_bytes();
    cut.resyncs = framer.resyncs();
    cut
}

fn whole(format: Format, stream: &[u8]) -> Cut {
    cut(format, [stream])
}

/// The cut must not depend on the pushes, except that units begin at fewer frames when pushes are longer.
fn check_splits(format: Format, stream: &[u8]) -> Cut {
    let single = cut(format, stream.chunks(1));
    let sync = |cut: &Cut| {
        cut.units
            .iter()
            .filter(|unit| unit.1)
            .map(|unit| unit.0)
            .collect::<Vec<_>>()
    };
    let frames = sync(&single);
    for size in [2, 3, 7, 61, 188, 1000, 1460, 4096, 16 << 10, stream.len().max(1)] {
        let split = cut(format, stream.chunks(size));
        assert!(
            split.content() == single.content(),
            "pushes of {size} bytes change the {format:?} stream"
        );
        for at in sync(&split) {
            assert!(
                frames.binary_search(&at).is_ok(),
                "pushes of {size} bytes: no frame begins at {at}"
            );
        }
    }
    single
}

fn read(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
