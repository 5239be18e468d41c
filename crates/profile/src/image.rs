//! The file of an executable or a shared library, mapped for reading: names, lines and unwind tables are in it.
//!
//! Contract: any bytes may be in the file; what cannot be read is absent, nothing panics. An image stays mapped for the
//! life of the process. There is one per file that was ever loaded, and its pages are the kernel's to drop, because the
//! loader maps the same file.
#![allow(
    unsafe_code,
    reason = "maps files; the one block says why the bytes do not change"
)]

use memmap2::Mmap;
use object::LittleEndian;
use object::elf::{FileHeader64, PF_X, PT_LOAD};
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};
use std::fs::File;
use std::sync::OnceLock;

/// The parts of a loaded file that we read. Only 64-bit little-endian ELF files are known; both architectures use it.
pub(crate) struct Image {
    /// The name that the kernel gives it, such as `/usr/lib/libc.so.6` or `[vdso]`.
    pub(crate) path: String,
    bytes: &'static [u8],
    file: ElfFile64<'static, LittleEndian>,
    functions: OnceLock<Vec<Function>>,
}

/// A function of the symbol table.
struct Function {
    start: u64,
    /// Not a part of it; the next function's start where the table gives no size.
    end: u64,
    name: &'static str,
}

/// A named part of the file and the address that it wants to be loaded at.
pub(crate) struct Section {
    pub(crate) bytes: &'static [u8],
    #[cfg_attr(
        not(target_os = "linux"),
        allow(dead_code, reason = "only unwinding needs it")
    )]
    pub(crate) address: u64,
}

impl Image {
    /// Maps a file.
    pub(crate) fn map(path: &str, file: &File) -> Option<Self> {
        // SAFETY: the file is that of loaded code. Its bytes do not change under us for the same reason that they do not
        // change under the running program: packages and linkers replace such files and never write into them (the
        // kernel refuses to open a running executable for writing). Whoever truncates one regardless has killed the
        // process already.
        let map = unsafe { Mmap::map(file) }.ok()?;
        Self::read(path, Box::leak(Box::new(map)))
    }

    /// Reads what is in memory already.
    pub(crate) fn read(path: &str, bytes: &'static [u8]) -> Option<Self> {
        Some(Self {
            path: path.to_owned(),
            bytes,
            file: ElfFile64::parse(bytes).ok()?,
            functions: OnceLock::new(),
        })
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self) -> &'static [u8] {
        self.bytes
    }

    /// How far from its wish a part of the file was loaded, if the executable mapping of `offset` is at `start`.
    pub(crate) fn bias(&self, start: u64, offset: u64) -> Option<u64> {
        let header = FileHeader64::<LittleEndian>::parse(self.bytes).ok()?;
        let segments = header.program_headers(LittleEndian, self.bytes).ok()?;
        let segment = segments.iter().find(|segment| {
            let begin = segment.p_offset(LittleEndian);
            let end = begin.saturating_add(segment.p_filesz(LittleEndian));
            segment.p_type(LittleEndian) == PT_LOAD
                && segment.p_flags(LittleEndian) & PF_X != 0
                // Mappings begin at the page that the segment begins in, 64 KiB at most.
                && begin & !0xffff <= offset
                && offset < end
        })?;
        let wanted = segment
            .p_vaddr(LittleEndian)
            .wrapping_sub(segment.p_offset(LittleEndian))
            .wrapping_add(offset);
        Some(start.wrapping_sub(wanted))
    }

    /// A section as it is in the file; none if it is compressed, because no linker that we use does that.
    pub(crate) fn section(&self, name: &str) -> Option<Section> {
        let section = self.file.section_by_name(name)?;
        if section.compressed_file_range().ok()?.format != object::CompressionFormat::None {
            return None;
        }
        Some(Section {
            bytes: section.data().ok()?,
            address: section.address(),
        })
    }

    /// The build id in hexadecimal.
    pub(crate) fn build_id(&self) -> Option<String> {
        let id = self.file.build_id().ok()??;
        Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The linker's name of the function at an address of the file, from the symbol table.
    pub(crate) fn function(&self, address: u64) -> Option<&'static str> {
        self.function_at(address).map(|function| function.name)
    }

    /// Where that function begins.
    pub(crate) fn function_start(&self, address: u64) -> Option<u64> {
        self.function_at(address).map(|function| function.start)
    }

    fn function_at(&self, address: u64) -> Option<&Function> {
        let functions = self.functions.get_or_init(|| functions(&self.file));
        let after = functions.partition_point(|function| function.start <= address);
        functions
            .get(after.checked_sub(1)?)
            .filter(|function| address < function.end)
    }
}

fn functions(file: &ElfFile64<'static, LittleEndian>) -> Vec<Function> {
    let mut functions: Vec<Function> = file
        .symbols()
        .chain(file.dynamic_symbols())
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
        .filter_map(|symbol| {
            Some(Function {
                start: symbol.address(),
                end: symbol.address().saturating_add(symbol.size()),
                name: symbol.name().ok().filter(|name| !name.is_empty())?,
            })
        })
        .collect();
    // Of several names for one place the first of the table with a size stays.
    functions.sort_by_key(|function| (function.start, function.end == function.start));
    functions.dedup_by_key(|function| function.start);
    for index in 1..functions.len() {
        let next = functions[index].start;
        let function = &mut functions[index - 1];
        // Hand-written assembly often has no size; it reaches to the next function.
        if function.end == function.start {
            function.end = next;
        }
    }
    functions.shrink_to_fit();
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_files_are_no_images() {
        let own = std::fs::read("/proc/self/exe").unwrap_or_default();
        let cuts = [0, 1, 4, 16, 63, 64, 100, 1000, 5000, own.len() / 2];
        for cut in cuts.into_iter().filter(|cut| *cut <= own.len()) {
            let bytes: &'static [u8] = own[..cut].to_vec().leak();
            let Some(image) = Image::read("cut", bytes) else {
                continue;
            };
            // Whatever could be parsed must also be readable without a panic.
            let _ = (image.build_id(), image.function(4096), image.bias(4096, 0));
            for name in [".eh_frame", ".text", ".debug_info"] {
                let _ = image.section(name).map(|section| section.bytes.len());
            }
        }
    }
}
