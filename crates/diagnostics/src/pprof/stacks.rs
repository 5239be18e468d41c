//! How stacks are written for people, and what is left out of them.
//!
//! Contract: what is left out is at the inner end only and never the whole stack, so that the first line is the code
//! that a reader can change.

use std::fmt::Write as _;

use profile::symbols::{self, Named};
use profile::{Frame, Profile};

/// Whether a function only carries out what the reader's code asked for.
pub(super) type IsPlumbing = fn(&Named) -> bool;

/// A stack without the plumbing at its inner end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trimmed<'a> {
    frames: &'a [Frame],
    /// Functions that were inlined into the first frame's and are left out too.
    inlined: usize,
}

impl<'a> Trimmed<'a> {
    pub(super) fn of(stack: &'a [Frame], is_plumbing: IsPlumbing) -> Trimmed<'a> {
        for (at, frame) in stack.iter().enumerate() {
            let named = symbols::resolve(frame);
            if let Some(inlined) = named.iter().position(|named| !is_plumbing(named)) {
                let frames = &stack[at..];
                return Trimmed { frames, inlined };
            }
        }
        Trimmed {
            frames: stack,
            inlined: 0,
        }
    }

    /// The functions with the addresses of those that have one, innermost first.
    pub(super) fn named(self) -> impl Iterator<Item = (Option<u64>, Named)> + 'a {
        let inlined = self.inlined;
        self.frames.iter().enumerate().flat_map(move |(at, frame)| {
            let address = match frame {
                Frame::Address(address) => Some(*address),
                Frame::Named { .. } => None,
            };
            let skipped = if at == 0 { inlined } else { 0 };
            let named = symbols::resolve(frame).into_iter().skip(skipped);
            named.map(move |named| (address, named))
        })
    }

    /// The return addresses, as the text forms have them.
    pub(super) fn addresses(self) -> impl Iterator<Item = u64> + 'a {
        self.frames.iter().filter_map(|frame| match frame {
            Frame::Address(address) => Some(address.saturating_add(1)),
            Frame::Named { .. } => None,
        })
    }

    /// The stack as a profile has it. A first frame that is left out in part has no address of its own any more.
    fn to_frames(self) -> Vec<Frame> {
        if self.inlined == 0 {
            return self.frames.to_vec();
        }
        let (first, rest) = self.frames.split_at(1);
        let first = symbols::resolve(&first[0]).into_iter().skip(self.inlined);
        let first = first.map(|named| Frame::Named {
            function: named.function.to_string().into(),
            file: named.file.to_string().into(),
            line: named.line,
        });
        first.chain(rest.iter().cloned()).collect()
    }
}

/// The same profile with its stacks trimmed.
pub(super) fn trim(profile: &Profile, is_plumbing: IsPlumbing) -> Profile {
    let mut trimmed = profile.clone();
    for sample in &mut trimmed.samples {
        sample.stack = Trimmed::of(&sample.stack, is_plumbing).to_frames();
    }
    trimmed
}

/// ` @ 0x1 0x2` and the end of the line.
pub(super) fn write_addresses(out: &mut String, stack: Trimmed<'_>) {
    out.push_str(" @");
    for address in stack.addresses() {
        let _ = write!(out, " {address:#x}");
    }
    out.push('\n');
}

/// One line per function: `#`, address, function with offset, place, with tabs between.
pub(super) fn write_comments(out: &mut String, stack: Trimmed<'_>) {
    for (address, named) in stack.named() {
        let (address, offset) = return_address(address);
        let function = bare(&named.function);
        let _ = writeln!(out, "#\t{address:#x}\t{function}+{offset:#x}\t{}", place(&named));
    }
}

/// Two lines per function, as in Go's dumps: `function(...)`, and with a tab `file:line +0xoffset`.
pub(super) fn write_calls(out: &mut String, calls: impl Iterator<Item = (Option<u64>, Named)>) {
    for (address, named) in calls {
        let (_, offset) = return_address(address);
        let _ = writeln!(
            out,
            "{}(...)\n\t{} +{offset:#x}",
            bare(&named.function),
            place(&named)
        );
    }
}

