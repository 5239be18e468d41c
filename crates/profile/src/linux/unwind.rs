//! From registers and a copy of a stack to program counters.
//!
//! Contract: any bytes may be in the copy; the result is short or odd then, but nothing panics and nothing outside the
//! copy is read. Runs on the thread that asked, long after the interrupted one has gone on.
//!
//! The unwind tables of the loaded files say where the callers are, so frames of C libraries, which are built without
//! frame pointers, do not end the stack; code that no table covers is walked by frame pointer.

use super::signal::Registers;
use crate::modules::{Module, Modules};
use framehop::{
    CacheNative, ExplicitModuleSectionInfo, MayAllocateDuringUnwind, UnwindRegsNative, Unwinder as _,
    UnwinderNative,
};
use std::time::{Duration, Instant};

/// Frames of a stack at most.
pub(crate) const DEPTH: usize = 256;

/// How long the list of loaded files is believed before code in none of them has it read again.
const BELIEVED: Duration = Duration::from_secs(1);

type Tables = UnwinderNative<&'static [u8], MayAllocateDuringUnwind>;

/// Unwinds stacks of this process.
pub(crate) struct Unwinder {
    modules: Modules,
    read_at: Instant,
    tables: Tables,
    rules: CacheNative<MayAllocateDuringUnwind>,
}

impl Unwinder {
    /// Reads which files are loaded now.
    pub(crate) fn new() -> Self {
        let modules = Modules::read();
        Self {
            tables: tables(&modules),
            modules,
            read_at: Instant::now(),
            rules: CacheNative::new(),
        }
    }

    /// The program counters, innermost first, callers as addresses of their calls; never empty.
    pub(crate) fn frames(&mut self, registers: &Registers, stack: &[u8]) -> Vec<u64> {
        if self.modules.find(registers.pc).is_none() && self.read_at.elapsed() > BELIEVED {
            // Code was loaded since.
            *self = Self::new();
        }
        let mut found = vec![registers.pc];
        if stack.len() < 8 || registers.sp < 4096 {
            return found;
        }
        let mut read = |address: u64| {
            let at = address
                .checked_sub(registers.sp)
                .and_then(|at| usize::try_from(at).ok());
            let word = at.and_then(|at| stack.get(at..at.checked_add(8)?));
            word.and_then(|word| word.try_into().ok())
                .map(u64::from_le_bytes)
                .ok_or(())
        };
        let mut frames = self
            .tables
            .iter_frames(registers.pc, native(registers), &mut self.rules, &mut read);
        // The first is the program counter itself.
        let _ = frames.next();
        while let Ok(Some(frame)) = frames.next()
            && found.len() < DEPTH
        {
            let address = frame.address_for_lookup();
            // What is no code cannot have called anybody: the walk has lost its way.
            if self.modules.find(address).is_none() {
                break;
            }
            found.push(address);
        }
        found
    }
}

#[cfg(target_arch = "x86_64")]
fn native(registers: &Registers) -> UnwindRegsNative {
    UnwindRegsNative::new(registers.pc, registers.sp, registers.fp)
}

#[cfg(target_arch = "aarch64")]
fn native(registers: &Registers) -> UnwindRegsNative {
    // Return addresses may be signed in their upper bits; programs have 48 bits of address unless they ask for more.
    let mask = framehop::aarch64::PtrAuthMask((1 << 48) - 1);
    UnwindRegsNative::new_with_ptr_auth_mask(mask, registers.lr, registers.sp, registers.fp)
}

fn tables(modules: &Modules) -> Tables {
    let mut tables = Tables::new();
    for module in modules.iter() {
        if let Some(sections) = sections(module) {
            let name = module.path.to_string();
            tables.add_module(framehop::Module::new(
                name,
                module.start..module.end,
                module.bias,
                sections,
            ));
        }
    }
    tables
}

fn sections(module: &Module) -> Option<ExplicitModuleSectionInfo<&'static [u8]>> {
    let image = module.image?;
    let section = |name: &str| image.section(name).filter(|section| !section.bytes.is_empty());
    let range = |name: &str| {
        let section = section(name)?;
        Some(section.address..section.address.checked_add(section.bytes.len() as u64)?)
    };
    Some(ExplicitModuleSectionInfo {
        base_svma: 0,
        text_svma: range(".text"),
        text: section(".text").map(|section| section.bytes),
        got_svma: range(".got"),
        eh_frame_svma: range(".eh_frame"),
        eh_frame: section(".eh_frame").map(|section| section.bytes),
        eh_frame_hdr_svma: range(".eh_frame_hdr"),
        eh_frame_hdr: section(".eh_frame_hdr").map(|section| section.bytes),
        debug_frame: section(".debug_frame").map(|section| section.bytes),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generator of bytes that is the same at each run (the constants are those of MMIX).
    struct Bytes(u64);

    impl Bytes {
        fn next(&mut self) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            self.0 ^ (self.0 >> 29)
        }
    }

    #[test]
    fn any_stack_is_survived() {
        let mut unwinder = Unwinder::new();
        let mut bytes = Bytes(1);
        let code: Vec<u64> = unwinder
            .modules
            .iter()
            .flat_map(|module| [module.start, module.end - 1])
            .collect();
        let own = any_stack_is_survived as *const () as u64;
        for round in 0..20_000_u64 {
            let length = (bytes.next() % 4096) as usize;
            let sp = match round % 5 {
                0 => bytes.next(),
                1 => u64::MAX - bytes.next() % 64,
                2 => bytes.next() % 8192,
                _ => 0x7fff_0000_0000 + bytes.next() % 4096,
            };
            let stack: Vec<u8> = (0..length.div_ceil(8))
                .flat_map(|_| {
                    // Words that look like code or like the stack lead further than noise does.
                    let word = match bytes.next() % 4 {
                        0 => bytes.next(),
                        1 => code[bytes.next() as usize % code.len()],
                        2 => own.wrapping_add(bytes.next() % 100_000),
                        _ => sp.wrapping_add(bytes.next() % 4096),
                    };
                    word.to_le_bytes()
                })
                .collect();
            let pc = match round % 3 {
                0 => bytes.next(),
                1 => code[bytes.next() as usize % code.len()],
                _ => own.wrapping_add(bytes.next() % 100_000),
            };
            let registers = Registers {
                pc,
                sp,
                fp: sp.wrapping_add(bytes.next() % 2048),
                lr: bytes.next(),
            };
            let frames = unwinder.frames(&registers, &stack);
            assert_eq!(frames[0], pc);
            assert!(frames.len() <= DEPTH);
        }
    }

    #[test]
    fn frame_pointers_where_no_table_is() {
        let mut unwinder = Unwinder::new();
        let own = frame_pointers_where_no_table_is as *const () as u64;
        let sp = 0x7fff_0000_0000_u64;
        // Two frames: the words are the caller's frame pointer and where to return to.
        let words = [0, 0, sp + 32, own + 1, 0, 0];
        let stack: Vec<u8> = words.iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
        let registers = Registers {
            pc: 4096,
            sp,
            fp: sp + 16,
            lr: 0,
        };
        let frames = unwinder.frames(&registers, &stack);
        assert_eq!(frames[..2], [4096, own]);
    }
}
