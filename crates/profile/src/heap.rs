//! Who holds memory, by the stacks that allocated it.
//!
//! Contract: a snapshot stops no thread; one that allocates waits at most while the counters of known stacks are
//! added up. What comes from the allocator as text is read without trust: junk is skipped or refused, never a panic.
//!
//! With 200,000 sampled allocations of 4,100 stacks alive a snapshot takes 50 ms, 200 ms on a crowded machine. The
//! longest allocation of another thread meanwhile is as long as the longest at other times (8 ms and 5 ms, crowded
//! 350 ms and 400 ms), which is the scheduler's doing: `cargo run --release -p profile --example allocation_cost`.

use std::time::{Duration, SystemTime};

use crate::symbols::Named;
use crate::{Frame, Profile, Sample, ValueType};

/// Why there is no heap profile; the text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The build or its environment has sampling off.
    #[error(
        "this process does not sample its heap: remove prof:false from MALLOC_CONF and restart, or use a build with \
         heap profiles (Linux, crate `profile` without the feature `off`)"
    )]
    Off,
    /// The allocator could not write its profile, or wrote what cannot be read.
    #[error("the allocator gave no heap profile ({0}); try again")]
    Failed(String),
}

/// What the allocator has, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// In live allocations.
    pub allocated: u64,
    /// In pages that hold at least one live allocation.
    pub active: u64,
    /// In pages that are in memory.
    pub resident: u64,
    /// In mappings in use.
    pub mapped: u64,
    /// In mappings kept for later, which cost no memory.
    pub retained: u64,
    /// For the allocator's own records.
    pub metadata: u64,
}

/// The position of `alloc_space` in a heap profile's value types.
pub const ALLOC_SPACE: usize = 1;
/// The position of `inuse_space`, which is shown first.
pub const INUSE_SPACE: usize = 3;

const VALUE_TYPES: [ValueType; 4] = [
    ValueType {
        kind: "alloc_objects",
        unit: "count",
    },
    ValueType {
        kind: "alloc_space",
        unit: "bytes",
    },
    ValueType {
        kind: "inuse_objects",
        unit: "count",
    },
    ValueType {
        kind: "inuse_space",
        unit: "bytes",
    },
];

/// Stacks that a profile holds at most; a program has some thousand places that allocate.
const MOST_STACKS: usize = 200_000;

/// The heap by allocating stack: what was ever allocated and what is alive, estimated from the samples.
///
/// The innermost frames are the allocator's own, see [`is_shim`].
///
/// # Errors
/// Where the program does not sample its heap.
pub fn snapshot() -> Result<Profile, Unavailable> {
    let text = native::dump()?;
    parse(&text).ok_or_else(|| Unavailable::Failed("it is not in the expected form".to_owned()))
}

/// The allocator's figures; `None` where it has none.
#[must_use]
pub fn stats() -> Option<Stats> {
    native::stats()
}

/// How often the allocator has given memory back to the system, or offered to, since the start; 0 where it does not tell.
#[must_use]
pub fn purge_passes() -> u64 {
    native::purge_passes()
}

/// Functions between the code that wants memory and the allocator's record of it: beginnings of demangled names. The
/// standard library's ways to grow something are among them, since a list that names `Vec::push` as the place of every
/// allocation says nothing.
const SHIMS: [&str; 35] = [
    "_rjem_",
    "je_",
    "prof_",
    "imalloc",
    "ialloc",
    "icalloc",
    "irealloc",
    "do_rallocx",
    "arena_",
    "tcache_",
    "malloc",
    "calloc",
    "realloc",
    "aligned_alloc",
    "posix_memalign",
    "memalign",
    "valloc",
    "mallocx",
    "rallocx",
    "operator new",
    "profile::stack::",
    "profile::allocator::",
    "tikv_jemallocator::",
    "__rust_alloc",
    "__rust_realloc",
    "__rustc",
    "__rdl_",
    "__rg_",
    "alloc::",
    "core::",
    "std::alloc::",
    "std::collections::",
    "std::io::impls::",
    "hashbrown::",
    "smallvec::",
];

/// Types without a path.
const PRIMITIVES: [&str; 18] = [
    "T", "Self", "bool", "char", "str", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32",
    "i64", "i128", "isize", "()",
];

/// Whether a function only stands between the one that wanted memory and the allocator. Leave those out at the inner
/// end of a stack, so that it ends with the code that wanted memory.
#[must_use]
pub fn is_shim(named: &Named) -> bool {
    stands_between(&named.function, &named.file)
}

fn stands_between(function: &str, file: &str) -> bool {
    let starts = |path: &str| SHIMS.iter().any(|shim| path.starts_with(shim));
    if starts(function) || file.contains("/tikv-jemalloc") {
        return true;
    }
    // `<alloc::vec::Vec<T> as core::clone::Clone>::clone`: both sides have to be the standard library's.
    let Some(inside) = function.strip_prefix('<') else {
        return false;
    };
    let (implementer, of_trait) = inside.split_once(" as ").unwrap_or((inside, "core::"));
    let bare = implementer.trim_matches(['&', '<', '[', ']', '*']);
    (starts(bare) || PRIMITIVES.contains(&bare)) && starts(of_trait)
}

