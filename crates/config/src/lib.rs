//! The configuration file of the server.

mod mount_name;

pub use mount_name::{BadMountName, MountName};
