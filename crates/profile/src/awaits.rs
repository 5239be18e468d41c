//! Where a future waits, found by who keeps its waker.
//!
//! A future that has to wait keeps a copy of the waker that it was polled with. A waker that notes the stack whenever
//! it is copied therefore finds each await that a future is parked in, whichever library the await belongs to.
//!
//! Contract: [`poll`] is an ordinary poll. The copies that are kept wake the task as its own waker would, for as long as
//! they are kept.
#![allow(
    unsafe_code,
    reason = "a waker that notices its copies needs a table of functions of its own; the pointers in it are those of an Arc"
)]

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use crate::stack::{self, Stack};

/// Awaits of one future that are noted; one that waits for more at once is shown in part.
const MOST: usize = 16;

/// Polls a future that has nothing to do, and returns the stack of each await that it is parked in: program counters,
/// innermost first, from the await out to the future itself.
///
/// Poll the future in the ordinary way before: then only the awaits that it still waits in are found.
#[inline(never)]
pub fn poll<F: Future + ?Sized>(future: Pin<&mut F>, waker: &Waker) -> (Poll<F::Output>, Vec<Vec<u64>>) {
    let noting = Arc::new(Noting(waker.clone()));
    // SAFETY: the pointer is that of an Arc and owns one count, which the waker's drop gives back.
    let noting = unsafe { Waker::from_raw(RawWaker::new(Arc::into_raw(noting).cast(), &TABLE)) };
    let base = stack::capture();
    NOTES.set(Some(Vec::new()));
    let close = Close;
    let polled = step(future, &mut Context::from_waker(&noting));
    let notes = NOTES.take().unwrap_or_default();
    drop(close);
    // The first frame of the base is this function's, at another place in it than the poll; those above are shared.
    let outside = base.frames().get(1..).unwrap_or_default();
    let mut stacks: Vec<_> = notes.iter().map(|stack| inside(stack, outside)).collect();
    stacks.dedup();
    (polled, stacks)
}

/// Has a frame of its own, so that the outermost future keeps one although it is inlined.
#[inline(never)]
fn step<F: Future + ?Sized>(future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
    let polled = future.poll(context);
    // Something to do afterwards keeps the frame.
    std::hint::black_box(());
    polled
}

/// The frames below [`poll`], without the one of the table's function.
fn inside(stack: &Stack, outside: &[usize]) -> Vec<u64> {
    let frames = stack.frames();
    let end = (1..frames.len())
        .find(|&at| outside.starts_with(&frames[at..]) || frames[at..].starts_with(outside))
        .filter(|_| !outside.is_empty())
        // A stack that was cut off before it came here keeps all that it has.
        .map_or(frames.len(), |at| at - 1);
    frames[..end].iter().skip(1).map(|&frame| frame as u64).collect()
}

struct Noting(Waker);

thread_local! {
    /// The stacks of copies made on this thread while it polls; none at other times.
    static NOTES: RefCell<Option<Vec<Stack>>> = const { RefCell::new(None) };
}

/// Stops the notes even when the future panics.
struct Close;

impl Drop for Close {
    fn drop(&mut self) {
        NOTES.set(None);
    }
}

// SAFETY (of the four): wakers call them with the pointer that they were made with, which is `Arc::into_raw` of a `Noting`
// and stands for one count. `Noting` holds a waker, which any thread may use, and nothing else.
static TABLE: RawWakerVTable = RawWakerVTable::new(copy, wake, wake_by_ref, release);

/// # Safety
/// `noting` is the pointer of a living waker of [`TABLE`].
unsafe fn copy(noting: *const ()) -> RawWaker {
    // The thread may be about to end and have no notes any more.
    let _ = NOTES.try_with(|notes| {
        if let Ok(mut notes) = notes.try_borrow_mut()
            && let Some(stacks) = notes.as_mut()
            && stacks.len() < MOST
        {
            stacks.push(stack::capture());
        }
    });
    // SAFETY: the pointer came from `Arc::into_raw` and the waker that is copied owns a count, so the value lives.
    unsafe { Arc::increment_strong_count(noting.cast::<Noting>()) };
    RawWaker::new(noting, &TABLE)
}

