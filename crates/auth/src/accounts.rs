//! Accounts: made, changed, removed.
//!
//! Contract: everything is checked before anything changes. There is always a superadmin that can log in, once there
//! was one; and what an account leaves behind serves no later account of the same name.

use std::collections::BTreeMap;

use config::{Config, MountName, Role, User};

use crate::auth::Auth;
use crate::email::{MAX_EMAIL, is_email, linked_user};
use crate::password::HashError;
use crate::rule_error::{Kind, RuleError};

const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=72;
const MAX_NAME: usize = 64;
const MAX_EMAILS: usize = 20;

/// Why an account is not made, changed or removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// Name or password is missing.
    #[error("Username and password are required")]
    Required,
    /// The name cannot be one.
    #[error("Username must be 1 to 64 characters, without control characters and \":\"")]
    BadName,
    /// There is such an account.
    #[error("Username already taken")]
    Taken,
    /// There is no such role.
    #[error("Invalid role")]
    BadRole,
    /// There is no such account.
    #[error("User not found")]
    NotFound,
    /// Somebody else must do that.
    #[error("Cannot delete yourself")]
    Yourself,
    /// Nobody would be left who may do everything.
    #[error("At least one superadmin is required")]
    LastSuperadmin,
    /// No superadmin could sign in any more.
    #[error(
        "No superadmin could sign in without it: give one a password or a passkey first, or link one at another \
         provider that is enabled"
    )]
    LastWayIn,
    /// It is no mail address.
    #[error("Invalid email address: {0}")]
    BadEmail(String),
    /// Another account signs in with it.
    #[error("Email already linked to another user: {0}")]
    EmailTaken(String),
    /// The account has no such passkey.
    #[error("Passkey not found")]
    NoPasskey,
}

impl RuleError for AccountError {
    fn kind(&self) -> Kind {
        match self {
            AccountError::NotFound | AccountError::NoPasskey => Kind::Missing,
            AccountError::Taken
            | AccountError::LastSuperadmin
            | AccountError::LastWayIn
            | AccountError::EmailTaken(_) => Kind::Conflict,
            _ => Kind::Bad,
        }
    }
}

/// Why there is no hash of a new password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// It is too short or too long.
    #[error("Password must be 8 to 72 bytes")]
    Length,
    /// Too many are waiting.
    #[error("Too many password checks are waiting; try again shortly")]
    Busy,
    /// It could not be hashed.
    #[error("Failed to hash password: {0}")]
    Failed(HashError),
}

impl RuleError for PasswordError {
    fn kind(&self) -> Kind {
        match self {
            PasswordError::Busy => Kind::Busy,
            _ => Kind::Bad,
        }
    }
}

impl From<HashError> for PasswordError {
    fn from(error: HashError) -> PasswordError {
        match error {
            HashError::Busy => PasswordError::Busy,
            error => PasswordError::Failed(error),
        }
    }
}

/// Whether a password may be one of an account. Those of old stay as they are.
///
/// # Errors
/// [`PasswordError::Length`].
pub fn check_password(password: &str) -> Result<(), PasswordError> {
    if PASSWORD_BYTES.contains(&password.len()) {
        Ok(())
    } else {
        Err(PasswordError::Length)
    }
}

/// Whether a name may be one of an account. Basic credentials could not carry a colon.
///
/// # Errors
/// [`AccountError::BadName`].
pub fn check_user_name(name: &str) -> Result<(), AccountError> {
    let length = name.chars().count();
    let legal = |letter: char| !letter.is_control() && letter != ':';
    if (1..=MAX_NAME).contains(&length) && name.chars().all(legal) && name.trim() == name {
        Ok(())
    } else {
        Err(AccountError::BadName)
    }
}

/// One of the three roles, by its word.
///
/// # Errors
/// [`AccountError::BadRole`].
pub fn parse_role(word: &str) -> Result<Role, AccountError> {
    word.parse().map_err(|_| AccountError::BadRole)
}

impl Auth {
    /// The hash of a new password of an account.
    ///
    /// # Errors
    /// See [`PasswordError`]; the old password stays.
    pub async fn hash_password(&self, password: &str) -> Result<String, PasswordError> {
        check_password(password)?;
        Ok(self.passwords().hash(password.as_bytes()).await?)
    }

    /// The hash of a new password of a mount, which may be short: encoders limit what can be typed.
    ///
    /// # Errors
    /// See [`PasswordError`]; the old password stays.
    pub async fn hash_source_password(&self, password: &str) -> Result<String, PasswordError> {
        Ok(self.passwords().hash(password.as_bytes()).await?)
    }
}