/// The function without the types that it was made for, which can fill a page: `f<a::B<c::D>>` is `f`.
fn bare(function: &str) -> &str {
    if !function.ends_with('>') || function.starts_with('<') {
        return function;
    }
    let mut depth = 0;
    for (at, byte) in function.bytes().enumerate().rev() {
        match byte {
            // An arrow in the type of a function.
            b'>' if at > 0 && function.as_bytes()[at - 1] == b'-' => {}
            b'>' => depth += 1,
            b'<' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return function[..at].trim_end_matches("::");
        }
    }
    function
}

/// The return address and how far it is into its function; zeros for a step without one.
fn return_address(call: Option<u64>) -> (u64, u64) {
    call.map_or((0, 0), |call| {
        let address = call.saturating_add(1);
        (address, symbols::offset(call) + 1)
    })
}

fn place(named: &Named) -> String {
    let file = if named.file.is_empty() { "?" } else { &*named.file };
    format!("{file}:{}", named.line)
}

/// Whether a function belongs to the standard library's or our own ways to wait.
pub(super) fn is_waiting(named: &Named) -> bool {
    const WAYS: [&str; 13] = [
        "core::",
        "alloc::",
        "std::",
        "profile::stack::",
        "profile::awaits::",
        "observe::wait::",
        "observe::lock::",
        "observe::Mutex",
        "observe::RwLock",
        "tokio::loom::",
        // Keeps the waker of who waits.
        "tokio::sync::task::atomic_waker::",
        "parking_lot::",
        "lock_api::",
    ];
    const TYPES: [&str; 5] = [
        "<observe::lock::",
        "<observe::wait::",
        "<core::",
        "<alloc::",
        "<profile::awaits::",
    ];
    let function = &*named.function;
    WAYS.iter().chain(&TYPES).any(|way| function.starts_with(way))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(function: &'static str) -> Frame {
        Frame::Named {
            function: function.into(),
            file: "/code/a/src/b.rs".into(),
            line: 7,
        }
    }

    fn functions(stack: &[Frame]) -> Vec<String> {
        let trimmed = Trimmed::of(stack, is_waiting);
        trimmed
            .named()
            .map(|(_, named)| named.function.to_string())
            .collect()
    }

    #[test]
    fn the_inner_end_is_trimmed() {
        let stack = [
            "profile::stack::capture",
            "observe::lock::Mutex<T>::lock",
            "mount::find",
            "core::ops::call",
        ]
        .map(named);
        assert_eq!(functions(&stack), ["mount::find", "core::ops::call"]);
        assert_eq!(
            functions(&stack[..2]),
            ["profile::stack::capture", "observe::lock::Mutex<T>::lock"]
        );
        assert!(functions(&[]).is_empty());
    }

    #[test]
    fn types_are_left_out() {
        let cases = [
            ("mount::find", "mount::find"),
            ("a::f<b::C<d::E>, fn() -> u8>", "a::f"),
            ("a::f::<b::C>", "a::f"),
            ("a::{closure#0}<b>", "a::{closure#0}"),
            ("<a::B<c>>::f", "<a::B<c>>::f"),
            ("a::B<T>::f", "a::B<T>::f"),
            ("<a>", "<a>"),
            ("a>", "a>"),
            ("", ""),
        ];
        for (function, expected) in cases {
            assert_eq!(bare(function), expected);
        }
    }

    #[test]
    fn calls_are_written_as_go_does() {
        let stack = [named("mount::find")];
        let mut text = String::new();
        write_calls(&mut text, Trimmed::of(&stack, is_waiting).named());
        assert_eq!(text, "mount::find(...)\n\t/code/a/src/b.rs:7 +0x0\n");
        let mut text = String::new();
        write_comments(&mut text, Trimmed::of(&stack, is_waiting));
        assert_eq!(text, "#\t0x0\tmount::find+0x0\t/code/a/src/b.rs:7\n");
    }
}
