//! The program tables: PAT and PMT (ISO 13818-1 section 2.4.4).
//!
//! Contract: a table counts only when its checksum is right, and what is kept is bounded by the number of
//! programs followed.

use bytes::Bytes;

use super::{PACKET, Packet};

/// Programs that are followed; a live stream has one. The tables of further ones are only in the stream.
const MAX_PROGRAMS: usize = 4;
/// Elementary streams that are remembered per program.
const MAX_STREAMS: usize = 32;
/// A section has at most 1,024 bytes.
const MAX_SECTION: usize = 1024;
/// Packets that a section can be spread over; six suffice unless there are adaptation fields.
const MAX_PACKETS: usize = 8;
const PAT_PID: u16 = 0;
const PAT_TABLE: u8 = 0;
const PMT_TABLE: u8 = 2;

/// Whether a packet has changed what must be sent to those who join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Yes,
    No,
}

/// The tables in force.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pat: Table,
    programs: Vec<Program>,
}

#[derive(Debug)]
struct Program {
    pid: u16,
    table: Table,
    streams: Vec<Stream>,
}

#[derive(Debug)]
struct Stream {
    pid: u16,
    kind: u8,
}

/// One table, complete and in the making.
#[derive(Debug, Default)]
struct Table {
    /// The section in force and the packets that carried it.
    section: Vec<u8>,
    packets: Vec<u8>,
    /// What has arrived of the next one; no packets: nothing is expected.
    next_section: Vec<u8>,
    next_packets: Vec<u8>,
}

impl Tables {
    /// Looks at a packet.
    pub(super) fn feed(&mut self, packet: &Packet<'_>) -> Change {
        if packet.damaged() {
            return Change::No;
        }
        let pid = packet.pid();
        let changed = if pid == PAT_PID {
            let changed = self.pat.feed(packet, PAT_TABLE);
            if changed {
                self.read_pat();
            }
            changed
        } else if let Some(program) = self.programs.iter_mut().find(|program| program.pid == pid) {
            let changed = program.table.feed(packet, PMT_TABLE);
            if changed {
                program.read_pmt();
            }
            changed
        } else {
            false
        };
        // Without a program's own table the list of programs is of no use to a decoder.
        let usable = self
            .programs
            .iter()
            .any(|program| !program.table.packets.is_empty());
        if changed && usable {
            Change::Yes
        } else {
            Change::No
        }
    }

    /// The packets of all tables.
    pub(super) fn header(&self) -> Bytes {
        let programs = self.programs.iter().flat_map(|program| &program.table.packets);
        self.pat.packets.iter().chain(programs).copied().collect()
    }

    /// Whether a decoder can start at a flagged packet of this stream. Encoders flag every audio packet, so
    /// beside video the audio's flags mean nothing.
    pub(super) fn is_entry(&self, pid: u16) -> bool {
        let mut video = self.streams().filter(|stream| is_video(stream.kind)).peekable();
        video.peek().is_none() || video.any(|stream| stream.pid == pid)
    }

    /// The codec of the first video stream, else of the first audio stream that is known.
    pub(super) fn codec(&self) -> Option<&'static str> {
        let video = self.streams().filter(|stream| is_video(stream.kind));
        let others = self.streams().filter(|stream| !is_video(stream.kind));
        video.chain(others).find_map(|stream| codec(stream.kind))
    }

    fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.programs.iter().flat_map(|program| &program.streams)
    }

    fn read_pat(&mut self) {
        let entries = self.pat.section[8..self.pat.section.len() - 4].as_chunks::<4>().0;
        // Program 0 points to network information.
        let pids = entries
            .iter()
            .filter(|[a, b, _, _]| (*a, *b) != (0, 0))
            .map(|[_, _, c, d]| u16::from_be_bytes([c & 0x1F, *d]))
            .filter(|pid| *pid != PAT_PID);
        let mut programs: Vec<Program> = Vec::new();
        for pid in pids {
            if programs.len() == MAX_PROGRAMS || programs.iter().any(|program| program.pid == pid) {
                continue;
            }
            let known = self.programs.iter().position(|program| program.pid == pid);
            programs.push(match known {
                Some(at) => self.programs.swap_remove(at),
                None => Program {
                    pid,
                    table: Table::default(),
                    streams: Vec::new(),
                },
            });
        }
        self.programs = programs;
    }
}

