//! Counts instructions: this program starts itself under callgrind.
//!
//! Contract: each case runs in processes of its own, with a number of laps and with twice as many. The
//! difference is what the laps need; start, set-up and what only the first lap does cancel out. Laps are added
//! until the difference is so large that what is left to chance (in the allocator) is far below a percent.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::cases::Case;

/// Laps of the first run.
const LAPS: u64 = 4;

/// A difference of so many instructions is enough.
const ENOUGH: u64 = 8_000_000;

/// The program's allocator is jemalloc, as in the server, because it comes with what is measured. Samples, a
/// thread of its own, large allocations at random places within a page, caches that are looked through now and
/// then and the return of memory by the clock would make it count differently in each run.
const ALLOCATOR: &str = "prof:false,background_thread:false,cache_oblivious:false,\
    tcache_gc_incr_bytes:1073741824,dirty_decay_ms:-1,muzzy_decay_ms:-1";

/// What callgrind says before the total.
const TOTAL: &str = "Collected :";

/// Long copies in vector registers: callgrind counts every byte that one `rep movsb` copies as an instruction.
const COPIES: &str = "glibc.cpu.x86_rep_movsb_threshold=1073741824";

/// Callgrind on this machine, and this program.
pub(crate) struct Counter {
    program: PathBuf,
}

impl Counter {
    /// A counter, if valgrind is on the path and can be started.
    pub(crate) fn find() -> Option<Self> {
        let found = Command::new("valgrind")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        let program = std::env::current_exe().ok()?;
        found.then_some(Self { program })
    }

    /// Instructions per unit.
    pub(crate) fn count(&self, case: &Case) -> Outcome<f64> {
        let units = (case.prepare)().units;
        let (mut laps, mut before) = (LAPS, self.total(case, LAPS)?);
        loop {
            let total = self.total(case, 2 * laps)?;
            let difference = total.saturating_sub(before);
            if difference >= ENOUGH {
                return Ok(difference as f64 / (laps * units) as f64);
            }
            (laps, before) = (2 * laps, total);
        }
    }

    fn total(&self, case: &Case, laps: u64) -> Outcome<u64> {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(&self.program)
            .arg(case.name)
            .arg(format!("--laps={laps}"))
            // Options from elsewhere would change what is counted.
            .env_remove("VALGRIND_OPTS")
            .env("MALLOC_CONF", ALLOCATOR)
            .env("GLIBC_TUNABLES", COPIES)
            .stdout(Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let total = said
            .lines()
            .find_map(|line| line.split_once(TOTAL)?.1.split_whitespace().next()?.parse().ok());
        match total {
            Some(total) if output.status.success() => Ok(total),
            _ => Err(format!("{} cannot be counted: {}\n{said}", case.name, output.status).into()),
        }
    }
}

/// The run that callgrind watches.
pub(crate) fn run_alone(cases: &[Case], laps: u64) {
    for case in cases {
        let mut work = (case.prepare)();
        for _ in 0..laps {
            (work.lap)();
        }
    }
}
