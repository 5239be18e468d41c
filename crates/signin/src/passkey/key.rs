//! Public keys of passkeys as authenticators write them (COSE, RFC 9052 section 7 and RFC 9053).
//!
//! Contract: a key that parsed is of one of three kinds and long enough; nothing else ever verifies.

use aws_lc_rs::signature::RsaPublicKeyComponents;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};

use super::cbor::{BadCbor, Item, Reader};

/// The algorithms that we ask browsers for, the best first (IANA's COSE numbers).
pub(crate) const ALGORITHMS: [i64; 3] = [ES256, EDDSA, RS256];
const ES256: i64 = -7;
const EDDSA: i64 = -8;
const RS256: i64 = -257;

/// The key of one passkey.
#[derive(Debug)]
pub(crate) enum PublicKey {
    Es256(ParsedPublicKey),
    EdDsa(ParsedPublicKey),
    Rs256 { n: Vec<u8>, e: Vec<u8> },
}

impl PublicKey {
    /// Reads a key; the reader stands behind it afterwards.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, BadCbor> {
        let mut fields = Fields::default();
        for _ in 0..reader.map()? {
            let label = reader.item()?;
            let value = reader.item()?;
            if let Item::Int(label) = label {
                fields.set(label, value)?;
            }
        }
        fields.key()
    }

    /// A key on its own.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BadCbor> {
        let mut reader = Reader::new(bytes);
        let key = Self::read(&mut reader)?;
        reader.rest().is_empty().then_some(key).ok_or(BadCbor)
    }

    /// Its algorithm's COSE number.
    pub(crate) fn algorithm(&self) -> i64 {
        match self {
            Self::Es256(_) => ES256,
            Self::EdDsa(_) => EDDSA,
            Self::Rs256 { .. } => RS256,
        }
    }

    /// Whether `signature` over `message` was made with this key.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Es256(key) | Self::EdDsa(key) => key.verify_sig(message, signature).is_ok(),
            Self::Rs256 { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
        }
    }
}

/// What of a COSE key matters. The meaning of the negative labels depends on the type.
#[derive(Debug, Default)]
struct Fields<'a> {
    kty: Option<Item<'a>>,
    alg: Option<Item<'a>>,
    minus_1: Option<Item<'a>>,
    minus_2: Option<Item<'a>>,
    minus_3: Option<Item<'a>>,
}

impl<'a> Fields<'a> {
    fn set(&mut self, label: i64, value: Item<'a>) -> Result<(), BadCbor> {
        let field = match label {
            1 => &mut self.kty,
            3 => &mut self.alg,
            -1 => &mut self.minus_1,
            -2 => &mut self.minus_2,
            -3 => &mut self.minus_3,
            _ => return Ok(()),
        };
        // A label that comes twice could mean one key to us and another one to somebody else.
        match field.replace(value) {
            None => Ok(()),
            Some(_) => Err(BadCbor),
        }
    }

    fn key(&self) -> Result<PublicKey, BadCbor> {
        match (self.kty, self.alg, self.minus_1, self.minus_2, self.minus_3) {
            (
                Some(Item::Int(2)),
                Some(Item::Int(ES256)),
                Some(Item::Int(1)),
                Some(Item::Bytes(x)),
                Some(Item::Bytes(y)),
            ) if x.len() == 32 && y.len() == 32 => {
                // SEC 1 section 2.3.3: an uncompressed point.
                let point = [&[4], x, y].concat();
                let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).map_err(|_| BadCbor)?;
                Ok(PublicKey::Es256(key))
            }
            (Some(Item::Int(1)), Some(Item::Int(EDDSA)), Some(Item::Int(6)), Some(Item::Bytes(x)), None)
                if x.len() == 32 =>
            {
                let key = ParsedPublicKey::new(&ED25519, x).map_err(|_| BadCbor)?;
                Ok(PublicKey::EdDsa(key))
            }
            (
                Some(Item::Int(3)),
                Some(Item::Int(RS256)),
                Some(Item::Bytes(n)),
                Some(Item::Bytes(e)),
                None,
            ) if (256..=1024).contains(&n.len()) && (1..=8).contains(&e.len()) => Ok(PublicKey::Rs256 {
                n: n.to_owned(),
                e: e.to_owned(),
            }),
            _ => Err(BadCbor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_other_kinds_do_not_parse() {
        let ed = |head: &[u8], x: &[u8]| [head, &[0x58, x.len() as u8], x].concat();
        // {1: 1, 3: -8, -1: 6, -2: x}
        let good = [0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21];
        let point = [0x58; 32];
        assert_eq!(PublicKey::parse(&ed(&good, &point)).unwrap().algorithm(), EDDSA);
        for (name, bytes) in [
            (
                "algorithm of another type",
                ed(&[0xa4, 1, 1, 3, 0x26, 0x20, 6, 0x21], &point),
            ),
            ("another curve", ed(&[0xa4, 1, 1, 3, 0x27, 0x20, 7, 0x21], &point)),
            ("no algorithm", ed(&[0xa3, 1, 1, 0x20, 6, 0x21], &point)),
            (
                "a label twice",
                ed(&[0xa5, 1, 1, 1, 1, 3, 0x27, 0x20, 6, 0x21], &point),
            ),
            ("a short point", ed(&good, &[0x58; 31])),
            ("bytes behind it", [ed(&good, &point), vec![0]].concat()),
            ("nothing", vec![]),
            ("no map", vec![0x01]),
        ] {
            assert!(PublicKey::parse(&bytes).is_err(), "{name}");
        }
    }

    #[test]
    fn points_beside_the_curve_and_short_moduli_do_not_parse() {
        let coordinate = |label: u8| [&[label, 0x58, 32][..], &[1; 32]].concat();
        let point = [
            &[0xa5, 1, 2, 3, 0x26, 0x20, 1][..],
            &coordinate(0x21),
            &coordinate(0x22),
        ]
        .concat();
        assert!(PublicKey::parse(&point).is_err());

        let rsa = |len: u16| {
            let n = [&[0x20, 0x59][..], &len.to_be_bytes(), &vec![0xff; len.into()]].concat();
            [&[0xa4, 1, 3, 3, 0x39, 1, 0][..], &n, &[0x21, 0x43, 1, 0, 1]].concat()
        };
        assert!(PublicKey::parse(&rsa(256)).is_ok());
        for len in [128, 255, 1025] {
            assert!(PublicKey::parse(&rsa(len)).is_err(), "{len}");
        }
    }
}
