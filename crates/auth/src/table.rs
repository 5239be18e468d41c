//! A bounded memory of clients.
//!
//! Contract: at most as many entries as said; the client that was longest not touched is forgotten first. IPv6
//! clients count by their /64, because a single machine has a whole one to choose from.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};

#[derive(Debug)]
pub(crate) struct Table<V> {
    most: usize,
    entries: HashMap<IpAddr, Entry<V>>,
    /// The clients by the number of their last touch.
    order: BTreeMap<u64, IpAddr>,
    next: u64,
}

#[derive(Debug)]
struct Entry<V> {
    touched: u64,
    /// The address that was seen last, for people: the key may be a whole /64.
    ip: IpAddr,
    value: V,
}

impl<V: Default> Table<V> {
    pub(crate) fn new(most: usize) -> Table<V> {
        Table {
            most,
            entries: HashMap::new(),
            order: BTreeMap::new(),
            next: 0,
        }
    }

    pub(crate) fn get(&self, ip: IpAddr) -> Option<&V> {
        self.entries.get(&client(ip)).map(|entry| &entry.value)
    }

    pub(crate) fn get_mut(&mut self, ip: IpAddr) -> Option<&mut V> {
        self.entries.get_mut(&client(ip)).map(|entry| &mut entry.value)
    }

    /// The client's entry, new if need be, as the one touched last.
    pub(crate) fn touch(&mut self, ip: IpAddr) -> &mut V {
        let key = client(ip);
        self.next += 1;
        if let Some(known) = self.entries.get(&key) {
            self.order.remove(&known.touched);
        } else if self.entries.len() >= self.most
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.order.insert(self.next, key);
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            touched: 0,
            ip,
            value: V::default(),
        });
        entry.touched = self.next;
        entry.ip = ip.to_canonical();
        &mut entry.value
    }

    pub(crate) fn remove(&mut self, ip: IpAddr) -> Option<V> {
        let entry = self.entries.remove(&client(ip))?;
        self.order.remove(&entry.touched);
        Some(entry.value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpAddr, &V)> {
        self.entries.values().map(|entry| (entry.ip, &entry.value))
    }
}

/// What stands for one client when failures are counted.
fn client(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn clients_are_addresses_or_blocks_of_64_bits() {
        for (a, b, same) in [
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:0:0:2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(client(ip(a)) == client(ip(b)), same, "{a} {b}");
        }
    }

    #[test]
    fn the_oldest_goes_first() {
        let mut table = Table::<u32>::new(2);
        *table.touch(ip("192.0.2.1")) = 1;
        *table.touch(ip("192.0.2.2")) = 2;
        table.touch(ip("192.0.2.1"));
        *table.touch(ip("192.0.2.3")) = 3;
        assert_eq!(table.get(ip("192.0.2.2")), None);
        assert_eq!(table.get(ip("192.0.2.1")), Some(&1));
        assert_eq!(table.remove(ip("192.0.2.3")), Some(3));
        assert_eq!(table.remove(ip("192.0.2.3")), None);
        assert_eq!((table.entries.len(), table.order.len()), (1, 1));
    }
}
