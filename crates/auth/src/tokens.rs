//! API tokens: made, looked up, listed, revoked.
//!
//! Contract: only the hash of a token is kept. Whether a token stands is decided by its hash, its end and its owner; an
//! end that cannot be read has passed. A token cannot make a token.

use std::collections::{BTreeSet, HashMap};

use config::{ApiToken, Config, MountName};
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::caller::{Caller, Proof, TokenRef};
use crate::matrix::{Action, Scope, permits};
use crate::random::{hex, random, unhex};
use crate::rule_error::{Kind, RuleError};
use crate::token_uses::TokenUse;

const MARK: &str = "ti_";
const LENGTH: usize = MARK.len() + 64;
const PER_USER: usize = 100;
const MAX_NAME: usize = 128;

type Hash = [u8; 32];

/// A token that a request came with.
pub(crate) struct Found<'a> {
    pub(crate) owner: &'a str,
    pub(crate) token: TokenRef,
}

/// The tokens of one configuration.
#[derive(Debug, Default)]
pub(crate) struct TokenTable {
    /// By the first bytes of the hash; the rest is compared in constant time.
    entries: HashMap<[u8; 8], Entry>,
}

#[derive(Debug)]
struct Entry {
    id: String,
    hash: Hash,
    owner: String,
    end: End,
    scopes: Option<BTreeSet<Scope>>,
    mounts: Option<BTreeSet<MountName>>,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Never,
    At(Timestamp),
    Passed,
}

impl End {
    fn read(text: &str) -> End {
        match text.trim() {
            "" => End::Never,
            text => text.parse().map_or(End::Passed, End::At),
        }
    }

    fn has_passed(&self, now: Timestamp) -> bool {
        match self {
            End::Never => false,
            End::At(at) => now >= *at,
            End::Passed => true,
        }
    }
}

fn head(hash: &Hash) -> [u8; 8] {
    let mut head = [0; 8];
    head.copy_from_slice(&hash[..8]);
    head
}

impl TokenTable {
    pub(crate) fn new(config: &Config) -> TokenTable {
        let entry = |token: &ApiToken| {
            let hash = unhex(&token.token_hash)?;
            let entry = Entry {
                id: token.id.clone(),
                hash,
                owner: token.username.clone(),
                end: End::read(&token.expires_at),
                scopes: token.scopes.as_ref().map(|scopes| read_scopes(scopes)),
                mounts: token
                    .mounts
                    .as_ref()
                    .map(|mounts| mounts.iter().cloned().collect()),
            };
            Some((head(&hash), entry))
        };
        TokenTable {
            entries: config.api_tokens.iter().filter_map(entry).collect(),
        }
    }

    /// The token with this text, if it stands.
    pub(crate) fn find(&self, raw: &[u8], now: Timestamp) -> Option<Found<'_>> {
        // Tokens of the past may have had another form, but never one that is long.
        if raw.is_empty() || raw.len() > 4 * LENGTH {
            return None;
        }
        self.by_hash(&Sha256::digest(raw).into(), now)
    }

    pub(crate) fn by_hash(&self, hash: &Hash, now: Timestamp) -> Option<Found<'_>> {
        let entry = self.entries.get(&head(hash))?;
        let same: bool = entry.hash.ct_eq(hash).into();
        (same && !entry.end.has_passed(now)).then(|| Found {
            owner: &entry.owner,
            token: TokenRef {
                id: entry.id.clone(),
                scopes: entry.scopes.clone(),
                mounts: entry.mounts.clone(),
                hash: entry.hash,
            },
        })
    }
}

/// Words that are no scope grant nothing.
fn read_scopes(words: &[String]) -> BTreeSet<Scope> {
    words.iter().filter_map(|word| Scope::parse(word)).collect()
}

/// Why a token is not made or not revoked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It has no name.
    #[error("Name is required")]
    NameRequired,
    /// Its name is too long.
    #[error("Name must be at most 128 characters")]
    NameTooLong,
    /// Its end is no time, or has passed.
    #[error("Invalid expires_at")]
    BadExpiry,
    /// There is no such scope.
    #[error("Unknown scope: {0}")]
    BadScope(String),
    /// The caller came with a token.
    #[error("API tokens cannot create tokens; use a logged-in session")]
    ByToken,
    /// The account has too many.
    #[error("A user can have at most 100 API tokens")]
    TooMany,
    /// The request names none.
    #[error("ID is required")]
    IdRequired,
    /// There is none of this name.
    #[error("Token not found")]
    NotFound,
    /// It belongs to somebody else.
    #[error("Forbidden")]
    Forbidden,
    /// The system gave no random bytes.
    #[error("No random bytes from the system")]
    NoRandom,
}

