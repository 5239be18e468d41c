//! Names of program counters: function, file and line, with the functions that the compiler inlined there.
//!
//! Contract: runs on the thread that asks for names and on no other; an address always gets at least one name, if need
//! be `library+0xoffset`. The memory is bounded: names of [`REMEMBERED`] addresses, and the line tables of those
//! compilation units that were asked about. For a server of 45 MB with line tables the first name takes 0.2 s and 20 MB,
//! names from all over the program 100 MB; [`forget`] and [`forget_idle`] give that back.
//!
//! ```
//! let named = profile::symbols::name(std::process::id as *const () as u64);
//! assert!(!named[0].function.is_empty());
//! ```

use crate::Frame;
use crate::image::Image;
use crate::modules::{Module, Modules};
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use addr2line::{Context, LookupContinuation as _, LookupResult};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
#[allow(
    clippy::disallowed_types,
    reason = "this crate is below the one with named locks; only threads that ask for names take it"
)]
use std::sync::Mutex;
use std::sync::{Arc, LazyLock, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// Addresses whose names are remembered at most.
pub const REMEMBERED: usize = 16_384;

/// Functions that are inlined into each other at one address, at most.
const INLINED: usize = 64;

/// How long the list of loaded files is believed before an address that is in none of them has it read again.
const BELIEVED: Duration = Duration::from_secs(1);

/// A function and a line of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Named {
    /// The function as a reader knows it, without hash.
    pub function: Arc<str>,
    /// The function as the linker knows it.
    pub system_name: Arc<str>,
    /// The file as the debug information has it; empty if unknown.
    pub file: Arc<str>,
    /// The line; 0 if unknown.
    pub line: u32,
}

impl Named {
    /// The file as far as a reader needs it: `profile/symbols.rs`; empty if unknown.
    #[must_use]
    pub fn short_file(&self) -> String {
        let mut parts = self.file.rsplit(['/', '\\']).filter(|part| *part != "src");
        let file = parts.next().unwrap_or_default();
        match parts.next().filter(|folder| !folder.is_empty()) {
            Some(folder) => format!("{folder}/{file}"),
            None => file.to_owned(),
        }
    }
}

/// The functions at an address, innermost (inlined) first; never empty.
#[must_use]
pub fn name(address: u64) -> Vec<Named> {
    names(address).to_vec()
}

/// The functions of a frame, innermost (inlined) first; never empty.
#[must_use]
pub fn resolve(frame: &Frame) -> Vec<Named> {
    match frame {
        Frame::Address(address) => name(*address),
        Frame::Named { function, file, line } => vec![Named {
            function: (&**function).into(),
            system_name: (&**function).into(),
            file: (&**file).into(),
            line: *line,
        }],
    }
}

/// How far an address is into its function, not counting that others may be inlined there; 0 if that is unknown.
#[must_use]
pub fn offset(address: u64) -> u64 {
    let offset = || {
        let module = table().module(address)?;
        let in_file = module.in_file(address);
        in_file.checked_sub(module.image?.function_start(in_file)?)
    };
    offset().unwrap_or(0)
}

/// Gives back the memory of names and of parsed line tables; the next question costs as much as the first. For who has
/// not been asked for a profile for a while.
pub fn forget() {
    *table() = Table::default();
}

/// Calls [`forget`] when nobody has asked for a name for this long. Does not wait for those who are asking now. Returns
/// whether there was anything to give back.
pub fn forget_idle(idle: Duration) -> bool {
    let mut table = match TABLE.try_lock() {
        Ok(table) => table,
        Err(TryLockError::Poisoned(table)) => table.into_inner(),
        Err(TryLockError::WouldBlock) => return false,
    };
    if table.asked_at.is_none_or(|at| at.elapsed() < idle) {
        return false;
    }
    let learnt = std::mem::take(&mut *table);
    // Up to a hundred megabytes: freed with the table open for others.
    drop(table);
    drop(learnt);
    true
}

/// As [`name`], without the copy.
pub(crate) fn names(address: u64) -> Arc<[Named]> {
    let mut table = table();
    table.asked_at = Some(Instant::now());
    table.name(address)
}

/// The executable mapping that an address is in.
pub(crate) fn module(address: u64) -> Option<Module> {
    table().module(address)
}

/// Everything that was learnt.
#[derive(Default)]
struct Table {
    modules: Modules,
    read_at: Option<Instant>,
    /// When a name was asked for last.
    asked_at: Option<Instant>,
    /// By address.
    named: HashMap<u64, Arc<[Named]>>,
    /// So that a name that many addresses have is there once.
    strings: HashSet<Arc<str>>,
    /// By the image's path; none for those without debug information.
    contexts: HashMap<String, Option<Context<Bytes>>>,
}

