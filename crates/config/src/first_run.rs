//! The file of a first start: on air at once, with passwords made here and shown once.
//!
//! Contract: the file holds hashes only; the clear texts exist in [`FirstRunSecrets`] alone.

use serde_json::{Value, json};

use crate::settings::SUBTITLE;

/// Letters of generated passwords; those that are mistaken for others are left out.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// 20 letters of 5 bits each: 100 bits.
const LENGTH: usize = 20;

/// What the operator must be shown, once.
#[derive(Clone, PartialEq, Eq)]
pub struct FirstRunSecrets {
    /// Password of the user `admin`.
    pub admin_password: String,
    /// Opens every mount without a password of its own.
    pub default_source_password: String,
    /// Opens `/live`.
    pub live_mount_password: String,
}

impl std::fmt::Debug for FirstRunSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FirstRunSecrets")
    }
}

/// Why a first file cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FirstRunError<E> {
    /// The system gives no random bytes; passwords made from anything else would be guessable.
    #[error("no random bytes from the system: {0}; try again later")]
    Random(getrandom::Error),
    /// A password could not be hashed.
    #[error("cannot hash a password: {0}")]
    Hash(E),
}

/// The tree of a first file and its passwords; [`create`](crate::create) writes it.
///
/// # Errors
/// [`FirstRunError`].
pub fn first_run<E>(
    bind_host: &str,
    mut hash: impl FnMut(&str) -> Result<String, E>,
) -> Result<(Value, FirstRunSecrets), FirstRunError<E>> {
    let secrets = FirstRunSecrets {
        admin_password: password().map_err(FirstRunError::Random)?,
        default_source_password: password().map_err(FirstRunError::Random)?,
        live_mount_password: password().map_err(FirstRunError::Random)?,
    };
    let admin = hash(&secrets.admin_password).map_err(FirstRunError::Hash)?;
    let default = hash(&secrets.default_source_password).map_err(FirstRunError::Hash)?;
    let live = hash(&secrets.live_mount_password).map_err(FirstRunError::Hash)?;
    let tree = json!({
        "bind_host": bind_host,
        "port": "8000",
        "hostname": "localhost",
        "location": "Earth",
        "admin_email": "admin@localhost",
        "page_title": "TinyIce",
        "page_subtitle": SUBTITLE,
        "https_port": "443",
        "default_source_password": default,
        "mounts": {"/live": live},
        "visible_mounts": {"/live": true},
        "users": {"admin": {"username": "admin", "password": admin, "role": "superadmin", "mounts": {}}},
        "setup_complete": false,
        "audit_enabled": true,
        "status_json_source": "icecast",
    });
    Ok((tree, secrets))
}

fn password() -> Result<String, getrandom::Error> {
    let mut bytes = [0u8; LENGTH];
    getrandom::fill(&mut bytes)?;
    // 256 is a multiple of 32, so every letter is equally likely.
    Ok(bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
        .collect())
}
