//! What providers say about themselves (OpenID Connect Discovery), and their keys; both are kept for a while.
//!
//! Contract: one request at a time goes to one provider, however many people sign in, and a failure is not tried
//! again at once. Keys that do not fit are asked for anew at most once a minute.

use std::collections::HashMap;
use std::sync::Arc;

use config::{Config, OidcProvider};
use jiff::{SignedDuration, Timestamp};
use observe::Mutex;
use observe::wait::{Kind, timed};
use outbound::Client;
use serde_json::Value;
use tokio::sync::Semaphore;
use url::Url;

use super::fetch;
use super::keys::{Algorithm, Keys};

const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// How long a failure is remembered.
const FAILED_FOR: SignedDuration = SignedDuration::from_secs(10);
/// Pause between requests for keys that turned out not to fit.
const KEYS_EVERY: SignedDuration = SignedDuration::from_secs(60);
/// Providers that are remembered; more than a file has.
const MOST_PROVIDERS: usize = 64;

/// A provider's document, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) issuer: String,
    pub(crate) authorization: Url,
    pub(crate) token: Url,
    pub(crate) keys: Url,
    pub(crate) algorithms: Vec<Algorithm>,
    /// Takes the secret in the form only, not in the header.
    pub(crate) secret_in_form: bool,
}

/// The providers that were asked so far.
pub(crate) struct Directory {
    client: Client,
    /// Held for a look-up.
    known: Mutex<HashMap<(String, bool), Arc<Known>>>,
}

/// What is known of one provider.
struct Known {
    /// Who asks the provider.
    turn: Semaphore,
    /// Held to copy.
    documents: Mutex<Documents>,
}

#[derive(Default)]
struct Documents {
    metadata: Option<Kept<Result<Arc<Metadata>, String>>>,
    keys: Option<Kept<Arc<Keys>>>,
    keys_asked: Option<Timestamp>,
}

#[derive(Clone)]
struct Kept<T> {
    value: T,
    from: Timestamp,
    until: Timestamp,
}

impl<T: Clone> Kept<T> {
    fn new(value: T, from: Timestamp, age: SignedDuration) -> Self {
        let until = from.checked_add(age).unwrap_or(from);
        Self { value, from, until }
    }

    /// A clock that was set back makes everything old.
    fn fresh(&self, now: Timestamp) -> Option<T> {
        (self.from <= now && now < self.until).then(|| self.value.clone())
    }
}

impl Directory {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            known: Mutex::new("oidc-providers", HashMap::new()),
        }
    }

    /// What asks a provider, at each hop only where it may be.
    pub(crate) fn client(&self, config: &Config, provider: &OidcProvider) -> Client {
        self.client.clone().with_policy(fetch::policy(config, provider))
    }

    /// The document of a provider.
    pub(crate) async fn metadata(
        &self,
        config: &Config,
        provider: &OidcProvider,
        now: Timestamp,
    ) -> Result<Arc<Metadata>, String> {
        let known = self.known(provider);
        let kept = || {
            known
                .documents
                .lock()
                .metadata
                .as_ref()
                .and_then(|kept| kept.fresh(now))
        };
        if let Some(kept) = kept() {
            return kept;
        }
        let _turn = known.turn().await;
        if let Some(kept) = kept() {
            return kept;
        }
        let (value, age) = match self.ask(config, provider).await {
            Ok((metadata, age)) => (Ok(Arc::new(metadata)), age),
            Err(reason) => (Err(reason), FAILED_FOR),
        };
        known.documents.lock().metadata = Some(Kept::new(value.clone(), now, age));
        value
    }

    /// The keys of a provider; newer ones than the kept ones where these `do_not_fit`.
    pub(crate) async fn keys(
        &self,
        config: &Config,
        provider: &OidcProvider,
        metadata: &Metadata,
        do_not_fit: bool,
        now: Timestamp,
    ) -> Result<Arc<Keys>, String> {
        let known = self.known(provider);
        let kept = || {
            let documents = known.documents.lock();
            let keys = documents.keys.as_ref().and_then(|kept| kept.fresh(now))?;
            let recent = documents
                .keys_asked
                .is_some_and(|asked| now.duration_since(asked) < KEYS_EVERY);
            (!do_not_fit || recent).then_some(keys)
        };
        if let Some(keys) = kept() {
            return Ok(keys);
        }
        let _turn = known.turn().await;
        if let Some(keys) = kept() {
            return Ok(keys);
        }
        known.documents.lock().keys_asked = Some(now);
        let answer = fetch::send(&self.client(config, provider), fetch::get(metadata.keys.clone())).await?;
        let keys = Keys::of(&answer.json).filter(|_| answer.is_ok);
        let keys = Arc::new(keys.ok_or_else(|| format!("{} is no set of keys", metadata.keys))?);
        let age = SignedDuration::try_from(answer.fresh_for).unwrap_or(FAILED_FOR);
        known.documents.lock().keys = Some(Kept::new(keys.clone(), now, age));
        Ok(keys)
    }

    /// What an unguarded provider was told by an address says nothing about what a guarded one may be told by it.
    fn known(&self, provider: &OidcProvider) -> Arc<Known> {
        let key = (provider.discovery_url.clone(), provider.guarded);
        let mut all = self.known.lock();
        if all.len() >= MOST_PROVIDERS && !all.contains_key(&key) {
            all.clear();
        }
        let known = all.entry(key).or_insert_with(|| {
            Arc::new(Known {
                turn: Semaphore::new(1),
                documents: Mutex::new("oidc-documents", Documents::default()),
            })
        });
        known.clone()
    }

    async fn ask(
        &self,
        config: &Config,
        provider: &OidcProvider,
    ) -> Result<(Metadata, SignedDuration), String> {
        let address = &provider.discovery_url;
        let issuer = issuer_of(address);
        let url = format!("{}{WELL_KNOWN}", issuer.trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|_| format!("discovery_url {address:?} is not an address"))?;
        let answer = fetch::send(&self.client(config, provider), fetch::get(url.clone()))
            .await
            .map_err(|reason| format!("{url}: {reason}"))?;
        if !answer.is_ok {
            return Err(format!("{url}: status {}", answer.status));
        }
        let metadata = Metadata::of(&answer.json, issuer).map_err(|reason| format!("{url}: {reason}"))?;
        let age = SignedDuration::try_from(answer.fresh_for).unwrap_or(FAILED_FOR);
        Ok((metadata, age))
    }
}