/// Mounts given to an account, each with the hash of a source password of its own or without one.
pub type MountGrants = BTreeMap<MountName, Option<String>>;

/// An account that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUser {
    /// Its name.
    pub username: String,
    /// The hash of its password.
    pub password_hash: String,
    /// What it may do.
    pub role: Role,
    /// Its mounts.
    pub mounts: MountGrants,
    /// Addresses that sign in by an outside provider.
    pub linked_emails: Vec<String>,
}

impl NewUser {
    /// An account without mounts or addresses.
    #[must_use]
    pub fn new(username: String, password_hash: String, role: Role) -> NewUser {
        NewUser {
            username,
            password_hash,
            role,
            mounts: MountGrants::new(),
            linked_emails: Vec::new(),
        }
    }
}

/// What is to change of an account; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    /// The hash of a new password.
    pub password_hash: Option<String>,
    /// A new role.
    pub role: Option<Role>,
    /// All its mounts: those it has keep their password unless a new one is given, those not named are taken away.
    pub mounts: Option<MountGrants>,
    /// All its addresses.
    pub linked_emails: Option<Vec<String>>,
    /// Passkeys to remove.
    pub remove_passkeys: Vec<String>,
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Whether password or role changed, so that [`Auth::end_of_user`] has to follow the reload.
    pub ends_sessions: bool,
}

/// Makes an account.
///
/// # Errors
/// See [`AccountError`]; nothing has changed then.
pub fn create_user(config: &mut Config, wanted: NewUser) -> Result<(), AccountError> {
    if wanted.username.is_empty() || wanted.password_hash.is_empty() {
        return Err(AccountError::Required);
    }
    check_user_name(&wanted.username)?;
    if config.users.contains_key(&wanted.username) {
        return Err(AccountError::Taken);
    }
    let linked_emails = emails(config, &wanted.username, &wanted.linked_emails)?;
    let mut user = User::new(wanted.username, wanted.password_hash, wanted.role);
    user.mounts = granted(&BTreeMap::new(), wanted.mounts);
    user.linked_emails = linked_emails;
    forget(config, &user.username);
    config.users.insert(user.username.clone(), user);
    Ok(())
}

/// Changes an account.
///
/// # Errors
/// See [`AccountError`]; nothing has changed then.
pub fn update_user(config: &mut Config, username: &str, change: UserChange) -> Result<Changed, AccountError> {
    let old = config.users.get(username).ok_or(AccountError::NotFound)?;
    let mut user = old.clone();
    if let Some(hash) = change.password_hash {
        user.password = hash;
    }
    if let Some(role) = change.role {
        user.role = role;
    }
    if let Some(mounts) = change.mounts {
        user.mounts = granted(&old.mounts, mounts);
    }
    if let Some(wanted) = change.linked_emails {
        user.linked_emails = emails(config, username, &wanted)?;
        // An identity came with an address; without any address left it must not go on signing in.
        if user.linked_emails.is_empty() {
            user.linked_identities.clear();
        }
    }
    for id in &change.remove_passkeys {
        let before = user.passkeys.len();
        user.passkeys.retain(|passkey| passkey.id != *id);
        if user.passkeys.len() == before {
            return Err(AccountError::NoPasskey);
        }
    }
    if is_last(config, username) && !is_keeper(config, &user) {
        return Err(AccountError::LastSuperadmin);
    }
    let changed = Changed {
        ends_sessions: user.password != old.password || user.role != old.role,
    };
    config.users.insert(username.to_owned(), user);
    Ok(changed)
}

/// Removes an account and all that belongs to it, and returns its record.
///
/// # Errors
/// See [`AccountError`]; nothing has changed then.
pub fn delete_user(config: &mut Config, caller: &str, username: &str) -> Result<User, AccountError> {
    if username == caller {
        return Err(AccountError::Yourself);
    }
    if !config.users.contains_key(username) {
        return Err(AccountError::NotFound);
    }
    if is_last(config, username) {
        return Err(AccountError::LastSuperadmin);
    }
    let user = config.users.remove(username).ok_or(AccountError::NotFound)?;
    forget(config, username);
    Ok(user)
}

/// Whether a change that is not one of accounts, such as one of the outside providers, leaves a superadmin who can sign
/// in.
///
/// # Errors
/// [`AccountError::LastWayIn`] where there was one before and is none after.
pub fn check_way_in(before: &Config, after: &Config) -> Result<(), AccountError> {
    let is_open = |config: &Config| config.users.values().any(|user| is_keeper(config, user));
    if is_open(before) && !is_open(after) {
        return Err(AccountError::LastWayIn);
    }
    Ok(())
}

