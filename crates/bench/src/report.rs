//! What a crowd of listeners saw, as one process reports it to the one that asked.
//! Contract: reports of several processes add up to the report of one larger crowd.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::frames::Findings;
use crate::histogram::Histogram;
use crate::icy::Blocks;

/// Counts and distributions; spans are in nanoseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Listeners that were to connect.
    pub(crate) wanted: u64,
    /// Listeners that hear audio at the end.
    pub(crate) on: u64,
    /// Connections that ended before the first audio, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Listeners that are still without audio at the end.
    pub(crate) waiting: u64,
    /// Ordinary listeners that the server cut off.
    pub(crate) dropped: u64,
    /// Slow and dead readers that the server cut off.
    pub(crate) shed: u64,
    /// Ordinary listeners that got less than nine tenths of the bitrate in the window.
    pub(crate) starved: u64,
    /// Connected time within the window, summed over listeners.
    pub(crate) listened: u64,
    /// The same for ordinary readers only.
    pub(crate) listened_ordinary: u64,
    /// Bytes and reads of ordinary listeners within the window.
    pub(crate) bytes: u64,
    /// How often ordinary listeners had something to read in the window.
    pub(crate) reads: u64,
    /// Connect to first audio byte; who still waits is in it with the time waited so far.
    pub(crate) first_byte: Histogram,
    /// The same for those who had hung up and came back.
    pub(crate) back: Histogram,
    /// Source write to listener read, by frame, of the sampled listeners.
    pub(crate) delay: Histogram,
    /// The longest silence of each ordinary listener in the window.
    pub(crate) silence: Histogram,
    /// What the sampled listeners found in their streams.
    pub(crate) findings: Findings,
    /// The metadata blocks that sampled listeners saw.
    pub(crate) blocks: Blocks,
    /// Processor time that this process used in the window.
    pub(crate) own_cpu: u64,
}

impl Report {
    /// Adds the report of another process.
    pub(crate) fn absorb(&mut self, other: &Report) {
        self.wanted += other.wanted;
        self.on += other.on;
        for (reason, count) in &other.refused {
            *self.refused.entry(reason.clone()).or_default() += count;
        }
        self.waiting += other.waiting;
        self.dropped += other.dropped;
        self.shed += other.shed;
        self.starved += other.starved;
        self.listened += other.listened;
        self.listened_ordinary += other.listened_ordinary;
        self.bytes += other.bytes;
        self.reads += other.reads;
        self.first_byte.absorb(&other.first_byte);
        self.back.absorb(&other.back);
        self.delay.absorb(&other.delay);
        self.silence.absorb(&other.silence);
        self.findings.absorb(&other.findings);
        self.blocks.titles += other.blocks.titles;
        self.blocks.wrong += other.blocks.wrong;
        self.own_cpu += other.own_cpu;
    }

    /// Where the time to the first byte is added up.
    pub(crate) fn waits_mut(&mut self, returned: bool) -> &mut Histogram {
        if returned {
            &mut self.back
        } else {
            &mut self.first_byte
        }
    }

    /// All connections that ended before the first audio.
    pub(crate) fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Milliseconds between two deliveries to an ordinary listener, on average.
    pub(crate) fn flush_ms(&self) -> f64 {
        self.listened_ordinary as f64 / 1e6 / self.reads.max(1) as f64
    }
}

/// A span in nanoseconds as milliseconds.
pub(crate) fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn reports_add_up_after_the_wire() {
        let mut half = Report {
            wanted: 10,
            on: 7,
            listened_ordinary: 4_000_000,
            reads: 2,
            ..Report::default()
        };
        half.refused.insert("status 503".into(), 2);
        half.first_byte.add(5);
        let wire = serde_json::to_string(&half).unwrap();
        half.absorb(&serde_json::from_str(&wire).unwrap());
        assert_eq!(
            (
                half.wanted,
                half.on,
                half.refused_total(),
                half.first_byte.total()
            ),
            (20, 14, 4, 2)
        );
        assert_eq!(half.flush_ms(), 2.0);
    }
}
