//! The threads of this process according to `/proc/self/task`.
//!
//! Contract: a thread may end at any moment, and a name may hold any bytes; what cannot be read is absent.

use std::fs;

/// The numbers of all threads.
pub(crate) fn list() -> Vec<u32> {
    let Ok(folder) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    folder
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Name and state of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) name: String,
    pub(crate) state: char,
}

/// A thread's name and state; none if it has ended.
pub(crate) fn status(tid: u32) -> Option<Status> {
    let stat = fs::read(format!("/proc/self/task/{tid}/stat")).ok()?;
    parse(&String::from_utf8_lossy(&stat))
}

/// A thread's name; none if it has ended.
pub(crate) fn name(tid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/self/task/{tid}/comm")).ok()?;
    Some(printable(String::from_utf8_lossy(&name).trim_end_matches('\n')))
}

/// What a thread sleeps on inside the kernel, if the kernel tells.
pub(crate) fn waits_in(tid: u32) -> Option<String> {
    let channel = fs::read(format!("/proc/self/task/{tid}/wchan")).ok()?;
    let channel = printable(String::from_utf8_lossy(&channel).trim());
    (!channel.is_empty() && channel != "0").then_some(channel)
}

/// Whether a thread has blocked a signal, so that it will not answer.
pub(crate) fn blocks(tid: u32, bit: u64) -> bool {
    let status = fs::read(format!("/proc/self/task/{tid}/status")).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigBlk:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & bit != 0)
}

/// proc_pid_stat(5): `tid (name) state …`; the name may hold parentheses.
fn parse(stat: &str) -> Option<Status> {
    let (_, rest) = stat.split_once('(')?;
    let (name, rest) = rest.rsplit_once(") ")?;
    Some(Status {
        name: printable(name),
        state: rest.chars().next()?,
    })
}

fn printable(name: &str) -> String {
    name.chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names() {
        let cases = [
            ("12 (main) S 1 2", Some(("main", 'S'))),
            ("12 (a) b) R 1 2", Some(("a) b", 'R'))),
            ("12 () Z", Some(("", 'Z'))),
            ("12 (new\nline) R 1", Some(("new?line", 'R'))),
            ("12 (main)", None),
            ("12 (main) ", None),
            (") (", None),
            ("", None),
        ];
        for (stat, expected) in cases {
            let parsed = parse(stat).map(|status| (status.name, status.state));
            assert_eq!(
                parsed,
                expected.map(|(name, state)| (name.to_owned(), state)),
                "{stat:?}"
            );
        }
    }

    #[test]
    fn finds_itself() {
        let tid = crate::linux::signal::tid();
        assert!(list().contains(&tid));
        let status = status(tid).unwrap();
        assert_eq!(status.state, 'R');
        assert_eq!(Some(status.name), name(tid));
        assert!(!blocks(tid, crate::linux::signal::REQUEST_BIT));
        assert_eq!(name(u32::MAX), None);
        assert!(!blocks(u32::MAX, 1));
    }
}
