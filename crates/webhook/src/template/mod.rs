//! The template language of webhooks: the one of Go's `text/template`, which operators' files are written in.
//!
//! Contract: rendering is bounded in output, memory, depth and time, and never panics, whatever the template and the
//! data are. What the original prints, this prints, byte by byte; `tests/go_templates.json` holds recorded results.
//!
//! Known differences: text that is cut within a character has U+FFFD in its place; imaginary numbers are refused;
//! `printf` ignores the flag `#` for floats and the precision of their hexadecimal form; and what `functions` says
//! about functions that take any value.

mod date;
mod exec;
mod format;
mod functions;
mod number;
mod parse;
mod printf;
mod token;
pub(crate) mod value;

use std::{fmt, time::Duration};

use exec::Run;
pub use functions::FUNCTIONS;
use parse::Tree;
use value::Value;

/// What one rendering may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of output.
    pub output: usize,
    /// How long it may take.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            output: 256 * 1024,
            time: Duration::from_millis(100),
        }
    }
}

/// A template that is ready to be rendered.
#[derive(Clone)]
pub struct Template(Tree);

/// Why a text is no template. It names the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct BadTemplate {
    /// Where, from 1 on.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

impl BadTemplate {
    fn new(line: usize, reason: impl Into<String>) -> Self {
        Self {
            line,
            reason: reason.into(),
        }
    }
}

/// Why a template could not be rendered with the present values. It names the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct RenderError {
    /// Where, from 1 on.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`BadTemplate`] when it is not one.
    pub fn parse(source: &str) -> Result<Self, BadTemplate> {
        parse::parse(source).map(Self)
    }

    /// Renders with a tree of values. A name that has no entry prints as `<no value>`.
    ///
    /// # Errors
    /// [`RenderError`] when a function does not take its arguments or a limit is reached.
    pub fn render_json(&self, values: &serde_json::Value, limits: Limits) -> Result<String, RenderError> {
        self.render(&Value::of_json(values), |_| false, limits)
    }

    /// Renders; a name without entry that `is_known` prints as nothing.
    pub(crate) fn render(
        &self,
        values: &Value,
        is_known: fn(&str) -> bool,
        limits: Limits,
    ) -> Result<String, RenderError> {
        Run::new(&self.0, values, is_known, limits).finish()
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Templates hold tokens of services, as in `token=…&message={{.Title}}`.
        f.debug_struct("Template").finish_non_exhaustive()
    }
}
