//! Takes the in-band metadata out of a listener's stream.
//! Contract: what is left is the audio byte for byte, however the stream was cut into reads.

use serde::{Deserialize, Serialize};

/// What the metadata blocks of a stream looked like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Blocks {
    /// Blocks with text.
    pub(crate) titles: u64,
    /// Blocks with bytes that are not metadata.
    pub(crate) wrong: u64,
}

/// The position of one listener in the alternation of audio and metadata.
pub(crate) struct Stripper {
    interval: usize,
    part: Part,
    block: Vec<u8>,
    blocks: Blocks,
}

enum Part {
    Audio { left: usize },
    Length,
    Block { left: usize },
}

impl Stripper {
    /// A stripper for a stream with a block after every `interval` bytes of audio; the interval is not zero.
    pub(crate) fn new(interval: usize) -> Stripper {
        let part = Part::Audio { left: interval };
        Stripper {
            interval,
            part,
            block: Vec::new(),
            blocks: Blocks::default(),
        }
    }

    /// Takes bytes as they arrive and passes the audio on.
    pub(crate) fn read(&mut self, mut bytes: &[u8], mut audio: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let used = match &mut self.part {
                Part::Audio { left } => {
                    let used = bytes.len().min(*left);
                    audio(&bytes[..used]);
                    *left -= used;
                    if *left == 0 {
                        self.part = Part::Length;
                    }
                    used
                }
                Part::Length => {
                    self.part = match usize::from(bytes[0]) * 16 {
                        0 => Part::Audio { left: self.interval },
                        left => Part::Block { left },
                    };
                    1
                }
                Part::Block { left } => {
                    let used = bytes.len().min(*left);
                    self.block.extend_from_slice(&bytes[..used]);
                    *left -= used;
                    if *left == 0 {
                        self.judge();
                        self.part = Part::Audio { left: self.interval };
                    }
                    used
                }
            };
            bytes = &bytes[used..];
        }
    }

    /// The blocks since the last call.
    pub(crate) fn take(&mut self) -> Blocks {
        std::mem::take(&mut self.blocks)
    }

    fn judge(&mut self) {
        let text = self.block.split(|&byte| byte == 0).next().unwrap_or_default();
        if text.starts_with(b"StreamTitle='") && text.ends_with(b"';") {
            self.blocks.titles += 1;
        } else {
            self.blocks.wrong += 1;
        }
        self.block.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{Blocks, Stripper};

    #[test]
    fn audio_and_blocks_are_told_apart_whatever_the_pieces() {
        let mut stream = b"abcd\x02StreamTitle='tune';".to_vec();
        stream.resize(4 + 1 + 32, 0);
        stream.extend_from_slice(b"efgh\x00ijkl\x01not metadata....mn");
        for piece in [1, 3, 100] {
            let mut stripper = Stripper::new(4);
            let mut audio = Vec::new();
            stream
                .chunks(piece)
                .for_each(|bytes| stripper.read(bytes, |part| audio.extend_from_slice(part)));
            assert_eq!(audio, b"abcdefghijklmn");
            assert_eq!(stripper.take(), Blocks { titles: 1, wrong: 1 });
        }
    }
}
