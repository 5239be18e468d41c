//! Command-line flags: `--name value`, `--name=value`, `--switch`.
//! Contract: a flag that nobody asked for is an error, so a typing mistake cannot silently change a measurement.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::Outcome;

/// Flags as typed, taken out one by one by the command that understands them.
pub(crate) struct Args {
    flags: BTreeMap<String, String>,
}

impl Args {
    /// Splits words into flags. The last of a repeated flag counts.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Outcome<Args> {
        let mut flags = BTreeMap::new();
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--") else {
                return Err(format!("unexpected word {word:?}: flags begin with --").into());
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None => {
                    let value = words.next_if(|next| !next.starts_with("--"));
                    (flag.to_owned(), value.unwrap_or_else(|| "true".to_owned()))
                }
            };
            flags.insert(name, value);
        }
        Ok(Args { flags })
    }

    /// The value of a flag, if it was given.
    pub(crate) fn find<T: FromStr>(&mut self, name: &str) -> Outcome<Option<T>>
    where
        T::Err: Display,
    {
        let Some(value) = self.flags.remove(name) else {
            return Ok(None);
        };
        match value.parse() {
            Ok(parsed) => Ok(Some(parsed)),
            Err(error) => Err(format!("--{name} {value}: {error}").into()),
        }
    }

    /// The value of a flag or its default.
    pub(crate) fn take<T: FromStr>(&mut self, name: &str, default: T) -> Outcome<T>
    where
        T::Err: Display,
    {
        Ok(self.find(name)?.unwrap_or(default))
    }

    /// The values of a comma list; empty when the flag is absent.
    pub(crate) fn list<T: FromStr>(&mut self, name: &str) -> Outcome<Vec<T>>
    where
        T::Err: Display,
    {
        let text: String = self.take(name, String::new())?;
        let words = text.split(',').filter(|word| !word.is_empty());
        words
            .map(|word| {
                word.parse()
                    .map_err(|error| format!("--{name} {word}: {error}").into())
            })
            .collect()
    }

    /// Whether a switch was given.
    pub(crate) fn switch(&mut self, name: &str) -> Outcome<bool> {
        self.take(name, false)
    }

    /// Fails when a flag is left that no one took.
    pub(crate) fn finish(&mut self) -> Outcome<()> {
        match self.flags.keys().next() {
            Some(name) => Err(format!("unknown flag --{name}").into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Args;

    fn args(line: &str) -> Args {
        Args::parse(line.split_whitespace().map(str::to_owned)).unwrap()
    }

    #[test]
    fn flags_take_values_in_both_forms() {
        let mut args = args("--rounds 7 --seconds=2.5 --http10 --list 3,4");
        assert_eq!(args.take("rounds", 5u32).unwrap(), 7);
        assert_eq!(args.take("seconds", 1.0f64).unwrap(), 2.5);
        assert!(args.switch("http10").unwrap());
        assert_eq!(args.list::<u32>("list").unwrap(), [3, 4]);
        assert_eq!(args.take("absent", 9u8).unwrap(), 9);
        args.finish().unwrap();
    }

    #[test]
    fn mistakes_are_errors() {
        assert!(Args::parse(["load".to_owned()].into_iter()).is_err());
        assert!(args("--rounds many").take("rounds", 1u32).is_err());
        assert!(args("--ruonds 3").finish().is_err());
    }
}
