//! The configuration file of the server: read, checked, saved.
//!
//! Contract: nothing that a person or another version wrote into the file is lost by a save, and every
//! complaint names line, column, key and the way out.
//!
//! ```
//! # use std::path::Path;
//! let loaded = config::Loaded::parse(Path::new("tinyice.json"), br#"{"prot": "80", "max_listeners": 5,}"#.into())?;
//! assert_eq!(loaded.config.max_listeners, Some(5));
//! assert_eq!(loaded.warnings[0].to_string(), r#"1:2: warning: prot: unknown key; did you mean "port"?"#);
//! # Ok::<(), config::LoadError>(())
//! ```
//!
//! Reading order: `json` (text to tree), `codec`, `collections`, `values`, `bind` (tree to values), `record`
//! (objects), `records` and `settings` (the keys), `checks`, `migrations`, `load`, then `patch` and
//! `store` for the way back.

mod bind;
mod checks;
mod codec;
mod collections;
mod first_run;
mod json;
mod load;
mod migrations;
mod mount_name;
mod overrides;
mod patch;
mod problem;
mod record;
mod records;
mod secret;
mod settings;
mod store;
mod values;

pub use bind::BindAddress;
pub use checks::{FALLBACK_HOPS, FallbackWay, follow_fallbacks};
pub use codec::{SetError, parse_bool};
pub use first_run::{FirstRunError, FirstRunSecrets, first_run};
pub use load::{Document, Loaded};
pub use mount_name::{BadMountName, MountName};
pub use overrides::Overrides;
pub use problem::{LoadError, Problem, Severity};
pub use record::nearest;
pub use records::{
    Acme, AdvancedMount, ApiToken, AutoDj, BanDetail, GeoIp, Ingest, LinkedIdentity, LogConfig, MAX_BURST,
    MultiTenant, OidcProvider, Passkey, PendingUser, Relay, Shoutcast, Smtp, Transcoder, User, WebAuthn,
    Webhook,
};
pub use secret::{is_bcrypt, mask};
pub use settings::{Config, suggest_key};
pub use store::{SaveError, Saved, Store, create, to_text};
pub use values::{
    AcmeChallenge, Allowed, AudioFormat, Endpoint, LogFormat, LogLevel, OpusApplication, Role, StatusSource,
    UnknownWord, Visibility, parse_domains, parse_net,
};
