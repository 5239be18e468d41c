//! What code is loaded where: the executable, shared libraries and the kernel's own page of code.
//!
//! Contract: reads what `/proc` says now and never trusts it; a line that makes no sense is skipped. An image is used
//! only if its first bytes are those that are in memory, so that a file that was replaced on disk (an upgrade in place)
//! gives no wrong names.

use crate::image::Image;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
#[allow(
    clippy::disallowed_types,
    reason = "this crate is below the one with named locks; only threads that ask for names or stacks take it"
)]
use std::sync::Mutex;
use std::sync::{Arc, LazyLock, PoisonError};

/// One executable mapping.
#[derive(Clone)]
pub(crate) struct Module {
    /// The first address.
    pub(crate) start: u64,
    /// The first address after it.
    pub(crate) end: u64,
    /// Which byte of the file is at the start.
    pub(crate) offset: u64,
    /// What to subtract from an address to get the one that the file speaks of.
    pub(crate) bias: u64,
    /// The file's path.
    pub(crate) path: Arc<str>,
    /// The file, if it could be read.
    pub(crate) image: Option<&'static Image>,
}

impl Module {
    /// What the file calls this address.
    pub(crate) fn in_file(&self, address: u64) -> u64 {
        address.wrapping_sub(self.bias)
    }
}

/// All executable mappings of one moment, by address.
#[derive(Clone, Default)]
pub(crate) struct Modules(Vec<Module>);

impl Modules {
    /// Reads them.
    pub(crate) fn read() -> Self {
        let maps = std::fs::read("/proc/self/maps").unwrap_or_default();
        let memory = File::open("/proc/self/mem").ok();
        let lines: Vec<Line> = String::from_utf8_lossy(&maps)
            .lines()
            .filter_map(Line::parse)
            .collect();
        let mut modules: Vec<Module> = lines
            .iter()
            .filter(|line| line.executable && !line.path.is_empty() && line.path != "[vsyscall]")
            .map(|line| {
                let image = image(line, &lines, memory.as_ref());
                Module {
                    start: line.start,
                    end: line.end,
                    offset: line.offset,
                    bias: image
                        .and_then(|image| image.bias(line.start, line.offset))
                        .unwrap_or_else(|| line.start.wrapping_sub(line.offset)),
                    path: line.path.as_str().into(),
                    image,
                }
            })
            .collect();
        modules.sort_by_key(|module| module.start);
        Self(modules)
    }

    /// The one that an address is in.
    pub(crate) fn find(&self, address: u64) -> Option<&Module> {
        let after = self.0.partition_point(|module| module.start <= address);
        self.0
            .get(after.checked_sub(1)?)
            .filter(|module| address < module.end)
    }

    #[cfg_attr(
        not(target_os = "linux"),
        allow(dead_code, reason = "only unwinding needs it")
    )]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Module> {
        self.0.iter()
    }

    /// Whether the same files are at the same places.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let key = |module: &Module| (module.start, module.end, module.offset, module.path.clone());
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| key(a) == key(b))
    }
}

/// The executable.
pub(crate) fn executable() -> Option<Module> {
    let path = std::fs::read_link("/proc/self/exe").ok()?;
    let path = path.to_string_lossy();
    Modules::read().0.into_iter().find(|module| *module.path == *path)
}

/// A line of `/proc/self/maps` (proc(5)): `start-end perms offset dev inode path`.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    start: u64,
    end: u64,
    executable: bool,
    offset: u64,
    /// Device and inode.
    file: (String, u64),
    path: String,
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let permissions = fields.next()?;
        let offset = fields.next()?;
        let device = fields.next()?;
        let inode = fields.next()?;
        let path = fields.next().unwrap_or_default().trim_start();
        let (start, end) = (
            u64::from_str_radix(start, 16).ok()?,
            u64::from_str_radix(end, 16).ok()?,
        );
        (start < end).then_some(())?;
        Some(Self {
            start,
            end,
            executable: permissions.as_bytes().get(2) == Some(&b'x'),
            offset: u64::from_str_radix(offset, 16).ok()?,
            file: (device.to_owned(), inode.parse().ok()?),
            path: path.to_owned(),
        })
    }
}

