//! The words on the command line.
//!
//! Contract: a flag that nobody knows is an error, so a typing mistake cannot silently change what is done.

use crate::Outcome;

/// What is wanted.
pub(crate) struct Options {
    pub(crate) command: Command,
    /// Parts of names; none means all cases.
    names: Vec<String>,
}

/// What is done with the cases.
pub(crate) enum Command {
    /// Runs each once: `cargo test --benches` builds and starts benches, but is no time to measure.
    Try,
    /// Measures all and prints the table.
    Measure {
        /// The table of instructions is rewritten.
        record: bool,
        /// More instructions than recorded are a failure.
        check: bool,
    },
    /// Runs one case so many times and says nothing; this is what callgrind watches.
    Solo { laps: u64 },
}

impl Options {
    /// Understands the words behind the program's name.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Outcome<Self> {
        let (mut bench, mut record, mut check, mut laps) = (false, false, false, None);
        let mut names = Vec::new();
        for word in words {
            match word.as_str() {
                "--bench" => bench = true,
                "--record" => record = true,
                "--check" => check = true,
                // Cargo passes it on to quieten the harness that this program does without.
                "--quiet" => {}
                _ => match word.strip_prefix("--laps=") {
                    Some(count) => laps = Some(count.parse()?),
                    None if word.starts_with('-') => {
                        return Err(
                            format!("unknown flag {word}\nusage: [--check | --record] [CASE]...").into(),
                        );
                    }
                    None => names.push(word),
                },
            }
        }
        if record && check {
            return Err("--record would make --check compare the figures with themselves".into());
        }
        let command = match laps {
            Some(laps) => Command::Solo { laps },
            None if bench || record || check => Command::Measure { record, check },
            None => Command::Try,
        };
        Ok(Self { command, names })
    }

    /// Whether a case of this name is wanted. Only what is run alone must be named in full.
    pub(crate) fn wants(&self, case: &str) -> bool {
        match &self.command {
            Command::Solo { .. } => self.names.iter().any(|name| name == case),
            _ => self.names.is_empty() || self.names.iter().any(|name| case.contains(name.as_str())),
        }
    }
}
