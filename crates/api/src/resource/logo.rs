//! Pictures that may be a logo: what kind they are and how large, from their first bytes.
//!
//! Contract: pure. Nothing is decoded, so that no picture can take more time or memory than its own size.

/// The largest file.
pub(super) const LARGEST: usize = 2 << 20;
/// The longest side in dots.
const LONGEST: u32 = 4096;

/// A kind of picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Picture {
    Png,
    Jpeg,
    Gif,
    WebP,
}

impl Picture {
    pub(super) fn media(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
        }
    }

    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Gif => "gif",
            Self::WebP => "webp",
        }
    }

    fn of_extension(extension: &str) -> Option<Self> {
        match extension {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "gif" => Some(Self::Gif),
            "webp" => Some(Self::WebP),
            _ => None,
        }
    }
}

/// The kind of an uploaded picture, if it may be a logo; else what to tell whoever uploads it.
pub(super) fn check(file_name: &str, bytes: &[u8]) -> Result<Picture, String> {
    let extension = file_name
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase());
    let named = extension.and_then(|extension| Picture::of_extension(&extension));
    let named = named.ok_or("logo must be a PNG, JPEG, GIF or WebP image")?;
    let unlike = "logo does not look like an image";
    let picture = sniff(bytes).filter(|picture| *picture == named).ok_or(unlike)?;
    let (width, height) = dimensions(picture, bytes).ok_or(unlike)?;
    if width == 0 || height == 0 {
        return Err(unlike.to_owned());
    }
    if width > LONGEST || height > LONGEST {
        return Err(format!(
            "logo is too large: {width} by {height} dots, at most {LONGEST} by {LONGEST}"
        ));
    }
    Ok(picture)
}

/// The kind, by the signature.
pub(super) fn sniff(bytes: &[u8]) -> Option<Picture> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(Picture::Png)
    } else if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        Some(Picture::Jpeg)
    } else if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        Some(Picture::Gif)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some(Picture::WebP)
    } else {
        None
    }
}

/// Width and height in dots.
fn dimensions(picture: Picture, bytes: &[u8]) -> Option<(u32, u32)> {
    match picture {
        Picture::Png => png(bytes),
        Picture::Jpeg => jpeg(bytes),
        Picture::Gif => Some((little(bytes, 6, 2)?, little(bytes, 8, 2)?)),
        Picture::WebP => webp(bytes),
    }
}

/// The first chunk is `IHDR` (PNG specification, section 11.2.1).
fn png(bytes: &[u8]) -> Option<(u32, u32)> {
    (bytes.get(12..16)? == b"IHDR").then_some(())?;
    Some((big(bytes, 16, 4)?, big(bytes, 20, 4)?))
}

/// The first frame header (ITU T.81, section B.2.2). Segments before it are passed over.
fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        (*bytes.get(at)? == 0xff).then_some(())?;
        let marker = *bytes.get(at + 1)?;
        match marker {
            // Markers may be filled up in front.
            0xff => at += 1,
            // These stand alone.
            0x01 | 0xd0..=0xd8 => at += 2,
            // Start of frame; the three left out are tables.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                return Some((big(bytes, at + 7, 2)?, big(bytes, at + 5, 2)?));
            }
            // The picture itself or the end came without one.
            0xd9 | 0xda => return None,
            _ => {
                let length = big(bytes, at + 2, 2)? as usize;
                at += 2 + Some(length).filter(|length| *length >= 2)?;
            }
        }
    }
}

/// One of three forms (RFC 9649, section 2.5 to 2.7).
fn webp(bytes: &[u8]) -> Option<(u32, u32)> {
    match bytes.get(12..16)? {
        b"VP8X" => Some((little(bytes, 24, 3)? + 1, little(bytes, 27, 3)? + 1)),
        b"VP8L" => {
            (*bytes.get(20)? == 0x2f).then_some(())?;
            let bits = little(bytes, 21, 4)?;
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8 " => {
            (bytes.get(23..26)? == [0x9d, 0x01, 0x2a]).then_some(())?;
            Some((little(bytes, 26, 2)? & 0x3fff, little(bytes, 28, 2)? & 0x3fff))
        }
        _ => None,
    }
}