/// What an image is remembered by: path, device and inode.
type Key = (String, (String, u64));

/// Every image that was ever asked for; none for those that cannot be read.
#[allow(clippy::disallowed_types, reason = "as above")]
static IMAGES: LazyLock<Mutex<HashMap<Key, Option<&'static Image>>>> = LazyLock::new(Default::default);

fn image(line: &Line, lines: &[Line], memory: Option<&File>) -> Option<&'static Image> {
    let key = (line.path.clone(), line.file.clone());
    let mut images = IMAGES.lock().unwrap_or_else(PoisonError::into_inner);
    *images.entry(key).or_insert_with(|| {
        let image = if line.path == "[vdso]" {
            vdso(line, memory?)?
        } else {
            open(line, lines, memory)?
        };
        Some(Box::leak(Box::new(image)))
    })
}

/// The kernel's own code page is a whole shared library that is in memory only.
fn vdso(line: &Line, memory: &File) -> Option<Image> {
    let size = usize::try_from(line.end - line.start)
        .ok()
        .filter(|size| *size <= 1 << 20)?;
    let mut bytes = vec![0; size];
    read(memory, line.start, &mut bytes).ok()?;
    Image::read(&line.path, bytes.leak())
}

fn open(line: &Line, lines: &[Line], memory: Option<&File>) -> Option<Image> {
    if !line.path.starts_with('/') {
        return None;
    }
    let is_executable =
        std::fs::read_link("/proc/self/exe").is_ok_and(|exe| *exe.to_string_lossy() == *line.path);
    // The link leads to the file that runs even after another has taken its name.
    let path = if is_executable {
        "/proc/self/exe"
    } else {
        &line.path
    };
    let image = Image::map(&line.path, &File::open(path).ok()?)?;
    let first = lines
        .iter()
        .find(|other| other.offset == 0 && other.path == line.path && other.file == line.file);
    if let (Some(first), Some(memory)) = (first, memory) {
        // Headers and, with the usual linkers, the build id.
        let mut head = [0; 1024];
        if read(memory, first.start, &mut head).is_ok() {
            image.bytes().starts_with(&head).then_some(())?;
        }
    }
    Some(image)
}

/// Fills the buffer with what is at an address.
fn read(mut memory: &File, address: u64, buffer: &mut [u8]) -> std::io::Result<()> {
    memory.seek(SeekFrom::Start(address))?;
    memory.read_exact(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let parse = |line: &str| {
            Line::parse(line).map(|line| (line.start, line.end, line.executable, line.offset, line.path))
        };
        let cases = [
            (
                "55e0-55f0 r-xp 00002000 fe:00 1234                       /usr/bin/with space",
                Some((0x55e0, 0x55f0, true, 0x2000, "/usr/bin/with space")),
            ),
            (
                "7ffd000-7ffd100 r-xp 00000000 00:00 0                      [vdso]",
                Some((0x7ffd000, 0x7ffd100, true, 0, "[vdso]")),
            ),
            ("10-20 rw-p 00000000 00:00 0 ", Some((0x10, 0x20, false, 0, ""))),
            ("10-20 rw-p 00000000 00:00 0", Some((0x10, 0x20, false, 0, ""))),
            ("20-10 r-xp 00000000 00:00 0 /x", None),
            ("zz-10 r-xp 0 00:00 0 /x", None),
            ("10-20 r", None),
            ("10-20 r-xp 0 00:00 many /x", None),
            ("-", None),
            ("", None),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|(start, end, executable, offset, path)| {
                (start, end, executable, offset, path.to_owned())
            });
            assert_eq!(parse(line), expected, "{line:?}");
        }
    }

    #[test]
    fn finds_own_code() {
        if !cfg!(target_os = "linux") {
            return;
        }
        let modules = Modules::read();
        let here = finds_own_code as *const () as u64;
        let module = modules.find(here).unwrap();
        let image = module.image.unwrap();
        assert!(
            image
                .function(module.in_file(here))
                .unwrap()
                .contains("finds_own_code")
        );
        assert!(modules.find(0).is_none());
        assert!(modules.find(u64::MAX).is_none());
        assert!(modules.same(&Modules::read()));
    }
}
