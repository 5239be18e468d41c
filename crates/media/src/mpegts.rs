//! MPEG transport streams (ISO 13818-1 section 2.4).
//!
//! Contract: a unit holds whole packets of 188 bytes. Once the stream has flagged a random access point, only
//! the units that begin with one are marked as places to start at.

mod tables;

use std::time::Duration;

use crate::{Header, StreamFacts, Unit, batch::Batch, buffer::Buffer};
use tables::{Change, Tables};

pub(crate) const PACKET: usize = 188;
/// First byte of every packet.
pub(crate) const SYNC: u8 = 0x47;
/// Packets further on that must begin with the sync byte too before the alignment is believed.
const CONFIRMATIONS: usize = 2;

/// Cuts a transport stream.
#[derive(Debug)]
pub(crate) struct MpegTsFramer {
    buffer: Buffer,
    batch: Batch,
    locked: bool,
    tables: Tables,
    /// A random access point was flagged.
    flagged: bool,
    facts: Option<StreamFacts>,
    bad_bytes: u64,
    resyncs: u64,
}

impl MpegTsFramer {
    pub(crate) fn new() -> Self {
        Self {
            buffer: Buffer::default(),
            batch: Batch::default(),
            locked: false,
            tables: Tables::default(),
            flagged: false,
            facts: None,
            bad_bytes: 0,
            resyncs: 0,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<Unit>) {
        self.buffer.extend(bytes);
        while self.step(false, out) {}
        self.batch.flush(out);
    }

    pub(crate) fn finish(&mut self, out: &mut Vec<Unit>) {
        while self.step(true, out) {}
        self.batch.flush(out);
        self.drop_bytes(self.buffer.len());
        self.locked = false;
    }

    pub(crate) fn bad_bytes(&self) -> u64 {
        self.bad_bytes
    }

    pub(crate) fn resyncs(&self) -> u64 {
        self.resyncs
    }

    /// Goes on by one packet or piece of noise. False: that needs more bytes.
    fn step(&mut self, ended: bool, out: &mut Vec<Unit>) -> bool {
        let rest = self.buffer.rest();
        let Some(&first) = rest.first() else { return false };
        if self.locked {
            if first != SYNC {
                self.locked = false;
                self.resyncs += 1;
                return true;
            }
            let Some(packet) = rest.first_chunk::<PACKET>().copied() else {
                return false;
            };
            self.buffer.consume(PACKET);
            self.packet(&packet, out);
            return true;
        }
        if first != SYNC {
            let noise = memchr::memchr(SYNC, rest).unwrap_or(rest.len());
            self.drop_bytes(noise);
            return true;
        }
        let mut further = (1..=CONFIRMATIONS).map(|packet| rest.get(packet * PACKET));
        if further.clone().any(|byte| byte.is_some_and(|byte| *byte != SYNC)) {
            self.drop_bytes(1);
        } else if further.all(|byte| byte.is_some()) {
            self.locked = true;
        } else if !ended {
            return false;
        } else if rest.len().is_multiple_of(PACKET) {
            // A stream too short to be confirmed, but of whole packets.
            self.locked = true;
        } else {
            self.drop_bytes(1);
        }
        true
    }

    fn packet(&mut self, bytes: &[u8; PACKET], out: &mut Vec<Unit>) {
        let packet = Packet { bytes };
        if self.tables.feed(&packet) == Change::Yes {
            // The units that follow need the new tables, those before do not.
            self.batch.flush(out);
            out.push(Unit::Header(Header {
                bytes: self.tables.header(),
                chains: true,
            }));
            let facts = StreamFacts {
                codec: self.tables.codec(),
                ..StreamFacts::default()
            };
            if self.facts.as_ref() != Some(&facts) {
                self.facts = Some(facts.clone());
                out.push(Unit::Facts(facts));
            }
        }
        let entry = packet.random_access() && self.tables.is_entry(packet.pid());
        if entry {
            self.flagged = true;
            self.batch.flush(out);
        }
        self.batch.add(bytes, entry || !self.flagged, Duration::ZERO, out);
    }

    fn drop_bytes(&mut self, count: usize) {
        self.buffer.consume(count);
        self.bad_bytes += count as u64;
    }
}

/// One packet.
#[derive(Debug, Clone, Copy)]
struct Packet<'a> {
    bytes: &'a [u8; PACKET],
}

impl<'a> Packet<'a> {
    fn pid(&self) -> u16 {
        u16::from_be_bytes([self.bytes[1] & 0x1F, self.bytes[2]])
    }

    /// A section or PES packet begins in this packet.
    fn begins_unit(&self) -> bool {
        self.bytes[1] & 0x40 != 0
    }

    /// The transmission is known to have damaged it.
    fn damaged(&self) -> bool {
        self.bytes[1] & 0x80 != 0
    }

    fn random_access(&self) -> bool {
        self.bytes[3] & 0x20 != 0 && self.bytes[4] > 0 && self.bytes[5] & 0x40 != 0
    }

    /// What follows the adaptation field; empty when there is nothing or it is scrambled.
    fn payload(&self) -> &'a [u8] {
        let (has_field, has_payload) = (self.bytes[3] & 0x20 != 0, self.bytes[3] & 0x10 != 0);
        let start = if has_field {
            5 + usize::from(self.bytes[4])
        } else {
            4
        };
        if !has_payload || self.bytes[3] & 0xC0 != 0 {
            return &[];
        }
        self.bytes.get(start..).unwrap_or_default()
    }
}