/// # Safety
/// `noting` is the pointer of a waker of [`TABLE`] that is used up by this call.
unsafe fn wake(noting: *const ()) {
    // SAFETY: the waker that is used up owned a count, which moves into the Arc.
    let noting = unsafe { Arc::from_raw(noting.cast::<Noting>()) };
    noting.0.wake_by_ref();
}

/// # Safety
/// `noting` is the pointer of a living waker of [`TABLE`].
unsafe fn wake_by_ref(noting: *const ()) {
    // SAFETY: the waker owns a count, so the value lives for the length of the call.
    let noting = unsafe { &*noting.cast::<Noting>() };
    noting.0.wake_by_ref();
}

/// # Safety
/// `noting` is the pointer of a waker of [`TABLE`] that ends with this call.
unsafe fn release(noting: *const ()) {
    // SAFETY: the waker that is dropped owned a count, which goes with the Arc.
    drop(unsafe { Arc::from_raw(noting.cast::<Noting>()) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    /// Waits for ever and keeps the waker, as a leaf does.
    struct Leaf(Vec<Waker>);

    impl Future for Leaf {
        type Output = ();
        #[inline(never)]
        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            self.0.push(context.waker().clone());
            Poll::Pending
        }
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    const OUTER: u32 = line!() + 2;
    async fn planted_outer(leaf: Pin<&mut Leaf>) {
        planted_inner(leaf).await;
        std::hint::black_box(());
    }

    const INNER: u32 = line!() + 2;
    async fn planted_inner(leaf: Pin<&mut Leaf>) {
        leaf.await;
        std::hint::black_box(());
    }

    #[test]
    fn names_the_awaits_and_nothing_outside() {
        let waker = Waker::from(Arc::new(Woken::default()));
        let mut leaf = pin!(Leaf(Vec::new()));
        let mut future = pin!(planted_outer(leaf.as_mut()));
        let (polled, stacks) = poll(future.as_mut(), &waker);
        assert!(polled.is_pending());
        if stack::capture().frames().is_empty() {
            return;
        }
        assert_eq!(stacks.len(), 1);
        let named: Vec<_> = stacks[0]
            .iter()
            .flat_map(|&frame| crate::symbols::name(frame))
            .collect();
        // Debug information that has only lines leaves the names of inlined functions out.
        let lines = named
            .iter()
            .filter(|named| named.short_file() == "profile/awaits.rs");
        let lines: Vec<_> = lines.map(|named| named.line).collect();
        let at = |line: u32| lines.iter().position(|found| *found == line);
        assert!(at(INNER).is_some() && at(INNER) < at(OUTER), "{named:?}");
        assert_eq!(at(OUTER), Some(lines.len() - 2), "{named:?}");
        assert!(
            named.last().unwrap().function.contains("awaits::step"),
            "{named:?}"
        );
        assert!(
            named.iter().all(|named| !named.function.contains("awaits::copy")),
            "{named:?}"
        );
    }

    #[test]
    fn copies_wake_the_task_and_let_go_of_it() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut leaf = pin!(Leaf(Vec::new()));
        let (_, _) = poll(leaf.as_mut(), &waker);
        let copy = leaf.0.pop().unwrap();
        let second = copy.clone();
        copy.wake_by_ref();
        copy.wake();
        std::thread::spawn(move || second.wake()).join().unwrap();
        assert_eq!(woken.0.load(Ordering::Relaxed), 3);
        drop(waker);
        assert_eq!(Arc::strong_count(&woken), 1);
    }

    #[test]
    fn copies_at_other_times_are_not_noted() {
        let waker = Waker::from(Arc::new(Woken::default()));
        let mut leaf = pin!(Leaf(Vec::new()));
        let (_, first) = poll(leaf.as_mut(), &waker);
        let _later = leaf.0[0].clone();
        let (polled, second) = poll(pin!(async { 5 }), &waker);
        assert_eq!((polled, second.len()), (Poll::Ready(5), 0));
        assert!(first.len() <= 1);
    }

    #[test]
    fn a_panicking_future_leaves_no_notes() {
        let waker = Waker::from(Arc::new(Woken::default()));
        let panicked =
            std::panic::catch_unwind(|| poll(pin!(async { panic!("planted") }), &waker).0.is_ready());
        assert!(panicked.is_err());
        assert!(NOTES.take().is_none());
    }
}
