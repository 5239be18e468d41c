//! Sign-in at outside providers: OpenID Connect, and GitHub by OAuth.
//!
//! Contract: an [`Identity`] comes out only for an answer to a question that this browser was given by this process
//! within ten minutes, once, and whose address the provider has verified.
//!
//! Providers are read from the configuration at each step, so a change takes effect at once.

mod discovery;
mod fetch;
pub mod github;
pub mod id_token;
pub mod keys;
mod state;

use std::fmt;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use config::{Config, OidcProvider};
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use outbound::{Client, Request};
use serde_json::Value;
use url::Url;
use url::form_urlencoded;

use crate::Identity;
use crate::metrics::{Ended, SIGNINS, Way};
use crate::random::{self, base64url};
use discovery::{Directory, Metadata};
use id_token::{BadToken, Claims, Rules, Unverified};
use state::{State, States};

pub use github::Github;

/// How long the cookies of a sign-in live, in seconds.
pub const COOKIE_MAX_AGE: u64 = 600;
/// The names of the cookies, all under the path `/auth/{id}`. Clear all three when the callback has read them.
pub const COOKIES: [&str; 3] = ["pkce_verifier", "oidc_state", "oidc_nonce"];
/// Longest notice about what a provider said.
const LONGEST_NOTICE: usize = 200;

observe::event! {
    /// A provider could not be asked or answered something that does not hold.
    struct ProviderFailed<'a> { provider: &'a str, step: &'static str, error: &'a str }
    = [Auth] Warn "oidc_failed": "Sign-in at a provider failed"
}

/// Signs people in at outside providers.
pub struct Oidc {
    states: States,
    directory: Directory,
    github: Github,
}

/// The first step: set the cookies, then redirect with 307.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// The provider's page.
    pub location: String,
    /// Names and values: `HttpOnly; SameSite=Lax; Max-Age=600`, path `/auth/{id}`, `Secure` on TLS.
    pub cookies: [(&'static str, String); 3],
}

/// The cookies that came back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cookies<'a> {
    /// `pkce_verifier`
    pub verifier: Option<&'a str>,
    /// `oidc_state`
    pub state: Option<&'a str>,
    /// `oidc_nonce`
    pub nonce: Option<&'a str>,
}

/// The second step: somebody comes back from the provider.
#[derive(Debug, Clone, Copy)]
pub struct Callback<'a> {
    /// From the path.
    pub provider: &'a str,
    /// The query as it was sent, without the question mark.
    pub query: &'a str,
    /// The cookies.
    pub cookies: Cookies<'a>,
    /// As in the first step.
    pub external_base: &'a str,
}

/// Why somebody is not signed in. The texts are those of the page; what went wrong in detail is in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigninError {
    /// Not made by us, for another provider, too old, or used before.
    #[error("Invalid state parameter")]
    InvalidState,
    /// Another browser.
    #[error("State cookie mismatch")]
    StateMismatch,
    /// Not in the configuration, or off.
    #[error("Unknown provider")]
    UnknownProvider,
    /// The provider's document cannot be had.
    #[error("Provider configuration error: {0}")]
    Configuration(String),
    /// The provider sent the person back without a code: redirect to `/login` with this text as a notice.
    #[error("{0}")]
    Declined(String),
    /// A callback without a code.
    #[error("Missing authorization code")]
    MissingCode,
    /// The cookie is gone.
    #[error("Missing PKCE verifier")]
    MissingVerifier,
    /// The cookie is gone.
    #[error("Missing OIDC nonce")]
    MissingNonce,
    /// The provider took the code for no good.
    #[error("Authentication failed")]
    Exchange,
    /// GitHub did not say whose the token is.
    #[error("Failed to get user info from GitHub")]
    Github,
    /// The provider sent none.
    #[error("Missing ID token")]
    MissingIdToken,
    /// Signature, issuer, audience or time.
    #[error("Invalid ID token")]
    BadIdToken,
    /// Made for another sign-in.
    #[error("ID token nonce mismatch")]
    NonceMismatch,
    /// An address that anybody could have typed in.
    #[error("Provider has not verified your email address")]
    Unverified,
    /// No address at all.
    #[error("No email returned by provider")]
    NoEmail,
}

