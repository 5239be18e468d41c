//! Values by a key that stays theirs while they are here.
//!
//! Contract: adding one never moves the others, and the memory of a crowd that has left is given back. A vector that
//! doubles would do neither: it copies megabytes while listeners wait, and stays as large as the largest crowd.

use slab::Slab;

/// Values in one piece of memory.
const PAGE: usize = 256;

/// A slab in pages.
#[derive(Debug)]
pub(super) struct Paged<T> {
    pages: Vec<Slab<T>>,
    len: usize,
    /// All pages before this one are full.
    roomy: usize,
}

impl<T> Paged<T> {
    pub(super) const fn new() -> Self {
        Self {
            pages: Vec::new(),
            len: 0,
            roomy: 0,
        }
    }

    /// Adds a value to the first page with room, so that the last ones run empty when values go.
    pub(super) fn insert(&mut self, value: T) -> usize {
        while self.pages.get(self.roomy).is_some_and(|page| page.len() == PAGE) {
            self.roomy += 1;
        }
        if self.roomy == self.pages.len() {
            self.pages.push(Slab::new());
        }
        let page = &mut self.pages[self.roomy];
        if page.capacity() == 0 {
            page.reserve_exact(PAGE);
        }
        self.len += 1;
        self.roomy * PAGE + page.insert(value)
    }

    pub(super) fn remove(&mut self, key: usize) -> Option<T> {
        let number = key / PAGE;
        let page = self.pages.get_mut(number)?;
        let value = page.try_remove(key % PAGE)?;
        if page.is_empty() {
            *page = Slab::new();
        }
        self.len -= 1;
        self.roomy = self.roomy.min(number);
        Some(value)
    }

    pub(super) fn get(&self, key: usize) -> Option<&T> {
        self.pages.get(key / PAGE)?.get(key % PAGE)
    }

    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        self.pages.get_mut(key / PAGE)?.get_mut(key % PAGE)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.pages.iter().enumerate().flat_map(|(number, page)| {
            let first = number * PAGE;
            page.iter().map(move |(index, value)| (first + index, value))
        })
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    impl<T> Paged<T> {
        /// Values that there is memory for.
        fn capacity(&self) -> usize {
            self.pages.iter().map(Slab::capacity).sum()
        }
    }

    #[test]
    fn keys_lead_to_their_values_whatever_comes_and_goes() {
        let (mut paged, mut expected) = (Paged::new(), BTreeMap::new());
        let mut mixed = 7_u32;
        for value in 0..20_000_u32 {
            mixed = mixed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let about = (mixed >> 16) as usize % 4_000;
            if mixed >> 31 == 0
                && let Some((&key, _)) = expected.range(about..).next()
            {
                assert_eq!(paged.remove(key), expected.remove(&key));
                assert_eq!(paged.remove(key), None);
            } else {
                let key = paged.insert(value);
                assert_eq!(expected.insert(key, value), None, "a key that is taken");
            }
        }
        assert_eq!((paged.len(), paged.is_empty()), (expected.len(), false));
        assert_eq!(paged.iter().count(), expected.len());
        for (key, value) in paged.iter() {
            assert_eq!(expected.get(&key), Some(value));
            assert_eq!(paged.get(key), Some(value));
        }
        assert_eq!(paged.get(usize::MAX), None);
        let (&key, _) = expected.iter().next().unwrap();
        *paged.get_mut(key).unwrap() += 1;
        assert_eq!(paged.get(key), Some(&(expected[&key] + 1)));
    }

    #[test]
    fn memory_goes_with_the_crowd_and_values_stay_where_they_are() {
        let mut paged = Paged::new();
        let first = paged.insert(0);
        let place = std::ptr::from_ref(paged.get(first).unwrap());
        let keys: Vec<usize> = (1..10 * PAGE).map(|value| paged.insert(value)).collect();
        assert_eq!(paged.capacity(), 10 * PAGE);
        assert_eq!(std::ptr::from_ref(paged.get(first).unwrap()), place);
        for key in keys {
            paged.remove(key);
        }
        assert_eq!((paged.len(), paged.capacity()), (1, PAGE));
        // What comes next fills the first pages.
        assert!(paged.insert(1) < PAGE);
    }
}
