//! Random bytes and their digits.
//!
//! Contract: what is secret comes from the system; without random bytes there is no secret at all.

use std::fmt::Write as _;

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// The bytes of 64 hex digits.
pub(crate) fn unhex(digits: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = digits.as_bytes().try_into().ok()?;
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_as_they_were_written() {
        let bytes: [u8; 32] = random().unwrap();
        let digits = hex(&bytes);
        assert_eq!(unhex(&digits), Some(bytes));
        assert_eq!(unhex(&digits.to_uppercase()), Some(bytes));
        assert_eq!(hex(&[0, 9, 0x1f, 0xff]), "00091fff");
        for wrong in ["", &digits[1..], &format!("{digits}0"), &"g".repeat(64)] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
        assert_ne!(random::<32>().unwrap(), random::<32>().unwrap());
    }
}
