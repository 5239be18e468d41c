//! The allocator of a program whose heap can be asked who filled it.
//!
//! Contract: an allocation never waits for a profile. What is always on is a counter of bytes per thread; one
//! allocation in every 512 KiB is remembered with its stack.
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: profile::Allocator = profile::Allocator::new();
//! # fn main() {}
//! ```
//!
//! On Linux this is jemalloc, elsewhere what the system has, without heap profiles. The options below hold for every
//! program that links this crate; the variable `MALLOC_CONF` in the environment overrides single ones
//! (`MALLOC_CONF=prof_active:false`).
//!
//! One sample costs 0.4 to 1 µs, so a thread that allocates less than 5 GB a second pays under 1 % of a core; 100 MB a
//! second, which is more than a server that delivers audio allocates, cost 0.02 %. Loops that do nothing but allocate
//! are the worst case. As the median of 25 pairs of runs, on two busy cores (`cargo run --release -p profile --example
//! allocation_cost`):
//!
//! | loop | allocates | without | with | median of pairs |
//! | --- | --- | --- | --- | --- |
//! | 64 bytes, allocated and freed | 20 GB/s | 1.64 ms | 1.59 ms | -0.4 % to +2.7 % |
//! | 16 bytes to 4 KB, 1,000 alive | 80 GB/s | 1.30 ms | 1.40 ms | +7.5 % |
//! | 1 to 2 KB, filled, freed by another thread | 13 GB/s | 11.3 ms | 11.6 ms | +2.7 % |
//!
//! With jemalloc's own way to take a stack, which reads unwind tables, a sample of the second loop costs 2.5 µs and not
//! 0.5 µs, and more with the depth of the stack.
#![allow(
    unsafe_code,
    reason = "a global allocator is unsafe by nature, and jemalloc is set up through symbols and a function pointer"
)]

use std::alloc::{GlobalAlloc, Layout};

#[cfg(target_os = "linux")]
use tikv_jemallocator::Jemalloc as Inner;

#[cfg(not(target_os = "linux"))]
use std::alloc::System as Inner;

/// Allocates for the whole program: use it as `#[global_allocator]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator(());

impl Allocator {
    /// The allocator.
    #[must_use]
    pub const fn new() -> Allocator {
        Allocator(())
    }
}

