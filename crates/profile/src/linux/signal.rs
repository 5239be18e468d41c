//! Interrupts a thread and copies its registers and its stack.
//!
//! Contract: the handler does only what signal-safety(7) allows anywhere: atomics on memory that was made before, and
//! system calls. It takes no lock, allocates nothing and follows no pointer of the interrupted program; the kernel does
//! the copying, which can fail but not fault. `errno` is as before.
//!
//! Two signals, because a standard signal that is pending already is not queued again and one must not swallow the
//! other: `SIGPROF` for timers on processor time, as its name says, and `SIGURG` for requests of a stack. The latter is
//! ignored by default, so a stray one does no harm; urgent data on sockets, its other use, is announced only to those
//! who ask with `F_SETOWN`. Handlers are installed at first use and stay; if somebody else has one, there are no
//! samples.
//!
//! Other threads notice nothing but that a sleep may end early: system calls are restarted where the kernel can
//! (`SA_RESTART`); those that never are (`epoll_wait`, `poll`, `nanosleep`; see signal(7)) return `EINTR`, which every
//! loop around them has to expect anyway.
//!
//! A copy costs the interrupted thread 7.6 µs for a whole [`STACK`] (x86_64, kernel 6.18: `cargo test --release -p profile
//! --lib cost_of_a_copy -- --ignored --nocapture`); at 99 samples a second that is 0.08 % of each busy core. Memory is
//! that of the slots that were ever in use at once, 64 KiB each, and at most that of all: 10 MiB.
#![allow(
    unsafe_code,
    reason = "signal handlers and the system calls that install and call them have no safe form"
)]

use libc::{c_int, c_long, c_void};
use memmap2::MmapMut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// How much of a stack is copied at most. What lies deeper, in a recursion for instance, is missing from the outer end.
pub(crate) const STACK: usize = 64 << 10;

/// Processor samples that wait to be unwound, at most: 8 MiB of address space, of which only as much becomes memory as
/// was ever used at once, because the first free slot is taken.
const SAMPLES: usize = 128;

/// Answers to requests that wait to be unwound, at most: 2 MiB.
pub(crate) const ANSWERS: usize = 32;

/// Iovecs move whole pages, so that the copy ends where the stack does and not before.
const PAGE: usize = 4096;

/// What unwinding starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registers {
    /// The program counter.
    pub(crate) pc: u64,
    /// The stack pointer.
    pub(crate) sp: u64,
    /// The frame pointer.
    pub(crate) fp: u64,
    /// The link register; 0 where the architecture has none.
    pub(crate) lr: u64,
}

/// An interrupted thread as it was.
pub(crate) struct Copied<'a> {
    /// Which thread.
    pub(crate) tid: u32,
    /// How many ticks of its timer this stands for; 1 for a request.
    pub(crate) weight: u32,
    /// Its registers.
    pub(crate) registers: Registers,
    /// Its stack from the stack pointer upward.
    pub(crate) stack: &'a [u8],
}

/// Samples of processor time.
pub(crate) static TICKS: Pool = Pool::new(SAMPLES);

/// Answers to requests for a stack.
pub(crate) static REQUESTS: Pool = Pool::new(ANSWERS);

/// Places for copies. They are made at first use and never freed, because a late signal may still be on its way.
pub(crate) struct Pool {
    length: usize,
    slots: OnceLock<Option<Slots>>,
    /// Which recording or request the handler works for; 0 for none. A signal with another number is a late one.
    token: AtomicU32,
    /// Weights that found no free slot.
    lost: AtomicU64,
    /// Time spent in the handler.
    nanoseconds: AtomicU64,
}

struct Slots {
    states: Box<[Slot]>,
    /// Where the stacks are: as many times [`STACK`] bytes as there are slots, kept mapped for ever.
    area: usize,
}

#[derive(Default)]
struct Slot {
    state: AtomicU32,
    tid: AtomicU32,
    weight: AtomicU32,
    length: AtomicUsize,
    pc: AtomicU64,
    sp: AtomicU64,
    fp: AtomicU64,
    lr: AtomicU64,
}

/// States of a slot. Only the handler that took it touches a taken one; only the reader touches a ready one.
const FREE: u32 = 0;
const TAKEN: u32 = 1;
const READY: u32 = 2;

