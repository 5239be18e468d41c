//! The stack of the thread that asks, at the price of a few loads.
//!
//! Contract: reads only the calling thread's own stack and takes no lock. It allocates nothing itself; a thread's first
//! call asks the C library for the bounds of its stack, which may.
//!
//! The walk follows frame pointers, which every build of this workspace keeps (`-C force-frame-pointers=yes`, and the
//! standard library ships with them). In a build without them, or through a C library that uses the register for
//! something else, the stack ends early; it never faults, because each load is inside the thread's stack and above the
//! one before.
//!
//! Capturing 8 frames takes 20 ns and 48 frames 70 ns, and so does hashing those (x86_64: `cargo test --release -p profile
//! --test costs -- --ignored --nocapture`).
//!
//! ```
//! let stack = profile::stack::capture();
//! let place = profile::symbols::name(stack.frames()[0] as u64);
//! # let _ = place;
//! ```
#![allow(
    unsafe_code,
    reason = "reads the frame pointer register and words of the own stack; the bounds are checked here, before each load"
)]

use std::hash::{Hash, Hasher};

/// Frames that a captured stack holds at most.
pub const DEPTH: usize = 48;

/// A captured stack: program counters, innermost first, without the frame of [`capture`] itself.
///
/// Each is the address of a call, which is one less than the address it returns to, so that it names the line of the
/// call and not the one after.
#[derive(Clone, Copy)]
pub struct Stack {
    frames: [usize; DEPTH],
    length: usize,
}

impl Stack {
    /// A stack without frames.
    pub const EMPTY: Self = Self {
        frames: [0; DEPTH],
        length: 0,
    };

    /// The program counters of the calls.
    #[must_use]
    pub fn frames(&self) -> &[usize] {
        &self.frames[..self.length]
    }

    /// The stack as a sample has it.
    #[must_use]
    pub fn to_frames(&self) -> Vec<crate::Frame> {
        self.frames()
            .iter()
            .map(|address| crate::Frame::Address(*address as u64))
            .collect()
    }
}

// Only the frames in use say what a stack is, and only they are worth the time.
impl PartialEq for Stack {
    fn eq(&self, other: &Self) -> bool {
        self.frames() == other.frames()
    }
}

impl Eq for Stack {}

impl Hash for Stack {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.frames().hash(state);
    }
}

impl Default for Stack {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.frames()).finish()
    }
}

