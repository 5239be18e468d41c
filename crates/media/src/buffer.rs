//! Bytes that wait for the rest of their frame.
//!
//! Contract: the cost is proportional to the bytes that pass through, however small the pushes are.

/// A queue of bytes that is read as one slice.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// Appends what has arrived.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        // The rest is moved to the front only when it is no longer than what was consumed since the last
        // move: every byte pays for at most one other.
        if self.start >= self.bytes.len() - self.start {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Everything that is not consumed yet.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// How much is not consumed yet.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Forgets the first `count` bytes of the rest.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::Buffer;

    #[test]
    fn keeps_order_and_stays_small() {
        let mut buffer = Buffer::default();
        let mut expected = 0u8;
        for byte in 0..=u8::MAX {
            buffer.extend(&[byte]);
            if buffer.len() == 3 {
                assert_eq!(buffer.rest(), [expected, expected + 1, expected + 2]);
                buffer.consume(2);
                expected += 2;
            }
        }
        assert!(buffer.bytes.capacity() < 32, "{}", buffer.bytes.capacity());
    }
}
