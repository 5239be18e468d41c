//! Names of the mounts under load.
//! Contract: sources, listeners and server configurations derive the same names from the same two values.

/// A numbered row of mounts, or one mount with exactly the given name.
#[derive(Clone, Debug)]
pub(crate) struct Mounts {
    /// The name, or its beginning when there are several; starts with a slash.
    pub(crate) base: String,
    /// How many there are, at least one.
    pub(crate) count: usize,
}

impl Mounts {
    /// The mount that the listener or source with this index uses.
    pub(crate) fn name(&self, index: usize) -> String {
        match self.count {
            0 | 1 => self.base.clone(),
            count => format!("{}{}", self.base, index % count),
        }
    }

    /// Every name once.
    pub(crate) fn names(&self) -> Vec<String> {
        (0..self.count.max(1)).map(|index| self.name(index)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Mounts;

    #[test]
    fn one_mount_keeps_its_name_and_many_are_numbered() {
        let one = Mounts {
            base: "/live".into(),
            count: 1,
        };
        assert_eq!(
            (one.name(7), one.names()),
            ("/live".into(), vec!["/live".to_owned()])
        );
        let two = Mounts {
            base: "/m".into(),
            count: 2,
        };
        assert_eq!(
            (two.name(3), two.names()),
            ("/m1".into(), vec!["/m0".to_owned(), "/m1".to_owned()])
        );
    }
}