/// The callers of this function. Empty where the platform has no frame pointers that we know how to read.
#[inline(never)]
#[must_use]
pub fn capture() -> Stack {
    let mut stack = Stack::EMPTY;
    native::walk(&mut stack);
    stack
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod native {
    use super::{DEPTH, Stack};
    use std::arch::asm;
    use std::cell::Cell;

    /// Where this thread's stack ends.
    #[derive(Clone, Copy)]
    enum Top {
        Unknown,
        /// The question is being answered; who asks again meanwhile, such as an allocator that captures stacks of
        /// allocations, gets none.
        Asked,
        /// No answer, for good.
        None,
        At(usize),
    }

    thread_local! {
        static TOP: Cell<Top> = const { Cell::new(Top::Unknown) };
    }

    /// Appends the callers of the function that this is inlined into.
    #[inline(always)]
    pub(super) fn walk(stack: &mut Stack) {
        let (mut frame, here): (usize, usize);
        // SAFETY: copies two registers and touches nothing else.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            asm!("mov {}, rbp", "mov {}, rsp", out(reg) frame, out(reg) here, options(nomem, nostack, preserves_flags));
        }
        // SAFETY: copies two registers and touches nothing else.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            asm!("mov {}, x29", "mov {}, sp", out(reg) frame, out(reg) here, options(nomem, nostack, preserves_flags));
        }
        let top = match TOP.get() {
            Top::At(top) => top,
            Top::Unknown => ask(),
            Top::Asked | Top::None => return,
        };
        // The stack pointer is outside when this runs on a signal's alternate stack: then nothing is read.
        let mut lowest = here;
        while stack.length < DEPTH {
            let inside = frame >= lowest && top.checked_sub(16).is_some_and(|last| frame <= last);
            if !inside || !frame.is_multiple_of(size_of::<usize>()) {
                break;
            }
            // SAFETY: `lowest` is at or above this thread's stack pointer and `top` is the end of the same stack, so
            // both words are mapped, readable and written by nobody else; the address is aligned.
            let (next, back) = unsafe {
                let words = frame as *const usize;
                (words.read_volatile(), words.add(1).read_volatile())
            };
            let Some(call) = back.checked_sub(1).filter(|call| *call >= 4096) else {
                break;
            };
            stack.frames[stack.length] = call;
            stack.length += 1;
            // Frames of callers lie above those of the called.
            lowest = frame + 16;
            frame = next;
        }
    }

    /// Asks where this thread's stack ends; 0 if that is unknown.
    #[cold]
    #[inline(never)]
    fn ask() -> usize {
        TOP.set(Top::Asked);
        let top = top();
        TOP.set(top.map_or(Top::None, Top::At));
        top.unwrap_or(0)
    }

    fn top() -> Option<usize> {
        // SAFETY: the attributes are initialised by the first call if it succeeds, read by the second, and destroyed
        // once; both out-pointers live across the call.
        unsafe {
            let mut attributes = std::mem::zeroed::<libc::pthread_attr_t>();
            if libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes) != 0 {
                return None;
            }
            let (mut low, mut size) = (std::ptr::null_mut(), 0);
            let result = libc::pthread_attr_getstack(&raw const attributes, &raw mut low, &raw mut size);
            libc::pthread_attr_destroy(&raw mut attributes);
            (result == 0).then_some(())?;
            (low as usize).checked_add(size)
        }
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod native {
    pub(super) fn walk(_: &mut super::Stack) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn outer() -> Stack {
        let stack = middle();
        std::hint::black_box(());
        stack
    }

    #[inline(never)]
    fn middle() -> Stack {
        let stack = capture();
        std::hint::black_box(());
        stack
    }

    fn names(stack: &Stack) -> Vec<String> {
        stack
            .frames()
            .iter()
            .flat_map(|address| crate::symbols::name(*address as u64))
            .map(|named| named.function.to_string())
            .collect()
    }

    fn has_frame_pointers() -> bool {
        cfg!(all(
            target_os = "linux",
            any(target_arch = "x86_64", target_arch = "aarch64")
        ))
    }

    #[test]
    fn names_the_callers_innermost_first() {
        if !has_frame_pointers() {
            return;
        }
        let on_this = outer();
        let on_another = std::thread::spawn(outer).join().unwrap();
        for stack in [on_this, on_another] {
            let names = names(&stack);
            assert_eq!(
                names[..2],
                [
                    "profile::stack::tests::middle".to_owned(),
                    "profile::stack::tests::outer".to_owned()
                ],
                "{names:?}"
            );
            assert!(names.iter().any(|name| name.contains("thread")), "{names:?}");
        }
    }

    #[test]
    fn names_the_line_of_the_call() {
        if !has_frame_pointers() {
            return;
        }
        let (stack, line) = (capture(), line!());
        let named = crate::symbols::name(stack.frames()[0] as u64);
        assert_eq!(named[0].line, line, "{named:?}");
        assert_eq!(named[0].short_file(), "profile/stack.rs");
    }

    #[test]
    fn depth_is_bounded() {
        #[inline(never)]
        fn recurse(depth: usize) -> Stack {
            let stack = if depth == 0 { capture() } else { recurse(depth - 1) };
            std::hint::black_box(depth);
            stack
        }
        let stack = recurse(DEPTH * 2);
        if has_frame_pointers() {
            assert_eq!(stack.frames().len(), DEPTH);
        }
    }

    #[test]
    fn equal_means_equal_frames_in_use() {
        let mut a = Stack::EMPTY;
        a.frames[0] = 7;
        a.length = 1;
        let mut b = a;
        b.frames[1] = 9;
        assert_eq!(a, b);
        b.length = 2;
        assert_ne!(a, b);
    }
}
