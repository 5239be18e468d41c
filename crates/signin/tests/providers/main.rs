//! Sign-in at a provider from begin to end, and everything that has to be refused on the way.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod callbacks;
mod documents;
mod github;
mod process;
mod provider;
mod tokens;

use std::collections::HashMap;
use std::path::Path;

use config::Config;
use jiff::Timestamp;
use outbound::{Client, Policy};
use provider::{CLIENT, Provider, SECRET, State};
use serde_json::json;
use signin::{Callback, Cookies, Github, Identity, Oidc, SigninError};
use url::Url;

const NOW: i64 = 1_800_000_000;
const BASE: &str = "https://radio.example";
/// Where a provider says what it is.
const DOCUMENT: &str = "/.well-known/openid-configuration";

struct Station {
    oidc: Oidc,
    config: Config,
    provider: Provider,
}

/// Somebody on the way back from the provider, as the browser has it.
struct Return {
    provider: String,
    query: Vec<(String, String)>,
    cookies: HashMap<&'static str, String>,
    base: String,
    at: i64,
}

impl Return {
    fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.query.push((name.into(), value.into()));
    }

    fn remove(&mut self, name: &str) {
        self.query.retain(|(key, _)| key != name);
    }
}

impl Station {
    async fn new() -> Self {
        let provider = Provider::start(NOW).await;
        let config = json!({"oidc_providers": [
            {"id": "idp", "name": "Our IdP", "client_id": CLIENT, "client_secret": SECRET,
             "discovery_url": provider.base, "icon": "key", "enabled": true},
            {"id": "github", "name": "GitHub", "client_id": CLIENT, "client_secret": SECRET,
             "discovery_url": "", "icon": "github", "enabled": true},
            {"id": "off", "name": "Off", "client_id": CLIENT, "client_secret": SECRET,
             "discovery_url": provider.base, "icon": "key", "enabled": false},
        ]});
        let loaded = config::Loaded::parse(Path::new("tinyice.json"), config.to_string().into()).unwrap();
        let url = |path: &str| format!("{}{path}", provider.base).parse().unwrap();
        let github = Github {
            authorization: url("/login/oauth/authorize"),
            token: url("/login/oauth/access_token"),
            api: url("/api/"),
        };
        // The policy lets nothing private through; the provider is reached all the same.
        let client = Client::new(Policy::new(&[]), "TinyIce/1.0".parse().unwrap());
        Self {
            oidc: Oidc::new(client).with_github(github),
            config: loaded.config,
            provider,
        }
    }

    /// Makes the provider behave otherwise.
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.provider.state.lock());
    }

    /// Sends somebody to a provider, where they agree.
    async fn leave(&self, id: &str, next: &str, link: Option<&str>, at: i64) -> Return {
        let begun = self
            .oidc
            .begin(&self.config, id, BASE, next, link, time(at))
            .await
            .unwrap();
        let location: Url = begun.location.parse().unwrap();
        let asked: HashMap<_, _> = location.query_pairs().into_owned().collect();
        self.change(|state| {
            state.person = Some((
                "the code".into(),
                asked["code_challenge"].clone(),
                asked["redirect_uri"].clone(),
                asked["nonce"].clone(),
            ));
        });
        Return {
            provider: id.into(),
            query: vec![
                ("code".into(), "the code".into()),
                ("state".into(), asked["state"].clone()),
            ],
            cookies: begun.cookies.into_iter().collect(),
            base: BASE.into(),
            at,
        }
    }

    async fn come_back(&self, back: &Return) -> Result<Identity, SigninError> {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&back.query)
            .finish();
        let cookie = |name: &str| back.cookies.get(name).map(String::as_str);
        let callback = Callback {
            provider: &back.provider,
            query: &query,
            cookies: Cookies {
                verifier: cookie("pkce_verifier"),
                state: cookie("oidc_state"),
                nonce: cookie("oidc_nonce"),
            },
            external_base: &back.base,
        };
        self.oidc.finish(&self.config, callback, time(back.at)).await
    }

    /// There and back, with something changed on the way.
    async fn sign_in(&self, change: impl FnOnce(&mut Return)) -> Result<Identity, SigninError> {
        let mut back = self.leave("idp", "/admin", None, 0).await;
        change(&mut back);
        self.come_back(&back).await
    }

    /// There and back at a provider that behaves otherwise.
    async fn sign_in_at(change: impl FnOnce(&mut State)) -> Result<Identity, SigninError> {
        let station = Self::new().await;
        station.change(change);
        station.sign_in(|_| {}).await
    }
}

fn time(s: i64) -> Timestamp {
    Timestamp::from_second(NOW + s).unwrap()
}

/// Status and text.
fn told<T>(result: Result<T, SigninError>) -> (u16, String) {
    match result {
        Ok(_) => (200, String::new()),
        Err(error) => (error.status(), error.to_string()),
    }
}
