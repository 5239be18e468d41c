//! How the rules for changes say no.
//!
//! Contract: the text of such an error is what the person who asked is told, word by word.

/// What kind of "no" an error is; the text is the error's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What was asked makes no sense (400).
    Bad,
    /// Not for this account (403).
    Forbidden,
    /// There is no such thing (404).
    Missing,
    /// It does not go with what is there (409).
    Conflict,
    /// Too much at one time (429).
    TooMany,
    /// The fault is the system's (500).
    Failed,
    /// Try again later (503).
    Busy,
}

/// An error of a rule for changes.
pub trait RuleError: std::error::Error {
    /// What kind it is.
    fn kind(&self) -> Kind;
}