impl Pool {
    const fn new(length: usize) -> Self {
        Self {
            length,
            slots: OnceLock::new(),
            token: AtomicU32::new(0),
            lost: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
        }
    }

    /// Makes the slots and installs the handlers, if need be, and has them work for `token` from now on.
    pub(crate) fn open(&self, token: u32) -> Result<(), &'static str> {
        install()?;
        if self.slots.get_or_init(|| Slots::new(self.length)).is_none() {
            return Err("no memory for copies of stacks");
        }
        self.take_all(|_| ());
        self.lost.store(0, Ordering::Relaxed);
        self.nanoseconds.store(0, Ordering::Relaxed);
        self.token.store(token, Ordering::SeqCst);
        Ok(())
    }

    /// Has later signals do nothing.
    pub(crate) fn close(&self) {
        self.token.store(0, Ordering::SeqCst);
    }

    /// How much weight found no slot since the last question.
    pub(crate) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    /// Time that interrupted threads spent in the handler since the pool was opened.
    pub(crate) fn nanoseconds(&self) -> u64 {
        self.nanoseconds.load(Ordering::Relaxed)
    }

    /// Hands over every copy that is ready and frees its slot; says how many there were.
    pub(crate) fn take_all(&self, mut each: impl FnMut(Copied<'_>)) -> usize {
        let Some(Some(slots)) = self.slots.get() else {
            return 0;
        };
        let mut count = 0;
        for (index, slot) in slots.states.iter().enumerate() {
            if slot.state.load(Ordering::Acquire) != READY {
                continue;
            }
            let length = slot.length.load(Ordering::Relaxed).min(STACK);
            // SAFETY: the area is `STACK` bytes per slot and mapped for ever; `length` is at most that. The slot is
            // ready, so no handler writes to its part until the state is free again, after the slice's last use.
            let stack = unsafe { std::slice::from_raw_parts(slots.part(index) as *const u8, length) };
            each(Copied {
                tid: slot.tid.load(Ordering::Relaxed),
                weight: slot.weight.load(Ordering::Relaxed),
                registers: Registers {
                    pc: slot.pc.load(Ordering::Relaxed),
                    sp: slot.sp.load(Ordering::Relaxed),
                    fp: slot.fp.load(Ordering::Relaxed),
                    lr: slot.lr.load(Ordering::Relaxed),
                },
                stack,
            });
            slot.state.store(FREE, Ordering::Release);
            count += 1;
        }
        count
    }

    /// The handler's part.
    fn put(&self, weight: u32, registers: Registers) {
        let Some(Some(slots)) = self.slots.get() else {
            return;
        };
        let free = slots.states.iter().enumerate().find(|(_, slot)| {
            slot.state.load(Ordering::Relaxed) == FREE
                && slot
                    .state
                    .compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
        });
        let Some((index, slot)) = free else {
            self.lost.fetch_add(u64::from(weight), Ordering::Relaxed);
            return;
        };
        let tid = tid();
        let length = copy(tid, registers.sp, slots.part(index));
        slot.tid.store(tid, Ordering::Relaxed);
        slot.weight.store(weight, Ordering::Relaxed);
        slot.length.store(length, Ordering::Relaxed);
        slot.pc.store(registers.pc, Ordering::Relaxed);
        slot.sp.store(registers.sp, Ordering::Relaxed);
        slot.fp.store(registers.fp, Ordering::Relaxed);
        slot.lr.store(registers.lr, Ordering::Relaxed);
        slot.state.store(READY, Ordering::Release);
    }
}

impl Slots {
    fn new(length: usize) -> Option<Self> {
        // Not from the allocator: its profile would show a leak.
        let area = MmapMut::map_anon(length * STACK).ok()?;
        Some(Self {
            states: (0..length).map(|_| Slot::default()).collect(),
            area: Box::leak(Box::new(area)).as_mut_ptr() as usize,
        })
    }

    fn part(&self, index: usize) -> usize {
        self.area + index * STACK
    }
}

/// The number of the calling thread.
pub(crate) fn tid() -> u32 {
    // SAFETY: takes no arguments and cannot fail.
    let tid = unsafe { libc::syscall(libc::SYS_gettid) };
    tid as u32
}

