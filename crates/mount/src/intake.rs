//! What a source's bytes go through on their way into the ring: titles taken out, format recognised, frames cut.
//!
//! Contract: bytes without transport framing in, units in the mount's ring out. Nothing is held back longer
//! than it takes to recognise the format or to complete a frame.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use media::{
    Format, Framer, SNIFF_BYTES, Sniff, Unit,
    icy::{Deinterleaver, Piece},
    sniff,
};

use crate::{Claim, Title, allowance::Allowance, events::SourceSlowed};

/// The source's end of a mount.
#[derive(Debug)]
pub struct Intake {
    claim: Claim,
    allowance: Allowance,
    /// Whether it has been told that this source is slowed down.
    slowed: bool,
    deinterleaver: Option<Deinterleaver>,
    framing: Framing,
    units: Vec<Unit>,
    /// When the oldest byte was read that the framing still holds.
    held_since: Option<Instant>,
    /// What the framer has counted and the mount knows already.
    counted: (u64, u64),
    /// Whether the source said what it sends; a wrong label is worth a warning, a missing one is not.
    labelled: bool,
}

#[derive(Debug)]
enum Framing {
    /// Not enough bytes yet to tell what they are.
    Sniffing(Vec<u8>),
    Known(Box<Framer>),
}

impl Intake {
    /// For a source that has claimed its mount. `interval` is that of the metadata blocks it interleaves.
    #[must_use]
    pub fn new(claim: Claim, labelled: bool, interval: Option<NonZeroUsize>) -> Self {
        Self {
            claim,
            allowance: Allowance::default(),
            slowed: false,
            deinterleaver: interval.map(Deinterleaver::new),
            framing: Framing::Sniffing(Vec::new()),
            units: Vec::new(),
            held_since: None,
            counted: (0, 0),
            labelled,
        }
    }

    /// The claim that the bytes go to.
    #[must_use]
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Takes the next bytes of the source.
    pub fn push(&mut self, bytes: &[u8], now: Instant) {
        self.claim.count(bytes.len());
        self.allowance.take(bytes.len(), now);
        let Some(mut deinterleaver) = self.deinterleaver.take() else {
            self.media(bytes, now);
            return self.measure(now);
        };
        deinterleaver.push(bytes, |piece| match piece {
            Piece::Audio(audio) => self.media(audio, now),
            Piece::Meta(meta) => {
                if let Some(text) = meta.title {
                    let url = meta.url.filter(|url| !url.is_empty());
                    self.claim.stream().set_title(Title {
                        url,
                        ..Title::whole(text)
                    });
                }
            }
        });
        self.deinterleaver = Some(deinterleaver);
        self.measure(now);
    }

    /// How long to wait before the source is read again: it sends faster than anybody could listen to it.
    pub fn rest(&mut self, now: Instant) -> Option<Duration> {
        let rest = self.allowance.rest(now)?;
        if !self.slowed {
            self.slowed = true;
            observe::emit(SourceSlowed {
                mount: self.claim.stream().mount().as_str(),
            });
        }
        Some(rest)
    }

    /// Tells the mount what the framing counted.
    fn measure(&mut self, now: Instant) {
        if !observe::ENABLED {
            return;
        }
        self.claim.count_ingest(now.elapsed());
        if let Framing::Known(framer) = &self.framing {
            let counted = (framer.resyncs(), framer.bad_bytes());
            if counted != self.counted {
                let intake = self.claim.intake();
                intake.resyncs.add(counted.0.saturating_sub(self.counted.0));
                intake.bad_bytes.add(counted.1.saturating_sub(self.counted.1));
                self.counted = counted;
            }
        }
    }

    /// The source ended: complete frames that are still held go out, and the mount is given up.
    pub fn finish(mut self, reason: &'static str, now: Instant) {
        if let Framing::Sniffing(held) = &self.framing {
            let held = held.clone();
            // Too short to recognise, so the label decides.
            self.recognise(self.claim.stream().format(), None, &held, now);
        }
        if let Framing::Known(framer) = &mut self.framing {
            framer.finish(&mut self.units);
            self.deliver(now);
        }
        self.claim.release(reason);
    }

    fn media(&mut self, bytes: &[u8], now: Instant) {
        match &mut self.framing {
            Framing::Known(framer) => {
                framer.push(bytes, &mut self.units);
                self.deliver(now);
            }
            Framing::Sniffing(held) => {
                held.extend_from_slice(bytes);
                let declared = self.claim.stream().format();
                let (format, content_type) = match sniff(held) {
                    Sniff::NeedMore if held.len() < SNIFF_BYTES => return,
                    Sniff::Is(format, content_type) => (format, Some(content_type)),
                    _ => (declared, None),
                };
                let held = std::mem::take(held);
                self.recognise(format, content_type, &held, now);
            }
        }
    }

    fn recognise(&mut self, format: Format, content_type: Option<&str>, held: &[u8], now: Instant) {
        if let Some(content_type) = content_type
            && format != self.claim.stream().format()
        {
            self.claim.correct(format, content_type, self.labelled, now);
        }
        let mut framer = Framer::new(format);
        framer.push(held, &mut self.units);
        self.framing = Framing::Known(Box::new(framer));
        self.deliver(now);
    }

    fn deliver(&mut self, now: Instant) {
        if self.units.is_empty() {
            self.held_since.get_or_insert(now);
            return;
        }
        // Only the first unit can hold bytes of earlier reads.
        let held = self
            .held_since
            .take()
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.claim.set_held(held);
        for unit in self.units.drain(..) {
            self.claim.push(unit, now);
            self.claim.set_held(Duration::ZERO);
        }
        // A read rarely ends with a frame, so the next frame most likely begins with bytes of this one.
        self.held_since = Some(now);
    }
}