/// Takes out what would serve a later account of this name.
fn forget(config: &mut Config, username: &str) {
    config.api_tokens.retain(|token| token.username != username);
}

fn granted(old: &BTreeMap<MountName, String>, wanted: MountGrants) -> BTreeMap<MountName, String> {
    wanted
        .into_iter()
        .map(|(mount, hash)| {
            let hash = hash.or_else(|| old.get(&mount).cloned()).unwrap_or_default();
            (mount, hash)
        })
        .collect()
}

/// Whether this account is the only superadmin that can log in. If there is none at all, nobody is the last one.
fn is_last(config: &Config, username: &str) -> bool {
    let mut keepers = config.users.iter().filter(|(_, user)| is_keeper(config, user));
    matches!((keepers.next(), keepers.next()), (Some((name, _)), None) if name == username)
}

/// Whether an account may do everything and has a way in.
fn is_keeper(config: &Config, user: &User) -> bool {
    // An address counts at every provider, an identity only where it is from.
    let by_provider = || {
        let mut enabled = config.oidc_providers.iter().filter(|provider| provider.enabled);
        enabled.any(|provider| {
            !user.linked_emails.is_empty()
                || user
                    .linked_identities
                    .iter()
                    .any(|identity| identity.provider == provider.id)
        })
    };
    let can_log_in = || config::is_bcrypt(&user.password) || !user.passkeys.is_empty() || by_provider();
    user.role == Role::Superadmin && can_log_in()
}

