//! What is known about the running program's file.

/// The build id of the executable, in hexadecimal; none if the linker wrote none.
#[must_use]
pub fn build_id() -> Option<String> {
    crate::modules::executable()?.image?.build_id()
}
