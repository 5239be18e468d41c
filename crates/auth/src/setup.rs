//! The first-run setup: the token that opens it, and what it does.
//!
//! Contract: without a token nothing verifies, the empty text least of all. Source passwords that exist are kept: no
//! encoder stops working because somebody made themselves a new account.

use std::fmt;
use std::net::IpAddr;

use config::{Config, MountName, Role, User};
use observe::Mutex;
use subtle::ConstantTimeEq as _;

use crate::accounts::{AccountError, PasswordError, check_user_name};
use crate::attempt::Attempt;
use crate::auth::Auth;
use crate::caller::LockedOutUntil;
use crate::metrics::Attempted;
use crate::password::HashError;
use crate::random::{hex, random};
use crate::rule_error::{Kind, RuleError};

/// 32 random bytes as 64 hex digits; lives in memory until the setup is done.
pub struct SetupToken {
    /// Held to compare or clear.
    token: Mutex<Option<String>>,
}

impl SetupToken {
    /// A new token. Without random bytes there is none: the caller ends the program.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn generate() -> Result<SetupToken, getrandom::Error> {
        let token = hex(&random::<32>()?);
        Ok(SetupToken {
            token: Mutex::new("setup-token", Some(token)),
        })
    }

    /// No token: the setup is done.
    pub fn none() -> SetupToken {
        SetupToken {
            token: Mutex::new("setup-token", None),
        }
    }

    /// Whether this is the token; takes the same time wherever it differs.
    pub fn verify(&self, token: &str) -> bool {
        self.token
            .lock()
            .as_ref()
            .is_some_and(|expected| expected.as_bytes().ct_eq(token.as_bytes()).into())
    }

    /// The setup is done; nothing verifies any more.
    pub fn clear(&self) {
        *self.token.lock() = None;
    }

    /// Whether the setup can be done at all.
    pub fn is_open(&self) -> bool {
        self.token.lock().is_some()
    }

    /// The digits for the banner, while the setup is open.
    pub fn reveal(&self) -> Option<String> {
        self.token.lock().clone()
    }
}

impl fmt::Debug for SetupToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SetupToken").finish_non_exhaustive()
    }
}

/// What a setup token turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupCheck {
    /// It is the one.
    Valid,
    /// It is not (403); it was counted.
    Wrong,
    /// The setup is done (404).
    Closed,
    /// Tokens from this address are not looked at (429).
    LockedOut(LockedOutUntil),
}

/// Why the setup is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// It was done before.
    #[error("Not found")]
    Closed,
    /// The token is another.
    #[error("Invalid setup token")]
    WrongToken,
    /// The account cannot be made so.
    #[error(transparent)]
    Account(#[from] AccountError),
}

impl RuleError for SetupError {
    fn kind(&self) -> Kind {
        match self {
            SetupError::Closed => Kind::Missing,
            SetupError::WrongToken => Kind::Forbidden,
            SetupError::Account(error) => error.kind(),
        }
    }
}

/// A new source password and its hash, for when it is needed.
#[derive(Clone, PartialEq, Eq)]
pub struct SourcePassword {
    clear: String,
    hash: String,
}

impl SourcePassword {
    /// What the operator is shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.clear
    }

    /// What is kept.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

impl fmt::Debug for SourcePassword {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SourcePassword")
    }
}

/// What completes the setup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The name of the superadmin.
    pub username: String,
    /// The hash of its password.
    pub password_hash: String,
    /// For mounts without a password of their own.
    pub default_source: SourcePassword,
    /// For `/live`.
    pub live_mount: SourcePassword,
}

/// The source passwords that are new, in clear text, to be shown once.
#[derive(Clone, PartialEq, Eq)]
pub struct Completed {
    /// For mounts without a password of their own.
    pub default_source_pass: Option<String>,
    /// For `/live`.
    pub live_mount_pass: Option<String>,
}

impl fmt::Debug for Completed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Completed")
    }
}

impl Auth {
    /// Looks at a setup token. A wrong one counts against its address like a wrong password.
    pub fn check_setup(&self, ip: IpAddr, setup: &SetupToken, token: &str) -> SetupCheck {
        if !setup.is_open() {
            return SetupCheck::Closed;
        }
        let attempt = Attempt {
            ip,
            user: "setup",
            kind: Attempted::Other,
            mount: None,
            proto: None,
        };
        if let Some(until) = self.refuse_locked(&attempt) {
            return SetupCheck::LockedOut(until);
        }
        if setup.verify(token) {
            return SetupCheck::Valid;
        }
        self.count(&attempt, "invalid setup token");
        SetupCheck::Wrong
    }

    /// Makes a new source password of 24 hex digits.
    ///
    /// # Errors
    /// No random bytes, or too many hashes are waiting.
    pub async fn new_source_password(&self) -> Result<SourcePassword, PasswordError> {
        let bytes: [u8; 12] =
            random().map_err(|error| PasswordError::Failed(HashError::Failed(error.to_string())))?;
        let clear = hex(&bytes);
        let hash = self.passwords().hash(clear.as_bytes()).await?;
        Ok(SourcePassword { clear, hash })
    }
}