type Bytes = EndianSlice<'static, LittleEndian>;

#[allow(clippy::disallowed_types, reason = "as above")]
static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Default::default);

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    fn module(&mut self, address: u64) -> Option<Module> {
        if self.modules.find(address).is_none() && self.read_at.is_none_or(|at| at.elapsed() > BELIEVED) {
            let modules = Modules::read();
            if !modules.same(&self.modules) {
                // Another library may be where an old one was.
                self.named.clear();
                self.modules = modules;
            }
            self.read_at = Some(Instant::now());
        }
        self.modules.find(address).cloned()
    }

    fn name(&mut self, address: u64) -> Arc<[Named]> {
        if let Some(named) = self.named.get(&address) {
            return named.clone();
        }
        if self.named.len() >= REMEMBERED {
            self.named.clear();
            self.strings.clear();
        }
        let named: Arc<[Named]> = self.look_up(address).into();
        self.named.insert(address, named.clone());
        named
    }

    fn look_up(&mut self, address: u64) -> Vec<Named> {
        let Some(module) = self.module(address) else {
            return vec![self.nameless(&format!("{address:#x}"))];
        };
        let in_file = module.in_file(address);
        if let Some(image) = module.image {
            let lines = self.lines(image, in_file);
            if !lines.is_empty() {
                return lines;
            }
            if let Some(function) = image.function(in_file) {
                return vec![self.named(function, "", 0)];
            }
        }
        let file = module.path.rsplit('/').next().unwrap_or_default();
        vec![self.nameless(&format!("{file}+{in_file:#x}"))]
    }

    /// The functions according to the debug information; none if it does not know the address.
    fn lines(&mut self, image: &'static Image, address: u64) -> Vec<Named> {
        let context = self
            .contexts
            .entry(image.path.clone())
            .or_insert_with(|| context(image));
        let found = context
            .as_ref()
            .map(|context| frames(context, address))
            .unwrap_or_default();
        let last = found.len().saturating_sub(1);
        let mut named = Vec::with_capacity(found.len());
        for (index, (function, file, line)) in found.into_iter().enumerate() {
            // The outermost is a function of its own, which the symbol table also has, often under its full name.
            let symbol = (index == last).then(|| image.function(address)).flatten();
            let function = match (symbol, function) {
                (Some(symbol), _) => symbol.to_owned(),
                (None, Some(function)) => qualified(function, &file),
                (None, None) => continue,
            };
            named.push(self.named(&function, &file, line));
        }
        named
    }

    fn named(&mut self, system_name: &str, file: &str, line: u32) -> Named {
        // The alternate form leaves the hash out.
        let function = format!("{:#}", rustc_demangle::demangle(system_name));
        Named {
            function: self.string(&function),
            system_name: self.string(system_name),
            file: self.string(file),
            line,
        }
    }

    fn nameless(&mut self, text: &str) -> Named {
        let text = self.string(text);
        Named {
            function: text.clone(),
            system_name: text,
            file: self.string(""),
            line: 0,
        }
    }

    fn string(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.strings.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.strings.insert(new.clone());
        new
    }
}

/// Line tables alone (`debug = "line-tables-only"`) give an inlined function no more than its last name; the path of its
/// file tells the module.
fn qualified(function: String, file: &str) -> String {
    let mangled = ["_R", "_ZN", "__ZN"]
        .iter()
        .any(|start| function.starts_with(start));
    let Some(path) = file.strip_suffix(".rs").filter(|_| !mangled) else {
        return function;
    };
    let (before, within) = path
        .rsplit_once("/src/")
        .unwrap_or(("", path.rsplit('/').next().unwrap_or_default()));
    let folder = before.rsplit('/').next().unwrap_or_default();
    // A package in the registry's cache has its version behind its name.
    let package = match folder.rsplit_once('-') {
        Some((name, version)) if version.starts_with(|first: char| first.is_ascii_digit()) => name,
        _ => folder,
    };
    let package = package.replace('-', "_");
    let steps = within
        .split('/')
        .filter(|step| !matches!(*step, "mod" | "lib" | "main"));
    let mut name = String::new();
    for step in std::iter::once(&*package)
        .chain(steps)
        .filter(|step| !step.is_empty())
    {
        name.push_str(step);
        name.push_str("::");
    }
    name + &function
}

