//! The version line.
//!
//! Contract: one line that scripts can take apart, `TinyIce 0.1.0 (commit 0123456789ab, rustc 1.90.0, linux/amd64)`.

use super::{OK, Terminal};

/// The commit of this build, 12 hex digits.
pub(crate) const COMMIT: &str = env!("TINYICE_BUILD_COMMIT");
/// The version of this build.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn print(terminal: &mut Terminal<'_>) -> u8 {
    terminal.say(line());
    OK
}

/// The compiler of this build.
pub(crate) const COMPILER: &str = env!("TINYICE_BUILD_COMPILER");
/// What this build is for.
pub(crate) const TARGET: &str = env!("TINYICE_BUILD_TARGET");

/// The line without its end.
pub(crate) fn line() -> String {
    format!(
        "TinyIce {VERSION} (commit {COMMIT}, {}, {})",
        COMPILER,
        platform()
    )
}

/// Names of systems and processors as release files carry them.
fn platform() -> String {
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let processor = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    format!("{system}/{processor}")
}
