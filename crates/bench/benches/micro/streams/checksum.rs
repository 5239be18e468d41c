//! The checksums that containers want, bit by bit: none of them is reflected.

/// The remainder of `bytes` by a polynomial of `width` bits, from 8 to 32.
pub(super) fn crc(width: u32, polynomial: u32, start: u32, bytes: &[u8]) -> u32 {
    let top = 1 << (width - 1);
    let mask = u32::MAX >> (32 - width);
    bytes.iter().fold(start, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << (width - 8), |crc, _| {
            let carry = if crc & top == 0 { 0 } else { polynomial };
            (crc << 1 ^ carry) & mask
        })
    })
}