impl Program {
    fn read_pmt(&mut self) {
        self.streams.clear();
        let section = &self.table.section;
        let mut rest = &section[..section.len() - 4];
        let Some(info) = rest.get(10..12) else { return };
        rest = rest.get(12 + length(info)..).unwrap_or_default();
        while let Some(&[kind, a, b, c, d]) = rest.first_chunk() {
            if self.streams.len() == MAX_STREAMS {
                break;
            }
            self.streams.push(Stream {
                pid: u16::from_be_bytes([a & 0x1F, b]),
                kind,
            });
            rest = rest.get(5 + length(&[c, d])..).unwrap_or_default();
        }
    }
}

impl Table {
    /// Takes a packet of the table's stream. True: a section with other content came into force.
    fn feed(&mut self, packet: &Packet<'_>, table_id: u8) -> bool {
        let payload = packet.payload();
        let part = if packet.begins_unit() {
            self.next_section.clear();
            self.next_packets.clear();
            // The pointer tells how much of the section before is still in front.
            let Some((&pointer, after)) = payload.split_first() else {
                return false;
            };
            let Some(part) = after.get(usize::from(pointer)..) else {
                return false;
            };
            part
        } else if self.next_packets.is_empty() || self.next_packets.len() >= MAX_PACKETS * PACKET {
            return false;
        } else {
            payload
        };
        self.next_section.extend_from_slice(part);
        self.next_packets.extend_from_slice(packet.bytes);
        let Some(head) = self.next_section.get(1..3) else {
            return false;
        };
        let len = 3 + length(head);
        if self.next_section[0] != table_id || len > MAX_SECTION {
            self.next_packets.clear();
            return false;
        }
        if self.next_section.len() < len {
            return false;
        }
        self.next_section.truncate(len);
        let packets = std::mem::take(&mut self.next_packets);
        // Eight bytes of head, four of checksum, and a table that is in force already.
        let sound = len >= 12 && self.next_section[5] & 1 == 1 && crc32(&self.next_section) == 0;
        if !sound || self.next_section == self.section {
            return false;
        }
        self.section = std::mem::take(&mut self.next_section);
        self.packets = packets;
        true
    }
}

/// A length of twelve bits.
fn length(bytes: &[u8]) -> usize {
    usize::from(bytes[0] & 0x0F) << 8 | usize::from(bytes[1])
}

fn is_video(kind: u8) -> bool {
    matches!(
        kind,
        0x01 | 0x02 | 0x10 | 0x1B | 0x20 | 0x21 | 0x24 | 0x33 | 0x42 | 0xD1 | 0xEA
    )
}

fn codec(kind: u8) -> Option<&'static str> {
    Some(match kind {
        0x01 | 0x02 => "MPEG2",
        0x10 => "MPEG4",
        0x1B => "H264",
        0x24 => "H265",
        0x33 => "H266",
        // Layer II and III share their number.
        0x03 | 0x04 => "MP2",
        0x0F | 0x11 => "AAC",
        0x81 => "AC3",
        _ => return None,
    })
}

/// The checksum of sections (ISO 13818-1 annex A); 0 over a section that ends with its own.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |mut crc, byte| {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            crc = crc << 1 ^ if crc >> 31 == 1 { 0x04C1_1DB7 } else { 0 };
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn checksum_matches_the_published_check_value() {
        // The catalogue's name is CRC-32/MPEG-2.
        assert_eq!(crc32(b"123456789"), 0x0376_E6E7);
    }
}
