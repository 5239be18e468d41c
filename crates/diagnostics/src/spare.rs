//! File descriptors set aside for the time when the process has no more.
//!
//! Contract: a server that has run out of descriptors can still be asked why.

use std::fs::File;

/// One is for a connection, the others for what its page opens.
const SPARE: usize = 16;
const PER_CONNECTION: usize = 4;

/// Descriptors that can be given up.
#[derive(Debug)]
pub(crate) struct Spare {
    /// Held to add and remove, on the port's own thread.
    files: observe::Mutex<Vec<File>>,
}

impl Spare {
    pub(crate) fn new() -> Spare {
        let spare = Spare {
            files: observe::Mutex::new("diagnostics descriptors", Vec::new()),
        };
        spare.restock();
        spare
    }

    /// Frees descriptors for one connection; `false` when there are none left.
    pub(crate) fn give_up_some(&self) -> bool {
        let mut files = self.files.lock();
        let kept = files.len().saturating_sub(PER_CONNECTION);
        !files.split_off(kept).is_empty()
    }

    /// Sets aside what is missing, as far as possible.
    pub(crate) fn restock(&self) {
        let mut files = self.files.lock();
        while files.len() < SPARE {
            match File::open("/dev/null") {
                Ok(file) => files.push(file),
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_last_for_some_connections() {
        let spare = Spare::new();
        let given = (0..10).filter(|_| spare.give_up_some()).count();
        assert_eq!(given, SPARE / PER_CONNECTION);
        spare.restock();
        assert!(spare.give_up_some());
    }
}
