//! operations.