fn big(bytes: &[u8], at: usize, size: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    Some(bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
}

fn little(bytes: &[u8], at: usize, size: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u32::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png_of(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes
    }

    /// With a comment, a fill byte and a table in front of the frame header.
    fn jpeg_of(width: u16, height: u16) -> Vec<u8> {
        let mut bytes = vec![
            0xff, 0xd8, 0xff, 0xfe, 0, 4, b'h', b'i', 0xff, 0xff, 0xc4, 0, 2, 0xff, 0xc2, 0, 17, 8,
        ];
        bytes.extend(height.to_be_bytes());
        bytes.extend(width.to_be_bytes());
        bytes
    }

    fn webp_of(kind: &[u8], rest: &[u8]) -> Vec<u8> {
        [b"RIFF\0\0\0\0WEBP", kind, b"\0\0\0\0", rest].concat()
    }

    #[test]
    fn pictures_are_known_by_name_content_and_size() {
        let unlike = Err("logo does not look like an image".to_owned());
        let other = Err("logo must be a PNG, JPEG, GIF or WebP image".to_owned());
        let gif = b"GIF89a\x10\0\x20\0".to_vec();
        for (name, bytes, expected) in [
            ("a.png", png_of(1, 4096), Ok(Picture::Png)),
            ("A.PNG", png_of(64, 64), Ok(Picture::Png)),
            ("a.png", png_of(0, 5), unlike.clone()),
            (
                "a.png",
                png_of(4097, 5),
                Err("logo is too large: 4097 by 5 dots, at most 4096 by 4096".to_owned()),
            ),
            ("a.png", png_of(5, 5)[..20].to_vec(), unlike.clone()),
            ("a.jpg", png_of(5, 5), unlike.clone()),
            ("a.jpeg", jpeg_of(640, 480), Ok(Picture::Jpeg)),
            (
                "a.jpg",
                jpeg_of(640, 5000),
                Err("logo is too large: 640 by 5000 dots, at most 4096 by 4096".to_owned()),
            ),
            ("a.jpg", jpeg_of(1, 1)[..20].to_vec(), unlike.clone()),
            ("a.jpg", vec![0xff, 0xd8, 0xff, 0xe0, 0, 0], unlike.clone()),
            ("a.jpg", vec![0xff, 0xd8, 0xff, 0xd9], unlike.clone()),
            ("a.gif", gif.clone(), Ok(Picture::Gif)),
            (
                "a.webp",
                webp_of(b"VP8X", &[0, 0, 0, 0, 99, 0, 0, 49, 0, 0]),
                Ok(Picture::WebP),
            ),
            (
                "a.webp",
                webp_of(b"VP8L", &[0x2f, 0xff, 0x3f, 0, 0]),
                unlike_large(),
            ),
            (
                "a.webp",
                webp_of(b"VP8 ", &[0, 0, 0, 0x9d, 1, 0x2a, 16, 0, 16, 0]),
                Ok(Picture::WebP),
            ),
            (
                "a.webp",
                webp_of(b"VP8 ", &[0, 0, 0, 0, 0, 0, 16, 0, 16, 0]),
                unlike.clone(),
            ),
            (
                "a.svg",
                b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(),
                other.clone(),
            ),
            ("a.png", b"<svg onload=alert(1)>".to_vec(), unlike.clone()),
            ("png", png_of(5, 5), other.clone()),
            ("", gif, other),
            ("a.gif", Vec::new(), unlike),
        ] {
            assert_eq!(check(name, &bytes), expected, "{name} {bytes:02x?}");
        }
    }

    /// 14 bits of ones are 16384 dots.
    fn unlike_large() -> Result<Picture, String> {
        Err("logo is too large: 16384 by 1 dots, at most 4096 by 4096".to_owned())
    }

    #[test]
    fn no_beginning_of_a_picture_is_trusted() {
        for whole in [png_of(5, 5), jpeg_of(5, 5), webp_of(b"VP8X", &[0; 10])] {
            for end in 0..whole.len() {
                let name = ["a.png", "a.jpg", "a.webp"].map(|name| check(name, &whole[..end]).is_ok());
                assert_eq!(name, [false; 3], "{end}");
            }
        }
    }
}