/// Asks a thread of this process for its stack; false if there is no such thread (any more).
pub(crate) fn request(tid: u32) -> bool {
    // SAFETY: plain numbers; the worst answer is an error.
    let result = unsafe {
        libc::syscall(
            libc::SYS_tgkill,
            libc::syscall(libc::SYS_getpid),
            c_long::from(tid),
            c_long::from(libc::SIGURG),
        )
    };
    result == 0
}

/// The bit of the request's signal in the masks of `/proc/self/task/N/status`.
pub(crate) const REQUEST_BIT: u64 = 1 << (libc::SIGURG - 1);

/// How the handler reads a stack: one of these or a descriptor of `/proc/self/mem`.
static MEANS: AtomicI32 = AtomicI32::new(NONE);
const CALL: c_int = -1;
const NONE: c_int = -2;

fn install() -> Result<(), &'static str> {
    static RESULT: OnceLock<Result<(), &'static str>> = OnceLock::new();
    *RESULT.get_or_init(|| {
        MEANS.store(means(), Ordering::SeqCst);
        handle(libc::SIGPROF, on_tick)?;
        handle(libc::SIGURG, on_request)
    })
}

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

fn handle(signal: c_int, handler: Handler) -> Result<(), &'static str> {
    // SAFETY: both structures are plain data for which zeros are valid, live across the calls, and are filled in before
    // they are read; the handler has the signature that SA_SIGINFO asks for and keeps the contract of this module.
    unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(signal, std::ptr::null(), &raw mut before) != 0 {
            return Err("the system tells nothing about the signal");
        }
        if ![libc::SIG_DFL, libc::SIG_IGN].contains(&before.sa_sigaction) {
            return Err("the signal is in use by another part of the program");
        }
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
        // Nothing interrupts the handler, so its stack need is known: under 1 KiB besides the kernel's frame.
        libc::sigfillset(&raw mut action.sa_mask);
        if libc::sigaction(signal, &raw const action, std::ptr::null_mut()) != 0 {
            return Err("the system refuses the signal handler");
        }
    }
    Ok(())
}