impl SigninError {
    /// The HTTP status to answer with; 303 leads back to `/login`.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::InvalidState | Self::StateMismatch | Self::Unverified => 403,
            Self::UnknownProvider => 404,
            Self::Configuration(_) | Self::Github | Self::MissingIdToken => 500,
            Self::Declined(_) => 303,
            Self::MissingCode | Self::MissingVerifier | Self::MissingNonce | Self::NoEmail => 400,
            Self::Exchange | Self::BadIdToken | Self::NonceMismatch => 401,
        }
    }
}

impl Oidc {
    /// Asks providers through `client`, whose policy for addresses is replaced: those of the operator's own file may be
    /// anywhere but at cloud metadata, guarded ones only where the configuration lets calls go.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            states: States::new(),
            directory: Directory::new(client),
            github: Github::default(),
        }
    }

    /// The same with a GitHub elsewhere.
    #[must_use]
    pub fn with_github(self, github: Github) -> Self {
        Self { github, ..self }
    }

    /// Sends somebody to a provider.
    ///
    /// `external_base` is our origin as the browser sees it. `next` is where to go afterwards; it comes back as it is
    /// given, so check it first. `link` is the signed-in user who wants the identity linked.
    ///
    /// # Errors
    /// `UnknownProvider` or `Configuration`.
    pub async fn begin(
        &self,
        config: &Config,
        provider: &str,
        external_base: &str,
        next: &str,
        link: Option<&str>,
        now: Timestamp,
    ) -> Result<Begun, SigninError> {
        let provider = enabled(config, provider)?;
        let (mut url, scope) = match is_github(provider) {
            true => (self.github.authorization.clone(), "user:email"),
            false => (
                self.metadata(config, provider, now).await?.authorization.clone(),
                "openid email profile",
            ),
        };
        let state = self.states.make(&provider.id, next, link, now);
        let (verifier, nonce) = (base64url(random::bytes::<32>()), base64url(random::bytes::<32>()));
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &provider.client_id)
            .append_pair("redirect_uri", &redirect_uri(external_base, &provider.id))
            .append_pair("scope", scope)
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &base64url(digest(&SHA256, verifier.as_bytes())))
            .append_pair("code_challenge_method", "S256");
        let [verifier_name, state_name, nonce_name] = COOKIES;
        Ok(Begun {
            location: url.into(),
            cookies: [
                (verifier_name, verifier),
                (state_name, state),
                (nonce_name, nonce),
            ],
        })
    }

    /// Judges what somebody brings back from a provider.
    ///
    /// # Errors
    /// [`SigninError`].
    pub async fn finish(
        &self,
        config: &Config,
        callback: Callback<'_>,
        now: Timestamp,
    ) -> Result<Identity, SigninError> {
        let judged = self.judge(config, callback, now).await;
        let way = if callback.provider == GITHUB {
            Way::Github
        } else {
            Way::Oidc
        };
        let ended = match &judged {
            Ok(_) => Ended::Ok,
            Err(error) if error.status() == 500 => Ended::Failed,
            Err(_) => Ended::Refused,
        };
        SIGNINS.of((way, ended)).inc();
        judged
    }

    async fn judge(
        &self,
        config: &Config,
        callback: Callback<'_>,
        now: Timestamp,
    ) -> Result<Identity, SigninError> {
        let state = self.state(callback, now)?;
        let provider = enabled(config, callback.provider)?;
        if let Some(error) = parameter(callback.query, "error") {
            let description = parameter(callback.query, "error_description");
            failed(&provider.id, "authorization", &printable(&error));
            return Err(SigninError::Declined(notice(&error, description.as_deref())));
        }
        let code = parameter(callback.query, "code").filter(|code| !code.is_empty());
        let code = code.ok_or(SigninError::MissingCode)?;
        let given = |cookie: Option<&'_ str>| cookie.filter(|value| !value.is_empty()).map(str::to_owned);
        let verifier = given(callback.cookies.verifier).ok_or(SigninError::MissingVerifier)?;
        let nonce = given(callback.cookies.nonce).ok_or(SigninError::MissingNonce)?;
        let redirect_uri = redirect_uri(callback.external_base, &provider.id);
        let grant = Grant {
            code: &code,
            verifier: &verifier,
            redirect_uri: &redirect_uri,
        };
        let (subject, name, email) = match is_github(provider) {
            true => self.at_github(config, provider, grant).await?,
            false => {
                self.at_provider(config, provider, grant, &nonce, callback.query, now)
                    .await?
            }
        };
        if email.is_empty() {
            return Err(SigninError::NoEmail);
        }
        Ok(Identity {
            provider: provider.id.clone(),
            subject,
            email,
            name,
            next: state.next,
            link: state.link,
        })
    }

    /// The state of a callback, which is used up by this.
    fn state(&self, callback: Callback<'_>, now: Timestamp) -> Result<State, SigninError> {
        let text = parameter(callback.query, "state").unwrap_or_default();
        let state = self
            .states
            .open(&text, callback.provider, now)
            .ok_or(SigninError::InvalidState)?;
        let cookie = callback.cookies.state.unwrap_or_default();
        if verify_slices_are_equal(cookie.as_bytes(), text.as_bytes()).is_err() {
            return Err(SigninError::StateMismatch);
        }
        match self.states.spend(&state, now) {
            true => Ok(state),
            false => Err(SigninError::InvalidState),
        }
    }

    async fn at_provider(
        &self,
        config: &Config,
        provider: &OidcProvider,
        grant: Grant<'_>,
        nonce: &str,
        query: &str,
        now: Timestamp,
    ) -> Result<(String, String, String), SigninError> {
        let metadata = self.metadata(config, provider, now).await?;
        // RFC 9207: a provider that says who it is must be the one that was asked.
        if parameter(query, "iss").is_some_and(|issuer| issuer != metadata.issuer) {
            failed(&provider.id, "authorization", "the answer names another issuer");
            return Err(SigninError::Exchange);
        }
        let request = grant.request(provider, metadata.token.clone(), metadata.secret_in_form);
        let tokens = self.exchange(config, provider, request).await?;
        let token = tokens
            .get("id_token")
            .and_then(Value::as_str)
            .ok_or(SigninError::MissingIdToken)?;
        let claims = self
            .claims(config, provider, &metadata, token, now)
            .await
            .map_err(|reason| {
                failed(&provider.id, "id_token", &reason);
                SigninError::BadIdToken
            })?;
        let told = claims.text("nonce").unwrap_or_default();
        if verify_slices_are_equal(told.as_bytes(), nonce.as_bytes()).is_err() {
            return Err(SigninError::NonceMismatch);
        }
        if !claims.is_email_verified() {
            return Err(SigninError::Unverified);
        }
        let text = |name: &str| claims.text(name).unwrap_or_default().to_owned();
        let name = claims.text("name").filter(|name| !name.is_empty());
        let name = name.map_or_else(|| text("preferred_username"), str::to_owned);
        Ok((text("sub"), name, text("email").trim().to_owned()))
    }

    async fn at_github(
        &self,
        config: &Config,
        provider: &OidcProvider,
        grant: Grant<'_>,
    ) -> Result<(String, String, String), SigninError> {
        let request = grant.request(provider, self.github.token.clone(), true);
        let tokens = self.exchange(config, provider, request).await?;
        // GitHub answers 200 to a bad code as well.
        let token = tokens
            .get("access_token")
            .and_then(Value::as_str)
            .ok_or_else(|| {
                failed(&provider.id, "token", &complaint(&tokens));
                SigninError::Exchange
            })?;
        let profile = github::profile(&self.directory.client(config, provider), &self.github, token).await;
        let profile = profile.map_err(|reason| {
            failed(&provider.id, "profile", &reason);
            SigninError::Github
        })?;
        let email = profile.email.ok_or(SigninError::Unverified)?;
        Ok((profile.subject, profile.name, email))
    }

    async fn metadata(
        &self,
        config: &Config,
        provider: &OidcProvider,
        now: Timestamp,
    ) -> Result<std::sync::Arc<Metadata>, SigninError> {
        self.directory
            .metadata(config, provider, now)
            .await
            .map_err(|reason| {
                failed(&provider.id, "discovery", &reason);
                SigninError::Configuration(reason)
            })
    }

    async fn exchange(
        &self,
        config: &Config,
        provider: &OidcProvider,
        request: Request,
    ) -> Result<Value, SigninError> {
        let answer = fetch::send(&self.directory.client(config, provider), request).await;
        let reason = match answer {
            Ok(answer) if answer.is_ok => return Ok(answer.json),
            Ok(answer) => format!("status {}: {}", answer.status, complaint(&answer.json)),
            Err(reason) => reason,
        };
        failed(&provider.id, "token", &reason);
        Err(SigninError::Exchange)
    }

    /// Verifies a token, with newer keys if the kept ones do not fit.
    async fn claims(
        &self,
        config: &Config,
        provider: &OidcProvider,
        metadata: &Metadata,
        token: &str,
        now: Timestamp,
    ) -> Result<Claims, String> {
        let rules = Rules {
            issuer: &metadata.issuer,
            client_id: &provider.client_id,
            algorithms: &metadata.algorithms,
        };
        let token = Unverified::read(token).map_err(|bad| bad.to_string())?;
        let keys = self
            .directory
            .keys(config, provider, metadata, false, now)
            .await?;
        let first = token.verify(&keys, &rules, now);
        if first != Err(BadToken::UnknownKey) {
            return first.map_err(|bad| bad.to_string());
        }
        let keys = self.directory.keys(config, provider, metadata, true, now).await?;
        token.verify(&keys, &rules, now).map_err(|bad| bad.to_string())
    }
}