/// Mail addresses without repetitions, none of them linked to somebody else: a login that fits two accounts is refused.
fn emails(config: &Config, username: &str, wanted: &[String]) -> Result<Vec<String>, AccountError> {
    let mut list: Vec<String> = Vec::new();
    for email in wanted
        .iter()
        .map(|email| email.trim())
        .filter(|email| !email.is_empty())
    {
        let cut = || {
            email
                .chars()
                .filter(|letter| !letter.is_control())
                .take(MAX_EMAIL)
                .collect()
        };
        if !is_email(email) || list.len() >= MAX_EMAILS {
            return Err(AccountError::BadEmail(cut()));
        }
        if linked_user(config, email).is_some_and(|owner| owner != username) {
            return Err(AccountError::EmailTaken(cut()));
        }
        if !list.iter().any(|known| known.eq_ignore_ascii_case(email)) {
            list.push(email.to_owned());
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{ApiToken, LinkedIdentity, OidcProvider, Passkey};

    fn hash(letter: char) -> String {
        format!("$2a$12${}", letter.to_string().repeat(53))
    }

    fn mount(name: &str) -> MountName {
        MountName::parse(name).unwrap()
    }

    /// `root` and `sue` are superadmins, `ann` an admin, `pam` a superadmin who has only a passkey.
    fn config() -> Config {
        let mut config = Config::default();
        for (name, role) in [
            ("root", Role::Superadmin),
            ("sue", Role::Superadmin),
            ("ann", Role::Admin),
            ("pam", Role::Superadmin),
        ] {
            let user = User::new(name.into(), hash('a'), role);
            config.users.insert(name.into(), user);
        }
        let pam = config.users.get_mut("pam").unwrap();
        pam.password = String::new();
        pam.passkeys.push(Passkey::new("key".into(), String::new()));
        config
    }

    /// Tries a change on a copy: on an error nothing may be different.
    fn check<T: std::fmt::Debug>(
        config: &mut Config,
        change: impl FnOnce(&mut Config) -> Result<T, AccountError>,
        expected: Result<(), (&str, Kind)>,
    ) {
        let before = config.clone();
        let seen = change(config).map_err(|error| (error.to_string(), error.kind()));
        let seen_ref = seen
            .as_ref()
            .map(|_| ())
            .map_err(|(text, kind)| (text.as_str(), *kind));
        assert_eq!(seen_ref, expected);
        if seen.is_err() {
            assert_eq!(*config, before);
        }
    }

    fn user(name: &str) -> NewUser {
        NewUser::new(name.into(), hash('n'), Role::Dj)
    }

    #[test]
    fn names_follow_the_rules() {
        let long = "x".repeat(64);
        let bad = "Username must be 1 to 64 characters, without control characters and \":\"";
        for (name, expected) in [
            ("bob", Ok(())),
            ("Zoë K", Ok(())),
            (&long, Ok(())),
            ("", Err(("Username and password are required", Kind::Bad))),
            (&format!("{long}x"), Err((bad, Kind::Bad))),
            ("a:b", Err((bad, Kind::Bad))),
            ("a\nb", Err((bad, Kind::Bad))),
            (" bob", Err((bad, Kind::Bad))),
            ("ann", Err(("Username already taken", Kind::Conflict))),
        ] {
            check(&mut config(), |config| create_user(config, user(name)), expected);
        }
        let mut nameless = user("bob");
        nameless.password_hash.clear();
        check(
            &mut config(),
            |config| create_user(config, nameless),
            Err(("Username and password are required", Kind::Bad)),
        );
    }

    #[test]
    fn passwords_and_roles_follow_the_rules() {
        for (password, good) in [
            ("", false),
            ("1234567", false),
            ("12345678", true),
            ("äöüß", true),
            (&"x".repeat(72), true),
            (&"x".repeat(73), false),
        ] {
            let seen = check_password(password).map_err(|error| error.to_string());
            let expected = if good {
                Ok(())
            } else {
                Err("Password must be 8 to 72 bytes".to_owned())
            };
            assert_eq!(seen, expected, "{password}");
        }
        for (word, expected) in [
            ("dj", Ok(Role::Dj)),
            ("admin", Ok(Role::Admin)),
            ("superadmin", Ok(Role::Superadmin)),
            ("Admin", Err(AccountError::BadRole)),
            ("root", Err(AccountError::BadRole)),
            ("", Err(AccountError::BadRole)),
        ] {
            assert_eq!(parse_role(word), expected, "{word}");
        }
        assert_eq!(AccountError::BadRole.to_string(), "Invalid role");
    }

    #[test]
    fn an_account_has_what_it_was_given() {
        let mut config = config();
        // Something that an account of this name left behind in a file of long ago.
        let mut token = ApiToken::new("old".into(), String::new());
        token.username = "bob".into();
        config.api_tokens.push(token);
        let mut bob = user("bob");
        bob.mounts.insert(mount("/a"), Some(hash('m')));
        bob.mounts.insert(mount("/b"), None);
        bob.linked_emails = vec![
            " Bob@example.org ".into(),
            "bob@EXAMPLE.org".into(),
            String::new(),
        ];
        create_user(&mut config, bob).unwrap();
        let bob = &config.users["bob"];
        assert_eq!(
            (bob.username.as_str(), bob.role, bob.password.as_str()),
            ("bob", Role::Dj, hash('n').as_str())
        );
        assert_eq!(bob.mounts[&mount("/a")], hash('m'));
        assert_eq!(bob.mounts[&mount("/b")], "");
        assert_eq!(bob.linked_emails, ["Bob@example.org"]);
        assert!(config.api_tokens.is_empty(), "nothing of an older bob is his");

        let change = UserChange {
            mounts: Some(MountGrants::from([
                (mount("/a"), None),
                (mount("/c"), Some(hash('c'))),
            ])),
            ..UserChange::default()
        };
        let changed = update_user(&mut config, "bob", change).unwrap();
        assert!(!changed.ends_sessions);
        let bob = &config.users["bob"];
        assert_eq!(bob.mounts.len(), 2);
        assert_eq!(
            (&bob.mounts[&mount("/a")], &bob.mounts[&mount("/c")]),
            (&hash('m'), &hash('c'))
        );
    }

    #[test]
    fn only_password_and_role_end_sessions() {
        let with = |change: UserChange| update_user(&mut config(), "ann", change).unwrap().ends_sessions;
        assert!(!with(UserChange::default()));
        assert!(with(UserChange {
            password_hash: Some(hash('b')),
            ..UserChange::default()
        }));
        assert!(with(UserChange {
            role: Some(Role::Dj),
            ..UserChange::default()
        }));
        assert!(!with(UserChange {
            role: Some(Role::Admin),
            ..UserChange::default()
        }));
        assert!(!with(UserChange {
            linked_emails: Some(vec!["a@b".into()]),
            ..UserChange::default()
        }));
        check(
            &mut config(),
            |config| update_user(config, "nobody", UserChange::default()),
            Err(("User not found", Kind::Missing)),
        );
    }

    #[test]
    fn addresses_belong_to_one_account() {
        let link = |name: &'static str, email: &'static str| {
            move |config: &mut Config| {
                let change = UserChange {
                    linked_emails: Some(vec![email.into()]),
                    ..UserChange::default()
                };
                update_user(config, name, change)
            }
        };
        let mut config = config();
        check(&mut config, link("ann", "ann@example.org"), Ok(()));
        check(&mut config, link("ann", "Ann@example.org"), Ok(()));
        check(
            &mut config,
            link("sue", "ANN@example.org"),
            Err((
                "Email already linked to another user: ANN@example.org",
                Kind::Conflict,
            )),
        );
        let ann = config.users.get_mut("ann").unwrap();
        ann.linked_identities
            .push(LinkedIdentity::new("google".into(), "1".into()));
        let none = UserChange {
            linked_emails: Some(Vec::new()),
            ..UserChange::default()
        };
        update_user(&mut config, "ann", none).unwrap();
        assert!(config.users["ann"].linked_identities.is_empty());
    }

    #[test]
    fn removing_an_account_takes_its_tokens_along() {
        let mut config = config();
        for (id, owner) in [("1", "ann"), ("2", "sue"), ("3", "ann")] {
            let mut token = ApiToken::new(id.into(), String::new());
            token.username = owner.into();
            config.api_tokens.push(token);
        }
        check(
            &mut config,
            |config| delete_user(config, "root", "root"),
            Err(("Cannot delete yourself", Kind::Bad)),
        );
        check(
            &mut config,
            |config| delete_user(config, "root", "nobody"),
            Err(("User not found", Kind::Missing)),
        );
        assert_eq!(delete_user(&mut config, "root", "ann").unwrap().username, "ann");
        assert!(!config.users.contains_key("ann"));
        let left: Vec<_> = config.api_tokens.iter().map(|token| token.id.as_str()).collect();
        assert_eq!(left, ["2"]);
    }

    #[test]
    fn there_is_always_a_superadmin_that_can_log_in() {
        let last = Err(("At least one superadmin is required", Kind::Conflict));
        let demote = |name: &'static str| {
            move |config: &mut Config| {
                let change = UserChange {
                    role: Some(Role::Admin),
                    ..UserChange::default()
                };
                update_user(config, name, change)
            }
        };
        let mut config = config();
        check(
            &mut config,
            |config| delete_user(config, "root", "sue").map(|_| ()),
            Ok(()),
        );
        check(&mut config, demote("root"), Ok(()));
        // Only pam is left, and her passkey is her way in.
        check(&mut config, demote("pam"), last);
        check(
            &mut config,
            |config| delete_user(config, "root", "pam").map(|_| ()),
            last,
        );
        let remove = |id: &'static str| {
            move |config: &mut Config| {
                let change = UserChange {
                    remove_passkeys: vec![id.into()],
                    ..UserChange::default()
                };
                update_user(config, "pam", change)
            }
        };
        check(
            &mut config,
            remove("none"),
            Err(("Passkey not found", Kind::Missing)),
        );
        check(&mut config, remove("key"), last);
        // An outside provider is a way in while it is switched on.
        let pam = config.users.get_mut("pam").unwrap();
        pam.linked_emails.push("pam@example.org".into());
        check(&mut config, remove("key"), last);
        let file = r#"{"oidc_providers": [{"id": "google", "enabled": true}]}"#;
        let loaded = config::Loaded::parse(std::path::Path::new("t.json"), file.into()).unwrap();
        config.oidc_providers.clone_from(&loaded.config.oidc_providers);
        check(&mut config, remove("key"), Ok(()));
        // One that cannot log in counts for nothing.
        config.oidc_providers.clear();
        check(&mut config, demote("pam"), Ok(()));
    }

    #[test]
    fn a_provider_that_is_the_last_way_in_stays() {
        for (email, identity, left, expected) in [
            (true, None, &["b"][..], Ok(())),
            (true, None, &[], Err(AccountError::LastWayIn)),
            (false, Some("a"), &["a"], Ok(())),
            // Another provider does not know this identity.
            (false, Some("a"), &["b"], Err(AccountError::LastWayIn)),
            // There was no way in before.
            (false, None, &[], Ok(())),
        ] {
            let mut before = Config::default();
            let mut root = User::new("root".into(), String::new(), Role::Superadmin);
            root.linked_emails
                .extend(email.then(|| "root@radio.example".into()));
            root.linked_identities
                .extend(identity.map(|id: &str| LinkedIdentity::new(id.into(), "1".into())));
            before.users.insert("root".into(), root);
            before.oidc_providers = ["a", "b"].map(|id| OidcProvider::new(id.into())).to_vec();
            let mut after = before.clone();
            after
                .oidc_providers
                .retain(|provider| left.contains(&provider.id.as_str()));
            assert_eq!(
                check_way_in(&before, &after),
                expected,
                "{email} {identity:?} {left:?}"
            );
        }
    }
}
