//! Which of our users an outside identity is.
//!
//! Contract: an identity that is linked decides, whatever its address; an address decides only where nothing speaks
//! against it. Doubt is refused and logged, never resolved by order.

use config::{Config, LinkedIdentity, User};

/// Identities that one user may have linked.
const MOST_LINKED: usize = 32;

observe::event! {
    /// Two users with one address.
    struct AddressAmbiguous<'a> { email: &'a str, provider: &'a str, users: usize }
    = [Auth] Warn "signin_ambiguous": "Sign-in refused: the address or identity is linked to several users"

    /// The address is a user's, but the provider knows that user by another identity.
    struct AddressReassigned<'a> { email: &'a str, provider: &'a str, user: &'a str }
    = [Auth] Warn "signin_reassigned": "Sign-in refused: the address belongs to another identity at the provider than the user's"
}

/// Somebody, as an outside provider vouches for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The provider's id in the configuration.
    pub provider: String,
    /// The provider's own name of the person, which never changes.
    pub subject: String,
    /// Verified by the provider.
    pub email: String,
    /// As the provider says; may be empty.
    pub name: String,
    /// Where the person wanted to go, as given to [`Oidc::begin`](crate::Oidc::begin).
    pub next: String,
    /// The user who asked to link the identity; only that user's session may do it.
    pub link: Option<String>,
}

/// Which of our users somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// This one.
    User {
        /// The user's name.
        username: String,
        /// The identity is not linked yet: call [`bind`].
        is_new: bool,
    },
    /// It cannot be said.
    Unclear(Unmatched),
    /// Nobody: the person may ask for an account.
    Nobody,
}

/// Why it cannot be said who somebody is. The status is 403.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unmatched {
    /// Several users have the address or the identity.
    #[error("Several accounts use this address. Ask an administrator to remove it from all but one.")]
    Ambiguous,
    /// The user who has the address is somebody else at this provider.
    #[error("This address belongs to an account that signs in with another identity. Ask an administrator.")]
    Reassigned,
}

/// Why an identity cannot be linked. Nothing is changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The user is gone. (404)
    #[error("User not found")]
    NoUser,
    /// Another user has it. (409)
    #[error("This identity or address is linked to another account")]
    Taken,
    /// The user has as many as a user may have. (409)
    #[error("Too many linked identities")]
    Full,
}

/// Finds the user that `identity` is.
#[must_use]
pub fn match_user(config: &Config, identity: &Identity) -> Match {
    let ambiguous = |users: usize| {
        observe::emit(AddressAmbiguous {
            email: &identity.email,
            provider: &identity.provider,
            users,
        });
        Match::Unclear(Unmatched::Ambiguous)
    };
    let matched = |(username, _): &(&String, &User), is_new| Match::User {
        username: (*username).clone(),
        is_new,
    };
    let linked: Vec<_> = config
        .users
        .iter()
        .filter(|(_, user)| has_identity(user, identity))
        .collect();
    match linked.as_slice() {
        [] => {}
        [one] => return matched(one, false),
        several => return ambiguous(several.len()),
    }
    let by_address: Vec<_> = config
        .users
        .iter()
        .filter(|(_, user)| has_address(user, &identity.email))
        .collect();
    match by_address.as_slice() {
        [] => Match::Nobody,
        // The user signed in here before as somebody else: the address may have a new owner.
        [(username, user)]
            if user
                .linked_identities
                .iter()
                .any(|known| known.provider == identity.provider) =>
        {
            observe::emit(AddressReassigned {
                email: &identity.email,
                provider: &identity.provider,
                user: username,
            });
            Match::Unclear(Unmatched::Reassigned)
        }
        [one] => matched(one, true),
        several => ambiguous(several.len()),
    }
}

/// Keeps the identity of a user's first sign-in at a provider. Yields whether that changed anything.
///
/// # Errors
/// [`LinkError`].
pub fn bind(config: &mut Config, username: &str, identity: &Identity) -> Result<bool, LinkError> {
    add(config, username, identity, false)
}

/// Gives the user who asked for it the identity and its address. Yields whether that changed anything.
///
/// # Errors
/// [`LinkError`].
pub fn link(config: &mut Config, username: &str, identity: &Identity) -> Result<bool, LinkError> {
    add(config, username, identity, true)
}

fn add(
    config: &mut Config,
    username: &str,
    identity: &Identity,
    with_address: bool,
) -> Result<bool, LinkError> {
    let mut others = config.users.iter().filter(|(name, _)| *name != username);
    let taken = others.any(|(_, user)| {
        has_identity(user, identity) || (with_address && has_address(user, &identity.email))
    });
    let user = config.users.get_mut(username).ok_or(LinkError::NoUser)?;
    if taken {
        return Err(LinkError::Taken);
    }
    let new_identity = !has_identity(user, identity);
    let new_address = with_address && !has_address(user, &identity.email);
    if (new_identity && user.linked_identities.len() >= MOST_LINKED)
        || (new_address && user.linked_emails.len() >= MOST_LINKED)
    {
        return Err(LinkError::Full);
    }
    if new_identity {
        let known = LinkedIdentity::new(identity.provider.clone(), identity.subject.clone());
        user.linked_identities.push(known);
    }
    if new_address {
        user.linked_emails.push(identity.email.clone());
    }
    Ok(new_identity || new_address)
}