/// Reads jemalloc's text form, `heap_v2`: a line with the sampling rate, then per stack a line `@ ADDRESS…` and one
/// ` t*: LIVE: BYTES [EVER: BYTES]` with the samples of all threads.
fn parse(text: &[u8]) -> Option<Profile> {
    let mut lines = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok());
    let rate: u32 = lines.next()?.strip_prefix("heap_v2/")?.trim().parse().ok()?;
    if rate == 0 {
        return None;
    }
    let mut samples = Vec::new();
    let mut stack: Option<Vec<Frame>> = None;
    for line in lines {
        let line = line.trim();
        if line == "MAPPED_LIBRARIES:" || samples.len() == MOST_STACKS {
            break;
        }
        if let Some(addresses) = line.strip_prefix('@') {
            stack = Some(addresses.split_ascii_whitespace().filter_map(call).collect());
        } else if let Some(counts) = line.strip_prefix("t*:")
            && let Some(stack) = stack.take()
            && let Some([live, live_bytes, ever, ever_bytes]) = counts_of(counts)
        {
            let (live, live_bytes) = estimate(live, live_bytes, rate);
            let (ever, ever_bytes) = estimate(ever, ever_bytes, rate);
            samples.push(Sample {
                stack,
                // Without prof_accum the allocator has forgotten what is no longer alive.
                values: vec![ever.max(live), ever_bytes.max(live_bytes), live, live_bytes],
                labels: Vec::new(),
            });
        }
    }
    Some(Profile {
        value_types: VALUE_TYPES.to_vec(),
        default_type: INUSE_SPACE,
        period: Some((
            ValueType {
                kind: "space",
                unit: "bytes",
            },
            rate.into(),
        )),
        time: SystemTime::now(),
        duration: Duration::ZERO,
        samples,
        comments: Vec::new(),
    })
}

/// The call that returns to an address.
fn call(word: &str) -> Option<Frame> {
    let address = u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()?;
    address.checked_sub(1).map(Frame::Address)
}

/// The numbers of `1: 2 [3: 4]`.
fn counts_of(text: &str) -> Option<[u64; 4]> {
    let mut numbers = text
        .split(|character: char| !character.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map(str::parse);
    let counts = std::array::from_fn(|_| numbers.next().and_then(Result::ok));
    match (counts, numbers.next()) {
        ([Some(a), Some(b), Some(c), Some(d)], None) => Some([a, b, c, d]),
        _ => None,
    }
}

/// What the samples of a stack stand for. An allocation of `size` bytes is sampled with the probability
/// 1 - e^(-size / rate), so each counts as the inverse of that; jemalloc writes its numbers so that the average size
/// gives the right result.
fn estimate(count: u64, bytes: u64, rate: u32) -> (i64, i64) {
    if count == 0 || bytes == 0 {
        return (0, 0);
    }
    let average = bytes as f64 / count as f64;
    let scale = 1.0 / -(-average / f64::from(rate)).exp_m1();
    // The conversions saturate.
    (
        (count as f64 * scale).round() as i64,
        (bytes as f64 * scale).round() as i64,
    )
}

#[cfg(target_os = "linux")]
mod native {
    #![allow(
        unsafe_code,
        reason = "the allocator's controls are read by name, with the types that its manual gives"
    )]

    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use rustix::fs::{MemfdFlags, memfd_create};
    use tikv_jemalloc_ctl::{epoch, raw, stats};

    use super::{Stats, Unavailable};

    /// The text form of the heap profile. The allocator writes it to a file by name; one in memory has a name too.
    pub(super) fn dump() -> Result<Vec<u8>, Unavailable> {
        // SAFETY: a flag, read as a byte.
        let on = unsafe { raw::read::<u8>(b"opt.prof\0") };
        if on != Ok(1) {
            return Err(Unavailable::Off);
        }
        let failed = |error: &dyn std::fmt::Display| Unavailable::Failed(error.to_string());
        let file = memfd_create("heap", MemfdFlags::CLOEXEC).map_err(|error| failed(&error))?;
        let mut file = File::from(file);
        let path = format!("/proc/self/fd/{}\0", file.as_raw_fd());
        // SAFETY: the control takes a pointer to a C string, which lives until after the call.
        unsafe { raw::write(b"prof.dump\0", path.as_ptr()) }.map_err(|error| failed(&error))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|error| failed(&error))?;
        Ok(text)
    }

    pub(super) fn stats() -> Option<Stats> {
        // The figures are those of the moment of this call.
        epoch::advance().ok()?;
        Some(Stats {
            allocated: stats::allocated::read().ok()? as u64,
            active: stats::active::read().ok()? as u64,
            resident: stats::resident::read().ok()? as u64,
            mapped: stats::mapped::read().ok()? as u64,
            retained: stats::retained::read().ok()? as u64,
            metadata: stats::metadata::read().ok()? as u64,
        })
    }

    pub(super) fn purge_passes() -> u64 {
        let _ = epoch::advance();
        // 4096 stands for all arenas.
        [
            &b"stats.arenas.4096.dirty_npurge\0"[..],
            &b"stats.arenas.4096.muzzy_npurge\0"[..],
        ]
        .into_iter()
        // SAFETY: both are 64-bit counters.
        .filter_map(|name| unsafe { raw::read::<u64>(name) }.ok())
        .sum()
    }
}

