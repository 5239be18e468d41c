//! Ogg's checksum (RFC 3533 section 6, field 7), and how to correct it without reading the page again.
//!
//! Contract: `page` is the checksum of a page as if its checksum field were zero; `advance(c, n)` is the
//! checksum of a message with checksum `c` that `n` zero bytes were appended to.
//!
//! The checksum has polynomial 0x04c11db7, starts at zero, is not reflected and has no final xor, so it is
//! linear: crc(a ^ b) = crc(a) ^ crc(b) for messages of equal length. A rewritten page differs from the page
//! as sent in 16 consecutive header bytes (granule position, serial, sequence). Hence
//!
//! ```text
//! crc(new) = crc(old) ^ crc(difference), difference = zeros, 16 bytes, n zeros
//! ```
//!
//! Leading zeros do not change a checksum that starts at zero, and each trailing zero byte multiplies it by
//! x^8 modulo the polynomial, so crc(difference) is the checksum of 16 bytes multiplied by x^(8n). Powers
//! come from two tables of 256 entries, so at most two carry-less multiplications are needed. That makes the
//! cost per page and listener independent of the size of the page, which matters because the same pages are
//! rewritten for every listener of a mount.

const POLYNOMIAL: u32 = 0x04c1_1db7;

/// `TABLES[k][b]` is the checksum of byte `b` followed by `k` zero bytes.
static TABLES: [[u32; 256]; 8] = tables();

/// x^(8 i) for i below 256.
static NEAR: [u32; 256] = near();

/// x^(8 * 256 j) for j below 256.
static FAR: [u32; 256] = far();

/// The checksum of a page of at least 27 bytes, whatever its checksum field holds.
pub(super) fn page(bytes: &[u8]) -> u32 {
    let head = update(0, &bytes[..22]);
    update(update(head, &[0; 4]), &bytes[26..])
}

/// Continues a checksum over more bytes, eight at a time.
pub(super) fn update(mut crc: u32, bytes: &[u8]) -> u32 {
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let high = crc ^ u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        crc = TABLES[7][(high >> 24) as usize]
            ^ TABLES[6][(high >> 16 & 0xff) as usize]
            ^ TABLES[5][(high >> 8 & 0xff) as usize]
            ^ TABLES[4][(high & 0xff) as usize]
            ^ TABLES[3][usize::from(chunk[4])]
            ^ TABLES[2][usize::from(chunk[5])]
            ^ TABLES[1][usize::from(chunk[6])]
            ^ TABLES[0][usize::from(chunk[7])];
    }
    for &byte in chunks.remainder() {
        crc = crc << 8 ^ TABLES[0][usize::from((crc >> 24) as u8 ^ byte)];
    }
    crc
}

/// The checksum after `zeros` more zero bytes; `zeros` is below 65,536.
pub(super) fn advance(mut crc: u32, zeros: usize) -> u32 {
    let (far, near) = (zeros >> 8 & 0xff, zeros & 0xff);
    if near != 0 {
        crc = multiply(crc, NEAR[near]);
    }
    if far != 0 {
        crc = multiply(crc, FAR[far]);
    }
    crc
}

/// The product of two polynomials modulo Ogg's.
///
/// Carry-less multiplication by ordinary multiplication: with only every fourth bit of the factors set, at
/// most eight ones meet in a column, so sums stay within the three empty bits above it and bit 0 of each
/// column is the carry-less sum.
const fn multiply(a: u32, b: u32) -> u32 {
    const EVERY_FOURTH: u64 = 0x1111_1111_1111_1111;
    let (a, b) = (a as u64, b as u64);
    let (a0, a1, a2, a3) = (
        a & EVERY_FOURTH,
        a & EVERY_FOURTH << 1,
        a & EVERY_FOURTH << 2,
        a & EVERY_FOURTH << 3,
    );
    let (b0, b1, b2, b3) = (
        b & EVERY_FOURTH,
        b & EVERY_FOURTH << 1,
        b & EVERY_FOURTH << 2,
        b & EVERY_FOURTH << 3,
    );
    let c0 = (a0 * b0) ^ (a1 * b3) ^ (a2 * b2) ^ (a3 * b1);
    let c1 = (a0 * b1) ^ (a1 * b0) ^ (a2 * b3) ^ (a3 * b2);
    let c2 = (a0 * b2) ^ (a1 * b1) ^ (a2 * b0) ^ (a3 * b3);
    let c3 = (a0 * b3) ^ (a1 * b2) ^ (a2 * b1) ^ (a3 * b0);
    let product =
        c0 & EVERY_FOURTH | c1 & EVERY_FOURTH << 1 | c2 & EVERY_FOURTH << 2 | c3 & EVERY_FOURTH << 3;
    let high = (product >> 32) as u32;
    // The upper half times x^32 is what four zero bytes make of it.
    product as u32
        ^ TABLES[3][(high >> 24) as usize]
        ^ TABLES[2][(high >> 16 & 0xff) as usize]
        ^ TABLES[1][(high >> 8 & 0xff) as usize]
        ^ TABLES[0][(high & 0xff) as usize]
}

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = crc << 1 ^ if crc >> 31 == 1 { POLYNOMIAL } else { 0 };
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
            tables[zeros][byte] = crc << 8 ^ tables[0][(crc >> 24) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

const fn near() -> [u32; 256] {
    let mut powers = [1u32; 256];
    let mut i = 1;
    while i < 256 {
        powers[i] = powers[i - 1] << 8 ^ TABLES[0][(powers[i - 1] >> 24) as usize];
        i += 1;
    }
    powers
}

const fn far() -> [u32; 256] {
    let mut powers = [1u32; 256];
    powers[1] = NEAR[255] << 8 ^ TABLES[0][(NEAR[255] >> 24) as usize];
    let mut j = 2;
    while j < 256 {
        powers[j] = multiply(powers[j - 1], powers[1]);
        j += 1;
    }
    powers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bit_by_bit(bytes: &[u8]) -> u32 {
        bytes.iter().fold(0, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| {
                crc << 1 ^ if crc >> 31 == 1 { POLYNOMIAL } else { 0 }
            })
        })
    }

    #[test]
    fn known_value() {
        // The complement of what is catalogued as the check value of POSIX cksum, which differs in its last xor only.
        assert_eq!(update(0, b"123456789"), 0x89a1_897f);
        assert_eq!(bit_by_bit(b"123456789"), 0x89a1_897f);
    }

    #[test]
    fn advance_reaches_every_page_length() {
        let mut crc = 0xdead_beef;
        for zeros in 0..65_536 {
            assert_eq!(advance(0xdead_beef, zeros), crc, "{zeros} zeros");
            crc = update(crc, &[0]);
        }
    }

    proptest! {
        #[test]
        fn update_is_the_definition(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(update(0, &bytes), bit_by_bit(&bytes));
        }

        #[test]
        fn header_difference_corrects_the_checksum(
            mut bytes in proptest::collection::vec(any::<u8>(), 27..4000),
            field in any::<[u8; 16]>(),
        ) {
            let old = page(&bytes);
            let mut difference = field;
            difference.iter_mut().zip(&bytes[6..22]).for_each(|(new, old)| *new ^= old);
            bytes[6..22].copy_from_slice(&field);
            let corrected = old ^ advance(update(0, &difference), bytes.len() - 22);
            prop_assert_eq!(corrected, page(&bytes));
        }
    }
}