/// Function, file and line of each frame, innermost first.
fn frames(context: &Context<Bytes>, address: u64) -> Vec<(Option<String>, String, u32)> {
    let mut found = Vec::new();
    let mut lookup = context.find_frames(address);
    let mut frames = loop {
        match lookup {
            LookupResult::Output(Ok(frames)) => break frames,
            LookupResult::Output(Err(_)) => return found,
            // Units in files of their own are not supported; such a unit is skipped.
            LookupResult::Load { continuation, .. } => lookup = continuation.resume(None),
        }
    };
    while let Ok(Some(frame)) = frames.next()
        && found.len() < INLINED
    {
        let function = frame
            .function
            .as_ref()
            .and_then(|function| function.raw_name().ok());
        let (file, line) = frame
            .location
            .map_or(("", 0), |at| (at.file.unwrap_or_default(), at.line.unwrap_or(0)));
        found.push((function.map(Cow::into_owned), file.to_owned(), line));
    }
    found
}

fn context(image: &'static Image) -> Option<Context<Bytes>> {
    let section = |id: SectionId| {
        let bytes = image.section(id.name()).map_or(&[][..], |section| section.bytes);
        Ok::<_, addr2line::gimli::Error>(EndianSlice::new(bytes, LittleEndian))
    };
    image.section(SectionId::DebugInfo.name())?;
    Context::from_dwarf(Dwarf::load(section).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn here() -> (crate::stack::Stack, u32) {
        inlined()
    }

    #[inline(always)]
    fn inlined() -> (crate::stack::Stack, u32) {
        (crate::stack::capture(), line!())
    }

    #[test]
    fn names_inlined_functions_innermost_first() {
        if !crate::SUPPORTED {
            return;
        }
        let (stack, line) = here();
        let named = name(stack.frames()[0] as u64);
        let functions: Vec<&str> = named.iter().map(|named| &*named.function).collect();
        // With line tables alone the name is `profile::symbols::inlined`: then it is the path of the file that tells.
        assert!(
            functions[0].starts_with("profile::symbols::") && functions[0].ends_with("::inlined"),
            "{functions:?}"
        );
        assert_eq!(functions[1..], ["profile::symbols::tests::here"]);
        assert_eq!(named[0].line, line);
        assert_eq!(named[0].short_file(), "profile/symbols.rs");
        assert!(named[1].system_name.starts_with('_'), "{named:?}");
        forget();
        assert_eq!(name(stack.frames()[0] as u64), named);
    }

    #[test]
    fn names_are_forgotten_when_nobody_asks() {
        let named = name(here as *const () as u64);
        assert!(!forget_idle(Duration::from_secs(3600)));
        // Other tests ask as well, so that it may take a few attempts to find the table at rest.
        let forgotten = (0..10_000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            forget_idle(Duration::from_micros(1))
        });
        assert!(forgotten);
        assert_eq!(name(here as *const () as u64), named);
    }

    #[test]
    fn every_address_has_a_name() {
        let odd = [0, 1, 4095, 4096, u64::MAX, u64::MAX / 2, &raw const TABLE as u64];
        for address in odd {
            let named = name(address);
            assert_eq!(named.len(), 1, "{named:?}");
            assert_eq!(named[0].line, 0);
        }
        assert_eq!(&*name(16)[0].function, "0x10");
        let libc = name(libc::getpid as *const () as u64);
        assert!(!libc[0].function.starts_with("0x"), "{libc:?}");
    }

    #[test]
    fn modules_from_paths() {
        let cases = [
            ("/code/crates/mount/src/ring/read.rs", "f", "mount::ring::read::f"),
            (
                "/rustc/0123/library/alloc/src/vec/mod.rs",
                "push<u8>",
                "alloc::vec::push<u8>",
            ),
            (
                "/home/me/.cargo/registry/src/index-1/tokio-util-0.7.1/src/lib.rs",
                "g",
                "tokio_util::g",
            ),
            ("crates/x/tests/slow.rs", "{closure#0}", "slow::{closure#0}"),
            ("x.c", "main", "main"),
            ("", "main", "main"),
            ("/a/src/b.rs", "_ZN1a1bE", "_ZN1a1bE"),
            (".rs", "f", "f"),
        ];
        for (file, function, expected) in cases {
            assert_eq!(qualified(function.to_owned(), file), expected);
        }
    }

    #[test]
    fn short_files() {
        let cases = [
            ("/code/crates/profile/src/symbols.rs", "profile/symbols.rs"),
            ("/x/crates/api/src/events/mod.rs", "events/mod.rs"),
            ("main.rs", "main.rs"),
            ("/main.rs", "main.rs"),
            ("", ""),
        ];
        for (file, expected) in cases {
            let named = Named {
                function: "".into(),
                system_name: "".into(),
                file: file.into(),
                line: 0,
            };
            assert_eq!(named.short_file(), expected);
        }
    }

    #[test]
    fn named_frames_stay_as_they_are() {
        let frame = Frame::Named {
            function: "await".into(),
            file: "a.rs".into(),
            line: 3,
        };
        let named = resolve(&frame);
        assert_eq!(
            (&*named[0].function, &*named[0].file, named[0].line),
            ("await", "a.rs", 3)
        );
    }
}
