//! The two checksums of a FLAC frame (RFC 9639 sections 9.1.8 and 9.3).

const TABLE8: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u8;
        let mut bit = 0;
        while bit < 8 {
            crc = crc << 1 ^ if crc & 0x80 != 0 { 0x07 } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// `TABLES16[k][b]` is the checksum of byte `b` followed by `k` zero bytes.
static TABLES16: [[u16; 256]; 8] = {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = crc << 1 ^ if crc & 0x8000 != 0 { 0x8005 } else { 0 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[zeros - 1][byte];
            tables[zeros][byte] = crc << 8 ^ tables[0][(crc >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
};

/// The checksum of a frame header.
pub(super) fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| TABLE8[usize::from(crc ^ byte)])
}

/// Continues the checksum of a frame, eight bytes at a time: it is what a stream's framing costs most.
pub(super) fn crc16(mut crc: u16, bytes: &[u8]) -> u16 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    for &[a, b, c, d, e, f, g, h] in chunks {
        let [high, low] = crc.to_be_bytes();
        crc = TABLES16[7][usize::from(high ^ a)]
            ^ TABLES16[6][usize::from(low ^ b)]
            ^ TABLES16[5][usize::from(c)]
            ^ TABLES16[4][usize::from(d)]
            ^ TABLES16[3][usize::from(e)]
            ^ TABLES16[2][usize::from(f)]
            ^ TABLES16[1][usize::from(g)]
            ^ TABLES16[0][usize::from(h)];
    }
    rest.iter().fold(crc, |crc, byte| {
        crc << 8 ^ TABLES16[0][usize::from((crc >> 8) as u8 ^ byte)]
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{crc8, crc16};

    fn bit_by_bit(start: u16, bytes: &[u8]) -> u16 {
        bytes.iter().fold(start, |crc, &byte| {
            (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
                crc << 1 ^ if crc & 0x8000 != 0 { 0x8005 } else { 0 }
            })
        })
    }

    #[test]
    fn match_the_published_check_values() {
        // The catalogue's names are CRC-8/SMBUS and CRC-16/UMTS.
        assert_eq!(crc8(b"123456789"), 0xF4);
        assert_eq!(crc16(0, b"123456789"), 0xFEE8);
        assert_eq!(crc16(0, b"123456789\xFE\xE8"), 0);
    }

    proptest! {
        #[test]
        fn eight_at_a_time_is_the_definition(
            start in any::<u16>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(bytes.len() + 1);
            let found = crc16(crc16(start, &bytes[..cut]), &bytes[cut..]);
            prop_assert_eq!(found, bit_by_bit(start, &bytes));
        }
    }
}