impl RuleError for TokenError {
    fn kind(&self) -> Kind {
        match self {
            TokenError::ByToken | TokenError::Forbidden => Kind::Forbidden,
            TokenError::NotFound => Kind::Missing,
            TokenError::TooMany => Kind::Conflict,
            TokenError::NoRandom => Kind::Failed,
            _ => Kind::Bad,
        }
    }
}

/// What a new token is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewToken {
    /// What its owner calls it.
    pub name: String,
    /// RFC 3339; empty is never.
    pub expires_at: String,
    /// What it may do; `None` is everything that its owner may.
    pub scopes: Option<Vec<String>>,
    /// The mounts that it may touch; `None` is all of its owner's.
    pub mounts: Option<Vec<MountName>>,
}

/// A token that was just made.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct CreatedToken {
    /// Its public name.
    pub id: String,
    /// The token, shown this once.
    pub token: String,
    /// What its owner calls it.
    pub name: String,
}

impl std::fmt::Debug for CreatedToken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("CreatedToken")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A token in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenRow {
    /// Its public name.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// Its owner.
    pub username: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339 or empty.
    pub last_used_at: String,
    /// Address or empty.
    pub last_used_ip: String,
    /// RFC 3339; empty is never.
    pub expires_at: String,
    /// How it begins, as far as that is known.
    pub prefix: String,
    /// What it may do, where that is less than its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The mounts that it may touch, where those are not all of its owner's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mounts: Option<Vec<String>>,
}

impl TokenRow {
    pub(crate) fn of(token: &ApiToken, used: Option<TokenUse>) -> TokenRow {
        let (last_used_at, last_used_ip) = match used {
            Some(used) => (used.at.to_string(), used.ip.to_string()),
            None => (token.last_used_at.clone(), token.last_used_ip.clone()),
        };
        // Old records do not know how their token begins.
        let of_hash = || {
            format!(
                "{MARK}{}...",
                token.token_hash.chars().take(4).collect::<String>()
            )
        };
        let mounts = |mounts: &Vec<MountName>| mounts.iter().map(ToString::to_string).collect();
        TokenRow {
            id: token.id.clone(),
            name: token.name.clone(),
            username: token.username.clone(),
            created_at: token.created_at.clone(),
            last_used_at,
            last_used_ip,
            expires_at: token.expires_at.clone(),
            prefix: token.prefix.clone().unwrap_or_else(of_hash),
            scopes: token.scopes.clone(),
            mounts: token.mounts.as_ref().map(mounts),
        }
    }
}

/// The tokens that a caller gets to see: its own, and all if it may.
pub(crate) fn visible<'a>(config: &'a Config, caller: &Caller) -> impl Iterator<Item = &'a ApiToken> {
    let all = permits(caller, Action::TokensReadAll, None);
    let name = caller.account.name.clone();
    config
        .api_tokens
        .iter()
        .filter(move |token| all || token.username == name)
}

/// Makes a token for the caller.
///
/// # Errors
/// See [`TokenError`]; nothing has changed then.
pub fn create_token(
    config: &mut Config,
    caller: &Caller,
    wanted: NewToken,
    now: Timestamp,
) -> Result<CreatedToken, TokenError> {
    if matches!(caller.proof, Proof::Token(_)) {
        return Err(TokenError::ByToken);
    }
    let owner = config
        .users
        .get(&caller.account.name)
        .ok_or(TokenError::Forbidden)?;
    let name = wanted.name.trim();
    if name.is_empty() {
        return Err(TokenError::NameRequired);
    }
    if name.chars().count() > MAX_NAME {
        return Err(TokenError::NameTooLong);
    }
    let expires_at = wanted.expires_at.trim();
    let end = End::read(expires_at);
    if end.has_passed(now) {
        return Err(TokenError::BadExpiry);
    }
    let unknown = |word: &&String| Scope::parse(word).is_none();
    if let Some(word) = wanted.scopes.iter().flatten().find(unknown) {
        return Err(TokenError::BadScope(word.chars().take(64).collect()));
    }
    let of_owner = config
        .api_tokens
        .iter()
        .filter(|token| token.username == caller.account.name);
    if of_owner.count() >= PER_USER {
        return Err(TokenError::TooMany);
    }
    let digits = hex(&random::<32>().map_err(|_| TokenError::NoRandom)?);
    let raw = format!("{MARK}{digits}");
    let hash = hex(&Sha256::digest(raw.as_bytes()));
    let mut token = ApiToken::new(hash[..16].to_owned(), hash);
    token.name = name.to_owned();
    token.username.clone_from(&caller.account.name);
    token.role = owner.role.as_str().to_owned();
    token.created_at = seconds(now);
    token.expires_at = expires_at.to_owned();
    token.prefix = Some(format!("{MARK}{}...", &digits[..4]));
    token.scopes = wanted.scopes;
    token.mounts = wanted.mounts;
    let created = CreatedToken {
        id: token.id.clone(),
        token: raw,
        name: token.name.clone(),
    };
    config.api_tokens.push(token);
    Ok(created)
}