#[cfg(not(target_os = "linux"))]
mod native {
    pub(super) fn dump() -> Result<Vec<u8>, super::Unavailable> {
        Err(super::Unavailable::Off)
    }

    pub(super) fn stats() -> Option<super::Stats> {
        None
    }

    pub(super) fn purge_passes() -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(address: u64) -> Frame {
        Frame::Address(address)
    }

    #[test]
    fn the_text_form_is_read() {
        let text = b"heap_v2/524288\n  t*: 3: 3145760 [5: 9]\n  t0: 3: 3145760 [5: 9] main thread\n\
            @ 0x1000 0x2001\n  t*: 2: 2097152 [4: 4194304]\n  t0: 2: 2097152 [4: 4194304]\n\
            @ 0x3000\n  t*: 1: 16 [1: 16]\n\
            @ 0x4000\n  t*: 0: 0 [0: 0]\n\
            MAPPED_LIBRARIES:\n@ 0x5000\n t*: 1: 1 [1: 1]\n";
        let profile = parse(text).unwrap();
        let kinds: Vec<_> = profile.value_types.iter().map(|value| value.kind).collect();
        assert_eq!(
            kinds,
            ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]
        );
        assert_eq!(profile.period.unwrap().1, 524_288);
        assert_eq!(profile.samples.len(), 3);
        // The average is twice the rate: 1 / (1 - e^-2) = 1.1565.
        assert_eq!(profile.samples[0].stack, [address(0xfff), address(0x2000)]);
        assert_eq!(profile.samples[0].values, [5, 4_850_787, 2, 2_425_393]);
        // One sampled allocation of 16 bytes stands for 32768.5 of them, 512 KiB.
        assert_eq!(profile.samples[1].values, [32_769, 524_296, 32_769, 524_296]);
        assert_eq!(profile.samples[2].values, [0, 0, 0, 0]);
    }

    #[test]
    fn junk_is_skipped_or_refused() {
        for refused in [
            "",
            "heap_v2/",
            "heap_v2/0\n",
            "heap_v2/x\n",
            "heap profile: 1: 2\n",
            "\u{0}",
        ] {
            assert_eq!(parse(refused.as_bytes()), None, "{refused:?}");
        }
        let rest = [
            "t*: 1: 1 [1: 1]",
            "@ 0x1\n@ 0x2",
            "@ 1 0xzz 0x 0xfffffffffffffffff\nt*: 1",
            "@ 0x10\nt*: 1: 1 [1: 1: 1]",
            "@ 0x10\nt*: 99999999999999999999: 1 [1: 1]",
            "@@@@\nt*:t*:",
        ];
        for skipped in rest {
            let text = format!("heap_v2/524288\n{skipped}\n");
            assert_eq!(parse(text.as_bytes()).unwrap().samples, [], "{skipped:?}");
        }
        let huge = b"heap_v2/4294967295\n@ 0x0 0x9\nt*: 18446744073709551615: 1 [1: 18446744073709551615]\n\xff\xfe\n";
        let profile = parse(huge).unwrap();
        assert_eq!(profile.samples[0].stack, [address(8)]);
        assert_eq!(profile.samples[0].values[2], i64::MAX);
    }

    #[test]
    fn shims_are_known_by_name() {
        let shims = [
            "_rjem_je_prof_backtrace",
            "prof_backtrace",
            "malloc",
            "__rust_alloc",
            "__rustc::__rust_alloc",
            "__rustc[5f4a]::__rust_realloc",
            "alloc::alloc::alloc",
            "alloc::raw_vec::RawVecInner<A>::try_allocate_in",
            "<alloc::alloc::Global as core::alloc::Allocator>::allocate",
            "<alloc::vec::Vec<T> as core::clone::Clone>::clone",
            "<u8 as alloc::vec::spec_from_elem::SpecFromElem>::from_elem",
            "<T as alloc::slice::<impl [T]>::to_vec_in::ConvertVec>::to_vec",
            "<alloc::vec::Vec<u8>>::push",
            "<profile::allocator::Allocator as core::alloc::global::GlobalAlloc>::alloc",
            "hashbrown::raw::RawTable<T,A>::reserve_rehash",
        ];
        for shim in shims {
            assert!(stands_between(shim, ""), "{shim}");
        }
        assert!(stands_between(
            "large_palloc",
            "/t/out/tikv-jemalloc-sys-1/build/src/large.c"
        ));
        let wanted = [
            "mount::mounts::Mounts::open",
            "<mount::Mount as core::clone::Clone>::clone",
            "<alloc::vec::Vec<T> as media::Frames>::split",
            "tokio::runtime::task::raw::RawTask::new",
            "<tokio::runtime::Builder>::build",
            "main",
            "<",
            "",
        ];
        for function in wanted {
            assert!(!stands_between(function, "/code/mount/src/lib.rs"), "{function}");
        }
    }
}
