//! Sign-in without our password: passkeys, outside providers, and mail about people who ask for an account.
//!
//! Contract: nobody is signed in by what this crate has not verified itself: signature, origin, audience, time and
//! that the answer belongs to a question of ours that is asked once. It knows neither sessions nor HTTP exchanges;
//! it decides and returns values that say which status and text to answer with.
//!
//! Verification is written on `aws-lc-rs`, the library that TLS uses anyway. The usual libraries for passkeys and
//! OpenID Connect bring a second set of cryptography of their own, and those for tokens read numbers in a way that
//! fails in a program whose JSON keeps them exactly as written.
//!
//! Reading order: [`passkey`], [`oidc`], [`identity`] (who of ours somebody is), [`mail`].

mod address;
pub mod identity;
mod limit;
pub mod mail;
pub mod metrics;
pub mod oidc;
pub mod passkey;
mod random;

pub use identity::{Identity, LinkError, Match, Unmatched, bind, link, match_user};
pub use mail::{MailError, Mailer};
pub use oidc::{Begun, Callback, Cookies, Github, Oidc, SigninError};
pub use passkey::{Asked, PasskeyError, Passkeys, Refusal, Registered, RelyingParty, SignedIn};