/// RFC 3339 to the second, as all times in the file.
pub(crate) fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

/// Takes a token out and returns its record. A caller with a token may revoke only that one, unless it may do all
/// that its owner may.
///
/// # Errors
/// See [`TokenError`]; nothing has changed then.
pub fn revoke_token(config: &mut Config, caller: &Caller, id: &str) -> Result<ApiToken, TokenError> {
    if id.is_empty() {
        return Err(TokenError::IdRequired);
    }
    let place = config
        .api_tokens
        .iter()
        .position(|token| token.id == id)
        .ok_or(TokenError::NotFound)?;
    let owner = &config.api_tokens[place].username;
    let is_own = *owner == caller.account.name;
    let allowed = match &caller.proof {
        Proof::Token(token) if token.id == id => true,
        Proof::Token(token) if !token.is_full() => false,
        _ => is_own || permits(caller, Action::TokenRevokeAny, None),
    };
    if !allowed {
        return Err(TokenError::Forbidden);
    }
    Ok(config.api_tokens.remove(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Account;
    use config::{Role, User};

    fn now() -> Timestamp {
        "2026-08-10T12:00:00Z".parse().unwrap()
    }

    fn config() -> Config {
        let mut config = Config::default();
        for (name, role) in [
            ("root", Role::Superadmin),
            ("ann", Role::Admin),
            ("dan", Role::Dj),
        ] {
            config
                .users
                .insert(name.into(), User::new(name.into(), String::new(), role));
        }
        config
    }

    fn caller(config: &Config, name: &str, proof: Proof) -> Caller {
        Caller::new(Account::of(config, name).unwrap(), proof)
    }

    fn wanted(name: &str, expires_at: &str) -> NewToken {
        NewToken {
            name: name.into(),
            expires_at: expires_at.into(),
            ..NewToken::default()
        }
    }

    #[test]
    fn a_token_is_made_of_random_digits_and_found_by_its_hash() {
        let mut config = config();
        let ann = caller(&config, "ann", Proof::Password);
        let made = create_token(
            &mut config,
            &ann,
            wanted(" ci ", "2026-09-01T00:00:00+02:00"),
            now(),
        )
        .unwrap();
        assert!(
            made.token.len() == LENGTH && made.token.starts_with("ti_"),
            "{}",
            made.token
        );
        assert_eq!(made.name, "ci");
        assert!(!format!("{made:?}").contains(&made.token));
        let record = &config.api_tokens[0];
        assert_eq!(record.token_hash, hex(&Sha256::digest(made.token.as_bytes())));
        assert_eq!(record.id, record.token_hash[..16]);
        assert_eq!((record.username.as_str(), record.role.as_str()), ("ann", "admin"));
        assert_eq!(record.created_at, "2026-08-10T12:00:00Z");
        assert_eq!(
            record.prefix.as_deref(),
            Some(format!("{}...", &made.token[..7]).as_str())
        );

        let table = TokenTable::new(&config);
        let end: Timestamp = "2026-08-31T22:00:00Z".parse().unwrap();
        let before = end - jiff::SignedDuration::from_nanos(1);
        for (raw, at, found) in [
            (made.token.as_str(), now(), true),
            (&made.token, before, true),
            (&made.token, end, false),
            (&made.token[..66], now(), false),
            (&made.token[3..], now(), false),
            (&made.token.to_uppercase(), now(), false),
            ("", now(), false),
            (&"x".repeat(10_000), now(), false),
        ] {
            let seen = table.find(raw.as_bytes(), at);
            assert_eq!(
                seen.map(|found| found.owner),
                found.then_some("ann"),
                "{raw:.80} {at}"
            );
        }
    }

    #[test]
    fn a_token_of_the_older_program_is_found() {
        let raw = format!("ti_{}", "ab".repeat(32));
        let hash = "a35aec59c6e77c78cf6cb31e79deeef54c8821e07430fbcad6ba85b65e8fec83";
        let mut config = config();
        config.api_tokens.push(ApiToken::new("old".into(), hash.into()));
        config.api_tokens[0].username = "ann".into();
        let found = TokenTable::new(&config)
            .find(raw.as_bytes(), now())
            .map(|found| found.owner.to_owned());
        assert_eq!(found.as_deref(), Some("ann"));
        let row = TokenRow::of(&config.api_tokens[0], None);
        assert_eq!(row.prefix, format!("ti_{}...", &hash[..4]));
    }

    #[test]
    fn an_end_that_cannot_be_read_has_passed() {
        for (text, passed) in [
            ("", false),
            ("  ", false),
            ("2026-08-10T12:00:01Z", false),
            ("2026-08-10T12:00:00Z", true),
            ("2026-08-10T14:00:01+02:00", false),
            ("2026-08-10T13:00:00+02:00", true),
            ("2026-08-10", true),
            ("never", true),
            ("0001-01-01T00:00:00Z", true),
        ] {
            assert_eq!(End::read(text).has_passed(now()), passed, "{text:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_changes_nothing() {
        let mut config = config();
        let ann = caller(&config, "ann", Proof::Password);
        let by_token = caller(&config, "ann", Proof::Token(TokenRef::new("t", None, None)));
        let scoped = NewToken {
            scopes: Some(vec!["read".into(), "write".into()]),
            ..wanted("a", "")
        };
        let gone = Caller::new(
            Account {
                name: "gone".into(),
                ..ann.account.clone()
            },
            Proof::Password,
        );
        for (caller, wanted, text, kind) in [
            (&ann, wanted(" ", ""), "Name is required", Kind::Bad),
            (
                &ann,
                wanted(&"x".repeat(129), ""),
                "Name must be at most 128 characters",
                Kind::Bad,
            ),
            (&ann, wanted("a", "tomorrow"), "Invalid expires_at", Kind::Bad),
            (
                &ann,
                wanted("a", "2026-08-10T11:59:59Z"),
                "Invalid expires_at",
                Kind::Bad,
            ),
            (&ann, scoped, "Unknown scope: write", Kind::Bad),
            (
                &by_token,
                wanted("", ""),
                "API tokens cannot create tokens; use a logged-in session",
                Kind::Forbidden,
            ),
            (&gone, wanted("a", ""), "Forbidden", Kind::Forbidden),
        ] {
            let error = create_token(&mut config, caller, wanted, now()).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.kind()), (text, kind));
            assert!(config.api_tokens.is_empty());
        }
        for number in 0..PER_USER {
            create_token(&mut config, &ann, wanted(&number.to_string(), ""), now()).unwrap();
        }
        let error = create_token(&mut config, &ann, wanted("one more", ""), now()).unwrap_err();
        assert_eq!(error, TokenError::TooMany);
    }

    #[test]
    fn who_may_revoke_what() {
        let mut config = config();
        for (id, owner) in [("of-ann", "ann"), ("of-ann-2", "ann"), ("of-dan", "dan")] {
            let mut token = ApiToken::new(id.into(), String::new());
            token.username = owner.into();
            config.api_tokens.push(token);
        }
        let token = |id: &str, scopes: Option<&[Scope]>| {
            Proof::Token(TokenRef::new(
                id,
                scopes.map(|scopes| scopes.iter().copied().collect()),
                None,
            ))
        };
        let ok = "ok";
        for (name, proof, id, expected) in [
            ("ann", Proof::Password, "", "ID is required"),
            ("ann", Proof::Password, "none", "Token not found"),
            ("ann", Proof::Password, "of-ann", ok),
            ("ann", Proof::Password, "of-dan", "Forbidden"),
            ("root", Proof::Password, "of-dan", ok),
            ("dan", Proof::Password, "of-dan", ok),
            ("ann", token("of-ann", Some(&[Scope::Read])), "of-ann", ok),
            (
                "ann",
                token("of-ann", Some(&[Scope::Read])),
                "of-ann-2",
                "Forbidden",
            ),
            ("ann", token("of-ann", Some(&[Scope::Admin])), "of-ann-2", ok),
            ("ann", token("of-ann", None), "of-ann-2", ok),
            ("ann", token("of-ann", None), "of-dan", "Forbidden"),
            ("root", token("x", Some(&[Scope::Read])), "of-dan", "Forbidden"),
            ("root", token("x", None), "of-dan", ok),
        ] {
            let mut copy = config.clone();
            let caller = caller(&config, name, proof);
            let seen = match revoke_token(&mut copy, &caller, id) {
                Ok(record) => {
                    assert_eq!(record.id, id);
                    assert!(!copy.api_tokens.iter().any(|token| token.id == id));
                    ok.to_owned()
                }
                Err(error) => {
                    assert_eq!(copy.api_tokens, config.api_tokens);
                    error.to_string()
                }
            };
            assert_eq!(seen, expected, "{name} revokes {id}");
        }
        let seen = |name, proof| -> Vec<_> {
            visible(&config, &caller(&config, name, proof))
                .map(|token| token.id.clone())
                .collect()
        };
        assert_eq!(seen("dan", Proof::Password), ["of-dan"]);
        assert_eq!(seen("root", Proof::Password).len(), 3);
        assert_eq!(seen("root", token("x", Some(&[Scope::Read]))).len(), 0);
    }
}