impl Known {
    async fn turn(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        // The semaphore is never closed, so there is always a permit in the end.
        timed(Kind::Semaphore, "signin.provider", self.turn.acquire())
            .await
            .ok()
    }
}

/// The issuer, from itself or from the address of its document.
fn issuer_of(address: &str) -> &str {
    let address = address.trim();
    address.strip_suffix(WELL_KNOWN).unwrap_or(address)
}

impl Metadata {
    /// Reads the document of the provider that should be `issuer`.
    pub(crate) fn of(document: &Value, issuer: &str) -> Result<Self, String> {
        let text = |key: &str| document.get(key).and_then(Value::as_str);
        let missing = |key: &str| format!("{key} is missing");
        // The slash at the end belongs to some issuers and is lost where the document's address is given.
        let said = text("issuer").ok_or_else(|| missing("issuer"))?;
        if said.trim_end_matches('/') != issuer.trim_end_matches('/') {
            return Err(format!("the issuer is {said:?} instead of {issuer:?}"));
        }
        let is_secure = said.starts_with("https://");
        let endpoint = |key: &str| {
            let url = Url::parse(text(key).ok_or_else(|| missing(key))?);
            match url {
                Ok(url) if url.scheme() == "https" || (url.scheme() == "http" && !is_secure) => Ok(url),
                _ => Err(format!("{key} is not an https address")),
            }
        };
        let words = |key: &str| document.get(key).and_then(Value::as_array);
        let algorithms = match words("id_token_signing_alg_values_supported") {
            Some(names) => names
                .iter()
                .filter_map(Value::as_str)
                .filter_map(Algorithm::named)
                .collect(),
            // The one that every provider has to have.
            None => vec![Algorithm::Rs256],
        };
        let methods = words("token_endpoint_auth_methods_supported");
        let has =
            |method: &str| methods.is_some_and(|all| all.iter().any(|one| one.as_str() == Some(method)));
        Ok(Self {
            issuer: said.to_owned(),
            authorization: endpoint("authorization_endpoint")?,
            token: endpoint("token_endpoint")?,
            keys: endpoint("jwks_uri")?,
            algorithms,
            secret_in_form: has("client_secret_post") && !has("client_secret_basic"),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(issuer: &str) -> Value {
        json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize?a=1"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
        })
    }

    #[test]
    fn documents() {
        let read = Metadata::of(&document("https://idp.example"), "https://idp.example").unwrap();
        assert_eq!(read.algorithms, [Algorithm::Rs256]);
        assert!(!read.secret_in_form);
        let mut more = document("https://idp.example");
        more["id_token_signing_alg_values_supported"] = json!(["none", "HS256", "ES256", "RS256", 7]);
        more["token_endpoint_auth_methods_supported"] = json!(["client_secret_post"]);
        let read = Metadata::of(&more, "https://idp.example/").unwrap();
        assert_eq!(read.algorithms, [Algorithm::Es256, Algorithm::Rs256]);
        assert!(read.secret_in_form);
    }

    #[test]
    fn documents_that_do_not_fit() {
        let change = |key: &str, value: Value| {
            let mut changed = document("https://idp.example");
            changed[key] = value;
            changed
        };
        for (document, issuer, expected) in [
            (
                document("https://evil.example"),
                "https://idp.example",
                "the issuer is \"https://evil.example\" instead of \"https://idp.example\"",
            ),
            (
                change("issuer", Value::Null),
                "https://idp.example",
                "issuer is missing",
            ),
            (
                change("token_endpoint", json!("http://idp.example/token")),
                "https://idp.example",
                "token_endpoint is not an https address",
            ),
            (
                change("jwks_uri", json!("file:///etc/passwd")),
                "https://idp.example",
                "jwks_uri is not an https address",
            ),
            (
                change("authorization_endpoint", json!("javascript:alert(1)")),
                "https://idp.example",
                "authorization_endpoint is not an https address",
            ),
            (json!([]), "https://idp.example", "issuer is missing"),
        ] {
            assert_eq!(Metadata::of(&document, issuer).unwrap_err(), expected);
        }
        assert!(Metadata::of(&document("http://idp.lan"), "http://idp.lan").is_ok());
    }

    #[test]
    fn issuers_are_given_in_two_ways() {
        for (given, issuer) in [
            ("https://idp.example", "https://idp.example"),
            ("https://idp.example/realms/x/", "https://idp.example/realms/x/"),
            (
                " https://idp.example/realms/x/.well-known/openid-configuration",
                "https://idp.example/realms/x",
            ),
        ] {
            assert_eq!(issuer_of(given), issuer);
        }
    }
}
