//! A timer on the processor time of one thread, which interrupts that thread.
//!
//! Contract: costs nothing while the thread sleeps, and ends with the value that stands for it.
//!
//! The kernel looks at such timers at its own tick (100 to 1000 times a second), so a shorter period gives no more
//! signals; the periods in between are counted as overruns, and the sum stays right.
#![allow(unsafe_code, reason = "timers of threads have no safe form")]

use libc::c_long;
use std::io;
use std::time::Duration;

/// A running timer.
pub(crate) struct Timer(c_long);

impl Timer {
    /// Interrupts `tid` with `SIGPROF` after `first` and then after each `period` of its processor time.
    pub(crate) fn start(tid: u32, token: u32, first: Duration, period: Duration) -> io::Result<Self> {
        // The clock of a thread's processor time, as pthread_getcpuclockid(3) makes it.
        let clock = ((!tid) << 3) | 6;
        let mut id: libc::c_int = 0;
        // SAFETY: `sigevent` is plain data for which zeros are valid; it and `id` live across the call.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_value.sival_ptr = token as usize as *mut libc::c_void;
            event.sigev_signo = libc::SIGPROF;
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_notify_thread_id = tid.cast_signed();
            let result = libc::syscall(
                libc::SYS_timer_create,
                c_long::from(clock.cast_signed()),
                &raw mut event,
                &raw mut id,
            );
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let timer = Self(c_long::from(id));
        let times = libc::itimerspec {
            it_interval: spec(period),
            it_value: spec(first),
        };
        // SAFETY: the timer is ours and the structure lives across the call; the old value is not asked for.
        let result = unsafe {
            libc::syscall(
                libc::SYS_timer_settime,
                timer.0,
                0 as c_long,
                &raw const times,
                std::ptr::null_mut::<libc::itimerspec>(),
            )
        };
        if result == 0 {
            Ok(timer)
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the timer is ours and is deleted once.
        unsafe { libc::syscall(libc::SYS_timer_delete, self.0) };
    }
}

fn spec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: duration.as_secs().cast_signed(),
        tv_nsec: c_long::from(duration.subsec_nanos().cast_signed()),
    }
}
