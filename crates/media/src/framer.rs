//! One framer for every format.
//!
//! Contract: whatever the pushes are cut into, the bytes that come out are the same, and what is held back
//! for later is less than one frame (FLAC: one frame, whose end only the next one shows).

use crate::{
    Format, Unit, adts::AdtsFramer, flac::FlacFramer, matroska::MatroskaFramer, mpeg::MpegFramer,
    mpegts::MpegTsFramer, ogg::OggFramer, opaque, wav::WavFramer,
};

/// A long push is worked off in pieces of this size, so that buffers stay small.
const PIECE: usize = 16 << 10;

/// Cuts a source's bytes into units. One per source connection.
#[derive(Debug)]
pub struct Framer {
    format: Format,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Mpeg(MpegFramer),
    Adts(AdtsFramer),
    Ogg(Box<OggFramer>),
    Flac(Box<FlacFramer>),
    Wav(Box<WavFramer>),
    Matroska(Box<MatroskaFramer>),
    MpegTs(Box<MpegTsFramer>),
    Opaque,
}

impl Framer {
    /// A framer for a stream of this format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let kind = match format {
            Format::Mpeg => Kind::Mpeg(MpegFramer::new()),
            Format::Adts => Kind::Adts(AdtsFramer::new()),
            Format::Ogg => Kind::Ogg(Box::new(OggFramer::new())),
            Format::Flac => Kind::Flac(Box::new(FlacFramer::new())),
            Format::Wav => Kind::Wav(Box::new(WavFramer::new())),
            Format::Matroska => Kind::Matroska(Box::new(MatroskaFramer::new())),
            Format::MpegTs => Kind::MpegTs(Box::new(MpegTsFramer::new())),
            Format::Opaque => Kind::Opaque,
        };
        Self { format, kind }
    }

    /// The format that was asked for.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Takes the next bytes of the source and appends what is complete to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Unit>) {
        for piece in bytes.chunks(PIECE) {
            match &mut self.kind {
                Kind::Mpeg(framer) => framer.push(piece, out),
                Kind::Adts(framer) => framer.push(piece, out),
                Kind::Ogg(framer) => framer.push(piece, out),
                Kind::Flac(framer) => framer.push(piece, out),
                Kind::Wav(framer) => framer.push(piece, out),
                Kind::Matroska(framer) => framer.push(piece, out),
                Kind::MpegTs(framer) => framer.push(piece, out),
                Kind::Opaque => opaque::push(piece, out),
            }
        }
    }

    /// The source has ended: appends the whole frames that are still held and drops the rest. The framer is
    /// of no use afterwards; another connection gets another one.
    pub fn finish(&mut self, out: &mut Vec<Unit>) {
        match &mut self.kind {
            Kind::Mpeg(framer) => framer.finish(out),
            Kind::Adts(framer) => framer.finish(out),
            Kind::Ogg(framer) => framer.finish(out),
            Kind::Flac(framer) => framer.finish(out),
            Kind::Wav(framer) => framer.finish(out),
            Kind::Matroska(framer) => framer.finish(out),
            Kind::MpegTs(framer) => framer.finish(out),
            Kind::Opaque => {}
        }
    }

    /// Bytes thrown away because they belong to no frame. ID3v2 tags and the chunks of a WAV file that are
    /// passed over by their length are not among them.
    #[must_use]
    pub fn bad_bytes(&self) -> u64 {
        match &self.kind {
            Kind::Mpeg(framer) => framer.bad_bytes(),
            Kind::Adts(framer) => framer.bad_bytes(),
            Kind::Ogg(framer) => framer.bad_bytes(),
            Kind::Flac(framer) => framer.bad_bytes(),
            Kind::Wav(framer) => framer.bad_bytes(),
            Kind::Matroska(framer) => framer.bad_bytes(),
            Kind::MpegTs(framer) => framer.bad_bytes(),
            Kind::Opaque => 0,
        }
    }

    /// How often the framing was lost after it had been found.
    #[must_use]
    pub fn resyncs(&self) -> u64 {
        match &self.kind {
            Kind::Mpeg(framer) => framer.resyncs(),
            Kind::Adts(framer) => framer.resyncs(),
            Kind::Ogg(framer) => framer.resyncs(),
            Kind::Flac(framer) => framer.resyncs(),
            Kind::Wav(framer) => framer.resyncs(),
            Kind::Matroska(framer) => framer.resyncs(),
            Kind::MpegTs(framer) => framer.resyncs(),
            Kind::Opaque => 0,
        }
    }
}
