//! A transport stream (ISO 13818-1) with one program: H.264 and AAC.

use media::Format;

use super::checksum::crc;
use super::{Stream, noise};

const PACKETS: u32 = 1024;
const TABLES_PID: u16 = 0x1000;
const VIDEO: u16 = 0x100;
const AUDIO: u16 = 0x101;
/// Packets from one pair of tables and entry point to the next.
const ROUND: u32 = 128;

/// Tables and a place to start every so often, one packet of sound after seven of pictures.
pub(crate) fn stream() -> Stream {
    let list = section(0, &[0, 1, 0xE0 | (TABLES_PID >> 8) as u8, TABLES_PID as u8]);
    let mut streams = vec![0xE0 | (VIDEO >> 8) as u8, VIDEO as u8, 0xF0, 0];
    for (kind, pid) in [(0x1B, VIDEO), (0x0F, AUDIO)] {
        streams.extend([kind, 0xE0 | (pid >> 8) as u8, pid as u8, 0xF0, 0]);
    }
    let program = section(2, &streams);
    let packet = |n: u32| match n % ROUND {
        0 => table_packet(0, n / ROUND, &list),
        1 => table_packet(TABLES_PID, n / ROUND, &program),
        // An adaptation field of one byte, whose flag says that a decoder can start here.
        2 => packet(VIDEO, true, 0x30, n, &[1, 0x40]),
        of if of % 8 == 7 => packet(AUDIO, of % 16 == 7, 0x10, n, &[]),
        _ => packet(VIDEO, false, 0x10, n, &[]),
    };
    Stream {
        format: Format::MpegTs,
        head: Vec::new(),
        parts: (0..PACKETS).map(packet).collect(),
        codec: Some("H264"),
        duration: None,
    }
}

fn packet(pid: u16, begins: bool, control: u8, n: u32, field: &[u8]) -> Vec<u8> {
    let mut packet = vec![
        0x47,
        u8::from(begins) << 6 | (pid >> 8) as u8,
        pid as u8,
        control | n as u8 & 0x0F,
    ];
    packet.extend_from_slice(field);
    packet.extend(noise(n, 188 - packet.len()));
    packet
}

fn table_packet(pid: u16, n: u32, section: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x47, 0x40 | (pid >> 8) as u8, pid as u8, 0x10 | n as u8 & 0x0F, 0];
    packet.extend_from_slice(section);
    packet.resize(188, 0xFF);
    packet
}

fn section(table: u8, content: &[u8]) -> Vec<u8> {
    let len = 5 + content.len() as u16 + 4;
    let mut section = vec![table, 0xB0 | (len >> 8) as u8, len as u8, 0, 1, 0xC1, 0, 0];
    section.extend_from_slice(content);
    section.extend(crc(32, 0x04C1_1DB7, u32::MAX, &section).to_be_bytes());
    section
}
