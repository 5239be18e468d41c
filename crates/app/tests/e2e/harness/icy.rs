//! In-band metadata as an old player reads it: by counting bytes, with nothing to hold on to when the count is
//! wrong.

/// A metadata block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// How many audio bytes came before it on this connection.
    pub(crate) at: usize,
    /// Its text without the padding; empty where the block is the single zero byte.
    pub(crate) text: Vec<u8>,
}

impl Block {
    /// The value of a field, up to the last `';` before the next field or the end.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let text =
            std::str::from_utf8(&self.text).unwrap_or_else(|_| panic!("cut inside a character: {self:?}"));
        let (_, value) = text.split_once(&format!("{name}='"))?;
        let end = value.find("';StreamUrl='").or_else(|| value.rfind("';"));
        Some(value[..end.unwrap_or_else(|| panic!("no end: {text:?}"))].to_owned())
    }

    /// The title.
    pub(crate) fn title(&self) -> Option<String> {
        self.field("StreamTitle")
    }
}

/// A stream with metadata blocks, taken apart as it arrives.
#[derive(Debug)]
pub(crate) struct Interleaved {
    interval: usize,
    /// Audio bytes until the next block.
    left: usize,
    /// The block that is arriving, from its length byte.
    block: Option<Vec<u8>>,
    /// The audio without the blocks.
    pub(crate) audio: Vec<u8>,
    /// Every block, those of a single zero byte too.
    pub(crate) blocks: Vec<Block>,
}

impl Interleaved {
    /// A stream of which nothing has arrived yet.
    pub(crate) fn new(interval: usize) -> Self {
        Self {
            interval,
            left: interval,
            block: None,
            audio: Vec::new(),
            blocks: Vec::new(),
        }
    }

    /// Takes what arrived next.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = match &mut self.block {
                None => {
                    let audio = self.left.min(bytes.len());
                    self.audio.extend_from_slice(&bytes[..audio]);
                    self.left -= audio;
                    if self.left == 0 {
                        self.block = Some(Vec::new());
                    }
                    audio
                }
                Some(block) => {
                    let whole = 1 + 16 * usize::from(*block.first().unwrap_or(&bytes[0]));
                    let piece = (whole - block.len()).min(bytes.len());
                    block.extend_from_slice(&bytes[..piece]);
                    if block.len() == whole {
                        let end = block
                            .iter()
                            .rposition(|byte| *byte != 0)
                            .map_or(1, |last| last + 1)
                            .max(1);
                        let padding = whole - end;
                        assert!(
                            end == 1 || padding < 16,
                            "a block with {padding} bytes of padding"
                        );
                        let text = block[1..end].to_vec();
                        self.blocks.push(Block {
                            at: self.audio.len(),
                            text,
                        });
                        self.block = None;
                        self.left = self.interval;
                    }
                    piece
                }
            };
            bytes = &bytes[taken..];
        }
    }

    /// The titles that were announced, in order.
    pub(crate) fn titles(&self) -> Vec<String> {
        self.blocks.iter().filter_map(Block::title).collect()
    }
}