// SAFETY: every method hands its arguments on unchanged to an allocator that keeps the contract of the trait.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of the same method.
        unsafe { Inner.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of the same method.
        unsafe { Inner.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of the same method.
        unsafe { Inner.dealloc(pointer, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract of the same method.
        unsafe { Inner.realloc(pointer, layout, size) }
    }
}

#[cfg(target_os = "linux")]
mod jemalloc {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    use std::arch::asm;
    use std::cell::Cell;
    use std::ffi::{c_char, c_uint, c_void};
    use std::sync::OnceLock;

    use tikv_jemalloc_ctl::raw;

    /// What both builds have in common.
    ///
    /// Memory that was freed goes back to the system within about five seconds, given back by one thread of its own
    /// that sleeps while there is nothing to do: so the threads that serve listeners never pay for it, and an idle
    /// server is small again after a rush.
    macro_rules! options {
        ($sampling:literal) => {
            concat!(
                $sampling,
                ",background_thread:true,max_background_threads:1,dirty_decay_ms:5000,muzzy_decay_ms:0\0"
            )
        };
    }

    #[cfg(not(feature = "off"))]
    const OPTIONS: &str =
        options!("prof:true,prof_active:true,lg_prof_sample:19,prof_accum:true,prof_bt_max:64");

    /// Compiled without sampling, to measure what it costs.
    #[cfg(feature = "off")]
    const OPTIONS: &str = options!("prof:false");

    /// A pointer that jemalloc reads.
    #[repr(transparent)]
    pub(super) struct Text(*const c_char);

    // SAFETY: it points to a constant that nobody changes.
    unsafe impl Sync for Text {}

    /// jemalloc declares this symbol weakly and reads it before its first allocation. `used` keeps it, and with it
    /// this object file, in every program that links the crate.
    // SAFETY: jemalloc expects a symbol of this name and of the type `const char *`, and this is the only one: the
    // text ends with a zero byte and lives for ever.
    #[used]
    #[unsafe(export_name = "malloc_conf")]
    pub(super) static MALLOC_CONF: Text = Text(OPTIONS.as_ptr().cast());

    type Backtrace = unsafe extern "C" fn(*mut *mut c_void, *mut c_uint, c_uint);

    const BACKTRACE: &[u8] = b"experimental.hooks.prof_backtrace\0";

    /// How jemalloc would do it.
    static SLOW: OnceLock<Backtrace> = OnceLock::new();

    /// Has the loader run [`install`] before `main`.
    // SAFETY: the section holds pointers to functions of this type, which the loader calls one after the other before
    // `main`; `install` needs nothing that is only there later.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static INSTALL: extern "C" fn() = install;

    /// Replaces jemalloc's way to take a stack, which reads unwind tables, by one that follows frame pointers and costs
    /// a fifth.
    extern "C" fn install() {
        // SAFETY: the type is that of jemalloc's hook, which is null while sampling is off.
        let before = unsafe { raw::read::<Option<Backtrace>>(BACKTRACE) };
        if let Ok(Some(before)) = before {
            SLOW.get_or_init(|| before);
            // SAFETY: `backtrace` keeps what jemalloc asks of the hook. Without it only time is lost.
            let _ = unsafe { raw::write::<Backtrace>(BACKTRACE, backtrace) };
        }
    }

    /// Stacks with fewer frames ended early: jemalloc's own functions and the thread's start are as many.
    const SHORT: usize = 8;

    /// Frames of one function are smaller than this.
    const LARGEST: usize = 1 << 20;

    const PAGE: usize = 4096;

    /// Writes the return addresses of the callers to `frames` and their number to `length`.
    ///
    /// jemalloc calls it on the thread that allocates, with no lock of its own held. The C library may hold one
    /// though: it allocates while it looks for the bounds of a stack (`pthread_getattr_np`), which every thread does
    /// at its start. So this asks it for nothing, and [`crate::stack::capture`], which does, has no place here.
    ///
    /// # Safety
    /// `frames` has room for `most` pointers, and `length` for their number; both are this call's alone.
    unsafe extern "C" fn backtrace(frames: *mut *mut c_void, length: *mut c_uint, most: c_uint) {
        // SAFETY: the errno of this thread, which the caller of an allocation that succeeds may rely on.
        let errno = unsafe { &mut *libc::__errno_location() };
        let before = *errno;
        let mut count = 0;
        for back in Walk::here() {
            if count == most {
                break;
            }
            // SAFETY: jemalloc gives room for `most` addresses, and `count` is below that.
            unsafe {
                frames
                    .add(count as usize)
                    .write(std::ptr::without_provenance_mut(back))
            };
            count += 1;
        }
        *errno = before;
        if (count as usize) < SHORT.min(most as usize)
            && let Some(slow) = SLOW.get()
        {
            // SAFETY: points to the length of jemalloc's own record, which the hook finds at zero.
            unsafe { length.write(0) };
            // SAFETY: the arguments are those that jemalloc would have called it with.
            return unsafe { slow(frames, length, most) };
        }
        // SAFETY: points to the length of jemalloc's own record; `count` is at most `most`.
        unsafe { length.write(count) };
    }

    // SAFETY: the linker defines both in every program; only their addresses are taken, nothing is read through them.
    unsafe extern "C" {
        /// The first byte of the program.
        #[link_name = "__executable_start"]
        static PROGRAM: c_char;
        /// The first byte after its code.
        #[link_name = "etext"]
        static CODE_END: c_char;
    }

    /// Follows the frame pointers from function to function while they lead to code of this program. Code of shared
    /// libraries may use the register for something else.
    struct Walk {
        frame: usize,
        stack: Readable,
    }

    /// A part of a thread's stack that the kernel found readable. It stays so while the thread lives.
    #[derive(Clone, Copy)]
    struct Readable {
        start: usize,
        end: usize,
    }

    thread_local! {
        /// What is known of this thread's stack, so that the kernel is asked a few times per thread and not per stack.
        static STACK: Cell<Readable> = const { Cell::new(Readable { start: 0, end: 0 }) };
    }

    impl Walk {
        /// The caller of the function that this is inlined into.
        #[inline(always)]
        fn here() -> Walk {
            let frame: usize;
            // SAFETY: copies a register and touches nothing else.
            #[cfg(target_arch = "x86_64")]
            unsafe {
                asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags));
            }
            // SAFETY: copies a register and touches nothing else.
            #[cfg(target_arch = "aarch64")]
            unsafe {
                asm!("mov {}, x29", out(reg) frame, options(nomem, nostack, preserves_flags));
            }
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            let frame = 0;
            let stack = STACK.get();
            let near = stack.start.saturating_sub(LARGEST)..stack.end + LARGEST;
            let page = frame & !(PAGE - 1);
            Walk {
                frame,
                stack: if near.contains(&frame) {
                    stack
                } else {
                    Readable {
                        start: page,
                        end: page,
                    }
                },
            }
        }

        /// Whether a frame's two words can be read. They are on one page because of the alignment, which is the ABI's.
        fn is_readable(&mut self) -> bool {
            if self.frame == 0 || !self.frame.is_multiple_of(16) {
                return false;
            }
            while self.frame < self.stack.start {
                if !is_readable(self.stack.start - PAGE) {
                    return false;
                }
                self.stack.start -= PAGE;
            }
            while self.frame >= self.stack.end {
                if !is_readable(self.stack.end) {
                    return false;
                }
                self.stack.end += PAGE;
            }
            true
        }
    }

    impl Iterator for Walk {
        type Item = usize;

        fn next(&mut self) -> Option<usize> {
            if !self.is_readable() {
                return None;
            }
            // SAFETY: the address is aligned, and the kernel has found its page readable. If it is no frame but other
            // memory, the words may be anything, and are read as numbers only.
            let (next, back) = unsafe {
                let words = self.frame as *const usize;
                (words.read_volatile(), words.add(1).read_volatile())
            };
            if !(&raw const PROGRAM as usize..&raw const CODE_END as usize).contains(&back) {
                return None;
            }
            // Callers lie above the called.
            let above = next > self.frame && next - self.frame < LARGEST;
            self.frame = if above { next } else { 0 };
            Some(back)
        }
    }

    impl Drop for Walk {
        fn drop(&mut self) {
            STACK.set(self.stack);
        }
    }

    /// Asks the kernel whether a page can be read: told to change the mask of signals in a way that does not exist, it
    /// changes nothing, but first reads the mask. EFAULT says that it could not, EINVAL that it could.
    #[cold]
    fn is_readable(page: usize) -> bool {
        // SAFETY: the kernel checks the address itself.
        let result = unsafe {
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                -1,
                page,
                std::ptr::null_mut::<c_void>(),
                8,
            )
        };
        // SAFETY: the errno of this thread.
        result == 0 || unsafe { *libc::__errno_location() } != libc::EFAULT
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tikv_jemalloc_ctl::raw;

    /// The options reach the allocator of a program that merely links this crate, as this test does.
    #[test]
    fn options_take_effect() {
        let sampling = cfg!(not(feature = "off"));
        // SAFETY: the types are those that jemalloc documents; a flag is read as a byte.
        unsafe {
            assert_eq!(raw::read::<u8>(b"opt.prof\0").unwrap(), u8::from(sampling));
            assert_eq!(raw::read::<isize>(b"opt.dirty_decay_ms\0").unwrap(), 5000);
            assert_eq!(raw::read::<u8>(b"opt.background_thread\0").unwrap(), 1);
            if sampling {
                assert_eq!(raw::read::<u8>(b"opt.prof_active\0").unwrap(), 1);
                assert_eq!(raw::read::<usize>(b"opt.lg_prof_sample\0").unwrap(), 19);
                assert_eq!(raw::read::<u8>(b"opt.prof_accum\0").unwrap(), 1);
            }
        }
    }
}
