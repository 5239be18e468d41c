//! MPEG audio without an encoder: frames that carry their own number.
//!
//! Contract: a frame is valid to everything that looks at headers only, so what a listener got can be compared
//! with what the source sent, frame by frame. It is not music: decoders need the output of an encoder.

/// The size of a frame: 144 × 128,000 / 44,100, without padding.
pub(crate) const FRAME: usize = 417;

/// An endless row of frames at 128 kbit/s and 44,100 Hz.
#[derive(Debug, Clone)]
pub(crate) struct Mp3 {
    mark: u8,
    next: u32,
}

impl Mp3 {
    /// A row that begins with number 0. `mark` (an ASCII letter) tells it from other rows.
    pub(crate) fn new(mark: char) -> Self {
        assert!(mark.is_ascii_alphabetic());
        Self {
            mark: mark as u8,
            next: 0,
        }
    }

    /// The next frame.
    pub(crate) fn frame(&mut self) -> [u8; FRAME] {
        let mut frame = [self.mark; FRAME];
        frame[..4].copy_from_slice(&[0xff, 0xfb, 0x90, 0x00]);
        frame[5..13].copy_from_slice(format!("{:08}", self.next).as_bytes());
        self.next += 1;
        frame
    }

    /// The next frames, at least `length` bytes in whole frames.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length.div_ceil(FRAME)).flat_map(|_| self.frame()).collect()
    }
}

/// The marks and numbers of the frames in `bytes`, which must begin with a frame and hold nothing else; a piece
/// of a frame at the end is left out.
pub(crate) fn numbers(bytes: &[u8]) -> Vec<(char, u32)> {
    let number = |frame: &[u8]| {
        let at = format!("frame begins with {:02x?}", &frame[..16]);
        assert_eq!(frame[..4], [0xff, 0xfb, 0x90, 0x00], "{at}");
        let digits = std::str::from_utf8(&frame[5..13]).unwrap();
        assert!(frame[13..].iter().all(|byte| *byte == frame[4]), "{at}");
        (frame[4] as char, digits.parse().unwrap())
    };
    bytes.chunks_exact(FRAME).map(number).collect()
}