/// Finds out which way of reading is allowed: some sandboxes forbid the system call.
fn means() -> c_int {
    let (probe, mut read) = ([7_u8; 16], [0_u8; 16]);
    let at = probe.as_ptr() as u64;
    let to = read.as_mut_ptr() as usize;
    if copy_by_call(tid(), at, to, 16) == 16 {
        return CALL;
    }
    // SAFETY: a constant path that ends in zero. The descriptor stays open, as the handlers stay.
    let file = unsafe { libc::open(c"/proc/self/mem".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if file >= 0 && copy_by_file(file, at, to, 16) == 16 {
        file
    } else {
        NONE
    }
}

/// Copies a stack and returns how much of it. Signal-safe.
fn copy(tid: u32, from: u64, to: usize) -> usize {
    match MEANS.load(Ordering::Relaxed) {
        NONE => 0,
        CALL => copy_by_call(tid, from, to, STACK),
        file => copy_by_file(file, from, to, STACK),
    }
}

fn copy_by_call(tid: u32, from: u64, to: usize, limit: usize) -> usize {
    const PARTS: usize = STACK / PAGE + 1;
    let mut parts = [libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }; PARTS];
    let (mut at, mut left, mut count) = (from as usize, limit, 0);
    while left > 0 && count < PARTS {
        let length = (PAGE - at % PAGE).min(left);
        parts[count] = libc::iovec {
            iov_base: at as *mut c_void,
            iov_len: length,
        };
        count += 1;
        left -= length;
        let Some(next) = at.checked_add(length) else { break };
        at = next;
    }
    let target = libc::iovec {
        iov_base: to as *mut c_void,
        iov_len: limit - left,
    };
    // SAFETY: the target is writable for its length: a taken slot's part, or the caller's array. The source may be any
    // address; the kernel checks it and stops where nothing is mapped. Any thread's number stands for this process.
    let copied = unsafe {
        libc::syscall(
            libc::SYS_process_vm_readv,
            c_long::from(tid),
            &raw const target,
            1 as c_long,
            parts.as_ptr(),
            count as c_long,
            0 as c_long,
        )
    };
    usize::try_from(copied).unwrap_or(0)
}

fn copy_by_file(file: c_int, from: u64, to: usize, limit: usize) -> usize {
    // SAFETY: as above; the kernel reads the file's side and stops where nothing is mapped.
    let copied = unsafe { libc::pread(file, to as *mut c_void, limit, from as libc::off_t) };
    usize::try_from(copied).unwrap_or(0)
}

/// The parts of `siginfo_t` that tell of a timer, as the kernel lays them out on 64-bit architectures.
#[repr(C)]
struct Tick {
    signal: c_int,
    error: c_int,
    code: c_int,
    padding: c_int,
    timer: c_int,
    overrun: c_int,
    token: usize,
}

/// `si_code` of a timer.
const SI_TIMER: c_int = -2;
/// `si_code` of tgkill(2).
const SI_TKILL: c_int = -6;

extern "C" fn on_tick(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t`, which is larger than `Tick` and aligned like it.
    let tick = unsafe { &*info.cast::<Tick>() };
    let token = TICKS.token.load(Ordering::SeqCst);
    if tick.code != SI_TIMER || token == 0 || tick.token != token as usize {
        return;
    }
    let weight = 1 + u32::try_from(tick.overrun).unwrap_or(0);
    interrupted(&TICKS, weight, context);
}

extern "C" fn on_request(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t`; for SI_TKILL it holds the sender.
    let (code, sender) = unsafe { ((*info).si_code, (*info).si_pid()) };
    // SAFETY: takes no arguments and cannot fail.
    let own = unsafe { libc::syscall(libc::SYS_getpid) };
    if code != SI_TKILL || c_long::from(sender) != own || REQUESTS.token.load(Ordering::SeqCst) == 0 {
        return;
    }
    interrupted(&REQUESTS, 1, context);
}

fn interrupted(pool: &Pool, weight: u32, context: *mut c_void) {
    // SAFETY: the address of this thread's own `errno`, which lives as long as the thread.
    let errno = unsafe { &mut *libc::__errno_location() };
    let before = *errno;
    let begun = now();
    // SAFETY: with SA_SIGINFO the third argument is the interrupted context.
    let registers = unsafe { registers(&*context.cast::<libc::ucontext_t>()) };
    pool.put(weight, registers);
    pool.nanoseconds
        .fetch_add(now().saturating_sub(begun), Ordering::Relaxed);
    *errno = before;
}

#[cfg(target_arch = "x86_64")]
fn registers(context: &libc::ucontext_t) -> Registers {
    let of = |register: c_int| context.uc_mcontext.gregs[register as usize] as u64;
    Registers {
        pc: of(libc::REG_RIP),
        sp: of(libc::REG_RSP),
        fp: of(libc::REG_RBP),
        lr: 0,
    }
}

#[cfg(target_arch = "aarch64")]
fn registers(context: &libc::ucontext_t) -> Registers {
    Registers {
        pc: context.uc_mcontext.pc,
        sp: context.uc_mcontext.sp,
        fp: context.uc_mcontext.regs[29],
        lr: context.uc_mcontext.regs[30],
    }
}

/// Nanoseconds of the monotonic clock; signal-safe.
fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure lives across the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    (time.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec as u64)
}

