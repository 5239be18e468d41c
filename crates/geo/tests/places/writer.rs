//! Writes databases in MaxMind's format, version 2.0: a tree of addresses' bits, the records, and a description.

use std::net::{IpAddr, Ipv6Addr};

/// A value of the format.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(&'static str),
    Double(f64),
    Float(f32),
    Short(u16),
    Word(u32),
    Long(u64),
    List(Vec<Value>),
    Map(Vec<(&'static str, Value)>),
}

/// The bytes of a database whose networks have records.
pub(crate) fn database(kind: &'static str, networks: &[(&str, Value)]) -> Vec<u8> {
    let mut data = Vec::new();
    // A node has two places: empty, a node, or a record by its offset in the data.
    let mut nodes = vec![[Place::Empty; 2]];
    for (network, record) in networks {
        let (ip, length) = network.split_once('/').unwrap();
        let (bits, length) = bits(ip.parse().unwrap(), length.parse().unwrap());
        let offset = data.len();
        record.write(&mut data);
        let mut node = 0;
        for at in 0..length {
            let side = usize::from(bits >> (127 - at) & 1 == 1);
            if at + 1 == length {
                nodes[node][side] = Place::Record(offset);
                break;
            }
            node = match nodes[node][side] {
                Place::Node(next) => next,
                _ => {
                    nodes.push([Place::Empty; 2]);
                    let next = nodes.len() - 1;
                    nodes[node][side] = Place::Node(next);
                    next
                }
            };
        }
    }
    let mut file = Vec::new();
    for place in nodes.iter().flatten() {
        let number = match place {
            Place::Empty => nodes.len(),
            Place::Node(node) => *node,
            // The separator of 16 zeros counts as data here.
            Place::Record(offset) => nodes.len() + 16 + offset,
        };
        file.extend(&u32::try_from(number).unwrap().to_be_bytes()[1..]);
    }
    file.extend([0; 16]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    Value::Map(vec![
        ("binary_format_major_version", Value::Short(2)),
        ("binary_format_minor_version", Value::Short(0)),
        ("build_epoch", Value::Long(1_786_363_200)),
        ("database_type", Value::Text(kind)),
        ("description", Value::Map(vec![("en", Value::Text("for tests"))])),
        ("ip_version", Value::Short(6)),
        ("languages", Value::List(vec![Value::Text("en")])),
        ("node_count", Value::Word(u32::try_from(nodes.len()).unwrap())),
        ("record_size", Value::Short(24)),
    ])
    .write(&mut file);
    file
}

#[derive(Clone, Copy)]
enum Place {
    Empty,
    Node(usize),
    Record(usize),
}

/// The tree is of IPv6; IPv4 is where its first 96 bits are zero.
fn bits(ip: IpAddr, length: u32) -> (u128, u32) {
    match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()), 96 + length),
        IpAddr::V6(ip) => (Ipv6Addr::to_bits(ip), length),
    }
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                control(out, 2, text.len());
                out.extend(text.as_bytes());
            }
            Self::Double(number) => {
                control(out, 3, 8);
                out.extend(number.to_be_bytes());
            }
            Self::Float(number) => {
                control(out, 15, 4);
                out.extend(number.to_be_bytes());
            }
            Self::Short(number) => unsigned(out, 5, (*number).into()),
            Self::Word(number) => unsigned(out, 6, (*number).into()),
            Self::Long(number) => unsigned(out, 9, *number),
            Self::List(values) => {
                control(out, 11, values.len());
                values.iter().for_each(|value| value.write(out));
            }
            Self::Map(pairs) => {
                control(out, 7, pairs.len());
                for (key, value) in pairs {
                    Self::Text(key).write(out);
                    value.write(out);
                }
            }
        }
    }
}

/// Unsigned numbers have no leading zeros.
fn unsigned(out: &mut Vec<u8>, kind: u8, number: u64) {
    let bytes = number.to_be_bytes();
    let bytes = &bytes[number.leading_zeros() as usize / 8..];
    control(out, kind, bytes.len());
    out.extend(bytes);
}

/// Kinds beyond 7 have a byte of their own, sizes from 29 on too.
fn control(out: &mut Vec<u8>, kind: u8, size: usize) {
    let small = u8::try_from(size.min(29)).unwrap();
    out.push(if kind <= 7 { kind << 5 | small } else { small });
    if kind > 7 {
        out.push(kind - 7);
    }
    if size >= 29 {
        out.push(u8::try_from(size - 29).unwrap());
    }
}