fn has_identity(user: &User, identity: &Identity) -> bool {
    let same = |known: &LinkedIdentity| known.provider == identity.provider && known.sub == identity.subject;
    user.linked_identities.iter().any(same)
}

/// Case is compared in ASCII only: folding other letters makes different addresses equal.
fn has_address(user: &User, email: &str) -> bool {
    user.linked_emails
        .iter()
        .any(|known| known.trim().eq_ignore_ascii_case(email))
}

#[cfg(test)]
mod tests {
    use config::Role;

    use super::*;

    /// Users as `name: address… provider=subject…`.
    fn config(users: &[&str]) -> Config {
        let mut config = Config::default();
        config.users.clear();
        for text in users {
            let (name, linked) = text.split_once(':').unwrap();
            let mut user = User::new(name.into(), String::new(), Role::Dj);
            for word in linked.split_whitespace() {
                match word.split_once('=') {
                    Some((provider, sub)) => {
                        user.linked_identities
                            .push(LinkedIdentity::new(provider.into(), sub.into()));
                    }
                    None => user.linked_emails.push(word.into()),
                }
            }
            config.users.insert(name.into(), user);
        }
        config
    }

    fn somebody(email: &str, provider: &str, subject: &str) -> Identity {
        Identity {
            provider: provider.into(),
            subject: subject.into(),
            email: email.into(),
            name: String::new(),
            next: String::new(),
            link: None,
        }
    }

    /// Expected is the user, with `+` when new, or the error's name.
    fn check(users: &[&str], identity: &Identity, expected: &str) {
        let told = match match_user(&config(users), identity) {
            Match::User { username, is_new } => username + if is_new { "+" } else { "" },
            Match::Unclear(why) => format!("{why:?}"),
            Match::Nobody => "nobody".into(),
        };
        assert_eq!(told, expected, "{users:?} {identity:?}");
    }

    #[test]
    fn linked_identities_come_before_addresses() {
        let identity = somebody("DJ@Radio.example", "google", "7");
        check(&["a: dj@radio.example"], &identity, "a+");
        check(&["a: dj@radio.example google=7"], &identity, "a");
        check(&["a: google=7", "b: dj@radio.example"], &identity, "a");
        check(&["a: github=7"], &identity, "nobody");
        check(&["a: github=7 dj@radio.example"], &identity, "a+");
        check(&["a: other@radio.example"], &identity, "nobody");
        check(&["a:"], &somebody("", "google", "7"), "nobody");
    }

    #[test]
    fn doubt_is_refused() {
        let identity = somebody("dj@radio.example", "google", "7");
        check(
            &["a: dj@radio.example", "b: DJ@radio.example"],
            &identity,
            "Ambiguous",
        );
        check(&["a: google=7", "b: google=7"], &identity, "Ambiguous");
        check(&["a: dj@radio.example google=6"], &identity, "Reassigned");
        // The Kelvin sign is no k.
        check(
            &["a: k@radio.example"],
            &somebody("\u{212a}@radio.example", "google", "7"),
            "nobody",
        );
    }

    #[test]
    fn binding_keeps_the_identity() {
        let mut config = config(&["a: dj@radio.example", "b: google=8"]);
        let identity = somebody("dj@radio.example", "google", "7");
        assert_eq!(bind(&mut config, "a", &identity), Ok(true));
        assert_eq!(bind(&mut config, "a", &identity), Ok(false));
        assert_eq!(
            config.users["a"].linked_identities,
            [LinkedIdentity::new("google".into(), "7".into())]
        );
        assert_eq!(config.users["a"].linked_emails, ["dj@radio.example"]);
        let before = config.clone();
        assert_eq!(
            bind(&mut config, "a", &somebody("x@radio.example", "google", "8")),
            Err(LinkError::Taken)
        );
        assert_eq!(bind(&mut config, "c", &identity), Err(LinkError::NoUser));
        assert!(config == before);
    }

    #[test]
    fn linking_adds_the_address_too() {
        let mut config = config(&["a: dj@radio.example", "b: b@radio.example"]);
        assert_eq!(
            link(&mut config, "a", &somebody("two@radio.example", "google", "7")),
            Ok(true)
        );
        assert_eq!(
            link(&mut config, "a", &somebody("TWO@radio.example", "google", "7")),
            Ok(false)
        );
        assert_eq!(
            config.users["a"].linked_emails,
            ["dj@radio.example", "two@radio.example"]
        );
        let before = config.clone();
        assert_eq!(
            link(&mut config, "a", &somebody("B@radio.example", "google", "9")),
            Err(LinkError::Taken)
        );
        assert_eq!(
            link(&mut config, "nobody", &somebody("c@radio.example", "google", "9")),
            Err(LinkError::NoUser)
        );
        assert!(config == before);
        for n in 1..MOST_LINKED {
            assert_eq!(
                bind(&mut config, "a", &somebody("", "google", &format!("n{n}"))),
                Ok(true),
                "{n}"
            );
        }
        assert_eq!(
            bind(&mut config, "a", &somebody("", "google", "more")),
            Err(LinkError::Full)
        );
    }
}