/// Does the setup: makes the superadmin, or makes an account of that name one, and sets the source passwords that are
/// not set. Call it under the lock of the configuration's owner, so that of two who come together one is late; when
/// the file is saved, call [`SetupToken::clear`].
///
/// # Errors
/// See [`SetupError`]; nothing has changed then.
pub fn complete_setup(
    config: &mut Config,
    setup: &SetupToken,
    token: &str,
    completion: Completion,
) -> Result<Completed, SetupError> {
    if !setup.is_open() {
        return Err(SetupError::Closed);
    }
    if !setup.verify(token) {
        return Err(SetupError::WrongToken);
    }
    if completion.username.is_empty() || completion.password_hash.is_empty() {
        return Err(AccountError::Required.into());
    }
    check_user_name(&completion.username)?;
    let live = MountName::parse("/live").expect("a legal name");
    let name = completion.username;
    config.admin_user.clone_from(&name);
    config.admin_password.clone_from(&completion.password_hash);
    let user = config
        .users
        .entry(name.clone())
        .or_insert_with(|| User::new(name.clone(), String::new(), Role::Superadmin));
    user.role = Role::Superadmin;
    user.password = completion.password_hash;
    let fill = |slot: &mut String, new: SourcePassword| {
        slot.is_empty().then(|| {
            *slot = new.hash;
            new.clear
        })
    };
    let default_source_pass = fill(&mut config.default_source_password, completion.default_source);
    // Whoever owns the mount has a password for it, or is to get one from a superadmin.
    let is_owned = crate::ownership::holder(config, &live).is_some() && !config.mounts.contains_key(&live);
    let live_mount_pass = if is_owned {
        None
    } else {
        fill(config.mounts.entry(live).or_default(), completion.live_mount)
    };
    config.setup_complete = true;
    Ok(Completed {
        default_source_pass,
        live_mount_pass,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_verifies() {
        let setup = SetupToken::generate().unwrap();
        let token = setup.reveal().unwrap();
        assert!(
            token.len() == 64
                && token
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        );
        assert_ne!(Some(&token), SetupToken::generate().unwrap().reveal().as_ref());
        assert!(setup.verify(&token));
        for wrong in [
            "",
            &token[..63],
            &format!("{token}0"),
            &token.to_uppercase().replace(char::is_numeric, "G"),
        ] {
            assert!(!setup.verify(wrong), "{wrong}");
        }
        assert!(!format!("{setup:?}").contains(&token));
        setup.clear();
        assert!(!setup.verify(&token) && !setup.verify("") && setup.reveal().is_none());
        assert!(!SetupToken::none().verify(""));
    }

    fn completion(username: &str) -> Completion {
        let password = |text: &str| SourcePassword {
            clear: text.into(),
            hash: format!("hash of {text}"),
        };
        Completion {
            username: username.into(),
            password_hash: "hash".into(),
            default_source: password("default"),
            live_mount: password("live"),
        }
    }

    #[test]
    fn a_setup_sets_what_is_not_set() {
        for (file, default, live) in [
            ("{}", Some("default"), Some("live")),
            (r#"{"default_source_password": "kept"}"#, None, Some("live")),
            (r#"{"mounts": {"/live": "kept"}}"#, Some("default"), None),
            (r#"{"mounts": {"/live": ""}}"#, Some("default"), Some("live")),
            (
                r#"{"advanced_mounts": {"/live": {"password": "kept"}}}"#,
                Some("default"),
                None,
            ),
            (
                r#"{"users": {"bob": {"mounts": {"/live": "kept"}}}}"#,
                Some("default"),
                None,
            ),
        ] {
            let loaded = config::Loaded::parse(std::path::Path::new("t.json"), file.into()).unwrap();
            let mut config = Config::clone(&loaded.config);
            let setup = SetupToken::generate().unwrap();
            let token = setup.reveal().unwrap();
            let done = complete_setup(&mut config, &setup, &token, completion("ann")).unwrap();
            assert_eq!(done.default_source_pass.as_deref(), default, "{file}");
            assert_eq!(done.live_mount_pass.as_deref(), live, "{file}");
            assert_eq!(
                config.default_source_password == "hash of default",
                default.is_some(),
                "{file}"
            );
            let ann = &config.users["ann"];
            assert_eq!((ann.role, ann.password.as_str()), (Role::Superadmin, "hash"));
            assert_eq!(
                (config.admin_user.as_str(), config.admin_password.as_str()),
                ("ann", "hash")
            );
            assert!(config.setup_complete);
            assert!(!format!("{done:?}").contains("live"));
        }
    }

    #[test]
    fn an_account_of_that_name_keeps_what_it_has() {
        let mut config = Config::default();
        let mut ann = User::new("ann".into(), "old".into(), Role::Dj);
        ann.linked_emails.push("ann@example.org".into());
        config.users.insert("ann".into(), ann);
        let setup = SetupToken::generate().unwrap();
        complete_setup(&mut config, &setup, &setup.reveal().unwrap(), completion("ann")).unwrap();
        let ann = &config.users["ann"];
        assert_eq!(
            (ann.role, ann.password.as_str(), ann.linked_emails.len()),
            (Role::Superadmin, "hash", 1)
        );
    }

    #[test]
    fn a_setup_that_may_not_be_changes_nothing() {
        let setup = SetupToken::generate().unwrap();
        let token = setup.reveal().unwrap();
        let cases = [
            (
                &setup,
                "",
                completion("ann"),
                "Invalid setup token",
                Kind::Forbidden,
            ),
            (
                &setup,
                "x",
                completion("ann"),
                "Invalid setup token",
                Kind::Forbidden,
            ),
            (
                &setup,
                &token,
                completion(""),
                "Username and password are required",
                Kind::Bad,
            ),
            (
                &SetupToken::none(),
                &token,
                completion("ann"),
                "Not found",
                Kind::Missing,
            ),
            (
                &SetupToken::none(),
                "",
                completion("ann"),
                "Not found",
                Kind::Missing,
            ),
        ];
        for (setup, token, completion, text, kind) in cases {
            let mut config = Config::default();
            let error = complete_setup(&mut config, setup, token, completion).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.kind()), (text, kind));
            assert_eq!(config, Config::default());
        }
    }
}