/// Processor time of the calling thread.
pub(crate) fn own_processor_time() -> std::time::Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure lives across the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    std::time::Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_copying_read_the_same_and_stop_where_memory_does() {
        let words: Vec<u64> = (0..2048).collect();
        let from = words.as_ptr() as u64 + 3;
        let length = 16_000;
        let mut by_call = vec![0_u8; length];
        assert_eq!(
            copy_by_call(tid(), from, by_call.as_mut_ptr() as usize, length),
            length
        );
        let expected: Vec<u8> = words
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .skip(3)
            .take(length)
            .collect();
        assert_eq!(by_call, expected);

        // SAFETY: a constant path that ends in zero; the descriptor is closed below.
        let file = unsafe { libc::open(c"/proc/self/mem".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        let mut by_file = vec![0_u8; length];
        assert_eq!(
            copy_by_file(file, from, by_file.as_mut_ptr() as usize, length),
            length
        );
        assert_eq!(by_file, expected);

        // Three pages of which the last may not be read, as below a stack's end.
        let mut pages = MmapMut::map_anon(3 * PAGE).unwrap();
        pages.fill(9);
        let start = pages.as_ptr() as usize;
        // SAFETY: the page is ours, nobody reads it until it is unmapped.
        let protected = unsafe { libc::mprotect((start + 2 * PAGE) as *mut c_void, PAGE, libc::PROT_NONE) };
        assert_eq!(protected, 0);
        let from = (start + 100) as u64;
        let readable = 2 * PAGE - 100;
        let mut target = vec![0_u8; STACK];
        let to = target.as_mut_ptr() as usize;
        assert_eq!(copy_by_call(tid(), from, to, STACK), readable);
        assert!(target[..readable].iter().all(|byte| *byte == 9));
        assert!(target[readable..].iter().all(|byte| *byte == 0));
        // The file may read what the program may not, but it ends where nothing is mapped.
        assert!(copy_by_file(file, from, to, STACK) >= readable);
        for nowhere in [0, 1, 4095, u64::MAX - 100, u64::MAX, 1 << 63] {
            assert_eq!(copy_by_call(tid(), nowhere, to, STACK), 0, "{nowhere:#x}");
            assert_eq!(copy_by_file(file, nowhere, to, STACK), 0, "{nowhere:#x}");
        }
        // SAFETY: opened above and used by nobody else.
        unsafe { libc::close(file) };
    }

    #[test]
    fn a_full_pool_counts_what_it_loses() {
        static POOL: Pool = Pool::new(3);
        POOL.slots.get_or_init(|| Slots::new(3));
        let here = [1_u64, 2, 3];
        let registers = Registers {
            pc: 1,
            sp: here.as_ptr() as u64,
            fp: 2,
            lr: 3,
        };
        MEANS.store(means(), Ordering::SeqCst);
        for weight in 1..=5 {
            POOL.put(weight, registers);
        }
        let mut weights = Vec::new();
        let taken = POOL.take_all(|copy| {
            assert_eq!((copy.registers, copy.tid), (registers, tid()));
            assert_eq!(copy.stack[..8], 1_u64.to_ne_bytes());
            weights.push(copy.weight);
        });
        assert_eq!((taken, weights), (3, vec![1, 2, 3]));
        assert_eq!((POOL.take_lost(), POOL.take_lost()), (9, 0));
        POOL.put(7, registers);
        assert_eq!(POOL.take_all(|copy| assert_eq!(copy.weight, 7)), 1);
    }

    #[test]
    fn the_handler_leaves_errno_alone_and_ignores_strangers() {
        REQUESTS.open(1).unwrap();
        // SAFETY: the own thread's `errno`; the system calls take plain numbers.
        unsafe {
            *libc::__errno_location() = libc::EXDEV;
            assert!(request(tid()));
            assert_eq!(*libc::__errno_location(), libc::EXDEV);
            assert_eq!(REQUESTS.take_all(|copy| assert!(copy.stack.len() >= 8)), 1);
            // Neither a signal from kill(2) nor one for a closed pool is a request.
            libc::raise(libc::SIGPROF);
            assert_eq!(TICKS.take_all(|_| ()), 0);
            REQUESTS.close();
            assert!(request(tid()));
            assert_eq!(REQUESTS.take_all(|_| ()), 0);
        }
        assert!(!request(u32::MAX >> 1), "no such thread");
    }

    /// For the figures at the top.
    #[test]
    #[ignore = "measures"]
    fn cost_of_a_copy() {
        #[inline(never)]
        fn below<const BYTES: usize>(work: &dyn Fn()) {
            let room = std::hint::black_box([1_u8; BYTES]);
            work();
            std::hint::black_box(room);
        }
        let measure = || {
            REQUESTS.open(1).unwrap();
            let (mut best, mut size, mut before) = (u64::MAX, 0, 0);
            for _ in 0..20_000 {
                assert!(request(tid()));
                REQUESTS.take_all(|copy| size = copy.stack.len());
                let after = REQUESTS.nanoseconds();
                best = best.min(after - before);
                before = after;
            }
            REQUESTS.close();
            println!("copy of {size} bytes of stack: {best} ns in the handler");
        };
        below::<16>(&measure);
        below::<8_000>(&measure);
        below::<100_000>(&measure);
    }
}
