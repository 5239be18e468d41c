//! Reads the part of CBOR (RFC 8949) that authenticators write: CTAP2's canonical form.
//!
//! Contract: nothing is allocated and nothing is read twice, so the work is bounded by the bytes; lengths that are
//! indefinite, which the canonical form forbids, are refused.

/// The bytes are not what they have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadCbor;

/// Nesting that is followed; attestation statements need four levels.
const DEEPEST: usize = 16;

/// One item. Those with items inside were read and passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    Text(&'a str),
    Other,
}

/// Reads items one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What is not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The number of entries of the map that begins here.
    pub(crate) fn map(&mut self) -> Result<u64, BadCbor> {
        match self.head()? {
            (5, entries) => Ok(entries),
            _ => Err(BadCbor),
        }
    }

    /// The next item as a whole.
    pub(crate) fn item(&mut self) -> Result<Item<'a>, BadCbor> {
        self.nested(DEEPEST)
    }

    fn nested(&mut self, depth: usize) -> Result<Item<'a>, BadCbor> {
        let depth = depth.checked_sub(1).ok_or(BadCbor)?;
        let (major, argument) = self.head()?;
        // An integer beyond 63 bits is legal and none of ours.
        let int = |n: u64| i64::try_from(n).map_err(|_| BadCbor);
        match major {
            0 => Ok(Item::Int(int(argument)?)),
            1 => Ok(Item::Int(-1 - int(argument)?)),
            2 => Ok(Item::Bytes(self.take(argument)?)),
            3 => {
                let bytes = self.take(argument)?;
                str::from_utf8(bytes).map(Item::Text).map_err(|_| BadCbor)
            }
            4 | 5 => {
                let items = if major == 5 {
                    argument.checked_mul(2)
                } else {
                    Some(argument)
                };
                for _ in 0..items.ok_or(BadCbor)? {
                    self.nested(depth)?;
                }
                Ok(Item::Other)
            }
            6 => self.nested(depth).map(|_| Item::Other),
            _ => Ok(Item::Other),
        }
    }

    /// Major type and argument of the next item.
    fn head(&mut self) -> Result<(u8, u64), BadCbor> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 0x1f);
        let argument = match info {
            0..=23 => u64::from(info),
            24..=27 => {
                let bytes = self.take(1 << (info - 24))?;
                bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte))
            }
            _ => return Err(BadCbor),
        };
        Ok((major, argument))
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], BadCbor> {
        let count = usize::try_from(count).map_err(|_| BadCbor)?;
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(BadCbor)?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads all items; the expected text is their debug form, `!` at the end stands for bytes that do not read.
    fn check(bytes: &[u8], expected: &str) {
        let mut reader = Reader::new(bytes);
        let mut told = Vec::new();
        while !reader.rest().is_empty() {
            match reader.item() {
                Ok(item) => told.push(format!("{item:?}")),
                Err(BadCbor) => {
                    told.push("!".into());
                    break;
                }
            }
        }
        assert_eq!(told.join(" "), expected, "{bytes:02x?}");
    }

    #[test]
    fn items() {
        check(
            &[0x00, 0x17, 0x18, 0x18, 0x19, 0x01, 0x00],
            "Int(0) Int(23) Int(24) Int(256)",
        );
        check(&[0x20, 0x26, 0x39, 0x01, 0x00], "Int(-1) Int(-7) Int(-257)");
        check(&[0x42, 1, 2, 0x61, b'a'], "Bytes([1, 2]) Text(\"a\")");
        check(&[0x82, 1, 0x81, 2, 3], "Other Int(3)");
        check(&[0xa1, 0x61, b'k', 0xa0, 3], "Other Int(3)");
        check(
            &[0xc1, 5, 0xf5, 0xf6, 0xf9, 0x3c, 0x00],
            "Other Other Other Other",
        );
        check(
            &[0x1b, 0x7f, 255, 255, 255, 255, 255, 255, 255],
            "Int(9223372036854775807)",
        );
    }

    #[test]
    fn what_does_not_read() {
        for bytes in [
            &[0x18][..],
            &[0x42, 1],
            &[0x61, 0xff],
            &[0x81],
            &[0x9f, 0xff],
            &[0x5f, 0x41, 1, 0xff],
            &[0x1c],
            &[0x1b, 255, 255, 255, 255, 255, 255, 255, 255],
            &[0xbb, 255, 255, 255, 255, 255, 255, 255, 255],
            &[0x9b, 0, 0, 0, 0, 255, 255, 255, 255, 1],
            &[0x81; 17],
        ] {
            check(bytes, "!");
        }
        let mut deep = [0x81; 16];
        deep[15] = 1;
        check(&deep, "Other");
    }
}