impl fmt::Debug for Oidc {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Oidc").finish_non_exhaustive()
    }
}

/// The provider with OAuth alone.
const GITHUB: &str = "github";

fn is_github(provider: &OidcProvider) -> bool {
    provider.id == GITHUB
}

fn enabled<'c>(config: &'c Config, id: &str) -> Result<&'c OidcProvider, SigninError> {
    let mut providers = config.oidc_providers.iter();
    let provider = providers.find(|provider| provider.id == id && provider.enabled);
    provider.ok_or(SigninError::UnknownProvider)
}

fn redirect_uri(external_base: &str, id: &str) -> String {
    format!("{}/auth/{id}/callback", external_base.trim_end_matches('/'))
}

/// What a code is exchanged with.
#[derive(Clone, Copy)]
struct Grant<'a> {
    code: &'a str,
    verifier: &'a str,
    redirect_uri: &'a str,
}

impl Grant<'_> {
    fn request(&self, provider: &OidcProvider, url: Url, secret_in_form: bool) -> Request {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", self.code),
            ("redirect_uri", self.redirect_uri),
            ("code_verifier", self.verifier),
            ("client_id", &provider.client_id),
        ];
        if provider.client_secret.is_empty() {
            return fetch::form(url, fields);
        }
        if secret_in_form {
            fields.push(("client_secret", &provider.client_secret));
            return fetch::form(url, fields);
        }
        // RFC 6749 section 2.3.1: both are form-encoded first.
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let credentials = outbound::basic(encoded(&provider.client_id), encoded(&provider.client_secret));
        fetch::form(url, fields).with(AUTHORIZATION, credentials)
    }
}

/// The first value of a query parameter.
fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// What the person reads who comes back without a code.
fn notice(error: &str, description: Option<&str>) -> String {
    match (
        error,
        description.map(printable).filter(|text| !text.trim().is_empty()),
    ) {
        ("access_denied", _) => "The sign-in was cancelled.".to_owned(),
        (_, Some(description)) => format!("The provider refused the sign-in: {description}"),
        (error, None) => format!("The provider refused the sign-in: {}", printable(error)),
    }
}

/// What a provider says about a code that it refused.
fn complaint(answer: &Value) -> String {
    let text = |key: &str| answer.get(key).and_then(Value::as_str).map(printable);
    match (text("error"), text("error_description")) {
        (Some(error), Some(description)) => format!("{error}: {description}"),
        (Some(error), None) => error,
        (None, _) => "no token and no reason".to_owned(),
    }
}

fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(LONGEST_NOTICE)
        .collect()
}

fn failed(provider: &str, step: &'static str, error: &str) {
    observe::emit_limited(
        Duration::from_secs(1),
        ProviderFailed {
            provider,
            step,
            error,
        },
    );
}
